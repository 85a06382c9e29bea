//! The program that sends load from inside a cluster, told by a controller what and when: see
//! [`cluster_kube::agent`] for what they say to each other.

// size: one call after the other of a small protocol, over one state.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use clock::Clock;
use cluster_kube::agent::{ABANDONED_AFTER, At, LaneSummary, PORT, Plan, Progress, Spoken, Summary};
use contract::clock::Reading;
use engine::{Direct, Engine, EngineConfig, Named};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use trial::id::{NodeId, PodId};
use trial::record::Record;
use trial::recording::part;
use trial::time::Stamp;

use crate::exit_code::ExitCode;
use crate::heartbeat::Heartbeat;
use crate::recorder::politeness;
use crate::target::look_up;

/// A plan holds a body and headers of the user's at most.
const BODY_MAX: usize = 16 << 20;
/// Chunks of records that may wait to be put into parts.
const CHUNKS: usize = 256;
/// A part is closed after this …
const PART_EVERY: Duration = Duration::from_secs(2);
/// … or with so many rows.
const PART_ROWS: usize = 131_072;
/// Finished parts that nobody fetches may take so much memory; beyond it rows are lost, and counted.
const PARTS_BYTES: usize = 192 << 20;
/// Names are looked up before the controller gives its call up.
const LOOK_UP_WITHIN: Duration = Duration::from_secs(10);
/// A body that was begun is there by then.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// Connections at once: a controller has one, and another if the first broke.
const CONNECTIONS: usize = 16;

/// The agent's state. Locked for moments only.
type Shared = Arc<Mutex<State>>;

#[derive(Debug, Default)]
struct State {
    plan: Option<Plan>,
    target: Option<SocketAddr>,
    engine: Option<Arc<Engine>>,
    names: Names,
    parts: Parts,
    lanes: Option<Vec<LaneSummary>>,
    writer: Option<JoinHandle<()>>,
    /// Beats as long as the process lives.
    heartbeat: Option<Heartbeat>,
    stalls: Vec<(At, u64)>,
    error: Option<String>,
    heard_ns: Option<u64>,
}

/// Parts by number; those that were fetched are empty.
#[derive(Debug, Default)]
struct Parts {
    finished: Vec<Bytes>,
    bytes: usize,
    rows: u64,
    lost: u64,
}

/// Pods in the order in which answers named them; read without a lock on the engine's thread.
#[derive(Debug, Clone, Default)]
struct Names(Arc<ArcSwap<BTreeMap<String, PodId>>>);

impl Names {
    fn id(&self, name: &str) -> Option<PodId> {
        if let Some(known) = self.0.load().get(name) {
            return Some(*known);
        }
        // Only the engine's thread comes here: nobody else adds names.
        let mut names = BTreeMap::clone(&self.0.load());
        let id = PodId(u16::try_from(names.len()).ok().filter(|id| *id < PodId::NONE.0)?);
        names.insert(name.to_owned(), id);
        self.0.store(Arc::new(names));
        Some(id)
    }

    fn list(&self) -> Vec<String> {
        let mut names: Vec<(PodId, String)> =
            self.0.load().iter().map(|(name, id)| (*id, name.clone())).collect();
        names.sort();
        names.into_iter().map(|(_, name)| name).collect()
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves a controller until it lets the agent go.
#[must_use]
pub fn main() -> ExitCode {
    crate::limits::open_files();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("failed to start the runtime: {error}")),
    };
    runtime.block_on(serve())
}

fn failed(message: &str) -> ExitCode {
    tracing::error!("{message}");
    ExitCode::CouldNotRun
}

async fn serve() -> ExitCode {
    let shared = Shared::default();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(error) => return failed(&format!("failed to listen on {address}: {error}")),
    };
    let (release, mut released) = watch::channel(false);
    let mut looks = tokio::time::interval(Duration::from_secs(1));
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        tokio::select! {
            (accepted, place) = accept(&listener, &places) => if let Ok((stream, _)) = accepted {
                let (shared, release) = (Arc::clone(&shared), release.clone());
                let service = service_fn(move |request| answer(Arc::clone(&shared), release.clone(), request));
                tokio::spawn(async move {
                    let _place = place;
                    let mut server = http1::Builder::new();
                    server.timer(TokioTimer::new()).header_read_timeout(None);
                    if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
                        tracing::debug!("a controller's connection: {error}");
                    }
                });
            },
            _ = released.wait_for(|released| *released) => {
                // The answer to the release itself is still to be written.
                tokio::time::sleep(Duration::from_millis(100)).await;
                return ExitCode::Success;
            }
            _ = looks.tick() => if is_abandoned(&shared) {
                if let Some(engine) = &lock(&shared).engine {
                    engine.interrupt();
                }
                return failed("no word of the controller any more: the load is ended");
            }
        }
    }
}

/// The next connection, once there is a place for it.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (std::io::Result<(TcpStream, SocketAddr)>, Option<OwnedSemaphorePermit>) {
    let place = Arc::clone(places).acquire_owned().await.ok();
    let accepted = listener.accept().await;
    if accepted.is_err() {
        // No file is left for it: the next moment may have one.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    (accepted, place)
}

/// Before the first word an agent waits: its controller may be busy with the workload. The Job's deadline bounds it.
fn is_abandoned(shared: &Shared) -> bool {
    let limit = u64::try_from(ABANDONED_AFTER.as_nanos()).unwrap_or(u64::MAX);
    lock(shared).heard_ns.is_some_and(|heard| clock::monotonic_ns().saturating_sub(heard) > limit)
}

async fn answer(
    shared: Shared,
    release: watch::Sender<bool>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    lock(&shared).heard_ns = Some(clock::monotonic_ns());
    let (head, body) = request.into_parts();
    let body = match tokio::time::timeout(BODY_WITHIN, Limited::new(body, BODY_MAX).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        _ => return Ok(text(StatusCode::BAD_REQUEST, "the body did not arrive")),
    };
    let path = head.uri.path();
    Ok(match (head.method, path) {
        (Method::GET, "/clock") => {
            let (wall_ns, mono_ns) = (clock::wall_ns(), clock::monotonic_ns());
            json(&Reading { wall_ns, mono_ns })
        }
        (Method::POST, "/plan") => match planned(&shared, &body).await {
            Ok(()) => text(StatusCode::OK, ""),
            Err(reason) => text(StatusCode::BAD_REQUEST, &reason),
        },
        (Method::POST, "/start") => with(&body, |at| start(&shared, at)),
        (Method::POST, "/stop") => with(&body, |at| stop(&shared, at)),
        (Method::GET, "/progress") => json(&progress(&shared)),
        (Method::GET, "/pods") => json(&lock(&shared).names.list()),
        (Method::POST, "/release") => {
            release.send_replace(true);
            text(StatusCode::OK, "")
        }
        (Method::GET, path) if path.starts_with("/recording/") => recording(&shared, path),
        _ => text(StatusCode::NOT_FOUND, "no such call"),
    })
}

fn text(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(text.as_bytes())));
    *response.status_mut() = status;
    response
}

fn json(value: &impl Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_vec(value) {
        Ok(bytes) => Response::new(Full::new(Bytes::from(bytes))),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn with<T: serde::de::DeserializeOwned>(
    body: &Bytes,
    act: impl FnOnce(T) -> Result<(), String>,
) -> Response<Full<Bytes>> {
    let done = serde_json::from_slice(body).map_err(|error| error.to_string()).and_then(act);
    match done {
        Ok(()) => text(StatusCode::OK, ""),
        Err(reason) => text(StatusCode::BAD_REQUEST, &reason),
    }
}

/// Reads a plan only of a controller that means the same by it.
async fn planned(shared: &Shared, body: &Bytes) -> Result<(), String> {
    let spoken: Spoken = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    if spoken.source != crate::SOURCE {
        return Err(format!(
            "the image of the agents is of another build than this loadgen (source {}, not {}): make both from the same \
             (scripts/image), and load the image on every node",
            crate::SOURCE,
            if spoken.source.is_empty() { "unknown" } else { &spoken.source }
        ));
    }
    let plan: Plan = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    if let Some(known) = &lock(shared).plan {
        return if *known == plan { Ok(()) } else { Err("this agent has another plan".to_owned()) };
    }
    let name = plan.target.clone();
    let found = tokio::task::spawn_blocking(move || look_up(&name));
    let target = match tokio::time::timeout(LOOK_UP_WITHIN, found).await {
        Ok(found) => found.map_err(|error| error.to_string())??,
        Err(_) => return Err(format!("{} does not resolve within {LOOK_UP_WITHIN:?}", plan.target)),
    };
    let mut state = lock(shared);
    (state.target, state.plan) = (Some(target), Some(plan));
    Ok(())
}

/// A second call is a repetition of the first, whose answer was lost.
fn start(shared: &Shared, at: At) -> Result<(), String> {
    let mut state = lock(shared);
    if state.engine.is_some() || state.lanes.is_some() {
        return Ok(());
    }
    let (Some(plan), Some(target)) = (state.plan.clone(), state.target) else {
        return Err("there is no plan".to_owned());
    };
    let clock = Clock::with_epoch(plan.epoch_mono_ns);
    let names = state.names.clone();
    let route = Arc::new(Named {
        route: Direct(target),
        pods: move |name: &str| names.id(name),
        sticky: plan.sticky,
    });
    let mut config = EngineConfig::new(clock, plan.load, plan.seed, clock.stamp(at.mono_ns), route);
    (config.agent, config.node) = (plan.agent, NodeId(plan.node));
    let (rows, inbox) = sync_channel(CHUNKS);
    let engine = Engine::spawn(config, rows).map_err(|error| error.to_string())?;
    let writing = Arc::clone(shared);
    let writer = thread::Builder::new().name("parts".to_owned()).spawn(move || write(&writing, &inbox));
    state.writer = Some(writer.map_err(|error| error.to_string())?);
    state.engine = Some(Arc::new(engine));
    let watched = Arc::clone(shared);
    let heartbeat = Heartbeat::start(clock, move |at: Stamp, for_ns| {
        let mono_ns = u64::try_from(clock.raw(at).as_nanos()).unwrap_or(u64::MAX);
        lock(&watched).stalls.push((At { mono_ns }, for_ns));
    });
    state.heartbeat = Some(heartbeat.map_err(|error| error.to_string())?);
    Ok(())
}

fn stop(shared: &Shared, at: Option<At>) -> Result<(), String> {
    let state = lock(shared);
    let (Some(engine), Some(plan)) = (&state.engine, &state.plan) else {
        return if state.lanes.is_some() { Ok(()) } else { Err("there is no load".to_owned()) };
    };
    match at {
        Some(at) => engine.stop_at(Clock::with_epoch(plan.epoch_mono_ns).stamp(at.mono_ns)),
        None => engine.interrupt(),
    }
    Ok(())
}

fn progress(shared: &Shared) -> Progress {
    let mut state = lock(shared);
    let now = state.engine.as_ref().map(|engine| engine.progress()).unwrap_or_default();
    conclude(&mut state);
    let summary = match (&state.lanes, &state.writer) {
        (Some(lanes), None) => Some(Summary {
            lanes: lanes.clone(),
            parts: u32::try_from(state.parts.finished.len()).unwrap_or(u32::MAX),
            rows: state.parts.rows,
            stalls: state.stalls.clone(),
        }),
        _ => None,
    };
    let (sent, failed, in_flight, unsent) = (now.sent, now.failed, now.in_flight, now.unsent);
    Progress { sent, failed, in_flight, unsent, summary, error: state.error.clone() }
}

/// Takes the engine's totals once it has ended, and then the writer's.
fn conclude(state: &mut State) {
    if state.engine.as_ref().is_some_and(|engine| engine.is_finished())
        && let Some(engine) = state.engine.take().and_then(Arc::into_inner)
    {
        match engine.join() {
            Ok(summary) => {
                let lane = |lane: &engine::LaneSummary| LaneSummary {
                    scheduled: lane.scheduled,
                    connections_opened: lane.connections_opened,
                    idle_closes: lane.idle_closes,
                    overflowed: lane.overflowed,
                };
                state.lanes = Some(summary.lanes.iter().map(lane).collect());
            }
            Err(error) => state.error = Some(error.to_string()),
        }
    }
    if state.lanes.is_some()
        && let Some(writer) = state.writer.take_if(|writer| writer.is_finished())
    {
        if writer.join().is_err() {
            state.error = Some("the writer of its recording failed".to_owned());
        }
        let lost = state.parts.lost;
        if let Some(first) = state.lanes.as_mut().and_then(|lanes| lanes.first_mut()) {
            first.overflowed += lost;
        }
    }
}

/// Hands out a part, and lets go of those before it.
fn recording(shared: &Shared, path: &str) -> Response<Full<Bytes>> {
    let Some(number) = path.strip_prefix("/recording/").and_then(|number| number.parse::<usize>().ok())
    else {
        return text(StatusCode::BAD_REQUEST, "no number of a part");
    };
    let mut state = lock(shared);
    let parts = &mut state.parts;
    for old in parts.finished.iter_mut().take(number) {
        parts.bytes -= old.len();
        *old = Bytes::new();
    }
    match parts.finished.get(number) {
        Some(part) if part.is_empty() => text(StatusCode::GONE, "that part was fetched already"),
        Some(part) => Response::new(Full::new(part.clone())),
        None => text(StatusCode::NO_CONTENT, ""),
    }
}

/// Puts records into parts until the engine has ended.
fn write(shared: &Shared, inbox: &Receiver<Vec<Record>>) {
    let mut open = Vec::new();
    let mut opened = clock::monotonic_ns();
    loop {
        let over = match inbox.recv_timeout(PART_EVERY / 4) {
            Ok(chunk) => {
                open.extend(chunk);
                false
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
        };
        let age = Duration::from_nanos(clock::monotonic_ns().saturating_sub(opened));
        if over || age >= PART_EVERY || open.len() >= PART_ROWS {
            close(shared, &mut open);
            opened = clock::monotonic_ns();
        }
        if over {
            return;
        }
    }
}

fn close(shared: &Shared, open: &mut Vec<Record>) {
    if open.is_empty() {
        return;
    }
    let encoded = part::encode(open, politeness(open.len() >= PART_ROWS));
    let rows = open.len() as u64;
    open.clear();
    let mut state = lock(shared);
    match encoded {
        Ok(bytes) if state.parts.bytes + bytes.len() <= PARTS_BYTES => {
            state.parts.bytes += bytes.len();
            state.parts.rows += rows;
            state.parts.finished.push(Bytes::from(bytes));
        }
        Ok(_) => state.parts.lost += rows,
        Err(error) => state.error = Some(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
