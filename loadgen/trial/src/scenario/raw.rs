//! Every key that a scenario may hold, as text and numbers; what they mean is checked in `workload` and `load`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::settings::{ArmsExpected, Arrivals, OnSigterm, StopSignal, TimelineExpectation, Victim};

/// How slots are spaced. No closed loop: what an outage holds back would never be sent, and so could not fail.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RawArrivals {
    Constant,
    Poisson,
}

impl From<RawArrivals> for Arrivals {
    fn from(raw: RawArrivals) -> Self {
        match raw {
            RawArrivals::Constant => Self::Constant,
            RawArrivals::Poisson => Self::Poisson,
        }
    }
}

/// Declares raw types: every field optional, camelCase, unknown keys refused.
macro_rules! raw {
    ($($(#[$meta:meta])* $name:ident { $($field:ident: $kind:ty,)* })*) => {$(
        $(#[$meta])*
        #[derive(Debug, Default, Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
        pub(super) struct $name { $(pub(super) $field: $kind,)* }
    )*};
}

raw! {
    RawScenario {
        name: Option<String>,
        description: Option<String>,
        workload: RawWorkload,
        load: RawLoad,
        disruption: Option<RawDisruption>,
        local: RawLocal,
        settle: RawSettle,
        repeat: Option<i64>,
        limits: RawLimits,
        expect: RawExpect,
        control: Option<bool>,
        // Read from the tree: its values keep their places.
        vary: Option<IgnoredAny>,
    }
    RawWorkload {
        replicas: Option<i64>,
        min_ready_seconds: Option<i64>,
        termination_grace_period_seconds: Option<i64>,
        lifecycle: RawLifecycle,
        readiness_probe: Option<RawProbe>,
        liveness_probe: Option<RawProbe>,
        publish_not_ready_addresses: Option<bool>,
        strategy: RawStrategy,
        server: Option<RawServer>,
    }
    RawLifecycle {
        pre_stop: Option<RawHandler>,
        post_start: Option<RawHandler>,
        stop_signal: Option<StopSignal>,
    }
    RawSleep { seconds: Option<i64>, }
    RawExec { command: Vec<String>, }
    RawHttpGet { path: Option<String>, port: Option<i64>, }
    RawTcpSocket { port: Option<i64>, }
    RawProbe {
        http_get: Option<RawHttpGet>,
        tcp_socket: Option<RawTcpSocket>,
        exec: Option<RawExec>,
        period_seconds: Option<i64>,
        timeout_seconds: Option<i64>,
        failure_threshold: Option<i64>,
        success_threshold: Option<i64>,
        initial_delay_seconds: Option<i64>,
    }
    RawStrategy { max_surge: Option<String>, max_unavailable: Option<String>, }
    RawServer {
        on_sigterm: Option<OnSigterm>,
        shutdown_takes: Option<String>,
        drain_timeout: Option<String>,
        lame_duck: Option<String>,
        close_connections: Option<bool>,
        fail_readiness: Option<bool>,
        service_time: Option<String>,
        poll_while_draining: Option<String>,
        exit_after: Option<String>,
        exit_code: Option<i64>,
        wrapped: Option<bool>,
        report_every: Option<String>,
        report_probes: Option<bool>,
        max_connections: Option<i64>,
    }
    RawLoad {
        target: Option<String>,
        tls: Option<RawTls>,
        request: RawRequest,
        lanes: RawLanes,
        timeout: Option<String>,
        late_over: Option<String>,
        rtt: Option<String>,
    }
    RawTls { ca: Option<String>, server_name: Option<String>, }
    RawRequest {
        method: Option<String>,
        path: Option<String>,
        headers: BTreeMap<String, String>,
        body: Option<String>,
        expect_status: Option<String>,
    }
    RawLanes {
        new: Option<RawLane>,
        reused: Option<RawLane>,
        idle: Option<RawLane>,
        slow: Option<RawLane>,
        post: Option<RawLane>,
        h2: Option<RawLane>,
        pooled: Option<RawLane>,
    }
    RawLane {
        rate: Option<f64>,
        connections: Option<i64>,
        delay: Option<String>,
        arrivals: Option<RawArrivals>,
        max_requests_per_connection: Option<i64>,
        max_connection_age: Option<String>,
        max_concurrent_streams: Option<i64>,
        idle: Option<String>,
    }
    Nothing {}
    RawDeletePods {
        count: Option<i64>,
        every: Option<String>,
        grace_period_seconds: Option<i64>,
        force: Option<bool>,
        which: Option<Victim>,
        again: Vec<RawAgain>,
    }
    RawAgain { after: Option<String>, grace_period_seconds: Option<i64>, }
    RawEvict { count: Option<i64>, }
    RawScale { to: Option<i64>, }
    RawLocal { propagation: Option<String>, nodes: Option<i64>, kubelet: Option<String>, }
    RawSettle { before: Option<String>, after: Option<String>, }
    RawLimits { schedule_lag: Option<String>, detection_floor: Option<String>, }
    RawExpect {
        failed: Option<String>,
        late: Option<String>,
        arms: Option<ArmsExpected>,
        timeline: Vec<TimelineExpectation>,
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum RawHandler {
    Sleep(RawSleep),
    Exec(RawExec),
    HttpGet(RawHttpGet),
    TcpSocket(RawTcpSocket),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum RawDisruption {
    RolloutRestart(Nothing),
    DeletePods(RawDeletePods),
    None(Nothing),
    Evict(RawEvict),
    Scale(RawScale),
    DrainNode(Nothing),
}
