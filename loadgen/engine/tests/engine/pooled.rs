//! Lane `pooled`: what another client tells, held to the server's log as far as it can be.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use engine::Pick;
use trial::record::{Class, Record, Stage};
use trial::settings::{LaneKind, Load};

use crate::fault_server::{Fault, FaultServer};
use crate::support::{Run, lane, load, to};

/// What each fault is told as, where it is told.
const TOLD: &[(Fault, Class, Stage, u16)] = &[
    (Fault::None, Class::None, Stage::Done, 200),
    (Fault::IdleClose, Class::None, Stage::Done, 200),
    (Fault::AnnounceClose, Class::None, Stage::Done, 200),
    (Fault::NotFound, Class::Http4xx, Stage::Done, 404),
    (Fault::Unavailable, Class::Http5xx, Stage::Done, 503),
    (Fault::Redirect, Class::StatusUnexpected, Stage::Done, 302),
    (Fault::WrongSlot, Class::BodyCorrupt, Stage::Done, 200),
    (Fault::Garbage, Class::BodyCorrupt, Stage::Wait, 0),
    (Fault::ResetBeforeAnswer, Class::WaitReset, Stage::Wait, 0),
    (Fault::CloseBeforeAnswer, Class::WaitClosed, Stage::Wait, 0),
    (Fault::BadChunk, Class::BodyCorrupt, Stage::Body, 200),
    (Fault::CutBodyFin, Class::BodyClosed, Stage::Body, 200),
    (Fault::CutBodyRst, Class::BodyReset, Stage::Body, 200),
    (Fault::StallHeader, Class::WaitTimeout, Stage::Wait, 0),
    (Fault::StallBody, Class::BodyTimeout, Stage::Body, 200),
];

fn every(slot: u64) -> Fault {
    // Every fourth slot is faulty, each fault in turn.
    if slot % 4 == 1 { TOLD[usize::try_from(slot / 4).unwrap() % TOLD.len()].0 } else { Fault::None }
}

#[test]
fn what_it_tells_is_the_end_of_what_the_server_did_to_the_last_of_its_attempts() {
    let server = FaultServer::start(every);
    let load = Load { timeout: Duration::from_millis(400), ..load(vec![lane(LaneKind::Pooled, 400.0)]) };
    let (records, summary) = Run::start(load, to(server.address)).finish(Duration::from_secs(1));
    let mut log: BTreeMap<u64, Vec<Fault>> = BTreeMap::new();
    for seen in server.seen() {
        log.entry(seen.slot).or_default().push(seen.fault);
    }
    assert!(records.len() > 300);
    let mut hidden = 0;
    for record in &records {
        // A request that it sent again came again, with the same slot: the server has the number of those.
        let attempts = log.get(&record.slot).map_or(&[][..], Vec::as_slice);
        hidden += attempts.len().saturating_sub(1);
        let Some(last) = attempts.last() else { panic!("never came: {record:?}") };
        let &(_, class, stage, status) = TOLD.iter().find(|row| row.0 == *last).unwrap();
        assert_eq!(
            (record.class, record.stage, record.status),
            (class, stage, status),
            "{last:?}: {record:?}"
        );
        assert_eq!((record.conn, record.write_done), (0, Record::UNSEEN), "it does not say");
    }
    let came: usize = log.values().map(Vec::len).sum();
    assert_eq!(came, records.len() + hidden);
    assert!(summary.lanes[0].connections_opened >= server.accepted() as u64);
    assert!(server.accepted() < records.len(), "it keeps connections");
}

#[test]
fn where_it_gets_no_connection_the_kernels_error_number_is_kept() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let kinds = [
        (to(gone), Class::ConnectRefused, 111),
        (Arc::new(|_| Pick::Rejected), Class::ConnectRefused, 111),
        (
            Arc::new(|_| Pick::Unreachable { pod: crate::support::POD, after: Duration::ZERO }),
            Class::ConnectUnreachable,
            113,
        ),
    ];
    for (route, class, code) in kinds {
        let (records, _) =
            Run::start(load(vec![lane(LaneKind::Pooled, 100.0)]), route).finish(Duration::from_millis(200));
        assert!(records.len() >= 15);
        for record in records {
            assert_eq!((record.class, record.stage, record.os_code), (class, Stage::Connect, code));
        }
    }
}
