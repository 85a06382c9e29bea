//! Lane `idle`, and how old a connection may grow.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use trial::record::{Class, Flags, Record};
use trial::settings::{Lane, LaneKind};

use crate::fault_server::{Fault, FaultServer};
use crate::support::{Run, lane, load, to};

const REST: Duration = Duration::from_millis(150);

fn idle(rate: f64, connections: u32) -> Lane {
    Lane { idle: REST, connections, ..Lane::new(LaneKind::Idle, rate) }
}

/// Requests by connection, in their order on it.
fn by_connection(records: &[Record]) -> BTreeMap<u32, Vec<&Record>> {
    let mut map: BTreeMap<u32, Vec<&Record>> = BTreeMap::new();
    for record in records {
        map.entry(record.conn).or_default().push(record);
    }
    for requests in map.values_mut() {
        requests.sort_by_key(|record| record.nth);
    }
    map
}

#[test]
fn a_connection_rests_between_two_requests_and_no_slot_waits_for_that() {
    let server = FaultServer::start(|_slot| Fault::None);
    let run = Run::start(load(vec![idle(200.0, 100)]), to(server.address));
    let (records, summary) = run.finish(Duration::from_secs(1));
    assert!(records.iter().all(|record| record.class == Class::None), "{records:?}");
    assert_eq!((records.len(), server.seen().len()), (201, 201));
    let connections = by_connection(&records);
    assert!(connections.values().any(|requests| requests.len() >= 3), "none was used again and again");
    for requests in connections.values() {
        for pair in requests.windows(2) {
            // Work on the slot begins when its connection is taken, or just before.
            let rested =
                pair[1].at(pair[1].start).unwrap().saturating_since(pair[0].at(pair[0].end).unwrap());
            assert!(rested + Duration::from_millis(1) >= REST, "{rested:?}");
            assert!(pair[1].flags.has(Flags::REUSED));
        }
    }
    // About as many as rest at once, 30; a busy machine may need more, up to what is kept and one a late slot.
    assert!((30..=100).contains(&connections.len()), "{}", connections.len());
    assert_eq!(summary.lanes[0].connections_opened, server.accepted() as u64);
    assert_eq!(summary.lanes[0].idle_closes, 0);
}

#[test]
fn what_has_not_rested_is_not_used_however_many_slots_come() {
    let server = FaultServer::start(|_slot| Fault::None);
    let lane = Lane { idle: Duration::from_mins(1), connections: 500, ..Lane::new(LaneKind::Idle, 1000.0) };
    let (records, summary) =
        Run::start(load(vec![lane]), to(server.address)).finish(Duration::from_millis(300));
    assert!(records.iter().all(|record| record.nth == 1 && record.class == Class::None), "{records:?}");
    assert_eq!(summary.lanes[0].connections_opened, records.len() as u64);
}

#[test]
fn closes_during_the_rest_are_counted_and_the_race_after_it_is_recorded() {
    // A third of the connections end while they rest; another third are reset as their second request comes.
    let plan = |slot: u64| match slot % 3 {
        0 if slot < 30 => Fault::IdleClose,
        _ if slot >= 60 => Fault::ResetBeforeAnswer,
        _ => Fault::None,
    };
    let server = FaultServer::start(plan);
    let run = Run::start(load(vec![idle(200.0, 100)]), to(server.address));
    let (records, summary) = run.finish(Duration::from_millis(500));
    assert_eq!((records.len(), server.seen().len()), (101, 101), "sent once each");
    for record in &records {
        let class = if record.slot >= 60 { Class::WaitReset } else { Class::None };
        assert_eq!(record.class, class, "{record:?}");
    }
    let raced = records.iter().filter(|r| r.class == Class::WaitReset && r.flags.has(Flags::REUSED)).count();
    assert!(raced > 0, "no kept connection was reset");
    assert_eq!(summary.lanes[0].idle_closes, 10);
}

#[test]
fn surplus_connections_are_closed() {
    let server = FaultServer::start(|_slot| Fault::None);
    let run = Run::start(load(vec![idle(200.0, 5)]), to(server.address));
    let (records, _) = run.finish(Duration::from_millis(500));
    assert!(records.iter().all(|record| record.class == Class::None));
    let again: BTreeSet<u32> = records.iter().filter(|record| record.nth > 1).map(|r| r.conn).collect();
    assert!((1..=15).contains(&again.len()), "five at a time may rest: {again:?}");
}

#[test]
fn connections_are_left_when_they_are_old() {
    let most = Duration::from_millis(120);
    for kind in [LaneKind::Reused, LaneKind::Idle] {
        let server = FaultServer::start(|_slot| Fault::None);
        let mut lane = lane(kind, 200.0);
        (lane.connections, lane.max_connection_age) = (2, Some(most));
        if kind == LaneKind::Idle {
            (lane.connections, lane.idle) = (20, Duration::from_millis(20));
        }
        let (records, summary) =
            Run::start(load(vec![lane]), to(server.address)).finish(Duration::from_millis(800));
        assert!(records.iter().all(|record| record.class == Class::None));
        let connections = by_connection(&records);
        assert!(connections.len() > 6, "{kind:?}: {} connections in six lifetimes", connections.len());
        assert!(connections.values().any(|requests| requests.len() > 1), "{kind:?}: none was used again");
        for requests in connections.values() {
            let born = requests[0].at(requests[0].start).unwrap();
            let last = requests[requests.len() - 1];
            let age = last.at(last.start).unwrap().saturating_since(born);
            // It was established a little after the work on its first slot began.
            assert!(age < most + Duration::from_millis(20), "{kind:?}: {age:?}");
        }
        assert_eq!(summary.lanes[0].idle_closes, 0, "our own closes are not the peer's");
        assert_eq!(summary.lanes[0].connections_opened, server.accepted() as u64);
    }
}
