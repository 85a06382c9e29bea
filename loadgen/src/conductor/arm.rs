//! One arm, from its deployment to its last row, on whichever backend.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cluster::{Cluster, Emitter};
use engine::{Engine, EngineError, Summary};
use tokio::sync::watch;
use trial::event::Event;
use trial::id::ArmId;
use trial::plan::{Arm, Role};
use trial::settings::Disruption;
use trial::time::Stamp;

use super::{Place, RunError, Shared, Stop, local};
use crate::progress::Watched;
use crate::recorder::Rows;

/// A control arm's load lasts at least this long.
const CONTROL_AT_LEAST: Duration = Duration::from_secs(10);

/// A backend that can have load sent to its workload.
pub(super) trait Drive: Cluster {
    /// Begins the load, at an instant that is soon.
    fn drive(
        &mut self,
        shared: &Shared,
        id: ArmId,
        arm: &Arm,
        rows: &Rows,
    ) -> impl Future<Output = Result<Driven, RunError>> + Send;
}

/// A load under way.
pub(super) struct Driven {
    /// When its first slot is due.
    pub(super) start: Stamp,
    pub(super) load: Load,
}

/// Who sends it.
pub(super) enum Load {
    /// A thread of this process.
    Engine(Arc<Engine>),
    /// Agents in the cluster.
    #[cfg(feature = "kube")]
    Fleet(super::remote::fleet::Fleet),
}

impl Load {
    fn stop_at(&self, last: Stamp) {
        match self {
            Self::Engine(engine) => engine.stop_at(last),
            #[cfg(feature = "kube")]
            Self::Fleet(fleet) => fleet.stop_at(last),
        }
    }

    fn interrupt(&self) {
        match self {
            Self::Engine(engine) => engine.interrupt(),
            #[cfg(feature = "kube")]
            Self::Fleet(fleet) => fleet.interrupt(),
        }
    }

    /// Ends only if the load cannot go on.
    async fn broken(&self) {
        match self {
            // Its failure shows when it is waited for.
            Self::Engine(_) => std::future::pending().await,
            #[cfg(feature = "kube")]
            Self::Fleet(fleet) => fleet.broken().await,
        }
    }

    /// For the live display.
    fn watched(&self) -> Watched {
        match self {
            Self::Engine(engine) => {
                let engine = Arc::clone(engine);
                Arc::new(move || engine.progress())
            }
            #[cfg(feature = "kube")]
            Self::Fleet(fleet) => fleet.watched(),
        }
    }

    /// Waits until the last row is handed over.
    async fn finish(self) -> Result<Vec<Summary>, String> {
        match self {
            Self::Engine(engine) => match join(engine).await {
                Ok(summary) => Ok(vec![summary]),
                Err(error) => Err(format!("the engine failed: {error}")),
            },
            #[cfg(feature = "kube")]
            Self::Fleet(fleet) => fleet.finish().await,
        }
    }
}

/// How an arm went; what it found stands in the recording.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// Why it could not be run.
    pub(super) error: Option<RunError>,
    /// What is left of it.
    pub(super) left: Option<String>,
    /// How long its load lasted.
    pub(super) lasted: Duration,
}

/// Runs an arm, and takes away what it made, whatever became of it.
pub(super) async fn run(shared: &Shared, id: ArmId, arm: Arm) -> Ended {
    if *shared.stop.borrow() != Stop::No {
        return Ended::default();
    }
    let emitter = Emitter::new(shared.conductor.clock, id, shared.conductor.recorder.events());
    shared.conductor.progress.arm_started(id, &arm);
    match (&shared.conductor.place, &shared.processes) {
        (Place::Local { executable, isolation }, Some(processes)) => {
            let settings =
                local::settings(shared, id, &arm, emitter.clone(), (executable, *isolation), processes);
            run_on(shared, id, &arm, cluster_local::LocalCluster::new(settings), emitter).await
        }
        // They are started before any arm.
        (Place::Local { .. }, None) => Ended::default(),
        #[cfg(feature = "kube")]
        (Place::Kube(place), _) => {
            let settings = super::remote::settings(shared, place, id, &arm, emitter.clone());
            let cluster = cluster_kube::KubeCluster::new(settings);
            // Its state is large, and an arm's task holds the larger of both backends'.
            Box::pin(run_on(shared, id, &arm, cluster, emitter)).await
        }
    }
}

async fn run_on<C: Drive>(shared: &Shared, id: ArmId, arm: &Arm, mut cluster: C, emitter: Emitter) -> Ended {
    let mut stop = shared.stop.clone();
    let deployed = tokio::select! {
        result = cluster.deploy(shared.conductor.ready_timeout) => Some(result),
        () = stopped(&mut stop) => None,
    };
    let mut lasted = Duration::ZERO;
    let measured = match deployed {
        Some(Ok(())) => {
            measure(shared, id, arm, &mut cluster, &emitter, stop).await.map(|time| lasted = time)
        }
        Some(Err(source)) => Err(RunError::Cluster { arm: arm.name.clone(), source }),
        None => {
            emitter.emit(Event::Interrupted { signal: shared.stop.borrow().as_str().to_owned() });
            Ok(())
        }
    };
    let left = cluster.teardown().await.err().map(|error| format!("arm {}: {error}", arm.name));
    Ended { error: measured.err(), left, lasted }
}

/// Load, disruption, load's end, rows. How long the load lasted.
async fn measure(
    shared: &Shared,
    id: ArmId,
    arm: &Arm,
    cluster: &mut impl Drive,
    emitter: &Emitter,
    mut stop: watch::Receiver<Stop>,
) -> Result<Duration, RunError> {
    let clock = shared.conductor.clock;
    let rows = shared.conductor.recorder.rows(id, &arm.load)?;
    let driven = tokio::select! {
        driven = cluster.drive(shared, id, arm, &rows) => driven?,
        () = stopped(&mut stop) => {
            emitter.emit(Event::Interrupted { signal: shared.stop.borrow().as_str().to_owned() });
            return Ok(Duration::ZERO);
        }
    };
    let Driven { start, load } = driven;
    shared.conductor.load_started.store(true, Ordering::Relaxed);
    shared.conductor.progress.load_started(id, load.watched());
    emitter.emit_at(start, Event::LoadStarted);
    let ended = tokio::select! {
        result = disrupt(shared, arm, cluster, start) => Some(result),
        () = stopped(&mut stop) => None,
        // Why is said when it is waited for.
        () = load.broken() => Some(Ok(())),
    };
    match ended {
        Some(Ok(())) => load.stop_at(clock.now()),
        Some(Err(error)) => {
            load.stop_at(clock.now());
            emitter.emit(Event::Aborted { message: error.to_string() });
        }
        None => {
            let signal = shared.stop.borrow().as_str().to_owned();
            load.interrupt();
            emitter.emit(Event::Interrupted { signal });
        }
    }
    emitter.emit(Event::LoadEnded);
    let lasted = clock.now().saturating_since(start);
    shared.conductor.progress.load_ended(id);
    let summary = load.finish().await;
    let rows = tokio::task::spawn_blocking(move || rows.finish()).await.map_err(|error| error.to_string());
    // From here on there is a recording to keep: what goes wrong is said in it and makes the arm inconclusive.
    match (summary, rows.and_then(|rows| rows.map_err(|error| error.to_string()))) {
        (Ok(summaries), Ok(rows)) => {
            let overflowed = summaries.iter().map(|summary| summarise(arm, summary, emitter)).sum();
            emitter.emit(Event::Completed { rows, overflowed });
        }
        (Err(error), _) | (_, Err(error)) => abort(emitter, &error),
    }
    Ok(lasted)
}

fn abort(emitter: &Emitter, message: &str) {
    tracing::error!("{message}");
    emitter.emit(Event::Aborted { message: message.to_owned() });
}

async fn disrupt(
    shared: &Shared,
    arm: &Arm,
    cluster: &mut impl Drive,
    start: Stamp,
) -> Result<(), cluster::ClusterError> {
    let begin = start + arm.settle.before;
    tokio::time::sleep(begin.saturating_since(shared.conductor.clock.now())).await;
    if arm.disruption == Disruption::None {
        // A control arm is there to be compared: it lasts as long as what it is compared with, beside it or after it.
        let quiet = arm.settle.before + arm.settle.after;
        let mut trial = shared.trial_ended.clone();
        let others = async {
            if arm.role != Role::Control {
                return;
            }
            let lasted = trial.wait_for(Option::is_some).await.ok().and_then(|lasted| *lasted);
            let end = start + lasted.unwrap_or_default().saturating_sub(arm.settle.after);
            tokio::time::sleep(end.saturating_since(shared.conductor.clock.now())).await;
        };
        tokio::join!(others, tokio::time::sleep(CONTROL_AT_LEAST.saturating_sub(quiet)));
    } else {
        cluster.disrupt(&arm.disruption).await?;
    }
    tokio::time::sleep(arm.settle.after).await;
    Ok(())
}

/// Ends only when the run is to end before its time.
async fn stopped(stop: &mut watch::Receiver<Stop>) {
    if stop.wait_for(|stop| *stop != Stop::No).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Waits for the engine, which the live display may still hold for the blink of an eye.
async fn join(engine: Arc<Engine>) -> Result<Summary, EngineError> {
    let mut engine = engine;
    loop {
        match Arc::try_unwrap(engine) {
            Ok(engine) => {
                return tokio::task::spawn_blocking(move || engine.join())
                    .await
                    .unwrap_or(Err(EngineError::Died));
            }
            Err(shared) => engine = shared,
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn summarise(arm: &Arm, summary: &Summary, emitter: &Emitter) -> u64 {
    let mut lost = 0;
    for lane in &summary.lanes {
        let name = arm.load.lanes.get(usize::from(lane.lane.0)).map_or("?", |lane| lane.kind.as_str());
        lost += lane.overflowed;
        emitter.emit(Event::LaneSummary {
            lane: name.to_owned(),
            connections_opened: lane.connections_opened,
            idle_closes: lane.idle_closes,
            overflowed: lane.overflowed,
        });
    }
    lost
}
