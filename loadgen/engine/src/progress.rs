//! Counters for a live line. Not for verdicts: those come from the records.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use trial::record::{Class, Record};

/// How far the load is, at about one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Slots that came due.
    pub due: u64,
    /// Slots that were worked on.
    pub sent: u64,
    /// Of those, answered as expected (perhaps late).
    pub ok: u64,
    /// Of those, failed, by the service or by the client.
    pub failed: u64,
    /// Of those, ended by an interrupt.
    pub interrupted: u64,
    /// Slots recorded as unsent.
    pub unsent: u64,
    /// Slots under way.
    pub in_flight: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    sent: AtomicU64,
    ok: AtomicU64,
    failed: AtomicU64,
    interrupted: AtomicU64,
    unsent: AtomicU64,
}

impl Counters {
    pub(crate) fn begun(&self) {
        self.sent.fetch_add(1, Relaxed);
    }

    /// It was not sent after all.
    pub(crate) fn not_begun(&self) {
        self.sent.fetch_sub(1, Relaxed);
    }

    pub(crate) fn ended(&self, record: &Record) {
        let counter = match record.class {
            _ if record.is_unsent() => &self.unsent,
            Class::None => &self.ok,
            Class::Interrupted => &self.interrupted,
            _ => &self.failed,
        };
        counter.fetch_add(1, Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Progress {
        // Ends are read before beginnings, so that in_flight is never negative.
        let (ok, failed) = (self.ok.load(Relaxed), self.failed.load(Relaxed));
        let (interrupted, unsent) = (self.interrupted.load(Relaxed), self.unsent.load(Relaxed));
        let sent = self.sent.load(Relaxed);
        let in_flight = sent.saturating_sub(ok + failed + interrupted);
        Progress { due: sent + unsent, sent, ok, failed, interrupted, unsent, in_flight }
    }
}
