//! What several formats say of the same thing in the same words.

use std::collections::BTreeSet;

use trial::compare::{Comparison, Counts};
use trial::plan::Role;
use trial::report::{Advice, Arm, Failure, Pod, Run, Verdict};

use crate::units::{count, counted, duration, percent, percent_at_most};
use crate::wrap::columns;

/// The first failure of each kind (lane, class, pod): the hundredth of the same says nothing new.
pub(crate) fn one_of_each(failures: &[Failure]) -> impl Iterator<Item = &Failure> {
    let mut told = BTreeSet::new();
    failures.iter().filter(move |failure| told.insert((&failure.lane, &failure.class, &failure.pod)))
}

/// `local, kubelet 1.34, 2 nodes`.
pub(crate) fn place(run: &Run) -> String {
    let mut parts = vec![run.backend.clone()];
    match (&run.kubelet_profile, &run.backend_version) {
        (Some(profile), _) => parts.push(format!("kubelet {profile}")),
        (None, Some(version)) => parts.push(version.clone()),
        (None, None) => {}
    }
    if !run.nodes.is_empty() {
        parts.push(counted(run.nodes.len() as u64, "node"));
    }
    if run.agents > 1 {
        parts.push(counted(u64::from(run.agents), "agent"));
    }
    parts.join(", ")
}

/// What arms are called where there is little room: trial arms by number where a name is wider than that, since cut off they
/// would be the same.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names<'a> {
    arms: &'a [Arm],
    numbered: bool,
}

impl<'a> Names<'a> {
    pub(crate) fn of(arms: &'a [Arm], most: usize) -> Self {
        Self { arms, numbered: arms.iter().any(|arm| columns(&arm.name) > most) }
    }

    /// The arm of this number.
    pub(crate) fn short(self, index: usize) -> String {
        match self.arms.get(index) {
            Some(arm) if self.numbered && arm.role == Role::Trial => format!("arm {}", index + 1),
            arm => arm.map_or_else(String::new, |arm| arm.name.clone()),
        }
    }

    /// What numbers stand for; nothing where there are none.
    pub(crate) fn explained(self) -> impl Iterator<Item = (String, &'a str)> {
        let trials =
            self.arms.iter().enumerate().filter(move |(_, arm)| self.numbered && arm.role == Role::Trial);
        trials.map(move |(index, arm)| (self.short(index), arm.name.as_str()))
    }

    /// At the beginning of a sentence about the arm of this name: `arm 3: `; nothing where none is named.
    pub(crate) fn prefix(self, name: Option<&String>) -> String {
        let Some(name) = name else { return String::new() };
        let index = self.arms.iter().position(|arm| arm.name == *name).filter(|_| self.numbered);
        index.map_or_else(|| format!("arm {name}: "), |index| format!("{}: ", self.short(index)))
    }
}

/// Advice for a page that is to be short: of each arm what most of its failures want, and the rest.
pub(crate) fn foremost(advice: &[Advice]) -> (Vec<&Advice>, Vec<&Advice>) {
    let mut told = BTreeSet::new();
    advice.iter().partition(|advice| advice.arm.is_none() || told.insert(&advice.arm))
}

/// A control that behaves as it must is good, whatever the word for it would be in a trial.
pub(crate) const fn verdict_of(arm: &Arm) -> &'static str {
    match (arm.role, arm.verdict) {
        (Role::NegativeControl, _) if arm.requests.failed > 0 => "fails, as it must",
        (Role::NegativeControl, _) => "DID NOT FAIL",
        (Role::Control, _) if arm.requests.failed > 0 => "NOT CLEAN",
        (Role::Control, Verdict::Pass) => "clean",
        (_, Verdict::Pass) => "pass",
        (_, Verdict::Fail) => "FAIL",
        (_, Verdict::Inconclusive) => "inconclusive",
    }
}

/// Lanes of several arms, each once; none where one arm or one lane is all there is, whose totals say it.
pub(crate) fn lanes_of(arms: &[Arm]) -> Vec<&str> {
    let mut lanes: Vec<&str> = Vec::new();
    for lane in arms.iter().flat_map(|arm| &arm.lanes) {
        if !lanes.contains(&lane.name.as_str()) {
            lanes.push(&lane.name);
        }
    }
    let trials = arms.iter().filter(|arm| arm.role == Role::Trial).count();
    if trials > 1 && lanes.len() > 1 { lanes } else { Vec::new() }
}

/// `107`, or `107 + 3 late`, of one of an arm's lanes.
pub(crate) fn troubles_in(arm: &Arm, name: &str) -> String {
    match arm.lanes.iter().find(|lane| lane.name == name).map(|lane| lane.requests) {
        None => dash(),
        Some(of) if of.late == 0 => count(of.failed),
        Some(of) => format!("{} + {} late", count(of.failed), count(of.late)),
    }
}

/// `0 / 3 (≤ 63.2 %)`: the bound is of the rate, at 95 % confidence. Where all are bad the bound is one and says nothing.
pub(crate) fn bad_of_exposed(arm: &Arm) -> String {
    let terminations = &arm.terminations;
    if terminations.total == 0 {
        return dash();
    }
    let bound = terminations.rate_upper_95.filter(|_| terminations.bad < terminations.exposed);
    let bound = bound.map_or_else(String::new, |rate| format!(" ({})", at_most(rate)));
    format!("{} / {}{bound}", count(terminations.bad), count(terminations.exposed))
}

fn at_most(rate: f64) -> String {
    let bound = percent_at_most(rate);
    if bound.starts_with(['<', '>']) { bound } else { format!("≤ {bound}") }
}

/// `0 / 24 in 8`: bad of exposed terminations, and in how many rollouts these were.
pub(crate) fn of_rollouts(counts: &Counts) -> String {
    format!("{} / {} in {}", count(counts.bad), count(counts.exposed), count(counts.rollouts))
}

/// A probability to two digits.
pub(crate) fn chance(p: f64) -> String {
    if p >= 0.001 { format!("{p:.3}") } else { format!("{p:.1e}") }
}

/// What the columns of a comparison hold, and what makes one worse.
pub(crate) fn how_compared(comparison: &Comparison) -> String {
    format!(
        "bad / exposed terminations in so many rollouts; p: how often chance alone divides them so; worse at {} or less, so that unchanged \
         settings are called worse in at most {} of comparisons",
        chance(comparison.level),
        percent(comparison.alpha),
    )
}

/// When a pod took no new connections any more, and what says so: where nobody saw its listener close, its process's end does.
pub(crate) fn closed(pod: &Pod) -> Option<(u64, &'static str)> {
    let listener = pod.timeline.listener_closed_ns.map(|at_ns| (at_ns, "the listener closed"));
    listener.or_else(|| pod.timeline.exited_ns.map(|at_ns| (at_ns, "the process ended")))
}

/// The race of the two flows over all terminations of an arm, in a sentence; `None` where neither end of it was seen.
pub(crate) fn race(arm: &Arm) -> Option<String> {
    let ends = arm.pods.iter().filter_map(|pod| {
        // Whoever deleted it: in a rollout nobody whom we saw asking.
        let deleted = pod.timeline.delete_requested_ns.or(pod.timeline.terminating_ns);
        let (closed, _) = closed(pod).filter(|_| deleted.is_some())?;
        Some(pod.endpoint.iter().filter_map(move |of| Some((pod, of, of.removed_ns?, closed))))
    });
    let ends: Vec<_> = ends.flatten().collect();
    let late = ends.iter().filter(|(_, _, removed, closed)| removed > closed);
    match late.clone().max_by_key(|(_, _, removed, closed)| removed - closed) {
        Some((pod, of, removed, closed)) => Some(format!(
            "{} of {} times a node still sent new connections to a pod that took none any more, for up to {} ({} on {})",
            count(late.count() as u64),
            count(ends.len() as u64),
            duration(removed - closed),
            pod.name,
            of.node
        )),
        None => ends.iter().map(|(_, _, removed, closed)| closed - removed).min().map(|least| {
            format!(
                "every node that was watched had ceased to send new connections to a pod at least {} before it took none",
                duration(least)
            )
        }),
    }
}

/// What was not observed.
pub(crate) fn dash() -> String {
    "–".to_owned()
}

pub(crate) fn duration_or_dash(nanos: Option<u64>) -> String {
    nanos.map_or_else(dash, duration)
}
