//! The report for a pull request or a job's summary: what a reviewer must see, in GitHub's Markdown.

use std::fmt::Write;

use trial::plan::Role;
use trial::report::{Advice, Arm, Failure, Report, Verdict};

use crate::facts::{
    Names, bad_of_exposed, duration_or_dash, foremost, lanes_of, one_of_each, place, race, troubles_in,
    verdict_of,
};
use crate::units::{count, seconds};

mod comparison;

pub use comparison::comparison;

/// More rows than this say nothing new in a comment; `report.json` has them all.
const SHOWN_FAILURES: usize = 5;
const SHOWN_REASONS: usize = 5;
/// Names of arms that are wider than this are told below the table.
const NAME_WIDTH: usize = 40;
/// A reviewer meets the words here for the first time.
const BAD_OF_EXPOSED: &str = "<sub>bad / exposed: pods with a failed or late request, of those terminated under load; in \
                              brackets the 95 % bound of their rate</sub>";

/// Renders GitHub-flavoured Markdown, UTF-8, with a trailing newline. Whatever comes from outside (names, reasons) is
/// escaped: it can neither break a table nor mention a person.
#[must_use]
pub fn markdown(report: &Report) -> String {
    let mut page = String::new();
    let word = match report.verdict {
        Verdict::Pass => "✅ PASS",
        Verdict::Fail => "❌ FAIL",
        Verdict::Inconclusive => "⚠️ INCONCLUSIVE",
    };
    line(
        &mut page,
        &format!("## {word}: {} ({})", escape(&report.run.scenario), escape(&place(&report.run))),
    );
    line(&mut page, "");
    for reason in report.reasons.iter().take(SHOWN_REASONS) {
        line(&mut page, &format!("- {}", escape(reason)));
    }
    if report.reasons.len() > SHOWN_REASONS {
        line(&mut page, &format!("- … and {} more in report.json", report.reasons.len() - SHOWN_REASONS));
    }
    let names = Names::of(&report.arms, NAME_WIDTH);
    arms(&mut page, &report.arms, names);
    for (index, arm) in report.arms.iter().enumerate().filter(|(_, arm)| arm.role == Role::Trial) {
        lanes(&mut page, arm, Some(names.short(index)).filter(|_| report.arms.len() > 1));
        if let Some(race) = race(arm) {
            line(&mut page, "");
            line(&mut page, &format!("Race: {}.", escape(&race)));
        }
        failures(&mut page, &arm.failures);
    }
    advice(&mut page, &report.advice, names);
    about(&mut page, report);
    page
}

fn line(page: &mut String, text: &str) {
    page.push_str(text);
    page.push('\n');
}

fn table(page: &mut String, header: &[&str], left: usize, rows: impl Iterator<Item = Vec<String>>) {
    line(page, "");
    line(page, &format!("| {} |", header.join(" | ")));
    let rule = (0..header.len()).map(|column| if column < left { "---" } else { "---:" });
    line(page, &format!("| {} |", rule.collect::<Vec<_>>().join(" | ")));
    for row in rows {
        line(page, &format!("| {} |", row.join(" | ")));
    }
}

fn arms(page: &mut String, arms: &[Arm], called: Names<'_>) {
    let lanes = lanes_of(arms);
    let names: Vec<String> = lanes.iter().map(|lane| format!("in {}", escape(lane))).collect();
    let mut header = vec!["arm", "verdict", "sent", "failed", "late", "unsent"];
    header.extend(names.iter().map(String::as_str));
    header.extend(["bad / exposed", "rollout"]);
    table(
        page,
        &header,
        2,
        arms.iter().enumerate().map(|(index, arm)| {
            let requests = &arm.requests;
            let mut row = vec![
                escape(&called.short(index)),
                verdict_of(arm).to_owned(),
                count(requests.sent),
                count(requests.failed),
                count(requests.late),
                count(requests.unsent),
            ];
            row.extend(lanes.iter().map(|lane| troubles_in(arm, lane)));
            row.extend([bad_of_exposed(arm), duration_or_dash(arm.rollouts.duration_ns)]);
            row
        }),
    );
    if arms.iter().any(|arm| arm.terminations.total > 0) {
        line(page, "");
        line(page, BAD_OF_EXPOSED);
    }
    for (index, (short, name)) in called.explained().enumerate() {
        if index == 0 {
            line(page, "");
        }
        line(page, &format!("- {}: {}", escape(&short), escape(name)));
    }
}

fn lanes(page: &mut String, arm: &Arm, name: Option<String>) {
    if let Some(name) = name {
        line(page, "");
        line(page, &format!("**{}**", escape(&name)));
    }
    let header = ["lane", "sent", "failed", "late", "p50", "p99", "max"];
    table(
        page,
        &header,
        1,
        arm.lanes.iter().map(|lane| {
            let latency = lane.latency_ns;
            vec![
                escape(&lane.name),
                count(lane.requests.sent),
                count(lane.requests.failed),
                count(lane.requests.late),
                duration_or_dash(latency.map(|of| of.p50)),
                duration_or_dash(latency.map(|of| of.p99)),
                duration_or_dash(latency.map(|of| of.max)),
            ]
        }),
    );
}

fn failures(page: &mut String, failures: &[Failure]) {
    if failures.is_empty() {
        return;
    }
    let rows = one_of_each(failures).take(SHOWN_FAILURES).map(|failure| {
        let pod = failure.pod.clone().unwrap_or_else(|| {
            if failure.candidates.is_empty() {
                "unknown".to_owned()
            } else {
                format!("one of {}", failure.candidates.join(", "))
            }
        });
        vec![
            escape(&failure.class),
            escape(&failure.lane),
            escape(&pod),
            failure.pod_phase.as_str().to_owned(),
            escape(&failure.sentence),
            seconds(failure.at_ns),
        ]
    });
    table(page, &["first of each kind", "lane", "pod", "phase", "what happened", "at"], 5, rows);
}

fn advice(page: &mut String, advice: &[Advice], names: Names<'_>) {
    let (shown, more) = foremost(advice);
    for advice in shown {
        let text = format!("{}{}", names.prefix(advice.arm.as_ref()), advice.text);
        line(page, "");
        line(page, &format!("**What to do:** {}", escape(&text)));
        if let Some(patch) = &advice.patch {
            // A fence longer than any run of backticks inside cannot be closed by it.
            let fence = "`".repeat(longest_run(patch).max(2) + 1);
            line(page, "");
            line(page, &format!("{fence}yaml"));
            line(page, patch.trim_end());
            line(page, &fence);
        }
    }
    if !more.is_empty() {
        line(page, "");
        line(page, &format!("… and {} more in report.json", more.len()));
    }
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

fn about(page: &mut String, report: &Report) {
    let run = &report.run;
    line(page, "");
    line(page, "<details><summary>About this run</summary>");
    line(page, "");
    let took = run.duration_ns.map_or_else(|| "end not recorded".to_owned(), seconds);
    let mut said = String::new();
    let _infallible = write!(
        said,
        "- run {}, seed {}, began {}, {took}; drainproof {}",
        escape(&run.id),
        run.seed,
        escape(&run.started_at),
        escape(&run.tool_version)
    );
    line(page, &said);
    for caveat in &run.caveats {
        line(page, &format!("- {}", escape(caveat)));
    }
    line(page, "");
    line(page, "</details>");
}

/// Text as itself: nothing in it is markup, ends a cell or a line, or calls somebody.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '@' => escaped.push_str("&#64;"),
            '#' => escaped.push_str("&#35;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '!' => {
                escaped.push('\\');
                escaped.push(c);
            }
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_is_markup() {
        assert_eq!(escape("a|b\n@c <d> `e`"), "a\\|b &#64;c &lt;d&gt; \\`e\\`");
        let mut page = String::new();
        let told = Advice { arm: None, text: "x".into(), patch: Some("a: '````'\n".into()) };
        advice(&mut page, &[told], Names::of(&[], NAME_WIDTH));
        assert!(page.contains("`````yaml\na: '````'\n`````\n"), "{page}");
    }
}
