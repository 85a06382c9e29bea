//! What the verdict needs of an arm beyond its report, and what its reader should know.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::arm::Arm;
use super::lane::Lane;
use super::text::{count, duration};
use super::timeline::PodFacts;
use crate::arrival::TOGETHER_FROM;
use crate::plan::{EXACT_NOTE, Role};
use crate::settings::{Disruption, LaneKind, Rounding, Target};
use crate::statistics::{detection_floor_secs, real};
use crate::verdict::{Evidence, Stall};

/// A clock less certain than this moves requests across edges that lie close to one another.
const CLOCK_UNCERTAIN_NS: u64 = 20_000_000;

/// More lag than that at the median does not come of it.
const PASS_SHOWS_NS: u64 = 2_000_000;
const TOGETHER: &str =
    "; slots that come fast are released together, to save the client CPU time (--exact polls instead)";

/// So many nodes are named in a sentence.
const NODES_NAMED: usize = 5;

impl Arm<'_> {
    /// What the verdict needs beyond the report.
    pub(super) fn evidence(&self) -> Evidence {
        let mut evidence = self.evidence.clone();
        let names = |wanted: &dyn Fn(&PodFacts) -> bool| {
            self.pods.values().filter(|pod| wanted(pod)).map(|pod| pod.name.clone()).collect::<Vec<_>>()
        };
        let silent = self.lanes.iter().filter(|lane| lane.requests.scheduled == 0);
        evidence.silent_lanes = silent.map(|lane| lane.name().to_owned()).collect();
        evidence.late_by_lane =
            self.lanes.iter().map(|lane| (lane.name().to_owned(), lane.late_counted)).collect();
        evidence.failed_by_lane =
            self.lanes.iter().map(|lane| (lane.name().to_owned(), lane.failed_by_kind.clone())).collect();
        evidence.overflowed_in_lanes =
            self.lanes.iter().filter_map(|lane| lane.summary).map(|sum| sum.overflowed).sum();
        evidence.interrupted_requests = self.requests().interrupted - evidence.client_faults;
        evidence.never_gone = names(&|pod| pod.deleted_at().is_some() && pod.timeline.gone_ns.is_none());
        evidence.ended_by_themselves = names(&PodFacts::ended_by_itself);
        evidence.reporting = names(&|pod| pod.reports);
        evidence.unnamed =
            self.plan.has_workload() && self.is_elsewhere() && !self.lanes.iter().any(|lane| lane.named);
        let stalls: Vec<_> = self.stalls.iter().map(|stall| (stall.from, stall.to)).collect();
        evidence.stalls = self.that_matter(&stalls);
        evidence.blind = self.that_matter(&self.blind);
        evidence.remote = !self.agents.is_empty();
        evidence.probed_nodes = self.probed();
        evidence
    }

    /// How long what is sent is under way between the clients and the pods' host, in nanoseconds.
    pub(super) fn away(&self) -> u64 {
        u64::try_from((self.plan.load.rtt / 2).as_nanos()).unwrap_or(u64::MAX)
    }

    /// True if the load went to an address that is not the workload's own: it may never have reached a pod.
    pub(super) const fn is_elsewhere(&self) -> bool {
        matches!(self.plan.load.target, Target::Url(_))
    }

    /// Spans beyond the lag limit, under load, while a pod was terminating: when this process stood still, the emulation
    /// did with the load; when a watch was broken off, nobody saw what became of the pod.
    fn that_matter(&self, spans: &[(u64, u64)]) -> Vec<Stall> {
        let limit = u64::try_from(self.header.plan.limits.schedule_lag.as_nanos()).unwrap_or(u64::MAX);
        let (load_from, load_to) = (self.load_started.unwrap_or(0), self.load_ended.unwrap_or(u64::MAX));
        let long = spans.iter().filter(|(from, to)| to - from > limit);
        let of = |&(from, to): &(u64, u64)| {
            let meets = |pod: &PodFacts| {
                pod.deleted_at().is_some_and(|deleted| {
                    let (from, to) = (from.max(load_from).max(deleted), to.min(load_to));
                    from <= to && pod.is_there(from)
                })
            };
            let pods = self.pods.values().filter(|pod| meets(pod)).map(|pod| pod.name.clone()).collect();
            Stall { from_ns: from, for_ns: to - from, pods }
        };
        long.map(of).filter(|stall| !stall.pods.is_empty()).collect()
    }

    /// From the fastest lane of new connections, which shows routing and listener gaps; failing that, from the
    /// fastest lane of kept ones, if these were kept and are enough to reach every pod.
    pub(super) fn detection_floor(&self) -> Option<u64> {
        let replicas = self.plan.workload.replicas;
        // While a rollout adds pods before it takes others away, each gets a smaller part.
        let surge = match self.plan.disruption {
            Disruption::RolloutRestart => {
                self.plan.workload.strategy.max_surge.resolve(replicas, Rounding::Up)
            }
            _ => 0,
        };
        let pods = if replicas == 0 { 0 } else { replicas.saturating_add(surge) };
        let best = |wanted: &dyn Fn(&Lane<'_>) -> bool| {
            let lanes = self.lanes.iter().filter(|lane| wanted(lane));
            lanes.map(|lane| lane.plan.rate).max_by(f64::total_cmp)
        };
        let is_new = |lane: &Lane<'_>| lane.plan.kind == LaneKind::New;
        let spread =
            |lane: &Lane<'_>| !is_new(lane) && lane.plan.connections >= replicas && !lane.never_reused();
        let rate = best(&is_new).or_else(|| best(&spread))? * self.smallest_share();
        let floor = Duration::try_from_secs_f64(detection_floor_secs(rate, pods)?).ok()?;
        u64::try_from(floor.as_nanos()).ok()
    }

    /// The part of the load that the least probed node sends. Each node's rules change on their own, and a gap in
    /// those of one is seen only by what comes from there.
    fn smallest_share(&self) -> f64 {
        if self.agents.is_empty() && !self.is_elsewhere() {
            // One engine, whose connections come from every node alike.
            return 1.0 / real(self.came_from.len().max(1) as u64);
        }
        let mut by_node: BTreeMap<&str, u64> = BTreeMap::new();
        if !self.is_elsewhere() {
            for agent in self.agents.values() {
                *by_node.entry(&agent.node).or_default() += 1;
            }
        }
        let fewest = by_node.values().min().copied().unwrap_or(1);
        real(fewest) / real(by_node.values().sum::<u64>().max(1))
    }

    /// Where some nodes sent no load through their own rules: on which it did.
    fn probed(&self) -> Option<String> {
        let (with, _) = self.nodes_by_load();
        let matters = !with.is_empty() && !self.is_elsewhere() && with.len() < self.nodes().len();
        matters.then(|| format!("{} alone, {} of {} nodes", with.join(", "), with.len(), self.nodes().len()))
    }

    /// The nodes that load came from, and the others.
    fn nodes_by_load(&self) -> (Vec<&str>, Vec<&str>) {
        let by_agents = self.agents.values().map(|agent| agent.node.as_str());
        let by_requests = self.came_from.iter().filter_map(|node| self.nodes().get(usize::from(node.0)));
        let from: BTreeSet<&str> = if self.agents.is_empty() {
            by_requests.map(String::as_str).collect()
        } else {
            by_agents.collect()
        };
        self.nodes().iter().map(String::as_str).partition(|node| from.contains(node))
    }

    /// The same as a caveat.
    fn unprobed(&self) -> Option<String> {
        let probed = self.probed().filter(|_| self.plan.role == Role::Trial)?;
        let (_, without) = self.nodes_by_load();
        let remedy = if self.agents.is_empty() { "" } else { "; --agents puts more to work" };
        Some(format!(
            "the load came from {probed}: how the rules of the others ({}{}) followed was not tested{remedy}",
            without[..without.len().min(NODES_NAMED)].join(", "),
            if without.len() > NODES_NAMED { ", …" } else { "" }
        ))
    }

    /// Pods whose own reports are placed by clocks that are not known well, or not at all.
    fn badly_timed(&self) -> Option<String> {
        let bad = |pod: &&PodFacts| {
            pod.deleted_at().is_some()
                && match pod.clock_uncertainty {
                    Some(uncertain) => uncertain > CLOCK_UNCERTAIN_NS,
                    None => pod.reports && !self.agents.is_empty(),
                }
        };
        let names: Vec<&str> = self.pods.values().filter(bad).map(|pod| pod.name.as_str()).collect();
        (!names.is_empty()).then(|| {
            format!(
                "the clocks of {} are not known to ± {}: the order of their edges within that is not either",
                names.join(", "),
                duration(CLOCK_UNCERTAIN_NS)
            )
        })
    }

    /// What an ordinary client told of the same time, beside ours that sends nothing twice.
    fn hidden(&self) -> Option<String> {
        let of = |kind: LaneKind| {
            let requests =
                self.lanes.iter().find(|lane| lane.plan.kind == kind).map(|lane| &lane.requests)?;
            let (failed, sent) = (count(requests.failed), count(requests.sent));
            Some(format!("{failed} of {sent}"))
        };
        let told = of(LaneKind::Pooled)?;
        let ours = of(LaneKind::Reused).map_or_else(
            || "lane reused beside it would show what that hid".to_owned(),
            |ours| format!("in lane reused, which sends nothing twice, {ours} failed"),
        );
        Some(format!(
            "lane pooled is an ordinary client, which sends some requests again and does not say so: it told of {told} \
             failed; {ours}"
        ))
    }

    /// Lanes whose latency is that of the client more than that of the service.
    fn lagging(&self) -> impl Iterator<Item = String> {
        // A load that measures: one that looks for drops does not care for parts of a millisecond.
        let lanes = self.lanes.iter().filter(|_| !self.plan.has_workload());
        lanes.filter_map(|lane| Some((lane.name(), lane.mostly_lag()?))).map(|(name, (lag, latency))| {
            format!(
                "lane {name}: at the median {} of {} of latency are how late the client sent, and not the service's{}",
                duration(lag),
                duration(latency),
                if self.releases_together() && lag <= PASS_SHOWS_NS { TOGETHER } else { "" }
            )
        })
    }

    /// The client slept, and was asked for so much that it released several slots each time.
    fn releases_together(&self) -> bool {
        let rate: f64 = self.plan.load.lanes.iter().map(|lane| lane.rate).sum();
        rate >= TOGETHER_FROM && !self.header.plan.notes.iter().any(|note| note.starts_with(EXACT_NOTE))
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
        let hidden = self.hidden().filter(|_| self.plan.role == Role::Trial);
        let told = self.unprobed().into_iter().chain(self.badly_timed()).chain(hidden).chain(self.lagging());
        told.chain(uncertain).chain(lanes.map(|lane| {
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
