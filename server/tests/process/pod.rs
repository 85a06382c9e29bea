//! A server process under test, and its lifecycle lines. Nothing here sleeps: it waits for lines, with a deadline.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use contract::{
    env,
    lifecycle::{Event, Line},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Longer than anything here takes on a loaded machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A process that is killed when dropped.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) struct Pod {
    process: Process,
    lines: Receiver<Line>,
    seen: Vec<Line>,
    pub(crate) address: String,
}

/// The binary, with nothing of our own environment that could change its settings.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_server"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SERVER_") || name == env::POD_NAME {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

impl Pod {
    /// Starts a server on a free port and waits until it listens.
    pub(crate) fn start(flags: &[&str]) -> Self {
        let mut arguments = vec!["run", "--listen", "127.0.0.1:0", "--pod-name", "web-1"];
        arguments.extend(flags);
        let mut process = Process(command(&arguments).stdout(Stdio::piped()).spawn().unwrap());
        let stdout = process.0.stdout.take().unwrap();
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let line = Line::parse(&line).unwrap_or_else(|| panic!("not a lifecycle line: {line}"));
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut pod = Self { process, lines, seen: vec![], address: String::new() };
        let started = pod.wait(|event| matches!(event, Event::MainStarted { .. }));
        let Event::MainStarted { listen } = started.event else { unreachable!() };
        pod.address = listen;
        pod
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    pub(crate) fn sigterm(&mut self) -> Line {
        self.signal(Signal::SIGTERM);
        self.wait(|event| matches!(event, Event::Sigterm(_)))
    }

    /// Waits until the kernel says that the process is stopped.
    pub(crate) fn stop(&self) {
        self.signal(Signal::SIGSTOP);
        let stat = format!("/proc/{}/stat", self.process.0.id());
        while !std::fs::read_to_string(&stat).unwrap().contains(") T ") {
            thread::yield_now();
        }
    }

    /// The next line with such an event; those before it are skipped.
    pub(crate) fn wait(&mut self, wanted: impl Fn(&Event) -> bool) -> Line {
        loop {
            match self.lines.recv_timeout(DEADLINE) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if wanted(&line.event) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("no such line; seen: {:#?}", self.seen),
                Err(RecvTimeoutError::Disconnected) => panic!("the output ended; seen: {:#?}", self.seen),
            }
        }
    }

    /// All lines, and how the process ended.
    pub(crate) fn finish(mut self) -> (Vec<Line>, ExitStatus) {
        while let Ok(line) = self.lines.recv_timeout(DEADLINE) {
            self.seen.push(line);
        }
        let status = self.process.0.wait().unwrap();
        (std::mem::take(&mut self.seen), status)
    }
}

/// The names of the events, in order.
pub(crate) fn names(lines: &[Line]) -> Vec<String> {
    let name = |line: &Line| serde_json::to_value(&line.event).unwrap()["event"].as_str().unwrap().to_owned();
    lines.iter().map(name).collect()
}
