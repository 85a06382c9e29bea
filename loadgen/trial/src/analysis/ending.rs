//! Whether an answer that only the close of its connection ended was whole.
//!
//! Such an answer (neither Content-Length nor chunks) looks complete to any client, also when the process died in the
//! middle of it. Only what happened to the pod at that moment tells the difference.

use std::collections::BTreeMap;

use super::attribution::{EXIT_SLACK_NS, stamp, started};
use super::timeline::PodFacts;
use crate::id::PodId;
use crate::record::{Class, Flags, Record, Stage};

/// On a busy machine the exit is noticed later than the slack: a close this long before its stamp may be its doing.
const EXIT_NEAR_NS: u64 = 20_000_000;

/// What to hold of the end of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// What the record says of it.
    AsRecorded,
    /// The close came with the end of the process: a cut, as far as anyone can know.
    Cut,
    /// It may have been either.
    Unknown,
}

impl Ending {
    /// The record as it is to be counted, shown and attributed.
    pub(super) fn applied_to(self, record: &Record) -> Record {
        match self {
            Self::Cut => Record { class: Class::BodyClosed, stage: Stage::Body, ..*record },
            Self::AsRecorded | Self::Unknown => *record,
        }
    }
}

/// Judges the end of an answered request from the edges of its pod, or where that is not known, of all. `away` is how long what
/// either side sends is under way.
pub(super) fn of(record: &Record, pods: &BTreeMap<PodId, PodFacts>, away: u64) -> Ending {
    let answered = record.class == Class::None && !record.is_unsent();
    let Some(end) = stamp(record, record.end).filter(|_| answered) else {
        return Ending::AsRecorded;
    };
    if !record.flags.has(Flags::CLOSE_DELIMITED) {
        return Ending::AsRecorded;
    }
    let (began, end) = (started(record).saturating_add(away), end.saturating_sub(away));
    match record.pod.known().and_then(|id| pods.get(&id)) {
        Some(pod) => on(pod, began, end),
        None if pods.values().any(|pod| on(pod, began, end) != Ending::AsRecorded) => Ending::Unknown,
        None => Ending::AsRecorded,
    }
}

fn on(pod: &PodFacts, began: u64, end: u64) -> Ending {
    let timeline = &pod.timeline;
    let exits = || pod.down.iter().map(|(from, _)| *from).chain(timeline.exited_ns);
    if exits().chain(timeline.killed_ns).any(|edge| edge.abs_diff(end) <= EXIT_SLACK_NS) {
        return Ending::Cut;
    }
    // A close that is read after the exit was sent before it; how long before, nobody knows.
    let around = |exit: u64| began <= exit && exit <= end.saturating_add(EXIT_NEAR_NS);
    let unseen = timeline.exited_ns.is_none() && pod.is_terminating(end);
    // A server that was told to stop may have closed before it said all, and lived on.
    let stopping = timeline.sigterm_ns.is_some_and(|at| at <= end) && pod.handled != Some(false);
    let stopping = stopping && timeline.exited_ns.is_none_or(|at| end <= at);
    if unseen || stopping || exits().any(around) { Ending::Unknown } else { Ending::AsRecorded }
}
