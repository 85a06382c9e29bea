//! The end of a run: its report, the comparison with a baseline, and the exit code of both.

use std::path::Path;

use trial::compare::{Comparison, compare};
use trial::report::Report;

use super::super::Format;
use super::super::ci::Surroundings;
use super::{Args, tell_leftovers};
use crate::cli;
use crate::conductor::Stop;
use crate::exit_code::ExitCode;
use crate::playback;
use crate::recorder;

/// The report comes from the recording, by the same path as `loadgen report` takes.
pub(super) fn conclude(
    arguments: &Args,
    out: &Path,
    stop: Stop,
    leftovers: &[String],
    baseline: Option<&Report>,
) -> ExitCode {
    let left = tell_leftovers(arguments, leftovers);
    let report = match playback::report(out) {
        Ok(report) => report,
        Err(error) => {
            let code = cli::fail(&error);
            return left.unwrap_or(code);
        }
    };
    let told = tell(arguments, out, &report);
    // A run that was told to stop is no measure of anything.
    let compared = match baseline.filter(|_| !matches!(stop, Stop::Interrupt | Stop::Terminate)) {
        Some(baseline) => tell_comparison(arguments, out, &compare(baseline, &report)),
        None => Ok(ExitCode::Success),
    };
    if let Some(code) = left {
        return code;
    }
    match (stop, told, compared) {
        (Stop::Interrupt, ..) => ExitCode::Interrupted,
        (Stop::Terminate, ..) => ExitCode::Terminated,
        (_, Err(code), _) | (_, Ok(()), Err(code)) => code,
        (_, Ok(()), Ok(compared)) => ExitCode::from(report.verdict).or_worse(compared),
    }
}

/// Writes and prints the report.
fn tell(arguments: &Args, out: &Path, report: &Report) -> Result<(), ExitCode> {
    write(&out.join("report.json"), &reports::json(report))?;
    let rendered = cli::render(report, arguments.format);
    succeeded(match arguments.format {
        Format::Text => cli::print(&format!("{rendered}\nReport and recording: {}\n", out.display())),
        _ => cli::print(&rendered),
    })?;
    succeeded(Surroundings::from_env().tell(report, out, arguments.format))
}

/// Writes the comparison beside the report, and prints it where people read; returns its code.
fn tell_comparison(arguments: &Args, out: &Path, comparison: &Comparison) -> Result<ExitCode, ExitCode> {
    let file = out.join("comparison.json");
    write(&file, &reports::comparison::json(comparison))?;
    let code = ExitCode::from(comparison.outcome);
    match arguments.format {
        Format::Text => succeeded(cli::print(&format!("\n{}", cli::compare::text(comparison))))?,
        Format::Markdown => {
            succeeded(cli::print(&format!("\n{}", reports::comparison::markdown(comparison))))?;
        }
        // Standard output holds a document that another program reads; the exit code must not come from nowhere.
        _ if code != ExitCode::Success => {
            let why = comparison.reasons.first().map_or("", String::as_str);
            let what = comparison.outcome.as_str();
            cli::complain(&format!("against the baseline: {what}: {why} ({})", file.display()));
        }
        _ => {}
    }
    succeeded(Surroundings::from_env().tell_comparison(comparison, out, arguments.format))?;
    Ok(code)
}

fn write(file: &Path, text: &str) -> Result<(), ExitCode> {
    recorder::replace(file, text.as_bytes()).map_err(|error| cli::fail(&error))
}

fn succeeded(code: ExitCode) -> Result<(), ExitCode> {
    if code == ExitCode::Success { Ok(()) } else { Err(code) }
}
