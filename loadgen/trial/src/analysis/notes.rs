//! What a reader should know about how a pod ended.

use super::timeline::PodFacts;
use crate::event::HookOutcome;

/// The end of a container and the failure of the hook in it are told by different processes, in either order.
const NOTICED_WITHIN_NS: u64 = 500_000_000;

/// Completes the pod's notes with what its edges say together; the most telling first.
pub(super) fn complete(pod: &mut PodFacts, spec_grace: u64) {
    // The kubelet takes none that is shorter than a second.
    let grace = pod.grace_seconds.unwrap_or(spec_grace).max(1);
    let told = std::mem::take(&mut pod.notes);
    for note in [ending(pod, grace), hook(pod, grace)].into_iter().flatten().chain(told) {
        // The hook's own event said it already, and better.
        let twice = note.starts_with("FailedPreStopHook: ")
            && matches!(pod.pre_stop, Some(HookOutcome::Failed { .. }));
        if !twice {
            pod.note(note);
        }
    }
}

fn ending(pod: &PodFacts, grace: u64) -> Option<String> {
    let timeline = &pod.timeline;
    let signal = pod.stop_signal.as_deref().unwrap_or("SIGTERM");
    if pod.exited_by_itself() {
        return Some(format!("ended by itself ({}) before anything asked it to", pod.exit_text()));
    }
    if pod.ignored_stop() {
        let why = if pod.handled == Some(false) {
            format!(": process 1 has no handler for {signal}")
        } else {
            String::new()
        };
        return Some(format!("ignored {signal}, used its full grace ({grace} s){why}"));
    }
    if timeline.sigterm_ns.is_some() && pod.was_killed() {
        let after = if pod.reported_stopping { "" } else { " (it did not begin to drain)" };
        return Some(format!(
            "did not finish by the end of its grace ({grace} s from the start of its stop, and two from {signal} at \
             least), killed{after}"
        ));
    }
    if timeline.sigterm_ns.is_none() && timeline.exited_ns.is_some() && pod.deleted_at().is_some() {
        return Some(format!("ended ({}) without a {signal} that was observed", pod.exit_text()));
    }
    pod.drain_timed_out
        .then(|| "its drain ran into its own time limit with requests or connections left".to_owned())
}

/// A hook also fails because its container ends under it: then it is not the hook that was at fault.
fn after_failed_hook(pod: &PodFacts) -> &'static str {
    let timeline = &pod.timeline;
    let (sigterm, exited) = (timeline.sigterm_ns, timeline.exited_ns);
    let hook_ended = timeline.pre_stop_ended_ns;
    let before = |edge: Option<u64>| exited.is_some_and(|exited| edge.is_none_or(|edge| exited <= edge));
    // A SIGTERM before the hook's end was not the kubelet's, which waits for it.
    let foreign = sigterm.zip(hook_ended).is_some_and(|(sigterm, ended)| sigterm < ended);
    if (foreign || before(sigterm)) && before(hook_ended.map(|ended| ended.saturating_add(NOTICED_WITHIN_NS)))
    {
        return "the container ended while preStop ran";
    }
    if sigterm.is_none() {
        return "no SIGTERM was observed after it";
    }
    "SIGTERM came at once, without the wait"
}

fn hook(pod: &PodFacts, grace: u64) -> Option<String> {
    match pod.pre_stop.as_ref()? {
        HookOutcome::Completed => None,
        HookOutcome::Failed { message } => {
            Some(format!("FailedPreStopHook ({message}): {}", after_failed_hook(pod)))
        }
        HookOutcome::Overran => {
            Some(format!("preStop was not over when the grace ({grace} s) was: SIGTERM came all the same"))
        }
    }
}
