//! A report as one file for a browser: no script, nothing fetched, readable on paper and in the dark.

mod timeline;

use trial::plan::Role;
use trial::report::{Arm, Failure, Pod, Report, Verdict};

use crate::facts::{bad_of_exposed, dash, duration_or_dash, place, verdict_of};
use crate::units::{count, duration, offset, seconds};

const STYLE: &str = include_str!("html/style.css");

/// Renders a self-contained HTML document, UTF-8.
#[must_use]
pub fn html(report: &Report) -> String {
    let mut page = Page::default();
    let (word, class) = match report.verdict {
        Verdict::Pass => ("PASS", "pass"),
        Verdict::Fail => ("FAIL", "fail"),
        Verdict::Inconclusive => ("INCONCLUSIVE", "inconclusive"),
    };
    page.raw("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    // Without one a browser asks the server for it.
    page.raw("<link rel=\"icon\" href=\"data:,\">\n");
    page.element("title", &format!("{word}: {} – drainproof", report.run.scenario));
    page.raw(&format!("<style>\n{STYLE}</style>\n</head>\n<body>\n<header class=\"{class}\">\n"));
    page.raw(&format!("<h1><strong>{word}</strong> {}</h1>\n", escape(&report.run.scenario)));
    page.element("p", &format!("{} · {} · run {}", place(&report.run), report.run.started_at, report.run.id));
    page.list(&report.reasons);
    page.raw("</header>\n<main>\n");
    for claim in &report.claims {
        let holds = match claim.holds {
            Some(true) => "holds",
            Some(false) => "does not hold",
            None => "was not shown",
        };
        page.element("p", &format!("Claim {} {holds}: {} ({})", claim.id, claim.text, claim.evidence));
    }
    page.arms(&report.arms);
    for arm in report.arms.iter().filter(|arm| arm.role == Role::Trial) {
        page.arm(arm);
    }
    if !report.advice.is_empty() {
        page.element("h2", "What to do");
    }
    for advice in &report.advice {
        page.element("p", &advice.text);
        if let Some(patch) = &advice.patch {
            page.element("pre", patch);
        }
    }
    page.about(report);
    page.raw("</main>\n</body>\n</html>\n");
    page.text
}

/// The document so far.
#[derive(Debug, Default)]
struct Page {
    text: String,
}

impl Page {
    fn raw(&mut self, markup: &str) {
        self.text.push_str(markup);
    }

    fn element(&mut self, tag: &str, text: &str) {
        self.raw(&format!("<{tag}>{}</{tag}>\n", escape(text)));
    }

    fn list(&mut self, items: &[String]) {
        if items.is_empty() {
            return;
        }
        self.raw("<ul>\n");
        for item in items {
            self.element("li", item);
        }
        self.raw("</ul>\n");
    }

    /// The first `left` columns hold words, the others figures.
    fn table(
        &mut self,
        caption: &str,
        header: &[&str],
        left: usize,
        rows: impl Iterator<Item = Vec<String>>,
    ) {
        self.raw("<div class=\"wide\"><table>\n");
        self.element("caption", caption);
        self.raw("<thead><tr>");
        for name in header {
            self.raw(&format!("<th scope=\"col\">{}</th>", escape(name)));
        }
        self.raw("</tr></thead>\n<tbody>\n");
        for row in rows {
            self.raw("<tr>");
            for (column, cell) in row.iter().enumerate() {
                let class = if column < left { "" } else { " class=\"figure\"" };
                self.raw(&format!("<td{class}>{}</td>", escape(cell)));
            }
            self.raw("</tr>\n");
        }
        self.raw("</tbody>\n</table></div>\n");
    }

    fn arms(&mut self, arms: &[Arm]) {
        self.element("h2", "Arms");
        let header = ["arm", "verdict", "sent", "failed", "late", "unsent", "bad / exposed", "rollout"];
        let caption =
            "Bad / exposed: pods with a failed or late request, of those terminated under load (95 % bound)";
        let rows = arms.iter().map(|arm| {
            let requests = &arm.requests;
            vec![
                arm.name.clone(),
                verdict_of(arm).to_owned(),
                count(requests.sent),
                count(requests.failed),
                count(requests.late),
                count(requests.unsent),
                bad_of_exposed(arm),
                duration_or_dash(arm.rollouts.duration_ns),
            ]
        });
        self.table(caption, &header, 2, rows);
    }

    fn arm(&mut self, arm: &Arm) {
        self.raw("<section>\n");
        self.element("h2", &arm.name);
        self.list(&arm.reasons);
        let header =
            ["lane", "sent", "ok", "failed", "late", "unsent", "p50", "p99", "p99.9", "max", "lag p99"];
        let rows = arm.lanes.iter().map(|lane| {
            let (requests, latency) = (&lane.requests, lane.latency_ns);
            let mut row = vec![lane.name.clone()];
            let counts = [requests.sent, requests.ok, requests.failed, requests.late, requests.unsent];
            row.extend(counts.map(count));
            row.extend(
                [
                    latency.map(|of| of.p50),
                    latency.map(|of| of.p99),
                    latency.map(|of| of.p999),
                    latency.map(|of| of.max),
                    lane.schedule_lag_ns.map(|lag| lag.p99),
                ]
                .map(duration_or_dash),
            );
            row
        });
        self.table("Latency counts from when each request was due", &header, 1, rows);
        self.raw(&timeline::svg(arm));
        self.pods(&arm.pods);
        self.failures(&arm.failures);
        self.raw("<details><summary>Settings</summary>\n");
        for (name, settings) in
            [("workload", &arm.settings), ("load", &arm.load), ("disruption", &arm.disruption)]
        {
            self.element("h3", name);
            self.element("pre", &serde_json::to_string_pretty(settings).unwrap_or_default());
        }
        self.raw("</details>\n</section>\n");
    }

    /// The race as numbers: how long after the listener closed each node still sent new connections.
    fn pods(&mut self, pods: &[Pod]) {
        let terminated: Vec<&Pod> = pods.iter().filter(|pod| pod.timeline.terminating_ns.is_some()).collect();
        if terminated.is_empty() {
            return;
        }
        let header =
            ["pod", "node", "SIGTERM", "listener closed", "last endpoint gone", "end", "failed", "late"];
        let rows = terminated.into_iter().map(|pod| {
            let timeline = &pod.timeline;
            let since = |at: Option<u64>| {
                let from = timeline.terminating_ns.unwrap_or_default();
                at.map_or_else(dash, |at| offset(at.cast_signed().saturating_sub(from.cast_signed())))
            };
            let last = pod.endpoint.iter().filter_map(|one| one.removed_ns).max();
            vec![
                pod.name.clone(),
                pod.node.clone(),
                since(timeline.sigterm_ns),
                since(timeline.listener_closed_ns),
                since(last),
                since(timeline.exited_ns),
                count(pod.failed),
                count(pod.late),
            ]
        });
        self.table("Terminated pods; times count from the delete", &header, 2, rows);
    }

    fn failures(&mut self, failures: &[Failure]) {
        if failures.is_empty() {
            return;
        }
        let header = ["class", "lane", "pod", "phase", "routing", "what happened", "at", "margin"];
        let rows = failures.iter().map(|failure| {
            let pod = failure.pod.clone().unwrap_or_else(|| match failure.candidates.len() {
                0 => dash(),
                _ => format!("one of {}", failure.candidates.join(", ")),
            });
            let margin = failure.nearest_edge.as_ref().zip(failure.margin_ns);
            vec![
                failure.class.clone(),
                failure.lane.clone(),
                pod,
                failure.pod_phase.as_str().to_owned(),
                failure.routing.as_str().to_owned(),
                failure.sentence.clone(),
                seconds(failure.at_ns),
                margin.map_or_else(dash, |(edge, margin)| format!("{} {edge}", offset(margin))),
            ]
        });
        self.table("The first failed and late requests", &header, 6, rows);
    }

    fn about(&mut self, report: &Report) {
        let run = &report.run;
        self.element("h2", "About this run");
        self.list(&run.caveats);
        let took = run.duration_ns.map_or_else(|| "end not recorded".to_owned(), duration);
        self.element("p", &format!("Took {took}; seed {}; drainproof {}.", run.seed, run.tool_version));
        self.element("pre", &run.argv.join(" "));
    }
}

/// Text as itself, in an element or a quoted attribute.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push('\n'),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
