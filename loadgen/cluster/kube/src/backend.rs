//! One arm's workload on a cluster.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ::cluster::{ClusterError, Emitter};
use futures_util::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};
use trial::event::Event;
use trial::id::PodId;
use trial::plan::Arm;
use trial::settings::{Disruption, Handler, Program};

mod lease;

pub(crate) use lease::LEASE_LASTS;
use lease::Renewal;

use crate::agent::{AT_ONCE, Agent, AgentError};
use crate::clocks::Clocks;
use crate::connect::{Cluster, call, code};
use crate::objects::{self, Images, ManifestError, Owner};
use crate::observe::View;
use crate::readiness::{cannot_start, is_running, why_not_running};
use crate::wait::{self, Look};
use crate::watch::{self, Views, Watcher};

/// Once every slice names every pod, a node's rules follow within kube-proxy's minSyncPeriod (1 s) and its own time.
/// Load before that would find gaps that are none of the disruption's.
const RULES_FOLLOW: Duration = Duration::from_secs(2);
/// Agents may do their work so much longer than the run that they belong to.
const AGENT_MARGIN: Duration = Duration::from_mins(5);

/// How often, and how long apart, one looks for a namespace whose making was not answered.
const LOOKS: u32 = 5;
/// See [`LOOKS`].
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Whether the arm's namespace is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Created {
    No,
    /// It was asked for, and no answer told.
    Perhaps,
    Yes,
}

/// What an arm needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The cluster.
    pub cluster: Cluster,
    /// Whose objects they are, and where.
    pub owner: Owner,
    /// What runs and what is done to it.
    pub arm: Arm,
    /// Images.
    pub images: Images,
    /// Agents that send the load.
    pub agents: u32,
    /// Where events go.
    pub emitter: Emitter,
    /// Clocks of the nodes, shared by the arms.
    pub clocks: Clocks,
    /// How long the run may take.
    pub max_time: Duration,
    /// Decides which pods are taken away.
    pub seed: u64,
    /// Held by the arm that is disrupted: the arms of a run share the nodes and their kube-proxies, where the changes of
    /// one would delay those of another.
    pub turns: Arc<Mutex<()>>,
}

/// One arm's workload on a cluster.
#[derive(Debug)]
pub struct KubeCluster {
    pub(crate) settings: Settings,
    pub(crate) watcher: Watcher,
    pub(crate) random: fastrand::Rng,
    pub(crate) ready_timeout: Duration,
    created: Created,
    agents: Vec<Agent>,
    /// Renews the lease; ended with the run.
    renewal: Option<Renewal>,
    pub(crate) cordoned: Option<String>,
}

fn manifest<T>(result: Result<T, ManifestError>) -> Result<T, ClusterError> {
    result.map_err(|error| ClusterError::Backend(error.to_string()))
}

impl KubeCluster {
    /// Starts the watches; nothing is made yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let sleeps = match settings.arm.workload.lifecycle.pre_stop {
            Some(Handler::Sleep { seconds }) => Some(seconds),
            _ => None,
        };
        let watcher = Watcher::start(watch::Settings {
            client: settings.cluster.client.clone(),
            owner: settings.owner.clone(),
            clocks: settings.clocks.clone(),
            emitter: settings.emitter.clone(),
            sleeps,
            own_server: matches!(settings.arm.workload.program, Program::Server(_)),
        });
        let ready_timeout = Duration::from_mins(1);
        let random = fastrand::Rng::with_seed(settings.seed);
        Self {
            settings,
            watcher,
            random,
            ready_timeout,
            created: Created::No,
            agents: Vec::new(),
            renewal: None,
            cordoned: None,
        }
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.settings.cluster.client.clone(), &self.settings.owner.namespace)
    }

    pub(crate) async fn apply<K>(&self, object: &K) -> Result<K, ClusterError>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope>
            + Serialize
            + DeserializeOwned
            + Clone
            + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let name = object.name_any();
        let kind = K::kind(&K::DynamicType::default()).into_owned();
        let parameters = PatchParams::apply(objects::MANAGER).force();
        let api = self.api::<K>();
        let patch = Patch::Apply(object);
        let applied = api.patch(&name, &parameters, &patch);
        call(&format!("apply {kind} {name} in namespace {}", self.settings.owner.namespace), applied).await
    }

    async fn create_namespace(&mut self) -> Result<(), ClusterError> {
        let name = self.settings.owner.namespace.clone();
        let namespaces: Api<Namespace> = Api::all(self.settings.cluster.client.clone());
        let object = manifest(objects::namespace(&self.settings.owner))?;
        // Noted before it is asked for: one that was made while nobody waited any more is taken away as well.
        self.created = Created::Perhaps;
        match timeout(crate::connect::CALL_TIMEOUT, namespaces.create(&PostParams::default(), &object)).await
        {
            Ok(Ok(_)) => {
                self.created = Created::Yes;
                Ok(())
            }
            Ok(Err(error)) if code(&error) == Some(409) => {
                // The client may have asked a second time after the first had been granted.
                let found = call("look at the namespace", namespaces.get(&name)).await;
                if found.is_ok_and(|found| found.labels().get(objects::RUN) == Some(&self.settings.owner.run))
                {
                    self.created = Created::Yes;
                    return Ok(());
                }
                self.created = Created::No;
                Err(crate::preflight::taken(&name))
            }
            Ok(Err(error)) => {
                // Only a refusal says for certain that there is none.
                if code(&error).is_some_and(|code| (400..500).contains(&code)) {
                    self.created = Created::No;
                }
                Err(crate::connect::failed(&format!("create namespace {name}"), &error))
            }
            Err(_) => {
                Err(ClusterError::Backend(format!("failed to create namespace {name}: no answer in time")))
            }
        }
    }

    async fn set_up(&mut self, ready_timeout: Duration) -> Result<Vec<Agent>, ClusterError> {
        let min_ready = Duration::from_secs(u64::from(self.settings.arm.workload.min_ready_seconds));
        self.ready_timeout = ready_timeout + min_ready;
        self.create_namespace().await?;
        self.renewal = Some(self.hold_lease().await?);
        let (owner, images, arm) = (&self.settings.owner, &self.settings.images, &self.settings.arm);
        let (deployment, service) = manifest(objects::server(owner, &arm.workload, &images.server))?;
        let longest = (self.settings.max_time + AGENT_MARGIN).as_secs();
        let job = manifest(objects::agents(owner, &images.loadgen, self.settings.agents, longest))?;
        self.apply(&manifest(objects::network_policy(owner))?).await?;
        self.apply(&service).await?;
        if arm.workload.calls_api_server() {
            let (role, binding) = manifest(objects::api_access(owner))?;
            self.apply(&role).await?;
            self.apply(&binding).await?;
        }
        let applied = self.apply(&deployment).await?;
        if let Some(text) = objects::dropped_stop_signal(&arm.workload, &applied, &images.server)
            .map_err(ClusterError::Backend)?
        {
            self.settings.emitter.emit(Event::Note { pod: None, text });
        }
        self.apply(&job).await?;
        // The agents start beside the pods under test: a second wait of that length is rarely begun.
        self.until_complete(self.ready_timeout, None).await?;
        let agents = self.agents(self.ready_timeout).await?;
        sleep(RULES_FOLLOW).await;
        Ok(agents)
    }

    /// The address of the Service: its `ClusterIP`, so that no name service is needed.
    ///
    /// # Errors
    /// It has none, or the API server does not say.
    pub async fn service_address(&self) -> Result<SocketAddr, ClusterError> {
        let services: Api<Service> = self.api();
        let service = call("look for the Service", services.get(objects::WEB)).await?;
        let spec = service.spec.unwrap_or_default();
        let ip: Option<IpAddr> = spec.cluster_ip.and_then(|ip| ip.parse().ok());
        let port = spec.ports.iter().flatten().next().and_then(|port| u16::try_from(port.port).ok());
        match (ip, port) {
            (Some(ip), Some(port)) => Ok(SocketAddr::new(ip, port)),
            _ => Err(ClusterError::Backend(format!(
                "Service {} has no cluster IP to send load to",
                objects::WEB
            ))),
        }
    }

    pub(crate) fn views(&self) -> Views {
        self.watcher.views.borrow().clone()
    }

    /// Pods that could be deleted: Ready, and not on their way out.
    pub(crate) fn available(&self) -> Vec<View> {
        self.views().into_values().filter(View::is_available).collect()
    }

    /// The agents' pods once they run, by their index.
    async fn agents(&self, limit: Duration) -> Result<Vec<Agent>, ClusterError> {
        let pods = &self.api::<Pod>();
        let selector = &ListParams::default().labels(&objects::agent_selector(&self.settings.owner));
        let wanted = usize::try_from(self.settings.agents).unwrap_or(usize::MAX);
        let mut agents = wait::until(limit, || async move {
            let listed = call("look for the agents", pods.list(selector)).await?;
            let mut running = Vec::new();
            let mut why = String::new();
            for pod in &listed {
                if let Some(message) = cannot_start(pod) {
                    return Err(ClusterError::Start { pod: pod.name_any(), message });
                }
                if is_running(pod) {
                    running.push(self.agent(pod));
                } else if let Some(reason) = why_not_running(pod) {
                    why = format!(" ({}: {reason})", pod.name_any());
                }
            }
            if running.len() >= wanted {
                return Ok(Look::Met(running));
            }
            if listed.items.len() < wanted {
                why = format!(" ({} of their pods were made)", listed.items.len());
            }
            Ok(Look::NotYet(format!("{} of {wanted} agents run{why}", running.len())))
        })
        .await?;
        agents.sort_by_key(|agent| agent.number);
        let learnt = stream::iter(agents)
            .map(|mut agent| async { agent.learn(&self.settings.clocks).await.map(|_| agent) })
            .buffered(AT_ONCE)
            .try_collect();
        learnt.await.map_err(|error: AgentError| ClusterError::Backend(error.to_string()))
    }

    fn agent(&self, pod: &Pod) -> Agent {
        let index = pod.annotations().get("batch.kubernetes.io/job-completion-index");
        let number = index.and_then(|index| index.parse().ok()).unwrap_or(0);
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
        Agent::new(self.api(), &pod.name_any(), &node, number)
    }

    /// The agents that [`Cluster::deploy`](::cluster::Cluster::deploy) brought up.
    pub fn take_agents(&mut self) -> Vec<Agent> {
        std::mem::take(&mut self.agents)
    }

    /// Where the arm's events go.
    #[must_use]
    pub fn emitter(&self) -> Emitter {
        self.settings.emitter.clone()
    }

    /// The number of a node among those that took pods when the run began; `None` of any other.
    #[must_use]
    pub fn node_number(&self, node: &str) -> Option<u8> {
        let position = self.settings.cluster.nodes.iter().position(|name| name == node)?;
        u8::try_from(position).ok()
    }

    /// The nodes' clocks.
    #[must_use]
    pub fn clocks(&self) -> Clocks {
        self.settings.clocks.clone()
    }

    /// Finds pods by name, for as long as the watches last.
    #[must_use]
    pub fn pod_names(&self) -> PodNames {
        PodNames(self.watcher.views.clone())
    }
}

/// Pods by name.
#[derive(Debug, Clone)]
pub struct PodNames(tokio::sync::watch::Receiver<Views>);

impl PodNames {
    /// The pod of this name.
    #[must_use]
    pub fn id(&self, name: &str) -> Option<PodId> {
        self.0.borrow().iter().find(|(_, view)| view.name == name).map(|(id, _)| *id)
    }

    /// Waits until the watch has seen pods of all these names. An answer may name a pod before the news of it is here.
    pub async fn seen(&mut self, names: &[String], limit: Duration) {
        let all = |views: &Views| names.iter().all(|name| views.values().any(|view| view.name == *name));
        drop(timeout(limit, self.0.wait_for(all)).await);
    }
}

impl ::cluster::Cluster for KubeCluster {
    async fn deploy(&mut self, ready_timeout: Duration) -> Result<(), ClusterError> {
        self.agents = self.set_up(ready_timeout).await?;
        Ok(())
    }

    async fn disrupt(&mut self, disruption: &Disruption) -> Result<(), ClusterError> {
        let turns = Arc::clone(&self.settings.turns);
        let _turn = turns.lock().await;
        self.settings.emitter.emit(Event::DisruptionStarted { kind: disruption.as_str().to_owned() });
        self.act(disruption).await?;
        self.until_settled(disruption.grace_seconds()).await?;
        if matches!(disruption, Disruption::DeletePods { force: true, .. }) {
            self.until_ended().await;
        }
        self.watcher.tell_blind(&self.settings.emitter);
        self.settings.emitter.emit(Event::DisruptionEnded);
        Ok(())
    }

    async fn teardown(mut self) -> Result<(), ClusterError> {
        let cluster = self.settings.cluster.clone();
        let run = self.settings.owner.run.clone();
        let uncordoned = match self.cordoned.take() {
            Some(node) => cluster.uncordon(&node, &run).await,
            None => Ok(()),
        };
        let namespace = self.settings.owner.namespace.clone();
        let created = self.created;
        drop(self);
        if created == Created::Perhaps {
            // A request that nobody waited for any more may be granted after all, if soon.
            for _ in 0..LOOKS {
                if cluster.has_namespace(&namespace, &run).await.unwrap_or(false) {
                    break;
                }
                sleep(LOOK_AGAIN).await;
            }
        }
        let deleted =
            if created == Created::No { Ok(()) } else { cluster.delete_namespace(&namespace, &run).await };
        let left: Vec<String> = [uncordoned, deleted]
            .into_iter()
            .filter_map(|result| match result.err()? {
                ClusterError::Leftover(text) => Some(text),
                other => Some(other.to_string()),
            })
            .collect();
        if left.is_empty() { Ok(()) } else { Err(ClusterError::Leftover(left.join("; "))) }
    }
}
