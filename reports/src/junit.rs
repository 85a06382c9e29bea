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

/// Renders JUnit XML. What failed is a `failure`; what could not be told is an `error`, so that no CI takes it for a pass.
/// A first suite holds the verdict on the run as a whole.
#[must_use]
pub fn junit(report: &Report) -> String {
    let mut document = Junit::new(format!("drainproof {}", report.run.scenario));
    let status = match report.verdict {
        Verdict::Pass => TestCaseStatus::success(),
        Verdict::Fail => told(NonSuccessKind::Failure, "fail", &report.reasons),
        Verdict::Inconclusive => told(NonSuccessKind::Error, "inconclusive", &report.reasons),
    };
    let mut whole = TestSuite::new(report.run.scenario.clone());
    whole.add_test_case(case(&report.run.scenario, "verdict", status));
    document.add_test_suite(whole);
    for arm in &report.arms {
        let name = format!("{} / {}", report.run.scenario, arm.name);
        let mut suite = TestSuite::new(name.clone());
        for lane in &arm.lanes {
            let mut case = case(&name, &lane.name, status_of(arm, lane));
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
            suite.add_test_case(case(&name, "verdict", status_of_arm(arm)));
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
        Outcome::NotComparable => told(NonSuccessKind::Error, outcome.as_str(), sentences),
        Outcome::Worse => told(NonSuccessKind::Failure, outcome.as_str(), sentences),
    }
}

fn case(class: &str, name: &str, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(name.to_owned(), status);
    case.set_classname(class.to_owned());
    case
}

fn told(kind: NonSuccessKind, message: &str, sentences: &[String]) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(message.to_owned());
    status.set_message(sentences.first().map_or(message, String::as_str).to_owned());
    status.set_description(sentences.join("\n"));
    status
}

/// A lane is at fault where the arm's verdict is, and requests of its own failed or were late.
fn status_of(arm: &Arm, lane: &Lane) -> TestCaseStatus {
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
            told(NonSuccessKind::Failure, "fail", &sentences)
        }
        (Role::Trial, Verdict::Inconclusive) => told(NonSuccessKind::Error, "inconclusive", &arm.reasons),
        (Role::NegativeControl | Role::Trial, _) | (Role::Control, Verdict::Pass) => {
            TestCaseStatus::success()
        }
        (Role::Control, _) => told(NonSuccessKind::Error, verdict_of(arm), &arm.reasons),
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

fn status_of_arm(arm: &Arm) -> TestCaseStatus {
    let kind = match arm.verdict {
        Verdict::Fail if arm.role == Role::Trial => NonSuccessKind::Failure,
        _ => NonSuccessKind::Error,
    };
    told(kind, verdict_of(arm), &arm.reasons)
}
