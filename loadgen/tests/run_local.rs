//! Whole runs on this machine: real processes, real sockets, real signals.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

// size: one test a way in which a whole run can go, over the same few helpers.
mod common;

use std::fs;
use std::process::{Child, Stdio};

use common::{
    Run, Scratch, command, events, eventually, has_python, is_alive, loadgen, marked, quick,
    recorded_processes, run,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// A server that is not ours and not in Rust. As process 1 it would ignore SIGTERM without its handler; with it, it
/// exits at once, as much software does.
const PYTHON_SERVER: &[u8] = br#"
import http.server, os, signal, socketserver
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *_):
        pass
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 512
Server((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"#;

fn sums_hold(requests: &Value) {
    let count = |field: &str| requests[field].as_u64().unwrap();
    assert_eq!(count("scheduled"), count("sent") + count("unsent"));
    assert_eq!(count("sent"), count("ok") + count("failed") + count("late") + count("interrupted"));
}

fn every_arm_and_lane_adds_up(run: &Run) {
    for arm in run.report["arms"].as_array().unwrap() {
        sums_hold(&arm["requests"]);
        for lane in arm["lanes"].as_array().unwrap() {
            sums_hold(&lane["requests"]);
        }
    }
}

/// Every failure names a pod, and that pod was terminating when the request failed.
fn every_failure_is_a_terminating_pods(run: &Run) {
    let first = run.trial()["first_disruption_ns"].as_u64().unwrap();
    assert_eq!(run.trial()["failures_before_disruption"], 0);
    for failure in run.trial()["failures"].as_array().unwrap() {
        let pod = failure["pod"].as_str().unwrap_or_else(|| panic!("no pod in {failure}"));
        assert!(failure["at_ns"].as_u64().unwrap() >= first, "before the first disruption: {failure}");
        assert!(
            run.terminated().iter().any(|terminated| terminated["name"] == pod),
            "{pod} was never deleted"
        );
    }
}

#[test]
fn a_rollout_with_pre_stop_and_drain_drops_nothing_and_leaves_nothing() {
    let scratch = Scratch::new();
    let run = run(&scratch, "default", &quick(&["--set", "control=true"]));
    assert_eq!((run.ran.code, run.verdict()), (0, "pass"), "{}", run.summary());
    assert_eq!((run.count("failed"), run.count("late")), (0, 0));
    assert_eq!(run.terminated().len(), 2);
    for pod in run.terminated() {
        let edge = |name: &str| {
            pod["timeline"][format!("{name}_ns")].as_u64().unwrap_or_else(|| panic!("{name}: {pod}"))
        };
        let order = [
            "delete_requested",
            "t0",
            "pre_stop_started",
            "sigterm",
            "listener_closed",
            "drained",
            "exited",
            "ip_gone",
            "gone",
        ];
        assert!(order.windows(2).all(|pair| edge(pair[0]) <= edge(pair[1])), "{pod}");
        let pre_stop = edge("sigterm") - edge("t0");
        assert!((1_950_000_000..2_300_000_000).contains(&pre_stop), "preStop of 2 s took {pre_stop} ns");
        assert_eq!(pod["endpoint"].as_array().unwrap().len(), 2, "both nodes");
        assert_eq!(pod["exit"]["code"], 0);
    }
    let negative =
        run.report["arms"].as_array().unwrap().iter().find(|arm| arm["role"] == "negative-control").unwrap();
    assert!(
        negative["requests"]["failed"].as_u64().unwrap() > 0,
        "a server that exits at once must be seen to fail"
    );
    every_arm_and_lane_adds_up(&run);
    run.assert_nothing_left();

    let again = loadgen(&["report", run.out.to_str().unwrap(), "--format", "json", "--gate"]);
    assert_eq!(again.code, 0);
    assert_eq!(
        again.stdout.as_bytes(),
        fs::read(run.out.join("report.json")).unwrap(),
        "the same report, offline"
    );
}

#[test]
fn a_server_that_exits_on_sigterm_fails_with_a_counterexample() {
    let scratch = Scratch::new();
    let arguments = quick(&["--set", "workload.server.onSigterm=exit", "--set", "workload.lifecycle=null"]);
    let run = run(&scratch, "exit", &arguments);
    assert_eq!((run.ran.code, run.verdict()), (3, "fail"), "{}", run.summary());
    every_failure_is_a_terminating_pods(&run);
    every_arm_and_lane_adds_up(&run);
    let transport = ["connect-", "write-", "wait-", "body-"];
    for class in run.trial()["failures_by_class"].as_object().unwrap().keys() {
        assert!(transport.iter().any(|prefix| class.starts_with(prefix)), "{class} is no transport class");
    }
    run.assert_nothing_left();
}

/// The `reused` lane of a run over many pinned connections: (closed while idle, failed).
fn pinned(scratch: &Scratch, close_connections: bool) -> (u64, u64) {
    let setting = format!("workload.server.closeConnections={close_connections}");
    let arguments = quick(&[
        "--set",
        &setting,
        "--set",
        "load.lanes={new: {rate: 100}, reused: {rate: 1000, connections: 200}}",
        "--set",
        "workload.replicas=3",
    ]);
    let run = run(scratch, &format!("pinned-{close_connections}"), &arguments);
    let lanes = &run.trial()["lanes"];
    assert_eq!(lanes[0]["requests"]["failed"], 0, "preStop covers new connections: {}", run.summary());
    every_failure_is_a_terminating_pods(&run);
    for class in run.trial()["failures_by_class"].as_object().unwrap().keys() {
        assert!(class.starts_with("wait-") || class.starts_with("write-"), "{class}: {}", run.summary());
    }
    (lanes[1]["idle_closes"].as_u64().unwrap(), lanes[1]["requests"]["failed"].as_u64().unwrap())
}

#[test]
fn pinned_connections_are_cut_even_after_pre_stop_unless_the_close_is_announced() {
    let scratch = Scratch::new();
    assert_eq!(pinned(&scratch, true), (0, 0), "announced closes leave nothing to cut");
    let (idle_closes, failed) = pinned(&scratch, false);
    assert!(
        idle_closes + failed >= 200 / 2,
        "200 pinned connections were cut: {idle_closes} idle, {failed} failed"
    );
}

#[test]
fn a_pod_that_dies_under_load_aborts_the_run_without_a_pass() {
    let scratch = Scratch::new();
    let command = format!(
        "sh -c '\"$0\" __server run --listen $HOST:$PORT & sleep 3; kill -9 $!; exit 9' {}",
        common::LOADGEN
    );
    let lanes = "load.lanes={new: {rate: 100}}";
    let arguments =
        quick(&["--command", &command, "--set", lanes, "--set", "settle={before: 20s, after: 1s}"]);
    let run = run(&scratch, "dies", &arguments);
    assert!(matches!(run.ran.code, 3 | 4), "exit {}: {}", run.ran.code, run.summary());
    assert_ne!(run.verdict(), "pass");
    run.assert_nothing_left();
}

#[test]
fn a_container_that_ends_during_its_exec_hook_is_gone_with_it() {
    let scratch = Scratch::new();
    let hook = "workload.lifecycle={preStop: {exec: {command: [sh, -c, kill -TERM 1; sleep 30]}}}";
    let arguments = quick(&[
        "--set",
        hook,
        "--set",
        "expect={failed: any, late: any}",
        "--set",
        "workload.server.onSigterm=exit",
        "--set",
        "workload.terminationGracePeriodSeconds=60",
        "--max-time",
        "40s",
    ]);
    if !common::permits("pid") {
        return;
    }
    let run = run(&scratch, "hook", &arguments);
    assert_eq!(run.ran.code, 0, "{}", run.summary());
    assert!(
        !events(&run.out).iter().any(|event| event["event"] == "stop-signal"),
        "there was nobody left to signal"
    );
    for pod in run.terminated() {
        assert!(pod["notes"].to_string().contains("preStop"), "{pod}");
        assert!(!pod["timeline"]["gone_ns"].is_null(), "{pod}");
    }
    run.assert_nothing_left();
}

#[test]
fn a_deleted_pod_is_replaced_under_load() {
    let scratch = Scratch::new();
    let out = scratch.join("out");
    let mut arguments = vec!["run", "--quiet", "--scenario", "delete-pod", "--out", out.to_str().unwrap()];
    arguments.extend(quick(&[]));
    let ran = loadgen(&arguments);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    let report: Value = serde_json::from_slice(&fs::read(out.join("report.json")).unwrap()).unwrap();
    assert_eq!(report["arms"][0]["terminations"]["total"], 1);
}

#[test]
fn a_python_server_that_exits_on_sigterm_is_found_to_drop_requests() {
    if !has_python() {
        return;
    }
    let scratch = Scratch::new();
    let script = scratch.write("server.py", PYTHON_SERVER);
    let server = format!("python3 {script}");
    let arguments = [
        "--command",
        &server,
        "--set",
        "control=false",
        "--set",
        "settle={before: 1s, after: 1s}",
        "--set",
        "workload.lifecycle=null",
        "--set",
        "local.propagation=500ms",
    ];
    let run = run(&scratch, "python", &arguments);
    assert_eq!((run.ran.code, run.verdict()), (3, "fail"), "{}", run.summary());
    assert!(run.trial()["failures_by_class"]["connect-refused"].as_u64().unwrap() > 0, "{}", run.summary());
    every_failure_is_a_terminating_pods(&run);
    run.assert_nothing_left();
}

#[test]
fn a_server_without_a_handler_ignores_sigterm_and_uses_its_full_grace() {
    if !has_python() {
        return;
    }
    let scratch = Scratch::new();
    let arguments = [
        "--command",
        "python3 -m http.server --bind {host} {port}",
        "--set",
        "control=false",
        "--set",
        "settle={before: 1s, after: 1s}",
        "--set",
        "workload.replicas=1",
        "--set",
        "workload.terminationGracePeriodSeconds=4",
        "--set",
        "workload.lifecycle.preStop.sleep.seconds=1",
        "--set",
        "load.lanes={new: {rate: 40}}",
        "--set",
        "expect={failed: any, late: any}",
    ];
    let run = run(&scratch, "deaf", &arguments);
    let pod = run.terminated()[0];
    let notes = pod["notes"].to_string();
    assert!(notes.contains("ignored SIGTERM, used its full grace"), "{notes}");
    assert_eq!(pod["exit"]["signal"], 9);
    let edge = |name: &str| pod["timeline"][name].as_u64().unwrap();
    let signal_to_kill = edge("killed_ns") - edge("sigterm_ns");
    assert!(
        (2_950_000_000..3_300_000_000).contains(&signal_to_kill),
        "grace 4 − preStop 1 took {signal_to_kill} ns"
    );
    run.assert_nothing_left();
}

/// What each isolation must show alike: process 1's deafness, hooks that reach the pod's log, nothing left behind.
fn semantics_hold_under(isolation: &str) {
    let scratch = Scratch::new();
    let out = scratch.join("out");
    let mut arguments = vec!["run", "--quiet", "--out", out.to_str().unwrap()];
    let deaf = "sh -c '\"$0\" __server run --on-sigterm ignore --listen $HOST:$PORT & wait; wait' ";
    let command_line = format!("{deaf} {}", common::LOADGEN);
    let more = quick(&[
        "--command",
        &command_line,
        "--set",
        "load.lanes={new: {rate: 40}}",
        "--set",
        "workload.replicas=1",
        "--set",
        "workload.terminationGracePeriodSeconds=3",
        "--set",
        "workload.lifecycle={preStop: {exec: {command: [sh, -c, sleep 0.5]}}}",
    ]);
    arguments.extend(more);
    let ran: common::Ran =
        command(&arguments).env("DRAINPROOF_ISOLATION", isolation).output().unwrap().into();
    let report: Value = serde_json::from_slice(&fs::read(out.join("report.json")).unwrap()).unwrap();
    let run = Run { ran, out, report };
    let started = events(&run.out).into_iter().find(|event| event["event"] == "pod-started").unwrap();
    assert_eq!(started["namespaced"], isolation != "none");
    let pod = run.terminated()[0];
    assert!(pod["notes"].to_string().contains("ignored SIGTERM"), "{isolation}: {pod}");
    assert_eq!(pod["exit"]["signal"], 9, "{isolation}: {pod}");
    run.assert_nothing_left();
}

#[test]
fn a_shell_that_does_not_forward_sigterm_is_deaf_and_its_children_die_with_it_under_every_isolation() {
    for isolation in ["pid", "user-pid", "none"].into_iter().filter(|isolation| common::permits(isolation)) {
        semantics_hold_under(isolation);
    }
}

#[test]
fn hooks_run_in_the_pod_and_report_to_its_log() {
    let scratch = Scratch::new();
    let hooks = "workload.lifecycle={preStop: {exec: {command: [server, hook, pre-stop, --sleep, 2s]}}, \
                 postStart: {exec: {command: [server, hook, post-start, --sleep, 500ms]}}}";
    let run = run(&scratch, "hooks", &quick(&["--set", hooks]));
    assert_eq!(run.ran.code, 0, "{}", run.summary());
    let seen = |hook: &str, edge: &str| {
        events(&run.out)
            .iter()
            .any(|event| event["report"]["event"] == edge && event["report"]["hook"] == hook)
    };
    for (hook, edge) in
        [("pre-stop", "hook-started"), ("pre-stop", "hook-ended"), ("post-start", "hook-ended")]
    {
        assert!(seen(hook, edge), "{hook} {edge} is not in the log");
    }
    for pod in run.terminated() {
        assert!(!pod["inferred"].to_string().contains("pre_stop"), "an exec hook is observed: {pod}");
    }
}

/// Starts a run that would last, and waits until load and termination are under way.
fn start_long(scratch: &Scratch) -> (Child, std::path::PathBuf) {
    let out = scratch.join("out");
    let mut arguments = vec!["run", "--quiet", "--out", out.to_str().unwrap()];
    arguments.extend(quick(&["--set", "settle={before: 1s, after: 5m}"]));
    let child = command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually(60, "a pod is being terminated and a part of the rows is written", || {
        events(&out).iter().any(|event| event["event"] == "stop-signal")
            && fs::read_dir(out.join("recording")).unwrap().flatten().any(|entry| {
                entry.file_name().to_string_lossy().starts_with("records-")
                    && !entry.file_name().to_string_lossy().ends_with(".tmp")
            })
    });
    (child, out)
}

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

#[test]
fn after_kill_nine_every_process_is_gone_and_the_recording_is_no_pass() {
    let scratch = Scratch::new();
    let (mut child, out) = start_long(&scratch);
    let processes = recorded_processes(&out);
    assert!(processes.len() > 6, "guard, shims and pods are recorded: {processes:?}");
    send(&child, Signal::SIGKILL);
    child.wait().unwrap();
    eventually(3, "every recorded process is gone", || !processes.iter().any(|pid| is_alive(*pid)));
    let ran = loadgen(&["report", out.to_str().unwrap(), "--format", "json", "--gate"]);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_ne!(report["verdict"], "pass");
    assert_ne!(ran.code, 0);
    assert!(report["arms"][0]["requests"]["sent"].as_u64().unwrap() > 0, "what was flushed is there");
    let id = report["run"]["id"].as_str().unwrap();
    assert_eq!(marked(id), Vec::<u32>::new());
    let said = loadgen(&["cleanup", "--run", id]).stdout;
    assert!(said.starts_with(&format!("no run {id} was found")), "{said}");
}

#[test]
fn interrupted_runs_keep_their_recording_and_clean_up() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let scratch = Scratch::new();
        let (mut child, out) = start_long(&scratch);
        let processes = recorded_processes(&out);
        send(&child, signal);
        assert_eq!(child.wait().unwrap().code(), Some(code));
        eventually(1, "every recorded process is gone", || !processes.iter().any(|pid| is_alive(*pid)));
        let report: Value = serde_json::from_slice(&fs::read(out.join("report.json")).unwrap()).unwrap();
        assert_ne!(report["verdict"], "pass");
    }
}

#[test]
fn a_run_beyond_its_time_limit_is_inconclusive_wherever_the_limit_falls() {
    let scratch = Scratch::new();
    for limit in ["100ms", "700ms", "2500ms", "4s"] {
        ends_in_order_after(&scratch, limit);
    }
}

fn ends_in_order_after(scratch: &Scratch, limit: &str) {
    let run = run(scratch, limit, &quick(&["--max-time", limit]));
    assert_eq!((run.ran.code, run.verdict()), (4, "inconclusive"), "{}", run.summary());
    run.assert_nothing_left();
}

#[test]
fn arms_run_one_at_a_time_if_told_to_and_the_control_as_long_as_its_trial() {
    let scratch = Scratch::new();
    let run = run(&scratch, "one", &quick(&["--parallel", "1", "--set", "control=true"]));
    assert_eq!((run.ran.code, run.verdict()), (0, "pass"), "{}", run.summary());
    let arms = run.report["arms"].as_array().unwrap();
    let times: Vec<(u64, u64)> = arms
        .iter()
        .map(|arm| (arm["load_started_ns"].as_u64().unwrap(), arm["load_duration_ns"].as_u64().unwrap()))
        .collect();
    assert_eq!(arms.len(), 3);
    for pair in times.windows(2) {
        assert!(pair[0].0 + pair[0].1 <= pair[1].0, "{times:?}");
    }
    let control = arms.iter().position(|arm| arm["role"] == "control").unwrap();
    // The last slot of each lies up to the time between two before the end.
    assert!(times[control].1 + 200_000_000 >= times[0].1, "{times:?}");
}
