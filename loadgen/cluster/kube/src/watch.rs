//! One task sees everything that happens to an arm's pods: three watches, the log of each pod, its node's clocks.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::time::Duration;

use ::cluster::Emitter;
use bytes::Bytes;
use contract::clock::Reading;
use futures_util::{AsyncBufReadExt, Stream, StreamExt, TryStreamExt};
use hyper::{Method, StatusCode};
use k8s_openapi::api::core::v1::{Event as CoreEvent, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::LogParams;
use kube::runtime::watcher;
use kube::runtime::{WatchStreamExt, watcher::Event as Watched};
use kube::{Api, Client, ResourceExt};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;
use trial::event::Event;
use trial::id::PodId;
use trial::time::Stamp;

use crate::clocks::{Clocks, EXCHANGES};
use crate::connect;
use crate::forward::{Forward, ForwardError};
use crate::objects::{self, Owner};
use crate::observe::{Observer, Timed, View};

/// Things from logs that may wait.
const QUEUE: usize = 1_024;
/// A pod whose container has just started may not listen yet.
const ASK_AGAIN: Duration = Duration::from_millis(100);
const ASKS: u32 = 50;
/// One exchange of clocks.
const EXCHANGE: Duration = Duration::from_secs(3);
/// A longer line of a pod's log is not read.
const LINE_MAX: usize = 64 << 10;
/// Where a log's stream broke, it is opened again so often.
const REOPEN: u32 = 20;

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
    task: JoinHandle<()>,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

enum Said {
    Line(PodId, String, Stamp, String),
    LogEnded(PodId, Stamp),
    ClockKnown(PodId, String),
}

impl Watcher {
    pub(crate) fn start(settings: Settings) -> Self {
        let (sender, views) = watch::channel(Views::new());
        let task = tokio::spawn(Watching::new(settings, sender).run());
        Self { views, task }
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
    /// Watches that are broken off, and since when.
    broken: BTreeMap<&'static str, Stamp>,
}

impl Watching {
    fn new(settings: Settings, views: watch::Sender<Views>) -> Self {
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
            broken: BTreeMap::new(),
        }
    }

    async fn run(mut self) {
        let namespace = &self.settings.owner.namespace;
        let web = watcher::Config::default().labels(&objects::web_selector(&self.settings.owner));
        let slices = format!("kubernetes.io/service-name={}", objects::WEB);
        let slices = watcher::Config::default().labels(&slices);
        let about_pods = watcher::Config::default().fields("involvedObject.kind=Pod");
        let client = || self.settings.client.clone();
        let mut pods = pin!(lasting(watcher(Api::<Pod>::namespaced(client(), namespace), web)));
        let mut slices =
            pin!(lasting(watcher(Api::<EndpointSlice>::namespaced(client(), namespace), slices)));
        let mut events =
            pin!(lasting(watcher(Api::<CoreEvent>::namespaced(client(), namespace), about_pods)));
        loop {
            tokio::select! {
                Some(item) = pods.next() => if let Some(pod) = self.seen("pods", item) {
                    self.on_pod(pod);
                },
                Some(item) = slices.next() => if let Some(slice) = self.seen("endpointslices", item) {
                    self.on_slice(slice);
                },
                Some(item) = events.next() => if let Some(event) = self.seen("events", item) {
                    self.on_event(event);
                },
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

    /// What a watch saw; keeps account of when it saw nothing. It begins anew by itself.
    fn seen<K>(&mut self, watch: &'static str, item: watcher::Result<Watched<K>>) -> Option<Watched<K>> {
        let now = self.now();
        match item {
            Err(error) => {
                tracing::debug!("the watch of {watch} broke and begins anew: {error}");
                self.broken.entry(watch).or_insert(now);
                None
            }
            // A new list is complete only at its end.
            Ok(change @ (Watched::Init | Watched::InitApply(_))) => Some(change),
            Ok(change) => {
                if let Some(since) = self.broken.remove(watch) {
                    let for_ns = u64::try_from(now.saturating_since(since).as_nanos()).unwrap_or(u64::MAX);
                    self.emit(vec![(now, Event::Blind { watch: watch.to_owned(), for_ns })]);
                }
                Some(change)
            }
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
            Said::Line(pod, node, at, line) => {
                self.observer.on_line(at, pod, &line, self.settings.clocks.of(&node))
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

/// Reads one pod's log to its end.
struct Follower {
    settings: Settings,
    said: mpsc::Sender<Said>,
    id: PodId,
    view: View,
}

impl Follower {
    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.settings.client.clone(), &self.settings.owner.namespace)
    }

    async fn run(self) {
        // Its lines are placed by its node's clocks, so those come first.
        if self.settings.own_server && self.settings.clocks.of(&self.view.node).is_none() {
            self.ask_for_the_clocks().await;
        }
        let _over = self.said.send(Said::ClockKnown(self.id, self.view.node.clone())).await;
        let mut last = None;
        for _ in 0..REOPEN {
            match self.read(&mut last).await {
                // A log also ends when it is rotated, or when the API server goes away.
                Ok(()) if self.has_ended().await => break,
                Ok(()) => {}
                Err(error) => tracing::debug!("the log of {} broke off: {error}", self.view.name),
            }
            sleep(ASK_AGAIN).await;
        }
        let _over = self.said.send(Said::LogEnded(self.id, self.settings.emitter.clock().now())).await;
    }

    async fn ask_for_the_clocks(&self) {
        let mut forward = Forward::new(self.pods(), &self.view.name, objects::SERVER_PORT, EXCHANGE);
        for _ in 0..ASKS {
            match learn(&self.settings.clocks, &self.view.node, &mut forward).await {
                Ok(()) => return,
                Err(error) => tracing::debug!("the clocks of {}: {error}", self.view.name),
            }
            sleep(ASK_AGAIN).await;
        }
    }

    /// False if a container of the pod is known to run, or to be about to.
    async fn has_ended(&self) -> bool {
        let found = connect::call("look at a pod", self.pods().get_opt(&self.view.name)).await;
        let Ok(Some(pod)) = found else { return true };
        let statuses = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
        let state = statuses.into_iter().next().and_then(|status| status.state).unwrap_or_default();
        state.terminated.is_some()
    }

    /// Reads to the end; what is not later than `last` had been read before it broke off.
    async fn read(&self, last: &mut Option<jiff::Timestamp>) -> Result<(), String> {
        let parameters = LogParams { follow: true, timestamps: true, ..LogParams::default() };
        let log = self.pods().log_stream(&self.view.name, &parameters).await;
        let log = match log {
            Ok(log) => log,
            // The pod, or its container, is no more.
            Err(error) if connect::code(&error) == Some(404) => return Ok(()),
            Err(error) => return Err(connect::line(&error)),
        };
        let mut lines = pin!(log.lines());
        while let Some(line) = lines.try_next().await.map_err(|error| error.to_string())? {
            // The runtime's own stamp comes first: it tells what was read already, whatever became of the file.
            let (written, text) = line.split_once(' ').unwrap_or(("", &line));
            let written = written.parse::<jiff::Timestamp>().ok();
            if written.is_some() && written <= *last {
                continue;
            }
            *last = written.or(*last);
            if text.len() > LINE_MAX {
                continue;
            }
            let at = self.settings.emitter.clock().now();
            let said = Said::Line(self.id, self.view.node.clone(), at, text.to_owned());
            if self.said.send(said).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Exchanges clocks with a pod on a node.
async fn learn(clocks: &Clocks, node: &str, forward: &mut Forward) -> Result<(), ForwardError> {
    for _ in 0..EXCHANGES {
        let ask = async {
            let (status, body) = forward.ask(Method::GET, objects::CLOCK_PATH, Bytes::new()).await?;
            read_clock(status, &body)
        };
        clocks.learn(node, clocks.exchange(ask).await?);
    }
    Ok(())
}

pub(crate) fn read_clock(status: StatusCode, body: &Bytes) -> Result<Reading, ForwardError> {
    let message = String::from_utf8_lossy(body).into_owned();
    match serde_json::from_slice(body) {
        Ok(reading) if status == StatusCode::OK => Ok(reading),
        _ => Err(ForwardError::Refused { status, message }),
    }
}
