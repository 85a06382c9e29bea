//! A process that starts the server and waits for it, and passes no signal on: what `sh -c` is to a command that it does
//! not exec. As process 1 of a container it has no handler for the stop signal, so nobody ever sees one.

use std::{env, io, process::Command};

use crate::cli::WRAPPED;

/// Runs this program again without `--wrapped`, to its end; returns its exit code.
///
/// # Errors
/// It could not be started, or a signal ended it.
pub(crate) fn run() -> io::Result<u8> {
    let wanted = |argument: &std::ffi::OsString| !argument.to_string_lossy().starts_with(WRAPPED);
    let arguments: Vec<_> = env::args_os().skip(1).filter(wanted).collect();
    let status = Command::new(env::current_exe()?).args(arguments).env_remove("SERVER_WRAPPED").status()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.ok_or_else(|| io::Error::other(format!("it ended with {status}")))
}
