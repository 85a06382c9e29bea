//! What a user tells a run in confidence is in none of its files, and in nothing that it prints.

#![expect(clippy::unwrap_used, reason = "a test's way to fail")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Ran, Scratch, command, eventually, loadgen, quick};

/// Nothing else in a run looks like this.
const SECRET: &str = "hunter2-0f9e8d7c";
/// The same, as Basic authentication would carry it.
const ENCODED: &str = "aHVudGVyMi0wZjllOGQ3Yw";

fn assert_kept(what: &str, bytes: &[u8]) {
    for secret in [SECRET, ENCODED] {
        let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "{what} holds the secret: {}", String::from_utf8_lossy(bytes));
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// Every file of a run, and every report that can still be made of it.
fn assert_silent(out: &Path, ran: &Ran) {
    assert_kept("standard output", ran.stdout.as_bytes());
    assert_kept("standard error", ran.stderr.as_bytes());
    let files = files(out);
    for file in &files {
        assert_kept(&file.display().to_string(), &fs::read(file).unwrap());
    }
    for format in ["text", "json", "markdown", "html", "junit", "github"] {
        let again = loadgen(&["report", out.to_str().unwrap(), "--format", format]);
        assert_eq!(again.code, 0, "{}", again.stderr);
        assert!(!again.stdout.is_empty());
        assert_kept(format, again.stdout.as_bytes());
    }
    let names: Vec<String> =
        files.iter().map(|file| file.file_name().unwrap().to_string_lossy().into_owned()).collect();
    for expected in ["report.json", "header.json", "events.ndjson"] {
        assert!(names.iter().any(|name| name == expected), "{expected} is not among {names:?}");
    }
}

#[test]
fn a_run_keeps_the_secrets_of_its_headers_to_itself() {
    let scratch = Scratch::new();
    let (out, summary) = (scratch.join("out"), scratch.join("summary.md"));
    let headers = format!(
        "load.request.headers={{Authorization: 'Bearer {SECRET}', Cookie: 'session={SECRET}', X-Api-Key: {SECRET}, \
         X-Upstream: 'Basic {ENCODED}', X-Session-Id: {SECRET}, X-Vault: {SECRET}, Accept: text/plain}}"
    );
    let path = format!("load.request.path=/?token={SECRET}");
    // It fails, so that every form has requests to tell of.
    let mut arguments = vec!["run", "--no-progress", "--out", out.to_str().unwrap()];
    let more = [
        "--set",
        &headers,
        "--set",
        &path,
        "--set",
        "workload.server.onSigterm=exit",
        "--set",
        "workload.lifecycle.preStop=null",
    ];
    arguments.extend(quick(&more));
    let mut run = command(&arguments);
    run.env("CI", "true").env("GITHUB_ACTIONS", "true").env("GITHUB_STEP_SUMMARY", &summary);
    let ran: Ran = run.output().unwrap().into();
    assert_eq!(ran.code, 3, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("::error"), "{}", ran.stdout);
    assert_silent(&out, &ran);
    assert_kept("the step's summary", &fs::read(&summary).unwrap());
    for name in ["report.md", "report.html", "junit.xml"] {
        assert!(out.join(name).exists(), "{name}");
    }
    let failures = fs::read_to_string(out.join("recording/failures.ndjson")).unwrap();
    assert!(failures.lines().count() > 1, "{failures}");
    // It is hidden, not lost: the reader sees that there was something.
    let header = fs::read_to_string(out.join("recording/header.json")).unwrap();
    assert!(header.contains("<redacted>") && header.contains("Authorization"), "{header}");
    assert!(header.contains("text/plain"), "what is no secret is kept: {header}");

    let mut plan = vec!["run", "--dry-run", "--set", &headers, "--set", &path];
    plan.extend(quick(&[]));
    for format in ["text", "json"] {
        let printed = loadgen(&[plan.as_slice(), &["--format", format]].concat());
        assert_eq!(printed.code, 0, "{}", printed.stderr);
        assert_kept("--dry-run", printed.stdout.as_bytes());
    }
}

#[test]
fn load_sends_the_secrets_and_keeps_them_to_itself() {
    let scratch = Scratch::new();
    let out = scratch.join("out");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    // It hears what it is told, and hangs up: every request is a failure to tell of.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut head = [0; 4096];
            let length = std::io::Read::read(&mut stream, &mut head).unwrap_or(0);
            let _test_is_over = sender.send(String::from_utf8_lossy(&head[..length]).into_owned());
        }
    });
    let named = loadgen(&["load", &format!("http://user:{SECRET}@{address}/"), "-n", "1"]);
    assert_eq!(named.code, 2, "{}", named.stdout);
    assert_kept("a refusal", named.stderr.as_bytes());
    let url = format!("http://{address}/a?api_key={SECRET}");
    let (bearer, cookie) = (format!("Authorization: Bearer {SECRET}"), format!("Cookie: id={SECRET}"));
    let body = format!("password={SECRET}");
    let flags = ["-n", "20", "-c", "2", "-H", &bearer, "-H", &cookie, "-X", "POST", "-b", &body];
    let mut arguments = vec!["load", &url, "--no-progress", "--out", out.to_str().unwrap()];
    arguments.extend(flags);
    let ran = loadgen(&arguments);
    assert_eq!(ran.code, 3, "{}{}", ran.stdout, ran.stderr);
    let mut heard = String::new();
    eventually(5, "the server hears the secret", || {
        heard.extend(receiver.try_iter());
        heard.contains(&bearer.to_lowercase()) || heard.contains(SECRET)
    });
    assert_silent(&out, &ran);
}
