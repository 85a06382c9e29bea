//! How often slots are released where they come fast.
//!
//! To sleep and to be woken for each slot, and again for its answer, costs more than the request. So where slots come, on
//! average, less than [`SHORTEST`] apart, all that came due is released together in passes, and the sockets are looked at once a
//! pass. What a sleep costs differs from machine to machine by a factor of ten, so it is measured, and the passes follow: see
//! [`Passes::length`].
//!
//! That slots are late by up to a pass is the client's doing, and shows in the records as schedule lag. When answers came
//! the kernel says, however late in a pass they are read. It does not say that of all there is to wait for, as of a connection
//! that is established; so a load that waits for such things as a rule has the shortest passes alone.

use std::time::Duration;

use clock::{Clock, thread_cpu};
use nix::errno::Errno;
use trial::time::Stamp;

use crate::beats::Beats;

/// No pass is shorter.
pub(crate) const SHORTEST: Duration = Duration::from_micros(100);
/// No pass is longer, whatever a sleep costs: it is the tick that others' timers have.
const LONGEST: Duration = Duration::from_millis(1);
/// Sleeping is to take this part of a core, one in so many, ...
const SHARE: u32 = 24;
/// ... or more, up to one in so many, where passes would be longer than this otherwise.
const SHARE_MOST: u32 = 10;
const LONG: Duration = Duration::from_micros(200);
/// A measured value counts for one in so many.
const WEIGHT: u32 = 16;
/// One sleep of so many is measured.
const MEASURED: u32 = 8;
/// A slot's connection is busy until the next pass at least, so a pass takes at most one in so many of a lane's.
const CONNECTIONS_SHARE: f64 = 2.0;

/// What is known of slots and sleeps so far.
#[derive(Debug)]
pub(crate) struct Passes {
    /// CPU time of a sleep, on average.
    sleep: Duration,
    /// From slot to slot, on average.
    gap: Duration,
    last: Option<Stamp>,
    /// Slots released in one pass, at most.
    most: u32,
    /// As many may be in flight before slots find no connection free.
    room: u32,
    longest: Duration,
    beats: Beats,
    /// So many so far.
    sleeps: u32,
}

/// A lane, as far as passes go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Passing {
    /// Slots a second.
    pub(crate) rate: f64,
    /// Connections that slots take turns on; `None` if they do not.
    pub(crate) connections: Option<u32>,
    /// The kernel says when its answers come, and there is nothing else to wait for as a rule.
    pub(crate) is_stamped: bool,
}

impl Passes {
    pub(crate) fn new(lanes: &[Passing]) -> Self {
        let total: f64 = lanes.iter().map(|lane| lane.rate).sum();
        let room = lanes
            .iter()
            .filter_map(|lane| lane.connections.map(|connections| f64::from(connections) * total / lane.rate))
            .fold(f64::from(u16::MAX), f64::min);
        let longest = if lanes.iter().all(|lane| lane.is_stamped) { LONGEST } else { SHORTEST };
        let (most, room) = (whole(room / CONNECTIONS_SHARE), whole(room));
        let (sleep, gap, beats) = (Duration::ZERO, LONGEST, Beats::default());
        Self { sleep, gap, last: None, most, room, longest, beats, sleeps: 0 }
    }

    /// A slot was due then.
    pub(crate) fn note_due(&mut self, at: Stamp) {
        if let Some(last) = self.last.replace(at) {
            self.gap = mean(self.gap, at.saturating_since(last).min(LONGEST));
        }
    }

    /// How long the next pass is to last, with so many slots in flight. `is_stamped`: the kernel has been seen to stamp what it gets.
    ///
    /// As long as it takes for sleeping to cost its [`SHARE`] of a core. Where that were longer than [`LONG`], sleeping may cost up
    /// to [`SHARE_MOST`]; beyond that passes do get longer, as a client that is busy sleeping falls behind.
    pub(crate) fn length(&self, in_flight: usize, is_stamped: bool) -> Duration {
        if !self.goes_fast(is_stamped) {
            return SHORTEST;
        }
        let free = self.room.saturating_sub(u32::try_from(in_flight).unwrap_or(u32::MAX));
        let cheap = (self.sleep * SHARE).min(LONG).max(self.sleep * SHARE_MOST);
        cheap.min(self.gap * self.most.min(free)).clamp(SHORTEST, self.longest)
    }

    /// So long before the next slot there is no use in passes.
    pub(crate) fn reach(&self, is_stamped: bool) -> Duration {
        if self.goes_fast(is_stamped) { LONGEST } else { SHORTEST }
    }

    /// Not so where a few slots come together that as a rule do not; nor where how late an answer is read is how late it seems.
    fn goes_fast(&self, is_stamped: bool) -> bool {
        self.gap <= SHORTEST && is_stamped
    }

    /// Sleeps to the end of the pass, and takes note of what that costs. Else as [`Beats::sleep`].
    pub(crate) fn sleep(
        &mut self,
        clock: Clock,
        length: Duration,
        first: Stamp,
        best: impl FnMut(Stamp) -> Stamp,
    ) -> Result<(), Errno> {
        self.sleeps = self.sleeps.wrapping_add(1);
        let before = self.sleeps.is_multiple_of(MEASURED).then(thread_cpu);
        self.beats.sleep(clock, (length, self.gap <= SHORTEST), first, best)?;
        if let Some(before) = before {
            self.sleep = mean(self.sleep, thread_cpu().saturating_sub(before).min(LONGEST));
        }
        self.beats.wait(clock);
        Ok(())
    }
}

fn mean(so_far: Duration, new: Duration) -> Duration {
    (so_far * (WEIGHT - 1) + new) / WEIGHT
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 65,535")]
fn whole(number: f64) -> u32 {
    number.clamp(1.0, f64::from(u16::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use trial::arrival::TOGETHER_FROM;

    use super::*;

    const fn lane(rate: f64, connections: u32) -> Passing {
        Passing { rate, connections: Some(connections), is_stamped: true }
    }

    const MANY: Passing = lane(20_000.0, 1_000);

    fn passes(gap: Duration, sleep: Duration, lanes: &[Passing]) -> Passes {
        let mut passes = Passes::new(lanes);
        let mut at = Stamp::ZERO;
        for _ in 0..200 {
            passes.note_due(at);
            at = at + gap;
            passes.sleep = mean(passes.sleep, sleep);
        }
        passes
    }

    const fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    #[test]
    fn passes_are_as_long_as_sleeping_is_dear() {
        let length = |sleep| passes(micros(50), micros(sleep), &[MANY]).length(0, true);
        // The mean comes a little short of what it is the mean of.
        let about = |length: Duration, micros: u128| (micros - 2..=micros).contains(&length.as_micros());
        assert_eq!(length(1), SHORTEST);
        assert!(about(length(6), 144), "{:?}", length(6));
        assert_eq!(length(9), LONG);
        assert_eq!(length(19), LONG);
        assert!(about(length(40), 400), "{:?}", length(40));
        assert_eq!(length(300), LONGEST);
    }

    #[test]
    fn slots_come_fast_from_the_rate_on_that_others_know_of() {
        let gap = |rate: f64| Duration::from_secs_f64(1.0 / rate);
        assert_eq!(gap(TOGETHER_FROM), SHORTEST);
        assert!(passes(gap(TOGETHER_FROM * 1.05), micros(9), &[MANY]).length(0, true) > SHORTEST);
        assert_eq!(passes(gap(TOGETHER_FROM * 0.95), micros(9), &[MANY]).length(0, true), SHORTEST);
    }

    #[test]
    fn a_few_slots_together_are_no_stream_of_them() {
        assert_eq!(passes(micros(150), micros(40), &[lane(6_600.0, 50)]).length(0, true), SHORTEST);
    }

    #[test]
    fn what_the_kernel_does_not_date_is_not_read_later_than_need_be() {
        let length = |lanes: &[Passing], stamped| passes(micros(50), micros(300), lanes).length(0, stamped);
        let new = Passing { connections: None, is_stamped: false, ..MANY };
        assert_eq!(length(&[MANY, Passing { connections: None, ..MANY }], true), LONGEST);
        assert_eq!(length(&[MANY], false), SHORTEST);
        assert_eq!(length(&[MANY, new], true), SHORTEST);
    }

    #[test]
    fn no_pass_takes_more_connections_than_a_lane_can_spare() {
        let length =
            |lanes: &[Passing], busy| passes(micros(50), micros(300), lanes).length(busy, true).as_micros();
        let about = |length: u128, micros: u128| length.abs_diff(micros) <= 10;
        assert!(about(length(&[lane(20_000.0, 30)], 0), 750));
        assert!(about(length(&[lane(20_000.0, 3)], 0), 100));
        // Every second slot is the first lane's.
        assert!(about(length(&[lane(10_000.0, 15), lane(10_000.0, 1_000)], 0), 750));
        // Answers that take longer than a pass hold connections.
        assert!(about(length(&[lane(20_000.0, 30)], 20), 500));
        assert!(about(length(&[lane(20_000.0, 30)], 40), 100));
    }

    #[test]
    fn a_sleep_costs_something() {
        let mut passes = Passes::new(&[]);
        let (clock, _) = Clock::start();
        for _ in 0..20 * MEASURED {
            passes.sleep(clock, micros(50), clock.now() + micros(50), |at| at).expect("there are timers");
        }
        let cost = passes.sleep;
        assert!(cost > Duration::ZERO && cost < LONGEST, "{cost:?}");
    }
}
