//! Bounds on rates that were seen in a few trials.

use statrs::distribution::{Beta, ContinuousCDF};

/// One-sided Clopper–Pearson upper 95 % bound of a rate: `bad` of `total` trials went wrong.
///
/// `None` without trials. 0 of n gives 1 − 0.05^(1/n): 3 clean trials bound the rate at 63 %, 300 at 1 %.
#[must_use]
pub fn rate_upper_95(bad: u64, total: u64) -> Option<f64> {
    if total == 0 {
        return None;
    }
    let bad = bad.min(total);
    if bad == total {
        return Some(1.0);
    }
    let (hits, misses) = (real(bad), real(total - bad));
    if bad == 0 {
        return Some(1.0 - 0.05_f64.powf(1.0 / misses));
    }
    Beta::new(hits + 1.0, misses).ok().and_then(|beta| beta.try_inverse_cdf(0.95).ok())
}

/// The longest gap on one of `replicas` pods, in seconds, that `rate` requests a second may miss (95 %).
///
/// A gap of w seconds on one of k pods is hit with probability 1 − e^(−r·w/k), which reaches 95 % at w = 3k/r.
/// `None` where there is no rate or no pod to compute it from.
///
/// This rests on requests that are spread over the pods: new connections are, kept ones only if they are at least as
/// many as the pods and are in fact kept. Other lanes give no floor, whatever their rate.
#[must_use]
pub fn detection_floor_secs(rate: f64, replicas: u32) -> Option<f64> {
    (replicas > 0 && rate > 0.0 && rate.is_finite()).then(|| 3.0 * f64::from(replicas) / rate)
}

/// A count as a real number; exact up to 2^53, far beyond any count here.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub(crate) const fn real(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(value: Option<f64>, expected: f64) -> bool {
        value.is_some_and(|value| (value - expected).abs() < 1e-4)
    }

    #[test]
    fn clean_trials_bound_the_rate_as_the_rule_of_three_says() {
        assert!(close(rate_upper_95(0, 3), 0.6316));
        assert!(close(rate_upper_95(0, 300), 0.009_936));
        assert_eq!(rate_upper_95(0, 0), None);
        assert!(close(rate_upper_95(3, 3), 1.0));
    }

    #[test]
    fn bad_trials_bound_it_as_tables_of_clopper_and_pearson_do() {
        // One-sided: the 0.95 quantile of Beta(k + 1, n − k).
        assert!(close(rate_upper_95(1, 10), 0.394_163), "{:?}", rate_upper_95(1, 10));
        assert!(close(rate_upper_95(5, 10), 0.777_559), "{:?}", rate_upper_95(5, 10));
    }

    #[test]
    fn the_floor_needs_a_rate_and_pods() {
        assert_eq!(detection_floor_secs(300.0, 3), Some(0.03));
        assert_eq!(detection_floor_secs(0.0, 3), None);
        assert_eq!(detection_floor_secs(300.0, 0), None);
    }

    proptest! {
        #[test]
        fn more_bad_trials_never_lower_the_bound_and_more_clean_ones_never_raise_it(n in 1u64..400, k in 0u64..400) {
            let k = k.min(n);
            let bound = rate_upper_95(k, n).unwrap();
            prop_assert!(bound > real(k) / real(n) || k == n);
            prop_assert!(bound <= 1.0);
            prop_assert!(rate_upper_95((k + 1).min(n), n).unwrap() >= bound);
            prop_assert!(rate_upper_95(k, n + 1).unwrap() <= bound + 1e-12);
        }
    }
}
