//! One row: a fault in a lane.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use clock::Clock;
use engine::{Engine, EngineConfig, EngineError};
use serde::Serialize;
use trial::record::Record;
use trial::settings::{Arrivals, Load};

use crate::compare::{Tally, compare};
use crate::fault::{By, Fault, Spec, Wire};
use crate::lanes::{LANES, TestLane};
use crate::plan::Plan;
use crate::route::FaultRoute;
use crate::server::{Behaviour, FaultServer, LARGE_BODY};

/// Of 1,000 requests, or connections.
const SHARE: u64 = 300;
/// Where requests are to time out. Nothing else may take so long, even on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Each of these, and each late one, holds a connection and a thread of the server for seconds.
const STALL_RATE: f64 = 500.0;
/// Where nothing is to.
const PATIENCE: Duration = Duration::from_secs(30);
const LATE_OVER: Duration = Duration::from_secs(2);
const LATE_BY: Duration = Duration::from_millis(2500);
/// Large bodies are for what happens to them, not for speed: they take their time.
const LARGE_RATE: f64 = 200.0;
/// Loops at least where many requests take seconds, so that ten thousand end within minutes.
const STALL_LOOPS: u32 = 500;

/// How fast requests come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// As fast as the lane is tested.
    Lane,
    /// So many a second, where the fault does not take seconds.
    Rate(f64),
    /// Each when the one before was answered.
    Closed,
}

/// A fault in a lane, and how the records compared with the log.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Name of the fault.
    pub fault: &'static str,
    /// Class that it is to be recorded as; several where the moment decides.
    pub class: String,
    /// Name of the lane.
    pub lane: &'static str,
    /// The comparison.
    #[serde(flatten)]
    pub tally: Tally,
}

/// Failed to run a row. Completes "failed to run a row of the table: …".
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// No sockets or threads.
    #[error("the server of planted faults did not work")]
    Server(#[from] io::Error),
    /// No engine.
    #[error("the engine did not run")]
    Engine(#[from] EngineError),
    /// The server did not do what it should have done, so nothing is proven.
    #[error("faults could not be planted: {0}")]
    Unplanted(String),
    /// Records were lost on the way out of the engine.
    #[error("{0} records overflowed")]
    Overflow(u64),
}

/// All rows of the table: every fault, in every lane that can have it.
pub fn specs() -> impl Iterator<Item = (&'static Spec, &'static TestLane)> {
    LANES.iter().flat_map(|lane| {
        lane.wire.faults().iter().filter(|spec| lane.can_have(spec)).map(move |spec| (spec, lane))
    })
}

/// Runs `requests` slots of a lane, of which some meet the fault, and compares.
///
/// # Errors
/// The run could not be made, or proves nothing. Disagreements are no errors.
pub fn row(spec: &Spec, lane: &TestLane, requests: u64, seed: u64, pace: Pace) -> Result<Row, RowError> {
    let usual = if let Pace::Rate(rate) = pace { rate } else { lane.rate };
    let rate = match spec.by {
        By::Straw => usual.min(LARGE_RATE),
        _ if spec.times_out() || spec.late => usual.min(STALL_RATE),
        _ => usual,
    };
    let cause = match spec.by {
        By::Chance(cause) => cause,
        By::Route | By::Straw | By::Server | By::Connection => spec.fault,
    };
    let nothing = |good: Vec<Fault>| Plan::new(seed, Vec::new(), 0, good);
    let planned = Plan::new(seed, vec![cause], SHARE, good(lane.wire));
    // Where the way is faulty, many connections are needed.
    let (at_server, at_route) = if matches!(spec.by, By::Route | By::Straw) {
        let last = if lane.wire == Wire::Http2 { Fault::GoodGoAway } else { Fault::GoodClose };
        let often = vec![Fault::Good, last, last];
        (nothing(often), planned)
    } else {
        (planned, nothing(vec![Fault::Good]))
    };
    let server = FaultServer::start(&Behaviour {
        wire: lane.wire,
        plan: at_server,
        late_by: LATE_BY,
        hold_for: TIMEOUT * 2,
        interval: match pace {
            Pace::Closed => Duration::ZERO,
            Pace::Lane | Pace::Rate(_) => Duration::from_secs_f64(f64::from(lane.connections) / rate),
        },
        straw: (spec.by == By::Straw).then_some(spec.fault),
    })?;
    let log = server.log();
    let route = FaultRoute::new(at_route, &server)?;
    let records = drive(&load(spec, lane, rate, pace), route, requests, seed)?;
    server.settle()?;
    if let Some(failure) = log.failures().into_iter().next() {
        return Err(RowError::Unplanted(failure));
    }
    let tally =
        compare(spec, lane.wire, &log.requests(), &log.connections(), &records, LATE_OVER + lane.delay);
    Ok(Row { fault: spec.name, class: spec.class_name(), lane: lane.kind.as_str(), tally })
}

/// What the other requests of a row meet: the connections are left in every state that a good answer leaves.
fn good(wire: Wire) -> Vec<Fault> {
    wire.good().iter().map(|good| good.fault).filter(|good| *good != Fault::GoodCloseRace).collect()
}

fn load(spec: &Spec, lane: &TestLane, rate: f64, pace: Pace) -> Load {
    let mut lane = lane.settings(rate, matches!(spec.by, By::Connection | By::Route));
    if pace == Pace::Closed {
        lane.arrivals = Arrivals::Closed;
        if spec.times_out() || spec.late {
            lane.connections = lane.connections.max(STALL_LOOPS);
        }
    }
    let mut load = Load::new(vec![lane]);
    load.request.body = (spec.by == By::Straw).then(|| "x".repeat(LARGE_BODY));
    load.timeout = if spec.times_out() { TIMEOUT } else { PATIENCE };
    load.late_over = LATE_OVER;
    load
}

/// Sends exactly `requests` slots.
fn drive(load: &Load, route: FaultRoute, requests: u64, seed: u64) -> Result<Vec<Record>, RowError> {
    let (clock, _anchor) = Clock::start();
    let start = clock.now() + Duration::from_millis(20);
    let mut config = EngineConfig::new(clock, load.clone(), seed, start, Arc::new(route));
    // A machine that stands still for a while delays slots; that is no affair of this table.
    config.max_lag = Duration::from_mins(1);
    let (sender, receiver) = sync_channel(4096);
    config.slots = Some(requests);
    let engine = Engine::spawn(config, sender)?;
    let mut records: Vec<Record> = receiver.iter().flatten().collect();
    let summary = engine.join()?;
    let overflowed = summary.lanes.iter().map(|lane| lane.overflowed).sum();
    if overflowed > 0 {
        return Err(RowError::Overflow(overflowed));
    }
    records.sort_by_key(|record| record.slot);
    Ok(records)
}
