use serde_json::{Value, json};

use super::*;
use crate::clocks::NodeClock;

fn at(ms: u64) -> Stamp {
    Stamp::from_nanos(ms * 1_000_000)
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// A node whose clocks both read 10^15 ns more than the run's.
const AHEAD: u64 = 1_000_000_000_000_000;

fn clock() -> NodeClock {
    let anchor = clock::Anchor { wall_ns: 0, mono_ns: 0 };
    let reading = contract::clock::Reading { wall_ns: AHEAD, mono_ns: AHEAD };
    NodeClock::from_exchange(anchor, Stamp::ZERO, reading, Stamp::ZERO)
}

fn pod(status: &Value, deleted: bool) -> Pod {
    let mut pod = json!({
        "metadata": {"name": "web-a", "uid": "u1", "labels": {"pod-template-hash": "h1"}},
        "spec": {"nodeName": "node-1", "containers": []},
        "status": status,
    });
    if deleted {
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:30Z");
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(30);
    }
    read(pod)
}

fn running(ready: bool) -> Value {
    let state = if ready { "True" } else { "False" };
    json!({
        "podIP": "10.0.0.7",
        "conditions": [{"type": "Ready", "status": state}],
        "containerStatuses": [container(&json!({"running": {}}), 0)],
    })
}

fn container(state: &Value, restarts: u32) -> Value {
    json!({"name": "server", "image": "i", "imageID": "", "ready": true, "restartCount": restarts, "state": state})
}

fn killing(name: &str) -> CoreEvent {
    read(json!({
        "metadata": {"name": name},
        "involvedObject": {"uid": "u1"},
        "reason": "Killing", "type": "Normal", "message": "Stopping container server",
    }))
}

fn line(event: &str, mono_ns: u64) -> String {
    format!(r#"{{"lifecycle":1,"pod":"web-a","pid":1,"wall_ns":1,"mono_ns":{mono_ns},"event":{event}}}"#)
}

const POD: PodId = PodId(0);

/// A pod that runs and is Ready.
fn observer(sleeps: bool) -> Observer {
    let mut observer = Observer::new(sleeps.then_some(5));
    let events = observer.on_pod(at(10), &pod(&running(true), false), false, None);
    let names: Vec<&str> = events.iter().map(|(_, event)| kind(event)).collect();
    assert_eq!(names, ["created", "started", "ready"]);
    observer
}

fn kind(event: &Event) -> &'static str {
    match event {
        Event::PodCreated { .. } => "created",
        Event::PodStarted { .. } => "started",
        Event::PodReady { .. } => "ready",
        Event::Terminating { .. } => "terminating",
        Event::Killing { .. } => "killing",
        Event::PreStopStarted { .. } => "pre-stop",
        Event::PreStopEnded { .. } => "pre-stop-ended",
        Event::Exited { .. } => "exited",
        Event::Gone { .. } => "gone",
        Event::SliceChanged { .. } => "slice",
        Event::SliceRemoved { .. } => "slice-removed",
        Event::Lifecycle { .. } => "lifecycle",
        Event::Warning { .. } => "warning",
        _ => "other",
    }
}

fn kinds(events: &[Timed]) -> Vec<(&'static str, Stamp)> {
    events.iter().map(|(at, event)| (kind(event), *at)).collect()
}

#[test]
fn the_same_object_twice_tells_nothing_new() {
    let mut observer = observer(false);
    assert_eq!(observer.on_pod(at(11), &pod(&running(true), false), false, None), []);
    let events = observer.on_pod(at(12), &pod(&running(false), true), false, None);
    assert_eq!(events.len(), 2, "no longer Ready, and terminating: {events:?}");
    assert_eq!(events[1], (at(12), Event::Terminating { pod: POD, grace_seconds: 30 }));
    assert_eq!(kinds(&observer.on_pod(at(13), &pod(&running(false), true), true, None)), [("gone", at(13))]);
}

#[test]
fn the_grace_begins_when_the_killing_events_name_says() {
    // 1_000_000_005_000_000 ns of the node's wall clock, in hexadecimal: 5 ms of the run.
    let event = killing(&format!("web-a.{:x}", AHEAD + 5_000_000));
    for deleted_first in [true, false] {
        let mut observer = observer(true);
        let gone = pod(&running(true), true);
        let mut events = Vec::new();
        if deleted_first {
            events.extend(observer.on_pod(at(4), &gone, false, None));
            events.extend(observer.on_event(at(90), &event, Some(clock())));
        } else {
            events.extend(observer.on_event(at(90), &event, Some(clock())));
            assert_eq!(events, [], "a failing liveness probe kills as well");
            events.extend(observer.on_pod(at(95), &gone, false, None));
        }
        let told = kinds(&events);
        assert!(told.contains(&("killing", at(5))) && told.contains(&("pre-stop", at(5))), "{told:?}");
        assert_eq!(observer.on_event(at(99), &event, Some(clock())), [], "once");
    }
}

#[test]
fn without_the_nodes_clock_a_killing_event_counts_from_its_arrival() {
    let mut observer = observer(false);
    observer.on_pod(at(4), &pod(&running(true), true), false, None);
    assert_eq!(observer.on_event(at(90), &killing("web-a.1234"), None), [], "the clock may yet be learnt");
    let told = observer.on_pod(at(99), &pod(&running(true), true), true, None);
    let counted = (at(90), Event::Killing { pod: POD, inferred: true });
    assert!(told.contains(&counted), "{told:?}");
    assert!(!kinds(&told).iter().any(|(kind, _)| *kind == "pre-stop"), "none sleeps: {told:?}");
}

#[test]
fn a_clock_that_is_learnt_later_still_places_the_killing_event() {
    let mut observer = observer(false);
    observer.on_pod(at(4), &pod(&running(true), true), false, None);
    let event = killing(&format!("web-a.{:x}", AHEAD + 5_000_000));
    assert_eq!(observer.on_event(at(90), &event, None), []);
    let told = kinds(&observer.on_pod(at(95), &pod(&running(true), true), false, Some(clock())));
    assert_eq!(told, [("killing", at(5))]);
}

#[test]
fn a_sleeping_pre_stop_ends_with_the_signal_that_the_pod_reports() {
    let sigterm = line(r#""sigterm","in_flight":1,"connections":2"#, AHEAD + 7_000_000);
    let leaving = |observer: &mut Observer| observer.on_pod(at(4), &pod(&running(true), true), false, None);
    let mut deleted = observer(true);
    leaving(&mut deleted);
    let told = deleted.on_line(at(99), POD, (&sigterm, false), Some(clock()));
    assert_eq!(kinds(&told), [("pre-stop-ended", at(7)), ("lifecycle", at(7))]);
    // The log may be sooner than the watch; and where no deletion follows, the container was only restarted.
    let mut not_yet = observer(true);
    let told = not_yet.on_line(at(99), POD, (&sigterm, false), Some(clock()));
    assert_eq!(kinds(&told), [("lifecycle", at(7))]);
    let told = kinds(&leaving(&mut not_yet));
    assert!(told.contains(&("pre-stop-ended", at(7))), "{told:?}");
    let told = observer(false).on_line(at(99), POD, (&sigterm, false), Some(clock()));
    assert_eq!(kinds(&told), [("lifecycle", at(7))]);
    assert_eq!(observer(true).on_line(at(99), POD, ("GET / 200", false), Some(clock())), []);
}

fn ended(code: i32) -> Pod {
    // 1000000.000 s after 1970: a second that begins at the run's own epoch on this node.
    let state = json!({"terminated": {"exitCode": code, "finishedAt": "1970-01-12T13:46:40Z"}});
    pod(&json!({"podIP": "10.0.0.7", "containerStatuses": [container(&state, 0)]}), true)
}

fn exit_of(observer: &mut Observer, arrival: u64) -> Stamp {
    let events = observer.on_pod(at(arrival), &ended(0), false, Some(clock()));
    let exit = events.iter().find(|(_, event)| kind(event) == "exited").unwrap();
    assert_eq!(exit.1, Event::Exited { pod: POD, code: Some(0), signal: None, inferred: true });
    exit.0
}

#[test]
fn an_exit_is_the_pods_last_word_else_the_first_sign_held_to_the_second_that_was_named() {
    let mut told = observer(false);
    told.on_line(at(99), POD, (&line(r#""finished","code":0"#, AHEAD + 3_000_000), false), Some(clock()));
    assert_eq!(exit_of(&mut told, 700), at(3));
    let mut read = observer(false);
    assert_eq!(read.on_log_end(at(400), POD), [], "the status will tell, with the exit code");
    assert_eq!(exit_of(&mut read, 700), at(400), "the log ended before the status came");
    assert_eq!(exit_of(&mut observer(false), 700), at(700));
    let late = exit_of(&mut observer(false), 3_000);
    assert!(late < at(1_000) && late > at(998), "within the second that it finished in, not {late}");
}

#[test]
fn a_restart_is_an_exit_and_a_start() {
    let mut observer = observer(false);
    let mut crashed = container(&json!({"running": {}}), 1);
    crashed["lastState"] = json!({"terminated": {"exitCode": 9}});
    let events = observer.on_pod(
        at(50),
        &pod(&json!({"podIP": "10.0.0.7", "containerStatuses": [crashed]}), false),
        false,
        None,
    );
    let told: Vec<&str> = events.iter().map(|(_, event)| kind(event)).collect();
    assert_eq!(told, ["exited", "started", "other"], "and no longer Ready");
}

fn slice(conditions: &[(&str, Value)]) -> EndpointSlice {
    let endpoints: Vec<Value> = conditions
        .iter()
        .map(|(uid, conditions)| json!({"addresses": ["10.0.0.7"], "conditions": conditions, "targetRef": {"uid": uid}}))
        .collect();
    read(json!({"metadata": {"name": "web-x"}, "addressType": "IPv4", "endpoints": endpoints}))
}

#[test]
fn slices_tell_their_changes_and_absent_conditions_are_kubernetes_defaults() {
    let mut observer = observer(false);
    let events = observer.on_slice(at(20), &slice(&[("u1", json!({}))]), false);
    let whole = Event::SliceChanged { pod: POD, ready: true, serving: true, terminating: false };
    assert_eq!(events, [(at(20), whole)]);
    assert!(observer.views()[&POD].in_slice);
    assert_eq!(observer.on_slice(at(21), &slice(&[("u1", json!({"ready": true}))]), false), []);
    let leaving = json!({"ready": false, "serving": true, "terminating": true});
    let events = observer.on_slice(at(22), &slice(&[("u1", leaving), ("u2", json!({}))]), false);
    let left = Event::SliceChanged { pod: POD, ready: false, serving: true, terminating: true };
    assert_eq!(events, [(at(22), left)]);
    let events = observer.on_slice(at(23), &slice(&[]), false);
    assert_eq!(events, [(at(23), Event::SliceRemoved { pod: POD })]);
    assert_eq!(observer.on_slice(at(24), &slice(&[]), true), []);
}

#[test]
fn a_failed_hook_is_a_warning_and_the_end_of_the_hook_while_probes_are_noise() {
    let warning = |reason: &str| -> CoreEvent {
        read(json!({"metadata": {"name": "web-a.1"}, "involvedObject": {"uid": "u1"}, "reason": reason,
                    "type": "Warning", "message": "m"}))
    };
    let mut observer = observer(false);
    observer.on_pod(at(4), &pod(&running(true), true), false, None);
    let told = kinds(&observer.on_event(at(9), &warning("FailedPreStopHook"), None));
    assert_eq!(told, [("pre-stop-ended", at(9)), ("warning", at(9))]);
    assert_eq!(observer.on_event(at(9), &warning("Unhealthy"), None), []);
}

#[test]
fn a_pod_that_a_new_list_lacks_is_gone() {
    let mut observer = observer(false);
    assert_eq!(observer.on_listed(at(5), &["u1".to_owned()]), []);
    let deleted = Event::Terminating { pod: POD, grace_seconds: 30 };
    let gone = Event::Gone { pod: POD };
    assert_eq!(observer.on_listed(at(5), &[]), [(at(5), deleted), (at(5), gone)]);
    assert_eq!(observer.on_listed(at(6), &[]), []);
}

#[test]
fn a_slice_that_a_new_list_lacks_names_nobody_any_more() {
    let mut observer = observer(false);
    observer.on_slice(at(20), &slice(&[("u1", json!({}))]), false);
    assert_eq!(observer.on_slices_listed(at(30), &["web-x".to_owned()]), []);
    assert_eq!(observer.on_slices_listed(at(30), &[]), [(at(30), Event::SliceRemoved { pod: POD })]);
    assert_eq!(observer.on_slices_listed(at(31), &[]), []);
}

#[test]
fn a_sleep_that_the_signal_cut_short_had_overrun_its_grace() {
    let sigterm = |ms: u64| line(r#""sigterm","in_flight":1,"connections":2"#, AHEAD + ms * 1_000_000);
    let outcome = |cut_at: u64| {
        let mut observer = observer(true);
        observer.on_pod(at(4), &pod(&running(true), true), false, None);
        observer.on_event(at(90), &killing(&format!("web-a.{:x}", AHEAD + 5_000_000)), Some(clock()));
        let told = observer.on_line(at(9_000), POD, (&sigterm(cut_at), false), Some(clock()));
        let Event::PreStopEnded { outcome, .. } = told[0].1.clone() else { panic!("{told:?}") };
        outcome
    };
    assert_eq!(outcome(2_005), HookOutcome::Overran, "5 s of sleep in 2 s of grace");
    assert_eq!(outcome(4_990), HookOutcome::Completed, "two clocks are never the same");
    assert_eq!(outcome(5_006), HookOutcome::Completed);
}

#[test]
fn a_forced_delete_leaves_the_end_to_the_log() {
    let mut observer = observer(false);
    let told = kinds(&observer.on_pod(at(30), &pod(&running(true), true), true, None));
    assert_eq!(told.last(), Some(&("gone", at(30))));
    assert!(!observer.views()[&POD].ended);
    let exit = Event::Exited { pod: POD, code: None, signal: None, inferred: true };
    assert_eq!(observer.on_log_end(at(400), POD), [(at(400), exit)]);
    assert!(observer.views()[&POD].ended);
    assert_eq!(observer.on_log_end(at(401), POD), [], "once");
}

#[test]
fn what_restarted_a_container_does_not_begin_its_termination() {
    let mut observer = observer(false);
    observer.on_event(at(20), &killing("web-a.1"), None);
    let mut again = container(&json!({"running": {}}), 1);
    again["lastState"] = json!({"terminated": {"exitCode": 137}});
    let status = json!({"podIP": "10.0.0.7", "containerStatuses": [again]});
    observer.on_pod(at(50), &pod(&status, false), false, None);
    let told = kinds(&observer.on_pod(at(90), &pod(&status, true), false, None));
    assert!(!told.iter().any(|(kind, _)| *kind == "killing"), "{told:?}");
}
