//! JUnit's XML, which every CI reads: a suite an arm, a case a lane.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report as Junit, TestCase, TestCaseStatus, TestSuite};
use trial::compare::{Comparison, Outcome};
use trial::plan::Role;
use trial::report::{Arm, Lane, Report, Verdict};

use crate::facts::{one_of_each, verdict_of};
use crate::units::count;

/// Failures told in a case, one of each kind; `report.json` has more.
const SHOWN: usize = 10;

/// How a case that is no success counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weight {
    Failure,
    Error,
    /// It decides nothing.
    Skipped,
}

/// Renders JUnit XML. What failed is a `failure`; what could not be told is an `error`, so that no CI takes it for a pass.
/// Where one arm that passes is enough, what another failed is `skipped`. A first suite holds the verdict on the run as a whole.
#[must_use]
pub fn junit(report: &Report) -> String {
    let mut document = Junit::new(format!("drainproof {}", report.run.scenario));
    let status = match report.verdict {
        Verdict::Pass => TestCaseStatus::success(),
        Verdict::Fail => told(Weight::Failure, "fail", &report.reasons),
        Verdict::Inconclusive => told(Weight::Error, "inconclusive", &report.reasons),
    };
    let mut whole = TestSuite::new(report.run.scenario.clone());
    whole.add_test_case(case(&report.run.scenario, "verdict", status));
    document.add_test_suite(whole);
    for arm in &report.arms {
        let name = format!("{} / {}", report.run.scenario, arm.name);
        let mut suite = TestSuite::new(name.clone());
        for lane in &arm.lanes {
            let mut case = case(&name, &lane.name, status_of(report.verdict, arm, lane));
            if let Some(load) = arm.load_duration_ns {
                case.set_time(Duration::from_nanos(load));
            }
            suite.add_test_case(case);
        }
        // Lanes run side by side: a suite takes as long as each of them.
        if let Some(load) = arm.load_duration_ns {
            suite.set_time(Duration::from_nanos(load));
        }
        if !says_all(arm) {
            suite.add_test_case(case(&name, "verdict", status_of_arm(report.verdict, arm)));
        }
        document.add_test_suite(suite);
    }
    // Writing to memory fails for no reason of the world's.
    document.to_string().unwrap_or_default()
}

/// Renders a comparison as JUnit XML: a suite an arm, a case a lane; what is worse is a `failure`, what cannot be compared an
/// `error`. A first suite holds the outcome as a whole.
#[must_use]
pub fn comparison(comparison: &Comparison) -> String {
    let name = format!("drainproof {} against its baseline", comparison.new.scenario);
    let mut document = Junit::new(name.clone());
    let mut whole = TestSuite::new(name.clone());
    whole.add_test_case(case(&name, "outcome", compared(comparison.outcome, &comparison.reasons)));
    document.add_test_suite(whole);
    for arm in &comparison.arms {
        let class = format!("{} / {} against its baseline", comparison.new.scenario, arm.name);
        let mut suite = TestSuite::new(class.clone());
        for lane in &arm.lanes {
            let sentences = [lane.failed.sentence.clone(), lane.late.sentence.clone()];
            suite.add_test_case(case(&class, &lane.name, compared(lane.outcome, &sentences)));
        }
        if arm.lanes.is_empty() {
            suite.add_test_case(case(&class, "outcome", compared(arm.outcome, &arm.reasons)));
        }
        document.add_test_suite(suite);
    }
    // Writing to memory fails for no reason of the world's.
    document.to_string().unwrap_or_default()
}

fn compared(outcome: Outcome, sentences: &[String]) -> TestCaseStatus {
    match outcome {
        Outcome::NotWorse => TestCaseStatus::success(),
        Outcome::NotComparable => told(Weight::Error, outcome.as_str(), sentences),
        Outcome::Worse => told(Weight::Failure, outcome.as_str(), sentences),
    }
}

fn case(class: &str, name: &str, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(name.to_owned(), status);
    case.set_classname(class.to_owned());
    case
}

fn told(weight: Weight, message: &str, sentences: &[String]) -> TestCaseStatus {
    let mut status = match weight {
        Weight::Failure => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Weight::Error => TestCaseStatus::non_success(NonSuccessKind::Error),
        Weight::Skipped => TestCaseStatus::skipped(),
    };
    let first = sentences.first().map_or(message, String::as_str);
    status.set_type(message.to_owned());
    status.set_message(match weight {
        Weight::Skipped => format!("not what decides the run's verdict: {first}"),
        Weight::Failure | Weight::Error => first.to_owned(),
    });
    status.set_description(sentences.join("\n"));
    status
}

/// What a trial arm's verdict weighs in a run of this verdict: a failed arm that another makes up for fails nothing.
const fn weight(run: Verdict, arm: Verdict) -> Weight {
    match (run, arm) {
        (Verdict::Pass, _) | (Verdict::Inconclusive, Verdict::Fail) => Weight::Skipped,
        (Verdict::Fail, Verdict::Fail) => Weight::Failure,
        _ => Weight::Error,
    }
}

/// A lane is at fault where the arm's verdict is, and requests of its own failed or were late. Where they were not, what is
/// doubtful of the arm is doubtful of the lane.
fn status_of(run: Verdict, arm: &Arm, lane: &Lane) -> TestCaseStatus {
    let requests = &lane.requests;
    let hurt = requests.failed + requests.late > 0;
    match (arm.role, arm.verdict) {
        (Role::Trial, Verdict::Fail) if hurt => {
            let mut sentences = vec![format!(
                "{} failed and {} late of {} sent",
                count(requests.failed),
                count(requests.late),
                count(requests.sent)
            )];
            let of_lane = one_of_each(&arm.failures).filter(|failure| failure.lane == lane.name);
            sentences.extend(of_lane.take(SHOWN).map(|failure| failure.sentence.clone()));
            told(weight(run, Verdict::Fail), "fail", &sentences)
        }
        (Role::Trial, Verdict::Fail) if !arm.doubts.is_empty() => {
            let doubted = if run == Verdict::Fail { Weight::Error } else { Weight::Skipped };
            told(doubted, "inconclusive", &arm.doubts)
        }
        (Role::Trial, Verdict::Inconclusive) => {
            told(weight(run, Verdict::Inconclusive), "inconclusive", &arm.reasons)
        }
        (Role::NegativeControl | Role::Trial, _) | (Role::Control, Verdict::Pass) => {
            TestCaseStatus::success()
        }
        (Role::Control, _) => told(Weight::Error, verdict_of(arm), &arm.reasons),
    }
}

/// True if the lanes' cases already tell the arm's verdict.
fn says_all(arm: &Arm) -> bool {
    match (arm.role, arm.verdict) {
        (Role::NegativeControl, _) => arm.requests.failed > 0,
        (_, Verdict::Pass) => true,
        (Role::Trial, Verdict::Fail) => {
            arm.lanes.iter().any(|lane| lane.requests.failed + lane.requests.late > 0)
        }
        _ => !arm.lanes.is_empty(),
    }
}

fn status_of_arm(run: Verdict, arm: &Arm) -> TestCaseStatus {
    let weight = if arm.role == Role::Trial { weight(run, arm.verdict) } else { Weight::Error };
    told(weight, verdict_of(arm), &arm.reasons)
}
