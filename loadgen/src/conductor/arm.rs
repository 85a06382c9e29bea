//! One arm, from its deployment to its last row.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cluster::{Cluster, Emitter};
use cluster_local::{LocalCluster, Settings};
use engine::{Direct, Engine, EngineConfig, Named, Pick, Route, Summary};
use tokio::sync::watch;
use trial::event::Event;
use trial::id::ArmId;
use trial::plan::{Arm, Role};
use trial::scenario::redact;
use trial::settings::{Disruption, Target};

use super::{RunError, Shared, Stop};

/// From the last preparation to the first slot.
const LEAD: Duration = Duration::from_millis(50);
/// A control arm's load lasts at least this long.
const CONTROL_AT_LEAST: Duration = Duration::from_secs(10);
/// The node that load comes from.
const LOAD_NODE: usize = 0;

/// Runs an arm. Gives what is left of it.
pub(super) async fn run(shared: &Shared, id: ArmId, arm: Arm) -> Result<Vec<String>, RunError> {
    let _place = shared.places.acquire().await;
    let mut stop = shared.stop.clone();
    if *stop.borrow() != Stop::No {
        return Ok(Vec::new());
    }
    let emitter = Emitter::new(shared.conductor.clock, id, shared.conductor.recorder.events());
    shared.conductor.progress.arm_started(id, &arm);
    let mut cluster = LocalCluster::new(settings(shared, id, &arm, emitter.clone()));
    let deployed = tokio::select! {
        result = cluster.deploy(shared.conductor.ready_timeout) => Some(result),
        () = stopped(&mut stop) => None,
    };
    let measured = match deployed {
        Some(Ok(())) => measure(shared, id, &arm, &mut cluster, &emitter, stop).await,
        Some(Err(source)) => Err(RunError::Cluster { arm: arm.name.clone(), source }),
        None => {
            emitter.emit(Event::Interrupted { signal: shared.stop.borrow().as_str().to_owned() });
            Ok(())
        }
    };
    let left = cluster.teardown().await;
    measured?;
    Ok(left.err().map(|error| format!("arm {}: {error}", arm.name)).into_iter().collect())
}

fn settings(shared: &Shared, id: ArmId, arm: &Arm, emitter: Emitter) -> Settings {
    Settings {
        run: shared.conductor.run.clone(),
        arm: arm.clone(),
        number: id.0,
        seed: shared.seed.wrapping_mul(31).wrapping_add(u64::from(id.0)),
        executable: shared.conductor.executable.clone(),
        isolation: shared.conductor.isolation,
        spawner: shared.spawner.clone(),
        guard: Arc::clone(&shared.guard),
        emitter,
    }
}

/// Load, disruption, load's end, rows.
async fn measure(
    shared: &Shared,
    id: ArmId,
    arm: &Arm,
    cluster: &mut LocalCluster,
    emitter: &Emitter,
    mut stop: watch::Receiver<Stop>,
) -> Result<(), RunError> {
    let clock = shared.conductor.clock;
    let rows = shared.conductor.recorder.rows(id, &arm.load)?;
    let start = clock.now() + LEAD;
    let seed = shared.seed ^ u64::from(id.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let config = EngineConfig::new(clock, arm.load.clone(), seed, start, route(arm, cluster)?);
    let failed = |source| RunError::Engine { arm: arm.name.clone(), source };
    let engine = Arc::new(Engine::spawn(config, rows.sender.clone()).map_err(failed)?);
    shared.conductor.load_started.store(true, Ordering::Relaxed);
    shared.conductor.progress.load_started(id, Arc::clone(&engine));
    emitter.emit_at(start, Event::LoadStarted);
    let ended = tokio::select! {
        result = disrupt(shared, arm, cluster) => Some(result),
        () = stopped(&mut stop) => None,
    };
    match ended {
        Some(Ok(())) => engine.stop_at(clock.now()),
        Some(Err(error)) => {
            engine.stop_at(clock.now());
            emitter.emit(Event::Aborted { message: error.to_string() });
        }
        None => {
            let signal = shared.stop.borrow().as_str().to_owned();
            engine.interrupt();
            emitter.emit(Event::Interrupted { signal });
        }
    }
    emitter.emit(Event::LoadEnded);
    shared.conductor.progress.load_ended(id);
    let summary = join(engine).await;
    let rows = tokio::task::spawn_blocking(move || rows.finish()).await.map_err(|error| error.to_string());
    // From here on there is a recording to keep: what goes wrong is said in it and makes the arm inconclusive.
    match (summary, rows.and_then(|rows| rows.map_err(|error| error.to_string()))) {
        (Ok(summary), Ok(rows)) => {
            let overflowed = summarise(arm, &summary, emitter);
            emitter.emit(Event::Completed { rows, overflowed });
        }
        (Err(error), _) => abort(emitter, &format!("the engine failed: {error}")),
        (_, Err(error)) => abort(emitter, &error),
    }
    Ok(())
}

fn abort(emitter: &Emitter, message: &str) {
    tracing::error!("{message}");
    emitter.emit(Event::Aborted { message: message.to_owned() });
}

async fn disrupt(
    shared: &Shared,
    arm: &Arm,
    cluster: &mut LocalCluster,
) -> Result<(), cluster::ClusterError> {
    tokio::time::sleep(LEAD + arm.settle.before).await;
    if arm.disruption == Disruption::None {
        // A control arm is there to be compared: it lasts as long as what it is compared with.
        let quiet = arm.settle.before + arm.settle.after;
        let mut trial = shared.trial_ended.clone();
        let others = async {
            if arm.role == Role::Control {
                let _over = trial.wait_for(|ended| *ended).await;
            }
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
async fn join(engine: Arc<Engine>) -> Result<Summary, engine::EngineError> {
    let mut engine = engine;
    loop {
        match Arc::try_unwrap(engine) {
            Ok(engine) => {
                return tokio::task::spawn_blocking(move || engine.join())
                    .await
                    .unwrap_or(Err(engine::EngineError::Died));
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

fn route(arm: &Arm, cluster: &LocalCluster) -> Result<Arc<dyn Route>, RunError> {
    if let Target::Url(url) = &arm.load.target {
        let address = resolve(url).map_err(|reason| RunError::Target {
            arm: arm.name.clone(),
            url: redact::url(url),
            reason,
        })?;
        let names = Arc::clone(cluster.names());
        // Who answers behind somebody else's address, only the answer tells.
        return Ok(Arc::new(Named {
            route: Direct(address),
            pods: move |name: &str| names.load().get(name).copied(),
        }));
    }
    let Some(table) = cluster.tables().get(LOAD_NODE).cloned() else {
        return Ok(Arc::new(|_| Pick::Rejected));
    };
    Ok(Arc::new(move |random| {
        table.load().pick(random).map_or(Pick::Rejected, |endpoint| Pick::To {
            pod: endpoint.pod,
            address: endpoint.address,
            fallback: endpoint.fallback,
        })
    }))
}

/// The address of an `http://` URL, asked for once, before any load.
fn resolve(url: &str) -> Result<SocketAddr, String> {
    let rest = url.strip_prefix("http://").ok_or("only http:// is supported")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let with_port = if host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    with_port
        .to_socket_addrs()
        .map_err(|error| format!("the name does not resolve: {error}"))?
        .next()
        .ok_or_else(|| "the name resolves to no address".to_owned())
}
