//! `expect.timeline`: edges that must be so far apart, for every terminated pod.

use super::{Evidence, Stall, real};
use crate::report::{Arm, Pod, Timeline};
use crate::settings::{Edge, TimelineExpectation};

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// Off by more than allowed, or known not to have happened.
    pub(super) off: Vec<String>,
    /// Not to be told.
    pub(super) unobserved: Vec<String>,
}

/// Checks every expectation on every terminated pod.
pub(super) fn check(arm: &Arm, evidence: &Evidence, expectations: &[TimelineExpectation]) -> Checked {
    let mut checked = Checked::default();
    let terminated = arm.pods.iter().filter(|pod| is_terminated(&pod.timeline));
    for (pod, expected) in terminated.flat_map(|pod| expectations.iter().map(move |expected| (pod, expected)))
    {
        let (edge, edge_name) = edge(&pod.timeline, expected.edge);
        let (after, after_name) = self::edge(&pod.timeline, expected.after);
        let (seconds, within) = (expected.seconds, expected.within);
        if let (Some(edge), Some(after)) = (edge, after) {
            let apart = real(edge.abs_diff(after)).copysign(if edge < after { -1.0 } else { 1.0 }) / 1e9;
            // A nanosecond of grace: decimal seconds have no exact binary form.
            let beyond = (apart - seconds).abs() - within;
            if beyond > 1e-9 {
                let stood = stood_still(&pod.name, evidence, (edge.min(after), edge.max(after)));
                let excuse = if stood >= beyond {
                    format!(
                        "; this process stood still for {stood:.2} s meanwhile: whose delay it was cannot be told"
                    )
                } else {
                    String::new()
                };
                let to = if excuse.is_empty() { &mut checked.off } else { &mut checked.unobserved };
                to.push(format!(
                    "{}: {edge_name} came {apart:.2} s after {after_name}, expected {seconds} ± {within} s{excuse}",
                    pod.name
                ));
            }
            continue;
        }
        let (missing, name) =
            if edge.is_none() { (expected.edge, edge_name) } else { (expected.after, after_name) };
        let pod_name = &pod.name;
        if did_not_happen(pod, missing, evidence) {
            checked.off.push(format!(
                "{pod_name}: {name} did not happen; {edge_name} was expected {seconds} ± {within} s after {after_name}"
            ));
        } else {
            checked.unobserved.push(format!(
                "{pod_name}: {name} was not observed, so it cannot be held against {after_name}"
            ));
        }
    }
    checked
}

/// How long the process that emulates the kubelet stood still between two moments while it stopped this pod, s.
fn stood_still(pod: &str, evidence: &Evidence, (from, to): (u64, u64)) -> f64 {
    if evidence.remote {
        return 0.0;
    }
    let meanwhile = |stall: &&Stall| {
        stall.pods.iter().any(|stopping| stopping == pod)
            && stall.from_ns <= to
            && stall.from_ns.saturating_add(stall.for_ns) >= from
    };
    evidence.stalls.iter().filter(meanwhile).map(|stall| real(stall.for_ns) / 1e9).sum()
}

const fn is_terminated(timeline: &Timeline) -> bool {
    timeline.delete_requested_ns.is_some() || timeline.terminating_ns.is_some() || timeline.t0_ns.is_some()
}

/// True where what was observed rules the edge out; otherwise its absence means nothing.
fn did_not_happen(pod: &Pod, edge: Edge, evidence: &Evidence) -> bool {
    let Some(exit) = pod.exit else {
        return false;
    };
    match edge {
        Edge::Killed => {
            (exit.code.is_some() || exit.signal.is_some()) && exit.signal != Some(9) && exit.code != Some(137)
        }
        // A pod that reports its lifecycle would have said so before it ended.
        Edge::ListenerClosed | Edge::Drained => evidence.reporting.contains(&pod.name),
        _ => false,
    }
}

/// The edge's time and its name in scenarios.
const fn edge(timeline: &Timeline, edge: Edge) -> (Option<u64>, &'static str) {
    match edge {
        Edge::DeleteRequested => (timeline.delete_requested_ns, "deleteRequested"),
        Edge::Terminating => (timeline.terminating_ns, "terminating"),
        Edge::T0 => (timeline.t0_ns, "t0"),
        Edge::PreStopStarted => (timeline.pre_stop_started_ns, "preStopStarted"),
        Edge::PreStopEnded => (timeline.pre_stop_ended_ns, "preStopEnded"),
        Edge::Sigterm => (timeline.sigterm_ns, "sigterm"),
        Edge::ListenerClosed => (timeline.listener_closed_ns, "listenerClosed"),
        Edge::Drained => (timeline.drained_ns, "drained"),
        Edge::Killed => (timeline.killed_ns, "killed"),
        Edge::Exited => (timeline.exited_ns, "exited"),
        Edge::IpGone => (timeline.ip_gone_ns, "ipGone"),
        Edge::Gone => (timeline.gone_ns, "gone"),
    }
}
