//! The same run on a real cluster, through the API alone.
//!
//! * [`connect`]: a client from a kubeconfig, and errors in one line
//! * [`objects`]: what is applied, from the files under `manifests/`
//! * [`preflight`]: what the user may do, asked before anything is touched
//! * [`backend`]: an arm's workload: deploy, disrupt, tear down
//! * [`observe`]: objects and log lines to events (pure)
//! * [`watch`]: the watches that feed it, and the log of each pod
//! * [`clocks`]: how far each node's clocks are from ours
//! * [`agent`]: the controller's side of the agents that send the load
//! * [`cleanup`]: finds and undoes what an interrupted run left
//!
//! Only this crate names types of a Kubernetes client.

pub mod agent;
pub mod backend;
pub mod cleanup;
pub mod clocks;
pub mod connect;
mod disrupt;
mod forward;
pub mod objects;
pub mod observe;
pub mod preflight;
mod readiness;
mod wait;
pub mod watch;

pub use backend::{KubeCluster, Settings};
pub use connect::{Access, Cluster};
