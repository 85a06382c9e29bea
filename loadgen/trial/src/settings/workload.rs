//! What runs, and how it is stopped: Kubernetes' own settings under their own names, and those of our server.

use std::time::Duration;

pub use contract::signal::StopSignal;
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
    /// Fails: the container is stopped and restarted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness_probe: Option<Probe>,
    /// The Service's: endpoints are ready whatever their pods are.
    #[serde(default, skip_serializing_if = "is_false")]
    pub publish_not_ready_addresses: bool,
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

/// The value of `pollWhileDraining` that stands for the cluster's API server.
pub const API_SERVER: &str = "apiserver";

/// Keys of `workload.server`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "settings of their own, each named by its key; none is a mode"
)]
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
    /// GET this once a second after SIGTERM: a URL, or [`API_SERVER`].
    pub poll_while_draining: Option<String>,
    /// Crash so long after it began to listen.
    #[serde(default, with = "human::optional", skip_serializing_if = "Option::is_none")]
    pub exit_after: Option<Duration>,
    /// What its orderly end exits with; a JVM ends with 143.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub exit_code: u8,
    /// Run beneath a process that passes no signal on, as `sh -c` does.
    #[serde(default, skip_serializing_if = "is_false")]
    pub wrapped: bool,
    /// Say so often that it still runs: the last word tells when it was killed.
    #[serde(default, with = "human::optional", skip_serializing_if = "Option::is_none")]
    pub report_every: Option<Duration>,
    /// Say when a probe asks.
    #[serde(default, skip_serializing_if = "is_false")]
    pub report_probes: bool,
    /// Most open connections; others wait in the accept queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_false(value: &bool) -> bool {
    !*value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_zero(value: &u8) -> bool {
    *value == 0
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
            exit_after: None,
            exit_code: 0,
            wrapped: false,
            report_every: None,
            report_probes: false,
            max_connections: None,
        }
    }
}

impl Workload {
    /// True if the pods call the cluster's API server: there is none on the local backend, and on a cluster they are given
    /// the right to.
    #[must_use]
    pub fn calls_api_server(&self) -> bool {
        match &self.program {
            Program::Server(server) => server.poll_while_draining.as_deref() == Some(API_SERVER),
            Program::Command(_) => false,
        }
    }
}

impl ServerSettings {
    /// The settings as flags of `server run`, on every backend the same; `stop_signal` is the pod's.
    #[must_use]
    pub fn flags(&self, stop_signal: StopSignal) -> Vec<String> {
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
        let time =
            |flag: &str, time: Option<Duration>| time.map(|time| format!("--{flag}={}", human::format(time)));
        flags.extend(time("exit-after", self.exit_after));
        flags.extend((self.exit_code != 0).then(|| format!("--exit-code={}", self.exit_code)));
        flags.extend(time("report-every", self.report_every));
        flags.extend(self.report_probes.then(|| "--report-probes=true".to_owned()));
        flags.extend(self.max_connections.map(|most| format!("--max-connections={most}")));
        flags.extend(
            (stop_signal != StopSignal::Sigterm).then(|| format!("--stop-signal={}", stop_signal.as_str())),
        );
        flags.extend(self.wrapped.then(|| "--wrapped=true".to_owned()));
        flags
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_sigterm(signal: &StopSignal) -> bool {
    *signal == StopSignal::default()
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
    /// No handler: process 1 never sees it.
    Unhandled,
}

impl OnSigterm {
    /// The flag's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Exit => "exit",
            Self::Ignore => "ignore",
            Self::Unhandled => "unhandled",
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
    /// What asks the container to stop.
    #[serde(default, skip_serializing_if = "is_sigterm")]
    pub stop_signal: StopSignal,
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
    /// Accepted by the API and never carried out: the kubelet fails it at once.
    TcpSocket {
        /// The container's port, if not the pod's own.
        port: Option<u16>,
    },
}

/// A readiness or liveness probe.
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
