//! Starting, or saying why not; and the limits that are set at the start.

use std::process::Stdio;

use nix::sys::signal::Signal;

use crate::{
    client::Client,
    pod::{Pod, Process, command},
};

#[test]
fn a_port_in_use_is_one_clear_line() {
    let pod = Pod::start(&[]);
    let output = command(&["run", "--listen", &pod.address]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains(&pod.address) && text.contains("in use") && text.contains("--listen"), "{text}");
}

#[test]
fn a_foreign_address_is_one_clear_line() {
    let output = command(&["run", "--listen", "192.0.2.1:80"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.lines().count() == 1 && text.contains("192.0.2.1:80"), "{text}");
}

#[test]
fn bad_flags_and_contradictions_exit_with_2() {
    for (flags, named) in [
        (["--drain-timeout", "soon"].as_slice(), "--drain-timeout"),
        (&["--on-sigterm", "panic"], "--on-sigterm"),
        (&["--on-sigterm", "exit", "--lame-duck", "1s"], "--lame-duck"),
        (&["--poll-while-draining", "ftp://a"], "--poll-while-draining"),
        (&["--nonsense"], "--nonsense"),
    ] {
        let output = command(&["run", "--listen", "127.0.0.1:0"]).args(flags).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(named), "{text}");
    }
}

#[test]
fn settings_come_from_the_environment_too() {
    let output = command(&["run"]).env("SERVER_ON_SIGTERM", "exit").env("SERVER_LAME_DUCK", "1s").output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--lame-duck"));
}

#[test]
fn a_log_that_nobody_reads_does_not_end_the_pod() {
    let child = command(&["run", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).spawn();
    let mut process = Process(child.unwrap());
    // Closed before the server has written anything: each of its lines meets a broken pipe.
    drop(process.0.stdout.take());
    let stat = format!("/proc/{}/status", process.0.id());
    // The handler for SIGTERM (bit 15 of the mask) is what makes an orderly end possible.
    let handles = || {
        let status = std::fs::read_to_string(&stat).unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim().to_owned();
        u64::from_str_radix(&mask, 16).unwrap() & (1 << 14) != 0
    };
    while !handles() {
        std::thread::yield_now();
    }
    process.signal(Signal::SIGTERM);
    assert_eq!(process.0.wait().unwrap().code(), Some(0));
}

#[test]
fn a_head_too_long_is_refused_and_a_head_too_slow_is_cut() {
    let pod = Pod::start(&["--max-header-bytes", "8192", "--header-read-timeout", "300ms"]);
    let mut client = Client::connect(&pod);
    client.send(&format!("GET / HTTP/1.1\r\nhost: pod\r\nx: {}\r\n\r\n", "x".repeat(20_000)));
    assert_eq!(client.answer().status, 431);
    assert!(client.ends_cleanly());
    let mut idle = Client::connect(&pod);
    idle.get("/");
    let mut slow = Client::connect(&pod);
    slow.send("GET / HT");
    assert_eq!(slow.rest().unwrap_or_default(), "");
    // An idle connection has no deadline: this one is older than the one that was cut.
    assert_eq!(idle.get("/").status, 200);
    let mut body = Client::connect(&pod);
    body.send("POST / HTTP/1.1\r\nhost: pod\r\ncontent-length: 5\r\n\r\nab");
    assert_eq!(body.answer().status, 408);
}

#[test]
fn at_the_limit_connections_wait_in_the_queue() {
    let pod = Pod::start(&["--max-connections", "1"]);
    let mut first = Client::connect(&pod);
    assert_eq!(first.get("/").status, 200);
    let mut second = Client::connect(&pod);
    second.send("GET / HTTP/1.1\r\nhost: pod\r\n\r\n");
    assert_eq!(first.get("/").status, 200);
    drop(first);
    let answer = second.answer();
    assert!(answer.has(contract::headers::SEQUENCE, "3"), "{answer:?}");
}
