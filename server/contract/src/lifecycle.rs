//! Lifecycle events: one JSON object a line on the pod's standard output.
//!
//! `{"lifecycle":1,"pod":"web-1","pid":1,"wall_ns":…,"mono_ns":…,"event":"sigterm","in_flight":3,"connections":20}`

use serde::{Deserialize, Serialize};

/// Version of the line format: lines with another major number are not read.
pub const VERSION: u32 = 1;

/// One line of the pod's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Format version, [`VERSION`]; also what tells a lifecycle line from any other line of the log.
    pub lifecycle: u32,
    /// Name of the pod, from [`crate::env::POD_NAME`].
    pub pod: String,
    /// Process id of the writer, as it sees itself (1 for a container's main process).
    pub pid: u32,
    /// Nanoseconds since the Unix epoch, `CLOCK_REALTIME`.
    pub wall_ns: u64,
    /// Nanoseconds of raw `CLOCK_MONOTONIC`: comparable between processes of one machine, also across PID namespaces.
    pub mono_ns: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened in the pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The main process listens.
    MainStarted {
        /// The address it listens on.
        listen: String,
    },
    /// A hook program began.
    HookStarted {
        /// Which hook.
        hook: Hook,
    },
    /// A hook program is about to exit.
    HookEnded {
        /// Which hook.
        hook: Hook,
        /// The exit code that it will exit with; for an HTTP hook its status.
        code: i32,
    },
    /// A hook program still runs (`--report-every`): the last of these tells when one ended that could not say so.
    HookRunning {
        /// Which hook.
        hook: Hook,
    },
    /// The main process received its stop signal: SIGTERM, or the one that it was told to stop by.
    Sigterm(Load),
    /// The main process still runs (`--report-every`): the last of these tells when one ended that could not say so.
    Alive {
        /// Nanoseconds until the next.
        every_ns: u64,
    },
    /// A probe asked (`--report-probes`).
    Probed {
        /// Which.
        probe: Probe,
    },
    /// The listener is closed: from now on the kernel refuses connections.
    ListenerClosed(Load),
    /// Periodic while draining.
    Draining(Load),
    /// No request is in flight and no connection is open, or the drain timed out.
    Drained {
        /// What was left when draining ended.
        #[serde(flatten)]
        load: Load,
        /// True if the drain timeout ended it.
        timed_out: bool,
    },
    /// The result of one poll while draining (`pollWhileDraining`).
    Poll {
        /// HTTP status, if an answer came.
        status: Option<u16>,
        /// Why none came.
        error: Option<String>,
    },
    /// The main process is about to exit.
    Finished {
        /// With this exit code.
        code: i32,
    },
}

/// What the server was holding at an event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Requests whose answer is not yet wholly handed to the kernel.
    pub in_flight: u64,
    /// Open connections.
    pub connections: u64,
}

/// Which hook a hook event speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hook {
    /// `lifecycle.preStop`
    PreStop,
    /// `lifecycle.postStart`
    PostStart,
}

/// Which probe a probe event speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Probe {
    /// `readinessProbe`
    Readiness,
    /// `livenessProbe`
    Liveness,
}

/// What a pod says of itself in every answer ([`crate::headers::STATE`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServingState {
    /// No SIGTERM so far.
    Serving,
    /// SIGTERM received, still accepting connections.
    LameDuck,
    /// Listener closed, finishing what it holds.
    Draining,
}

impl ServingState {
    /// The header value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::LameDuck => "lame-duck",
            Self::Draining => "draining",
        }
    }

    /// Reads a header value.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Serving, Self::LameDuck, Self::Draining].into_iter().find(|state| state.as_str() == text)
    }
}

impl Line {
    /// Reads a line of a pod's log; `None` for anything that is not a lifecycle line of our version.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if !text.starts_with('{') {
            return None;
        }
        serde_json::from_str::<Self>(text).ok().filter(|line| line.lifecycle == VERSION)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(event: Event) -> Line {
        Line { lifecycle: VERSION, pod: "web-1".into(), pid: 1, wall_ns: 2, mono_ns: 3, event }
    }

    #[test]
    fn every_event_survives_the_wire() {
        let load = Load { in_flight: 3, connections: 20 };
        for event in [
            Event::MainStarted { listen: "127.0.0.1:80".into() },
            Event::HookStarted { hook: Hook::PreStop },
            Event::HookEnded { hook: Hook::PostStart, code: 1 },
            Event::HookRunning { hook: Hook::PreStop },
            Event::Sigterm(load),
            Event::Alive { every_ns: 50_000_000 },
            Event::Probed { probe: Probe::Liveness },
            Event::Drained { load, timed_out: true },
            Event::Poll { status: Some(200), error: None },
            Event::Finished { code: 0 },
        ] {
            let written = line(event);
            let text = serde_json::to_string(&written).unwrap();
            assert_eq!(Line::parse(&text), Some(written), "{text}");
        }
    }

    #[test]
    fn other_lines_and_other_versions_are_not_lifecycle_lines() {
        assert_eq!(Line::parse("GET / 200"), None);
        assert_eq!(Line::parse("{\"level\":\"info\"}"), None);
        let mut newer = line(Event::Finished { code: 0 });
        newer.lifecycle = 2;
        assert_eq!(Line::parse(&serde_json::to_string(&newer).unwrap()), None);
    }
}
