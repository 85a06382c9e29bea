//! The hook programs: they sleep, and say when they began and ended.
//!
//! An exec hook's own output goes nowhere (the runtime swallows it), so the lines go to the main process's
//! standard output, which is the container's log.

use std::{path::PathBuf, thread, time::Duration};

use contract::{
    env,
    lifecycle::{Event, Hook},
};

use crate::announce::Announcer;

/// Process 1 of the container, seen from a hook in the same container.
const CONTAINER_LOG: &str = "/proc/1/fd/1";

/// Runs a hook to its end, on this thread, and gives the exit code back. SIGTERM ends it as it ends any program.
///
/// # Errors
/// If there is nowhere to write the lines to.
pub fn run(pod: &str, hook: Hook, sleep: Duration, code: u8) -> std::io::Result<u8> {
    let announcer = open(pod)?;
    announcer.emit(Event::HookStarted { hook });
    thread::sleep(sleep);
    announcer.emit(Event::HookEnded { hook, code: code.into() });
    Ok(code)
}

fn open(pod: &str) -> std::io::Result<Announcer> {
    let path = std::env::var_os(env::LIFECYCLE_OUT).map_or_else(|| CONTAINER_LOG.into(), PathBuf::from);
    Announcer::append(pod.to_owned(), &path).or_else(|error| {
        // Without a PID namespace process 1 is the machine's, and not ours to write to.
        tracing::debug!(path = %path.display(), %error, "lifecycle lines go to this hook's own output");
        Announcer::stdout(pod.to_owned())
    })
}
