//! Settings, parsed twice: flags as given ([`RunArgs`]) become settings that make sense ([`Config`]).

use std::{net::SocketAddr, time::Duration};

use contract::signal::StopSignal;
use http::{HeaderValue, Uri};

use crate::{
    cli::RunArgs,
    lifecycle::{OnSigterm, Policy},
};

/// The longest delay that any request or setting may ask of an answer.
pub(crate) const LONGEST_DELAY: Duration = Duration::from_mins(10);
/// The longest of the shutdown's times; far beyond any grace period, and safe to add to any clock.
const LONGEST_TIME: Duration = Duration::from_hours(24);
/// A log is no place for more.
const SHORTEST_REPORT: Duration = Duration::from_millis(10);
/// Below this hyper cannot be asked to keep its read buffer.
const SMALLEST_HEADER_LIMIT: usize = 8 * 1024;
/// Kubernetes' own limit for the name of an object; also keeps lifecycle lines short enough to be atomic.
const LONGEST_NAME: usize = 253;

/// Validated settings of a server.
#[derive(Debug, Clone)]
pub struct Config {
    listen: SocketAddr,
    pod: HeaderValue,
    pod_name: String,
    policy: Policy,
    close_connections: bool,
    fail_readiness: bool,
    service_time: Duration,
    poll: Option<Poll>,
    limits: Limits,
    stop_signal: StopSignal,
    exit_after: Option<Duration>,
    exit_code: u8,
    report_every: Option<Duration>,
    report_probes: bool,
}

/// What a client may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) header_bytes: usize,
    pub(crate) body_bytes: usize,
    pub(crate) connections: u64,
    pub(crate) read_timeout: Duration,
}

/// What `pollWhileDraining` GETs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Poll {
    Url(PollTarget),
    /// The pod's own service account, at the API server.
    ApiServer,
}

/// A URL's parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PollTarget {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) authority: String,
    pub(crate) path: String,
}

/// Settings that contradict each other or are out of range. Flags are named as on the command line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A setting that has no meaning with this `--on-sigterm`.
    #[error("{flag} does nothing with --on-sigterm {on_sigterm}: leave it out, or use --on-sigterm drain")]
    NeedsDrain {
        /// The flag.
        flag: &'static str,
        /// The value of `--on-sigterm`.
        on_sigterm: &'static str,
    },
    /// A duration above its limit.
    #[error("{flag} is {value:?}, allowed is at most {limit:?}")]
    TooLong {
        /// The flag.
        flag: &'static str,
        /// What was asked for.
        value: Duration,
        /// What is allowed.
        limit: Duration,
    },
    /// A number out of its range.
    #[error("{flag} is {value}, allowed is {allowed}")]
    OutOfRange {
        /// The flag.
        flag: &'static str,
        /// What was asked for.
        value: u64,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A name that is not one of a pod.
    #[error("--pod-name {0:?} is not a pod's name: 1 to 253 visible ASCII characters")]
    PodName(String),
    /// A URL that cannot be polled.
    #[error(
        "--poll-while-draining {0:?} cannot be polled: it takes an http:// URL with a host, or apiserver"
    )]
    PollUrl(String),
}

// === impl Config ===

impl Config {
    /// Where to listen.
    #[must_use]
    pub const fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// The pod's name.
    #[must_use]
    pub fn pod_name(&self) -> &str {
        &self.pod_name
    }

    /// What the state machine decides by.
    #[must_use]
    pub const fn policy(&self) -> Policy {
        self.policy
    }

    /// Whether answers after SIGTERM announce the close and idle connections linger.
    #[must_use]
    pub const fn close_connections(&self) -> bool {
        self.close_connections
    }

    /// Whether readiness fails after SIGTERM.
    #[must_use]
    pub const fn fail_readiness(&self) -> bool {
        self.fail_readiness
    }

    /// How long every answer takes.
    #[must_use]
    pub const fn service_time(&self) -> Duration {
        self.service_time
    }

    pub(crate) const fn pod(&self) -> &HeaderValue {
        &self.pod
    }

    pub(crate) const fn poll(&self) -> Option<&Poll> {
        self.poll.as_ref()
    }

    pub(crate) const fn limits(&self) -> Limits {
        self.limits
    }

    /// The signal that begins the shutdown.
    pub(crate) const fn stop_signal(&self) -> StopSignal {
        self.stop_signal
    }

    /// After which the process crashes, from when it listens.
    pub(crate) const fn exit_after(&self) -> Option<Duration> {
        self.exit_after
    }

    /// What an orderly end exits with.
    pub(crate) const fn exit_code(&self) -> u8 {
        self.exit_code
    }

    /// How often the process says that it is there.
    pub(crate) const fn report_every(&self) -> Option<Duration> {
        self.report_every
    }

    /// Whether probes are lifecycle events.
    pub(crate) const fn report_probes(&self) -> bool {
        self.report_probes
    }
}

impl TryFrom<RunArgs> for Config {
    type Error = ConfigError;

    fn try_from(raw: RunArgs) -> Result<Self, ConfigError> {
        contradictions(&raw)?;
        ranges(&raw)?;
        let pod = Some(&raw.pod_name)
            .filter(|name| (1..=LONGEST_NAME).contains(&name.len()))
            .filter(|name| name.bytes().all(|byte| byte.is_ascii_graphic()))
            .and_then(|name| HeaderValue::from_str(name).ok())
            .ok_or_else(|| ConfigError::PodName(raw.pod_name.clone()))?;
        Ok(Self {
            listen: raw.listen,
            pod,
            pod_name: raw.pod_name,
            policy: Policy {
                on_sigterm: raw.on_sigterm,
                lame_duck: raw.lame_duck,
                drain_timeout: raw.drain_timeout,
                shutdown_takes: raw.shutdown_takes,
            },
            close_connections: raw.close_connections,
            fail_readiness: raw.fail_readiness,
            service_time: raw.service_time,
            poll: raw.poll_while_draining.as_deref().map(Poll::try_from).transpose()?,
            limits: Limits {
                header_bytes: raw.max_header_bytes,
                body_bytes: raw.max_body_bytes,
                connections: raw.max_connections,
                read_timeout: raw.header_read_timeout,
            },
            stop_signal: raw.stop_signal,
            exit_after: raw.exit_after.filter(|after| !after.is_zero()),
            exit_code: raw.exit_code,
            report_every: raw.report_every.filter(|every| !every.is_zero()),
            report_probes: raw.report_probes,
        })
    }
}

impl TryFrom<&str> for Poll {
    type Error = ConfigError;

    fn try_from(text: &str) -> Result<Self, ConfigError> {
        if text == "apiserver" { Ok(Self::ApiServer) } else { text.try_into().map(Self::Url) }
    }
}

impl TryFrom<&str> for PollTarget {
    type Error = ConfigError;

    fn try_from(text: &str) -> Result<Self, ConfigError> {
        let bad = || ConfigError::PollUrl(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| bad())?;
        let authority =
            uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(bad)?;
        if uri.scheme_str() != Some("http") || authority.host().is_empty() {
            return Err(bad());
        }
        Ok(Self {
            // A URL writes an IPv6 address in brackets, a socket address takes it without.
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(80),
            authority: authority.as_str().to_owned(),
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        })
    }
}

/// A default that was spelt out is no contradiction: whoever starts us may pass every setting.
fn contradictions(raw: &RunArgs) -> Result<(), ConfigError> {
    let on_sigterm = match raw.on_sigterm {
        OnSigterm::Drain => return Ok(()),
        OnSigterm::Exit => "exit",
        OnSigterm::Ignore => "ignore",
        OnSigterm::Unhandled => "unhandled",
    };
    for (flag, asked) in [
        ("--lame-duck", !raw.lame_duck.is_zero()),
        ("--shutdown-takes", !raw.shutdown_takes.is_zero()),
        ("--fail-readiness", raw.fail_readiness),
        (
            "--poll-while-draining",
            raw.poll_while_draining.is_some()
                && matches!(raw.on_sigterm, OnSigterm::Exit | OnSigterm::Unhandled),
        ),
    ] {
        if asked {
            return Err(ConfigError::NeedsDrain { flag, on_sigterm });
        }
    }
    Ok(())
}

fn ranges(raw: &RunArgs) -> Result<(), ConfigError> {
    for (flag, value, limit) in [
        ("--service-time", raw.service_time, LONGEST_DELAY),
        ("--lame-duck", raw.lame_duck, LONGEST_TIME),
        ("--shutdown-takes", raw.shutdown_takes, LONGEST_TIME),
        ("--drain-timeout", raw.drain_timeout, LONGEST_TIME),
        ("--header-read-timeout", raw.header_read_timeout, LONGEST_TIME),
        ("--exit-after", raw.exit_after.unwrap_or_default(), LONGEST_TIME),
        ("--report-every", raw.report_every.unwrap_or_default(), LONGEST_TIME),
    ] {
        if value > limit {
            return Err(ConfigError::TooLong { flag, value, limit });
        }
    }
    let header_bytes = raw.max_header_bytes as u64;
    for (flag, value, fits, allowed) in [
        (
            "--max-header-bytes",
            header_bytes,
            (SMALLEST_HEADER_LIMIT..=1 << 20).contains(&raw.max_header_bytes),
            "8192 to 1048576",
        ),
        ("--max-connections", raw.max_connections, raw.max_connections > 0, "1 or more"),
        (
            "--header-read-timeout",
            raw.header_read_timeout.as_secs(),
            !raw.header_read_timeout.is_zero(),
            "more than 0s",
        ),
        (
            "--report-every",
            u64::try_from(raw.report_every.unwrap_or_default().as_millis()).unwrap_or(u64::MAX),
            raw.report_every.is_none_or(|every| every.is_zero() || every >= SHORTEST_REPORT),
            "0s, or 10ms and more",
        ),
    ] {
        if !fits {
            return Err(ConfigError::OutOfRange { flag, value, allowed });
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        run: RunArgs,
    }

    pub(crate) fn config(flags: &[&str]) -> Result<Config, ConfigError> {
        let arguments = ["server"].iter().chain(flags);
        Flags::try_parse_from(arguments).expect("flags parse").run.try_into()
    }

    #[test]
    fn the_defaults_are_those_of_the_scenario() {
        let config = config(&[]).unwrap();
        assert_eq!(config.policy().on_sigterm, OnSigterm::Drain);
        assert_eq!(config.policy().drain_timeout, Duration::from_secs(20));
        assert!(config.close_connections() && !config.fail_readiness());
        assert_eq!(config.limits().body_bytes, 1 << 20);
    }

    #[test]
    fn a_drain_setting_contradicts_a_server_that_does_not_drain() {
        for flags in [
            ["--on-sigterm", "exit", "--lame-duck", "1s"],
            ["--on-sigterm", "ignore", "--shutdown-takes", "1s"],
            ["--on-sigterm", "exit", "--fail-readiness", "true"],
            ["--on-sigterm", "exit", "--poll-while-draining", "http://a/"],
        ] {
            let error = config(&flags).unwrap_err();
            assert!(matches!(error, ConfigError::NeedsDrain { flag, .. } if flag == flags[2]), "{error}");
        }
        assert!(config(&["--on-sigterm", "exit", "--lame-duck", "0"]).is_ok());
        assert!(config(&["--on-sigterm", "ignore", "--poll-while-draining", "http://a/"]).is_ok());
    }

    #[test]
    fn values_out_of_range_are_named() {
        for flags in [
            ["--service-time", "601s"],
            ["--max-header-bytes", "100"],
            ["--max-connections", "0"],
            ["--report-every", "1ms"],
            ["--header-read-timeout", "0"],
            ["--pod-name", "a b"],
            ["--poll-while-draining", "https://a/"],
            ["--poll-while-draining", "http://user:secret@a/"],
        ] {
            let error = config(&flags).unwrap_err().to_string();
            assert!(error.starts_with(flags[0]), "{error}");
        }
    }

    #[test]
    fn a_poll_target_keeps_host_port_and_path() {
        let target = PollTarget::try_from("http://[::1]:81/a?b=c").unwrap();
        assert_eq!((target.host.as_str(), target.port, target.path.as_str()), ("::1", 81, "/a?b=c"));
        assert_eq!(PollTarget::try_from("http://web").unwrap().path, "/");
    }
}
