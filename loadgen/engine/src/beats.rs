//! Sleeps that follow each other closely.
//!
//! A machine has one timer, set to the first of all that are to end. To sleep sets it, and as it fires the kernel sets it again,
//! to what comes next. Where a hypervisor owns it, as it does nearly everywhere, each setting is a call on that, and most of what a
//! sleep costs. So the end of the next sleep is known to the kernel before this one ends: the timer is then set to it on
//! the way, and one setting of two is saved.

use std::hint::spin_loop;
use std::time::Duration;

use clock::Clock;
use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use trial::time::Stamp;

/// A sleep that ends later than this after its timer's time tells of the host, not of what sleeps are like.
const LATE_MAX: Duration = Duration::from_micros(100);
/// How late sleeps end is the mean of about so many.
const WEIGHT: u32 = 16;

/// Two timers, which take turns.
#[derive(Debug)]
pub(crate) struct Beats {
    timers: [TimerFd; 2],
    /// When each is to have ended a sleep.
    ends: [Stamp; 2],
    /// So much earlier each is set.
    early: [Duration; 2],
    /// Whose turn is next.
    turn: usize,
    /// When the last sleep was to end.
    last: Stamp,
    /// From a timer's time to the end of a sleep, on average: until the kernel has come to it, the core has woken, and the thread runs.
    late: Duration,
}

impl Beats {
    /// # Errors
    /// No more files can be opened.
    pub(crate) fn new() -> Result<Self, Errno> {
        let timer = || TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC);
        let (ends, early, late) = ([Stamp::ZERO; 2], [Duration::ZERO; 2], Duration::ZERO);
        Ok(Self { timers: [timer()?, timer()?], ends, early, turn: 0, last: Stamp::ZERO, late })
    }

    /// Sleeps, with the whole thread, until about `length` after the last sleep's end; until `first`, if that has passed.
    /// `best`: what moment close to another suits better.
    ///
    /// # Errors
    /// The kernel's, which has none for timers that it made.
    pub(crate) fn sleep(
        &mut self,
        clock: Clock,
        length: Duration,
        first: Stamp,
        mut best: impl FnMut(Stamp) -> Stamp,
    ) -> Result<(), Errno> {
        let now = clock.now();
        let (this, other) = (self.turn, 1 - self.turn);
        // Unless it is much later by now, or the lengths have changed.
        if self.ends[this] <= now || self.ends[this] > now + length * 3 / 2 {
            let end = self.last + length;
            self.set(clock, this, if end <= now { first } else { best(end).max(first) })?;
        }
        let end = self.ends[this];
        self.set(clock, other, best(end + length))?;
        self.timers[this].wait()?;
        (self.last, self.turn) = (end, other);
        self.note_end(clock.now(), end.saturating_before(self.early[this]));
        while clock.now() < end {
            spin_loop();
        }
        Ok(())
    }

    fn set(&mut self, clock: Clock, timer: usize, end: Stamp) -> Result<(), Errno> {
        // Short of what is usual, as what is left then is spent waiting.
        let early = self.late * 7 / 8;
        (self.ends[timer], self.early[timer]) = (end, early);
        let at = Expiration::OneShot(TimeSpec::from_duration(clock.raw(end.saturating_before(early))));
        self.timers[timer].set(at, TimerSetTimeFlags::TFD_TIMER_ABSTIME)
    }

    fn note_end(&mut self, now: Stamp, timer: Stamp) {
        let late = now.saturating_since(timer).min(LATE_MAX);
        self.late = (self.late * (WEIGHT - 1) + late) / WEIGHT;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_micros(300);

    /// Asleep until then, at least; and by how much the end of this sleep is later than that of the last.
    fn sleep(beats: &mut Beats, clock: Clock, length: Duration, first: Stamp) -> Duration {
        let before = beats.last;
        beats.sleep(clock, length, first, |at| at).expect("timers work");
        assert!(clock.now() >= beats.last, "no sleep ends early");
        assert!(beats.last > before);
        beats.last.saturating_since(before)
    }

    fn soon(clock: Clock) -> Stamp {
        clock.now() + Duration::from_micros(10)
    }

    /// Where the host takes the core away, an end has passed, and the next is as if nothing had been before: so of many a few.
    fn mostly(of: usize, mut holds: impl FnMut() -> bool) {
        let held = (0..of).filter(|_| holds()).count();
        assert!(held * 2 > of, "{held} of {of}");
    }

    #[test]
    fn ends_are_a_length_apart_however_long_what_lies_between_takes() {
        let ((clock, _), mut beats) = (Clock::start(), Beats::new().expect("two timers"));
        mostly(100, || sleep(&mut beats, clock, LENGTH, soon(clock)) == LENGTH);
        assert!(beats.late > Duration::ZERO && beats.late <= LATE_MAX);
    }

    #[test]
    fn who_comes_late_sleeps_until_the_first_that_is_due() {
        let ((clock, _), mut beats) = (Clock::start(), Beats::new().expect("two timers"));
        for _ in 0..3 {
            std::thread::sleep(3 * LENGTH);
            let first = soon(clock);
            sleep(&mut beats, clock, LENGTH, first);
            assert_eq!(beats.last, first);
        }
    }

    #[test]
    fn a_sleep_planned_for_another_length_is_planned_anew() {
        let ((clock, _), mut beats) = (Clock::start(), Beats::new().expect("two timers"));
        mostly(20, || {
            sleep(&mut beats, clock, 10 * LENGTH, soon(clock));
            sleep(&mut beats, clock, LENGTH, soon(clock)) == LENGTH
        });
    }

    #[test]
    fn sleeps_end_when_it_suits_best() {
        let ((clock, _), mut beats) = (Clock::start(), Beats::new().expect("two timers"));
        let whole = |at: Stamp| Stamp::from_nanos(at.as_nanos().next_multiple_of(70_000));
        mostly(20, || {
            beats.sleep(clock, LENGTH, soon(clock), whole).expect("timers work");
            beats.last.as_nanos().is_multiple_of(70_000)
        });
    }
}
