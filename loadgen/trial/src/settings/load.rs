//! What is sent.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::human;

/// What is sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    /// Where to.
    pub target: Target,
    /// Which request.
    pub request: Request,
    /// Lanes, in the order of their ids.
    pub lanes: Vec<Lane>,
    /// A request fails when it takes longer than this beyond the lane's delay, from when it was sent.
    #[serde(with = "human")]
    pub timeout: Duration,
    /// An answer is late when its latency from the intended time is beyond this plus the lane's delay.
    #[serde(with = "human")]
    pub late_over: Duration,
}

/// Where the load goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Target {
    /// The Service of the workload.
    Service,
    /// An `http://` URL in front of it, measured beside.
    Url(String),
}

/// The request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Method; lane `post` sends POST whatever stands here.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Extra headers.
    pub headers: BTreeMap<String, String>,
    /// Body, sent by every lane if given; `post` sends a small one of its own otherwise.
    pub body: Option<String>,
    /// Statuses that count as answered, both ends included.
    pub expect_status: StatusRange,
}

/// An inclusive range of statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusRange {
    /// First.
    pub first: u16,
    /// Last.
    pub last: u16,
}

/// A lane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lane {
    /// Which kind, and so its name.
    pub kind: LaneKind,
    /// Slots a second.
    pub rate: f64,
    /// Kept connections (lanes that keep them).
    pub connections: u32,
    /// Delay asked of the server.
    #[serde(with = "human")]
    pub delay: Duration,
    /// How slots are spaced.
    pub arrivals: Arrivals,
    /// A kept connection is closed by the client after so many requests.
    pub max_requests_per_connection: Option<u32>,
}

/// Kinds of lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LaneKind {
    /// A connection per request, `Connection: close` asked.
    New,
    /// Kept connections, used in turn.
    Reused,
    /// Requests in flight for seconds, on kept connections.
    Slow,
    /// POST with a body that must come back, on kept connections.
    Post,
}

impl LaneKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::New, Self::Reused, Self::Slow, Self::Post];

    /// The name in scenarios and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Reused => "reused",
            Self::Slow => "slow",
            Self::Post => "post",
        }
    }
}

/// How slots are spaced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arrivals {
    /// Evenly.
    #[default]
    Constant,
    /// Exponentially distributed gaps.
    Poisson,
}
