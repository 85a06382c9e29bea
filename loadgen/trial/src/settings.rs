//! Validated settings of one arm. `scenario` makes them from YAML; nothing else does.
//!
//! Names are Kubernetes' own for what is Kubernetes' own. Durations serialise as `5s`, `250ms`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A duration that reads and writes as `1.5s`, `250ms`, `2m`.
pub mod human {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    /// Reads `5s`, `250ms`, `1m30s`, `0`.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn parse(text: &str) -> Result<Duration, String> {
        let text = text.trim();
        if text == "0" {
            return Ok(Duration::ZERO);
        }
        text.parse::<jiff::SignedDuration>().ok().and_then(|signed| Duration::try_from(signed).ok()).ok_or_else(
            || format!("`{text}` is not a duration; write a number and a unit, such as 250ms, 5s or 2m"),
        )
    }

    /// Writes the largest unit that keeps the value whole.
    #[must_use]
    pub fn format(duration: Duration) -> String {
        let nanos = duration.as_nanos();
        match nanos {
            0 => "0s".to_owned(),
            n if n.is_multiple_of(1_000_000_000) => format!("{}s", n / 1_000_000_000),
            n if n.is_multiple_of(1_000_000) => format!("{}ms", n / 1_000_000),
            n if n.is_multiple_of(1_000) => format!("{}us", n / 1_000),
            n => format!("{n}ns"),
        }
    }

    /// Serde.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format(*duration))
    }

    /// Serde.
    ///
    /// # Errors
    /// Not a duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// What runs, and how it is stopped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// Pods.
    pub replicas: u32,
    /// How long a pod must be Ready to count as available.
    pub min_ready_seconds: u32,
    /// Grace from the start of the stop to SIGKILL.
    pub termination_grace_period_seconds: u64,
    /// Hooks.
    pub lifecycle: Lifecycle,
    /// Without one a running pod is Ready.
    pub readiness_probe: Option<Probe>,
    /// Rolling update.
    pub strategy: Strategy,
    /// What the pods run.
    pub program: Program,
}

/// What the pods run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Program {
    /// Our own server.
    Server(ServerSettings),
    /// The user's command, already split; `{host}` and `{port}` are filled in when it starts.
    Command(Vec<String>),
}

/// Keys of `workload.server`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerSettings {
    /// What SIGTERM does.
    pub on_sigterm: OnSigterm,
    /// Time that a shutdown needs even when idle.
    #[serde(with = "human")]
    pub shutdown_takes: Duration,
    /// The drain ends after this.
    #[serde(with = "human")]
    pub drain_timeout: Duration,
    /// New connections are accepted this long after SIGTERM.
    #[serde(with = "human")]
    pub lame_duck: Duration,
    /// `Connection: close` while draining, idle connections linger.
    pub close_connections: bool,
    /// `/readyz` fails after SIGTERM.
    pub fail_readiness: bool,
    /// Time that each answer takes.
    #[serde(with = "human")]
    pub service_time: Duration,
    /// GET this once a second after SIGTERM.
    pub poll_while_draining: Option<String>,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            on_sigterm: OnSigterm::Drain,
            shutdown_takes: Duration::ZERO,
            drain_timeout: Duration::from_secs(20),
            lame_duck: Duration::ZERO,
            close_connections: true,
            fail_readiness: false,
            service_time: Duration::ZERO,
            poll_while_draining: None,
        }
    }
}

/// What SIGTERM does to our server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnSigterm {
    /// Finish what is held, then exit.
    Drain,
    /// Exit at once.
    Exit,
    /// Go on.
    Ignore,
}

impl OnSigterm {
    /// The flag's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Exit => "exit",
            Self::Ignore => "ignore",
        }
    }
}

/// Hooks of the container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lifecycle {
    /// Runs before the stop signal.
    pub pre_stop: Option<Handler>,
    /// Runs beside the entrypoint; the pod is not Ready before it ended.
    pub post_start: Option<Handler>,
}

/// A hook's handler, as in Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Handler {
    /// The kubelet waits; nothing runs in the container.
    Sleep {
        /// Whole seconds.
        seconds: u64,
    },
    /// A command in the container.
    Exec {
        /// Program and arguments, without a shell.
        command: Vec<String>,
    },
    /// A GET; any status is success.
    HttpGet {
        /// Path.
        path: String,
        /// The container's port, if not the pod's own.
        port: Option<u16>,
    },
}

/// A readiness probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// How.
    pub check: ProbeCheck,
    /// How often; default 10.
    pub period_seconds: u32,
    /// How long one may take; default 1.
    pub timeout_seconds: u32,
    /// How many failures in a row make the pod `NotReady`; default 3.
    pub failure_threshold: u32,
    /// How many successes make it Ready; default 1.
    pub success_threshold: u32,
    /// Wait before the first; default 0.
    pub initial_delay_seconds: u32,
}

/// What a probe does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ProbeCheck {
    /// GET; 200–399 is success.
    HttpGet {
        /// Path.
        path: String,
        /// The container's port, if not the pod's own.
        port: Option<u16>,
    },
    /// A connection is accepted.
    TcpSocket {
        /// The container's port, if not the pod's own.
        port: Option<u16>,
    },
    /// Exit code 0.
    Exec {
        /// Program and arguments, without a shell.
        command: Vec<String>,
    },
}

/// Rolling update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Strategy {
    /// Pods above the desired number.
    pub max_surge: Amount,
    /// Pods below it.
    pub max_unavailable: Amount,
}

/// A number of pods or a share of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// Pods.
    Pods(u32),
    /// Per cent of the replicas.
    Percent(u32),
}

impl Amount {
    /// Pods for so many replicas; a share is rounded up for surge and down for unavailable, as Kubernetes does.
    #[must_use]
    pub const fn resolve(self, replicas: u32, round_up: Rounding) -> u32 {
        match (self, round_up) {
            (Self::Pods(pods), _) => pods,
            (Self::Percent(percent), Rounding::Up) => (replicas * percent).div_ceil(100),
            (Self::Percent(percent), Rounding::Down) => replicas * percent / 100,
        }
    }
}

/// Which way a share is rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// maxSurge.
    Up,
    /// maxUnavailable.
    Down,
}

impl Serialize for Amount {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Pods(pods) => serializer.serialize_u32(*pods),
            Self::Percent(percent) => serializer.collect_str(&format_args!("{percent}%")),
        }
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Pods(u32),
            Text(String),
        }
        match Raw::deserialize(deserializer)? {
            Raw::Pods(pods) => Ok(Self::Pods(pods)),
            Raw::Text(text) => text
                .strip_suffix('%')
                .and_then(|number| number.parse().ok())
                .filter(|percent| *percent <= 100)
                .map(Self::Percent)
                .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is neither a number nor a share such as 25%"))),
        }
    }
}

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

/// What is done to the workload under load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Disruption {
    /// Nothing: a control arm.
    None,
    /// `kubectl rollout restart`.
    RolloutRestart,
    /// Deletes pods, which are replaced.
    DeletePods {
        /// How many, one after the other.
        count: u32,
        /// Pause between two.
        #[serde(with = "human")]
        every: Duration,
        /// Grace by delete options, instead of the spec's.
        grace_period_seconds: Option<u64>,
    },
}

impl Disruption {
    /// The name in reports.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::RolloutRestart => "rolloutRestart",
            Self::DeletePods { .. } => "deletePods",
        }
    }
}

/// Settings of the local backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Local {
    /// How long rules lag behind the slice.
    pub propagation: Propagation,
    /// Virtual nodes, each with its own rules.
    pub nodes: u8,
    /// Which kubelet is emulated.
    pub kubelet: KubeletVersion,
}

/// How long the rules of a node lag behind the slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// kube-proxy's own pacing, modelled.
    KubeProxy,
    /// A cluster of 100 nodes, sampled.
    Nodes100,
    /// A cluster of 5000 nodes, sampled.
    Nodes5000,
    /// Always this long after the delete.
    Fixed(Duration),
}

impl Propagation {
    /// Reads `kube-proxy`, `nodes-100`, `nodes-5000` or a duration.
    ///
    /// # Errors
    /// What is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "kube-proxy" => Ok(Self::KubeProxy),
            "nodes-100" => Ok(Self::Nodes100),
            "nodes-5000" => Ok(Self::Nodes5000),
            other => human::parse(other).map(Self::Fixed).map_err(|_| {
                format!("`{other}` is none of kube-proxy, nodes-100, nodes-5000, or a fixed time such as 1300ms")
            }),
        }
    }
}

impl Serialize for Propagation {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::KubeProxy => serializer.serialize_str("kube-proxy"),
            Self::Nodes100 => serializer.serialize_str("nodes-100"),
            Self::Nodes5000 => serializer.serialize_str("nodes-5000"),
            Self::Fixed(duration) => serializer.serialize_str(&human::format(*duration)),
        }
    }
}

impl<'de> Deserialize<'de> for Propagation {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// A kubelet's minor version, 1.20 to 1.36.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KubeletVersion {
    /// The 34 of 1.34.
    pub minor: u16,
}

impl KubeletVersion {
    /// Reads `1.34`.
    ///
    /// # Errors
    /// What is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        text.strip_prefix("1.")
            .and_then(|minor| minor.parse().ok())
            .filter(|minor| (20..=36).contains(minor))
            .map(|minor| Self { minor })
            .ok_or_else(|| format!("`{text}` is not a kubelet version from 1.20 to 1.36"))
    }
}

impl std::fmt::Display for KubeletVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "1.{}", self.minor)
    }
}

impl Serialize for KubeletVersion {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KubeletVersion {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// Time without disruption before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settle {
    /// Before the first disruption.
    #[serde(with = "human")]
    pub before: Duration,
    /// After the last terminating pod is gone.
    #[serde(with = "human")]
    pub after: Duration,
}

/// Beyond these the measurement may have missed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Schedule lag, p99 of each lane.
    #[serde(with = "human")]
    pub schedule_lag: Duration,
    /// Longest gap on one pod that may go unseen.
    #[serde(with = "human")]
    pub detection_floor: Duration,
}

/// What is accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Expect {
    /// Failed requests allowed in an arm.
    pub failed: Allowed,
    /// Late requests allowed in an arm.
    pub late: Allowed,
    /// How many trial arms must pass.
    pub arms: ArmsExpected,
    /// Edges that must be so far apart, for every terminated pod.
    pub timeline: Vec<TimelineExpectation>,
}

/// A bound on a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// At most so many.
    AtMost(u64),
    /// Any number.
    Any,
}

impl Allowed {
    /// True if so many are accepted.
    #[must_use]
    pub const fn accepts(self, count: u64) -> bool {
        match self {
            Self::AtMost(most) => count <= most,
            Self::Any => true,
        }
    }
}

impl Serialize for Allowed {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::AtMost(most) => serializer.serialize_u64(*most),
            Self::Any => serializer.serialize_str("any"),
        }
    }
}

impl<'de> Deserialize<'de> for Allowed {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Count(u64),
            Text(String),
        }
        match Raw::deserialize(deserializer)? {
            Raw::Count(most) => Ok(Self::AtMost(most)),
            Raw::Text(text) if text == "any" => Ok(Self::Any),
            Raw::Text(text) => Err(serde::de::Error::custom(format!("`{text}` is neither a number nor `any`"))),
        }
    }
}

/// How many trial arms must pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArmsExpected {
    /// Every one.
    All,
    /// At least one.
    Any,
}

/// `{edge, after, seconds, within}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimelineExpectation {
    /// The edge.
    pub edge: Edge,
    /// Measured from this one.
    pub after: Edge,
    /// So many seconds.
    pub seconds: f64,
    /// Give or take.
    pub within: f64,
}

/// An edge of a pod's timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "each is the field of the same name in a report's timeline")]
pub enum Edge {
    DeleteRequested,
    Terminating,
    T0,
    PreStopStarted,
    PreStopEnded,
    Sigterm,
    ListenerClosed,
    Drained,
    Killed,
    Exited,
    IpGone,
    Gone,
}
