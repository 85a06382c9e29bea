//! `loadgen compare`, and the baseline of `loadgen run`.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use reports::ParseError;
use trial::compare::{Comparison, Outcome, compare};
use trial::report::Report;

use crate::exit_code::ExitCode;

/// Longer files are no reports: the largest run that is possible makes one of a few MiB.
const REPORT_MAX: u64 = 64 << 20;

/// Flags of `loadgen compare`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The report.json that is taken as given
    base: PathBuf,
    /// The report.json that is asked about
    new: PathBuf,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Formats of a comparison.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    #[default]
    Text,
    /// The whole document
    Json,
    /// For a pull request or a job's summary
    Markdown,
    /// XML for a CI: a suite an arm, a case a lane
    Junit,
    /// A workflow command of GitHub Actions: an annotation
    Github,
}

/// Why there is nothing to compare with.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The file system's answer.
    #[error("failed to read {}: {source}; a report.json is wanted, as `loadgen run --out DIR` leaves it", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is too long.
    #[error("{}: longer than {} bytes, so it is no report.json", path.display(), REPORT_MAX)]
    Long {
        /// The file.
        path: PathBuf,
    },
    /// It is no report.
    #[error("{}: failed to {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ParseError,
    },
}

impl ReadError {
    /// A report of another schema is a report all the same: it is not comparable, which has a code of its own.
    pub(super) fn tell(&self) -> ExitCode {
        match self {
            Self::Parse { source: ParseError::Version { .. }, .. } => {
                super::complain(&format!("not comparable: {self}; make it again with this version"));
                ExitCode::Inconclusive
            }
            _ => super::misuse(self),
        }
    }
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::NotWorse => Self::Success,
            Outcome::NotComparable => Self::Inconclusive,
            Outcome::Worse => Self::Fail,
        }
    }
}

pub(super) fn main(arguments: &Args) -> ExitCode {
    let (base, new) = match read(&arguments.base).and_then(|base| Ok((base, read(&arguments.new)?))) {
        Ok(both) => both,
        Err(error) => return error.tell(),
    };
    let comparison = compare(&base, &new);
    let rendered = match arguments.format {
        Format::Text => text(&comparison),
        Format::Json => reports::comparison::json(&comparison),
        Format::Markdown => reports::comparison::markdown(&comparison),
        Format::Junit => reports::comparison::junit(&comparison),
        Format::Github => reports::comparison::annotations(&comparison),
    };
    match super::print(&rendered) {
        ExitCode::Success => comparison.outcome.into(),
        code => code,
    }
}

/// Reads a report.json, and no more of it than is needed to say that it is none.
pub(super) fn read(path: &Path) -> Result<Report, ReadError> {
    let failed = |source| ReadError::File { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(REPORT_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > REPORT_MAX {
        return Err(ReadError::Long { path: path.to_owned() });
    }
    reports::parse(&bytes).map_err(|source| ReadError::Parse { path: path.to_owned(), source })
}

pub(super) fn text(comparison: &Comparison) -> String {
    let terminal = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let color = if terminal { reports::Color::Always } else { reports::Color::Never };
    reports::comparison::text(comparison, &reports::TextOptions { color, ..reports::TextOptions::default() })
}
