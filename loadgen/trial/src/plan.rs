//! Every arm of a run, resolved: what `--dry-run` prints and what the header of a recording keeps.

use serde::{Deserialize, Serialize};

use crate::settings::{Disruption, Expect, Limits, Load, Local, Settle, Workload};

/// A run, resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Name of the scenario.
    pub scenario: String,
    /// What it shows.
    pub description: String,
    /// Every random choice follows from it.
    pub seed: u64,
    /// Arms, in the order of their ids.
    pub arms: Vec<Arm>,
    /// Beyond these the measurement may have missed something.
    pub limits: Limits,
    /// What is accepted.
    pub expect: Expect,
    /// What a reader should know about how the plan came to be (a lane left out, a default changed).
    pub notes: Vec<String>,
}

/// One arm: a workload of its own under a load of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Arm {
    /// Unique within the run.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// What runs.
    pub workload: Workload,
    /// What is sent.
    pub load: Load,
    /// What is done to it.
    pub disruption: Disruption,
    /// Time without disruption.
    pub settle: Settle,
    /// Local backend.
    pub local: Local,
}

/// What an arm is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Judged by `expect`.
    Trial,
    /// Same workload and load, no disruption: must show no failure.
    Control,
    /// A server that exits on SIGTERM at once, without preStop: must show failures.
    NegativeControl,
}
