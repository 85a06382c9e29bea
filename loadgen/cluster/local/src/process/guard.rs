//! The guard: a process that holds a pipe from loadgen and, when that pipe closes, ends whatever is left of the run.
//!
//! It is the second line behind the kernel's death signals, and the only one for processes that a pod without a PID
//! namespace has left behind.

use std::io::{self, BufRead, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::{signal, sweep};

/// How often, and how long apart, the guard looks again.
const ROUNDS: u32 = 60;
const PAUSE: Duration = Duration::from_millis(50);
/// PIDs that the guard keeps in mind.
const MAX_PIDS: usize = 100_000;

/// The guard's handle in loadgen. Dropping it closes the pipe.
#[derive(Debug)]
pub struct Guard {
    child: Child,
    pipe: Option<ChildStdin>,
}

impl Guard {
    /// Starts the guard of a run.
    ///
    /// # Errors
    /// It could not be started.
    pub fn start(run: &str) -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["__guard", run])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let pipe = child.stdin.take();
        Ok(Self { child, pipe })
    }

    /// The guard's PID.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells the guard of a process.
    pub fn watch(&mut self, pid: u32) {
        if let Some(pipe) = &mut self.pipe {
            // If the guard is gone the kernel's death signals still stand.
            let _gone = writeln!(pipe, "{pid}");
        }
    }

    /// Lets the guard sweep, and says whether everything is gone.
    ///
    /// # Errors
    /// Something could not be ended.
    pub fn finish(&mut self) -> io::Result<()> {
        drop(self.pipe.take());
        let status = self.child.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(io::Error::other("processes of the run could not be ended"))
        }
    }
}

/// The program `guard`: reads PIDs until the pipe closes, then ends them and everything that bears the run's marker.
#[must_use]
pub fn guard(run: &str) -> ExitCode {
    let mut known = Vec::new();
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        if let Some(pid) = line.trim().parse::<u32>().ok().filter(|_| known.len() < MAX_PIDS)
            && let Some(started) = sweep::start_time(pid)
        {
            known.push((pid, started));
        }
    }
    let mut empty = 0;
    for _ in 0..ROUNDS {
        empty = if end(run, &known) == 0 { empty + 1 } else { 0 };
        // Twice: a process that was just being made may not have borne the marker at the first look.
        if empty == 2 {
            return ExitCode::SUCCESS;
        }
        thread::sleep(PAUSE);
    }
    ExitCode::FAILURE
}

/// Kills what is left of a run; returns how many processes were still there.
#[must_use]
pub fn end(run: &str, known: &[(u32, u64)]) -> usize {
    let mut left: Vec<u32> = known
        .iter()
        .filter(|(pid, started)| sweep::start_time(*pid) == Some(*started))
        .map(|(pid, _)| *pid)
        .collect();
    left.extend(sweep::marked_with(run));
    left.sort_unstable();
    left.dedup();
    left.retain(|pid| sweep::is_alive(*pid) && *pid != std::process::id());
    for pid in &left {
        let _denied = signal(*pid, Signal::SIGKILL);
    }
    left.len()
}
