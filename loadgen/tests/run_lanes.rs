//! Whole runs whose lanes are not those of the default.

#![expect(clippy::unwrap_used, reason = "a test's way to fail")]

mod common;

use common::{Scratch, quick, run};
use serde_json::Value;

fn lane<'a>(arm: &'a Value, name: &str) -> &'a Value {
    arm["lanes"].as_array().unwrap().iter().find(|lane| lane["name"] == name).unwrap()
}

fn failed(arm: &Value, name: &str) -> u64 {
    lane(arm, name)["requests"]["failed"].as_u64().unwrap()
}

/// HTTP/2, and connections that rest before each use, with a server that drains and with one that does not.
#[test]
fn shared_and_rested_connections_outlive_a_drain_and_not_an_exit() {
    let scratch = Scratch::new();
    let lanes = "load.lanes={h2: {rate: 200, connections: 4, delay: 50ms}, idle: {rate: 50, idle: 300ms}}";
    let drained = run(&scratch, "drained", &quick(&["--set", lanes]));
    assert_eq!((drained.ran.code, drained.verdict()), (0, "pass"), "{}", drained.summary());
    for name in ["h2", "idle"] {
        let of = lane(drained.trial(), name);
        let (sent, opened) =
            (of["requests"]["sent"].as_u64().unwrap(), of["connections_opened"].as_u64().unwrap());
        assert!(sent > 2 * opened, "{name}: {sent} requests on {opened} connections");
    }
    drained.assert_nothing_left();

    let at_once = [
        "--set",
        lanes,
        "--set",
        "workload.server.onSigterm=exit",
        "--set",
        "workload.lifecycle.preStop=null",
    ];
    let exited = run(&scratch, "exited", &quick(&at_once));
    assert_eq!((exited.ran.code, exited.verdict()), (3, "fail"), "{}", exited.summary());
    assert!(failed(exited.trial(), "h2") > 0, "{}", exited.summary());
    exited.assert_nothing_left();
}

/// What on one host takes luck to see: a server that closes what is idle, and a request on its way to it.
#[test]
fn from_afar_a_close_and_the_next_request_cross_unless_the_server_announces_it() {
    let scratch = Scratch::new();
    let far = [
        "--set",
        "load={rtt: 40ms, lateOver: 3s, lanes: {reused: {rate: 400, connections: 20}}}",
        "--vary",
        "workload.server.closeConnections=false,true",
    ];
    let run = run(&scratch, "far", &quick(&far));
    assert_eq!((run.ran.code, run.verdict()), (0, "pass"), "one arm passes: {}", run.summary());
    let arms = run.report["arms"].as_array().unwrap();
    assert_eq!(
        arms.iter().map(|arm| &arm["verdict"]).collect::<Vec<_>>(),
        ["fail", "pass"],
        "{}",
        run.summary()
    );
    assert!(failed(&arms[0], "reused") > 0);
    for failure in arms[0]["failures"].as_array().unwrap() {
        assert!(["wait-closed", "wait-reset"].contains(&failure["class"].as_str().unwrap()), "{failure}");
    }
    let caveats = run.report["run"]["caveats"].as_array().unwrap();
    assert!(caveats.iter().any(|caveat| caveat.as_str().unwrap().contains("clients are 40ms away")));
    run.assert_nothing_left();
}
