//! Windows of a lane in which requests failed or were late.

use std::collections::BTreeMap;

use crate::report::Outage;

/// Failures closer than this belong to one window.
const GAP_NS: u64 = 1_000_000_000;

/// The windows of one lane: as many as the run has seconds at most, whatever the number of failures, and the same
/// whatever the order in which failures arrive.
#[derive(Debug, Default)]
pub(super) struct Windows(BTreeMap<u64, Window>);

#[derive(Debug, Clone, Copy)]
struct Window {
    to: u64,
    failed: u64,
    late: u64,
}

impl Windows {
    /// Adds a failure that belongs to the moment `at`.
    pub(super) fn add(&mut self, at: u64, late: bool) {
        let mut window = Window { to: at, failed: u64::from(!late), late: u64::from(late) };
        let mut from = at;
        let before = self.0.range(..=at).next_back().map(|(from, window)| (*from, *window));
        let after = self.0.range(at.saturating_add(1)..).next().map(|(from, window)| (*from, *window));
        if let Some((key, other)) = before.filter(|(_, other)| at.saturating_sub(other.to) < GAP_NS) {
            self.0.remove(&key);
            (from, window) = (key, window.merge(other));
        }
        if let Some((key, other)) = after.filter(|(key, _)| key.saturating_sub(window.to) < GAP_NS) {
            self.0.remove(&key);
            window = window.merge(other);
        }
        self.0.insert(from, window);
    }

    /// As the report shows them.
    pub(super) fn report(&self, lane: &str) -> Vec<Outage> {
        let outage = |(from, window): (&u64, &Window)| Outage {
            lane: lane.to_owned(),
            from_ns: *from,
            to_ns: window.to,
            failed: window.failed,
            late: window.late,
        };
        self.0.iter().map(outage).collect()
    }
}

impl Window {
    fn merge(self, other: Self) -> Self {
        Self { to: self.to.max(other.to), failed: self.failed + other.failed, late: self.late + other.late }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn windows_do_not_depend_on_the_order_and_are_a_second_apart(
            times in proptest::collection::vec((0u64..30_000, any::<bool>()), 1..60),
            seed in any::<u64>(),
        ) {
            let fold = |times: &[(u64, bool)]| {
                let mut windows = Windows::default();
                for (ms, late) in times {
                    windows.add(ms * 1_000_000, *late);
                }
                windows.report("new")
            };
            let mut shuffled = times.clone();
            fastrand::Rng::with_seed(seed).shuffle(&mut shuffled);
            let outages = fold(&times);
            prop_assert_eq!(&outages, &fold(&shuffled));
            prop_assert_eq!(outages.iter().map(|o| o.failed + o.late).sum::<u64>(), times.len() as u64);
            for pair in outages.windows(2) {
                prop_assert!(pair[1].from_ns - pair[0].to_ns >= GAP_NS);
            }
        }
    }
}
