//! What holds for any recording.

use proptest::prelude::*;

use crate::analysis::Analysis;
use crate::analysis::testing::{Recording, Stop, ms};
use crate::event::Event;
use crate::id::{ArmId, LaneId, NodeId, PodId};
use crate::record::{Class, Flags, Record, Stage};
use crate::report::{Requests, Verdict};

fn offset() -> impl Strategy<Value = u32> {
    prop_oneof![Just(Record::UNSEEN), 0u32..60_000_000, any::<u32>()]
}

/// Any record, of lanes and pods that exist or not.
fn any_record() -> impl Strategy<Value = Record> {
    let codes = (prop::sample::select(Class::ALL), prop::sample::select(Stage::ALL), any::<u16>());
    let ids = (0u8..4, prop_oneof![0u16..5, Just(PodId::NONE.0)], 0u8..3, 0u8..2);
    let offsets = [offset().boxed(), offset().boxed(), offset().boxed(), offset().boxed()];
    (0u64..12_000, offsets, codes, ids, 0u32..3, 0u32..60).prop_map(
        |(
            at,
            [start, write_done, first_byte, end],
            (class, stage, flags),
            (lane, pod, node, agent),
            conn,
            nth,
        )| Record {
            start,
            write_done,
            first_byte,
            end,
            conn,
            nth,
            agent,
            class,
            stage,
            flags: Flags(flags),
            pod: PodId(pod),
            node: NodeId(node),
            ..Record::due(0, ms(at), LaneId(lane))
        },
    )
}

/// Records with the slots that a schedule would give them.
fn any_records(most: usize) -> impl Strategy<Value = Vec<Record>> {
    proptest::collection::vec(any_record(), 0..most).prop_map(|mut records| {
        for (slot, record) in records.iter_mut().enumerate() {
            record.slot = slot as u64;
        }
        records
    })
}

fn recording(records: Vec<Record>) -> Recording {
    let mut recording = Recording::of(&Stop::default());
    recording.records.entry(0).or_default().extend(records);
    recording
}

fn holds(requests: Requests) -> bool {
    requests.scheduled == requests.sent + requests.unsent
        && requests.sent == requests.ok + requests.failed + requests.late + requests.interrupted
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn sums_hold_exactly(records in any_records(200)) {
        let arm = recording(records).arm_report();
        let requests = arm.requests;
        prop_assert!(holds(requests));
        prop_assert!(arm.lanes.iter().all(|lane| holds(lane.requests)));
        prop_assert_eq!(arm.lanes.iter().map(|lane| lane.requests.scheduled).sum::<u64>(), requests.scheduled);
        prop_assert_eq!(arm.failures_by_class.values().sum::<u64>(), requests.failed);
        let bad = requests.failed + requests.late;
        prop_assert_eq!(arm.failures_by_pod_phase.values().sum::<u64>(), bad);
        prop_assert_eq!(arm.failures_by_routing.values().sum::<u64>(), bad);
        prop_assert_eq!(arm.outages.iter().map(|outage| outage.failed + outage.late).sum::<u64>(), bad);
        prop_assert_eq!(arm.failures.len() as u64, bad.min(100));
        prop_assert_eq!(arm.failures_by_cause.values().sum::<u64>(), bad);
    }

    #[test]
    fn the_report_does_not_depend_on_the_order_of_chunks(
        records in any_records(300), chunk in 1usize..40, seed in any::<u64>()
    ) {
        let recording = recording(records).completed();
        let bytes = |records: &[Record]| {
            let mut analysis = Analysis::new(&recording.header, &recording.events, vec![]);
            records.chunks(chunk).for_each(|chunk| analysis.add(ArmId(0), chunk));
            serde_json::to_vec(&analysis.finish()).unwrap()
        };
        let mut shuffled = recording.records[&0].clone();
        fastrand::Rng::with_seed(seed).shuffle(&mut shuffled);
        prop_assert!(bytes(&recording.records[&0]) == bytes(&shuffled));
    }

    #[test]
    fn a_killed_run_never_passes(records in any_records(100), lines in 0usize..40) {
        let mut killed = recording(records);
        killed.events.truncate(lines);
        let report = killed.analyse();
        prop_assert!(report.verdict != Verdict::Pass);
        prop_assert!(report.arms.iter().all(|arm| arm.verdict != Verdict::Pass));
    }

    #[test]
    fn a_service_failure_beyond_what_is_accepted_never_passes(records in any_records(100)) {
        let report = recording(records).report();
        let requests = report.arms[0].requests;
        prop_assert!(requests.failed == 0 || report.verdict != Verdict::Pass);
        prop_assert!(report.reasons.iter().all(|reason| !reason.is_empty() && !reason.contains("100 %") && !reason.contains("100.0 %")));
        prop_assert!(!report.reasons.is_empty());
    }
}

#[test]
fn memory_stays_flat_and_the_first_hundred_failures_are_shown() {
    let mut records = Vec::new();
    for slot in 0..5_000_u64 {
        let mut record = Record::due(slot, ms(4_000 + (slot * 7) % 5_000), LaneId(0));
        (record.class, record.start, record.end, record.pod) = (Class::ConnectRefused, 0, 10_000, PodId(0));
        records.push(record);
    }
    let arm = recording(records).arm_report();
    assert_eq!((arm.requests.failed, arm.failures.len()), (5_000, 100));
    assert_eq!(arm.failures_by_cause.values().sum::<u64>(), 5_000, "also of those that are not listed");
    assert!(arm.failures.is_sorted_by_key(|failure| failure.at_ns));
    assert_eq!(arm.failures[0].at_ns, 4_001_000_000);
    assert_eq!(arm.outages.len(), 1);
}

#[test]
fn events_out_of_order_make_the_same_report() {
    let recording = Recording::of(&Stop::default()).completed();
    let mut reversed = recording.clone();
    reversed.events.sort_by_key(|timed| std::cmp::Reverse(timed.at_ns));
    let note = |timed: &crate::event::TimedEvent| matches!(timed.event, Event::Note { .. });
    assert!(!reversed.events.iter().any(note));
    assert_eq!(recording.analyse(), reversed.analyse());
}
