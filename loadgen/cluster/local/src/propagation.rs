//! When a node's rules follow the slice: pure and seeded.
//!
//! kube-proxy syncs at once when it has been idle, else no sooner than `minSyncPeriod` (1 s) after its last sync
//! ended, so that a rollout's own changes delay each other. Presets sample the delay where that model is not wanted.

use std::time::Duration;

use trial::settings::Propagation;
use trial::time::Stamp;

/// kube-proxy's default `minSyncPeriod`.
const MIN_SYNC_PERIOD: Duration = Duration::from_secs(1);

/// (share, seconds): how long a sync of a small cluster takes until the kernel has the new rules. Fitted so that isolated deletes
/// on this backend and on a real cluster of two nodes keep sending connections to the pod for as long (`scripts/propagation`).
const SYNC: &[(f64, f64)] = &[(0.0, 0.010), (0.5, 0.036), (0.9, 0.100), (0.99, 0.220), (1.0, 0.270)];
/// (share, seconds): delete → programmed on 100 nodes with nftables (figures of kubernetes PR 124272).
const NODES_100: &[(f64, f64)] = &[(0.0, 0.3), (0.5, 1.5), (0.9, 2.3), (0.99, 6.8), (1.0, 8.0)];
/// The same on 5000 nodes (KEP-3453, perf-tests 2407).
const NODES_5000: &[(f64, f64)] = &[(0.0, 1.0), (0.5, 5.0), (0.9, 8.0), (0.99, 18.0), (1.0, 25.0)];

/// The pacing of one node's proxy.
#[derive(Debug, Clone)]
pub struct Pacing {
    propagation: Propagation,
    random: fastrand::Rng,
    /// No view is applied before this: end of the last sync plus its pause, or the last applied view's time.
    not_before: Stamp,
}

impl Pacing {
    /// A node that has been idle.
    #[must_use]
    pub fn new(propagation: Propagation, seed: u64) -> Self {
        Self { propagation, random: fastrand::Rng::with_seed(seed), not_before: Stamp::ZERO }
    }

    /// True if a sync takes whatever the slice says when it starts; false if every change travels by itself.
    #[must_use]
    pub const fn coalesces(&self) -> bool {
        matches!(self.propagation, Propagation::KubeProxy)
    }

    /// When the change that reached the slice at `changed` is in the node's rules. For kube-proxy: when the sync
    /// that takes it starts; [`Pacing::sync_takes`] is to be added.
    pub fn due(&mut self, changed: Stamp) -> Stamp {
        let delay = match self.propagation {
            Propagation::KubeProxy => Duration::from_micros(self.random.u64(1_000..10_000)),
            Propagation::Fixed(delay) => delay,
            Propagation::Nodes100 => sample(NODES_100, self.random.f64()),
            Propagation::Nodes5000 => sample(NODES_5000, self.random.f64()),
        };
        let due = (changed + delay).max(self.not_before);
        if !self.coalesces() {
            // Later news never overtakes earlier news on its way to one node.
            self.not_before = due;
        }
        due
    }

    /// How long a sync takes: a small cluster's few rules.
    pub fn sync_takes(&mut self) -> Duration {
        if self.coalesces() { sample(SYNC, self.random.f64()) } else { Duration::ZERO }
    }

    /// A sync ended.
    pub fn synced(&mut self, at: Stamp) {
        if self.coalesces() {
            self.not_before = at + MIN_SYNC_PERIOD;
        }
    }
}

fn sample(quantiles: &[(f64, f64)], share: f64) -> Duration {
    let seconds = quantiles
        .windows(2)
        .find_map(|pair| match pair {
            [(low, from), (high, to)] if share <= *high => {
                Some(from + (to - from) * (share - low) / (high - low))
            }
            _ => None,
        })
        .unwrap_or(0.0);
    Duration::from_secs_f64(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Stamp {
        Stamp::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn an_idle_proxy_syncs_at_once_and_a_busy_one_waits_for_its_period() {
        let mut pacing = Pacing::new(Propagation::KubeProxy, 7);
        let first = pacing.due(at(5_000));
        assert!(first.saturating_since(at(5_000)) <= Duration::from_millis(10));
        pacing.synced(at(5_030));
        assert_eq!(pacing.due(at(5_100)), at(6_030));
        assert!(pacing.due(at(9_000)).saturating_since(at(9_000)) <= Duration::from_millis(10));
    }

    #[test]
    fn a_fixed_time_is_that_time_for_every_change() {
        let mut pacing = Pacing::new(Propagation::Fixed(Duration::from_millis(1300)), 7);
        assert_eq!(pacing.due(at(10)), at(1310));
        assert_eq!(pacing.due(at(20)), at(1320));
    }

    #[test]
    fn sampled_delays_have_the_preset_median_and_never_reorder() {
        let mut pacing = Pacing::new(Propagation::Nodes100, 7);
        let mut delays: Vec<f64> = (0..10_001)
            .map(|n| {
                let changed = at(n * 100_000);
                pacing.due(changed).saturating_since(changed).as_secs_f64()
            })
            .collect();
        delays.sort_by(f64::total_cmp);
        assert!((delays[5_000] - 1.5).abs() < 0.05, "median {}", delays[5_000]);
        let first = pacing.due(at(2_000_000_000));
        assert!(pacing.due(at(2_000_000_001)) >= first);
    }
}
