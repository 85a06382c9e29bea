//! Environment names. `SERVER_*` names are derived from the flags of `server run`.

/// The pod's name (the downward API's `metadata.name` on a cluster).
pub const POD_NAME: &str = "POD_NAME";
/// The node's name (the downward API's `spec.nodeName` on a cluster).
pub const NODE_NAME: &str = "NODE_NAME";
/// The address a foreign server is to listen on.
pub const HOST: &str = "HOST";
/// The port a foreign server is to listen on.
pub const PORT: &str = "PORT";
/// Where hook programs write their lifecycle events. Default: standard output of process 1 of the container,
/// which is the container's log.
pub const LIFECYCLE_OUT: &str = "SERVER_LIFECYCLE_OUT";
/// Marks every process of a run with the run's id, so that an interrupted run can be found and undone.
pub const RUN_MARKER: &str = "DRAINPROOF_RUN";
