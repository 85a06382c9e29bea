//! The three claims of the article that this project comes from, held against what was measured.
//!
//! (A) SIGTERM comes at the end of preStop or of the grace, whichever is earlier. (B) After SIGTERM the whole grace may pass
//! before SIGKILL. (C) A terminating pod can still call the API server. Each is looked at on every terminated pod that
//! shows it; what no pod shows is neither true nor false.

use super::arm::Arm;
use super::timeline::PodFacts;
use crate::event::HookOutcome;
use crate::plan::Role;
use crate::report::Claim;
use crate::statistics::real;

/// The scenarios that are about them.
const SCENARIOS: [&str; 4] =
    ["hook-timing", "grace-shorter-than-pre-stop", "grace-shorter-than-drain", "api-during-shutdown"];
/// Two processes and two clocks tell these edges.
const WITHIN: f64 = 0.3;
/// An end that only the kubelet tells is known to a second.
const VAGUELY_WITHIN: f64 = 1.3;

/// The runtime tells the kubelet that a hook has ended, and that takes some tenths of a second on a busy node, s.
const TOLD_WITHIN: f64 = 0.6;

/// What was seen of a claim on one pod.
struct Seen {
    holds: bool,
    text: String,
}

/// The claims, if the scenario is about them.
pub(super) fn claims(scenario: &str, arms: &[Arm<'_>]) -> Vec<Claim> {
    if !SCENARIOS.contains(&scenario) {
        return vec![];
    }
    let pods = || {
        let trials = arms.iter().filter(|arm| arm.plan.role == Role::Trial);
        trials.flat_map(|arm| arm.pods.values()).filter(|pod| pod.deleted_at().is_some())
    };
    let claim = |id: &str, text: &str, look: fn(&PodFacts) -> Option<Seen>, unseen: &str| {
        let seen: Vec<Seen> = pods().filter_map(look).collect();
        let holds = (!seen.is_empty()).then(|| seen.iter().all(|seen| seen.holds));
        let evidence = match seen[..] {
            [] => unseen.to_owned(),
            _ => seen.into_iter().map(|seen| seen.text).collect::<Vec<_>>().join("; "),
        };
        Claim { id: id.to_owned(), text: text.to_owned(), holds, evidence }
    };
    vec![
        claim(
            "A",
            "SIGTERM comes at min(preStop, terminationGracePeriodSeconds)",
            sigterm_at_the_earlier,
            "no terminated pod showed both a preStop hook and SIGTERM",
        ),
        claim(
            "B",
            "after SIGTERM a further terminationGracePeriodSeconds may pass before SIGKILL",
            whole_grace_after_sigterm,
            "no pod was killed after a preStop hook, so none shows how long it might have gone on",
        ),
        claim(
            "C",
            "a terminating pod can still call the API server",
            still_calls,
            "no pod was asked to call anything while it terminated",
        ),
    ]
}

fn seconds(from: u64, to: u64) -> f64 {
    real(to.saturating_sub(from)) / 1e9
}

fn sigterm_at_the_earlier(pod: &PodFacts) -> Option<Seen> {
    let timeline = &pod.timeline;
    let began = timeline.pre_stop_started_ns?;
    let after = seconds(timeline.t0_ns.unwrap_or(began).min(began), timeline.sigterm_ns?);
    let grace = real(pod.grace_seconds?);
    // That a `sleep` ended is inferred from SIGTERM, and says nothing beside it.
    if pod.inferred.contains("pre_stop_ended") && pod.pre_stop == Some(HookOutcome::Completed) {
        return None;
    }
    // A hook that was left running ends with its container, if anybody tells of it at all.
    let sigterm = timeline.sigterm_ns?;
    let overran = pod.pre_stop == Some(HookOutcome::Overran);
    let (holds, which) = match timeline.pre_stop_ended_ns {
        // The kubelet's time runs from T0, and the hook begins when the runtime has started it: what is told of a hook that was
        // over is not when it began, but that SIGTERM followed its end.
        Some(ended) if ended <= sigterm => {
            let (took, gap) = (seconds(began, ended), seconds(ended, sigterm));
            let text = format!("preStop took {took:.2} s and was over {gap:.2} s before");
            (gap <= TOLD_WITHIN && after <= grace + WITHIN, text)
        }
        Some(_) => ((after - grace).abs() <= WITHIN, "preStop was not over".to_owned()),
        None if overran => ((after - grace).abs() <= WITHIN, "preStop was not over".to_owned()),
        // Nobody told how the hook ended.
        None => return None,
    };
    let text = format!("{}: SIGTERM after {after:.2} s, grace {grace:.0} s, {which}", pod.name);
    Some(Seen { holds, text })
}

fn whole_grace_after_sigterm(pod: &PodFacts) -> Option<Seen> {
    let timeline = &pod.timeline;
    let sigterm = timeline.sigterm_ns.filter(|_| pod.was_killed())?;
    let hook = seconds(timeline.t0_ns.or(timeline.pre_stop_started_ns)?, sigterm);
    let (killed, within) = match timeline.killed_ns {
        Some(killed) => (killed, WITHIN),
        None => (timeline.exited_ns?, VAGUELY_WITHIN),
    };
    let (after, grace) = (seconds(sigterm, killed), real(pod.grace_seconds?));
    // Where what is left of the grace, two seconds at least, is the whole of it or near that, both rules say the same.
    if grace - (grace - hook.floor()).max(2.0) <= within {
        return None;
    }
    let about = if timeline.killed_ns.is_some() { "" } else { "about " };
    Some(Seen {
        holds: after >= grace - within,
        text: format!(
            "{}: killed {about}{after:.2} s after SIGTERM, grace {grace:.0} s, of which preStop had used {hook:.2} s",
            pod.name
        ),
    })
}

fn still_calls(pod: &PodFacts) -> Option<Seen> {
    let sigterm = pod.timeline.sigterm_ns?;
    let after: Vec<_> = pod.polls.iter().filter(|(at, _)| *at >= sigterm).collect();
    let answered: Vec<u64> = after.iter().filter(|(_, answered)| *answered).map(|(at, _)| *at).collect();
    let asked = after.len();
    if asked == 0 {
        return None;
    }
    let last = answered
        .last()
        .map_or(String::new(), |last| format!(", the last {:.2} s after it", seconds(sigterm, *last)));
    Some(Seen {
        holds: !answered.is_empty(),
        text: format!("{}: {} of {asked} calls after SIGTERM were answered{last}", pod.name, answered.len()),
    })
}
