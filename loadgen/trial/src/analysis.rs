//! From a recording to the report: a fold over chunks of records, with all events known beforehand.
//!
//! Memory does not grow with the recording: histograms, counts, windows and the first hundred failures are kept.
//! The report does not depend on the order in which the chunks of an arm arrive.
//!
//! Sums hold exactly: scheduled = sent + unsent, sent = ok + failed + late + interrupted. Faults of the measuring
//! client (no port, no file left) are not the service's: they count as interrupted, and the verdict names them.

use std::collections::BTreeSet;

use crate::event::{Event, TimedEvent};
use crate::id::ArmId;
use crate::plan::Role;
use crate::record::Record;
use crate::recording::Header;
use crate::report::{self, Report};
use crate::verdict::{self, Evidence};

mod advice;
mod arm;
mod attribution;
mod cause;
mod claims;
mod ending;
mod evidence;
mod lane;
mod notes;
mod outages;
mod reach;
pub(crate) mod text;
mod timeline;
mod trials;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use cause::Cause;

use arm::Arm;

/// The fold.
#[derive(Debug)]
pub struct Analysis<'a> {
    header: &'a Header,
    arms: Vec<Arm<'a>>,
    caveats: Vec<String>,
    complaints: Vec<String>,
    /// Records of arms that the plan does not have.
    strays: u64,
    last_event: Option<u64>,
}

impl<'a> Analysis<'a> {
    /// Takes everything but the records. `complaints` are what could not be read of the recording: any makes the run
    /// inconclusive.
    #[must_use]
    pub fn new(header: &'a Header, events: &[TimedEvent], complaints: Vec<String>) -> Self {
        let mut sorted: Vec<&TimedEvent> = events.iter().collect();
        // Stable: events of one moment stay in the order of their lines.
        sorted.sort_by_key(|event| event.at_ns);
        let stalls: Vec<_> = sorted.iter().filter_map(|timed| Some((timed.arm, stall(timed)?))).collect();
        let arm = |(index, plan)| {
            let own: Vec<_> =
                sorted.iter().copied().filter(|event| usize::from(event.arm.0) == index).collect();
            let of_it = |(arm, stall): &(ArmId, Standstill)| {
                (stall.agent.is_none() || usize::from(arm.0) == index).then_some(*stall)
            };
            Arm::new(plan, header, &own, stalls.iter().filter_map(of_it).collect())
        };
        Self {
            header,
            arms: header.plan.arms.iter().enumerate().map(arm).collect(),
            caveats: caveats(header, &sorted),
            complaints,
            strays: 0,
            last_event: sorted.last().map(|event| event.at_ns.as_nanos()),
        }
    }

    /// Takes an event that happened while records were already added. For arms without a workload only: there an event
    /// says when the load began and ended, what was lost, and when the client stood still, which must be told before the
    /// records of that time are added.
    pub fn told(&mut self, timed: &TimedEvent) {
        self.last_event = self.last_event.max(Some(timed.at_ns.as_nanos()));
        let stall = stall(timed);
        for (index, arm) in self.arms.iter_mut().enumerate() {
            if stall.is_some() || usize::from(timed.arm.0) == index {
                arm.told(timed, stall);
            }
        }
    }

    /// What could not be read of the recording, found while it is read: any makes the run inconclusive.
    pub fn complain(&mut self, complaint: String) {
        self.complaints.push(complaint);
    }

    /// Looks at a chunk of an arm's records before any is added: some edges are known from records alone, and each
    /// record is judged by the edges of all. To be called for every chunk, in any order, then [`Analysis::surveyed`].
    pub fn survey(&mut self, arm: ArmId, records: &[Record]) {
        if let Some(arm) = self.arms.get_mut(usize::from(arm.0)) {
            for record in records {
                arm.survey(record);
            }
        }
    }

    /// True if an arm's records tell something that has to be known before any is added. Where they do not, who reads them may add them
    /// at once.
    #[must_use]
    pub fn is_surveyed(&self, arm: ArmId) -> bool {
        self.arms.get(usize::from(arm.0)).is_some_and(|arm| !arm.is_elsewhere())
    }

    /// Every chunk was looked at.
    pub fn surveyed(&mut self) {
        for arm in &mut self.arms {
            arm.surveyed();
        }
    }

    /// Adds a chunk of an arm's records, in any order.
    pub fn add(&mut self, arm: ArmId, records: &[Record]) {
        if let Some(arm) = self.arms.get_mut(usize::from(arm.0)) {
            for record in records {
                arm.add(record);
            }
        } else {
            self.strays += records.len() as u64;
        }
    }

    /// The report, judged.
    #[must_use]
    pub fn finish(mut self) -> Report {
        let plan = &self.header.plan;
        if self.strays > 0 {
            let strays = text::counted(self.strays, "record");
            self.complaints.push(format!("{strays} belong to no arm of the plan"));
        }
        let evidence: Vec<Evidence> = self.arms.iter().map(Arm::evidence).collect();
        let mut arms: Vec<report::Arm> = self.arms.iter().map(Arm::report).collect();
        let controls = arms.iter().zip(&evidence).filter(|(arm, _)| arm.role == Role::Control);
        let usual = verdict::Usual::of(controls);
        let mut judged = Vec::with_capacity(arms.len());
        for ((arm, planned), evidence) in arms.iter_mut().zip(&plan.arms).zip(&evidence) {
            let judgement = verdict::judge_arm(arm, planned, evidence, plan, &usual);
            (arm.verdict, arm.reasons) = (judgement.verdict, judgement.reasons.clone());
            arm.doubts.clone_from(&judgement.doubts);
            judged.push(judgement);
        }
        let (verdict, reasons) = verdict::judge_run(plan, &judged, &self.complaints);
        let several = plan.arms.len() > 1;
        for arm in &self.arms {
            let named = |text| if several { format!("arm {}: {text}", arm.plan.name) } else { text };
            self.caveats.extend(arm.caveats().map(named));
        }
        self.caveats.extend(arms.iter().filter_map(unshown));
        let complete = evidence.iter().all(|evidence| evidence.completed.is_some());
        Report {
            schema_version: report::SCHEMA_VERSION.to_owned(),
            verdict,
            reasons,
            exit_code: interrupted_by(&evidence).unwrap_or_else(|| verdict.exit_code()),
            run: run(self.header, self.last_event.filter(|_| complete), self.caveats),
            arms,
            tune: None,
            claims: claims::claims(&plan.scenario, &self.arms),
            advice: advice::advice(&self.arms),
        }
    }
}

/// A negative control shows of each lane by itself that failures would be seen in it.
fn unshown(arm: &report::Arm) -> Option<String> {
    let holds = arm.role == Role::NegativeControl && arm.verdict == report::Verdict::Pass;
    verdict::blind_lanes(arm).filter(|_| holds).map(|lanes| {
        format!(
            "arm {} failed no request in {lanes}: that failures would be seen there is not shown, and that other arms have \
             none there is worth less",
            arm.name
        )
    })
}

/// The code that a run told to stop by a signal ends with.
fn interrupted_by(evidence: &[Evidence]) -> Option<u8> {
    evidence.iter().find_map(|evidence| match evidence.interrupted.as_deref() {
        Some("SIGINT") => Some(130),
        Some("SIGTERM") => Some(143),
        _ => None,
    })
}

fn run(header: &Header, duration_ns: Option<u64>, caveats: Vec<String>) -> report::Run {
    let plan = &header.plan;
    let kubelet = plan.arms.first().filter(|arm| header.backend == "local" && arm.has_workload());
    report::Run {
        id: header.run_id.clone(),
        scenario: plan.scenario.clone(),
        description: plan.description.clone(),
        backend: header.backend.clone(),
        backend_version: header.backend_version.clone(),
        kubelet_profile: kubelet.map(|arm| arm.local.kubelet.to_string()),
        nodes: header.nodes.clone(),
        agents: header.agents,
        seed: plan.seed,
        started_at: header.started_at.clone(),
        duration_ns,
        tool_version: header.tool_version.clone(),
        argv: header.argv.clone(),
        environment: header.environment.clone(),
        limits: serde_json::to_value(plan.limits).unwrap_or_default(),
        caveats,
    }
}

/// From when to when a process stood still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standstill {
    from: u64,
    to: u64,
    /// The agent's number; `None` for the measuring process itself.
    agent: Option<u8>,
}

/// It tells once it goes on.
fn stall(timed: &TimedEvent) -> Option<Standstill> {
    let to = timed.at_ns.as_nanos();
    match timed.event {
        Event::Stalled { for_ns, agent } => Some(Standstill { from: to.saturating_sub(for_ns), to, agent }),
        _ => None,
    }
}

/// What the plan and the events say of the run as a whole, each once.
fn caveats(header: &Header, events: &[&TimedEvent]) -> Vec<String> {
    let said = events.iter().filter_map(|timed| match &timed.event {
        Event::Note { pod: None, text } => Some(text.clone()),
        Event::Warning { pod: None, reason, message } => Some(format!("{reason}: {message}")),
        _ => None,
    });
    let mut seen = BTreeSet::new();
    header.plan.notes.iter().cloned().chain(said).filter(|text| seen.insert(text.clone())).collect()
}
