//! One connection, from its acceptance to its close: HTTP/1, or HTTP/2 of a client that knows it (prior knowledge).

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use http::Request;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::Notify,
    time::sleep,
};
use tower::{Service, ServiceExt};

use crate::{
    lifecycle::Phase,
    pod::{HeldGuard, Pod},
    routes::{Answer, Guarded},
    stream::{Hints, Stream},
};

/// What a connection of HTTP/2 begins with, and no request of HTTP/1 does.
const H2: &[u8] = b"PRI ";
/// A client that sends these bytes one by one is looked at so often.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Serves a connection until it ends or the drain does; `held` counts it until then.
pub(crate) async fn serve<S>(stream: TcpStream, pod: Arc<Pod>, service: S, held: HeldGuard)
where
    S: Service<Request<Incoming>, Response = Answer, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let _held = held;
    // As long as a client may be silent, so that one that speaks late is understood.
    let silent = if pod.config.close_connections() { Phase::Drained } else { Phase::Draining };
    let knows_h2 = tokio::select! {
        biased;
        knows_h2 = speaks_h2(&stream) => knows_h2,
        () = pod.reached(silent) => false,
    };
    if knows_h2 {
        serve_h2(stream, pod, service).await;
    } else {
        serve_h1(stream, pod, service).await;
    }
}

/// Whether the client's first bytes are those of HTTP/2. Reads nothing.
async fn speaks_h2(stream: &TcpStream) -> bool {
    let mut first = [0; H2.len()];
    loop {
        match stream.peek(&mut first).await {
            // A connection that ended says nothing, and HTTP/1 knows what to do with it.
            Ok(0) | Err(_) => return false,
            Ok(count) if first[..count] != H2[..count] => return false,
            Ok(count) if count == H2.len() => return true,
            Ok(_) => sleep(LOOK_AGAIN).await,
        }
    }
}

/// HTTP/2: GOAWAY takes the place of `Connection: close`. It comes with SIGTERM, and once it has come no client begins
/// a request here; those under way are answered.
async fn serve_h2<T, S>(io: T, pod: Arc<Pod>, service: S)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Answer, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let hints = Arc::<Hints>::default();
    // Frames come at any time: no head begins with the first byte after an answer.
    let _busy = hints.busy();
    let limits = pod.config.limits();
    let stream = Stream::new(io, Arc::clone(&hints), limits.read_timeout);
    let asked = Arc::new(Notify::new());
    let told = Arc::clone(&asked);
    let answering = service_fn(move |request| {
        told.notify_one();
        service.clone().oneshot(request)
    });
    let header_bytes = u32::try_from(limits.header_bytes).unwrap_or(u32::MAX);
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_header_list_size(header_bytes)
        .serve_connection(TokioIo::new(stream), answering);
    let mut connection = pin!(connection);
    let leave = if pod.config.close_connections() { Phase::LameDuck } else { Phase::Draining };
    let leaving = async {
        // Asked to end before its first request, hyper would close the connection, and so cut that request.
        asked.notified().await;
        pod.reached(leave).await;
    };
    let mut ended = tokio::select! {
        biased;
        ended = connection.as_mut() => Some(ended),
        () = leaving => None,
        () = pod.reached(Phase::Drained) => None,
    };
    if ended.is_none() {
        if !pod.config.close_connections() {
            hints.close_abruptly();
        }
        connection.as_mut().graceful_shutdown();
        ended = tokio::select! {
            biased;
            ended = connection.as_mut() => Some(ended),
            () = pod.reached(Phase::Drained) => None,
        };
    }
    log(ended);
}

async fn serve_h1<T, S>(io: T, pod: Arc<Pod>, service: S)
where
    T: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request<Incoming>, Response = Answer, Error = Infallible> + Clone,
{
    let hints = Arc::<Hints>::default();
    let limits = pod.config.limits();
    let stream = Stream::new(io, Arc::clone(&hints), limits.read_timeout);
    let answering = service_fn(|request| {
        let busy = hints.busy();
        let answer = service.clone().oneshot(request);
        async move { Ok::<_, Infallible>(answer.await?.map(|body| Guarded::new(body, busy))) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(limits.header_bytes)
        .serve_connection(TokioIo::new(stream), answering);
    let mut connection = pin!(connection);

    let mut ended = tokio::select! {
        biased;
        ended = connection.as_mut() => Some(ended),
        () = pod.reached(Phase::Draining) => None,
    };
    if ended.is_none() {
        if !pod.config.close_connections() {
            hints.close_abruptly();
            connection.as_mut().graceful_shutdown();
        }
        ended = tokio::select! {
            biased;
            ended = connection.as_mut() => Some(ended),
            () = pod.reached(Phase::Drained) => None,
        };
    }
    log(ended);
}

fn log(ended: Option<hyper::Result<()>>) {
    match ended {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::debug!(%error, "a connection ended badly"),
        None => tracing::debug!("a connection was cut: the drain is over"),
    }
}
