//! One connection, from its acceptance to its close.

use std::{convert::Infallible, pin::pin, sync::Arc};

use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tower::{Service, ServiceExt};

use crate::{
    lifecycle::Phase,
    pod::{HeldGuard, Pod},
    routes::{Answer, Guarded},
    stream::{Hints, Stream},
};

/// Serves a connection until it ends or the drain does; `held` counts it until then.
pub(crate) async fn serve<T, S>(io: T, pod: Arc<Pod>, service: S, held: HeldGuard)
where
    T: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request<Incoming>, Response = Answer, Error = Infallible> + Clone,
{
    let _held = held;
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
    match ended {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::debug!(%error, "a connection ended badly"),
        None => tracing::debug!("a connection was cut: the drain is over"),
    }
}
