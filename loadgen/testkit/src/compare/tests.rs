//! Whatever a record may say wrongly, the comparison must tell.

use trial::id::LaneId;
use trial::record::{Flags, Stage};
use trial::time::Stamp;

use super::*;

const LATE_OVER: Duration = Duration::from_millis(800);

fn spec(fault: Fault) -> &'static Spec {
    Wire::Http1.spec(fault).expect("every fault has a row")
}

fn seen(slot: u64, fault: Fault) -> Seen {
    Seen { slot, fault, connection: slot + 1, nth: 1 }
}

/// As the engine should record it.
fn record(slot: u64, fault: Fault) -> Record {
    let outcome = spec(fault).outcomes[0];
    let mut record = Record::due(slot, Stamp::from_nanos(slot), LaneId(0));
    (record.class, record.stage, record.status) = (outcome.class, outcome.stage, outcome.status);
    (record.os_code, record.pod, record.end) = (outcome.os_code, PodId(u16::try_from(slot).unwrap()), 10);
    if outcome.truncated {
        record.flags.set(Flags::TRUNCATED);
    }
    record
}

/// Slots 0 to 9, of which 3 and 7 meet the fault.
fn ten(fault: Fault) -> (Vec<Seen>, Vec<Record>) {
    let of = |slot| if slot == 3 || slot == 7 { fault } else { Fault::Good };
    (0..10).map(|slot| (seen(slot, of(slot)), record(slot, of(slot)))).unzip()
}

fn tally(fault: Fault, change: impl FnOnce(&mut Vec<Seen>, &mut Vec<Record>)) -> Tally {
    let (mut requests, mut records) = ten(fault);
    change(&mut requests, &mut records);
    compare(spec(fault), Wire::Http1, &requests, &[], &records, LATE_OVER)
}

#[test]
fn records_that_say_what_was_done_are_exact() {
    for spec in crate::fault::HTTP1.iter().filter(|spec| spec.by == crate::fault::By::Server && !spec.late) {
        let tally = tally(spec.fault, |_, _| {});
        assert!(tally.is_exact(), "{}: {tally:?}", spec.name);
        assert_eq!((tally.recall(), tally.precision(), tally.planted), (Some(1.0), Some(1.0), 2));
    }
}

#[test]
fn nothing_planted_proves_nothing() {
    let (requests, records) = ten(Fault::Good);
    let tally = compare(spec(Fault::ResetBody), Wire::Http1, &requests, &[], &records, LATE_OVER);
    assert!(!tally.is_exact() && tally.recall().is_none() && tally.precision().is_none());
}

#[test]
fn every_disagreement_is_told() {
    type Change = fn(&mut Vec<Seen>, &mut Vec<Record>);
    type Count = fn(&Tally) -> u64;
    let changes: [(&str, Change, Count); 10] = [
        ("hidden", |_, records| records[3] = record(3, Fault::Good), |tally| tally.missing),
        ("another class", |_, records| records[3] = record(3, Fault::ResetHead), |tally| tally.wrong),
        ("another stage", |_, records| records[3].stage = Stage::Wait, |tally| tally.wrong),
        ("another status", |_, records| records[3].status = 503, |tally| tally.wrong),
        ("another error number", |_, records| records[3].os_code = 104, |tally| tally.wrong),
        ("not truncated", |_, records| records[3].flags = Flags(0), |tally| tally.wrong),
        ("invented", |_, records| records[4] = record(4, Fault::CutBody), |tally| tally.false_alarms),
        ("sent twice", |requests, _| requests.push(seen(5, Fault::Good)), |tally| tally.resent),
        ("never sent", |requests, _| requests.retain(|seen| seen.slot != 5), |tally| tally.lost),
        (
            "never recorded",
            |_, records| records.retain(|record| record.slot != 3),
            |tally| tally.missing.min(tally.lost),
        ),
    ];
    for (what, change, count) in changes {
        let tally = tally(Fault::CutBody, change);
        assert!(!tally.is_exact(), "{what}: {tally:?}");
        assert_eq!(count(&tally), 1, "{what}: {tally:?}");
        assert!(!tally.examples.is_empty(), "{what}");
    }
}

#[test]
fn an_unsent_slot_is_a_false_alarm() {
    let tally = tally(Fault::CutBody, |_, records| records[5].flags.set(Flags::UNSENT));
    assert_eq!((tally.false_alarms, tally.is_exact()), (1, false));
}

#[test]
fn late_is_what_took_too_long_and_nothing_else() {
    let late = |_: &mut Vec<Seen>, records: &mut Vec<Record>| {
        (records[3].end, records[7].end) = (8_000_001, 9_000_000);
    };
    assert!(tally(Fault::Late, late).is_exact());
    assert_eq!(tally(Fault::Late, |_, _| {}).missing, 2, "recorded as in time");
    let one_more = tally(Fault::Late, |requests, records| {
        late(requests, records);
        records[4].end = 8_000_001;
    });
    assert_eq!((one_more.planted, one_more.recorded), (2, 3));
}

#[test]
fn what_happened_before_a_request_could_be_read_is_known_by_its_pod() {
    let (mut requests, mut records) = ten(Fault::Good);
    requests.retain(|seen| seen.slot != 3);
    records[3] = record(3, Fault::Refused);
    let routed = [Routed { pod: PodId(3), fault: Fault::Refused }];
    let compared = |records: &[Record]| {
        compare(spec(Fault::Refused), Wire::Http1, &requests, &routed, records, LATE_OVER)
    };
    assert!(compared(&records).is_exact());
    // The slot went elsewhere instead: a hidden retry.
    (records[3], records[3].pod) = (record(3, Fault::Good), PodId(30));
    let tally = compared(&records);
    assert!(!tally.is_exact() && tally.lost == 2, "{tally:?}");
}

#[test]
fn rejected_connections_have_no_pod_and_are_counted() {
    let (mut requests, mut records) = ten(Fault::Good);
    requests.retain(|seen| seen.slot != 3);
    records[3] = record(3, Fault::Rejected);
    records[3].pod = PodId::NONE;
    let rejected = |count| vec![Routed { pod: PodId(9), fault: Fault::Rejected }; count];
    let compared =
        |count| compare(spec(Fault::Rejected), Wire::Http1, &requests, &rejected(count), &records, LATE_OVER);
    assert!(compared(1).is_exact());
    assert_eq!((compared(0).lost, compared(2).lost), (1, 1));
}
