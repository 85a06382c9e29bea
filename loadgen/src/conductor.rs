//! Runs the arms of a plan: each is a cluster and an engine of its own, side by side.
//!
//! The conductor decides when things happen, never what they mean: all that it learns goes into the recording, and
//! the verdict comes from there.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clock::Clock;
use cluster::{ClusterError, Emitter};
use cluster_local::process::{Isolation, Spawner, guard::Guard};
use engine::EngineError;
use tokio::sync::watch;
use tokio::task::JoinSet;
use trial::event::{Event, ProcessRole};
use trial::id::ArmId;
use trial::plan::{Arm, Plan, Role};

use crate::heartbeat::Heartbeat;
use crate::progress::Progress;
use crate::recorder::{Recorder, RecorderError};

mod arm;
pub mod isolation;
mod local;
#[cfg(feature = "kube")]
pub mod remote;

/// Why a run is to end before its time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Stop {
    /// It is not.
    #[default]
    No,
    /// SIGINT.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// `--max-time` is over.
    MaxTime,
    /// Another arm could not run.
    Failed,
}

impl Stop {
    /// What the recording says of it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::MaxTime => "the run's time limit",
            Self::Failed => "another arm's failure",
        }
    }
}

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The workload did not become ready.
    #[error("arm {arm}: {source}")]
    Cluster {
        /// The arm.
        arm: String,
        /// Why.
        source: ClusterError,
    },
    /// The load could not be started, or its engine failed.
    #[error("arm {arm}: failed to drive load: {source}")]
    Engine {
        /// The arm.
        arm: String,
        /// Why.
        source: EngineError,
    },
    /// An agent could not be worked with.
    #[error("arm {arm}: {message}")]
    Agent {
        /// The arm.
        arm: String,
        /// Which, and why.
        message: String,
    },
    /// The target is no address.
    #[error("arm {arm}: load.target {url}: {reason}")]
    Target {
        /// The arm.
        arm: String,
        /// The URL, credentials hidden.
        url: String,
        /// Why.
        reason: String,
    },
    /// The recording could not be written.
    #[error(transparent)]
    Recorder(#[from] RecorderError),
    /// A thread or a process of our own could not be started.
    #[error("failed to start {what}: {source}")]
    Start {
        /// Which.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

/// How a run went; what it found stands in the recording.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Why it ended before its time.
    pub stop: Stop,
    /// An arm could not begin: nothing can be said of it.
    pub error: Option<RunError>,
    /// What is left of it.
    pub leftovers: Vec<String>,
}

/// What all arms of a run share.
#[derive(Debug)]
pub struct Conductor {
    /// The run's id.
    pub run: String,
    /// Its clock.
    pub clock: Clock,
    /// Its recording.
    pub recorder: Recorder,
    /// Its live display.
    pub progress: Progress,
    /// Where the workload runs.
    pub place: Place,
    /// How long pods may take to become ready.
    pub ready_timeout: Duration,
    /// How long the run may take.
    pub max_time: Duration,
    /// Arms that run at once, one at least.
    pub parallel: usize,
    /// Set when the first load starts: from then on there is something to keep.
    pub load_started: Arc<AtomicBool>,
}

/// Where the workload of a run is.
#[derive(Debug)]
pub enum Place {
    /// Processes of this machine.
    Local {
        /// Our own executable.
        executable: PathBuf,
        /// How pods are kept apart.
        isolation: Isolation,
    },
    /// A cluster.
    #[cfg(feature = "kube")]
    Kube(Box<remote::Place>),
}

/// What the arms of a local run share.
#[derive(Debug, Clone)]
struct Processes {
    spawner: Spawner,
    guard: Arc<Mutex<Guard>>,
}

/// What an arm needs.
struct Shared {
    conductor: Conductor,
    seed: u64,
    /// There if the run is local.
    processes: Option<Processes>,
    stop: watch::Receiver<Stop>,
    /// How long the load of the first trial arm lasted that has ended, however: what a control arm is to last.
    trial_ended: watch::Receiver<Option<Duration>>,
}

impl Shared {
    /// For an arm's random choices.
    fn arm_seed(&self, id: ArmId) -> u64 {
        self.seed ^ u64::from(id.0).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

impl Conductor {
    /// Runs the plan to its end, or until `stop` says otherwise. Nothing of the run is left when this returns.
    ///
    /// # Errors
    /// It could not begin, or not be recorded.
    pub async fn run(self, plan: &Plan, signals: watch::Receiver<Stop>) -> Result<Outcome, RunError> {
        let processes = self.processes()?;
        let emitter = Emitter::new(self.clock, ArmId(0), self.recorder.events());
        let heartbeat = Heartbeat::start(self.clock, move |at, for_ns| {
            emitter.emit_at(at, Event::Stalled { for_ns, agent: None });
        })
        .map_err(|source| RunError::Start { what: "the heartbeat's thread", source })?;
        let max_time = self.max_time;
        let (stopper, stop) = watch::channel(Stop::No);
        let (trial_done, trial_ended) = watch::channel(None);
        let shared = Arc::new(Shared { conductor: self, seed: plan.seed, processes, stop, trial_ended });
        let watcher = tokio::spawn(forward(signals, stopper.clone(), max_time));
        let collected = run_arms(plan, &shared, &stopper, &trial_done).await;
        watcher.abort();
        heartbeat.stop();
        shared.conductor.progress.finish();
        close(shared, *stopper.borrow(), collected).await
    }

    /// Starts what the arms share, and says in the recording what there is.
    fn processes(&self) -> Result<Option<Processes>, RunError> {
        let emitter = Emitter::new(self.clock, ArmId(0), self.recorder.events());
        let own = std::process::id();
        emitter.emit(Event::ProcessStarted { role: ProcessRole::Loadgen, pid: own, pod: None });
        let isolation = match &self.place {
            Place::Local { isolation, .. } => *isolation,
            #[cfg(feature = "kube")]
            Place::Kube(_) => {
                let among_others = (self.parallel > 1).then_some(remote::SIDE_BY_SIDE_CAVEAT);
                for text in remote::CAVEATS.into_iter().chain(among_others) {
                    emitter.emit(Event::Note { pod: None, text: text.to_owned() });
                }
                return Ok(None);
            }
        };
        let spawner = Spawner::start().map_err(|source| RunError::Start { what: "a thread", source })?;
        let guard =
            Guard::start(&self.run).map_err(|source| RunError::Start { what: "the guard", source })?;
        emitter.emit(Event::ProcessStarted { role: ProcessRole::Guard, pid: guard.pid(), pod: None });
        for text in isolation::caveats(isolation) {
            emitter.emit(Event::Note { pod: None, text });
        }
        Ok(Some(Processes { spawner, guard: Arc::new(Mutex::new(guard)) }))
    }
}

/// What became of the arms.
#[derive(Debug, Default)]
struct Collected {
    error: Option<RunError>,
    leftovers: Vec<String>,
    /// An arm's task ended without taking away what it had made.
    died: bool,
}

/// Runs every arm, so many at once, in the plan's order: a control arm waits for a trial arm, which has to be under way. The
/// first that cannot run stops the others.
async fn run_arms(
    plan: &Plan,
    shared: &Arc<Shared>,
    stopper: &watch::Sender<Stop>,
    trial_done: &watch::Sender<Option<Duration>>,
) -> Collected {
    let mut all = Collected::default();
    let mut waiting = plan.arms.iter().cloned().enumerate();
    let mut arms = JoinSet::new();
    loop {
        while arms.len() < shared.conductor.parallel.max(1) {
            let Some((index, arm)) = waiting.next() else { break };
            let shared = Arc::clone(shared);
            let id = ArmId(u16::try_from(index).unwrap_or(u16::MAX));
            arms.spawn(async move { (index, arm::run(&shared, id, arm).await) });
        }
        let Some(ended) = arms.join_next().await else { break };
        let Ok((index, ended)) = ended else {
            tracing::error!("an arm's task failed");
            all.died = true;
            stop(stopper, Stop::Failed);
            continue;
        };
        if plan.arms.get(index).is_some_and(|arm: &Arm| arm.role == Role::Trial) {
            trial_done.send_if_modified(|lasted| {
                let first = lasted.is_none();
                lasted.get_or_insert(ended.lasted);
                first
            });
        }
        all.leftovers.extend(ended.left);
        if let Some(error) = ended.error {
            stop(stopper, Stop::Failed);
            // The first is why the others were stopped.
            all.error.get_or_insert(error);
        }
    }
    all
}

fn stop(stopper: &watch::Sender<Stop>, why: Stop) {
    // The first reason stands.
    stopper.send_if_modified(|now| {
        let first = *now == Stop::No;
        if first {
            *now = why;
        }
        first
    });
}

async fn forward(mut signals: watch::Receiver<Stop>, stopper: watch::Sender<Stop>, max_time: Duration) {
    let signalled = async {
        let why = signals.wait_for(|stop| *stop != Stop::No).await.map(|why| *why);
        match why {
            Ok(why) => why,
            Err(_) => std::future::pending().await,
        }
    };
    let why = tokio::select! {
        why = signalled => why,
        () = tokio::time::sleep(max_time) => Stop::MaxTime,
    };
    stop(&stopper, why);
}

/// Takes away from a cluster what an arm left whose task died. Gives what could not be.
#[cfg(feature = "kube")]
async fn sweep(conductor: &Conductor) -> Vec<String> {
    match &conductor.place {
        Place::Kube(place) => remote::sweep(place, &conductor.run).await,
        Place::Local { .. } => vec![],
    }
}

/// Without a cluster there is nothing that the guard does not end.
#[cfg(not(feature = "kube"))]
fn sweep(_: &Conductor) -> std::future::Ready<Vec<String>> {
    std::future::ready(vec![])
}

/// Ends what the run consists of, in order: processes, then the recording.
async fn close(
    shared: Arc<Shared>,
    stop: Stop,
    Collected { error, mut leftovers, died }: Collected,
) -> Result<Outcome, RunError> {
    let Some(Shared { conductor, processes, .. }) = Arc::into_inner(shared) else {
        leftovers.push("a task of the run has not ended".to_owned());
        return Ok(Outcome { stop, error, leftovers });
    };
    // Processes have their guard.
    if died {
        leftovers.extend(sweep(&conductor).await);
    }
    let swept = tokio::task::spawn_blocking(move || {
        let Some(Processes { guard, .. }) = processes else { return Ok(()) };
        let mut guard = guard.lock().map_err(|_| std::io::Error::other("the guard's handle is broken"))?;
        guard.finish()
    });
    let swept = swept.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    let recorder = conductor.recorder;
    let finished = tokio::task::spawn_blocking(move || recorder.finish()).await;
    if let Err(error) = swept {
        leftovers.push(error.to_string());
    }
    // What could not be recorded is told beside what is left, not instead of it.
    let unrecorded = match finished {
        Ok(finished) => finished.err().map(RunError::from),
        Err(error) => Some(RunError::Start { what: "the end of the recording", source: error.into() }),
    };
    Ok(Outcome { stop, error: error.or(unrecorded), leftovers })
}
