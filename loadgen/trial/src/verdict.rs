//! The verdict, in this order: (1) what the service failed beyond `expect` is a fail, whatever else happened;
//! (2) lateness counts only where the schedule lag was within its limit; (3) otherwise any reason why the measurement
//! may have missed something makes it inconclusive; (4) else it is a pass, which says what it bounds.

use std::collections::BTreeMap;

use crate::analysis::text::{count, counted, duration};
use crate::plan::{self, Plan, Role};
use crate::report::{Arm, Lane, Verdict};
use crate::settings::{Allowed, Disruption};
use crate::statistics::{rate_upper_95, real};

mod doubts;
mod expectation;
mod run;
mod usual;

use doubts::{Doubt, doubts};
pub use run::judge_run;
pub use usual::{Kind, Usual};

/// What the verdict on an arm rests on, beyond what its report shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "counts and names that say what they are")]
pub struct Evidence {
    /// Records that were read.
    pub recorded: u64,
    /// The end of the recording, if it has one.
    pub completed: Option<Completed>,
    pub overflowed_in_lanes: u64,
    pub unknown_lanes: u64,
    pub unknown_pods: u64,
    pub client_faults: u64,
    /// Requests without an outcome, client faults apart.
    pub interrupted_requests: u64,
    /// Late ones whose own schedule lag was within the limit, and that met no stall.
    pub late_in_lag: u64,
    /// The same, by lane.
    pub late_by_lane: BTreeMap<String, u64>,
    /// Failed ones, by lane and kind.
    pub failed_by_lane: BTreeMap<String, BTreeMap<Kind, u64>>,
    /// Late ones that were under way while the measuring process stood still; none of `late_in_lag` was.
    pub late_in_stall: u64,
    /// Answers ended by nothing but a close that may have been a cut.
    pub unknown_endings: u64,
    /// The load went to an address that is not the workload's own, and nothing shows that a pod was behind it.
    pub unnamed: bool,
    /// Of the measuring process, under load, while pods were terminating.
    pub stalls: Vec<Stall>,
    /// Of what watches the cluster, the same.
    pub blind: Vec<Stall>,
    /// Agents sent the load, not this process.
    pub remote: bool,
    /// Which nodes the load came from, where it did not come from all.
    pub probed_nodes: Option<String>,
    pub failed_before: u64,
    pub late_before: u64,
    pub late_in_lag_before: u64,
    pub aborted: Vec<String>,
    pub interrupted: Option<String>,
    /// Disruptions and rollouts that began but did not come to their end.
    pub open_disruptions: u64,
    pub open_rollouts: u64,
    pub silent_lanes: Vec<String>,
    pub never_gone: Vec<String>,
    pub ended_by_themselves: Vec<String>,
    /// Pods that report their lifecycle.
    pub reporting: Vec<String>,
}

/// A stall of the measuring process, or of what it sees, beyond the limit of the schedule lag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stall {
    /// From when on, since the run's epoch.
    pub from_ns: u64,
    /// How long.
    pub for_ns: u64,
    /// The pods that were terminating.
    pub pods: Vec<String>,
}

/// What the recording says of its own completeness.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Completed {
    /// Rows handed over.
    pub rows: u64,
    /// Rows lost to a full queue.
    pub overflowed: u64,
}

/// The verdict on an arm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// One sentence each, the most important first.
    pub reasons: Vec<String>,
    /// Why the measurement may have missed something, also where that does not decide.
    pub doubts: Vec<String>,
    /// The recording of the arm is not whole: then the run cannot pass, even where another arm's pass would do.
    pub broken: bool,
    /// What it is founded on.
    pub tally: Tally,
}

/// Counts of an arm, or of several together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests.
    pub sent: u64,
    /// Of those, failed.
    pub failed: u64,
    /// Exposed terminations.
    pub exposed: u64,
    /// Of those, bad.
    pub bad: u64,
    /// Rollouts with an exposed termination.
    pub rollouts: u64,
    /// Of those, with a bad one.
    pub bad_rollouts: u64,
}

impl Tally {
    fn of(arm: &Arm) -> Self {
        let (exposed, bad) = (arm.terminations.exposed, arm.terminations.bad);
        let (rollouts, bad_rollouts) = (u64::from(exposed > 0), u64::from(bad > 0));
        Self { sent: arm.requests.sent, failed: arm.requests.failed, exposed, bad, rollouts, bad_rollouts }
    }

    fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.failed += other.failed;
        self.exposed += other.exposed;
        self.bad += other.bad;
        self.rollouts += other.rollouts;
        self.bad_rollouts += other.bad_rollouts;
    }

    /// What repeats prove together: terminations as trials, and, as those of one rollout share its accidents, rollouts.
    fn sentence(self) -> String {
        let below = |bad, of| rate_upper_95(bad, of).map_or_else(|| "100".to_owned(), percent_up);
        format!(
            "{} of {} failed over {} in {} (at 95 %: rate of bad terminations below {} %, of bad rollouts below {} %)",
            count(self.failed),
            counted(self.sent, "request"),
            counted(self.exposed, "exposed termination"),
            counted(self.rollouts, "rollout"),
            below(self.bad, self.exposed),
            below(self.bad_rollouts, self.rollouts)
        )
    }
}

/// Judges one arm. `arm` is its report so far, `planned` and `plan` what was to be done, `usual` what the control arms show.
#[must_use]
pub fn judge_arm(
    arm: &Arm,
    planned: &plan::Arm,
    evidence: &Evidence,
    plan: &Plan,
    usual: &Usual,
) -> Judgement {
    let doubts = doubts(arm, planned, evidence, plan);
    let broken = doubts.iter().any(|doubt| doubt.broken);
    let (verdict, reasons, doubts) = if planned.role == Role::NegativeControl {
        let (verdict, reasons) = judge_negative(arm, evidence, &doubts);
        (verdict, reasons, doubts.into_iter().map(|doubt| doubt.text).collect())
    } else {
        let nothing = Usual::default();
        let usual = if planned.role == Role::Trial { usual } else { &nothing };
        judge_trial(arm, planned, evidence, plan, usual, doubts)
    };
    Judgement { verdict, reasons, doubts, broken, tally: Tally::of(arm) }
}

/// An arm whose server does everything wrong must show failures, or the measurement is blind.
fn judge_negative(arm: &Arm, evidence: &Evidence, doubts: &[Doubt]) -> (Verdict, Vec<String>) {
    let after = arm.requests.failed.saturating_sub(evidence.failed_before);
    let broken: Vec<_> = doubts.iter().filter(|doubt| doubt.broken).map(|doubt| doubt.text.clone()).collect();
    // Cut short, it may not have come to its failures.
    if after == 0 && !broken.is_empty() {
        return (Verdict::Inconclusive, broken);
    }
    if after == 0 {
        let what = match evidence.failed_before {
            0 => "the negative control failed no request, though its server exits at once on SIGTERM: the measurement \
                  would not have seen failures"
                .to_owned(),
            before => format!("the negative control failed {} before its disruption and none after", counted(before, "request")),
        };
        return (
            Verdict::Inconclusive,
            std::iter::once(what).chain(doubts.iter().map(|doubt| doubt.text.clone())).collect(),
        );
    }
    let but = blind_lanes(arm).map_or_else(String::new, |lanes| format!(", but none in {lanes}"));
    let seen = format!("failed {}, as it must{but}", counted(after, "request"));
    // It was seen to fail; what else may have been missed does not matter, unless the recording itself is broken.
    if broken.is_empty() { (Verdict::Pass, vec![seen]) } else { (Verdict::Inconclusive, broken) }
}

/// Which lanes of a negative control failed no request since its disruption began: in them failures may go unseen.
/// `lane post`, `lanes slow, post`.
pub(crate) fn blind_lanes(arm: &Arm) -> Option<String> {
    let is_blind = |lane: &&Lane| {
        lane.requests.sent > 0 && lane.terminations.is_some_and(|hurt| hurt.failed_requests == 0)
    };
    let names: Vec<&str> = arm.lanes.iter().filter(is_blind).map(|lane| lane.name.as_str()).collect();
    let lanes = if names.len() == 1 { "lane" } else { "lanes" };
    (!names.is_empty()).then(|| format!("{lanes} {}", names.join(", ")))
}

/// The verdict, its reasons, and among these the doubts.
fn judge_trial(
    arm: &Arm,
    planned: &plan::Arm,
    evidence: &Evidence,
    plan: &Plan,
    usual: &Usual,
    doubts: Vec<Doubt>,
) -> (Verdict, Vec<String>, Vec<String>) {
    let Beyond { mut faults, excused } = beyond_expectation(arm, evidence, plan, usual);
    let (before, all) = counted_before(evidence, arm);
    let none_after = planned.disruption != Disruption::None && before == all;
    let mut reasons = Vec::new();
    let mut doubts = doubts.into_iter().map(|doubt| doubt.text).collect::<Vec<_>>();
    if !faults.is_empty() && none_after {
        // Whatever fails an undisturbed service would fail it during a disruption as well: no verdict on that.
        doubts.insert(
            0,
            format!("{} failed or late without any disruption: fix that first", counted(all, "request")),
        );
        doubts.splice(1..1, faults.drain(..));
    } else if !faults.is_empty() && before > 0 {
        faults.push(format!(
            "{} of these before the disruption began, {} after",
            count(before),
            count(all - before)
        ));
    }
    doubts.splice(0..0, excused);
    if planned.role == Role::Trial {
        let checked = expectation::check(arm, evidence, &plan.expect.timeline);
        faults.extend(checked.off);
        doubts.extend(checked.unobserved);
    }
    let verdict = match (faults.is_empty(), doubts.is_empty()) {
        (false, _) => Verdict::Fail,
        (true, false) => Verdict::Inconclusive,
        (true, true) => {
            reasons.push(bounded(arm, evidence, plan, usual));
            if planned.role == Role::Trial && !plan.expect.timeline.is_empty() {
                let expected = counted(plan.expect.timeline.len() as u64, "expected interval");
                reasons.push(format!("{expected} held on every terminated pod"));
            }
            Verdict::Pass
        }
    };
    reasons.extend(faults);
    reasons.extend(doubts.iter().cloned());
    (verdict, reasons, doubts)
}

/// What counts against the service, before the disruption and altogether.
const fn counted_before(evidence: &Evidence, arm: &Arm) -> (u64, u64) {
    (evidence.failed_before + evidence.late_in_lag_before, arm.requests.failed + evidence.late_in_lag)
}

/// What is beyond `expect`.
#[derive(Debug, Default)]
struct Beyond {
    /// By the service's doing, …
    faults: Vec<String>,
    /// … or no more than what fails without any disruption.
    excused: Vec<String>,
}

/// Rules 1 and 2.
fn beyond_expectation(arm: &Arm, evidence: &Evidence, plan: &Plan, usual: &Usual) -> Beyond {
    let mut beyond = Beyond::default();
    let (failed, sent) = (arm.requests.failed, arm.requests.sent);
    if !plan.expect.failed.accepts(failed) {
        let anyway = usual.failed(arm, evidence);
        if plan.expect.failed.accepts(failed - anyway) {
            let why = "; the control arm, which nothing disrupts, fails such requests about as often: that the \
                       disruption failed any cannot be told";
            beyond.excused = failures(arm, plan, why);
        } else {
            beyond.faults = failures(arm, plan, &beside(anyway, "have"));
        }
    }
    let anyway = usual.late(arm, evidence);
    if !plan.expect.late.accepts(evidence.late_in_lag.saturating_sub(anyway)) {
        beyond.faults.push(format!(
            "{} of {} answered late{}{}",
            count(evidence.late_in_lag),
            counted(sent, "request"),
            allowed(plan.expect.late),
            beside(anyway, "have been")
        ));
    }
    beyond
}

/// How many requests failed and how, with what is to be added to that, then the first of them.
fn failures(arm: &Arm, plan: &Plan, beside: &str) -> Vec<String> {
    let mut classes: Vec<_> = arm.failures_by_class.iter().collect();
    classes.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), (*name).clone()));
    let classes: Vec<_> =
        classes.iter().map(|(name, number)| format!("{} {name}", count(**number))).collect();
    let mut told = vec![format!(
        "{} of {} failed{}: {}{beside}",
        count(arm.requests.failed),
        counted(arm.requests.sent, "request"),
        allowed(plan.expect.failed),
        classes.join(", ")
    )];
    let first = arm.failures.iter().find(|failure| failure.class != "late");
    told.extend(first.map(|first| format!("the first was {}", first.sentence)));
    told
}

/// So many of what was counted are not the disruption's doing.
fn beside(anyway: u64, verb: &str) -> String {
    match anyway {
        0 => String::new(),
        _ => format!(" ({} would {verb} without a disruption, going by the control arm)", count(anyway)),
    }
}

fn allowed(allowed: Allowed) -> String {
    match allowed {
        Allowed::AtMost(0) | Allowed::Any => String::new(),
        Allowed::AtMost(most) => format!(" ({} accepted)", count(most)),
    }
}

/// Rule 4: what a pass says.
fn bounded(arm: &Arm, evidence: &Evidence, plan: &Plan, usual: &Usual) -> String {
    let (requests, terminations) = (arm.requests, arm.terminations);
    let accepted = if requests.failed > 0 { ", as accepted" } else { "" };
    let late = match requests.late {
        0 => String::new(),
        late => format!(", {} late{}", count(late), beside(usual.late(arm, evidence), "have been")),
    };
    let over = match terminations.total {
        0 if arm.settings.is_null() => String::new(),
        0 => "; no pod was terminated".to_owned(),
        _ => format!(" over {}", counted(terminations.exposed, "exposed termination")),
    };
    let (failed, sent) = (count(requests.failed), counted(requests.sent, "request"));
    let from =
        evidence.probed_nodes.as_ref().map_or(String::new(), |nodes| format!(", as seen from {nodes}"));
    let text = format!("{failed} of {sent} failed{accepted}{late}{over}{from}");
    let mut limits = Vec::new();
    let has_slow = arm.lanes.iter().any(|lane| lane.name == "slow");
    if terminations.total > 0 && !has_slow && plan.expect.failed != Allowed::Any {
        limits.push("requests that take long were not tried".to_owned());
    }
    // A bound of one says nothing.
    if let Some(rate) = terminations.rate_upper_95.filter(|rate| *rate < 0.999) {
        limits.push(format!("rate of bad terminations below {} % at 95 %", percent_up(rate)));
    }
    let floor = arm.detection_floor_ns.filter(|_| terminations.total > 0);
    if let (Some(floor), Allowed::AtMost(_)) = (floor, plan.expect.failed) {
        limits.push(format!("gaps on one pod shorter than {} may have been missed", duration(floor)));
    }
    if limits.is_empty() { text } else { format!("{text} ({})", limits.join("; ")) }
}

/// Per cent to one decimal, rounded up: a bound must not look tighter than it is.
fn percent_up(rate: f64) -> String {
    let tenths = (rate * 1000.0 - 1e-9).ceil();
    format!("{:.1}", tenths / 10.0)
}
