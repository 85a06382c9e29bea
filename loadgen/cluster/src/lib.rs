//! What a backend does for a run ([`Cluster`]), and how it says what happened ([`Emitter`]).
//!
//! Both backends run the same calls in the same order and emit the same events; the events, not the return values,
//! are what a report is made of.

use std::future::Future;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use clock::Clock;
use trial::event::{Event, TimedEvent};
use trial::id::ArmId;
use trial::settings::Disruption;
use trial::time::Stamp;

/// One arm's workload on a backend.
pub trait Cluster {
    /// Creates the workload and waits until every replica is Ready and in every node's rules.
    ///
    /// # Errors
    /// The workload cannot become ready within `ready_timeout`: the message says what was seen last.
    fn deploy(&mut self, ready_timeout: Duration) -> impl Future<Output = Result<(), ClusterError>> + Send;

    /// Disrupts, and returns when the last terminating pod is gone and the workload is whole again.
    ///
    /// # Errors
    /// A replacement that does not become ready, or a disruption that is refused.
    fn disrupt(&mut self, disruption: &Disruption) -> impl Future<Output = Result<(), ClusterError>> + Send;

    /// Takes everything away again.
    ///
    /// # Errors
    /// Something is left; the message says what.
    fn teardown(self) -> impl Future<Output = Result<(), ClusterError>> + Send;
}

/// Why a backend could not do what a run needs. One line each: what, where, what to do.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A pod could not be started at all.
    #[error("failed to start pod {pod}: {message}")]
    Start {
        /// The pod.
        pod: String,
        /// Why.
        message: String,
    },
    /// A pod ended although nobody asked it to.
    #[error("pod {pod} ended by itself: {message}")]
    Crashed {
        /// The pod.
        pod: String,
        /// How it ended, and its last words.
        message: String,
    },
    /// The time to become ready is over.
    #[error("pods were not ready within {timeout:?}: {last_state} (--ready-timeout sets the limit)")]
    NotReady {
        /// The limit.
        timeout: Duration,
        /// What was seen last.
        last_state: String,
    },
    /// What the user gave does not fit: a file or a flag.
    #[error("{0}")]
    Input(String),
    /// The backend itself failed.
    #[error("{0}")]
    Backend(String),
    /// Something of the run is still there.
    #[error("clean-up is incomplete: {0}")]
    Leftover(String),
}

/// Where a backend's events go: stamped, in order of arrival, never dropped.
#[derive(Debug, Clone)]
pub struct Emitter {
    clock: Clock,
    arm: ArmId,
    sender: SyncSender<TimedEvent>,
}

impl Emitter {
    /// An emitter for one arm. The channel is bounded; a full one holds the sender up for the moment that the
    /// writer needs.
    #[must_use]
    pub const fn new(clock: Clock, arm: ArmId, sender: SyncSender<TimedEvent>) -> Self {
        Self { clock, arm, sender }
    }

    /// The run's clock.
    #[must_use]
    pub const fn clock(&self) -> Clock {
        self.clock
    }

    /// Emits an event that happened now; says when that was.
    #[expect(clippy::must_use_candidate, reason = "most callers only want the event")]
    pub fn emit(&self, event: Event) -> Stamp {
        let now = self.clock.now();
        self.emit_at(now, event);
        now
    }

    /// Emits an event that was stamped elsewhere.
    pub fn emit_at(&self, at: Stamp, event: Event) {
        // A closed channel means that the recorder ended: the recording then lacks its closing event and the
        // verdict is "inconclusive", so nothing is lost silently.
        let _closed = self.sender.send(TimedEvent { at_ns: at, arm: self.arm, event });
    }
}
