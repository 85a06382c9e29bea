//! What a kubelet does for one pod, from its start until it is gone.
//!
//! [`run`] is one task with one select loop: everything that happens to a pod passes through it in order. What it
//! decides about the stop is [`crate::termination`]'s; what it sees and does becomes events.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use trial::event::{Event, HookOutcome, ProcessRole};
use trial::id::PodId;
use trial::settings::Probe;
use trial::time::Stamp;

use crate::hook::{self, Context};
use crate::probe::Threshold;
use crate::process::Status;
use crate::termination::{Input, Termination};

mod container;
mod leave;
mod listener;
mod output;
mod probed;
mod spec;
mod stop;

use container::{Container, Prober, Restart};
pub use spec::Spec;

/// Marks every process of a pod, for ending what a pod without a PID namespace leaves behind.
pub const POD_MARKER: &str = "DRAINPROOF_POD";
/// How long until the kubelet looks at its containers again, which it does once a second (PLEG), ms.
const RELIST: std::ops::Range<u64> = 0..1_000;
/// How long a killed process may take to end when the run is over.
const END_LIMIT: Duration = Duration::from_secs(3);

/// What the control plane tells a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// The API server accepted a deletion with so much grace.
    Delete {
        /// Seconds.
        grace_seconds: u64,
        /// The object is gone already: nothing is left to be told of its end.
        forced: bool,
    },
    /// A later delete was accepted with less.
    Shorten {
        /// Seconds.
        grace_seconds: u64,
    },
    /// The run is over: end at once, silently.
    End,
}

/// What a pod tells the control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// The Ready condition.
    Ready(bool),
    /// Its status names its address: whoever lists pods sees it from now on, Ready or not.
    Running,
    /// The container could not be started.
    StartFailed(String),
    /// The container ends before it is ever ready, and did so before.
    Crashed(String),
    /// The sandbox is taken down, and the address with it.
    AddressGone,
    /// Every container ended: the endpoint entry goes.
    Terminal,
    /// The object is gone.
    Gone,
}

/// Runs a pod until it is gone. `updates` is bounded; the control plane always reads it.
pub async fn run(spec: Spec, mut control: mpsc::Receiver<Control>, updates: mpsc::Sender<(PodId, Update)>) {
    let id = spec.id;
    match Pod::start(spec, updates.clone()).await {
        Ok(mut pod) => {
            while pod.turn(&mut control).await {}
            pod.leave().await;
        }
        Err(message) => {
            let _closed = updates.send((id, Update::StartFailed(message))).await;
        }
    }
}

#[expect(clippy::struct_excessive_bools, reason = "each says whether one thing happened; none is a mode")]
struct Pod {
    spec: Spec,
    updates: mpsc::Sender<(PodId, Update)>,
    random: fastrand::Rng,
    /// From the shim, in order.
    statuses: mpsc::Receiver<Status>,
    /// The shim has said all that it ever will.
    silent: bool,
    readiness: Option<Prober>,
    liveness: Option<Prober>,
    /// Failures of the liveness probe in a row.
    not_live: u32,
    tasks: Vec<JoinHandle<()>>,
    /// Of the container's log; they end with it.
    readers: Vec<JoinHandle<()>>,
    last_words: Arc<Mutex<VecDeque<String>>>,
    shim: Option<std::process::Child>,
    pid: Option<u32>,
    threshold: Threshold,
    /// The Ready condition, and whether it ever held.
    ready: bool,
    was_ready: bool,
    post_start: Option<JoinHandle<HookOutcome>>,
    pre_stop: Option<JoinHandle<HookOutcome>>,
    /// A deletion that kubelet has not acted on yet: when it will, and the grace.
    deletion: Option<(Stamp, u64)>,
    /// Kubelet acts on the deletion.
    leaving: bool,
    /// How the container is being stopped, if it is.
    termination: Option<Termination>,
    /// Why it is, where the pod is not deleted, and when it is to run again.
    stopped_because: Option<(String, Restart)>,
    /// How often the container ended without the pod being deleted, and when it is started again.
    crashes: u32,
    restart_at: Option<Stamp>,
    /// Its object went at once.
    forced: bool,
    /// The container has ended: with this code, or by this signal.
    ended: bool,
    exit: Option<(Option<i32>, Option<i32>)>,
}

impl Pod {
    async fn start(spec: Spec, updates: mpsc::Sender<(PodId, Update)>) -> Result<Self, String> {
        let mut random = fastrand::Rng::with_seed(spec.seed);
        // Scheduling, the sandbox and its network take a real node about this long.
        tokio::time::sleep(Duration::from_millis(random.u64(300..800))).await;
        let last_words = Arc::new(Mutex::new(VecDeque::new()));
        let Container { statuses, tasks, readers, shim } = Container::start(&spec, &last_words).await?;
        Ok(Self {
            spec,
            updates,
            random,
            statuses,
            silent: false,
            readiness: None,
            liveness: None,
            not_live: 0,
            tasks,
            readers,
            last_words,
            shim: Some(shim),
            pid: None,
            threshold: Threshold::default(),
            ready: false,
            was_ready: false,
            post_start: None,
            pre_stop: None,
            deletion: None,
            leaving: false,
            termination: None,
            stopped_because: None,
            crashes: 0,
            restart_at: None,
            forced: false,
            ended: false,
            exit: None,
        })
    }

    /// Takes one thing that happened; false when the container is stopped for good.
    async fn turn(&mut self, control: &mut mpsc::Receiver<Control>) -> bool {
        let (wake, now) = (self.wake_at(), self.now());
        tokio::select! {
            // Ends and signals first: what the kernel said is never overtaken by what we were about to do.
            biased;
            status = self.statuses.recv(), if !self.silent => self.on_status(status).await,
            outcome = finished(&mut self.post_start) => { self.on_post_start(outcome).await; true }
            outcome = finished(&mut self.pre_stop) => {
                self.on_pre_stop(outcome);
                self.advance(Input::HookEnded).await
            }
            message = control.recv() => self.on_control(message).await,
            () = sleep_until(wake, now) => self.on_timer().await,
            Some(success) = Prober::next(&mut self.readiness) => { self.on_probe(success).await; true }
            Some(success) = Prober::next(&mut self.liveness) => { self.on_liveness(success).await; true }
        }
    }

    async fn on_control(&mut self, message: Option<Control>) -> bool {
        match message {
            Some(Control::Delete { grace_seconds, forced }) => {
                self.forced |= forced;
                // A later delete never moves a stop that is under way (kubelet acts on the first).
                if self.deletion.is_none() {
                    // What kubelet needs to hear of it by its watch.
                    let heard = self.now() + Duration::from_micros(self.random.u64(5_000..50_000));
                    self.deletion = Some((heard, grace_seconds));
                }
                true
            }
            // While the stop still waits for postStart, kubelet goes by the least that it heard of.
            Some(Control::Shorten { grace_seconds }) => {
                if let (false, Some((_, grace))) = (self.leaving, &mut self.deletion) {
                    *grace = grace_seconds.min(*grace);
                }
                true
            }
            // The control plane ends, or has ended without a word.
            Some(Control::End) | None => {
                self.end().await;
                false
            }
        }
    }

    async fn end(&mut self) {
        self.send(Signal::SIGKILL);
        // Not yet started, or hanging in the kernel: then the shim goes, and what it started by its death signal. What
        // even that does not end, the guard tries again and reports.
        let ended =
            self.pid.is_some() && tokio::time::timeout(END_LIMIT, over(&mut self.statuses)).await.is_ok();
        if let (false, Some(shim)) = (ended, &mut self.shim) {
            let _gone = shim.kill();
        }
        self.sweep();
        self.reap().await;
        self.termination = None;
    }

    fn now(&self) -> Stamp {
        self.spec.emitter.clock().now()
    }

    fn wake_at(&self) -> Option<Stamp> {
        match (&self.termination, self.deletion) {
            (Some(termination), _) => termination.wake_at(),
            // kubelet serialises postStart and the stop: the deletion waits for the hook, and then the whole grace runs.
            // A container that is just being started is stopped once it runs.
            (None, Some((heard, _))) if self.post_start.is_none() && (self.pid.is_some() || self.ended) => {
                Some(heard)
            }
            (None, _) => self.restart_at,
        }
    }

    async fn on_status(&mut self, status: Option<Status>) -> bool {
        match status {
            Some(Status::Started { pid }) => {
                self.on_started(pid);
                if self.post_start.is_none() {
                    self.tell(Update::Running).await;
                }
                if self.spec.workload.readiness_probe.is_none() && self.post_start.is_none() {
                    self.set_ready(true).await;
                }
                true
            }
            Some(Status::Failed { message }) => {
                self.ended = true;
                self.tell(Update::StartFailed(message)).await;
                self.reap().await;
                false
            }
            Some(Status::Exited { code, signal, mono_ns }) => self.on_exited(code, signal, mono_ns).await,
            // The shim was killed: so is the pod, by its death signal.
            None => {
                self.silent = true;
                self.ended || self.on_exited(None, None, clock::monotonic_ns()).await
            }
        }
    }

    fn on_started(&mut self, pid: u32) {
        let spec = &self.spec;
        self.pid = Some(pid);
        if let Ok(mut guard) = spec.guard.lock() {
            guard.watch(pid);
        }
        spec.emitter.emit(Event::ProcessStarted { role: ProcessRole::Main, pid, pod: Some(spec.id) });
        let namespaced = spec.isolation.is_namespaced();
        spec.emitter.emit(Event::PodStarted { pod: spec.id, pid, namespaced });
        let context = Context { spec: spec.clone(), pid };
        if let Some(handler) = spec.workload.lifecycle.post_start.clone() {
            spec.emitter.emit(Event::PostStartStarted { pod: spec.id });
            self.post_start = Some(tokio::spawn(hook::run(context.clone(), handler)));
        }
        let workload = &spec.workload;
        let prober = |probe: &Option<Probe>| probe.clone().map(|probe| Prober::start(context.clone(), probe));
        self.readiness = prober(&workload.readiness_probe);
        // Nothing but readiness is asked for once kubelet acts on a deletion, and that comes before any start.
        self.liveness = prober(&workload.liveness_probe);
        self.not_live = 0;
    }

    async fn on_post_start(&mut self, outcome: HookOutcome) {
        self.post_start = None;
        let pod = self.spec.id;
        let failed = match &outcome {
            HookOutcome::Failed { message } => Some(format!("postStart failed: {message}")),
            _ => None,
        };
        self.spec.emitter.emit(Event::PostStartEnded { pod, outcome });
        if let Some((heard, _)) = &mut self.deletion {
            // A sync has just ended, and the next takes a state of the pod that is newer: that of the next relist.
            let relisted = self.spec.emitter.clock().now() + Duration::from_millis(self.random.u64(RELIST));
            *heard = relisted.max(*heard);
        }
        match failed {
            Some(why) => {
                self.warn("FailedPostStartHook", &why);
                self.stop_for_restart(&why, Restart::Later).await;
            }
            None if self.ended => {}
            // The kubelet says nothing of a pod before its sync is over, and that waits for the hook.
            None => {
                self.tell(Update::Running).await;
                if self.spec.workload.readiness_probe.is_none() {
                    self.set_ready(true).await;
                }
            }
        }
    }

    async fn on_exited(&mut self, code: Option<i32>, signal: Option<i32>, mono_ns: u64) -> bool {
        (self.ended, self.exit) = (true, Some((code, signal)));
        (self.readiness, self.liveness) = (None, None);
        let pod = self.spec.id;
        self.spec.emitter.emit_at(
            self.spec.emitter.clock().stamp(mono_ns),
            Event::Exited { pod, code, signal, inferred: false },
        );
        self.sweep();
        self.reap().await;
        if self.leaving {
            return self.advance(Input::Exited).await;
        }
        if self.ready {
            self.set_ready(false).await;
        }
        if self.termination.is_some() {
            return self.advance(Input::Exited).await;
        }
        self.schedule_restart().await;
        true
    }

    async fn tell(&self, update: Update) {
        // The control plane reads until the run is over; after that nobody needs to know.
        let _over = self.updates.send((self.spec.id, update)).await;
    }

    fn warn(&self, reason: &str, message: &str) {
        let (pod, reason, message) = (Some(self.spec.id), reason.to_owned(), message.to_owned());
        self.spec.emitter.emit(Event::Warning { pod, reason, message });
    }
}

async fn finished(hook: &mut Option<JoinHandle<HookOutcome>>) -> HookOutcome {
    match hook {
        Some(handle) => handle.await.unwrap_or_else(|error| HookOutcome::Failed {
            message: format!("the hook's task failed: {error}"),
        }),
        None => pending().await,
    }
}

/// Waits for the shim to say that the container ended.
async fn over(statuses: &mut mpsc::Receiver<Status>) {
    while let Some(status) = statuses.recv().await {
        if matches!(status, Status::Exited { .. } | Status::Failed { .. }) {
            return;
        }
    }
}

async fn sleep_until(wake: Option<Stamp>, now: Stamp) {
    match wake {
        Some(wake) => tokio::time::sleep(wake.saturating_since(now)).await,
        None => pending().await,
    }
}
