//! What pods do that takes more than two edges to tell, looked for in the events.

use contract::lifecycle::Event as Report;
use trial::event::Event;
use trial::id::PodId;

use crate::expect::Seen;
use crate::facts::{Edge, Facts};

/// #3, #4: what is left after the hook is the grace of 10 s less the whole seconds that it took, and 2 s at least. The kubelet
/// takes its own time: near a whole second either side may be meant.
pub(crate) fn whole_seconds_are_subtracted(facts: &Facts) -> Seen {
    let (Some(t0), Some(term), Some(exited)) =
        (facts.at(Edge::T0), facts.at(Edge::Sigterm), facts.at(Edge::Exited))
    else {
        return Seen::nothing("not seen");
    };
    let (hook, left) = (term - t0, exited - term);
    let expected = |took: f64| (10.0 - took.floor()).max(2.0);
    let near = |took: f64| (left - expected(took)).abs() <= 0.15;
    Seen::that(near(hook - 0.1) || near(hook + 0.05), format!("{left:.2} s after {hook:.2} s of hook"))
}

/// #30, of the first pod of the run.
pub(crate) fn ready_after_post_start(facts: &Facts) -> Seen {
    let pod = PodId(0);
    let (Some(began), Some(ready)) =
        (facts.at_of(pod, Edge::PostStartStarted), facts.at_of(pod, Edge::Ready))
    else {
        return Seen::nothing("not seen");
    };
    let seconds = ready - began;
    Seen { shown: format!("{seconds:.2} s"), seconds: None, holds: Some((10.0..=12.5).contains(&seconds)) }
}

/// #31
pub(crate) fn terminating_before_ready(facts: &Facts) -> Seen {
    let entries: Vec<(bool, bool)> = facts
        .of_victim()
        .filter_map(|(_, event)| match event {
            Event::SliceChanged { ready, terminating, .. } => Some((*ready, *terminating)),
            _ => None,
        })
        .collect();
    if entries.is_empty() {
        return Seen::nothing("no entry");
    }
    let ready = entries.iter().filter(|(ready, _)| *ready).count();
    let terminating = entries.iter().any(|(_, terminating)| *terminating);
    Seen::that(
        ready == 0 && terminating,
        format!("{ready} times ready, {}terminating", if terminating { "" } else { "never " }),
    )
}

/// #32
pub(crate) fn restarted_after_pre_stop(facts: &Facts) -> Seen {
    let Some(hook) = facts.at(Edge::PreStopStarted) else { return Seen::nothing("preStop did not run") };
    let listens =
        |event: &Event| matches!(event, Event::Lifecycle { report: Report::MainStarted { .. }, .. });
    let starts: Vec<f64> = facts.of_victim().filter(|(_, event)| listens(event)).map(|(at, _)| at).collect();
    let again = starts.iter().any(|start| *start > hook);
    Seen::that(again && starts.len() >= 2, format!("begun {} times", starts.len()))
}

/// How far apart two edges of containers are, and whether that is as it should be.
fn apart(
    facts: &Facts,
    (container, of): (u16, Edge),
    (other, after): (u16, Edge),
    from: f64,
    to: f64,
) -> Seen {
    match (facts.at_of(PodId(container), of), facts.at_of(PodId(other), after)) {
        (Some(at), Some(since)) => {
            let seconds = at - since;
            let holds = Some((from..=to).contains(&seconds));
            Seen { shown: format!("{seconds:.2} s"), seconds: Some(seconds), holds }
        }
        _ => Seen::nothing("not heard of"),
    }
}

/// #27
pub(crate) fn first_of_two(facts: &Facts) -> Seen {
    apart(facts, (0, Edge::Sigterm), (0, Edge::PreStopStarted), 1.85, 2.6)
}

/// #27
pub(crate) fn second_of_two(facts: &Facts) -> Seen {
    apart(facts, (1, Edge::Sigterm), (1, Edge::PreStopStarted), 5.85, 6.6)
}

/// #28
pub(crate) fn sidecar_hook(facts: &Facts) -> Seen {
    apart(facts, (1, Edge::PreStopStarted), (0, Edge::T0), -0.1, 0.8)
}

/// #28
pub(crate) fn sidecar_after_main(facts: &Facts) -> Seen {
    apart(facts, (1, Edge::Sigterm), (0, Edge::Alive), 0.0, 2.0)
}

/// #29
pub(crate) fn main_overruns(facts: &Facts) -> Seen {
    apart(facts, (0, Edge::Alive), (0, Edge::T0), 4.8, 5.2)
}

/// #29
pub(crate) fn sidecar_overruns(facts: &Facts) -> Seen {
    apart(facts, (1, Edge::Alive), (0, Edge::T0), 6.8, 7.3)
}
