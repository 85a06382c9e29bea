//! What all connections of the process share.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use contract::lifecycle::{Load, ServingState};
use tokio::sync::{Notify, watch};

use crate::{announce::Announcer, config::Config, lifecycle::Phase};

/// The process, as its connections see it.
#[derive(Debug)]
pub(crate) struct Pod {
    pub(crate) config: Config,
    pub(crate) announcer: Announcer,
    phase: watch::Sender<Phase>,
    held: Arc<Held>,
    traffic: AtomicU64,
    control: AtomicU64,
}

/// Which of the two counts a request belongs to. Probes and hooks come from the kubelet, not from a client: they
/// are neither in flight nor part of the sequence, and are not slowed by the service time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Traffic,
    Control,
}

/// Counts one request or connection as held until it is dropped.
#[must_use]
#[derive(Debug)]
pub(crate) struct HeldGuard {
    held: Arc<Held>,
    which: Which,
}

#[derive(Debug, Clone, Copy)]
enum Which {
    Request,
    Connection,
}

#[derive(Debug, Default)]
struct Held {
    in_flight: AtomicU64,
    connections: AtomicU64,
    released: Notify,
}

// === impl Pod ===

impl Pod {
    pub(crate) fn new(config: Config, announcer: Announcer) -> Self {
        Self {
            config,
            announcer,
            phase: watch::Sender::new(Phase::Starting),
            held: Arc::default(),
            traffic: AtomicU64::new(0),
            control: AtomicU64::new(0),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Waits until life has come this far.
    pub(crate) async fn reached(&self, phase: Phase) {
        // The sender lives as long as `self`, so there is nothing to fail.
        let _ = self.phase.subscribe().wait_for(|now| *now >= phase).await;
    }

    pub(crate) fn state(&self) -> ServingState {
        match self.phase() {
            Phase::Starting | Phase::Serving => ServingState::Serving,
            Phase::LameDuck | Phase::Closing => ServingState::LameDuck,
            Phase::Draining | Phase::Drained | Phase::Finished => ServingState::Draining,
        }
    }

    /// Whether a readiness probe is to succeed now.
    pub(crate) fn ready(&self) -> bool {
        match self.phase() {
            Phase::Starting => false,
            Phase::Serving => true,
            _ => !self.config.fail_readiness(),
        }
    }

    /// Whether an answer whose head is made now is to announce the end of its connection.
    pub(crate) fn closes_connections(&self) -> bool {
        self.config.close_connections() && self.phase() > Phase::Serving
    }

    /// The place of a new request among those of its kind; 1 is the first.
    pub(crate) fn sequence(&self, kind: Kind) -> u64 {
        let counter = match kind {
            Kind::Traffic => &self.traffic,
            Kind::Control => &self.control,
        };
        counter.fetch_add(1, SeqCst) + 1
    }

    pub(crate) fn load(&self) -> Load {
        Load { in_flight: self.held.in_flight.load(SeqCst), connections: self.held.connections.load(SeqCst) }
    }

    pub(crate) fn hold_request(&self) -> HeldGuard {
        HeldGuard::new(&self.held, Which::Request)
    }

    pub(crate) fn hold_connection(&self) -> HeldGuard {
        HeldGuard::new(&self.held, Which::Connection)
    }

    /// Waits until nothing is held.
    pub(crate) async fn idle(&self) {
        self.until(|load| load == Load::default()).await;
    }

    /// Waits until one more connection may be held.
    pub(crate) async fn room(&self) {
        self.until(|load| load.connections < self.config.limits().connections).await;
    }

    async fn until(&self, holds: impl Fn(Load) -> bool) {
        loop {
            // Registered before the look, so that no release falls between the two.
            let released = self.held.released.notified();
            if holds(self.load()) {
                return;
            }
            released.await;
        }
    }
}

// === impl HeldGuard ===

impl HeldGuard {
    fn new(held: &Arc<Held>, which: Which) -> Self {
        let held = Arc::clone(held);
        held.counter(which).fetch_add(1, SeqCst);
        Self { held, which }
    }
}

impl Drop for HeldGuard {
    fn drop(&mut self) {
        self.held.counter(self.which).fetch_sub(1, SeqCst);
        self.held.released.notify_waiters();
    }
}

impl Held {
    fn counter(&self, which: Which) -> &AtomicU64 {
        match which {
            Which::Request => &self.in_flight,
            Which::Connection => &self.connections,
        }
    }
}
