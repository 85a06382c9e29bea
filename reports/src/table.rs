//! Tables of short cells: names to the left, figures to the right.

use crate::style::{Color, Style};
use crate::wrap::{columns, cut};

/// One cell.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), style: Style::Plain }
    }

    pub(crate) const fn style(mut self, style: Style) -> Self {
        self.style = style;
        self
    }
}

/// A header and rows of as many cells.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) header: Vec<String>,
    /// So many columns, from the first, hold words and are aligned to the left.
    pub(crate) left: usize,
    pub(crate) rows: Vec<Vec<Cell>>,
}

impl Table {
    /// Lines of at most `width` columns. A table that does not fit is split into blocks of as many columns each,
    /// with the first column repeated: a figure that was cut off would mislead.
    pub(crate) fn lines(&self, color: Color, width: usize) -> Vec<String> {
        let widths = self.widths(width);
        let Some((&first, others)) = widths.split_first() else { return Vec::new() };
        if others.is_empty() {
            return Vec::new();
        }
        let fits = |gap: usize, size: usize| {
            others
                .chunks(size)
                .all(|block| first + block.iter().map(|column| column + gap).sum::<usize>() <= width)
        };
        let layouts =
            (1..=others.len()).flat_map(|blocks| [2, 1].map(|gap| (gap, others.len().div_ceil(blocks))));
        let (gap, size) = layouts.into_iter().find(|&(gap, size)| fits(gap, size)).unwrap_or((1, 1));
        let columns: Vec<usize> = (1..=others.len()).collect();
        let header: Vec<Cell> = self.header.iter().map(|name| Cell::new(name).style(Style::Dim)).collect();
        let rows = || std::iter::once(&header).chain(&self.rows);
        columns
            .chunks(size)
            .flat_map(|block| rows().map(|row| line(row, self.left, block, &widths, gap, color)))
            .collect()
    }

    fn widths(&self, width: usize) -> Vec<usize> {
        let widest = |index: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(index)).map(|cell| columns(&cell.text));
            cells.chain(self.header.get(index).map(|name| columns(name))).max().unwrap_or(0)
        };
        // A name may be long; figures are short, but nothing may push a block over the width.
        let most = |index: usize| if index == 0 { width * 2 / 5 } else { width / 2 };
        (0..self.header.len()).map(|index| widest(index).min(most(index))).collect()
    }
}

fn line(row: &[Cell], left: usize, block: &[usize], widths: &[usize], gap: usize, color: Color) -> String {
    let mut line = String::new();
    // Padding is written only before text, so that no line ends in blanks.
    let mut owed = 0;
    for index in std::iter::once(0).chain(block.iter().copied()) {
        let empty = Cell::default();
        let cell = row.get(index).unwrap_or(&empty);
        let width = widths.get(index).copied().unwrap_or(0);
        let text = cut(&cell.text, width);
        let padding = width - columns(&text);
        owed += if index == 0 { 0 } else { gap };
        let (before, after) = if index < left { (0, padding) } else { (padding, 0) };
        owed += before;
        if !text.is_empty() {
            line.push_str(&" ".repeat(owed));
            line.push_str(&color.paint(cell.style, &text));
            owed = 0;
        }
        owed += after;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_that_do_not_fit_go_below_with_the_name_repeated() {
        let table = Table {
            header: ["lane", "sent", "p99"].map(str::to_owned).to_vec(),
            left: 1,
            rows: vec![["new", "1,000", "1.20 ms"].map(Cell::new).to_vec()],
        };
        assert_eq!(table.lines(Color::Never, 40), ["lane   sent      p99", "new   1,000  1.20 ms"]);
        let below = ["lane   sent", "new   1,000", "lane      p99", "new   1.20 ms"];
        assert_eq!(table.lines(Color::Never, 14), below);
    }
}
