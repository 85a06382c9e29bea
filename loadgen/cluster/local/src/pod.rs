//! What a kubelet does for one pod, from its start until it is gone.
//!
//! [`run`] is one task with one select loop: everything that happens to a pod passes through it in order. What it
//! decides about the stop is [`crate::termination`]'s; what it sees and does becomes events.

use std::collections::VecDeque;
use std::future::pending;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use trial::event::{Event, HookOutcome, ProcessRole};
use trial::id::PodId;
use trial::time::Stamp;

use crate::hook::{self, Context};
use crate::probe::{self, Threshold};
use crate::process::{self, Status};
use crate::termination::{Input, Termination};

mod leave;
mod listener;
mod output;
mod spec;
mod stop;

pub use spec::Spec;

/// Marks every process of a pod, for ending what a pod without a PID namespace leaves behind.
pub const POD_MARKER: &str = "DRAINPROOF_POD";
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
    /// The run is over: end at once, silently.
    End,
}

/// What a pod tells the control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// The Ready condition.
    Ready(bool),
    /// The container could not be started.
    StartFailed(String),
    /// The main process ended although nobody asked it to.
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

struct Pod {
    spec: Spec,
    updates: mpsc::Sender<(PodId, Update)>,
    random: fastrand::Rng,
    /// From the shim, in order.
    statuses: mpsc::Receiver<Status>,
    /// The shim has said all that it ever will.
    silent: bool,
    probes: mpsc::Receiver<bool>,
    tasks: Vec<JoinHandle<()>>,
    /// Of the container's log; they end with it.
    readers: Vec<JoinHandle<()>>,
    last_words: Arc<Mutex<VecDeque<String>>>,
    shim: Option<std::process::Child>,
    pid: Option<u32>,
    threshold: Threshold,
    post_start: Option<JoinHandle<HookOutcome>>,
    pre_stop: Option<JoinHandle<HookOutcome>>,
    /// A deletion that kubelet has not acted on yet: when it will, and the grace.
    deletion: Option<(Stamp, u64)>,
    termination: Option<Termination>,
    /// Its object went at once.
    forced: bool,
    ended: bool,
}

impl Pod {
    async fn start(spec: Spec, updates: mpsc::Sender<(PodId, Update)>) -> Result<Self, String> {
        let mut random = fastrand::Rng::with_seed(spec.seed);
        // Scheduling, the sandbox and its network take a real node about this long.
        tokio::time::sleep(Duration::from_millis(random.u64(300..800))).await;
        let mut shim = Command::new(&spec.executable);
        shim.args(["__shim", spec.isolation.as_str(), "--"]).args(spec.main_command());
        spec.environment(&mut shim);
        let shimmed = process::spawn_shimmed(&spec.spawner, shim).await.map_err(|error| error.to_string())?;
        let (status_sender, statuses) = mpsc::channel(8);
        let last_words = Arc::new(Mutex::new(VecDeque::new()));
        let tasks = vec![tokio::spawn(output::statuses(shimmed.status, status_sender))];
        let readers = vec![
            tokio::spawn(output::log(shimmed.stdout, spec.emitter.clone(), spec.id, Arc::clone(&last_words))),
            tokio::spawn(output::log(shimmed.stderr, spec.emitter.clone(), spec.id, Arc::clone(&last_words))),
        ];
        spec.emitter.emit(Event::ProcessStarted {
            role: ProcessRole::Shim,
            pid: shimmed.shim.id(),
            pod: Some(spec.id),
        });
        let (_nobody, probes) = mpsc::channel(1);
        Ok(Self {
            spec,
            updates,
            random,
            statuses,
            silent: false,
            probes,
            tasks,
            readers,
            last_words,
            shim: Some(shimmed.shim),
            pid: None,
            threshold: Threshold::default(),
            post_start: None,
            pre_stop: None,
            deletion: None,
            termination: None,
            forced: false,
            ended: false,
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
            outcome = finished(&mut self.pre_stop) => { self.on_pre_stop(outcome); self.advance(Input::HookEnded) }
            message = control.recv() => self.on_control(message).await,
            () = sleep_until(wake, now) => self.on_timer(),
            Some(success) = self.probes.recv() => { self.on_probe(success).await; true }
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
            (None, Some((heard, _))) if self.post_start.is_none() => Some(heard),
            _ => None,
        }
    }

    async fn on_status(&mut self, status: Option<Status>) -> bool {
        match status {
            Some(Status::Started { pid }) => {
                self.on_started(pid);
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
        if let Some(probe) = spec.workload.readiness_probe.clone() {
            let (sender, probes) = mpsc::channel(1);
            self.probes = probes;
            self.tasks.push(tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(u64::from(probe.initial_delay_seconds))).await;
                let mut ticks =
                    tokio::time::interval(Duration::from_secs(u64::from(probe.period_seconds.max(1))));
                loop {
                    ticks.tick().await;
                    if sender.send(probe::once(&context, &probe).await).await.is_err() {
                        return;
                    }
                }
            }));
        }
    }

    async fn on_probe(&mut self, success: bool) {
        // Until postStart has returned the container is not running for the rest of the cluster.
        if self.ended || self.post_start.is_some() {
            return;
        }
        if let Some(probe) = &self.spec.workload.readiness_probe
            && let Some(ready) = self.threshold.take(probe, success)
        {
            self.set_ready(ready).await;
        }
    }

    async fn set_ready(&self, ready: bool) {
        let pod = self.spec.id;
        self.spec.emitter.emit(if ready { Event::PodReady { pod } } else { Event::PodNotReady { pod } });
        self.tell(Update::Ready(ready)).await;
    }

    async fn on_post_start(&mut self, outcome: HookOutcome) {
        self.post_start = None;
        let pod = self.spec.id;
        if let HookOutcome::Failed { message } = &outcome {
            self.warn("FailedPostStartHook", message);
            self.tell(Update::Crashed(format!("postStart failed: {message}"))).await;
        }
        self.spec.emitter.emit(Event::PostStartEnded { pod, outcome });
        if self.spec.workload.readiness_probe.is_none() {
            self.set_ready(true).await;
        }
    }

    async fn on_exited(&mut self, code: Option<i32>, signal: Option<i32>, mono_ns: u64) -> bool {
        self.ended = true;
        let pod = self.spec.id;
        self.spec.emitter.emit_at(
            self.spec.emitter.clock().stamp(mono_ns),
            Event::Exited { pod, code, signal, inferred: false },
        );
        self.sweep();
        self.reap().await;
        if self.termination.is_some() {
            return self.advance(Input::Exited);
        }
        self.spec.emitter.emit(Event::PodNotReady { pod });
        let how = match (code, signal) {
            (Some(code), _) => format!("exited with code {code}"),
            (None, Some(signal)) => format!("killed by signal {signal}"),
            (None, None) => "its parent was killed".to_owned(),
        };
        self.tell(Update::Crashed(format!("{how}{}", output::quote(&self.last_words)))).await;
        // A deletion may still come for it.
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
