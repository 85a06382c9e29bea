//! Processes of a run: each pod's main process is process 1 of a PID namespace of its own where that is permitted,
//! and none of them outlives the run, whatever ends it.
//!
//! `pre_exec` is unsafe code, so what must happen between fork and exec is done by a small program of ours that is
//! executed in between:
//!
//! ```text
//! loadgen ── shim ── init ─exec─► main process (process 1)      shim: new namespaces, waits, reports
//!         └─ enter ── hook                                      init: dies with its parent, mounts /proc
//!         └─ guard                                              guard: ends what a dead loadgen left
//! ```
//!
//! * [`shim`]: the programs `shim`, `init` and `enter`
//! * [`guard`]: the program `guard` and its handle
//! * [`sweep`]: finds processes by the run's marker in their environment

pub mod guard;
pub mod shim;
pub mod sweep;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::net::unix::pipe;
use tokio::sync::oneshot;

/// How a pod is kept apart from the machine's other processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// A PID and a mount namespace.
    Pid,
    /// The same within a user namespace, for those who may not otherwise.
    UserPid,
    /// None: the pod is an ordinary process. Process 1's rules for signals are applied by us.
    None,
}

impl Isolation {
    /// The hidden flag's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pid => "pid",
            Self::UserPid => "user-pid",
            Self::None => "none",
        }
    }

    /// Reads the hidden flag's value.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pid, Self::UserPid, Self::None].into_iter().find(|isolation| isolation.as_str() == text)
    }

    /// True if the pod's main process is process 1 of its namespace.
    #[must_use]
    pub const fn is_namespaced(self) -> bool {
        !matches!(self, Self::None)
    }
}

/// What the shim says on its status pipe, one JSON object a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The child exists; for a pod: it is about to execute its command.
    Started {
        /// As the machine numbers it.
        pid: u32,
    },
    /// It could not be started.
    Failed {
        /// Why.
        message: String,
    },
    /// It ended.
    Exited {
        /// Exit code, if it ended by itself.
        code: Option<i32>,
        /// Signal, if that ended it.
        signal: Option<i32>,
        /// Raw `CLOCK_MONOTONIC`, ns, when its end was seen.
        mono_ns: u64,
    },
}

/// Starts processes from a thread that lives as long as the run: the death signal that our programs ask the kernel
/// for comes when the *thread* that spawned them ends.
#[derive(Debug, Clone)]
pub struct Spawner {
    requests: mpsc::SyncSender<(Command, oneshot::Sender<io::Result<Child>>)>,
}

impl Spawner {
    /// Starts the thread.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn start() -> io::Result<Self> {
        let (requests, inbox) = mpsc::sync_channel::<(Command, oneshot::Sender<io::Result<Child>>)>(256);
        thread::Builder::new().name("spawner".to_owned()).spawn(move || {
            for (mut command, reply) in inbox {
                command.env(shim::PARENT, std::process::id().to_string());
                // A group of its own: a Ctrl-C at the terminal is ours to handle, not the pods'.
                let child = command.process_group(0).spawn();
                if let Err(Ok(mut unclaimed)) = reply.send(child) {
                    let _gone = unclaimed.kill();
                    let _reaped = unclaimed.wait();
                }
            }
        })?;
        Ok(Self { requests })
    }

    /// Starts one process.
    ///
    /// # Errors
    /// It could not be started.
    pub async fn spawn(&self, command: Command) -> io::Result<Child> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .send((command, reply))
            .map_err(|_| io::Error::other("the spawning thread has ended"))?;
        answer.await.map_err(|_| io::Error::other("the spawning thread has ended"))?
    }
}

/// A process under a shim, with its pipes.
#[derive(Debug)]
pub struct Shimmed {
    /// The shim itself; reap it when [`Shimmed::status`] has ended.
    pub shim: Child,
    /// What the shim says.
    pub status: pipe::Receiver,
    /// The process's standard output.
    pub stdout: pipe::Receiver,
    /// The process's standard error.
    pub stderr: pipe::Receiver,
}

/// Starts `command` (one of our hidden programs) with three pipes: the write end of the status pipe is its standard
/// input, which none of our programs reads.
///
/// # Errors
/// Pipes or the process could not be made.
pub async fn spawn_shimmed(spawner: &Spawner, mut command: Command) -> io::Result<Shimmed> {
    let (status, status_writer) = io::pipe()?;
    let (stdout, stdout_writer) = io::pipe()?;
    let (stderr, stderr_writer) = io::pipe()?;
    command
        .stdin(Stdio::from(status_writer))
        .stdout(Stdio::from(stdout_writer))
        .stderr(Stdio::from(stderr_writer));
    // The command holds our copies of the write ends; they close with it once the process exists.
    let shim = spawner.spawn(command).await?;
    Ok(Shimmed { shim, status: receiver(status)?, stdout: receiver(stdout)?, stderr: receiver(stderr)? })
}

fn receiver(reader: io::PipeReader) -> io::Result<pipe::Receiver> {
    pipe::Receiver::from_owned_fd(OwnedFd::from(reader))
}

/// Sends a signal to one process; one that ended meanwhile is not an error.
///
/// # Errors
/// The kernel's other errors.
pub fn signal(pid: u32, signal: Signal) -> io::Result<()> {
    let Ok(pid) = i32::try_from(pid) else { return Err(io::ErrorKind::InvalidInput.into()) };
    match kill(Pid::from_raw(pid), signal) {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// True for a process that is no more, or on its way out: nothing that is sent to it is handled any more.
///
/// The kernel sets `PF_EXITING` before process 1's exit takes its namespace along, so whoever saw one of its processes
/// die of that sees this too, though the exit itself has not been reported yet.
#[must_use]
pub fn is_ending(pid: u32) -> bool {
    const PF_EXITING: u64 = 0x4;
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    // The command name may hold anything: fields are counted after its last bracket.
    let Some((_, rest)) = stat.rsplit_once(')') else { return true };
    let mut fields = rest.split_whitespace();
    let dead = fields.next().is_none_or(|state| matches!(state, "Z" | "X"));
    dead || fields
        .nth(5)
        .and_then(|flags| flags.parse::<u64>().ok())
        .is_some_and(|flags| flags & PF_EXITING != 0)
}

/// Whether a signal would reach a process that is process 1 of its namespace: it has a handler for it, or a thread of
/// it blocks it and so may wait for it (`sigwait`, `signalfd`). The kernel drops all others (`sig_task_ignored`).
/// `None` where its status cannot be read.
#[must_use]
pub fn handles(pid: u32, signal: Signal) -> Option<bool> {
    let bit = 1_u64 << (signal as i32 - 1);
    let mut seen = None;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        let Ok(status) = std::fs::read_to_string(thread.path().join("status")) else { continue };
        let masks = status.lines().filter_map(|line| {
            let mask = line.strip_prefix("SigCgt:").or_else(|| line.strip_prefix("SigBlk:"))?;
            u64::from_str_radix(mask.trim(), 16).ok()
        });
        let takes = masks.fold(0, |all, mask| all | mask) & bit != 0;
        seen = Some(seen.unwrap_or(false) || takes);
    }
    seen
}
