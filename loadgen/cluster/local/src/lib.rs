//! The local backend: real processes under kubelet's, the endpoint controller's and kube-proxy's rules.
//!
//! * [`backend`]: an arm's workload, its Deployment controller and its disruptions
//! * [`pod`]: what a kubelet does for one pod, from start to gone
//! * [`termination`]: PURE: hook, stop signal, kill, in kubelet's arithmetic
//! * [`rollout`]: PURE: how many pods to create and delete next
//! * [`endpoints`]: the slice, and each node's rules
//! * [`propagation`]: PURE: when a node's rules follow the slice
//! * [`hook`], [`probe`]: what kubelet does towards a container
//! * [`process`]: processes in PID namespaces of their own, and that none outlives the run
//!
//! Facts about Kubernetes come from its source, 1.20 to 1.36; where a version matters the item says so.

pub mod backend;
pub mod endpoints;
pub mod hook;
pub mod pod;
pub mod probe;
pub mod process;
pub mod propagation;
pub mod rollout;
pub mod termination;

pub use backend::{LocalCluster, Settings};
