//! Repeats of an arm are its trials: they are compared together.

use std::collections::BTreeSet;

use crate::plan::first_of;
use crate::report::{Arm, Report, Verdict};

/// A trial arm with its repeats, each a rollout of its own.
#[derive(Debug)]
pub(super) struct Group<'a> {
    pub(super) name: &'a str,
    pub(super) arms: Vec<&'a Arm>,
}

impl<'a> Group<'a> {
    /// Nothing was found in any repeat.
    pub(super) fn passes(&self) -> bool {
        self.arms.iter().all(|arm| arm.verdict == Verdict::Pass)
    }

    /// Something was found in one of them.
    pub(super) fn fails(&self) -> bool {
        self.arms.iter().any(|arm| arm.verdict == Verdict::Fail)
    }

    /// The names of its lanes.
    pub(super) fn lanes(&self) -> impl Iterator<Item = &'a str> {
        self.arms.first().into_iter().flat_map(|arm| arm.lanes.iter().map(|lane| lane.name.as_str()))
    }
}

/// The trial arms of a report, in its order.
pub(super) fn groups(report: &Report) -> Vec<Group<'_>> {
    let trials = || report.arms.iter().filter(|arm| super::is_trial(arm.role));
    let names: BTreeSet<&str> = trials().map(|arm| arm.name.as_str()).collect();
    let mut groups: Vec<Group<'_>> = Vec::new();
    for arm in trials() {
        let name = first_of(&arm.name).filter(|first| names.contains(first)).unwrap_or(&arm.name);
        match groups.iter_mut().find(|group| group.name == name) {
            Some(group) => group.arms.push(arm),
            None => groups.push(Group { name, arms: vec![arm] }),
        }
    }
    groups
}
