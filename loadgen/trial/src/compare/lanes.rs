//! The tests of one arm's lanes.

use super::groups::Group;
use super::{ArmPair, Counts, LanePair, Outcome, Test, fits};
use crate::analysis::text::{count, counted};
use crate::plan::Role;
use crate::report::{Arm, LaneTerminations, Report};
use crate::statistics::{
    MOST_TRIALS, enough_on_each_side, fisher_at_least, permutation_at_least, rate_upper, rate_upper_95, real,
};

/// One rollout, as one lane saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Trial {
    exposed: u64,
    bad: u64,
    /// Requests that were.
    requests: u64,
    /// Late requests that do not count, since the control arm lets expect as many.
    excused: u64,
}

impl Trial {
    /// What two rollouts are compared by. Where every termination of the base is bad already, by how bad.
    const fn value(self, saturated: bool) -> u64 {
        if saturated { self.requests } else { self.bad }
    }
}

/// How sure the control arm's rate of late requests is taken to be below what is allowed for.
const CONTROL_CONFIDENCE: f64 = 0.999;

/// So many times as likely as what is called worse, a difference is not called none either.
const UNSURE: f64 = 50.0;

/// Which of the two tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Failed,
    Late,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Late => "late",
        }
    }
}

/// Tests each lane at this level.
pub(super) fn pair(base: (&Report, &Group<'_>), new: (&Report, &Group<'_>), level: f64) -> ArmPair {
    let doubt = new.1.arms.iter().find_map(|arm| fits::doubt(arm));
    let lanes: Vec<LanePair> = base
        .1
        .lanes()
        .map(|lane| {
            let of = |kind: Kind| {
                // Of both the larger: what is measured by two rods is not exchanged by chance.
                let usual = usual_late(base.0, lane).max(usual_late(new.0, lane));
                let trials = [trials(base.1, lane, kind, usual), trials(new.1, lane, kind, usual)];
                test(trials, kind, level, doubt.as_deref(), has_control(new.0))
            };
            let (failed, late) = (of(Kind::Failed), of(Kind::Late));
            LanePair { name: lane.to_owned(), outcome: failed.outcome.max(late.outcome), failed, late }
        })
        .collect();
    let mut outcome = lanes.iter().map(|lane| lane.outcome).max().unwrap_or(Outcome::NotComparable);
    let mut reasons = if lanes.is_empty() { vec!["it has no lane".to_owned()] } else { vec![] };
    if outcome != Outcome::Worse && base.1.passes() && new.1.fails() {
        // Its counterexamples are no matter of statistics.
        outcome = Outcome::NotComparable;
        reasons.push("it passed in the base and fails in the new report, with a counterexample".to_owned());
    }
    ArmPair { name: new.1.name.to_owned(), outcome, reasons, lanes }
}

fn has_control(report: &Report) -> bool {
    report.arms.iter().any(|arm| arm.role == Role::Control)
}

fn of_lane<'a>(arm: &'a Arm, lane: &str) -> Option<(&'a crate::report::Lane, LaneTerminations)> {
    let found = arm.lanes.iter().find(|known| known.name == lane)?;
    Some((found, found.terminations?))
}

/// The rollouts in which requests of the lane were due to a terminating pod. A rate of late requests up to `usual` counts
/// for nothing.
fn trials(group: &Group<'_>, lane: &str, kind: Kind, usual: f64) -> Vec<Trial> {
    let of = |arm: &&Arm| {
        let (found, hurt) = of_lane(arm, lane)?;
        let (terminations, requests, excused) = match kind {
            Kind::Failed => (hurt.failed, hurt.failed_requests, 0),
            Kind::Late if real(hurt.late_requests) <= usual * real(found.requests.sent) => {
                (0, 0, hurt.late_requests)
            }
            Kind::Late => (hurt.late, hurt.late_requests, 0),
        };
        // What no terminating pod did, a new one or the rules did: the rollout is bad all the same.
        let bad = terminations.max(u64::from(requests > 0));
        Some(Trial { exposed: hurt.exposed.max(bad), bad, requests, excused })
    };
    group.arms.iter().filter_map(of).filter(|trial| trial.exposed > 0).collect()
}

/// The rate of late requests that the report's control arms let expect without a disruption, generously.
fn usual_late(report: &Report, name: &str) -> f64 {
    let controls = report.arms.iter().filter(|arm| arm.role == Role::Control);
    let (late, sent) =
        controls.filter_map(|arm| of_lane(arm, name)).fold((0_u64, 0_u64), |(late, sent), (found, hurt)| {
            (late.saturating_add(hurt.late_requests), sent.saturating_add(found.requests.sent))
        });
    rate_upper(late, sent, CONTROL_CONFIDENCE).unwrap_or(0.0)
}

fn counts(trials: &[Trial]) -> Counts {
    let sum = |of: fn(&Trial) -> u64| trials.iter().map(of).fold(0, u64::saturating_add);
    let (exposed, bad) = (sum(|trial| trial.exposed), sum(|trial| trial.bad));
    Counts {
        rollouts: trials.len() as u64,
        bad_rollouts: trials.iter().filter(|trial| trial.bad > 0).count() as u64,
        exposed,
        bad,
        rate_upper_95: rate_upper_95(bad, exposed),
    }
}

/// How often chance alone makes as much of it as these new rollouts do.
fn chance(base: &[Trial], new: &[u64]) -> Option<f64> {
    let saturated = is_saturated(base);
    let base: Vec<u64> = base.iter().map(|trial| trial.value(saturated)).collect();
    permutation_at_least(&base, new)
}

/// Every termination is bad, so that no more of them can be.
fn is_saturated(base: &[Trial]) -> bool {
    !base.is_empty() && base.iter().all(|trial| trial.bad >= trial.exposed)
}

/// A rollout as bad as can be.
fn worst(base: &[Trial], trial: &Trial) -> u64 {
    if is_saturated(base) {
        base.iter().map(|trial| trial.requests).max().unwrap_or(0).saturating_add(1)
    } else {
        trial.exposed
    }
}

fn test(
    [base, new]: [Vec<Trial>; 2],
    kind: Kind,
    level: f64,
    doubt: Option<&str>,
    has_control: bool,
) -> Test {
    let (of_base, of_new) = (counts(&base), counts(&new));
    let saturated = is_saturated(&base);
    let p = chance(&base, &new.iter().map(|trial| trial.value(saturated)).collect::<Vec<_>>());
    let would_tell = would_tell(&base, &new, level);
    let mut seen = format!("{} {}", told(kind, &of_new), against(&of_base));
    let sum = |trials: &[Trial], of: fn(&Trial) -> u64| trials.iter().map(of).fold(0, u64::saturating_add);
    if saturated {
        let requests = |trials: &[Trial]| count(sum(trials, |trial| trial.requests));
        let (new, base) = (requests(&new), requests(&base));
        seen = format!("{seen}, which are all, so that requests count: {new} against {base}");
    }
    let excused = |trials: &[Trial]| sum(trials, |trial| trial.excused);
    let (of_new_excused, of_base_excused) = (excused(&new), excused(&base));
    if of_new_excused + of_base_excused > 0 {
        seen = format!(
            "{seen}, {} against {} late requests beside these being no more than the control arms let expect",
            count(of_new_excused),
            count(of_base_excused)
        );
    }
    let (outcome, sentence) = match p {
        None => (Outcome::NotComparable, "no termination was exposed to it on both sides".to_owned()),
        // Without a control arm nobody knows how many would have been late anyway.
        Some(_) if kind == Kind::Late && !has_control && of_new.bad > 0 => {
            (Outcome::NotComparable, format!("{seen}; without a control arm that may be the machine's doing"))
        }
        Some(p) if p <= level => {
            (Outcome::Worse, format!("worse: {seen} (p = {}, limit {})", small(p), small(level)))
        }
        Some(_) if doubt.is_some() => {
            (Outcome::NotComparable, format!("{seen}; but {}", doubt.unwrap_or_default()))
        }
        Some(p) if would_tell.is_none() => (
            Outcome::NotComparable,
            format!("too few trials: {seen} (p = {}); {}", small(p), wanted(&base, &new, level)),
        ),
        // Not enough to call it worse, and too much to call it the same.
        Some(p) if p <= level * UNSURE => (
            Outcome::NotComparable,
            format!(
                "{seen} (p = {}, worse at {}): more than chance often makes of it; --repeat more tells",
                small(p),
                small(level)
            ),
        ),
        Some(p) => {
            let rollouts = counted(would_tell.unwrap_or_default() as u64, "bad rollout");
            (Outcome::NotWorse, format!("not worse: {seen} (p = {}; {rollouts} would have told)", small(p)))
        }
    };
    Test {
        outcome,
        base: of_base,
        new: of_new,
        p,
        p_if_terminations_were_independent: fisher_at_least(
            (of_base.bad, of_base.exposed),
            (of_new.bad, of_new.exposed),
        ),
        would_tell: would_tell.map(|rollouts| rollouts as u64),
        sentence,
    }
}

/// The fewest of the new rollouts that, bad throughout, would have been worse. The more are, the less chance makes as much of it.
fn would_tell(base: &[Trial], new: &[Trial], level: f64) -> Option<usize> {
    let tells = |bad: usize| {
        let values =
            new.iter().enumerate().map(|(index, trial)| if index < bad { worst(base, trial) } else { 0 });
        chance(base, &values.collect::<Vec<_>>()).is_some_and(|p| p <= level)
    };
    let (mut too_few, mut enough) = (0, Some(new.len()).filter(|all| tells(*all))?);
    while enough - too_few > 1 {
        let half = usize::midpoint(too_few, enough);
        if tells(half) {
            enough = half;
        } else {
            too_few = half;
        }
    }
    Some(enough)
}

fn told(kind: Kind, counts: &Counts) -> String {
    format!(
        "{} of {} with {} requests in {}",
        count(counts.bad),
        counted(counts.exposed, "exposed termination"),
        kind.as_str(),
        counted(counts.rollouts, "rollout")
    )
}

fn against(counts: &Counts) -> String {
    format!(
        "against {} of {} in {}",
        count(counts.bad),
        count(counts.exposed),
        counted(counts.rollouts, "rollout")
    )
}

/// How many rollouts it would take.
fn wanted(base: &[Trial], new: &[Trial], level: f64) -> String {
    let exposed = new.iter().map(|trial| worst(base, trial)).max().unwrap_or(1);
    let enough = (new.len()..=MOST_TRIALS)
        .find(|rollouts| chance(base, &vec![exposed; *rollouts]).is_some_and(|p| p <= level));
    let is_clean = base.iter().all(|trial| trial.bad == 0);
    let each = enough_on_each_side(level).filter(|_| is_clean);
    let repeats = match (enough, each) {
        (Some(new), Some(each)) => format!("--repeat {new} against this base, or {each} on both sides, is"),
        (Some(new), None) => format!("--repeat {new} against this base is"),
        (None, Some(each)) => format!("--repeat {each} on both sides is"),
        (None, None) => "a base with more rollouts is".to_owned(),
    };
    format!("{repeats} needed before rollouts that fail throughout can be told from chance")
}

/// A probability to two digits.
fn small(p: f64) -> String {
    if p >= 0.001 { format!("{p:.3}") } else { format!("{p:.1e}") }
}
