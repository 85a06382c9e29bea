//! Every arm of a run, resolved: what `--dry-run` prints and what the header of a recording keeps.

use serde::{Deserialize, Serialize};

use crate::scenario::redact;
use crate::settings::{
    Disruption, Expect, Handler, Limits, Load, Local, ProbeCheck, Program, Settle, Target, Workload,
};

/// So begins the note of a plan whose client polls and does not sleep.
pub const EXACT_NOTE: &str = "exact:";

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

impl Plan {
    /// Without credentials: what may be written, printed and shown to others.
    #[must_use]
    pub fn redacted(&self) -> Self {
        let mut plan = self.clone();
        for arm in &mut plan.arms {
            arm.redact();
        }
        plan
    }
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

/// The name of the arm that one called `web #2` repeats.
#[must_use]
pub fn first_of(name: &str) -> Option<&str> {
    let (first, number) = name.rsplit_once(" #")?;
    number.parse::<u32>().is_ok_and(|number| number > 1).then_some(first)
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

impl Arm {
    /// False where the load goes to somebody else's address and nothing of ours runs: there are no pods to look for.
    #[must_use]
    pub const fn has_workload(&self) -> bool {
        self.workload.replicas > 0
    }

    fn redact(&mut self) {
        let request = &mut self.load.request;
        for (name, value) in &mut request.headers {
            *value = redact::header(name, value);
        }
        request.path = redact::url(&request.path);
        request.body = request.body.as_deref().map(redact::body);
        if let Target::Url(url) = &mut self.load.target {
            *url = redact::url(url);
        }
        match &mut self.workload.program {
            Program::Server(server) => {
                server.poll_while_draining = server.poll_while_draining.as_deref().map(redact::url);
            }
            Program::Command(command) => *command = redact::arguments(command),
        }
        let lifecycle = &mut self.workload.lifecycle;
        for hook in [&mut lifecycle.pre_stop, &mut lifecycle.post_start].into_iter().flatten() {
            match hook {
                Handler::Exec { command } => *command = redact::arguments(command),
                Handler::HttpGet { path, .. } => *path = redact::url(path),
                Handler::Sleep { .. } | Handler::TcpSocket { .. } => {}
            }
        }
        let workload = &mut self.workload;
        for probe in [&mut workload.readiness_probe, &mut workload.liveness_probe].into_iter().flatten() {
            match &mut probe.check {
                ProbeCheck::Exec { command } => *command = redact::arguments(command),
                ProbeCheck::HttpGet { path, .. } => *path = redact::url(path),
                ProbeCheck::TcpSocket { .. } => {}
            }
        }
    }
}
