//! Exact one-sided tests of whether something became more frequent. Both condition on what was seen in all: nothing is
//! assumed of how often it happens, only that without a change each trial could as well have stood on the other side.

use statrs::function::beta::checked_beta_reg;
use statrs::function::factorial::ln_binomial;

use super::real;

/// More trials on one side than this are not tested: no run of ours has as many, and a damaged file may claim any number.
pub const MOST_TRIALS: usize = 64;
/// Larger values count as this one. What is monotone keeps the test exact, and work stays bounded.
pub const MOST_VALUE: u64 = 100;

/// Beyond this a hypergeometric tail would be summed for too long.
const MOST_COUNTED: u64 = 1_000_000;

/// Fisher's exact test: how likely, by chance alone, at least `new.0` of the bad trials fall among the `new.1` new ones, given
/// how many of all are bad. Each side is (bad, total).
///
/// Trials must be independent of each other: where they come in clusters, [`permutation_at_least`] over clusters holds its level and
/// this does not. `None` where a side has no trial, or more than can be counted through.
#[must_use]
pub fn fisher_at_least(base: (u64, u64), new: (u64, u64)) -> Option<f64> {
    let ((base_bad, base_total), (new_bad, new_total)) = (base, new);
    let all = base_total.checked_add(new_total).filter(|all| *all <= MOST_COUNTED)?;
    if base_total == 0 || new_total == 0 || base_bad > base_total || new_bad > new_total {
        return None;
    }
    let bad = base_bad + new_bad;
    let ways = |new_bad: u64| ln_binomial(new_total, new_bad) + ln_binomial(base_total, bad - new_bad);
    let least = bad.saturating_sub(base_total).max(new_bad);
    let tail: f64 =
        (least..=bad.min(new_total)).map(|count| (ways(count) - ln_binomial(all, bad)).exp()).sum();
    Some(tail.min(1.0))
}

/// How likely at least `new.0` of all events fall among the `new.1` new chances if both sides have the same rate: the exact conditional
/// test of two Poisson rates. Each side is (events, chances). Where events are no longer rare it says less than Fisher's, never more;
/// it takes any number of chances.
///
/// Events must be independent of each other: where they come together, it calls a rate higher too soon. `None` without chances.
#[must_use]
pub fn rate_at_least(base: (u64, u64), new: (u64, u64)) -> Option<f64> {
    let ((of_base, base_total), (of_new, new_total)) = (base, new);
    if base_total == 0 || new_total == 0 {
        return None;
    }
    if of_new == 0 {
        return Some(1.0);
    }
    // Given how many there are in all, each is a new one with this probability.
    let share = real(new_total) / (real(base_total) + real(new_total));
    // The binomial's upper tail.
    checked_beta_reg(real(of_new), real(of_base) + 1.0, share).ok()
}

/// The exact permutation test: of all ways to divide the pooled values into two groups of these sizes, the share in which the second
/// sums up to at least what `new` does. With values of 0 and 1 it is Fisher's exact test.
///
/// Each value stands for one cluster of trials, whatever the trials within it have in common. Values above [`MOST_VALUE`] count as
/// that. `None` where a side is empty or has more than [`MOST_TRIALS`] values.
#[must_use]
pub fn permutation_at_least(base: &[u64], new: &[u64]) -> Option<f64> {
    let sizes = 1..=MOST_TRIALS;
    if !sizes.contains(&base.len()) || !sizes.contains(&new.len()) {
        return None;
    }
    let clipped = |value: &u64| usize::try_from(*value.min(&MOST_VALUE)).unwrap_or_default();
    let observed: usize = new.iter().map(clipped).sum();
    let largest = base.iter().chain(new).map(clipped).max().unwrap_or_default();
    // How many ways there are to choose so many of the values with such a sum; at most C(128, 64), which a float holds.
    let width = largest * new.len() + 1;
    let mut ways = vec![0.0_f64; (new.len() + 1) * width];
    if let Some(nothing_chosen) = ways.first_mut() {
        *nothing_chosen = 1.0;
    }
    for value in base.iter().chain(new).map(clipped) {
        for chosen in (1..=new.len()).rev() {
            let (fewer, these) = ways.split_at_mut(chosen * width);
            let fewer = fewer.get((chosen - 1) * width..).unwrap_or_default();
            for (to, from) in these.iter_mut().take(width).skip(value).zip(fewer) {
                *to += from;
            }
        }
    }
    let complete = ways.get(new.len() * width..).unwrap_or_default();
    let all: f64 = complete.iter().sum();
    let at_least: f64 = complete.iter().skip(observed).sum();
    Some((at_least / all).min(1.0))
}

/// How many ways there are to choose `some` of `all`.
#[must_use]
pub(crate) fn choices(all: usize, some: usize) -> f64 {
    ln_binomial(all as u64, some as u64).exp()
}

/// The number of trials on each side from which a test of this level could tell "none of these" from "all of those".
#[must_use]
pub(crate) fn enough_on_each_side(level: f64) -> Option<usize> {
    (1..=MOST_TRIALS).find(|trials| choices(2 * trials, *trials) * level >= 1.0)
}
