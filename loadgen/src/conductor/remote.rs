//! Load on a cluster: agents send it, and this side tells them what and when, and fetches what they recorded.

use std::sync::Arc;
use std::time::Duration;

use cluster::Emitter;
use cluster_kube::agent::{self, Agent, AgentError};
use cluster_kube::clocks::Clocks;
use cluster_kube::objects::{Images, Owner};
use cluster_kube::{KubeCluster, Settings};
use futures_util::{StreamExt, TryStreamExt, stream};
use trial::event::Event;
use trial::id::ArmId;
use trial::plan::Arm;
use trial::scenario::redact;
use trial::settings::Target;

use super::arm::{Drive, Driven, Load};
use super::{RunError, Shared};
use crate::recorder::Rows;
use crate::target::authority;

pub(super) mod fleet;

use fleet::Fleet;

/// From the last preparation to the first slot: time enough to reach the agents.
const LEAD: Duration = Duration::from_millis(500);

/// What a reader must know of times on a cluster.
pub(super) const CAVEATS: [&str; 2] = [
    "kube backend: a node's rules cannot be read from outside: that a node stopped sending new connections to a pod is \
     told by the last one that reached it, and is known as finely as new connections follow one another on one pod",
    "kube backend: exits are told by the pod's own last word where it gives one, else by the first sign of them within \
     the second that the kubelet names",
];

/// And where arms run at once.
pub(super) const SIDE_BY_SIDE_CAVEAT: &str = "kube backend: arms that run at once share the nodes' kube-proxies; they are disrupted one after the other, but that one \
     is set up or taken away while another is disrupted may delay a node's rules by up to a second";

/// Where a run on a cluster takes place.
#[derive(Debug)]
pub struct Place {
    /// The cluster.
    pub cluster: cluster_kube::Cluster,
    /// Namespace of the first arm; further arms add their number.
    pub namespace: String,
    /// Images.
    pub images: Images,
    /// Agents of an arm.
    pub agents: u32,
    /// The nodes' clocks, which all arms share.
    pub clocks: Clocks,
    /// Held by the arm that is disrupted.
    pub turns: Arc<tokio::sync::Mutex<()>>,
}

impl Place {
    /// The namespace of an arm.
    #[must_use]
    pub fn namespace_of(&self, arm: u16) -> String {
        namespace_of(&self.namespace, arm)
    }
}

/// The namespace of an arm, given that of the first.
#[must_use]
pub fn namespace_of(first: &str, arm: u16) -> String {
    if arm == 0 { first.to_owned() } else { format!("{first}-{arm}") }
}

/// Takes away what an arm left whose task died. Gives what could not be.
pub(super) async fn sweep(place: &Place, run: &str) -> Vec<String> {
    match place.cluster.cleanup(Some(run)).await {
        Ok(cleaned) => cleaned.left,
        Err(error) => vec![error.to_string()],
    }
}

pub(super) fn settings(shared: &Shared, place: &Place, id: ArmId, arm: &Arm, emitter: Emitter) -> Settings {
    let conductor = &shared.conductor;
    Settings {
        cluster: place.cluster.clone(),
        owner: Owner { run: conductor.run.clone(), arm: id.0, namespace: place.namespace_of(id.0) },
        arm: arm.clone(),
        images: place.images.clone(),
        agents: place.agents,
        emitter,
        clocks: place.clocks.clone(),
        max_time: conductor.max_time,
        seed: shared.arm_seed(id),
        turns: Arc::clone(&place.turns),
    }
}

impl Drive for KubeCluster {
    async fn drive(
        &mut self,
        shared: &Shared,
        id: ArmId,
        arm: &Arm,
        rows: &Rows,
    ) -> Result<Driven, RunError> {
        let name = || arm.name.clone();
        let lost = |error: AgentError| RunError::Agent { arm: name(), message: error.to_string() };
        let emitter = self.emitter();
        let target = match &arm.load.target {
            Target::Service => self
                .service_address()
                .await
                .map(|address| address.to_string())
                .map_err(|source| RunError::Cluster { arm: name(), source })?,
            Target::Url(url) => authority(url).map_err(|reason| RunError::Target {
                arm: name(),
                url: redact::url(url),
                reason,
            })?,
        };
        let agents = self.take_agents();
        let total = u32::try_from(agents.len()).unwrap_or(1).max(1);
        let planning = shared.conductor.clock.now();
        let mut planned = Vec::new();
        for agent in agents {
            planned.push((plan_for(self, shared, id, arm, &agent, (&target, total))?, agent));
        }
        let told = stream::iter(planned)
            .map(|(plan, mut agent)| async move { agent.plan(&plan).await.map(|()| agent) })
            .buffered(agent::AT_ONCE)
            .try_collect();
        let agents: Vec<Agent> = told.await.map_err(lost)?;
        for agent in &agents {
            let Some(clock) = agent.clock() else { continue };
            emitter.emit(Event::AgentStarted {
                agent: agent.number,
                node: agent.node.clone(),
                clock_offset_ns: clock.wall_offset_ns,
                clock_uncertainty_ns: clock.uncertainty_ns,
            });
        }
        // Telling them to start takes as long as telling them their plans did.
        let took = shared.conductor.clock.now().saturating_since(planning);
        let start = shared.conductor.clock.now() + LEAD + took * 2;
        let gap = shortest_gap(arm) / total;
        let started = stream::iter(agents)
            .map(|mut agent| async move {
                // Side by side they keep the spacing that one alone would have.
                let at = start + gap * u32::from(agent.number);
                agent.start(at).await.map(|()| agent)
            })
            .buffered(agent::AT_ONCE)
            .try_collect();
        let agents: Vec<Agent> = started.await.map_err(lost)?;
        let clocks = self.clocks();
        let fleet = Fleet::new(agents, &arm.load, (&self.pod_names(), &clocks), &rows.sender, &emitter);
        Ok(Driven { start, load: Load::Fleet(fleet) })
    }
}

/// What one agent is to do.
fn plan_for(
    cluster: &KubeCluster,
    shared: &Shared,
    id: ArmId,
    arm: &Arm,
    agent: &Agent,
    (target, total): (&str, u32),
) -> Result<agent::Plan, RunError> {
    let stranger = |what: &str| RunError::Agent {
        arm: arm.name.clone(),
        message: format!("agent {} runs on {}, {what}", agent.pod, agent.node),
    };
    let clock = agent.clock().ok_or_else(|| stranger("whose clocks are not known"))?;
    let node = cluster.node_number(&agent.node).ok_or_else(|| {
        stranger("which took no pods when the run began, or is not among the first 255 nodes: run it again, or with fewer agents")
    })?;
    Ok(agent::Plan {
        source: crate::SOURCE.to_owned(),
        load: agent::share(&arm.load, u32::from(agent.number), total),
        seed: shared.arm_seed(id).wrapping_add(u64::from(agent.number)),
        agent: agent.number,
        node,
        target: target.to_owned(),
        sticky: arm.load.target == Target::Service,
        epoch_mono_ns: clock.epoch_mono_ns(),
    })
}

fn shortest_gap(arm: &Arm) -> Duration {
    let fastest = arm.load.lanes.iter().map(|lane| lane.rate).fold(0.0, f64::max);
    Duration::try_from_secs_f64(1.0 / fastest).unwrap_or(Duration::ZERO)
}
