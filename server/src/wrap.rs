//! A process that starts the server and waits for it, and passes no signal on: what `sh -c` is to a command that it does
//! not exec. As process 1 of a container it has no handler for the stop signal, so nobody ever sees one.

use std::{env, io, process::Command};

use crate::cli::WRAPPED;

/// Runs this program again without `--wrapped`, to its end.
///
/// # Errors
/// It could not be started, or ended other than with 0.
pub(crate) fn run() -> io::Result<()> {
    let wanted = |argument: &std::ffi::OsString| !argument.to_string_lossy().starts_with(WRAPPED);
    let arguments: Vec<_> = env::args_os().skip(1).filter(wanted).collect();
    let status = Command::new(env::current_exe()?).args(arguments).env_remove("SERVER_WRAPPED").status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("it ended with {status}"))) }
}
