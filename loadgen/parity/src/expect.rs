//! A statement about a recording, and what the recording says to it.

use contract::lifecycle::Probe;
use serde::Serialize;
use trial::event::Event;
use trial::settings::LaneKind;

use crate::facts::{Edge, Facts};
use crate::run::{Backend, Outcome};

/// What is to be seen.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expect {
    /// One edge after another, s.
    Edge {
        /// This one …
        of: Edge,
        /// … after that one …
        after: Edge,
        /// … by so much at least …
        from: f64,
        /// … and at most.
        to: f64,
        /// So much more on a cluster, where what happens in between takes its own time.
        more_on_kube: f64,
    },
    /// The edge is never seen.
    Never(Edge),
    /// How the container ended; 128 and the signal where a signal did it.
    Exit(i32),
    /// A Warning of the pod for this reason.
    Told(&'static str),
    /// None.
    Untold(&'static str),
    /// deletionGracePeriodSeconds.
    GraceTold(u64),
    /// Whether it stays what it was although the pod is deleted again.
    GraceStays(bool),
    /// The terminal phase.
    Phase {
        /// Succeeded, or else Failed.
        succeeded: bool,
    },
    /// The slice's entry once it says that the pod is terminating.
    Slice {
        /// Its condition.
        ready: bool,
        /// Its condition.
        serving: bool,
    },
    /// The Ready condition holds until the process ends.
    StaysReady,
    /// Probes of a kind, from shortly after T0 to the end of the process or before T0.
    Probes {
        /// Which.
        which: Probe,
        /// While the pod stops; else before.
        during_stop: bool,
        /// So many at least …
        from: usize,
        /// … and at most.
        to: usize,
    },
    /// No request of the lane failed, and there were some.
    Answered {
        /// The lane.
        lane: LaneKind,
    },
    /// What takes more than two edges to tell: in words, and how it is looked for.
    Shows(&'static str, fn(&Facts) -> Seen),
    /// It is refused before it begins: no recording shows it.
    Refused,
}

/// What was seen.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Seen {
    /// In words.
    pub(crate) shown: String,
    /// As a number that backends can be compared by, s.
    pub(crate) seconds: Option<f64>,
    /// Whether it is as stated; `None` if nothing showed it.
    pub(crate) holds: Option<bool>,
}

impl Seen {
    /// Nothing showed it.
    pub(crate) fn nothing(why: impl Into<String>) -> Self {
        Self { shown: why.into(), seconds: None, holds: None }
    }

    /// Something did.
    pub(crate) fn that(holds: bool, shown: impl Into<String>) -> Self {
        Self { shown: shown.into(), seconds: None, holds: Some(holds) }
    }
}

impl Expect {
    /// An edge that is stated to a fraction of a second.
    pub(crate) fn is_within_pod(&self) -> bool {
        matches!(self, Self::Edge { from, to, .. } if to - from < 0.4)
    }

    /// By how much a cluster may be later than the local backend, beyond what both may differ by, s.
    pub(crate) const fn slack_of_kube(&self) -> f64 {
        match self {
            Self::Edge { more_on_kube, .. } => *more_on_kube,
            _ => 0.0,
        }
    }

    /// In a table.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Edge { of, after, from, to, more_on_kube } => {
                let (middle, spread) = (f64::midpoint(*from, *to), (to - from) / 2.0);
                let (of, after) = (of.as_str(), after.as_str());
                if spread < 0.2 && *more_on_kube > 0.0 {
                    format!("{of} {middle:.1} s after {after}, kube up to {:.1}", to + more_on_kube)
                } else if spread < 0.2 {
                    format!("{of} {middle:.1} s after {after}")
                } else {
                    format!("{of} {from:.1} to {to:.1} s after {after}")
                }
            }
            Self::Never(edge) => format!("no {}", edge.as_str()),
            Self::Exit(code) => format!("exit {code}"),
            Self::Told(reason) => (*reason).to_owned(),
            Self::Untold(reason) => format!("no {reason}"),
            Self::GraceTold(seconds) => format!("grace {seconds} s"),
            Self::GraceStays(true) => "grace unchanged".to_owned(),
            Self::GraceStays(false) => "grace shortened".to_owned(),
            Self::Phase { succeeded: true } => "phase Succeeded".to_owned(),
            Self::Phase { succeeded: false } => "phase Failed".to_owned(),
            Self::Slice { ready, serving } => format!("ready={ready} serving={serving} terminating=true"),
            Self::StaysReady => "Ready until the end".to_owned(),
            Self::Probes { which, during_stop, from, to } => {
                let which = if *which == Probe::Readiness { "readiness" } else { "liveness" };
                let when = if *during_stop { "while it stops" } else { "before" };
                match (from, to) {
                    (0, 0) => format!("no {which} probe {when}"),
                    (from, to) if *to >= 1_000 => format!("{from} or more {which} probes {when}"),
                    (from, to) => format!("{from} to {to} {which} probes {when}"),
                }
            }
            Self::Answered { lane } => format!("no failure in lane {}", lane.as_str()),
            Self::Shows(text, _) => (*text).to_owned(),
            Self::Refused => "refused".to_owned(),
        }
    }

    /// What an experiment says to it.
    pub(crate) fn seen_in(&self, outcome: &Outcome, backend: Backend) -> Seen {
        match outcome {
            Ok(facts) => self.look(facts, backend),
            Err(message) => Seen::nothing(message.clone()),
        }
    }

    /// How far a time lies outside of what is stated, s; `None` if it is no time.
    pub(crate) fn off_by(&self, seen: &Seen, backend: Backend) -> Option<f64> {
        let (Self::Edge { from, .. }, Some(seconds)) = (self, seen.seconds) else { return None };
        Some((from - seconds).max(seconds - self.latest(backend)).max(0.0))
    }

    /// The upper bound of an edge on a backend, s.
    fn latest(&self, backend: Backend) -> f64 {
        match (self, backend) {
            (Self::Edge { to, .. }, Backend::Local) => *to,
            (Self::Edge { to, more_on_kube, .. }, Backend::Kube) => to + more_on_kube,
            _ => f64::INFINITY,
        }
    }

    /// What the recording says to it.
    pub(crate) fn look(&self, facts: &Facts, backend: Backend) -> Seen {
        match self {
            Self::Edge { of, after, from, .. } => edge(facts, *of, *after, (*from, self.latest(backend))),
            Self::Never(edge) => never(facts, *edge),
            Self::Exit(code) => exit(facts, *code),
            Self::Told(reason) => match (facts.warnings(reason), facts.victim) {
                (_, None) => Seen::nothing("no pod"),
                (0, _) => Seen::that(false, "not told"),
                _ => Seen::that(true, "told"),
            },
            // T0 is an event as well: where it was heard, others would have been.
            Self::Untold(reason) => {
                match (facts.warnings(reason), facts.at(Edge::T0), facts.at(Edge::Exited)) {
                    (0, Some(_), Some(_)) => Seen::that(true, "none"),
                    (0, ..) => Seen::nothing("no event, or no end"),
                    _ => Seen::that(false, "told"),
                }
            }
            Self::GraceTold(wanted) => grace_told(facts, *wanted),
            Self::GraceStays(stays) => grace_stays(facts, *stays),
            Self::Phase { succeeded } => phase(facts, *succeeded),
            Self::Slice { ready, serving } => slice(facts, (*ready, *serving)),
            Self::StaysReady => stays_ready(facts),
            Self::Probes { which, during_stop, from, to } => {
                probes(facts, *which, *during_stop, (*from, *to))
            }
            Self::Answered { lane } => answered(facts, *lane),
            Self::Shows(_, look) => look(facts),
            Self::Refused => Seen::nothing("not looked for in a recording"),
        }
    }
}

fn edge(facts: &Facts, of: Edge, after: Edge, (from, to): (f64, f64)) -> Seen {
    let (Some(at), Some(since)) = (facts.at(of), facts.at(after)) else {
        let missing = if facts.at(of).is_none() { of } else { after };
        return Seen::nothing(format!("no {}", missing.as_str()));
    };
    let seconds = at - since;
    Seen {
        shown: format!("{seconds:.2} s"),
        seconds: Some(seconds),
        holds: Some((from..=to).contains(&seconds)),
    }
}

fn never(facts: &Facts, edge: Edge) -> Seen {
    match (facts.at(edge), facts.at(Edge::Exited)) {
        (Some(_), _) => Seen::that(false, "seen"),
        // A log that was never read has no edges either.
        (None, Some(_)) if facts.at(Edge::MainStarted).is_some() => Seen::that(true, "none"),
        (None, _) => Seen::nothing("nothing heard of the pod"),
    }
}

fn exit(facts: &Facts, wanted: i32) -> Seen {
    let last = facts.of_victim().filter_map(|(_, event)| match event {
        Event::Exited { code, signal, .. } => code.or_else(|| signal.map(|signal| 128 + signal)),
        _ => None,
    });
    match last.last() {
        Some(code) => Seen::that(code == wanted, format!("exit {code}")),
        None => Seen::nothing("no exit code"),
    }
}

fn grace_told(facts: &Facts, wanted: u64) -> Seen {
    let told = facts.of_victim().find_map(|(_, event)| match event {
        Event::Terminating { grace_seconds, .. } => Some(*grace_seconds),
        _ => None,
    });
    told.map_or_else(
        || Seen::nothing("not deleted"),
        |grace| Seen::that(grace == wanted, format!("grace {grace} s")),
    )
}

fn grace_stays(facts: &Facts, stays: bool) -> Seen {
    let again = facts.of_victim().any(|(_, event)| matches!(event, Event::DeletedAgain { .. }));
    let changed = facts.of_victim().find_map(|(_, event)| match event {
        Event::GraceChanged { grace_seconds, .. } => Some(*grace_seconds),
        _ => None,
    });
    match (again, changed) {
        (false, _) => Seen::nothing("not deleted again"),
        (true, None) => Seen::that(stays, "unchanged"),
        (true, Some(grace)) => Seen::that(!stays, format!("{grace} s")),
    }
}

fn phase(facts: &Facts, wanted: bool) -> Seen {
    let seen = facts.of_victim().find_map(|(_, event)| match event {
        Event::Terminal { succeeded, .. } => Some(*succeeded),
        _ => None,
    });
    match seen {
        Some(succeeded) => Seen::that(succeeded == wanted, if succeeded { "Succeeded" } else { "Failed" }),
        None => Seen::nothing("no terminal phase"),
    }
}

fn slice(facts: &Facts, wanted: (bool, bool)) -> Seen {
    let seen = facts.of_victim().find_map(|(_, event)| match event {
        Event::SliceChanged { ready, serving, terminating: true, .. } => Some((*ready, *serving)),
        _ => None,
    });
    seen.map_or_else(
        || Seen::nothing("its entry never said terminating"),
        |seen| Seen::that(seen == wanted, format!("ready={} serving={}", seen.0, seen.1)),
    )
}

fn stays_ready(facts: &Facts) -> Seen {
    let (Some(deleted), Some(exited)) = (facts.at(Edge::Deleted), facts.at(Edge::Exited)) else {
        return Seen::nothing("no end");
    };
    let mut ready = false;
    let mut fell = false;
    for (at, event) in facts.of_victim() {
        match event {
            Event::PodReady { .. } => ready = true,
            Event::PodNotReady { .. } if at < exited => (ready, fell) = (false, fell || at >= deleted),
            _ => {}
        }
    }
    Seen::that(ready && !fell, if fell { "fell before the end" } else { "until the end" })
}

/// The kubelet may have a probe under way when it begins to stop the pod.
const UNDER_WAY: f64 = 0.5;

fn probes(facts: &Facts, which: Probe, during_stop: bool, (least, most): (usize, usize)) -> Seen {
    let (Some(t0), Some(exited)) = (facts.at(Edge::T0), facts.at(Edge::Exited)) else {
        return Seen::nothing("no stop");
    };
    let (from, to) = if during_stop { (t0 + UNDER_WAY, exited) } else { (0.0, t0) };
    let count = facts.probes(which, from, to);
    Seen::that((least..=most).contains(&count), count.to_string())
}

fn answered(facts: &Facts, lane: LaneKind) -> Seen {
    let of_lane: Vec<_> = facts.requests.iter().filter(|request| request.lane == lane).collect();
    let failed = of_lane.iter().filter(|request| !request.is_ok()).count();
    match of_lane.len() {
        0 => Seen::nothing("no request"),
        all => Seen::that(failed == 0, format!("{failed} of {all} failed")),
    }
}
