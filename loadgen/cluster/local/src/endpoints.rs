//! The endpoint flow: the slice as the controller writes it, and each node's rules as its proxy programs them.
//!
//! One task writes the slice, one task a node follows it; they are joined by bounded channels, and every change
//! becomes an event at the moment at which it takes effect.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use cluster::Emitter;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use trial::event::Event;
use trial::id::PodId;
use trial::routing::{Endpoint, Table};
use trial::settings::Propagation;
use trial::time::Stamp;

use crate::propagation::Pacing;

/// Changes under way; an arm has a few dozen pods, each with a handful of changes.
const QUEUE: usize = 1024;

/// A change of one pod as the endpoint controller sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The Ready condition; the first one brings the address.
    Ready(PodId, SocketAddr, bool),
    /// deletionTimestamp is set.
    Terminating(PodId),
    /// A terminal phase, or the object is gone.
    Removed(PodId),
}

/// A slice entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    address: SocketAddr,
    serving: bool,
    terminating: bool,
    /// The Service's publishNotReadyAddresses.
    published: bool,
}

impl Entry {
    /// `ready = publishNotReadyAddresses ∨ (serving ∧ ¬terminating)` (endpointslice controller).
    const fn ready(self) -> bool {
        self.published || (self.serving && !self.terminating)
    }
}

/// The rules that a slice amounts to: the ready endpoints; with none, those that still serve (KEP-1669, GA 1.28).
fn rules(entries: &BTreeMap<PodId, Entry>) -> Table {
    let select = |fallback: bool, wanted: fn(Entry) -> bool| -> Vec<Endpoint> {
        entries
            .iter()
            .filter(|(_, entry)| wanted(**entry))
            .map(|(pod, entry)| Endpoint { pod: *pod, address: entry.address, fallback })
            .collect()
    };
    let ready = select(false, Entry::ready);
    let endpoints =
        if ready.is_empty() { select(true, |entry| entry.serving && entry.terminating) } else { ready };
    Table { endpoints }
}

/// How the endpoint flow of a Service is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// How long rules lag behind the slice.
    pub propagation: Propagation,
    /// Endpoints are ready whatever their pods are.
    pub publish_not_ready_addresses: bool,
}

/// The endpoint flow of one Service.
#[derive(Debug)]
pub struct Endpoints {
    changes: mpsc::Sender<(Stamp, Change)>,
    /// The rules of each node.
    pub tables: Vec<Arc<ArcSwap<Table>>>,
    /// Counts changes of any node's rules.
    pub changed: watch::Receiver<u64>,
    emitter: Emitter,
    tasks: Vec<JoinHandle<()>>,
}

impl Endpoints {
    /// Starts the controller and a proxy a node.
    #[must_use]
    pub fn start(emitter: Emitter, nodes: &[String], flow: Flow, seed: u64) -> Self {
        let Flow { propagation, publish_not_ready_addresses: published } = flow;
        let (news, inbox) = mpsc::channel(QUEUE);
        let (count, changed) = watch::channel(0);
        let count = Arc::new(count);
        let (mut tables, mut feeds, mut tasks) = (Vec::new(), Vec::new(), Vec::new());
        for (index, name) in (1_u64..).zip(nodes) {
            let table = Arc::new(ArcSwap::from_pointee(Table::default()));
            let (feed, updates) = mpsc::channel(QUEUE);
            let proxy = Proxy {
                node: name.clone(),
                table: Arc::clone(&table),
                pacing: Pacing::new(propagation, seed ^ index),
                emitter: emitter.clone(),
                count: Arc::clone(&count),
            };
            tasks.push(tokio::spawn(proxy.run(updates)));
            tables.push(table);
            feeds.push(feed);
        }
        let random = fastrand::Rng::with_seed(seed);
        tasks.push(tokio::spawn(write_slice(emitter.clone(), inbox, feeds, random, published)));
        Self { changes: news, tables, changed, emitter, tasks }
    }

    /// Tells the controller of a change that happened now.
    pub async fn tell(&self, change: Change) {
        // Closed only after `stop`.
        let _over = self.changes.send((self.emitter.clock().now(), change)).await;
    }

    /// Ends the tasks.
    pub fn stop(&self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// A slice on its way to a node: when the change happened, when it was written, what the rules should be.
type Written = (Stamp, Stamp, Table);

async fn write_slice(
    emitter: Emitter,
    mut inbox: mpsc::Receiver<(Stamp, Change)>,
    feeds: Vec<mpsc::Sender<Written>>,
    mut random: fastrand::Rng,
    published: bool,
) {
    let mut entries: BTreeMap<PodId, Entry> = BTreeMap::new();
    // Also of pods that have no entry yet: a pod may be deleted before it is ready.
    let mut terminating: BTreeSet<PodId> = BTreeSet::new();
    while let Some((changed, change)) = inbox.recv().await {
        let due = changed + Duration::from_micros(random.u64(5_000..50_000));
        tokio::time::sleep(due.saturating_since(emitter.clock().now())).await;
        let event = match change {
            Change::Ready(pod, address, serving) => {
                let terminating = terminating.contains(&pod);
                let entry = entries.entry(pod).or_insert(Entry { address, serving, terminating, published });
                entry.serving = serving;
                Event::SliceChanged { pod, ready: entry.ready(), serving, terminating: entry.terminating }
            }
            Change::Terminating(pod) => {
                terminating.insert(pod);
                let Some(entry) = entries.get_mut(&pod) else { continue };
                entry.terminating = true;
                Event::SliceChanged { pod, ready: entry.ready(), serving: entry.serving, terminating: true }
            }
            Change::Removed(pod) => {
                terminating.remove(&pod);
                if entries.remove(&pod).is_none() {
                    continue;
                }
                Event::SliceRemoved { pod }
            }
        };
        let written = emitter.emit(event);
        for feed in &feeds {
            if feed.send((changed, written, rules(&entries))).await.is_err() {
                return;
            }
        }
    }
}

struct Proxy {
    node: String,
    table: Arc<ArcSwap<Table>>,
    pacing: Pacing,
    emitter: Emitter,
    count: Arc<watch::Sender<u64>>,
}

impl Proxy {
    async fn run(mut self, mut updates: mpsc::Receiver<Written>) {
        while let Some((changed, written, mut table)) = updates.recv().await {
            let from = if self.pacing.coalesces() { written } else { changed };
            let due = self.pacing.due(from);
            self.wait_until(due).await;
            if self.pacing.coalesces() {
                // A sync takes what the slice says when it starts, not what it said when the sync was asked for.
                while let Ok((_, _, newer)) = updates.try_recv() {
                    table = newer;
                }
            }
            let takes = self.pacing.sync_takes();
            self.wait_until(self.now() + takes).await;
            self.program(&table);
            self.pacing.synced(self.now());
        }
    }

    fn now(&self) -> Stamp {
        self.emitter.clock().now()
    }

    async fn wait_until(&self, at: Stamp) {
        tokio::time::sleep(at.saturating_since(self.now())).await;
    }

    fn program(&self, table: &Table) {
        let old = self.table.load_full();
        // Rules first, stamps after: a connection made after a removal's stamp has met the new rules.
        self.table.store(Arc::new(table.clone()));
        let node = &self.node;
        for gone in old.endpoints.iter().filter(|old| !table.endpoints.iter().any(|new| new.pod == old.pod)) {
            self.emitter.emit(Event::EndpointRemoved { pod: gone.pod, node: node.clone() });
        }
        for new in table.endpoints.iter().filter(|new| !old.endpoints.contains(new)) {
            let fallback = new.fallback;
            self.emitter.emit(Event::EndpointProgrammed { pod: new.pod, node: node.clone(), fallback });
        }
        self.count.send_modify(|count| *count += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(serving: bool, terminating: bool) -> Entry {
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        Entry { address, serving, terminating, published: false }
    }

    fn programmed(entries: &[(u16, Entry)]) -> Vec<(u16, bool)> {
        let entries = entries.iter().map(|(pod, entry)| (PodId(*pod), *entry)).collect();
        rules(&entries).endpoints.into_iter().map(|endpoint| (endpoint.pod.0, endpoint.fallback)).collect()
    }

    #[test]
    fn a_terminating_pod_is_used_only_when_nothing_else_is_ready() {
        assert_eq!(programmed(&[(1, entry(true, true)), (2, entry(true, false))]), [(2, false)]);
        assert_eq!(programmed(&[(1, entry(true, true)), (2, entry(false, false))]), [(1, true)]);
        assert_eq!(programmed(&[(1, entry(false, true)), (2, entry(false, false))]), []);
    }

    #[test]
    fn a_service_that_publishes_addresses_not_ready_goes_on_using_a_terminating_pod() {
        let published = |serving, terminating| Entry { published: true, ..entry(serving, terminating) };
        assert_eq!(
            programmed(&[(1, published(true, true)), (2, published(false, false))]),
            [(1, false), (2, false)]
        );
    }
}
