//! See the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    // Before anything else, while this process has one thread: namespaces of the user can be entered only then.
    match loadgen::hidden::dispatch(&arguments) {
        Some(code) => code,
        None => loadgen::cli::main(&arguments).into(),
    }
}
