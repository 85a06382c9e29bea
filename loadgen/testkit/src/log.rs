//! What was really done, and to what.

use std::sync::{Mutex, MutexGuard, PoisonError};

use trial::id::PodId;

use crate::fault::Fault;

/// A request that the server saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The slot that it says it is of.
    pub slot: u64,
    /// What was done to it.
    pub fault: Fault,
    /// Number of its connection at the server, from 1.
    pub connection: u64,
    /// Which request on that connection, from 1.
    pub nth: u32,
}

/// Something done to a connection that no request could be read from. The route gives each of them a pod of its own,
/// which the record names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Routed {
    /// The connection's own pod.
    pub pod: PodId,
    /// What was done to it.
    pub fault: Fault,
}

/// The log of one server and its route.
#[derive(Debug, Default)]
pub struct Log {
    seen: Mutex<Vec<Seen>>,
    routed: Mutex<Vec<Routed>>,
    failures: Mutex<Vec<String>>,
}

impl Log {
    pub(crate) fn saw(&self, seen: Seen) {
        hold(&self.seen).push(seen);
    }

    pub(crate) fn routed(&self, pod: PodId, fault: Fault) {
        hold(&self.routed).push(Routed { pod, fault });
    }

    /// The server could not do what it should have done: the run proves nothing.
    pub(crate) fn failed(&self, what: String) {
        hold(&self.failures).push(what);
    }

    /// Every request, in the order in which they were read.
    #[must_use]
    pub fn requests(&self) -> Vec<Seen> {
        hold(&self.seen).clone()
    }

    /// Every connection that was tampered with before a request could be read from it.
    #[must_use]
    pub fn connections(&self) -> Vec<Routed> {
        hold(&self.routed).clone()
    }

    /// What the server itself failed to do.
    #[must_use]
    pub fn failures(&self) -> Vec<String> {
        hold(&self.failures).clone()
    }
}

/// A thread that died holding a lock has left a whole entry, or none.
pub(crate) fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
