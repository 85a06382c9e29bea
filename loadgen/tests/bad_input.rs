//! Everything that a user can get wrong: one clear line, the right exit code, nothing left behind.

#![expect(clippy::unwrap_used, reason = "a test's way to fail")]

mod common;

use std::net::TcpListener;

use common::{LOADGEN, Scratch, command, loadgen};

#[test]
fn an_unknown_scenario_names_what_is_built_in() {
    loadgen(&["run", "--scenario", "nonsense"])
        .assert_one_line(2, &["nonsense", "rolling-restart", "delete-pod"]);
    loadgen(&["scenarios", "nonsense"]).assert_one_line(2, &["nonsense", "rolling-restart"]);
}

#[test]
fn a_scenario_with_an_unknown_field_names_line_column_and_what_is_allowed() {
    let scratch = Scratch::new();
    let file = scratch.write("field.yaml", b"name: x\nworkload:\n  replicas: 2\n  replcas: 3\n");
    loadgen(&["run", "--scenario", &file]).assert_one_line(2, &["field.yaml:4:3", "replcas", "replicas"]);
}

#[test]
fn a_pre_stop_sleep_above_the_grace_names_both() {
    let scratch = Scratch::new();
    let file = scratch.write(
        "sleep.yaml",
        b"name: x\nworkload:\n  terminationGracePeriodSeconds: 30\n  lifecycle:\n    preStop:\n      sleep:\n        seconds: 40\n",
    );
    loadgen(&["run", "--scenario", &file]).assert_one_line(2, &["sleep.yaml:7:18", "40", "30", "preStop"]);
}

#[test]
fn a_rate_of_nothing_and_an_unknown_lane_are_named() {
    loadgen(&["run", "--set", "load.lanes.new.rate=0"]).assert_one_line(2, &["load.lanes.new.rate", "0"]);
    loadgen(&["run", "--set", "load.lanes.fast.rate=1"])
        .assert_one_line(2, &["fast", "new", "reused", "slow", "post"]);
}

#[test]
fn requests_that_cannot_be_sent_are_refused_before_anything_is_touched() {
    let scratch = Scratch::new();
    let out = scratch.join("out");
    let load = ["load", "--lanes", "h2", "--out", out.to_str().unwrap(), "http://127.0.0.1:9/"];
    let says = ["header `host`", "not a host and port"];
    loadgen(&[&load[..], &["-H", "Host: a b"]].concat()).assert_one_line(2, &says);
    assert!(!out.exists());
    let run =
        ["run", "--dry-run", "--set", "load.lanes={h2: {rate: 1}}", "--set", "load.request.headers.Host=a b"];
    loadgen(&run).assert_one_line(2, &says);
}

#[test]
fn files_that_are_no_scenarios_are_refused_whatever_they_are() {
    let scratch = Scratch::new();
    let empty = scratch.write("empty.yaml", b"");
    loadgen(&["run", "--scenario", &empty]).assert_one_line(2, &["empty.yaml", "empty"]);
    let binary = scratch.write("binary.yaml", b"\x00\xff\xfe\x80name");
    loadgen(&["run", "--scenario", &binary]).assert_one_line(2, &["binary.yaml"]);
    let directory = scratch.join("directory");
    std::fs::create_dir(&directory).unwrap();
    loadgen(&["run", "--scenario", directory.to_str().unwrap()]).assert_one_line(2, &["directory"]);
    let mut bomb = String::from("name: x\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let below = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb = format!("{bomb}a{level}: &a{level} [{below}]\n");
    }
    let bomb = scratch.write("bomb.yaml", bomb.as_bytes());
    loadgen(&["run", "--scenario", &bomb]).assert_one_line(2, &["bomb.yaml"]);
}

/// The run's flags, with an output directory that must not exist afterwards.
fn fails_to_start(arguments: &[&str], says: &[&str]) {
    let scratch = Scratch::new();
    let out = scratch.join("out");
    let mut all = vec!["run", "--quiet", "--out", out.to_str().unwrap(), "--set", "control=false"];
    all.extend(arguments);
    loadgen(&all).assert_one_line(1, says);
    assert!(!out.exists(), "a run that never began leaves nothing behind");
}

#[test]
fn a_command_that_does_not_exist_is_named() {
    fails_to_start(
        &["--command", "/does/not/exist --port {port}"],
        &["web-", "/does/not/exist", "does not exist"],
    );
}

#[test]
fn a_command_that_exits_at_once_is_quoted() {
    let command = "sh -c 'echo no config found >&2; exit 7'";
    fails_to_start(&["--command", command], &["web-", "exited with code 7", "no config found"]);
}

#[test]
fn a_command_that_never_becomes_ready_is_told_after_the_ready_timeout() {
    let arguments = ["--command", "sleep 1000", "--ready-timeout", "2s"];
    fails_to_start(&arguments, &["not ready within 2s", "0 of 3 replicas", "--ready-timeout"]);
}

#[test]
fn a_command_whose_port_is_in_use_is_quoted() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let server = format!("{LOADGEN} __server run --listen 127.0.0.1:{port}");
    fails_to_start(&["--command", &server], &["web-", "exited with code 1", &port.to_string(), "in use"]);
}

#[test]
fn a_file_without_end_is_not_read_without_end() {
    loadgen(&["run", "--scenario", "/dev/zero"]).assert_one_line(2, &["/dev/zero"]);
}

#[test]
fn a_time_of_nothing_is_refused() {
    loadgen(&["run", "--max-time", "0s", "--dry-run"]).assert_one_line(2, &["--max-time", "more than zero"]);
}

#[test]
fn an_empty_or_unbalanced_command_is_refused() {
    loadgen(&["run", "--command", "a 'b"]).assert_one_line(2, &["--command", "quote"]);
    loadgen(&["run", "--command", " "]).assert_one_line(2, &["--command", "empty"]);
}

#[test]
fn an_output_directory_that_cannot_be_written_is_named() {
    let scratch = Scratch::new();
    let file = scratch.write("file", b"");
    loadgen(&["run", "--out", &format!("{file}/out")]).assert_one_line(1, &[&file]);
}

#[test]
fn a_directory_that_holds_a_recording_is_not_overwritten() {
    let scratch = Scratch::new();
    std::fs::create_dir_all(scratch.join("out/recording")).unwrap();
    let song = scratch.write("out/recording/song.wav", b"mine");
    let out = scratch.join("out");
    loadgen(&["run", "--command", "/does/not/exist", "--out", out.to_str().unwrap()])
        .assert_one_line(1, &["already holds a recording", "--out"]);
    assert_eq!(std::fs::read(song).unwrap(), b"mine");
}

#[test]
fn what_is_no_recording_is_refused() {
    let scratch = Scratch::new();
    loadgen(&["report", scratch.join("nothing").to_str().unwrap()])
        .assert_one_line(2, &["holds no recording"]);
    std::fs::create_dir_all(scratch.join("recording")).unwrap();
    let header = scratch.write("recording/header.json", b"\x00\x01 not json");
    loadgen(&["report", scratch.join("").to_str().unwrap()]).assert_one_line(2, &[&header]);
}

#[test]
fn a_report_is_made_from_a_directory_and_not_from_a_file_in_it() {
    let scratch = Scratch::new();
    let file = scratch.write("report.json", b"{}");
    let directory = file.strip_suffix("/report.json").unwrap();
    loadgen(&["report", &file])
        .assert_one_line(2, &["report.json is a file", &format!("directory, {directory},")]);
}

#[test]
fn a_dry_run_prints_the_plan_and_touches_nothing() {
    let scratch = Scratch::new();
    let out = scratch.join("out");
    let arguments = ["run", "--dry-run", "--seed", "7", "--format", "json", "--out", out.to_str().unwrap()];
    let ran = loadgen(&arguments);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let plan: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(plan["scenario"], "rolling-restart");
    assert_eq!(plan["arms"][0]["workload"]["terminationGracePeriodSeconds"], 30);
    assert_eq!(loadgen(&arguments).stdout, ran.stdout, "the same flags give the same plan");
    assert!(!out.exists());
}

#[test]
fn every_subcommand_helps_and_unknown_flags_are_usage_errors() {
    for subcommand in ["run", "scenarios", "report", "cleanup", "completions"] {
        let ran = loadgen(&[subcommand, "--help"]);
        assert_eq!(ran.code, 0, "{subcommand}: {}", ran.stderr);
        assert!(ran.stdout.contains("Usage"));
        loadgen(&[subcommand, "--nonsense"]).assert_one_line(2, &["--nonsense"]);
    }
    assert_eq!(loadgen(&["cleanup"]).code, 2, "cleanup wants to be told what");
    assert_eq!(loadgen(&[]).code, 2);
}

#[cfg(feature = "kube")]
#[test]
fn a_flag_for_a_cluster_is_not_passed_over_on_a_local_run() {
    for (flag, value) in [("--agents", "2"), ("--context", "c"), ("--kubeconfig", "k"), ("--namespace", "n")]
    {
        loadgen(&["run", flag, value]).assert_one_line(2, &[flag, "--on kube"]);
    }
    loadgen(&["run", "--server-image", "i", "--dry-run"]).assert_one_line(2, &["--server-image"]);
    // From the environment it means nothing by itself.
    let ran = command(&["run", "--dry-run"]).env("DRAINPROOF_SERVER_IMAGE", "i").output().unwrap();
    assert_eq!(ran.status.code(), Some(0));
}

#[test]
fn a_dry_run_refuses_what_a_run_would() {
    let drain = ["run", "--dry-run", "--set", "disruption={drainNode: {}}"];
    loadgen(&drain).assert_one_line(2, &["drainNode", "--on kube"]);
}

#[cfg(feature = "kube")]
#[test]
fn a_clean_up_says_that_no_cluster_was_looked_at() {
    let scratch = Scratch::new();
    let missing = scratch.join("nowhere");
    let run = |variable: Option<&str>| {
        let mut cleanup = command(&["cleanup", "--run", "no-such-run"]);
        cleanup.env_remove("KUBECONFIG").env("HOME", scratch.join("nobody"));
        cleanup.envs(variable.map(|file| ("KUBECONFIG", file))).output().unwrap()
    };
    assert_eq!(run(missing.to_str()).status.code(), Some(5), "one was meant, and was not asked");
    let ran = run(None);
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert_eq!(ran.status.code(), Some(0), "{said}");
    assert!(said.contains("on this machine") && said.contains("no cluster was looked at"), "{said}");
    loadgen(&["cleanup", "--all", "--kubeconfig", missing.to_str().unwrap()])
        .assert_one_line(5, &["nowhere"]);
}

#[cfg(feature = "kube")]
#[test]
fn a_kubeconfig_that_does_not_parse_is_refused_without_its_contents() {
    let scratch = Scratch::new();
    let broken =
        b"apiVersion: v1\nkind: Config\nusers:\n- name: a\n  user: {token: TOPSECRET\nclusters:\n- name: a\n";
    let file = scratch.write("kubeconfig", broken);
    let ran = loadgen(&["run", "--on", "kube", "--kubeconfig", &file]);
    assert!(!ran.stderr.contains("TOPSECRET"), "{}", ran.stderr);
    ran.assert_one_line(2, &[&file, "not the YAML of a kubeconfig"]);
}
