//! Whole runs with something in the way: a proxy in front, a process that stands still, an impatient user, no root.

#![expect(clippy::unwrap_used, reason = "a test's way to fail")]

mod common;

use std::fs;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use common::{LOADGEN, Scratch, command, events, eventually, is_alive, marked, quick, recorded_processes};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use serde_json::Value;

fn start(scratch: &Scratch, more: &[&str]) -> (Child, PathBuf) {
    let out = scratch.join("out");
    let mut arguments = vec!["run", "--quiet", "--out", out.to_str().unwrap()];
    arguments.extend(quick(more));
    let child = command(&arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    (child, out)
}

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

fn happened(out: &Path, event: &str) -> bool {
    events(out).iter().any(|line| line["event"] == event)
}

fn report(out: &Path) -> Value {
    serde_json::from_slice(&fs::read(out.join("report.json")).unwrap()).unwrap()
}

/// Addresses of the pods that a load balancer of the user's would name now: ready, and not yet out of the rules.
fn in_the_rules(out: &Path) -> Vec<SocketAddr> {
    let events = events(out);
    let is = |kind: &str, pod: &Value| events.iter().any(|line| line["event"] == kind && line["pod"] == *pod);
    events
        .iter()
        .filter(|line| line["event"] == "pod-created")
        .filter(|line| is("endpoint-programmed", &line["pod"]) && !is("endpoint-removed", &line["pod"]))
        .map(|line| line["address"].as_str().unwrap().parse().unwrap())
        .collect()
}

/// Copies until the end of `from`, and hands that end on.
fn pump(mut from: TcpStream, mut to: TcpStream) {
    let _cut = io::copy(&mut from, &mut to);
    let _gone = to.shutdown(Shutdown::Write);
}

/// A load balancer in front of the pods, for as long as the test lasts.
fn balance(front: TcpListener, out: PathBuf) {
    thread::spawn(move || {
        for (turn, client) in front.incoming().flatten().enumerate() {
            let out = out.clone();
            thread::spawn(move || {
                let pods = in_the_rules(&out);
                let Some(pod) = pods.get(turn % pods.len().max(1)) else { return };
                let Ok(upstream) = TcpStream::connect(pod) else { return };
                let (back, forth) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
                thread::spawn(move || pump(upstream, back));
                pump(client, forth);
            });
        }
    });
}

#[test]
fn behind_a_load_balancer_the_answers_tell_which_pod_gave_them() {
    let scratch = Scratch::new();
    let front = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("load.target=http://{}/", front.local_addr().unwrap());
    balance(front, scratch.join("out"));
    let lanes = "load.lanes={new: {rate: 40}, reused: {rate: 60, connections: 6}}";
    let (child, out) = start(&scratch, &["--set", &target, "--set", lanes]);
    let ran: common::Ran = child.wait_with_output().unwrap().into();
    let report = report(&out);
    let arm = &report["arms"][0];
    assert_eq!(
        (ran.code, &report["verdict"]),
        (0, &Value::from("pass")),
        "{} {}",
        report["reasons"],
        arm["reasons"]
    );
    assert_eq!(arm["terminations"]["exposed"], 2, "{}", arm["terminations"]);
    assert_eq!(arm["terminations"]["total"], 2);
}

#[test]
fn a_process_that_stood_still_while_a_pod_was_stopped_does_not_call_it_a_pass() {
    let scratch = Scratch::new();
    let (mut child, out) = start(&scratch, &[]);
    eventually(60, "a pod is being stopped", || happened(&out, "killing"));
    send(&child, Signal::SIGSTOP);
    // As long as it lasts is what is tested: more than the limit of the schedule's lag.
    thread::sleep(Duration::from_millis(1_500));
    send(&child, Signal::SIGCONT);
    let code = child.wait().unwrap().code();
    let stalled = events(&out).into_iter().find(|line| line["event"] == "stalled");
    let for_ns = stalled.unwrap_or_else(|| panic!("no stall was noticed"))["for_ns"].as_u64().unwrap();
    assert!((1_300_000_000..5_000_000_000).contains(&for_ns), "stood still for 1.5 s, not {for_ns} ns");
    let report = report(&out);
    assert_ne!(report["verdict"], "pass", "{}", report["reasons"]);
    assert!(matches!(code, Some(3 | 4)), "{code:?}");
    assert!(
        report["arms"][0]["reasons"].to_string().contains("stood still"),
        "{}",
        report["arms"][0]["reasons"]
    );
}

#[test]
fn a_second_ctrl_c_ends_it_at_once_and_the_guard_cleans_up() {
    let scratch = Scratch::new();
    // A pod that ignores SIGTERM for a minute would hold up an orderly end.
    let (mut child, out) = start(&scratch, &["--set", "settle={before: 1s, after: 5m}"]);
    eventually(60, "load has started", || happened(&out, "load-started"));
    let processes = recorded_processes(&out);
    let run = events_run(&out);
    send(&child, Signal::SIGSTOP);
    // Both are pending when it goes on: the second comes before an orderly end could.
    send(&child, Signal::SIGINT);
    send(&child, Signal::SIGTERM);
    send(&child, Signal::SIGCONT);
    let code = child.wait().unwrap().code();
    assert!(matches!(code, Some(130 | 143)), "{code:?}");
    eventually(3, "every recorded process is gone", || !processes.iter().any(|pid| is_alive(*pid)));
    eventually(3, "nothing bears the run's marker", || marked(&run).is_empty());
    let ran = common::loadgen(&["report", out.to_str().unwrap(), "--format", "json", "--gate"]);
    assert_ne!(ran.code, 0, "an interrupted run is never a pass");
}

fn events_run(out: &Path) -> String {
    let header: Value =
        serde_json::from_slice(&fs::read(out.join("recording/header.json")).unwrap()).unwrap();
    header["run_id"].as_str().unwrap().to_owned()
}

#[test]
fn a_user_without_privileges_gets_the_same_verdict() {
    if !geteuid().is_root() {
        // Then every other test shows it.
        return;
    }
    let scratch = Scratch::new();
    let home = scratch.join("home");
    fs::create_dir_all(&home).unwrap();
    // The build's folder may be closed to other users.
    let binary = home.join("loadgen");
    fs::copy(LOADGEN, &binary).unwrap();
    for path in [home.parent().unwrap(), &home] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let out = home.join("out");
    let mut user = Command::new("setpriv");
    user.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]).arg(&binary);
    user.args(["run", "--quiet", "--out", out.to_str().unwrap()]).args(quick(&[]));
    let ran: common::Ran = user.current_dir(&home).stdin(Stdio::null()).output().unwrap().into();
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    assert_eq!(report(&out)["arms"][0]["terminations"]["total"], 2);
}
