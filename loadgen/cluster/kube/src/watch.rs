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
    /// The pods' preStop hook is `sleep`.
    pub(crate) sleeps: bool,
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
    /// Objects named since the watch of pods began anew.
    listed: Vec<String>,
}

impl Watching {
    fn new(settings: Settings, views: watch::Sender<Views>) -> Self {
        let (said, inbox) = mpsc::channel(QUEUE);
        let observer = Observer::new(settings.sleeps);
        let (followed, logs, listed) = (BTreeSet::new(), JoinSet::new(), Vec::new());
        Self { settings, observer, views, followed, logs, said, inbox, listed }
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
                Some(pod) = pods.next() => self.on_pod(pod),
                Some(slice) = slices.next() => self.on_slice(slice),
                Some(event) = events.next() => self.on_event(event),
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
            Watched::Apply(slice) | Watched::InitApply(slice) => self.observer.on_slice(at, &slice, false),
            Watched::Delete(slice) => self.observer.on_slice(at, &slice, true),
            Watched::Init | Watched::InitDone => return,
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
            Said::LogEnded(pod, at) => {
                self.observer.on_log_end(at, pod);
                Vec::new()
            }
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

/// A watch that begins anew when it breaks, after growing pauses; errors are told, not passed on.
fn lasting<K>(
    watch: impl Stream<Item = watcher::Result<Watched<K>>> + Send,
) -> impl Stream<Item = Watched<K>> + Send
where
    K: kube::Resource + Clone + Send + 'static,
{
    watch.default_backoff().filter_map(|item| async {
        item.map_err(|error| tracing::debug!("a watch broke and begins anew: {error}")).ok()
    })
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
        let mut read = 0;
        for _ in 0..REOPEN {
            match self.read(&mut read).await {
                Ok(()) => break,
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

    /// Reads to the end; where it broke off before, what had been read by then is passed over.
    async fn read(&self, read: &mut u64) -> Result<(), String> {
        let parameters = LogParams { follow: true, ..LogParams::default() };
        let log = self.pods().log_stream(&self.view.name, &parameters).await;
        let log = match log {
            Ok(log) => log,
            // The pod, or its container, is no more.
            Err(error) if connect::code(&error) == Some(404) => return Ok(()),
            Err(error) => return Err(connect::line(&error)),
        };
        let mut lines = pin!(log.lines());
        let mut seen = 0;
        while let Some(line) = lines.try_next().await.map_err(|error| error.to_string())? {
            seen += 1;
            if seen <= *read {
                continue;
            }
            *read = seen;
            if line.len() > LINE_MAX {
                continue;
            }
            let at = self.settings.emitter.clock().now();
            let said = Said::Line(self.id, self.view.node.clone(), at, line);
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
