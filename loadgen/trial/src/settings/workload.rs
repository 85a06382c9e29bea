//! What runs, and how it is stopped: Kubernetes' own settings under their own names, and those of our server.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::human;

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

impl ServerSettings {
    /// The settings as flags of `server run`, on every backend the same.
    #[must_use]
    pub fn flags(&self) -> Vec<String> {
        let mut flags = vec![
            format!("--on-sigterm={}", self.on_sigterm.as_str()),
            format!("--shutdown-takes={}", human::format(self.shutdown_takes)),
            format!("--drain-timeout={}", human::format(self.drain_timeout)),
            format!("--lame-duck={}", human::format(self.lame_duck)),
            format!("--close-connections={}", self.close_connections),
            format!("--fail-readiness={}", self.fail_readiness),
            format!("--service-time={}", human::format(self.service_time)),
        ];
        flags.extend(self.poll_while_draining.iter().map(|url| format!("--poll-while-draining={url}")));
        flags
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
                .ok_or_else(|| {
                    serde::de::Error::custom(format!("`{text}` is neither a number nor a share such as 25%"))
                }),
        }
    }
}
