//! One arm: its events at once, its records chunk by chunk.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::attribution::{attribute, felt, seen};
use super::cause::Cause;
use super::lane::{Lane, Outcome, Summary};
use super::reach::Reach;
use super::timeline::{self, PodFacts};
use super::{Standstill, ending, notes};
use crate::event::{Event, TimedEvent};
use crate::id::{NodeId, PodId};
use crate::plan;
use crate::record::Record;
use crate::recording::Header;
use crate::report::{self, Requests};
use crate::settings::Disruption;
use crate::verdict::{Completed, Evidence, Kind};

mod part;

/// So many failures are shown one by one; all are counted.
const FAILURES_SHOWN: usize = 100;

/// An arm's fold.
#[derive(Debug)]
pub(super) struct Arm<'a> {
    pub(super) plan: &'a plan::Arm,
    pub(super) header: &'a Header,
    pub(super) pods: BTreeMap<PodId, PodFacts>,
    pub(super) load_started: Option<u64>,
    pub(super) load_ended: Option<u64>,
    /// When what sends the load stood still.
    pub(super) stalls: Vec<Standstill>,
    /// When nobody watched: from, to.
    pub(super) blind: Vec<(u64, u64)>,
    /// When the disruption began: announced, or seen by its first delete.
    disrupted_at: Option<u64>,
    pub(super) lanes: Vec<Lane<'a>>,
    by_class: BTreeMap<String, u64>,
    by_phase: BTreeMap<String, u64>,
    by_routing: BTreeMap<String, u64>,
    pub(super) causes: BTreeMap<Cause, u64>,
    /// The earliest failures, by a key that does not depend on the order of chunks.
    first: BTreeMap<(u64, u8, u8, u64, u8), Record>,
    pub(super) hits: BTreeMap<PodId, Hits>,
    reach: Reach,
    pub(super) agents: BTreeMap<u8, report::Agent>,
    /// The nodes that requests came from.
    pub(super) came_from: BTreeSet<NodeId>,
    after_disruption: u64,
    pub(super) evidence: Evidence,
}

/// From when to when a watch was broken off; it is told once the watch goes on.
fn blind(timed: &TimedEvent) -> Option<(u64, u64)> {
    let to = timed.at_ns.as_nanos();
    match timed.event {
        Event::Blind { for_ns, .. } => Some((to.saturating_sub(for_ns), to)),
        _ => None,
    }
}

/// What happened to the requests of one pod.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Hits {
    /// Due to it or under way on it while it was terminating.
    pub(super) exposed: u64,
    /// The same of requests whose pod is not known, where the load goes to the workload itself.
    pub(super) possible: u64,
    failed: u64,
    late: u64,
    /// A request failed or was late on it while it was terminating.
    pub(super) bad: bool,
}

/// Whether a failed or late request can be held against the service's disruption.
#[derive(Debug, Clone, Copy)]
struct Timing {
    /// The schedule was kept, and nothing stood still.
    in_lag: bool,
    stalled: bool,
    /// The disruption had not begun.
    before: bool,
}

impl<'a> Arm<'a> {
    /// `events` are the arm's, in order of time; `stalls` those of the process, whichever arm was under way, and of the
    /// arm's agents.
    pub(super) fn new(
        plan: &'a plan::Arm,
        header: &'a Header,
        events: &[&TimedEvent],
        stalls: Vec<Standstill>,
    ) -> Self {
        let at = |wanted: fn(&Event) -> bool| {
            let found = |timed: &&&TimedEvent| wanted(&timed.event);
            (events.iter().find(found), events.iter().rev().find(found))
        };
        let nanos = |timed: &&TimedEvent| timed.at_ns.as_nanos();
        let load_started = at(|event| matches!(event, Event::LoadStarted)).0.map(nanos);
        let load_ended = at(|event| matches!(event, Event::LoadEnded)).1.map(nanos);
        let announced =
            at(|event| matches!(event, Event::DisruptionStarted { .. } | Event::RolloutStarted)).0.map(nanos);
        let mut pods = timeline::pods(events, load_ended);
        let deleted = pods.values().filter_map(PodFacts::deleted_at).min();
        let disrupted_at = announced.into_iter().chain(deleted).min();
        for pod in pods.values_mut() {
            pod.is_newcomer = pod.ready.zip(disrupted_at).is_some_and(|(ready, began)| ready >= began);
            pod.hold(plan.workload.termination_grace_period_seconds);
            notes::complete(pod, plan.workload.termination_grace_period_seconds);
        }
        let mut arm = Self {
            plan,
            header,
            pods,
            load_started,
            load_ended,
            stalls,
            blind: events.iter().filter_map(|timed| blind(timed)).collect(),
            disrupted_at,
            lanes: plan.load.lanes.iter().map(|lane| Lane::new(lane, &plan.load)).collect(),
            by_class: BTreeMap::new(),
            by_phase: BTreeMap::new(),
            by_routing: BTreeMap::new(),
            causes: BTreeMap::new(),
            first: BTreeMap::new(),
            hits: BTreeMap::new(),
            reach: Reach::default(),
            agents: BTreeMap::new(),
            came_from: BTreeSet::new(),
            after_disruption: 0,
            evidence: Evidence::default(),
        };
        for timed in events {
            arm.observe(&timed.event);
        }
        if !arm.agents.is_empty() {
            // Agents send the load; the measuring process only looks on.
            let (agents, own) = arm.stalls.iter().copied().partition(|stall| stall.agent.is_some());
            arm.stalls = agents;
            let own: Vec<Standstill> = own;
            arm.blind.extend(own.iter().map(|stall| (stall.from, stall.to)));
        }
        arm
    }

    /// Takes an event that came after the others.
    pub(super) fn told(&mut self, timed: &TimedEvent, stall: Option<Standstill>) {
        let at = Some(timed.at_ns.as_nanos());
        match timed.event {
            Event::LoadStarted if self.load_started.is_none() => self.load_started = at,
            Event::LoadEnded => self.load_ended = at,
            _ => {}
        }
        self.stalls.extend(stall);
        self.observe(&timed.event);
    }

    /// Takes what events say of the measurement itself.
    fn observe(&mut self, event: &Event) {
        let evidence = &mut self.evidence;
        match event {
            Event::LaneSummary { lane, connections_opened, idle_closes, overflowed } => {
                if let Some(lane) = self.lanes.iter_mut().find(|known| known.name() == lane) {
                    // One from each agent.
                    let sum = lane.summary.get_or_insert_with(Summary::default);
                    sum.connections_opened += connections_opened;
                    sum.idle_closes += idle_closes;
                    sum.overflowed += overflowed;
                }
            }
            Event::AgentStarted { agent, node, clock_offset_ns, clock_uncertainty_ns } => {
                let begun = report::Agent {
                    agent: *agent,
                    node: node.clone(),
                    clock_offset_ns: *clock_offset_ns,
                    clock_uncertainty_ns: *clock_uncertainty_ns,
                    sent: 0,
                    failed: 0,
                    late: 0,
                    failures_by_class: BTreeMap::new(),
                    first_failure_ns: None,
                    last_failure_ns: None,
                };
                self.agents.insert(*agent, begun);
            }
            Event::AgentClock { agent, clock_uncertainty_ns } => {
                if let Some(agent) = self.agents.get_mut(agent) {
                    agent.clock_uncertainty_ns = agent.clock_uncertainty_ns.max(*clock_uncertainty_ns);
                    // Pods of that node go by the same clocks.
                    for pod in self.pods.values_mut().filter(|pod| pod.node == agent.node) {
                        pod.clock_uncertainty =
                            pod.clock_uncertainty.map(|known| known.max(*clock_uncertainty_ns));
                    }
                }
            }
            Event::DisruptionStarted { .. } => evidence.open_disruptions += 1,
            Event::RolloutStarted => evidence.open_rollouts += 1,
            Event::DisruptionEnded => evidence.open_disruptions = evidence.open_disruptions.saturating_sub(1),
            Event::RolloutEnded => evidence.open_rollouts = evidence.open_rollouts.saturating_sub(1),
            Event::Aborted { message } => evidence.aborted.push(message.clone()),
            Event::Interrupted { signal } => evidence.interrupted = Some(signal.clone()),
            Event::Completed { rows, overflowed } => {
                let sum = evidence.completed.get_or_insert_with(Completed::default);
                sum.rows += rows;
                sum.overflowed += overflowed;
            }
            _ => {}
        }
    }

    /// Looks at one record before all are counted: which pods new connections reached last.
    pub(super) fn survey(&mut self, record: &Record) {
        // Behind an address of somebody else's, what a connection reached is not what a node's rules named.
        if !self.is_elsewhere() {
            self.reach.add(record, &self.pods, self.away());
        }
    }

    /// Every record was looked at.
    pub(super) fn surveyed(&mut self) {
        let nodes = self.nodes();
        std::mem::take(&mut self.reach).settle(&mut self.pods, nodes);
    }

    /// Counts one record.
    pub(super) fn add(&mut self, record: &Record) {
        self.evidence.recorded += 1;
        let ending = ending::of(record, &self.pods, self.away());
        // From here on every count, lane and sentence sees the same.
        let record = &ending.applied_to(record);
        let Some(lane) = self.lanes.get_mut(usize::from(record.lane.0)) else {
            self.evidence.unknown_lanes += 1;
            return;
        };
        let outcome = lane.add(record);
        if outcome == Outcome::Unsent {
            return;
        }
        self.came_from.insert(record.node);
        if let Some(agent) = self.agents.get_mut(&record.agent) {
            agent.sent += 1;
        }
        if record.pod.known().is_some_and(|pod| !self.pods.contains_key(&pod)) {
            self.evidence.unknown_pods += 1;
        }
        self.evidence.unknown_endings += u64::from(ending == ending::Ending::Unknown);
        self.expose(record);
        match outcome {
            Outcome::ClientFault => self.evidence.client_faults += 1,
            Outcome::Failed => self.fail(record, false),
            Outcome::Late => self.fail(record, true),
            Outcome::Ok | Outcome::Interrupted | Outcome::Unsent => {}
        }
    }

    /// Counts the request for the terminations that it could have been hurt by.
    fn expose(&mut self, record: &Record) {
        let (due, seen) = (record.intended.as_nanos(), seen(record));
        let overlaps =
            |pod: &PodFacts| pod.deleted_at().is_some_and(|from| seen >= from) && pod.is_there(due);
        let elsewhere = self.is_elsewhere();
        let Some(lane) = self.lanes.get_mut(usize::from(record.lane.0)) else { return };
        if let Some(id) = record.pod.known() {
            if self.pods.get(&id).is_some_and(overlaps) {
                self.hits.entry(id).or_default().exposed += 1;
                lane.hits.entry(id).or_default().exposed += 1;
            }
        } else if !elsewhere {
            for (id, _) in self.pods.iter().filter(|(_, pod)| overlaps(pod)) {
                self.hits.entry(*id).or_default().possible += 1;
                lane.hits.entry(*id).or_default().possible += 1;
            }
        }
    }

    /// Attributes and counts a failed or late request.
    fn fail(&mut self, record: &Record, late: bool) {
        let found = attribute(&self.pods, self.node(record), record, self.away());
        let cause = self.cause(record, &found);
        *self.by_phase.entry(found.phase.as_str().to_owned()).or_default() += 1;
        *self.by_routing.entry(found.routing.as_str().to_owned()).or_default() += 1;
        *self.causes.entry(cause).or_default() += 1;
        let seen = found.seen;
        let whose = found.id;
        let timing = self.timing(record, seen);
        let counts = !late || timing.in_lag;
        let hurt = match whose {
            Some(id) => vec![id],
            None => found.candidates.into_iter().map(|(id, _)| id).collect(),
        };
        for id in hurt {
            let terminating = self.pods.get(&id).is_some_and(|pod| {
                pod.deleted_at().is_some_and(|from| from <= seen) && pod.is_there(record.intended.as_nanos())
            });
            if terminating {
                let hits = self.hits.entry(id).or_default();
                hits.bad = true;
                // Where the pod is not known, each candidate counts as hurt, but the request as nobody's.
                hits.failed += u64::from(!late && whose == Some(id));
                // One whose pod was found out, not named by it, was due to it all the same.
                hits.exposed += u64::from(record.pod.known().is_none() && whose == Some(id));
                hits.late += u64::from(late && whose == Some(id));
                if let Some(lane) = self.lanes.get_mut(usize::from(record.lane.0)) {
                    let hits = lane.hits.entry(id).or_default();
                    hits.failed |= !late;
                    hits.late |= late && counts;
                }
            }
        }
        // Outages are what clients feel, however far they are.
        self.count(record, late, felt(record), timing);
        self.first.insert((seen, record.lane.0, record.agent, record.slot, record.worker), *record);
        if self.first.len() > FAILURES_SHOWN {
            self.first.pop_last();
        }
    }

    /// What the measurement itself was doing meanwhile.
    fn timing(&self, record: &Record, seen: u64) -> Timing {
        let limit = self.header.plan.limits.schedule_lag;
        let in_lag = record.lag_ns().is_some_and(|lag| Duration::from_nanos(lag) <= limit);
        let stalled = self.stalls.iter().any(|stall| {
            let concerns = stall.agent.is_none_or(|agent| agent == record.agent);
            concerns && record.intended.as_nanos() <= stall.to && stall.from <= seen
        });
        let before = self.is_disrupted() && self.disrupted_at.is_none_or(|from| seen < from);
        Timing { in_lag: in_lag && !stalled, stalled, before }
    }

    fn count(&mut self, record: &Record, late: bool, moment: u64, timing: Timing) {
        if let Some(agent) = self.agents.get_mut(&record.agent) {
            agent.failed += u64::from(!late);
            agent.late += u64::from(late);
            let class = if late { "late" } else { record.class.as_str() };
            *agent.failures_by_class.entry(class.to_owned()).or_default() += 1;
            agent.first_failure_ns = Some(agent.first_failure_ns.map_or(moment, |first| first.min(moment)));
            agent.last_failure_ns = agent.last_failure_ns.max(Some(moment));
        }
        let Timing { in_lag, stalled, before } = timing;
        self.after_disruption += u64::from(!before);
        let evidence = &mut self.evidence;
        if late {
            evidence.late_in_lag += u64::from(in_lag);
            evidence.late_in_stall += u64::from(stalled);
            evidence.late_before += u64::from(before);
            evidence.late_in_lag_before += u64::from(before && in_lag);
        } else {
            evidence.failed_before += u64::from(before);
            *self.by_class.entry(record.class.as_str().to_owned()).or_default() += 1;
        }
        if let Some(lane) = self.lanes.get_mut(usize::from(record.lane.0)) {
            lane.windows.add(moment, late);
            lane.failed_after += u64::from(!late && !before);
            lane.late_counted += u64::from(late && in_lag);
            lane.late_after += u64::from(late && in_lag && !before);
            if !late {
                *lane.failed_by_kind.entry(Kind::of(record.class)).or_default() += 1;
            }
        }
    }

    fn is_disrupted(&self) -> bool {
        self.plan.disruption != Disruption::None
    }

    fn node(&self, record: &Record) -> Option<&'a str> {
        self.header.nodes.get(usize::from(record.node.0)).map(String::as_str)
    }

    /// When the disruption began.
    pub(super) const fn disrupted_at(&self) -> Option<u64> {
        self.disrupted_at
    }

    /// The nodes that the load may have come from.
    pub(super) fn nodes(&self) -> &'a [String] {
        &self.header.nodes
    }

    pub(super) fn requests(&self) -> Requests {
        self.lanes.iter().fold(Requests::default(), |sum, lane| {
            let requests = lane.requests;
            Requests {
                scheduled: sum.scheduled + requests.scheduled,
                sent: sum.sent + requests.sent,
                ok: sum.ok + requests.ok,
                failed: sum.failed + requests.failed,
                late: sum.late + requests.late,
                unsent: sum.unsent + requests.unsent,
                interrupted: sum.interrupted + requests.interrupted,
            }
        })
    }
}
