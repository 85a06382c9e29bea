//! The control plane of one arm: API server, Deployment and `ReplicaSet` controllers in one loop over what pods report.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use trial::event::Event;
use trial::id::PodId;
use trial::routing::Table;
use trial::time::Stamp;

use super::Settings;
use super::snapshot::{Failure, Snapshot};
use crate::endpoints::{Change, Endpoints, Flow};
use crate::pod::{self, Control, Spec, Update};
use crate::rollout::{self, View};

/// Every pod that was ever made, by its name; read without a lock.
pub type Names = Arc<ArcSwap<BTreeMap<String, PodId>>>;

/// Pods whose address went away with their sandbox; read without a lock.
pub type AddressesGone = Arc<ArcSwap<BTreeSet<PodId>>>;

/// What the handle asks for.
#[derive(Debug)]
pub(super) enum Request {
    /// Create the replicas.
    Deploy,
    /// A new template: `kubectl rollout restart`.
    Restart,
    /// `kubectl scale`.
    Scale { to: u32 },
    /// Delete one pod.
    Delete { pod: PodId, grace: Option<u64>, force: bool },
    /// Delete it once more.
    DeleteAgain { pod: PodId, grace: Option<u64> },
}

struct Entry {
    id: PodId,
    name: String,
    revision: u32,
    ready_since: Option<Stamp>,
    deleted: bool,
    /// When it was, and deletionGracePeriodSeconds.
    deleted_at: Stamp,
    grace_seconds: u64,
    gone: bool,
    control: mpsc::Sender<Control>,
    task: JoinHandle<()>,
    spec: Spec,
}

pub(super) struct Plane {
    settings: Settings,
    endpoints: Endpoints,
    pods: Vec<Entry>,
    names: Names,
    addresses_gone: AddressesGone,
    revision: u32,
    failure: Option<Failure>,
    /// Given to every pod.
    report: mpsc::Sender<(PodId, Update)>,
    updates: mpsc::Receiver<(PodId, Update)>,
    snapshots: watch::Sender<Snapshot>,
}

impl Plane {
    pub(super) fn new(settings: Settings) -> (Self, watch::Receiver<Snapshot>) {
        let endpoints = Endpoints::start(
            settings.emitter.clone(),
            &settings.nodes(),
            Flow {
                propagation: settings.arm.local.propagation,
                publish_not_ready_addresses: settings.arm.workload.publish_not_ready_addresses,
            },
            settings.seed,
        );
        let (snapshots, receiver) = watch::channel(Snapshot::default());
        let (report, updates) = mpsc::channel(256);
        let plane = Self {
            settings,
            endpoints,
            pods: Vec::new(),
            names: Names::default(),
            addresses_gone: AddressesGone::default(),
            revision: 0,
            failure: None,
            report,
            updates,
            snapshots,
        };
        (plane, receiver)
    }

    pub(super) fn tables(&self) -> Vec<Arc<ArcSwap<Table>>> {
        self.endpoints.tables.clone()
    }

    pub(super) fn names(&self) -> Names {
        Arc::clone(&self.names)
    }

    pub(super) fn addresses_gone(&self) -> AddressesGone {
        Arc::clone(&self.addresses_gone)
    }

    pub(super) fn rules_changed(&self) -> watch::Receiver<u64> {
        self.endpoints.changed.clone()
    }

    /// Runs until the handle is dropped, then ends every pod.
    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Request>) {
        loop {
            let wake = self.next_available_in();
            tokio::select! {
                request = inbox.recv() => match request {
                    Some(request) => self.on_request(request).await,
                    None => break,
                },
                Some((pod, update)) = self.updates.recv() => self.on_update(pod, update).await,
                () = tokio::time::sleep(wake) => {}
            }
            self.reconcile().await;
            self.publish();
        }
        self.end().await;
    }

    async fn on_request(&mut self, request: Request) {
        match request {
            Request::Deploy | Request::Restart => self.revision += 1,
            Request::Scale { to } => self.settings.arm.workload.replicas = to,
            Request::Delete { pod, grace, force } => self.delete(pod, grace, force).await,
            Request::DeleteAgain { pod, grace } => self.delete_again(pod, grace).await,
        }
    }

    async fn on_update(&mut self, id: PodId, update: Update) {
        let now = self.settings.emitter.clock().now();
        let Some(entry) = self.pods.iter_mut().find(|entry| entry.id == id) else { return };
        let pod = entry.name.clone();
        match update {
            Update::Ready(ready) => {
                entry.ready_since = ready.then_some(now);
                let address = entry.spec.address;
                self.endpoints.tell(Change::Ready(id, address, ready)).await;
            }
            Update::Running => {
                let (address, ready) = (entry.spec.address, entry.ready_since.is_some());
                self.endpoints.tell(Change::Ready(id, address, ready)).await;
            }
            Update::StartFailed(message) => self.fail(Failure::Start { pod, message }),
            Update::Crashed(message) => {
                entry.ready_since = None;
                let address = entry.spec.address;
                self.endpoints.tell(Change::Ready(id, address, false)).await;
                self.fail(Failure::Crashed { pod, message });
            }
            Update::AddressGone => {
                let mut gone = BTreeSet::clone(&self.addresses_gone.load());
                gone.insert(id);
                self.addresses_gone.store(Arc::new(gone));
            }
            Update::Terminal => self.endpoints.tell(Change::Removed(id)).await,
            Update::Gone => entry.gone = true,
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
    }

    async fn delete(&mut self, id: PodId, grace: Option<u64>, forced: bool) {
        let Some(entry) = self.pods.iter_mut().find(|entry| entry.id == id && !entry.deleted) else { return };
        let spec_grace = self.settings.arm.workload.termination_grace_period_seconds;
        let grace_seconds = if forced { 0 } else { grace.unwrap_or(spec_grace) };
        let emitter = &self.settings.emitter;
        entry.deleted_at = emitter.emit(Event::DeleteRequested { pod: id });
        (entry.deleted, entry.grace_seconds) = (true, grace_seconds);
        emitter.emit(Event::Terminating { pod: id, grace_seconds });
        // Two watches hear of it, and nothing orders them: that is the race.
        let _ended = entry.control.send(Control::Delete { grace_seconds, forced }).await;
        if forced {
            // The object goes at once, and its entry with it, whatever its process does.
            emitter.emit(Event::Gone { pod: id });
            self.endpoints.tell(Change::Removed(id)).await;
        } else {
            self.endpoints.tell(Change::Terminating(id)).await;
        }
    }

    /// A later delete can only shorten the grace (`BeforeDelete`), and a kubelet that has begun to stop the pod does not
    /// act on it: then the object says another time, and nothing happens at it.
    async fn delete_again(&mut self, id: PodId, grace: Option<u64>) {
        let Some(entry) = self.pods.iter_mut().find(|entry| entry.id == id && entry.deleted && !entry.gone)
        else {
            return;
        };
        let emitter = &self.settings.emitter;
        let now = emitter.emit(Event::DeletedAgain { pod: id, grace_seconds: grace });
        // Without a grace of its own it changes nothing; and one that is over already is one of a second.
        let Some(grace) = grace else { return };
        let is_over = now.saturating_since(entry.deleted_at) > Duration::from_secs(grace);
        let grace_seconds = if is_over { 1 } else { grace };
        if grace < entry.grace_seconds {
            entry.grace_seconds = grace_seconds;
            emitter.emit(Event::GraceChanged { pod: id, grace_seconds });
            let _ended = entry.control.send(Control::Shorten { grace_seconds }).await;
        }
    }

    /// Acts until there is nothing to do: what one pass deletes makes room for what the next creates.
    async fn reconcile(&mut self) {
        while self.revision > 0 && self.failure.is_none() && self.pass().await {}
    }

    /// One pass of the controllers; false if there was nothing to do.
    async fn pass(&mut self) -> bool {
        let now = self.settings.emitter.clock().now();
        let views: Vec<View> = self
            .live()
            .map(|entry| View {
                pod: entry.id,
                current: entry.revision == self.revision,
                available: self.is_available(entry, now),
            })
            .collect();
        let workload = &self.settings.arm.workload;
        let actions = rollout::reconcile(workload.replicas, workload.strategy, &views);
        let idle = actions == rollout::Actions::default();
        for _ in 0..actions.create {
            self.create();
        }
        for pod in actions.delete {
            self.delete(pod, None, false).await;
        }
        !idle
    }

    fn create(&mut self) {
        let settings = &self.settings;
        let number = u16::try_from(self.pods.len()).unwrap_or(u16::MAX);
        let (id, name) = (PodId(number), format!("web-{}", u32::from(number) + 1));
        let address = match settings.address(id) {
            Ok(address) => address,
            Err(message) => return self.fail(Failure::Start { pod: name, message }),
        };
        let nodes = settings.nodes();
        let node = nodes.get(usize::from(number) % nodes.len().max(1)).cloned().unwrap_or_default();
        let spec = Spec {
            id,
            name: name.clone(),
            node: node.clone(),
            address,
            run: settings.run.clone(),
            executable: settings.executable.clone(),
            isolation: settings.isolation,
            spawner: settings.spawner.clone(),
            guard: Arc::clone(&settings.guard),
            workload: Arc::new(settings.arm.workload.clone()),
            kubelet: settings.arm.local.kubelet,
            emitter: settings.emitter.clone(),
            seed: settings.seed.wrapping_add(u64::from(number) + 1),
        };
        let (revision, text) = (self.revision, address.to_string());
        settings.emitter.emit(Event::PodCreated {
            pod: id,
            name: name.clone(),
            node,
            address: text,
            revision,
        });
        let mut names = BTreeMap::clone(&self.names.load());
        names.insert(name.clone(), id);
        self.names.store(Arc::new(names));
        let (control, inbox) = mpsc::channel(4);
        let task = tokio::spawn(pod::run(spec.clone(), inbox, self.report.clone()));
        let entry = Entry {
            id,
            name,
            revision,
            ready_since: None,
            deleted: false,
            deleted_at: Stamp::ZERO,
            grace_seconds: 0,
            gone: false,
            control,
            task,
            spec,
        };
        self.pods.push(entry);
    }

    fn live(&self) -> impl Iterator<Item = &Entry> {
        self.pods.iter().filter(|entry| !entry.deleted)
    }

    fn min_ready(&self) -> Duration {
        Duration::from_secs(u64::from(self.settings.arm.workload.min_ready_seconds))
    }

    fn is_available(&self, entry: &Entry, now: Stamp) -> bool {
        entry.ready_since.is_some_and(|since| now.saturating_since(since) >= self.min_ready())
    }

    /// When the next Ready pod becomes available by time alone.
    fn next_available_in(&self) -> Duration {
        let now = self.settings.emitter.clock().now();
        self.live()
            .filter(|entry| !self.is_available(entry, now))
            .filter_map(|entry| entry.ready_since)
            .map(|since| (since + self.min_ready()).saturating_since(now))
            .min()
            .unwrap_or(Duration::from_hours(1))
    }

    fn publish(&self) {
        let now = self.settings.emitter.clock().now();
        let count = |wanted: &dyn Fn(&&Entry) -> bool| {
            u32::try_from(self.pods.iter().filter(wanted).count()).unwrap_or(0)
        };
        let available: Vec<PodId> =
            self.live().filter(|entry| self.is_available(entry, now)).map(|entry| entry.id).collect();
        let snapshot = Snapshot {
            replicas: self.settings.arm.workload.replicas,
            revision: self.revision,
            updated: count(&|entry| {
                !entry.deleted && entry.revision == self.revision && self.is_available(entry, now)
            }),
            available,
            live: count(&|entry| !entry.deleted),
            newest: self.live().last().map(|entry| entry.id),
            terminating: count(&|entry| entry.deleted && !entry.gone),
            failure: self.failure.clone(),
        };
        self.snapshots.send_if_modified(|last| {
            let changed = *last != snapshot;
            *last = snapshot;
            changed
        });
    }

    async fn end(mut self) {
        self.endpoints.stop();
        for entry in &self.pods {
            let _ended = entry.control.try_send(Control::End);
        }
        // Pods that still report would otherwise wait for a reader.
        self.updates.close();
        for entry in self.pods {
            let _failed = entry.task.await;
        }
    }
}
