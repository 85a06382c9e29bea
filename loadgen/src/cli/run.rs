//! `loadgen run`.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::ValueEnum;
use clock::{Anchor, Clock};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use trial::plan::{Plan, Role};
use trial::recording::{FORMAT_MAJOR, FORMAT_MINOR, Header};
use trial::scenario::{Overrides, Scenario, redact};

mod conclude;
mod fits;

use super::Format;
use crate::builtin;
use crate::conductor::{Conductor, Outcome, Place, RunError, Stop, isolation};
use crate::exit_code::ExitCode;
use crate::progress::{Display, Progress};
use crate::recorder::{self, Recorder};

/// Longer files are no scenarios; the parser's own limit.
const SCENARIO_MAX: u64 = 1 << 20;

/// Flags of `loadgen run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A built-in scenario or a file
    #[arg(long, value_name = "NAME|FILE", default_value = builtin::DEFAULT)]
    scenario: String,
    /// Where the workload runs
    #[arg(long, value_enum, default_value = "local")]
    on: Backend,
    /// Try every combination of these values: each is an arm
    #[arg(long, value_name = "KEY=V1,V2,…")]
    vary: Vec<String>,
    /// Change a setting: a dotted path into the scenario, and YAML
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Run this server instead of ours; {host} and {port} are filled in, HOST and PORT are set
    #[arg(long, value_name = "CMD")]
    command: Option<String>,
    /// Run every trial arm so many times
    #[arg(long, value_name = "N")]
    repeat: Option<u32>,
    /// Makes every random choice repeatable
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    #[cfg(feature = "kube")]
    #[command(flatten)]
    kube: super::on_cluster::RunArgs,
    /// Validate, resolve and print the plan; touch nothing
    #[arg(long)]
    dry_run: bool,
    /// How long pods may take to become ready
    #[arg(long, value_name = "D", value_parser = super::some_time, default_value = "30s")]
    ready_timeout: Duration,
    /// End the run after this long, whatever it is at: inconclusive
    #[arg(long, value_name = "D", value_parser = super::some_time, default_value = "30m")]
    max_time: Duration,
    /// How many arms run at once: 4 on local; 1 on kube, where their disruptions take turns anyway
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    parallel: Option<u16>,
    /// Certificates of the authorities that an https:// server's certificate may be signed by, as a PEM file; those of this machine if none
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// Also compare with this report.json of an earlier run: 3 if it got worse, 4 if that cannot be told
    #[arg(long, value_name = "REPORT.json")]
    baseline: Option<PathBuf>,
    /// Where report.json and the recording go; by default reports/runs and the run's id
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// What goes to stdout
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Nothing on stderr but errors
    #[arg(long)]
    quiet: bool,
    /// No moving figures on stderr
    #[arg(long)]
    no_progress: bool,
}

/// Backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Backend {
    /// Processes on this machine under Kubernetes' rules
    Local,
    /// A cluster, with load from inside it
    #[cfg(feature = "kube")]
    Kube,
}

/// Arms that run at once. Processes of one machine share its cores, and more than these would take them from each other; on a
/// cluster disruptions take turns, so that an arm beside another only adds load to nodes that others use as well.
const fn side_by_side(on: Backend) -> u16 {
    match on {
        Backend::Local => 4,
        #[cfg(feature = "kube")]
        Backend::Kube => 1,
    }
}

pub(super) fn main(arguments: &Args, argv: &[String]) -> ExitCode {
    let (clock, anchor) = Clock::start();
    let baseline = match arguments.baseline.as_deref().map(super::compare::read).transpose() {
        Ok(baseline) => baseline,
        Err(error) => return error.tell(),
    };
    let plan = match plan(arguments, anchor) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    if let Err(code) = fits::fits(arguments.on, arguments, &plan).and_then(|()| super::sendable(&plan)) {
        return code;
    }
    if arguments.dry_run {
        return dry_run(&plan, arguments.format);
    }
    let run = run_id(anchor, plan.seed);
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return super::fail(&RunError::Start { what: "the runtime", source: error }),
    };
    // What is not there or not permitted is found before anything is made.
    let (place, backdrop) = match place(arguments, &plan, &run, (clock, anchor), &runtime) {
        Ok(found) => found,
        Err(code) => return code,
    };
    let out = arguments.out.clone().unwrap_or_else(|| Path::new("reports/runs").join(&run));
    let progress = Progress::new(display(arguments), trial_arms(&plan));
    let fresh = !out.exists();
    let header = header(&plan, &run, anchor, argv, backdrop);
    let observer = progress.clone();
    let recorder = match Recorder::create(&out, &header, Box::new(move |event| observer.on_event(event))) {
        Ok(recorder) => recorder,
        Err(error) => return super::fail(&error),
    };
    crate::limits::open_files();
    let load_started = Arc::new(AtomicBool::new(false));
    let conductor = Conductor {
        run,
        clock,
        recorder,
        progress,
        place,
        ready_timeout: arguments.ready_timeout,
        max_time: arguments.max_time,
        parallel: usize::from(arguments.parallel.unwrap_or_else(|| side_by_side(arguments.on))),
        load_started: Arc::clone(&load_started),
    };
    let (error, leftovers) = match conduct(&plan, conductor, runtime) {
        Ok(Outcome { error: None, leftovers, stop }) => {
            return conclude::conclude(arguments, &out, stop, &leftovers, baseline.as_ref());
        }
        Ok(Outcome { error: Some(error), leftovers, .. }) => (error, leftovers),
        Err(error) => (error, Vec::new()),
    };
    if load_started.load(Ordering::Relaxed) {
        super::complain(&format!("{error}; what was recorded until then is kept in {}", out.display()));
    } else {
        discard(&out, fresh);
        super::complain(&error);
    }
    tell_leftovers(arguments, &leftovers).unwrap_or(ExitCode::CouldNotRun)
}

/// What is left has to be taken away by somebody: its code goes before any other.
#[cfg_attr(not(feature = "kube"), expect(unused_variables, reason = "only a cluster has to be named again"))]
fn tell_leftovers(arguments: &Args, leftovers: &[String]) -> Option<ExitCode> {
    #[cfg(feature = "kube")]
    let which = arguments.kube.which();
    #[cfg(not(feature = "kube"))]
    let which = "";
    for leftover in leftovers {
        super::complain(&format!("{leftover}; `loadgen cleanup --all{which}` tries again"));
    }
    (!leftovers.is_empty()).then_some(ExitCode::CleanupIncomplete)
}

fn plan(arguments: &Args, anchor: Anchor) -> Result<Plan, ExitCode> {
    let name = arguments.scenario.as_str();
    let parsed = match builtin::find(name) {
        Some(builtin) => Scenario::parse(builtin.name, builtin.yaml.as_bytes()),
        None => match read(name) {
            Ok(bytes) => Scenario::parse(name, &bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(super::misuse(&super::scenarios::unknown(name)));
            }
            Err(error) => return Err(super::misuse(&format!("failed to read scenario {name}: {error}"))),
        },
    };
    let command = match arguments.command.as_deref().map(shlex::split) {
        None => None,
        Some(Some(words)) if !words.is_empty() => Some(words),
        Some(_) => return Err(super::misuse(&"--command: empty, or a quote is not closed")),
    };
    let mut set = arguments.set.clone();
    if let Some(ca) = super::authorities(arguments.cacert.as_deref())? {
        // A string of JSON is one of YAML.
        set.push(format!("load.tls.ca={}", serde_json::Value::String(ca)));
    }
    let overrides = Overrides {
        set,
        vary: arguments.vary.clone(),
        command,
        repeat: arguments.repeat,
        seed: arguments.seed,
    };
    // A different seed each time finds more; the report says which it was.
    let default_seed = u64::from(fastrand::Rng::with_seed(anchor.wall_ns).u32(..));
    parsed.and_then(|scenario| scenario.plan(&overrides, default_seed)).map_err(|error| super::misuse(&error))
}

/// A scenario's file, and no more of it than is needed to say that it is too long.
fn read(path: &str) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(SCENARIO_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn dry_run(plan: &Plan, format: Format) -> ExitCode {
    let plan = plan.redacted();
    let text = match format {
        Format::Json => {
            serde_json::to_string_pretty(&plan).map(|text| text + "\n").map_err(|error| error.to_string())
        }
        Format::Text => serde_saphyr::to_string(&plan).map_err(|error| error.to_string()),
        _ => {
            return super::misuse(
                &"--dry-run prints a plan, not a report; allowed with it: --format text or json",
            );
        }
    };
    match text {
        Ok(text) => super::print(&text),
        Err(error) => super::fail(&format!("failed to print the plan: {error}")),
    }
}

fn display(arguments: &Args) -> Display {
    match (arguments.quiet, arguments.no_progress) {
        (true, _) => Display::Off,
        (false, true) => Display::Lines,
        (false, false) => Display::detect(),
    }
}

fn trial_arms(plan: &Plan) -> usize {
    plan.arms.iter().filter(|arm| arm.role == Role::Trial).count()
}

/// Sorts by time; the tail keeps runs of the same second apart.
pub(super) fn run_id(anchor: Anchor, seed: u64) -> String {
    let time = started_at(anchor);
    let compact: String = time.chars().take(19).filter(|char| !matches!(char, '-' | ':')).collect();
    let mixed = fastrand::Rng::with_seed(anchor.wall_ns ^ seed ^ u64::from(std::process::id())).u16(..);
    format!("{compact}Z-{mixed:04x}").to_lowercase()
}

pub(super) fn started_at(anchor: Anchor) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(anchor.wall_ns)).unwrap_or_default().to_string()
}

/// What the recording's header says of the backend.
struct Backdrop {
    backend: &'static str,
    version: Option<String>,
    nodes: Vec<String>,
    agents: u32,
}

fn header(plan: &Plan, run: &str, anchor: Anchor, argv: &[String], backdrop: Backdrop) -> Header {
    Header {
        format_major: FORMAT_MAJOR,
        format_minor: FORMAT_MINOR,
        run_id: run.to_owned(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        backend: backdrop.backend.to_owned(),
        backend_version: backdrop.version,
        nodes: backdrop.nodes,
        agents: backdrop.agents,
        started_at: started_at(anchor),
        epoch_wall_ns: anchor.wall_ns,
        epoch_mono_ns: anchor.mono_ns,
        argv: redact::arguments(argv),
        environment: recorder::environment(),
        plan: plan.redacted(),
    }
}

fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

#[cfg_attr(not(feature = "kube"), expect(unused_variables, reason = "only a cluster takes them"))]
fn place(
    arguments: &Args,
    plan: &Plan,
    run: &str,
    time: (Clock, Anchor),
    runtime: &Runtime,
) -> Result<(Place, Backdrop), ExitCode> {
    match arguments.on {
        Backend::Local => {
            let executable = std::env::current_exe()
                .map_err(|source| super::fail(&RunError::Start { what: "our own executable", source }))?;
            let nodes = plan.arms.iter().map(|arm| arm.local.nodes).max().unwrap_or(1);
            let nodes = cluster_local::backend::node_names(nodes);
            let backdrop = Backdrop { backend: "local", version: None, nodes, agents: 1 };
            Ok((Place::Local { isolation: isolation::detect(&executable), executable }, backdrop))
        }
        #[cfg(feature = "kube")]
        Backend::Kube => {
            let place = runtime
                .block_on(arguments.kube.place(plan, run, time))
                .map_err(|error| super::on_cluster::refused(&error))?;
            let backdrop = Backdrop {
                backend: "kube",
                version: Some(place.cluster.version.clone()),
                nodes: place.cluster.nodes.clone(),
                agents: place.agents,
            };
            Ok((Place::Kube(Box::new(place)), backdrop))
        }
    }
}

fn conduct(plan: &Plan, conductor: Conductor, runtime: Runtime) -> Result<Outcome, RunError> {
    let progress = conductor.progress.clone();
    let outcome = runtime.block_on(async {
        let signals = signals(conductor.run.clone(), matches!(conductor.place, Place::Local { .. }))
            .map_err(|source| RunError::Start { what: "the signal handlers", source })?;
        tokio::spawn(progress.refresh());
        conductor.run(plan, signals).await
    });
    // A hook that was left running may still wait for its time; nothing waits for it.
    runtime.shutdown_background();
    outcome
}

/// The first signal ends the run in order; a second one ends the process. The guard then ends the processes of the run;
/// what is on a cluster stays there.
fn signals(run: String, is_local: bool) -> std::io::Result<watch::Receiver<Stop>> {
    let (sender, receiver) = watch::channel(Stop::No);
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::spawn(async move {
        loop {
            let (why, code) = tokio::select! {
                _ = interrupt.recv() => (Stop::Interrupt, ExitCode::Interrupted),
                _ = terminate.recv() => (Stop::Terminate, ExitCode::Terminated),
            };
            if *sender.borrow() != Stop::No {
                super::complain(&if is_local {
                    "ended at once, and with it the processes of the run".to_owned()
                } else {
                    format!("ended at once; `loadgen cleanup --run {run}` removes what is left")
                });
                std::process::exit(i32::from(code.code()));
            }
            sender.send_replace(why);
        }
    });
    Ok(receiver)
}

/// A run that never began leaves nothing behind.
fn discard(out: &Path, fresh: bool) {
    let _gone = fs::remove_dir_all(out.join("recording"));
    if fresh {
        // Only if nothing else came to stand there meanwhile.
        let _gone = fs::remove_dir(out);
    }
}
