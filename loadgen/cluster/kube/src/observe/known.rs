//! What is known of one pod, and what follows from what its kubelet says of its container.

use std::time::Duration;

use k8s_openapi::api::core::v1::ContainerStatus;
use trial::event::{Event, HookOutcome};
use trial::id::PodId;
use trial::time::Stamp;

use super::{Timed, View};
use crate::clocks::NodeClock;

/// One pod.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each says whether one thing was told; none is a mode")]
pub(super) struct Known {
    pub(super) id: u16,
    pub(super) view: View,
    pub(super) announced: bool,
    pub(super) restarts: i32,
    pub(super) spec_grace: u64,
    pub(super) running: bool,
    /// deletionGracePeriodSeconds as it was last seen.
    pub(super) grace: Option<u64>,
    pub(super) terminal_told: bool,
    /// The process's own last sign of life, and when the next would have been due.
    pub(super) alive: Option<(Stamp, Duration)>,
    /// T0, while it is not known yet that the pod was deleted, or how its node's clock goes.
    pub(super) killing: Option<Killing>,
    pub(super) killing_told: bool,
    /// The end of a preStop hook, while it is not known yet that the pod was deleted.
    pub(super) hook_end: Option<(Stamp, HookOutcome)>,
    pub(super) sigterm_told: bool,
    /// The pod's own word that it is about to end.
    pub(super) finished: Option<Stamp>,
    /// Its log ended.
    pub(super) log_ended: Option<Stamp>,
    pub(super) exit_told: bool,
    pub(super) slice: Option<(bool, bool, bool)>,
    pub(super) slice_name: String,
}

/// The news that the kubelet began to stop a container.
#[derive(Debug, Clone, Copy)]
pub(super) struct Killing {
    arrived: Stamp,
    /// By its node's clock, as its name says.
    wall_ns: Option<u64>,
    /// The same on the run's clock, if the node's was known when the news came.
    placed: Option<Stamp>,
}

impl Killing {
    pub(super) fn new(arrived: Stamp, wall_ns: Option<u64>, clock: Option<NodeClock>) -> Self {
        let new = Self { arrived, wall_ns, placed: None };
        Self { placed: new.named(clock), ..new }
    }

    /// When it was, by its name.
    pub(super) fn named(self, clock: Option<NodeClock>) -> Option<Stamp> {
        self.placed.or_else(|| Some(clock?.of_wall(self.wall_ns?)))
    }
}

impl Known {
    pub(super) fn on_container(
        &mut self,
        at: Stamp,
        container: &ContainerStatus,
        clock: Option<NodeClock>,
        events: &mut Vec<Timed>,
    ) {
        let pod = PodId(self.id);
        let state = container.state.clone().unwrap_or_default();
        self.view.waiting = state
            .waiting
            .map(|waiting| (waiting.reason.unwrap_or_default(), waiting.message.unwrap_or_default()));
        let last = container.last_state.clone().and_then(|state| state.terminated);
        let restarted = container.restart_count > self.restarts;
        if let Some(end) = state.terminated.or_else(|| last.filter(|_| restarted))
            && !self.exit_told
        {
            (self.exit_told, self.running, self.view.ended) = (true, false, true);
            let code = Some(end.exit_code);
            let finished = end.finished_at.map(|time| time.0.as_nanosecond());
            let stamp = self.exit_time(at, finished.and_then(|wall| u64::try_from(wall).ok()), clock);
            events.push((stamp, Event::Exited { pod, code, signal: None, inferred: true }));
        }
        (self.restarts, self.view.restarts) = (container.restart_count, container.restart_count);
        if state.running.is_some() && !self.running {
            (self.running, self.view.started, self.exit_told) = (true, true, false);
            (self.finished, self.log_ended, self.view.ended, self.alive) = (None, None, false, None);
            (self.sigterm_told, self.hook_end) = (false, None);
            // What killed the container before, a probe for one, is no part of a termination to come.
            self.killing = self.killing.filter(|_| self.view.terminating);
            // A container's main process is process 1 of its own namespace, and that is all that is known of it.
            events.push((at, Event::PodStarted { pod, pid: 1, namespaced: true }));
        }
    }

    /// The best that can be said of the end: the pod's own last word; else the earliest sign of it, held to the second
    /// that the runtime named.
    fn exit_time(&self, at: Stamp, finished_wall_ns: Option<u64>, clock: Option<NodeClock>) -> Stamp {
        if let Some(finished) = self.finished {
            return finished;
        }
        // It lived until its last word, and would have said so again: it ended in between.
        let alive = self.alive.map(|(last, every)| last + every / 2);
        let sign = alive.or(self.log_ended).map_or(at, |sign| sign.min(at));
        let Some((wall, clock)) = finished_wall_ns.zip(clock) else { return sign };
        let (from, to) = (clock.of_wall(wall), clock.of_wall(wall.saturating_add(999_999_999)));
        sign.clamp(from, to)
    }

    /// A hook ended. It belongs to a termination only once the pod is known to be deleted: a container that is stopped to be
    /// restarted has a hook as well.
    pub(super) fn hook_ended(&mut self, at: Stamp, outcome: HookOutcome, events: &mut Vec<Timed>) {
        if self.view.terminating {
            let pod = PodId(self.id);
            events.push((at, Event::PreStopEnded { pod, inferred: true, outcome }));
        } else {
            self.hook_end = Some((at, outcome));
        }
    }

    /// T0 belongs to a termination only once the pod is known to be deleted: a failing liveness probe kills as well.
    ///
    /// Until its node's clock is known, the time in its name says nothing; `at_last`: it will not be any more.
    pub(super) fn tell_killing(
        &mut self,
        sleeps: bool,
        clock: Option<NodeClock>,
        at_last: bool,
        events: &mut Vec<Timed>,
    ) {
        let Some(killing) = self.killing.filter(|_| self.view.terminating && !self.killing_told) else {
            return;
        };
        let (at, inferred) = match killing.named(clock) {
            Some(at) => (at, false),
            None if at_last || killing.wall_ns.is_none() => (killing.arrived, true),
            None => return,
        };
        self.killing_told = true;
        let pod = PodId(self.id);
        events.push((at, Event::Killing { pod, inferred }));
        if sleeps {
            events.push((at, Event::PreStopStarted { pod, inferred: true }));
        }
    }
}
