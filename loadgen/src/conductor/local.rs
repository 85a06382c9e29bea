//! Load on the local backend: an engine of this process, and the rules of a virtual node as its route.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cluster::Emitter;
use cluster_local::process::Isolation;
use cluster_local::{LocalCluster, Settings};
use engine::{Direct, Engine, EngineConfig, Named, Pick, Route};
use trial::id::ArmId;
use trial::plan::Arm;
use trial::scenario::redact;
use trial::settings::Target;

use super::arm::{Drive, Driven, Load};
use super::{Processes, RunError, Shared};
use crate::recorder::Rows;
use crate::target::{authority, look_up};

/// From the last preparation to the first slot.
const LEAD: Duration = Duration::from_millis(50);
/// The node that load comes from.
const LOAD_NODE: usize = 0;

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
    let Some(table) = cluster.tables().get(LOAD_NODE).cloned() else {
        return Ok(Arc::new(|_| Pick::Rejected));
    };
    let lost_way = cluster.lost_way();
    let rejections = Rejections::new(clock);
    let names = Arc::clone(cluster.names());
    let pick = move |random: u64| {
        let table = table.load();
        let Some(endpoint) = table.pick(random) else { return rejections.next() };
        let pod = endpoint.pod;
        match lost_way(pod, LOAD_NODE) {
            Some(after) => Pick::Unreachable { pod, after },
            None => Pick::To { pod, address: endpoint.address, fallback: endpoint.fallback },
        }
    };
    // Of the connections of a client that is not ours, the answers tell where they went.
    Ok(Arc::new(Named { route: pick, pods: move |name: &str| names.load().get(name).copied(), sticky: true }))
}

#[cfg(test)]
mod tests {
    use super::*;

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
