//! Sleeps that follow each other closely.
//!
//! A machine has one timer, set to the first of all that are to end. To sleep sets it, and as it fires the kernel sets it again,
//! to what comes next. Where a hypervisor owns it each setting is a call on that, and most of what a sleep costs. So the end of
//! the next sleep is known to the kernel before this one ends: the timer is then set to it on the way, and one setting of
//! two is saved.

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
/// A timer is set earlier by one part of the sleep in so many, at most: what is left of it is spent waiting.
const EARLY_SHARE: u32 = 4;

/// Two timers, which take turns.
#[derive(Debug, Default)]
pub(crate) struct Beats {
    /// Made when first needed.
    timers: Option<[TimerFd; 2]>,
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
    /// Sleeps, with the whole thread, until shortly before the end that suits: about `length` after the last sleep's, or `first`, if that
    /// has passed. [`Beats::wait`] waits for the rest.
    ///
    /// `best`: what moment close to another suits better. `again`: the next sleep follows at once, so that its end may be told now.
    ///
    /// # Errors
    /// No more files can be opened.
    pub(crate) fn sleep(
        &mut self,
        clock: Clock,
        (length, again): (Duration, bool),
        first: Stamp,
        mut best: impl FnMut(Stamp) -> Stamp,
    ) -> Result<(), Errno> {
        let now = clock.now();
        let (this, other) = (self.turn, 1 - self.turn);
        // Unless it is much later by now, or the lengths have changed.
        if self.ends[this] <= now || self.ends[this] > now + length * 3 / 2 {
            let end = self.last + length;
            let end = if end <= now { first } else { best(end).max(first) };
            self.set(clock, this, end, length)?;
        }
        let end = self.ends[this];
        if again {
            self.set(clock, other, best(end + length), length)?;
        }
        self.timers()?[this].wait()?;
        (self.last, self.turn) = (end, other);
        self.note_end(clock.now(), end.saturating_before(self.early[this]));
        Ok(())
    }

    /// Until the last sleep's end.
    pub(crate) fn wait(&self, clock: Clock) {
        while clock.now() < self.last {
            spin_loop();
        }
    }

    fn set(&mut self, clock: Clock, timer: usize, end: Stamp, length: Duration) -> Result<(), Errno> {
        // Short of what is usual: nearly all sleeps are to end late by a little, and few early by much.
        let early = (self.late * 7 / 8).min(length / EARLY_SHARE);
        (self.ends[timer], self.early[timer]) = (end, early);
        let at = Expiration::OneShot(TimeSpec::from_duration(clock.raw(end.saturating_before(early))));
        self.timers()?[timer].set(at, TimerSetTimeFlags::TFD_TIMER_ABSTIME)
    }

    fn timers(&mut self) -> Result<&[TimerFd; 2], Errno> {
        let timers = if let Some(timers) = self.timers.take() {
            timers
        } else {
            let timer = || TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC);
            [timer()?, timer()?]
        };
        Ok(self.timers.insert(timers))
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

    /// By how much the end of this sleep is later than that of the last.
    fn sleep(beats: &mut Beats, clock: Clock, length: Duration, first: Stamp) -> Duration {
        sleep_until(beats, clock, length, first, |at| at)
    }

    fn sleep_until(
        beats: &mut Beats,
        clock: Clock,
        length: Duration,
        first: Stamp,
        best: fn(Stamp) -> Stamp,
    ) -> Duration {
        let before = beats.last;
        beats.sleep(clock, (length, true), first, best).expect("there are timers");
        beats.wait(clock);
        assert!(clock.now() >= beats.last && beats.last > before, "no sleep ends early");
        beats.last.saturating_since(before)
    }

    fn soon(clock: Clock) -> Stamp {
        clock.now() + Duration::from_micros(10)
    }

    /// Where the host takes the core away, an end has passed, and the next is as if nothing had been before. However busy the machine
    /// is, that does not always happen; what would be wrong would never come right.
    fn repeatedly(mut holds: impl FnMut() -> bool) {
        let held = (0..20_000).filter(|_| holds()).take(5).count();
        assert_eq!(held, 5, "of 20,000 times");
    }

    #[test]
    fn ends_are_a_length_apart_however_long_what_lies_between_takes() {
        let ((clock, _), mut beats) = (Clock::start(), Beats::default());
        repeatedly(|| sleep(&mut beats, clock, LENGTH, soon(clock)) == LENGTH);
        assert!(beats.late > Duration::ZERO && beats.late <= LATE_MAX);
    }

    #[test]
    fn who_comes_late_sleeps_until_the_first_that_is_due() {
        let ((clock, _), mut beats) = (Clock::start(), Beats::default());
        for _ in 0..3 {
            std::thread::sleep(3 * LENGTH);
            let first = soon(clock);
            sleep(&mut beats, clock, LENGTH, first);
            assert_eq!(beats.last, first);
        }
    }

    #[test]
    fn a_sleep_planned_for_another_length_is_planned_anew() {
        let ((clock, _), mut beats) = (Clock::start(), Beats::default());
        repeatedly(|| {
            sleep(&mut beats, clock, 10 * LENGTH, soon(clock));
            sleep(&mut beats, clock, LENGTH, soon(clock)) == LENGTH
        });
    }

    #[test]
    fn sleeps_end_when_it_suits_best() {
        let ((clock, _), mut beats) = (Clock::start(), Beats::default());
        let whole = |at: Stamp| Stamp::from_nanos(at.as_nanos().next_multiple_of(70_000));
        repeatedly(|| {
            sleep_until(&mut beats, clock, LENGTH, soon(clock), whole);
            beats.last.as_nanos().is_multiple_of(70_000)
        });
    }

    #[test]
    fn a_timer_is_never_set_earlier_than_a_part_of_the_sleep() {
        let ((clock, _), mut beats) = (Clock::start(), Beats::default());
        beats.late = LATE_MAX;
        sleep(&mut beats, clock, LATE_MAX, soon(clock));
        assert!(beats.early.iter().all(|early| *early <= LATE_MAX / EARLY_SHARE), "{:?}", beats.early);
    }
}
