//! What the events say of each pod. Every edge is an observed event; none is derived from the termination model.

use std::collections::{BTreeMap, BTreeSet};

use contract::lifecycle::{Event as Lifecycle, Hook};

use crate::event::{Event, HookOutcome, TimedEvent};
use crate::id::PodId;
use crate::report::{Exit, PodPhase, Span, Timeline};
use crate::routing::Routing;

/// A pod, as observed.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each says whether one thing was observed; none is a mode")]
pub(crate) struct PodFacts {
    pub(crate) name: String,
    pub(crate) node: String,
    pub(crate) created: bool,
    pub(crate) timeline: Timeline,
    pub(crate) inferred: BTreeSet<&'static str>,
    pub(crate) main_started: Option<u64>,
    pub(crate) ready: Option<u64>,
    /// It became Ready after the disruption began, as one that takes another's place.
    pub(crate) is_newcomer: bool,
    pub(crate) post_start: Option<Span>,
    pub(crate) exit: Option<Exit>,
    pub(crate) clock_offset: Option<i64>,
    pub(crate) clock_uncertainty: Option<u64>,
    /// From an exit without deletion to the restart.
    pub(crate) down: Vec<(u64, u64)>,
    /// Whether new connections could be routed to it, as its slice says: changes, in order.
    pub(crate) usable: Vec<(u64, bool)>,
    /// Its object was taken away at once, and its process went on: until when it may have.
    pub(crate) outlived_until: Option<u64>,
    /// Changes of each node's rules, in order.
    pub(crate) rules: BTreeMap<String, Vec<(u64, Routing)>>,
    pub(crate) stop_signal: Option<String>,
    /// Whether process 1 had a handler for the stop signal.
    pub(crate) handled: Option<bool>,
    pub(crate) grace_seconds: Option<u64>,
    /// Its first delete gave it less than its spec does.
    pub(crate) grace_was_cut: bool,
    pub(crate) pre_stop: Option<HookOutcome>,
    /// The pod reports its lifecycle: an edge that it did not report did not happen while it could speak.
    pub(crate) reports: bool,
    pub(crate) reported_sigterm: bool,
    /// It began to stop: closed its listener, drained, or said that it drains.
    pub(crate) reported_stopping: bool,
    pub(crate) drain_timed_out: bool,
    /// Its last word: from there to its end it is microseconds.
    pub(crate) reported_finished: bool,
    /// Calls that it made while it drained: when, and whether they were answered with success.
    pub(crate) polls: Vec<(u64, bool)>,
    /// What events say of it in words.
    pub(crate) notes: Vec<String>,
}

/// Keeps the first observation of an edge.
fn first(edge: &mut Option<u64>, at: u64) {
    edge.get_or_insert(at);
}

impl PodFacts {
    /// Takes an event of this pod.
    fn observe(&mut self, at: u64, event: &Event) {
        let timeline = &mut self.timeline;
        match event {
            Event::PodCreated { name, node, .. } => {
                (self.name, self.node, self.created) = (name.clone(), node.clone(), true);
            }
            Event::PodStarted { .. } => self.started(at),
            Event::PodReady { .. } => first(&mut self.ready, at),
            Event::PostStartStarted { .. } => self.post_start_span().started_ns = Some(at),
            Event::PostStartEnded { outcome, .. } => {
                self.post_start_span().ended_ns = Some(at);
                if let HookOutcome::Failed { message } = outcome {
                    self.note(format!("postStart failed ({message}): the container was killed"));
                }
            }
            Event::DeleteRequested { .. } => first(&mut timeline.delete_requested_ns, at),
            Event::Terminating { grace_seconds, .. } => {
                first(&mut timeline.terminating_ns, at);
                self.grace_seconds.get_or_insert(*grace_seconds);
            }
            Event::Killing { inferred, .. } => {
                first(&mut timeline.t0_ns, at);
                self.infer("t0", *inferred);
            }
            Event::PreStopStarted { inferred, .. } => {
                first(&mut timeline.pre_stop_started_ns, at);
                self.infer("pre_stop_started", *inferred);
            }
            Event::PreStopEnded { inferred, outcome, .. } => {
                // One that was left running has not ended: if it does before its container, it says so itself.
                if *outcome != HookOutcome::Overran {
                    first(&mut timeline.pre_stop_ended_ns, at);
                    self.infer("pre_stop_ended", *inferred);
                }
                self.pre_stop.get_or_insert_with(|| outcome.clone());
            }
            Event::StopSignal { signal, handled, .. } => {
                // Sent beats received: the pod's own report may have come first in the file, but not in time.
                timeline.sigterm_ns = Some(timeline.sigterm_ns.map_or(at, |seen| seen.min(at)));
                self.stop_signal.get_or_insert_with(|| signal.clone());
                self.handled = self.handled.or(*handled);
            }
            Event::KillSignal { .. } => first(&mut timeline.killed_ns, at),
            Event::ListenerSeenClosed { .. } => first(&mut timeline.listener_closed_ns, at),
            Event::Exited { code, signal, inferred, .. } => {
                first(&mut timeline.exited_ns, at);
                self.infer("exited", *inferred);
                self.exit.get_or_insert(Exit { code: *code, signal: *signal });
            }
            Event::IpGone { .. } => first(&mut timeline.ip_gone_ns, at),
            Event::Gone { .. } => first(&mut timeline.gone_ns, at),
            Event::SliceChanged { ready, serving, terminating, .. } => {
                self.usable.push((at, *ready || (*serving && *terminating)));
            }
            Event::SliceRemoved { .. } => self.usable.push((at, false)),
            Event::EndpointProgrammed { node, fallback, .. } => {
                let routing = if *fallback { Routing::Fallback } else { Routing::Programmed };
                self.rules.entry(node.clone()).or_default().push((at, routing));
            }
            Event::EndpointRemoved { node, .. } => {
                self.rules.entry(node.clone()).or_default().push((at, Routing::Removed));
            }
            Event::Lifecycle { report, .. } => self.reported(at, report),
            Event::ClockOffset { offset_ns, uncertainty_ns, .. } => {
                (self.clock_offset, self.clock_uncertainty) = (Some(*offset_ns), Some(*uncertainty_ns));
            }
            Event::Warning { reason, message, .. } => self.note(format!("{reason}: {message}")),
            Event::Note { text, .. } => self.note(text.clone()),
            _ => {}
        }
    }

    /// Takes what the pod said of itself.
    fn reported(&mut self, at: u64, report: &Lifecycle) {
        let timeline = &mut self.timeline;
        self.reports = true;
        match report {
            Lifecycle::MainStarted { .. } => first(&mut self.main_started, at),
            Lifecycle::HookStarted { hook: Hook::PreStop } => {
                // The hook's own word replaces an inference.
                if self.inferred.remove("pre_stop_started") {
                    timeline.pre_stop_started_ns = None;
                }
                first(&mut timeline.pre_stop_started_ns, at);
            }
            Lifecycle::HookEnded { hook: Hook::PreStop, .. } => {
                if self.inferred.remove("pre_stop_ended") {
                    timeline.pre_stop_ended_ns = None;
                }
                first(&mut timeline.pre_stop_ended_ns, at);
            }
            Lifecycle::Sigterm(_) => {
                first(&mut timeline.sigterm_ns, at);
                self.reported_sigterm = true;
            }
            Lifecycle::ListenerClosed(_) => {
                // Reported at the moment itself; a look at the socket table comes up to one interval later.
                timeline.listener_closed_ns =
                    Some(timeline.listener_closed_ns.map_or(at, |seen| seen.min(at)));
                self.reported_stopping = true;
            }
            Lifecycle::Draining(_) => self.reported_stopping = true,
            Lifecycle::Finished { .. } => self.reported_finished = true,
            Lifecycle::Poll { status, .. } => {
                let answered = status.is_some_and(|status| (200..300).contains(&status));
                self.polls.push((at, answered));
            }
            Lifecycle::Drained { timed_out, .. } => {
                // A drain that ran into its limit gave up: nothing had drained.
                if !timed_out {
                    first(&mut timeline.drained_ns, at);
                }
                self.reported_stopping = true;
                self.drain_timed_out |= timed_out;
            }
            _ => {}
        }
    }

    /// The main process runs; a second time after it had ended is a restart, and the stop that ended it is no part
    /// of a termination to come.
    fn started(&mut self, at: u64) {
        if let (Some(exited), None) = (self.timeline.exited_ns, self.deleted_at()) {
            self.note(format!("ended by itself ({}) and was restarted", self.exit_text()));
            self.down.push((exited, at));
            // Of the container that is no more, nothing is said of the next.
            (self.timeline, self.exit, self.pre_stop) = (Timeline::default(), None, None);
            (self.reported_sigterm, self.reported_stopping, self.reported_finished) = (false, false, false);
            (self.drain_timed_out, self.stop_signal, self.handled) = (false, None, None);
            self.inferred.clear();
        }
        first(&mut self.main_started, at);
    }

    fn post_start_span(&mut self) -> &mut Span {
        self.post_start.get_or_insert(Span { started_ns: None, ended_ns: None })
    }

    fn infer(&mut self, edge: &'static str, inferred: bool) {
        if inferred {
            self.inferred.insert(edge);
        }
    }

    pub(crate) fn note(&mut self, text: String) {
        if !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }

    /// When the pod was asked to go: the call, or where someone else made it, the first that was seen of it.
    pub(crate) fn deleted_at(&self) -> Option<u64> {
        let timeline = &self.timeline;
        // News of the one may come late, and the other tells of it then.
        timeline.delete_requested_ns.or(timeline.terminating_ns.into_iter().chain(timeline.t0_ns).min())
    }

    /// True from the delete until the pod is no more.
    pub(crate) fn is_terminating(&self, at: u64) -> bool {
        self.deleted_at().is_some_and(|from| from <= at) && self.is_there(at)
    }

    /// False once the pod is no more: its object, and what of it outlived that.
    pub(crate) fn is_there(&self, at: u64) -> bool {
        self.timeline.gone_ns.is_none_or(|gone| at <= gone)
            || self.outlived_until.is_some_and(|until| at <= until)
    }

    /// Completes what a delete with a grace of its own leaves open. Where it is forced the API lets go of the object at once, while the
    /// kubelet still gives the container its time, of which nobody is told.
    pub(crate) fn hold(&mut self, spec_grace: u64) {
        self.grace_was_cut = self.grace_seconds.is_some_and(|grace| grace < spec_grace);
        let Some(gone) = self.timeline.gone_ns.filter(|_| self.deleted_at().is_some()) else { return };
        self.outlived_until = match self.timeline.exited_ns {
            Some(exited) => Some(exited).filter(|exited| *exited > gone),
            None if self.grace_seconds == Some(0) => {
                Some(gone.saturating_add(spec_grace.saturating_mul(1_000_000_000)))
            }
            None => None,
        };
    }

    /// Whether its slice named it, at a moment, as one that takes new connections; `None` if nothing was seen of it.
    pub(crate) fn is_usable(&self, at: u64) -> Option<bool> {
        self.usable.iter().rev().find(|(since, _)| *since <= at).map(|(_, usable)| *usable)
    }

    /// True if its end came although nothing had asked for it.
    pub(crate) fn exited_by_itself(&self) -> bool {
        let timeline = &self.timeline;
        let asked = self.deleted_at().into_iter().chain(timeline.sigterm_ns).chain(timeline.killed_ns).min();
        timeline.exited_ns.is_some_and(|exited| asked.is_none_or(|asked| exited < asked))
    }

    /// True if that is how it ended, or how it ended before it was restarted.
    pub(crate) fn ended_by_itself(&self) -> bool {
        !self.down.is_empty() || self.exited_by_itself()
    }

    /// True if, at a moment, it had ended by itself or was about to within `slack` nanoseconds.
    pub(crate) fn is_down_by_itself(&self, at: u64, slack: u64) -> bool {
        let soon = at.saturating_add(slack);
        self.down.iter().any(|(from, to)| *from <= soon && at < *to)
            || (self.exited_by_itself() && self.timeline.exited_ns.is_some_and(|exited| exited <= soon))
    }

    /// True if SIGKILL ended it. Where a forced delete took the object before anybody could tell how it ended, one that
    /// did not say that it was finished was.
    pub(crate) fn was_killed(&self) -> bool {
        let forced =
            self.grace_seconds == Some(0) && self.outlived_until.is_some() && !self.reported_finished;
        self.exit.map_or(self.timeline.killed_ns.is_some(), |exit| {
            let untold = exit.signal.is_none() && exit.code.is_none();
            exit.signal == Some(9) || exit.code == Some(137) || (untold && forced)
        })
    }

    /// True if its end is known only by what others noticed later: to about a second.
    pub(crate) fn ends_vaguely(&self) -> bool {
        self.inferred.contains("exited") && !self.reported_finished
    }

    /// True if it showed no reaction to the stop signal and was killed for it.
    pub(crate) fn ignored_stop(&self) -> bool {
        let silent = !self.reported_sigterm && !self.reported_stopping;
        self.timeline.sigterm_ns.is_some() && self.was_killed() && silent && self.handled != Some(true)
    }

    /// How the main process ended, in words.
    pub(crate) fn exit_text(&self) -> String {
        match self.exit {
            Some(Exit { signal: Some(signal), .. }) => format!("signal {signal}"),
            Some(Exit { code: Some(code), .. }) => format!("exit code {code}"),
            _ => "in an unknown way".to_owned(),
        }
    }

    /// What the pod was doing at a moment.
    pub(crate) fn phase(&self, at: u64) -> PodPhase {
        let timeline = &self.timeline;
        let reached = |edge: Option<u64>| edge.is_some_and(|edge| edge <= at);
        if reached(timeline.ip_gone_ns) {
            return PodPhase::IpGone;
        }
        if reached(timeline.exited_ns) || self.down.iter().any(|(from, to)| (*from..*to).contains(&at)) {
            return PodPhase::Exited;
        }
        if reached(timeline.listener_closed_ns) {
            return PodPhase::ListenerClosed;
        }
        if reached(timeline.sigterm_ns) {
            return PodPhase::Draining;
        }
        if !reached(self.stop_began()) {
            return self.phase_before_the_stop(at);
        }
        // Between the start of the stop and an end without a known SIGTERM, the edge that divides was not seen.
        let ended = timeline.exited_ns.is_some() || timeline.killed_ns.is_some();
        if timeline.sigterm_ns.is_none() && ended { PodPhase::Unknown } else { PodPhase::PreStop }
    }

    fn phase_before_the_stop(&self, at: u64) -> PodPhase {
        match self.ready {
            Some(ready) if ready <= at => PodPhase::Serving,
            Some(_) => PodPhase::Starting,
            None if self.created || self.main_started.is_some() => PodPhase::Starting,
            None => PodPhase::Unknown,
        }
    }

    /// With a preStop hook the stop begins with it; without, the time from the delete to SIGTERM counts as well.
    fn stop_began(&self) -> Option<u64> {
        let timeline = &self.timeline;
        if timeline.pre_stop_started_ns.is_some() {
            timeline.t0_ns.or(timeline.pre_stop_started_ns)
        } else {
            timeline.terminating_ns.or(timeline.delete_requested_ns).or(timeline.t0_ns)
        }
    }

    /// How the node's rules stood at a moment.
    pub(crate) fn rule(&self, node: &str, at: u64) -> Routing {
        let changes = self.rules.get(node).map_or(&[][..], Vec::as_slice);
        changes.iter().rev().find(|(since, _)| *since <= at).map_or(Routing::Unknown, |(_, routing)| *routing)
    }

    /// When the node's rules first no longer named the pod after its delete.
    pub(crate) fn removed_at(&self, node: &str) -> Option<u64> {
        let deleted = self.deleted_at()?;
        let changes = self.rules.get(node)?;
        changes.iter().find(|(at, rule)| *at >= deleted && *rule == Routing::Removed).map(|(at, _)| *at)
    }
}

/// Folds the events of one arm, in order of time.
///
/// What happens to a pod only after the load ended is the clean-up's doing, not the disruption's, and left out.
pub(crate) fn pods(events: &[&TimedEvent], load_ended: Option<u64>) -> BTreeMap<PodId, PodFacts> {
    let mut pods: BTreeMap<PodId, PodFacts> = BTreeMap::new();
    for timed in events {
        let Some(id) = timed.event.pod() else {
            continue;
        };
        let at = timed.at_ns.as_nanos();
        let pod = pods
            .entry(id)
            .or_insert_with(|| PodFacts { name: format!("pod-{}", id.0), ..PodFacts::default() });
        let is_clean_up = load_ended.is_some_and(|end| at > end) && pod.deleted_at().is_none();
        let is_word =
            matches!(timed.event, Event::Note { .. } | Event::Warning { .. } | Event::ClockOffset { .. });
        if !is_clean_up || is_word {
            pod.observe(at, &timed.event);
        }
    }
    pods
}
