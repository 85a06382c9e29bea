//! One task sees everything that happens to an arm's pods: three watches, the log of each pod, its node's clocks.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;

use ::cluster::Emitter;
use futures_util::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{Event as CoreEvent, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher;
use kube::runtime::{WatchStreamExt, watcher::Event as Watched};
use kube::{Api, Client, ResourceExt};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use trial::event::Event;
use trial::id::PodId;
use trial::time::Stamp;

use crate::clocks::Clocks;
use crate::objects::{self, Owner};
use crate::observe::{Observer, Timed, View};

/// Things from logs that may wait.
const QUEUE: usize = 1_024;
/// The API server ends a watch after so long, and a new one goes on where it was: a connection that died without a word
/// is noticed soon.
const WATCH_SECONDS: u32 = 30;

mod log;

pub(crate) use log::read_clock;
use log::{Follower, Which};

/// The state of an arm's pods, for whoever waits for one.
pub(crate) type Views = BTreeMap<PodId, View>;

/// What the watcher is told.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) client: Client,
    pub(crate) owner: Owner,
    pub(crate) clocks: Clocks,
    pub(crate) emitter: Emitter,
    /// The pods' preStop hook is `sleep`, for so many seconds.
    pub(crate) sleeps: Option<u64>,
    /// The pods are our own server: they have clocks to ask for, and their logs report their lifecycle.
    pub(crate) own_server: bool,
}

/// The running watcher; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Watcher {
    pub(crate) views: watch::Receiver<Views>,
    broken: watch::Receiver<Broken>,
    task: JoinHandle<()>,
}

/// Watches that are broken off, and since when.
type Broken = BTreeMap<&'static str, Stamp>;

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

enum Said {
    Line(PodId, String, Stamp, String, Which),
    LogEnded(PodId, Stamp),
    ClockKnown(PodId, String),
}

impl Watcher {
    pub(crate) fn start(settings: Settings) -> Self {
        let (sender, views) = watch::channel(Views::new());
        let (breaks, broken) = watch::channel(Broken::new());
        let task = tokio::spawn(Watching::new(settings, sender, breaks).run());
        Self { views, broken, task }
    }

    /// Tells of watches that are broken off even now: one that never comes back would leave no word of it.
    pub(crate) fn tell_blind(&self, emitter: &Emitter) {
        let now = emitter.clock().now();
        for (watch, since) in self.broken.borrow().iter() {
            emitter.emit_at(now, blind(watch, *since, now));
        }
    }
}

struct Watching {
    settings: Settings,
    observer: Observer,
    views: watch::Sender<Views>,
    followed: BTreeSet<PodId>,
    logs: JoinSet<()>,
    said: mpsc::Sender<Said>,
    inbox: mpsc::Receiver<Said>,
    /// Pods named since the watch of pods began anew.
    listed: Vec<String>,
    /// The same of slices.
    slices_listed: Vec<String>,
    broken: watch::Sender<Broken>,
}

fn blind(watch: &str, since: Stamp, now: Stamp) -> Event {
    let for_ns = u64::try_from(now.saturating_since(since).as_nanos()).unwrap_or(u64::MAX);
    Event::Blind { watch: watch.to_owned(), for_ns }
}

impl Watching {
    fn new(settings: Settings, views: watch::Sender<Views>, broken: watch::Sender<Broken>) -> Self {
        let (said, inbox) = mpsc::channel(QUEUE);
        let observer = Observer::new(settings.sleeps);
        Self {
            settings,
            observer,
            views,
            followed: BTreeSet::new(),
            logs: JoinSet::new(),
            said,
            inbox,
            listed: Vec::new(),
            slices_listed: Vec::new(),
            broken,
        }
    }

    async fn run(mut self) {
        let namespace = &self.settings.owner.namespace;
        let config = || watcher::Config::default().timeout(WATCH_SECONDS);
        let web = config().labels(&objects::web_selector(&self.settings.owner));
        let slices = format!("kubernetes.io/service-name={}", objects::WEB);
        let slices = config().labels(&slices);
        let about_pods = config().fields("involvedObject.kind=Pod");
        let client = || self.settings.client.clone();
        let mut pods = pin!(lasting(watcher(Api::<Pod>::namespaced(client(), namespace), web)));
        let mut slices =
            pin!(lasting(watcher(Api::<EndpointSlice>::namespaced(client(), namespace), slices)));
        let mut events =
            pin!(lasting(watcher(Api::<CoreEvent>::namespaced(client(), namespace), about_pods)));
        loop {
            tokio::select! {
                Some(item) = pods.next() => {
                    let since = self.seen("pods", item, Self::on_pod);
                    self.went_on("pods", since);
                }
                Some(item) = slices.next() => {
                    let since = self.seen("endpointslices", item, Self::on_slice);
                    self.went_on("endpointslices", since);
                }
                Some(item) = events.next() => {
                    let since = self.seen("events", item, Self::on_event);
                    self.went_on("events", since);
                }
                Some(said) = self.inbox.recv() => self.on_said(said),
            }
            let views = self.observer.views();
            self.views.send_if_modified(|last| {
                let changed = *last != views;
                *last = views;
                changed
            });
        }
    }

    fn now(&self) -> Stamp {
        self.settings.emitter.clock().now()
    }

    fn emit(&self, events: Vec<Timed>) {
        for (at, event) in events {
            self.settings.emitter.emit_at(at, event);
        }
    }

    /// Takes what a watch saw, and keeps account of when it saw nothing: since when, if it goes on with this. It begins
    /// anew by itself.
    fn seen<K>(
        &mut self,
        watch: &'static str,
        item: watcher::Result<Watched<K>>,
        take: impl FnOnce(&mut Self, Watched<K>),
    ) -> Option<Stamp> {
        let change = match item {
            Ok(change) => change,
            Err(error) => {
                let now = self.now();
                tracing::debug!("the watch of {watch} broke and begins anew: {error}");
                self.broken.send_modify(|broken| {
                    broken.entry(watch).or_insert(now);
                });
                return None;
            }
        };
        // A new list is complete only at its end.
        let goes_on = !matches!(change, Watched::Init | Watched::InitApply(_));
        take(self, change);
        let mut since = None;
        if goes_on {
            self.broken.send_if_modified(|broken| {
                since = broken.remove(watch);
                since.is_some()
            });
        }
        since
    }

    /// Told after what the watch went on with: what is news of the time in between belongs to it.
    fn went_on(&self, watch: &str, since: Option<Stamp>) {
        if let Some(since) = since {
            let now = self.now();
            self.emit(vec![(now, blind(watch, since, now))]);
        }
    }

    fn on_pod(&mut self, change: Watched<Pod>) {
        let at = self.now();
        let (pod, deleted) = match change {
            Watched::Apply(pod) => (pod, false),
            Watched::Delete(pod) => (pod, true),
            Watched::Init => return self.listed.clear(),
            Watched::InitApply(pod) => {
                self.listed.extend(pod.uid());
                (pod, false)
            }
            Watched::InitDone => {
                let lost = self.observer.on_listed(at, &self.listed);
                return self.emit(lost);
            }
        };
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
        let clock = self.settings.clocks.of(&node);
        let events = self.observer.on_pod(at, &pod, deleted, clock);
        self.emit(events);
        self.follow(&pod.name_any());
    }

    /// Reads the log of a pod whose container runs.
    fn follow(&mut self, name: &str) {
        let Some(id) = self.observer.id(name) else { return };
        let Some(view) = self.observer.views().remove(&id) else { return };
        if !view.started || view.gone || !self.followed.insert(id) {
            return;
        }
        let (settings, said) = (self.settings.clone(), self.said.clone());
        self.logs.spawn(async move { Follower { settings, said, id, view }.run().await });
        while self.logs.try_join_next().is_some() {}
    }

    fn on_slice(&mut self, change: Watched<EndpointSlice>) {
        let at = self.now();
        let events = match change {
            Watched::Apply(slice) => self.observer.on_slice(at, &slice, false),
            Watched::InitApply(slice) => {
                self.slices_listed.push(slice.name_any());
                self.observer.on_slice(at, &slice, false)
            }
            Watched::Delete(slice) => self.observer.on_slice(at, &slice, true),
            Watched::Init => return self.slices_listed.clear(),
            Watched::InitDone => self.observer.on_slices_listed(at, &self.slices_listed),
        };
        self.emit(events);
    }

    fn on_event(&mut self, change: Watched<CoreEvent>) {
        let at = self.now();
        let (Watched::Apply(event) | Watched::InitApply(event)) = change else { return };
        let host = event.source.as_ref().and_then(|source| source.host.clone()).unwrap_or_default();
        let events = self.observer.on_event(at, &event, self.settings.clocks.of(&host));
        self.emit(events);
    }

    fn on_said(&mut self, said: Said) {
        let events = match said {
            Said::Line(pod, node, at, line, which) => {
                let line = (line.as_str(), which == Which::Previous);
                self.observer.on_line(at, pod, line, self.settings.clocks.of(&node))
            }
            Said::LogEnded(pod, at) => self.observer.on_log_end(at, pod),
            Said::ClockKnown(pod, node) => {
                let known = self.settings.clocks.of(&node).map(|clock| {
                    let (offset_ns, uncertainty_ns) = (clock.wall_offset_ns, clock.uncertainty_ns);
                    (self.now(), Event::ClockOffset { pod, offset_ns, uncertainty_ns })
                });
                known.into_iter().collect()
            }
        };
        self.emit(events);
    }
}

/// A watch that begins anew when it breaks, after growing pauses.
fn lasting<K>(
    watch: impl Stream<Item = watcher::Result<Watched<K>>> + Send,
) -> impl Stream<Item = watcher::Result<Watched<K>>> + Send
where
    K: kube::Resource + Clone + Send + 'static,
{
    watch.default_backoff()
}
