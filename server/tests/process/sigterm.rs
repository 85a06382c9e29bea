//! The other answers to SIGTERM, and what a drain is told to do beside draining.

use contract::lifecycle::Event;
use nix::sys::signal::Signal;

use crate::{
    client::Client,
    pod::{Pod, names},
};

#[test]
fn exit_ends_at_once_whatever_is_in_flight() {
    let mut pod = Pod::start(&["--on-sigterm", "exit"]);
    let mut client = Client::connect(&pod);
    client.get("/");
    client.send("GET /delay/60000 HTTP/1.1\r\nhost: pod\r\n\r\n");
    let sigterm = pod.sigterm();
    let (lines, status) = pod.finish();
    assert_eq!(status.code(), Some(0));
    assert_eq!(names(&lines), ["main-started", "sigterm", "finished"]);
    assert!(lines[2].mono_ns - sigterm.mono_ns < 1_000_000_000);
    assert_eq!(client.rest().unwrap_or_default(), "");
}

#[test]
fn an_orderly_end_exits_with_what_it_was_told_to() {
    for on_sigterm in ["exit", "drain"] {
        let mut pod = Pod::start(&["--on-sigterm", on_sigterm, "--exit-code", "143"]);
        pod.sigterm();
        let (lines, status) = pod.finish();
        assert_eq!(status.code(), Some(143));
        assert_eq!(lines.last().map(|line| line.event.clone()), Some(Event::Finished { code: 143 }));
    }
}

#[test]
fn ignore_goes_on_serving_as_if_nothing_had_come() {
    let mut pod = Pod::start(&["--on-sigterm", "ignore"]);
    let mut client = Client::connect(&pod);
    pod.sigterm();
    assert!(!client.get("/").closes());
    assert_eq!(Client::connect(&pod).get("/readyz").status, 200);
    pod.signal(Signal::SIGKILL);
    assert_eq!(names(&pod.finish().0), ["main-started", "sigterm"]);
}

#[test]
fn a_shutdown_takes_its_time_even_when_idle() {
    let mut pod = Pod::start(&["--shutdown-takes", "1s"]);
    let sigterm = pod.sigterm();
    pod.signal(Signal::SIGTERM);
    let (lines, status) = pod.finish();
    assert_eq!(status.code(), Some(0));
    assert_eq!(names(&lines), ["main-started", "sigterm", "listener-closed", "drained", "finished"]);
    let took = lines[4].mono_ns - sigterm.mono_ns;
    assert!((1_000_000_000..2_000_000_000).contains(&took), "{took} ns");
}

#[test]
fn readiness_fails_after_sigterm_if_asked() {
    for (flag, after) in [("true", 503), ("false", 200)] {
        let mut pod = Pod::start(&["--lame-duck", "60s", "--fail-readiness", flag]);
        assert_eq!(Client::connect(&pod).get("/readyz").status, 200);
        pod.sigterm();
        assert_eq!(Client::connect(&pod).get("/readyz").status, after);
        assert_eq!(Client::connect(&pod).get("/livez").status, 200);
    }
}

#[test]
fn polling_reports_answers_and_failures() {
    let api = Pod::start(&[]);
    let url = format!("http://{}/status/403", api.address);
    let mut pod = Pod::start(&["--shutdown-takes", "1500ms", "--poll-while-draining", &url]);
    pod.sigterm();
    let polled = Event::Poll { status: Some(403), error: None };
    pod.wait(|event| *event == polled);
    drop(api);
    let failed = pod.wait(|event| matches!(event, Event::Poll { .. }));
    assert!(matches!(failed.event, Event::Poll { status: None, error: Some(_) }), "{failed:?}");
    assert_eq!(pod.finish().1.code(), Some(0));
}

#[test]
fn an_http_hook_answers_when_its_time_is_over() {
    let mut pod = Pod::start(&[]);
    let mut client = Client::connect(&pod);
    assert_eq!(client.get("/hooks/pre-stop/200").status, 200);
    let started = pod.wait(|event| matches!(event, Event::HookStarted { .. }));
    let ended = pod.wait(|event| matches!(event, Event::HookEnded { code: 200, .. }));
    assert!(ended.mono_ns - started.mono_ns >= 200_000_000);
}
