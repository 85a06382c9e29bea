//! What is known when nobody but the records tells where a request went and when the rules changed.

use super::super::testing::{NEW, REUSED, Recording, Stop};
use crate::event::Event;
use crate::id::{NodeId, PodId};
use crate::record::{Class, Record};
use crate::report::{Arm, PodPhase};
use crate::routing::Routing;

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
    let arm = unreported(&Stop::default())
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
