//! An axis of time and shapes on it. Whole numbers only, so that the same figure is the same text everywhere.

use std::fmt::Write;

use trial::report::Pod;

use super::page::escape;
use crate::units::seconds;

/// In the drawing's own units, which a browser scales to the page.
pub(super) const WIDTH: u64 = 1_000;
/// The column of names on the left.
const NAMES: u64 = 170;
/// The last label needs room to its right.
const MARGIN: u64 = 24;
/// More labels than this on an axis run into one another.
const TICKS: u64 = 12;

/// What the bars' colours mean, in the order of a termination.
pub(super) const PHASES: [(&str, &str); 7] = [
    ("starting", "starting"),
    ("serving", "serving"),
    ("pre-stop", "preStop"),
    ("draining", "after SIGTERM"),
    ("listener-closed", "listener closed"),
    ("exited", "process ended"),
    ("ip-gone", "address gone"),
];

/// From nanoseconds of the run to columns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    from: u64,
    to: u64,
}

/// Tenths of the drawing's units, as SVG writes them.
fn tenths(number: u64) -> String {
    format!("{}.{}", number / 10, number % 10)
}

impl Axis {
    /// `None` where there is nothing between the two.
    pub(super) fn new(from: u64, to: u64) -> Option<Self> {
        (to > from).then_some(Self { from, to })
    }

    pub(super) const fn holds(&self, at: u64) -> bool {
        self.from <= at && at <= self.to
    }

    pub(super) const fn start(&self) -> u64 {
        self.from
    }

    pub(super) const fn end(&self) -> u64 {
        self.to
    }

    /// The nearest column, in tenths.
    fn x(&self, at: u64) -> u64 {
        let columns = u128::from((WIDTH - NAMES - MARGIN) * 10);
        let share = u128::from(at.clamp(self.from, self.to) - self.from) * columns;
        NAMES * 10 + u64::try_from(share / u128::from(self.to - self.from)).unwrap_or(0)
    }

    /// 1, 2 or 5 times a power of ten.
    fn step(&self) -> u64 {
        let span = self.to - self.from;
        let mut power = 1_000_000_u64;
        loop {
            let fits = |step: &u64| span / *step <= TICKS;
            if let Some(step) = [power, power * 2, power * 5].into_iter().find(fits) {
                return step;
            }
            let Some(next) = power.checked_mul(10).filter(|next| *next < u64::MAX / 5) else { return power };
            power = next;
        }
    }
}

/// What is drawn so far.
#[derive(Debug)]
pub(super) struct Drawing {
    text: String,
}

impl Drawing {
    pub(super) fn new(height: u64, label: &str) -> Self {
        let text = format!(
            "<div class=\"wide\"><svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">\n",
            escape(label)
        );
        Self { text }
    }

    /// Round times since `origin`, with a line down to `bottom` each.
    pub(super) fn ticks(&mut self, axis: &Axis, origin: u64, (top, bottom): (u64, u64)) {
        let step = axis.step();
        let before = (origin.saturating_sub(axis.from)) / step;
        let mut at = origin.saturating_sub(before * step);
        while at < axis.from {
            at += step;
        }
        while at <= axis.to {
            let x = tenths(axis.x(at));
            let sign = if at < origin { "−" } else { "" };
            let label = short(at.abs_diff(origin));
            let _infallible = writeln!(
                self.text,
                "<line class=\"axis\" x1=\"{x}\" x2=\"{x}\" y1=\"{top}\" y2=\"{bottom}\"/>\
                 <text class=\"tick\" x=\"{x}\" y=\"{}\">{sign}{label}</text>",
                top - 6
            );
            let Some(next) = at.checked_add(step) else { break };
            at = next;
        }
    }

    pub(super) fn name(&mut self, y: u64, class: &str, text: &str) {
        let _infallible = writeln!(
            self.text,
            "<text class=\"{class}\" x=\"{}\" y=\"{y}\">{}</text>",
            NAMES - 8,
            escape(&shortened(text))
        );
    }

    pub(super) fn bar(
        &mut self,
        axis: &Axis,
        class: &str,
        (from, to): (u64, u64),
        (y, height): (u64, u64),
        title: &str,
    ) {
        let (left, right) = (axis.x(from), axis.x(to));
        // What is shorter than a column is still there.
        let width = right.saturating_sub(left).max(10);
        let _infallible = writeln!(
            self.text,
            "<rect class=\"{class}\" x=\"{}\" y=\"{y}\" width=\"{}\" height=\"{height}\"><title>{}</title></rect>",
            tenths(left),
            tenths(width),
            escape(title)
        );
    }

    pub(super) fn stroke(
        &mut self,
        axis: &Axis,
        class: &str,
        at: u64,
        (top, bottom): (u64, u64),
        title: &str,
    ) {
        let x = tenths(axis.x(at));
        let _infallible = writeln!(
            self.text,
            "<line class=\"{class}\" x1=\"{x}\" x2=\"{x}\" y1=\"{top}\" y2=\"{bottom}\"><title>{}</title></line>",
            escape(title)
        );
    }

    pub(super) fn dot(&mut self, axis: &Axis, class: &str, at: u64, y: u64, title: &str) {
        let _infallible = writeln!(
            self.text,
            "<circle class=\"{class}\" cx=\"{}\" cy=\"{y}\" r=\"2.5\"><title>{}</title></circle>",
            tenths(axis.x(at)),
            escape(title)
        );
    }

    /// The figure with what its colours mean and what else is to be said.
    pub(super) fn figure(self, heading: &str, keys: &[(&str, &str)], said: &str) -> String {
        let mut figure =
            format!("<h3>{}</h3>\n<figure>{}</svg></div>\n<figcaption>", escape(heading), self.text);
        for (class, meaning) in keys {
            let _infallible =
                write!(figure, "<span class=\"key\"><i class=\"{class}\"></i>{}</span> ", escape(meaning));
        }
        let _infallible = writeln!(figure, "<br>{}</figcaption></figure>", escape(said));
        figure
    }
}

/// What the pod was doing, and from when to when; what was not observed is not drawn.
pub(super) fn spans(pod: &Pod, end: u64) -> Vec<(&'static str, u64, u64)> {
    let timeline = &pod.timeline;
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

/// Seconds without the zeros that say nothing: `5 s`, `0.25 s`.
fn short(nanos: u64) -> String {
    let text = seconds(nanos);
    let number = text.trim_end_matches(" s").trim_end_matches('0').trim_end_matches('.');
    format!("{number} s")
}

/// The end of a name tells pods of one set apart.
fn shortened(name: &str) -> String {
    const LONGEST: usize = 26;
    let length = name.chars().count();
    if length <= LONGEST {
        name.to_owned()
    } else {
        format!("…{}", name.chars().skip(length - LONGEST + 1).collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn an_axis_is_labelled_at_round_times_only() {
        let mut drawing = Drawing::new(10, "");
        drawing.ticks(&Axis::new(1_234_000_000, 14 * S).unwrap(), 0, (20, 30));
        for label in [">2 s<", ">4 s<", ">14 s<"] {
            assert!(drawing.text.contains(label), "{label} {}", drawing.text);
        }
        assert!(!drawing.text.contains("1.2"), "{}", drawing.text);
        let mut drawing = Drawing::new(10, "");
        drawing.ticks(&Axis::new(4_900_000_000, 5_400_000_000).unwrap(), 5 * S, (20, 30));
        for label in [">−0.1 s<", ">0 s<", ">0.05 s<", ">0.4 s<"] {
            assert!(drawing.text.contains(label), "{label} {}", drawing.text);
        }
    }

    #[test]
    fn every_time_has_a_place_within_the_drawing() {
        assert!(Axis::new(5, 5).is_none());
        let axis = Axis::new(10, u64::MAX).unwrap();
        assert_eq!((axis.x(0), axis.x(u64::MAX)), (NAMES * 10, (WIDTH - MARGIN) * 10));
        assert!(axis.step() > 0);
    }
}
