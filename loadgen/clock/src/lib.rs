//! The only maker of [`Stamp`]s.
//!
//! A [`Clock`] reads raw `CLOCK_MONOTONIC`, which all processes of a machine share, also across PID namespaces; so
//! an event that a pod stamped can be placed on the run's axis to the microsecond. Wall time is read once, as the
//! [`Anchor`] in the recording's header.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use trial::time::Stamp;

/// A run's clock. Copies tell the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Before the machine's boot it is negative: a node may be younger than the run.
    epoch_ns: i64,
}

/// Wall time of the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    /// Nanoseconds since the Unix epoch.
    pub wall_ns: u64,
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub mono_ns: u64,
}

impl Clock {
    /// Starts a run's clock: its epoch is now.
    #[must_use]
    pub fn start() -> (Self, Anchor) {
        let anchor = Anchor { wall_ns: read(ClockId::CLOCK_REALTIME), mono_ns: monotonic_ns() };
        (Self { epoch_ns: signed(anchor.mono_ns) }, anchor)
    }

    /// The clock of another process's run, by its epoch on this machine's `CLOCK_MONOTONIC`.
    #[must_use]
    pub const fn with_epoch(mono_ns: i64) -> Self {
        Self { epoch_ns: mono_ns }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Stamp {
        self.stamp(monotonic_ns())
    }

    /// A raw reading of `CLOCK_MONOTONIC`, perhaps by another process; what was before the epoch becomes the epoch.
    #[must_use]
    pub fn stamp(&self, mono_ns: u64) -> Stamp {
        Stamp::from_nanos(unsigned(signed(mono_ns).saturating_sub(self.epoch_ns)))
    }

    /// A stamp as a raw reading of `CLOCK_MONOTONIC`, for absolute timers.
    #[must_use]
    pub fn raw(&self, stamp: Stamp) -> Duration {
        Duration::from_nanos(unsigned(self.epoch_ns.saturating_add(signed(stamp.as_nanos()))))
    }
}

/// 2^63 ns are 292 years.
fn signed(nanos: u64) -> i64 {
    i64::try_from(nanos).unwrap_or(i64::MAX)
}

fn unsigned(nanos: i64) -> u64 {
    u64::try_from(nanos).unwrap_or(0)
}

/// Raw `CLOCK_MONOTONIC` in nanoseconds.
#[must_use]
pub fn monotonic_ns() -> u64 {
    read(ClockId::CLOCK_MONOTONIC)
}

/// Wall time, nanoseconds since the Unix epoch: for exchanges between machines only, which the run's own axis needs.
#[must_use]
pub fn wall_ns() -> u64 {
    read(ClockId::CLOCK_REALTIME)
}

fn read(id: ClockId) -> u64 {
    // Neither clock can fail on Linux with a valid id; a zero would be seen at once as a stamp at the epoch.
    clock_gettime(id).map_or(0, |time| u64::try_from(Duration::from(time).as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_and_raw_readings_are_inverse_after_the_epoch() {
        let (clock, anchor) = Clock::start();
        let stamp = clock.stamp(anchor.mono_ns + 1_500);
        assert_eq!(stamp.as_nanos(), 1_500);
        assert_eq!(clock.raw(stamp), Duration::from_nanos(anchor.mono_ns + 1_500));
        assert_eq!(clock.stamp(anchor.mono_ns - 1), Stamp::ZERO);
        assert!(clock.now() <= clock.now());
    }

    #[test]
    fn a_machine_may_be_younger_than_the_run() {
        let clock = Clock::with_epoch(-2_000);
        assert_eq!(clock.stamp(500).as_nanos(), 2_500);
        assert_eq!(clock.raw(Stamp::from_nanos(2_500)), Duration::from_nanos(500));
        assert_eq!(clock.raw(Stamp::from_nanos(1_000)), Duration::ZERO, "before its boot");
    }
}
