//! Hook programs.

use std::{fs, path::PathBuf};

use contract::{
    env,
    lifecycle::{Event, Hook, Line},
};

use crate::pod::command;

/// A file of this test's own, gone afterwards.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn a_hook_writes_when_it_began_and_ended() {
    for (name, hook, code) in [("pre-stop", Hook::PreStop, 0), ("post-start", Hook::PostStart, 7)] {
        let log = Scratch(std::env::temp_dir().join(format!("server-{name}-{}", std::process::id())));
        let status = command(&["hook", name, "--sleep", "200ms", "--exit-code", &code.to_string()])
            .env(env::POD_NAME, "web-1")
            .env(env::LIFECYCLE_OUT, &log.0)
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(code));
        let text = fs::read_to_string(&log.0).unwrap();
        let lines: Vec<_> = text.lines().map(|line| Line::parse(line).unwrap()).collect();
        let events: Vec<_> = lines.iter().map(|line| line.event.clone()).collect();
        assert_eq!(events, [Event::HookStarted { hook }, Event::HookEnded { hook, code }]);
        assert!(lines[1].mono_ns - lines[0].mono_ns >= 200_000_000);
        assert!(lines.iter().all(|line| line.pod == "web-1"));
    }
}

#[test]
fn a_hook_without_a_log_to_write_to_uses_its_own_output() {
    let output = command(&["hook", "pre-stop"]).env(env::LIFECYCLE_OUT, "/nowhere/at/all").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().filter_map(Line::parse).count(), 2);
}
