//! Runs the real binary and reads what it leaves.

#![allow(
    clippy::allow_attributes,
    reason = "whether each of these is needed differs between the test binaries"
)]
#![allow(dead_code, reason = "each test binary uses a part of this")]
#![allow(missing_docs, unreachable_pub, reason = "a module of tests")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::print_stderr,
    reason = "a test's way to fail"
)]

/// The schema, as the tests of the crate that publishes it hold reports to it.
#[path = "../../../reports/tests/strict.rs"]
pub mod strict;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

/// The binary under test.
pub const LOADGEN: &str = env!("CARGO_BIN_EXE_loadgen");

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A directory of the test's own, removed when it ends well.
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    pub fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("drainproof-test-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self { path }
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub fn write(&self, name: &str, content: &[u8]) -> String {
        let path = self.join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _kept = fs::remove_dir_all(&self.path);
        }
    }
}

/// What one call gave.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// A failure that the user caused: this code, and one line on stderr that says all of these.
    pub fn assert_one_line(&self, code: i32, says: &[&str]) {
        assert_eq!(self.code, code, "exit code; stderr: {}", self.stderr);
        assert_eq!(self.stderr.trim_end().lines().count(), 1, "one line, not: {}", self.stderr);
        for part in says {
            assert!(self.stderr.contains(part), "`{part}` is not said in: {}", self.stderr);
        }
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(LOADGEN);
    command.args(arguments).stdin(Stdio::null()).env_remove("RUST_LOG");
    // A run in a CI tells it more: only those that are about that are to.
    for name in ["CI", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"] {
        command.env_remove(name);
    }
    command
}

pub fn loadgen(arguments: &[&str]) -> Ran {
    command(arguments).output().unwrap().into()
}

/// A run with its files.
pub struct Run {
    pub ran: Ran,
    pub out: PathBuf,
    pub report: Value,
}

/// `loadgen run` quietly into a directory of the scratch; the report must be there.
pub fn run(scratch: &Scratch, name: &str, arguments: &[&str]) -> Run {
    let out = scratch.join(name);
    let mut all = vec!["run", "--quiet", "--out", out.to_str().unwrap()];
    all.extend(arguments);
    let ran = loadgen(&all);
    let report = fs::read(out.join("report.json"))
        .unwrap_or_else(|error| panic!("no report: {error}; exit code {}; stderr: {}", ran.code, ran.stderr));
    let report = serde_json::from_slice(&report).unwrap();
    assert_eq!(strict::problems(&report), Vec::<String>::new(), "not as the schema says");
    Run { ran, out, report }
}

impl Run {
    pub fn trial(&self) -> &Value {
        self.report["arms"].as_array().unwrap().iter().find(|arm| arm["role"] == "trial").unwrap()
    }

    pub fn verdict(&self) -> &str {
        self.report["verdict"].as_str().unwrap()
    }

    pub fn count(&self, field: &str) -> u64 {
        self.trial()["requests"][field].as_u64().unwrap()
    }

    /// Pods that were deleted.
    pub fn terminated(&self) -> Vec<&Value> {
        let pods = self.trial()["pods"].as_array().unwrap();
        pods.iter().filter(|pod| !pod["timeline"]["delete_requested_ns"].is_null()).collect()
    }

    /// Verdict, reasons and requests, for a failing assertion's message.
    pub fn summary(&self) -> String {
        let arms: Vec<String> = self.report["arms"]
            .as_array()
            .unwrap()
            .iter()
            .map(|arm| format!("{} {} {} {}", arm["name"], arm["verdict"], arm["reasons"], arm["requests"]))
            .collect();
        format!("{} {}\n{}\n{}", self.verdict(), self.report["reasons"], arms.join("\n"), self.ran.stderr)
    }

    /// No process of the run is left.
    pub fn assert_nothing_left(&self) {
        let id = self.report["run"]["id"].as_str().unwrap();
        assert_eq!(marked(id), Vec::<u32>::new(), "processes of run {id} are left");
    }
}

/// Living processes with a run's marker in their environment.
pub fn marked(run: &str) -> Vec<u32> {
    let marker = format!("DRAINPROOF_RUN={run}").into_bytes();
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|environment| environment.split(|byte| *byte == 0).any(|entry| entry == marker))
        })
        .filter(|pid| is_alive(*pid))
        .collect()
}

/// True for a process that exists and is no zombie.
pub fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| stat.rsplit_once(')').map(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X'])))
        .unwrap_or(false)
}

/// Processes that a recording names.
pub fn recorded_processes(out: &Path) -> Vec<u32> {
    events(out)
        .iter()
        .filter(|event| event["event"] == "process-started")
        .filter_map(|event| u32::try_from(event["pid"].as_u64()?).ok())
        .collect()
}

/// Whole lines of the events.
pub fn events(out: &Path) -> Vec<Value> {
    let text = fs::read_to_string(out.join("recording/events.ndjson")).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Waits for a condition, for at most so many seconds.
pub fn eventually(seconds: u64, what: &str, mut met: impl FnMut() -> bool) {
    let deadline = clock::monotonic_ns() + seconds * 1_000_000_000;
    while !met() {
        assert!(clock::monotonic_ns() < deadline, "not within {seconds} s: {what}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// Whether there is a Python to play a server that is not ours. A gate without one must not pass for one with it.
pub fn has_python() -> bool {
    let found = Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success());
    assert!(found || std::env::var_os("CI").is_none(), "CI needs python3");
    if !found {
        eprintln!("skipped: there is no python3");
    }
    found
}

/// Whether this machine permits an isolation. A gate on a machine that does not would leave it untested.
pub fn permits(isolation: &str) -> bool {
    let (mut status, writer) = std::io::pipe().unwrap();
    let mut shim = Command::new(LOADGEN);
    shim.args(["__shim", isolation, "--", LOADGEN, "__noop"]).stdin(Stdio::from(writer));
    let mut child = shim.spawn().unwrap();
    drop(shim);
    let said = std::io::read_to_string(&mut status).unwrap();
    child.wait().unwrap();
    let permitted = said.contains("\"exited\":{\"code\":0");
    assert!(permitted || std::env::var_os("CI").is_none(), "CI must permit {isolation}: {said}");
    if !permitted {
        eprintln!("skipped: {isolation} is not permitted here: {said}");
    }
    permitted
}

/// A scenario that is over in a few seconds: two pods, a rollout, light load. Its limits are wide: what is tested is
/// what happens to requests, on a machine that may be busy with other tests.
pub const QUICK: &[&str] = &[
    "--set",
    "limits={scheduleLag: 1s, detectionFloor: 3s}",
    "--set",
    "load.lateOver=3s",
    "--set",
    "workload.replicas=2",
    "--set",
    "workload.lifecycle.preStop.sleep.seconds=2",
    "--set",
    "workload.terminationGracePeriodSeconds=10",
    "--set",
    "settle={before: 1s, after: 1s}",
    "--set",
    "load.lanes={new: {rate: 200}, reused: {rate: 200, connections: 10}, slow: {rate: 10, delay: 1s}, post: {rate: 20}}",
    "--set",
    "control=false",
];

/// [`QUICK`] and more.
pub fn quick<'a>(more: &[&'a str]) -> Vec<&'a str> {
    QUICK.iter().copied().chain(more.iter().copied()).collect()
}
