//! One test a row of the design's table of symptoms.

use crate::analysis::Cause;
use crate::analysis::testing::{NEW, REUSED, Recording, SLOW, Stop, ms};
use crate::event::{Event, TimedEvent};
use crate::id::{ArmId, PodId};
use crate::record::{Class, Flags, Stage};
use crate::report::{Failure, PodPhase};
use crate::routing::Routing;

#[track_caller]
fn because(failure: &Failure, cause: Cause) {
    assert!(failure.sentence.contains(cause.text()), "{}", failure.sentence);
    assert!(failure.sentence.contains(cause.remedy()), "{}", failure.sentence);
}

/// Killed at the end of its grace, 5 s after SIGTERM.
fn killed() -> Stop {
    Stop { drained: None, killed: Some(5_000), ..Stop::default() }
}

#[test]
fn refused_while_the_rules_still_name_the_pod_is_a_listener_closed_too_early() {
    let stop = Stop { removed: Some(4_500), ..Stop::default() };
    let failure = Recording::of(&stop).failed(NEW, 0, 4_100, 1, 1, Class::ConnectRefused).failure();
    because(&failure, Cause::ListenerClosedEarly);
    assert_eq!((failure.pod_phase, failure.routing), (PodPhase::ListenerClosed, Routing::Programmed));
    assert_eq!(failure.pod.as_deref(), Some("web-0"));
    assert_eq!(
        (failure.nearest_edge.as_deref(), failure.margin_ns),
        (Some("listener_closed"), Some(95_000_000))
    );
}

#[test]
fn unreachable_or_silent_after_the_address_went_is_an_address_that_is_gone() {
    let stop = Stop { removed: Some(5_500), ..Stop::default() };
    for class in [Class::ConnectTimeout, Class::ConnectUnreachable] {
        let failure = Recording::of(&stop).failed(NEW, 0, 5_200, 3_000, 1, class).failure();
        because(&failure, Cause::AddressGone);
        // When it began counts: seen, it was long gone from everywhere.
        assert_eq!((failure.pod_phase, failure.routing), (PodPhase::IpGone, Routing::Programmed));
        assert_eq!(failure.nearest_edge.as_deref(), Some("ip_gone"));
    }
}

#[test]
fn rejected_by_the_rules_is_nobodys_refusal_and_names_the_terminating_pods() {
    let failure = Recording::of(&Stop::default())
        .request(NEW, PodId::NONE.0, 4_100, 1, 0, |record| {
            record.class = Class::ConnectRefused;
            record.flags.set(Flags::REJECTED);
        })
        .failure();
    because(&failure, Cause::NoEndpoint);
    assert_eq!((failure.pod, failure.routing), (None, Routing::Removed));
    assert_eq!((failure.candidates, failure.pod_phase), (vec!["web-0".to_owned()], PodPhase::ListenerClosed));
}

/// What a SYN that is sent again after a second makes of a request: late, and all of it before the first byte went out.
#[test]
fn late_for_want_of_an_endpoint_is_told_by_the_rules_or_by_the_slices() {
    let late = |recording: Recording, connecting_ms: u32, flag: Option<u16>| {
        recording
            .request(NEW, 1, 4_100, 1_600, 1, |record| {
                (record.class, record.stage, record.status) = (Class::None, Stage::Done, 200);
                record.write_done = record.start + connecting_ms * 10_000;
                record.first_byte = record.end;
                if let Some(flag) = flag {
                    record.flags.set(flag);
                }
            })
            .failure()
    };
    // Our own rules say that they rejected it.
    let rejected = late(Recording::of(&Stop::default()), 1_000, Some(Flags::REJECTED));
    because(&rejected, Cause::NoEndpoint);
    assert_eq!(
        (rejected.class.as_str(), rejected.pod),
        ("late", None),
        "the pod that answered is not to blame"
    );

    // On a cluster the slices do: none named a pod that takes connections.
    let without = |ready| {
        let said = |pod| Event::SliceChanged { pod: PodId(pod), ready, serving: ready, terminating: !ready };
        (0..3).fold(Recording::of(&Stop::default()), |recording, pod| recording.event(3_500, said(pod)))
    };
    because(&late(without(false), 1_000, None), Cause::NoEndpoint);
    for other in [late(without(true), 1_000, None), late(without(false), 800, None)] {
        assert!(!other.sentence.contains(Cause::NoEndpoint.text()), "{}", other.sentence);
    }
}

#[test]
fn reset_right_after_connecting_is_a_dropped_accept_queue() {
    let failure = Recording::of(&Stop::default()).failed(NEW, 0, 4_003, 4, 1, Class::WaitReset).failure();
    because(&failure, Cause::AcceptQueueDropped);
    assert_eq!(failure.nearest_edge.as_deref(), Some("listener_closed"));
}

#[test]
fn closed_on_idle_reuse_is_the_close_race() {
    for class in [Class::WaitClosed, Class::WaitReset, Class::WriteBrokenPipe, Class::WriteReset] {
        let failure = Recording::of(&Stop::default()).failed(REUSED, 0, 4_300, 1, 57, class).failure();
        because(&failure, Cause::IdleCloseRace);
        assert_eq!((failure.pod_phase, failure.routing), (PodPhase::ListenerClosed, Routing::Removed));
        assert!(failure.sentence.contains("57th on its connection"), "{}", failure.sentence);
    }
}

#[test]
fn a_kept_connection_cut_at_the_exit_was_pinned() {
    let failure = Recording::of(&Stop::default()).failed(REUSED, 0, 4_998, 1, 57, Class::WaitReset).failure();
    because(&failure, Cause::PinnedKeepAlive);
    assert_eq!(failure.routing, Routing::Removed);
    // 2 ms before the stamp of the exit, which the sockets' end precedes.
    assert_eq!((failure.nearest_edge.as_deref(), failure.margin_ns), (Some("exited"), Some(-2_000_000)));
    assert_eq!(failure.pod_phase, PodPhase::ListenerClosed, "phases go by the stamps");
    assert!(
        failure.sentence.contains(
            "994 ms after SIGTERM of pod web-0: reset while waiting for the answer; the pod exited 2 ms after"
        ),
        "{}",
        failure.sentence
    );
}

/// What ends a request happens at the pod's host half a round trip before the client sees it, and what a client sends gets there
/// as long after.
#[test]
fn edges_are_held_against_what_clients_at_a_distance_see_when_it_happened_there() {
    let far = |mut recording: Recording| {
        recording.header.plan.arms[0].load.rtt = std::time::Duration::from_millis(40);
        recording.failure()
    };
    let cut = || Recording::of(&Stop::default()).failed(REUSED, 0, 4_980, 41, 57, Class::WaitReset);
    for (failure, margin) in [(cut().failure(), 20), (far(cut()), 0)] {
        assert_eq!(
            (failure.nearest_edge.as_deref(), failure.margin_ns),
            (Some("exited"), Some(margin * 1_000_000))
        );
        assert_eq!(failure.at_ns, 5_021_000_000, "when the client saw it");
    }
    // On its way to a closed listener, not yet closed as it was seen from afar; and the other way round.
    let stop = || Recording::of(&Stop { removed: Some(5_500), ..Stop::default() });
    let refused = stop().failed(NEW, 0, 3_980, 40, 1, Class::ConnectRefused);
    assert_eq!(refused.clone().failure().pod_phase, PodPhase::ListenerClosed);
    assert_eq!(far(refused).pod_phase, PodPhase::PreStop);
    let silent = stop().failed(NEW, 0, 5_090, 3_000, 1, Class::ConnectTimeout);
    assert_eq!(silent.clone().failure().pod_phase, PodPhase::Exited);
    assert_eq!(far(silent.clone()).pod_phase, PodPhase::IpGone);
    // Outages are as clients feel them, however far they are.
    let outages = silent.clone().arm_report().outages;
    let mut from_afar = silent;
    from_afar.header.plan.arms[0].load.rtt = std::time::Duration::from_millis(40);
    assert_eq!(from_afar.arm_report().outages, outages);
    // The way there and back is no time in which an answer was under way.
    let mut waited = Recording::of(&Stop::default()).failed(REUSED, 0, 4_300, 110, 57, Class::WaitClosed);
    because(&waited.clone().failure(), Cause::DrainTooShort);
    waited.header.plan.arms[0].load.rtt = std::time::Duration::from_millis(40);
    because(&waited.failure(), Cause::IdleCloseRace);
}

#[test]
fn cut_in_the_middle_of_an_answer_is_a_drain_that_was_too_short() {
    for class in [Class::BodyReset, Class::BodyClosed, Class::WaitReset] {
        let failure = Recording::of(&Stop::default()).failed(SLOW, 0, 3_500, 1_502, 3, class).failure();
        because(&failure, Cause::DrainTooShort);
        assert_eq!(failure.pod_phase, PodPhase::Exited);
        assert!(failure.sentence.contains("the pod exited 1 ms before"), "{}", failure.sentence);
    }
}

#[test]
fn a_grace_that_the_delete_cut_is_not_the_settings() {
    let mut recording = Recording::of(&killed()).failed(SLOW, 0, 3_500, 1_501, 3, Class::WaitReset);
    for timed in &mut recording.events {
        if let Event::Terminating { grace_seconds, .. } = &mut timed.event {
            *grace_seconds = 1;
        }
    }
    because(&recording.clone().failure(), Cause::GraceCut);
    assert!(recording.report().advice.iter().all(|advice| advice.patch.is_none()), "no setting helps");
}

#[test]
fn cut_by_a_kill_is_a_grace_used_up() {
    let failure = Recording::of(&killed()).failed(SLOW, 0, 3_500, 1_501, 3, Class::WaitReset).failure();
    because(&failure, Cause::GraceUsedUp);
}

#[test]
fn cut_by_a_kill_after_an_ignored_signal_says_so() {
    let stop = Stop { handled: Some(false), listener_closed: None, ..killed() };
    let failure = Recording::of(&stop).failed(REUSED, 0, 4_999, 2, 3, Class::WaitReset).failure();
    because(&failure, Cause::StopIgnored);
}

#[test]
fn late_from_a_pod_just_ready_is_a_cold_pod_and_else_a_backlog() {
    let cold =
        Recording::of(&Stop::default()).pod_ready_at(3, 3_500).answered(NEW, 3, 4_000, 1_200, 1).failure();
    because(&cold, Cause::LateColdPod);
    assert_eq!((cold.class.as_str(), cold.pod_phase), ("late", PodPhase::Serving));
    assert!(cold.sentence.contains("answered 1.200 s after it was due"), "{}", cold.sentence);
    let old = Recording::of(&Stop::default()).answered(NEW, 0, 3_950, 1_200, 1).failure();
    because(&old, Cause::Backlog);
}

#[test]
fn late_only_because_the_client_was_is_nobody_elses_doing() {
    let answered = |sent_after_ms: u32, latency_ms: u64, stalled_for_ms: u64| {
        let mut recording =
            Recording::of(&Stop::default()).request(NEW, 1, 4_000, latency_ms, 1, move |record| {
                (record.start, record.class, record.stage, record.status) =
                    (sent_after_ms * 10_000, Class::None, Stage::Done, 200);
            });
        if stalled_for_ms > 0 {
            let event = Event::Stalled { for_ns: stalled_for_ms * 1_000_000, agent: None };
            recording.events.push(TimedEvent { at_ns: ms(4_900), arm: ArmId(0), event });
        }
        recording.failure()
    };
    // An answer is late after a second.
    for (sent_after_ms, latency_ms, stalled_for_ms) in [(600, 1_500, 0), (0, 1_100, 200), (100, 1_250, 200)] {
        let late = answered(sent_after_ms, latency_ms, stalled_for_ms);
        because(&late, Cause::ClientLate);
        assert!(late.sentence.contains("the client was late itself"), "{}", late.sentence);
    }
    // What it was late with, or stood still for, is less than was too much, or no more than a client may be.
    for (sent_after_ms, latency_ms, stalled_for_ms) in
        [(5, 1_500, 0), (60, 3_000, 0), (0, 3_000, 200), (40, 1_020, 0)]
    {
        because(&answered(sent_after_ms, latency_ms, stalled_for_ms), Cause::Backlog);
    }
}

#[test]
fn the_delay_of_a_lane_is_not_lateness() {
    let arm = Recording::of(&Stop::default()).answered(SLOW, 1, 4_000, 2_900, 3).arm_report();
    assert_eq!(arm.requests.late, 0);
    let arm = Recording::of(&Stop::default()).answered(SLOW, 1, 4_000, 3_100, 3).arm_report();
    assert_eq!(arm.requests.late, 1);
}

#[test]
fn errors_and_refusals_from_a_new_pod_mean_ready_too_early() {
    for class in [Class::Http5xx, Class::ConnectRefused] {
        let failure = Recording::of(&Stop::default())
            .pod_ready_at(3, 3_500)
            .failed(NEW, 3, 3_510, 1, 1, class)
            .failure();
        because(&failure, Cause::ReadyTooEarly);
        let starting = Recording::of(&Stop::default())
            .pod_ready_at(3, 3_500)
            .failed(NEW, 3, 3_400, 1, 1, class)
            .failure();
        assert_eq!(starting.pod_phase, PodPhase::Starting);
    }
}

#[test]
fn a_pod_that_was_there_before_the_disruption_is_soon_no_new_one() {
    let at = |at: u64| Recording::of(&Stop::default()).failed(NEW, 1, at, 1, 1, Class::Http5xx).failure();
    // It became Ready at 0.002 s, when nothing had been sent to it.
    because(&at(500), Cause::ReadyTooEarly);
    for later in [2_000, 4_500] {
        because(&at(later), Cause::ServiceError);
    }
    let late = Recording::of(&Stop::default()).answered(NEW, 1, 4_000, 1_200, 1).failure();
    because(&late, Cause::Backlog);
}

#[test]
fn errors_while_stopping_are_told_from_errors_of_the_service() {
    let stopping = Recording::of(&Stop::default()).failed(REUSED, 0, 4_500, 1, 3, Class::Http5xx).failure();
    because(&stopping, Cause::ErrorsWhileStopping);
    let serving = Recording::of(&Stop::default()).failed(REUSED, 1, 4_500, 1, 3, Class::BodyCorrupt);
    because(&serving.failure(), Cause::ServiceError);
}

#[test]
fn a_pod_that_ends_by_itself_is_a_crash() {
    let failure = Recording::of(&Stop::default())
        .event(4_000, Event::Exited { pod: PodId(1), code: Some(1), signal: None, inferred: false })
        .failed(REUSED, 1, 3_999, 1, 3, Class::WaitReset)
        .failure();
    because(&failure, Cause::Crashed);
}

#[test]
fn an_http2_connection_that_is_cut_at_the_exit_was_pinned_like_any_kept_one() {
    for class in [Class::H2Goaway, Class::H2StreamReset] {
        let failure = Recording::of(&Stop::default()).failed(REUSED, 0, 4_998, 1, 57, class).failure();
        because(&failure, Cause::PinnedKeepAlive);
        assert_eq!((failure.nearest_edge.as_deref(), failure.margin_ns), (Some("exited"), Some(-2_000_000)));
    }
}

#[test]
fn late_for_a_syn_that_was_sent_again_is_a_backlog_of_the_pod_that_answered() {
    let recording = Recording::of(&Stop::default()).request(NEW, 0, 3_950, 1_100, 1, |record| {
        (record.class, record.stage, record.status) = (Class::None, Stage::Done, 200);
        (record.write_done, record.first_byte) = (record.start + 10_000_000, record.end);
    });
    let failure = recording.failure();
    because(&failure, Cause::Backlog);
    assert_eq!((failure.class.as_str(), failure.pod.as_deref()), ("late", Some("web-0")));
    assert!(failure.sentence.contains("retransmitted SYN"), "{}", failure.sentence);
}
