//! What is done to the workload, through the API as anybody would.

use std::time::Duration;

use ::cluster::ClusterError;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, EvictParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};
use trial::event::Event;
use trial::id::PodId;
use trial::settings::{Again, Disruption, Victim};
use trial::time::Stamp;

use crate::backend::KubeCluster;
use crate::connect::{CALL_TIMEOUT, call, code, failed};
use crate::objects;
use crate::observe::View;
use crate::watch::Views;

/// How soon an eviction that was refused is asked for again, as `kubectl drain` does after five.
const EVICT_AGAIN: Duration = Duration::from_secs(1);

/// A node that is changed by somebody else at the same time is looked at again so often.
const CORDON_TRIES: u32 = 10;

impl KubeCluster {
    pub(crate) async fn act(&mut self, disruption: &Disruption) -> Result<(), ClusterError> {
        match disruption {
            Disruption::None => Ok(()),
            Disruption::RolloutRestart => self.rollout().await,
            Disruption::DeletePods { count, every, grace_period_seconds, force, which, again } => {
                let parameters = DeleteParams {
                    grace_period_seconds: if *force {
                        Some(0)
                    } else {
                        grace_period_seconds.and_then(|grace| u32::try_from(grace).ok())
                    },
                    ..DeleteParams::default()
                };
                for turn in 0..*count {
                    if turn > 0 {
                        sleep(*every).await;
                    }
                    self.delete_one(&parameters, *which, again).await?;
                }
                self.until_complete(self.ready_timeout, None).await
            }
            Disruption::Evict { count } => self.evict(*count).await,
            Disruption::Scale { to } => self.scale(*to).await,
            Disruption::DrainNode => self.drain().await,
        }
    }

    async fn rollout(&mut self) -> Result<(), ClusterError> {
        let before = self.available().first().map(|view| view.template.clone()).unwrap_or_default();
        self.settings.emitter.emit(Event::RolloutStarted);
        let deployments: Api<Deployment> = self.api();
        call("restart the Deployment", deployments.restart(objects::WEB)).await?;
        // Every step of a rollout waits for one pod; the whole may take as many steps as there are pods.
        let limit = self.ready_timeout * self.settings.arm.workload.replicas.max(1);
        self.until_complete(limit, Some(&before)).await?;
        self.settings.emitter.emit(Event::RolloutEnded);
        Ok(())
    }

    fn id_of(&self, view: &View) -> Option<PodId> {
        self.views().into_iter().find(|(_, known)| known.name == view.name).map(|(id, _)| id)
    }

    /// The victim: any pod that serves, once one does.
    async fn victim(&mut self) -> Result<View, ClusterError> {
        let mut views = self.watcher.views.clone();
        let one = |views: &Views| views.values().any(View::is_available);
        // Dropped at once: it would hold the views against their writer while they are looked at again.
        drop(timeout(self.ready_timeout, views.wait_for(one)).await);
        self.random
            .choice(self.available())
            .ok_or_else(|| ClusterError::Backend("no pod is ready that could be taken away".to_owned()))
    }

    /// The youngest that is not on its way out, once there is one.
    async fn newest(&mut self) -> Result<View, ClusterError> {
        let mut views = self.watcher.views.clone();
        let found =
            |views: &Views| views.values().rev().find(|view| !view.terminating && !view.gone).cloned();
        drop(timeout(self.ready_timeout, views.wait_for(|views| found(views).is_some())).await);
        let newest = found(&views.borrow());
        newest.ok_or_else(|| ClusterError::Backend("there is no pod that could be taken away".to_owned()))
    }

    fn deletion_was_requested(&self, view: &View, at: Stamp) {
        if let Some(pod) = self.id_of(view) {
            self.settings.emitter.emit_at(at, Event::DeleteRequested { pod });
        }
    }

    async fn delete_one(
        &mut self,
        parameters: &DeleteParams,
        which: Victim,
        again: &[Again],
    ) -> Result<(), ClusterError> {
        let victim = match which {
            Victim::Available => self.victim().await?,
            Victim::Newest => self.newest().await?,
        };
        let pods: Api<Pod> = self.api();
        self.deletion_was_requested(&victim, self.settings.emitter.clock().now());
        call(&format!("delete pod {}", victim.name), pods.delete(&victim.name, parameters)).await?;
        self.until_leaving(&victim).await?;
        for later in again {
            sleep(later.after).await;
            self.delete_again(&pods, &victim, later).await?;
        }
        Ok(())
    }

    /// One that is gone meanwhile needs no further delete.
    async fn delete_again(&self, pods: &Api<Pod>, victim: &View, later: &Again) -> Result<(), ClusterError> {
        let grace_period_seconds = later.grace_period_seconds.and_then(|grace| u32::try_from(grace).ok());
        let parameters = DeleteParams { grace_period_seconds, ..DeleteParams::default() };
        let name = &victim.name;
        let deleted = timeout(CALL_TIMEOUT, pods.delete(name, &parameters)).await;
        match deleted {
            Ok(Ok(_)) => {
                if let Some(pod) = self.id_of(victim) {
                    let grace_seconds = later.grace_period_seconds;
                    self.settings.emitter.emit(Event::DeletedAgain { pod, grace_seconds });
                }
                Ok(())
            }
            Ok(Err(error)) if code(&error) == Some(404) => Ok(()),
            Ok(Err(error)) => Err(failed(&format!("delete pod {name} again"), &error)),
            Err(_) => {
                Err(ClusterError::Backend(format!("failed to delete pod {name} again: no answer in time")))
            }
        }
    }

    /// Waits until the pod is seen to be on its way out. What takes its place is not waited for: deletes that come one
    /// upon the other are the scenario's to ask for.
    async fn until_leaving(&self, victim: &View) -> Result<(), ClusterError> {
        let mut views = self.watcher.views.clone();
        let leaving = |views: &Views| {
            !views.values().any(|view| view.name == victim.name && !view.terminating && !view.gone)
        };
        if matches!(timeout(self.ready_timeout, views.wait_for(leaving)).await, Ok(Ok(_))) {
            return Ok(());
        }
        let limit = self.ready_timeout;
        Err(ClusterError::Backend(format!("pod {} was deleted {limit:?} ago and still serves", victim.name)))
    }

    /// Evicts pods one after the other, as a drain does: first asks with a budget that refuses, to see the refusal.
    async fn evict(&mut self, count: u32) -> Result<(), ClusterError> {
        let mut budget = objects::disruption_budget(&self.settings.owner)
            .map_err(|error| ClusterError::Backend(error.to_string()))?;
        let spec = budget.spec.get_or_insert_default();
        let permitted = spec.max_unavailable.replace(zero());
        self.apply(&budget).await?;
        let refused = self.victim().await?;
        self.until_refused(&refused).await?;
        budget.spec.get_or_insert_default().max_unavailable = permitted;
        self.apply(&budget).await?;
        for _ in 0..count {
            let victim = self.victim().await?;
            self.evict_one(&victim).await?;
            self.until_leaving(&victim).await?;
        }
        self.until_complete(self.ready_timeout, None).await
    }

    /// The budget is enforced once its controller has counted.
    async fn until_refused(&self, view: &View) -> Result<(), ClusterError> {
        let pods = self.pods_asked_once();
        let mut dry = EvictParams::default();
        dry.post_options.dry_run = true;
        let deadline = Instant::now() + self.ready_timeout;
        loop {
            match evicted(&pods, &view.name, &dry).await? {
                Err(error) if code(&error) == Some(429) => {
                    let text =
                        "its eviction was refused at first, by a budget that permitted none".to_owned();
                    self.settings.emitter.emit(Event::Note { pod: self.id_of(view), text });
                    return Ok(());
                }
                Ok(()) if Instant::now() < deadline => sleep(EVICT_AGAIN / 4).await,
                Ok(()) => {
                    let limit = self.ready_timeout;
                    let text =
                        format!("a budget of no unavailable pod did not refuse an eviction within {limit:?}");
                    return Err(ClusterError::Backend(text));
                }
                Err(error) => return Err(failed("ask for an eviction", &error)),
            }
        }
    }

    fn pods_asked_once(&self) -> Api<Pod> {
        Api::namespaced(self.settings.cluster.once.clone(), &self.settings.owner.namespace)
    }

    async fn evict_one(&self, view: &View) -> Result<(), ClusterError> {
        let pods = self.pods_asked_once();
        let deadline = Instant::now() + self.ready_timeout;
        loop {
            // An eviction that is refused deletes nothing: the one that is granted counts from when it was asked for.
            let asked = self.settings.emitter.clock().now();
            match evicted(&pods, &view.name, &EvictParams::default()).await? {
                Ok(()) => {
                    self.deletion_was_requested(view, asked);
                    return Ok(());
                }
                Err(error) if code(&error) == Some(404) => return Ok(()),
                Err(error) if code(&error) == Some(429) && Instant::now() < deadline => {
                    sleep(EVICT_AGAIN).await;
                }
                Err(error) => return Err(failed(&format!("evict pod {}", view.name), &error)),
            }
        }
    }

    async fn scale(&mut self, to: u32) -> Result<(), ClusterError> {
        let deployments: Api<Deployment> = self.api();
        let patch = json!({"spec": {"replicas": to}});
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(&patch));
        let scaled = deployments.patch_scale(objects::WEB, &parameters, &patch);
        call("scale the Deployment", scaled).await?;
        self.settings.arm.workload.replicas = to;
        self.until_complete(self.ready_timeout, None).await
    }

    /// Cordons the node that holds most of the pods and evicts those of ours that are on it.
    async fn drain(&mut self) -> Result<(), ClusterError> {
        let available = self.available();
        let on = |node: &str| available.iter().filter(|view| view.node == node).count();
        let node = available.iter().map(|view| view.node.clone()).max_by_key(|node| on(node));
        let node = node
            .ok_or_else(|| ClusterError::Backend("no pod is ready whose node could be drained".to_owned()))?;
        self.cordon(&node).await?;
        for view in available.iter().filter(|view| view.node == node) {
            // As `kubectl drain` does: all at once, and only a budget of the user's could refuse.
            self.evict_one(view).await?;
        }
        for view in available.iter().filter(|view| view.node == node) {
            self.until_leaving(view).await?;
        }
        self.until_complete(self.ready_timeout, None).await?;
        self.settings.cluster.uncordon(&node, &self.settings.owner.run).await?;
        self.cordoned = None;
        Ok(())
    }

    async fn cordon(&mut self, node: &str) -> Result<(), ClusterError> {
        let nodes: Api<Node> = Api::all(self.settings.cluster.once.clone());
        let owner = &self.settings.owner;
        // A node is somebody else's object: of its labels only those are touched that nobody else has.
        let labels = json!({objects::RUN: owner.run, objects::ARM: owner.arm.to_string()});
        for _ in 0..CORDON_TRIES {
            let found = call(&format!("look at node {node}"), nodes.get(node)).await?;
            let seen = found.metadata.resource_version.clone();
            if self.cordoned.is_some() && found.labels().get(objects::RUN) == Some(&owner.run) {
                // Granted, though the answer did not come.
                return Ok(());
            }
            self.cordoned = None;
            if found.spec.and_then(|spec| spec.unschedulable) == Some(true) {
                let text = format!("node {node} is cordoned already: not ours to drain");
                return Err(ClusterError::Backend(text));
            }
            // The version makes it sure that nobody cordoned it meanwhile, whose cordon would be ours to undo.
            let metadata = json!({"labels": labels, "resourceVersion": seen});
            let patch = json!({"metadata": metadata, "spec": {"unschedulable": true}});
            // Noted before it is done: a cordon that was made and not answered is undone as well.
            self.cordoned = Some(node.to_owned());
            let (parameters, patch) = (PatchParams::default(), Patch::Merge(&patch));
            match timeout(CALL_TIMEOUT, nodes.patch(node, &parameters, &patch)).await {
                Ok(Ok(_)) => return Ok(()),
                // The node's own reports change it as well; and what was not answered may have been done.
                Ok(Err(error))
                    if !code(&error).is_some_and(|code| code != 409 && (400..500).contains(&code)) => {}
                Ok(Err(error)) => return Err(failed(&format!("cordon node {node}"), &error)),
                Err(_) => {}
            }
        }
        Err(ClusterError::Backend(format!(
            "failed to cordon node {node}: it changed too often, or no answer came"
        )))
    }
}

/// One eviction, within the time that a call may take. What the API server answers is the caller's to judge.
async fn evicted(
    pods: &Api<Pod>,
    name: &str,
    parameters: &EvictParams,
) -> Result<Result<(), kube::Error>, ClusterError> {
    let answer = tokio::time::timeout(CALL_TIMEOUT, pods.evict(name, parameters)).await;
    let late = |_| ClusterError::Backend(format!("failed to evict pod {name}: no answer in time"));
    answer.map(|answer| answer.map(|_| ())).map_err(late)
}

fn zero() -> k8s_openapi::apimachinery::pkg::util::intstr::IntOrString {
    k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(0)
}
