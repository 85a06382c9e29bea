//! From a scenario's tree to a plan: one tree for each arm, each checked on its own.

use super::error::{Place, Problem, ScenarioError, quoted};
use super::layers::{self, Runs, Vary};
use super::raw::{RawExpect, RawLimits, RawScenario};
use super::tree::{Node, Value};
use super::{Overrides, check, de, load, workload};
use crate::plan::{Arm, Plan, Role};
use crate::settings::{
    Allowed, ArmsExpected, Disruption, Expect, LaneKind, Lifecycle, Limits, OnSigterm, Probe, ProbeCheck,
    Program, Request, ServerSettings, StatusRange, TimelineExpectation, human,
};
use std::collections::BTreeSet;
use std::time::Duration;

/// Trial arms of a run; more would run for hours, and a typing mistake asks for them easily.
const MOST_ARMS: usize = 64;

/// The plan of a scenario, overridden.
pub(super) fn plan(
    scenario: &Node,
    source: &str,
    overrides: &Overrides,
    seed: u64,
) -> Result<Plan, ScenarioError> {
    if overrides.command.as_ref().is_some_and(|command| command.first().is_none_or(String::is_empty)) {
        let problem = "is empty; allowed: a program and its arguments".to_owned();
        return Err(ScenarioError::Syntax { place: Place::Flag("--command".into()), problem });
    }
    let mut notes = Vec::new();
    let (base, varied) = layered(scenario, overrides, &mut notes)?;
    let located = |problem: Problem| problem.located(|path| base.place_of(path));
    let raw: RawScenario = de::decode(&base).map_err(located)?;
    let repeat = check::whole("repeat", raw.repeat, 1, 1..=MOST_ARMS).map_err(located)?;
    let name = scenario_name(raw.name, source).map_err(located)?;
    let command = overrides.command.as_deref();

    let mut arms = trial_arms(&base, &name, &varied, repeat, command)?;
    if raw.control.unwrap_or(true) {
        let arm = arm(&base, name.clone(), command)?;
        if arm.disruption == Disruption::None {
            notes.push("control arms are left out: without a disruption they would show nothing".to_owned());
        } else {
            arms.extend(controls(arm, &mut notes));
        }
    }
    let expect = expect(raw.expect, varied.is_empty(), &mut notes).map_err(located)?;
    if command.is_some() {
        note_lanes(layers::lanes_stated(scenario), &arms, &mut notes);
    }
    note_connections(&arms, &mut notes);
    note_distance(&arms, &mut notes);
    Ok(Plan {
        scenario: name,
        description: raw.description.unwrap_or_default(),
        seed: overrides.seed.unwrap_or(seed),
        arms,
        limits: limits(&raw.limits).map_err(located)?,
        expect,
        notes,
    })
}

/// Defaults beneath, flags on top; and what varies, taken out of the tree.
fn layered(
    scenario: &Node,
    overrides: &Overrides,
    notes: &mut Vec<String>,
) -> Result<(Node, Vec<Vary>), ScenarioError> {
    let unplaced = |problem: Problem| problem.located(|_| Place::Default);
    let mut tree = scenario.clone();
    let runs = if overrides.command.is_some() { Runs::Command } else { Runs::OurServer };
    layers::fill_defaults(&mut tree, runs)?;
    let mut set_keys = Vec::new();
    for argument in &overrides.set {
        let (key, value) = layers::parse_set(argument)?;
        tree.set(&key, value).map_err(unplaced)?;
        set_keys.push(key);
    }
    if let Some(repeat) = overrides.repeat {
        let place = Place::Flag(format!("--repeat {repeat}").into());
        let value = Value::Scalar { text: repeat.to_string(), plain: true };
        tree.set("repeat", Node { place, value }).map_err(unplaced)?;
    }
    let mut varied = Vary::take_from(&mut tree).map_err(unplaced)?;
    varied.retain(|vary| {
        let fixed = set_keys.contains(&vary.key);
        if fixed {
            notes.push(format!("{} is set by --set and so does not vary", vary.key));
        }
        !fixed
    });
    for argument in &overrides.vary {
        let vary = Vary::parse(argument)?;
        if set_keys.contains(&vary.key) {
            return Err(vary.also_set());
        }
        match varied.iter_mut().find(|earlier| earlier.key == vary.key) {
            Some(earlier) => *earlier = vary,
            None => varied.push(vary),
        }
    }
    Ok((tree, varied))
}

/// Without a name a scenario is called as its file.
fn scenario_name(stated: Option<String>, source: &str) -> Result<String, Problem> {
    if let Some(name) = stated {
        return check::name("name", &name).map(|()| name);
    }
    let file = source.rsplit(['/', '\\']).next().unwrap_or_default();
    let stem = file.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let fits = check::name("name", &stem).is_ok();
    Ok(if fits { stem } else { "scenario".to_owned() })
}

/// Every combination, the first key slowest, each so many times.
fn trial_arms(
    base: &Node,
    scenario: &str,
    varied: &[Vary],
    repeat: usize,
    command: Option<&[String]>,
) -> Result<Vec<Arm>, ScenarioError> {
    let combinations =
        varied.iter().try_fold(1_usize, |product, vary| product.checked_mul(vary.values.len()));
    let count = combinations.and_then(|count| count.checked_mul(repeat)).unwrap_or(usize::MAX);
    if count > MOST_ARMS {
        let key = if varied.is_empty() { "repeat" } else { "vary" };
        let problem = format!("all combinations and repeats make {count} arms; allowed: up to {MOST_ARMS}");
        let place =
            varied.first().map_or_else(|| base.place_of(&[key.to_owned()]), |vary| vary.place().clone());
        return Err(Problem::of(key, problem).at(&place).located(|_| Place::Default));
    }
    let mut arms = Vec::with_capacity(count);
    for combination in 0..combinations.unwrap_or(0) {
        let mut tree = base.clone();
        let mut labels = Vec::with_capacity(varied.len());
        let mut below = combinations.unwrap_or(0);
        for vary in varied {
            below /= vary.values.len().max(1);
            let index = combination / below.max(1) % vary.values.len().max(1);
            let Some(value) = vary.values.get(index) else { continue };
            labels.push(vary.label(index, value));
            tree.set(&vary.key, value.clone()).map_err(|problem| problem.located(|_| Place::Default))?;
        }
        let name = if labels.is_empty() { scenario.to_owned() } else { labels.join(", ") };
        let first = arm(&tree, name, command)?;
        arms.extend((1..=repeat).map(|number| match number {
            1 => first.clone(),
            _ => Arm { name: format!("{} #{number}", first.name), ..first.clone() },
        }));
    }
    Ok(arms)
}

/// A tree without `vary`, as a trial arm.
fn arm(tree: &Node, name: String, command: Option<&[String]>) -> Result<Arm, ScenarioError> {
    let checked = || -> Result<Arm, Problem> {
        let raw: RawScenario = de::decode(tree)?;
        let local = workload::local(&raw.local)?;
        let workload = workload::workload(raw.workload, local.kubelet, command, tree)?;
        Ok(Arm {
            name,
            role: Role::Trial,
            load: load::load(raw.load)?,
            disruption: load::disruption(raw.disruption, workload.replicas)?,
            settle: load::settle(&raw.settle)?,
            workload,
            local,
        })
    };
    checked().map_err(|problem| problem.located(|path| tree.place_of(path)))
}

/// The arm that must show nothing, and the one that must show failures: a server that does everything wrong.
fn controls(base: Arm, notes: &mut Vec<String>) -> [Arm; 2] {
    let mut negative =
        Arm { name: "negative-control".to_owned(), role: Role::NegativeControl, ..base.clone() };
    if matches!(base.workload.program, Program::Command(_)) {
        // Our server answers its own paths only, and a 404 is not the failure that this arm must show.
        negative.load.request = Request {
            method: "GET".to_owned(),
            path: "/".to_owned(),
            headers: std::collections::BTreeMap::new(),
            body: None,
            expect_status: StatusRange { first: 200, last: 299 },
        };
        notes.push("the negative control runs our own server, not --command, and asks it for /".to_owned());
    }
    negative.workload.program =
        Program::Server(ServerSettings { on_sigterm: OnSigterm::Exit, ..ServerSettings::default() });
    // The signal is the image's.
    let stop_signal = negative.workload.lifecycle.stop_signal;
    negative.workload.lifecycle = Lifecycle { stop_signal, ..Lifecycle::default() };
    // It was meant for what the trial runs.
    negative.workload.liveness_probe = None;
    negative.workload.readiness_probe = Some(Probe {
        check: ProbeCheck::HttpGet { path: "/readyz".to_owned(), port: None },
        period_seconds: 1,
        timeout_seconds: 1,
        failure_threshold: 1,
        success_threshold: 1,
        initial_delay_seconds: 0,
    });
    let control =
        Arm { name: "control".to_owned(), role: Role::Control, disruption: Disruption::None, ..base };
    [control, negative]
}

fn limits(raw: &RawLimits) -> Result<Limits, Problem> {
    let time = |path: &str, stated: Option<&str>, default| {
        let allowed = Duration::from_millis(1)..=Duration::from_mins(10);
        check::duration(path, stated, Duration::from_millis(default), allowed)
    };
    Ok(Limits {
        schedule_lag: time("limits.scheduleLag", raw.schedule_lag.as_deref(), 50)?,
        detection_floor: time("limits.detectionFloor", raw.detection_floor.as_deref(), 500)?,
    })
}

fn expect(raw: RawExpect, one_arm: bool, notes: &mut Vec<String>) -> Result<Expect, Problem> {
    let arms = raw.arms.unwrap_or_else(|| {
        if one_arm {
            return ArmsExpected::All;
        }
        notes.push(
            "expect.arms is any: with vary, one arm that passes is enough unless it says all".to_owned(),
        );
        ArmsExpected::Any
    });
    for (index, expectation) in raw.timeline.iter().enumerate() {
        timeline(&format!("expect.timeline.{index}"), expectation)?;
    }
    Ok(Expect {
        failed: allowed("expect.failed", raw.failed.as_deref())?,
        late: allowed("expect.late", raw.late.as_deref())?,
        arms,
        timeline: raw.timeline,
    })
}

fn timeline(path: &str, expectation: &TimelineExpectation) -> Result<(), Problem> {
    let TimelineExpectation { edge, after, seconds, within } = *expectation;
    if edge == after {
        let problem = "is the same edge as the one it is measured from";
        return Err(Problem::value(&format!("{path}.after"), problem, "another edge"));
    }
    for (key, number) in [("seconds", seconds), ("within", within)] {
        if !(0.0..=3600.0).contains(&number) {
            return Err(Problem::value(
                &format!("{path}.{key}"),
                format_args!("{number} is out of range"),
                "0 to 3600 seconds",
            ));
        }
    }
    Ok(())
}

fn allowed(path: &str, stated: Option<&str>) -> Result<Allowed, Problem> {
    match stated {
        None => Ok(Allowed::AtMost(0)),
        Some("any") => Ok(Allowed::Any),
        Some(text) => text.parse().map(Allowed::AtMost).map_err(|_| {
            Problem::value(
                path,
                format_args!("{} is no bound on a count", quoted(text)),
                "a whole number from 0, or any",
            )
        }),
    }
}

/// Says which lanes a command does without.
fn note_lanes(stated: bool, arms: &[Arm], notes: &mut Vec<String>) {
    let asked = arms
        .iter()
        .flat_map(|arm| &arm.load.lanes)
        .any(|lane| matches!(lane.kind, LaneKind::Slow | LaneKind::Post));
    if !stated && !asked {
        notes.push(
            "lanes slow and post are left out: they need a server that answers late when asked and sends a POST's \
             body back; ask for them with --set load.lanes.slow.rate=20 or --set load.lanes.post.rate=20"
                .to_owned(),
        );
    }
}

/// Says that clients are where they are not.
fn note_distance(arms: &[Arm], notes: &mut Vec<String>) {
    let rtts: BTreeSet<Duration> = arms.iter().map(|arm| arm.load.rtt).filter(|rtt| !rtt.is_zero()).collect();
    if !rtts.is_empty() {
        let rtts: Vec<String> = rtts.into_iter().map(human::format).collect();
        notes.push(format!(
            "clients are {} away (load.rtt): an emulation at their end, which delays what either side sends and imitates \
             neither loss nor bandwidth",
            rtts.join(", ")
        ));
    }
}

/// Says where a stated number of connections cannot carry the stated rate.
fn note_connections(arms: &[Arm], notes: &mut Vec<String>) {
    for lane in arms.iter().flat_map(|arm| &arm.load.lanes).filter(|lane| lane.kind != LaneKind::New) {
        let needed = lane.connections_taken().ceil();
        if needed > f64::from(lane.connections) {
            let (name, connections) = (lane.kind.as_str(), lane.connections);
            let streams = lane.max_concurrent_streams;
            let note = if streams > 1 {
                format!(
                    "lane {name} fills about {needed} connections of {streams} requests, but keeps {connections}"
                )
            } else if lane.idle.is_zero() {
                format!(
                    "lane {name} has about {needed} requests under way at once, but {connections} connections"
                )
            } else {
                format!("lane {name} has about {needed} connections at rest at once, but keeps {connections}")
            };
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
    }
}
