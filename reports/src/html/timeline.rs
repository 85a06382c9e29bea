//! All pods over the whole run on one axis, and what failed on them.

use std::fmt::Write;

use trial::report::{Arm, Failure, Pod};

use super::svg::{Axis, Drawing, PHASES, spans};
use crate::units::{count, seconds};

const ROW: u64 = 24;
const BAR: u64 = 16;
const TOP: u64 = 24;
/// A page of more rows is read by nobody; those without a failure go first.
const SHOWN: usize = 40;

/// The drawing, or nothing where no pod or no load was seen.
pub(super) fn figure(arm: &Arm) -> String {
    let Some(axis) = axis(arm) else { return String::new() };
    let mut pods: Vec<&Pod> = arm.pods.iter().collect();
    pods.sort_by_key(|pod| (pod.failed + pod.late == 0, pod.timeline.terminating_ns.is_none()));
    let left_out = pods.len().saturating_sub(SHOWN);
    pods.truncate(SHOWN);
    // In the order of their begin a rollout is a staircase.
    pods.sort_by_key(|pod| (pod.main_started_ns, pod.timeline.terminating_ns.unwrap_or(u64::MAX)));
    let is_stray = |one: &&Failure| !pods.iter().any(|pod| Some(&pod.name) == one.pod.as_ref());
    let strays: Vec<&Failure> = arm.failures.iter().filter(is_stray).collect();
    let rows = pods.len() as u64 + u64::from(!strays.is_empty());
    let bottom = TOP + rows * ROW;
    let mut drawing = Drawing::new(bottom + 4, "Timeline of the pods and of what failed");
    for outage in &arm.outages {
        let said = format!(
            "lane {}: {} failed, {} late from {} to {}",
            outage.lane,
            count(outage.failed),
            count(outage.late),
            seconds(outage.from_ns),
            seconds(outage.to_ns)
        );
        drawing.bar(&axis, "outage", (outage.from_ns, outage.to_ns), (TOP, rows * ROW), &said);
    }
    drawing.ticks(&axis, 0, (TOP, bottom));
    for (row, pod) in pods.iter().enumerate() {
        let y = TOP + row as u64 * ROW + (ROW - BAR) / 2;
        drawing.name(y + BAR - 4, "name", &pod.name);
        for (phase, from, to) in spans(pod, axis.end()) {
            if to < axis.start() {
                continue;
            }
            let said =
                format!("{} on {}: {phase} from {} to {}", pod.name, pod.node, seconds(from), seconds(to));
            drawing.bar(&axis, phase, (from, to), (y, BAR), &said);
        }
        for one in &pod.endpoint {
            if let Some(removed) = one.removed_ns {
                let said = format!("{}: out of the rules of {} at {}", pod.name, one.node, seconds(removed));
                drawing.stroke(&axis, "removed", removed, (y - 3, y + BAR + 3), &said);
            }
        }
        for one in arm.failures.iter().filter(|one| one.pod.as_ref() == Some(&pod.name)) {
            dot(&mut drawing, &axis, arm, one, y);
        }
    }
    if !strays.is_empty() {
        let y = TOP + pods.len() as u64 * ROW + (ROW - BAR) / 2;
        drawing.name(y + BAR - 4, "dim", "pod not known");
        for one in strays {
            dot(&mut drawing, &axis, arm, one, y);
        }
    }
    if let Some(at) = arm.first_disruption_ns.filter(|at| axis.holds(*at)) {
        drawing.stroke(
            &axis,
            "begin",
            at,
            (TOP - 4, bottom),
            &format!("the disruption begins at {}", seconds(at)),
        );
    }
    let mut keys = PHASES.to_vec();
    keys.extend([
        ("removed", "a node's rules dropped the pod"),
        ("failure", "failed"),
        ("late", "late"),
        ("outage", "a lane's outage"),
        ("begin", "the disruption begins"),
    ]);
    drawing.figure("Timeline", &keys, &caption(arm, left_out))
}

fn axis(arm: &Arm) -> Option<Axis> {
    let from = arm.load_started_ns?;
    let to = from + arm.load_duration_ns?;
    let last = arm.failures.iter().map(|one| one.at_ns).max().unwrap_or(to).max(to);
    Axis::new(from, last).filter(|_| !arm.pods.is_empty())
}

fn caption(arm: &Arm, left_out: usize) -> String {
    let mut said = "Time of the run, while there was load.".to_owned();
    let (total, listed) = (arm.requests.failed + arm.requests.late, arm.failures.len() as u64);
    if total > 0 {
        said.push_str(" A dot's height within its bar tells the lane.");
    }
    if listed < total {
        let _infallible = write!(
            said,
            " Drawn are the first {} of {} failed and late requests.",
            count(listed),
            count(total)
        );
    }
    if left_out > 0 {
        let _infallible = write!(said, " {left_out} pods are left out: report.json has them.");
    }
    said
}

/// Lanes lie beneath one another, so that what fails together in several is seen in each.
fn dot(drawing: &mut Drawing, axis: &Axis, arm: &Arm, failure: &Failure, y: u64) {
    let class = if failure.class == "late" { "late" } else { "failure" };
    let lane = arm.lanes.iter().position(|lane| lane.name == failure.lane).unwrap_or(0) as u64;
    let apart = (arm.lanes.len() as u64).saturating_sub(1).max(1);
    drawing.dot(axis, class, failure.at_ns, y + 2 + lane.min(apart) * (BAR - 4) / apart, &failure.sentence);
}
