//! Load on a cluster: agents send it, and this side tells them what and when, and fetches what they recorded.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use cluster::Emitter;
use cluster_kube::agent::{self, Agent, AgentError};
use cluster_kube::backend::PodNames;
use cluster_kube::clocks::Clocks;
use cluster_kube::objects::{Images, Owner};
use cluster_kube::{KubeCluster, Settings};
use engine::{LaneSummary, Progress, Summary};
use std::sync::mpsc::SyncSender;
use tokio::sync::watch;
use tokio::task::JoinSet;
use trial::event::Event;
use trial::id::{ArmId, LaneId, PodId};
use trial::plan::Arm;
use trial::record::Record;
use trial::recording::part;
use trial::scenario::redact;
use trial::settings::Target;
use trial::time::Stamp;

use super::arm::{Drive, Driven, Load, resolve};
use super::{RunError, Shared};
use crate::progress::Watched;
use crate::recorder::Rows;

/// From the last preparation to the first slot: time enough to reach the agents.
const LEAD: Duration = Duration::from_millis(500);
/// They are told one after the other.
const LEAD_EACH: Duration = Duration::from_millis(100);
/// How often an agent is asked how far it is; also what tells it that its controller lives.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// The same once the load is over and only rows are missing.
const ASK_AT_THE_END: Duration = Duration::from_millis(50);
/// What was in flight ends within the requests' own timeout; the last part follows.
const LAST_PART_WITHIN: Duration = Duration::from_secs(30);

/// What a reader must know of times on a cluster.
pub(super) const CAVEATS: [&str; 2] = [
    "kube backend: a node's rules cannot be read from outside: that a node stopped sending new connections to a pod is \
     told by the last one that reached it, and is known as finely as new connections follow one another on one pod",
    "kube backend: exits are told by the pod's own last word where it gives one, else by the first sign of them within \
     the second that the kubelet names",
];

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
            Target::Service => {
                self.service_address().await.map_err(|source| RunError::Cluster { arm: name(), source })?
            }
            Target::Url(url) => resolve(url).map_err(|reason| RunError::Target {
                arm: name(),
                url: redact::url(url),
                reason,
            })?,
        };
        let mut agents = self.take_agents();
        let total = u32::try_from(agents.len()).unwrap_or(1).max(1);
        for agent in &mut agents {
            let Some(clock) = agent.clock() else { continue };
            let plan = agent::Plan {
                load: agent::share(&arm.load, u32::from(agent.number), total),
                seed: shared.arm_seed(id).wrapping_add(u64::from(agent.number)),
                agent: agent.number,
                node: self.node_number(&agent.node),
                target,
                sticky: arm.load.target == Target::Service,
                epoch_mono_ns: clock.to_mono(Stamp::ZERO),
            };
            agent.plan(&plan).await.map_err(lost)?;
            emitter.emit(Event::AgentStarted {
                agent: agent.number,
                node: agent.node.clone(),
                clock_offset_ns: clock.wall_offset_ns,
                clock_uncertainty_ns: clock.uncertainty_ns,
            });
        }
        let start = shared.conductor.clock.now() + LEAD + LEAD_EACH * total;
        let gap = shortest_gap(arm) / total;
        for agent in &mut agents {
            // Side by side they keep the spacing that one alone would have.
            agent.start(start + gap * u32::from(agent.number)).await.map_err(lost)?;
        }
        let fleet = Fleet::new(agents, &arm.load, &self.pod_names(), &rows.sender, &emitter);
        Ok(Driven { start, load: Load::Fleet(fleet) })
    }
}

fn shortest_gap(arm: &Arm) -> Duration {
    let fastest = arm.load.lanes.iter().map(|lane| lane.rate).fold(0.0, f64::max);
    Duration::try_from_secs_f64(1.0 / fastest).unwrap_or(Duration::ZERO)
}

/// What the agents are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    GoOn,
    StopAt(Stamp),
    Interrupt,
}

type Totals = Arc<Mutex<Vec<agent::Progress>>>;

/// The agents of an arm at work.
pub(super) struct Fleet {
    order: watch::Sender<Order>,
    totals: Totals,
    tasks: JoinSet<Result<Summary, String>>,
}

impl Fleet {
    fn new(
        agents: Vec<Agent>,
        load: &trial::settings::Load,
        names: &PodNames,
        rows: &SyncSender<Vec<Record>>,
        emitter: &Emitter,
    ) -> Self {
        let longest = load.lanes.iter().map(|lane| lane.delay).max().unwrap_or_default();
        let patience = load.timeout + longest;
        let (order, orders) = watch::channel(Order::GoOn);
        let totals: Totals = Arc::new(Mutex::new(vec![agent::Progress::default(); agents.len()]));
        let mut tasks = JoinSet::new();
        for (index, agent) in agents.into_iter().enumerate() {
            let pump = Pump {
                agent,
                index,
                orders: orders.clone(),
                totals: Arc::clone(&totals),
                names: names.clone(),
                known: Vec::new(),
                rows: rows.clone(),
                next: 0,
                fetched: 0,
                emitter: emitter.clone(),
                patience,
            };
            tasks.spawn(async move { pump.run().await.map_err(|error| error.to_string()) });
        }
        Self { order, totals, tasks }
    }

    pub(super) fn stop_at(&self, last: Stamp) {
        self.order.send_replace(Order::StopAt(last));
    }

    pub(super) fn interrupt(&self) {
        self.order.send_replace(Order::Interrupt);
    }

    pub(super) fn watched(&self) -> Watched {
        let totals = Arc::clone(&self.totals);
        Arc::new(move || {
            let totals = totals.lock().map(|all| all.clone()).unwrap_or_default();
            totals.iter().fold(Progress::default(), |sum, one| Progress {
                sent: sum.sent + one.sent,
                failed: sum.failed + one.failed,
                in_flight: sum.in_flight + one.in_flight,
                unsent: sum.unsent + one.unsent,
                ..sum
            })
        })
    }

    pub(super) async fn finish(mut self) -> Result<Vec<Summary>, String> {
        let mut summaries = Vec::new();
        let mut lost = Vec::new();
        while let Some(ended) = self.tasks.join_next().await {
            match ended {
                Ok(Ok(summary)) => summaries.push(summary),
                Ok(Err(error)) => lost.push(error),
                Err(error) => lost.push(format!("an agent's task failed: {error}")),
            }
        }
        if lost.is_empty() { Ok(summaries) } else { Err(lost.join("; ")) }
    }
}

/// Brings the rows of one agent here.
struct Pump {
    agent: Agent,
    index: usize,
    orders: watch::Receiver<Order>,
    totals: Totals,
    names: PodNames,
    /// The agent's names of pods, by its own numbers.
    known: Vec<String>,
    rows: SyncSender<Vec<Record>>,
    next: u32,
    /// Rows that came here so far.
    fetched: u64,
    emitter: Emitter,
    /// Requests under way when the load ended may take so long.
    patience: Duration,
}

#[derive(Debug, thiserror::Error)]
enum PumpError {
    #[error(transparent)]
    Agent(#[from] AgentError),
    #[error("agent {agent}: failed to {source}")]
    Part { agent: String, source: part::PartError },
    #[error("agent {0} could not go on: {1}")]
    Ended(String, String),
    #[error("agent {0} did not hand over its last rows in time")]
    Late(String),
    #[error("agent {agent} recorded {recorded} rows, and {fetched} came here")]
    Missing { agent: String, recorded: u64, fetched: u64 },
    #[error("the rows of agent {0} could not be written")]
    Unwritten(String),
}

impl Pump {
    async fn run(mut self) -> Result<Summary, PumpError> {
        let mut deadline = None;
        loop {
            let pause = if deadline.is_some() { ASK_AT_THE_END } else { ASK_EVERY };
            tokio::select! {
                changed = self.orders.changed() => {
                    let order = *self.orders.borrow_and_update();
                    match order {
                        Order::StopAt(last) => self.agent.stop(last).await?,
                        Order::Interrupt => self.agent.interrupt().await?,
                        Order::GoOn => {}
                    }
                    if order != Order::GoOn || changed.is_err() {
                        deadline.get_or_insert_with(|| tokio::time::Instant::now() + LAST_PART_WITHIN);
                    }
                }
                () = tokio::time::sleep(pause) => {}
            }
            let progress = self.agent.progress().await?;
            if let Some(error) = progress.error {
                return Err(PumpError::Ended(self.agent.pod, error));
            }
            self.publish(&progress);
            self.fetch().await?;
            if let Some(summary) = progress.summary.filter(|summary| self.next >= summary.parts) {
                self.agent.release().await;
                if self.fetched != summary.rows {
                    let (agent, recorded) = (self.agent.pod, summary.rows);
                    return Err(PumpError::Missing { agent, recorded, fetched: self.fetched });
                }
                return Ok(self.summary(&summary));
            }
            if deadline.is_some_and(|deadline| tokio::time::Instant::now() > deadline + self.patience) {
                return Err(PumpError::Late(self.agent.pod));
            }
        }
    }

    fn publish(&self, progress: &agent::Progress) {
        if let Ok(mut all) = self.totals.lock()
            && let Some(own) = all.get_mut(self.index)
        {
            own.clone_from(progress);
        }
    }

    async fn fetch(&mut self) -> Result<(), PumpError> {
        while let Some(bytes) = self.agent.part(self.next).await? {
            self.next += 1;
            let records = self.decode(bytes).await?;
            self.fetched += records.len() as u64;
            let rows = self.rows.clone();
            // The channel's bound holds the agent's rows back here, not the runtime.
            let handed = tokio::task::spawn_blocking(move || rows.send(records)).await;
            if !matches!(handed, Ok(Ok(()))) {
                return Err(PumpError::Unwritten(self.agent.pod.clone()));
            }
        }
        Ok(())
    }

    /// The agent numbers pods as it meets them; the run, as they were made.
    async fn decode(&mut self, bytes: Bytes) -> Result<Vec<Record>, PumpError> {
        let decoded = tokio::task::spawn_blocking(move || part::decode(bytes)).await;
        let mut records = decoded
            .unwrap_or(Err(part::PartError::Damaged))
            .map_err(|source| PumpError::Part { agent: self.agent.pod.clone(), source })?;
        let highest = records.iter().filter_map(|record| record.pod.known()).map(|pod| pod.0).max();
        if highest.is_some_and(|highest| usize::from(highest) >= self.known.len()) {
            self.known = self.agent.pods().await?;
        }
        for record in &mut records {
            let name = record.pod.known().and_then(|pod| self.known.get(usize::from(pod.0)));
            record.pod = name.and_then(|name| self.names.id(name)).unwrap_or(PodId::NONE);
        }
        Ok(records)
    }

    fn summary(&self, summary: &agent::Summary) -> Summary {
        for (at, for_ns) in &summary.stalls {
            let at = self.agent.clock().map_or(Stamp::ZERO, |clock| clock.of_mono(at.mono_ns));
            self.emitter.emit_at(at, Event::Stalled { for_ns: *for_ns });
        }
        let lane = |(index, lane): (usize, &agent::LaneSummary)| LaneSummary {
            lane: LaneId(u8::try_from(index).unwrap_or(u8::MAX)),
            scheduled: 0,
            connections_opened: lane.connections_opened,
            idle_closes: lane.idle_closes,
            overflowed: lane.overflowed,
        };
        Summary { lanes: summary.lanes.iter().enumerate().map(lane).collect() }
    }
}
