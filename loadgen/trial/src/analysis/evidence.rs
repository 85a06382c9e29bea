//! What the verdict needs of an arm beyond its report, and what its reader should know.

use std::time::Duration;

use super::arm::Arm;
use super::lane::Lane;
use super::text::duration;
use super::timeline::PodFacts;
use crate::plan::Role;
use crate::settings::{LaneKind, Target};
use crate::statistics::detection_floor_secs;
use crate::verdict::{Evidence, Stall};

/// A clock less certain than this moves requests across edges that lie close to one another.
const CLOCK_UNCERTAIN_NS: u64 = 20_000_000;

impl Arm<'_> {
    /// What the verdict needs beyond the report.
    pub(super) fn evidence(&self) -> Evidence {
        let mut evidence = self.evidence.clone();
        let names = |wanted: &dyn Fn(&PodFacts) -> bool| {
            self.pods.values().filter(|pod| wanted(pod)).map(|pod| pod.name.clone()).collect::<Vec<_>>()
        };
        let silent = self.lanes.iter().filter(|lane| lane.requests.scheduled == 0);
        evidence.silent_lanes = silent.map(|lane| lane.name().to_owned()).collect();
        evidence.overflowed_in_lanes =
            self.lanes.iter().filter_map(|lane| lane.summary).map(|sum| sum.overflowed).sum();
        evidence.interrupted_requests = self.requests().interrupted - evidence.client_faults;
        evidence.never_gone = names(&|pod| pod.deleted_at().is_some() && pod.timeline.gone_ns.is_none());
        evidence.ended_by_themselves = names(&PodFacts::ended_by_itself);
        evidence.reporting = names(&|pod| pod.reports);
        evidence.unnamed = self.is_elsewhere() && !self.lanes.iter().any(|lane| lane.named);
        evidence.stalls = self.stalls_that_matter();
        evidence
    }

    /// True if the load went to an address that is not the workload's own: it may never have reached a pod.
    pub(super) const fn is_elsewhere(&self) -> bool {
        matches!(self.plan.load.target, Target::Url(_))
    }

    /// Stalls beyond the lag limit, under load, while a pod was terminating: with the load, the emulation stood still.
    fn stalls_that_matter(&self) -> Vec<Stall> {
        let limit = u64::try_from(self.header.plan.limits.schedule_lag.as_nanos()).unwrap_or(u64::MAX);
        let (load_from, load_to) = (self.load_started.unwrap_or(0), self.load_ended.unwrap_or(u64::MAX));
        let long = self.stalls.iter().filter(|(from, to)| to - from > limit);
        let of = |&(from, to): &(u64, u64)| {
            let meets = |pod: &PodFacts| {
                pod.deleted_at().is_some_and(|deleted| {
                    let until = pod.timeline.gone_ns.unwrap_or(u64::MAX);
                    from.max(load_from).max(deleted) <= to.min(load_to).min(until)
                })
            };
            let pods = self.pods.values().filter(|pod| meets(pod)).map(|pod| pod.name.clone()).collect();
            Stall { for_ns: to - from, pods }
        };
        long.map(of).filter(|stall| !stall.pods.is_empty()).collect()
    }

    /// From the fastest lane of new connections, which shows routing and listener gaps; failing that, from the
    /// fastest lane of kept ones, if these were kept and are enough to reach every pod.
    pub(super) fn detection_floor(&self) -> Option<u64> {
        let replicas = self.plan.workload.replicas;
        let best = |wanted: &dyn Fn(&Lane<'_>) -> bool| {
            let lanes = self.lanes.iter().filter(|lane| wanted(lane));
            lanes.map(|lane| lane.plan.rate).max_by(f64::total_cmp)
        };
        let is_new = |lane: &Lane<'_>| lane.plan.kind == LaneKind::New;
        let spread =
            |lane: &Lane<'_>| !is_new(lane) && lane.plan.connections >= replicas && !lane.never_reused();
        let rate = best(&is_new).or_else(|| best(&spread))?;
        let floor = Duration::try_from_secs_f64(detection_floor_secs(rate, replicas)?).ok()?;
        u64::try_from(floor.as_nanos()).ok()
    }

    /// What of the trial was not tested after all.
    pub(super) fn caveats(&self) -> impl Iterator<Item = String> {
        let lanes = self.lanes.iter().filter(|lane| self.plan.role == Role::Trial && lane.never_reused());
        let uncertain = self.agents.values().filter(|agent| agent.clock_uncertainty_ns > CLOCK_UNCERTAIN_NS);
        let uncertain = uncertain.map(|agent| {
            let by = duration(agent.clock_uncertainty_ns);
            format!(
                "times of agent {} on {} are known to ± {by} only: the order of edges within that is not",
                agent.agent, agent.node
            )
        });
        uncertain.chain(lanes.map(|lane| {
            // One request a connection is what the scenario may ask for.
            let by_plan = lane.plan.max_requests_per_connection.is_some_and(|most| most <= 1);
            let why = if by_plan { "maxRequestsPerConnection is 1" } else { "the server closes each" };
            format!(
                "lane {} never reused a connection: {why}; pinned connections were not tested",
                lane.name()
            )
        }))
    }
}
