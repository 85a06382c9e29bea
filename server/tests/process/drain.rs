//! What clients see while a pod drains.

use std::net::TcpStream;

use contract::{
    headers,
    lifecycle::{Event, Load},
};
use nix::sys::signal::Signal;

use crate::{
    client::Client,
    pod::{Pod, names},
};

fn closed(event: &Event) -> bool {
    matches!(event, Event::ListenerClosed(_))
}

/// Asks until an answer's sequence tells that the pod has taken one request more than we sent here.
fn wait_until_one_is_in_flight(pod: &Pod) {
    let mut client = Client::connect(pod);
    for sent in 1.. {
        if client.get("/").has(headers::SEQUENCE, &(sent + 1).to_string()) {
            return;
        }
    }
}

#[test]
fn a_request_in_flight_is_finished_before_the_exit() {
    let mut pod = Pod::start(&[]);
    let mut client = Client::connect(&pod);
    client.send("GET /delay/1000 HTTP/1.1\r\nhost: pod\r\ndrainproof-slot: 42\r\n\r\n");
    wait_until_one_is_in_flight(&pod);
    let sigterm = pod.sigterm();
    assert!(matches!(sigterm.event, Event::Sigterm(Load { in_flight: 1, .. })), "{sigterm:?}");
    pod.wait(closed);
    assert!(TcpStream::connect(&pod.address).is_err(), "the kernel refuses once the listener is closed");
    let answer = client.answer();
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"));
    assert!(answer.closes() && answer.has(headers::STATE, "draining") && answer.has(headers::SLOT, "42"));
    assert!(client.ends_cleanly());
    drop(client);
    let (lines, status) = pod.finish();
    assert_eq!(status.code(), Some(0));
    let names: Vec<_> = names(&lines).into_iter().filter(|name| name != "draining").collect();
    assert_eq!(names, ["main-started", "sigterm", "listener-closed", "drained", "finished"]);
    assert!(lines.iter().any(|line| matches!(
        line.event,
        Event::Drained { timed_out: false, load: Load { in_flight: 0, connections: 0 } }
    )));
    assert!(lines.is_sorted_by_key(|line| line.mono_ns));
}

#[test]
fn an_idle_connection_lingers_and_its_next_answer_announces_the_close() {
    let mut pod = Pod::start(&[]);
    let mut client = Client::connect(&pod);
    assert!(!client.get("/").closes());
    pod.sigterm();
    pod.wait(closed);
    // It outlives the first second of draining.
    let draining = pod.wait(|event| matches!(event, Event::Draining(_)));
    assert_eq!(draining.event, Event::Draining(Load { in_flight: 0, connections: 1 }));
    let answer = client.get("/");
    assert!(answer.status == 200 && answer.closes());
    assert!(client.ends_cleanly());
    drop(client);
    assert_eq!(pod.finish().1.code(), Some(0));
}

#[test]
fn an_idle_connection_that_its_client_ends_lets_the_pod_go() {
    let mut pod = Pod::start(&[]);
    let mut client = Client::connect(&pod);
    client.get("/");
    pod.sigterm();
    pod.wait(closed);
    drop(client);
    pod.wait(|event| matches!(event, Event::Drained { timed_out: false, .. }));
    assert_eq!(pod.finish().1.code(), Some(0));
}

#[test]
fn without_close_connections_idle_connections_are_closed_at_once() {
    let mut pod = Pod::start(&["--close-connections", "false"]);
    let mut client = Client::connect(&pod);
    client.get("/");
    pod.sigterm();
    assert!(client.ends_cleanly());
    // The client keeps its side open: nothing waits for it.
    pod.wait(|event| matches!(event, Event::Drained { timed_out: false, .. }));
    assert_eq!(pod.finish().1.code(), Some(0));
}

#[test]
fn connections_in_the_accept_queue_are_all_served() {
    let pod = Pod::start(&[]);
    pod.stop();
    let mut clients: Vec<_> = (0..50).map(|_| Client::connect(&pod)).collect();
    for client in &mut clients {
        client.send("GET /delay/20 HTTP/1.1\r\nhost: pod\r\n\r\n");
    }
    pod.signal(Signal::SIGTERM);
    pod.signal(Signal::SIGCONT);
    for mut client in clients {
        let answer = client.answer();
        assert!(answer.status == 200 && answer.closes());
        assert!(client.ends_cleanly());
    }
    let (lines, status) = pod.finish();
    assert_eq!(status.code(), Some(0));
    assert_eq!(names(&lines).last().map(String::as_str), Some("finished"));
}

#[test]
fn the_drain_timeout_cuts_what_is_left() {
    let mut pod = Pod::start(&["--drain-timeout", "300ms"]);
    let mut client = Client::connect(&pod);
    client.send("GET /delay/60000 HTTP/1.1\r\nhost: pod\r\n\r\n");
    wait_until_one_is_in_flight(&pod);
    pod.sigterm();
    let drained = pod.wait(|event| matches!(event, Event::Drained { .. }));
    let load = Load { in_flight: 1, connections: 1 };
    assert_eq!(drained.event, Event::Drained { load, timed_out: true });
    assert_eq!(client.rest().unwrap_or_default(), "");
    assert_eq!(pod.finish().1.code(), Some(0));
}

#[test]
fn a_lame_duck_accepts_until_its_time_is_over() {
    let mut pod = Pod::start(&["--lame-duck", "1s"]);
    let sigterm = pod.sigterm();
    let mut client = Client::connect(&pod);
    let answer = client.get("/");
    assert!(answer.closes() && answer.has(headers::STATE, "lame-duck"));
    drop(client);
    let closed = pod.wait(closed);
    let took = closed.mono_ns - sigterm.mono_ns;
    assert!((1_000_000_000..2_000_000_000).contains(&took), "{took} ns");
    assert_eq!(pod.finish().1.code(), Some(0));
}

#[test]
fn a_refused_body_does_not_cost_the_client_its_answer() {
    let pod = Pod::start(&["--max-body-bytes", "1000"]);
    for head in ["content-length: 4000000", "transfer-encoding: chunked"] {
        let mut client = Client::connect(&pod);
        client.send(&format!("POST /echo HTTP/1.1\r\nhost: pod\r\n{head}\r\n\r\n"));
        if head.ends_with("chunked") {
            client.send("3d0900\r\n");
        }
        // All of it is written, though the answer is there long before.
        client.try_send(&vec![b'x'; 4_000_000]).unwrap();
        let answer = client.answer();
        assert!(answer.status == 413 && answer.closes(), "{answer:?}");
        assert!(client.ends_cleanly(), "{head}");
    }
}
