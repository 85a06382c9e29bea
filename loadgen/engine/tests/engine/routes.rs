//! What a route may answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use engine::{Direct, Named, Pick};
use socket2::{Domain, Socket, Type};
use trial::id::PodId;
use trial::record::{Class, Flags, Record, Stage};
use trial::settings::LaneKind;

use crate::fault_server::{Fault, FaultServer};
use crate::support::{POD, Run, lane, load, to};

/// A port that is taken but not listened on: the kernel refuses, and nobody else can get it.
fn refusing() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

#[test]
fn refused_connections_are_exactly_those_that_were_routed_to_a_closed_port() {
    let server = FaultServer::start(|_slot| Fault::None);
    let (_socket, closed) = refusing();
    let (open, picks) = (server.address, Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&picks);
    let route = move |_random| {
        let refused = counted.fetch_add(1, Ordering::SeqCst) % 4 == 3;
        Pick::To {
            pod: if refused { PodId(9) } else { POD },
            address: if refused { closed } else { open },
            fallback: refused,
        }
    };
    let load = load(vec![lane(LaneKind::New, 500.0)]);
    let (records, summary) = Run::start(load, Arc::new(route)).finish(Duration::from_millis(600));
    let refused: Vec<&Record> =
        records.iter().filter(|record| record.class == Class::ConnectRefused).collect();
    assert_eq!(picks.load(Ordering::SeqCst), records.len() as u64, "the route is asked once a connection");
    assert_eq!(refused.len(), records.len() / 4);
    assert!(
        refused.iter().all(|r| (r.pod, r.stage, r.os_code, r.conn) == (PodId(9), Stage::Connect, 111, 0))
    );
    assert!(refused.iter().all(|r| r.flags.has(Flags::FALLBACK) && !r.flags.has(Flags::REJECTED)));
    let fine = records.iter().filter(|record| record.class == Class::None && record.pod == POD).count();
    assert_eq!((fine, fine), (records.len() - refused.len(), server.seen().len()));
    assert_eq!(summary.lanes[0].connections_opened, fine as u64);
}

#[test]
fn kept_connections_ask_the_route_only_when_they_are_opened() {
    let server = FaultServer::start(|_slot| Fault::None);
    let (address, picks) = (server.address, Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&picks);
    let route = move |_random| {
        counted.fetch_add(1, Ordering::SeqCst);
        Pick::To { pod: POD, address, fallback: false }
    };
    let load = load(vec![lane(LaneKind::Reused, 500.0)]);
    let (records, _) = Run::start(load, Arc::new(route)).finish(Duration::from_millis(500));
    assert!(records.iter().all(|record| record.class == Class::None));
    assert_eq!(picks.load(Ordering::SeqCst), server.accepted() as u64);
}

#[test]
fn a_rejecting_route_is_a_refusal_of_the_rules_and_of_no_pod() {
    for kind in LaneKind::ALL {
        let load = load(vec![lane(kind, 200.0)]);
        let (records, summary) =
            Run::start(load, Arc::new(|_| Pick::Rejected)).finish(Duration::from_millis(100));
        assert_eq!(records.len(), 21);
        for record in &records {
            assert_eq!(
                (record.class, record.stage, record.os_code),
                (Class::ConnectRefused, Stage::Connect, 111)
            );
            assert_eq!((record.pod, record.conn), (PodId::NONE, 0));
            assert!(record.flags.has(Flags::REJECTED));
        }
        assert_eq!(summary.lanes[0].connections_opened, 0);
    }
}

/// A SYN that nobody answers is sent again after a second, and meets the rules as they are by then.
#[test]
fn an_unanswered_connection_is_tried_again_as_the_kernel_would_and_says_so_whatever_comes() {
    let server = FaultServer::start(|_slot| Fault::None);
    let found = Pick::To { pod: POD, address: server.address, fallback: false };
    let cases = [
        (found, 5_000, Class::None, POD, 2),
        (Pick::Rejected, 5_000, Class::ConnectRefused, PodId::NONE, 2),
        (Pick::Unanswered, 1_500, Class::ConnectTimeout, PodId::NONE, 2),
    ];
    for (then, timeout, class, pod, picked) in cases {
        let picks = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&picks);
        let route =
            move |_| if counted.fetch_add(1, Ordering::SeqCst) == 0 { Pick::Unanswered } else { then };
        let mut load = load(vec![lane(LaneKind::New, 1.0)]);
        load.timeout = Duration::from_millis(timeout);
        let (records, _) = Run::start(load, Arc::new(route)).finish(Duration::from_millis(100));
        let [record] = &records[..] else { panic!("{records:?}") };
        assert_eq!((record.class, record.pod), (class, pod));
        assert!(record.flags.has(Flags::REJECTED));
        // In steps of 100 ns: a second of waiting is the kernel's own.
        assert!(record.end - record.start >= 10_000_000, "{record:?}");
        assert_eq!(picks.load(Ordering::SeqCst), picked);
    }
    assert_eq!(server.seen().len(), 1, "and nothing is sent twice");
}

#[test]
fn an_address_that_is_gone_is_unreachable_or_times_out_whichever_comes_first() {
    for (timeout, class, os_code) in [(5000, Class::ConnectUnreachable, 113), (20, Class::ConnectTimeout, 0)]
    {
        let mut load = load(vec![lane(LaneKind::New, 200.0)]);
        load.timeout = Duration::from_millis(timeout);
        let route = |_| Pick::Unreachable { pod: POD, after: Duration::from_millis(100) };
        let (records, _) = Run::start(load, Arc::new(route)).finish(Duration::from_millis(100));
        assert_eq!(records.len(), 21);
        for record in &records {
            assert_eq!((record.class, record.stage, record.os_code), (class, Stage::Connect, os_code));
            assert_eq!((record.pod, record.conn), (POD, 0));
        }
    }
}

#[test]
fn where_the_route_names_no_pod_the_answer_does() {
    let server = FaultServer::start(|slot| if slot % 2 == 0 { Fault::None } else { Fault::Foreign });
    let named = |name: &str| (name == "web-3").then_some(POD);
    let load_on = |kind| load(vec![lane(kind, 200.0)]);
    for kind in [LaneKind::New, LaneKind::Reused] {
        let route = Arc::new(Named { route: Direct(server.address), pods: named, sticky: false });
        let (records, _) = Run::start(load_on(kind), route).finish(Duration::from_millis(200));
        for record in &records {
            let pod = if record.slot % 2 == 0 { POD } else { PodId::NONE };
            assert_eq!((record.class, record.pod), (Class::None, pod), "{record:?}");
        }
    }
    // What the route knows, no answer changes; and without names nothing is known.
    let nine = Pick::To { pod: PodId(9), address: server.address, fallback: false };
    let route = Arc::new(Named { route: move |_| nine, pods: named, sticky: false });
    let (records, _) = Run::start(load_on(LaneKind::New), route).finish(Duration::from_millis(100));
    assert!(records.iter().all(|record| record.pod == PodId(9)));
    let (records, _) = Run::start(load_on(LaneKind::New), Arc::new(Direct(server.address)))
        .finish(Duration::from_millis(100));
    assert!(records.iter().all(|record| record.pod == PodId::NONE));
}

#[test]
fn where_a_connection_leads_to_one_pod_its_failures_are_that_pods() {
    // Every connection has answered by then.
    let cut = |slot: u64| if slot >= 60 { Fault::CloseBeforeAnswer } else { Fault::None };
    let named = |name: &str| (name == "web-3").then_some(POD);
    for sticky in [true, false] {
        let server = FaultServer::start(cut);
        let route = Arc::new(Named { route: Direct(server.address), pods: named, sticky });
        let load = load(vec![lane(LaneKind::Reused, 200.0)]);
        let (records, _) = Run::start(load, route).finish(Duration::from_millis(500));
        let cut: Vec<&Record> =
            records.iter().filter(|record| record.class == Class::WaitClosed && record.nth > 1).collect();
        assert!(!cut.is_empty(), "kept connections were cut");
        let pod = if sticky { POD } else { PodId::NONE };
        assert!(cut.iter().all(|record| record.pod == pod), "sticky {sticky}: {cut:?}");
    }
}

#[test]
fn lanes_run_side_by_side_and_are_told_apart() {
    let server = FaultServer::start(|_slot| Fault::None);
    // The server speaks HTTP/1.1 alone; `h2` has tests of its own.
    let kinds: Vec<LaneKind> =
        LaneKind::ALL.into_iter().filter(|kind| !matches!(kind, LaneKind::H2 | LaneKind::Pooled)).collect();
    let lanes = kinds.iter().map(|kind| lane(*kind, 200.0)).collect();
    let (records, summary) = Run::start(load(lanes), to(server.address)).finish(Duration::from_millis(500));
    assert!(records.iter().all(|record| record.class == Class::None), "{records:?}");
    assert_eq!(records.len(), server.seen().len());
    for lane in &summary.lanes {
        assert!((100..=101).contains(&lane.scheduled), "{lane:?}");
        assert!(records.iter().any(|record| record.lane == lane.lane));
    }
    let slow = kinds.iter().position(|kind| *kind == LaneKind::Slow).unwrap();
    let slow = records.iter().filter(|record| usize::from(record.lane.0) == slow);
    assert!(
        slow.map(|record| record.end - record.start).all(|units| units >= 200_000),
        "a delay of 20 ms was asked"
    );
}
