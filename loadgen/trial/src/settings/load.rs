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
    /// How connections are secured: given, or implied by an `https://` URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
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
    /// How far away the clients are: a round trip takes so much longer than the network's own.
    #[serde(default, with = "human", skip_serializing_if = "Duration::is_zero")]
    pub rtt: Duration,
}

impl Load {
    /// On the Service, with what a scenario that states nothing but lanes gives it.
    #[must_use]
    pub fn new(lanes: Vec<Lane>) -> Self {
        Self {
            target: Target::Service,
            tls: None,
            request: Request {
                method: "GET".to_owned(),
                path: "/".to_owned(),
                headers: BTreeMap::new(),
                body: None,
                expect_status: StatusRange { first: 200, last: 299 },
            },
            lanes,
            timeout: Duration::from_secs(5),
            late_over: Duration::from_secs(1),
            rtt: Duration::ZERO,
        }
    }

    /// True if connections are secured.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        match &self.target {
            Target::Url(url) => url.starts_with("https://"),
            Target::Service => self.tls.is_some(),
        }
    }
}

/// TLS. Versions 1.2 and 1.3; HTTP/2 is agreed on in lane `h2`, and HTTP/1.1 in all others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// Certificates of the authorities that are trusted, in PEM form; those of the machine if none are given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// The name that the server's certificate must carry; that in the URL, or for a Service the pod's address, if none is
    /// given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

/// Where the load goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Target {
    /// The Service of the workload.
    Service,
    /// An `http://` or `https://` URL in front of it, measured beside.
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
    /// Slots a second; not looked at in a closed loop.
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
    /// How the rate is come to; without one it is there from the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ramp: Option<Ramp>,
    /// A kept connection is closed by the client once it is so old and carries no request.
    #[serde(default, with = "human::optional", skip_serializing_if = "Option::is_none")]
    pub max_connection_age: Option<Duration>,
    /// A connection carries so many requests at once (lane `h2`; 1 for others).
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub max_concurrent_streams: u32,
    /// A kept connection carries its next request only when it has rested for so long (lane `idle`; zero for others).
    #[serde(default, with = "human", skip_serializing_if = "Duration::is_zero")]
    pub idle: Duration,
}

const fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
const fn is_one(number: &u32) -> bool {
    *number == 1
}

impl Lane {
    /// A lane of this kind at this rate, with what a scenario that states nothing else gives it.
    #[must_use]
    pub fn new(kind: LaneKind, rate: f64) -> Self {
        let delay = if kind == LaneKind::Slow { Duration::from_secs(2) } else { Duration::ZERO };
        let idle = if kind == LaneKind::Idle { Self::IDLE } else { Duration::ZERO };
        let lane = Self {
            kind,
            rate,
            connections: 1,
            delay,
            arrivals: Arrivals::Constant,
            max_requests_per_connection: None,
            ramp: None,
            max_connection_age: None,
            max_concurrent_streams: if kind == LaneKind::H2 { Self::STREAMS } else { 1 },
            idle,
        };
        Self { connections: lane.usual_connections(), ..lane }
    }

    /// How long the connections of lane `idle` rest where nothing is stated: where some servers end theirs by default.
    pub const IDLE: Duration = Duration::from_secs(5);
    /// Requests at once on a connection of lane `h2` where nothing is stated.
    pub const STREAMS: u32 = 10;
    /// A lane may keep so many connections.
    pub const MOST_CONNECTIONS: u32 = 10_000;

    /// Connections that the lane's rate takes at once, by Little's law: full ones, and those that rest.
    #[must_use]
    pub fn connections_taken(&self) -> f64 {
        self.rate * (self.delay + self.idle).as_secs_f64() / f64::from(self.max_concurrent_streams.max(1))
    }

    /// How many are kept where nothing is stated: a quarter more than are taken at once.
    #[must_use]
    pub fn usual_connections(&self) -> u32 {
        let usual = match self.kind {
            LaneKind::New => return 1,
            LaneKind::Reused | LaneKind::Pooled => 20,
            LaneKind::Idle | LaneKind::Slow | LaneKind::Post => 10,
            LaneKind::H2 => 4,
        };
        let enough = self.connections_taken() * 1.25;
        (usual..Self::MOST_CONNECTIONS)
            .find(|count| f64::from(*count) >= enough)
            .unwrap_or(Self::MOST_CONNECTIONS)
    }
}

/// A rate that changes linearly before it stays.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ramp {
    /// Slots a second at the start.
    pub from: f64,
    /// How long until the lane's rate is reached.
    #[serde(with = "human")]
    pub over: Duration,
}

/// Kinds of lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LaneKind {
    /// A connection per request, `Connection: close` asked.
    New,
    /// Kept connections, used in turn.
    Reused,
    /// Kept connections, each used again only after it rested: the race between a server that closes what idles and a
    /// client that uses it.
    Idle,
    /// Requests in flight for seconds, on kept connections.
    Slow,
    /// POST with a body that must come back, on kept connections.
    Post,
    /// HTTP/2, several requests at once on each connection.
    H2,
    /// An ordinary client with a pool of its own (reqwest), which sends some requests again: what users' clients would hide.
    Pooled,
}

impl LaneKind {
    /// All kinds.
    pub const ALL: [Self; 7] =
        [Self::New, Self::Reused, Self::Idle, Self::Slow, Self::Post, Self::H2, Self::Pooled];

    /// The name in scenarios and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Reused => "reused",
            Self::Idle => "idle",
            Self::Slow => "slow",
            Self::Post => "post",
            Self::H2 => "h2",
            Self::Pooled => "pooled",
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
    /// A closed loop: each of the lane's connections sends its next request when the last was answered. What a slow
    /// answer holds back is never sent, so this finds how much a service can do, and not how it treats its users.
    Closed,
}
