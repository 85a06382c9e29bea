//! The state of the workload, for whoever waits for one.

use cluster::ClusterError;
use trial::id::PodId;

/// What the handle sees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::backend) struct Snapshot {
    pub(in crate::backend) replicas: u32,
    pub(in crate::backend) revision: u32,
    /// Available pods of any revision, oldest first.
    pub(in crate::backend) available: Vec<PodId>,
    /// Available pods of the current revision.
    pub(in crate::backend) updated: u32,
    /// Pods that are not terminating.
    pub(in crate::backend) live: u32,
    /// The youngest of them.
    pub(in crate::backend) newest: Option<PodId>,
    pub(in crate::backend) terminating: u32,
    pub(in crate::backend) failure: Option<Failure>,
}

/// Why the workload cannot become whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::backend) enum Failure {
    Start { pod: String, message: String },
    Crashed { pod: String, message: String },
}

impl Failure {
    pub(in crate::backend) fn error(&self) -> ClusterError {
        match self.clone() {
            Self::Start { pod, message } => ClusterError::Start { pod, message },
            Self::Crashed { pod, message } => ClusterError::Crashed { pod, message },
        }
    }
}

impl Snapshot {
    /// All replicas are of the current revision and available, and no other pod is left to be deleted.
    pub(in crate::backend) fn is_complete(&self) -> bool {
        self.revision > 0 && self.updated == self.replicas && self.live == self.replicas
    }

    pub(in crate::backend) fn describe(&self) -> String {
        format!(
            "{} of {} replicas available, {} of them of the current revision, {} terminating; a pod that runs is \
             not available until its readiness probe succeeds",
            self.available.len(),
            self.replicas,
            self.updated,
            self.terminating
        )
    }
}
