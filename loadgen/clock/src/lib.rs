//! The only maker of [`Stamp`]s.
//!
//! A [`Clock`] reads raw `CLOCK_MONOTONIC`, which all processes of a machine share, also across PID namespaces; so
//! an event that a pod stamped can be placed on the run's axis to the microsecond. Where wall time comes in, as the
//! [`Anchor`] in the recording's header and as the kernel's stamps ([`WallClock`]), it is placed on that axis.

use std::cell::Cell;
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

/// Wall time as the kernel of this machine stamps what it receives, on a run's axis.
///
/// Wall time may be set, forwards or backwards, at any moment. A reading that may have been taken before that is none.
#[derive(Debug)]
pub struct WallClock {
    clock: Clock,
    /// Wall time less `CLOCK_MONOTONIC`, nanoseconds, when it was last used.
    ahead_ns: Cell<i64>,
    /// Before this reading of `CLOCK_MONOTONIC` wall time may have been another.
    since_ns: Cell<u64>,
}

impl WallClock {
    /// What wall time may wander by between two uses without having been set, as it does where a clock is corrected slowly. Where
    /// uses are so far apart that it wanders further, a stamp is lost.
    const STEP_NS: u64 = 1_000_000;

    /// For stamps that the kernel makes from now on.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let (wall_ns, mono_ns) = Self::read();
        let ahead_ns = Cell::new(signed(wall_ns).saturating_sub(signed(mono_ns)));
        Self { clock, ahead_ns, since_ns: Cell::new(0) }
    }

    /// The moment of a stamp (nanoseconds since the Unix epoch), but at most `reach` before now; `None` if wall time may have been set
    /// since it was made.
    #[must_use]
    pub fn stamp(&self, stamped_ns: u64, reach: Duration) -> Option<Stamp> {
        let (wall_ns, mono_ns) = Self::read();
        let ahead_ns = signed(wall_ns).saturating_sub(signed(mono_ns));
        let before_ns = self.ahead_ns.replace(ahead_ns);
        if ahead_ns.abs_diff(before_ns) > Self::STEP_NS {
            self.since_ns.set(mono_ns);
        }
        let stamped_ns = mono_ns.saturating_sub(wall_ns.checked_sub(stamped_ns)?);
        let reach_ns = u64::try_from(reach.as_nanos()).unwrap_or(u64::MAX);
        let at_ns = stamped_ns.max(mono_ns.saturating_sub(reach_ns));
        (stamped_ns >= self.since_ns.get()).then(|| self.clock.stamp(at_ns))
    }

    /// Both clocks. Wall time first: where this thread is stopped between the two, a stamp seems younger than it is, which makes
    /// nothing look faster than it was.
    fn read() -> (u64, u64) {
        (wall_ns(), monotonic_ns())
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

/// The time that a processor has spent on the calling thread so far, in the kernel included.
#[must_use]
pub fn thread_cpu() -> Duration {
    Duration::from_nanos(read(ClockId::CLOCK_THREAD_CPUTIME_ID))
}

fn read(id: ClockId) -> u64 {
    // None of these clocks can fail on Linux with a valid id; a zero would be seen at once as a stamp at the epoch.
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
    fn a_stamp_of_the_kernels_is_placed_on_the_runs_axis() {
        let (clock, _) = Clock::start();
        let wall = WallClock::new(clock);
        let (before, stamped, after) = (clock.now(), wall_ns(), clock.now());
        let reach = Duration::from_secs(1);
        let at = wall.stamp(stamped, reach).expect("nobody set the time");
        // Between the readings of the two clocks this thread may be stopped.
        let slack = Duration::from_millis(1);
        assert!(before <= at + slack && at <= after + slack, "{before:?} {at:?} {after:?}");
        assert_eq!(wall.stamp(wall_ns() + 1_000_000_000, reach), None, "not yet");
        // Until it is so old that it cannot be told of any more.
        while clock.now() <= after + slack {}
        let at = wall.stamp(stamped, Duration::ZERO).expect("nobody set the time");
        assert!(at > after && at <= clock.now(), "no longer ago than it may be");
    }

    #[test]
    fn what_was_stamped_before_wall_time_was_set_is_not_placed() {
        let wall = WallClock::new(Clock::start().0);
        for set_by in [1_500_000, -1_500_000] {
            let before = wall_ns();
            wall.ahead_ns.set(wall.ahead_ns.get() + set_by);
            assert_eq!(wall.stamp(before, Duration::MAX), None);
            assert_eq!(wall.stamp(before, Duration::MAX), None, "however often it is asked for");
            assert!(wall.stamp(wall_ns(), Duration::MAX).is_some(), "from then on");
        }
    }

    #[test]
    fn a_threads_time_passes_while_it_works() {
        let before = thread_cpu();
        while thread_cpu() == before {}
    }

    #[test]
    fn a_machine_may_be_younger_than_the_run() {
        let clock = Clock::with_epoch(-2_000);
        assert_eq!(clock.stamp(500).as_nanos(), 2_500);
        assert_eq!(clock.raw(Stamp::from_nanos(2_500)), Duration::from_nanos(500));
        assert_eq!(clock.raw(Stamp::from_nanos(1_000)), Duration::ZERO, "before its boot");
    }
}
