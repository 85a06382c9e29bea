//! The composite action for GitHub: its description is sound, and its script does what the inputs say and nothing else.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{LOADGEN, QUICK, Ran, Scratch};
use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.github/actions/drainproof").canonicalize().unwrap()
}

fn action() -> Value {
    let text = fs::read_to_string(folder().join("action.yml")).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

fn steps(action: &Value) -> &Vec<Value> {
    action["runs"]["steps"].as_array().unwrap()
}

/// A step of a workflow, in a folder of its own, with the runner's files.
struct Step {
    scratch: Scratch,
}

impl Step {
    fn new() -> Self {
        let scratch = Scratch::new();
        for name in ["output", "summary", "path"] {
            scratch.write(name, b"");
        }
        // As an earlier step of the action leaves it.
        fs::create_dir(scratch.join("bin")).unwrap();
        std::os::unix::fs::symlink(LOADGEN, scratch.join("bin/loadgen")).unwrap();
        Self { scratch }
    }

    /// Runs a script of the action; inputs that are not given have the defaults of its description.
    fn run(&self, script: &str, arguments: &[&str], inputs: &[(&str, &str)]) -> Ran {
        let action = action();
        let mut given: BTreeMap<String, String> = BTreeMap::new();
        for (name, input) in action["inputs"].as_object().unwrap() {
            let default = input["default"].as_str().unwrap_or_else(|| panic!("{name} has no default"));
            given.insert(name.clone(), default.to_owned());
        }
        for (name, value) in inputs {
            given
                .insert((*name).to_owned(), (*value).to_owned())
                .unwrap_or_else(|| panic!("no input {name}"));
        }
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new("bash");
        command.arg(folder().join(script)).args(arguments).stdin(Stdio::null());
        command.current_dir(self.scratch.join(".")).env_remove("RUST_LOG");
        command.env("PATH", format!("{}:{path}", self.scratch.join("bin").display()));
        command.envs([("CI", "true"), ("GITHUB_ACTIONS", "true")]).env("RUNNER_TEMP", self.scratch.join("."));
        for (name, file) in
            [("GITHUB_OUTPUT", "output"), ("GITHUB_STEP_SUMMARY", "summary"), ("GITHUB_PATH", "path")]
        {
            command.env(name, self.scratch.join(file));
        }
        for (name, value) in given {
            command.env(format!("INPUT_{}", name.to_uppercase().replace('-', "_")), value);
        }
        command.output().unwrap().into()
    }

    fn said(&self, file: &str) -> String {
        fs::read_to_string(self.scratch.join(file)).unwrap()
    }
}

#[test]
fn inputs_reach_the_shell_through_the_environment_only() {
    let action = action();
    let inputs = action["inputs"].as_object().unwrap();
    let mut passed = Vec::new();
    for step in steps(&action) {
        if let Some(script) = step["run"].as_str() {
            assert!(!script.contains("${{"), "an expression is pasted into the script: {script}");
            assert_eq!(step["shell"], "bash", "{step}");
        }
        passed.extend(step["env"].as_object().into_iter().flatten());
    }
    // Each is passed on under its own name, but for those that only the runner's own steps read.
    for name in inputs.keys().filter(|name| !["artifact", "working-directory"].contains(&name.as_str())) {
        let variable = format!("INPUT_{}", name.to_uppercase().replace('-', "_"));
        let value = Value::from(format!("${{{{ inputs.{name} }}}}"));
        assert!(passed.contains(&(&variable, &value)), "{name} is not passed on as {variable}");
    }
    assert_eq!(passed.len() + 2, inputs.len());
    for output in action["outputs"].as_object().unwrap().values() {
        assert!(output["value"].as_str().unwrap().starts_with("${{ steps.run.outputs."), "{output}");
    }
    // What was measured is kept whatever the verdict.
    let upload = steps(&action).last().unwrap();
    assert!(upload["if"].as_str().unwrap().contains("always()"), "{upload}");
}

#[test]
fn a_rollout_that_drops_requests_fails_the_step_with_loadgens_code() {
    let step = Step::new();
    let settings: Vec<&str> = QUICK.iter().copied().filter(|word| *word != "--set").collect();
    let settings = format!(
        "{}\n\nworkload.server.onSigterm=exit\nworkload.lifecycle.preStop=null\n",
        settings.join("\n")
    );
    let ran = step.run("run.sh", &[], &[("set", &settings), ("max-time", "2m"), ("out", "told")]);
    assert_eq!(ran.code, 3, "{}{}", ran.stdout, ran.stderr);
    assert_eq!(step.said("output"), "directory=told\nexit-code=3\nverdict=fail\n");
    assert!(ran.stdout.lines().any(|line| line.starts_with("::error ")), "{}", ran.stdout);
    assert!(step.said("summary").starts_with("## ❌ FAIL"), "{}", step.said("summary"));
    for name in ["report.json", "report.md", "report.html", "junit.xml", "recording/header.json"] {
        assert!(step.scratch.join("told").join(name).exists(), "{name}");
    }
}

#[test]
fn no_input_is_a_command_or_a_flag() {
    let step = Step::new();
    for evil in ["$(touch pwned)", "`touch pwned`", "'; touch pwned; '", "\"; touch pwned #", "--dry-run"] {
        for input in ["scenario", "on", "set", "vary", "repeat", "max-time"] {
            let ran = step.run("run.sh", &[], &[(input, evil)]);
            assert_eq!(ran.code, 2, "{input}={evil}: {}{}", ran.stdout, ran.stderr);
            assert!(!step.scratch.join("pwned").exists(), "{input}={evil}");
        }
    }
    let ran = step.run("run.sh", &[], &[("out", "a\nverdict=pass")]);
    assert_eq!(ran.code, 2, "{}", ran.stdout);
    assert!(!step.said("output").contains("verdict=pass"), "{}", step.said("output"));
}

#[test]
fn what_is_cached_is_known_by_its_sources() {
    let step = Step::new();
    for _ in 0..2 {
        let ran = step.run("install.sh", &["key"], &[]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    let said = step.said("output");
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("key=") && lines[0].len() > 40 && !lines[0].contains(' '), "{said}");
    assert_eq!(lines[..2], lines[2..], "the same sources have the same key");
    // A build that the cache had is not made again.
    let built = step.scratch.join("drainproof/bin");
    fs::create_dir_all(&built).unwrap();
    std::os::unix::fs::symlink(LOADGEN, built.join("loadgen")).unwrap();
    let ran = step.run("install.sh", &["build"], &[]);
    assert_eq!(
        (ran.code, step.said("path")),
        (0, format!("{}\n", step.scratch.join("./drainproof/bin").display()))
    );
}
