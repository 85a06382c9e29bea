use std::fmt::Write;
use std::time::{Duration, Instant};

use super::*;

/// What a scenario's own text is refused with.
const FILES: &str = include_str!("refusals.txt");

/// Scenario, `--set`, `--vary`, and the line.
type Case = (&'static str, &'static [&'static str], &'static [&'static str], &'static str);

const FLAGS: &[Case] = &[
    (
        "name: x",
        &["workload.replicas=0"],
        &[],
        "--set workload.replicas=0: workload.replicas: 0 is below 1; allowed: 1 to 50",
    ),
    (
        "name: x",
        &["workload.replcas=1"],
        &[],
        "--set workload.replcas=1: workload: unknown key `replcas`; allowed: replicas, minReadySeconds, terminationGracePeriodSeconds, lifecycle, readinessProbe, livenessProbe, publishNotReadyAddresses, strategy, server",
    ),
    (
        "name: x",
        &["load.lanse.new.rate=1"],
        &[],
        "--set load.lanse.new.rate=1: load: unknown key `lanse`; allowed: target, tls, request, lanes, timeout, lateOver, rtt",
    ),
    (
        "name: x",
        &["load.lanes.new.rat=1"],
        &[],
        "--set load.lanes.new.rat=1: load.lanes.new: unknown key `rat`; allowed: rate, connections, delay, arrivals, maxRequestsPerConnection, maxConnectionAge, maxConcurrentStreams, idle",
    ),
    (
        "name: x",
        &["disruption.deletPods.count=1"],
        &[],
        "--set disruption.deletPods.count=1: disruption: `deletPods` is unknown; allowed: rolloutRestart, deletePods, none, evict, scale, drainNode",
    ),
    (
        "name: x",
        &["workload.replicas.count=1"],
        &[],
        "--set workload.replicas.count=1: workload.replicas: a map is not a whole number",
    ),
    ("name: x", &["workload.replicas"], &[], "--set workload.replicas: has no value; allowed: KEY=VALUE"),
    ("name: x", &["load.rtt=2s"], &[], "--set load.rtt=2s: load.rtt: 2s is above 1s; allowed: 0s to 1s"),
    (
        "name: x",
        &["load.lanes.slow.delay=5m", "load.timeout=90s"],
        &[],
        "--set load.timeout=90s: load.timeout: 90s beyond a delay of 300s; allowed: up to 360s, the delay of the slowest lane included",
    ),
    (
        "name: x",
        &["load.rtt=20ms", "load.lanes.pooled.rate=10"],
        &[],
        "--set load.lanes.pooled.rate=10: load.lanes.pooled: this lane's client cannot be put 20ms away; allowed: leaving out load.rtt or the lane",
    ),
    ("name: x", &["=1"], &[], "--set =1: `` is not a key; allowed: keys joined by single dots"),
    ("name: x", &["a..b=1"], &[], "--set a..b=1: `a..b` is not a key; allowed: keys joined by single dots"),
    (
        "name: x",
        &["workload.replicas=[1"],
        &[],
        "--set workload.replicas=[1: is not YAML: unclosed bracket '['",
    ),
    (
        "name: x",
        &["load.request.headers.Authorization=\"hunter2\\n\""],
        &[],
        "--set load.request.headers.Authorization=…: load.request.headers.Authorization: the value holds a line break or a control character; allowed: one line of text",
    ),
    (
        "name: x",
        &["expect.timeline.0.seconds=1"],
        &[],
        "--set expect.timeline.0.seconds=1: expect.timeline: a map is not a list",
    ),
    (
        "expect: {timeline: [{edge: sigterm, after: t0, seconds: 5, within: 1}]}",
        &["expect.timeline.1.seconds=1"],
        &[],
        "--set expect.timeline.1.seconds=1: expect.timeline: `1` is no position in this list",
    ),
    (
        "name: x",
        &["local.kubelet=1.28", "workload.lifecycle.preStop.sleep.seconds=1"],
        &[],
        "--set local.kubelet=1.28: local.kubelet: 1.28 has no sleep hook, which workload.lifecycle.preStop.sleep.seconds asks for; allowed: 1.29 to 1.36",
    ),
    (
        "name: x",
        &[],
        &["workload.replicas=1,0"],
        "--vary workload.replicas=1,0: workload.replicas: 0 is below 1; allowed: 1 to 50",
    ),
    (
        "name: x",
        &[],
        &["workload.replicas="],
        "--vary workload.replicas=: vary.workload.replicas: has no values; allowed: at least one",
    ),
    (
        "name: x",
        &[],
        &["name=a,b"],
        "--vary name=a,b: vary.name: is the same for all arms; allowed: paths into workload, load, disruption, settle, local",
    ),
    (
        "name: x",
        &["workload.replicas=2"],
        &["workload.replicas=1,3"],
        "--vary workload.replicas=1,3: vary.workload.replicas: is both set and varied; allowed: one of the two",
    ),
    (
        "name: x",
        &[],
        &["workload.replicas=1,2,3,4,5,6,7,8,9", "local.nodes=1,2,3,4,5,6,7,8"],
        "--vary workload.replicas=1,2,3,4,5,6,7,8,9: vary: all combinations and repeats make 72 arms; allowed: up to 64",
    ),
];

#[test]
fn every_bad_scenario_is_refused_word_for_word_at_its_place() {
    let lines: Vec<&str> = FILES.lines().filter(|line| !line.starts_with('#')).collect();
    let mut wrong = String::new();
    for case in lines.chunks(2) {
        let [yaml, line] = case else { panic!("{case:?} has no line beneath it") };
        let got = match planned_with(&yaml.replace('⏎', "\n"), &Overrides::default()) {
            Ok(_) => "(accepted)".to_owned(),
            Err(error) => error.to_string(),
        };
        if got != line.trim_start() {
            wrong.extend([yaml, "\n  ", &got, "\n"]);
        }
    }
    assert!(wrong.is_empty(), "these are answered otherwise than refusals.txt says:\n{wrong}");
    assert!(lines.len() > 180);
}

#[test]
fn every_bad_flag_is_refused_by_its_name() {
    for (yaml, set, vary, line) in FLAGS {
        assert_eq!(refusal(yaml, &overrides(set, vary)), *line);
    }
}

#[test]
fn a_grace_from_a_flag_below_the_sleep_of_the_file_names_both() {
    let flags = overrides(&["workload.terminationGracePeriodSeconds=3"], &[]);
    assert_eq!(
        refusal(ROLLING_RESTART, &flags),
        "my.yaml:15:18: workload.lifecycle.preStop.sleep.seconds: 5 is above terminationGracePeriodSeconds (3, by \
         --set workload.terminationGracePeriodSeconds=3); allowed: 0 to 3"
    );
}

#[test]
fn other_flags_are_refused_by_their_names() {
    let repeat = Overrides { repeat: Some(0), ..Overrides::default() };
    assert_eq!(refusal("name: x", &repeat), "--repeat 0: repeat: 0 is below 1; allowed: 1 to 64");
    let nothing = Overrides { command: Some(Vec::new()), ..Overrides::default() };
    assert_eq!(refusal("name: x", &nothing), "--command: is empty; allowed: a program and its arguments");
    assert_eq!(
        refusal("workload: {server: {}}", &command()),
        "my.yaml:1:20: workload.server: configures our own server, which --command replaces; allowed: one of the two"
    );
}

#[test]
fn files_that_are_not_text_are_refused_as_a_whole() {
    let refused = |bytes: &[u8]| Scenario::parse("my.yaml", bytes).unwrap_err().to_string();
    assert_eq!(refused(b""), "my.yaml: is empty; allowed: a map of a scenario's keys");
    assert_eq!(refused(b"# a comment\n"), "my.yaml: is empty; allowed: a map of a scenario's keys");
    assert_eq!(refused(b"---\n"), "my.yaml: is empty; allowed: a map of a scenario's keys");
    assert_eq!(refused(b"name: \xff"), "my.yaml: is not UTF-8 (byte 6); allowed: YAML text in UTF-8");
    assert_eq!(
        refused(b"\x7fELF\0\0"),
        "my.yaml: is a binary file (NUL at byte 4); allowed: YAML text in UTF-8"
    );
    assert_eq!(
        refused(&vec![b' '; 1024 * 1024 + 1]),
        "my.yaml: 1048577 bytes are too many for a scenario; allowed: 1 MiB"
    );
}

#[test]
fn the_name_of_a_file_cannot_break_the_line() {
    let error = Scenario::parse("a\nb", b"nmae: x").unwrap_err().to_string();
    assert!(error.starts_with("a\\nb:1:1: unknown key `nmae`"), "{error}");
}

#[test]
fn bombs_are_refused_before_they_go_off() {
    let mut laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..30 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(",");
        let _ = writeln!(laughs, "a{level}: &a{level} [{aliases}]");
    }
    let text = format!("a: &x {}\nb: [*x, *x, *x]", "y".repeat(700_000));
    let too_much = "holds too much once aliases are expanded; allowed: 4000 values and 1 MiB of text";
    // Levels are counted through aliases too, or dropping the tree would exhaust the stack.
    let mut chain = "a0: &a0 [x]\n".to_owned();
    for level in 1..40 {
        let _ = writeln!(chain, "a{level}: &a{level} [*a{}]", level - 1);
    }
    for (bomb, line) in [
        (laughs, format!("my.yaml:4:18: {too_much}")),
        (text, format!("my.yaml:2:5: {too_much}")),
        ("[".repeat(40) + &"]".repeat(40), "my.yaml:1:33: nests too deeply; allowed: 32 levels".to_owned()),
        ("[".repeat(5000), "my.yaml:1:256: is not YAML: recursion limit exceeded".to_owned()),
        (chain, "my.yaml:32:12: nests too deeply; allowed: 32 levels".to_owned()),
    ] {
        #[expect(clippy::disallowed_methods, reason = "a test of how long parsing takes, not a stamp")]
        let started = Instant::now();
        assert_eq!(refusal(&bomb, &Overrides::default()), line);
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}
