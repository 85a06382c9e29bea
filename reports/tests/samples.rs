//! Sample reports.

use serde_json::json;
use trial::plan::Role;
use trial::report::{
    Advice, Agent, Exit, Failure, Outage, PodPhase, Report, Rollouts, Span, Terminations, Timeline, Verdict,
};
use trial::routing::Routing;

use crate::builder::{MS, PodBuilder, S, arm, failure, lane, report, requests};

fn agent(number: u8, node: &str, sent: u64) -> Agent {
    Agent {
        agent: number,
        node: node.to_owned(),
        clock_offset_ns: -1_500_000,
        clock_uncertainty_ns: 219_000,
        sent,
        failed: 0,
        late: 0,
        failures_by_class: std::collections::BTreeMap::new(),
        first_failure_ns: None,
        last_failure_ns: None,
    }
}

/// Passes, with both controls.
pub(crate) fn pass() -> Report {
    let lanes = vec![
        lane("new", requests(6_000, 0, 0, 0), None),
        lane("reused", requests(6_000, 0, 0, 0), Some((26, 6))),
        lane("slow", requests(400, 0, 0, 0), Some((52, 12))),
        lane("post", requests(400, 0, 0, 0), Some((14, 4))),
    ];
    let mut trial = arm("rolling-restart", Role::Trial, Verdict::Pass, lanes);
    trial.settings = json!({"lifecycle": {"preStop": {"sleep": {"seconds": 5}}}});
    trial.terminations = Terminations { total: 3, exposed: 3, bad: 0, rate_upper_95: Some(0.631_596_85) };
    trial.rollouts = Rollouts { total: 1, bad: 0, rate_upper_95: Some(0.95), duration_ns: Some(11_402 * MS) };
    trial.agents = vec![agent(0, "node-1", 6_400), agent(1, "node-2", 6_400)];
    for (index, name) in ["web-5d8f-a", "web-5d8f-b", "web-5d8f-c"].into_iter().enumerate() {
        let deleted = (4 + 2 * index as u64) * S;
        let pod = PodBuilder::new(name, "node-1").drained(deleted, 5_000, 2_010);
        let pod =
            pod.removed("node-1", Some(deleted + 64 * MS)).removed("node-2", Some(deleted + 1_064 * MS));
        trial.pods.push(pod.0);
    }
    trial.pods.push(PodBuilder::new("web-77c4-a", "node-2").0);
    let control = arm(
        "control",
        Role::Control,
        Verdict::Pass,
        vec![
            lane("new", requests(6_000, 0, 0, 0), None),
            lane("reused", requests(6_000, 0, 0, 0), Some((20, 0))),
        ],
    );
    let mut negative = arm(
        "negative-control",
        Role::NegativeControl,
        Verdict::Pass,
        vec![
            lane("new", requests(5_949, 51, 0, 0), None),
            lane("reused", requests(5_982, 18, 0, 0), Some((38, 18))),
        ],
    );
    negative.terminations = Terminations { total: 3, exposed: 3, bad: 3, rate_upper_95: Some(1.0) };
    negative.rollouts =
        Rollouts { total: 1, bad: 1, rate_upper_95: Some(1.0), duration_ns: Some(3_100 * MS) };
    report(
        "rolling-restart",
        Verdict::Pass,
        &[
            "none of 12,800 requests failed or was late while 3 pods were replaced",
            "the controls behaved as they must",
        ],
        vec![trial, control, negative],
    )
}

/// Refusals, resets and one late answer of [`fail`].
fn failures(first: u64, second: u64) -> Vec<Failure> {
    let mut failures = Vec::new();
    for index in 0..30 {
        let (phase, at_ns) = (PodPhase::ListenerClosed, first + (62 + 31 * index) * MS);
        let pod = Some("web-5d8f-a");
        failures.push(failure(1_218 + 9 * index, at_ns, "connect-refused", pod, phase, Routing::Programmed));
    }
    for index in 0..9 {
        let mut reset = failure(
            1_832 + index,
            second + (231 + 6 * index) * MS,
            "wait-reset",
            Some("web-5d8f-b"),
            PodPhase::Exited,
            Routing::Removed,
        );
        reset.nearest_edge = Some("exited".to_owned());
        reset.margin_ns = Some(2_100_000);
        reset.sentence = format!(
            "request 1,{}, reused connection, 0.212 s after SIGTERM of pod web-5d8f-b: reset; the pod exited 2 ms before. \
             Close keep-alive connections while draining.",
            832 + index
        );
        failures.push(reset);
    }
    let mut late = failure(1_902, second + 1_400 * MS, "late", None, PodPhase::Unknown, Routing::Unknown);
    late.candidates = vec!["web-5d8f-b".to_owned(), "web-77c4-b".to_owned()];
    (late.nearest_edge, late.margin_ns, late.status) = (None, None, Some(200));
    "request 1,902, reused connection: answered 1.204 s after it was due, the limit is 1 s."
        .clone_into(&mut late.sentence);
    failures.push(late);
    failures
}

/// No preStop: new connections are refused and a kept one is reset.
pub(crate) fn fail() -> Report {
    let lanes = vec![
        lane("new", requests(5_958, 42, 0, 0), None),
        lane("reused", requests(5_990, 9, 1, 0), Some((35, 6))),
    ];
    let mut trial = arm("rolling-restart", Role::Trial, Verdict::Fail, lanes);
    trial.terminations = Terminations { total: 3, exposed: 3, bad: 2, rate_upper_95: Some(0.983_047_57) };
    trial.rollouts = Rollouts { total: 1, bad: 1, rate_upper_95: Some(1.0), duration_ns: Some(4_420 * MS) };
    trial.failures_by_class = [("connect-refused", 42), ("wait-reset", 9), ("late", 1)]
        .map(|(name, n)| (name.to_owned(), n))
        .into();
    trial.failures_by_pod_phase =
        [("listener-closed", 45), ("exited", 7)].map(|(name, n)| (name.to_owned(), n)).into();
    trial.failures_by_routing =
        [("programmed", 42), ("removed", 10)].map(|(name, n)| (name.to_owned(), n)).into();
    trial.failures_by_cause = [("listener-closed-early", 42), ("idle-close-race", 9), ("backlog", 1)]
        .map(|(name, n)| (name.to_owned(), n))
        .into();
    let (first, second) = (4 * S, 6 * S);
    trial.failures = failures(first, second);
    let a = PodBuilder::new("web-5d8f-a", "node-1").drained(first, 0, 180).failed(42);
    let a = a.removed("node-1", Some(first + 64 * MS)).removed("node-2", Some(first + 1_012 * MS));
    let b = PodBuilder::new("web-5d8f-b", "node-2").drained(second, 0, 205).failed(9);
    let b = b.removed("node-1", Some(second + 58 * MS)).removed("node-2", Some(second + 61 * MS));
    let c = PodBuilder::new("web-5d8f-c", "node-1").drained(8 * S, 0, 190);
    let c = c.removed("node-1", Some(8 * S + 70 * MS)).removed("node-2", Some(8 * S + 55 * MS));
    trial.pods = vec![a.0, b.0, c.0];
    trial.outages = vec![
        Outage {
            lane: "new".to_owned(),
            from_ns: first + 62 * MS,
            to_ns: first + 961 * MS,
            failed: 42,
            late: 0,
        },
        Outage {
            lane: "reused".to_owned(),
            from_ns: second + 231 * MS,
            to_ns: second + 1_400 * MS,
            failed: 9,
            late: 1,
        },
    ];
    let mut report = report(
        "rolling-restart",
        Verdict::Fail,
        &[
            "51 of 12,000 requests failed and 1 was late: 42 connect-refused, 9 wait-reset",
            "42 new connections were refused while node-2 still routed to a pod that no longer listened",
        ],
        vec![trial],
    );
    report.advice = vec![Advice {
        arm: None,
        text: "Add a preStop sleep of at least 2 s: endpoints took up to 1.012 s to be removed.".to_owned(),
        patch: Some(
            "spec:\n  template:\n    spec:\n      containers:\n        - name: web\n          lifecycle: {preStop: {sleep: {seconds: 2}}}\n"
                .to_owned(),
        ),
    }];
    report
}

/// The run was killed: what came later is null.
pub(crate) fn killed() -> Report {
    let mut requests = requests(1_480, 0, 0, 12);
    requests.interrupted = 3;
    requests.sent += 3;
    requests.scheduled += 3;
    let mut only = lane("new", requests, None);
    (only.schedule_lag_ns, only.idle_closes) = (None, None);
    let mut trial = arm("delete-pod", Role::Trial, Verdict::Inconclusive, vec![only]);
    (trial.load_duration_ns, trial.detection_floor_ns) = (None, None);
    trial.terminations = Terminations { total: 1, exposed: 1, bad: 0, rate_upper_95: None };
    let mut pod = PodBuilder::new("web-5d8f-a", "node-1").drained(4 * S, 5_000, 100);
    pod.0.timeline = Timeline {
        delete_requested_ns: Some(4 * S),
        terminating_ns: Some(4 * S + 2 * MS),
        t0_ns: Some(4 * S + 18 * MS),
        pre_stop_started_ns: Some(4 * S + 18 * MS),
        ..Timeline::default()
    };
    pod.0.exit = None;
    trial.pods = vec![pod.removed("node-1", Some(4 * S + 70 * MS)).removed("node-2", None).0];
    trial.settings = json!({"lifecycle": {"preStop": {"sleep": {"seconds": 5}}}});
    let mut report = report(
        "delete-pod",
        Verdict::Inconclusive,
        &["the recording ends early: the run was killed", "12 slots were not sent"],
        vec![trial],
    );
    report.run.duration_ns = None;
    report
}

/// Somebody else's server, which has no handler for SIGTERM.
pub(crate) fn foreign() -> Report {
    let mut trial = arm(
        "delete-pod",
        Role::Trial,
        Verdict::Fail,
        vec![lane("reused", requests(2_991, 9, 0, 0), Some((24, 0)))],
    );
    let deleted = 3 * S + 12 * MS;
    let mut pod = PodBuilder::new("my-app-1", "node-1").failed(9);
    pod.0.timeline = Timeline {
        delete_requested_ns: Some(deleted),
        terminating_ns: Some(deleted + 2 * MS),
        t0_ns: Some(deleted + 20 * MS),
        sigterm_ns: Some(deleted + 21 * MS),
        killed_ns: Some(deleted + 10_021 * MS),
        exited_ns: Some(deleted + 10_023 * MS),
        ip_gone_ns: Some(deleted + 10_140 * MS),
        gone_ns: Some(deleted + 10_700 * MS),
        ..Timeline::default()
    };
    pod.0.exit = Some(Exit { code: None, signal: Some(9) });
    pod.0.clock_uncertainty_ns = Some(410_000);
    pod.0.post_start = Some(Span { started_ns: Some(100 * MS), ended_ns: Some(300 * MS) });
    pod.0.notes = vec![
        "process 1 has no handler for SIGTERM, so the signal was ignored and the grace ran out".to_owned(),
    ];
    trial.pods = vec![pod.removed("node-1", Some(deleted + 55 * MS)).0];
    trial.terminations = Terminations { total: 1, exposed: 1, bad: 1, rate_upper_95: Some(1.0) };
    trial.failures_by_class = [("wait-closed".to_owned(), 9)].into();
    trial.failures_by_pod_phase = [("exited".to_owned(), 9)].into();
    trial.failures_by_routing = [("removed".to_owned(), 9)].into();
    let at_ns = deleted + 10_022 * MS;
    let (pod, phase) = (Some("my-app-1"), PodPhase::Exited);
    let mut cut = failure(2_004, at_ns, "wait-closed", pod, phase, Routing::Removed);
    "request 2,004, reused connection, 10.001 s after SIGTERM of pod my-app-1: closed; the pod was killed 1 ms before. Handle SIGTERM."
        .clone_into(&mut cut.sentence);
    (cut.nearest_edge, cut.margin_ns) = (Some("killed".to_owned()), Some(1_000_000));
    trial.failures = vec![cut];
    trial.outages =
        vec![Outage { lane: "reused".to_owned(), from_ns: at_ns, to_ns: at_ns + 8 * MS, failed: 9, late: 0 }];
    let mut report =
        report("delete-pod", Verdict::Fail, &["9 of 3,000 requests failed: 9 wait-closed"], vec![trial]);
    report.run.caveats = vec![
        "my-app reports no lifecycle events: when its listener closed was read from the socket table"
            .to_owned(),
    ];
    report
}

/// Every sample.
pub(crate) fn all() -> [Report; 4] {
    [pass(), fail(), killed(), foreign()]
}
