//! Which request gets which fault: decided by a seed, before anything is sent.

use crate::fault::Fault;

/// From a key (a request's slot, or the number of a connection) to what is done to it. The same seed always plants the same.
#[derive(Debug, Clone)]
pub struct Plan {
    seed: u64,
    faults: Vec<Fault>,
    /// Of 1,000 keys.
    share: u64,
    good: Vec<Fault>,
}

impl Plan {
    /// `share` of 1,000 keys get one of `faults`, in equal parts; the others one of `good`.
    #[must_use]
    pub fn new(seed: u64, faults: Vec<Fault>, share: u64, good: Vec<Fault>) -> Self {
        Self { seed, faults, share, good }
    }

    /// What is done to `key`.
    #[must_use]
    pub fn of(&self, key: u64) -> Fault {
        let mixed = mix(self.seed ^ mix(key));
        let of = |kinds: &[Fault]| -> Option<Fault> {
            let at = (mixed >> 20) % u64::try_from(kinds.len()).ok()?.max(1);
            kinds.get(usize::try_from(at).ok()?).copied()
        };
        let faulty = (mixed & 0xf_ffff) % 1000 < self.share;
        of(if faulty { &self.faults } else { &self.good }).unwrap_or(Fault::Good)
    }

    /// True if `fault` may come up.
    #[must_use]
    pub fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault) || self.good.contains(&fault)
    }
}

/// The finaliser of `SplitMix64`: keys that follow each other come out as if drawn.
pub(crate) fn mix(key: u64) -> u64 {
    let mut mixed = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_kept_and_every_fault_comes_up() {
        let faults = vec![Fault::Refused, Fault::Late, Fault::NotFound];
        let plan = Plan::new(7, faults.clone(), 250, vec![Fault::Good, Fault::GoodClose]);
        let count = |fault| (0..10_000).filter(|key| plan.of(*key) == fault).count();
        for fault in faults {
            // 833 are expected; six standard deviations of a binomial are 166.
            assert!((667..=999).contains(&count(fault)), "{fault:?}: {}", count(fault));
        }
        assert!(count(Fault::Good) > 3000 && count(Fault::GoodClose) > 3000);
    }

    #[test]
    fn the_seed_decides() {
        let plan = |seed| Plan::new(seed, vec![Fault::Late], 500, vec![Fault::Good]);
        let all = |plan: &Plan| (0..100).map(|key| plan.of(key)).collect::<Vec<_>>();
        assert_eq!(all(&plan(1)), all(&plan(1)));
        assert_ne!(all(&plan(1)), all(&plan(2)));
    }
}
