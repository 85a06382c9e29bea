//! Did it get worse? Two reports of the same settings against each other, arm by arm and lane by lane.
//!
//! Requests of one outage fall together, terminations of one rollout share syncs and stalls: what is divided by chance alone is the
//! **rollout**. A lane is *worse* if, of all ways to divide the rollouts of both reports into two such groups, at most a share of
//! α / (number of tests) gives the second group as many bad terminations as the new report has. That holds whatever requests and
//! terminations of a rollout have in common, so that of a thousand comparisons of unchanged settings at most one says *worse*. It
//! also takes several rollouts on each side before anything can be told; where all new ones failing would still be no evidence, the
//! answer is *not comparable: too few trials*, and not *fine*. A failure with a counterexample is in any case a failure of the new
//! run's own verdict, which needs no baseline.
//!
//! Late requests count in excess of what the same report's control arm lets expect.

use serde::{Deserialize, Serialize};

use crate::plan::Role;
use crate::report::{Report, Verdict};

mod fits;
mod groups;
mod lanes;
#[cfg(test)]
mod tests;

use groups::Group;

/// Of so many comparisons of unchanged settings at most one says *worse*: the family-wise rate of false alarms of a comparison.
pub const ALPHA: f64 = 0.001;

/// What a comparison says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// No worse beyond noise, and worse would have shown.
    NotWorse,
    /// Different settings, or too few trials.
    NotComparable,
    /// Worse beyond noise.
    Worse,
}

impl Outcome {
    /// The exit code of `compare`.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::NotWorse => 0,
            Self::NotComparable => 4,
            Self::Worse => 3,
        }
    }

    /// The words in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotWorse => "not worse",
            Self::NotComparable => "not comparable",
            Self::Worse => "worse",
        }
    }
}

/// Version of `comparison.json`, whose schema is `reports/schema/comparison.schema.json`.
pub const SCHEMA_VERSION: &str = "1.0";

/// The whole comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// [`SCHEMA_VERSION`]; a reader of 1.x ignores fields that it does not know.
    pub schema_version: String,
    /// Worst of all arms.
    pub outcome: Outcome,
    /// What `compare` exits with.
    pub exit_code: u8,
    /// One sentence each, the most important first.
    pub reasons: Vec<String>,
    /// The family-wise rate of false alarms.
    pub alpha: f64,
    /// How many tests share it, …
    pub tests: u64,
    /// … so that each says *worse* at this or less.
    pub level: f64,
    /// The report that is taken as given.
    pub base: Side,
    /// The report that is asked about.
    pub new: Side,
    /// What is different between the two without being a setting: machines, versions.
    pub notes: Vec<String>,
    /// Each trial arm of either; repeats of an arm are one.
    pub arms: Vec<ArmPair>,
}

/// Which report it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields of the report itself")]
pub struct Side {
    pub run: String,
    pub scenario: String,
    pub started_at: String,
    pub verdict: Verdict,
}

/// One arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmPair {
    /// Its name in both.
    pub name: String,
    /// Worst of its lanes.
    pub outcome: Outcome,
    /// Why it is not comparable as a whole.
    pub reasons: Vec<String>,
    /// Each lane; none where the arm is not comparable.
    pub lanes: Vec<LanePair>,
}

/// One lane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LanePair {
    /// Its name.
    pub name: String,
    /// Worse of the two.
    pub outcome: Outcome,
    /// Terminations with failed requests.
    pub failed: Test,
    /// Terminations with late requests, in excess of the control arm's.
    pub late: Test,
}

/// One test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Test {
    /// What it says.
    pub outcome: Outcome,
    /// Counts of the base.
    pub base: Counts,
    /// Counts of the new report.
    pub new: Counts,
    /// How often chance alone makes as much of it, rollouts being divided. `None` without rollouts.
    pub p: Option<f64>,
    /// The same by Fisher's exact test if each termination were independent of all others, which nothing ensures: it decides nothing.
    pub p_if_terminations_were_independent: Option<f64>,
    /// So many of the new rollouts, bad throughout, would have been worse; `None` where none would.
    pub would_tell: Option<u64>,
    /// In words.
    pub sentence: String,
}

/// What is counted of one lane in one report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Rollouts in which a termination was exposed.
    pub rollouts: u64,
    /// Those with a bad termination.
    pub bad_rollouts: u64,
    /// Exposed terminations.
    pub exposed: u64,
    /// Bad ones.
    pub bad: u64,
    /// Upper 95 % bound (Clopper–Pearson, one-sided) of the rate of bad ones.
    pub rate_upper_95: Option<f64>,
}

/// Compares `new` with `base`.
#[must_use]
pub fn compare(base: &Report, new: &Report) -> Comparison {
    let whole = fits::reports(base, new);
    let (bases, news) = (groups::groups(base), groups::groups(new));
    let mut pairs = Vec::new();
    let mut arms = Vec::new();
    let lonely = |name: &str, side: &str| ArmPair {
        name: name.to_owned(),
        outcome: Outcome::NotComparable,
        reasons: vec![format!("only {side} has this arm")],
        lanes: vec![],
    };
    for of_new in &news {
        match bases.iter().find(|of_base| of_base.name == of_new.name) {
            None => arms.push(lonely(of_new.name, "the new report")),
            Some(of_base) => {
                let mut reasons = whole.clone();
                reasons.extend(fits::arms(of_base, of_new));
                if reasons.is_empty() {
                    pairs.push((of_base, of_new));
                } else {
                    let name = of_new.name.to_owned();
                    arms.push(ArmPair { name, outcome: Outcome::NotComparable, reasons, lanes: vec![] });
                }
            }
        }
    }
    let missing = |of_base: &&Group<'_>| news.iter().all(|of_new| of_new.name != of_base.name);
    arms.extend(bases.iter().filter(missing).map(|of_base| lonely(of_base.name, "the base")));
    // Before a count is looked at: how many tests there will be does not depend on how they come out.
    let tests = pairs.iter().map(|(of_base, _)| 2 * of_base.lanes().count() as u64).sum::<u64>();
    let level = ALPHA / crate::statistics::real(tests.max(1));
    arms.extend(pairs.iter().map(|(of_base, of_new)| lanes::pair((base, of_base), (new, of_new), level)));
    arms.sort_by_key(|arm| news.iter().position(|of_new| of_new.name == arm.name).unwrap_or(usize::MAX));
    conclude((base, new), arms, (tests, level))
}

fn conclude((base, new): (&Report, &Report), arms: Vec<ArmPair>, (tests, level): (u64, f64)) -> Comparison {
    let outcome = arms.iter().map(|arm| arm.outcome).max().unwrap_or(Outcome::NotComparable);
    let several = arms.len() > 1;
    let mut reasons = Vec::new();
    // What is not worse is of interest where all is; else the lanes tell it.
    for wanted in [Outcome::Worse, Outcome::NotComparable, Outcome::NotWorse] {
        if wanted == Outcome::NotWorse && outcome != wanted {
            continue;
        }
        for arm in &arms {
            let named = |text: &str| {
                if several { format!("arm {}: {text}", arm.name) } else { text.to_owned() }
            };
            if wanted == Outcome::NotComparable {
                reasons.extend(arm.reasons.iter().map(|reason| named(reason)));
            }
            for lane in &arm.lanes {
                let tests = [&lane.failed, &lane.late].into_iter().filter(|test| test.outcome == wanted);
                reasons.extend(tests.map(|test| named(&format!("lane {}: {}", lane.name, test.sentence))));
            }
        }
    }
    if arms.is_empty() {
        reasons.push("neither report has a trial arm".to_owned());
    }
    let fails_now = base.verdict == Verdict::Pass && new.verdict == Verdict::Fail;
    if outcome != Outcome::Worse && fails_now {
        // Its counterexamples are no matter of statistics: whoever asks only for the comparison must not overlook them.
        reasons.insert(
            0,
            "the base passed and the new report fails by its own verdict, with a counterexample: that stands, though too little was \
             seen to tell a change from chance"
                .to_owned(),
        );
    }
    let outcome = if fails_now { outcome.max(Outcome::NotComparable) } else { outcome };
    Comparison {
        schema_version: SCHEMA_VERSION.to_owned(),
        outcome,
        exit_code: outcome.exit_code(),
        reasons,
        alpha: ALPHA,
        tests,
        level,
        base: side(base),
        new: side(new),
        notes: fits::notes(base, new),
        arms,
    }
}

fn side(report: &Report) -> Side {
    Side {
        run: report.run.id.clone(),
        scenario: report.run.scenario.clone(),
        started_at: report.run.started_at.clone(),
        verdict: report.verdict,
    }
}

/// True for arms whose requests are compared.
const fn is_trial(role: Role) -> bool {
    matches!(role, Role::Trial)
}
