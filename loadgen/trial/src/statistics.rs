//! Bounds on rates that were seen in a few trials, and exact tests of whether a rate rose.

use statrs::distribution::{Beta, ContinuousCDF};

mod exact;
#[cfg(test)]
mod tests;

pub(crate) use exact::enough_on_each_side;
pub use exact::{MOST_TRIALS, MOST_VALUE, fisher_at_least, permutation_at_least, rate_at_least};

/// One-sided Clopper–Pearson upper 95 % bound of a rate: `bad` of `total` trials went wrong.
///
/// `None` without trials. 0 of n gives 1 − 0.05^(1/n): 3 clean trials bound the rate at 63 %, 300 at 1 %.
#[must_use]
pub fn rate_upper_95(bad: u64, total: u64) -> Option<f64> {
    rate_upper(bad, total, 0.95)
}

/// The same at another confidence, above 0 and below 1.
#[must_use]
pub fn rate_upper(bad: u64, total: u64, confidence: f64) -> Option<f64> {
    if total == 0 {
        return None;
    }
    let bad = bad.min(total);
    if bad == total {
        return Some(1.0);
    }
    let (hits, misses) = (real(bad), real(total - bad));
    if bad == 0 {
        return Some(1.0 - (1.0 - confidence).powf(1.0 / misses));
    }
    Beta::new(hits + 1.0, misses).ok().and_then(|beta| beta.try_inverse_cdf(confidence).ok())
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
