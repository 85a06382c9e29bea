//! When each slot of a lane is due: a pure, seeded, endless schedule.
//!
//! Offsets run from the start of the load. Constant slots are computed from their index, never by adding gaps up,
//! so slot k of a lane that has run for a day is as exact as its first.

use std::time::Duration;

use crate::settings::Arrivals;

const NANOS_PER_SECOND: f64 = 1e9;
/// Offsets end here, after 292 years.
const LAST_NANOS: f64 = 9.2e18;

/// The due offsets of a lane, in order. Endless, except where the rate is not a positive number: then it is empty.
#[derive(Debug, Clone)]
pub struct Schedule {
    rate: f64,
    phase: Duration,
    gaps: Gaps,
}

#[derive(Debug, Clone)]
enum Gaps {
    Constant { next: u64 },
    Poisson { random: fastrand::Rng, seconds: f64 },
}

impl Schedule {
    /// A schedule of `rate` slots a second.
    ///
    /// `phase` is added to every offset, so that several lanes do not fire in lockstep. `seed` matters to Poisson
    /// arrivals only: there gaps are exponential with mean 1/rate, and the first slot comes one gap after the phase.
    #[must_use]
    pub fn new(rate: f64, arrivals: Arrivals, seed: u64, phase: Duration) -> Self {
        let gaps = match arrivals {
            Arrivals::Constant => Gaps::Constant { next: 0 },
            Arrivals::Poisson => Gaps::Poisson { random: fastrand::Rng::with_seed(seed), seconds: 0.0 },
        };
        Self { rate, phase, gaps }
    }
}

impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if !(self.rate.is_finite() && self.rate > 0.0) {
            return None;
        }
        let nanos = match &mut self.gaps {
            Gaps::Constant { next } => {
                let index = *next;
                *next += 1;
                index_to_f64(index) * NANOS_PER_SECOND / self.rate
            }
            Gaps::Poisson { random, seconds } => {
                // 1 − u lies in (0, 1], so its logarithm is finite.
                *seconds -= (1.0 - random.f64()).ln() / self.rate;
                *seconds * NANOS_PER_SECOND
            }
        };
        (nanos < LAST_NANOS).then(|| self.phase + Duration::from_nanos(round_to_u64(nanos)))
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
        Schedule::new(rate, Arrivals::Constant, 0, Duration::ZERO)
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
        let moved = Schedule::new(11.0, Arrivals::Poisson, 5, phase);
        let plain = Schedule::new(11.0, Arrivals::Poisson, 5, Duration::ZERO);
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
        let gaps: Vec<f64> = Schedule::new(rate, Arrivals::Poisson, 42, Duration::ZERO)
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

    proptest! {
        #[test]
        fn any_rate_is_met_over_100_000_slots(rate in 0.001_f64..1e6, poisson: bool, seed: u64) {
            let arrivals = if poisson { Arrivals::Poisson } else { Arrivals::Constant };
            let slots = 100_000;
            let last = Schedule::new(rate, arrivals, seed, Duration::ZERO).nth(slots).expect("endless");
            let seen = 100_000.0 / last.as_secs_f64();
            // Six standard errors of a Poisson count; for constant arrivals half a nanosecond of rounding.
            let tolerance = if poisson { 6.0 / 316.0 } else { 1e-8 };
            prop_assert!((seen / rate - 1.0).abs() < tolerance, "{} instead of {}", seen, rate);
        }

        #[test]
        fn offsets_never_go_back_and_the_seed_decides_them(rate in 0.001_f64..1e6, poisson: bool, seed: u64) {
            let arrivals = if poisson { Arrivals::Poisson } else { Arrivals::Constant };
            let schedule = || Schedule::new(rate, arrivals, seed, Duration::from_micros(3)).take(2000);
            prop_assert!(schedule().zip(schedule().skip(1)).all(|(before, after)| before <= after));
            prop_assert!(schedule().eq(schedule()));
            if poisson {
                let other = Schedule::new(rate, arrivals, seed ^ 1, Duration::from_micros(3)).take(2000);
                prop_assert!(!schedule().eq(other));
            }
        }
    }
}
