//! The report of a run for a terminal: the verdict first, then what it rests on, then what to do.

mod arms;
mod comparison;
mod edges;
mod failures;
mod notes;
mod page;
mod pods;
mod strip;
mod verdict;

use trial::plan::Role;
use trial::report::Report;

use crate::style::{Color, Style};
use crate::wrap::cut;
use page::Page;

pub use comparison::comparison;

/// How to render.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextOptions {
    /// Whether to colour.
    pub color: Color,
    /// Columns of the terminal; below 60 it is taken as 60.
    pub width: usize,
}

impl Default for TextOptions {
    fn default() -> Self {
        Self { color: Color::Never, width: 100 }
    }
}

/// Below this a timeline says nothing.
const LEAST_WIDTH: usize = 60;

/// Pods drawn in a report, shared between its trial arms.
const DRAWN_PODS: usize = 6;

/// Renders one to two screens, UTF-8, with a trailing newline. Tables and timelines never exceed the width; sentences
/// are wrapped to it, but a word or a patch that is wider is left whole.
#[must_use]
pub fn text(report: &Report, options: &TextOptions) -> String {
    let mut page = Page::new(options.color, options.width.max(LEAST_WIDTH));
    verdict::write(&mut page, report);
    if report.arms.len() > 1 {
        arms::table(&mut page, &report.arms);
    }
    let trials: Vec<_> = report.arms.iter().filter(|arm| arm.role == Role::Trial).collect();
    let drawn = (DRAWN_PODS / trials.len().max(1)).max(1);
    let mut legend = pods::Legend::Due;
    for arm in &trials {
        if trials.len() > 1 {
            page.blank();
            let name = cut(&arm.name, page.width() - 3);
            page.spans(&[(Style::Heading, "━━ "), (Style::Heading, &name)]);
            for reason in arm.reasons.iter().take(3).filter(|reason| !report.reasons.contains(reason)) {
                page.sentence(Style::Plain, "   ", "   ", reason);
            }
        }
        arms::requests(&mut page, arm);
        failures::write(&mut page, arm);
        legend = pods::write(&mut page, arm, drawn, legend);
    }
    arms::controls(&mut page, &report.arms);
    notes::write(&mut page, report);
    page.finish()
}
