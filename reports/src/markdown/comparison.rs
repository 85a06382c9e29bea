//! Two runs against each other, for a pull request.

use trial::compare::{Comparison, Outcome};

use super::{SHOWN_REASONS, escape, line, table};
use crate::facts::{chance, dash, how_compared, of_rollouts};

/// Renders a comparison as GitHub-flavoured Markdown, UTF-8, with a trailing newline; escaped as a report is.
#[must_use]
pub fn comparison(comparison: &Comparison) -> String {
    let mut page = String::new();
    let word = match comparison.outcome {
        Outcome::NotWorse => "✅ NOT WORSE",
        Outcome::NotComparable => "⚠️ NOT COMPARABLE",
        Outcome::Worse => "❌ WORSE",
    };
    line(&mut page, &format!("## {word}: {} against its baseline", escape(&comparison.new.scenario)));
    line(&mut page, "");
    for reason in comparison.reasons.iter().take(SHOWN_REASONS) {
        line(&mut page, &format!("- {}", escape(reason)));
    }
    let more = comparison.reasons.len().saturating_sub(SHOWN_REASONS);
    if more > 0 {
        line(&mut page, &format!("- … and {more} more in comparison.json"));
    }
    let tests = comparison.arms.iter().flat_map(|arm| {
        arm.lanes.iter().flat_map(move |lane| {
            [("failed", &lane.failed), ("late", &lane.late)].map(|(what, test)| (arm, lane, what, test))
        })
    });
    let rows: Vec<Vec<String>> = tests
        .map(|(arm, lane, what, test)| {
            vec![
                escape(&arm.name),
                escape(&lane.name),
                what.to_owned(),
                test.outcome.as_str().to_owned(),
                of_rollouts(&test.base),
                of_rollouts(&test.new),
                test.p.map_or_else(dash, chance),
            ]
        })
        .collect();
    if !rows.is_empty() {
        table(&mut page, &["arm", "lane", "requests", "says", "base", "new", "p"], 4, rows.into_iter());
        line(&mut page, "");
        line(&mut page, &escape(&how_compared(comparison)));
    }
    line(&mut page, "");
    let (base, new) = (&comparison.base, &comparison.new);
    for (side, of) in [("base", base), ("new", new)] {
        let (run, started, verdict) = (escape(&of.run), escape(&of.started_at), of.verdict.as_str());
        line(&mut page, &format!("- {side}: run {run}, began {started}, verdict {verdict}"));
    }
    for note in &comparison.notes {
        line(&mut page, &format!("- not a setting, but different: {}", escape(note)));
    }
    page
}
