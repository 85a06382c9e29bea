//! How far each node's clocks are from ours.
//!
//! All pods of a node share its clocks, so one of them is asked for both: a reading between two stamps of our own lies
//! in the middle of them, give or take half of what lies between. The best of several exchanges is kept.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use clock::{Anchor, Clock};
use contract::clock::Reading;
use trial::time::Stamp;

/// Exchanges with one node.
pub const EXCHANGES: usize = 8;

/// The clocks of one node, against the run's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeClock {
    /// What a reading of the node's monotonic clock lacks to be a stamp of the run.
    mono_to_run_ns: i64,
    /// The same of its wall clock.
    wall_to_run_ns: i64,
    /// How far its wall clock is ahead of ours.
    pub wall_offset_ns: i64,
    /// Half of the time of the exchange: the true offset is within this.
    pub uncertainty_ns: u64,
}

impl NodeClock {
    /// From one exchange: our stamps before and after, and the reading between.
    #[must_use]
    pub fn from_exchange(anchor: Anchor, before: Stamp, reading: Reading, after: Stamp) -> Self {
        let (before, after) = (before.as_nanos(), after.as_nanos());
        let uncertainty_ns = after.saturating_sub(before) / 2;
        let middle = signed(before.saturating_add(uncertainty_ns));
        let ours = signed(anchor.wall_ns).saturating_add(middle);
        Self {
            mono_to_run_ns: middle.saturating_sub(signed(reading.mono_ns)),
            wall_to_run_ns: middle.saturating_sub(signed(reading.wall_ns)),
            wall_offset_ns: signed(reading.wall_ns).saturating_sub(ours),
            uncertainty_ns,
        }
    }

    /// The more certain of two.
    #[must_use]
    pub fn better(self, other: Option<Self>) -> Self {
        other.filter(|other| other.uncertainty_ns < self.uncertainty_ns).unwrap_or(self)
    }

    /// A reading of the node's monotonic clock as a stamp; what was before the run's epoch is the epoch.
    #[must_use]
    pub fn of_mono(&self, mono_ns: u64) -> Stamp {
        shifted(mono_ns, self.mono_to_run_ns)
    }

    /// A reading of the node's wall clock as a stamp.
    #[must_use]
    pub fn of_wall(&self, wall_ns: u64) -> Stamp {
        shifted(wall_ns, self.wall_to_run_ns)
    }

    /// The run's epoch on the node's monotonic clock: negative if the node was started later than the run.
    #[must_use]
    pub const fn epoch_mono_ns(&self) -> i64 {
        self.mono_to_run_ns.saturating_neg()
    }

    /// How certain times are that were placed by this, given what a later exchange found: the clocks have drifted apart
    /// since, and the later exchange has its own uncertainty.
    #[must_use]
    pub fn uncertainty_by(&self, later: &Self) -> u64 {
        let mono = self.mono_to_run_ns.abs_diff(later.mono_to_run_ns);
        // The kubelet's events go by its wall clock, which may be set while a run goes on.
        let drift = mono.max(self.wall_to_run_ns.abs_diff(later.wall_to_run_ns));
        self.uncertainty_ns.max(drift.saturating_add(later.uncertainty_ns))
    }

    /// A stamp as a reading of the node's monotonic clock.
    #[must_use]
    pub fn to_mono(&self, stamp: Stamp) -> u64 {
        shifted(stamp.as_nanos(), self.mono_to_run_ns.saturating_neg()).as_nanos()
    }
}

fn signed(nanos: u64) -> i64 {
    i64::try_from(nanos).unwrap_or(i64::MAX)
}

fn shifted(nanos: u64, by: i64) -> Stamp {
    Stamp::from_nanos(u64::try_from(signed(nanos).saturating_add(by)).unwrap_or(0))
}

/// What is known of all nodes so far. Clones share it.
#[derive(Debug, Clone)]
pub struct Clocks {
    /// The run's clock.
    pub clock: Clock,
    /// Its anchor in wall time.
    pub anchor: Anchor,
    nodes: Arc<Mutex<BTreeMap<String, (Stamp, NodeClock)>>>,
}

/// Clocks of two machines that nobody steers drift apart by some tens of a millionth: so much is added to what an old
/// exchange found.
const DRIFT_PER_MILLION: u64 = 100;

impl Clocks {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(clock: Clock, anchor: Anchor) -> Self {
        Self { clock, anchor, nodes: Arc::default() }
    }

    /// The clocks of a node.
    #[must_use]
    pub fn of(&self, node: &str) -> Option<NodeClock> {
        self.nodes.lock().ok()?.get(node).map(|(_, clock)| *clock)
    }

    /// Takes what was found, if it is better than what was known, which gets worse with time.
    pub fn learn(&self, node: &str, found: NodeClock) {
        let now = self.clock.now();
        if let Ok(mut nodes) = self.nodes.lock() {
            let worth = |(at, known): &(Stamp, NodeClock)| {
                let age = u64::try_from(now.saturating_since(*at).as_nanos()).unwrap_or(u64::MAX);
                known.uncertainty_ns.saturating_add(age / 1_000_000 * DRIFT_PER_MILLION)
            };
            if nodes.get(node).is_none_or(|known| found.uncertainty_ns <= worth(known)) {
                nodes.insert(node.to_owned(), (now, found));
            }
        }
    }

    /// Stamps around an exchange.
    ///
    /// # Errors
    /// The exchange's own.
    pub async fn exchange<E>(&self, ask: impl Future<Output = Result<Reading, E>>) -> Result<NodeClock, E> {
        let before = self.clock.now();
        let reading = ask.await?;
        Ok(NodeClock::from_exchange(self.anchor, before, reading, self.clock.now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(ms: u64) -> Stamp {
        Stamp::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn a_reading_lies_in_the_middle_of_our_stamps_and_the_half_is_the_uncertainty() {
        let anchor = Anchor { wall_ns: 1_000_000_000_000, mono_ns: 77 };
        // At 105 ms of the run the node's wall clock is 3 s ahead, and it has been up for 50 s.
        let reading = Reading { wall_ns: 1_003_105_000_000, mono_ns: 50_000_000_000 };
        let clock = NodeClock::from_exchange(anchor, stamp(100), reading, stamp(110));
        assert_eq!((clock.wall_offset_ns, clock.uncertainty_ns), (3_000_000_000, 5_000_000));
        assert_eq!(clock.of_wall(1_003_105_000_000), stamp(105));
        assert_eq!(clock.of_mono(50_001_000_000), stamp(106));
        assert_eq!(clock.to_mono(stamp(106)), 50_001_000_000);
        assert_eq!(clock.of_mono(0), Stamp::ZERO, "before the epoch");
    }

    #[test]
    fn a_clock_that_drifted_is_as_uncertain_as_it_drifted() {
        let anchor = Anchor { wall_ns: 0, mono_ns: 0 };
        let begun = NodeClock::from_exchange(anchor, stamp(0), Reading { wall_ns: 0, mono_ns: 0 }, stamp(2));
        let reading = Reading { wall_ns: 1_001_000_000, mono_ns: 1_007_000_000 };
        let later = NodeClock::from_exchange(anchor, stamp(1_000), reading, stamp(1_004));
        assert_eq!(begun.uncertainty_by(&begun), 1_000_000);
        assert_eq!(begun.uncertainty_by(&later), 8_000_000, "6 ms apart, give or take 2 ms");
        let reading = Reading { wall_ns: 501_000_000, mono_ns: 1_001_000_000 };
        let set = NodeClock::from_exchange(anchor, stamp(1_000), reading, stamp(1_004));
        assert!(begun.uncertainty_by(&set) > 490_000_000, "its wall clock was set back");
    }

    #[test]
    fn a_node_may_be_younger_than_the_run() {
        let reading = Reading { wall_ns: 5_000_000_000, mono_ns: 1_000_000_000 };
        let anchor = Anchor { wall_ns: 0, mono_ns: 77 };
        let clock = NodeClock::from_exchange(anchor, stamp(5_000), reading, stamp(5_000));
        assert_eq!(clock.epoch_mono_ns(), -4_000_000_000);
        assert_eq!(Clock::with_epoch(clock.epoch_mono_ns()).stamp(1_000_000_000), stamp(5_000));
    }

    #[test]
    fn the_more_certain_exchange_is_kept() {
        let (run, anchor) = Clock::start();
        let clocks = Clocks::new(run, anchor);
        let reading = Reading { wall_ns: anchor.wall_ns, mono_ns: anchor.mono_ns };
        let wide = NodeClock::from_exchange(anchor, stamp(0), reading, stamp(40));
        let narrow = NodeClock::from_exchange(anchor, stamp(0), reading, stamp(4));
        for found in [wide, narrow, wide] {
            clocks.learn("a", found);
        }
        assert_eq!(clocks.of("a").map(|clock| clock.uncertainty_ns), Some(2_000_000));
        assert_eq!(clocks.of("b"), None);
    }
}
