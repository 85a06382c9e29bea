//! What happened, apart from requests. Every event was observed; none is a model's prediction.

use contract::lifecycle;
use serde::{Deserialize, Serialize};

use crate::id::{ArmId, PodId};
use crate::time::Stamp;

/// An event with its time and arm: a line of `events.ndjson`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimedEvent {
    /// When.
    pub at_ns: Stamp,
    /// In which arm.
    pub arm: ArmId,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// Which process of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProcessRole {
    /// The measuring process itself.
    Loadgen,
    /// Kills what a dead run left.
    Guard,
    /// Parent of a pod's main process.
    Shim,
    /// A pod's main process, process 1 of its PID namespace where permitted.
    Main,
    /// A hook.
    Hook,
}

/// How a hook ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum HookOutcome {
    /// By itself, successfully.
    Completed,
    /// It failed: `FailedPreStopHook` or `FailedPostStartHook`.
    Failed {
        /// Exit code, signal, or error.
        message: String,
    },
    /// The grace was over first; the hook was left running.
    Overran,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "fields are ids, names and codes that say what they are")]
pub enum Event {
    /// A process of the run exists.
    ProcessStarted { role: ProcessRole, pid: u32, pod: Option<PodId> },
    /// The pod object exists.
    PodCreated { pod: PodId, name: String, node: String, address: String, revision: u32 },
    /// The container's main process runs; `namespaced` if as process 1 of a PID namespace of its own.
    PodStarted { pod: PodId, pid: u32, namespaced: bool },
    /// The Ready condition became true.
    PodReady { pod: PodId },
    /// The Ready condition became false.
    PodNotReady { pod: PodId },
    /// postStart began.
    PostStartStarted { pod: PodId },
    /// postStart ended.
    PostStartEnded {
        pod: PodId,
        #[serde(flatten)]
        outcome: HookOutcome,
    },
    /// The disruption began.
    DisruptionStarted { kind: String },
    /// Everything that the disruption does has been asked for.
    DisruptionEnded,
    /// A rollout began.
    RolloutStarted,
    /// All new pods are available and all old ones deleted (they may still be terminating): what `rollout status` waits for.
    RolloutEnded,
    /// The delete call was made.
    DeleteRequested { pod: PodId },
    /// The API accepted it: deletionTimestamp is set.
    Terminating { pod: PodId, grace_seconds: u64 },
    /// The pod was deleted once more; grace by delete options, if it had any.
    DeletedAgain { pod: PodId, grace_seconds: Option<u64> },
    /// A later delete changed when the pod is to be gone: deletionGracePeriodSeconds as it now is.
    GraceChanged { pod: PodId, grace_seconds: u64 },
    /// Kubelet began to stop the pod (T0, the Killing event); the grace runs from here.
    /// `inferred` where only the arrival of the news is known.
    Killing {
        pod: PodId,
        #[serde(default)]
        inferred: bool,
    },
    /// preStop began; `inferred` where nothing in the pod could have seen it.
    PreStopStarted { pod: PodId, inferred: bool },
    /// preStop ended, or was left behind.
    PreStopEnded {
        pod: PodId,
        inferred: bool,
        #[serde(flatten)]
        outcome: HookOutcome,
    },
    /// The stop signal was sent to process 1. `handled` says whether that process had a handler for it, where known.
    StopSignal { pod: PodId, signal: String, handled: Option<bool> },
    /// SIGKILL was sent.
    KillSignal { pod: PodId },
    /// The kernel's socket table lists no listener of the pod any more (servers that report no lifecycle).
    ListenerSeenClosed { pod: PodId },
    /// The main process ended; `inferred` where the moment is not that of a parent who reaped it.
    Exited {
        pod: PodId,
        code: Option<i32>,
        signal: Option<i32>,
        #[serde(default)]
        inferred: bool,
    },
    /// The pod's address went away.
    IpGone { pod: PodId },
    /// Every container of the pod ended for good: phase Succeeded, or Failed.
    Terminal { pod: PodId, succeeded: bool },
    /// The pod object was deleted.
    Gone { pod: PodId },
    /// The `EndpointSlice` entry of a pod as written.
    SliceChanged { pod: PodId, ready: bool, serving: bool, terminating: bool },
    /// The `EndpointSlice` entry was removed.
    SliceRemoved { pod: PodId },
    /// From now on the node's rules name the pod.
    EndpointProgrammed { pod: PodId, node: String, fallback: bool },
    /// From now on new connections from the node avoid the pod.
    EndpointRemoved { pod: PodId, node: String },
    /// What the pod reported of itself.
    Lifecycle { pod: PodId, report: lifecycle::Event },
    /// How far the pod's clock is from ours; times are already corrected.
    ClockOffset { pod: PodId, offset_ns: i64, uncertainty_ns: u64 },
    /// An agent has its plan; times of its records are already corrected by its clock's offset.
    AgentStarted { agent: u8, node: String, clock_offset_ns: i64, clock_uncertainty_ns: u64 },
    /// An agent's clock was asked again when the load was over: what it had drifted since is part of this uncertainty.
    AgentClock { agent: u8, clock_uncertainty_ns: u64 },
    /// The first slot is due about now.
    LoadStarted,
    /// No slot is due after this.
    LoadEnded,
    /// A lane's totals that no single record shows.
    LaneSummary { lane: String, connections_opened: u64, idle_closes: u64, overflowed: u64 },
    /// A Warning event of the cluster (`FailedPreStopHook`, …).
    Warning { pod: Option<PodId>, reason: String, message: String },
    /// Something a reader of the report should know: of a pod, or of the run.
    Note { pod: Option<PodId>, text: String },
    /// A process stood still for so long, until now: an agent, and its load with it; else the measuring process, and
    /// with it whatever it does itself, for all arms.
    Stalled {
        for_ns: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent: Option<u8>,
    },
    /// A watch of the cluster was broken off for so long, until now: what happened meanwhile was seen late, or not at
    /// all.
    Blind { watch: String, for_ns: u64 },
    /// The arm could not be measured to its end.
    Aborted { message: String },
    /// The run was told to stop.
    Interrupted { signal: String },
    /// The arm's recording is whole: so many rows were handed over, so many lost to a full queue.
    Completed { rows: u64, overflowed: u64 },
}

impl Event {
    /// The pod that it speaks of.
    #[must_use]
    pub const fn pod(&self) -> Option<PodId> {
        match self {
            Self::PodCreated { pod, .. }
            | Self::PodStarted { pod, .. }
            | Self::PodReady { pod }
            | Self::PodNotReady { pod }
            | Self::PostStartStarted { pod }
            | Self::PostStartEnded { pod, .. }
            | Self::DeleteRequested { pod }
            | Self::Terminating { pod, .. }
            | Self::Killing { pod, .. }
            | Self::PreStopStarted { pod, .. }
            | Self::PreStopEnded { pod, .. }
            | Self::StopSignal { pod, .. }
            | Self::KillSignal { pod }
            | Self::ListenerSeenClosed { pod }
            | Self::Exited { pod, .. }
            | Self::IpGone { pod }
            | Self::Terminal { pod, .. }
            | Self::DeletedAgain { pod, .. }
            | Self::GraceChanged { pod, .. }
            | Self::Gone { pod }
            | Self::SliceChanged { pod, .. }
            | Self::SliceRemoved { pod }
            | Self::EndpointProgrammed { pod, .. }
            | Self::EndpointRemoved { pod, .. }
            | Self::Lifecycle { pod, .. }
            | Self::ClockOffset { pod, .. } => Some(*pod),
            Self::Warning { pod, .. } | Self::Note { pod, .. } => *pod,
            _ => None,
        }
    }
}
