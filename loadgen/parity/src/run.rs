//! Carries out experiments: each a `loadgen run` of its own, a few at a time.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use crate::containers;
use crate::experiments::{BASE, Experiment, SOON, SOON_SECONDS};
use crate::facts::Facts;

/// No experiment takes half as long.
const LONGEST: Duration = Duration::from_mins(4);
/// How often one looks whether it has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long one may take to clean up once it was told to.
const CLEAN_UP: Duration = Duration::from_secs(90);

/// Where experiments run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Backend {
    /// Processes of this machine.
    Local,
    /// A cluster.
    Kube,
}

impl Backend {
    /// So many at once still leave the timing alone, on two cores.
    const fn usual_jobs(self) -> usize {
        match self {
            Self::Local => 6,
            Self::Kube => 5,
        }
    }

    /// As `--on` takes it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Kube => "kube",
        }
    }
}

/// How experiments are run.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    /// The product.
    pub(crate) loadgen: PathBuf,
    /// Where recordings go: a directory of our own.
    pub(crate) out: PathBuf,
    /// Recordings are there, and nothing is run.
    pub(crate) again: bool,
    /// How many at once.
    pub(crate) jobs: Option<usize>,
    /// Of the cluster.
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Asks its API server: a program and its first arguments.
    pub(crate) kubectl: String,
    /// The server's image whose STOPSIGNAL is SIGQUIT.
    pub(crate) sigquit_image: String,
}

impl Setting {
    fn scenario(&self) -> PathBuf {
        self.out.join("parity.yaml")
    }

    /// Makes what every run begins with.
    ///
    /// # Errors
    /// The directory is not writable.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        fs::create_dir_all(&self.out)?;
        fs::write(self.scenario(), BASE)
    }
}

/// What became of an experiment.
pub(crate) type Outcome = Result<Facts, String>;

/// Runs them, the longest first, and hands each outcome over as it comes.
pub(crate) fn all(
    setting: &Setting,
    backend: Backend,
    mut experiments: Vec<Experiment>,
    done: impl Fn(&Experiment, Outcome) + Sync,
) {
    experiments.sort_by_key(|experiment| experiment.takes);
    let queue = Mutex::new(experiments);
    thread::scope(|scope| {
        for _ in 0..setting.jobs.unwrap_or_else(|| backend.usual_jobs()) {
            scope.spawn(|| {
                while let Some(experiment) = queue.lock().ok().and_then(|mut queue| queue.pop()) {
                    done(&experiment, one(setting, backend, &experiment));
                }
            });
        }
    });
}

/// How many of a backend's runs told of themselves that they may have missed something, and of how many.
pub(crate) fn inconclusive(setting: &Setting, backend: Backend) -> (usize, usize) {
    let entries = fs::read_dir(setting.out.join(backend.as_str())).into_iter().flatten().flatten();
    let verdicts: Vec<String> = entries
        .filter_map(|entry| fs::read(entry.path().join("report.json")).ok())
        .filter_map(|text| serde_json::from_slice::<serde_json::Value>(&text).ok())
        .filter_map(|report| Some(report.get("verdict")?.as_str()?.to_owned()))
        .collect();
    (verdicts.iter().filter(|verdict| *verdict == "inconclusive").count(), verdicts.len())
}

/// Runs one.
pub(crate) fn one(setting: &Setting, backend: Backend, experiment: &Experiment) -> Outcome {
    let directory = setting.out.join(backend.as_str()).join(experiment.name);
    if let Some(pod) = experiment.containers {
        return if setting.again {
            containers::read(setting, experiment.name)
        } else {
            containers::run(setting, &setting.kubectl, experiment.name, &pod())
        };
    }
    if setting.again {
        return Facts::read(&directory);
    }
    let scenario = setting.scenario();
    let mut command = Command::new(&setting.loadgen);
    command.args(["run", "--quiet", "--no-progress", "--on", backend.as_str()]);
    command.arg("--scenario").arg(&scenario).arg("--out").arg(&directory);
    let own = match backend {
        Backend::Local => experiment.local,
        Backend::Kube => experiment.kube,
    };
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(SOON_SECONDS);
    for set in experiment.sets.iter().chain(own) {
        command.arg("--set").arg(set.replace(SOON, &soon.to_string()));
    }
    if backend == Backend::Kube {
        command.args(["--agents", "1", "--ready-timeout", "90s"]);
        if let Some(kubeconfig) = &setting.kubeconfig {
            command.arg("--kubeconfig").arg(kubeconfig);
        }
        if experiment.sigquit_image {
            command.args(["--server-image", &setting.sigquit_image]);
        }
    }
    let errors = setting.out.join(format!("{}-{}.err", backend.as_str(), experiment.name));
    let log = fs::File::create(&errors).map_err(|error| format!("{}: {error}", errors.display()))?;
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
    let child = child.map_err(|error| format!("{}: {error}", setting.loadgen.display()))?;
    // Fail and inconclusive are as good as a pass: what was seen is judged here.
    match wait(child).map_err(|error| error.to_string())? {
        Some(0 | 3 | 4) => Facts::read(&directory),
        code => {
            let said = fs::read_to_string(&errors).unwrap_or_default();
            let said = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("nothing said");
            let code = code.map_or_else(|| "no exit code".to_owned(), |code| format!("exit {code}"));
            Err(format!("{code}: {said}"))
        }
    }
}

/// The exit code; `None` if a signal ended it. One that does not end is told to, and then made to.
fn wait(mut child: Child) -> io::Result<Option<i32>> {
    for (limit, signal) in [
        (LONGEST, Some(nix::sys::signal::Signal::SIGTERM)),
        (CLEAN_UP, Some(nix::sys::signal::Signal::SIGKILL)),
    ] {
        for _ in 0..limit.as_millis() / LOOK_AGAIN.as_millis() {
            if let Some(status) = child.try_wait()? {
                return Ok(status.code());
            }
            thread::sleep(LOOK_AGAIN);
        }
        if let (Some(signal), Ok(pid)) = (signal, i32::try_from(child.id())) {
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).map_err(io::Error::from)?;
        }
    }
    child.wait().map(|status| status.code())
}

/// #23: whether a sleep above the grace is refused. On local the scenario is; on a cluster the API server is asked, by a
/// dry run of `kubectl`, since the scenario would be refused before it is.
pub(crate) fn sleep_above_grace(setting: &Setting, backend: Backend) -> Result<(bool, String), String> {
    let refusal = match backend {
        Backend::Local => {
            let scenario = setting.scenario();
            let mut command = Command::new(&setting.loadgen);
            command.args(["run", "--dry-run", "--scenario"]).arg(&scenario);
            command.args(["--set", "workload.lifecycle.preStop={sleep: {seconds: 11}}"]);
            said(&mut command)?
        }
        Backend::Kube => {
            let manifest = setting.out.join("sleep-above-grace.json");
            fs::write(&manifest, SLEEP_ABOVE_GRACE).map_err(|error| error.to_string())?;
            let mut words = setting.kubectl.split_whitespace();
            let mut command = Command::new(words.next().unwrap_or("kubectl"));
            command.args(words);
            if let Some(kubeconfig) = &setting.kubeconfig {
                command.arg("--kubeconfig").arg(kubeconfig);
            }
            command.args(["create", "--dry-run=server", "-f"]).arg(&manifest);
            said(&mut command)?
        }
    };
    let (succeeded, text) = refusal;
    if succeeded {
        return Ok((false, "accepted".to_owned()));
    }
    // Whoever could not be asked refused nothing.
    if text.contains("terminationGracePeriod") {
        Ok((true, "refused".to_owned()))
    } else {
        Err(text.trim().lines().last().unwrap_or("nothing said").to_owned())
    }
}

fn said(command: &mut Command) -> Result<(bool, String), String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{}: {error}", Path::new(command.get_program()).display()))?;
    Ok((output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

const SLEEP_ABOVE_GRACE: &str = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "sleep-above-grace"},
"spec": {"terminationGracePeriodSeconds": 10, "containers": [{"name": "server", "image": "drainproof/server:dev",
"lifecycle": {"preStop": {"sleep": {"seconds": 11}}}}]}}
"#;
