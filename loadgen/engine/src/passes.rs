//! How often slots are released where they come fast.
//!
//! To sleep and to be woken for each slot, and again for its answer, costs more than the request. So where slots come less
//! than [`SHORTEST`] apart, all that came due is released together in passes, and the sockets are looked at once a pass. What a
//! sleep costs differs from machine to machine by a factor of ten, so it is measured, and the passes follow: as short as
//! that sleeping takes its [`SHARE`] of a core, no more.
//!
//! That slots are late by up to a pass is the client's doing, and shows in the records as schedule lag. When answers came
//! the kernel says, however late they are read.

use std::thread;
use std::time::Duration;

use clock::thread_cpu;
use trial::time::Stamp;

/// No pass is shorter.
pub(crate) const SHORTEST: Duration = Duration::from_micros(100);
/// No pass is longer, whatever a sleep costs: it is the tick that others' timers have.
const LONGEST: Duration = Duration::from_millis(1);
/// Sleeping takes this part of a core, at most: one in so many.
const SHARE: u32 = 40;
/// A measured value counts for one in so many.
const WEIGHT: u32 = 16;
/// A slot's connection is busy until the next pass, so a pass takes at most one in so many of a lane's.
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
}

impl Passes {
    /// `lanes`: the rates of lanes whose slots take turns on kept connections, and how many of these each has.
    pub(crate) fn new(lanes: impl Iterator<Item = (f64, u32)> + Clone) -> Self {
        let total: f64 = lanes.clone().map(|(rate, _)| rate).sum();
        let most = lanes
            .map(|(rate, connections)| f64::from(connections) * total / (rate * CONNECTIONS_SHARE))
            .fold(f64::from(u16::MAX), f64::min);
        Self { sleep: Duration::ZERO, gap: LONGEST, last: None, most: whole(most) }
    }

    /// A slot was due then.
    pub(crate) fn note_due(&mut self, at: Stamp) {
        if let Some(last) = self.last.replace(at) {
            self.gap = mean(self.gap, at.saturating_since(last).min(LONGEST));
        }
    }

    /// How long the next pass is to last.
    pub(crate) fn length(&self) -> Duration {
        if self.gap > SHORTEST {
            // A few that come together, of slots that as a rule do not.
            return SHORTEST;
        }
        (self.sleep * SHARE).min(self.gap * self.most).clamp(SHORTEST, LONGEST)
    }

    /// Sleeps, and takes note of what that costs.
    pub(crate) fn sleep(&mut self, duration: Duration) {
        let before = thread_cpu();
        thread::sleep(duration);
        self.sleep = mean(self.sleep, thread_cpu().saturating_sub(before).min(LONGEST));
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
    use super::*;

    fn passes(gap: Duration, sleep: Duration, lanes: &[(f64, u32)]) -> Passes {
        let mut passes = Passes::new(lanes.iter().copied());
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
        let length = |sleep| passes(micros(50), micros(sleep), &[(20_000.0, 1_000)]).length();
        assert_eq!(length(1), SHORTEST);
        assert!((micros(310)..=micros(320)).contains(&length(8)), "{:?}", length(8));
        assert_eq!(length(300), LONGEST);
    }

    #[test]
    fn a_few_slots_together_are_no_stream_of_them() {
        assert_eq!(passes(micros(150), micros(40), &[(6_600.0, 50)]).length(), SHORTEST);
    }

    #[test]
    fn no_pass_takes_more_connections_than_a_lane_can_spare() {
        let length = |lanes: &[(f64, u32)]| passes(micros(50), micros(300), lanes).length();
        let about = |length: Duration, micros: u64| length.as_micros().abs_diff(u128::from(micros)) <= 10;
        assert!(about(length(&[(20_000.0, 30)]), 750));
        assert!(about(length(&[(20_000.0, 3)]), 100), "{:?}", length(&[(20_000.0, 3)]));
        // Every second slot is the first lane's.
        assert!(about(length(&[(10_000.0, 15), (10_000.0, 1_000)]), 750));
        assert_eq!(length(&[]), LONGEST);
    }

    #[test]
    fn a_sleep_costs_something() {
        let mut passes = Passes::new(std::iter::empty());
        for _ in 0..20 {
            passes.sleep(micros(50));
        }
        assert!(passes.sleep > Duration::ZERO && passes.sleep < LONGEST, "{:?}", passes.sleep);
    }
}
