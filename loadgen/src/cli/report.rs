//! `loadgen report`: from a recording, offline.

use std::path::PathBuf;

use super::Format;
use crate::exit_code::ExitCode;
use crate::playback;

/// Flags of `loadgen report`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory of a run
    directory: PathBuf,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Exit as the run's verdict says: 0 pass, 3 fail, 4 inconclusive
    #[arg(long)]
    gate: bool,
}

pub(super) fn main(arguments: &Args) -> ExitCode {
    let report = match playback::report(&arguments.directory) {
        Ok(report) => report,
        Err(error) => return super::misuse(&error),
    };
    match super::print(&super::render(&report, arguments.format)) {
        ExitCode::Success if arguments.gate => super::code_of(&report),
        code => code,
    }
}
