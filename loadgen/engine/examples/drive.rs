//! The engine by itself: what a request costs, without a recording or a report. For profiles of the hot path.
//!
//! usage: `drive ADDR:PORT [RATE|max] [SECONDS] [CONNECTIONS]`

#![expect(clippy::print_stdout, reason = "figures are what it is for")]

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use clock::Clock;
use engine::{Direct, Engine, EngineConfig};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use trial::record::Record;
use trial::settings::{Arrivals, Lane, LaneKind, Load};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address: SocketAddr = arguments.next().ok_or("which address?")?.parse()?;
    let rate = arguments.next().filter(|rate| rate != "max").map(|rate| rate.parse::<f64>()).transpose()?;
    let seconds = arguments.next().map_or(Ok(3), |seconds| seconds.parse::<u64>())?;
    let connections = arguments.next().map_or(Ok(50), |number| number.parse::<u32>())?;
    let (clock, _) = Clock::start();
    let start = clock.now() + Duration::from_millis(20);
    let (sender, records) = sync_channel::<Vec<Record>>(256);
    let config = EngineConfig::new(clock, load(rate, connections), 1, start, Arc::new(Direct(address)));
    let engine = Engine::spawn(config, sender)?;
    engine.stop_at(start + Duration::from_secs(seconds));
    let (mut latencies, mut lags, mut failed) = (Vec::new(), Vec::new(), 0_u64);
    for record in records.iter().flatten() {
        failed += u64::from(record.class != trial::record::Class::None || record.is_unsent());
        latencies.extend(record.latency_ns());
        lags.extend(record.lag_ns());
    }
    let summary = engine.join()?;
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    latencies.sort_unstable();
    lags.sort_unstable();
    let at = |values: &[u64], permille: usize| {
        values.get(values.len() * permille / 1000).copied().unwrap_or(0) / 1000
    };
    let answered = latencies.len().max(1) as u64;
    println!(
        "{} a second, {failed} failed, CPU per request {} ns user {} ns system, latency p50 {} p99 {} p99.9 {} µs, lag p50 {} p99 {} µs, {} connections",
        answered / seconds,
        usage.user_time().num_microseconds().unsigned_abs() * 1000 / answered,
        usage.system_time().num_microseconds().unsigned_abs() * 1000 / answered,
        at(&latencies, 500),
        at(&latencies, 990),
        at(&latencies, 999),
        at(&lags, 500),
        at(&lags, 990),
        summary.lanes.iter().map(|lane| lane.connections_opened).sum::<u64>(),
    );
    Ok(())
}

fn load(rate: Option<f64>, connections: u32) -> Load {
    let lane = Lane {
        connections,
        arrivals: if rate.is_some() { Arrivals::Constant } else { Arrivals::Closed },
        ..Lane::new(LaneKind::Reused, rate.unwrap_or(0.0))
    };
    Load::new(vec![lane])
}
