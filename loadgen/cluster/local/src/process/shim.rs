//! The programs that stand between loadgen and a pod's processes. Single-threaded: `setns` and `unshare` on user
//! namespaces demand it. Diagnostics go to the status pipe, which is file descriptor 0.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{getegid, geteuid};

use super::{Isolation, Status};

/// Names loadgen to the programs that it starts.
pub(super) const PARENT: &str = "DRAINPROOF_PARENT";

/// Exit code of our programs when they could not do their work, as a shell's for "cannot be executed".
const CANNOT: u8 = 126;

/// `shim`: makes the namespaces, starts `init` in them, waits for it, reports.
#[must_use]
pub fn shim(isolation: Isolation, command: &[String]) -> ExitCode {
    let Ok(mut status) = status_pipe() else { return ExitCode::from(CANNOT) };
    let started = prepare(isolation).and_then(|()| {
        let mut init = Command::new(std::env::current_exe()?);
        init.arg("__init").arg(isolation.as_str()).arg("--").args(command);
        // init reports a failing exec by the same pipe.
        init.stdin(Stdio::from(OwnedFd::from(status.try_clone()?)));
        init.spawn()
    });
    let code = supervise(&mut status, started);
    if isolation == Isolation::None {
        end_descendants();
    }
    code
}

/// `init`: process 1 of the new namespace, until it becomes the command.
#[must_use]
pub fn init(isolation: Isolation, command: &[String]) -> ExitCode {
    let Ok(mut status) = status_pipe() else { return ExitCode::from(CANNOT) };
    let error = become_command(isolation, command);
    report(&mut status, &Status::Failed { message: error.to_string() });
    ExitCode::from(CANNOT)
}

/// `enter`: runs a hook or an exec probe in the namespaces of a pod.
#[must_use]
pub fn enter(isolation: Isolation, pid: u32, command: &[String]) -> ExitCode {
    let Ok(mut status) = status_pipe() else { return ExitCode::from(CANNOT) };
    let started = join(isolation, pid).and_then(|()| {
        let (program, arguments) = split(command)?;
        Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .spawn()
            .map_err(|error| explain(program, &error))
    });
    supervise(&mut status, started)
}

fn supervise(status: &mut File, started: io::Result<std::process::Child>) -> ExitCode {
    let mut child = match started {
        Ok(child) => child,
        Err(error) => {
            report(status, &Status::Failed { message: error.to_string() });
            return ExitCode::from(CANNOT);
        }
    };
    report(status, &Status::Started { pid: child.id() });
    match child.wait() {
        Ok(end) => {
            let mono_ns = clock::monotonic_ns();
            report(status, &Status::Exited { code: end.code(), signal: end.signal(), mono_ns });
            ExitCode::SUCCESS
        }
        Err(error) => {
            report(status, &Status::Failed { message: format!("failed to wait for it: {error}") });
            ExitCode::from(CANNOT)
        }
    }
}

/// Dies with loadgen, also if that died before it could be said.
fn die_with_parent() -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    let expected = std::env::var(PARENT).ok().and_then(|pid| pid.parse().ok());
    if expected.is_some_and(|pid: u32| pid != std::os::unix::process::parent_id()) {
        return Err(io::Error::other("loadgen has ended"));
    }
    Ok(())
}

/// Without a namespace that takes them along, what the pod has started and left is ours (`prepare` asked for it).
fn end_descendants() {
    for _ in 0..100 {
        let own = format!("/proc/self/task/{}/children", std::process::id());
        let children = fs::read_to_string(own).unwrap_or_default();
        let mut left = false;
        for pid in children.split_whitespace().filter_map(|pid| pid.parse().ok()) {
            left = true;
            let _gone = super::signal(pid, Signal::SIGKILL);
        }
        // Each that is reaped may hand its own children to us.
        while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(status) if status != WaitStatus::StillAlive)
        {
        }
        if !left {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn prepare(isolation: Isolation) -> io::Result<()> {
    die_with_parent()?;
    let (uid, gid) = (geteuid(), getegid());
    match isolation {
        Isolation::None => prctl::set_child_subreaper(true)?,
        Isolation::Pid => unshare(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS)?,
        Isolation::UserPid => {
            unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS)?;
            fs::write("/proc/self/setgroups", "deny")?;
            // Root within, the user without, as in a rootless container: any other number would lose, by executing
            // init, the capability that mounting /proc takes.
            fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
            fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
        }
    }
    Ok(())
}

/// Only ever returns with an error.
fn become_command(isolation: Isolation, command: &[String]) -> io::Error {
    if let Err(errno) = prctl::set_pdeathsig(Signal::SIGKILL) {
        return errno.into();
    }
    if isolation.is_namespaced()
        && let Err(error) = mount_proc()
    {
        return io::Error::other(format!("failed to mount /proc for the pod: {error}"));
    }
    let (program, arguments) = match split(command) {
        Ok(parts) => parts,
        Err(error) => return error,
    };
    let error = Command::new(program).args(arguments).stdin(Stdio::null()).exec();
    explain(program, &error)
}

fn mount_proc() -> nix::Result<()> {
    let nothing: Option<&Path> = None;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, nothing)
}

fn join(isolation: Isolation, pid: u32) -> io::Result<()> {
    die_with_parent()?;
    let names: &[(&str, CloneFlags)] = match isolation {
        Isolation::None => &[],
        Isolation::Pid => &[("pid", CloneFlags::CLONE_NEWPID), ("mnt", CloneFlags::CLONE_NEWNS)],
        Isolation::UserPid => &[
            ("user", CloneFlags::CLONE_NEWUSER),
            ("pid", CloneFlags::CLONE_NEWPID),
            ("mnt", CloneFlags::CLONE_NEWNS),
        ],
    };
    // All are opened first: after the first step the paths may mean something else.
    let opened = names
        .iter()
        .map(|(name, flag)| File::open(format!("/proc/{pid}/ns/{name}")).map(|file| (file, *flag)))
        .collect::<io::Result<Vec<_>>>()?;
    for (file, flag) in opened {
        setns(file, flag)?;
    }
    Ok(())
}

fn split(command: &[String]) -> io::Result<(&String, &[String])> {
    command.split_first().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the command is empty"))
}

fn explain(program: &str, error: &io::Error) -> io::Error {
    let text = match error.kind() {
        io::ErrorKind::NotFound => format!("`{program}` does not exist"),
        io::ErrorKind::PermissionDenied => format!("`{program}` may not be executed"),
        _ => format!("`{program}`: {error}"),
    };
    io::Error::new(error.kind(), text)
}

fn status_pipe() -> io::Result<File> {
    Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?))
}

fn report(pipe: &mut File, status: &Status) {
    if let Ok(mut line) = serde_json::to_vec(status) {
        line.push(b'\n');
        // Nobody to tell if loadgen is gone; then this process is about to be ended too.
        let _unread = pipe.write_all(&line);
    }
}
