//! Every reason that makes a run inconclusive, provoked alone on a recording that passes without it.

use std::time::Duration;

use crate::analysis::testing::{LOAD_MS, NEW, REUSED, Recording, Stop};
use crate::event::Event;
use crate::id::{LaneId, PodId};
use crate::record::{Class, Flags, Record};
use crate::report::Verdict;
use crate::settings::{Allowed, LaneKind};

fn clean() -> Recording {
    Recording::of(&Stop::default())
}

#[track_caller]
fn doubted(recording: &Recording, reason: &str) {
    doubted_with(4, recording, reason);
}

#[track_caller]
fn doubted_with(code: u8, recording: &Recording, reason: &str) {
    let report = recording.analyse();
    assert_eq!((report.verdict, report.exit_code), (Verdict::Inconclusive, code), "{:?}", report.reasons);
    assert!(report.reasons.iter().any(|given| given.contains(reason)), "{reason}: {:?}", report.reasons);
}

#[test]
fn without_any_it_passes_and_says_what_was_bounded() {
    let report = clean().report();
    assert_eq!((report.verdict, report.exit_code), (Verdict::Pass, 0), "{:?}", report.reasons);
    assert_eq!(
        report.reasons,
        [
            "0 of 375 requests failed over 1 exposed termination (rate of bad terminations below 95.0 % at 95 %; gaps on \
          one pod shorter than 80 ms may have been missed)"
        ]
    );
}

#[test]
fn a_recording_that_ends_early() {
    doubted(&clean(), "the recording ends early");
    assert_eq!(clean().analyse().run.duration_ns, None);
}

#[test]
fn slots_that_were_never_sent() {
    let unsent = |record: &mut Record| record.flags.set(Flags::UNSENT);
    doubted(&clean().request(NEW, 1, 4_000, 1, 1, unsent).completed(), "1 of 376 slots were never sent");
}

#[test]
fn a_schedule_that_was_not_kept() {
    let mut recording = clean();
    for record in recording.records.values_mut().flatten().filter(|record| record.lane == REUSED) {
        record.start = 600_000;
        record.end += 600_000;
    }
    doubted(&recording.completed(), "lane reused lagged its schedule by 60 ms (p99), beyond 50 ms");
}

#[test]
fn a_stall_of_the_client_longer_than_the_gaps_to_be_seen() {
    let stall = |record: &mut Record| (record.start, record.end) = (6_000_000, 6_010_000);
    let mut recording = clean().request(NEW, 1, 4_000, 601, 1, stall);
    recording.header.plan.limits.schedule_lag = Duration::from_secs(1);
    doubted(&recording.completed(), "lane new stalled for 600 ms");
}

#[test]
fn faults_of_the_client() {
    let recording = clean().failed(NEW, 1, 4_000, 1, 0, Class::ClientPorts).completed();
    doubted(&recording, "1 request failed for want of ports or files");
    let arm = &recording.analyse().arms[0];
    assert_eq!((arm.requests.failed, arm.requests.interrupted), (0, 1), "not the service's");
    assert!(arm.failures_by_class.is_empty());
}

#[test]
fn requests_without_an_outcome() {
    doubted(&clean().failed(NEW, 1, 4_000, 1, 0, Class::Interrupted).completed(), "1 request had no outcome");
    let open = |record: &mut Record| record.end = Record::UNSEEN;
    doubted(&clean().request(NEW, 1, 4_000, 1, 1, open).completed(), "1 request had no outcome");
}

#[test]
fn overflow_anywhere() {
    let rows = clean().records[&0].len() as u64;
    doubted(&clean().event(LOAD_MS, Event::Completed { rows, overflowed: 3 }), "3 records were lost");
    doubted(&clean().event(LOAD_MS, Event::Completed { rows: rows + 1, overflowed: 0 }), "parts are missing");
    let lane =
        Event::LaneSummary { lane: "new".into(), connections_opened: 1, idle_closes: 0, overflowed: 2 };
    doubted(&clean().event(LOAD_MS, lane).completed(), "the lanes lost 2 records");
}

#[test]
fn aborted_or_interrupted() {
    let aborted = Event::Aborted { message: "no pod became Ready".into() };
    doubted(&clean().event(5_000, aborted).completed(), "given up: no pod became Ready");
    let interrupted =
        |signal: &str| clean().event(5_000, Event::Interrupted { signal: signal.into() }).completed();
    // As the run itself ended.
    doubted_with(130, &interrupted("SIGINT"), "interrupted by SIGINT");
    doubted_with(143, &interrupted("SIGTERM"), "interrupted by SIGTERM");
    doubted_with(4, &interrupted("the run's time limit"), "interrupted by the run's time limit");
}

#[test]
fn what_could_not_be_read() {
    let mut recording = clean().completed();
    recording.complaints.push("line 4 of the events is broken".into());
    doubted(&recording, "line 4 of the events is broken");
    let mut stray = clean().completed();
    stray.records.insert(9, vec![Record::due(0, crate::time::Stamp::ZERO, NEW)]);
    doubted(&stray, "1 record belong to no arm");
    doubted(&clean().answered(LaneId(9), 1, 4_000, 1, 1).completed(), "belong to no lane");
    doubted(&clean().answered(NEW, 77, 4_000, 1, 1).completed(), "name a pod that no event introduced");
}

#[test]
fn gaps_that_could_not_have_been_seen() {
    let mut recording = clean().completed();
    recording.header.plan.limits.detection_floor = Duration::from_millis(20);
    doubted(&recording, "gaps on one pod shorter than 80 ms may have been missed, and 20 ms is the limit");
    let mut nothing = clean().completed();
    nothing.header.plan.arms[0].workload.replicas = 0;
    doubted(&nothing, "cannot be computed");
    // Where any number of failures is accepted, it changes nothing.
    recording.header.plan.expect.failed = Allowed::Any;
    assert_eq!(recording.analyse().verdict, Verdict::Pass);
}

#[test]
fn a_disruption_that_did_not_happen_or_did_not_end() {
    let mut nothing = clean();
    nothing.events.retain(|timed| {
        !matches!(
            timed.event,
            Event::DeleteRequested { .. } | Event::Terminating { .. } | Event::Killing { .. }
        )
    });
    doubted(&nothing.completed(), "no pod was terminated, though rolloutRestart was planned");
    let endless = Recording::of(&Stop { gone: None, ..Stop::default() }).completed();
    doubted(&endless, "the end of web-0 was never seen");
    let mut stalled = clean().completed();
    stalled.events.retain(|timed| timed.event != Event::RolloutEnded);
    doubted(&stalled, "the rollout did not come to its end");
}

#[test]
fn terminations_that_no_request_was_exposed_to() {
    let mut recording = clean();
    recording.records.values_mut().for_each(|records| records.retain(|record| record.pod != PodId(0)));
    doubted(&recording.completed(), "no request was due to a pod while it was terminating");
}

#[test]
fn a_pod_that_ended_by_itself() {
    let crash = Event::Exited { pod: PodId(2), code: Some(1), signal: None, inferred: false };
    doubted(&clean().event(4_000, crash).completed(), "web-2 ended without being asked to");
}

#[test]
fn nothing_sent_and_lanes_without_records() {
    let mut silent = clean();
    silent.records.values_mut().for_each(|records| records.retain(|record| record.lane != REUSED));
    doubted(&silent.completed(), &format!("lane {} has no record", LaneKind::Reused.as_str()));
    let mut empty = clean();
    empty.records.clear();
    doubted(&empty.completed(), "no request was sent");
}

#[test]
fn deletes_that_did_not_come_to_their_end() {
    let begun = Event::DisruptionStarted { kind: "deletePods".into() };
    doubted(&clean().event(2_980, begun).completed(), "the disruption did not come to its end");
}
