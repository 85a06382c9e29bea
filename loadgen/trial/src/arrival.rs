//! When each slot of a lane is due: a pure, seeded, endless schedule.
//!
//! Offsets run from the start of the load. Every schedule is one of a unit rate (evenly spaced, or Poisson) whose time
//! is stretched to the lane's: slot k is due when the integral of the rate reaches what its unit schedule says. Evenly
//! spaced slots are computed from their index, never by adding gaps up, so slot k of a lane that has run for a day is
//! as exact as its first.

use std::time::Duration;

use crate::settings::{Arrivals, Ramp};

/// From so many slots a second on, over all lanes, the engine releases together what comes due within a pass. Below it only slots that
/// happen to come closer to each other than these do on average.
pub const TOGETHER_FROM: f64 = 10_000.0;

const NANOS_PER_SECOND: f64 = 1e9;
/// Offsets end here, after 292 years.
const LAST_NANOS: f64 = 9.2e18;

/// The due offsets of a lane, in order. Endless, except where there is none to give: where the rate is not a positive
/// number, and in a closed loop, in which answers and not the clock say when the next request is due.
#[derive(Debug, Clone)]
pub struct Schedule {
    pace: Pace,
    phase: Duration,
    gaps: Gaps,
}

/// Slots of a unit rate.
#[derive(Debug, Clone)]
enum Gaps {
    None,
    Constant { next: u64 },
    Poisson { random: fastrand::Rng, slots: f64 },
}

impl Schedule {
    /// A schedule of `rate` slots a second.
    ///
    /// `phase` is added to every offset, so that several lanes do not fire in lockstep. `seed` matters to Poisson
    /// arrivals only: there gaps are exponential with mean 1/rate, and the first slot comes one gap after the phase.
    /// With a `ramp` the rate goes from the ramp's to `rate` linearly, and stays.
    #[must_use]
    pub fn new(rate: f64, arrivals: Arrivals, ramp: Option<Ramp>, seed: u64, phase: Duration) -> Self {
        let is_rate = rate.is_finite() && rate > 0.0;
        let gaps = match arrivals {
            _ if !is_rate => Gaps::None,
            Arrivals::Closed => Gaps::None,
            Arrivals::Constant => Gaps::Constant { next: 0 },
            Arrivals::Poisson => Gaps::Poisson { random: fastrand::Rng::with_seed(seed), slots: 0.0 },
        };
        Self { pace: Pace::new(rate, ramp), phase, gaps }
    }
}

impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let slots = match &mut self.gaps {
            Gaps::None => return None,
            Gaps::Constant { next } => {
                let index = *next;
                *next += 1;
                index_to_f64(index)
            }
            Gaps::Poisson { random, slots } => {
                // 1 − u lies in (0, 1], so its logarithm is finite.
                *slots -= (1.0 - random.f64()).ln();
                *slots
            }
        };
        let nanos = self.pace.nanos_until(slots);
        (nanos < LAST_NANOS).then(|| self.phase + Duration::from_nanos(round_to_u64(nanos)))
    }
}

/// How many slots are due by when: the integral of the rate, upside down.
#[derive(Debug, Clone, Copy)]
struct Pace {
    rate: f64,
    /// Where the rate begins, how long it changes in seconds, and how many slots are due by then.
    ramp: Option<(f64, f64, f64)>,
}

impl Pace {
    fn new(rate: f64, ramp: Option<Ramp>) -> Self {
        let ramp = ramp.and_then(|ramp| {
            let (from, over) = (ramp.from, ramp.over.as_secs_f64());
            (from.is_finite() && from >= 0.0 && over > 0.0)
                .then(|| (from, over, f64::midpoint(from, rate) * over))
        });
        Self { rate, ramp }
    }

    /// When so many slots are due.
    fn nanos_until(&self, slots: f64) -> f64 {
        match self.ramp {
            None => slots * NANOS_PER_SECOND / self.rate,
            Some((_, over, during)) if slots >= during => {
                ((slots - during) / self.rate + over) * NANOS_PER_SECOND
            }
            Some(_) if slots <= 0.0 => 0.0,
            // slots = from·t + (rate − from)·t²/(2·over), solved for t in the form that loses no digits.
            Some((from, over, _)) => {
                let root = (from * from + 2.0 * slots * (self.rate - from) / over).max(0.0).sqrt();
                2.0 * slots / (from + root) * NANOS_PER_SECOND
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact to 2^53 slots: 285 years at a million a second")]
fn index_to_f64(index: u64) -> f64 {
    index as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the caller keeps it within 0 and 9.2e18"
)]
fn round_to_u64(nanos: f64) -> u64 {
    nanos.round() as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn constant(rate: f64) -> Schedule {
        Schedule::new(rate, Arrivals::Constant, None, 0, Duration::ZERO)
    }

    #[test]
    fn constant_slots_are_exact_multiples_of_the_gap_without_drift() {
        assert_eq!(constant(3.0).nth(3_000_000), Some(Duration::from_secs(1_000_000)));
        assert_eq!(constant(1e6).nth(1_000_000), Some(Duration::from_secs(1)));
        assert_eq!(constant(0.001).nth(2), Some(Duration::from_secs(2000)));
        assert_eq!(
            constant(300.0).take(2).collect::<Vec<_>>(),
            [Duration::ZERO, Duration::from_nanos(3_333_333)]
        );
    }

    #[test]
    fn phase_moves_every_slot_alike() {
        let phase = Duration::from_millis(7);
        let moved = Schedule::new(11.0, Arrivals::Poisson, None, 5, phase);
        let plain = Schedule::new(11.0, Arrivals::Poisson, None, 5, Duration::ZERO);
        assert!(moved.zip(plain).take(1000).all(|(moved, plain)| moved == plain + phase));
    }

    #[test]
    fn a_rate_that_is_no_rate_has_no_slots() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(constant(rate).next(), None, "{rate}");
        }
    }

    #[test]
    fn poisson_gaps_have_the_mean_and_variance_of_an_exponential() {
        let (rate, slots) = (500.0, 100_000_u32);
        let mut before = Duration::ZERO;
        let gaps: Vec<f64> = Schedule::new(rate, Arrivals::Poisson, None, 42, Duration::ZERO)
            .take(slots as usize)
            .map(|due| {
                let gap = due.saturating_sub(before).as_secs_f64();
                before = due;
                gap
            })
            .collect();
        let mean = gaps.iter().sum::<f64>() / f64::from(slots);
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / f64::from(slots);
        // Standard errors over 100,000 gaps: 0.32 % of the mean, 0.9 % of the variance. Four of them are allowed.
        assert!((mean * rate - 1.0).abs() < 0.0127, "mean {mean}");
        assert!((variance * rate * rate - 1.0).abs() < 0.036, "variance {variance}");
    }

    /// Gaps of a seeded Poisson schedule in mean gaps, sorted.
    fn gaps(rate: f64, seed: u64, count: usize) -> Vec<f64> {
        let mut before = Duration::ZERO;
        let schedule = Schedule::new(rate, Arrivals::Poisson, None, seed, Duration::ZERO);
        let mut gaps: Vec<f64> = schedule
            .take(count)
            .map(|due| due.saturating_sub(std::mem::replace(&mut before, due)).as_secs_f64() * rate)
            .collect();
        gaps.sort_by(f64::total_cmp);
        gaps
    }

    /// The largest distance between the empirical distribution of sorted values and `cdf`, times √n.
    fn kolmogorov_smirnov(sorted: &[f64], cdf: impl Fn(f64) -> f64) -> f64 {
        let count = index_to_f64(sorted.len() as u64);
        let distance = |(index, value): (usize, &f64)| {
            let (below, upto) = (index_to_f64(index as u64) / count, index_to_f64(index as u64 + 1) / count);
            let expected = cdf(*value);
            (expected - below).abs().max((expected - upto).abs())
        };
        sorted.iter().enumerate().map(distance).fold(0.0, f64::max) * count.sqrt()
    }

    #[test]
    fn poisson_gaps_are_exponential_by_kolmogorov_and_smirnov() {
        // The distance exceeds 1.95 with probability 0.1 % for the right distribution; seeds make it one draw each.
        for seed in 0..8 {
            let gaps = gaps(2_000.0, seed, 20_000);
            let distance = kolmogorov_smirnov(&gaps, |gap| 1.0 - (-gap).exp());
            assert!(distance < 1.95, "seed {seed}: {distance}");
            // The test has the power to tell: gaps with a mean 10 % off are no such draw.
            let off = kolmogorov_smirnov(&gaps, |gap| 1.0 - (-gap * 1.1).exp());
            assert!(off > 1.95, "seed {seed}: {off}");
        }
    }

    #[test]
    fn poisson_counts_in_disjoint_seconds_are_independent_of_one_another() {
        let (rate, seconds) = (50.0, 4_000_usize);
        let mut counts = vec![0.0; seconds];
        for due in Schedule::new(rate, Arrivals::Poisson, None, 9, Duration::ZERO) {
            let Some(count) = counts.get_mut(usize::try_from(due.as_secs()).unwrap()) else { break };
            *count += 1.0;
        }
        let product: f64 = counts.windows(2).map(|pair| (pair[0] - rate) * (pair[1] - rate)).sum();
        // Lag-one correlation of independent counts has a standard error of 1/√n.
        let correlation = product / rate / index_to_f64(seconds as u64);
        assert!(correlation.abs() < 4.0 / index_to_f64(seconds as u64).sqrt(), "{correlation}");
    }

    #[test]
    fn a_closed_loop_has_no_schedule() {
        assert_eq!(Schedule::new(5.0, Arrivals::Closed, None, 0, Duration::ZERO).next(), None);
    }

    /// What the rate of a ramp adds up to by `at` seconds.
    fn integral(rate: f64, ramp: Ramp, at: f64) -> f64 {
        let over = ramp.over.as_secs_f64();
        let during = at.min(over);
        ramp.from * during + (rate - ramp.from) * during * during / (2.0 * over) + rate * (at - during)
    }

    #[test]
    fn a_ramp_from_nothing_is_half_as_much_as_no_ramp() {
        let ramp = Ramp { from: 0.0, over: Duration::from_secs(10) };
        let ramped = || Schedule::new(100.0, Arrivals::Constant, Some(ramp), 0, Duration::ZERO);
        assert_eq!(ramped().take_while(|due| *due < ramp.over).count(), 500);
        // After the ramp the gaps are those of the rate.
        let (one, next) = (ramped().nth(500).unwrap(), ramped().nth(501).unwrap());
        assert_eq!(next, one + Duration::from_millis(10));
        // A quarter of the way up, a sixteenth of the slots.
        assert_eq!(ramped().take_while(|due| *due < ramp.over / 4).count(), 32);
    }

    proptest! {
        #[test]
        fn slot_k_of_a_ramp_is_due_when_the_integral_of_its_rate_is_k(
            rate in 1.0_f64..1e5,
            from in 0.0_f64..1e5,
            over in 0.01_f64..100.0,
            skip in 0_usize..200_000,
        ) {
            let ramp = Ramp { from, over: Duration::from_secs_f64(over) };
            let due = Schedule::new(rate, Arrivals::Constant, Some(ramp), 0, Duration::ZERO).nth(skip).unwrap();
            let slots = integral(rate, ramp, due.as_secs_f64());
            // Half a nanosecond of rounding at the highest rate there is, and the arithmetic's own.
            let allowed = rate.max(from) * 1e-9 + 1e-9 * index_to_f64(skip as u64);
            prop_assert!((slots - index_to_f64(skip as u64)).abs() <= allowed, "{slots} at {due:?}");
        }

        #[test]
        fn poisson_slots_follow_a_ramp(from in 0.0_f64..3_000.0, seed: u64) {
            let (rate, ramp) = (1_000.0, Ramp { from, over: Duration::from_secs(10) });
            let expected = integral(rate, ramp, 12.0);
            let schedule = Schedule::new(rate, Arrivals::Poisson, Some(ramp), seed, Duration::ZERO);
            let seen = index_to_f64(schedule.take_while(|due| *due < Duration::from_secs(12)).count() as u64);
            // Six standard deviations of a Poisson count.
            prop_assert!((seen - expected).abs() < 6.0 * expected.sqrt(), "{seen} instead of {expected}");
        }

        #[test]
        fn any_rate_is_met_over_100_000_slots(rate in 0.001_f64..1e6, poisson: bool, seed: u64) {
            let arrivals = if poisson { Arrivals::Poisson } else { Arrivals::Constant };
            let slots = 100_000;
            let last = Schedule::new(rate, arrivals, None, seed, Duration::ZERO).nth(slots).expect("endless");
            let seen = 100_000.0 / last.as_secs_f64();
            // Six standard errors of a Poisson count; for constant arrivals half a nanosecond of rounding.
            let tolerance = if poisson { 6.0 / 316.0 } else { 1e-8 };
            prop_assert!((seen / rate - 1.0).abs() < tolerance, "{} instead of {}", seen, rate);
        }

        #[test]
        fn offsets_never_go_back_and_the_seed_decides_them(rate in 0.001_f64..1e6, poisson: bool, seed: u64) {
            let arrivals = if poisson { Arrivals::Poisson } else { Arrivals::Constant };
            let schedule = || Schedule::new(rate, arrivals, None, seed, Duration::from_micros(3)).take(2000);
            prop_assert!(schedule().zip(schedule().skip(1)).all(|(before, after)| before <= after));
            prop_assert!(schedule().eq(schedule()));
            if poisson {
                let other = Schedule::new(rate, arrivals, None, seed ^ 1, Duration::from_micros(3)).take(2000);
                prop_assert!(!schedule().eq(other));
            }
        }
    }
}
