//! What the arms' verdicts make of the run.

use std::collections::{BTreeMap, BTreeSet};

use super::{Judgement, Tally};
use crate::analysis::text::counted;
use crate::plan::{self, Plan, Role};
use crate::report::Verdict;
use crate::settings::ArmsExpected;

/// A setting, over all its repeats.
#[derive(Debug, Default)]
struct Setting {
    verdicts: Vec<Verdict>,
    tally: Tally,
}

impl Setting {
    fn passes(&self) -> bool {
        self.verdicts.iter().all(|verdict| *verdict == Verdict::Pass)
    }
}

/// The settings of the trial arms, by the name of the first repeat of each.
fn settings<'a>(plan: &'a Plan, judgements: &[Judgement]) -> BTreeMap<&'a str, Setting> {
    let mut settings: BTreeMap<&str, Setting> = BTreeMap::new();
    for (arm, judged) in plan.arms.iter().zip(judgements).filter(|(arm, _)| arm.role == Role::Trial) {
        let known = plan::first_of(&arm.name).filter(|first| settings.contains_key(first));
        let setting = settings.entry(known.unwrap_or(&arm.name)).or_default();
        setting.verdicts.push(judged.verdict);
        setting.tally.add(judged.tally);
    }
    settings
}

/// Judges the run. `judgements` are those of the plan's arms, `complaints` what could not be read of the recording.
#[must_use]
pub fn judge_run(plan: &Plan, judgements: &[Judgement], complaints: &[String]) -> (Verdict, Vec<String>) {
    let several = plan.arms.len() > 1;
    let named = |arm: &plan::Arm, reason: &String| {
        if several { format!("arm {}: {reason}", arm.name) } else { reason.clone() }
    };
    let with = |roles: fn(Role) -> bool, verdict: Verdict| {
        let arms = plan.arms.iter().zip(judgements);
        arms.filter(move |(arm, judged)| roles(arm.role) && judged.verdict == verdict)
    };
    let is_trial: fn(Role) -> bool = |role| role == Role::Trial;
    let is_control: fn(Role) -> bool = |role| role != Role::Trial;
    let reasons = |verdict: Verdict| -> Vec<String> {
        with(is_trial, verdict)
            .flat_map(|(arm, judged)| judged.reasons.iter().map(move |reason| named(arm, reason)))
            .collect()
    };
    let (failed, passed) = (with(is_trial, Verdict::Fail).count(), with(is_trial, Verdict::Pass).count());
    let unsure = with(is_trial, Verdict::Inconclusive).count();

    let mut doubts: Vec<String> = complaints.to_vec();
    for (arm, judged) in with(is_control, Verdict::Fail).chain(with(is_control, Verdict::Inconclusive)) {
        let first = judged.reasons.first().map_or("", String::as_str);
        doubts.push(format!("the control arm {} did not hold: {first}", arm.name));
    }
    for (arm, judged) in
        plan.arms.iter().zip(judgements).filter(|(arm, judged)| judged.broken && is_trial(arm.role))
    {
        doubts.extend(judged.reasons.iter().map(|reason| named(arm, reason)));
    }
    if failed + passed + unsure == 0 {
        doubts.push("no trial arm was planned".to_owned());
    }
    let settings = settings(plan, judgements);
    let passing = || settings.iter().filter(|(_, setting)| setting.passes());
    let with_a_fail = settings.values().filter(|setting| setting.verdicts.contains(&Verdict::Fail)).count();
    let enough = match plan.expect.arms {
        ArmsExpected::All => failed == 0 && unsure == 0,
        // Repeats are for finding what one rollout does not show: all of a setting's have to pass.
        ArmsExpected::Any => passing().count() > 0,
    };
    let certain_fail = match plan.expect.arms {
        ArmsExpected::All => failed > 0,
        ArmsExpected::Any => with_a_fail > 0 && with_a_fail == settings.len(),
    };
    let ordered = if certain_fail {
        (Verdict::Fail, [reasons(Verdict::Fail), doubts, reasons(Verdict::Inconclusive)])
    } else if !enough || !doubts.is_empty() {
        (Verdict::Inconclusive, [doubts, reasons(Verdict::Inconclusive), vec![]])
    } else {
        let arms = failed + passed + unsure;
        let share = several.then(|| {
            if settings.len() == arms {
                format!("{passed} of {} passed", counted(arms as u64, "trial arm"))
            } else {
                let (passed, settings) = (passing().count(), counted(settings.len() as u64, "setting"));
                format!(
                    "{passed} of {settings} passed in every repeat ({})",
                    counted(arms as u64, "trial arm")
                )
            }
        });
        let repeated = passing().filter(|(_, setting)| setting.verdicts.len() > 1);
        let together =
            repeated.map(|(name, setting)| format!("arm {name}, all repeats: {}", setting.tally.sentence()));
        (Verdict::Pass, [share.into_iter().collect(), together.collect(), reasons(Verdict::Pass)])
    };
    let mut seen = BTreeSet::new();
    (ordered.0, ordered.1.into_iter().flatten().filter(|reason| seen.insert(reason.clone())).collect())
}
