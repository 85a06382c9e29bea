//! `report.json`: written pretty and stable, read with the version checked first.

use serde::{Deserialize, Serialize};
use trial::compare::Comparison;
use trial::report::{Report, SCHEMA_VERSION};

/// Why bytes are not a report. Each is one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not JSON at all, or cut off.
    #[error("read the report: it is not valid JSON: {problem}")]
    Json {
        /// What the parser met, with line and column.
        problem: String,
    },
    /// JSON of something else.
    #[error("read the report: it has no `schema_version`, so it is not a report.json")]
    NotAReport,
    /// Another major version, or no version number.
    #[error("read the report: its schema_version is {found:?}, but this version reads {readable}.x only")]
    Version {
        /// What the document says.
        found: String,
        /// The major version that can be read.
        readable: u32,
    },
    /// The right version, but fields are missing or of another type.
    #[error("read the report: it is not as schema {readable}.x says: {problem}")]
    Shape {
        /// The field at fault, with line and column.
        problem: String,
        /// The major version that it was read as.
        readable: u32,
    },
}

/// Renders `report.json`: indented by two, fields in the schema's order, with a trailing newline.
#[must_use]
pub fn json(report: &Report) -> String {
    pretty(report)
}

/// Renders `comparison.json`, in the same form.
#[must_use]
pub fn comparison(comparison: &Comparison) -> String {
    pretty(comparison)
}

#[expect(
    clippy::expect_used,
    reason = "both have string keys only, so they always serialise; an empty report.json would be worse than a panic"
)]
fn pretty(document: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(document).expect("a document has string keys only");
    text.push('\n');
    text
}

/// Reads a `report.json` of any minor version of this schema; fields that it does not know are ignored.
///
/// # Errors
/// One line that says whether it is not JSON, not a report, of another major version, or damaged, and where.
pub fn parse(bytes: &[u8]) -> Result<Report, ParseError> {
    #[derive(Deserialize)]
    struct Head {
        schema_version: Option<serde_json::Value>,
    }
    let readable = major(SCHEMA_VERSION).unwrap_or_default();
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        // serde takes a list for the fields in their order.
        return Err(ParseError::NotAReport);
    }
    // The version comes first: a document of another major is not damaged, it is just not ours to read.
    let head: Head = serde_json::from_slice(bytes).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => ParseError::NotAReport,
        _ => ParseError::Json { problem: one_line(&error) },
    })?;
    let found = match head.schema_version {
        None => return Err(ParseError::NotAReport),
        Some(serde_json::Value::String(version)) => version,
        Some(other) => other.to_string(),
    };
    if major(&found) != Some(readable) {
        return Err(ParseError::Version { found, readable });
    }
    serde_json::from_slice(bytes).map_err(|error| ParseError::Shape { problem: one_line(&error), readable })
}

/// The 1 of `1.0`.
fn major(version: &str) -> Option<u32> {
    let (major, minor) = version.split_once('.')?;
    minor.parse::<u32>().ok()?;
    major.parse().ok()
}

/// serde quotes what it met, and that may hold line breaks.
fn one_line(error: &serde_json::Error) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}
