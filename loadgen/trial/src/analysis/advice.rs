//! What would have avoided what happened; a patch where it is a setting.

use std::collections::BTreeMap;

use super::arm::Arm;
use super::cause::Cause;
use super::text::counted;
use crate::plan::{self, Role};
use crate::report::Advice;
use crate::settings::{Handler, Program, Workload};

/// A margin on what was observed, in seconds: the slowest sync of one run is not the slowest of all.
const MARGIN_SECONDS: u64 = 1;

/// Advice from the failures of the trial arms, arm by arm: what one wants is of no use to another. Repeats of an arm are one.
pub(super) fn advice(arms: &[Arm<'_>]) -> Vec<Advice> {
    let mut settings: Vec<(&str, Vec<&Arm<'_>>)> = Vec::new();
    for arm in arms.iter().filter(|arm| arm.plan.role == Role::Trial) {
        let name = arm.plan.name.as_str();
        let is_known = |first: &&str| settings.iter().any(|(known, _)| known == first);
        let name = plan::first_of(name).filter(is_known).unwrap_or(name);
        match settings.iter_mut().find(|(known, _)| *known == name) {
            Some((_, repeats)) => repeats.push(arm),
            None => settings.push((name, vec![arm])),
        }
    }
    let several = settings.len() > 1;
    let of = |(name, repeats): &(&str, Vec<&Arm<'_>>)| {
        of_repeats(repeats, several.then(|| (*name).to_owned()).as_ref())
    };
    settings.iter().flat_map(of).collect()
}

/// The most frequent cause first.
fn of_repeats(trials: &[&Arm<'_>], name: Option<&String>) -> Vec<Advice> {
    let mut counts: BTreeMap<Cause, u64> = BTreeMap::new();
    for (cause, count) in trials.iter().flat_map(|arm| &arm.causes) {
        *counts.entry(*cause).or_default() += count;
    }
    let mut causes: Vec<_> = counts.into_iter().collect();
    causes.sort_by_key(|(cause, count)| (std::cmp::Reverse(*count), *cause));
    let propagation = trials.iter().filter_map(|arm| arm.propagation_ns()).max();
    let drain = trials.iter().filter_map(|arm| arm.longest_drain_secs()).max_by(f64::total_cmp);
    let describe = |(cause, count): (Cause, u64)| {
        let example = trials.iter().find(|arm| arm.causes.contains_key(&cause));
        Advice {
            arm: name.cloned(),
            text: format!(
                "{}: {}. To avoid it: {}.",
                counted(count, "request"),
                cause.text(),
                cause.remedy()
            ),
            patch: example.and_then(|arm| patch(cause, &arm.plan.workload, propagation, drain)),
        }
    };
    causes.into_iter().map(describe).collect()
}

/// A strategic merge patch for the Deployment.
fn patch(cause: Cause, workload: &Workload, propagation: Option<u64>, drain: Option<f64>) -> Option<String> {
    match cause {
        Cause::ListenerClosedEarly | Cause::AddressGone => {
            let sleep = propagation?.div_ceil(1_000_000_000) + MARGIN_SECONDS;
            // A hook that is long enough already is not the setting to change.
            let longer = pre_stop_seconds(workload).is_none_or(|present| sleep > present);
            longer.then(|| pre_stop_patch(workload, sleep, drain))
        }
        Cause::GraceUsedUp | Cause::DrainTooShort => {
            let present = workload.termination_grace_period_seconds;
            let grace = grace_for(workload, pre_stop_seconds(workload).unwrap_or(0), drain).max(
                // How long the server would have taken is not known once it was killed: twice is a start.
                if matches!(workload.program, Program::Command(_)) { present.saturating_mul(2) } else { 0 },
            );
            (grace > present).then(|| {
                format!("spec:\n  template:\n    spec:\n      terminationGracePeriodSeconds: {grace}\n")
            })
        }
        Cause::NoEndpoint => Some(format!(
            "spec:\n  replicas: {}\n  strategy:\n    rollingUpdate:\n      maxSurge: 1\n      maxUnavailable: 0\n",
            workload.replicas.max(2)
        )),
        Cause::ReadyTooEarly | Cause::LateColdPod => {
            let seconds = workload.min_ready_seconds.saturating_mul(2).max(5);
            Some(format!("spec:\n  minReadySeconds: {seconds}\n"))
        }
        _ => None,
    }
}

/// What the present hook waits, where that is known from its settings.
fn pre_stop_seconds(workload: &Workload) -> Option<u64> {
    match workload.lifecycle.pre_stop {
        Some(Handler::Sleep { seconds }) => Some(seconds),
        _ => None,
    }
}

fn pre_stop_patch(workload: &Workload, sleep: u64, drain: Option<f64>) -> String {
    let grace = grace_for(workload, sleep, drain).max(workload.termination_grace_period_seconds);
    format!(
        "spec:\n  template:\n    spec:\n      terminationGracePeriodSeconds: {grace}\n      containers:\n        \
         - name: server # your container's name\n          lifecycle:\n            preStop:\n              sleep:\n                \
         seconds: {sleep}\n"
    )
}

/// The grace that holds the hook, the drain, and 2 s more.
fn grace_for(workload: &Workload, sleep: u64, drain: Option<f64>) -> u64 {
    let allowed = match &workload.program {
        Program::Server(server) => {
            (server.drain_timeout + server.lame_duck).max(server.shutdown_takes).as_secs_f64()
        }
        Program::Command(_) => 0.0,
    };
    let drain = drain.unwrap_or(0.0).max(allowed).ceil();
    // Seconds of a process: far within what a whole number of them holds.
    let drain = std::time::Duration::try_from_secs_f64(drain).map_or(0, |drain| drain.as_secs());
    sleep + drain + 2
}
