//! What failed: how, when in a pod's life, and examples.

use std::collections::{BTreeMap, BTreeSet};

use trial::analysis::Cause;
use trial::report::{Arm, Failure, PodPhase};
use trial::routing::Routing;

use super::edges;
use super::page::Page;
use crate::style::Style;
use crate::units::{count, counted, duration, ordinal, seconds};
use crate::wrap::columns;

const SHOWN_EXAMPLES: usize = 5;
/// Fewer examples than this are filled up with more of the same kind.
const FEW_EXAMPLES: usize = 3;
const SHOWN_OUTAGES: usize = 5;

pub(super) fn write(page: &mut Page, arm: &Arm) {
    let (failed, late) = (arm.requests.failed, arm.requests.late);
    if failed == 0 && late == 0 && arm.failures.is_empty() {
        return;
    }
    page.heading(
        "Failures",
        &format!("{} failed, {} late of {} sent", count(failed), count(late), count(arm.requests.sent)),
    );
    breakdown(page, "by class", &arm.failures_by_class, class_means);
    breakdown(page, "by pod phase", &arm.failures_by_pod_phase, phase_means);
    breakdown(page, "by routing", &arm.failures_by_routing, routing_means);
    breakdown(page, "by cause", &arm.failures_by_cause, cause_means);
    outages(page, arm);
    examples(page, arm, failed.saturating_add(late));
}

/// The most frequent first, each with what it means.
fn breakdown(page: &mut Page, title: &str, counts: &BTreeMap<String, u64>, means: fn(&str) -> &'static str) {
    let mut counts: Vec<(&String, u64)> = counts.iter().map(|(name, number)| (name, *number)).collect();
    counts.sort_by_key(|(_, number)| std::cmp::Reverse(*number));
    let names = counts.iter().map(|(name, _)| columns(name)).max().unwrap_or(0);
    let numbers = counts.iter().map(|(_, number)| columns(&count(*number))).max().unwrap_or(0);
    for (index, (name, number)) in counts.into_iter().enumerate() {
        let title = if index == 0 { title } else { "" };
        let first = format!("  {title:<14}{:>numbers$} {name:<names$}  ", count(number));
        page.sentence(Style::Dim, &first, &" ".repeat(columns(&first)), or_dash(means(name)));
    }
}

fn outages(page: &mut Page, arm: &Arm) {
    for (index, outage) in arm.outages.iter().take(SHOWN_OUTAGES).enumerate() {
        let lasted = duration(outage.to_ns.saturating_sub(outage.from_ns));
        let when = if outage.from_ns == outage.to_ns {
            format!("at {}", seconds(outage.from_ns))
        } else {
            format!("for {lasted}, from {} to {}", seconds(outage.from_ns), seconds(outage.to_ns))
        };
        let line = format!(
            "lane {} {when} of the run: {} failed, {} late",
            outage.lane,
            count(outage.failed),
            count(outage.late)
        );
        page.sentence(
            Style::Plain,
            if index == 0 { "  outages       " } else { "                " },
            "                  ",
            &line,
        );
    }
    if arm.outages.len() > SHOWN_OUTAGES {
        let more = arm.outages.len() - SHOWN_OUTAGES;
        page.sentence(Style::Dim, "                ", "", &format!("… and {more} more: see report.json"));
    }
}

fn examples(page: &mut Page, arm: &Arm, total: u64) {
    let chosen = choose(&arm.failures);
    if chosen.is_empty() {
        return;
    }
    page.blank();
    let shown = chosen.len() as u64;
    let listed = arm.failures.len() as u64;
    let rest = if total > listed {
        format!(
            ", the first of each kind; report.json has the first {}, the recording's failures.ndjson all of them",
            count(listed)
        )
    } else if total > shown {
        ", the first of each kind; the others are in report.json".to_owned()
    } else {
        String::new()
    };
    page.sentence(
        Style::Dim,
        "  ",
        "  ",
        &format!("{shown} of {}{rest}:", counted(total.max(shown), "request")),
    );
    for (number, failure) in chosen.into_iter().enumerate() {
        page.sentence(Style::Plain, &format!("  {}. ", number + 1), "     ", &failure.sentence);
        page.list(Style::Dim, "     ", &facts(failure));
    }
}

/// The first of each kind: fifty refusals must not hide the one reset, nor be shown five times.
fn choose(failures: &[Failure]) -> Vec<&Failure> {
    let mut kinds = BTreeSet::new();
    let (firsts, others): (Vec<_>, Vec<_>) = failures.iter().enumerate().partition(|(_, failure)| {
        kinds.insert((&failure.class, &failure.pod, failure.pod_phase, failure.routing))
    });
    let fill = FEW_EXAMPLES.saturating_sub(firsts.len());
    let mut chosen: Vec<(usize, &Failure)> =
        firsts.into_iter().take(SHOWN_EXAMPLES).chain(others.into_iter().take(fill)).collect();
    chosen.sort_unstable_by_key(|(index, _)| *index);
    chosen.into_iter().map(|(_, failure)| failure).collect()
}

fn facts(failure: &Failure) -> Vec<String> {
    let mut facts = vec![
        format!("at {}", seconds(failure.at_ns)),
        format!("lane {}", failure.lane),
        format!("slot {}", count(failure.slot)),
        failure.class.clone(),
    ];
    facts.extend(failure.status.map(|status| format!("status {status}")));
    if failure.connection > 0 {
        facts.push(format!(
            "connection {}, {} request on it",
            count(u64::from(failure.connection)),
            ordinal(failure.nth)
        ));
    }
    facts.push(match (&failure.pod, failure.candidates.as_slice()) {
        (Some(pod), _) => format!("pod {pod}"),
        (None, []) => "pod not known".to_owned(),
        (None, candidates) => format!("pod not known, one of {}", candidates.join(", ")),
    });
    facts.push(match failure.pod_phase {
        PodPhase::Unknown => "phase not observed".to_owned(),
        phase => format!("phase {}", phase.as_str()),
    });
    facts.push(match failure.routing {
        Routing::Unknown => "routing not observed".to_owned(),
        routing => format!("routing {}", routing.as_str()),
    });
    if let (Some(edge), Some(margin)) = (&failure.nearest_edge, failure.margin_ns) {
        let side = if margin < 0 { "before" } else { "after" };
        facts.push(format!("{} {side} {}", duration(margin.unsigned_abs()), edges::name(edge)));
    }
    facts
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "–" } else { text }
}

fn class_means(class: &str) -> &'static str {
    match class {
        "dns" => "the name did not resolve",
        "connect-refused" => "nothing listened, or no endpoint was left",
        "connect-timeout" => "no answer to the connection attempt",
        "connect-unreachable" => "no route to the pod's address",
        "tls" => "the TLS handshake failed",
        "write-broken-pipe" | "write-reset" => "the connection was cut while the request was written",
        "wait-reset" => "reset (RST) before the first byte of the answer",
        "wait-closed" => "closed (FIN) before the first byte of the answer",
        "wait-timeout" => "no byte of an answer in time",
        "body-reset" => "reset (RST) in the middle of the answer",
        "body-closed" => "closed (FIN) in the middle of the answer",
        "body-timeout" => "the answer was not complete in time",
        "body-corrupt" => "the answer was complete, but wrong",
        "h2-goaway" | "h2-stream-reset" => "HTTP/2 took the request back",
        "http-4xx" => "answered with a status from 400 to 499",
        "http-5xx" => "answered with a status from 500 to 599",
        "status-unexpected" => "answered with another status than expected",
        "late" => "answered, but later than allowed",
        "client-ports" | "client-files" => "the client ran out of it: not the service's fault",
        "interrupted" => "the run ended meanwhile: not the service's fault",
        _ => "",
    }
}

fn phase_means(phase: &str) -> &'static str {
    match phase {
        "starting" => "not Ready yet",
        "serving" => "Ready, not asked to stop",
        "pre-stop" => "the preStop hook runs, no SIGTERM yet",
        "draining" => "after SIGTERM, its listener not seen to be closed",
        "listener-closed" => "after SIGTERM, no longer accepting connections",
        "exited" => "the process has ended",
        "ip-gone" => "the pod's address is gone",
        "unknown" => "an edge was not observed, or the pod is not known",
        _ => "",
    }
}

/// As the sentence of a failure says it.
fn cause_means(name: &str) -> &'static str {
    Cause::ALL.into_iter().find(|cause| cause.as_str() == name).map_or("", Cause::text)
}

fn routing_means(routing: &str) -> &'static str {
    match routing {
        "programmed" => "the node still sent new connections to the pod",
        "removed" => "the node no longer did: the connection was older",
        "fallback" => "no other endpoint was ready, so a terminating pod was used",
        "unknown" => "not observed, or the pod is not known",
        _ => "",
    }
}
