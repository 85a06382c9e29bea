//! Recall and precision of every class, lane by lane.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clock::Clock;
use engine::Pick;
use trial::id::PodId;
use trial::record::{Class, Flags, Record, Stage};
use trial::settings::LaneKind;

use crate::fault_server::{Fault, FaultServer};
use crate::support::{FAR, NEAR, POD, Run, assert_far, lane, load, to};

/// What each fault is to be recorded as: class, stage, status.
const EXPECTED: &[(Fault, Class, Stage, u16)] = &[
    (Fault::None, Class::None, Stage::Done, 200),
    (Fault::ResetBeforeAnswer, Class::WaitReset, Stage::Wait, 0),
    (Fault::CloseBeforeAnswer, Class::WaitClosed, Stage::Wait, 0),
    (Fault::CutHeadFin, Class::BodyClosed, Stage::Body, 0),
    (Fault::CutBodyFin, Class::BodyClosed, Stage::Body, 200),
    (Fault::CutBodyRst, Class::BodyReset, Stage::Body, 200),
    (Fault::CutChunkFin, Class::BodyClosed, Stage::Body, 200),
    (Fault::BadChunk, Class::BodyCorrupt, Stage::Body, 200),
    (Fault::StallHeader, Class::WaitTimeout, Stage::Wait, 0),
    (Fault::StallBody, Class::BodyTimeout, Stage::Body, 200),
    (Fault::NotFound, Class::Http4xx, Stage::Done, 404),
    (Fault::Unavailable, Class::Http5xx, Stage::Done, 503),
    (Fault::Redirect, Class::StatusUnexpected, Stage::Done, 302),
    (Fault::UnavailableCutFin, Class::BodyClosed, Stage::Body, 503),
    (Fault::Garbage, Class::BodyCorrupt, Stage::Body, 0),
    (Fault::WrongSlot, Class::BodyCorrupt, Stage::Done, 200),
    (Fault::AnnounceClose, Class::None, Stage::Done, 200),
    (Fault::Http10, Class::None, Stage::Done, 200),
    (Fault::IdleClose, Class::None, Stage::Done, 200),
    (Fault::IdleReset, Class::None, Stage::Done, 200),
    (Fault::Foreign, Class::None, Stage::Done, 200),
];

/// Every third slot is faulty, each fault in turn; the last slots are not, so that closes after them are noticed.
fn planted(slot: u64) -> Fault {
    if slot % 3 == 1 && slot < 400 {
        EXPECTED[usize::try_from(slot / 3).unwrap() % EXPECTED.len()].0
    } else {
        Fault::None
    }
}

fn run(kind: LaneKind, rtt: Duration) {
    let server = FaultServer::start(planted);
    // Stalls are the only faults that wait; nothing else may take so long, even on a busy machine.
    let mut load = load(vec![lane(kind, 250.0)]);
    load.timeout = Duration::from_millis(1500);
    load.rtt = rtt;
    let (records, summary) = Run::start(load, to(server.address)).finish(Duration::from_secs(2));
    assert_far(&records, rtt);

    let seen = server.seen();
    let once: BTreeSet<u64> = seen.iter().map(|request| request.slot).collect();
    assert_eq!(once.len(), seen.len(), "a request was sent twice");
    assert_eq!((seen.len(), records.len()), (501, 501), "a request is missing");
    let by_slot: Vec<_> = {
        let mut sorted = seen.clone();
        sorted.sort_by_key(|request| request.slot);
        sorted
    };
    for (record, request) in records.iter().zip(&by_slot) {
        let &(_, class, stage, status) = EXPECTED.iter().find(|row| row.0 == request.fault).unwrap();
        let got = (record.class, record.stage, record.status);
        assert_eq!(got, (class, stage, status), "{:?}: {record:?}", request.fault);
        check_details(record, request.fault);
        assert_eq!(request.method == "POST", kind == LaneKind::Post);
    }
    let closes =
        seen.iter().filter(|r| matches!(r.fault, Fault::IdleClose | Fault::IdleReset)).count() as u64;
    let idle_closes = if kind == LaneKind::New { 0 } else { closes };
    assert_eq!(summary.lanes[0].idle_closes, idle_closes);
    assert_eq!(summary.lanes[0].connections_opened, server.accepted() as u64);
    let connections: BTreeSet<u32> = records.iter().map(|record| record.conn).collect();
    if kind == LaneKind::New {
        assert_eq!(connections.len(), 501);
        assert!(records.iter().all(|record| record.nth == 1 && !record.flags.has(Flags::REUSED)));
        assert!(by_slot.iter().all(|request| request.head.contains("connection: close")));
    } else {
        assert!(connections.len() < 350, "{} connections", connections.len());
        assert!(records.iter().all(|record| record.flags.has(Flags::REUSED) == (record.nth > 1)));
    }
}

fn check_details(record: &Record, fault: Fault) {
    assert_eq!(record.pod, POD);
    let cut = [Fault::CutBodyFin, Fault::CutBodyRst, Fault::CutChunkFin, Fault::UnavailableCutFin];
    assert_eq!(record.flags.has(Flags::TRUNCATED), cut.contains(&fault), "{fault:?}");
    let announced = [Fault::AnnounceClose, Fault::Http10];
    assert_eq!(record.flags.has(Flags::CLOSE_ANNOUNCED), announced.contains(&fault), "{fault:?}");
    let reset = [Fault::ResetBeforeAnswer, Fault::CutBodyRst].contains(&fault);
    assert_eq!(record.os_code, if reset { 104 } else { 0 }, "{fault:?}");
    if fault == Fault::None {
        assert_eq!((record.pod_state, record.sequence), (1, 7));
        let order = [record.start, record.write_done, record.first_byte, record.end];
        assert!(order.is_sorted() && record.end != Record::UNSEEN, "{record:?}");
    }
    if matches!(fault, Fault::StallHeader | Fault::StallBody) {
        assert!(record.end - record.start >= 15_000_000, "1.5 s: {record:?}");
    }
}

#[test]
fn every_planted_fault_is_found_on_new_connections() {
    run(LaneKind::New, NEAR);
}

#[test]
fn every_planted_fault_is_found_on_kept_connections() {
    run(LaneKind::Reused, NEAR);
}

#[test]
fn every_planted_fault_is_found_on_slow_requests() {
    run(LaneKind::Slow, NEAR);
}

#[test]
fn every_planted_fault_is_found_on_posts() {
    run(LaneKind::Post, NEAR);
}

#[test]
fn every_planted_fault_is_found_from_afar() {
    for kind in [LaneKind::New, LaneKind::Reused, LaneKind::Post] {
        run(kind, FAR);
    }
}

#[test]
fn an_answer_that_only_the_close_ends_is_marked_and_ends_with_the_close() {
    let faults = [Fault::None, Fault::CloseDelimited, Fault::CloseDelimitedSilently, Fault::NoContent];
    let fault = move |slot: u64| faults[usize::try_from(slot % 4).unwrap()];
    for kind in [LaneKind::New, LaneKind::Reused] {
        let server = FaultServer::start(fault);
        let load = load(vec![lane(kind, 200.0)]);
        let (records, _) = Run::start(load, to(server.address)).finish(Duration::from_millis(400));
        assert_eq!(records.len(), 81);
        for record in &records {
            assert_eq!(record.class, Class::None, "{record:?}");
            let fault = fault(record.slot);
            let unbounded = [Fault::CloseDelimited, Fault::CloseDelimitedSilently].contains(&fault);
            assert_eq!(record.flags.has(Flags::CLOSE_DELIMITED), unbounded, "{fault:?}: {record:?}");
            if unbounded {
                // From the request on: when the first byte was read is the client's own affair, on a busy machine late.
                assert!(record.end - record.start >= 200_000, "the close came 20 ms later: {record:?}");
            }
        }
    }
}

#[test]
fn a_post_whose_body_does_not_come_back_is_corrupt() {
    let server = FaultServer::start(|slot| if slot % 5 == 2 { Fault::WrongBody } else { Fault::None });
    let load = load(vec![lane(LaneKind::Post, 200.0)]);
    let (records, _) = Run::start(load, to(server.address)).finish(Duration::from_millis(500));
    assert_eq!(records.len(), 101);
    for record in &records {
        let expected = if record.slot % 5 == 2 { Class::BodyCorrupt } else { Class::None };
        assert_eq!((record.class, record.stage), (expected, Stage::Done), "{record:?}");
    }
}

#[test]
fn an_answer_that_overtakes_the_request_counts_by_its_status() {
    let server = FaultServer::start(|_slot| Fault::EarlyRefusal);
    let mut load = load(vec![lane(LaneKind::Post, 50.0)]);
    // Far more than the sockets hold, so that the write is still going on, and fails.
    load.request.body = Some("x".repeat(8 << 20));
    let (records, _) = Run::start(load, to(server.address)).finish(Duration::from_millis(200));
    assert_eq!(records.len(), 11);
    for record in &records {
        assert_eq!((record.class, record.status), (Class::Http4xx, 413), "{record:?}");
        assert_ne!(record.pod, PodId::NONE);
    }
}

#[test]
fn a_kept_connection_is_left_after_its_number_of_requests() {
    let server = FaultServer::start(|_slot| Fault::None);
    let mut reused = lane(LaneKind::Reused, 200.0);
    (reused.connections, reused.max_requests_per_connection) = (2, Some(5));
    let (records, summary) =
        Run::start(load(vec![reused]), to(server.address)).finish(Duration::from_millis(500));
    assert!(records.iter().all(|record| record.class == Class::None && record.nth <= 5));
    assert!(records.iter().any(|record| record.nth == 5));
    assert_eq!(summary.lanes[0].idle_closes, 0, "our own closes are not the peer's");
    assert_eq!(summary.lanes[0].connections_opened, server.accepted() as u64);
}

#[test]
fn closes_between_requests_are_counted_and_are_no_failures() {
    let server = FaultServer::start(|_slot| Fault::IdleClose);
    let mut reused = lane(LaneKind::Reused, 100.0);
    reused.connections = 1;
    let (records, summary) =
        Run::start(load(vec![reused]), to(server.address)).finish(Duration::from_millis(500));
    assert!(records.iter().all(|record| record.class == Class::None && record.nth == 1), "{records:?}");
    // The load may end before the last close is noticed.
    assert!((50..=51).contains(&summary.lanes[0].idle_closes), "{summary:?}");
}

#[test]
fn a_slot_that_finds_its_connection_closed_goes_out_on_another_once() {
    // The kept connection is hung up while the engine's thread is busy (in the route of another lane's slot, due
    // just before), so that nothing but the look before the write can notice.
    let server = Arc::new(FaultServer::start(|_slot| Fault::None));
    let (clock, _anchor) = Clock::start();
    let start = clock.now() + Duration::from_millis(20);
    let (there, picks) = (Arc::clone(&server), AtomicU64::new(0));
    let route = move |_random| {
        match picks.fetch_add(1, Ordering::SeqCst) {
            // Slot 1 of lane new, due at 25 ms: holds the thread until slot 2 (50 ms) and slot 1 of lane reused
            // (55 ms) are due, and so released together.
            2 => while clock.now() < start + Duration::from_millis(60) {},
            // Slot 2 of lane new: right before slot 1 of lane reused.
            3 => there.hang_up(1),
            _ => {}
        }
        Pick::To { pod: POD, address: there.address, fallback: false }
    };
    let mut reused = lane(LaneKind::Reused, 20.0);
    reused.connections = 1;
    let load = load(vec![lane(LaneKind::New, 40.0), reused]);
    let run = Run::start_with(load, Arc::new(route), |config| (config.clock, config.start) = (clock, start));
    run.engine.stop_at(start + Duration::from_millis(60));
    let (records, summary) = run.finish(Duration::from_millis(60));
    assert!(records.iter().all(|record| record.class == Class::None), "{records:?}");
    let kept: Vec<&Record> = records.iter().filter(|record| record.lane.0 == 1).collect();
    assert_eq!(kept.len(), 2);
    assert!(kept[1].flags.has(Flags::AFTER_IDLE_CLOSE) && !kept[1].flags.has(Flags::REUSED), "{kept:?}");
    assert_eq!((kept[1].nth, summary.lanes[1].idle_closes), (1, 1));
    assert_ne!(kept[0].conn, kept[1].conn);
    assert_eq!(server.seen().len(), records.len(), "sent once");
}
