//! `report.json`, schema 1.x: the document that every format renders. Times are nanoseconds since the run's epoch;
//! what was not observed is null.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::plan::Role;

mod lanes;

pub use lanes::{LagQuantiles, Lane, LaneTerminations, Outage, Quantiles, Requests};

/// Major and minor of the schema: a reader of 1.x reads every 1.y.
pub const SCHEMA_VERSION: &str = "1.3";

/// The verdict on a run or an arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing beyond `expect` happened, and the measurement would have seen it.
    Pass,
    /// The service failed requests beyond `expect`.
    Fail,
    /// The measurement may have missed something.
    Inconclusive,
}

impl Verdict {
    /// The exit code of `run` and `report --gate`.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Fail => 3,
            Self::Inconclusive => 4,
        }
    }

    /// The name in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// The document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "named as in the schema")]
pub struct Report {
    pub schema_version: String,
    pub verdict: Verdict,
    /// One sentence each, the most important first.
    pub reasons: Vec<String>,
    pub exit_code: u8,
    pub run: Run,
    pub arms: Vec<Arm>,
    pub tune: Option<serde_json::Value>,
    pub claims: Vec<Claim>,
    pub advice: Vec<Advice>,
}

/// About the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "named as in the schema")]
pub struct Run {
    pub id: String,
    pub scenario: String,
    pub description: String,
    pub backend: String,
    pub backend_version: Option<String>,
    pub kubelet_profile: Option<String>,
    pub nodes: Vec<String>,
    pub agents: u32,
    pub seed: u64,
    /// RFC 3339.
    pub started_at: String,
    /// `None` if the recording ends early.
    pub duration_ns: Option<u64>,
    pub tool_version: String,
    pub argv: Vec<String>,
    pub environment: BTreeMap<String, String>,
    /// Beyond these the measurement is not trusted. Since 1.2.
    #[serde(default)]
    pub limits: serde_json::Value,
    /// What a reader must know about what this backend or plan could not show.
    pub caveats: Vec<String>,
}

/// One arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "named as in the schema")]
pub struct Arm {
    pub name: String,
    pub role: Role,
    /// The workload as resolved.
    pub settings: serde_json::Value,
    /// The load as resolved.
    pub load: serde_json::Value,
    pub disruption: serde_json::Value,
    /// How long the load went on undisturbed, before and after. Since 1.2.
    #[serde(default)]
    pub settle: serde_json::Value,
    /// What the local backend emulated; null elsewhere. Since 1.2.
    #[serde(default)]
    pub local: serde_json::Value,
    pub verdict: Verdict,
    pub reasons: Vec<String>,
    /// Why it may have missed something, whatever the verdict: a failed arm's are among its reasons as well. Since 1.3.
    #[serde(default)]
    pub doubts: Vec<String>,
    pub load_started_ns: Option<u64>,
    pub load_duration_ns: Option<u64>,
    /// When the disruption began: announced, or seen by the first delete.
    pub first_disruption_ns: Option<u64>,
    pub requests: Requests,
    pub lanes: Vec<Lane>,
    pub failures_by_class: BTreeMap<String, u64>,
    pub failures_by_pod_phase: BTreeMap<String, u64>,
    pub failures_by_routing: BTreeMap<String, u64>,
    /// Of failed and late ones, all of them. Since 1.3.
    #[serde(default)]
    pub failures_by_cause: BTreeMap<String, u64>,
    /// Failures before the first disruption: not the disruption's work.
    pub failures_before_disruption: u64,
    /// The first 100, failed and late.
    pub failures: Vec<Failure>,
    pub terminations: Terminations,
    pub rollouts: Rollouts,
    /// Gaps on one pod shorter than this may have been missed (95 %).
    pub detection_floor_ns: Option<u64>,
    pub pods: Vec<Pod>,
    pub outages: Vec<Outage>,
    /// Who sent the load, where agents did. Since 1.1.
    #[serde(default)]
    pub agents: Vec<Agent>,
}

/// An agent's share of an arm's load, as seen from its node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "named as in the schema")]
pub struct Agent {
    pub agent: u8,
    pub node: String,
    /// How far its wall clock was ahead; its times are already corrected by that.
    pub clock_offset_ns: i64,
    pub clock_uncertainty_ns: u64,
    pub sent: u64,
    pub failed: u64,
    pub late: u64,
    pub failures_by_class: BTreeMap<String, u64>,
    /// From the first to the last failed or late request.
    pub first_failure_ns: Option<u64>,
    pub last_failure_ns: Option<u64>,
}

/// One failed or late request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "named as in the schema")]
pub struct Failure {
    pub slot: u64,
    pub lane: String,
    pub agent: u8,
    /// When the failure was seen (late: when the answer was complete).
    pub at_ns: u64,
    pub intended_ns: u64,
    /// A class name, or `late`.
    pub class: String,
    pub status: Option<u16>,
    pub os_code: Option<u16>,
    pub connection: u32,
    /// Which request on that connection this was, from 1.
    pub nth: u32,
    pub pod: Option<String>,
    /// Pods whose state fits, where the pod is not known.
    pub candidates: Vec<String>,
    pub pod_phase: PodPhase,
    pub routing: crate::routing::Routing,
    /// The edge of the pod's timeline nearest to the failure (timeouts and late answers: to the request's begin), …
    pub nearest_edge: Option<String>,
    /// … and how long after it (negative: before it) that was.
    pub margin_ns: Option<i64>,
    pub sentence: String,
}

/// What a pod was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "named as in the schema")]
pub enum PodPhase {
    Starting,
    Serving,
    PreStop,
    Draining,
    ListenerClosed,
    Exited,
    IpGone,
    Unknown,
}

impl PodPhase {
    /// The name in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::PreStop => "pre-stop",
            Self::Draining => "draining",
            Self::ListenerClosed => "listener-closed",
            Self::Exited => "exited",
            Self::IpGone => "ip-gone",
            Self::Unknown => "unknown",
        }
    }
}

/// The termination is the trial.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Terminations {
    /// Pods deleted.
    pub total: u64,
    /// Those that had requests due to them while terminating.
    pub exposed: u64,
    /// Exposed ones with a failed or late request.
    pub bad: u64,
    /// Upper 95 % bound (Clopper–Pearson, one-sided) of the rate of bad ones among exposed ones.
    pub rate_upper_95: Option<f64>,
}

/// The rollout is the cluster of trials.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Rollouts {
    /// Rollouts, or other disruptions as a whole.
    pub total: u64,
    /// Those with a failed or late request after they began, whichever pod it met.
    pub bad: u64,
    /// Upper 95 % bound of the rate of bad ones.
    pub rate_upper_95: Option<f64>,
    /// From the start of the disruption to the last terminated pod's end; what a setting costs.
    pub duration_ns: Option<u64>,
}

/// One pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "named as in the schema")]
pub struct Pod {
    pub name: String,
    pub node: String,
    pub timeline: Timeline,
    /// Edges that were not observed directly.
    pub inferred: Vec<String>,
    /// When each node's rules no longer named the pod, after the delete.
    pub endpoint: Vec<EndpointRemoval>,
    pub main_started_ns: Option<u64>,
    pub ready_ns: Option<u64>,
    pub post_start: Option<Span>,
    pub exit: Option<Exit>,
    pub clock_offset_ns: Option<i64>,
    pub clock_uncertainty_ns: Option<u64>,
    pub notes: Vec<String>,
    /// Requests due to it or under way on it while terminating, and of these the failed and late ones.
    pub requests_while_terminating: u64,
    pub failed: u64,
    pub late: u64,
}

/// Edges of a termination.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "named as in the schema")]
pub struct Timeline {
    pub delete_requested_ns: Option<u64>,
    pub terminating_ns: Option<u64>,
    pub t0_ns: Option<u64>,
    pub pre_stop_started_ns: Option<u64>,
    pub pre_stop_ended_ns: Option<u64>,
    pub sigterm_ns: Option<u64>,
    pub listener_closed_ns: Option<u64>,
    pub drained_ns: Option<u64>,
    pub killed_ns: Option<u64>,
    pub exited_ns: Option<u64>,
    pub ip_gone_ns: Option<u64>,
    pub gone_ns: Option<u64>,
}

impl Timeline {
    /// Every edge with its name (without `_ns`), in the order of a termination.
    #[must_use]
    pub const fn edges(&self) -> [(&'static str, Option<u64>); 12] {
        [
            ("delete_requested", self.delete_requested_ns),
            ("terminating", self.terminating_ns),
            ("t0", self.t0_ns),
            ("pre_stop_started", self.pre_stop_started_ns),
            ("pre_stop_ended", self.pre_stop_ended_ns),
            ("sigterm", self.sigterm_ns),
            ("listener_closed", self.listener_closed_ns),
            ("drained", self.drained_ns),
            ("killed", self.killed_ns),
            ("exited", self.exited_ns),
            ("ip_gone", self.ip_gone_ns),
            ("gone", self.gone_ns),
        ]
    }
}

/// Removal from one node's rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "named as in the schema")]
pub struct EndpointRemoval {
    pub node: String,
    pub removed_ns: Option<u64>,
    /// The race of the two flows as a number: how long after the pod's listener closed that was (negative: before). So long
    /// were new connections sent to a pod that took none. Since 1.2.
    #[serde(default)]
    pub after_listener_closed_ns: Option<i64>,
}

/// A span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "named as in the schema")]
pub struct Span {
    pub started_ns: Option<u64>,
    pub ended_ns: Option<u64>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "named as in the schema")]
pub struct Exit {
    pub code: Option<i32>,
    pub signal: Option<i32>,
}

/// One of the article's claims, with what was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "named as in the schema")]
pub struct Claim {
    pub id: String,
    pub text: String,
    pub holds: Option<bool>,
    pub evidence: String,
}

/// What would avoid what happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "named as in the schema")]
pub struct Advice {
    /// The trial arm, or the first of its repeats, whose failures it is about; null where there is only one. Since 1.3.
    #[serde(default)]
    pub arm: Option<String>,
    pub text: String,
    pub patch: Option<String>,
}
