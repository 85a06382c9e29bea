//! Why a measurement may have missed something.

use super::Evidence;
use crate::analysis::text::{count, counted, duration};
use crate::plan::{self, Plan};
use crate::report::Arm;
use crate::settings::{Allowed, Disruption};

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Doubt {
    pub(super) text: String,
    /// The recording itself is not whole.
    pub(super) broken: bool,
}

/// Every reason to doubt the arm, the most important first.
pub(super) fn doubts(arm: &Arm, planned: &plan::Arm, evidence: &Evidence, plan: &Plan) -> Vec<Doubt> {
    let doubt = |broken: bool| move |text: String| Doubt { text, broken };
    let broken = incomplete(evidence).into_iter().map(doubt(true));
    let missed = unmeasured(arm, evidence).into_iter().chain(lagging(arm, evidence, plan));
    let undisturbed = disruption(arm, planned, evidence, plan);
    broken.chain(missed.chain(undisturbed).map(doubt(false))).collect()
}

/// The recording is not whole.
fn incomplete(evidence: &Evidence) -> Vec<String> {
    let mut reasons: Vec<String> =
        evidence.aborted.iter().map(|message| format!("the arm was given up: {message}")).collect();
    if let Some(signal) = &evidence.interrupted {
        reasons.push(format!("the run was interrupted by {signal}"));
    }
    match evidence.completed {
        None => reasons.push("the recording ends early: the run was killed or is not over".to_owned()),
        Some(completed) => {
            if completed.overflowed > 0 {
                let lost = counted(completed.overflowed, "record");
                reasons.push(format!("{lost} were lost to a full queue"));
            }
            if completed.rows != evidence.recorded {
                let (rows, read) = (count(completed.rows), count(evidence.recorded));
                reasons
                    .push(format!("{rows} records were written but {read} could be read: parts are missing"));
            }
        }
    }
    if evidence.overflowed_in_lanes > 0 {
        reasons.push(format!(
            "the lanes lost {} to a full queue",
            counted(evidence.overflowed_in_lanes, "record")
        ));
    }
    if evidence.unknown_lanes > 0 {
        reasons.push(format!("{} belong to no lane of the plan", counted(evidence.unknown_lanes, "record")));
    }
    if evidence.unknown_pods > 0 {
        reasons.push(format!(
            "{} name a pod that no event introduced",
            counted(evidence.unknown_pods, "record")
        ));
    }
    reasons
}

/// Slots that say nothing about the service.
fn unmeasured(arm: &Arm, evidence: &Evidence) -> Vec<String> {
    let requests = arm.requests;
    let mut reasons = Vec::new();
    if requests.sent == 0 {
        reasons.push("no request was sent".to_owned());
    }
    if requests.unsent > 0 {
        let (unsent, all) = (count(requests.unsent), counted(requests.scheduled, "slot"));
        reasons.push(format!("{unsent} of {all} were never sent"));
    }
    if evidence.client_faults > 0 {
        let faults = counted(evidence.client_faults, "request");
        reasons.push(format!("{faults} failed for want of ports or files in the measuring client"));
    }
    if evidence.interrupted_requests > 0 {
        let cut = counted(evidence.interrupted_requests, "request");
        reasons.push(format!("{cut} had no outcome when the load ended"));
    }
    if evidence.unknown_endings > 0 {
        reasons.push(format!(
            "the end of {} was nothing but the close of the connection while their pod was stopping: \
             whole or cut cannot be told",
            counted(evidence.unknown_endings, "answer")
        ));
    }
    if evidence.unnamed && requests.sent > 0 {
        reasons.push("no answer named a pod of this workload: is the target in front of it?".to_owned());
    }
    for lane in evidence.silent_lanes.iter().filter(|_| requests.scheduled > 0) {
        reasons.push(format!("lane {lane} has no record at all"));
    }
    reasons
}

/// The schedule was not kept.
fn lagging(arm: &Arm, evidence: &Evidence, plan: &Plan) -> Vec<String> {
    let nanos = |limit: std::time::Duration| u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
    let (lag_limit, floor_limit) = (nanos(plan.limits.schedule_lag), nanos(plan.limits.detection_floor));
    let mut reasons = Vec::new();
    // Once is enough, however many lanes it is.
    let mut advice = if plan.arms.len() > 1 {
        "; if arms took the machine from each other, --parallel 1 runs one at a time"
    } else {
        ""
    };
    for lane in &arm.lanes {
        let Some(lag) = lane.schedule_lag_ns else {
            continue;
        };
        let (name, p99, max) = (&lane.name, duration(lag.p99), duration(lag.max));
        if lag.p99 > lag_limit {
            reasons.push(format!(
                "lane {name} lagged its schedule by {p99} (p99), beyond {}{advice}",
                duration(lag_limit)
            ));
            advice = "";
        }
        if lag.max > floor_limit && is_judged(plan) {
            let limit = duration(floor_limit);
            reasons.push(format!("lane {name} stalled for {max}, and gaps up to {limit} were to be seen"));
        }
    }
    if let Some(longest) = evidence.stalls.iter().max_by_key(|stall| stall.for_ns) {
        let times = match evidence.stalls.len() {
            1 => String::new(),
            several => format!(" ({} stalls)", count(several as u64)),
        };
        reasons.push(format!(
            "{} stood still for {}{times} while {} terminating: {} late",
            if evidence.remote { "an agent" } else { "this process" },
            duration(longest.for_ns),
            are(&longest.pods),
            if evidence.remote { "its load was" } else { "the emulation and the load were" }
        ));
    }
    if let Some(longest) = evidence.blind.iter().max_by_key(|blind| blind.for_ns) {
        reasons.push(format!(
            "the cluster was not watched for {} while {} terminating: what became of it was not seen in time",
            duration(longest.for_ns),
            are(&longest.pods)
        ));
    }
    // Rule 2: they do not count against the service, but nor do they speak for it.
    if !plan.expect.late.accepts(arm.requests.late) && plan.expect.late.accepts(evidence.late_in_lag) {
        let late = counted(arm.requests.late - evidence.late_in_lag, "request");
        let stalled = match evidence.late_in_stall {
            0 => "",
            _ if evidence.remote => ", or were under way while their agent stood still",
            _ => ", or were under way while this process stood still",
        };
        reasons.push(format!(
            "{late} answered late had been sent late{stalled}: the client's lag, or the service's, cannot be told"
        ));
    }
    reasons
}

/// Subject and verb.
fn are(pods: &[String]) -> String {
    format!("{} {}", pods.join(", "), if pods.len() == 1 { "was" } else { "were" })
}

/// The disruption did not happen, did not end, or could not have been seen.
fn disruption(arm: &Arm, planned: &plan::Arm, evidence: &Evidence, plan: &Plan) -> Vec<String> {
    let mut reasons = Vec::new();
    if !evidence.ended_by_themselves.is_empty() {
        let pods = evidence.ended_by_themselves.join(", ");
        reasons.push(format!("{pods} ended without being asked to: not the disruption that was planned"));
    }
    if planned.disruption == Disruption::None {
        return reasons;
    }
    if arm.terminations.total == 0 {
        let kind = planned.disruption.as_str();
        reasons.push(format!("no pod was terminated, though {kind} was planned"));
        return reasons;
    }
    if evidence.open_rollouts > 0 {
        reasons.push("the rollout did not come to its end: some pods were not replaced".to_owned());
    } else if evidence.open_disruptions > 0 {
        reasons.push("the disruption did not come to its end".to_owned());
    }
    if !evidence.never_gone.is_empty() {
        reasons.push(format!("the end of {} was never seen", evidence.never_gone.join(", ")));
    }
    if !is_judged(plan) {
        return reasons;
    }
    let (exposed, total) = (arm.terminations.exposed, arm.terminations.total);
    if exposed == 0 {
        reasons.push(
            "no request was due to a pod while it was terminating: nothing could have failed".to_owned(),
        );
    } else if exposed < total {
        reasons.push(format!(
            "only {} of {} had a request due while terminating: on the others nothing could have failed",
            count(exposed),
            counted(total, "terminated pod")
        ));
    }
    let limit = u64::try_from(plan.limits.detection_floor.as_nanos()).unwrap_or(u64::MAX);
    match arm.detection_floor_ns {
        None => {
            reasons.push("how short a gap would have been seen cannot be computed from this load".to_owned());
        }
        Some(floor) if floor > limit => reasons.push(format!(
            "gaps on one pod shorter than {} may have been missed, and {} is the limit",
            duration(floor),
            duration(limit)
        )),
        Some(_) => {}
    }
    reasons
}

/// Where any number of failures is accepted, a gap that went unseen changes nothing.
fn is_judged(plan: &Plan) -> bool {
    plan.expect.failed != Allowed::Any
}
