//! Whole runs on a real cluster. They need one: `DRAINPROOF_KUBECONFIG` names a kubeconfig with all rights on a cluster
//! that is ours, with our images (`scripts/cluster up`, `scripts/image --load`). `scripts/test-kube` runs them; elsewhere
//! they are ignored, and told as that.

#![cfg(feature = "kube")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

// size: one test a way in which a run on a cluster can go, over the same few helpers.
mod common;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use common::{Ran, Run, Scratch, command, events, eventually, loadgen};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// The kubeconfig of the cluster.
fn kubeconfig() -> String {
    let found = std::env::var("DRAINPROOF_KUBECONFIG").ok().filter(|path| !path.is_empty());
    found.unwrap_or_else(|| panic!("DRAINPROOF_KUBECONFIG names no cluster"))
}

/// A short rollout of two pods, without control arms.
const SHORT: &[&str] = &[
    "--set",
    "control=false",
    "--set",
    "workload.replicas=2",
    "--set",
    "settle={before: 2s, after: 2s}",
    "--set",
    "load.lanes={new: {rate: 200}, reused: {rate: 200, connections: 10}, slow: {rate: 10, delay: 1s}, post: {rate: 20}}",
    "--set",
    "limits={scheduleLag: 1s, detectionFloor: 3s}",
    "--set",
    "load.lateOver=3s",
];

fn on(kubeconfig: &str, more: &[&str]) -> Vec<String> {
    let mut all =
        vec!["run", "--on", "kube", "--quiet", "--kubeconfig", kubeconfig, "--ready-timeout", "60s"];
    all.extend(SHORT);
    all.extend(more);
    all.into_iter().map(str::to_owned).collect()
}

fn run(scratch: &Scratch, name: &str, arguments: &[String]) -> Run {
    let out = scratch.join(name);
    let mut all: Vec<&str> = arguments.iter().map(String::as_str).collect();
    all.extend(["--out", out.to_str().unwrap()]);
    let ran = loadgen(&all);
    let report = fs::read(out.join("report.json"))
        .unwrap_or_else(|error| panic!("no report: {error}; exit code {}; stderr: {}", ran.code, ran.stderr));
    Run { ran, out, report: serde_json::from_slice(&report).unwrap() }
}

/// The cluster's own client, which is not ours.
fn kubectl(kubeconfig: &str, arguments: &[&str]) -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = if let Ok(program) = std::env::var("DRAINPROOF_KUBECTL") {
        Command::new(program).args(["--kubeconfig", kubeconfig]).args(arguments).output()
    } else {
        Command::new(root.join("scripts/cluster")).arg("kubectl").args(arguments).output()
    };
    let ran: Ran = output.unwrap().into();
    assert_eq!(ran.code, 0, "kubectl {arguments:?}: {}", ran.stderr);
    ran.stdout
}

/// What is left of a run, as kubectl finds it by our labels.
fn left(kubeconfig: &str, run: &str) -> String {
    let kinds =
        "namespace,deployment,service,pod,job,lease,role,rolebinding,networkpolicy,poddisruptionbudget,node";
    kubectl(kubeconfig, &["get", kinds, "-A", "-l", &format!("drainproof/run={run}"), "--ignore-not-found"])
}

/// Pods that were on their way out: whoever deletes them, the API says so.
fn deleted(run: &Run) -> Vec<&Value> {
    let pods = run.trial()["pods"].as_array().unwrap();
    pods.iter().filter(|pod| !pod["timeline"]["terminating_ns"].is_null()).collect()
}

fn id(run: &Run) -> String {
    run.report["run"]["id"].as_str().unwrap().to_owned()
}

fn assert_nothing_left(kubeconfig: &str, run: &Run) {
    assert_eq!(left(kubeconfig, &id(run)), "", "left of run {}", id(run));
}

/// The run; made again, twice at most, where all that it says against itself is that it stood still for a moment: the machine
/// is not the cluster's alone.
fn undisturbed(scratch: &Scratch, name: &str, arguments: &[String]) -> Run {
    let stood_still = |run: &Run| {
        let doubts = run.trial()["doubts"].as_array().unwrap();
        let all = doubts.iter().all(|doubt| doubt.as_str().unwrap().contains(" stalled for "));
        run.verdict() == "inconclusive" && !doubts.is_empty() && all
    };
    let mut made = run(scratch, name, arguments);
    for again in 2..=3 {
        if stood_still(&made) {
            made = run(scratch, &format!("{name}-{again}"), arguments);
        }
    }
    made
}

#[test]
#[ignore = "needs a cluster"]
fn a_rollout_with_pre_stop_and_drain_drops_nothing_and_both_flows_are_seen() {
    let kubeconfig = kubeconfig();
    let scratch = Scratch::new();
    let account = published(&kubeconfig, &scratch, None);
    let judged = ["--set", "control=true", "--set", "limits.detectionFloor=500ms"];
    let run = undisturbed(&scratch, "default", &on(&account.kubeconfig, &judged));
    assert_eq!((run.ran.code, run.verdict()), (0, "pass"), "{}", run.summary());
    assert_eq!((run.count("failed"), run.count("late")), (0, 0));
    assert_eq!(run.trial()["terminations"]["exposed"], 2, "{}", run.trial()["terminations"]);
    assert_eq!(deleted(&run).len(), 2);
    for pod in deleted(&run) {
        let edge = |name: &str| {
            pod["timeline"][format!("{name}_ns")].as_u64().unwrap_or_else(|| panic!("{name}: {pod}"))
        };
        // Each is told by a source of its own; two clocks lie between, so neighbours are given their uncertainty.
        let order = ["t0", "sigterm", "listener_closed", "drained", "exited", "gone"];
        for pair in order.windows(2) {
            assert!(edge(pair[0]) <= edge(pair[1]) + 5_000_000, "{pair:?}: {pod}");
        }
        let hook = edge("sigterm") - edge("t0");
        assert!(
            (4_900_000_000..6_300_000_000).contains(&hook),
            "preStop slept for 5 s, not {hook} ns: {pod}"
        );
        assert!(pod["clock_uncertainty_ns"].as_u64().unwrap() < 100_000_000, "{pod}");
        let removed = pod["endpoint"].as_array().unwrap().iter().find(|node| !node["removed_ns"].is_null());
        let removed =
            removed.unwrap_or_else(|| panic!("no node's removal: {pod}"))["removed_ns"].as_u64().unwrap();
        assert!(removed < edge("sigterm"), "the rules had changed when preStop was over: {pod}");
    }
    assert_nothing_left(&kubeconfig, &run);
}

#[test]
#[ignore = "needs a cluster"]
fn a_server_that_exits_on_sigterm_fails_with_transport_errors_of_terminating_pods() {
    let kubeconfig = kubeconfig();
    let scratch = Scratch::new();
    let exits =
        ["--set", "workload.server.onSigterm=exit", "--set", "workload.lifecycle=null", "--agents", "2"];
    let run = run(&scratch, "exits", &on(&kubeconfig, &exits));
    assert_eq!((run.ran.code, run.verdict()), (3, "fail"), "{}", run.summary());
    let arm = run.trial();
    assert_eq!(arm["failures_before_disruption"], 0);
    for class in arm["failures_by_class"].as_object().unwrap().keys() {
        let transport = ["connect-", "write-", "wait-", "body-"].iter().any(|stage| class.starts_with(stage));
        assert!(transport, "{class}: {}", run.summary());
    }
    let deleted: Vec<&Value> = deleted(&run).into_iter().map(|pod| &pod["name"]).collect();
    for failure in arm["failures"].as_array().unwrap() {
        let named: Vec<&Value> = match &failure["pod"] {
            Value::Null => failure["candidates"].as_array().unwrap().iter().collect(),
            pod => vec![pod],
        };
        assert!(!named.is_empty(), "nobody's: {failure}");
        assert!(named.iter().all(|pod| deleted.contains(pod)), "not of a deleted pod: {failure}");
    }
    // One a node, unless another number is asked for.
    let agents = arm["agents"].as_array().unwrap();
    let sum = |field: &str| agents.iter().map(|agent| agent[field].as_u64().unwrap()).sum::<u64>();
    assert_eq!((agents.len(), sum("sent"), sum("failed")), (2, run.count("sent"), run.count("failed")));
    assert_nothing_left(&kubeconfig, &run);
}

/// By an account with just the published role of that disruption.
fn disrupted(role: &str, disruption: &str, terminations: u64, more: &[&str]) -> Run {
    let kubeconfig = kubeconfig();
    let scratch = Scratch::new();
    let account = published(&kubeconfig, &scratch, Some(role));
    let set = format!("disruption={disruption}");
    let mut arguments = vec!["--set", &set, "--set", "expect={failed: any, late: any}"];
    arguments.extend(more);
    let run = run(&scratch, "out", &on(&account.kubeconfig, &arguments));
    assert_eq!((run.ran.code, run.verdict()), (0, "pass"), "{}", run.summary());
    assert_eq!(run.trial()["terminations"]["total"], terminations, "{}", run.summary());
    assert_nothing_left(&kubeconfig, &run);
    run
}

/// Nodes that take no pods now.
fn cordoned(kubeconfig: &str) -> String {
    kubectl(kubeconfig, &["get", "nodes", "-o", "jsonpath={.items[*].spec.unschedulable}"])
}

#[test]
#[ignore = "needs a cluster"]
fn a_deleted_pod_is_replaced() {
    let run = disrupted("delete-pods", "{deletePods: {count: 1, gracePeriodSeconds: 20}}", 1, &[]);
    let pod = deleted(&run)[0];
    assert!(!pod["timeline"]["delete_requested_ns"].is_null(), "{pod}");
}

#[test]
#[ignore = "needs a cluster"]
fn a_forced_delete_takes_the_object_at_once() {
    let run = disrupted("delete-pods", "{deletePods: {count: 1, force: true}}", 1, &[]);
    let timeline = &deleted(&run)[0]["timeline"];
    let took = timeline["gone_ns"].as_u64().unwrap() - timeline["delete_requested_ns"].as_u64().unwrap();
    assert!(took < 2_000_000_000, "gone {took} ns after the request, long before the process: {timeline}");
    let exited =
        timeline["exited_ns"].as_u64().unwrap_or_else(|| panic!("its log tells its end: {timeline}"));
    assert!(exited > timeline["gone_ns"].as_u64().unwrap(), "{timeline}");
}

#[test]
#[ignore = "needs a cluster"]
fn an_eviction_is_refused_by_the_budget_first() {
    let run = disrupted("evict", "{evict: {count: 1}}", 1, &[]);
    let notes: String =
        run.trial()["pods"].as_array().unwrap().iter().map(|pod| pod["notes"].to_string()).collect();
    assert!(notes.contains("its eviction was refused at first"), "{notes}");
}

#[test]
#[ignore = "needs a cluster"]
fn scaling_down_terminates_what_is_too_much() {
    disrupted("scale", "{scale: {to: 1}}", 1, &[]);
}

#[test]
#[ignore = "needs a cluster"]
fn a_drained_node_is_schedulable_again() {
    // The negative control drains a node as well: one after the other.
    disrupted("drain-node", "{drainNode: {}}", 1, &["--set", "control=true"]);
    assert_eq!(cordoned(&kubeconfig()), "", "every node is schedulable again");
}

/// One line that says all of these, exit 1, within so many seconds; nothing of ours is there.
fn refused(kubeconfig: &str, arguments: &[&str], within: u64, says: &[&str]) {
    refused_with(1, kubeconfig, arguments, within, says);
}

fn refused_with(code: i32, kubeconfig: &str, arguments: &[&str], within: u64, says: &[&str]) {
    let scratch = Scratch::new();
    let out = scratch.join("out");
    let mut all = vec!["run", "--on", "kube", "--quiet", "--out", out.to_str().unwrap()];
    all.extend(SHORT);
    all.extend(arguments);
    let begun = clock::monotonic_ns();
    loadgen(&all).assert_one_line(code, says);
    let took = (clock::monotonic_ns() - begun) / 1_000_000_000;
    assert!(took < within, "it took {took} s");
    assert!(!out.exists(), "a run that never began leaves no files");
    let namespaces = kubectl(kubeconfig, &["get", "namespaces", "-o", "name"]);
    assert!(!namespaces.contains("refused-"), "{namespaces}");
}

#[test]
#[ignore = "needs a cluster"]
fn what_is_wrong_with_the_cluster_is_one_line() {
    let kubeconfig = kubeconfig();
    let scratch = Scratch::new();
    let config = kubectl(&kubeconfig, &["config", "view", "--raw", "-o", "json"]);
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1".into();
    let nobody = scratch.write("nobody", config.to_string().as_bytes());
    let known = ["--kubeconfig", &kubeconfig, "--namespace"];
    let named = |name| [&known[..], &[name]].concat();
    refused(
        &kubeconfig,
        &["--kubeconfig", &nobody],
        20,
        &["failed to reach the API server at https://127.0.0.1:1"],
    );
    refused_with(2, &kubeconfig, &["--kubeconfig", "/nowhere"], 5, &["failed to read kubeconfig /nowhere"]);
    let context = ["--kubeconfig", &kubeconfig, "--context", "elsewhere"];
    refused(&kubeconfig, &context, 5, &["no context `elsewhere`", "it has:"]);
    refused(&kubeconfig, &named("default"), 15, &["namespace default exists already", "--namespace"]);
    let image = [&named("refused-image")[..], &["--server-image", "drainproof/nothing:none"]].concat();
    refused(&kubeconfig, &image, 120, &["arm", "ImagePull", "drainproof/nothing:none"]);
    let never = "workload.readinessProbe={httpGet: {path: /status/500}, periodSeconds: 1}";
    let unready = [&named("refused-unready")[..], &["--set", never, "--ready-timeout", "8s"]].concat();
    refused(&kubeconfig, &unready, 120, &["not ready within 8s", "running, not Ready", "--ready-timeout"]);
}

/// An account of the cluster that has certain roles and nothing else; gone with this.
struct Account {
    admin: String,
    objects: String,
    /// Its own.
    kubeconfig: String,
}

impl Drop for Account {
    fn drop(&mut self) {
        kubectl(&self.admin, &["delete", "--wait=false", "-f", &self.objects]);
    }
}

fn account(kubeconfig: &str, scratch: &Scratch, name: &str, roles: &[&str], objects: &str) -> Account {
    let mut objects = format!(
        "{objects}\n---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {name}, namespace: default}}\n"
    );
    for role in roles {
        let binding = format!(
            "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\n\
             metadata: {{name: {name}-{role}}}\n\
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {role}}}\n\
             subjects: [{{kind: ServiceAccount, name: {name}, namespace: default}}]\n"
        );
        objects.push_str(&binding);
    }
    let file = scratch.write(&format!("{name}.yaml"), objects.as_bytes());
    kubectl(kubeconfig, &["apply", "-f", &file]);
    let token = kubectl(kubeconfig, &["create", "token", name, "-n", "default"]);
    let config = kubectl(kubeconfig, &["config", "view", "--raw", "-o", "json"]);
    let mut config: Value = serde_json::from_str(&config).unwrap();
    for user in config["users"].as_array_mut().unwrap() {
        user["user"] = serde_json::json!({"token": token.trim()});
    }
    let own = scratch.write(&format!("{name}.kubeconfig"), config.to_string().as_bytes());
    Account { admin: kubeconfig.to_owned(), objects: file, kubeconfig: own }
}

/// An account with the role that every run takes, and the one of a disruption, just as they are published.
fn published(kubeconfig: &str, scratch: &Scratch, disruption: Option<&str>) -> Account {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../manifests/rbac");
    let read = |file: &str| fs::read_to_string(folder.join(file)).unwrap();
    let name = format!("{}-{}", disruption.unwrap_or("run"), std::process::id());
    // Tests run side by side, and each takes its own roles away again.
    let roles = format!("{}---\n{}", read("run.yaml"), read("disrupt.yaml"));
    let roles = roles.replace("name: drainproof-", &format!("name: {name}-"));
    let wanted: Vec<String> =
        ["run"].into_iter().chain(disruption).map(|role| format!("{name}-{role}")).collect();
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    account(kubeconfig, scratch, &name, &wanted, &roles)
}

#[test]
#[ignore = "needs a cluster"]
fn a_missing_verb_is_named_before_anything_is_touched() {
    let kubeconfig = kubeconfig();
    let scratch = Scratch::new();
    let rules = "[{apiGroups: ['*'], resources: [namespaces, nodes, services, pods/log, pods/portforward, events, jobs, \
                 endpointslices, networkpolicies], verbs: ['*']}, {apiGroups: ['*'], resources: [pods], verbs: [get, list, \
                 watch]}, {apiGroups: [apps], resources: [deployments], verbs: ['*']}]";
    let name = format!("drainproof-narrow-{}", std::process::id());
    let role = format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: {name}}}\nrules: {rules}"
    );
    let narrow = account(&kubeconfig, &scratch, &name, &[&name], &role);
    let arguments = ["--kubeconfig", &narrow.kubeconfig, "--namespace", "refused-narrow"];
    refused(&kubeconfig, &arguments, 20, &["deletecollection pods", "refused-narrow", "manifests/rbac"]);
    let ran = loadgen(&["check", "--kubeconfig", &narrow.kubeconfig]);
    ran.assert_one_line(1, &["deletecollection pods"]);
    assert_eq!(loadgen(&["check", "--kubeconfig", &kubeconfig]).code, 0);
}

/// Starts a run that would last, and waits until it is at `event`.
fn start_long(
    kubeconfig: &str,
    scratch: &Scratch,
    name: &str,
    event: &str,
    more: &[&str],
) -> (std::process::Child, PathBuf) {
    let out = scratch.join(name);
    let mut arguments = on(kubeconfig, &["--set", "settle={before: 1s, after: 5m}"]);
    arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
    arguments.extend(["--out".to_owned(), out.to_str().unwrap().to_owned()]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let child = command(&arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    eventually(120, event, || events(&out).iter().any(|line| line["event"] == event));
    (child, out)
}

fn run_id(out: &std::path::Path) -> String {
    let header: Value =
        serde_json::from_slice(&fs::read(out.join("recording/header.json")).unwrap()).unwrap();
    header["run_id"].as_str().unwrap().to_owned()
}

#[test]
#[ignore = "needs a cluster"]
fn what_kill_nine_left_is_found_by_its_labels() {
    let kubeconfig = kubeconfig();
    let scratch = Scratch::new();
    let (living, its_files) = start_long(&kubeconfig, &scratch, "living", "load-started", &[]);
    for event in ["pod-created", "load-started", "terminating"] {
        let (mut child, out) = start_long(&kubeconfig, &scratch, event, event, &[]);
        child.kill().unwrap();
        child.wait().unwrap();
        let id = run_id(&out);
        assert_ne!(left(&kubeconfig, &id), "", "a killed run leaves its namespace");
        // All that are over; others that go on beside this test are spared.
        let ran = loadgen(&["cleanup", "--all", "--kubeconfig", &kubeconfig]);
        assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
        assert!(ran.stdout.contains("is gone"), "{}", ran.stdout);
        assert_eq!(left(&kubeconfig, &id), "");
        let ran = loadgen(&["report", out.to_str().unwrap(), "--format", "json", "--gate"]);
        assert_ne!(ran.code, 0, "a killed run is never a pass");
    }
    assert_ne!(left(&kubeconfig, &run_id(&its_files)), "", "a run that goes on keeps what it has");
    kill(Pid::from_raw(i32::try_from(living.id()).unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(living.wait_with_output().unwrap().status.code(), Some(130));
}

#[test]
#[ignore = "needs a cluster"]
fn a_cordon_that_kill_nine_left_is_undone_by_its_labels() {
    let kubeconfig = kubeconfig();
    let scratch = Scratch::new();
    // The hook holds the node's pod for as long as the test looks.
    let drain =
        ["--set", "disruption={drainNode: {}}", "--set", "workload.lifecycle.preStop.sleep.seconds=25"];
    let (mut child, out) = start_long(&kubeconfig, &scratch, "drain", "terminating", &drain);
    child.kill().unwrap();
    child.wait().unwrap();
    let id = run_id(&out);
    let ours = ["get", "nodes", "-l", &format!("drainproof/run={id}"), "-o", "name"];
    assert!(kubectl(&kubeconfig, &ours).contains("node/"), "a killed run leaves its cordon");
    let ran = loadgen(&["cleanup", "--run", &id, "--kubeconfig", &kubeconfig]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("is schedulable again"), "{}", ran.stdout);
    assert_eq!((kubectl(&kubeconfig, &ours), left(&kubeconfig, &id)), (String::new(), String::new()));
}

#[test]
#[ignore = "needs a cluster"]
fn a_run_whose_agent_is_lost_ends_early_and_is_inconclusive() {
    let kubeconfig = kubeconfig();
    let scratch = Scratch::new();
    let (child, out) = start_long(&kubeconfig, &scratch, "lost", "load-started", &[]);
    let id = run_id(&out);
    let agents = format!("drainproof/run={id},app.kubernetes.io/name=loadgen");
    let delete =
        ["delete", "pod", "-n", &format!("drainproof-{id}"), "-l", &agents, "--grace-period=0", "--force"];
    kubectl(&kubeconfig, &delete);
    let begun = clock::monotonic_ns();
    let ran: Ran = child.wait_with_output().unwrap().into();
    let took = (clock::monotonic_ns() - begun) / 1_000_000_000;
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(took < 150, "the run was to last for 5 min, and took {took} s more");
    assert!(ran.stderr.contains("agent loadgen-0"), "{}", ran.stderr);
    assert_eq!(left(&kubeconfig, &id), "");
}

#[test]
#[ignore = "needs a cluster"]
fn interrupted_runs_clean_up_and_keep_their_recording() {
    let kubeconfig = kubeconfig();
    let scratch = Scratch::new();
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let (mut child, out) = start_long(&kubeconfig, &scratch, signal.as_str(), "terminating", &[]);
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert_eq!(left(&kubeconfig, &run_id(&out)), "");
        let report: Value = serde_json::from_slice(&fs::read(out.join("report.json")).unwrap()).unwrap();
        assert_ne!(report["verdict"], "pass");
        assert!(
            report["arms"][0]["requests"]["sent"].as_u64().unwrap() > 0,
            "what agents had handed over is there"
        );
    }
}
