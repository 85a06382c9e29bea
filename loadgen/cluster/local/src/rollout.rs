//! The Deployment and `ReplicaSet` controllers' arithmetic, pure: which pods to create and delete next.
//!
//! Terminating pods do not count (Deployment controller, every version up to 1.36 without `podReplacementPolicy`).

use trial::id::PodId;
use trial::settings::{Rounding, Strategy};

/// What the controllers see of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// The pod.
    pub pod: PodId,
    /// Of the current template, or of an earlier one.
    pub current: bool,
    /// Ready for at least minReadySeconds.
    pub available: bool,
}

/// What to do next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Actions {
    /// Pods of the current template to create.
    pub create: u32,
    /// Pods to delete.
    pub delete: Vec<PodId>,
}

/// One pass over the pods that are not terminating, oldest first.
#[must_use]
pub fn reconcile(replicas: u32, strategy: Strategy, pods: &[View]) -> Actions {
    let surge = strategy.max_surge.resolve(replicas, Rounding::Up);
    let mut unavailable = strategy.max_unavailable.resolve(replicas, Rounding::Down);
    if surge == 0 && unavailable == 0 {
        unavailable = 1;
    }
    let count = |wanted: &dyn Fn(&View) -> bool| {
        u32::try_from(pods.iter().filter(|pod| wanted(pod)).count()).unwrap_or(u32::MAX)
    };
    let total = count(&|_| true);
    let current = count(&|pod| pod.current);
    let room = (replicas + surge).saturating_sub(total);
    let create = replicas.saturating_sub(current).min(room);

    let minimum = replicas.saturating_sub(unavailable);
    let old: Vec<&View> = pods.iter().filter(|pod| !pod.current).collect();
    // Old pods that serve nothing go first and cost no availability, as far as the total allows.
    let new_unavailable = count(&|pod| pod.current && !pod.available);
    let mut spare = total.saturating_sub(minimum).saturating_sub(new_unavailable);
    let mut delete = Vec::new();
    for pod in old.iter().filter(|pod| !pod.available) {
        if spare == 0 {
            break;
        }
        spare -= 1;
        delete.push(pod.pod);
    }
    let mut spare_available = count(&|pod| pod.available).saturating_sub(minimum);
    for pod in old.iter().filter(|pod| pod.available) {
        if spare_available == 0 {
            break;
        }
        spare_available -= 1;
        delete.push(pod.pod);
    }
    delete.extend(surplus(current.saturating_sub(replicas), pods));
    Actions { create, delete }
}

/// What a `ReplicaSet` gives up when it has too many: those that serve nothing first, then the youngest
/// (`ActivePodsWithRanks`, as far as it applies to one container a pod).
fn surplus(count: u32, pods: &[View]) -> impl Iterator<Item = PodId> {
    let current = || pods.iter().rev().filter(|pod| pod.current);
    let idle = current().filter(|pod| !pod.available);
    let serving = current().filter(|pod| pod.available);
    idle.chain(serving).take(usize::try_from(count).unwrap_or(usize::MAX)).map(|pod| pod.pod)
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "a test's few pods")]
mod tests {
    use super::*;
    use proptest::{prop_assert, proptest};
    use trial::settings::Amount;

    const fn pods(surge: u32, unavailable: u32) -> Strategy {
        Strategy { max_surge: Amount::Pods(surge), max_unavailable: Amount::Pods(unavailable) }
    }

    /// Runs a rollout in which each new pod becomes available one pass later; returns (least available, most pods).
    fn roll(replicas: u32, strategy: Strategy) -> (u32, u32) {
        let mut state: Vec<View> =
            (0..replicas).map(|n| View { pod: PodId(n as u16), current: false, available: true }).collect();
        let (mut least, mut most, mut next) = (replicas, replicas, replicas);
        for _ in 0..1_000 {
            let actions = reconcile(replicas, strategy, &state);
            if actions == Actions::default() && state.iter().all(|pod| pod.current && pod.available) {
                assert_eq!(state.len() as u32, replicas);
                return (least, most);
            }
            state.retain(|pod| !actions.delete.contains(&pod.pod));
            least = least.min(state.iter().filter(|pod| pod.available).count() as u32);
            for pod in &mut state {
                pod.available = true;
            }
            for _ in 0..actions.create {
                state.push(View { pod: PodId(next as u16), current: true, available: false });
                next += 1;
            }
            most = most.max(state.len() as u32);
        }
        panic!("the rollout of {replicas} with {strategy:?} does not end");
    }

    #[test]
    fn surge_one_adds_before_it_takes_away() {
        assert_eq!(roll(3, pods(1, 0)), (3, 4));
    }

    #[test]
    fn unavailable_one_takes_away_before_it_adds() {
        assert_eq!(roll(3, pods(0, 1)), (2, 3));
    }

    #[test]
    fn a_deleted_pod_is_replaced_at_once() {
        let left = [View { pod: PodId(1), current: true, available: true }];
        assert_eq!(reconcile(2, pods(1, 0), &left), Actions { create: 1, delete: vec![] });
    }

    #[test]
    fn shares_round_up_for_surge_and_down_for_unavailable() {
        let quarter = Strategy { max_surge: Amount::Percent(25), max_unavailable: Amount::Percent(25) };
        assert_eq!(roll(3, quarter), (3, 4));
        assert_eq!(roll(8, quarter).0, 6);
    }

    proptest! {
        #[test]
        fn every_rollout_ends_within_its_bounds(replicas in 1_u32..20, surge in 0_u32..5, unavailable in 0_u32..5) {
            let (least, most) = roll(replicas, pods(surge, unavailable));
            let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
            prop_assert!(least >= replicas.saturating_sub(unavailable));
            prop_assert!(most <= replicas + surge);
        }
    }

    #[test]
    fn scaling_down_gives_up_what_serves_nothing_then_the_youngest() {
        let view = |pod, available| View { pod: PodId(pod), current: true, available };
        let all = [view(0, true), view(1, false), view(2, true), view(3, true)];
        let actions = reconcile(2, pods(1, 0), &all);
        assert_eq!(actions, Actions { create: 0, delete: vec![PodId(1), PodId(3)] });
        assert_eq!(reconcile(0, pods(1, 0), &all[..1]).delete, [PodId(0)]);
        assert_eq!(reconcile(4, pods(1, 0), &all), Actions::default());
    }
}
