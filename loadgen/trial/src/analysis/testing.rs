//! Builds recordings by hand, for tests: times are milliseconds of the run.

use std::collections::BTreeMap;
use std::time::Duration;

use contract::lifecycle::{Event as Lifecycle, Load as Held};

use super::Analysis;
use crate::event::{Event, HookOutcome, TimedEvent};
use crate::id::{ArmId, LaneId, NodeId, PodId};
use crate::plan::{self, Plan, Role};
use crate::record::{Class, Flags, Record, Stage};
use crate::recording::{FORMAT_MAJOR, FORMAT_MINOR, Header};
use crate::report::{Arm, Failure, Report};
use crate::settings::*;
use crate::time::Stamp;

pub(crate) const NEW: LaneId = LaneId(0);
pub(crate) const REUSED: LaneId = LaneId(1);
pub(crate) const SLOW: LaneId = LaneId(2);
/// The load of a built recording lasts this long.
pub(crate) const LOAD_MS: u64 = 10_000;

pub(crate) fn ms(millis: u64) -> Stamp {
    Stamp::from_nanos(millis * 1_000_000)
}

/// How a pod ends, in milliseconds. The default is a clean drain after a preStop of a second.
#[derive(Debug, Clone)]
#[expect(clippy::struct_field_names, reason = "preStop is Kubernetes' own name")]
pub(crate) struct Stop {
    pub(crate) delete: u64,
    pub(crate) pre_stop: Option<(u64, u64)>,
    pub(crate) sigterm: Option<u64>,
    pub(crate) handled: Option<bool>,
    pub(crate) listener_closed: Option<u64>,
    pub(crate) drained: Option<u64>,
    pub(crate) killed: Option<u64>,
    pub(crate) exited: Option<u64>,
    pub(crate) ip_gone: Option<u64>,
    pub(crate) gone: Option<u64>,
    /// On both nodes.
    pub(crate) removed: Option<u64>,
}

impl Default for Stop {
    fn default() -> Self {
        Self {
            delete: 3_000,
            pre_stop: Some((3_005, 4_005)),
            sigterm: Some(4_005),
            handled: Some(true),
            listener_closed: Some(4_006),
            drained: Some(5_000),
            killed: None,
            exited: Some(5_001),
            ip_gone: Some(5_100),
            gone: Some(5_600),
            removed: Some(3_080),
        }
    }
}

/// A recording under construction.
#[derive(Debug, Clone)]
pub(crate) struct Recording {
    pub(crate) header: Header,
    pub(crate) events: Vec<TimedEvent>,
    pub(crate) records: BTreeMap<u16, Vec<Record>>,
    pub(crate) complaints: Vec<String>,
    arm: ArmId,
    slots: u64,
}

fn lane(kind: LaneKind, rate: f64, delay: Duration) -> Lane {
    let connections = if kind == LaneKind::New { 0 } else { 20 };
    Lane { connections, delay, ..Lane::new(kind, rate) }
}

pub(crate) fn arm(name: &str, role: Role) -> plan::Arm {
    let disruption = if role == Role::Control { Disruption::None } else { Disruption::RolloutRestart };
    plan::Arm {
        name: name.to_owned(),
        role,
        workload: Workload {
            replicas: 3,
            min_ready_seconds: 0,
            termination_grace_period_seconds: 30,
            lifecycle: crate::settings::Lifecycle::default(),
            liveness_probe: None,
            publish_not_ready_addresses: false,
            readiness_probe: None,
            strategy: Strategy { max_surge: Amount::Pods(1), max_unavailable: Amount::Pods(0) },
            program: Program::Server(ServerSettings::default()),
        },
        load: Load::new(vec![
            lane(LaneKind::New, 300.0, Duration::ZERO),
            lane(LaneKind::Reused, 300.0, Duration::ZERO),
            lane(LaneKind::Slow, 20.0, Duration::from_secs(2)),
        ]),
        disruption,
        settle: Settle { before: Duration::from_secs(3), after: Duration::from_secs(3) },
        local: Local { propagation: Propagation::KubeProxy, nodes: 2, kubelet: KubeletVersion { minor: 34 } },
    }
}

impl Recording {
    /// One trial arm, no events, no records.
    pub(crate) fn empty(arms: Vec<plan::Arm>) -> Self {
        let plan = Plan {
            scenario: "hand-built".into(),
            description: String::new(),
            seed: 1,
            arms,
            limits: Limits {
                schedule_lag: Duration::from_millis(50),
                detection_floor: Duration::from_millis(500),
            },
            expect: Expect {
                failed: Allowed::AtMost(0),
                late: Allowed::AtMost(0),
                arms: ArmsExpected::All,
                timeline: vec![],
            },
            notes: vec![],
        };
        let header = Header {
            format_major: FORMAT_MAJOR,
            format_minor: FORMAT_MINOR,
            run_id: "r1".into(),
            tool_version: "0".into(),
            backend: "local".into(),
            backend_version: None,
            nodes: vec!["node-0".into(), "node-1".into()],
            agents: 1,
            started_at: "2025-01-01T00:00:00Z".into(),
            epoch_wall_ns: 0,
            epoch_mono_ns: 0,
            argv: vec![],
            environment: BTreeMap::new(),
            plan,
        };
        Self { header, events: vec![], records: BTreeMap::new(), complaints: vec![], arm: ArmId(0), slots: 0 }
    }

    /// One trial arm with three pods, web-0 of which ends as `stop` says while web-1 and web-2 go on, and a steady
    /// load that every pod answers.
    pub(crate) fn of(stop: &Stop) -> Self {
        Self::empty(vec![arm("trial", Role::Trial)]).scene(stop)
    }

    /// Adds that scene to the present arm.
    pub(crate) fn scene(mut self, stop: &Stop) -> Self {
        for id in 0..3 {
            self = self.pod(id);
        }
        self = self.event(0, Event::LoadStarted).event(2_990, Event::RolloutStarted).stop(0, stop).steady();
        self.event(6_000, Event::RolloutEnded).event(LOAD_MS, Event::LoadEnded)
    }

    /// The next arm of the plan is the present one from now on.
    pub(crate) fn next_arm(mut self) -> Self {
        self.arm = ArmId(self.arm.0 + 1);
        self
    }

    pub(crate) fn event(mut self, at: u64, event: Event) -> Self {
        self.events.push(TimedEvent { at_ns: ms(at), arm: self.arm, event });
        self
    }

    /// A pod that is there and Ready from the beginning.
    pub(crate) fn pod(self, id: u16) -> Self {
        self.pod_ready_at(id, 2)
    }

    pub(crate) fn pod_ready_at(self, id: u16, ready: u64) -> Self {
        let pod = PodId(id);
        let node = format!("node-{}", id % 2);
        let created = Event::PodCreated {
            pod,
            name: format!("web-{id}"),
            node,
            address: "127.0.0.1:1".into(),
            revision: 1,
        };
        let mut this = self
            .event(ready.saturating_sub(2), created)
            .event(ready.saturating_sub(1), Event::PodStarted { pod, pid: 1, namespaced: true })
            .event(ready, Event::PodReady { pod });
        for node in ["node-0", "node-1"] {
            let node = node.to_owned();
            this = this.event(ready, Event::EndpointProgrammed { pod, node, fallback: false });
        }
        this
    }

    pub(crate) fn stop(mut self, id: u16, stop: &Stop) -> Self {
        let pod = PodId(id);
        let held = Held::default();
        let said = |report| Event::Lifecycle { pod, report };
        let mut put = |at: Option<u64>, event: Event| {
            if let Some(at) = at {
                self.events.push(TimedEvent { at_ns: ms(at), arm: self.arm, event });
            }
        };
        put(Some(stop.delete), Event::DeleteRequested { pod });
        put(Some(stop.delete + 1), Event::Terminating { pod, grace_seconds: 30 });
        put(Some(stop.delete + 5), Event::Killing { pod, inferred: false });
        let (started, ended) = stop.pre_stop.unzip();
        put(started, Event::PreStopStarted { pod, inferred: true });
        put(ended, Event::PreStopEnded { pod, inferred: true, outcome: HookOutcome::Completed });
        put(stop.sigterm, Event::StopSignal { pod, signal: "SIGTERM".into(), handled: stop.handled });
        put(stop.listener_closed, said(Lifecycle::ListenerClosed(held)));
        put(stop.drained, said(Lifecycle::Drained { load: held, timed_out: false }));
        put(stop.killed, Event::KillSignal { pod });
        let signal = stop.killed.map(|_| 9);
        put(stop.exited, Event::Exited { pod, code: signal.is_none().then_some(0), signal, inferred: false });
        put(stop.ip_gone, Event::IpGone { pod });
        put(stop.gone, Event::Gone { pod });
        for node in ["node-0", "node-1"] {
            put(stop.removed, Event::EndpointRemoved { pod, node: node.into() });
        }
        self
    }

    /// An answered request every 20 ms on each lane, spread over the pods and from both nodes; web-0 gets none after 3 s.
    fn steady(mut self) -> Self {
        for (at, lane) in (5..LOAD_MS - 2_500).step_by(20).zip([NEW, REUSED, SLOW].into_iter().cycle()) {
            let pod = if at < 3_060 { at / 20 % 3 } else { 1 + at / 20 % 2 };
            let took = if lane == SLOW { 2_001 } else { 1 };
            let nth = if lane == NEW { 1 } else { 7 };
            self = self.answered(lane, u16::try_from(pod).unwrap(), at, took, nth);
            self.last().node = NodeId(u8::try_from(at / 120 % 2).unwrap());
        }
        self
    }

    fn last(&mut self) -> &mut Record {
        self.records.get_mut(&self.arm.0).and_then(|records| records.last_mut()).expect("a request")
    }

    /// A request that was answered after `took` milliseconds.
    pub(crate) fn answered(self, lane: LaneId, pod: u16, at: u64, took: u64, nth: u32) -> Self {
        self.request(lane, pod, at, took, nth, |record| {
            (record.class, record.stage, record.status) = (Class::None, Stage::Done, 200);
            record.first_byte = record.end;
        })
    }

    /// A request that failed: `at` is when it was due, `took` how long until that was seen.
    pub(crate) fn failed(self, lane: LaneId, pod: u16, at: u64, took: u64, nth: u32, class: Class) -> Self {
        self.request(lane, pod, at, took, nth, |record| {
            record.class = class;
            record.stage = match class {
                Class::ConnectRefused | Class::ConnectTimeout | Class::ConnectUnreachable => Stage::Connect,
                Class::BodyReset | Class::BodyClosed => Stage::Body,
                _ => Stage::Wait,
            };
            if record.stage == Stage::Connect {
                record.write_done = Record::UNSEEN;
            }
        })
    }

    pub(crate) fn request(
        mut self,
        lane: LaneId,
        pod: u16,
        at: u64,
        took: u64,
        nth: u32,
        change: impl FnOnce(&mut Record),
    ) -> Self {
        self.slots += 1;
        let mut record = Record::due(self.slots, ms(at), lane);
        (record.start, record.write_done) = (100, 200);
        record.end = u32::try_from(took * 10_000).unwrap();
        (record.conn, record.nth, record.pod) = (1, nth, PodId(pod));
        if nth > 1 {
            record.flags.set(Flags::REUSED);
        }
        change(&mut record);
        self.records.entry(self.arm.0).or_default().push(record);
        self
    }

    /// Marks every arm's recording as whole.
    pub(crate) fn completed(mut self) -> Self {
        for index in 0..self.header.plan.arms.len() {
            self.arm = ArmId(u16::try_from(index).unwrap());
            let rows = self.records.get(&self.arm.0).map_or(0, Vec::len) as u64;
            self = self.event(LOAD_MS + 100, Event::Completed { rows, overflowed: 0 });
        }
        self
    }

    /// The report of the recording as it is.
    pub(crate) fn analyse(&self) -> Report {
        let mut analysis = Analysis::new(&self.header, &self.events, self.complaints.clone());
        for (arm, records) in &self.records {
            records.chunks(5).for_each(|chunk| analysis.survey(ArmId(*arm), chunk));
        }
        analysis.surveyed();
        for (arm, records) in &self.records {
            records.chunks(7).for_each(|chunk| analysis.add(ArmId(*arm), chunk));
        }
        analysis.finish()
    }

    /// The report of the recording, made whole.
    pub(crate) fn report(self) -> Report {
        self.completed().analyse()
    }

    /// The only arm of the report.
    pub(crate) fn arm_report(self) -> Arm {
        self.report().arms.remove(0)
    }

    /// The only failure of the report.
    pub(crate) fn failure(self) -> Failure {
        let mut arm = self.arm_report();
        assert_eq!(arm.failures.len(), 1, "{:#?}", arm.failures);
        arm.failures.remove(0)
    }
}

/// The node of a record, for tests of routing.
pub(crate) const fn from_node(node: u8) -> impl FnOnce(&mut Record) {
    move |record| record.node = NodeId(node)
}
