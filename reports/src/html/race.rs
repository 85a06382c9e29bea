//! Both flows of each termination on one axis, from its delete on: what the pod did, and how long each node still sent new
//! connections to it. Where a failure lies between the two tells its cause.

use std::fmt::Write;

use trial::report::{Arm, Failure, Pod};

use super::svg::{Axis, Drawing, PHASES, spans};
use crate::units::{offset, seconds};

const ROW: u64 = 16;
const BAR: u64 = 11;
const GAP: u64 = 10;
const TOP: u64 = 24;
/// Those without a failure go first.
const SHOWN: usize = 12;

/// The drawing, or nothing where no pod was terminated.
pub(super) fn figure(arm: &Arm) -> String {
    let mut pods: Vec<(&Pod, u64)> = arm
        .pods
        .iter()
        .filter_map(|pod| {
            let timeline = &pod.timeline;
            Some((pod, timeline.terminating_ns.or(timeline.delete_requested_ns)?))
        })
        .collect();
    pods.sort_by_key(|(pod, _)| pod.failed + pod.late == 0);
    let left_out = pods.len().saturating_sub(SHOWN);
    pods.truncate(SHOWN);
    pods.sort_by_key(|(_, deleted)| *deleted);
    // One axis for all, so that they can be compared; its zero is each one's own delete.
    let reach = pods.iter().map(|(pod, deleted)| last(arm, pod).saturating_sub(*deleted)).max().unwrap_or(0);
    let lead = reach / 20;
    let axis_of = |deleted: u64| Axis::new(deleted.saturating_sub(lead), deleted + reach + lead);
    let (Some((_, first)), true) = (pods.first().copied(), reach > 0) else { return String::new() };
    let height: u64 = pods.iter().map(|(pod, _)| GAP + ROW * (1 + pod.endpoint.len() as u64)).sum();
    let mut drawing = Drawing::new(TOP + height + 4, "Both flows of each termination");
    if let Some(axis) = axis_of(first) {
        drawing.ticks(&axis, first, (TOP, TOP + height));
    }
    let mut y = TOP;
    for (pod, deleted) in pods {
        let Some(axis) = axis_of(deleted) else { continue };
        y = termination(&mut drawing, &axis, (arm, pod), deleted, y + GAP);
    }
    let mut keys = PHASES[1..].to_vec();
    keys.extend([("route", "the node sends new connections here"), ("failure", "failed"), ("late", "late")]);
    let mut said =
        "Each pod from its delete on; beneath it, how long each node's rules still named it.".to_owned();
    if left_out > 0 {
        let _infallible = write!(said, " {left_out} more pods were terminated: report.json has them.");
    }
    drawing.figure("The race in each termination", &keys, &said)
}

/// One pod's rows, from `top` on; returns where they end.
fn termination(drawing: &mut Drawing, axis: &Axis, (arm, pod): (&Arm, &Pod), deleted: u64, top: u64) -> u64 {
    let since = |at: u64| offset(at.cast_signed().saturating_sub(deleted.cast_signed()));
    drawing.name(top + BAR - 1, "name", &pod.name);
    for (phase, from, to) in spans(pod, axis.end()) {
        if to < axis.start() {
            continue;
        }
        let said = format!("{}: {phase} from {} to {}", pod.name, since(from), since(to));
        drawing.bar(axis, phase, (from, to), (top, BAR), &said);
    }
    let mut y = top + ROW;
    for one in &pod.endpoint {
        if let Some(removed) = one.removed_ns {
            drawing.name(y + BAR - 1, "dim", &one.node);
            let said = format!("{} sends new connections to {} until {}", one.node, pod.name, since(removed));
            drawing.bar(axis, "route", (axis.start(), removed), (y, BAR), &said);
        } else {
            drawing.name(y + BAR - 1, "dim", &format!("{}: not observed", one.node));
        }
        y += ROW;
    }
    let of_pod = |one: &&Failure| one.pod.as_ref() == Some(&pod.name) && axis.holds(one.at_ns);
    for one in arm.failures.iter().filter(of_pod) {
        let class = if one.class == "late" { "cut late" } else { "cut failure" };
        let said = format!("{} ({} of the run)", one.sentence, seconds(one.at_ns));
        drawing.stroke(axis, class, one.at_ns, (top - 2, y - ROW + BAR + 2), &said);
    }
    y
}

/// When the last thing of a termination was seen.
fn last(arm: &Arm, pod: &Pod) -> u64 {
    let edges = pod.timeline.edges().into_iter().filter_map(|(_, at)| at);
    let removals = pod.endpoint.iter().filter_map(|one| one.removed_ns);
    let failures = arm.failures.iter().filter(|one| one.pod.as_ref() == Some(&pod.name)).map(|one| one.at_ns);
    edges.chain(removals).chain(failures).max().unwrap_or(0)
}
