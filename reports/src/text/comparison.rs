//! Two runs against each other, for a terminal.

use trial::compare::{ArmPair, Comparison, Counts, LanePair, Outcome, Side, Test};

use super::page::Page;
use super::{LEAST_WIDTH, TextOptions};
use crate::facts::{chance, dash, of_rollouts};
use crate::style::Style;
use crate::table::{Cell, Table};

/// Reasons shown; the others are in the JSON.
const SHOWN_REASONS: usize = 5;

/// Renders a comparison, UTF-8, with a trailing newline.
#[must_use]
pub fn comparison(comparison: &Comparison, options: &TextOptions) -> String {
    let mut page = Page::new(options.color, options.width.max(LEAST_WIDTH));
    let word = comparison.outcome.as_str().to_uppercase();
    page.spans(&[
        (banner(comparison.outcome), &word),
        (Style::Plain, "  "),
        (Style::Heading, &comparison.new.scenario),
        (Style::Plain, " against its baseline"),
    ]);
    page.list(Style::Dim, "base  ", &side(&comparison.base));
    page.list(Style::Dim, "new   ", &side(&comparison.new));
    page.blank();
    for reason in comparison.reasons.iter().take(SHOWN_REASONS) {
        page.sentence(Style::Plain, "  • ", "    ", reason);
    }
    let more = comparison.reasons.len().saturating_sub(SHOWN_REASONS);
    if more > 0 {
        page.sentence(Style::Dim, "    ", "    ", &format!("… and {more} more: see --format json"));
    }
    let rows: Vec<Vec<Cell>> = comparison.arms.iter().flat_map(rows).collect();
    if !rows.is_empty() {
        page.heading("Lanes", &crate::facts::how_compared(comparison));
        let header = ["arm", "lane", "requests", "base", "new", "p", "says"];
        page.table(&Table { header: header.map(str::to_owned).to_vec(), left: 3, rows });
    }
    for note in &comparison.notes {
        page.blank();
        page.sentence(Style::Dim, "  not a setting, but different: ", "    ", note);
    }
    page.finish()
}

const fn banner(outcome: Outcome) -> Style {
    match outcome {
        Outcome::NotWorse => Style::GoodBanner,
        Outcome::NotComparable => Style::WarnBanner,
        Outcome::Worse => Style::BadBanner,
    }
}

fn side(side: &Side) -> Vec<String> {
    let verdict = format!("verdict {}", side.verdict.as_str());
    vec![format!("run {}", side.run), format!("started {}", side.started_at), verdict]
}

fn rows(arm: &ArmPair) -> Vec<Vec<Cell>> {
    let of_lane = |lane: &LanePair| {
        [("failed", &lane.failed), ("late", &lane.late)]
            .map(|(what, test)| row(&arm.name, &lane.name, what, test))
    };
    arm.lanes.iter().flat_map(of_lane).collect()
}

fn row(arm: &str, lane: &str, what: &str, test: &Test) -> Vec<Cell> {
    let counts = |counts: &Counts| Cell::new(of_rollouts(counts));
    vec![
        Cell::new(arm),
        Cell::new(lane),
        Cell::new(what),
        counts(&test.base),
        counts(&test.new),
        Cell::new(test.p.map_or_else(dash, chance)),
        Cell::new(test.outcome.as_str()).style(banner(test.outcome)),
    ]
}
