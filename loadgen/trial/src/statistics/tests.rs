//! Against definitions, tables, brute force and simulation.

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

/// P(X ≤ `bad`) of so many trials that go wrong at this rate, summed up.
fn binomial_at_most(bad: u64, total: u64, rate: f64) -> f64 {
    let term = |count: u64| {
        let ways = statrs::function::factorial::ln_binomial(total, count);
        (ways + real(count) * rate.ln() + real(total - count) * (1.0 - rate).ln()).exp()
    };
    (0..=bad).map(term).sum()
}

/// Each choice of `some` of `values`, as the sum of what was chosen.
fn sums_of_choices(values: &[u64], some: usize) -> Vec<u64> {
    (0_u32..1 << values.len())
        .filter(|choice| choice.count_ones() as usize == some)
        .map(|choice| {
            values
                .iter()
                .enumerate()
                .filter(|(index, _)| choice >> index & 1 == 1)
                .map(|(_, value)| value)
                .sum()
        })
        .collect()
}

/// The share of choices that reach the observed sum.
fn brute_force(base: &[u64], new: &[u64]) -> f64 {
    let pooled: Vec<u64> = base.iter().chain(new).copied().collect();
    let (sums, observed) = (sums_of_choices(&pooled, new.len()), new.iter().sum::<u64>());
    real(sums.iter().filter(|sum| **sum >= observed).count() as u64) / real(sums.len() as u64)
}

fn indicators(bad: u64, total: u64) -> Vec<u64> {
    (0..total).map(|index| u64::from(index < bad)).collect()
}

proptest! {
    #[test]
    fn the_bound_is_where_so_few_bad_ones_have_a_chance_of_five_per_cent(n in 1u64..400, k in 0u64..400) {
        let k = k % n;
        let bound = rate_upper_95(k, n).unwrap();
        let tail = binomial_at_most(k, n, bound);
        prop_assert!((tail - 0.05).abs() < 1e-6, "{k} of {n}: {bound} leaves {tail}");
    }

    #[test]
    fn a_higher_confidence_never_lowers_the_bound(n in 1u64..400, k in 0u64..400, more in 0.0_f64..0.04) {
        let k = k.min(n);
        prop_assert!(rate_upper(k, n, 0.95 + more).unwrap() >= rate_upper_95(k, n).unwrap() - 1e-9);
    }

    #[test]
    fn fishers_test_is_what_counting_every_choice_gives(
        (base_total, new_total) in (1u64..8, 1u64..8), base_bad in 0u64..8, new_bad in 0u64..8
    ) {
        let (base_bad, new_bad) = (base_bad.min(base_total), new_bad.min(new_total));
        let counted = brute_force(&indicators(base_bad, base_total), &indicators(new_bad, new_total));
        let p = fisher_at_least((base_bad, base_total), (new_bad, new_total)).unwrap();
        prop_assert!((p - counted).abs() < 1e-9, "{p}, counted {counted}");
    }

    #[test]
    fn the_test_of_two_rates_is_the_binomials_upper_tail(
        (base_total, new_total) in (1u64..1_000, 1u64..1_000), (of_base, of_new) in (0u64..40, 0u64..40)
    ) {
        let share = real(new_total) / real(base_total + new_total);
        let summed = 1.0 - of_new.checked_sub(1).map_or(0.0, |below| binomial_at_most(below, of_base + of_new, share));
        let p = rate_at_least((of_base, base_total), (of_new, new_total)).unwrap();
        prop_assert!((p - summed).abs() < 1e-9, "{p}, summed {summed}");
    }

    #[test]
    fn the_permutation_test_is_what_counting_every_choice_gives(
        base in proptest::collection::vec(0u64..9, 1..8), new in proptest::collection::vec(0u64..9, 1..8)
    ) {
        let (p, counted) = (permutation_at_least(&base, &new).unwrap(), brute_force(&base, &new));
        prop_assert!((p - counted).abs() < 1e-12, "{p}, counted {counted}");
    }

    #[test]
    fn of_all_or_nothing_the_permutation_test_is_fishers(
        (base_total, new_total) in (1u64..64, 1u64..64), base_bad in 0u64..64, new_bad in 0u64..64
    ) {
        let (base_bad, new_bad) = (base_bad.min(base_total), new_bad.min(new_total));
        let fisher = fisher_at_least((base_bad, base_total), (new_bad, new_total)).unwrap();
        let p = permutation_at_least(&indicators(base_bad, base_total), &indicators(new_bad, new_total)).unwrap();
        prop_assert!((p - fisher).abs() < 1e-9, "{p}, Fisher {fisher}");
    }

    #[test]
    fn one_more_bad_trial_among_the_new_never_makes_it_likelier(
        base in proptest::collection::vec(0u64..4, 1..20), new in proptest::collection::vec(0u64..4, 1..20), which in 0usize..20
    ) {
        let mut worse = new.clone();
        let which = which % new.len();
        worse[which] += 1;
        let (before, after) = (permutation_at_least(&base, &new).unwrap(), permutation_at_least(&base, &worse).unwrap());
        prop_assert!(after <= before + 1e-12, "{before} became {after}");
    }
}

#[test]
fn three_against_three_is_what_a_textbook_says() {
    // One of twenty ways to choose three of six.
    let p = fisher_at_least((0, 3), (3, 3)).unwrap();
    assert!((p - 0.05).abs() < 1e-9, "{p}");
    assert_eq!(permutation_at_least(&[0, 0, 0], &[3, 3, 3]), Some(0.05));
}

#[test]
fn what_cannot_be_counted_through_is_not_tested() {
    assert_eq!(fisher_at_least((0, 0), (1, 1)), None);
    assert_eq!(fisher_at_least((0, u64::MAX), (1, 1)), None);
    assert_eq!(fisher_at_least((2, 1), (0, 1)), None, "more bad than there are");
    assert_eq!(permutation_at_least(&[], &[1]), None);
    assert_eq!(permutation_at_least(&[0; MOST_TRIALS + 1], &[1]), None);
    // The largest that is tested, with values beyond what is told apart.
    let p = permutation_at_least(&[0; MOST_TRIALS], &[u64::MAX; MOST_TRIALS]).unwrap();
    assert!(p > 0.0 && p < 1e-30, "{p}");
    assert_eq!(enough_on_each_side(0.001), Some(7), "C(14, 7) is 3,432, C(12, 6) only 924");
}

/// One of `pods` stops answering for as long as the floor says; requests choose their pods at random.
fn missed(gaps: u32, rate: f64, pods: u32, mut next: impl FnMut(&mut fastrand::Rng) -> f64) -> f64 {
    let floor = detection_floor_secs(rate, pods).unwrap();
    let mut random = fastrand::Rng::with_seed(41);
    let missed = (0..gaps).filter(|_| {
        let mut at = next(&mut random);
        while at < floor {
            if random.u32(0..pods) == 0 {
                return false;
            }
            at += next(&mut random);
        }
        true
    });
    f64::from(u32::try_from(missed.count()).unwrap()) / f64::from(gaps)
}

#[test]
fn a_gap_as_long_as_the_floor_is_missed_once_in_twenty() {
    // 20,000 gaps: a share of 5 % is then known to ± 0.6 % (four standard deviations).
    let rate = 300.0;
    for pods in [2, 3, 10] {
        let poisson = missed(20_000, rate, pods, |random| -(1.0 - random.f64()).ln() / rate);
        assert!((poisson - (-3.0_f64).exp()).abs() < 0.006, "{pods} pods: missed {poisson}");
        // Evenly spaced requests leave no holes of their own: the floor holds all the more.
        let constant = missed(20_000, rate, pods, |_| 1.0 / rate);
        assert!(constant < 0.056, "{pods} pods: missed {constant}");
    }
}

#[test]
fn rollouts_hold_the_level_where_terminations_as_if_independent_do_not() {
    const LEVEL: f64 = 0.01;
    const RUNS: u32 = 20_000;
    let mut random = fastrand::Rng::with_seed(6);
    // Whatever strikes a rollout strikes all three of its terminations.
    let mut side =
        |rollouts: usize| -> Vec<u64> { (0..rollouts).map(|_| 3 * u64::from(random.bool())).collect() };
    let (mut by_rollouts, mut by_terminations) = (0, 0);
    for _ in 0..RUNS {
        let (base, new) = (side(5), side(5));
        let sum = |values: &[u64]| (values.iter().sum::<u64>(), 3 * values.len() as u64);
        by_rollouts += u32::from(permutation_at_least(&base, &new).unwrap() <= LEVEL);
        by_terminations += u32::from(fisher_at_least(sum(&base), sum(&new)).unwrap() <= LEVEL);
    }
    // 1 % of them is 200, give or take 56 (four standard deviations).
    assert!(by_rollouts <= 256, "{by_rollouts} false alarms");
    assert!(by_terminations > 600, "{by_terminations}: if they were independent, 200 at most");
}
