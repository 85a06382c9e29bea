//! What a comparison looks like, to people and to a CI.

use reports::comparison::{annotations, json, junit, markdown, text};
use trial::compare::{Comparison, Outcome, compare};
use trial::plan::Role;
use trial::report::{LaneTerminations, Report, Rollouts, Terminations, Verdict};

use crate::builder::{self, arm, requests};
use crate::strict::problems_by;

/// Eight rollouts of three pods; of each, so many terminations fail requests of the kept connections.
fn run(id: &str, bad: u64, repeats: usize) -> Report {
    let verdict = if bad == 0 { Verdict::Pass } else { Verdict::Fail };
    let mut arms = Vec::new();
    for number in 1..=repeats {
        let lane = |name: &str, bad: u64| {
            let mut lane = builder::lane(name, requests(3_000 - bad, bad, 0, 0), None);
            let hurt = LaneTerminations {
                exposed: 3,
                failed: bad,
                bad,
                failed_requests: bad,
                ..LaneTerminations::default()
            };
            lane.terminations = Some(hurt);
            lane
        };
        let name = if number == 1 { "web | app".to_owned() } else { format!("web | app #{number}") };
        let mut arm = arm(&name, Role::Trial, verdict, vec![lane("new", 0), lane("reused", bad)]);
        arm.terminations = Terminations { total: 3, exposed: 3, bad, rate_upper_95: None };
        arm.rollouts = Rollouts { total: 1, bad: bad.min(1), ..Rollouts::default() };
        arms.push(arm);
    }
    let mut report = builder::report("web", verdict, &["as it came out"], arms);
    id.clone_into(&mut report.run.id);
    report
}

fn worse() -> Comparison {
    let mut new = run("new-run", 2, 8);
    new.run.environment.insert("kernel".to_owned(), "6.13\u{1b}[31m".to_owned());
    compare(&run("base-run", 0, 8), &new)
}

#[test]
fn a_regression_is_told_with_its_numbers() {
    let compared = worse();
    assert_eq!(compared.outcome, Outcome::Worse);
    let page = text(&compared, &reports::TextOptions::default());
    assert!(page.lines().all(|line| line.chars().count() <= 100), "{page}");
    insta::assert_snapshot!(page);
}

#[test]
fn a_ci_is_told_every_lane_that_got_worse() {
    insta::assert_snapshot!(junit(&worse()));
    let too_few = junit(&compare(&run("base-run", 0, 1), &run("new-run", 0, 1)));
    assert!(too_few.contains("<error") && !too_few.contains("<failure"), "{too_few}");
    let same = junit(&compare(&run("base-run", 0, 8), &run("new-run", 0, 8)));
    assert!(!same.contains("<error") && !same.contains("<failure"), "{same}");
}

#[test]
fn what_is_written_is_as_its_schema_says() {
    let mut other = run("new-run", 0, 8);
    other.arms.truncate(1);
    for compared in [
        worse(),
        compare(&run("base-run", 0, 8), &run("new-run", 0, 8)),
        compare(&run("base-run", 0, 1), &run("new-run", 0, 1)),
        compare(&run("base-run", 0, 8), &other),
    ] {
        let document = serde_json::from_str(&json(&compared)).unwrap();
        assert_eq!(problems_by(reports::COMPARISON_SCHEMA, &document), Vec::<String>::new());
    }
}

#[test]
fn a_pull_request_is_shown_the_same() {
    insta::assert_snapshot!(markdown(&worse()));
}

#[test]
fn too_few_trials_are_told_with_what_it_takes() {
    let compared = compare(&run("base-run", 0, 1), &run("new-run", 0, 1));
    assert_eq!(compared.outcome, Outcome::NotComparable);
    insta::assert_snapshot!(text(&compared, &reports::TextOptions::default()));
}

#[test]
fn annotations_say_whether_the_gate_is_shut() {
    assert!(annotations(&worse()).starts_with("::error title=drainproof%3A web is worse::"));
    let same = compare(&run("base-run", 0, 8), &run("new-run", 0, 8));
    assert_eq!(same.outcome, Outcome::NotWorse, "{:?}", same.reasons);
    assert!(annotations(&same).starts_with("::notice title=drainproof%3A web is not worse::"));
    assert_eq!(annotations(&same).lines().count(), 1);
}

#[test]
fn the_document_reads_back_the_same_and_no_figure_is_called_whole() {
    let compared = worse();
    let document = json(&compared);
    assert_eq!(serde_json::from_str::<Comparison>(&document).unwrap(), compared);
    assert!(!text(&compared, &reports::TextOptions::default()).contains("100 %"));
}
