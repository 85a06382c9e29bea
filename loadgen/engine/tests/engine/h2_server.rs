//! An HTTP/2 server that does to each slot what it was told to, and logs it.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;
use http::{Response, StatusCode};
use socket2::SockRef;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use crate::support::listen;

/// What to do to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum H2Fault {
    None,
    Unavailable,
    WrongSlot,
    /// `RST_STREAM` with `REFUSED_STREAM`.
    Refused,
    /// `RST_STREAM` with `INTERNAL_ERROR`, before the answer.
    Reset,
    /// `RST_STREAM` with `CANCEL`, in the middle of it.
    ResetBody,
    /// GOAWAY without having processed this and any later stream.
    Unprocessed,
    /// Answers, and GOAWAY as at an orderly end.
    GoAwayAnswered,
    /// GOAWAY with `ENHANCE_YOUR_CALM`, having processed it; no answer.
    GoAwayError,
    /// GOAWAY as at an orderly end, having processed it, then FIN without an answer.
    GoAwayCut,
    CutFin,
    CutRst,
    CutBodyFin,
    /// Says nothing.
    Stall,
}

/// A request as the server saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct H2Seen {
    pub(crate) slot: u64,
    pub(crate) fault: H2Fault,
    pub(crate) authority: String,
}

pub(crate) struct H2Server {
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<Vec<H2Seen>>>,
    accepted: Arc<AtomicUsize>,
}

type Plan = Arc<dyn Fn(u64) -> H2Fault + Send + Sync>;

impl H2Server {
    /// Serves until the process ends.
    pub(crate) fn start(plan: impl Fn(u64) -> H2Fault + Send + Sync + 'static) -> Self {
        let log = Arc::<Mutex<Vec<H2Seen>>>::default();
        let (plan, written): (Plan, _) = (Arc::new(plan), Arc::clone(&log));
        let (address, accepted) =
            listen(move |stream| serve(stream, Arc::clone(&plan), Arc::clone(&written)));
        Self { address, log, accepted }
    }

    pub(crate) fn seen(&self) -> Vec<H2Seen> {
        let mut seen = self.log.lock().unwrap().clone();
        seen.sort_by_key(|request| request.slot);
        seen
    }

    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

async fn serve(stream: tokio::net::TcpStream, plan: Plan, log: Arc<Mutex<Vec<H2Seen>>>) {
    // For frames that `h2` would not send. It writes whole frames, so what is written between two polls is one too.
    let stream = stream.into_std().unwrap();
    let mut raw = stream.try_clone().unwrap();
    let stream = tokio::net::TcpStream::from_std(stream).unwrap();
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    let mut refused_from = None;
    let mut unanswered = Vec::new();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let id = respond.stream_id().as_u32();
        let header = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let slot = header("drainproof-slot").unwrap().parse().unwrap();
        let refused = refused_from.is_some_and(|from| id >= from);
        let fault = if refused { H2Fault::Unprocessed } else { plan(slot) };
        let authority = request.uri().authority().unwrap().to_string();
        log.lock().unwrap().push(H2Seen { slot, fault, authority });
        let delay = header("drainproof-delay-ms").map_or(0, |value| value.parse().unwrap());
        match fault {
            H2Fault::None => answer(respond, StatusCode::OK, slot, Duration::from_millis(delay)),
            H2Fault::Unavailable => answer(respond, StatusCode::SERVICE_UNAVAILABLE, slot, Duration::ZERO),
            H2Fault::WrongSlot => answer(respond, StatusCode::OK, slot + 1, Duration::ZERO),
            H2Fault::Refused => respond.send_reset(Reason::REFUSED_STREAM),
            H2Fault::Reset => respond.send_reset(Reason::INTERNAL_ERROR),
            H2Fault::ResetBody => {
                half(&mut respond, slot, Some(Reason::CANCEL));
            }
            H2Fault::Unprocessed => {
                if !refused {
                    refused_from = Some(id);
                    raw.write_all(&goaway(id.saturating_sub(2), 0)).unwrap();
                }
                unanswered.push(respond);
            }
            H2Fault::GoAwayAnswered => {
                answer(respond, StatusCode::OK, slot, Duration::ZERO);
                connection.graceful_shutdown();
            }
            H2Fault::GoAwayError => {
                unanswered.push(respond);
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            }
            H2Fault::GoAwayCut => return raw.write_all(&goaway(id, 0)).unwrap(),
            H2Fault::CutFin => return,
            H2Fault::CutRst => return SockRef::from(&raw).set_linger(Some(Duration::ZERO)).unwrap(),
            H2Fault::CutBodyFin => {
                half(&mut respond, slot, None);
                // Writes what is to be written; nothing else comes, as the client waits.
                let _nothing = timeout(Duration::from_millis(20), connection.accept()).await;
                return;
            }
            H2Fault::Stall => unanswered.push(respond),
        }
    }
}

fn answer(mut respond: SendResponse<Bytes>, status: StatusCode, slot: u64, delay: Duration) {
    spawn_local(async move {
        if !delay.is_zero() {
            sleep(delay).await;
        }
        // The client may be gone by now.
        if let Ok(mut body) = respond.send_response(head(status, slot), false) {
            let _gone = body.send_data(Bytes::from_static(b"ok\n"), true);
        }
    });
}

/// Its head and ten bytes of a hundred; then a reset, if any.
fn half(respond: &mut SendResponse<Bytes>, slot: u64, reset: Option<Reason>) {
    let mut body = respond.send_response(head(StatusCode::OK, slot), false).unwrap();
    body.send_data(Bytes::from_static(b"0123456789"), false).unwrap();
    spawn_local(async move {
        // Sent at once, the reset would take the data with it.
        sleep(Duration::from_millis(20)).await;
        match reset {
            Some(reason) => body.send_reset(reason),
            None => std::future::pending().await,
        }
    });
}

fn head(status: StatusCode, slot: u64) -> Response<()> {
    let head = Response::builder().status(status).header("drainproof-slot", slot);
    head.header("drainproof-state", "serving").header("drainproof-sequence", 7).body(()).unwrap()
}

fn goaway(last_stream: u32, code: u32) -> Vec<u8> {
    [&[0, 0, 8, 7, 0, 0, 0, 0, 0][..], &last_stream.to_be_bytes(), &code.to_be_bytes()].concat()
}
