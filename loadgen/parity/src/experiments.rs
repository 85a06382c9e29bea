//! What is run: settings of one pod or a few, and what is done to them.
//!
//! Each is one `loadgen run`, on either backend the same. Values are scenario keys, as `--set` takes them.

use serde_json::{Value, json};

/// What every experiment begins with.
pub(crate) const BASE: &str = "\
name: parity
workload: {replicas: 1, terminationGracePeriodSeconds: 10, server: {reportEvery: 50ms}}
load: {lanes: {new: {rate: 5}}}
disruption: {deletePods: {}}
settle: {before: 1s, after: 500ms}
control: false
expect: {failed: any, late: any}
";

/// Which of the product's own image.
const SERVER: &str = "drainproof/server:dev";

fn container(name: &str, port: u16, flags: &[&str], pre_stop: Option<&str>) -> Value {
    let listen = format!("--listen=0.0.0.0:{port}");
    let mut args = vec!["run", &listen, "--report-every=50ms"];
    args.extend(flags);
    let mut container = json!({
        "name": name, "image": SERVER, "imagePullPolicy": "IfNotPresent", "args": args,
        "securityContext": {
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
        },
    });
    if let Some(sleep) = pre_stop {
        let command = ["/server", "hook", "pre-stop", "--report-every=50ms", "--sleep", sleep];
        container["lifecycle"] = json!({"preStop": {"exec": {"command": command}}});
    }
    container
}

fn pod(grace: u32, containers: &[Value], sidecars: &[Value]) -> Value {
    let sidecars: Vec<Value> = sidecars
        .iter()
        .cloned()
        .map(|mut sidecar| {
            sidecar["restartPolicy"] = json!("Always");
            sidecar
        })
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "several"},
        "spec": {
            "terminationGracePeriodSeconds": grace, "automountServiceAccountToken": false,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": containers, "initContainers": sidecars,
        },
    })
}

fn two_containers() -> Value {
    let exits = ["--on-sigterm=exit"];
    pod(20, &[container("c0", 8080, &exits, Some("2s")), container("c1", 8081, &exits, Some("6s"))], &[])
}

fn sidecar() -> Value {
    let main = container("c0", 8080, &["--shutdown-takes=3s"], None);
    pod(20, &[main], &[container("c1", 8081, &["--on-sigterm=exit"], Some("1s"))])
}

fn sidecar_overrun() -> Value {
    let main = container("c0", 8080, &["--on-sigterm=ignore"], None);
    pod(5, &[main], &[container("c1", 8081, &["--on-sigterm=ignore"], None)])
}

/// Stands for a time (RFC 3339) this many seconds after the start of the run.
pub(crate) const SOON: &str = "{SOON}";
/// See [`SOON`].
pub(crate) const SOON_SECONDS: i64 = 8;

/// One run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Experiment {
    /// Its name, and its directory's.
    pub(crate) name: &'static str,
    /// `--set` of both backends.
    pub(crate) sets: &'static [&'static str],
    /// Further ones of the local backend.
    pub(crate) local: &'static [&'static str],
    /// Further ones of the cluster.
    pub(crate) kube: &'static [&'static str],
    /// Whether the image is the one whose STOPSIGNAL is SIGQUIT.
    pub(crate) sigquit_image: bool,
    /// A pod of several containers, which the product does not make: made with `kubectl`.
    pub(crate) containers: Option<fn() -> Value>,
    /// About how long it takes, s: the longest begin first.
    pub(crate) takes: u32,
}

const fn run(name: &'static str, takes: u32, sets: &'static [&'static str]) -> Experiment {
    Experiment { name, sets, local: &[], kube: &[], sigquit_image: false, containers: None, takes }
}

impl Experiment {
    const fn of(self, containers: fn() -> Value) -> Self {
        Self { containers: Some(containers), ..self }
    }

    const fn only(self, local: &'static [&'static str], kube: &'static [&'static str]) -> Self {
        Self { local, kube, ..self }
    }
}

const IGNORE: &str = "workload.server.onSigterm=ignore";
const EXIT: &str = "workload.server.onSigterm=exit";
const TAKES_1_S: &str = "workload.server.shutdownTakes=1s";
const NO_LINGER: &str = "workload.server.closeConnections=false";
/// Each new pod's readiness makes the nodes sync, and minSyncPeriod then holds the old one's removal back.
const ROLLOUT: &str = "disruption={rolloutRestart: {}}";

macro_rules! exec {
    ($($argument:literal),*) => {
        concat!(
            "workload.lifecycle.preStop={exec: {command: [server, hook, pre-stop, --report-every, 50ms",
            $(", ", $argument),*, "]}}"
        )
    };
}
macro_rules! grace {
    ($seconds:literal) => {
        concat!("workload.terminationGracePeriodSeconds=", $seconds)
    };
}

/// All of them.
pub(crate) const EXPERIMENTS: &[Experiment] = &[
    run("exits", 2, &[TAKES_1_S]),
    run("exits-143", 2, &[EXIT, "workload.server.exitCode=143"]),
    run("ignores", 11, &[IGNORE]),
    run("hook-3", 11, &[IGNORE, exec!("--sleep", "3s")]),
    run("hook-4.6", 12, &[IGNORE, exec!("--sleep", "4600ms")]),
    run("hook-8.5", 11, &[IGNORE, exec!("--sleep", "8500ms")]),
    run("hook-9.2", 12, &[IGNORE, exec!("--sleep", "9200ms")]),
    run("hook-15", 13, &[IGNORE, exec!("--sleep", "15s")]),
    run("hook-15-1.24", 21, &[IGNORE, exec!("--sleep", "15s")]).only(&["local.kubelet=\"1.24\""], &[]),
    run("hook-15-exits", 12, &[TAKES_1_S, exec!("--sleep", "15s")]),
    run("grace-5-hook-8", 8, &[IGNORE, grace!("5"), exec!("--sleep", "8s")]),
    run("grace-1-hook-5", 4, &[IGNORE, grace!("1"), exec!("--sleep", "5s")]),
    run("grace-1", 3, &[IGNORE, grace!("1")]),
    run("delete-shorter", 6, &[IGNORE, grace!("30"), "disruption={deletePods: {gracePeriodSeconds: 5}}"]),
    run("delete-longer", 14, &[IGNORE, grace!("5"), "disruption={deletePods: {gracePeriodSeconds: 13}}"]),
    run(
        "again-longer",
        7,
        &[IGNORE, grace!("6"), "disruption={deletePods: {again: [{after: 1s, gracePeriodSeconds: 30}]}}"],
    ),
    run(
        "again-shorter",
        9,
        &[
            IGNORE,
            grace!("8"),
            exec!("--sleep", "5s"),
            "disruption={deletePods: {again: [{after: 1s, gracePeriodSeconds: 4}]}}",
        ],
    ),
    run("force", 12, &[IGNORE, exec!("--sleep", "5s"), "disruption={deletePods: {force: true}}"]),
    run("hook-fails", 2, &[EXIT, exec!("--sleep", "200ms", "--exit-code", "1")]),
    run("hook-http-500", 2, &[EXIT, "workload.lifecycle.preStop={httpGet: {path: /hooks/pre-stop/300/500}}"]),
    run(
        "hook-http-hangs",
        5,
        &[EXIT, grace!("4"), "workload.lifecycle.preStop={httpGet: {path: /delay/600000}}"],
    ),
    run("hook-tcp", 2, &[EXIT, "workload.lifecycle.preStop={tcpSocket: {}}"]),
    // The process ends by itself some way into the hook. When the delete comes depends on the backend.
    run(
        "dies-in-sleep",
        24,
        &[
            grace!("30"),
            "workload.lifecycle.preStop={sleep: {seconds: 15}}",
            "workload.server.exitAfter=16s",
            // Its address lives on with the hook, and nobody takes it out of the Service: whoever comes meets a dead process.
            "workload.publishNotReadyAddresses=true",
            "load.lanes.new.rate=20",
        ],
    )
    .only(&["settle.before=6s"], &["settle.before=0s"]),
    run("dies-in-exec", 18, &[grace!("30"), exec!("--sleep", "15s"), "workload.server.exitAfter=16s"])
        .only(&["settle.before=6s"], &["settle.before=0s"]),
    run("hook-leaves-child", 5, &[EXIT, exec!("--sleep", "1s", "--leave-child", "3s")]),
    run("unhandled", 7, &[grace!("6"), "workload.server.onSigterm=unhandled"]),
    run("wrapped", 7, &[grace!("6"), "workload.server.wrapped=true", EXIT]),
    Experiment {
        sigquit_image: true,
        ..run("sigquit", 3, &[TAKES_1_S, "workload.lifecycle.stopSignal=SIGQUIT"])
    },
    run(
        "post-start-10",
        40,
        &[
            IGNORE,
            grace!("3"),
            "workload.lifecycle.postStart={exec: {command: [server, hook, post-start, --sleep, 10s]}}",
            "disruption={deletePods: {count: 2, every: 4s, which: newest}}",
        ],
    ),
    run(
        "post-start-again",
        40,
        &[
            IGNORE,
            grace!("8"),
            "workload.lifecycle.postStart={exec: {command: [server, hook, post-start, --sleep, 10s]}}",
            "disruption={deletePods: {count: 2, every: 4s, which: newest, again: [{after: 1s, gracePeriodSeconds: 3}]}}",
        ],
    ),
    run(
        "post-start-fails",
        25,
        &[
            EXIT,
            grace!("20"),
            "workload.lifecycle.postStart={exec: {command: [server, hook, post-start, --fail-until, \"{SOON}\"]}}",
            exec!("--sleep", "9s"),
            "disruption={none: {}}",
        ],
    ),
    run(
        "probes",
        6,
        &[
            EXIT,
            exec!("--sleep", "5s"),
            "workload.server.reportProbes=true",
            "workload.livenessProbe={httpGet: {path: /livez}, periodSeconds: 1}",
        ],
    ),
    run("published", 4, &[EXIT, "workload.publishNotReadyAddresses=true", exec!("--sleep", "3s")]),
    run("sole", 7, &[exec!("--sleep", "5s"), "load.lanes.new.rate=50"]),
    run(
        "sole-not-ready",
        12,
        &[
            grace!("30"),
            "workload.server.failReadiness=true",
            "workload.server.lameDuck=9s",
            "workload.readinessProbe={httpGet: {path: /readyz}, periodSeconds: 1, failureThreshold: 1, initialDelaySeconds: 7}",
            "load.lanes.new.rate=50",
        ],
    ),
    run(
        "another-ready",
        6,
        &[
            "workload.replicas=2",
            "workload.lifecycle.preStop={sleep: {seconds: 5}}",
            "load.lanes={new: {rate: 50}, reused: {rate: 40, connections: 8}}",
        ],
    ),
    run(
        "listener-first",
        14,
        &["workload.replicas=3", "workload.server.shutdownTakes=4s", ROLLOUT, "load.lanes.new.rate=100"],
    ),
    run(
        "exits-at-once",
        12,
        &[
            "workload.replicas=3",
            EXIT,
            ROLLOUT,
            // Nothing takes it out of the Service before its end is reported, and its address goes before that.
            "workload.publishNotReadyAddresses=true",
            "load.lanes.new.rate=300",
        ],
    ),
    // Of the kept connections most are idle when their pod ends, and some have a request under way.
    run(
        "kept-alive-end",
        4,
        &["workload.replicas=2", EXIT, "load.lanes={reused: {rate: 60, connections: 60, delay: 200ms}}"],
    ),
    run(
        "queue-dropped",
        8,
        &[
            NO_LINGER,
            "workload.server.maxConnections=4",
            "workload.readinessProbe={tcpSocket: {}, periodSeconds: 1}",
            "load={timeout: 20s, lanes: {new: {rate: 10}, slow: {rate: 4, delay: 3s}}}",
            "settle.before=4s",
        ],
    ),
    run(
        "queue-served",
        12,
        &[
            "workload.server.maxConnections=4",
            "workload.readinessProbe={tcpSocket: {}, periodSeconds: 1}",
            "load={timeout: 20s, lanes: {new: {rate: 10}, slow: {rate: 4, delay: 3s}}}",
            "settle.before=4s",
        ],
    ),
    run(
        "killed-with-queue",
        8,
        &[
            IGNORE,
            grace!("3"),
            "workload.server.maxConnections=4",
            "workload.readinessProbe={tcpSocket: {}, periodSeconds: 1}",
            "load={timeout: 20s, lanes: {new: {rate: 10}, slow: {rate: 4, delay: 3s}}}",
            "settle.before=4s",
        ],
    ),
    run(
        "killed-in-body",
        5,
        &[
            IGNORE,
            grace!("2"),
            "load={timeout: 30s, request: {path: /stream/100/100}, lanes: {new: {rate: 5}}}",
            "settle.before=3s",
        ],
    ),
    run("none-left", 5, &[EXIT, "disruption={scale: {to: 0}}", "load.lanes.new.rate=20", "settle.after=4s"]),
    run("two-containers", 8, &[]).of(two_containers),
    run("sidecar", 6, &[]).of(sidecar),
    run("sidecar-overrun", 9, &[]).of(sidecar_overrun),
    run(
        "no-linger",
        5,
        &[
            "workload.replicas=2",
            NO_LINGER,
            "workload.lifecycle.preStop={sleep: {seconds: 2}}",
            "load.lanes={reused: {rate: 40, connections: 40}}",
        ],
    ),
    run(
        "linger",
        8,
        &[
            "workload.replicas=2",
            "workload.lifecycle.preStop={sleep: {seconds: 2}}",
            "load.lanes={reused: {rate: 40, connections: 40}}",
        ],
    ),
];
