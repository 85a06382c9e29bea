//! The order of the verdict.

use crate::analysis::testing::{NEW, REUSED, Recording, SLOW, Stop, arm};
use crate::event::Event;
use crate::plan::Role;
use crate::record::{Class, Flags, Record};
use crate::report::{Report, Verdict};
use crate::settings::{Allowed, ArmsExpected, Edge, TimelineExpectation};

fn clean() -> Recording {
    Recording::of(&Stop::default())
}

fn refused(recording: Recording, at: u64) -> Recording {
    recording.failed(NEW, 0, at, 1, 1, Class::ConnectRefused)
}

#[track_caller]
fn judged(report: &Report, verdict: Verdict, reason: &str) {
    assert_eq!(report.verdict, verdict, "{:?}", report.reasons);
    assert!(report.reasons.iter().any(|given| given.contains(reason)), "{reason}: {:?}", report.reasons);
}

/// Arms of these roles, each with a clean scene; `hurt` says which of them fail a request.
fn arms(roles: &[(&str, Role)], hurt: &[usize]) -> Recording {
    let plans = roles.iter().map(|(name, role)| arm(name, *role)).collect();
    let mut recording = Recording::empty(plans);
    for index in 0..roles.len() {
        recording = recording.scene(&Stop::default());
        if hurt.contains(&index) {
            recording = refused(recording, 4_100);
        }
        recording = recording.next_arm();
    }
    recording
}

#[test]
fn a_failure_of_the_service_fails_even_where_slots_were_unsent_and_the_recording_ends_early() {
    let unsent = |record: &mut Record| record.flags.set(Flags::UNSENT);
    let report = refused(clean(), 4_100).request(NEW, 1, 4_000, 1, 1, unsent).analyse();
    judged(&report, Verdict::Fail, "1 of 376 requests failed: 1 connect-refused");
    assert_eq!(report.exit_code, 3);
    assert!(report.reasons[0].contains("failed") && report.reasons[1].starts_with("the first was request"));
    judged(&report, Verdict::Fail, "never sent");
    // Apart from what it failed for, so that nobody takes what it does not show for whole.
    assert_eq!(
        report.arms[0].doubts,
        [
            "the recording ends early: the run was killed or is not over".to_owned(),
            "1 of 377 slots were never sent".to_owned()
        ]
    );
    assert_eq!(clean().arm_report().doubts, Vec::<String>::new());
}

#[test]
fn what_is_doubtful_of_an_arm_is_told_whether_or_not_it_decides() {
    let roles = [("trial", Role::Trial), ("dies", Role::NegativeControl)];
    let unsent = |record: &mut Record| record.flags.set(Flags::UNSENT);
    let mut recording = arms(&roles, &[0, 1]);
    let mut slot = Record::due(9_999, crate::analysis::testing::ms(4_000), NEW);
    unsent(&mut slot);
    for arm in [0, 1] {
        recording.records.get_mut(&arm).unwrap().push(slot);
    }
    let report = recording.report();
    let doubts: Vec<_> = report.arms.iter().map(|arm| (arm.verdict, arm.doubts.len())).collect();
    assert_eq!(doubts, [(Verdict::Fail, 1), (Verdict::Pass, 1)]);
}

#[test]
fn what_is_accepted_does_not_fail() {
    for (allowed, verdict) in [
        (Allowed::AtMost(0), Verdict::Fail),
        (Allowed::AtMost(1), Verdict::Pass),
        (Allowed::Any, Verdict::Pass),
    ] {
        let mut recording = refused(clean(), 4_100);
        recording.header.plan.expect.failed = allowed;
        judged(&recording.report(), verdict, "1 of 376 requests failed");
    }
}

#[test]
fn lateness_counts_only_where_the_schedule_was_kept() {
    let late = clean().answered(NEW, 1, 4_000, 1_500, 1);
    judged(&late.report(), Verdict::Fail, "1 of 376 requests answered late");
    let lagging = clean().request(NEW, 1, 4_000, 1_500, 1, |record| {
        (record.stage, record.start) = (crate::record::Stage::Done, 4_000_000);
    });
    judged(&lagging.clone().report(), Verdict::Inconclusive, "1 request answered late had been sent late");
    assert_eq!(lagging.arm_report().requests.late, 1, "it is late all the same");
}

#[test]
fn late_requests_count_in_excess_of_the_control_arms() {
    let plans = vec![arm("trial", Role::Trial), arm("control", Role::Control)];
    let mut recording =
        Recording::empty(plans).scene(&Stop::default()).answered(NEW, 1, 4_000, 1_500, 1).next_arm();
    recording = recording.scene(&Stop::default()).answered(NEW, 1, 4_000, 1_500, 1);
    // As many as without a disruption: not its doing, but nothing is proved on such a machine.
    recording
        .events
        .retain(|timed| timed.arm.0 == 0 || !matches!(timed.event, Event::DeleteRequested { .. }));
    let report = recording.report();
    let reasons = &report.arms[0].reasons;
    assert_eq!(report.arms[0].verdict, Verdict::Pass, "{reasons:?}");
    let told = "0 of 376 requests failed, 1 late (1 would have been without a disruption, going by the control arm) over";
    assert!(reasons[0].starts_with(told), "{reasons:?}");
    judged(&report, Verdict::Inconclusive, "the control arm control did not hold");
}

#[test]
fn a_lane_that_is_slow_anyway_excuses_no_other() {
    let plans = vec![arm("trial", Role::Trial), arm("control", Role::Control)];
    let mut recording =
        Recording::empty(plans).scene(&Stop::default()).answered(NEW, 1, 4_000, 1_500, 1).next_arm();
    recording = recording.scene(&Stop::default()).answered(REUSED, 1, 4_000, 1_500, 7);
    recording
        .events
        .retain(|timed| timed.arm.0 == 0 || !matches!(timed.event, Event::DeleteRequested { .. }));
    judged(&recording.report(), Verdict::Fail, "arm trial: 1 of 376 requests answered late");
}

#[test]
fn all_answered_but_some_ten_seconds_late_is_a_fail_and_nowhere_whole() {
    let plans = vec![arm("trial", Role::Trial), arm("control", Role::Control)];
    let mut recording = Recording::empty(plans).scene(&Stop::default());
    for at in 0..5 {
        recording = recording.answered(NEW, 1, 3_200 + 20 * at, 10_000, 1);
    }
    let mut recording = recording.next_arm().scene(&Stop::default());
    recording
        .events
        .retain(|timed| timed.arm.0 == 0 || !matches!(timed.event, Event::DeleteRequested { .. }));
    for planned in &mut recording.header.plan.arms {
        planned.load.timeout = std::time::Duration::from_secs(30);
    }
    let report = recording.clone().report();
    judged(&report, Verdict::Fail, "arm trial: 5 of 380 requests answered late");
    assert_eq!(report.exit_code, 3);
    let requests = report.arms[0].requests;
    assert_eq!((requests.ok, requests.failed, requests.late), (375, 0, 5));
    assert_eq!(report.arms[0].lanes[0].terminations.unwrap().late_requests, 5);
    assert!(
        report.arms[0].failures.iter().all(|failure| failure.class == "late"),
        "each is told with its pod"
    );
    // Only what is asked for is accepted.
    recording.header.plan.expect.late = Allowed::AtMost(4);
    judged(&recording.clone().report(), Verdict::Fail, "5 of 380 requests answered late (4 accepted)");
    recording.header.plan.expect.late = Allowed::AtMost(5);
    assert_eq!(recording.report().verdict, Verdict::Pass);
}

#[test]
fn failures_before_the_disruption_alone_prove_nothing_about_it() {
    judged(
        &refused(clean(), 1_000).report(),
        Verdict::Inconclusive,
        "without any disruption: fix that first",
    );
    let both = refused(refused(clean(), 1_000), 4_100).report();
    judged(&both, Verdict::Fail, "1 of these before the disruption began, 1 after");
    assert_eq!(both.arms[0].failures_before_disruption, 1);
}

#[test]
fn a_failing_control_makes_the_run_inconclusive_but_never_hides_a_failing_trial() {
    let roles = [("trial", Role::Trial), ("control", Role::Control)];
    judged(&arms(&roles, &[1]).report(), Verdict::Inconclusive, "the control arm control did not hold: 1 of");
    let other = background((1, Class::WaitReset), (1, Class::ConnectRefused)).report();
    judged(&other, Verdict::Fail, "arm trial: 1 of");
    judged(&other, Verdict::Fail, "the control arm control did not hold: 1 of");
    assert_eq!(arms(&roles, &[1]).report().arms[1].verdict, Verdict::Fail);
}

/// A control and a trial arm, each with so many failed requests of a class in lane `new`, one every 100 ms.
fn background(trial: (u64, Class), control: (u64, Class)) -> Recording {
    let mut recording = Recording::empty(vec![arm("control", Role::Control), arm("trial", Role::Trial)]);
    for (number, (failed, class)) in [control, trial].into_iter().enumerate() {
        recording = if number > 0 { recording.next_arm() } else { recording }.scene(&Stop::default());
        for index in 0..failed {
            recording = recording.failed(NEW, 1, 3_500 + 100 * index, 1, 1, class);
        }
    }
    recording
}

#[test]
fn errors_that_the_control_arm_shows_about_as_often_are_inconclusive() {
    for (trial, control) in [(6, 6), (9, 4), (1, 1)] {
        let report = background((trial, Class::Http5xx), (control, Class::Http5xx)).report();
        judged(&report, Verdict::Inconclusive, "fails such requests about as often");
        judged(&report, Verdict::Inconclusive, "the control arm control did not hold");
        assert_eq!(report.arms[1].verdict, Verdict::Inconclusive);
    }
    // A cut shows while writing or while waiting as it happens.
    let cut = background((2, Class::WriteReset), (2, Class::WaitReset)).report();
    judged(
        &cut,
        Verdict::Inconclusive,
        "arm trial: 2 of 377 requests failed: 2 write-reset; the control arm",
    );
}

#[test]
fn errors_clearly_beyond_the_control_arms_are_a_fail() {
    let more = background((30, Class::Http5xx), (2, Class::Http5xx)).report();
    judged(&more, Verdict::Fail, "arm trial: 30 of 405 requests failed: 30 http-5xx");
    // Of another kind, or in another lane, one is enough.
    let other = background((1, Class::ConnectRefused), (6, Class::Http5xx)).report();
    judged(&other, Verdict::Fail, "arm trial: 1 of 376 requests failed: 1 connect-refused");
    let lane = background((6, Class::Http5xx), (6, Class::Http5xx))
        .failed(REUSED, 0, 4_100, 1, 3, Class::Http5xx)
        .report();
    judged(
        &lane,
        Verdict::Fail,
        "arm trial: 7 of 382 requests failed: 7 http-5xx (6 would have without a disruption, going by the control arm)",
    );
    // What is accepted beside what fails anyway stays accepted.
    let mut accepted =
        background((6, Class::Http5xx), (6, Class::Http5xx)).failed(REUSED, 0, 4_100, 1, 3, Class::Http5xx);
    accepted.header.plan.expect.failed = Allowed::AtMost(1);
    judged(
        &accepted.report(),
        Verdict::Inconclusive,
        "7 of 382 requests failed (1 accepted): 7 http-5xx; the control",
    );
}

#[test]
fn a_negative_control_must_fail() {
    let roles = [("trial", Role::Trial), ("dies", Role::NegativeControl)];
    let report = arms(&roles, &[1]).report();
    judged(&report, Verdict::Pass, "arm trial: 0 of 375 requests failed");
    assert_eq!(
        (report.arms[1].verdict, report.arms[1].reasons.as_slice()),
        (Verdict::Pass, &["failed 1 request, as it must, but none in lanes reused, slow".to_owned()][..])
    );
    let said =
        "arm dies failed no request in lanes reused, slow: that failures would be seen there is not shown";
    assert!(report.run.caveats.iter().any(|caveat| caveat.starts_with(said)), "{:?}", report.run.caveats);
    let seen = Recording::empty(roles.map(|(name, role)| arm(name, role)).to_vec())
        .scene(&Stop::default())
        .next_arm()
        .scene(&Stop::default())
        .failed(NEW, 0, 4_100, 1, 1, Class::ConnectRefused)
        .failed(REUSED, 0, 4_998, 1, 7, Class::WaitReset)
        .failed(SLOW, 0, 4_100, 300, 7, Class::WaitReset)
        .report();
    assert_eq!(seen.arms[1].reasons, ["failed 3 requests, as it must"]);
    assert!(seen.run.caveats.is_empty(), "{:?}", seen.run.caveats);
    judged(&arms(&roles, &[]).report(), Verdict::Inconclusive, "the negative control failed no request");
    judged(&arms(&roles, &[0]).report(), Verdict::Fail, "arm trial: 1 of 376");
}

#[test]
fn any_arm_is_enough_where_that_is_expected() {
    let roles = [("a", Role::Trial), ("b", Role::Trial)];
    let mut recording = arms(&roles, &[0]);
    judged(&recording.clone().report(), Verdict::Fail, "arm a: 1 of");
    recording.header.plan.expect.arms = ArmsExpected::Any;
    judged(&recording.clone().report(), Verdict::Pass, "1 of 2 trial arms passed");
    let mut all = arms(&roles, &[0, 1]);
    all.header.plan.expect.arms = ArmsExpected::Any;
    judged(&all.report(), Verdict::Fail, "arm b: 1 of");
    // Killed during the second arm: the pass of the first is not the run's.
    let mut killed = recording.completed();
    killed.events.retain(|timed| timed.arm.0 == 1 || !matches!(timed.event, Event::Completed { .. }));
    judged(&killed.analyse(), Verdict::Inconclusive, "arm a: the recording ends early");
}

#[test]
fn a_setting_passes_only_in_all_of_its_repeats() {
    let roles = [("a", Role::Trial), ("a #2", Role::Trial), ("b", Role::Trial), ("b #2", Role::Trial)];
    let any = |failing: &[usize]| {
        let mut recording = arms(&roles, failing);
        recording.header.plan.expect.arms = ArmsExpected::Any;
        recording.report()
    };
    judged(&any(&[1, 2]), Verdict::Fail, "arm a #2: 1 of");
    let half = any(&[1]);
    judged(&half, Verdict::Pass, "1 of 2 settings passed in every repeat (4 trial arms)");
    // Together they prove more than each by itself, and rollouts less than terminations.
    assert!(half.reasons[1].starts_with("arm b, all repeats: 0 of "), "{:?}", half.reasons);
    assert!(half.reasons[1].ends_with("of bad rollouts below 77.7 %)"), "{:?}", half.reasons);
}

fn expecting(edge: Edge, after: Edge, seconds: f64, within: f64) -> Recording {
    let mut recording = clean();
    recording.header.plan.expect.timeline = vec![TimelineExpectation { edge, after, seconds, within }];
    recording.header.plan.expect.failed = Allowed::Any;
    recording
}

#[test]
fn an_expected_interval_holds_or_fails_with_numbers() {
    let held = expecting(Edge::Sigterm, Edge::PreStopStarted, 1.0, 0.3).report();
    judged(&held, Verdict::Pass, "1 expected interval held on every terminated pod");
    let off = expecting(Edge::Sigterm, Edge::PreStopStarted, 5.0, 0.3).report();
    judged(&off, Verdict::Fail, "web-0: sigterm came 1.00 s after preStopStarted, expected 5 ± 0.3 s");
    let backwards = expecting(Edge::PreStopStarted, Edge::Sigterm, 1.0, 0.3).report();
    judged(&backwards, Verdict::Fail, "came -1.00 s after");
}

#[test]
fn an_edge_that_was_not_observed_is_inconclusive_and_one_that_was_ruled_out_fails() {
    let mut unobserved = expecting(Edge::Exited, Edge::Sigterm, 1.0, 0.3);
    unobserved.events.retain(|timed| !matches!(timed.event, Event::StopSignal { .. }));
    judged(&unobserved.report(), Verdict::Inconclusive, "web-0: sigterm was not observed");
    let alive = expecting(Edge::Killed, Edge::T0, 2.0, 0.3).report();
    judged(&alive, Verdict::Fail, "web-0: killed did not happen");
    let mut undrained = expecting(Edge::Drained, Edge::Sigterm, 1.0, 0.3);
    undrained.events.retain(|timed| {
        !matches!(&timed.event, Event::Lifecycle { report: contract::lifecycle::Event::Drained { .. }, .. })
    });
    judged(&undrained.report(), Verdict::Fail, "web-0: drained did not happen");
}

#[test]
fn a_run_without_a_trial_arm_is_inconclusive() {
    judged(
        &arms(&[("control", Role::Control)], &[]).report(),
        Verdict::Inconclusive,
        "no trial arm was planned",
    );
    assert_eq!(clean().failed(REUSED, 0, 4_100, 1, 3, Class::WaitReset).arm_report().verdict, Verdict::Fail);
}

#[test]
fn a_negative_control_proves_nothing_by_failures_before_its_disruption_or_when_it_is_cut_short() {
    let roles = [("trial", Role::Trial), ("dies", Role::NegativeControl)];
    let mut early = arms(&roles, &[]);
    early.records.get_mut(&1).unwrap().push(Record {
        class: Class::WaitReset,
        start: 100,
        end: 10_000,
        ..Record::due(9_999, crate::analysis::testing::ms(1_000), NEW)
    });
    judged(&early.report(), Verdict::Inconclusive, "failed 1 request before its disruption and none after");
    let mut cut = arms(&roles, &[]).completed();
    cut.events.retain(|timed| timed.arm.0 == 0 || !matches!(timed.event, Event::Completed { .. }));
    judged(
        &cut.analyse(),
        Verdict::Inconclusive,
        "the control arm dies did not hold: the recording ends early",
    );
}

#[test]
fn a_control_arm_that_is_itself_in_doubt_does_not_hold() {
    let roles = [("trial", Role::Trial), ("control", Role::Control)];
    let unsent = |record: &mut Record| record.flags.set(Flags::UNSENT);
    let mut recording = arms(&roles, &[]);
    let mut slot = Record::due(9_999, crate::analysis::testing::ms(4_000), NEW);
    unsent(&mut slot);
    recording.records.get_mut(&1).unwrap().push(slot);
    judged(
        &recording.report(),
        Verdict::Inconclusive,
        "the control arm control did not hold: 1 of 376 slots were never sent",
    );
}
