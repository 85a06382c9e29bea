//! Open loop: what is due while the server stands still counts from when it was due.
#![cfg(test)] // For the lints, which take helpers for test code only where it says so.

use std::path::Path;
use std::time::Duration;

use testkit::{ServerProcess, Stall, Stalled};
use trial::record::{Class, Record};

const STALL: Stall = Stall {
    rate: 200.0,
    lasts: Duration::from_secs(3),
    late_over: Duration::from_millis(500),
    around: Duration::from_secs(1),
};
/// Within this the server has answered all 1,200 once it goes on, on a machine that does other things too. How long it
/// really took is what the figures below may be off by; a quiet machine takes 20 to 260 ms: a thread for each connection that waited.
const RECOVERY_MAX: Duration = Duration::from_millis(1500);
/// Two slots: one at either end.
const EDGES: f64 = 2.0;

#[test]
fn a_server_that_stands_still_makes_late_what_was_due_meanwhile() {
    let server = ServerProcess::start(Path::new(env!("CARGO_BIN_EXE_stall"))).unwrap();
    let stalled = STALL.measure(&server).unwrap();
    for (kind, records) in &stalled.lanes {
        println!("lane {}", kind.as_str());
        assert_lane(&stalled, records);
    }
}

fn assert_lane(stalled: &Stalled, records: &[Record]) {
    // Every slot was sent, and answered.
    assert!(records.iter().map(|record| record.slot).eq(0..records.len() as u64));
    assert!(records.iter().all(|record| record.class == Class::None && !record.is_unsent()));
    let (from, to) = (stalled.stopped.1, stalled.continued.0);
    let lasted = to.saturating_since(from);
    assert!(lasted >= STALL.lasts);
    let during: Vec<&Record> =
        records.iter().filter(|record| record.intended > from && record.intended < to).collect();
    let due = STALL.rate * lasted.as_secs_f64();
    assert!((count(during.len()) - due).abs() <= EDGES, "{} of {due}", during.len());

    // All of them end together, no earlier than the server goes on: so latency falls linearly.
    let ends: Vec<_> = during.iter().map(|record| record.at(record.end).unwrap()).collect();
    // The unit of an offset is 100 ns.
    let first = *ends.iter().min().unwrap() + Duration::from_nanos(100);
    assert!(first >= to, "answered while the server stood still");
    let recovery = ends.iter().max().unwrap().saturating_since(to);
    println!("{} were due meanwhile; the last of them was answered {recovery:?} later", during.len());
    assert!(recovery < RECOVERY_MAX, "{recovery:?}");
    let mut latencies: Vec<Duration> =
        during.iter().map(|record| Duration::from_nanos(record.latency_ns().unwrap())).collect();
    latencies.sort_unstable();
    let slack = Duration::from_secs_f64(EDGES / STALL.rate);
    for tenths in [1, 3, 5, 7, 9, 10] {
        let at = (latencies.len() * usize::try_from(tenths).unwrap() / 10).min(latencies.len() - 1);
        let linear = lasted * tenths / 10;
        println!("{tenths}/10: {:?}, by the schedule {linear:?}", latencies[at]);
        assert!(latencies[at] + slack >= linear && latencies[at] <= linear + recovery + slack);
    }

    // R·(T − lateOver) are late, and none but for the stall.
    let is_late = |record: &&Record| Duration::from_nanos(record.latency_ns().unwrap()) > STALL.late_over;
    let late = count(during.iter().copied().filter(is_late).count());
    let least = STALL.rate * lasted.saturating_sub(STALL.late_over).as_secs_f64();
    println!("{late} late, by the schedule {least}");
    assert!(late >= least - EDGES && late <= least + STALL.rate * recovery.as_secs_f64() + EDGES);
    let outside = records.iter().filter(|record| {
        record.intended + STALL.late_over < stalled.stopped.0
            || record.intended > stalled.continued.1 + recovery
    });
    assert_eq!(outside.filter(is_late).count(), 0, "late although the server was running");
}

fn count(items: usize) -> f64 {
    f64::from(u32::try_from(items).unwrap())
}
