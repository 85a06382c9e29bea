//! The verdict, why, and which run it was.

use trial::report::{Claim, Report, Verdict};

use super::page::Page;
use crate::facts::place;
use crate::style::Style;
use crate::units;

/// Reasons shown; the others are in report.json.
const SHOWN_REASONS: usize = 5;

pub(super) fn write(page: &mut Page, report: &Report) {
    let (word, style) = match report.verdict {
        Verdict::Pass => ("PASS", Style::GoodBanner),
        Verdict::Fail => ("FAIL", Style::BadBanner),
        Verdict::Inconclusive => ("INCONCLUSIVE", Style::WarnBanner),
    };
    page.spans(&[
        (style, word),
        (Style::Plain, "  "),
        (Style::Heading, &report.run.scenario),
        (Style::Plain, &format!(" ({})", place(&report.run))),
    ]);
    page.list(Style::Dim, "", &about(report));
    page.blank();
    for reason in report.reasons.iter().take(SHOWN_REASONS) {
        page.sentence(Style::Plain, "  • ", "    ", reason);
    }
    if let Some(more) = report.reasons.len().checked_sub(SHOWN_REASONS).filter(|more| *more > 0) {
        page.sentence(Style::Dim, "    ", "    ", &format!("… and {more} more: see report.json"));
    }
    claims(page, &report.claims);
    if let Some(tune) = &report.tune {
        tuned(page, tune);
    }
}

fn about(report: &Report) -> Vec<String> {
    let took = report
        .run
        .duration_ns
        .map_or_else(|| "end not recorded".to_owned(), |nanos| format!("took {}", units::duration(nanos)));
    vec![
        format!("run {}", report.run.id),
        format!("started {}", report.run.started_at),
        took,
        format!("seed {}", report.run.seed),
        format!("exit code {}", report.exit_code),
    ]
}

fn claims(page: &mut Page, claims: &[Claim]) {
    if claims.is_empty() {
        return;
    }
    page.heading("Claims", "of the article, against what was measured");
    for claim in claims {
        let (word, style) = match claim.holds {
            Some(true) => ("holds", Style::Good),
            Some(false) => ("does not hold", Style::Bad),
            None => ("not shown", Style::Warn),
        };
        page.spans(&[(Style::Heading, &format!("  {}: ", claim.id)), (style, word)]);
        page.sentence(Style::Plain, "     ", "     ", &claim.text);
        page.sentence(Style::Dim, "     ", "     ", &claim.evidence);
    }
}

/// The answer of `tune`. Its fields are shown as they are named in the schema, so that nothing gets lost.
fn tuned(page: &mut Page, tune: &serde_json::Value) {
    page.heading("Tuned", "the smallest setting found safe");
    let Some(fields) = tune.as_object() else { return };
    for (name, value) in fields.iter().filter(|(name, value)| *name != "patch" && !value.is_null()) {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        page.sentence(Style::Plain, "  ", "    ", &format!("{}: {value}", name.replace('_', " ")));
    }
    if let Some(patch) = fields.get("patch").and_then(serde_json::Value::as_str) {
        page.verbatim("    ", patch);
    }
}
