//! What a pull request, a job and a browser are shown.

use reports::{TextOptions, annotations, html, junit, markdown, text};
use trial::report::{Advice, Report, Verdict};

use crate::samples;

/// A report whose every text from outside is hostile.
pub(crate) fn hostile() -> Report {
    let mut report = samples::fail();
    let evil = "<script>alert(1)</script> | \"&\u{1b}[31m\n@everyone ]]>";
    evil.clone_into(&mut report.run.scenario);
    report.reasons = vec![evil.to_owned()];
    report.run.caveats = vec![evil.to_owned()];
    report.run.argv = vec![evil.to_owned()];
    let arm = &mut report.arms[0];
    evil.clone_into(&mut arm.name);
    arm.reasons = vec![evil.to_owned()];
    evil.clone_into(&mut arm.lanes[0].name);
    for failure in &mut arm.failures {
        evil.clone_into(&mut failure.lane);
        failure.pod = Some(evil.to_owned());
        evil.clone_into(&mut failure.sentence);
    }
    for pod in &mut arm.pods {
        evil.clone_into(&mut pod.name);
    }
    report
}

#[test]
fn a_pull_request_is_shown_the_verdict_its_reasons_and_what_to_do() {
    insta::assert_snapshot!(markdown(&samples::fail()));
}

#[test]
fn arms_with_long_names_are_numbered_and_each_is_advised_by_itself() {
    let mut report = samples::fail();
    let mut other = report.arms[0].clone();
    let long = "workload.server.onSigterm=exit, workload.lifecycle.preStop.sleep.seconds=";
    report.arms[0].name = format!("{long}0");
    other.name = format!("{long}5");
    report.arms.push(other);
    let advise =
        |arm: &str, text: &str| Advice { arm: Some(arm.to_owned()), text: text.to_owned(), patch: None };
    let (first, second) = (report.arms[0].name.clone(), report.arms[1].name.clone());
    report.advice = vec![advise(&first, "Sleep."), advise(&first, "Linger."), advise(&second, "Drain.")];
    let page = markdown(&report);
    assert!(page.contains("\n| arm 2 | FAIL |") && page.contains("\n**arm 2**\n"), "{page}");
    assert!(page.contains(&format!("\n- arm 1: {long}0\n- arm 2: {long}5\n")), "{page}");
    assert_eq!(page.matches(long).count(), 2, "each is told once");
    assert!(
        page.contains("**What to do:** arm 1: Sleep.\n") && page.contains("**What to do:** arm 2: Drain.\n")
    );
    assert!(!page.contains("Linger.") && page.contains("\n… and 1 more in report.json\n"), "{page}");
    let page = text(&report, &TextOptions::default());
    assert!(
        page.contains("  → arm 1: Sleep.\n  → arm 2: Drain.\n    … and 1 more: see report.json"),
        "{page}"
    );
    // Short names stand for themselves.
    for (arm, name) in report.arms.iter_mut().zip(["exit", "drain"]) {
        name.clone_into(&mut arm.name);
    }
    report.advice = vec![advise("exit", "Sleep.")];
    let page = markdown(&report);
    assert!(page.contains("| exit | FAIL |") && page.contains("**What to do:** arm exit: Sleep."), "{page}");
    assert!(!page.contains("- arm 1"), "{page}");
}

#[test]
fn the_race_is_told_of_pods_that_a_controller_deleted() {
    let mut report = samples::fail();
    let race =
        |report: &Report| markdown(report).lines().find(|line| line.starts_with("Race: ")).map(str::to_owned);
    let told = race(&report);
    assert!(told.is_some());
    for pod in report.arms.iter_mut().flat_map(|arm| &mut arm.pods) {
        pod.timeline.terminating_ns = pod.timeline.terminating_ns.or(pod.timeline.delete_requested_ns);
        pod.timeline.delete_requested_ns = None;
    }
    assert_eq!(race(&report), told);
}

#[test]
fn a_ci_is_told_every_arm_and_lane() {
    insta::assert_snapshot!(junit(&samples::fail()));
}

#[test]
fn what_could_not_be_told_is_an_error_and_never_a_pass() {
    let report = samples::killed();
    assert_eq!(report.verdict, Verdict::Inconclusive);
    let xml = junit(&report);
    assert!(xml.contains("<error"), "{xml}");
    assert!(!xml.contains("errors=\"0\" time=\"0.000\">\n    <testsuite"), "{xml}");
    assert!(annotations(&report).starts_with("::error title=drainproof%3A"), "{}", annotations(&report));
}

#[test]
fn what_does_not_decide_the_run_fails_no_case() {
    // `expect.arms: any`: one arm passes, another does not.
    let mut report = samples::pass();
    let mut failed = samples::fail().arms.remove(0);
    failed.reasons = vec!["51 of 12,000 requests failed".to_owned()];
    "other".clone_into(&mut failed.name);
    report.arms.insert(1, failed);
    let xml = junit(&report);
    assert!(!xml.contains("<failure") && !xml.contains("<error"), "{xml}");
    let said =
        "<skipped message=\"not what decides the run&apos;s verdict: 42 failed and 0 late of 6,000 sent\"";
    assert!(xml.contains(said), "{xml}");
    // Nor where nobody can tell whether one passes; but that is an error.
    report.verdict = Verdict::Inconclusive;
    report.arms[0].verdict = Verdict::Inconclusive;
    let xml = junit(&report);
    assert!(!xml.contains("<failure") && xml.contains("<skipped") && xml.contains("<error"), "{xml}");
    // Where all have to pass it decides.
    report.verdict = Verdict::Fail;
    assert_eq!(junit(&report).matches("<failure").count(), 3, "the run's, and both lanes'");
}

#[test]
fn a_lane_without_failures_of_a_doubtful_arm_is_no_success() {
    let mut report = samples::fail();
    let requests = &mut report.arms[0].lanes[1].requests;
    (requests.ok, requests.failed, requests.late) = (requests.sent, 0, 0);
    let errors = |report: &Report| junit(report).matches("<error").count();
    assert_eq!(errors(&report), 0, "it is whole");
    report.arms[0].doubts = vec!["12 of 6,012 slots were never sent".to_owned()];
    assert_eq!(errors(&report), 1);
    assert!(junit(&report).contains("message=\"12 of 6,012 slots were never sent\""));
}

#[test]
fn a_pass_has_neither_failures_nor_errors() {
    let xml = junit(&samples::pass());
    assert!(!xml.contains("<failure") && !xml.contains("<error"), "{xml}");
    assert!(annotations(&samples::pass()).starts_with("::notice "));
}

#[test]
fn a_failed_run_is_annotated_with_its_counterexamples() {
    let report = samples::fail();
    let lines: Vec<String> = annotations(&report).lines().map(str::to_owned).collect();
    assert!(lines.len() > 1 && lines.len() <= 6, "{lines:?}");
    assert!(lines.iter().all(|line| line.starts_with("::error title=")), "{lines:?}");
    assert!(lines[1].ends_with(&report.arms[0].failures[0].sentence.replace('%', "%25")), "{lines:?}");
}

#[test]
fn a_page_draws_every_pod_and_marks_every_failure() {
    let report = samples::fail();
    let page = html(&report);
    let arm = &report.arms[0];
    for pod in &arm.pods {
        assert!(page.contains(&pod.name), "{} is not drawn", pod.name);
    }
    assert_eq!(page.matches("<circle ").count(), arm.failures.len());
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
    // Nothing is fetched: the only addresses are those of the page's own parts.
    for outside in ["http:", "https:", "src=", "url(", "@import", "<script"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn what_comes_from_outside_stays_text() {
    let report = hostile();
    let page = html(&report);
    assert!(!page.contains("<script") && !page.contains('\u{1b}'), "{page}");
    let xml = junit(&report);
    assert!(!xml.contains("<script") && !xml.contains('\u{1b}') && !xml.contains("]]>"), "{xml}");
    let comment = markdown(&report);
    assert!(
        !comment.contains("<script") && !comment.contains('\u{1b}') && !comment.contains("@everyone"),
        "{comment}"
    );
    // A cell that holds a bar or a line break would be a table of another shape.
    let bars = |line: &&str| line.starts_with('|');
    let unescaped = |line: &str| line.replace("\\|", "").matches('|').count();
    let rows: Vec<&str> = comment.lines().filter(bars).collect();
    assert!(rows.iter().all(|row| [9, 8, 7].contains(&unescaped(row))), "{rows:#?}");
    assert!(annotations(&report).lines().all(|line| line.starts_with("::error title=")));
}

#[test]
fn the_same_report_gives_the_same_bytes() {
    for report in samples::all() {
        assert_eq!(markdown(&report), markdown(&report));
        assert_eq!(junit(&report), junit(&report));
        assert_eq!(html(&report), html(&report));
    }
}
