//! What is wrong with a scenario, in one line, and where.

use std::fmt;
use std::sync::Arc;

use serde::de::{Error, Expected, Unexpected};

/// Why a scenario cannot be planned. `Display` is one line: where, which key, the value, and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScenarioError {
    /// The file as a whole cannot be one.
    #[error("{file}: {problem}")]
    File {
        /// Its name.
        file: String,
        /// What is wrong.
        problem: String,
    },
    /// The text is not the YAML that scenarios are written in.
    #[error("{place}: {problem}")]
    Syntax {
        /// Where.
        place: Place,
        /// What is wrong.
        problem: String,
    },
    /// A setting is unknown, malformed, out of range, or contradicts another.
    #[error("{}{key}: {problem}", .place.prefix())]
    Setting {
        /// Where it was stated.
        place: Place,
        /// Dotted path of the setting.
        key: String,
        /// The value, and what is allowed.
        problem: String,
    },
}

/// A list of everything allowed fits; what a file's own text could add does not.
const LONGEST_PROBLEM: usize = 600;

/// Where a value was stated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a file; line and column count from 1, columns in characters.
    File {
        /// Name of the file.
        file: Arc<str>,
        /// Line.
        line: usize,
        /// Column.
        column: usize,
    },
    /// On the command line: the flag with its value.
    Flag(Arc<str>),
    /// Nowhere: a default.
    Default,
}

impl Place {
    fn prefix(&self) -> String {
        match self {
            Self::Default => String::new(),
            stated => format!("{stated}: "),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Self::Flag(flag) => f.write_str(flag),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A problem on its way up the tree: each level adds its key, the innermost one that knows it the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    path: Vec<String>,
    place: Option<Place>,
    text: String,
}

impl Problem {
    /// A problem of the setting at this dotted path, to be located by [`Problem::located`].
    pub(super) fn of(path: &str, text: impl Into<String>) -> Self {
        Self { path: path.split('.').map(str::to_owned).collect(), place: None, text: text.into() }
    }

    /// Something is missing, and this is what could stand there.
    pub(super) fn missing(path: &str, allowed: impl fmt::Display) -> Self {
        Self::of(path, format!("is missing; allowed: {allowed}"))
    }

    /// The value is outside of what is allowed.
    pub(super) fn value(path: &str, text: impl fmt::Display, allowed: impl fmt::Display) -> Self {
        Self::of(path, format!("{text}; allowed: {allowed}"))
    }

    /// Adds the key of the level above.
    pub(super) fn under(mut self, key: &str) -> Self {
        self.path.insert(0, key.to_owned());
        self
    }

    /// Adds a key below; it may itself hold dots, as the name of a header.
    pub(super) fn under_key(mut self, key: &str) -> Self {
        self.path.push(key.to_owned());
        self
    }

    /// Something else than the problem's text says is allowed too.
    pub(super) fn also_allowed(mut self, also: &str) -> Self {
        self.text = format!("{}, or {also}", self.text);
        self
    }

    /// Keeps the innermost place.
    pub(super) fn at(mut self, place: &Place) -> Self {
        self.place.get_or_insert_with(|| place.clone());
        self
    }

    /// The finished error; `find` knows where the setting at a path was stated.
    pub(super) fn located(self, find: impl FnOnce(&[String]) -> Place) -> ScenarioError {
        let place = self.place.unwrap_or_else(|| find(&self.path));
        if self.path.is_empty() {
            return ScenarioError::Syntax { place, problem: self.text };
        }
        ScenarioError::Setting { place, key: one_line(&self.path.join(".")), problem: self.text }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.join("."), self.text)
    }
}

impl std::error::Error for Problem {}

/// `a, b, c`.
pub(super) fn listed(names: &[&str]) -> String {
    names.join(", ")
}

// Raw types report through these; a new problem has no path or place yet.
impl Error for Problem {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self { path: Vec::new(), place: None, text: escaped(&text.to_string(), LONGEST_PROBLEM) }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("{found} where {expected} is allowed"))
    }

    fn unknown_variant(found: &str, allowed: &'static [&'static str]) -> Self {
        Self::custom(format_args!("{} is unknown; allowed: {}", quoted(found), listed(allowed)))
    }

    fn unknown_field(found: &str, allowed: &'static [&'static str]) -> Self {
        let allowed = if allowed.is_empty() { "nothing".to_owned() } else { listed(allowed) };
        Self::custom(format_args!("unknown key {}; allowed: {allowed}", quoted(found)))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::custom(format_args!("`{field}` is missing"))
    }
}

/// Text of the user's between backticks, on one line and no longer than it helps.
pub(super) fn quoted(text: &str) -> String {
    format!("`{}`", one_line(text))
}

/// No line breaks, no control characters, at most 120 characters.
pub(super) fn one_line(text: &str) -> String {
    escaped(text, 120)
}

fn escaped(text: &str, longest: usize) -> String {
    let mut line = String::new();
    for (count, character) in text.chars().enumerate() {
        if count == longest {
            line.push('…');
            break;
        }
        if character.is_control() || matches!(character, '\u{2028}' | '\u{2029}') {
            line.extend(character.escape_debug());
        } else {
            line.push(character);
        }
    }
    line
}
