//! What a person sees.

use proptest::prelude::*;
use reports::{Color, TextOptions, text};
use trial::plan::Role;
use trial::report::{Claim, Verdict};

use crate::builder::{self, PodBuilder, S};
use crate::samples;

fn plain(report: &trial::report::Report) -> String {
    text(report, &TextOptions::default())
}

fn widest(page: &str) -> usize {
    page.lines().map(|line| line.chars().count()).max().unwrap_or(0)
}

#[test]
fn a_pass_with_controls() {
    insta::assert_snapshot!(plain(&samples::pass()));
}

#[test]
fn a_fail_names_requests_pods_and_a_patch() {
    insta::assert_snapshot!(plain(&samples::fail()));
}

#[test]
fn a_killed_run_is_inconclusive_and_says_what_was_not_observed() {
    insta::assert_snapshot!(plain(&samples::killed()));
}

#[test]
fn a_foreign_server_that_ignores_sigterm_is_killed() {
    insta::assert_snapshot!(plain(&samples::foreign()));
}

#[test]
fn a_matrix_compares_its_arms() {
    let mut matrix = samples::fail();
    let mut good = samples::pass().arms.remove(0);
    "preStop.sleep.seconds=5".clone_into(&mut good.name);
    "preStop.sleep.seconds=0".clone_into(&mut matrix.arms[0].name);
    matrix.arms[0].reasons = vec!["51 of 12,000 requests failed".to_owned()];
    matrix.arms.push(good);
    matrix.claims = vec![Claim {
        id: "A".to_owned(),
        text: "Without a preStop hook a rollout drops requests.".to_owned(),
        holds: Some(true),
        evidence: "51 failed without it, none with it".to_owned(),
    }];
    matrix.tune = Some(serde_json::json!({
        "pre_stop_seconds": 5, "termination_grace_period_seconds": 30, "failing_neighbour": {"pre_stop_seconds": 1},
        "valid_for": "this cluster at this load", "confidence": 0.95, "terminations": 60, "patch": "spec: {}\n"
    }));
    insta::assert_snapshot!(plain(&matrix));
}

#[test]
fn colour_changes_nothing_but_colour() {
    for report in samples::all() {
        let coloured = text(&report, &TextOptions { color: Color::Always, width: 100 });
        assert!(coloured.contains("\x1b[1;3"));
        let mut bare = String::new();
        let mut rest = coloured.as_str();
        while let Some((before, after)) = rest.split_once("\x1b[") {
            bare.push_str(before);
            rest = after.split_once('m').unwrap().1;
        }
        bare.push_str(rest);
        assert_eq!(bare, plain(&report));
    }
}

#[test]
fn control_characters_from_outside_never_reach_the_terminal() {
    let mut report = samples::fail();
    report.run.scenario = "a\x1b[2Jb".to_owned();
    report.arms[0].pods[0].notes = vec!["\x1b]0;title\x07 note".to_owned()];
    report.arms[0].lanes[0].name = "l\rane".to_owned();
    report.advice[0].patch = Some("a: \x1b[31m\n\tb\r\n".to_owned());
    assert!(plain(&report).chars().all(|c| c == '\n' || !c.is_control()));
}

#[test]
fn nothing_observed_and_no_pods_still_make_a_page() {
    let bare = builder::arm("bare", Role::Trial, Verdict::Inconclusive, vec![]);
    let mut unseen = bare.clone();
    unseen.pods = vec![PodBuilder::new("a", "node-1").removed("node-1", None).0];
    let none = builder::report("empty", Verdict::Inconclusive, &[], vec![]);
    for report in [none, builder::report("bare", Verdict::Inconclusive, &["nothing"], vec![bare, unseen])] {
        assert!(plain(&report).starts_with("INCONCLUSIVE"));
        assert!(!plain(&report).contains("Terminations"));
    }
}

#[test]
fn lines_do_not_end_in_blanks() {
    for report in samples::all() {
        assert!(plain(&report).lines().all(|line| line == line.trim_end()), "{}", plain(&report));
    }
}

#[test]
fn many_pods_are_cut_to_those_with_failures_first() {
    let mut report = samples::pass();
    report.arms.truncate(1);
    let arm = &mut report.arms[0];
    arm.pods =
        (0..9).map(|n| PodBuilder::new(&format!("pod-{n}"), "node-1").drained(4 * S, 0, 100).0).collect();
    arm.pods[8].failed = 1;
    let page = plain(&report);
    assert!(page.contains("pod-8 on") && !page.contains("pod-5 on"), "{page}");
    assert!(page.contains("… and 3 more: see report.json"), "{page}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_timeline_fits_the_page(
        edges in prop::collection::vec(prop::option::of(0_u64..40 * S), 12),
        removed in prop::collection::vec(prop::option::of(0_u64..40 * S), 0..7),
        failed_at in prop::collection::vec(S..60 * S, 0..20),
        count in prop::sample::select(vec![0, 7, 12_345, u64::from(u32::MAX)]),
        width in 0_usize..160,
        extreme in any::<bool>(),
    ) {
        let mut report = samples::fail();
        let arm = &mut report.arms[0];
        let mut pod = PodBuilder::new("web-5d8f-a", "node-1").failed(count);
        let at = |index: usize| edges[index];
        let timeline = &mut pod.0.timeline;
        timeline.delete_requested_ns = at(0);
        (timeline.terminating_ns, timeline.t0_ns) = (at(1), at(2));
        (timeline.pre_stop_started_ns, timeline.pre_stop_ended_ns) = (at(3), at(4));
        (timeline.sigterm_ns, timeline.listener_closed_ns, timeline.drained_ns) = (at(5), at(6), at(7));
        (timeline.killed_ns, timeline.exited_ns) = (at(8), at(9));
        (timeline.ip_gone_ns, timeline.gone_ns) = (at(10), if extreme { Some(u64::MAX) } else { at(11) });
        for (index, at_ns) in removed.iter().enumerate() {
            pod = pod.removed(&format!("node-{index}"), *at_ns);
        }
        arm.pods = vec![pod.0];
        for (failure, at_ns) in arm.failures.iter_mut().zip(&failed_at) {
            failure.at_ns = *at_ns;
        }
        arm.lanes[0].requests = builder::requests(count, count, count, count);
        arm.requests = arm.lanes[0].requests;
        let page = text(&report, &TextOptions { color: Color::Never, width });
        prop_assert!(widest(&page) <= width.max(60), "{page}");
    }
}
