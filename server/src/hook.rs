//! The hook programs: they sleep, and say when they began and ended.
//!
//! An exec hook's own output goes nowhere (the runtime swallows it), so the lines go to the main process's
//! standard output, which is the container's log.

use std::{
    env as environment,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use contract::{
    env,
    lifecycle::{Event, Hook},
};

use crate::{announce::Announcer, stamp};

/// Process 1 of the container, seen from a hook in the same container.
const CONTAINER_LOG: &str = "/proc/1/fd/1";

/// What a hook does.
#[derive(Debug, Clone, Copy, Default)]
pub struct Work {
    /// How long it runs.
    pub sleep: Duration,
    /// What it exits with.
    pub code: u8,
    /// How often it says that it still runs.
    pub report_every: Option<Duration>,
    /// For how long a child that it leaves behind holds its output open.
    pub leave_child: Option<Duration>,
}

/// Runs a hook to its end, on this thread, and gives the exit code back. SIGTERM ends it as it ends any program.
///
/// # Errors
/// If there is nowhere to write the lines to, or the child to be left behind could not be started.
pub fn run(pod: &str, hook: Hook, work: Work) -> std::io::Result<u8> {
    let announcer = open(pod)?;
    announcer.emit(Event::HookStarted { hook });
    if let Some(after) = work.leave_child {
        leave_child(after)?;
    }
    let slept = |since| Duration::from_nanos(stamp::mono_ns().saturating_sub(since));
    let began = stamp::mono_ns();
    while let Some(left) = work.sleep.checked_sub(slept(began)).filter(|left| !left.is_zero()) {
        thread::sleep(work.report_every.unwrap_or(left).min(left));
        if work.report_every.is_some() {
            announcer.emit(Event::HookRunning { hook });
        }
    }
    announcer.emit(Event::HookEnded { hook, code: work.code.into() });
    Ok(work.code)
}

/// Starts this hook's program again, which says nothing and is not waited for; it inherits the output.
fn leave_child(lives: Duration) -> std::io::Result<()> {
    let mut path = Vec::new();
    for argument in environment::args_os().skip(1) {
        let is_last = argument == "pre-stop" || argument == "post-start";
        path.push(argument);
        if is_last {
            break;
        }
    }
    Command::new(environment::current_exe()?)
        .args(path)
        .arg(format!("--sleep={}ms", lives.as_millis()))
        .env(env::LIFECYCLE_OUT, "/dev/null")
        .stdin(Stdio::null())
        .spawn()?;
    Ok(())
}

fn open(pod: &str) -> std::io::Result<Announcer> {
    let path = std::env::var_os(env::LIFECYCLE_OUT).map_or_else(|| CONTAINER_LOG.into(), PathBuf::from);
    Announcer::append(pod.to_owned(), &path).or_else(|error| {
        // Without a PID namespace process 1 is the machine's, and not ours to write to.
        tracing::debug!(path = %path.display(), %error, "lifecycle lines go to this hook's own output");
        Announcer::stdout(pod.to_owned())
    })
}
