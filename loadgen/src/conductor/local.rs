//! Load on the local backend: an engine of this process, and the rules of the virtual nodes as its route.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use cluster::Emitter;
use cluster_local::process::Isolation;
use cluster_local::{LocalCluster, Settings};
use engine::{Direct, Engine, EngineConfig, Named, Pick, Route};
use trial::id::{ArmId, NodeId, PodId};
use trial::plan::Arm;
use trial::routing::Table;
use trial::scenario::redact;
use trial::settings::Target;

use super::arm::{Drive, Driven, Load};
use super::{Processes, RunError, Shared};
use crate::recorder::Rows;
use crate::target::{authority, look_up};

/// From the last preparation to the first slot.
const LEAD: Duration = Duration::from_millis(50);

pub(super) fn settings(
    shared: &Shared,
    id: ArmId,
    arm: &Arm,
    emitter: Emitter,
    (executable, isolation): (&Path, Isolation),
    processes: &Processes,
) -> Settings {
    Settings {
        run: shared.conductor.run.clone(),
        arm: arm.clone(),
        number: id.0,
        seed: shared.seed.wrapping_mul(31).wrapping_add(u64::from(id.0)),
        executable: executable.to_owned(),
        isolation,
        spawner: processes.spawner.clone(),
        guard: Arc::clone(&processes.guard),
        emitter,
    }
}

impl Drive for LocalCluster {
    async fn drive(
        &mut self,
        shared: &Shared,
        id: ArmId,
        arm: &Arm,
        rows: &Rows,
    ) -> Result<Driven, RunError> {
        let clock = shared.conductor.clock;
        let start = clock.now() + LEAD;
        let route = route(clock, arm, self)?;
        let config = EngineConfig::new(clock, arm.load.clone(), shared.arm_seed(id), start, route);
        let engine = Engine::spawn(config, rows.sender.clone())
            .map_err(|source| RunError::Engine { arm: arm.name.clone(), source })?;
        Ok(Driven { start, load: Load::Engine(Arc::new(engine)) })
    }
}

/// kube-proxy rejects with an ICMP error, and the kernel sends few of them to one address: six at once, then one a second
/// (`inet_peer_xrlim_allow` with the default `icmp_ratelimit`). Who gets none waits.
struct Rejections {
    clock: clock::Clock,
    /// When the kernel would have as many to send as it ever has; ns.
    full_at: AtomicU64,
}

impl Rejections {
    const EVERY_NS: u64 = 1_000_000_000;
    const AT_ONCE: u64 = 6;

    const fn new(clock: clock::Clock) -> Self {
        Self { clock, full_at: AtomicU64::new(0) }
    }

    /// Called by one thread: the engine's.
    fn next(&self) -> Pick {
        let now = self.clock.now().as_nanos();
        let full_at = self.full_at.load(Ordering::Relaxed).max(now);
        if full_at - now > (Self::AT_ONCE - 1) * Self::EVERY_NS {
            return Pick::Unanswered;
        }
        self.full_at.store(full_at + Self::EVERY_NS, Ordering::Relaxed);
        Pick::Rejected
    }
}

fn route(clock: clock::Clock, arm: &Arm, cluster: &LocalCluster) -> Result<Arc<dyn Route>, RunError> {
    if let Target::Url(url) = &arm.load.target {
        let found = authority(url).and_then(|authority| look_up(&authority));
        let address = found.map_err(|reason| RunError::Target {
            arm: arm.name.clone(),
            url: redact::url(url),
            reason,
        })?;
        let names = Arc::clone(cluster.names());
        // Who answers behind somebody else's address, only the answer tells.
        return Ok(Arc::new(Named {
            route: Direct(address),
            pods: move |name: &str| names.load().get(name).copied(),
            sticky: false,
        }));
    }
    let node =
        |table: &Arc<ArcSwap<Table>>| Node { table: Arc::clone(table), rejections: Rejections::new(clock) };
    let nodes = Nodes { nodes: cluster.tables().iter().map(node).collect(), lost_way: cluster.lost_way() };
    let names = Arc::clone(cluster.names());
    // Of the connections of a client that is not ours, the answers tell where they went.
    Ok(Arc::new(Named {
        route: nodes,
        pods: move |name: &str| names.load().get(name).copied(),
        sticky: true,
    }))
}

/// Clients on every node alike: what a node's rules do late is seen by those who are there.
struct Nodes<L> {
    nodes: Vec<Node>,
    /// What becomes of a connection to a pod whose address is gone, by the node that it comes from.
    lost_way: L,
}

struct Node {
    table: Arc<ArcSwap<Table>>,
    rejections: Rejections,
}

impl<L> Nodes<L> {
    fn count(&self) -> u64 {
        self.nodes.len().max(1) as u64
    }
}

impl<L> Route for Nodes<L>
where
    L: Fn(PodId, usize) -> Option<Duration> + Send + Sync + 'static,
{
    // The low bits of the random number decide; the high ones then choose the endpoint.
    fn origin(&self, own: NodeId, random: u64) -> NodeId {
        u8::try_from(random % self.count()).map_or(own, NodeId)
    }

    fn pick(&self, from: NodeId, random: u64) -> Pick {
        let number = usize::from(from.0);
        let Some(node) = self.nodes.get(number) else { return Pick::Rejected };
        let table = node.table.load();
        let Some(endpoint) = table.pick(random) else { return node.rejections.next() };
        let pod = endpoint.pod;
        match (self.lost_way)(pod, number) {
            Some(after) => Pick::Unreachable { pod, after },
            None => Pick::To { pod, address: endpoint.address, fallback: endpoint.fallback },
        }
    }
}

#[cfg(test)]
mod tests {
    use trial::routing::Endpoint;

    use super::*;

    #[test]
    fn every_node_sends_to_every_endpoint() {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        let endpoint = |pod| Endpoint { pod: PodId(pod), address, fallback: false };
        let node = || Node {
            table: Arc::new(ArcSwap::from_pointee(Table { endpoints: (0..3).map(endpoint).collect() })),
            rejections: Rejections::new(clock::Clock::start().0),
        };
        let nodes = Nodes { nodes: vec![node(), node()], lost_way: |_, _| None };
        let mut random = fastrand::Rng::with_seed(1);
        let mut seen = std::collections::BTreeMap::<_, u32>::new();
        for _ in 0..6_000 {
            let random = random.u64(..);
            let from = nodes.origin(NodeId(7), random);
            let Pick::To { pod, .. } = nodes.pick(from, random) else { panic!("nothing is rejected") };
            *seen.entry((from, pod)).or_default() += 1;
        }
        assert_eq!(seen.len(), 6, "{seen:?}");
        assert!(seen.values().all(|count| (850..1_150).contains(count)), "five sigma: {seen:?}");
    }

    #[test]
    fn six_rejections_are_told_at_once_and_the_next_a_second_later() {
        let rejections = Rejections::new(clock::Clock::start().0);
        let picks: Vec<Pick> = (0..8).map(|_| rejections.next()).collect();
        assert_eq!(picks[..6], [Pick::Rejected; 6]);
        assert_eq!(picks[6..], [Pick::Unanswered; 2]);
        // A second later there is one to send again, and one only.
        rejections.full_at.fetch_sub(Rejections::EVERY_NS, Ordering::Relaxed);
        assert_eq!([rejections.next(), rejections.next()], [Pick::Rejected, Pick::Unanswered]);
    }
}
