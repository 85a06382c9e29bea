//! Builders of reports, arms, pods and failures.

use std::collections::BTreeMap;

use serde_json::json;
use trial::plan::Role;
use trial::report::{
    Arm, EndpointRemoval, Exit, Failure, LagQuantiles, Lane, LaneTerminations, Pod, PodPhase, Quantiles,
    Report, Requests, Rollouts, Run, SCHEMA_VERSION, Terminations, Timeline, Verdict,
};
use trial::routing::Routing;

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const S: u64 = 1_000 * MS;

pub(crate) fn report(scenario: &str, verdict: Verdict, reasons: &[&str], arms: Vec<Arm>) -> Report {
    Report {
        schema_version: SCHEMA_VERSION.to_owned(),
        verdict,
        reasons: reasons.iter().map(ToString::to_string).collect(),
        exit_code: verdict.exit_code(),
        run: Run {
            id: "20261005-120000-7".to_owned(),
            scenario: scenario.to_owned(),
            description: "Restarts the Deployment under load.".to_owned(),
            backend: "local".to_owned(),
            backend_version: None,
            kubelet_profile: Some("1.34".to_owned()),
            nodes: vec!["node-1".to_owned(), "node-2".to_owned()],
            agents: 1,
            seed: 7,
            started_at: "2026-10-05T12:00:00Z".to_owned(),
            duration_ns: Some(41_234 * MS),
            tool_version: "0.1.0".to_owned(),
            argv: vec!["loadgen".to_owned(), "run".to_owned()],
            environment: BTreeMap::from([("kernel".to_owned(), "6.12".to_owned())]),
            limits: json!({"scheduleLag": "50ms", "detectionFloor": "500ms"}),
            caveats: vec![],
        },
        arms,
        tune: None,
        claims: vec![],
        advice: vec![],
    }
}

pub(crate) fn requests(ok: u64, failed: u64, late: u64, unsent: u64) -> Requests {
    let sent = ok + failed + late;
    Requests { scheduled: sent + unsent, sent, ok, failed, late, unsent, interrupted: 0 }
}

pub(crate) fn lane(name: &str, requests: Requests, kept: Option<(u64, u64)>) -> Lane {
    Lane {
        name: name.to_owned(),
        requests,
        latency_ns: Some(Quantiles {
            p50: 312_400,
            p90: 480_000,
            p99: 1_204 * MS / 1_000,
            p999: 8 * MS,
            max: 41_300_000,
        }),
        schedule_lag_ns: Some(LagQuantiles { p50: 21_000, p99: 140_000, max: 3 * MS }),
        connections_opened: kept.map_or(requests.sent, |(opened, _)| opened),
        idle_closes: Some(kept.map_or(0, |(_, closes)| closes)),
        terminations: Some(LaneTerminations::default()),
    }
}

pub(crate) fn arm(name: &str, role: Role, verdict: Verdict, lanes: Vec<Lane>) -> Arm {
    let mut total = Requests::default();
    for lane in &lanes {
        total.scheduled += lane.requests.scheduled;
        total.sent += lane.requests.sent;
        total.ok += lane.requests.ok;
        total.failed += lane.requests.failed;
        total.late += lane.requests.late;
        total.unsent += lane.requests.unsent;
        total.interrupted += lane.requests.interrupted;
    }
    Arm {
        name: name.to_owned(),
        role,
        settings: json!({"replicas": 3, "terminationGracePeriodSeconds": 30, "lifecycle": {"preStop": null, "postStart": null}}),
        load: json!({"lanes": []}),
        disruption: json!("rolloutRestart"),
        settle: json!({"before": "3s", "after": "3s"}),
        local: json!({"propagation": "kube-proxy", "nodes": 2, "kubelet": "1.34"}),
        verdict,
        reasons: vec![],
        doubts: vec![],
        load_started_ns: Some(S),
        load_duration_ns: Some(20 * S),
        first_disruption_ns: Some(4 * S),
        requests: total,
        lanes,
        failures_by_class: BTreeMap::new(),
        failures_by_pod_phase: BTreeMap::new(),
        failures_by_routing: BTreeMap::new(),
        failures_by_cause: BTreeMap::new(),
        failures_before_disruption: 0,
        failures: vec![],
        terminations: Terminations::default(),
        rollouts: Rollouts::default(),
        detection_floor_ns: Some(30 * MS),
        pods: vec![],
        outages: vec![],
        agents: vec![],
    }
}

/// A pod deleted at `deleted` whose edges follow so many milliseconds later.
pub(crate) struct PodBuilder(pub(crate) Pod);

impl PodBuilder {
    pub(crate) fn new(name: &str, node: &str) -> Self {
        Self(Pod {
            name: name.to_owned(),
            node: node.to_owned(),
            timeline: Timeline::default(),
            inferred: vec![],
            endpoint: vec![],
            main_started_ns: Some(100 * MS),
            ready_ns: Some(400 * MS),
            post_start: None,
            exit: None,
            clock_offset_ns: Some(0),
            clock_uncertainty_ns: Some(0),
            notes: vec![],
            requests_while_terminating: 412,
            failed: 0,
            late: 0,
        })
    }

    /// preStop of so many milliseconds (0: none), then a drain of `drain`.
    pub(crate) fn drained(mut self, deleted: u64, pre_stop: u64, drain: u64) -> Self {
        let at = |ms: u64| Some(deleted + ms * MS);
        let has_hook = pre_stop > 0;
        let term = 21 + pre_stop;
        self.0.timeline = Timeline {
            delete_requested_ns: Some(deleted),
            terminating_ns: at(2),
            t0_ns: at(18),
            pre_stop_started_ns: at(18).filter(|_| has_hook),
            pre_stop_ended_ns: at(term - 1).filter(|_| has_hook),
            sigterm_ns: at(term),
            listener_closed_ns: at(term + 1),
            drained_ns: at(term + drain),
            killed_ns: None,
            exited_ns: at(term + drain + 3),
            ip_gone_ns: at(term + drain + 120),
            gone_ns: at(term + drain + 900),
        };
        if has_hook {
            self.0.inferred = vec!["pre_stop_started".to_owned(), "pre_stop_ended".to_owned()];
        }
        self.0.exit = Some(Exit { code: Some(0), signal: None });
        self
    }

    pub(crate) fn removed(mut self, node: &str, at_ns: Option<u64>) -> Self {
        let race = at_ns.zip(self.0.timeline.listener_closed_ns);
        let after_listener_closed_ns =
            race.map(|(removed, closed)| removed.wrapping_sub(closed).cast_signed());
        self.0.endpoint.push(EndpointRemoval {
            node: node.to_owned(),
            removed_ns: at_ns,
            after_listener_closed_ns,
        });
        self
    }

    pub(crate) fn failed(mut self, failed: u64) -> Self {
        self.0.failed = failed;
        self
    }
}

pub(crate) fn failure(
    slot: u64,
    at_ns: u64,
    class: &str,
    pod: Option<&str>,
    phase: PodPhase,
    routing: Routing,
) -> Failure {
    Failure {
        slot,
        lane: if class == "connect-refused" { "new" } else { "reused" }.to_owned(),
        agent: 0,
        at_ns,
        intended_ns: at_ns - MS,
        class: class.to_owned(),
        status: None,
        os_code: Some(if class == "connect-refused" { 111 } else { 104 }),
        connection: 12,
        nth: if class == "connect-refused" { 1 } else { 22 },
        pod: pod.map(str::to_owned),
        candidates: vec![],
        pod_phase: phase,
        routing,
        nearest_edge: Some("listener_closed".to_owned()),
        margin_ns: Some(41_200_000),
        sentence: format!(
            "request {}, new connection, 0.042 s after SIGTERM of pod {}: refused; node-2 still routed to the pod. \
             Keep accepting until the endpoint is gone: a preStop sleep longer than the propagation avoids it.",
            format_args!("{},{:03}", slot / 1_000, slot % 1_000),
            pod.unwrap_or("?")
        ),
    }
}
