//! What one recording says: of the pod that the experiment is about, and of the requests.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use contract::lifecycle::{Event as Report, Hook, Line, Probe};
use trial::event::{Event, TimedEvent};
use trial::id::PodId;
use trial::record::Record;
use trial::recording::{Header, parse_events, part};
use trial::settings::LaneKind;

/// A moment in the life of the pod that the experiment is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edge {
    /// The delete call was made.
    Requested,
    /// deletionTimestamp was set.
    Deleted,
    /// Killing: kubelet began to stop it.
    T0,
    /// The hook said that it began.
    PreStopStarted,
    /// The hook was last heard of.
    PreStopLast,
    /// The process was told to stop.
    Sigterm,
    /// The process closed its listener.
    ListenerClosed,
    /// The process ended.
    Exited,
    /// Phase Succeeded or Failed.
    Terminal,
    /// The object went.
    Gone,
    /// The process began to listen.
    MainStarted,
    /// postStart said that it began.
    PostStartStarted,
    /// The Ready condition became true.
    Ready,
    /// The process last said that it runs.
    Alive,
}

impl Edge {
    /// In a table.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "delete call",
            Self::Deleted => "deletionTimestamp",
            Self::T0 => "T0",
            Self::PreStopStarted => "preStop's start",
            Self::PreStopLast => "preStop's last word",
            Self::Sigterm => "TERM",
            Self::ListenerClosed => "listener closed",
            Self::Exited => "end",
            Self::Terminal => "terminal phase",
            Self::Gone => "gone",
            Self::MainStarted => "listening",
            Self::PostStartStarted => "postStart's start",
            Self::Ready => "Ready",
            Self::Alive => "last word",
        }
    }
}

/// A recording, read.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// With the pod that each is about.
    events: Vec<(f64, Option<PodId>, Event)>,
    /// Requests, by when they were due.
    pub(crate) requests: Vec<Request>,
    /// Whom the experiment is about.
    pub(crate) victim: Option<PodId>,
}

/// A request, in seconds of the run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    /// The lane.
    pub(crate) lane: LaneKind,
    /// When it was due.
    pub(crate) due: f64,
    /// When work on it began.
    pub(crate) start: f64,
    /// When it ended.
    pub(crate) end: f64,
    /// All else.
    pub(crate) record: Record,
}

impl Request {
    /// From its start to its end.
    pub(crate) fn took(&self) -> f64 {
        self.end - self.start
    }

    /// Answered as it should be.
    pub(crate) fn is_ok(&self) -> bool {
        self.record.class == trial::record::Class::None
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a run lasts minutes, and a nanosecond more or less is nothing here"
)]
fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

impl Facts {
    /// Reads the recording in a run's directory.
    ///
    /// # Errors
    /// There is none, or it is broken: in words.
    pub(crate) fn read(directory: &Path) -> Result<Self, String> {
        let directory = directory.join("recording");
        let text = |name: &str| {
            fs::read_to_string(directory.join(name)).map_err(|error| format!("no recording: {name}: {error}"))
        };
        let header: Header =
            serde_json::from_str(&text("header.json")?).map_err(|error| format!("header.json: {error}"))?;
        let (mut events, complaints) = parse_events(&text("events.ndjson")?);
        if let Some(complaint) = complaints.first() {
            return Err(complaint.clone());
        }
        events.sort_by_key(|timed| timed.at_ns);
        let lanes: Vec<LaneKind> =
            header.plan.arms.first().iter().flat_map(|arm| &arm.load.lanes).map(|lane| lane.kind).collect();
        let mut requests = Vec::new();
        for entry in fs::read_dir(&directory).map_err(|error| error.to_string())?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with("records-") || !name.ends_with(part::EXTENSION) {
                continue;
            }
            let bytes = fs::read(entry.path()).map_err(|error| format!("{name}: {error}"))?;
            let records =
                part::decode(Bytes::from(bytes)).map_err(|error| format!("{name}: failed to {error}"))?;
            requests.extend(records.iter().filter_map(|record| request(&lanes, record)));
        }
        requests.sort_by(|one, other| one.due.total_cmp(&other.due));
        Ok(Self::of(events, requests))
    }

    /// What the containers of one pod said, each under its own number, by their node's clock; `t0_wall_ns` is the
    /// kubelet's first Killing event's.
    pub(crate) fn of_containers(t0_wall_ns: u64, lines: Vec<(u16, Line)>) -> Self {
        /// T0 on a clock that had begun before anything was said.
        const T0: f64 = 1_000.0;
        let at = |wall_ns: u64| {
            let after = seconds(wall_ns.saturating_sub(t0_wall_ns));
            T0 + after - seconds(t0_wall_ns.saturating_sub(wall_ns))
        };
        let mut events: Vec<_> = lines
            .into_iter()
            .map(|(container, line)| {
                let pod = PodId(container);
                (at(line.wall_ns), Some(pod), Event::Lifecycle { pod, report: line.event })
            })
            .collect();
        let pod = PodId(0);
        events.push((T0, Some(pod), Event::Killing { pod, inferred: false }));
        events.sort_by(|one, other| one.0.total_cmp(&other.0));
        Self { events, requests: vec![], victim: Some(pod) }
    }

    fn of(events: Vec<TimedEvent>, requests: Vec<Request>) -> Self {
        let events: Vec<_> = events
            .into_iter()
            .map(|timed| (seconds(timed.at_ns.as_nanos()), timed.event.pod(), timed.event))
            .collect();
        let deleted = events.iter().rev().find_map(|(_, _, event)| match event {
            Event::DeleteRequested { pod } => Some(*pod),
            _ => None,
        });
        let victim = deleted.or_else(|| {
            events.iter().find_map(|(_, _, event)| match event {
                Event::Terminating { pod, .. } | Event::PodCreated { pod, .. } => Some(*pod),
                _ => None,
            })
        });
        Self { events, requests, victim }
    }

    /// Everything of one pod, in order.
    pub(crate) fn of_pod(&self, pod: PodId) -> impl Iterator<Item = (f64, &Event)> {
        self.events.iter().filter(move |(_, of, _)| *of == Some(pod)).map(|(at, _, event)| (*at, event))
    }

    /// Everything of the victim, in order.
    pub(crate) fn of_victim(&self) -> impl Iterator<Item = (f64, &Event)> {
        self.victim.into_iter().flat_map(|pod| self.of_pod(pod))
    }

    /// Every event, in order.
    pub(crate) fn all(&self) -> impl Iterator<Item = (f64, &Event)> {
        self.events.iter().map(|(at, _, event)| (*at, event))
    }

    /// When an edge of the victim was.
    pub(crate) fn at(&self, edge: Edge) -> Option<f64> {
        self.victim.and_then(|pod| self.at_of(pod, edge))
    }

    /// When an edge of a pod was.
    pub(crate) fn at_of(&self, pod: PodId, edge: Edge) -> Option<f64> {
        let mut found = self.of_pod(pod).filter(|(_, event)| is(edge, event)).map(|(at, _)| at);
        match edge {
            Edge::PreStopLast | Edge::Exited | Edge::Alive => found.last(),
            _ => found.next(),
        }
    }

    /// Probes that the victim told of, within a time.
    pub(crate) fn probes(&self, which: Probe, from: f64, to: f64) -> usize {
        let asked = Report::Probed { probe: which };
        let of_it = |event: &Event| matches!(event, Event::Lifecycle { report, .. } if *report == asked);
        self.of_victim().filter(|(at, event)| of_it(event) && (from..to).contains(at)).count()
    }

    /// Warnings of the victim for a reason.
    pub(crate) fn warnings(&self, wanted: &str) -> usize {
        self.of_victim()
            .filter(|(_, event)| matches!(event, Event::Warning { reason, .. } if reason == wanted))
            .count()
    }

    /// Closes of idle kept-alive connections that the client saw.
    pub(crate) fn idle_closes(&self, kind: LaneKind) -> u64 {
        self.events
            .iter()
            .map(|(_, _, event)| match event {
                Event::LaneSummary { lane, idle_closes, .. } if lane == kind.as_str() => *idle_closes,
                _ => 0,
            })
            .sum()
    }
}

fn request(lanes: &[LaneKind], record: &Record) -> Option<Request> {
    let lane = *lanes.get(usize::from(record.lane.0))?;
    let at = |offset: u32| record.at(offset).map(|stamp| seconds(stamp.as_nanos()));
    let due = seconds(record.intended.as_nanos());
    let start = at(record.start)?;
    Some(Request { lane, due, start, end: at(record.end)?, record: *record })
}

fn is(edge: Edge, event: &Event) -> bool {
    match (edge, event) {
        (Edge::Requested, Event::DeleteRequested { .. })
        | (Edge::Deleted, Event::Terminating { .. })
        | (Edge::T0, Event::Killing { inferred: false, .. })
        | (Edge::Exited, Event::Exited { .. })
        | (Edge::Terminal, Event::Terminal { .. })
        | (Edge::Gone, Event::Gone { .. })
        | (Edge::Ready, Event::PodReady { .. }) => true,
        (edge, Event::Lifecycle { report, .. }) => match (edge, report) {
            (Edge::PreStopStarted, Report::HookStarted { hook })
            | (Edge::PreStopLast, Report::HookRunning { hook } | Report::HookEnded { hook, .. }) => {
                *hook == Hook::PreStop
            }
            (Edge::PostStartStarted, Report::HookStarted { hook }) => *hook == Hook::PostStart,
            (Edge::Sigterm, Report::Sigterm(_))
            | (Edge::ListenerClosed, Report::ListenerClosed(_))
            | (Edge::MainStarted, Report::MainStarted { .. })
            | (Edge::Alive, Report::Alive { .. }) => true,
            _ => false,
        },
        _ => false,
    }
}
