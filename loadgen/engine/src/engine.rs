//! The handle: an engine runs on a thread of its own, so that nothing else in the process disturbs its pacing.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::{Ipv4Addr, UdpSocket};
use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use clock::Clock;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::Notify;
use tokio::task::spawn_local;
use trial::arrival::Schedule;
use trial::id::{LaneId, NodeId};
use trial::record::Record;
use trial::settings::{Arrivals, Load};
use trial::time::Stamp;

use crate::error::EngineError;
use crate::hand::Hands;
use crate::http1::ROOM;
use crate::lane::{Lane, LanePlan};
use crate::pacer::{self, Agenda, Control};
use crate::progress::{Counters, Progress};
use crate::request::Template;
use crate::route::Route;
use crate::secure::Security;
use crate::sink::Sink;
use crate::timer::Timer;
use crate::turn::Lull;
use crate::worker::Worker;

/// The least that the kernel knows.
const TIMER_SLACK_NS: u64 = 1;
/// Tasks polled between two looks at the timer and the sockets. tokio's default of 61 lets slots wait too long.
const EVENT_INTERVAL: u32 = 16;
/// Lanes start within this of each other.
const PHASE_SPREAD: Duration = Duration::from_millis(10);

/// What an engine needs to know.
#[derive(Clone)]
pub struct EngineConfig {
    /// The run's clock.
    pub clock: Clock,
    /// What is sent. `load.target` is not looked at: `route` says where connections go.
    pub load: Load,
    /// Decides Poisson gaps and the random numbers given to `route`.
    pub seed: u64,
    /// The node that the load comes from.
    pub node: NodeId,
    /// Which agent of several this is.
    pub agent: u8,
    /// When the first slot is due. Further lanes begin up to 10 ms later, so that they do not fire in lockstep.
    pub start: Stamp,
    /// Slots under way at once; a slot due beyond that is recorded as unsent.
    pub in_flight_max: usize,
    /// A slot found due longer than this ago is recorded as unsent.
    pub max_lag: Duration,
    /// The load ends by itself after so many slots, over all lanes.
    pub slots: Option<u64>,
    /// The thread polls, rather than sleeps, when the next slot is due within a millisecond or an answer is awaited: slots go out, and
    /// answers are seen, as soon as the machine lets them, and a core has nothing else to do.
    pub exact: bool,
    /// Where new connections go.
    pub route: Arc<dyn Route>,
}

impl EngineConfig {
    /// The usual bounds: 20,000 in flight, a lag of one second; node and agent 0; sleeps where it can.
    #[must_use]
    pub fn new(clock: Clock, load: Load, seed: u64, start: Stamp, route: Arc<dyn Route>) -> Self {
        let (node, agent, in_flight_max, max_lag) = (NodeId(0), 0, 20_000, Duration::from_secs(1));
        let (slots, exact) = (None, false);
        Self { clock, load, seed, node, agent, start, in_flight_max, max_lag, slots, exact, route }
    }
}

impl fmt::Debug for EngineConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the load: its headers may carry credentials.
        f.debug_struct("EngineConfig")
            .field("seed", &self.seed)
            .field("start", &self.start)
            .finish_non_exhaustive()
    }
}

/// Totals of a run that no single record shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// When the last request was done with.
    pub ended: Stamp,
    /// By lane, in the order of the load's lanes.
    pub lanes: Vec<LaneSummary>,
}

/// Totals of one lane. `scheduled` is the number of its records plus `overflowed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneSummary {
    /// Which.
    pub lane: LaneId,
    /// Slots that came due.
    pub scheduled: u64,
    /// Connections established.
    pub connections_opened: u64,
    /// Kept connections that the peer closed unannounced between two requests. Not failures.
    pub idle_closes: u64,
    /// Records lost because nobody took them in time.
    pub overflowed: u64,
}

/// A running engine. Dropping it interrupts the load; [`Engine::join`] waits for it.
#[derive(Debug)]
#[must_use = "dropping an engine interrupts its load"]
pub struct Engine {
    control: Arc<Control>,
    counters: Arc<Counters>,
    thread: Option<JoinHandle<Result<Summary, EngineError>>>,
}

impl Engine {
    /// Validates the load and starts its thread. Records arrive in chunks of up to 1,024 through `records`, at the
    /// latest after 50 ms, failures within about a millisecond. The channel's bound is the caller's: when it is full,
    /// a chunk of rows waits, and beyond that rows are lost and counted; pacing never waits. The channel closes when
    /// the engine has ended.
    ///
    /// # Errors
    /// Requests that cannot be sent as given; no thread, runtime or timer.
    pub fn spawn(config: EngineConfig, records: SyncSender<Vec<Record>>) -> Result<Self, EngineError> {
        let plans = plan(&config.load)?;
        let control = Arc::new(Control::new());
        let counters = Arc::new(Counters::default());
        let (started, outcome) = sync_channel(1);
        let (shared, counted) = (Arc::clone(&control), Arc::clone(&counters));
        let body = move || {
            // Short sleeps (of what waits for sockets as well) are to end when they should; where this cannot be had, they end 50 µs later.
            let _exact = nix::sys::prctl::set_timerslack(TIMER_SLACK_NS);
            let machinery = match Machinery::new() {
                Ok(ready) => ready,
                Err(error) => {
                    // The caller waits for this outcome; it is not gone.
                    let _received = started.send(Err(error));
                    return Ok(Summary::default());
                }
            };
            let _received = started.send(Ok(()));
            drop(started);
            drive(&machinery, config, plans, &shared, counted, records)
        };
        let thread =
            thread::Builder::new().name("engine".to_owned()).spawn(body).map_err(EngineError::Thread)?;
        outcome.recv().map_err(|_| EngineError::Died)??;
        Ok(Self { control, counters, thread: Some(thread) })
    }

    /// How far the load is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.counters.snapshot()
    }

    /// No slot is due after this. Of several calls the earliest instant wins. What is in flight may finish, which
    /// takes no longer than the requests' own timeout.
    pub fn stop_at(&self, last: Stamp) {
        self.control.stop_at(last);
    }

    /// Ends the load now: no further slots, and what is in flight is recorded as interrupted.
    pub fn interrupt(&self) {
        self.control.interrupt();
    }

    /// True once the load has ended by itself, and [`Engine::join`] will not block.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the load to end, as [`Engine::stop_at`] or [`Engine::interrupt`] asked it to: without either this
    /// never returns.
    ///
    /// # Errors
    /// The timer failed during the run, or the thread died.
    pub fn join(mut self) -> Result<Summary, EngineError> {
        self.thread.take().ok_or(EngineError::Died)?.join().map_err(|_| EngineError::Died)?
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.control.interrupt();
    }
}

/// Whether an engine would begin this load, as far as that can be known without one.
///
/// # Errors
/// As [`Engine::spawn`] for requests that cannot be sent as given.
pub fn check(load: &Load) -> Result<(), EngineError> {
    plan(load).map(drop)
}

fn plan(load: &Load) -> Result<Vec<LanePlan>, EngineError> {
    let count = load.lanes.len();
    let security = Security::of(load)?;
    let lanes = load.lanes.iter().enumerate().map(|(index, lane)| {
        if lane.arrivals != Arrivals::Closed && !(lane.rate.is_finite() && lane.rate > 0.0) {
            return Err(EngineError::Rate { lane: lane.kind.as_str(), rate: lane.rate });
        }
        Ok(LanePlan {
            id: LaneId(u8::try_from(index).map_err(|_| EngineError::Lanes { count })?),
            template: Template::new(&load.request, lane, &load.target, security.is_some())?,
            expected: load.request.expect_status,
            timeout: load.timeout,
            one_way: load.rtt / 2,
            security: security.as_ref().map(|lanes| lanes[index].clone()),
            settings: lane.clone(),
        })
    });
    lanes.collect()
}

/// What runs the tasks, and knows when to.
struct Machinery {
    runtime: LocalRuntime,
    timer: Rc<Timer>,
    lull: Arc<Lull>,
}

impl Machinery {
    fn new() -> Result<Self, EngineError> {
        let lull = Arc::<Lull>::default();
        let parks = Arc::clone(&lull);
        let runtime = Builder::new_current_thread()
            .enable_all()
            .on_thread_park(move || parks.begins())
            .event_interval(EVENT_INTERVAL)
            .build_local(LocalOptions::default())
            .map_err(EngineError::Runtime)?;
        let timer = Rc::new(runtime.block_on(async { Timer::new() })?);
        Ok(Self { runtime, timer, lull })
    }
}

/// As long as any socket asks for it, the kernel stamps all that it receives. To begin and to end that stops all cores for a
/// moment, which each connection would do that is alone: so one socket asks that receives nothing.
fn keep_stamping() -> Option<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true).ok()?;
    Some(socket)
}

fn drive(
    machinery: &Machinery,
    config: EngineConfig,
    plans: Vec<LanePlan>,
    control: &Arc<Control>,
    counters: Arc<Counters>,
    records: SyncSender<Vec<Record>>,
) -> Result<Summary, EngineError> {
    let mut random = fastrand::Rng::with_seed(config.seed);
    let schedules: Vec<_> = plans.iter().map(|plan| schedule(plan, plans.len(), random.u64(..))).collect();
    let mut agenda = Agenda::new(config.start, schedules);
    let sink = RefCell::new(Sink::new(records, plans.len()));
    let lanes = plans
        .into_iter()
        .map(|plan| {
            Lane::new(plan, config.clock, (&config.route, config.node), random.u64(..), &machinery.lull)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let asked = lanes.iter().any(|lane| lane.asks_when());
    let _stamping = asked.then(keep_stamping);
    let worker = Rc::new(Worker {
        clock: config.clock,
        node: config.node,
        agent: config.agent,
        in_flight_max: config.in_flight_max,
        max_lag: config.max_lag,
        exact: config.exact,
        route: config.route,
        random: RefCell::new(random),
        lanes,
        counters,
        sink,
        connections: Cell::new(0),
        in_flight: Cell::new(0),
        opening: Cell::new(0),
        room: RefCell::new(vec![0; ROOM].into_boxed_slice()),
        urgent: Notify::new(),
        quiet: Notify::new(),
        interrupted: Cell::new(false),
        hands: RefCell::new(Hands::default()),
        control: Arc::clone(control),
        lull: Arc::clone(&machinery.lull),
        looked: Cell::new(Stamp::ZERO),
        stamped: Cell::new(false),
        slots_left: Cell::new(config.slots.unwrap_or(u64::MAX)),
        loops: Cell::new(0),
    });
    machinery.runtime.block_on(async {
        let flusher = spawn_local(Rc::clone(&worker).flush_forever());
        let cutter = spawn_local(Rc::clone(&worker).cut_forever());
        let lulls = spawn_local(Rc::clone(&worker).use_lulls());
        // As a task of its own: what the runtime runs by itself it runs before all tasks.
        let (pacers, timer) = (Rc::clone(&worker), Rc::clone(&machinery.timer));
        let paced = spawn_local(async move { pacer::run(&pacers, &timer, &mut agenda).await }).await;
        let paced = paced.unwrap_or_else(|panicked| resume_unwind(panicked.into_panic()));
        flusher.abort();
        cutter.abort();
        lulls.abort();
        let summary = worker.finish().await;
        paced.map(|()| summary).map_err(EngineError::Timer)
    })
}

/// Lanes are spread over the shorter of their gap and [`PHASE_SPREAD`].
fn schedule(plan: &LanePlan, lanes: usize, seed: u64) -> Schedule {
    let lane = &plan.settings;
    let gap = Duration::try_from_secs_f64(1.0 / lane.rate).unwrap_or(Duration::MAX);
    let share = u32::try_from(lanes).unwrap_or(u32::MAX).max(1);
    let phase = gap.min(PHASE_SPREAD) / share * u32::from(plan.id.0);
    Schedule::new(lane.rate, lane.arrivals, lane.ramp, seed, phase)
}
