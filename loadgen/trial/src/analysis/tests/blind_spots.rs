//! What a measurement may be blind to, and must not pass over in silence.

use std::time::Duration;

use crate::analysis::testing::{LOAD_MS, NEW, REUSED, Recording, SLOW, Stop, ms};
use crate::event::{Event, HookOutcome, TimedEvent};
use crate::id::{ArmId, LaneId, PodId};
use crate::plan::EXACT_NOTE;
use crate::record::{Flags, Record, Stage};
use crate::report::{Report, Verdict};
use crate::settings::{Allowed, Arrivals, Edge, LaneKind, Target, TimelineExpectation};

fn clean() -> Recording {
    Recording::of(&Stop::default())
}

#[track_caller]
fn judged(report: &Report, verdict: Verdict, reason: &str) {
    assert_eq!(report.verdict, verdict, "{:?}", report.reasons);
    assert!(report.reasons.iter().any(|given| given.contains(reason)), "{reason}: {:?}", report.reasons);
}

/// An answer of a pod that nothing but a close ended, `took_us` after 4.9 s.
fn closed(recording: Recording, pod: u16, took_us: u32) -> Recording {
    closed_from(4_900, recording, pod, took_us)
}

fn closed_from(start: u64, recording: Recording, pod: u16, took_us: u32) -> Recording {
    recording.request(REUSED, pod, start, 1, 3, |record| {
        (record.stage, record.status, record.end) = (Stage::Done, 200, took_us * 10);
        record.flags.set(Flags::CLOSE_DELIMITED);
    })
}

#[test]
fn an_answer_that_the_close_at_the_exit_ended_is_a_failure_in_every_count() {
    // The pod exits at 5.001 s.
    for took_us in [96_000, 101_000, 106_000] {
        let report = closed(clean(), 0, took_us).report();
        judged(&report, Verdict::Fail, "1 of 376 requests failed: 1 body-closed");
        let arm = &report.arms[0];
        assert_eq!((arm.requests.failed, arm.lanes[1].requests.failed, arm.failures.len()), (1, 1, 1));
        assert_eq!((arm.terminations.bad, arm.pods[0].failed), (1, 1));
        let failure = &arm.failures[0];
        assert_eq!(
            (failure.class.as_str(), failure.nearest_edge.as_deref()),
            ("body-closed", Some("exited"))
        );
        assert!(failure.sentence.contains("its end cannot be told from a cut"), "{}", failure.sentence);
    }
    // The kill counts as the exit does; nobody saw the exit.
    let killed = Stop { killed: Some(5_000), exited: None, drained: None, ..Stop::default() };
    judged(&closed(Recording::of(&killed), 0, 102_000).report(), Verdict::Fail, "1 body-closed");
}

#[test]
fn the_same_answer_of_another_pod_or_at_another_time_is_whole() {
    judged(&closed(clean(), 1, 101_000).report(), Verdict::Pass, "0 of 376 requests failed");
    // During preStop the server has not been told anything yet; one without a handler never is.
    judged(&closed_from(3_500, clean(), 0, 1_000).report(), Verdict::Pass, "0 of 376 requests failed");
    let deaf = Stop { handled: Some(false), ..Stop::default() };
    judged(&closed(Recording::of(&deaf), 0, 1_000).report(), Verdict::Pass, "0 of 376 requests failed");
    // With a length, an answer at the exit is whole as well.
    let bounded = clean().answered(REUSED, 0, 4_900, 101, 3);
    judged(&bounded.report(), Verdict::Pass, "0 of 376 requests failed");
}

#[test]
fn an_answer_that_a_close_near_an_unseen_or_late_noticed_exit_ended_is_a_doubt() {
    let doubt = "the end of 1 answer was nothing but the close";
    let unseen = Recording::of(&Stop { exited: None, ..Stop::default() });
    judged(&closed(unseen, 0, 50_000).report(), Verdict::Inconclusive, doubt);
    // Told to stop, it may have closed before it said all, long before it ended.
    judged(&closed(clean(), 0, 60_000).report(), Verdict::Inconclusive, doubt);
    // Shortly before the exit was noticed, or read long after.
    judged(&closed(clean(), 0, 90_000).report(), Verdict::Inconclusive, doubt);
    judged(&closed(clean(), 0, 150_000).report(), Verdict::Inconclusive, doubt);
    // Whose answer it was is not known: it may have been the one that exited.
    judged(&closed(clean(), PodId::NONE.0, 101_000).report(), Verdict::Inconclusive, doubt);
}

#[test]
fn a_terminated_pod_that_no_request_was_due_to_is_a_doubt_though_another_had_some() {
    let second = Stop { delete: 3_000, ..Stop::default() };
    let mut recording = clean().stop(2, &second);
    recording.records.values_mut().for_each(|records| records.retain(|record| record.pod != PodId(2)));
    let report = recording.clone().report();
    judged(&report, Verdict::Inconclusive, "only 1 of 2 terminated pods had a request due while terminating");
    recording.header.plan.expect.failed = Allowed::Any;
    judged(&recording.report(), Verdict::Pass, "failed");
}

/// Without the lane of new connections, whose rate would give the floor.
fn kept_only(connections: u32) -> Recording {
    let mut recording = clean().answered(REUSED, 0, 3_010, 1, 7);
    let load = &mut recording.header.plan.arms[0].load;
    load.lanes.retain(|lane| lane.kind == LaneKind::Reused);
    load.lanes[0].connections = connections;
    for records in recording.records.values_mut() {
        records.retain(|record| record.lane == REUSED);
        for record in records {
            record.lane = LaneId(0);
        }
    }
    recording
}

#[test]
fn kept_connections_give_a_floor_only_if_they_are_enough_to_reach_every_pod() {
    judged(&kept_only(3).report(), Verdict::Pass, "gaps on one pod shorter than 80 ms");
    judged(&kept_only(2).report(), Verdict::Inconclusive, "cannot be computed from this load");
}

#[test]
fn a_lane_that_never_reused_a_connection_gives_no_floor_and_says_so() {
    let never = |mut recording: Recording, lane: LaneId| {
        for record in recording.records.values_mut().flatten().filter(|record| record.lane == lane) {
            (record.flags, record.nth) = (Flags(0), 1);
        }
        recording
    };
    let caveat =
        "lane reused never reused a connection: the server closes each; pinned connections were not tested";
    let report = never(kept_only(3), LaneId(0)).report();
    judged(&report, Verdict::Inconclusive, "cannot be computed from this load");
    assert_eq!(report.run.caveats, [caveat]);
    // Beside new connections it is a caveat alone.
    let report = never(clean(), REUSED).report();
    judged(&report, Verdict::Pass, "0 of 375");
    assert_eq!(report.run.caveats, [caveat]);
    let mut asked = never(clean(), REUSED);
    asked.header.plan.arms[0].load.lanes[1].max_requests_per_connection = Some(1);
    assert!(asked.report().run.caveats[0].contains("maxRequestsPerConnection is 1"));
    assert!(clean().report().run.caveats.is_empty());
}

#[test]
fn a_load_whose_latency_is_the_clients_says_so() {
    let alone = |lag: u32, end: u32| {
        let mut recording = clean();
        let arm = &mut recording.header.plan.arms[0];
        arm.workload.replicas = 0;
        assert!(!arm.has_workload());
        for record in recording.records.values_mut().flatten() {
            (record.start, record.write_done, record.first_byte, record.end) = (lag, lag, end, end);
        }
        recording
    };
    let caveats = |recording: Recording| recording.report().run.caveats;
    let told = "at the median 500 µs of 1 ms of latency are how late the client sent, and not the service's";
    let found = caveats(alone(5_000, 10_000));
    assert!(found.len() == 3 && found.iter().all(|caveat| caveat.ends_with(told)), "{found:?}");
    // Why, where that is known.
    let fast = |mut recording: Recording| {
        recording.header.plan.arms[0].load.lanes[0].rate = 10_000.0;
        recording
    };
    let together =
        |recording: Recording| caveats(recording)[0].contains("slots that come fast are released together");
    assert!(together(fast(alone(5_000, 10_000))));
    assert!(!together(fast(alone(50_000, 60_000))), "that is more than a pass");
    let mut exact = fast(alone(5_000, 10_000));
    exact.header.plan.notes.push(format!("{EXACT_NOTE} the client polls"));
    assert!(caveats(exact).iter().all(|caveat| !caveat.contains("together")));
    assert!(caveats(alone(5_000, 11_000)).is_empty(), "most of it is the service's");
    assert!(caveats(alone(1_900, 2_000)).is_empty(), "too little to speak of");
    let mut closed = alone(5_000, 10_000);
    closed.header.plan.arms[0].load.lanes.iter_mut().for_each(|lane| lane.arrivals = Arrivals::Closed);
    assert!(caveats(closed).is_empty(), "nothing was due");
    let mut scenario = alone(5_000, 10_000);
    scenario.header.plan.arms[0].workload = clean().header.plan.arms[0].workload.clone();
    assert!(caveats(scenario).is_empty());
}

#[test]
fn load_on_a_url_that_no_pod_answered_proves_nothing() {
    let mut recording = clean();
    recording.header.plan.arms[0].load.target = Target::Url("http://example.org/".into());
    // Where the answers name their pods, it is as good as any.
    judged(&recording.clone().report(), Verdict::Pass, "over 1 exposed termination");
    recording.records.values_mut().flatten().for_each(|record| record.pod = PodId::NONE);
    let report = recording.report();
    judged(&report, Verdict::Inconclusive, "no answer named a pod of this workload");
    judged(&report, Verdict::Inconclusive, "no request was due to a pod while it was terminating");
    assert_eq!(report.arms[0].terminations.exposed, 0, "that it was sent at the time is no exposure");
}

fn stalled(mut recording: Recording, at: u64, for_ms: u64) -> Recording {
    let event = Event::Stalled { for_ns: for_ms * 1_000_000, agent: None };
    recording.events.push(TimedEvent { at_ns: ms(at), arm: ArmId(0), event });
    recording
}

#[test]
fn a_stall_of_the_process_while_a_pod_was_terminating_is_a_doubt() {
    // From the delete at 3 s to the end at 5.6 s.
    for (at, for_ms) in [(3_050, 1_600), (7_100, 1_600), (4_000, 200)] {
        let report = stalled(clean(), at, for_ms).report();
        judged(
            &report,
            Verdict::Inconclusive,
            "while web-0 was terminating: the emulation and the load were late",
        );
    }
    judged(
        &stalled(stalled(clean(), 4_000, 200), 5_000, 1_600).report(),
        Verdict::Inconclusive,
        "this process stood still for 1.600 s (2 stalls) while web-0",
    );
    // Before, after, too short, or when the load was over.
    for (at, for_ms) in [(2_900, 1_000), (8_000, 2_000), (4_000, 40), (LOAD_MS + 2_000, 1_000)] {
        judged(&stalled(clean(), at, for_ms).report(), Verdict::Pass, "0 of 375 requests failed");
    }
}

#[test]
fn an_interval_that_a_stall_may_have_stretched_is_in_doubt_and_one_that_it_cannot_have_fails() {
    let expecting = |seconds: f64| {
        let mut recording = clean();
        let within = 0.3;
        let (edge, after) = (Edge::Sigterm, Edge::PreStopStarted);
        recording.header.plan.expect.timeline = vec![TimelineExpectation { edge, after, seconds, within }];
        recording.header.plan.expect.failed = Allowed::Any;
        recording
    };
    // It came 1 s after.
    let told =
        "sigterm came 1.00 s after preStopStarted, expected 0.3 ± 0.3 s; this process stood still for 1.60 s";
    judged(&stalled(expecting(0.3), 4_700, 1_600).report(), Verdict::Inconclusive, told);
    judged(&stalled(expecting(5.0), 4_700, 1_600).report(), Verdict::Fail, "expected 5 ± 0.3 s");
    // Long before it.
    judged(&stalled(expecting(0.3), 7_500, 1_600).report(), Verdict::Fail, "expected 0.3 ± 0.3 s");
    judged(&expecting(0.3).report(), Verdict::Fail, "expected 0.3 ± 0.3 s");
}

#[test]
fn what_a_stall_made_late_is_late_but_does_not_fail_the_service() {
    let late = || clean().answered(NEW, 1, 7_000, 1_500, 1);
    judged(&late().report(), Verdict::Fail, "1 of 376 requests answered late");
    let report = stalled(late(), 8_000, 400).report();
    judged(&report, Verdict::Inconclusive, "or were under way while this process stood still");
    assert_eq!(report.arms[0].requests.late, 1, "it is late all the same");
    judged(&stalled(late(), 6_900, 400).report(), Verdict::Fail, "1 of 376 requests answered late");
}

#[test]
fn a_stall_is_that_of_all_arms_and_hides_no_failure() {
    use crate::analysis::testing::arm;
    use crate::plan::Role;
    let plans = vec![arm("a", Role::Trial), arm("b", Role::Trial)];
    let mut recording = Recording::empty(plans).scene(&Stop::default()).next_arm().scene(&Stop::default());
    // Only the second arm terminates a pod at that time; the event carries the first.
    recording.events.retain(|timed| {
        timed.arm.0 == 1 || ms(0) == timed.at_ns || timed.at_ns > ms(5_600) || timed.at_ns < ms(2_900)
    });
    let report = stalled(recording, 4_000, 500).report();
    judged(&report, Verdict::Inconclusive, "arm b: this process stood still for 500 ms while web-0");
    let failing = clean().failed(NEW, 0, 4_100, 1, 1, crate::record::Class::ConnectRefused);
    judged(&stalled(failing, 4_000, 500).report(), Verdict::Fail, "1 of 376 requests failed");
}

#[test]
fn a_hook_that_failed_with_its_container_is_not_said_to_have_let_sigterm_through() {
    let failed = HookOutcome::Failed { message: "signal 9".into() };
    let told = |stop: Stop, at: u64| {
        let ended = Event::PreStopEnded { pod: PodId(0), inferred: false, outcome: failed.clone() };
        Recording::of(&Stop { pre_stop: None, ..stop }).event(at, ended).arm_report().pods[0].notes.clone()
    };
    let without = Stop { sigterm: None, listener_closed: None, drained: None, ..Stop::default() };
    for at in [4_990, 5_002] {
        let told = told(without.clone(), at);
        assert!(
            told.contains(&"FailedPreStopHook (signal 9): the container ended while preStop ran".to_owned()),
            "{told:?}"
        );
    }
    // The hook itself had signalled process 1.
    let own = Stop { sigterm: Some(4_985), listener_closed: None, drained: None, ..Stop::default() };
    assert!(told(own, 4_990)[0].ends_with("the container ended while preStop ran"));
    let unseen = told(without, 3_100);
    assert!(
        unseen.contains(&"FailedPreStopHook (signal 9): no SIGTERM was observed after it".to_owned()),
        "{unseen:?}"
    );
    let came = told(Stop::default(), 3_100);
    assert_eq!(came, ["FailedPreStopHook (signal 9): SIGTERM came at once, without the wait"]);
}

#[test]
fn slow_answers_are_kept_apart_from_lateness_by_a_stall_too() {
    let open = |record: &mut Record| (record.stage, record.status) = (Stage::Done, 200);
    let mut recording = clean().request(SLOW, 1, 6_500, 3_500, 2, open);
    recording.header.plan.limits.schedule_lag = Duration::from_millis(50);
    judged(&stalled(recording, 9_000, 300).report(), Verdict::Inconclusive, "stood still");
}
