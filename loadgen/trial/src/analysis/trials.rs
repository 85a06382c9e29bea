//! Terminations and rollouts of an arm: what the bounds are computed from.

use super::arm::Arm;
use super::reach;
use super::timeline::PodFacts;
use crate::report::{Rollouts, Terminations, Timeline};
use crate::statistics::{rate_upper_95, real};

impl Arm<'_> {
    /// The pod termination is the trial; only those that requests were exposed to count.
    pub(super) fn terminations(&self) -> Terminations {
        let terminated = self.pods.iter().filter(|(_, pod)| pod.deleted_at().is_some());
        let replicas = u64::from(self.plan.workload.replicas.max(1));
        let mut found = Terminations::default();
        for (id, _) in terminated {
            let hits = self.hits.get(id).copied().unwrap_or_default();
            found.total += 1;
            // Where answers do not name their pod, 3k requests reach one of k pods with 95 %.
            let exposed = hits.bad || hits.exposed > 0 || hits.possible >= 3 * replicas;
            found.exposed += u64::from(exposed);
            found.bad += u64::from(hits.bad);
        }
        found.rate_upper_95 = rate_upper_95(found.bad, found.exposed);
        found
    }

    /// Pods of one rollout share syncs and stalls, so the disruption as a whole is one cluster of trials.
    pub(super) fn rollouts(&self, disrupted: bool, bad: bool) -> Rollouts {
        let total = u64::from(disrupted);
        let bad = u64::from(disrupted && bad);
        let ends = self.pods.values().filter(|pod| pod.deleted_at().is_some()).map(end);
        // One termination without an end, and the end of the whole is unknown.
        let last = ends.collect::<Option<Vec<_>>>().and_then(|ends| ends.into_iter().max());
        let began = self.disrupted_at();
        Rollouts {
            total,
            bad,
            rate_upper_95: rate_upper_95(bad, total),
            duration_ns: last
                .zip(began)
                .map(|(last, began)| last.saturating_sub(began))
                .filter(|_| disrupted),
        }
    }

    /// The longest observed time from a delete to the moment from which a node's rules avoided the pod.
    pub(super) fn propagation_ns(&self) -> Option<u64> {
        let delays = self.pods.values().filter_map(|pod| {
            let deleted = pod.deleted_at()?;
            let removals = self.nodes().iter().filter_map(|node| pod.removed_at(node));
            let longest = removals.map(|at| at.saturating_sub(deleted)).max()?;
            // What connections alone tell may have come so much later than the last of them.
            let unseen = if pod.inferred.contains(reach::EDGE) { self.detection_floor() } else { None };
            Some(longest.saturating_add(unseen.unwrap_or(0)))
        });
        delays.max()
    }

    /// The longest observed time from SIGTERM to a pod's own exit, in seconds.
    pub(super) fn longest_drain_secs(&self) -> Option<f64> {
        let drains = self.pods.values().filter(|pod| !pod.was_killed()).filter_map(|pod| {
            let (sigterm, exited) = pod.timeline.sigterm_ns.zip(pod.timeline.exited_ns)?;
            Some(exited.saturating_sub(sigterm))
        });
        drains.max().map(|nanos| real(nanos) / 1e9)
    }
}

/// When a terminated pod was no more.
fn end(pod: &PodFacts) -> Option<u64> {
    let Timeline { gone_ns, ip_gone_ns, exited_ns, .. } = pod.timeline;
    // A forced delete takes the object before the process has ended.
    gone_ns.map(|gone| gone.max(exited_ns.unwrap_or(0))).or(ip_gone_ns).or(exited_ns)
}
