//! Counts of requests, and what is known of each lane.

use serde::{Deserialize, Serialize};

/// scheduled = sent + unsent; sent = ok + failed + late + interrupted. Faults of the measuring client are no failures
/// of the service: they count as interrupted, and the arm's reasons name their number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "named as in the schema")]
pub struct Requests {
    pub scheduled: u64,
    pub sent: u64,
    pub ok: u64,
    pub failed: u64,
    pub late: u64,
    pub unsent: u64,
    pub interrupted: u64,
}

/// One lane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "named as in the schema")]
pub struct Lane {
    pub name: String,
    pub requests: Requests,
    /// From the intended time, answered requests.
    pub latency_ns: Option<Quantiles>,
    pub schedule_lag_ns: Option<LagQuantiles>,
    pub connections_opened: u64,
    /// Kept connections that the server closed while idle; `None` if the recording ends early.
    pub idle_closes: Option<u64>,
    /// What the disruption did to this lane: what comparisons rest on. Since 1.2; `None` where an older version wrote the report.
    #[serde(default)]
    pub terminations: Option<LaneTerminations>,
}

/// What the disruption did to a lane. Late requests count here only where the schedule was kept and nothing stood still, as in
/// the verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneTerminations {
    /// Terminated pods that requests of this lane were due to meanwhile.
    pub exposed: u64,
    /// Of these, with a failed request of this lane, …
    pub failed: u64,
    /// … with a late one, …
    pub late: u64,
    /// … and with either.
    pub bad: u64,
    /// Requests that failed since the disruption began, whichever pod they met. Without a disruption: all that failed.
    pub failed_requests: u64,
    /// The same of late ones.
    pub late_requests: u64,
}

/// Latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "named as in the schema")]
pub struct Quantiles {
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

/// Schedule lag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "named as in the schema")]
pub struct LagQuantiles {
    pub p50: u64,
    pub p99: u64,
    pub max: u64,
}

/// A window of a lane in which requests failed or were late, with gaps of less than a second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "named as in the schema")]
pub struct Outage {
    pub lane: String,
    pub from_ns: u64,
    pub to_ns: u64,
    pub failed: u64,
    pub late: u64,
}
