//! From what the API server and the pods say to events. Pure: arrival stamps come in, events go out.
//!
//! Statuses are cut to whole seconds and events are lossy, so a time is taken from the finest source that saw the edge:
//! the pod's own report, the nanoseconds in the name of a Killing event, else the arrival of the watch's message.

use std::collections::BTreeMap;
use std::time::Duration;

use contract::lifecycle::{Event as Report, Line};
use k8s_openapi::api::core::v1::{Event as CoreEvent, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use trial::event::{Event, HookOutcome};
use trial::id::PodId;
use trial::time::Stamp;

use crate::clocks::NodeClock;

mod known;

use known::{Killing, Known};

/// Warnings that say nothing of a rollout: probes fail while pods start and stop.
const NOISE: [&str; 2] = ["Unhealthy", "FailedToRetrieveImagePullSecret"];

/// A sleep that ended so much too early did not end by itself: far more than two clocks are apart, and less than the
/// second that settings are given in.
const SLEEP_SLACK: Duration = Duration::from_millis(300);

/// An event, and when it was.
pub type Timed = (Stamp, Event);

/// A pod, as far as it was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each says whether one thing was seen; none is a mode")]
pub struct View {
    /// Its name.
    pub name: String,
    /// Its node, once it has one.
    pub node: String,
    /// Its template's hash.
    pub template: String,
    /// The Ready condition.
    pub ready: bool,
    /// It has a deletionTimestamp.
    pub terminating: bool,
    /// It is no more.
    pub gone: bool,
    /// Its container runs or ran.
    pub started: bool,
    /// How often it was started again.
    pub restarts: i32,
    /// The slice names it as ready.
    pub in_slice: bool,
    /// Its container has ended, as its status or the end of its log says.
    pub ended: bool,
    /// Why no node takes it, as the scheduler says it.
    pub unscheduled: Option<String>,
    /// Why its container does not run, as the kubelet says it.
    pub waiting: Option<(String, String)>,
}

impl View {
    /// Ready, and not on its way out.
    #[must_use]
    pub const fn is_available(&self) -> bool {
        self.ready && !self.terminating && !self.gone
    }
}

/// What is known of an arm's pods.
#[derive(Debug, Default)]
pub struct Observer {
    sleeps: Option<u64>,
    by_uid: BTreeMap<String, Known>,
    templates: Vec<String>,
}

impl Observer {
    /// Nothing is known yet. `sleeps`: the pods' preStop hook is `sleep`, for so many seconds: the kubelet waits, and
    /// nothing in the pod could say so.
    #[must_use]
    pub fn new(sleeps: Option<u64>) -> Self {
        Self { sleeps, ..Self::default() }
    }

    /// The pods by id.
    #[must_use]
    pub fn views(&self) -> BTreeMap<PodId, View> {
        self.by_uid.values().map(|known| (PodId(known.id), known.view.clone())).collect()
    }

    /// The id of a pod.
    #[must_use]
    pub fn id(&self, name: &str) -> Option<PodId> {
        self.by_uid.values().find(|known| known.view.name == name).map(|known| PodId(known.id))
    }

    /// Takes a pod as it now is, or as it was when it was deleted.
    pub fn on_pod(&mut self, at: Stamp, pod: &Pod, deleted: bool, clock: Option<NodeClock>) -> Vec<Timed> {
        let mut events = Vec::new();
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let template = label(pod, "pod-template-hash");
        let revision = self.revision(&template);
        let next = u16::try_from(self.by_uid.len()).unwrap_or(u16::MAX - 1);
        let known = self.by_uid.entry(uid).or_insert_with(|| Known { id: next, ..Known::default() });
        let id = PodId(known.id);
        known.view.name = pod.metadata.name.clone().unwrap_or_default();
        known.view.template = template;
        let grace = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
        known.spec_grace = grace.and_then(|grace| u64::try_from(grace).ok()).unwrap_or(30);
        known.view.node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
        known.view.unscheduled = crate::readiness::unscheduled(pod);
        let terminating = pod.metadata.deletion_timestamp.is_some();
        let status = pod.status.as_ref();
        let address = status.and_then(|status| status.pod_ip.clone()).unwrap_or_default();
        // Introduced when there is something to say of it, with its address if there is one by then.
        if !known.announced && (!address.is_empty() || terminating || deleted) {
            known.announced = true;
            let (name, node) = (known.view.name.clone(), known.view.node.clone());
            events.push((at, Event::PodCreated { pod: id, name, node, address, revision }));
        }
        let container = status.and_then(|status| status.container_statuses.as_ref()?.first());
        if let Some(container) = container {
            known.on_container(at, container, clock, &mut events);
        }
        let ready = is_ready(pod);
        if ready != known.view.ready {
            known.view.ready = ready;
            events
                .push((at, if ready { Event::PodReady { pod: id } } else { Event::PodNotReady { pod: id } }));
        }
        if terminating && !known.view.terminating {
            known.view.terminating = true;
            let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or_default();
            let grace_seconds = u64::try_from(grace).unwrap_or_default();
            events.push((at, Event::Terminating { pod: id, grace_seconds }));
            known.grace = Some(grace_seconds);
            if let Some((ended, outcome)) = known.hook_end.take() {
                events.push((ended, Event::PreStopEnded { pod: id, inferred: true, outcome }));
            }
        } else if terminating && let Some(grace) = pod.metadata.deletion_grace_period_seconds {
            let grace_seconds = u64::try_from(grace).unwrap_or_default();
            // The kubelet's last delete, with a grace of 0, is how the object goes.
            if known.grace.replace(grace_seconds) != Some(grace_seconds) && grace_seconds > 0 {
                events.push((at, Event::GraceChanged { pod: id, grace_seconds }));
            }
        }
        known.tell_killing(self.sleeps.is_some(), clock, deleted || known.exit_told, &mut events);
        let phase = status.and_then(|status| status.phase.as_deref());
        if let Some(phase @ ("Succeeded" | "Failed")) = phase
            && !known.terminal_told
        {
            known.terminal_told = true;
            events.push((at, Event::Terminal { pod: id, succeeded: phase == "Succeeded" }));
        }
        if deleted && !known.view.gone {
            (known.view.gone, known.view.ready) = (true, false);
            events.push((at, Event::Gone { pod: id }));
        }
        events
    }

    /// Pods that are no longer listed after a watch began anew: their end was not seen as it happened.
    pub fn on_listed(&mut self, at: Stamp, uids: &[String]) -> Vec<Timed> {
        let mut events = Vec::new();
        let sleeps = self.sleeps.is_some();
        for (uid, known) in &mut self.by_uid {
            if known.view.gone || uids.contains(uid) {
                continue;
            }
            let pod = PodId(known.id);
            // Nothing goes without having been deleted; nobody saw with how much grace, so with its own.
            if !known.view.terminating {
                known.view.terminating = true;
                let grace_seconds = known.spec_grace;
                events.push((at, Event::Terminating { pod, grace_seconds }));
            }
            known.tell_killing(sleeps, None, true, &mut events);
            (known.view.gone, known.view.ready) = (true, false);
            events.push((at, Event::Gone { pod }));
        }
        events
    }

    /// Slices that are no longer listed after a watch began anew.
    pub fn on_slices_listed(&mut self, at: Stamp, names: &[String]) -> Vec<Timed> {
        let lost = |known: &&mut Known| known.slice.is_some() && !names.contains(&known.slice_name);
        let removed = self.by_uid.values_mut().filter(lost).map(|known| {
            (known.slice, known.view.in_slice) = (None, false);
            (at, Event::SliceRemoved { pod: PodId(known.id) })
        });
        removed.collect()
    }

    /// Takes an event of the cluster.
    pub fn on_event(&mut self, at: Stamp, event: &CoreEvent, clock: Option<NodeClock>) -> Vec<Timed> {
        let mut events = Vec::new();
        let uid = event.involved_object.uid.as_deref().unwrap_or_default();
        let reason = event.reason.as_deref().unwrap_or_default();
        let message = event.message.clone().unwrap_or_default();
        let sleeps = self.sleeps.is_some();
        let Some(known) = self.by_uid.get_mut(uid) else {
            return events;
        };
        let pod = PodId(known.id);
        if reason == "Killing" {
            known.killing.get_or_insert(Killing::new(at, killing_time(event), clock));
            known.tell_killing(sleeps, clock, known.exit_told, &mut events);
        } else if event.type_.as_deref() == Some("Warning") && !NOISE.contains(&reason) {
            if reason == "FailedPreStopHook" {
                known.hook_ended(at, HookOutcome::Failed { message: message.clone() }, &mut events);
            }
            events.push((at, Event::Warning { pod: Some(pod), reason: reason.to_owned(), message }));
        }
        events
    }

    /// Takes a slice of the Service as it now is; `deleted` if it is no more.
    pub fn on_slice(&mut self, at: Stamp, slice: &EndpointSlice, deleted: bool) -> Vec<Timed> {
        let mut events = Vec::new();
        let name = slice.metadata.name.clone().unwrap_or_default();
        let mut named = BTreeMap::new();
        for endpoint in slice.endpoints.iter().filter(|_| !deleted) {
            let uid = endpoint.target_ref.as_ref().and_then(|target| target.uid.clone()).unwrap_or_default();
            let conditions = endpoint.conditions.clone().unwrap_or_default();
            // Absent means true for ready, and ready for serving (discovery/v1).
            let ready = conditions.ready.unwrap_or(true);
            let state = (ready, conditions.serving.unwrap_or(ready), conditions.terminating.unwrap_or(false));
            named.insert(uid, state);
        }
        for (uid, known) in &mut self.by_uid {
            let pod = PodId(known.id);
            match named.get(uid) {
                Some(state) if known.slice != Some(*state) => {
                    known.slice = Some(*state);
                    known.slice_name.clone_from(&name);
                    known.view.in_slice = state.0;
                    let (ready, serving, terminating) = *state;
                    events.push((at, Event::SliceChanged { pod, ready, serving, terminating }));
                }
                None if known.slice.is_some() && known.slice_name == name => {
                    (known.slice, known.view.in_slice) = (None, false);
                    events.push((at, Event::SliceRemoved { pod }));
                }
                _ => {}
            }
        }
        events
    }

    /// Takes a line of a pod's log, or of the container before the one that runs; nothing if it is no report of its lifecycle.
    pub fn on_line(
        &mut self,
        at: Stamp,
        pod: PodId,
        (text, previous): (&str, bool),
        clock: Option<NodeClock>,
    ) -> Vec<Timed> {
        let mut events = Vec::new();
        let Some(line) = Line::parse(text) else { return events };
        let sleeps = self.sleeps;
        let Some(known) = self.by_uid.values_mut().find(|known| known.id == pod.0) else { return events };
        let stamp = clock.map_or(at, |clock| clock.of_mono(line.mono_ns));
        if previous {
            // Of a container that is no more: it says nothing of the one that runs.
            return vec![(stamp, Event::Lifecycle { pod, report: line.event })];
        }
        known.tell_killing(sleeps.is_some(), clock, false, &mut events);
        match &line.event {
            Report::Finished { .. } => known.finished = Some(stamp),
            Report::Alive { every_ns } => known.alive = Some((stamp, Duration::from_nanos(*every_ns))),
            Report::Sigterm(_) if !known.sigterm_told => {
                known.sigterm_told = true;
                if let Some(seconds) = sleeps {
                    // The kubelet's wait ends with the signal, and before its time if the grace is over first.
                    let began = known.killing.and_then(|killing| killing.named(clock));
                    let short = began.is_some_and(|began| {
                        stamp.saturating_since(began) + SLEEP_SLACK < Duration::from_secs(seconds)
                    });
                    let outcome = if short { HookOutcome::Overran } else { HookOutcome::Completed };
                    known.hook_ended(stamp, outcome, &mut events);
                }
            }
            _ => {}
        }
        events.push((stamp, Event::Lifecycle { pod, report: line.event }));
        events
    }

    /// A pod's log ended: its container did, up to a second before.
    pub fn on_log_end(&mut self, at: Stamp, pod: PodId) -> Vec<Timed> {
        let Some(known) = self.by_uid.values_mut().find(|known| known.id == pod.0) else { return vec![] };
        let ended = *known.log_ended.get_or_insert(at);
        known.view.ended = true;
        // Where the object went first, no status will tell any more.
        if !known.view.gone || known.exit_told {
            return vec![];
        }
        known.exit_told = true;
        let alive = known.alive.map(|(last, every)| last + every / 2);
        let at = known.finished.or(alive).unwrap_or(ended);
        vec![(at, Event::Exited { pod, code: None, signal: None, inferred: true })]
    }

    /// Templates are numbered in the order in which their first pod was seen.
    fn revision(&mut self, template: &str) -> u32 {
        let found = self.templates.iter().position(|known| known == template);
        let index = found.unwrap_or_else(|| {
            self.templates.push(template.to_owned());
            self.templates.len() - 1
        });
        u32::try_from(index + 1).unwrap_or(u32::MAX)
    }
}

/// The kubelet names its events after the object and the nanoseconds of its clock, in hexadecimal (client-go,
/// `tools/record`): far finer than the timestamps within.
fn killing_time(event: &CoreEvent) -> Option<u64> {
    let (_, nanos) = event.metadata.name.as_deref()?.rsplit_once('.')?;
    u64::from_str_radix(nanos, 16).ok()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
}

fn label(pod: &Pod, name: &str) -> String {
    pod.metadata.labels.as_ref().and_then(|labels| labels.get(name).cloned()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
