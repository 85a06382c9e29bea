//! The lease that tells a run that goes on from one that is over.

use std::time::Duration;

use ::cluster::ClusterError;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::{KubeCluster, manifest};
use crate::connect::call;
use crate::objects;

/// A lease that has not been renewed for longer than [`LEASE_LASTS`] is nobody's.
const RENEW_EVERY: Duration = Duration::from_secs(3);
/// See [`RENEW_EVERY`].
pub(crate) const LEASE_LASTS: Duration = Duration::from_secs(10);

impl KubeCluster {
    /// Makes the lease, and keeps it renewed.
    pub(super) async fn hold_lease(&self) -> Result<Renewal, ClusterError> {
        self.apply(&manifest(objects::lease(&self.settings.owner))?).await?;
        let leases: Api<Lease> = self.api();
        Ok(Renewal(tokio::spawn(async move {
            let mut turns = tokio::time::interval(RENEW_EVERY);
            loop {
                turns.tick().await;
                let now = jiff::Timestamp::from_nanosecond(i128::from(clock::wall_ns())).unwrap_or_default();
                let patch = Patch::Merge(json!({"spec": {"renewTime": MicroTime(now)}}));
                // One that fails is made up for by the next; the run does not depend on it.
                let parameters = PatchParams::default();
                let renewed =
                    call("renew the lease", leases.patch(objects::AGENTS, &parameters, &patch)).await;
                if let Err(error) = renewed {
                    tracing::debug!("{error}");
                }
            }
        })))
    }
}

/// A task that ends with its handle.
#[derive(Debug)]
pub(super) struct Renewal(tokio::task::JoinHandle<()>);

impl Drop for Renewal {
    fn drop(&mut self) {
        self.0.abort();
    }
}
