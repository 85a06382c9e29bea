//! The only place of this crate that reads clocks. The `clock` crate makes a run's stamps; the pod cannot use it
//! without knowing of runs, so lines carry both raw clocks and the observer converts them.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds since the Unix epoch.
pub(crate) fn wall_ns() -> u64 {
    read(ClockId::CLOCK_REALTIME)
}

/// Nanoseconds of raw `CLOCK_MONOTONIC`.
pub(crate) fn mono_ns() -> u64 {
    read(ClockId::CLOCK_MONOTONIC)
}

/// Both clocks always exist on Linux; 0 stands for "not readable", which no real clock shows.
fn read(clock: ClockId) -> u64 {
    clock_gettime(clock).map_or(0, |time| {
        let nanoseconds = i128::from(time.tv_sec()) * 1_000_000_000 + i128::from(time.tv_nsec());
        u64::try_from(nanoseconds).unwrap_or(0)
    })
}
