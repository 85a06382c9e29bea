//! A reading of the clocks that stamp a pod's events, so that an observer elsewhere can tell how far they are from his.

use serde::{Deserialize, Serialize};

/// Both clocks at about one moment. All pods of a node read the same two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Nanoseconds since the Unix epoch, `CLOCK_REALTIME`.
    pub wall_ns: u64,
    /// Nanoseconds of raw `CLOCK_MONOTONIC`.
    pub mono_ns: u64,
}
