//! Finds and undoes what an interrupted run left: everything of ours bears our labels.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ::cluster::ClusterError;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::backend::LEASE_LASTS;
use crate::connect::{CALL_TIMEOUT, Cluster, call, code};
use crate::objects;
use crate::wait::{self, Look};

/// How long a namespace may take to be gone.
const GONE_WITHIN: Duration = Duration::from_mins(2);
/// Pods of a run that is over need no grace of their own.
const LAST_GRACE_SECONDS: u32 = 1;

/// What became of a clean-up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// What was undone or left alone on purpose, a line each.
    pub lines: Vec<String>,
    /// What could not be undone.
    pub left: Vec<String>,
}

impl Cleaned {
    fn take(&mut self, done: Result<String, ClusterError>) {
        match done {
            Ok(line) => self.lines.push(line),
            Err(error) => self.left.push(error.to_string()),
        }
    }
}

impl Cluster {
    /// Undoes what runs left: namespaces of theirs and all within, and cordons. Gives a line for each. A run that is
    /// named is ended even if it goes on; of all others, those whose lease is being renewed are left alone.
    ///
    /// # Errors
    /// It cannot be found out what there is.
    pub async fn cleanup(&self, run: Option<&str>) -> Result<Cleaned, ClusterError> {
        let mut cleaned = Cleaned::default();
        let mut left = self.namespaces(run).await?;
        let live = if run.is_some() { BTreeSet::new() } else { self.live(&left).await? };
        for run in &live {
            cleaned.lines.push(format!("run {run} is still going on; --run {run} would end it"));
        }
        left.retain(|(_, run)| !live.contains(run));
        // What cannot be undone keeps nobody from undoing the rest.
        match self.cordoned(run).await {
            Ok(nodes) => {
                for (node, of) in nodes.iter().filter(|(_, of)| !live.contains(of)) {
                    let done =
                        self.uncordon(node, of).await.map(|()| format!("node {node} is schedulable again"));
                    cleaned.take(done);
                }
            }
            Err(error) => cleaned.take(Err(error)),
        }
        let mut going = Vec::new();
        for (name, run) in left {
            match self.begin_deletion(&name, &run).await {
                Ok(Some(uid)) => going.push((name, uid)),
                Ok(None) => {}
                Err(error) => cleaned.take(Err(error)),
            }
        }
        for (name, uid) in going {
            let gone = self.until_gone(&name, &uid).await;
            cleaned.take(gone.map(|()| format!("namespace {name} and everything in it is gone")));
        }
        Ok(cleaned)
    }

    /// Namespaces of runs, and whose they are.
    async fn namespaces(&self, run: Option<&str>) -> Result<Vec<(String, String)>, ClusterError> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let selector = ListParams::default().labels(&objects::run_selector(run));
        let found = call("list namespaces", namespaces.list(&selector)).await?;
        Ok(found.iter().map(|namespace| (namespace.name_any(), run_of(namespace))).collect())
    }

    /// Runs whose lease is renewed while one looks: no clock of ours has to agree with anybody's.
    async fn live(&self, namespaces: &[(String, String)]) -> Result<BTreeSet<String>, ClusterError> {
        let before = self.renewals(namespaces).await?;
        if before.is_empty() {
            return Ok(BTreeSet::new());
        }
        tokio::time::sleep(LEASE_LASTS).await;
        let after = self.renewals(namespaces).await?;
        let renewed = |(name, _): &&(String, String)| {
            after.get(name).is_some_and(|version| before.get(name) != Some(version))
        };
        Ok(namespaces.iter().filter(renewed).map(|(_, run)| run.clone()).collect())
    }

    /// The version of each namespace's lease, which every renewal changes.
    async fn renewals(
        &self,
        namespaces: &[(String, String)],
    ) -> Result<BTreeMap<String, String>, ClusterError> {
        let mut found = BTreeMap::new();
        for (name, _) in namespaces {
            let leases: Api<Lease> = Api::namespaced(self.client.clone(), name);
            if let Some(lease) = call("look for a lease", leases.get_opt(objects::AGENTS)).await? {
                found.insert(name.clone(), lease.resource_version().unwrap_or_default());
            }
        }
        Ok(found)
    }

    /// Deletes the namespace of a run and waits until it is gone. One that is somebody else's is not touched.
    pub(crate) async fn delete_namespace(&self, name: &str, run: &str) -> Result<(), ClusterError> {
        match self.begin_deletion(name, run).await? {
            Some(uid) => self.until_gone(name, &uid).await,
            None => Ok(()),
        }
    }

    /// True if there is such a namespace, and it is that run's.
    pub(crate) async fn has_namespace(&self, name: &str, run: &str) -> Result<bool, ClusterError> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let found = call("look at the namespace", namespaces.get_opt(name)).await?;
        Ok(found.is_some_and(|found| run_of(&found) == run))
    }

    /// The uid of what is going now, if there is one of that run: only its label says so, whatever the name.
    async fn begin_deletion(&self, name: &str, run: &str) -> Result<Option<String>, ClusterError> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let found = call("look at the namespace", namespaces.get_opt(name)).await?;
        let Some(found) = found.filter(|found| run_of(found) == run) else { return Ok(None) };
        // What makes pods goes first, then the pods: left to the namespace's own deletion they would take their full
        // grace, one after the other.
        let now = DeleteParams::background();
        let jobs: Api<Job> = Api::namespaced(self.client.clone(), name);
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), name);
        let faster = [
            absent_is_fine(deployments.delete(objects::WEB, &now)).await,
            absent_is_fine(jobs.delete(objects::AGENTS, &now)).await,
        ];
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), name);
        let soon = DeleteParams::default().grace_period(LAST_GRACE_SECONDS);
        let ours = ListParams::default().labels(&objects::run_selector(Some(run)));
        let pods = absent_is_fine(pods.delete_collection(&soon, &ours)).await;
        // Those only make it fast; this is asked for whatever became of them.
        for result in faster.into_iter().chain([pods]) {
            if let Err(error) = result {
                tracing::debug!("namespace {name}: {error}");
            }
        }
        // This very one: not another that came to bear its name.
        let preconditions = Preconditions { uid: found.uid(), resource_version: None };
        let this = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        absent_is_fine(namespaces.delete(name, &this)).await?;
        Ok(found.uid())
    }

    async fn until_gone(&self, name: &str, uid: &str) -> Result<(), ClusterError> {
        let namespaces = &Api::<Namespace>::all(self.client.clone());
        let gone = wait::until(GONE_WITHIN, || async move {
            let found = call("look for the namespace", namespaces.get_opt(name)).await?;
            // Another that bears its name by now is not it.
            let same = found.filter(|found| found.uid().as_deref() == Some(uid));
            Ok(match same.and_then(|namespace| namespace.status) {
                None => Look::Met(()),
                Some(status) => Look::NotYet(status.phase.unwrap_or_default()),
            })
        });
        gone.await.map_err(|error| ClusterError::Leftover(format!("namespace {name}: {error}")))
    }

    /// Nodes that runs have cordoned, and whose doing it was.
    async fn cordoned(&self, run: Option<&str>) -> Result<Vec<(String, String)>, ClusterError> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let selector = &run.map_or_else(|| objects::RUN.to_owned(), |run| format!("{}={run}", objects::RUN));
        let parameters = ListParams::default().labels(selector);
        let listed = nodes.list(&parameters);
        let found = call("look for nodes that a run has cordoned", listed).await?;
        Ok(found.iter().map(|node| (node.name_any(), run_of(node))).collect())
    }

    /// Takes the cordon of a run away, and the labels that told whose it was. Without those it is not the run's.
    pub(crate) async fn uncordon(&self, node: &str, run: &str) -> Result<(), ClusterError> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let found = call(&format!("look at node {node}"), nodes.get(node)).await?;
        if run_of(&found) != run {
            return Ok(());
        }
        let labels = json!({objects::RUN: null, objects::ARM: null});
        let patch = json!({"metadata": {"labels": labels}, "spec": {"unschedulable": null}});
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(&patch));
        let patched = nodes.patch(node, &parameters, &patch);
        call(&format!("make node {node} schedulable again"), patched).await.map(|_| ())
    }
}

/// The run that an object's labels name.
fn run_of(object: &impl ResourceExt) -> String {
    object.labels().get(objects::RUN).cloned().unwrap_or_default()
}

/// Deletes within the time that a call may take; what is gone already, or going, is as good.
async fn absent_is_fine<T>(delete: impl Future<Output = Result<T, kube::Error>>) -> Result<(), ClusterError> {
    let what = "delete what the run made";
    match tokio::time::timeout(CALL_TIMEOUT, delete).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) if matches!(code(&error), Some(404 | 409)) => Ok(()),
        Ok(Err(error)) => Err(crate::connect::failed(what, &error)),
        Err(_) => Err(ClusterError::Backend(format!("failed to {what}: no answer within {CALL_TIMEOUT:?}"))),
    }
}
