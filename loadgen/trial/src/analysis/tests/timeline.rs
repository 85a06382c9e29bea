//! Phases, edges, notes, routing, and what follows from them.

use contract::lifecycle::{Event as Lifecycle, Hook, Load};

use crate::analysis::testing::{NEW, REUSED, Recording, SLOW, Stop, arm, from_node};
use crate::event::{Event, HookOutcome};
use crate::id::PodId;
use crate::plan::Role;
use crate::record::{Class, Flags};
use crate::report::{Arm, PodPhase};
use crate::routing::Routing;

const POD: PodId = PodId(0);

fn phase_at(stop: &Stop, at: u64) -> PodPhase {
    Recording::of(stop).failed(NEW, 0, at - 1, 1, 1, Class::WaitReset).failure().pod_phase
}

#[test]
fn each_phase_begins_with_its_edge() {
    let stop = Stop { listener_closed: Some(4_500), ..Stop::default() };
    let expected = [
        (2_500, PodPhase::Serving),
        (3_003, PodPhase::Serving),
        (3_006, PodPhase::PreStop),
        (4_006, PodPhase::Draining),
        (4_501, PodPhase::ListenerClosed),
        (5_002, PodPhase::Exited),
        (5_101, PodPhase::IpGone),
    ];
    for (at, phase) in expected {
        assert_eq!(phase_at(&stop, at), phase, "at {at} ms");
    }
}

#[test]
fn without_a_hook_the_time_from_delete_to_sigterm_is_pre_stop() {
    let stop = Stop { pre_stop: None, ..Stop::default() };
    assert_eq!(phase_at(&stop, 3_500), PodPhase::PreStop);
}

#[test]
fn an_edge_that_was_not_observed_voids_the_phase_after_it() {
    let silent = Stop { listener_closed: None, ..Stop::default() };
    assert_eq!(phase_at(&silent, 4_900), PodPhase::Draining, "the last phase that was observed");
    let unsignalled = Stop { sigterm: None, listener_closed: None, ..Stop::default() };
    assert_eq!(phase_at(&unsignalled, 4_900), PodPhase::Unknown);
    assert_eq!(phase_at(&unsignalled, 5_050), PodPhase::Exited);
}

fn routing_of(recording: Recording, nth: u32, at: u64, node: u8) -> Routing {
    let fail = |record: &mut crate::record::Record| {
        record.class = Class::WaitReset;
        from_node(node)(record);
    };
    recording.request(REUSED, 0, at, 1, nth, fail).failure().routing
}

#[test]
fn routing_follows_the_rules_of_the_loads_own_node() {
    let mut recording = Recording::of(&Stop::default());
    recording
        .events
        .retain(|timed| !matches!(&timed.event, Event::EndpointRemoved { node, .. } if node == "node-1"));
    for nth in [1, 9] {
        assert_eq!(routing_of(recording.clone(), nth, 3_050, 0), Routing::Programmed);
        assert_eq!(routing_of(recording.clone(), nth, 3_200, 0), Routing::Removed);
        assert_eq!(routing_of(recording.clone(), nth, 3_200, 1), Routing::Programmed);
        // No rules were observed there: a new connection was routed all the same, of a kept one nothing is known.
        let unobserved = if nth == 1 { Routing::Programmed } else { Routing::Unknown };
        assert_eq!(routing_of(recording.clone(), nth, 3_200, 7), unobserved);
    }
    let fallback = recording.request(NEW, 0, 3_200, 1, 1, |record| {
        record.class = Class::WaitReset;
        record.flags.set(Flags::FALLBACK);
    });
    assert_eq!(fallback.failure().routing, Routing::Fallback);
}

#[test]
fn removal_counts_from_the_delete_on_each_node() {
    let node = "node-0".to_owned();
    let early = Event::EndpointRemoved { pod: POD, node };
    let arm = Recording::of(&Stop::default()).event(1_000, early).arm_report();
    let removed: Vec<_> = arm.pods[0].endpoint.iter().map(|removal| removal.removed_ns).collect();
    assert_eq!(removed, [Some(3_080_000_000); 2]);
    assert!(arm.pods[1].endpoint.is_empty(), "it was not terminated");
}

fn notes(recording: Recording) -> Vec<String> {
    recording.arm_report().pods.remove(0).notes
}

#[test]
fn notes_tell_an_ignored_signal_from_a_drain_that_was_killed() {
    let killed = Stop { killed: Some(5_000), drained: None, ..Stop::default() };
    assert_eq!(
        notes(Recording::of(&killed)),
        [
            "did not finish by the end of its grace (30 s from the start of its stop, and two from SIGTERM at least), killed"
        ]
    );
    let silent = Stop { listener_closed: None, handled: None, ..killed };
    assert_eq!(notes(Recording::of(&silent)), ["ignored SIGTERM, used its full grace (30 s)"]);
    let unhandled = Stop { handled: Some(false), ..silent };
    let note = "ignored SIGTERM, used its full grace (30 s): process 1 has no handler for SIGTERM";
    assert_eq!(notes(Recording::of(&unhandled)), [note]);
    assert!(notes(Recording::of(&Stop::default())).is_empty());
}

#[test]
fn notes_tell_of_hooks_crashes_and_what_events_say() {
    let outcome = |outcome| Event::PreStopEnded { pod: POD, inferred: false, outcome };
    let stop = Stop { pre_stop: None, ..Stop::default() };
    let failed = HookOutcome::Failed { message: "exit code 1".into() };
    let warning =
        Event::Warning { pod: Some(POD), reason: "FailedPreStopHook".into(), message: "exit 1".into() };
    let told = notes(Recording::of(&stop).event(3_200, outcome(failed)).event(3_201, warning));
    assert_eq!(told, ["FailedPreStopHook (exit code 1): SIGTERM came at once, without the wait"]);
    let told = notes(Recording::of(&stop).event(4_000, outcome(HookOutcome::Overran)));
    assert!(told[0].starts_with("preStop was not over when the grace (30 s) was"), "{told:?}");
    let crash = Event::Exited { pod: POD, code: Some(3), signal: None, inferred: false };
    let told = notes(Recording::of(&stop).event(2_000, crash));
    assert_eq!(told, ["ended by itself (exit code 3) before anything asked it to"]);
    let note = Event::Note { pod: Some(POD), text: "a word".into() };
    assert_eq!(notes(Recording::of(&stop).event(9, note)), ["a word"]);
}

#[test]
fn a_restart_is_noted_and_its_downtime_is_the_exit_of_the_first_process() {
    let arm = Recording::of(&Stop::default())
        .event(1_000, Event::Exited { pod: POD, code: Some(3), signal: None, inferred: false })
        .event(2_000, Event::PodStarted { pod: POD, pid: 2, namespaced: true })
        .failed(NEW, 0, 1_500, 1, 1, Class::ConnectRefused)
        .arm_report();
    assert_eq!(arm.failures[0].pod_phase, PodPhase::Exited);
    assert_eq!(arm.pods[0].timeline.exited_ns, Some(5_001_000_000), "that of the termination");
    assert_eq!(arm.pods[0].notes, ["ended by itself (exit code 3) and was restarted"]);
}

#[test]
fn a_hooks_own_word_replaces_what_was_inferred() {
    let said = |report| Event::Lifecycle { pod: POD, report };
    let arm = Recording::of(&Stop::default()).arm_report();
    assert_eq!(arm.pods[0].inferred, ["pre_stop_ended", "pre_stop_started"]);
    let arm = Recording::of(&Stop::default())
        .event(3_020, said(Lifecycle::HookStarted { hook: Hook::PreStop }))
        .event(3_990, said(Lifecycle::Sigterm(Load::default())))
        .arm_report();
    assert_eq!(arm.pods[0].inferred, ["pre_stop_ended"]);
    assert_eq!(arm.pods[0].timeline.pre_stop_started_ns, Some(3_020_000_000));
    assert_eq!(arm.pods[0].timeline.sigterm_ns, Some(3_990_000_000));
}

#[test]
fn a_listener_seen_closed_stands_in_for_a_pod_that_reports_nothing() {
    let seen = Event::ListenerSeenClosed { pod: POD };
    let silent = Stop { listener_closed: None, drained: None, ..Stop::default() };
    let closed = |arm: Arm| arm.pods[0].timeline.listener_closed_ns;
    assert_eq!(closed(Recording::of(&silent).event(4_100, seen.clone()).arm_report()), Some(4_100_000_000));
    assert_eq!(closed(Recording::of(&Stop::default()).event(4_100, seen).arm_report()), Some(4_006_000_000));
}

#[test]
fn what_happens_after_the_load_is_the_clean_up() {
    let pod = PodId(1);
    let arm = Recording::of(&Stop::default())
        .event(10_050, Event::DeleteRequested { pod })
        .event(10_060, Event::Exited { pod, code: Some(0), signal: None, inferred: false })
        .arm_report();
    assert_eq!((arm.terminations.total, arm.pods[1].timeline.exited_ns), (1, None));
}

#[test]
fn terminations_count_where_requests_were_exposed_to_them() {
    let arm = Recording::of(&Stop::default()).arm_report();
    let terminations = arm.terminations;
    assert_eq!((terminations.total, terminations.exposed, terminations.bad), (1, 1, 0));
    assert_eq!((arm.rollouts.total, arm.rollouts.bad), (1, 0));
    assert_eq!(arm.rollouts.duration_ns, Some(2_610_000_000));
    assert_eq!(arm.detection_floor_ns, Some(80_000_000));
    // Under way when the delete came, cut later.
    let arm = Recording::of(&Stop::default()).failed(SLOW, 0, 2_900, 2_102, 3, Class::BodyReset).arm_report();
    assert_eq!((arm.terminations.bad, arm.terminations.rate_upper_95), (1, Some(1.0)));
    assert_eq!((arm.pods[0].failed, arm.rollouts.bad), (1, 1));
}

#[test]
fn failures_less_than_a_second_apart_are_one_outage_of_their_lane() {
    let mut recording = Recording::of(&Stop::default());
    for at in [4_100, 4_900, 5_800, 7_000] {
        recording = recording.failed(NEW, 0, at, 1, 1, Class::ConnectRefused);
    }
    let arm = recording.failed(REUSED, 0, 4_200, 1, 3, Class::WaitReset).arm_report();
    let windows: Vec<_> = arm.outages.iter().map(|outage| (outage.lane.as_str(), outage.failed)).collect();
    assert_eq!(windows, [("new", 3), ("new", 1), ("reused", 1)]);
    assert_eq!(arm.outages[0].to_ns - arm.outages[0].from_ns, 1_700_000_000);
}

#[test]
fn advice_names_the_most_frequent_cause_first_with_a_patch_from_what_was_observed() {
    let stop = Stop { removed: Some(5_200), ..Stop::default() };
    let report = Recording::of(&stop)
        .failed(NEW, 0, 4_100, 1, 1, Class::ConnectRefused)
        .failed(NEW, 0, 4_200, 1, 1, Class::ConnectRefused)
        .failed(REUSED, 0, 4_999, 1, 3, Class::WaitReset)
        .report();
    assert_eq!(report.advice.len(), 2);
    assert!(
        report.advice[0].text.starts_with("2 requests: the listener was closed"),
        "{}",
        report.advice[0].text
    );
    // 2.2 s until every node avoided the pod: 3 s, and 1 s more.
    let patch = report.advice[0].patch.as_deref().unwrap();
    assert!(patch.contains("              sleep:\n                seconds: 4\n"), "{patch}");
    assert_eq!(report.advice[1].patch, None, "closing connections is the server's matter");
    assert!(report.advice.iter().all(|advice| advice.arm.is_none()), "there is only one");
}

#[test]
fn advice_is_given_to_each_arm_by_itself_and_to_repeats_together() {
    let names = ["a", "a #2", "b", "fine"];
    let mut recording = Recording::empty(names.map(|name| arm(name, Role::Trial)).to_vec());
    for (removed, refused) in [(5_200, 1), (5_200, 1), (7_900, 3), (7_900, 0)] {
        recording = recording.scene(&Stop { removed: Some(removed), ..Stop::default() });
        for at in 0..refused {
            recording = recording.failed(NEW, 0, 4_100 + at, 1, 1, Class::ConnectRefused);
        }
        recording = recording.next_arm();
    }
    let advice = recording.report().advice;
    let told: Vec<_> = advice.iter().map(|advice| (advice.arm.as_deref(), &advice.text[..10])).collect();
    assert_eq!(told, [(Some("a"), "2 requests"), (Some("b"), "3 requests")]);
    // Each after what was seen of its own rules: 2.2 s and 4.9 s, and a second more.
    let sleeps =
        advice.iter().map(|advice| advice.patch.as_deref().unwrap().rsplit_once(": ").unwrap().1.trim());
    assert_eq!(sleeps.collect::<Vec<_>>(), ["4", "6"]);
}

#[test]
fn the_race_of_the_two_flows_is_a_number_for_each_node() {
    let race = |stop: &Stop| {
        let pod = Recording::of(stop).arm_report().pods.remove(0);
        pod.endpoint.iter().map(|of| of.after_listener_closed_ns).collect::<Vec<_>>()
    };
    // The listener closes at 4.006 s: what comes until the rules follow is refused.
    let late = Stop { removed: Some(4_218), ..Stop::default() };
    assert_eq!(race(&late), [Some(212_000_000); 2]);
    let early = Stop { removed: Some(3_080), ..Stop::default() };
    assert_eq!(race(&early), [Some(-926_000_000); 2]);
    for unseen in [Stop { removed: None, ..Stop::default() }, Stop { listener_closed: None, ..late }] {
        assert_eq!(race(&unseen), [None; 2], "what was not observed is no number");
    }
}

#[test]
fn a_lane_counts_its_own_terminations() {
    let arm = Recording::of(&Stop { removed: Some(4_500), ..Stop::default() })
        .failed(NEW, 0, 4_100, 1, 1, Class::ConnectRefused)
        .failed(NEW, 0, 1_000, 1, 1, Class::WaitReset)
        .failed(REUSED, 1, 4_200, 1, 7, Class::WaitReset)
        .arm_report();
    let of = |lane: usize| arm.lanes[lane].terminations.unwrap();
    assert_eq!((of(0).exposed, of(0).failed, of(0).late, of(0).bad), (1, 1, 0, 1));
    assert_eq!(of(0).failed_requests, 1, "the other failed before the disruption began");
    // It failed on a pod that nobody terminated.
    assert_eq!((of(1).bad, of(1).failed_requests), (0, 1));
    assert_eq!((of(2).bad, of(2).failed_requests, of(2).late_requests), (0, 0, 0));
}
