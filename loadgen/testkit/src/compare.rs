//! The log against the records.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;
use trial::id::PodId;
use trial::record::{Class, Record};

use crate::fault::{Fault, Outcome, Spec, Wire};
use crate::log::{Routed, Seen};

/// So many disagreements are told in full.
const EXAMPLES: usize = 3;

/// How records compare with the log, for one fault.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Slots recorded.
    pub requests: u64,
    /// Requests that the server saw.
    pub seen: u64,
    /// Slots that the fault happened to.
    pub planted: u64,
    /// Records that say that it happened.
    pub recorded: u64,
    /// Of `planted`, those whose record says so in every field that the fault determines.
    pub right: u64,
    /// Of `planted`, those that are recorded as fine, or not at all.
    pub missing: u64,
    /// Of `planted`, those that are recorded as something else.
    pub wrong: u64,
    /// Slots recorded as failed that nothing was done to.
    pub false_alarms: u64,
    /// Requests that the server saw more often than once: hidden retries.
    pub resent: u64,
    /// Slots recorded as sent whose request never came, although nothing was done to their connection; and requests
    /// that no record tells of.
    pub lost: u64,
    /// Some of the disagreements.
    pub examples: Vec<String>,
}

impl Tally {
    /// Of what was planted, what was found.
    #[must_use]
    pub fn recall(&self) -> Option<f64> {
        ratio(self.right, self.planted)
    }

    /// Of what was found, what was planted.
    #[must_use]
    pub fn precision(&self) -> Option<f64> {
        ratio(self.right, self.recorded)
    }

    /// True if the records say what the log says, and at least one fault was planted.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.planted > 0
            && self.right == self.planted
            && self.recorded == self.planted
            && (self.false_alarms, self.resent, self.lost) == (0, 0, 0)
    }

    fn tell(&mut self, what: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES {
            self.examples.push(what());
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a test run are far below 2^53")]
fn ratio(part: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| part as f64 / of as f64)
}

/// What happened to a slot, by the log.
struct Truth<'a> {
    by_slot: BTreeMap<u64, &'a Seen>,
    by_pod: BTreeMap<PodId, Fault>,
    /// Connections that the rules rejected have no pod: so many slots may be without a request for that reason.
    rejected: u64,
}

impl Truth<'_> {
    fn of(&mut self, record: &Record) -> Option<Fault> {
        if let Some(fault) = self.by_pod.get(&record.pod) {
            return Some(*fault);
        }
        if let Some(seen) = self.by_slot.get(&record.slot) {
            return Some(seen.fault);
        }
        self.rejected = self.rejected.checked_sub(1)?;
        Some(Fault::Rejected)
    }
}

/// Compares the records of one lane, one per slot, with what was done to them, as far as `spec` is concerned. Answers
/// later than `late_over` after their slots were due count as late where `spec` is about lateness.
#[must_use]
pub fn compare(
    spec: &Spec,
    wire: Wire,
    requests: &[Seen],
    connections: &[Routed],
    records: &[Record],
    late_over: Duration,
) -> Tally {
    let (by_pod, rejected) = {
        let (rejected, planted): (Vec<&Routed>, Vec<&Routed>) =
            connections.iter().partition(|routed| routed.fault == Fault::Rejected);
        (planted.into_iter().map(|routed| (routed.pod, routed.fault)).collect(), rejected.len() as u64)
    };
    let by_slot: BTreeMap<u64, &Seen> = requests.iter().map(|seen| (seen.slot, seen)).collect();
    let mut tally = Tally {
        requests: records.len() as u64,
        seen: requests.len() as u64,
        resent: (requests.len() - by_slot.len()) as u64,
        ..Tally::default()
    };
    if tally.resent > 0 {
        let resent = tally.resent;
        tally.tell(|| format!("{resent} requests came more often than once"));
    }
    let recorded: BTreeSet<u64> = records.iter().map(|record| record.slot).collect();
    let unrecorded: Vec<&&Seen> = by_slot.values().filter(|seen| !recorded.contains(&seen.slot)).collect();
    tally.lost += unrecorded.len() as u64;
    for seen in unrecorded {
        let planted = u64::from(seen.fault == spec.fault);
        (tally.planted, tally.missing) = (tally.planted + planted, tally.missing + planted);
        tally.tell(|| format!("no record of {seen:?}"));
    }
    let mut truth = Truth { by_slot, by_pod, rejected };
    let mut tampered = BTreeSet::new();
    for record in records {
        let fault = truth.of(record);
        if fault.is_none() || (truth.by_pod.contains_key(&record.pod) && !tampered.insert(record.pod)) {
            tally.lost += 1;
            tally.tell(|| format!("sent but never seen: {record:?}"));
        }
        judge(&mut tally, spec, wire, fault.unwrap_or(Fault::Good), record, late_over);
    }
    let unused = truth.rejected + (truth.by_pod.len() - tampered.len()) as u64;
    if unused > 0 {
        tally.lost += unused;
        tally.tell(|| format!("{unused} connections were tampered with of which no record tells"));
    }
    tally
}

fn judge(tally: &mut Tally, spec: &Spec, wire: Wire, fault: Fault, record: &Record, late_over: Duration) {
    let late = record.class == Class::None
        && record.latency_ns().is_some_and(|nanos| Duration::from_nanos(nanos) > late_over);
    let says = |spec: &Spec| {
        spec.outcomes.iter().any(|outcome| outcome.class == record.class) && (!spec.late || late)
    };
    let is = |spec: &Spec| {
        spec.outcomes.contains(&Outcome {
            class: record.class,
            stage: record.stage,
            status: record.status,
            os_code: record.os_code,
            truncated: record.flags.has(trial::record::Flags::TRUNCATED),
        }) && (!spec.late || late)
    };
    if fault == spec.fault {
        tally.planted += 1;
        if is(spec) {
            (tally.right, tally.recorded) = (tally.right + 1, tally.recorded + 1);
            return;
        }
        tally.recorded += u64::from(says(spec));
        if record.class == Class::None {
            tally.missing += 1;
        } else {
            tally.wrong += 1;
        }
        tally.tell(|| format!("{fault:?}, but {record:?}"));
        return;
    }
    // Another fault of the same run answers for itself; that it is not taken for this one, this one answers for.
    let expected = wire.spec(fault);
    if says(spec) && !expected.is_some_and(|other| is(other) && other.late == spec.late) {
        tally.recorded += 1;
        tally.tell(|| format!("{fault:?}, but {record:?}"));
    }
    if fault.is_good() && (record.class != Class::None || record.is_unsent()) {
        tally.false_alarms += 1;
        tally.tell(|| format!("{fault:?}, but {record:?}"));
    }
}

#[cfg(test)]
mod tests;
