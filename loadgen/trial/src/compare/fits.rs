//! What must be the same, and whole, before counts are held against each other.

use serde_json::Value;

use super::groups::Group;
use crate::plan::Role;
use crate::report::{Arm, Report, SCHEMA_VERSION, Verdict};
use crate::statistics::MOST_TRIALS;

/// So many differences are named; more would not be read.
const NAMED: usize = 3;
/// Longer values are cut.
const VALUE_WIDTH: usize = 60;

/// Reasons that concern every arm.
pub(super) fn reports(base: &Report, new: &Report) -> Vec<String> {
    let mut reasons: Vec<String> = [("base", base), ("new report", new)]
        .into_iter()
        .flat_map(|(side, report)| of_one(side, report))
        .collect();
    if base.run.id == new.run.id {
        reasons.push("base and new report are the same run".to_owned());
    }
    for (role, name) in [(Role::Control, "control"), (Role::NegativeControl, "negative control")] {
        let has = |report: &Report| report.arms.iter().any(|arm| arm.role == role);
        if has(base) && !has(new) {
            reasons.push(format!("the new report has no {name}, which the base has"));
        }
    }
    let mut differ = Differences::default();
    let (of_base, of_new) = (&base.run, &new.run);
    differ.of("backend", &of_base.backend.clone().into(), &of_new.backend.clone().into());
    differ.of("kubelet", &of_base.kubelet_profile.clone().into(), &of_new.kubelet_profile.clone().into());
    differ.of("nodes", &of_base.nodes.len().into(), &of_new.nodes.len().into());
    differ.of("agents", &of_base.agents.into(), &of_new.agents.into());
    differ.of("limits", &of_base.limits, &of_new.limits);
    reasons.extend(differ.told());
    reasons
}

/// What makes a report no measure of anything else.
fn of_one(side: &str, report: &Report) -> Vec<String> {
    let mut reasons = Vec::new();
    let counts = |arm: &Arm| arm.lanes.iter().all(|lane| lane.terminations.is_some());
    if !report.arms.iter().all(counts) {
        reasons.push(format!(
            "the {side} is of schema {}, which does not count the bad terminations of each lane ({SCHEMA_VERSION} does): make it again \
             with this version",
            report.schema_version
        ));
    }
    if report.run.duration_ns.is_none() {
        reasons.push(format!("the {side}'s recording ends early"));
    }
    for arm in report.arms.iter().filter(|arm| arm.role != Role::Trial && arm.verdict != Verdict::Pass) {
        let why = arm.reasons.first().map_or("", String::as_str);
        reasons.push(format!("the control arm {} of the {side} did not hold: {why}", arm.name));
    }
    reasons
}

/// Reasons that concern one arm.
pub(super) fn arms(base: &Group<'_>, new: &Group<'_>) -> Vec<String> {
    let mut reasons = Vec::new();
    for (side, group) in [("base", base), ("new report", new)] {
        if group.arms.len() > MOST_TRIALS {
            reasons.push(format!("the {side} has {} repeats, more than {MOST_TRIALS}", group.arms.len()));
        }
        if group.arms.iter().all(|arm| arm.terminations.total == 0) {
            reasons.push(format!("no pod was terminated in the {side}: there is no trial to compare"));
        }
        if group.arms.iter().any(|arm| differences(first(group), arm).told().is_some()) {
            reasons.push(format!("repeats in the {side} have different settings"));
        }
    }
    reasons.extend(differences(first(base), first(new)).told());
    // What was missed there would make the new report look worse than it is.
    if let Some(doubt) = base.arms.iter().find_map(|arm| doubt(arm)) {
        reasons.push(format!("in the base, {doubt}"));
    }
    reasons
}

/// Why an arm may have missed failures. Those that it has stand all the same.
pub(super) fn doubt(arm: &Arm) -> Option<String> {
    if arm.verdict == Verdict::Inconclusive {
        let why = arm.reasons.first().map_or("no reason is given", String::as_str);
        return Some(format!("arm {} is inconclusive: {why}", arm.name));
    }
    if let Some(why) = arm.doubts.first() {
        return Some(format!("arm {} may have missed failures: {why}", arm.name));
    }
    let lost = arm.requests.unsent.saturating_add(arm.requests.interrupted);
    (lost > 0).then(|| format!("arm {} has {lost} slots without an outcome", arm.name))
}

/// What is not a setting but may explain a difference.
pub(super) fn notes(base: &Report, new: &Report) -> Vec<String> {
    let (of_base, of_new) = (&base.run, &new.run);
    let mut differ = Differences::default();
    differ.of("drainproof", &of_base.tool_version.clone().into(), &of_new.tool_version.clone().into());
    if of_base.backend == of_new.backend {
        differ.of("cluster", &of_base.backend_version.clone().into(), &of_new.backend_version.clone().into());
    }
    let names: std::collections::BTreeSet<_> =
        of_base.environment.keys().chain(of_new.environment.keys()).collect();
    for name in names {
        let of = |environment: &std::collections::BTreeMap<String, String>| {
            environment.get(name).cloned().map_or(Value::Null, Value::String)
        };
        differ.of(name, &of(&of_base.environment), &of(&of_new.environment));
    }
    differ.found
}

/// A group has an arm, or it would not be one; an empty one has nothing that differs.
fn first<'a>(group: &Group<'a>) -> &'a Arm {
    group.arms[0]
}

fn differences(base: &Arm, new: &Arm) -> Differences {
    let mut differ = Differences::default();
    differ.of("workload", &base.settings, &new.settings);
    differ.of("load", &base.load, &new.load);
    differ.of("disruption", &base.disruption, &new.disruption);
    differ.of("settle", &base.settle, &new.settle);
    differ.of("local", &base.local, &new.local);
    differ
}

/// What differs between two documents, by dotted key.
#[derive(Debug, Default)]
struct Differences {
    found: Vec<String>,
}

impl Differences {
    fn of(&mut self, key: &str, base: &Value, new: &Value) {
        match (base, new) {
            (base, new) if base == new => {}
            (Value::Object(base), Value::Object(new)) => {
                let names = base.keys().chain(new.keys().filter(|name| !base.contains_key(*name)));
                for name in names {
                    let of =
                        |map: &serde_json::Map<String, Value>| map.get(name).cloned().unwrap_or_default();
                    self.of(&format!("{key}.{name}"), &of(base), &of(new));
                }
            }
            (Value::Array(base), Value::Array(new)) if base.len() == new.len() => {
                for (index, (base, new)) in base.iter().zip(new).enumerate() {
                    // Lanes go by their names.
                    let name = base.pointer("/kind").and_then(Value::as_str);
                    let name = name.map_or_else(|| index.to_string(), str::to_owned);
                    self.of(&format!("{key}.{name}"), base, new);
                }
            }
            (base, new) => {
                self.found.push(format!(
                    "{key}: {} in the base, {} in the new report",
                    said(base),
                    said(new)
                ));
            }
        }
    }

    /// In one sentence.
    fn told(&self) -> Option<String> {
        if self.found.is_empty() {
            return None;
        }
        let named: Vec<&str> = self.found.iter().take(NAMED).map(String::as_str).collect();
        let more = match self.found.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        Some(format!("settings differ: {}{more}", named.join("; ")))
    }
}

fn said(value: &Value) -> String {
    let text = match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(VALUE_WIDTH) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
