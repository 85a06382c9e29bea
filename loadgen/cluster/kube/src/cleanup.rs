//! Finds and undoes what an interrupted run left: everything of ours bears our labels.

use std::time::Duration;

use ::cluster::ClusterError;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::connect::{Cluster, call, code};
use crate::objects;
use crate::wait::{self, Look};

/// How long a namespace may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(120);
/// Pods of a run that is over need no grace of their own.
const LAST_GRACE_SECONDS: u32 = 1;

impl Cluster {
    /// Undoes what runs left: namespaces of theirs and all within, and cordons. Gives a line for each.
    ///
    /// # Errors
    /// Something could not be found or undone.
    pub async fn cleanup(&self, run: Option<&str>) -> Result<Vec<String>, ClusterError> {
        let selector = objects::run_selector(run);
        let mut undone = Vec::new();
        for node in self.cordoned(&selector).await? {
            self.uncordon(&node).await?;
            undone.push(format!("node {node} is schedulable again"));
        }
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let left = call("list namespaces", namespaces.list(&ListParams::default().labels(&selector))).await?;
        let names: Vec<String> = left.iter().map(ResourceExt::name_any).collect();
        for name in &names {
            self.begin_deletion(name).await?;
        }
        for name in names {
            self.until_gone(&name).await?;
            undone.push(format!("namespace {name} and everything in it is gone"));
        }
        Ok(undone)
    }

    /// Deletes a namespace of ours and waits until it is gone.
    pub(crate) async fn delete_namespace(&self, name: &str) -> Result<(), ClusterError> {
        self.begin_deletion(name).await?;
        self.until_gone(name).await
    }

    async fn begin_deletion(&self, name: &str) -> Result<(), ClusterError> {
        // What makes pods goes first, then the pods: left to the namespace's own deletion they would take their full
        // grace, one after the other.
        let now = DeleteParams::background();
        let jobs: Api<Job> = Api::namespaced(self.client.clone(), name);
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), name);
        absent_is_fine(deployments.delete(objects::WEB, &now).await)?;
        absent_is_fine(jobs.delete(objects::AGENTS, &now).await)?;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), name);
        let soon = DeleteParams::default().grace_period(LAST_GRACE_SECONDS);
        absent_is_fine(pods.delete_collection(&soon, &ListParams::default()).await)?;
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        absent_is_fine(namespaces.delete(name, &DeleteParams::default()).await)
    }

    async fn until_gone(&self, name: &str) -> Result<(), ClusterError> {
        let namespaces = &Api::<Namespace>::all(self.client.clone());
        let gone = wait::until(GONE_WITHIN, || async move {
            let found = call("look for the namespace", namespaces.get_opt(name)).await?;
            Ok(match found.and_then(|namespace| namespace.status) {
                None => Look::Met(()),
                Some(status) => Look::NotYet(status.phase.unwrap_or_default()),
            })
        });
        gone.await.map_err(|error| ClusterError::Leftover(format!("namespace {name}: {error}")))
    }

    async fn cordoned(&self, selector: &str) -> Result<Vec<String>, ClusterError> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        match nodes.list(&ListParams::default().labels(selector)).await {
            Ok(found) => Ok(found.iter().map(ResourceExt::name_any).collect()),
            // Who may not list nodes cannot have cordoned one.
            Err(error) if code(&error) == Some(403) => Ok(Vec::new()),
            Err(error) => Err(crate::connect::failed("list nodes", &error)),
        }
    }

    /// Takes a cordon of ours away, and the labels that told whose it was.
    pub(crate) async fn uncordon(&self, node: &str) -> Result<(), ClusterError> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let labels = json!({objects::MANAGED_BY: null, objects::RUN: null, objects::ARM: null});
        let patch = json!({"metadata": {"labels": labels}, "spec": {"unschedulable": null}});
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(&patch));
        let patched = nodes.patch(node, &parameters, &patch);
        call(&format!("make node {node} schedulable again"), patched).await.map(|_| ())
    }
}

fn absent_is_fine<T>(result: Result<T, kube::Error>) -> Result<(), ClusterError> {
    match result {
        Ok(_) => Ok(()),
        Err(error) if matches!(code(&error), Some(404 | 409)) => Ok(()),
        Err(error) => Err(crate::connect::failed("delete what the run made", &error)),
    }
}
