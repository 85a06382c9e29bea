//! What is published as evidence is what the tool says today: each recording gives the reports beside it, byte for byte.
//!
//! After a change of what a report says or how, `scripts/publish --render` writes them again.

#![cfg(feature = "parquet")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{command, loadgen, strict};
use serde_json::Value;

const FORMATS: [(&str, &str); 5] = [
    ("report.json", "json"),
    ("report.txt", "text"),
    ("report.md", "markdown"),
    ("report.html", "html"),
    ("junit.xml", "junit"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// `reports/published/BACKEND/SCENARIO`.
fn published() -> Vec<PathBuf> {
    let folders = |path: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect()
    };
    let mut found: Vec<PathBuf> =
        folders(&root().join("reports/published")).iter().flat_map(|backend| folders(backend)).collect();
    found.sort();
    found
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn every_published_recording_gives_its_reports_byte_for_byte() {
    let folders = published();
    for folder in &folders {
        for (file, format) in FORMATS {
            let again = command(&["report", folder.to_str().unwrap(), "--format", format]).output().unwrap();
            assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
            let kept = fs::read(folder.join(file)).unwrap();
            assert!(
                again.stdout == kept,
                "{}/{file} is not what its recording gives today (scripts/publish --render)",
                folder.display()
            );
        }
    }
    assert!(!folders.is_empty());
}

#[test]
fn every_scenario_that_is_built_in_is_published_and_is_as_it_should_be() {
    for line in loadgen(&["scenarios"]).stdout.lines() {
        let scenario = line.split_whitespace().next().unwrap();
        let file = root().join("reports/published/local").join(scenario).join("report.json");
        let text = fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let report: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(report["run"]["scenario"], scenario);
        assert_ne!(report["verdict"], "inconclusive", "{scenario}: {}", report["reasons"]);
    }
    for folder in published() {
        let report: Value = serde_json::from_slice(&fs::read(folder.join("report.json")).unwrap()).unwrap();
        assert_eq!(strict::problems(&report), Vec::<String>::new(), "{}", folder.display());
        assert_eq!(report["run"]["backend"], folder.parent().unwrap().file_name().unwrap().to_str().unwrap());
    }
}

/// Which remedy helps, as it is known from elsewhere: exiting at once loses most, draining alone less, draining after a preStop of
/// 5 s only what kept connections are cut for, and nothing is lost where these are told to close.
#[test]
fn the_grace_matrix_comes_out_in_its_known_order() {
    let failed = |report: &Value, on_sigterm: &str, sleep: u64, close: bool| {
        let is_it = |arm: &&Value| {
            let (server, hook) =
                (arm.pointer("/settings/program/server"), arm.pointer("/settings/lifecycle/preStop"));
            arm["role"] == "trial"
                && server.is_some_and(|of| of["onSigterm"] == on_sigterm && of["closeConnections"] == close)
                && hook.and_then(|hook| hook.pointer("/sleep/seconds")).and_then(Value::as_u64).unwrap_or(0)
                    == sleep
        };
        let arm = report["arms"].as_array().unwrap().iter().find(is_it);
        let arm = arm.unwrap_or_else(|| panic!("no arm {on_sigterm}, {sleep} s, {close}"));
        arm["requests"]["failed"].as_u64().unwrap()
    };
    let mut seen = 0;
    for folder in published().iter().filter(|folder| folder.ends_with("grace-matrix")) {
        let report: Value = serde_json::from_slice(&fs::read(folder.join("report.json")).unwrap()).unwrap();
        let [exits, drains, sleeps, closes] =
            [("exit", 0, false), ("drain", 0, false), ("drain", 5, false), ("drain", 5, true)]
                .map(|(on_sigterm, sleep, close)| failed(&report, on_sigterm, sleep, close));
        let order = format!("{}: {exits}, {drains}, {sleeps}, {closes}", folder.display());
        assert!(exits > drains && drains >= sleeps && sleeps > closes && closes == 0, "{order}");
        seen += 1;
    }
    assert!(seen > 0, "none is published");
}

#[test]
fn nothing_published_names_the_machine_that_it_was_made_on() {
    let (folders, root) = (published(), root());
    for file in folders.iter().flat_map(|folder| files(folder)) {
        let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
        for path in ["/root/", "/home/", "/tmp/", "/target/", "/var/", root.to_str().unwrap()] {
            assert!(!text.contains(path), "{} holds {path}", file.display());
        }
    }
}
