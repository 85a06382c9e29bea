//! What is answered at which path. A request has arrived whole when it gets here.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use contract::{
    clock::Reading,
    lifecycle::{Event, Hook, Probe},
    paths,
};
use futures_util::stream;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use tokio::time::sleep;
use tower::Service;

use crate::{
    config::LONGEST_DELAY,
    pod::{Kind, Pod},
    stamp,
};

/// Most chunks that a streamed answer may have.
const MOST_CHUNKS: u32 = 100_000;

/// An answer. Producing one cannot fail: whatever goes wrong has a status.
pub(crate) type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;
/// A future answer.
pub(crate) type Reply = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

/// The routes as a service; always ready.
#[derive(Debug, Clone)]
pub(crate) struct Routes {
    pod: Arc<Pod>,
}

/// A body with something that is dropped when the body is: after its last frame, or when the client has gone.
#[derive(Debug)]
pub(crate) struct Guarded<B, G> {
    body: B,
    _guard: G,
}

/// Where a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Plain,
    Delay(Duration),
    Stream { chunks: u32, every: Duration },
    Echo,
    Status(StatusCode),
    Live,
    Ready,
    Clock,
    PreStop(Duration, StatusCode),
}

// === impl Routes ===

impl Routes {
    pub(crate) fn new(pod: Arc<Pod>) -> Self {
        Self { pod }
    }

    fn probed(&self, probe: Probe) {
        if self.pod.config.report_probes() {
            self.pod.announcer.emit(Event::Probed { probe });
        }
    }

    async fn answer(self, request: Request<Bytes>) -> Answer {
        let route = match Route::find(request.method(), request.uri().path()) {
            Ok(route) => route,
            Err(status) => return plain(status, format!("{status}\n")),
        };
        match route {
            Route::Plain => plain(StatusCode::OK, "ok\n"),
            Route::Delay(time) => {
                sleep(time).await;
                plain(StatusCode::OK, "ok\n")
            }
            Route::Stream { chunks, every } => Response::new(streamed(chunks, every)),
            Route::Echo => echo(request),
            Route::Status(status) => plain(status, ""),
            Route::Live => {
                self.probed(Probe::Liveness);
                plain(StatusCode::OK, "alive\n")
            }
            Route::Ready => {
                self.probed(Probe::Readiness);
                if self.pod.ready() {
                    plain(StatusCode::OK, "ready\n")
                } else {
                    plain(StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
                }
            }
            Route::Clock => clock(),
            Route::PreStop(time, status) => {
                let hook = Hook::PreStop;
                self.pod.announcer.emit(Event::HookStarted { hook });
                sleep(time).await;
                self.pod.announcer.emit(Event::HookEnded { hook, code: status.as_u16().into() });
                plain(status, "done\n")
            }
        }
    }
}

impl Service<Request<Bytes>> for Routes {
    type Response = Answer;
    type Error = Infallible;
    type Future = Reply;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Reply {
        let routes = self.clone();
        Box::pin(async move { Ok(routes.answer(request).await) })
    }
}

// === impl Route ===

impl Route {
    /// What the path leads to, or the status that says why nowhere.
    fn find(method: &Method, path: &str) -> Result<Self, StatusCode> {
        let post = *method == Method::POST;
        match path {
            paths::ROOT | paths::ECHO if post => return Ok(Self::Echo),
            paths::ROOT => return Ok(Self::Plain),
            paths::ECHO => return Err(StatusCode::METHOD_NOT_ALLOWED),
            paths::LIVEZ => return Ok(Self::Live),
            paths::READYZ => return Ok(Self::Ready),
            paths::CLOCK => return Ok(Self::Clock),
            _ => {}
        }
        if let Some(time) = path.strip_prefix(paths::DELAY) {
            delay(time).map(Self::Delay)
        } else if let Some(time) = path.strip_prefix(paths::PRE_STOP_HOOK) {
            let (time, code) = time.split_once('/').unwrap_or((time, "200"));
            Ok(Self::PreStop(delay(time)?, status(code)?))
        } else if let Some(code) = path.strip_prefix(paths::STATUS) {
            status(code).map(Self::Status)
        } else if let Some(rest) = path.strip_prefix(paths::STREAM) {
            let (chunks, every) = rest.split_once('/').ok_or(StatusCode::BAD_REQUEST)?;
            let chunks = chunks.parse().ok().filter(|chunks| *chunks <= MOST_CHUNKS);
            Ok(Self::Stream { chunks: chunks.ok_or(StatusCode::BAD_REQUEST)?, every: delay(every)? })
        } else {
            Err(StatusCode::NOT_FOUND)
        }
    }
}

// === impl Guarded ===

impl<B, G> Guarded<B, G> {
    pub(crate) fn new(body: B, guard: G) -> Self {
        Self { body, _guard: guard }
    }
}

impl<B: Body + Unpin, G: Unpin> Body for Guarded<B, G> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Informational codes are no answers; hyper would not send one as such.
fn status(code: &str) -> Result<StatusCode, StatusCode> {
    let code = code.parse().ok().filter(|code| (200..=599).contains(code));
    code.and_then(|code: u16| StatusCode::from_u16(code).ok()).ok_or(StatusCode::BAD_REQUEST)
}

/// Whose request a path is.
pub(crate) fn kind(path: &str) -> Kind {
    let control =
        matches!(path, paths::LIVEZ | paths::READYZ | paths::CLOCK) || path.starts_with(paths::PRE_STOP_HOOK);
    if control { Kind::Control } else { Kind::Traffic }
}

/// A short answer of text.
pub(crate) fn plain(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(text.into()).boxed_unsync());
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    answer
}

fn clock() -> Answer {
    let reading = Reading { wall_ns: stamp::wall_ns(), mono_ns: stamp::mono_ns() };
    match serde_json::to_vec(&reading) {
        Ok(json) => plain(StatusCode::OK, json),
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, ""),
    }
}

/// Reads a delay in milliseconds, decimal.
///
/// # Errors
/// 400 if it is none, or above ten minutes.
pub(crate) fn delay(text: &str) -> Result<Duration, StatusCode> {
    let delay = text.parse().ok().map(Duration::from_millis);
    delay.filter(|delay| *delay <= LONGEST_DELAY).ok_or(StatusCode::BAD_REQUEST)
}

fn echo(request: Request<Bytes>) -> Answer {
    let (head, body) = request.into_parts();
    let mut answer = Response::new(Full::new(body).boxed_unsync());
    if let Some(kind) = head.headers.get(header::CONTENT_TYPE) {
        answer.headers_mut().insert(header::CONTENT_TYPE, kind.clone());
    }
    answer
}

/// Numbered lines, the first at once, then one each `every`.
fn streamed(chunks: u32, every: Duration) -> UnsyncBoxBody<Bytes, Infallible> {
    let lines = stream::unfold(0, move |index| async move {
        if index == chunks {
            return None;
        }
        if index > 0 {
            sleep(every).await;
        }
        Some((Ok(Frame::data(Bytes::from(format!("chunk {index}\n")))), index + 1))
    });
    StreamBody::new(lines).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_of_the_contract_leads_somewhere() {
        let get = |path: &str| Route::find(&Method::GET, path);
        assert_eq!(get("/"), Ok(Route::Plain));
        assert_eq!(get("/delay/250"), Ok(Route::Delay(Duration::from_millis(250))));
        assert_eq!(get("/stream/3/10"), Ok(Route::Stream { chunks: 3, every: Duration::from_millis(10) }));
        assert_eq!(get("/status/503"), Ok(Route::Status(StatusCode::SERVICE_UNAVAILABLE)));
        assert_eq!(get("/livez"), Ok(Route::Live));
        assert_eq!(get("/readyz"), Ok(Route::Ready));
        assert_eq!(get("/hooks/pre-stop/5"), Ok(Route::PreStop(Duration::from_millis(5), StatusCode::OK)));
        assert_eq!(Route::find(&Method::POST, "/echo"), Ok(Route::Echo));
        assert_eq!(Route::find(&Method::POST, "/"), Ok(Route::Echo));
    }

    #[test]
    fn what_is_out_of_bounds_is_a_bad_request() {
        for path in [
            "/delay/600001",
            "/delay/x",
            "/delay/-1",
            "/delay/",
            "/stream/100001/0",
            "/stream/1",
            "/stream/1/600001",
            "/status/100",
            "/status/600",
            "/hooks/pre-stop/600001",
        ] {
            assert_eq!(Route::find(&Method::GET, path), Err(StatusCode::BAD_REQUEST), "{path}");
        }
        assert_eq!(Route::find(&Method::GET, "/nowhere"), Err(StatusCode::NOT_FOUND));
        assert_eq!(Route::find(&Method::GET, "/echo"), Err(StatusCode::METHOD_NOT_ALLOWED));
    }
}
