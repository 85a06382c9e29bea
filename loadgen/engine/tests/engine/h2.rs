//! Lane `h2`: recall and precision of its classes, and that no request is ever sent twice.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use trial::record::{Class, Flags, Record, Stage};
use trial::settings::{Lane, LaneKind};

use crate::h2_server::{H2Fault, H2Seen, H2Server};
use crate::support::{FAR, NEAR, POD, Run, load, to};

/// What each fault is to be recorded as: class, stage, status, error code, whether unprocessed.
const EXPECTED: &[(H2Fault, Class, Stage, u16, u16, bool)] = &[
    (H2Fault::None, Class::None, Stage::Done, 200, 0, false),
    (H2Fault::Unavailable, Class::Http5xx, Stage::Done, 503, 0, false),
    (H2Fault::WrongSlot, Class::BodyCorrupt, Stage::Done, 200, 0, false),
    (H2Fault::Refused, Class::H2StreamReset, Stage::Wait, 0, 7, true),
    (H2Fault::Reset, Class::H2StreamReset, Stage::Wait, 0, 2, false),
    (H2Fault::ResetBody, Class::H2StreamReset, Stage::Body, 200, 8, false),
    (H2Fault::Unprocessed, Class::H2Goaway, Stage::Wait, 0, 0, true),
    (H2Fault::GoAwayAnswered, Class::None, Stage::Done, 200, 0, false),
    (H2Fault::GoAwayError, Class::H2Goaway, Stage::Wait, 0, 11, false),
    (H2Fault::GoAwayCut, Class::WaitClosed, Stage::Wait, 0, 0, false),
    (H2Fault::CutFin, Class::WaitClosed, Stage::Wait, 0, 0, false),
    (H2Fault::CutRst, Class::WaitReset, Stage::Wait, 0, 104, false),
    (H2Fault::CutBodyFin, Class::BodyClosed, Stage::Body, 200, 0, false),
    (H2Fault::Stall, Class::WaitTimeout, Stage::Wait, 0, 0, false),
];

fn h2(rate: f64, connections: u32, streams: u32) -> Lane {
    Lane { connections, max_concurrent_streams: streams, ..Lane::new(LaneKind::H2, rate) }
}

/// One record a request that the server saw, and each as what was done to it.
fn assert_each_is_what_was_planted(records: &[Record], seen: &[H2Seen]) {
    let came: Vec<u64> = seen.iter().map(|request| request.slot).collect();
    // What crosses a GOAWAY on its way is passed over by the server, which said so, and is recorded as that.
    let crossed = |record: &Record| {
        record.class == Class::H2Goaway
            && record.flags.has(Flags::UNPROCESSED)
            && !came.contains(&record.slot)
    };
    let sent = || records.iter().filter(|record| !record.is_unsent() && !crossed(record));
    assert_eq!(
        came,
        sent().map(|record| record.slot).collect::<Vec<_>>(),
        "each slot that was sent came once"
    );
    for (record, request) in sent().zip(seen) {
        let &(fault, class, stage, status, code, unprocessed) =
            EXPECTED.iter().find(|row| row.0 == request.fault).unwrap();
        let got = (record.class, record.stage, record.status, record.os_code);
        assert_eq!(got, (class, stage, status, code), "{fault:?}: {record:?}");
        assert_eq!(record.flags.has(Flags::UNPROCESSED), unprocessed, "{fault:?}: {record:?}");
        let cut = [H2Fault::ResetBody, H2Fault::CutBodyFin].contains(&fault);
        assert_eq!(record.flags.has(Flags::TRUNCATED), cut, "{fault:?}: {record:?}");
        let told = [H2Fault::Unprocessed, H2Fault::GoAwayError, H2Fault::GoAwayCut].contains(&fault);
        assert!(!told || record.flags.has(Flags::GOAWAY_SEEN), "{fault:?}: {record:?}");
        assert_eq!(record.flags.has(Flags::REUSED), record.nth > 1);
        assert_eq!(record.pod, POD);
        if fault == H2Fault::None {
            assert_eq!((record.pod_state, record.sequence, record.bytes_in), (1, 7, 3));
            let order = [record.start, record.write_done, record.first_byte, record.end];
            assert!(order.is_sorted() && record.end != Record::UNSEEN, "{record:?}");
        }
    }
}

fn every(faults: &'static [H2Fault]) -> impl Fn(u64) -> H2Fault + Send + Sync {
    // Every fifth slot is faulty, each fault in turn; the last ones are not.
    move |slot| {
        if slot % 5 == 1 && slot < 280 {
            faults[usize::try_from(slot / 5).unwrap() % faults.len()]
        } else {
            H2Fault::None
        }
    }
}

#[test]
fn what_befalls_a_stream_is_found_while_others_share_its_connection() {
    for rtt in [NEAR, FAR] {
        share(rtt);
    }
}

fn share(rtt: Duration) {
    let server = H2Server::start(every(&[
        H2Fault::Unavailable,
        H2Fault::WrongSlot,
        H2Fault::Refused,
        H2Fault::Reset,
        H2Fault::ResetBody,
        H2Fault::Unprocessed,
        H2Fault::GoAwayAnswered,
        H2Fault::Stall,
    ]));
    let mut lane = h2(200.0, 2, 20);
    // Answers take their time, so that streams overlap.
    lane.delay = Duration::from_millis(40);
    let mut load = load(vec![lane]);
    load.timeout = Duration::from_secs(2);
    load.rtt = rtt;
    let (records, summary) = Run::start(load, to(server.address)).finish(Duration::from_millis(1500));
    for record in records.iter().filter(|record| record.class == Class::None) {
        let took = record.at(record.end).unwrap().saturating_since(record.at(record.start).unwrap());
        assert!(took >= rtt, "{took:?}");
    }
    let seen = server.seen();
    assert_each_is_what_was_planted(&records, &seen);
    for (fault, ..) in &EXPECTED[..8] {
        assert!(seen.iter().any(|request| request.fault == *fault), "{fault:?} was not planted");
    }
    assert!(seen.iter().all(|request| request.authority == server.address.to_string()));
    assert_eq!(summary.lanes[0].connections_opened, server.accepted() as u64);
    assert_eq!(summary.lanes[0].idle_closes, 0, "an end that GOAWAY announced is no close while idle");
    assert!(overlap(&records), "no connection carried two requests at once");
}

fn overlap(records: &[Record]) -> bool {
    let mut until: BTreeMap<u32, u64> = BTreeMap::new();
    records.iter().filter(|record| record.class == Class::None).any(|record| {
        let (start, end) = (record.at(record.start).unwrap(), record.at(record.end).unwrap());
        let before = until.insert(record.conn, end.as_nanos());
        before.is_some_and(|end| end > start.as_nanos())
    })
}

#[test]
fn what_befalls_a_connection_is_found_on_the_request_that_it_carried() {
    let server = H2Server::start(every(&[
        H2Fault::GoAwayError,
        H2Fault::GoAwayCut,
        H2Fault::CutFin,
        H2Fault::CutRst,
        H2Fault::CutBodyFin,
        H2Fault::Unprocessed,
    ]));
    let (records, summary) =
        Run::start(load(vec![h2(200.0, 4, 1)]), to(server.address)).finish(Duration::from_millis(1500));
    let seen = server.seen();
    assert_each_is_what_was_planted(&records, &seen);
    assert!(seen.iter().any(|request| request.fault == H2Fault::GoAwayCut));
    assert_eq!(summary.lanes[0].connections_opened, server.accepted() as u64);
    let connections: BTreeSet<u32> = records.iter().map(|record| record.conn).collect();
    assert!(connections.len() < 200, "{} connections", connections.len());
}

#[test]
fn a_connection_is_left_after_its_requests_or_its_time_and_never_holds_more_than_it_may() {
    for (requests, age) in [(Some(5), None), (None, Some(Duration::from_millis(100)))] {
        let server = H2Server::start(|_slot| H2Fault::None);
        let mut lane = h2(200.0, 2, 3);
        lane.delay = Duration::from_millis(20);
        (lane.max_requests_per_connection, lane.max_connection_age) = (requests, age);
        let (records, summary) =
            Run::start(load(vec![lane]), to(server.address)).finish(Duration::from_millis(600));
        assert_each_is_what_was_planted(&records, &server.seen());
        let most = records.iter().map(|record| record.nth).max().unwrap();
        assert!(requests.is_none_or(|allowed| most == allowed), "{most}");
        assert!(summary.lanes[0].connections_opened >= 6, "{summary:?}");
        assert_eq!(summary.lanes[0].idle_closes, 0, "our own closes are not the peer's");
        for record in &records {
            let during = |other: &&Record| {
                let (start, from, to) = (record.at(record.start), other.at(other.start), other.at(other.end));
                other.conn == record.conn && from <= start && start < to
            };
            let at_once = records.iter().filter(during).count();
            assert!(at_once <= 3, "{at_once} at once: {record:?}");
        }
    }
}

#[test]
fn a_server_that_does_not_speak_http2_is_corrupt_and_not_asked_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").unwrap();
                // Until the client goes.
                while stream.read(&mut [0; 512]).is_ok_and(|count| count > 0) {}
            });
        }
    });
    let (records, summary) =
        Run::start(load(vec![h2(100.0, 2, 1)]), to(address)).finish(Duration::from_millis(300));
    assert_eq!(records.len(), 31);
    for record in &records {
        assert_eq!((record.class, record.status), (Class::BodyCorrupt, 0), "{record:?}");
    }
    assert_eq!(summary.lanes[0].connections_opened, 31, "one for each, and none of them kept");
}
