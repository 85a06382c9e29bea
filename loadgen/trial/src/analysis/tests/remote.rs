//! What is known when nobody but the records tells where a request went and when the rules changed.

use super::super::testing::{NEW, REUSED, Recording, SLOW, Stop};
use crate::event::Event;
use crate::id::{NodeId, PodId};
use crate::record::{Class, Record};
use crate::report::{Arm, PodPhase, Verdict};
use crate::routing::Routing;
use crate::settings::Disruption;

/// The scene without a word about any node's rules.
fn unreported(stop: &Stop) -> Recording {
    let mut recording = Recording::of(stop);
    let told =
        |event: &Event| matches!(event, Event::EndpointProgrammed { .. } | Event::EndpointRemoved { .. });
    recording.events.retain(|timed| !told(&timed.event));
    recording
}

fn removals(arm: &Arm) -> Vec<Option<u64>> {
    arm.pods[0].endpoint.iter().map(|one| one.removed_ns.map(|at| at / 1_000_000)).collect()
}

#[test]
fn the_last_new_connection_that_reached_a_pod_tells_when_its_node_stopped_naming_it() {
    let mut recording = unreported(&Stop::default());
    for record in recording.records.values_mut().flatten() {
        record.node = NodeId(0);
    }
    let arm = recording
        .answered(NEW, 0, 3_150, 1, 1)
        // A kept connection goes on being served whatever the rules say.
        .answered(REUSED, 0, 4_500, 1, 9)
        .arm_report();
    assert_eq!(removals(&arm), [Some(3_150), None], "the load came from the first node alone");
    assert_eq!(arm.pods[0].inferred.iter().filter(|edge| *edge == "endpoint_removed").count(), 1);
    assert!(arm.pods[1].endpoint.is_empty(), "a pod that was not deleted stays in the rules");
}

#[test]
fn each_node_has_its_own_last_connection() {
    let from_second = |record: &mut Record| {
        record.node = NodeId(1);
        (record.status, record.stage) = (200, crate::record::Stage::Done);
    };
    let arm = unreported(&Stop::default())
        .answered(NEW, 0, 3_150, 1, 1)
        .request(NEW, 0, 3_400, 1, 1, from_second)
        .arm_report();
    assert_eq!(removals(&arm), [Some(3_150), Some(3_400)]);
}

#[test]
fn a_stray_connection_is_not_taken_for_the_rules() {
    let mut recording = unreported(&Stop::default()).answered(NEW, 0, 3_150, 1, 1);
    for at in 0..100 {
        recording = recording.answered(NEW, 1, 3_200 + at * 10, 1, 1);
    }
    let stray = recording.clone().answered(NEW, 0, 4_400, 1, 1).arm_report();
    assert_eq!(removals(&stray)[0], Some(3_150), "a hundred went elsewhere meanwhile");

    // One in ten is what chance allows a pod of two.
    let mut seldom = recording;
    for at in 0..10 {
        seldom = seldom.answered(NEW, 0, 3_200 + at * 100, 1, 1);
    }
    assert_eq!(removals(&seldom.arm_report())[0], Some(4_100));
}

#[test]
fn what_events_report_of_the_rules_is_not_guessed() {
    let arm = Recording::of(&Stop::default()).answered(NEW, 0, 3_500, 1, 1).arm_report();
    assert_eq!(removals(&arm), [Some(3_080), Some(3_080)]);
    assert!(!arm.pods[0].inferred.iter().any(|edge| edge == "endpoint_removed"));
}

/// No preStop, exit at once: what is still routed to the pod then finds nobody.
fn exits() -> Stop {
    Stop {
        pre_stop: None,
        sigterm: Some(3_010),
        listener_closed: None,
        drained: None,
        exited: Some(3_012),
        ip_gone: None,
        gone: Some(4_000),
        ..Stop::default()
    }
}

#[test]
fn a_refusal_that_only_one_pod_can_have_made_is_that_pods() {
    let recording = unreported(&exits()).failed(NEW, PodId::NONE.0, 3_200, 1, 1, Class::ConnectRefused);
    let arm = recording.arm_report();
    let failure = &arm.failures[0];
    assert_eq!((failure.pod.as_deref(), failure.pod_phase), (Some("web-0"), PodPhase::Exited));
    assert_eq!((failure.routing, failure.candidates.len()), (Routing::Programmed, 0));
    assert!(failure.sentence.contains("listener was closed while new connections"), "{}", failure.sentence);
    assert_eq!((arm.pods[0].failed, arm.terminations.bad), (1, 1));
    assert_eq!(removals(&arm)[0], Some(3_200), "it had been routed there");
}

#[test]
fn a_refusal_that_either_of_two_can_have_made_names_both_and_neither() {
    let recording = unreported(&exits()).stop(1, &exits());
    let arm = recording.failed(NEW, PodId::NONE.0, 3_200, 1, 1, Class::ConnectRefused).arm_report();
    let failure = &arm.failures[0];
    assert_eq!((failure.pod.as_deref(), failure.candidates.len()), (None, 2));
    assert_eq!(failure.pod_phase, PodPhase::Exited, "both had ended");
    assert_eq!((arm.pods[0].failed, arm.pods[1].failed, arm.terminations.bad), (0, 0, 2));
    // Whichever it was, it was for the same reason.
    let said = "at 3.201 s of the run, while web-0 and web-1 were stopping: connection refused. Because the listener was closed";
    assert!(failure.sentence.contains(said), "{}", failure.sentence);
    assert_eq!(arm.failures_by_cause, [("listener-closed-early".to_owned(), 1)].into());
}

#[test]
fn a_cut_is_explained_by_the_phase_that_all_candidates_share_and_by_no_other() {
    // Neither's listener was seen to close: both drain until 5.0 s.
    let drains = Stop { listener_closed: None, ..Stop::default() };
    let cut = |other: &Stop| {
        let recording = unreported(&drains).stop(1, other);
        recording.failed(SLOW, PodId::NONE.0, 4_100, 300, 1, Class::WaitClosed).arm_report()
    };
    let arm = cut(&drains);
    let failure = &arm.failures[0];
    assert_eq!((failure.pod.as_deref(), failure.pod_phase), (None, PodPhase::Draining));
    assert!(failure.sentence.contains("while web-0 and web-1 were stopping: closed"), "{}", failure.sentence);
    assert_eq!(arm.failures_by_cause, [("drain-too-short".to_owned(), 1)].into());
    // One that runs its hook still cuts nothing: then it may have been a third.
    let waits = Stop { pre_stop: Some((3_005, 4_805)), sigterm: Some(4_805), ..drains };
    assert_eq!(cut(&waits).failures_by_cause, [("unexplained".to_owned(), 1)].into());
}

#[test]
fn a_refusal_is_not_that_of_a_pod_which_still_took_connections() {
    let mut late = exits();
    (late.sigterm, late.exited) = (Some(3_900), Some(3_950));
    let recording = unreported(&exits()).stop(1, &late);
    let arm = recording.failed(NEW, PodId::NONE.0, 3_200, 1, 1, Class::ConnectRefused).arm_report();
    assert_eq!(arm.failures[0].pod.as_deref(), Some("web-0"));
    // A timeout of the answer says nothing of the kind.
    let recording = unreported(&exits()).failed(NEW, PodId::NONE.0, 3_200, 5_000, 1, Class::WaitTimeout);
    assert_eq!(recording.failure().pod, None);
}

#[test]
fn agents_are_counted_apart_and_add_up() {
    let begun = |agent, node: &str| Event::AgentStarted {
        agent,
        node: node.into(),
        clock_offset_ns: -5,
        clock_uncertainty_ns: 7,
    };
    let second = |record: &mut Record| record.agent = 1;
    let arm = Recording::of(&exits())
        .event(0, begun(0, "node-0"))
        .event(0, begun(1, "node-1"))
        .request(NEW, 0, 3_100, 1, 1, |record| {
            second(record);
            record.class = Class::ConnectRefused;
        })
        .failed(NEW, 0, 3_200, 1, 1, Class::ConnectRefused)
        .arm_report();
    let [first, other] = &arm.agents[..] else { panic!("{:?}", arm.agents) };
    assert_eq!((first.sent + other.sent, other.sent), (arm.requests.sent, 1));
    assert_eq!((first.failed, other.failed, arm.requests.failed), (1, 1, 2));
    assert_eq!((other.node.as_str(), other.clock_offset_ns), ("node-1", -5));
    assert_eq!(other.first_failure_ns, Some(3_101_000_000));
    assert_eq!(first.failures_by_class.get("connect-refused"), Some(&1));
}

/// Agents on these nodes, one after the other.
fn agents_on(mut recording: Recording, nodes: &[&str]) -> Recording {
    for (agent, node) in (0..).zip(nodes) {
        let (clock_offset_ns, clock_uncertainty_ns) = (0, 1_000);
        let node = (*node).to_owned();
        recording =
            recording.event(0, Event::AgentStarted { agent, node, clock_offset_ns, clock_uncertainty_ns });
    }
    recording
}

#[test]
fn the_detection_floor_is_that_of_the_least_probed_node() {
    let floor = |nodes: &[&str]| {
        agents_on(Recording::of(&Stop::default()), nodes).arm_report().detection_floor_ns.unwrap()
    };
    let whole = floor(&["node-0"]);
    assert_eq!(whole, 40_000_000, "3 pods and one that comes before one goes, 300/s");
    let still = |recording: Recording| {
        let mut recording = agents_on(recording, &["node-0"]);
        recording.header.plan.arms[0].disruption = Disruption::Evict { count: 1 };
        recording.arm_report().detection_floor_ns
    };
    assert_eq!(still(Recording::of(&Stop::default())), Some(30_000_000), "3 pods");
    assert_eq!(floor(&["node-0", "node-1"]), 2 * whole);
    assert_eq!(floor(&["node-0", "node-1", "node-0"]), 3 * whole);
}

#[test]
fn a_node_that_no_load_came_from_is_named() {
    let caveats = |nodes: &[&str]| agents_on(Recording::of(&Stop::default()), nodes).report().run.caveats;
    let said = caveats(&["node-0"]).join("; ");
    assert!(said.contains("the load came from node-0 alone, 1 of 2 nodes"), "{said}");
    assert!(!caveats(&["node-0", "node-1"]).join("; ").contains("the load came from"));
    // Without agents the requests tell it.
    let mut alone = Recording::of(&Stop::default());
    assert_eq!(alone.clone().report().run.caveats, [""; 0]);
    for record in alone.records.values_mut().flatten() {
        record.node = NodeId(1);
    }
    let report = alone.report();
    let said = "as seen from node-1 alone, 1 of 2 nodes";
    assert!(report.reasons.join("; ").contains(said), "{:?}", report.reasons);
    assert_eq!(
        report.run.caveats,
        [
            "the load came from node-1 alone, 1 of 2 nodes: how the rules of the others (node-0) followed was not tested"
        ]
    );
    let report = agents_on(Recording::of(&Stop::default()), &["node-0"]).report();
    assert_eq!(report.verdict, Verdict::Pass);
    let said = report.reasons.join("; ");
    assert!(said.contains("as seen from node-0 alone, 1 of 2 nodes"), "{said}");
}

#[test]
fn an_agents_clock_is_as_certain_as_it_was_at_the_end() {
    let drifted = Event::AgentClock { agent: 0, clock_uncertainty_ns: 30_000_000 };
    let report = agents_on(Recording::of(&Stop::default()), &["node-0"]).event(9_000, drifted).report();
    assert_eq!(report.arms[0].agents[0].clock_uncertainty_ns, 30_000_000);
    let said = report.run.caveats.join("; ");
    assert!(said.contains("times of agent 0 on node-0 are known to ± 30 ms only"), "{said}");
}

/// What the slice says of each pod, from a moment on.
fn sliced(mut recording: Recording, at: u64, pods: &[u16], ready: bool) -> Recording {
    for pod in pods {
        let pod = PodId(*pod);
        let said = Event::SliceChanged { pod, ready, serving: ready, terminating: !ready };
        recording = recording.event(at, said);
    }
    recording
}

#[test]
fn a_refusal_when_no_slice_names_a_pod_is_not_laid_to_the_pod_that_went() {
    let refused = |recording: Recording| {
        recording.failed(NEW, PodId::NONE.0, 3_200, 1, 1, Class::ConnectRefused).arm_report()
    };
    let arm = refused(sliced(sliced(unreported(&exits()), 3, &[0, 1, 2], true), 3_100, &[0, 1, 2], false));
    let failure = &arm.failures[0];
    assert_eq!((failure.pod.as_deref(), &failure.candidates[..]), (None, &["web-0".to_owned()][..]));
    assert!(failure.sentence.contains("no endpoint was left"), "{}", failure.sentence);
    assert!(removals(&arm)[0].is_some_and(|at| at < 3_200), "a reject of the rules reached no pod");
    // As long as one takes connections it can only have been the pod that was named and gone.
    let arm = refused(sliced(sliced(unreported(&exits()), 3, &[0, 1, 2], true), 3_100, &[0], false));
    assert_eq!(arm.failures[0].pod.as_deref(), Some("web-0"));
}

/// A forced delete: the object goes at once, the process lives on.
fn forced(exited: Option<u64>) -> Recording {
    let mut recording = unreported(&Stop { exited: None, gone: None, ..exits() });
    let exit = || Event::Exited { pod: PodId(0), code: None, signal: None, inferred: true };
    for timed in &mut recording.events {
        if let Event::Terminating { grace_seconds, .. } = &mut timed.event {
            *grace_seconds = 0;
        }
    }
    recording = recording.event(3_002, Event::Gone { pod: PodId(0) });
    if let Some(at) = exited { recording.event(at, exit()) } else { recording }
}

#[test]
fn what_fails_after_a_forced_delete_is_still_that_pods() {
    for exited in [Some(3_100), None] {
        let arm = forced(exited).failed(NEW, PodId::NONE.0, 3_050, 30, 1, Class::WaitReset).arm_report();
        assert_eq!(arm.terminations.bad, 1, "{exited:?}: {:?}", arm.failures[0]);
        assert_eq!(arm.failures[0].candidates, ["web-0"], "{exited:?}");
    }
    // Nobody lives longer than the grace.
    let arm = forced(None).failed(NEW, PodId::NONE.0, 9_000, 1, 1, Class::WaitReset).arm_report();
    assert_eq!(arm.terminations.bad, 1, "30 s of grace");
    let arm = forced(Some(3_100)).failed(NEW, PodId::NONE.0, 3_200, 1, 1, Class::WaitReset).arm_report();
    assert_eq!(arm.terminations.bad, 0);
}

#[test]
fn a_watch_that_was_broken_off_while_a_pod_stopped_is_a_doubt() {
    let blind = |at| Event::Blind { watch: "pods".into(), for_ns: at };
    let report = Recording::of(&Stop::default()).event(4_000, blind(500_000_000)).report();
    assert_eq!(report.verdict, Verdict::Inconclusive);
    let said = "the cluster was not watched for 500 ms while web-0 was terminating";
    assert!(report.reasons.iter().any(|reason| reason.contains(said)), "{:?}", report.reasons);
    for (at, for_ns) in [(4_000, 20_000_000), (2_500, 500_000_000), (9_000, 500_000_000)] {
        let report = Recording::of(&Stop::default()).event(at, blind(for_ns)).report();
        assert_eq!(report.verdict, Verdict::Pass, "{at}: {:?}", report.reasons);
    }
}

#[test]
fn a_stall_concerns_the_load_of_the_agent_that_stood_still() {
    let late = |agent| {
        agents_on(Recording::of(&Stop::default()), &["node-0", "node-1"]).request(
            NEW,
            1,
            4_000,
            1_500,
            1,
            move |record| {
                (record.agent, record.class) = (agent, Class::None);
                (record.stage, record.status) = (crate::record::Stage::Done, 200);
            },
        )
    };
    let stalled = |agent| Event::Stalled { for_ns: 400_000_000, agent };
    let report = late(0).event(4_500, stalled(Some(1))).report();
    assert_eq!(report.verdict, Verdict::Fail, "the other one's: {:?}", report.reasons);
    let report = late(1).event(4_500, stalled(Some(1))).report();
    assert_eq!(report.verdict, Verdict::Inconclusive, "{:?}", report.reasons);
    assert!(report.reasons.join("; ").contains("an agent stood still"), "{:?}", report.reasons);
    // The process that conducts sends nothing: what it did not see is told, and the late answer counts.
    let report = late(0).event(4_500, stalled(None)).report();
    assert_eq!(report.verdict, Verdict::Fail, "{:?}", report.reasons);
    assert!(
        agents_on(Recording::of(&Stop::default()), &["node-0"])
            .event(4_500, stalled(None))
            .report()
            .reasons
            .join("; ")
            .contains("the cluster was not watched")
    );
}
