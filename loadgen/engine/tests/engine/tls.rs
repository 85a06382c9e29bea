//! Lanes over TLS: what befalls a connection is told as it is without, and the handshake has a class of its own.

use std::time::Duration;

use trial::record::{Class, Flags, Record, Stage, tls};
use trial::settings::{LaneKind, Load, Tls};

use crate::support::{FAR, NEAR, POD, Run, assert_far, lane, load, to};
use crate::tls_server::{Certified, Handshake, TlsFault, TlsServer};

/// What each fault is to be recorded as: class, stage, status, error code.
const EXPECTED: &[(TlsFault, Class, Stage, u16, u16)] = &[
    (TlsFault::None, Class::None, Stage::Done, 200, 0),
    (TlsFault::CloseUnannounced, Class::None, Stage::Done, 200, 0),
    (TlsFault::Unavailable, Class::Http5xx, Stage::Done, 503, 0),
    (TlsFault::CutInOrder, Class::WaitClosed, Stage::Wait, 0, 0),
    (TlsFault::CutFin, Class::WaitClosed, Stage::Wait, 0, 0),
    (TlsFault::CutRst, Class::WaitReset, Stage::Wait, 0, tls::RESET),
    (TlsFault::PlainText, Class::Tls, Stage::Wait, 0, tls::NOT_TLS),
    (TlsFault::BodyFin, Class::BodyClosed, Stage::Body, 200, 0),
    (TlsFault::BodyRst, Class::BodyReset, Stage::Body, 200, tls::RESET),
];

fn secured(kind: LaneKind, rate: f64, authority: &str) -> Load {
    let tls = Tls { ca: Some(authority.to_owned()), server_name: None };
    Load { tls: Some(tls), ..load(vec![lane(kind, rate)]) }
}

fn every(slot: u64) -> TlsFault {
    // Every third slot is faulty, each fault in turn.
    if slot % 3 == 1 {
        EXPECTED[usize::try_from(slot / 3).unwrap() % EXPECTED.len()].0
    } else {
        TlsFault::None
    }
}

fn assert_each_is_what_was_planted(records: &[Record], log: &[(u64, TlsFault)]) {
    let came: Vec<u64> = log.iter().map(|(slot, _)| *slot).collect();
    let sent: Vec<u64> = records.iter().map(|record| record.slot).collect();
    assert_eq!(came, sent, "each slot came once");
    for (record, (_, fault)) in records.iter().zip(log) {
        let &(_, class, stage, status, code) = EXPECTED.iter().find(|row| row.0 == *fault).unwrap();
        let got = (record.class, record.stage, record.status, record.os_code);
        assert_eq!(got, (class, stage, status, code), "{fault:?}: {record:?}");
        assert_eq!(record.pod, POD);
        if class == Class::None {
            let order = [record.start, record.write_done, record.first_byte, record.end];
            assert!(order.is_sorted() && record.end != Record::UNSEEN, "{record:?}");
            assert!(record.bytes_in >= 3);
        }
        let cut = matches!(fault, TlsFault::BodyFin | TlsFault::BodyRst);
        assert_eq!(record.flags.has(Flags::TRUNCATED), cut, "{fault:?}");
    }
}

#[test]
fn what_befalls_a_secured_connection_is_told_as_without_tls() {
    let lanes =
        [(LaneKind::New, NEAR), (LaneKind::Reused, NEAR), (LaneKind::Post, NEAR), (LaneKind::Reused, FAR)];
    for (kind, rtt) in lanes {
        let server = TlsServer::http1(every);
        let load = Load { rtt, ..secured(kind, 300.0, &server.authority) };
        let (records, summary) = Run::start(load, to(server.address)).finish(Duration::from_secs(1));
        assert_far(&records, rtt);
        assert!(records.len() > 200, "{}", records.len());
        assert_each_is_what_was_planted(&records, &server.log());
        assert_eq!(summary.lanes[0].connections_opened, server.accepted() as u64, "{kind:?}");
        if kind == LaneKind::Reused {
            assert!(records.iter().any(|record| record.flags.has(Flags::REUSED)));
            let closed =
                server.log().iter().filter(|(_, fault)| *fault == TlsFault::CloseUnannounced).count();
            let (found, closed) = (summary.lanes[0].idle_closes, closed as u64);
            // The last ones may come after the load is over.
            assert!((closed.saturating_sub(2)..=closed).contains(&found), "{found} of {closed}");
        }
    }
}

#[test]
fn a_handshake_that_fails_says_why() {
    let table = [
        (Handshake::Fin, tls::CLOSED),
        (Handshake::Rst, tls::RESET),
        (Handshake::PlainText, tls::NOT_TLS),
        (Handshake::Stall, tls::TIMED_OUT),
    ];
    for (handshake, code) in table {
        let server = TlsServer::start(Certified::new(&[]), handshake, |_| TlsFault::None);
        let settings = secured(LaneKind::New, 100.0, &server.authority);
        let load = Load { timeout: Duration::from_millis(300), ..settings };
        let (records, _) = Run::start(load, to(server.address)).finish(Duration::from_millis(300));
        assert!(records.len() >= 20 && server.log().is_empty());
        for record in &records {
            let got = (record.class, record.stage, record.os_code);
            assert_eq!(got, (Class::Tls, Stage::Tls, code), "{handshake:?}: {record:?}");
        }
    }
}

#[test]
fn a_certificate_must_be_signed_by_the_authority_and_carry_the_name() {
    let server = TlsServer::http1(|_| TlsFault::None);
    let outcome = |ca: &str, name: Option<&str>| {
        let tls = Tls { ca: Some(ca.to_owned()), server_name: name.map(str::to_owned) };
        let load = Load { tls: Some(tls), ..load(vec![lane(LaneKind::Reused, 100.0)]) };
        let (records, _) = Run::start(load, to(server.address)).finish(Duration::from_millis(200));
        let seen: Vec<_> = records.iter().map(|record| (record.class, record.os_code)).collect();
        assert!(seen.len() >= 15 && seen.iter().all(|one| *one == seen[0]), "{seen:?}");
        seen[0]
    };
    assert_eq!(outcome(&server.authority, None), (Class::None, 0));
    assert_eq!(outcome(&server.authority, Some("shop.test")), (Class::None, 0));
    assert_eq!(outcome(&server.authority, Some("other.test")), (Class::Tls, tls::NOT_ACCEPTED));
    assert_eq!(outcome(&Certified::new(&[]).authority, None), (Class::Tls, tls::NOT_ACCEPTED));
}

#[test]
fn http2_is_agreed_on_and_its_absence_told() {
    let server = TlsServer::h2();
    let (records, summary) = Run::start(secured(LaneKind::H2, 300.0, &server.authority), to(server.address))
        .finish(Duration::from_millis(500));
    assert!(records.len() >= 140 && records.iter().all(|record| record.class == Class::None), "{records:?}");
    assert_eq!(server.log().len(), records.len());
    assert!(summary.lanes[0].connections_opened <= 20);

    for alpn in [&[][..], &[&b"http/1.1"[..]][..]] {
        let server = TlsServer::start(Certified::new(alpn), Handshake::Done, |_| TlsFault::None);
        let load = secured(LaneKind::H2, 100.0, &server.authority);
        let (records, _) = Run::start(load, to(server.address)).finish(Duration::from_millis(200));
        let is_told = |record: &Record| (record.class, record.os_code) == (Class::Tls, tls::NO_HTTP2);
        assert!(records.len() >= 15 && records.iter().all(is_told), "{alpn:?}: {:?}", records[0]);
    }
}
