//! A report as one file for a browser: no script, nothing fetched, readable on paper and in the dark.
//!
//! * `page`: the markup that the others write
//! * `arm`: one arm's section
//! * `timeline`: all pods over the whole run, and what failed on them
//! * `race`: both flows of each termination, from its delete on
//! * `svg`: an axis and shapes on it
//!
//! Everything from outside goes through `page::escape`; the page's own policy forbids scripts and addresses, so that a
//! browser would refuse, and complain of, whatever slipped through.

mod arm;
mod page;
mod race;
mod svg;
mod timeline;

use trial::plan::Role;
use trial::report::{Advice, Arm, Report, Verdict};

use crate::facts::{bad_of_exposed, duration_or_dash, foremost, lanes_of, place, troubles_in, verdict_of};
use crate::units::{count, duration};
use page::{Cell, Page, Tone};

const STYLE: &str = include_str!("html/style.css");

/// Renders a self-contained HTML document, UTF-8.
#[must_use]
pub fn html(report: &Report) -> String {
    let mut page = Page::default();
    let (word, tone) = match report.verdict {
        Verdict::Pass => ("PASS", Tone::Good),
        Verdict::Fail => ("FAIL", Tone::Bad),
        Verdict::Inconclusive => ("INCONCLUSIVE", Tone::Doubtful),
    };
    page.raw("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    page.raw("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n");
    // Without one a browser asks the server for it.
    page.raw("<link rel=\"icon\" href=\"data:,\">\n");
    page.element("title", &format!("{word}: {} – drainproof", report.run.scenario));
    page.raw(&format!("<style>\n{STYLE}</style>\n</head>\n<body>\n<header class=\"{}\">\n", tone.class()));
    page.raw("<h1>");
    page.pill(tone, word);
    page.raw(" ");
    page.text(&report.run.scenario);
    page.raw("</h1>\n");
    page.element("p", &format!("{} · exit code {}", place(&report.run), report.exit_code));
    page.list(&report.reasons);
    page.raw("</header>\n<main>\n");
    arms(&mut page, &report.arms);
    advice(&mut page, report);
    claims(&mut page, report);
    for (index, arm) in report.arms.iter().enumerate() {
        arm::section(&mut page, index, arm);
    }
    page.raw("</main>\n");
    about(&mut page, report);
    page.raw("</body>\n</html>\n");
    page.finish()
}

fn arms(page: &mut Page, arms: &[Arm]) {
    page.element("h2", "Arms");
    let lanes = lanes_of(arms);
    let names: Vec<String> = lanes.iter().map(|lane| format!("in {lane}")).collect();
    let mut header = vec!["arm", "verdict", "sent", "failed", "late", "unsent"];
    header.extend(names.iter().map(String::as_str));
    header.extend(["bad / exposed", "rollout"]);
    let caption = "Bad / exposed: pods with a failed or late request, of those terminated under load (95 % bound). \
                   Rollout: what the settings cost, from the disruption's begin to the last pod's end.";
    let rows = arms.iter().enumerate().map(|(index, arm)| {
        let requests = &arm.requests;
        let hurt = |number: u64| match (number, arm.role) {
            (1.., Role::Trial | Role::Control) => Cell::Alarming(count(number)),
            _ => Cell::Figure(count(number)),
        };
        let mut row = vec![
            Cell::Link { id: arm::id(index), text: arm.name.clone() },
            Cell::Pill(tone_of(arm), verdict_of(arm).to_owned()),
            Cell::Figure(count(requests.sent)),
            hurt(requests.failed),
            hurt(requests.late),
            hurt(requests.unsent),
        ];
        row.extend(lanes.iter().map(|lane| Cell::Figure(troubles_in(arm, lane))));
        row.push(Cell::Figure(bad_of_exposed(arm)));
        row.push(Cell::Figure(duration_or_dash(arm.rollouts.duration_ns)));
        row
    });
    page.table(caption, &header, rows);
}

/// A negative control that fails is as it must be.
fn tone_of(arm: &Arm) -> Tone {
    match (arm.role, arm.verdict) {
        (Role::NegativeControl, _) if arm.requests.failed > 0 => Tone::Good,
        (Role::NegativeControl, _) => Tone::Bad,
        (Role::Control, _) if arm.requests.failed > 0 => Tone::Bad,
        (_, Verdict::Pass) => Tone::Good,
        (_, Verdict::Fail) => Tone::Bad,
        (_, Verdict::Inconclusive) => Tone::Doubtful,
    }
}

fn advice(page: &mut Page, report: &Report) {
    if report.advice.is_empty() {
        return;
    }
    page.element("h2", "What to do");
    let (shown, more) = foremost(&report.advice);
    pieces(page, &shown);
    if !more.is_empty() {
        page.raw(&format!("<details><summary>{} more</summary>\n", more.len()));
        pieces(page, &more);
        page.raw("</details>\n");
    }
}

fn pieces(page: &mut Page, all: &[&Advice]) {
    for advice in all {
        let arm = advice.arm.as_ref().map_or_else(String::new, |arm| format!("arm {arm}: "));
        page.element("p", &format!("{arm}{}", advice.text));
        if let Some(patch) = &advice.patch {
            page.element("pre", patch);
        }
    }
}

fn claims(page: &mut Page, report: &Report) {
    if report.claims.is_empty() {
        return;
    }
    page.element("h2", "Claims");
    let rows = report.claims.iter().map(|claim| {
        let (tone, holds) = match claim.holds {
            Some(true) => (Tone::Good, "holds"),
            Some(false) => (Tone::Bad, "does not hold"),
            None => (Tone::Doubtful, "was not shown"),
        };
        vec![
            Cell::Words(claim.id.clone()),
            Cell::Pill(tone, holds.to_owned()),
            Cell::Sentence(claim.text.clone()),
            Cell::Sentence(claim.evidence.clone()),
        ]
    });
    page.table(
        "What is said of how pods end, and what this run showed",
        &["", "", "claim", "evidence"],
        rows,
    );
}

fn about(page: &mut Page, report: &Report) {
    let run = &report.run;
    page.raw("<footer>\n");
    if !run.caveats.is_empty() {
        page.element("h2", "Caveats");
        page.list(&run.caveats);
    }
    page.element("h2", "About this run");
    page.raw("<dl>\n");
    let mut facts = vec![
        ("run", run.id.clone()),
        ("started", run.started_at.clone()),
        ("took", run.duration_ns.map_or_else(|| "end not recorded".to_owned(), duration)),
        ("seed", run.seed.to_string()),
        ("drainproof", format!("{}, report {}", run.tool_version, report.schema_version)),
    ];
    facts.extend(run.backend_version.iter().map(|version| ("cluster", version.clone())));
    facts.extend(run.environment.iter().map(|(name, value)| (name.as_str(), value.clone())));
    for (name, value) in facts {
        page.element("dt", name);
        page.element("dd", &value);
    }
    page.raw("</dl>\n");
    page.element("pre", &run.argv.join(" "));
    page.raw("</footer>\n");
}
