//! An arm's workload: [`LocalCluster`] is the handle, `plane` the control plane behind it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use cluster::{Cluster, ClusterError, Emitter};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use trial::event::Event;
use trial::id::PodId;
use trial::plan::Arm;
use trial::routing::Table;
use trial::settings::{Again, Disruption, Program, Victim};

use crate::process::guard::Guard;
use crate::process::{Isolation, Spawner};

mod plane;
mod snapshot;
pub use plane::{AddressesGone, Names};
use plane::{Plane, Request};
use snapshot::Snapshot;

/// Pods that one arm may ever create: its addresses are laid out for so many.
const MAX_PODS: u16 = 500;
/// How long the kernel asks for an address on its own network before it gives up (`mcast_solicit` and `retrans_time_ms`:
/// three times a second).
const NO_NEIGHBOUR: Duration = Duration::from_secs(3);
/// Longer than any request waits for its connection.
const NO_WAY: Duration = Duration::from_hours(1);
/// How long the pods of a finished run may take to end.
const TEARDOWN_LIMIT: Duration = Duration::from_secs(10);

/// What an arm's cluster is made of.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The run.
    pub run: String,
    /// The arm.
    pub arm: Arm,
    /// Its number: arms have addresses of their own.
    pub number: u16,
    /// Every random choice follows from it.
    pub seed: u64,
    /// Our own executable, which holds the server and the programs between us and a pod.
    pub executable: PathBuf,
    /// How pods are kept apart.
    pub isolation: Isolation,
    /// Starts processes.
    pub spawner: Spawner,
    /// Is told of processes.
    pub guard: Arc<Mutex<Guard>>,
    /// Where events go.
    pub emitter: Emitter,
}

impl Settings {
    /// Names of the virtual nodes.
    #[must_use]
    pub fn nodes(&self) -> Vec<String> {
        node_names(self.arm.local.nodes)
    }

    /// Where the pod with this number listens: an address of its own in 127/8, and a port of its own too, since a
    /// foreign server may insist on every address of the machine.
    fn address(&self, pod: PodId) -> Result<SocketAddr, String> {
        if pod.0 >= MAX_PODS {
            return Err(format!("an arm has addresses for {MAX_PODS} pods, and this would be one more"));
        }
        let mixed = self.run.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let [.., high, low] = mixed.to_be_bytes();
        let index = u32::from(self.number) * u32::from(MAX_PODS) + u32::from(pod.0);
        let octet = |value: u32| u8::try_from(value).unwrap_or(u8::MAX);
        let ip = IpAddr::from(Ipv4Addr::new(127, 1 + high % 250, octet(index / 250), octet(index % 250 + 2)));
        let probe = match self.arm.workload.program {
            Program::Server(_) => ip,
            Program::Command(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        };
        // Below the ports that the kernel gives to clients.
        let first = 20_000 + (u32::from(low) * 37 + index) % 10_000;
        (first..32_000)
            .filter_map(|port| u16::try_from(port).ok())
            .find(|port| TcpListener::bind((probe, *port)).is_ok())
            .map(|port| SocketAddr::new(ip, port))
            .ok_or_else(|| "no port from 20000 to 32000 is free".to_owned())
    }
}

/// How pods are deleted.
#[derive(Debug, Clone, Copy, Default)]
struct How {
    grace: Option<u64>,
    force: bool,
    which: Victim,
}

/// Names of so many virtual nodes.
#[must_use]
pub fn node_names(nodes: u8) -> Vec<String> {
    (1..=nodes).map(|node| format!("node-{node}")).collect()
}

/// One arm's workload on this machine.
#[derive(Debug)]
pub struct LocalCluster {
    requests: mpsc::Sender<Request>,
    snapshots: watch::Receiver<Snapshot>,
    tables: Vec<Arc<ArcSwap<Table>>>,
    names: Names,
    addresses_gone: AddressesGone,
    nodes: Vec<String>,
    rules_changed: watch::Receiver<u64>,
    emitter: Emitter,
    plane: JoinHandle<()>,
    random: fastrand::Rng,
    /// For one pod to become available.
    ready_timeout: Duration,
    min_ready: Duration,
}

impl LocalCluster {
    /// Starts the control plane, without pods.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let emitter = settings.emitter.clone();
        let min_ready = Duration::from_secs(u64::from(settings.arm.workload.min_ready_seconds));
        let random = fastrand::Rng::with_seed(settings.seed ^ 0x5eed);
        let (requests, inbox) = mpsc::channel(16);
        let nodes = settings.nodes();
        let (plane, snapshots) = Plane::new(settings);
        let (tables, names, addresses_gone) = (plane.tables(), plane.names(), plane.addresses_gone());
        let rules_changed = plane.rules_changed();
        let plane = tokio::spawn(plane.run(inbox));
        let ready_timeout = Duration::from_secs(30);
        Self {
            requests,
            snapshots,
            tables,
            names,
            addresses_gone,
            nodes,
            rules_changed,
            emitter,
            plane,
            random,
            ready_timeout,
            min_ready,
        }
    }

    /// The rules of each node, in the order of their names.
    #[must_use]
    pub fn tables(&self) -> &[Arc<ArcSwap<Table>>] {
        &self.tables
    }

    /// What becomes of a connection that a node's rules send to a pod whose address is gone; `None` as long as it is
    /// there. On the pod's own node nobody answers for the address, which the kernel tells after three seconds; from
    /// another node the packets are lost on their way.
    pub fn lost_way(&self) -> impl Fn(PodId, usize) -> Option<Duration> + Send + Sync + 'static {
        let (gone, nodes) = (Arc::clone(&self.addresses_gone), self.nodes.len().max(1));
        move |pod, node| {
            let on_its_own = usize::from(pod.0) % nodes == node;
            gone.load().contains(&pod).then_some(if on_its_own { NO_NEIGHBOUR } else { NO_WAY })
        }
    }

    /// The pods by name, as they are made.
    #[must_use]
    pub const fn names(&self) -> &Names {
        &self.names
    }

    async fn ask(&self, request: Request) -> Result<(), ClusterError> {
        self.requests
            .send(request)
            .await
            .map_err(|_| ClusterError::Backend("the control plane has ended".to_owned()))
    }

    /// Waits for a state of the workload, for at most `limit`. A failure of any pod ends the wait.
    async fn until(
        &mut self,
        limit: Option<Duration>,
        met: impl Fn(&Snapshot) -> bool,
    ) -> Result<(), ClusterError> {
        let wait = async {
            let seen = self
                .snapshots
                .wait_for(|snapshot| snapshot.failure.is_some() || met(snapshot))
                .await
                .map_err(|_| ClusterError::Backend("the control plane has ended".to_owned()))?;
            match &seen.failure {
                Some(failure) => Err(failure.error()),
                None => Ok(()),
            }
        };
        match limit {
            None => wait.await,
            Some(limit) => {
                let waited = timeout(limit, wait).await;
                waited.unwrap_or_else(|_| {
                    let last_state = self.snapshots.borrow().describe();
                    Err(ClusterError::NotReady { timeout: limit, last_state })
                })
            }
        }
    }

    async fn until_programmed(&mut self, limit: Duration) -> Result<(), ClusterError> {
        let (tables, snapshots) = (&self.tables, &self.snapshots);
        let met = |_: &u64| {
            let snapshot = snapshots.borrow();
            tables.iter().all(|table| {
                let table = table.load();
                snapshot
                    .available
                    .iter()
                    .all(|pod| table.endpoints.iter().any(|endpoint| endpoint.pod == *pod))
            })
        };
        match timeout(limit, self.rules_changed.wait_for(met)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(ClusterError::Backend("the endpoint flow has ended".to_owned())),
            Err(_) => Err(ClusterError::NotReady {
                timeout: limit,
                last_state: "every pod was ready, but not yet in every node's rules".to_owned(),
            }),
        }
    }

    async fn delete_pods(
        &mut self,
        count: u32,
        every: Duration,
        How { grace, force, which }: How,
        again: &[Again],
    ) -> Result<(), ClusterError> {
        for turn in 0..count {
            if turn > 0 {
                tokio::time::sleep(every).await;
            }
            let limit = self.ready_timeout;
            let victim = match which {
                Victim::Available => {
                    self.until(Some(limit), |snapshot| !snapshot.available.is_empty()).await?;
                    let snapshot = self.snapshots.borrow();
                    self.random.choice(snapshot.available.iter().copied())
                }
                Victim::Newest => {
                    self.until(Some(limit), |snapshot| snapshot.newest.is_some()).await?;
                    self.snapshots.borrow().newest
                }
            };
            let Some(pod) = victim else { continue };
            self.ask(Request::Delete { pod, grace, force }).await?;
            self.until(Some(limit), |snapshot| {
                !snapshot.available.contains(&pod) && snapshot.newest != Some(pod)
            })
            .await?;
            for later in again {
                tokio::time::sleep(later.after).await;
                self.ask(Request::DeleteAgain { pod, grace: later.grace_period_seconds }).await?;
            }
        }
        Ok(())
    }

    /// Waits until the workload is whole: every replica available, every terminating pod gone.
    async fn until_whole(&mut self) -> Result<(), ClusterError> {
        let limit = self.ready_timeout;
        self.until(Some(limit), Snapshot::is_complete).await?;
        // Each pod's end is bounded by its own grace, which kubelet's machine enforces.
        self.until(None, |snapshot| snapshot.terminating == 0).await
    }
}

impl Cluster for LocalCluster {
    async fn deploy(&mut self, ready_timeout: Duration) -> Result<(), ClusterError> {
        // Being Ready is what is waited for; how long that must last is the scenario's own wish.
        self.ready_timeout = ready_timeout + self.min_ready;
        self.ask(Request::Deploy).await?;
        self.until(Some(self.ready_timeout), Snapshot::is_complete).await?;
        // The slowest preset needs 25 s for the last node to know.
        self.until_programmed(ready_timeout.max(Duration::from_secs(30))).await
    }

    async fn disrupt(&mut self, disruption: &Disruption) -> Result<(), ClusterError> {
        self.emitter.emit(Event::DisruptionStarted { kind: disruption.as_str().to_owned() });
        match disruption {
            Disruption::None => {}
            Disruption::RolloutRestart => {
                self.emitter.emit(Event::RolloutStarted);
                let revision = self.snapshots.borrow().revision + 1;
                self.ask(Request::Restart).await?;
                // Every step of a rollout waits for one pod; the whole may take as many steps as there are pods.
                let steps = self.snapshots.borrow().replicas.max(1);
                let limit = self.ready_timeout * steps;
                self.until(Some(limit), |snapshot| snapshot.revision == revision && snapshot.is_complete())
                    .await?;
                self.emitter.emit(Event::RolloutEnded);
            }
            Disruption::DrainNode => {
                return Err(ClusterError::Backend(format!(
                    "disruption {} needs a real cluster: --on kube",
                    disruption.as_str()
                )));
            }
            Disruption::DeletePods { count, every, grace_period_seconds, force, which, again } => {
                let how = How { grace: *grace_period_seconds, force: *force, which: *which };
                self.delete_pods(*count, *every, how, again).await?;
            }
            // Without a budget that refuses, an eviction is a delete.
            Disruption::Evict { count } => {
                self.delete_pods(*count, Duration::ZERO, How::default(), &[]).await?;
            }
            Disruption::Scale { to } => {
                let to = *to;
                self.ask(Request::Scale { to }).await?;
                let limit = self.ready_timeout * to.max(1);
                self.until(Some(limit), |snapshot| snapshot.replicas == to && snapshot.is_complete()).await?;
            }
        }
        self.emitter.emit(Event::DisruptionEnded);
        self.until_whole().await
    }

    async fn teardown(self) -> Result<(), ClusterError> {
        drop(self.requests);
        match timeout(TEARDOWN_LIMIT, self.plane).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(ClusterError::Leftover(format!("the control plane failed: {error}"))),
            Err(_) => Err(ClusterError::Leftover(format!("pods still run after {TEARDOWN_LIMIT:?}"))),
        }
    }
}
