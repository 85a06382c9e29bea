//! Pods as bars on one axis, and what failed on them: where a red dot lies tells the cause.

use std::fmt::Write;

use trial::report::{Arm, Failure, Pod};

use super::escape;
use crate::units::{count, seconds};

const WIDTH: u64 = 1_000;
const NAMES: u64 = 210;
const ROW: u64 = 22;
const BAR: u64 = 14;
const TOP: u64 = 24;
/// A page of more rows is read by nobody; those without a failure go first.
const SHOWN: usize = 40;
const TICKS: u64 = 8;

/// What the bars' colours mean, in the order of a termination.
const PHASES: [&str; 7] =
    ["starting", "serving", "pre-stop", "draining", "listener-closed", "exited", "ip-gone"];

/// The drawing, or nothing where no pod or no load was seen.
pub(super) fn svg(arm: &Arm) -> String {
    let Some(axis) = Axis::of(arm) else { return String::new() };
    let mut pods: Vec<&Pod> = arm.pods.iter().collect();
    pods.sort_by_key(|pod| (pod.failed + pod.late == 0, pod.timeline.terminating_ns.is_none()));
    let left_out = pods.len().saturating_sub(SHOWN);
    pods.truncate(SHOWN);
    let strays: Vec<&Failure> = arm
        .failures
        .iter()
        .filter(|one| !pods.iter().any(|pod| Some(&pod.name) == one.pod.as_ref()))
        .collect();
    let rows = pods.len() as u64 + u64::from(!strays.is_empty());
    let bottom = TOP + rows * ROW;
    let height = bottom + 44;
    let mut svg = format!(
        "<figure><svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"Timeline of the pods and of what failed\">\n"
    );
    for outage in &arm.outages {
        let said =
            format!("lane {}: {} failed, {} late", outage.lane, count(outage.failed), count(outage.late));
        let place = (axis.x(outage.from_ns), axis.x(outage.to_ns));
        rectangle(&mut svg, "outage", place, (TOP, rows * ROW), &said);
    }
    for (row, pod) in pods.iter().enumerate() {
        let y = TOP + row as u64 * ROW;
        text(&mut svg, 0, y + BAR - 3, &shortened(&pod.name));
        for (phase, from, to) in spans(pod, axis.to) {
            let said = format!("{}: {phase} from {} to {}", pod.name, seconds(from), seconds(to));
            rectangle(&mut svg, phase, (axis.x(from), axis.x(to)), (y, BAR), &said);
        }
        for one in &pod.endpoint {
            if let Some(removed) = one.removed_ns {
                let x = axis.x(removed);
                let said = format!("{}: out of the rules of {} at {}", pod.name, one.node, seconds(removed));
                let (above, below) = (y.saturating_sub(3), y + BAR + 3);
                let _infallible = writeln!(
                    svg,
                    "<line class=\"removed\" x1=\"{x}\" x2=\"{x}\" y1=\"{above}\" y2=\"{below}\"><title>{}</title></line>",
                    escape(&said)
                );
            }
        }
        let of_pod = |one: &&Failure| one.pod.as_ref() == Some(&pod.name);
        for one in arm.failures.iter().filter(of_pod) {
            dot(&mut svg, &axis, one, y);
        }
    }
    if !strays.is_empty() {
        let y = TOP + pods.len() as u64 * ROW;
        text(&mut svg, 0, y + BAR - 3, "(pod not known)");
        for one in strays {
            dot(&mut svg, &axis, one, y);
        }
    }
    ticks(&mut svg, &axis, bottom);
    legend(&mut svg, bottom);
    svg.push_str("</svg>\n<figcaption>Bars: what each pod was doing. Strokes: when a node's rules dropped it. Dots: failed (red) \
                  and late requests, the first hundred.");
    if left_out > 0 {
        let _infallible = write!(svg, " {left_out} pods are left out: report.json has them.");
    }
    svg.push_str("</figcaption></figure>\n");
    svg
}

fn ticks(svg: &mut String, axis: &Axis, bottom: u64) {
    for tick in 0..=TICKS {
        let at = axis.from + (axis.to - axis.from) / TICKS * tick;
        let x = axis.x(at);
        let _infallible = writeln!(
            svg,
            "<line class=\"axis\" x1=\"{x}\" x2=\"{x}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\n\
             <text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            TOP - 8,
            seconds(at)
        );
    }
}

fn legend(svg: &mut String, bottom: u64) {
    let mut x = NAMES;
    for phase in PHASES {
        rectangle(svg, phase, (x, x + 12), (bottom + 14, 12), phase);
        text(svg, x + 16, bottom + 24, phase);
        x += 105;
    }
}

/// From nanoseconds to columns.
#[derive(Debug, Clone, Copy)]
struct Axis {
    from: u64,
    to: u64,
}

impl Axis {
    fn of(arm: &Arm) -> Option<Self> {
        let from = arm.load_started_ns?;
        let to = from + arm.load_duration_ns?;
        let last = arm.failures.iter().map(|one| one.at_ns).max().unwrap_or(to).max(to);
        (!arm.pods.is_empty() && last > from).then_some(Self { from, to: last })
    }

    fn x(&self, at: u64) -> u64 {
        let share = u128::from(at.clamp(self.from, self.to) - self.from) * u128::from(WIDTH - NAMES - 20);
        let columns = share / u128::from(self.to - self.from);
        NAMES + u64::try_from(columns).unwrap_or(WIDTH)
    }
}

/// What the pod was doing, and from when to when; what was not observed is not drawn.
fn spans(pod: &Pod, end: u64) -> Vec<(&'static str, u64, u64)> {
    let timeline = &pod.timeline;
    // Only a pod with a handler drains; without the report of it SIGTERM alone says so.
    let mut edges: Vec<(u64, &'static str)> = [
        (pod.main_started_ns, "starting"),
        (pod.ready_ns, "serving"),
        (timeline.pre_stop_started_ns, "pre-stop"),
        (timeline.sigterm_ns, "draining"),
        (timeline.listener_closed_ns, "listener-closed"),
        (timeline.exited_ns, "exited"),
        (timeline.ip_gone_ns, "ip-gone"),
    ]
    .into_iter()
    .filter_map(|(at, phase)| Some((at?, phase)))
    .collect();
    edges.sort_by_key(|(at, _)| *at);
    let last = timeline.gone_ns.unwrap_or(end).min(end);
    let ends = edges.iter().skip(1).map(|(at, _)| *at).chain([last]).collect::<Vec<_>>();
    edges
        .iter()
        .zip(ends)
        .map(|((from, phase), to)| (*phase, *from, to))
        .filter(|(_, from, to)| to > from)
        .collect()
}

fn rectangle(svg: &mut String, class: &str, (from, to): (u64, u64), (y, height): (u64, u64), title: &str) {
    // What is shorter than a column is still there.
    let width = to.saturating_sub(from).max(1);
    let _infallible = writeln!(
        svg,
        "<rect class=\"{class}\" x=\"{from}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"><title>{}</title></rect>",
        escape(title)
    );
}

fn dot(svg: &mut String, axis: &Axis, failure: &Failure, y: u64) {
    let class = if failure.class == "late" { "late" } else { "failure" };
    let _infallible = writeln!(
        svg,
        "<circle class=\"{class}\" cx=\"{}\" cy=\"{}\" r=\"3\"><title>{}</title></circle>",
        axis.x(failure.at_ns),
        y + BAR / 2,
        escape(&failure.sentence)
    );
}

fn text(svg: &mut String, x: u64, y: u64, words: &str) {
    let _infallible = writeln!(svg, "<text x=\"{x}\" y=\"{y}\">{}</text>", escape(words));
}

/// The end of a name tells pods of one set apart.
fn shortened(name: &str) -> String {
    const LONGEST: usize = 30;
    let length = name.chars().count();
    if length <= LONGEST {
        name.to_owned()
    } else {
        format!("…{}", name.chars().skip(length - LONGEST + 1).collect::<String>())
    }
}
