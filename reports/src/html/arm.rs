//! One arm: how it went, when, why, and with which settings.

use trial::plan::Role;
use trial::report::{Arm, Failure, Pod};

use super::page::{Cell, Page};
use super::{race, timeline, tone_of};
use crate::facts::{dash, duration_or_dash, one_of_each, verdict_of};
use crate::units::{count, duration, offset, seconds};

/// Counterexamples told in full; the table beneath them has the others.
const TOLD: usize = 8;

/// The section of the arm of this number can be pointed at by this.
pub(super) fn id(index: usize) -> String {
    format!("arm-{index}")
}

/// Trial arms lie open; controls are there for whoever doubts them.
pub(super) fn section(page: &mut Page, index: usize, arm: &Arm) {
    let is_trial = arm.role == Role::Trial;
    page.raw(&format!("<section id=\"{}\">\n<h2>", id(index)));
    page.text(&arm.name);
    page.raw(" ");
    page.pill(tone_of(arm), verdict_of(arm));
    page.raw("</h2>\n");
    page.list(&arm.reasons);
    if !is_trial {
        page.raw("<details><summary>Lanes, timeline and settings of this control</summary>\n");
    }
    lanes(page, arm);
    page.raw(&timeline::figure(arm));
    page.raw(&race::figure(arm));
    pods(page, &arm.pods);
    failures(page, arm);
    page.raw("<details><summary>Settings</summary>\n");
    for (name, settings) in
        [("workload", &arm.settings), ("load", &arm.load), ("disruption", &arm.disruption)]
    {
        page.element("h4", name);
        page.element("pre", &serde_json::to_string_pretty(settings).unwrap_or_default());
    }
    page.raw("</details>\n");
    if !is_trial {
        page.raw("</details>\n");
    }
    page.raw("</section>\n");
}

fn lanes(page: &mut Page, arm: &Arm) {
    let header = ["lane", "sent", "ok", "failed", "late", "unsent", "p50", "p99", "p99.9", "max", "lag p99"];
    let rows = arm.lanes.iter().map(|lane| {
        let (requests, latency) = (&lane.requests, lane.latency_ns);
        let figure = |number: u64| Cell::Figure(count(number));
        let hurt = |number: u64| if number > 0 { Cell::Alarming(count(number)) } else { figure(number) };
        let mut row = vec![Cell::Words(lane.name.clone()), figure(requests.sent), figure(requests.ok)];
        row.extend([requests.failed, requests.late, requests.unsent].map(hurt));
        let times = [
            latency.map(|of| of.p50),
            latency.map(|of| of.p99),
            latency.map(|of| of.p999),
            latency.map(|of| of.max),
            lane.schedule_lag_ns.map(|lag| lag.p99),
        ];
        row.extend(times.map(|time| Cell::Figure(duration_or_dash(time))));
        row
    });
    let caption = "Latency counts from when each request was due, not from when it was sent";
    page.table(caption, &header, rows);
}

/// The race as numbers: how long after the listener closed each node still sent new connections.
fn pods(page: &mut Page, pods: &[Pod]) {
    let terminated: Vec<&Pod> = pods.iter().filter(|pod| pod.timeline.terminating_ns.is_some()).collect();
    if terminated.is_empty() {
        return;
    }
    let header = [
        "pod",
        "node",
        "SIGTERM",
        "listener closed",
        "process ended",
        "last endpoint gone",
        "due meanwhile",
        "failed",
        "late",
    ];
    let rows = terminated.into_iter().map(|pod| {
        let timeline = &pod.timeline;
        let since = |at: Option<u64>| {
            let from = timeline.terminating_ns.unwrap_or_default();
            Cell::Figure(
                at.map_or_else(dash, |at| offset(at.cast_signed().saturating_sub(from.cast_signed()))),
            )
        };
        // The last is known only if each is.
        let removed: Option<Vec<u64>> = pod.endpoint.iter().map(|one| one.removed_ns).collect();
        let hurt = |number: u64| match number {
            0 => Cell::Figure(count(0)),
            _ => Cell::Alarming(count(number)),
        };
        vec![
            Cell::Words(pod.name.clone()),
            Cell::Words(pod.node.clone()),
            since(timeline.sigterm_ns),
            since(timeline.listener_closed_ns),
            since(timeline.exited_ns),
            since(removed.and_then(|all| all.into_iter().max())),
            Cell::Figure(count(pod.requests_while_terminating)),
            hurt(pod.failed),
            hurt(pod.late),
        ]
    });
    page.element("h3", "Terminated pods");
    page.table("Times count from the delete; a dash was not observed", &header, rows);
}

fn failures(page: &mut Page, arm: &Arm) {
    if arm.failures.is_empty() {
        return;
    }
    page.element("h3", "What failed");
    page.raw("<div class=\"breakdown\">\n");
    for (by, counts) in [
        ("class", &arm.failures_by_class),
        ("pod phase", &arm.failures_by_pod_phase),
        ("routing", &arm.failures_by_routing),
        ("cause", &arm.failures_by_cause),
    ] {
        let mut sorted: Vec<(&String, &u64)> = counts.iter().collect();
        sorted.sort_by_key(|(_, number)| std::cmp::Reverse(**number));
        let rows = sorted
            .into_iter()
            .map(|(name, number)| vec![Cell::Figure(count(*number)), Cell::Words(name.clone())]);
        page.table(&format!("by {by}"), &["", by], rows);
    }
    page.raw("</div>\n<ol class=\"cases\">\n");
    for failure in one_of_each(&arm.failures).take(TOLD) {
        page.raw("<li>");
        page.element("p", &failure.sentence);
        page.element("small", &whereabouts(failure));
        page.raw("</li>\n");
    }
    page.raw("</ol>\n");
    let header = ["at", "lane", "class", "pod", "phase", "routing", "what happened", "margin"];
    let rows = arm.failures.iter().map(|failure| {
        vec![
            Cell::Figure(seconds(failure.at_ns)),
            Cell::Words(failure.lane.clone()),
            Cell::Words(failure.class.clone()),
            Cell::Words(pod_of(failure)),
            Cell::Words(failure.pod_phase.as_str().to_owned()),
            Cell::Words(failure.routing.as_str().to_owned()),
            Cell::Sentence(failure.sentence.clone()),
            Cell::Figure(margin(failure).unwrap_or_else(dash)),
        ]
    });
    let total = arm.requests.failed + arm.requests.late;
    let listed = arm.failures.len() as u64;
    let which = if listed < total {
        format!("The first {} of {}", count(listed), count(total))
    } else {
        "All of them".to_owned()
    };
    page.raw("<details><summary>");
    page.text(&which);
    page.raw("</summary>\n");
    page.table("Failed and late requests, as they were seen", &header, rows);
    page.raw("</details>\n");
}

/// `connect-refused · lane new · pod web-1 · draining · programmed · at 5.063 s of the run · 12.0 ms after sigterm`.
fn whereabouts(failure: &Failure) -> String {
    let mut parts = vec![
        failure.class.clone(),
        format!("lane {}", failure.lane),
        format!("pod {}", pod_of(failure)),
        failure.pod_phase.as_str().to_owned(),
        format!("routing {}", failure.routing.as_str()),
        format!("at {} of the run", seconds(failure.at_ns)),
    ];
    parts.extend(margin(failure));
    parts.join(" · ")
}

fn pod_of(failure: &Failure) -> String {
    failure.pod.clone().unwrap_or_else(|| match failure.candidates.len() {
        0 => dash(),
        _ => format!("one of {}", failure.candidates.join(", ")),
    })
}

/// `0.041 s after listener closed`.
fn margin(failure: &Failure) -> Option<String> {
    let (edge, margin) = (failure.nearest_edge.as_ref()?, failure.margin_ns?);
    let side = if margin < 0 { "before" } else { "after" };
    Some(format!("{} {side} {}", duration(margin.unsigned_abs()), edge.replace('_', " ")))
}
