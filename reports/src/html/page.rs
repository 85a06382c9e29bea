//! Markup that cannot be broken by what it holds.

/// The document so far.
#[derive(Debug, Default)]
pub(super) struct Page {
    text: String,
}

/// How a word is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// As it should be.
    Good,
    /// As it should not be.
    Bad,
    /// It cannot be told.
    Doubtful,
}

impl Tone {
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Doubtful => "doubtful",
        }
    }
}

/// What stands in a table.
#[derive(Debug, Clone)]
pub(super) enum Cell {
    Words(String),
    /// Words that want room.
    Sentence(String),
    Figure(String),
    /// A figure that should be zero and is not.
    Alarming(String),
    Pill(Tone, String),
    /// To a section of the page.
    Link {
        id: String,
        text: String,
    },
}

impl Page {
    /// Our own markup.
    pub(super) fn raw(&mut self, markup: &str) {
        self.text.push_str(markup);
    }

    /// Anything, as text.
    pub(super) fn text(&mut self, text: &str) {
        self.raw(&escape(text));
    }

    pub(super) fn element(&mut self, tag: &str, text: &str) {
        self.raw(&format!("<{tag}>{}</{tag}>\n", escape(text)));
    }

    pub(super) fn pill(&mut self, tone: Tone, word: &str) {
        self.raw(&format!("<strong class=\"pill {}\">{}</strong>", tone.class(), escape(word)));
    }

    pub(super) fn list(&mut self, items: &[String]) {
        if items.is_empty() {
            return;
        }
        self.raw("<ul>\n");
        for item in items {
            self.element("li", item);
        }
        self.raw("</ul>\n");
    }

    /// Wide ones scroll for themselves. A column is set as its first row's cells are.
    pub(super) fn table(&mut self, caption: &str, header: &[&str], rows: impl Iterator<Item = Vec<Cell>>) {
        let mut rows = rows.peekable();
        self.raw("<div class=\"wide\"><table>\n");
        self.element("caption", caption);
        self.raw("<thead><tr>");
        for (column, name) in header.iter().enumerate() {
            let first = rows.peek().and_then(|row| row.get(column));
            let class = if first.is_some_and(Cell::is_figure) { " class=\"figure\"" } else { "" };
            self.raw(&format!("<th scope=\"col\"{class}>{}</th>", escape(name)));
        }
        self.raw("</tr></thead>\n<tbody>\n");
        for row in rows {
            self.raw("<tr>");
            for cell in row {
                self.cell(cell);
            }
            self.raw("</tr>\n");
        }
        self.raw("</tbody>\n</table></div>\n");
    }

    fn cell(&mut self, cell: Cell) {
        match cell {
            Cell::Words(text) => self.raw(&format!("<td>{}</td>", escape(&text))),
            Cell::Sentence(text) => self.raw(&format!("<td class=\"sentence\">{}</td>", escape(&text))),
            Cell::Figure(text) => self.raw(&format!("<td class=\"figure\">{}</td>", escape(&text))),
            Cell::Alarming(text) => {
                self.raw(&format!("<td class=\"figure alarming\">{}</td>", escape(&text)));
            }
            Cell::Pill(tone, word) => {
                self.raw("<td>");
                self.pill(tone, &word);
                self.raw("</td>");
            }
            Cell::Link { id, text } => {
                self.raw(&format!("<td><a href=\"#{}\">{}</a></td>", escape(&id), escape(&text)));
            }
        }
    }

    pub(super) fn finish(self) -> String {
        self.text
    }
}

impl Cell {
    const fn is_figure(&self) -> bool {
        matches!(self, Self::Figure(_) | Self::Alarming(_))
    }
}

/// Text as itself, in an element or a quoted attribute.
pub(super) fn escape(text: &str) -> String {
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
