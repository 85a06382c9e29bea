//! The article's scenarios on this machine: judged by their own timelines, and what each says of the article's claims.

#![expect(clippy::unwrap_used, reason = "a test's way to fail")]

mod common;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use common::{Run, Scratch, run};
use serde_json::Value;

/// The run as it comes, but for the pause before the load.
fn article(scratch: &Scratch, scenario: &str, more: &[&str]) -> Run {
    let mut arguments = vec!["--scenario", scenario, "--set", "settle.before=1s"];
    arguments.extend(more);
    let run = run(scratch, scenario, &arguments);
    assert_eq!((run.ran.code, run.verdict()), (0, "pass"), "{}", run.summary());
    run.assert_nothing_left();
    run
}

/// Whether the claim holds: true, false, or null where nothing showed it.
fn claim<'a>(run: &'a Run, id: &str) -> (&'a Value, &'a str) {
    let claims = run.report["claims"].as_array().unwrap();
    let claim = claims.iter().find(|claim| claim["id"] == id).unwrap();
    (&claim["holds"], claim["evidence"].as_str().unwrap())
}

#[test]
fn sigterm_follows_the_hook_and_no_second_grace_is_granted() {
    let scratch = Scratch::new();
    // As the article has it, the process ends two seconds after SIGTERM, and the kill comes then too: now one is first, now the
    // other, and only a killed pod tells of claim B. Longer, and it is always killed.
    let longer = ["--set", "workload.server.shutdownTakes=5s"];
    let shorter = article(&scratch, "grace-shorter-than-pre-stop", &longer);
    assert_eq!(claim(&shorter, "A").0, true, "{}", claim(&shorter, "A").1);
    assert_eq!(claim(&shorter, "B").0, false, "{}", claim(&shorter, "B").1);
}

#[test]
fn an_old_kubelet_grants_the_whole_grace_again() {
    let scratch = Scratch::new();
    let run = article(&scratch, "grace-shorter-than-drain", &["--set", "local.kubelet=1.24"]);
    assert_eq!(claim(&run, "B").0, true, "{}", claim(&run, "B").1);
}

#[test]
fn hooks_begin_and_end_when_the_article_says() {
    let scratch = Scratch::new();
    let timing = article(&scratch, "hook-timing", &[]);
    assert_eq!(claim(&timing, "A").0, true, "{}", claim(&timing, "A").1);
    assert_eq!(claim(&timing, "C").0, &Value::Null, "it asks nobody");
}

#[test]
fn a_pod_that_stops_still_reaches_a_url() {
    let scratch = Scratch::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("workload.server.pollWhileDraining=http://{}/healthz", listener.local_addr().unwrap());
    let answered = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&answered);
    // Ends with the test's process.
    thread::spawn(move || {
        for mut caller in listener.incoming().flatten() {
            let mut asked = Vec::new();
            let mut byte = [0];
            while !asked.ends_with(b"\r\n\r\n") && caller.read_exact(&mut byte).is_ok() {
                asked.push(byte[0]);
            }
            assert!(asked.starts_with(b"GET /healthz HTTP/1.1\r\n"), "{}", String::from_utf8_lossy(&asked));
            caller.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let run = article(&scratch, "api-during-shutdown", &["--set", &url]);
    let (holds, evidence) = claim(&run, "C");
    assert_eq!(holds, true, "{evidence}");
    let calls = answered.load(Ordering::SeqCst);
    assert!(calls >= 3, "from SIGTERM to the end of its grace it asks once a second: {calls}");
    // The last may be answered as the grace ends, and the pod be killed before it says so.
    let told = |calls: u64| evidence.contains(&format!("{calls} of {calls} calls"));
    assert!(told(calls) || told(calls - 1), "{calls} were answered; {evidence}");
}
