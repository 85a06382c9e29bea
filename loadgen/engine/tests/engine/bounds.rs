//! Pacing, and what happens at every bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use clock::Clock;
use engine::{Engine, EngineConfig, EngineError, Pick};
use trial::id::NodeId;
use trial::record::{Class, Flags, Record, Stage};
use trial::settings::{Arrivals, Lane, LaneKind};
use trial::time::Stamp;

use crate::fault_server::{Fault, FaultServer};
use crate::h2_server::{H2Fault, H2Server};
use crate::support::{POD, Run, assert_one_record_a_slot, lane, load, to};

#[test]
fn two_thousand_slots_a_second_go_out_when_they_are_due() {
    let server = FaultServer::start(|_slot| Fault::None);
    let load = load(vec![lane(LaneKind::Reused, 2000.0)]);
    let run = Run::start(load, to(server.address));
    let start = run.start;
    let (records, _) = run.finish(Duration::from_secs(2));
    assert_eq!(records.len(), 4001);
    assert_eq!(server.seen().len(), 4001);
    for record in &records {
        assert_eq!(record.intended, start + Duration::from_micros(500 * record.slot));
    }
    let mut lags: Vec<u64> = records.iter().filter_map(Record::lag_ns).collect();
    lags.sort_unstable();
    let quantile = |per_mille: usize| Duration::from_nanos(lags[lags.len() * per_mille / 1000]);
    println!("lag p50 {:?} p99 {:?} p99.9 {:?}", quantile(500), quantile(990), quantile(999));
    // A machine that builds at the same time delays some slots; half of them it does not delay by a tick.
    assert!(quantile(500) < Duration::from_millis(1), "{:?}", quantile(500));
}

#[test]
fn an_exact_client_sends_within_microseconds_also_while_slots_wait_for_connections() {
    let server = FaultServer::start(|_slot| Fault::None);
    // The second lane's slots find its connection busy: they open theirs once the engine has nothing to do, which one that polls
    // would never have.
    let lanes = vec![lane(LaneKind::Reused, 2000.0), Lane { connections: 1, ..lane(LaneKind::Slow, 100.0) }];
    let run = Run::start_with(load(lanes), to(server.address), |config| config.exact = true);
    let (records, summary) = run.finish(Duration::from_secs(1));
    assert!(records.len() >= 2100, "{}", records.len());
    assert!(summary.lanes[1].connections_opened > 1, "{:?}", summary.lanes[1]);
    assert!(records.iter().all(|record| record.class == Class::None && !record.is_unsent()));
    let lags = |lane: u8| {
        let of_lane = records.iter().filter(|record| record.lane.0 == lane);
        let mut lags: Vec<u64> = of_lane.filter_map(Record::lag_ns).collect();
        lags.sort_unstable();
        println!("lag p10 {} p50 {} ns", lags[lags.len() / 10], lags[lags.len() / 2]);
        lags
    };
    // Who sleeps until then is woken tens of microseconds later, always. Other work on this core delays many, but not all.
    let (fast, slow) = (lags(0), lags(1));
    assert!(fast[fast.len() / 10] < 10_000, "{} ns", fast[fast.len() / 10]);
    assert!(slow[slow.len() / 2] < 20_000_000, "{} ns: they waited for one another", slow[slow.len() / 2]);
}

/// Where slots come so fast that the engine sleeps between them and looks at no socket meanwhile, here for nearly 100 µs each time.
#[test]
fn what_was_released_is_sent_before_the_engine_sleeps_whoever_sends_it() {
    let (h1, h2) = (FaultServer::start(|_slot| Fault::None), H2Server::start(|_slot| H2Fault::None));
    for (kind, address) in
        [(LaneKind::Reused, h1.address), (LaneKind::New, h1.address), (LaneKind::H2, h2.address)]
    {
        let (records, _) =
            Run::start(load(vec![lane(kind, 10_050.0)]), to(address)).finish(Duration::from_millis(400));
        let mut took: Vec<Duration> = records
            .iter()
            .filter_map(|record| {
                Some(record.at(record.write_done)?.saturating_since(record.at(record.start)?))
            })
            .collect();
        took.sort_unstable();
        println!("{kind:?}: sent within p10 {:?} p50 {:?}", took[took.len() / 10], took[took.len() / 2]);
        // Other work on this core delays many, but not all. Who slept first was never quicker.
        assert!(took[took.len() / 10] < Duration::from_micros(75), "{kind:?}: {:?}", took[took.len() / 10]);
    }
}

#[test]
fn an_exact_client_is_awake_before_a_slot_is_due() {
    let server = FaultServer::start(|_slot| Fault::None);
    // Ten milliseconds apart, which is long enough to sleep.
    let load = load(vec![lane(LaneKind::Reused, 100.0)]);
    let (records, _) = Run::start_with(load, to(server.address), |config| config.exact = true)
        .finish(Duration::from_secs(2));
    assert!(records.len() == 201 && records.iter().all(|record| record.class == Class::None));
    let mut lags: Vec<u64> = records.iter().filter_map(Record::lag_ns).collect();
    lags.sort_unstable();
    println!("lag p10 {} p50 {} ns", lags[20], lags[100]);
    assert!(lags[20] < 10_000, "{} ns", lags[20]);
}

#[test]
fn a_client_that_did_not_run_for_a_moment_opens_no_connection_for_what_came_due_meanwhile() {
    let server = FaultServer::start(|_slot| Fault::None);
    let (address, picks) = (server.address, AtomicU64::new(0));
    // Lane new asks for each of its requests, and the other lane for its 20 connections: one of these answers takes its time.
    let route = move |_random| {
        if picks.fetch_add(1, Ordering::SeqCst) == 40 {
            std::thread::sleep(Duration::from_millis(200));
        }
        Pick::To { pod: POD, address, fallback: false }
    };
    let load = load(vec![lane(LaneKind::New, 100.0), lane(LaneKind::Reused, 3000.0)]);
    let (records, summary) = Run::start(load, Arc::new(route)).finish(Duration::from_secs(1));
    assert!(records.iter().all(|record| record.class == Class::None && !record.is_unsent()));
    let late = records.iter().filter_map(Record::lag_ns).filter(|lag| *lag > 10_000_000).count();
    assert!(late > 300, "{late} slots came due while the client stood still");
    // One each would be 600. A busy machine may keep the server from answering, which makes some of them right.
    let opened = summary.lanes[1].connections_opened;
    assert!(opened < 20 + 300, "{opened} connections");
}

#[test]
fn a_service_that_does_not_answer_is_not_waited_for() {
    let server = FaultServer::start(|_slot| Fault::StallHeader);
    let mut load = load(vec![lane(LaneKind::Reused, 400.0)]);
    load.timeout = Duration::from_secs(2);
    let (records, summary) = Run::start(load, to(server.address)).finish(Duration::from_millis(500));
    assert_eq!((records.len(), server.seen().len()), (201, 201), "each was sent");
    assert_eq!(summary.lanes[0].connections_opened, 201, "on a connection of its own");
    assert!(records.iter().all(|record| record.class == Class::WaitTimeout));
}

#[test]
fn nor_is_it_where_slots_come_so_fast_that_the_sockets_are_looked_at_by_the_clock() {
    let server = FaultServer::start(|_slot| Fault::StallHeader);
    let run = Run::start(load(vec![lane(LaneKind::Reused, 12_000.0)]), to(server.address));
    // While the load goes on, and not only when it is over and there is nothing else to do.
    let patience = run.start + Duration::from_secs(20);
    while server.seen().len() < 200 {
        assert!(run.clock.now() < patience, "{} came on 20 connections", server.seen().len());
        std::thread::sleep(Duration::from_millis(1));
    }
    run.engine.interrupt();
    let summary = run.engine.join().unwrap();
    let records: Vec<Record> = run.records.iter().flatten().collect();
    assert_eq!(records.len() as u64, summary.lanes[0].scheduled);
    // What did not get its turn was not sent, and is no failure of the service.
    let touched = |record: &&Record| record.class != Class::None || record.stage != Stage::Due;
    assert!(records.iter().filter(|record| record.is_unsent()).all(|record| !touched(&record)));
    assert!(records.iter().filter(touched).all(|record| record.class == Class::Interrupted));
}

#[test]
fn what_is_in_flight_at_an_interrupt_is_recorded_as_interrupted() {
    let server = FaultServer::start(|_slot| Fault::StallHeader);
    let run = Run::start_with(load(vec![lane(LaneKind::New, 200.0)]), to(server.address), |config| {
        (config.node, config.agent) = (NodeId(2), 5);
    });
    while server.seen().len() < 50 {
        std::thread::yield_now();
    }
    let progress = run.engine.progress();
    assert!(progress.in_flight >= 49 && progress.due == progress.sent, "{progress:?}");
    run.engine.interrupt();
    let summary = run.engine.join().unwrap();
    let mut records: Vec<Record> = run.records.iter().flatten().collect();
    records.sort_by_key(|record| record.slot);
    assert_one_record_a_slot(&records, &summary);
    assert!(records.len() >= 50);
    for record in &records {
        assert_eq!(record.class, Class::Interrupted);
        assert_eq!((record.node, record.agent), (NodeId(2), 5));
    }
    assert!(records.iter().filter(|record| record.stage == Stage::Wait).count() >= 50);
}

#[test]
fn beyond_the_in_flight_bound_slots_are_recorded_as_unsent() {
    let server = FaultServer::start(|_slot| Fault::StallHeader);
    let mut load = load(vec![lane(LaneKind::New, 200.0)]);
    load.timeout = Duration::from_secs(2);
    let run = Run::start_with(load, to(server.address), |config| config.in_flight_max = 10);
    let (records, _) = run.finish(Duration::from_millis(500));
    assert_eq!(records.len(), 101);
    let unsent: Vec<&Record> = records.iter().filter(|record| record.is_unsent()).collect();
    assert_eq!((unsent.len(), server.seen().len()), (91, 10));
    assert!(unsent.iter().all(|record| record.class == Class::None && record.stage == Stage::Due));
    assert!(unsent.iter().all(|record| record.start == Record::UNSEEN && record.end == Record::UNSEEN));
    assert!(records[..10].iter().all(|record| record.class == Class::WaitTimeout));
}

#[test]
fn slots_found_too_late_are_recorded_as_unsent() {
    let server = FaultServer::start(|_slot| Fault::None);
    let (clock, anchor) = Clock::start();
    // A run whose first slots were due 3 s ago, as after a stall of the whole machine.
    let past = Clock::with_epoch(i64::try_from(anchor.mono_ns).unwrap() - 3_000_000_000);
    let (sender, records) = sync_channel(64);
    let load = load(vec![lane(LaneKind::Reused, 100.0)]);
    let engine =
        Engine::spawn(EngineConfig::new(past, load, 1, Stamp::ZERO, to(server.address)), sender).unwrap();
    engine.stop_at(past.now());
    let summary = engine.join().unwrap();
    let records: Vec<Record> = records.iter().flatten().collect();
    assert_eq!(records.len() as u64, summary.lanes[0].scheduled);
    let unsent = records.iter().filter(|record| record.flags.has(Flags::UNSENT)).count();
    assert!((200..=records.len()).contains(&unsent), "{unsent} of {}", records.len());
    assert!(records.iter().all(|record| record.is_unsent() || record.lag_ns().is_some_and(|lag| lag > 0)));
    assert!(clock.now() < Stamp::from_nanos(60_000_000_000));
}

#[test]
fn rows_that_nobody_takes_are_counted_and_pacing_goes_on() {
    let server = FaultServer::start(|_slot| Fault::None);
    let (clock, _anchor) = Clock::start();
    let (sender, receiver) = sync_channel(1);
    let load = load(vec![lane(LaneKind::Reused, 4000.0)]);
    let config = EngineConfig::new(clock, load, 1, clock.now(), to(server.address));
    let engine = Engine::spawn(config, sender).unwrap();
    engine.stop_at(clock.now() + Duration::from_secs(1));
    let summary = engine.join().unwrap();
    let records: Vec<Record> = receiver.iter().flatten().collect();
    assert!(summary.lanes[0].overflowed > 0, "{summary:?}");
    assert_one_record_a_slot(&records, &summary);
    assert_eq!(server.seen().len() as u64, summary.lanes[0].scheduled, "sending did not suffer");
}

#[test]
fn failures_are_handed_over_at_once() {
    let server = FaultServer::start(|slot| if slot == 0 { Fault::Unavailable } else { Fault::None });
    // One slot in 1,000 s: nothing else can push the failure out, and the next slot is never waited for.
    let run = Run::start(load(vec![lane(LaneKind::New, 0.001)]), to(server.address));
    let chunk = run.records.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(chunk.iter().map(|record| record.class).collect::<Vec<_>>(), [Class::Http5xx]);
    run.engine.stop_at(run.clock.now());
    assert_eq!(run.engine.join().unwrap().lanes[0].scheduled, 1);
}

#[test]
fn poisson_arrivals_follow_the_seed() {
    let server = FaultServer::start(|_slot| Fault::None);
    let offsets = || {
        let mut poisson = lane(LaneKind::Reused, 500.0);
        poisson.arrivals = Arrivals::Poisson;
        let run = Run::start(load(vec![poisson]), to(server.address));
        let start = run.start;
        let (records, _) = run.finish(Duration::from_millis(300));
        records.iter().map(|record| record.intended.saturating_since(start)).collect::<Vec<_>>()
    };
    let (first, second) = (offsets(), offsets());
    assert!(first.len() > 75 && first == second);
}

#[test]
fn dropping_an_engine_ends_its_load_and_closes_the_channel() {
    let server = FaultServer::start(|_slot| Fault::StallHeader);
    let run = Run::start(load(vec![lane(LaneKind::New, 200.0)]), to(server.address));
    while server.seen().is_empty() {
        std::thread::yield_now();
    }
    drop(run.engine);
    let records: Vec<Record> = run.records.iter().flatten().collect();
    assert!(records.iter().all(|record| record.class == Class::Interrupted) && !records.is_empty());
}

#[test]
fn a_load_that_cannot_be_sent_is_refused_before_it_starts() {
    let (clock, _anchor) = Clock::start();
    let address = ([127, 0, 0, 1], 9).into();
    let spawn = |load| {
        let (sender, _records) = sync_channel(1);
        Engine::spawn(EngineConfig::new(clock, load, 1, clock.now(), Arc::clone(&to(address))), sender)
    };
    let mut bad_header = load(vec![lane(LaneKind::New, 1.0)]);
    bad_header.request.headers.insert("x".to_owned(), "a\r\nb".to_owned());
    assert!(matches!(spawn(bad_header), Err(EngineError::Header { .. })));
    let no_rate = load(vec![lane(LaneKind::New, 0.0)]);
    assert!(matches!(spawn(no_rate), Err(EngineError::Rate { lane: "new", .. })));
}
