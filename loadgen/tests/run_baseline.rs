//! Runs against a baseline, and reports against each other: what got worse, and every way in which that cannot be told.

mod common;

use std::fs;

use common::{LOADGEN, Scratch, loadgen, quick, run};
use serde_json::Value;

/// What the server does on SIGTERM: it goes on accepting until no node sends it connections any more, or it does not.
const DRAINS: &str = "--on-sigterm drain --lame-duck 1s";
const EXITS: &str = "--on-sigterm exit";

/// A user's server, started by a script of theirs: what it does can change while the scenario does not.
fn server(scratch: &Scratch, flags: &str) -> String {
    let script = format!("exec '{LOADGEN}' __server run --listen \"$1:$2\" {flags}\n");
    format!("sh {} {{host}} {{port}}", scratch.write("start.sh", script.as_bytes()))
}

/// One of two pods is deleted, and nodes go on sending it new connections for a while.
const LIGHT: &[&str] = &[
    "--set",
    "load.lanes={new: {rate: 100}}",
    "--set",
    "workload.lifecycle.preStop=null",
    "--set",
    "settle={before: 500ms, after: 500ms}",
    "--set",
    "local.propagation=300ms",
    "--set",
    "disruption={deletePods: {count: 1}}",
];

fn arguments<'a>(command: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut all = quick(LIGHT);
    all.extend(["--command", command]);
    all.extend(more);
    all
}

/// The regression that a gate is for: the settings are as they were, and the server no longer drains.
#[test]
fn a_server_that_no_longer_drains_is_worse_than_its_baseline() {
    let scratch = Scratch::new();
    let drains = server(&scratch, DRAINS);
    // Accepted failures leave it to the comparison alone to say that something is wrong.
    let repeats = ["--set", "expect.failed=any", "--repeat", "7"];
    let base = run(&scratch, "base", &arguments(&drains, &repeats));
    assert_eq!(base.ran.code, 0, "{}", base.summary());
    let baseline = base.out.join("report.json");
    let gated = ["--baseline", baseline.to_str().unwrap()];

    let exits = server(&scratch, EXITS);
    assert_eq!(drains, exits, "no setting changed");
    let new = run(&scratch, "new", &arguments(&exits, &[&repeats[..], &gated].concat()));
    assert_eq!((new.ran.code, new.verdict()), (3, "pass"), "{}{}", new.ran.stdout, new.summary());
    assert!(new.ran.stdout.contains("\nWORSE  "), "{}", new.ran.stdout);
    assert!(new.ran.stdout.contains("lane new: worse: "), "{}", new.ran.stdout);
    let written: Value = serde_json::from_slice(&fs::read(new.out.join("comparison.json")).unwrap()).unwrap();
    assert_eq!((&written["outcome"], &written["exit_code"]), (&"worse".into(), &3.into()));
    new.assert_nothing_left();

    // The same from the files alone, and the other way round it is better.
    let (old, new) = (baseline.to_str().unwrap().to_owned(), new.out.join("report.json"));
    let new = new.to_str().unwrap();
    assert_eq!(loadgen(&["compare", &old, new]).code, 3);
    assert_eq!(loadgen(&["compare", new, &old]).code, 0);
    // A gate that compares a run with itself would be green for ever.
    let same = loadgen(&["compare", &old, &old]);
    assert_eq!(same.code, 4, "{}{}", same.stdout, same.stderr);
    assert!(same.stdout.contains("are the same run"), "{}", same.stdout);
    for (format, begins) in [
        ("json", "{\n  \"schema_version\": \"1.0\",\n  \"outcome\": \"worse\""),
        ("markdown", "## ❌ WORSE"),
        ("junit", "<?xml "),
        ("github", "::error "),
    ] {
        let told = loadgen(&["compare", &old, new, "--format", format]);
        assert_eq!((told.code, told.stdout.starts_with(begins)), (3, true), "{}", told.stdout);
    }
}

/// One run against one run: a fail is a fail, and what the comparison cannot tell it does not.
#[test]
fn a_single_run_is_too_few_to_compare_and_fails_by_its_own_verdict() {
    let scratch = Scratch::new();
    let drains = server(&scratch, DRAINS);
    let base = run(&scratch, "base", &arguments(&drains, &[]));
    assert_eq!(base.ran.code, 0, "{}", base.summary());
    let baseline = base.out.join("report.json");
    let baseline = baseline.to_str().unwrap();

    let again = run(&scratch, "again", &arguments(&drains, &["--baseline", baseline]));
    assert_eq!((again.ran.code, again.verdict()), (4, "pass"), "{}", again.summary());
    assert!(again.ran.stdout.contains("too few trials: 0 of 1"), "{}", again.ran.stdout);

    let exits = server(&scratch, EXITS);
    let out = scratch.join("json");
    let mut quietly = vec!["run", "--quiet", "--format", "json", "--out", out.to_str().unwrap()];
    quietly.extend(arguments(&exits, &["--baseline", baseline]));
    let failed = loadgen(&quietly);
    failed.assert_one_line(
        3,
        &["against the baseline: not comparable", "fails by its own verdict", "comparison.json"],
    );
    assert!(serde_json::from_str::<Value>(&failed.stdout).is_ok(), "one document, and nothing else");

    // Another setting is another measurement.
    let other = ["--baseline", baseline, "--set", "workload.terminationGracePeriodSeconds=9"];
    let other = run(&scratch, "other", &arguments(&server(&scratch, DRAINS), &other));
    assert_eq!(other.ran.code, 4, "{}", other.summary());
    let named =
        "settings differ: workload.terminationGracePeriodSeconds: 10 in the base, 9 in the new report";
    assert!(other.ran.stdout.replace("\n    ", " ").contains(named), "{}", other.ran.stdout);
    let compared = loadgen(&["compare", baseline, other.out.join("report.json").to_str().unwrap()]);
    assert_eq!(compared.code, 4, "{}", compared.stdout);
}

#[test]
fn files_that_are_no_reports_are_refused_before_anything_runs() {
    let scratch = Scratch::new();
    let out = scratch.join("out");
    let cut = scratch.write("cut.json", b"{\"schema_version\": \"1.2\", \"verdict\"");
    let other = scratch.write("other.json", b"{\"name\": \"x\"}");
    let shape = scratch.write("shape.json", b"{\"schema_version\": \"1.2\"}");
    let version = scratch.write("version.json", b"{\"schema_version\": \"2.0\"}");
    let missing = scratch.join("missing.json");
    let missing = missing.to_str().unwrap();
    let directory = scratch.join("directory");
    fs::create_dir(&directory).unwrap();
    let long = scratch.join("long.json");
    // A hole: nothing is written, and nothing of it is to be read beyond the limit.
    fs::File::create(&long).unwrap().set_len(1 << 40).unwrap();
    let cases: [(&str, i32, &[&str]); 7] = [
        (missing, 2, &["missing.json", "a report.json is wanted"]),
        (directory.to_str().unwrap(), 2, &["directory"]),
        (&cut, 2, &["cut.json", "not valid JSON", "line 1"]),
        (&other, 2, &["other.json", "not a report.json"]),
        (&shape, 2, &["shape.json", "missing field"]),
        (long.to_str().unwrap(), 2, &["long.json", "longer than"]),
        (&version, 4, &["version.json", "not comparable", "2.0", "1.x", "make it again"]),
    ];
    for (file, code, says) in cases {
        loadgen(&["compare", file, file]).assert_one_line(code, says);
        loadgen(&["run", "--baseline", file, "--out", out.to_str().unwrap()]).assert_one_line(code, says);
    }
    assert!(!out.exists(), "nothing was made");
    loadgen(&["compare", missing]).assert_one_line(2, &["<NEW>"]);
}
