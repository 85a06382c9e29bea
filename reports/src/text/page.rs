//! Lines of a page.

use crate::style::{Color, Style};
use crate::table::Table;
use crate::wrap::{columns, fill, words};

/// Lines so far.
pub(super) struct Page {
    lines: Vec<String>,
    color: Color,
    width: usize,
}

impl Page {
    pub(super) const fn new(color: Color, width: usize) -> Self {
        Self { lines: Vec::new(), color, width }
    }

    pub(super) const fn width(&self) -> usize {
        self.width
    }

    pub(super) fn finish(mut self) -> String {
        self.lines.push(String::new());
        self.lines.join("\n")
    }

    pub(super) fn blank(&mut self) {
        if self.lines.last().is_some_and(|line| !line.is_empty()) {
            self.lines.push(String::new());
        }
    }

    /// A line as given.
    pub(super) fn spans(&mut self, spans: &[(Style, &str)]) {
        self.lines.push(spans.iter().map(|(style, text)| self.color.paint(*style, text)).collect());
    }

    /// A heading after a blank line, with what qualifies it.
    pub(super) fn heading(&mut self, title: &str, qualifier: &str) {
        self.blank();
        if columns(title) + 2 + columns(qualifier) <= self.width && !qualifier.is_empty() {
            self.spans(&[(Style::Heading, title), (Style::Dim, "  "), (Style::Dim, qualifier)]);
        } else {
            self.spans(&[(Style::Heading, title)]);
            self.sentence(Style::Dim, "  ", "  ", qualifier);
        }
    }

    /// Wrapped words behind `first`, and behind `rest` on the lines that follow.
    pub(super) fn sentence(&mut self, style: Style, first: &str, rest: &str, text: &str) {
        self.filled(style, first, rest, &words(text), " ");
    }

    /// Short items, separated by middle dots.
    pub(super) fn list(&mut self, style: Style, first: &str, items: &[String]) {
        let rest = " ".repeat(columns(first));
        self.filled(style, first, &rest, items, " · ");
    }

    /// A table, indented by two.
    pub(super) fn table(&mut self, table: &Table) {
        let lines = table.lines(self.color, self.width - 2);
        self.lines.extend(lines.into_iter().map(|line| format!("  {line}")));
    }

    /// Text that must stay as it is, such as YAML.
    pub(super) fn verbatim(&mut self, indent: &str, text: &str) {
        for line in text.trim_end().lines() {
            self.spans(&[(Style::Plain, indent), (Style::Accent, &line.replace('\t', "  "))]);
        }
    }

    fn filled(&mut self, style: Style, first: &str, rest: &str, items: &[String], separator: &str) {
        let room = self.width.saturating_sub(columns(first).max(columns(rest)));
        for (index, line) in fill(items, separator, room).iter().enumerate() {
            self.spans(&[(Style::Plain, if index == 0 { first } else { rest }), (style, line)]);
        }
    }
}
