//! What the article's claims come to, on hand-built recordings.

use contract::lifecycle::Event as Lifecycle;

use super::super::testing::{Recording, Stop};
use crate::event::{Event, HookOutcome};
use crate::id::PodId;
use crate::report::Claim;

fn claims(recording: Recording) -> Vec<Claim> {
    let mut recording = recording;
    recording.header.plan.scenario = "grace-shorter-than-drain".into();
    recording.report().claims
}

/// A pod with `grace` seconds whose hook overran them.
fn overran(grace: u64, sigterm: u64, killed: u64) -> Recording {
    let stop = Stop {
        pre_stop: Some((3_005, sigterm)),
        sigterm: Some(sigterm),
        listener_closed: None,
        drained: None,
        killed: Some(killed),
        exited: Some(killed + 1),
        ip_gone: None,
        gone: Some(killed + 600),
        ..Stop::default()
    };
    let mut recording = Recording::of(&stop);
    for timed in &mut recording.events {
        match &mut timed.event {
            Event::Terminating { grace_seconds, .. } => *grace_seconds = grace,
            Event::PreStopEnded { outcome, .. } => *outcome = HookOutcome::Overran,
            _ => {}
        }
    }
    recording
}

fn found(claims: &[Claim], id: &str) -> (Option<bool>, String) {
    let claim = claims.iter().find(|claim| claim.id == id).unwrap();
    (claim.holds, claim.evidence.clone())
}

#[test]
fn other_scenarios_claim_nothing() {
    assert_eq!(Recording::of(&Stop::default()).report().claims, []);
}

#[test]
fn sigterm_at_the_end_of_the_hook_or_of_the_grace() {
    assert_eq!(
        found(&claims(Recording::of(&Stop::default())), "A").0,
        None,
        "a sleep's end is SIGTERM itself"
    );
    let mut exec = Recording::of(&Stop::default());
    for timed in &mut exec.events {
        if let Event::PreStopEnded { inferred, .. } = &mut timed.event {
            *inferred = false;
        }
    }
    let (holds, evidence) = found(&claims(exec), "A");
    assert_eq!(holds, Some(true), "{evidence}");
    assert!(evidence.contains("web-0: SIGTERM after 1.00 s, grace 30 s, preStop took 1.00 s"), "{evidence}");
    let (holds, evidence) = found(&claims(overran(2, 5_005, 7_005)), "A");
    assert_eq!((holds, evidence.contains("preStop was not over")), (Some(true), true), "{evidence}");
    assert_eq!(found(&claims(overran(2, 4_005, 7_005)), "A").0, Some(false), "a second too early");
}

#[test]
fn the_whole_grace_after_sigterm_holds_for_the_kubelets_that_gave_it() {
    // With a grace of two seconds both rules say the same.
    assert_eq!(found(&claims(overran(2, 5_005, 7_005)), "B").0, None);
    let (holds, evidence) = found(&claims(overran(3, 6_005, 8_005)), "B");
    assert_eq!(holds, Some(false), "{evidence}");
    assert!(
        evidence.contains("killed 2.00 s after SIGTERM, grace 3 s, of which preStop had used 3.00 s"),
        "{evidence}"
    );
    assert_eq!(found(&claims(overran(3, 6_005, 9_005)), "B").0, Some(true));
    assert_eq!(found(&claims(Recording::of(&Stop::default())), "B").0, None, "it ended by itself");
    // On a cluster nobody sees the kill: the end is known to a second, and so little is no difference then.
    let unseen = |grace, sigterm, killed| {
        let mut recording = overran(grace, sigterm, killed);
        recording.events.retain(|timed| !matches!(timed.event, Event::KillSignal { .. }));
        for timed in &mut recording.events {
            if let Event::Exited { code, signal, inferred, .. } = &mut timed.event {
                (*code, *signal, *inferred) = (Some(137), None, true);
            }
        }
        found(&claims(recording), "B").0
    };
    assert_eq!(unseen(3, 6_005, 8_005), None);
    assert_eq!(unseen(5, 6_005, 8_005), Some(false));
    assert_eq!(unseen(4, 7_005, 9_900), Some(true));
}

#[test]
fn calls_after_sigterm_count_if_they_were_answered() {
    let poll = |status: Option<u16>| Event::Lifecycle {
        pod: PodId(0),
        report: Lifecycle::Poll { status, error: status.is_none().then(|| "refused".to_owned()) },
    };
    let with = |statuses: &[Option<u16>]| {
        let polls = (0..).zip(statuses);
        polls.fold(Recording::of(&Stop::default()), |recording, (index, status)| {
            recording.event(4_010 + index * 100, poll(*status))
        })
    };
    let (holds, evidence) = found(&claims(with(&[Some(200), None, Some(200)])), "C");
    assert_eq!(holds, Some(true));
    assert!(
        evidence.contains("2 of 3 calls after SIGTERM were answered, the last 0.20 s after it"),
        "{evidence}"
    );
    assert_eq!(
        found(&claims(with(&[None, Some(403)])), "C").0,
        Some(false),
        "an answer that refuses is none"
    );
    assert_eq!(found(&claims(with(&[])), "C").0, None);
}
