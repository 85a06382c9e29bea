//! One line of a timeline: an axis from times to columns, and a strip of glyphs on it.

use crate::style::Style;

/// Marks that fall together are set side by side, so a strip may be a little longer than its axis.
const SLACK: usize = 6;

/// Times to columns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    start: u64,
    span: u64,
    cells: usize,
}

impl Axis {
    /// `None` if there is nothing between the two. `width` is what a strip may take at most.
    pub(super) fn new(start: u64, end: u64, width: usize) -> Option<Self> {
        let span = end.checked_sub(start).filter(|span| *span > 0)?;
        let cells = width.checked_sub(SLACK).filter(|cells| *cells >= 10)?;
        Some(Self { start, span, cells })
    }

    /// `None` outside the axis.
    pub(super) fn cell(&self, at: u64) -> Option<usize> {
        let after = at.checked_sub(self.start).filter(|after| *after <= self.span)?;
        usize::try_from(u128::from(after) * (self.cells as u128 - 1) / u128::from(self.span)).ok()
    }

    /// The nearest cell of the axis.
    fn clamped(&self, at: u64) -> usize {
        if at < self.start { 0 } else { self.cell(at).unwrap_or(self.cells - 1) }
    }

    /// Round times since the start, as far apart as their labels need.
    pub(super) fn ruler(&self) -> Strip {
        let mut strip = Strip::new(*self);
        strip.fill(self.start, self.start.saturating_add(self.span), '─', Style::Dim);
        let step = self.step();
        let mut tick = 0_u64;
        while tick <= self.span {
            let cell = self.clamped(self.start.saturating_add(tick));
            let label = label(tick, step);
            // The last label must not run beyond the strip; a bare tick would say nothing.
            if cell + 1 + label.chars().count() <= self.cells + SLACK {
                strip.write(cell, &format!("┬{label}"), Style::Dim);
            }
            let Some(next) = tick.checked_add(step) else { break };
            tick = next;
        }
        strip
    }

    /// 1, 2 or 5 times a power of ten, in nanoseconds.
    fn step(&self) -> u64 {
        const APART: u128 = 8;
        let enough = |step: u64| u128::from(step) * self.cells as u128 >= u128::from(self.span) * APART;
        let mut power = 1_000_u64;
        loop {
            if let Some(step) =
                [1, 2, 5].map(|factor| power.saturating_mul(factor)).into_iter().find(|step| enough(*step))
            {
                return step;
            }
            match power.checked_mul(10) {
                Some(next) => power = next,
                None => return u64::MAX,
            }
        }
    }
}

/// In the unit that the step asks for, so that all labels of an axis look alike.
fn label(tick: u64, step: u64) -> String {
    if tick == 0 {
        return "0".to_owned();
    }
    match step {
        1_000_000_000.. => format!("{} s", tick / 1_000_000_000),
        100_000_000.. => format!("{}.{} s", tick / 1_000_000_000, tick / 100_000_000 % 10),
        1_000_000.. => format!("{} ms", tick / 1_000_000),
        _ => format!("{} µs", tick / 1_000),
    }
}

/// Glyphs on an axis.
#[derive(Debug, Clone)]
pub(super) struct Strip {
    axis: Axis,
    glyphs: Vec<(char, Style)>,
    marked: Vec<bool>,
}

impl Strip {
    pub(super) fn new(axis: Axis) -> Self {
        let length = axis.cells + SLACK;
        Self { axis, glyphs: vec![(' ', Style::Plain); length], marked: vec![false; length] }
    }

    /// Everything from one time up to another.
    pub(super) fn fill(&mut self, from: u64, to: u64, glyph: char, style: Style) {
        let (from, to) = (self.axis.clamped(from), self.axis.clamped(to));
        for cell in self.glyphs.iter_mut().take(to + 1).skip(from) {
            *cell = (glyph, style);
        }
    }

    /// A letter at a time, or at the next place that no other letter has.
    pub(super) fn mark(&mut self, at: u64, glyph: char, style: Style) {
        let wanted = self.axis.clamped(at);
        let free = self.marked.iter().skip(wanted).position(|marked| !marked);
        if let Some(place) = free.map(|after| wanted + after) {
            self.put(place, glyph, style);
        }
    }

    /// A glyph in a cell, whatever was there.
    pub(super) fn put(&mut self, cell: usize, glyph: char, style: Style) {
        if let (Some(place), Some(marked)) = (self.glyphs.get_mut(cell), self.marked.get_mut(cell)) {
            *place = (glyph, style);
            *marked = true;
        }
    }

    /// Text from a cell on.
    pub(super) fn write(&mut self, cell: usize, text: &str, style: Style) {
        for (index, glyph) in text.chars().enumerate() {
            self.put(cell + index, glyph, style);
        }
    }

    /// Runs of the same style, without blanks at the end.
    pub(super) fn spans(&self) -> Vec<(Style, String)> {
        let length = self.glyphs.iter().rposition(|(glyph, _)| *glyph != ' ').map_or(0, |last| last + 1);
        let mut spans: Vec<(Style, String)> = Vec::new();
        for (glyph, style) in self.glyphs.iter().take(length) {
            match spans.last_mut() {
                Some((last, text)) if last == style => text.push(*glyph),
                _ => spans.push((*style, glyph.to_string())),
            }
        }
        spans
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(strip: &Strip) -> String {
        strip.spans().into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn the_ruler_has_round_times() {
        let axis = Axis::new(7, 7 + 5_300_000_000, 60).unwrap();
        assert_eq!(plain(&axis.ruler()), "┬0────────┬1 s──────┬2 s──────┬3 s──────┬4 s──────┬5 s");
        assert!(Axis::new(5, 5, 60).is_none() && Axis::new(6, 5, 60).is_none());
        assert!(!plain(&Axis::new(0, u64::MAX, 60).unwrap().ruler()).is_empty());
    }

    #[test]
    fn marks_that_fall_together_stand_side_by_side() {
        let mut strip = Strip::new(Axis::new(0, 100, 26).unwrap());
        for glyph in ['T', 'L', 'X'] {
            strip.mark(100, glyph, Style::Plain);
        }
        assert_eq!(plain(&strip).trim_start(), "TLX");
        assert_eq!(plain(&strip).chars().count(), 22);
    }
}
