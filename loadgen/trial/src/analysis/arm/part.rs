//! What a fold over an arm becomes in the report.

use std::time::Duration;

use super::{Arm, Hits};
use crate::analysis::attribution::{Attribution, attribute};
use crate::analysis::cause::Cause;
use crate::analysis::text;
use crate::analysis::timeline::PodFacts;
use crate::record::{Class, Record};
use crate::report::{self, Failure};

impl Arm<'_> {
    /// The arm's part of the report, without its verdict.
    pub(in crate::analysis) fn report(&self) -> report::Arm {
        let disrupted = self.is_disrupted() && self.disrupted_at.is_some();
        let floor = self.is_disrupted().then(|| self.detection_floor()).flatten();
        report::Arm {
            name: self.plan.name.clone(),
            role: self.plan.role,
            settings: if self.plan.has_workload() {
                serde_json::to_value(&self.plan.workload).unwrap_or_default()
            } else {
                serde_json::Value::Null
            },
            load: serde_json::to_value(&self.plan.load).unwrap_or_default(),
            disruption: serde_json::to_value(&self.plan.disruption).unwrap_or_default(),
            settle: serde_json::to_value(self.plan.settle).unwrap_or_default(),
            local: if self.header.backend == "local" && self.plan.has_workload() {
                serde_json::to_value(&self.plan.local).unwrap_or_default()
            } else {
                serde_json::Value::Null
            },
            verdict: report::Verdict::Inconclusive,
            reasons: vec![],
            doubts: vec![],
            load_started_ns: self.load_started,
            load_duration_ns: self
                .load_ended
                .zip(self.load_started)
                .map(|(end, start)| end.saturating_sub(start)),
            first_disruption_ns: self.disrupted_at,
            requests: self.requests(),
            lanes: self.lanes.iter().map(|lane| lane.report(self.plan.workload.replicas)).collect(),
            failures_by_class: self.by_class.clone(),
            failures_by_pod_phase: self.by_phase.clone(),
            failures_by_routing: self.by_routing.clone(),
            failures_by_cause: self
                .causes
                .iter()
                .map(|(cause, number)| (cause.as_str().to_owned(), *number))
                .collect(),
            failures_before_disruption: self.evidence.failed_before + self.evidence.late_before,
            failures: self.first.values().map(|record| self.failure(record)).collect(),
            terminations: self.terminations(),
            rollouts: self.rollouts(disrupted, self.after_disruption > 0),
            detection_floor_ns: floor,
            pods: self.pods.iter().map(|(id, pod)| self.pod(pod, self.hits.get(id))).collect(),
            outages: self.lanes.iter().flat_map(|lane| lane.windows.report(lane.name())).collect(),
            agents: self.agents.values().cloned().collect(),
        }
    }

    /// Why it failed or was late.
    pub(super) fn cause(&self, record: &Record, found: &Attribution<'_>) -> Cause {
        let is_late = record.class == Class::None;
        // A lag within the limit is part of what is measured.
        let excused = is_late && !self.timing(record, found.seen).in_lag;
        if excused && !self.is_late_without_client(record, found.seen) {
            return Cause::ClientLate;
        }
        Cause::of(record, found)
    }

    /// Whether it would be late if it had been sent when it was due, and the client had stood still at no time from then on.
    fn is_late_without_client(&self, record: &Record, seen: u64) -> bool {
        let lag = record.lag_ns().unwrap_or(0);
        let sent = record.intended.as_nanos().saturating_add(lag);
        let stalls = self.stalls.iter().filter(|stall| stall.agent.is_none_or(|agent| agent == record.agent));
        let still: u64 = stalls.map(|stall| stall.to.min(seen).saturating_sub(stall.from.max(sent))).sum();
        let rest = record.latency_ns().unwrap_or(0).saturating_sub(lag.saturating_add(still));
        self.lanes
            .get(usize::from(record.lane.0))
            .is_none_or(|lane| Duration::from_nanos(rest) > lane.late_over)
    }

    fn failure(&self, record: &Record) -> Failure {
        let found = attribute(&self.pods, self.node(record), record, self.away());
        let lane = self.lanes.get(usize::from(record.lane.0)).map_or("", |lane| lane.name());
        let Attribution { phase, routing, nearest, .. } = found;
        let class = if record.class == Class::None { "late" } else { record.class.as_str() };
        Failure {
            slot: record.slot,
            lane: lane.to_owned(),
            agent: record.agent,
            at_ns: found.seen,
            intended_ns: record.intended.as_nanos(),
            class: class.to_owned(),
            status: (record.status != 0).then_some(record.status),
            os_code: (record.os_code != 0).then_some(record.os_code),
            connection: record.conn,
            nth: record.nth,
            pod: found.pod.map(|pod| pod.name.clone()),
            candidates: found.candidates.iter().map(|(_, pod)| pod.name.clone()).collect(),
            pod_phase: phase,
            routing,
            nearest_edge: nearest.map(|(edge, _)| edge.to_owned()),
            margin_ns: nearest.map(|(_, margin)| margin),
            sentence: text::sentence(record, lane, self.header.agents, &found, self.cause(record, &found)),
        }
    }

    /// One pod's part of the report.
    fn pod(&self, pod: &PodFacts, hits: Option<&Hits>) -> report::Pod {
        let hits = hits.copied().unwrap_or_default();
        let removal = |node: &String| {
            let removed_ns = pod.removed_at(node);
            let race = removed_ns.zip(pod.timeline.listener_closed_ns);
            let after_listener_closed_ns =
                race.map(|(removed, closed)| removed.wrapping_sub(closed).cast_signed());
            report::EndpointRemoval { node: node.clone(), removed_ns, after_listener_closed_ns }
        };
        let endpoint = pod.deleted_at().map(|_| self.nodes().iter().map(removal).collect());
        report::Pod {
            name: pod.name.clone(),
            node: pod.node.clone(),
            timeline: pod.timeline,
            inferred: pod.inferred.iter().map(|edge| (*edge).to_owned()).collect(),
            endpoint: endpoint.unwrap_or_default(),
            main_started_ns: pod.main_started,
            ready_ns: pod.ready,
            post_start: pod.post_start,
            exit: pod.exit,
            clock_offset_ns: pod.clock_offset,
            clock_uncertainty_ns: pod.clock_uncertainty,
            notes: pod.notes.clone(),
            requests_while_terminating: hits.exposed,
            failed: hits.failed,
            late: hits.late,
        }
    }
}
