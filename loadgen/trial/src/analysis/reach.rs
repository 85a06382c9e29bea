//! When a node's rules stopped naming a pod, where no event tells: the last new connection from that node that reached it.
//!
//! On a real cluster nobody reports what a node's kernel was programmed with; the load is the probe. The moment is known
//! as finely as new connections follow one another on one pod: the rules changed after that one was begun, and before the
//! next would have come.

use std::collections::BTreeMap;

use super::attribution::{attribute, started};
use super::timeline::PodFacts;
use crate::id::{NodeId, PodId};
use crate::record::{Flags, Record};
use crate::routing::Routing;

/// The name of the inferred edge.
pub(super) const EDGE: &str = "endpoint_removed";

/// By node and pod, when the last new connection was begun that reached it.
#[derive(Debug, Default)]
pub(super) struct Reach {
    last: BTreeMap<(NodeId, PodId), u64>,
    nodes: Vec<NodeId>,
}

impl Reach {
    /// Takes a record, in any order.
    pub(super) fn add(&mut self, record: &Record, pods: &BTreeMap<PodId, PodFacts>) {
        let opened = record.nth <= 1 && !record.flags.has(Flags::REUSED);
        if record.is_unsent() || !opened {
            return;
        }
        if !self.nodes.contains(&record.node) {
            self.nodes.push(record.node);
        }
        let answered = !record.class.is_service_failure();
        // A connection that was refused or timed out had been routed as well, to a pod that is told by its state.
        let id = if answered { record.pod.known() } else { attribute(pods, None, record).id };
        if let Some(id) = id {
            let last = self.last.entry((record.node, id)).or_default();
            *last = started(record).max(*last);
        }
    }

    /// Gives every terminated pod its removal, on nodes that new connections came from and whose rules nobody reported.
    pub(super) fn settle(self, pods: &mut BTreeMap<PodId, PodFacts>, names: &[String]) {
        for (id, pod) in pods {
            let Some(deleted) = pod.deleted_at() else { continue };
            for node in &self.nodes {
                let Some(name) = names.get(usize::from(node.0)) else { continue };
                if pod.rules.contains_key(name) {
                    continue;
                }
                let Some(last) = self.last.get(&(*node, *id)) else { continue };
                let named_from = pod.ready.unwrap_or(0).min(*last);
                let removed = last.saturating_add(1).max(deleted);
                let rules = vec![(named_from, Routing::Programmed), (removed, Routing::Removed)];
                pod.rules.insert(name.clone(), rules);
                pod.inferred.insert(EDGE);
            }
        }
    }
}
