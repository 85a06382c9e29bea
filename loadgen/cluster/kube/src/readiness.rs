//! When a workload is whole, and what keeps it from being so.

use std::time::Duration;

use ::cluster::ClusterError;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::Api;
use tokio::time::{Instant, timeout};

use crate::backend::KubeCluster;
use crate::connect::call;
use crate::objects;
use crate::observe::View;
use crate::wait::{self, Look};
use crate::watch::Views;

impl KubeCluster {
    /// Waits until all replicas are Ready, of one template, and named by the slices. `before` is the template that
    /// they must not be of any more.
    pub(crate) async fn until_complete(
        &self,
        limit: Duration,
        before: Option<&str>,
    ) -> Result<(), ClusterError> {
        let deadline = Instant::now() + limit;
        let mut views = self.watcher.views.clone();
        let replicas = usize::try_from(self.settings.arm.workload.replicas).unwrap_or(usize::MAX);
        loop {
            let look = look(&views.borrow_and_update(), replicas, before);
            match look {
                Ok(Look::Met(())) => break,
                Ok(Look::NotYet(last_state)) => {
                    match timeout(deadline.saturating_duration_since(Instant::now()), views.changed()).await {
                        Ok(Ok(())) => {}
                        Ok(Err(_)) => return Err(ClusterError::Backend("the watches have ended".to_owned())),
                        Err(_) => {
                            let last_state = self.explain(last_state).await;
                            return Err(ClusterError::NotReady { timeout: limit, last_state });
                        }
                    }
                }
                Err(error) => return Err(error),
            }
        }
        self.until_observed(deadline.saturating_duration_since(Instant::now())).await
    }

    /// The controllers agree: what `kubectl rollout status` waits for.
    async fn until_observed(&self, limit: Duration) -> Result<(), ClusterError> {
        let deployments = &self.api::<Deployment>();
        let wanted = i32::try_from(self.settings.arm.workload.replicas).unwrap_or(i32::MAX);
        wait::until(limit, || async move {
            let deployment = call("look at the Deployment", deployments.get(objects::WEB)).await?;
            let status = deployment.status.unwrap_or_default();
            let is = |value: Option<i32>| value.unwrap_or(0) == wanted;
            let current = status.observed_generation == deployment.metadata.generation;
            let whole = is(status.replicas) && is(status.updated_replicas) && is(status.available_replicas);
            let zero = wanted == 0 && status.replicas.unwrap_or(0) == 0;
            if current && (whole || zero) {
                return Ok(Look::Met(()));
            }
            Ok(Look::NotYet(format!(
                "the Deployment counts {} of {wanted} replicas available, {} updated",
                status.available_replicas.unwrap_or(0),
                status.updated_replicas.unwrap_or(0)
            )))
        })
        .await
    }

    /// Waits until every terminating pod is gone: only then the disruption is over.
    pub(crate) async fn until_settled(&self, requested_grace: Option<u64>) -> Result<(), ClusterError> {
        let mut views = self.watcher.views.clone();
        let grace =
            self.settings.arm.workload.termination_grace_period_seconds.max(requested_grace.unwrap_or(0));
        // Each pod's end is bounded by its own grace, and what the kubelet needs beyond.
        let limit = Duration::from_secs(grace) + Duration::from_secs(90);
        let over = |views: &Views| views.values().all(|view| !view.terminating || view.gone);
        if matches!(timeout(limit, views.wait_for(over)).await, Ok(Ok(_))) {
            return Ok(());
        }
        let left: Vec<String> = views
            .borrow()
            .values()
            .filter(|view| view.terminating && !view.gone)
            .map(|view| view.name.clone())
            .collect();
        Err(ClusterError::Backend(format!(
            "still terminating {limit:?} after the last was deleted, whose grace was {grace} s: {}",
            left.join(", ")
        )))
    }

    /// Waits until what a forced delete left running has ended: its object is gone, but not its process, which has its
    /// grace. Only its log tells, and where that tells nothing the analysis reckons with the whole grace.
    pub(crate) async fn until_ended(&self) {
        let mut views = self.watcher.views.clone();
        let grace = self.settings.arm.workload.termination_grace_period_seconds;
        let over = |views: &Views| views.values().all(|view| !view.terminating || view.ended);
        drop(timeout(Duration::from_secs(grace.saturating_add(5)), views.wait_for(over)).await);
    }

    /// What the API server can add to a state that lasts: the reason why no pod was even made.
    async fn explain(&self, state: String) -> String {
        let image = &self.settings.images.server;
        let state = match self.settings.cluster.holders(image).await {
            Ok((0, nodes)) => {
                format!("{state}; image {image} was seen on none of {nodes} nodes, which have to pull it")
            }
            _ => state,
        };
        let deployments: Api<Deployment> = self.api();
        let Ok(found) = call("look at the Deployment", deployments.get(objects::WEB)).await else {
            return state;
        };
        let conditions = found.status.and_then(|status| status.conditions).unwrap_or_default();
        let failure =
            conditions.into_iter().find(|one| one.type_ == "ReplicaFailure" && one.status == "True");
        match failure.and_then(|one| one.message) {
            Some(message) => format!("{state}; {message}"),
            None => state,
        }
    }
}

/// Whether the pods are as they should be; an error if they can never be.
fn look(views: &Views, replicas: usize, before: Option<&str>) -> Result<Look<()>, ClusterError> {
    let live: Vec<&View> = views.values().filter(|view| !view.terminating && !view.gone).collect();
    if let Some(view) =
        live.iter().find(|view| view.waiting.as_ref().is_some_and(|(reason, _)| is_hopeless(reason)))
    {
        let (reason, message) = view.waiting.clone().unwrap_or_default();
        let message = one_line(&message);
        return Err(ClusterError::Start { pod: view.name.clone(), message: format!("{reason}: {message}") });
    }
    let fit: Vec<&&View> = live
        .iter()
        .filter(|view| view.ready && view.in_slice && before.is_none_or(|before| view.template != before))
        .collect();
    if fit.len() == replicas && live.len() == replicas {
        return Ok(Look::Met(()));
    }
    let unready = live.iter().filter(|view| !view.ready || !view.in_slice).map(|view| {
        let why = match &view.waiting {
            Some((reason, message)) if message.is_empty() => reason.clone(),
            Some((reason, message)) => format!("{reason}: {}", one_line(message)),
            None if view.node.is_empty() => match &view.unscheduled {
                Some(message) => format!("not scheduled: {}", one_line(message)),
                None => "not scheduled".to_owned(),
            },
            None if !view.started => "not started".to_owned(),
            None if !view.ready => "running, not Ready".to_owned(),
            None => "Ready, not in the slices".to_owned(),
        };
        format!("{}: {why}", view.name)
    });
    let unready: Vec<String> = unready.collect();
    let state = if unready.is_empty() { String::new() } else { format!(" ({})", unready.join(", ")) };
    Ok(Look::NotYet(format!("{} of {replicas} pods are ready{state}", fit.len())))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Reasons that do not go away by waiting. Pulls and starts that back off are left out: the next may go well, and the
/// limit of the wait is the user's.
fn is_hopeless(reason: &str) -> bool {
    matches!(reason, "ErrImageNeverPull" | "InvalidImageName" | "CreateContainerConfigError")
}

/// What the cluster says of a pod that is not there yet.
pub(crate) fn why_not_running(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let container = status.container_statuses.iter().flatten().next();
    if let Some(waiting) = container.and_then(|one| one.state.clone()?.waiting) {
        let (reason, message) = (waiting.reason.unwrap_or_default(), waiting.message.unwrap_or_default());
        return Some(if message.is_empty() { reason } else { format!("{reason}: {}", one_line(&message)) });
    }
    unscheduled(pod).map(|message| one_line(&message))
}

/// Why no node takes it.
pub(crate) fn unscheduled(pod: &Pod) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let condition = conditions.iter().find(|one| one.type_ == "PodScheduled" && one.status == "False")?;
    condition.message.clone().or_else(|| condition.reason.clone())
}

pub(crate) fn cannot_start(pod: &Pod) -> Option<String> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let state = statuses.first()?.state.clone()?;
    if let Some(end) = state.terminated {
        return Some(format!("its container ended with exit code {}", end.exit_code));
    }
    let waiting = state.waiting?;
    let reason = waiting.reason.unwrap_or_default();
    let message = one_line(&waiting.message.unwrap_or_default());
    is_hopeless(&reason).then(|| format!("{reason}: {message}"))
}

pub(crate) fn is_running(pod: &Pod) -> bool {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    let running =
        |status: &ContainerStatus| status.state.as_ref().is_some_and(|state| state.running.is_some());
    statuses.is_some_and(|all| !all.is_empty() && all.iter().all(running))
}
