//! What a CI is told without being asked: reports beside `report.json`, a job's summary, annotations.

use std::env;
use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use trial::compare::Comparison;
use trial::report::Report;

use super::Format;
use crate::exit_code::ExitCode;
use crate::recorder;

/// Beside `report.json`: for a pull request, for the CI's list of tests, for a browser.
const FILES: [(&str, Format); 3] =
    [("report.md", Format::Markdown), ("junit.xml", Format::Junit), ("report.html", Format::Html)];

/// Where we run, as its environment says.
#[derive(Debug, Default)]
pub(super) struct Surroundings {
    /// `CI`, as every CI sets it.
    is_ci: bool,
    /// `GITHUB_ACTIONS`: commands on standard output become annotations.
    annotates: bool,
    /// `GITHUB_STEP_SUMMARY`: what is appended to this file stands on the job's page.
    summary: Option<PathBuf>,
}

impl Surroundings {
    pub(super) fn from_env() -> Self {
        let is_set = |name: &str| {
            env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0" && value != "false")
        };
        let annotates = is_set("GITHUB_ACTIONS");
        Self {
            is_ci: annotates || is_set("CI"),
            annotates,
            summary: env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()).map(PathBuf::from),
        }
    }

    /// Tells the CI, if there is one. `format` is what standard output was asked to hold: annotations go there only beside
    /// text, since anything else is read by a program.
    pub(super) fn tell(&self, report: &Report, out: &Path, format: Format) -> ExitCode {
        if !self.is_ci {
            return ExitCode::Success;
        }
        for (name, format) in FILES {
            if let Err(error) = recorder::replace(&out.join(name), super::render(report, format).as_bytes()) {
                return super::fail(&error);
            }
        }
        if let Err(code) = self.summarise(&reports::markdown(report)) {
            return code;
        }
        if self.annotates && format == Format::Text {
            return super::print(&reports::annotations(report));
        }
        ExitCode::Success
    }

    /// The same of a comparison with a baseline, whose files stand beside those of the report.
    pub(super) fn tell_comparison(&self, comparison: &Comparison, out: &Path, format: Format) -> ExitCode {
        if !self.is_ci {
            return ExitCode::Success;
        }
        let page = reports::comparison::markdown(comparison);
        let cases = reports::comparison::junit(comparison);
        for (file, text) in [("comparison.md", &page), ("comparison-junit.xml", &cases)] {
            if let Err(error) = recorder::replace(&out.join(file), text.as_bytes()) {
                return super::fail(&error);
            }
        }
        if let Err(code) = self.summarise(&page) {
            return code;
        }
        if self.annotates && format == Format::Text {
            return super::print(&reports::comparison::annotations(comparison));
        }
        ExitCode::Success
    }

    /// What goes wrong beside a report, as a workflow wants it told: a line for stderr, where its commands are read as well
    /// and no program waits for a document. It stands in the job's summary besides. `None` if this is no workflow.
    pub(super) fn complaint(&self, message: &dyn Display) -> Option<String> {
        if !self.annotates {
            return None;
        }
        // Fenced, as it is no Markdown. What cannot be written there either stands in the log.
        let _unsaid = self.append(&format!("**drainproof**\n\n~~~~text\n{message}\n~~~~\n"));
        Some(reports::complaint(&message.to_string()))
    }

    /// Appends to the job's summary, if there is one.
    fn summarise(&self, page: &str) -> Result<(), ExitCode> {
        self.append(page).map_err(|error| {
            let path = self.summary.as_deref().unwrap_or(Path::new("")).display();
            super::fail(&format!("failed to append to GITHUB_STEP_SUMMARY ({path}): {error}"))
        })
    }

    fn append(&self, text: &str) -> io::Result<()> {
        let Some(path) = &self.summary else { return Ok(()) };
        OpenOptions::new().create(true).append(true).open(path)?.write_all(text.as_bytes())
    }
}
