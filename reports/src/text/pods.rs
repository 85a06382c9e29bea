//! Each terminated pod on one axis: what it did, where it was routed to, and what failed meanwhile.

use trial::report::{Arm, Failure, Pod};

use super::edges;
use super::page::Page;
use super::strip::{Axis, Strip};
use crate::style::Style;
use crate::units::{count, counted, duration, offset, seconds};
use crate::wrap::{columns, cut};

/// Whether the signs have been explained on this page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Legend {
    Due,
    Written,
}

const SIGNS: [&str; 15] = [
    "─ running",
    "░ preStop",
    "━ after SIGTERM",
    "┈ process ended",
    "T SIGTERM",
    "L listener closed",
    "D drained",
    "K SIGKILL",
    "X exited",
    "G object gone",
    "█ node sends new connections here",
    "× failed",
    "○ late",
    "? not certain",
    "╌ a lane's outage",
];

/// Draws up to `most` pods that were terminated.
pub(super) fn write(page: &mut Page, arm: &Arm, most: usize, legend: Legend) -> Legend {
    let terminated: Vec<&Pod> = arm.pods.iter().filter(|pod| is_terminated(pod)).collect();
    if terminated.is_empty() {
        return legend;
    }
    page.heading("Terminations", "both flows of each deleted pod on one axis, from its delete on");
    if legend == Legend::Due {
        page.list(Style::Dim, "  ", &SIGNS.map(str::to_owned));
    }
    for pod in choose(&terminated, most) {
        page.blank();
        draw(page, arm, pod);
    }
    if terminated.len() > most {
        page.blank();
        page.spans(&[(Style::Dim, &format!("  … and {} more: see report.json", terminated.len() - most))]);
    }
    Legend::Written
}

fn is_terminated(pod: &Pod) -> bool {
    pod.timeline.edges().iter().any(|(_, at_ns)| at_ns.is_some())
}

/// Pods with failures come before others where not all fit; the order of the report stays.
fn choose<'a>(pods: &[&'a Pod], most: usize) -> Vec<&'a Pod> {
    let is_bad = |pod: &Pod| pod.failed.saturating_add(pod.late) > 0;
    let bad = pods.iter().filter(|pod| is_bad(pod)).count().min(most);
    let mut room = [most - bad, bad];
    let mut fits = |pod: &&&Pod| {
        let room = &mut room[usize::from(is_bad(pod))];
        let fits = *room > 0;
        *room = room.saturating_sub(1);
        fits
    };
    pods.iter().filter(|pod| fits(pod)).copied().collect()
}

fn draw(page: &mut Page, arm: &Arm, pod: &Pod) {
    let (seen, unseen) = edges::of(arm, pod);
    // The origin is the delete, or the first edge that was observed in its place.
    let first = seen.first().map_or(0, |edge| edge.at_ns);
    let origin = pod.timeline.delete_requested_ns.unwrap_or(first);
    let last = seen.last().map_or(origin, |edge| edge.at_ns);
    title(page, pod, origin);
    // Failures may outlast the object, so the axis does too.
    let end =
        failures_of(arm, pod).map(|(failure, _)| placed(failure)).max().map_or(last, |at_ns| at_ns.max(last));
    let label = labels(pod);
    if let Some(axis) = Axis::new(origin, end, page.width() - 2 - label) {
        row(page, label, "", &axis.ruler());
        row(page, label, "pod", &pod_strip(pod, axis, last));
        for removal in edges::removals(pod) {
            let mut strip = Strip::new(axis);
            match removal.at_ns {
                Some(at_ns) => strip.fill(origin, at_ns, '█', Style::Accent),
                None => strip.write(0, "not observed", Style::Warn),
            }
            row(page, label, &format!("endpoint {}", removal.nodes), &strip);
        }
        row(page, label, "failures", &failure_strip(arm, pod, axis));
    }
    // The delete itself is the origin, and the title says when it was.
    let is_told =
        |edge: &edges::Edge| pod.timeline.delete_requested_ns.is_some() && edge.text == edges::DELETE;
    let told = seen.iter().filter(|edge| !is_told(edge));
    let offsets: Vec<String> =
        told.map(|edge| format!("{} {}", offset(since(origin, edge.at_ns)), edge.text)).collect();
    page.list(Style::Plain, "  ", &offsets);
    let races = edges::races(pod);
    if !races.is_empty() {
        page.sentence(Style::Plain, "  race: ", "    ", &races.join(" · "));
    }
    if !unseen.is_empty() {
        page.list(Style::Warn, "  not observed: ", &unseen);
    }
}

fn title(page: &mut Page, pod: &Pod, origin: u64) {
    let mut facts = match pod.timeline.delete_requested_ns {
        Some(_) => vec![format!("deleted at {} of the run", seconds(origin))],
        None => {
            vec!["delete not observed".to_owned(), format!("first edge at {} of the run", seconds(origin))]
        }
    };
    facts.push(format!("{} due while terminating", counted(pod.requests_while_terminating, "request")));
    facts.push(format!("{} failed, {} late", count(pod.failed), count(pod.late)));
    facts.extend(
        pod.clock_uncertainty_ns
            .filter(|nanos| *nanos > 0)
            .map(|nanos| format!("clock ± {}", duration(nanos))),
    );
    let name = cut(&format!("{} on {}", pod.name, pod.node), page.width() - 2);
    page.spans(&[(Style::Plain, "  "), (Style::Heading, &name)]);
    page.list(Style::Dim, "  ", &facts);
}

/// Width of the labels, with a gap of two.
fn labels(pod: &Pod) -> usize {
    const MOST: usize = 26;
    let nodes =
        edges::removals(pod).into_iter().map(|removal| columns("endpoint ") + columns(&removal.nodes));
    nodes.chain([columns("failures")]).max().unwrap_or(0).min(MOST) + 2
}

fn row(page: &mut Page, width: usize, label: &str, strip: &Strip) {
    let label = cut(label, width - 2);
    let label = format!("  {label:<width$}");
    let strip = strip.spans();
    let mut spans = vec![(Style::Plain, label.as_str())];
    spans.extend(strip.iter().map(|(style, text)| (*style, text.as_str())));
    page.spans(&spans);
}

fn pod_strip(pod: &Pod, axis: Axis, last: u64) -> Strip {
    let timeline = &pod.timeline;
    let ended = timeline.exited_ns.or(timeline.killed_ns);
    let gone = timeline.gone_ns.unwrap_or(last);
    let mut strip = Strip::new(axis);
    strip.fill(0, timeline.sigterm_ns.or(ended).unwrap_or(last), '─', Style::Plain);
    if let Some(started) = timeline.pre_stop_started_ns {
        // SIGTERM waits for the hook, so that is where an unobserved end can be at the latest.
        let until = timeline.pre_stop_ended_ns.or(timeline.sigterm_ns).or(ended).unwrap_or(last);
        strip.fill(started, until, '░', Style::Accent);
    }
    if let Some(sigterm) = timeline.sigterm_ns {
        strip.fill(sigterm, ended.unwrap_or(last), '━', Style::Warn);
    }
    if let Some(ended) = ended {
        strip.fill(ended, gone, '┈', Style::Dim);
    }
    let mut marks = [
        (timeline.sigterm_ns, 'T'),
        (timeline.listener_closed_ns, 'L'),
        (timeline.drained_ns, 'D'),
        (timeline.killed_ns, 'K'),
        (timeline.exited_ns, 'X'),
        (timeline.gone_ns, 'G'),
    ];
    marks.sort_by_key(|(at_ns, _)| *at_ns);
    for (at_ns, glyph) in marks.into_iter().filter_map(|(at_ns, glyph)| Some((at_ns?, glyph))) {
        strip.mark(at_ns, glyph, if glyph == 'K' { Style::BadBanner } else { Style::Heading });
    }
    if timeline.gone_ns.is_none() {
        strip.mark(last, '?', Style::Warn);
    }
    strip
}

/// Failures of a pod, and those that may have been its own (`true`: certain).
fn failures_of<'a>(arm: &'a Arm, pod: &'a Pod) -> impl Iterator<Item = (&'a Failure, bool)> {
    arm.failures.iter().filter_map(|failure| match &failure.pod {
        Some(name) => (*name == pod.name).then_some((failure, true)),
        None => failure.candidates.contains(&pod.name).then_some((failure, false)),
    })
}

/// Where a failure belongs: what shows only after waiting, to when the request was due; a cut, to when it came.
fn placed(failure: &Failure) -> u64 {
    match failure.class.as_str() {
        "late" | "dns" | "connect-timeout" | "connect-unreachable" | "wait-timeout" | "body-timeout" => {
            failure.intended_ns
        }
        _ => failure.at_ns,
    }
}

fn failure_strip(arm: &Arm, pod: &Pod, axis: Axis) -> Strip {
    let mut strip = Strip::new(axis);
    let certain = failures_of(arm, pod).filter(|(_, certain)| *certain).count() as u64;
    // Only the first failures are in the report one by one; where this pod had more, outages show how far they reach.
    if certain < pod.failed.saturating_add(pod.late) {
        for outage in &arm.outages {
            if axis.cell(outage.from_ns).is_some() || axis.cell(outage.to_ns).is_some() {
                strip.fill(outage.from_ns, outage.to_ns, '╌', Style::Bad);
            }
        }
    }
    // Failed over late over uncertain, where they fall into one column.
    let rank = |failure: &Failure, certain: bool| match (certain, failure.class.as_str()) {
        (false, _) => (0, '?', Style::Warn),
        (true, "late") => (1, '○', Style::BadBanner),
        (true, _) => (2, '×', Style::BadBanner),
    };
    let mut marks: Vec<_> = failures_of(arm, pod)
        .filter_map(|(failure, certain)| Some((rank(failure, certain), axis.cell(placed(failure))?)))
        .collect();
    marks.sort_by_key(|((rank, ..), cell)| (*rank, *cell));
    if marks.is_empty() && certain >= pod.failed.saturating_add(pod.late) {
        strip.write(0, "none seen", Style::Good);
    }
    for ((_, glyph, style), cell) in marks {
        strip.put(cell, glyph, style);
    }
    strip
}

fn since(origin: u64, at_ns: u64) -> i64 {
    let distance = i64::try_from(at_ns.abs_diff(origin)).unwrap_or(i64::MAX);
    if at_ns < origin { -distance } else { distance }
}
