//! Colours: ANSI codes where wanted, and nothing else that a terminal could take for a command.

/// Whether to colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Color {
    /// Plain text: files, pipes, `NO_COLOR`.
    #[default]
    Never,
    /// ANSI codes.
    Always,
}

/// What a piece of text is, rather than which colour it has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Style {
    #[default]
    Plain,
    Heading,
    Dim,
    Good,
    Bad,
    Warn,
    Accent,
    GoodBanner,
    BadBanner,
    WarnBanner,
}

impl Style {
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Heading => "1",
            Self::Dim => "2",
            Self::Good => "32",
            Self::Bad => "31",
            Self::Warn => "33",
            Self::Accent => "36",
            Self::GoodBanner => "1;32",
            Self::BadBanner => "1;31",
            Self::WarnBanner => "1;33",
        }
    }
}

impl Color {
    /// Every piece of text goes through here: control characters are replaced, so that a pod's note cannot steer
    /// the terminal, and codes are added if wanted.
    pub(crate) fn paint(self, style: Style, text: &str) -> String {
        let text: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        match (self, style.code()) {
            (Self::Never, _) | (_, "") => text,
            (Self::Always, _) if text.is_empty() => text,
            (Self::Always, code) => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}
