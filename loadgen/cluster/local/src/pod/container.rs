//! One life of a pod's container: what is started, what it says, and what comes after it.

use std::collections::VecDeque;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use trial::event::{Event, ProcessRole};
use trial::settings::Probe;

use super::{Pod, Spec, Update, output};
use crate::hook::Context;
use crate::probe::{self, Threshold};
use crate::process::{self, Status};

/// The first restart comes as soon as the kubelet has noticed the end (its relist is a second apart) …
const NOTICED: std::ops::Range<u64> = 200..1_200;
/// … and the later ones after pauses that double (kubelet `initialBackoff` and `MaxContainerBackOff`).
const BACK_OFF: Duration = Duration::from_secs(10);
const BACK_OFF_AT_MOST: Duration = Duration::from_mins(5);

/// A started container: its pipes and who reads them.
pub(super) struct Container {
    /// From the shim, in order.
    pub(super) statuses: mpsc::Receiver<Status>,
    pub(super) tasks: Vec<JoinHandle<()>>,
    /// Of the container's log; they end with it.
    pub(super) readers: Vec<JoinHandle<()>>,
    pub(super) shim: std::process::Child,
}

impl Container {
    /// Starts the container of a pod.
    ///
    /// # Errors
    /// It could not be started, said in words.
    pub(super) async fn start(
        spec: &Spec,
        last_words: &Arc<Mutex<VecDeque<String>>>,
    ) -> Result<Self, String> {
        let mut shim = Command::new(&spec.executable);
        shim.args(["__shim", spec.isolation.as_str(), "--"]).args(spec.main_command());
        spec.environment(&mut shim);
        let shimmed = process::spawn_shimmed(&spec.spawner, shim).await.map_err(|error| error.to_string())?;
        let (status_sender, statuses) = mpsc::channel(8);
        let tasks = vec![tokio::spawn(output::statuses(shimmed.status, status_sender))];
        let log =
            |pipe| tokio::spawn(output::log(pipe, spec.emitter.clone(), spec.id, Arc::clone(last_words)));
        let readers = vec![log(shimmed.stdout), log(shimmed.stderr)];
        let (role, pid, pod) = (ProcessRole::Shim, shimmed.shim.id(), Some(spec.id));
        spec.emitter.emit(Event::ProcessStarted { role, pid, pod });
        Ok(Self { statuses, tasks, readers, shim: shimmed.shim })
    }
}

/// When a container that was stopped is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Restart {
    /// In the same sync: a liveness probe failed on a container that had run for a while.
    AtOnce,
    /// After a pause, as one that ended by itself.
    Later,
}

/// A probe that asks until it is dropped.
pub(super) struct Prober {
    results: mpsc::Receiver<bool>,
    task: JoinHandle<()>,
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Prober {
    pub(super) fn start(context: Context, probe: Probe) -> Self {
        let (sender, results) = mpsc::channel(1);
        let task = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(u64::from(probe.initial_delay_seconds))).await;
            let period = Duration::from_secs(u64::from(probe.period_seconds.max(1)));
            let mut ticks = tokio::time::interval(period);
            loop {
                ticks.tick().await;
                if sender.send(probe::once(&context, &probe).await).await.is_err() {
                    return;
                }
            }
        });
        Self { results, task }
    }

    /// The next result; never, if there is no prober.
    pub(super) async fn next(prober: &mut Option<Self>) -> Option<bool> {
        match prober {
            Some(prober) => prober.results.recv().await,
            None => std::future::pending().await,
        }
    }
}

impl Pod {
    /// The container has ended, and the pod is not deleted: restartPolicy is Always.
    pub(super) async fn schedule_restart(&mut self) {
        if let Some((_, Restart::AtOnce)) = self.stopped_because {
            self.restart_at = Some(self.now());
            return;
        }
        self.crashes += 1;
        let pause = match self.crashes {
            1 => Duration::from_millis(self.random.u64(NOTICED)),
            more => BACK_OFF.saturating_mul(1 << (more - 2).min(16)).min(BACK_OFF_AT_MOST),
        };
        self.restart_at = Some(self.now() + pause);
        // One that was never ready and ends twice has nothing to wait for.
        if !self.was_ready && self.crashes > 1 {
            let stopped = self.stopped_because.take().map(|(why, _)| why);
            let why = stopped.unwrap_or_else(|| self.how_it_ended());
            self.tell(Update::Crashed(format!("{why}{}", output::quote(&self.last_words)))).await;
        }
    }

    pub(super) async fn restart_if_due(&mut self) {
        let now = self.now();
        if self.restart_at.take_if(|due| *due <= now).is_none() {
            return;
        }
        match Container::start(&self.spec, &self.last_words).await {
            Ok(container) => self.adopt(container),
            Err(message) => self.tell(Update::StartFailed(message)).await,
        }
    }

    fn adopt(&mut self, container: Container) {
        for old in self.tasks.drain(..).chain(self.readers.drain(..)) {
            old.abort();
        }
        self.statuses = container.statuses;
        self.tasks = container.tasks;
        self.readers = container.readers;
        self.shim = Some(container.shim);
        (self.pid, self.exit) = (None, None);
        (self.ended, self.silent) = (false, false);
        (self.post_start, self.pre_stop) = (None, None);
        self.threshold = Threshold::default();
        self.stopped_because = None;
    }

    /// In words.
    pub(super) fn how_it_ended(&self) -> String {
        match self.exit {
            Some((Some(code), _)) => format!("exited with code {code}"),
            Some((None, Some(signal))) => format!("killed by signal {signal}"),
            Some((None, None)) | None => "its parent was killed".to_owned(),
        }
    }
}
