//! When a node's rules stopped naming a pod, where no event tells: the last new connection from that node that reached it.
//!
//! On a real cluster nobody reports what a node's kernel was programmed with; the load is the probe. The moment is known
//! as finely as new connections follow one another on one pod: the rules changed after that one was begun, and before the
//! next would have come.
//!
//! A stray is not taken for it: a kernel's connection table can send a single new connection to a pod long after the
//! rules dropped it (the client's port was used before, and the old entry lived). If so many connections went elsewhere
//! in between that it cannot be chance, the rules had changed before.

use std::collections::BTreeMap;

use super::attribution::{attribute, started};
use super::timeline::PodFacts;
use crate::id::{NodeId, PodId};
use crate::record::{Flags, Record};
use crate::routing::Routing;

/// The name of the inferred edge.
pub(super) const EDGE: &str = "endpoint_removed";

/// Connections are counted in steps of this, so that what is held grows with time and not with the rate.
const STEP_NS: u64 = 50_000_000;
/// A pod that the rules still name is passed over by so many connections in a row less often than this.
const CHANCE: f64 = 1e-6;

/// No removal takes longer to reach the nodes of a cluster in order.
const TRAVELS_NS: u64 = 5_000_000_000;

/// By node, what new connections reached.
#[derive(Debug, Default)]
pub(super) struct Reach {
    /// By pod and step: the last new connection begun in it that reached the pod.
    reached: BTreeMap<(NodeId, PodId), BTreeMap<u64, u64>>,
    /// By step: new connections begun in it, whatever became of them.
    begun: BTreeMap<NodeId, BTreeMap<u64, u32>>,
}

impl Reach {
    /// Takes a record, in any order. What the client sends is under way for `away`.
    pub(super) fn add(&mut self, record: &Record, pods: &BTreeMap<PodId, PodFacts>, away: u64) {
        let opened = record.nth <= 1 && !record.flags.has(Flags::REUSED);
        if record.is_unsent() || !opened {
            return;
        }
        let at = started(record).saturating_add(away);
        *self.begun.entry(record.node).or_default().entry(at / STEP_NS).or_default() += 1;
        let answered = !record.class.is_service_failure();
        // A connection that was refused or timed out had been routed as well, to a pod that is told by its state.
        let id = if answered { record.pod.known() } else { attribute(pods, None, record, away).id };
        if let Some(id) = id {
            let last = self.reached.entry((record.node, id)).or_default().entry(at / STEP_NS).or_default();
            *last = at.max(*last);
        }
    }

    /// Gives every terminated pod its removal, on nodes that new connections came from and whose rules nobody reported.
    pub(super) fn settle(self, pods: &mut BTreeMap<PodId, PodFacts>, names: &[String]) {
        // Who may have been named beside a pod while its removal travelled: many more come and go in a long run.
        let lives: Vec<(u64, u64)> = pods
            .values()
            .filter_map(|pod| Some((pod.ready?, pod.deleted_at().unwrap_or(u64::MAX))))
            .collect();
        for (id, pod) in pods {
            let Some(deleted) = pod.deleted_at() else { continue };
            let beside = |(ready, until): &&(u64, u64)| {
                *ready <= deleted.saturating_add(TRAVELS_NS) && *until >= deleted.saturating_sub(TRAVELS_NS)
            };
            let passed_over = passed_over(lives.iter().filter(beside).count());
            for (node, begun) in &self.begun {
                let Some(name) = names.get(usize::from(node.0)) else { continue };
                if pod.rules.contains_key(name) {
                    continue;
                }
                let Some(reached) = self.reached.get(&(*node, *id)) else { continue };
                let Some(last) = last_in_turn(reached, begun, deleted, passed_over) else { continue };
                let named_from = pod.ready.unwrap_or(0).min(last);
                let removed = last.saturating_add(1).max(deleted);
                let rules = vec![(named_from, Routing::Programmed), (removed, Routing::Removed)];
                pod.rules.insert(name.clone(), rules);
                pod.inferred.insert(EDGE);
            }
        }
    }
}

/// How many connections in a row pass a pod over that is one of so many, before it cannot be chance.
fn passed_over(pods: usize) -> u64 {
    let mut chance = 1.0;
    let others = 1.0 - 1.0 / f64::from(u32::try_from(pods.max(2)).unwrap_or(u32::MAX));
    // Bounded: more pods than a workload may have do not come here, and each turn makes the chance smaller.
    (1..=10_000)
        .find(|_| {
            chance *= others;
            chance < CHANCE
        })
        .unwrap_or(10_000)
}

/// The last connection that reached the pod before it was passed over for good.
fn last_in_turn(
    reached: &BTreeMap<u64, u64>,
    begun: &BTreeMap<u64, u32>,
    deleted: u64,
    passed_over: u64,
) -> Option<u64> {
    let mut last: Option<(u64, u64)> = None;
    for (&step, &at) in reached {
        if let Some((before, _)) = last
            && at > deleted
        {
            let between = before + 1..step.max(before + 1);
            let elsewhere: u64 = begun.range(between).map(|(_, count)| u64::from(*count)).sum();
            if elsewhere > passed_over {
                break;
            }
        }
        last = Some((step, at));
    }
    last.map(|(_, at)| at)
}
