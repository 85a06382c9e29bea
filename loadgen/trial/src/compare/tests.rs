//! Reports from hand-built recordings against each other.

use super::*;
use crate::analysis::testing::{NEW, REUSED, Recording, SLOW, Stop, arm};
use crate::event::Event;
use crate::record::{Class, Flags, Record};
use crate::report::LaneTerminations;

mod fits;

/// What one rollout of a recording has to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Clean,
    /// A kept connection cut at the exit.
    Cut,
    /// The same, and many more.
    CutOften,
    /// New connections that a listening pod answered late.
    Late,
}

/// A report of so many repeats, and a control arm.
fn report(fates: &[Fate]) -> Report {
    recording(fates).report()
}

fn recording(fates: &[Fate]) -> Recording {
    let name = |index: usize| if index == 0 { "web".to_owned() } else { format!("web #{}", index + 1) };
    let mut arms: Vec<_> = (0..fates.len()).map(|index| arm(&name(index), Role::Trial)).collect();
    arms.push(arm("control", Role::Control));
    let mut recording = Recording::empty(arms);
    for fate in fates {
        recording = recording.scene(&Stop::default());
        // Every lane has something due to the pod that goes.
        recording = recording.answered(REUSED, 0, 3_020, 1, 7).answered(SLOW, 0, 3_020, 2_001, 7);
        recording = match fate {
            Fate::Clean => recording,
            Fate::Cut => recording.failed(REUSED, 0, 4_998, 1, 57, Class::WaitReset),
            Fate::CutOften => {
                (0..20).fold(recording, |all, at| all.failed(REUSED, 0, 4_970 + at, 1, 57, Class::WaitReset))
            }
            // More than chance lets expect beside a control arm of this size without any.
            Fate::Late => (0..20).fold(recording, |all, at| all.answered(NEW, 0, 3_010 + at, 1_600, 1)),
        };
        recording = recording.next_arm();
    }
    let mut recording = recording.scene(&Stop::default());
    let control = fates.len();
    let stops = |event: &Event| {
        matches!(event, Event::DeleteRequested { .. } | Event::RolloutStarted | Event::RolloutEnded)
            || matches!(event, Event::Terminating { .. } | Event::Killing { .. } | Event::Exited { .. })
    };
    recording.events.retain(|timed| usize::from(timed.arm.0) != control || !stops(&timed.event));
    recording
}

/// Of two runs.
fn compare(base: &Report, new: &Report) -> Comparison {
    let mut new = new.clone();
    new.run.id.push_str("-later");
    super::compare(base, &new)
}

#[track_caller]
fn says(comparison: &Comparison, outcome: Outcome, reason: &str) {
    assert_eq!(
        (comparison.outcome, comparison.exit_code),
        (outcome, outcome.exit_code()),
        "{:#?}",
        comparison.reasons
    );
    assert!(
        comparison.reasons.iter().any(|given| given.contains(reason)),
        "{reason}: {:#?}",
        comparison.reasons
    );
}

fn lane<'a>(comparison: &'a Comparison, name: &str) -> &'a LanePair {
    comparison.arms[0].lanes.iter().find(|lane| lane.name == name).unwrap()
}

#[test]
fn repeats_that_all_fail_are_worse_than_as_many_that_did_not() {
    let (base, new) = (report(&[Fate::Clean; 8]), report(&[Fate::Cut; 8]));
    assert_eq!((base.verdict, new.verdict), (Verdict::Pass, Verdict::Fail), "{:?}", base.reasons);
    let compared = compare(&base, &new);
    // Three lanes, two tests each: the second of two groups of eight is all the bad ones once in C(16, 8) = 12,870 ways.
    says(
        &compared,
        Outcome::Worse,
        "lane reused: worse: 8 of 8 exposed terminations with failed requests in 8 rollouts against 0 of 8 in 8 rollouts (p = 7.8e-5, \
         limit 1.7e-4)",
    );
    assert_eq!(compared.tests, 6);
    let reused = lane(&compared, "reused");
    assert_eq!((reused.failed.outcome, reused.late.outcome), (Outcome::Worse, Outcome::NotWorse));
    assert_eq!(lane(&compared, "new").outcome, Outcome::NotWorse);
    // The other way round it got better, which is not worse.
    let better = compare(&new, &base);
    assert_eq!(better.outcome, Outcome::NotWorse, "{:#?}", better.reasons);
    let sentence = &lane(&better, "reused").failed.sentence;
    assert!(
        sentence.contains("8 of 8 in 8 rollouts, which are all, so that requests count: 0 against 8"),
        "{sentence}"
    );
}

#[test]
fn where_every_termination_was_bad_already_the_requests_tell() {
    let base = report(&[Fate::Cut; 8]);
    let worse = compare(&base, &report(&[Fate::CutOften; 8]));
    says(&worse, Outcome::Worse, "which are all, so that requests count: 160 against 8");
    assert_eq!(lane(&compare(&base, &report(&[Fate::Cut; 8])), "reused").failed.outcome, Outcome::NotWorse);
    // One rollout in which all fail tells nothing of the next.
    let few = compare(&report(&[Fate::Cut]), &report(&[Fate::CutOften; 2]));
    says(&few, Outcome::NotComparable, "lane reused: too few trials");
}

#[test]
fn what_chance_seldom_makes_is_not_called_the_same() {
    let mut fates = [Fate::Cut; 4];
    fates[0] = Fate::Clean;
    let mut base = report(&[Fate::Clean; 20]);
    base.verdict = Verdict::Fail; // So that only the numbers speak.
    base.arms[0].verdict = Verdict::Fail;
    says(&compare(&base, &report(&fates)), Outcome::NotComparable, "more than chance often makes of it");
}

#[test]
fn an_arm_that_passed_and_fails_now_is_not_the_same_and_a_run_is_not_compared_with_itself() {
    let mut fates = [Fate::Clean; 20];
    fates[0] = Fate::Cut;
    let (base, mut new) = (report(&[Fate::Clean; 20]), report(&fates));
    new.verdict = base.verdict; // Another arm passed.
    says(&compare(&base, &new), Outcome::NotComparable, "it passed in the base and fails in the new report");
    says(&super::compare(&base, &base), Outcome::NotComparable, "base and new report are the same run");
    let mut uncontrolled = base.clone();
    uncontrolled.arms.retain(|arm| arm.role == Role::Trial);
    says(
        &compare(&base, &uncontrolled),
        Outcome::NotComparable,
        "the new report has no control, which the base has",
    );
}

#[test]
fn unchanged_repeats_are_not_worse_and_it_is_said_what_would_have_been() {
    let compared = compare(&report(&[Fate::Clean; 8]), &report(&[Fate::Clean; 8]));
    says(&compared, Outcome::NotWorse, "8 bad rollouts would have told");
    let many = compare(&report(&[Fate::Clean; 20]), &report(&[Fate::Clean; 4]));
    says(&many, Outcome::NotWorse, "4 bad rollouts would have told");
}

#[test]
fn too_few_trials_are_said_to_be_and_how_many_it_takes() {
    let compared = compare(&report(&[Fate::Clean]), &report(&[Fate::Clean]));
    says(&compared, Outcome::NotComparable, "lane new: too few trials: 0 of 1 exposed termination");
    says(
        &compared,
        Outcome::NotComparable,
        "--repeat 8 on both sides is needed before rollouts that fail throughout can be told",
    );
    let three = compare(&report(&[Fate::Clean; 20]), &report(&[Fate::Clean; 3]));
    says(&three, Outcome::NotComparable, "--repeat 4 against this base, or 8 on both sides, is needed");
}

#[test]
fn a_pass_that_became_a_fail_is_never_fine_however_few_they_are() {
    let few = compare(&report(&[Fate::Clean]), &report(&[Fate::Cut]));
    says(&few, Outcome::NotComparable, "fails by its own verdict");
    assert!(few.reasons[0].contains("fails by its own verdict"));
    let fisher = lane(&few, "reused").failed.p_if_terminations_were_independent;
    assert_eq!(fisher.map(|p| (p * 1e6).round()), Some(500_000.0));
    let mut one_of_eight = [Fate::Clean; 8];
    one_of_eight[3] = Fate::Cut;
    let compared = compare(&report(&[Fate::Clean; 8]), &report(&one_of_eight));
    says(&compared, Outcome::NotComparable, "fails by its own verdict");
    assert_eq!(lane(&compared, "reused").outcome, Outcome::NotWorse, "one of eight is within noise");
}

#[test]
fn failures_that_met_no_terminating_pod_make_a_rollout_bad_all_the_same() {
    let mut new = report(&[Fate::Clean; 8]);
    for arm in new.arms.iter_mut().filter(|arm| arm.role == Role::Trial) {
        arm.lanes[0].terminations.as_mut().unwrap().failed_requests = 3;
    }
    says(&compare(&report(&[Fate::Clean; 8]), &new), Outcome::Worse, "lane new: worse: 8 of 8");
}

#[test]
fn late_requests_count_in_excess_of_the_control_arms() {
    let (base, new) = (report(&[Fate::Clean; 8]), report(&[Fate::Late; 8]));
    says(
        &compare(&base, &new),
        Outcome::Worse,
        "lane new: worse: 8 of 8 exposed terminations with late requests",
    );
    let mut noisy = new.clone();
    let control = noisy.arms.iter_mut().find(|arm| arm.role == Role::Control).unwrap();
    control.lanes[0].terminations.as_mut().unwrap().late_requests = 15;
    let compared = compare(&base, &noisy);
    let excused = &lane(&compared, "new").late;
    assert_eq!(excused.outcome, Outcome::NotWorse, "as many would have been without");
    // Not counted is not the same as none.
    let told = "160 against 0 late requests beside these being no more than the control arms let expect";
    assert!(excused.sentence.contains(told), "{}", excused.sentence);
    // Whichever side's control it was: the same rod for both.
    let mut calm = new.clone();
    calm.run.id.push_str("-calm");
    for (base, new) in [(&noisy, &calm), (&calm, &noisy)] {
        assert_eq!(lane(&compare(base, new), "new").late.outcome, Outcome::NotWorse);
    }
    let (mut alone, mut base) = (new, base);
    alone.arms.retain(|arm| arm.role == Role::Trial);
    base.arms.retain(|arm| arm.role == Role::Trial);
    says(
        &compare(&base, &alone),
        Outcome::NotComparable,
        "without a control arm that may be the machine's doing",
    );
}

#[test]
fn different_settings_are_named() {
    let (base, mut new) = (recording(&[Fate::Clean; 8]), recording(&[Fate::Cut; 8]));
    for planned in &mut new.header.plan.arms {
        planned.workload.termination_grace_period_seconds = 7;
        planned.load.lanes[1].connections = 9;
        planned.local.nodes = 3;
        planned.settle.after = std::time::Duration::from_secs(1);
    }
    let compared = compare(&base.clone().report(), &new.report());
    says(
        &compared,
        Outcome::NotComparable,
        "settings differ: workload.terminationGracePeriodSeconds: 30 in the base, 7 in the new report; \
         load.lanes.reused.connections: 20 in the base, 9 in the new report; settle.after: 3s in the base, 1s in the new report; and 1 \
         more",
    );
    let mut elsewhere = base.clone();
    elsewhere.header.plan.limits.schedule_lag = std::time::Duration::from_secs(1);
    elsewhere.header.nodes.push("node-2".into());
    says(
        &compare(&base.report(), &elsewhere.report()),
        Outcome::NotComparable,
        "settings differ: nodes: 2 in the base, 3 in the new report; limits.scheduleLag: 50ms in the base, 1s in the new report",
    );
}

#[test]
fn what_is_no_setting_is_a_note() {
    let base = report(&[Fate::Clean; 8]);
    let mut new = base.clone();
    new.run.tool_version = "9".into();
    new.run.environment.insert("kernel".into(), "7.0".into());
    let compared = compare(&base, &new);
    assert_eq!(compared.outcome, Outcome::NotWorse);
    let notes = [
        "drainproof: 0 in the base, 9 in the new report",
        "kernel: nothing in the base, 7.0 in the new report",
    ];
    assert_eq!(compared.notes, notes);
}

#[test]
fn a_report_that_does_not_count_by_lane_is_named() {
    let new = report(&[Fate::Clean; 8]);
    let mut base = new.clone();
    base.schema_version = "1.1".into();
    base.arms[0].lanes[0].terminations = None;
    says(&compare(&base, &new), Outcome::NotComparable, "the base is of schema 1.1, which does not count");
    says(
        &compare(&new, &base),
        Outcome::NotComparable,
        "the new report is of schema 1.1, which does not count",
    );
}

#[test]
fn arms_that_only_one_has_are_named() {
    let base = report(&[Fate::Clean; 8]);
    let mut new = base.clone();
    for arm in new.arms.iter_mut().filter(|arm| arm.role == Role::Trial) {
        arm.name = arm.name.replace("web", "app");
    }
    let compared = compare(&base, &new);
    says(&compared, Outcome::NotComparable, "arm app: only the new report has this arm");
    says(&compared, Outcome::NotComparable, "arm web: only the base has this arm");
    let mut none = base.clone();
    none.arms.retain(|arm| arm.role != Role::Trial);
    says(&compare(&none, &none), Outcome::NotComparable, "neither report has a trial arm");
}

#[test]
fn a_base_or_a_control_that_proves_nothing_is_no_base() {
    let whole = report(&[Fate::Clean; 8]);
    let unsent = |record: &mut Record| record.flags.set(Flags::UNSENT);
    let gappy = recording(&[Fate::Clean; 8]).request(NEW, 1, 4_000, 1, 1, unsent);
    let control = gappy.report();
    says(
        &compare(&control, &whole),
        Outcome::NotComparable,
        "the control arm control of the base did not hold",
    );
    let mut base = whole.clone();
    base.arms[2].verdict = Verdict::Inconclusive;
    base.arms[2].reasons = vec!["1 of 9 slots were never sent".into()];
    let doubt = "arm web #3 is inconclusive: 1 of 9 slots were never sent";
    says(&compare(&base, &whole), Outcome::NotComparable, &format!("in the base, {doubt}"));
    // In the new report it is no excuse for failing, nor for saying that all is well.
    says(&compare(&whole, &base), Outcome::NotComparable, &format!("but {doubt}"));
    // Nor is one that failed, and may have missed more than it saw.
    let mut doubted = report(&[Fate::Cut; 8]);
    doubted.arms[1].doubts = vec!["lane new stalled for 900 ms".into()];
    let doubt = "in the base, arm web #2 may have missed failures: lane new stalled for 900 ms";
    says(&compare(&doubted, &report(&[Fate::Cut; 8])), Outcome::NotComparable, doubt);
    let mut failing = report(&[Fate::Cut; 8]);
    failing.arms[2].requests.unsent = 4;
    says(&compare(&whole, &failing), Outcome::Worse, "lane reused: worse");
    let mut early = whole.clone();
    early.run.duration_ns = None;
    says(&compare(&early, &whole), Outcome::NotComparable, "the base's recording ends early");
    let mut still = whole.clone();
    still.arms.iter_mut().for_each(|arm| arm.terminations.total = 0);
    says(&compare(&whole, &still), Outcome::NotComparable, "no pod was terminated in the new report");
}

/// Sets every lane of every repeat: so many of three exposed terminations are bad.
fn fill(report: &mut Report, mut bad: impl FnMut() -> u64) {
    for arm in report.arms.iter_mut().filter(|arm| arm.role == Role::Trial) {
        let bad = bad();
        for lane in &mut arm.lanes {
            let hurt = LaneTerminations {
                exposed: 3,
                failed: bad,
                bad,
                failed_requests: bad,
                ..LaneTerminations::default()
            };
            lane.terminations = Some(hurt);
        }
    }
}

/// A workload that fails now and then, unchanged: rollouts are struck as a whole, and lanes with them. Of 3,000 comparisons
/// at most 3 may say *worse*; 10 is four standard deviations above that.
#[test]
fn unchanged_settings_are_called_worse_once_in_a_thousand_at_most() {
    let mut random = fastrand::Rng::with_seed(50);
    let (mut base, mut new) = (report(&[Fate::Clean; 9]), report(&[Fate::Clean; 9]));
    let mut alarms = 0;
    for round in 0..3_000 {
        let often = f64::from(round % 10) / 10.0;
        fill(&mut base, || if random.f64() < often { 3 } else { random.u64(0..2) });
        fill(&mut new, || if random.f64() < often { 3 } else { random.u64(0..2) });
        alarms += u32::from(compare(&base, &new).outcome == Outcome::Worse);
    }
    assert!(alarms <= 10, "{alarms} false alarms");
}

#[test]
fn what_is_written_reads_back_the_same() {
    let compared = compare(&report(&[Fate::Clean; 8]), &report(&[Fate::Late; 8]));
    let text = serde_json::to_string(&compared).unwrap();
    assert_eq!(serde_json::from_str::<Comparison>(&text).unwrap(), compared);
}
