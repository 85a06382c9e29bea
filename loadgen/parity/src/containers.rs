//! Pods of several containers, which the product does not make: made, deleted and listened to with `kubectl`.

use std::fs::File;
use std::process::{Child, Command, Stdio};

use contract::lifecycle::Line;
use serde_json::Value;

use crate::facts::Facts;
use crate::run::Setting;

/// Of each pod.
const CONTAINERS: u16 = 2;

/// A pod in a namespace of its own, which is taken away again whatever became of it.
struct Namespace<'a> {
    setting: &'a Setting,
    kubectl: &'a str,
    name: String,
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        let _told = self.kubectl(&["delete", "namespace", &self.name, "--ignore-not-found"]);
    }
}

/// Runs the pod to its end.
pub(crate) fn run(setting: &Setting, kubectl: &str, name: &str, pod: &Value) -> Result<Facts, String> {
    let namespace =
        Namespace { setting, kubectl, name: format!("drainproof-parity-{}-{name}", std::process::id()) };
    namespace.kubectl(&["create", "namespace", &namespace.name])?;
    let label = ["label", "namespace", &namespace.name, "app.kubernetes.io/managed-by=drainproof"];
    let run = format!("drainproof/run=parity-{}", std::process::id());
    namespace.kubectl(&[&label[..], &[&run]].concat())?;
    let manifest = setting.out.join(format!("{name}.json"));
    std::fs::write(&manifest, pod.to_string()).map_err(|error| error.to_string())?;
    namespace.within(&["create", "-f", &manifest.to_string_lossy()])?;
    namespace.within(&["wait", "--for=condition=Ready", "pod/several", "--timeout=60s"])?;
    let mut logs = Vec::new();
    for container in 0..CONTAINERS {
        let path = setting.out.join(format!("{name}-c{container}.log"));
        let file = File::create(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let of = format!("c{container}");
        let follow = ["--namespace", &namespace.name, "logs", "--follow", "several", "--container", &of];
        let child = namespace.command(&follow).stdout(file).stderr(Stdio::null()).spawn();
        logs.push((container, Log(child.map_err(|error| format!("kubectl: {error}"))?)));
    }
    namespace.within(&["delete", "pod", "several", "--timeout=60s"])?;
    let t0_wall_ns = namespace.first_killing()?;
    for (_, mut log) in logs {
        // It ends with its container.
        log.0.wait().map_err(|error| error.to_string())?;
    }
    let path = setting.out.join(format!("{name}-t0"));
    std::fs::write(path, t0_wall_ns.to_string()).map_err(|error| error.to_string())?;
    read(setting, name)
}

/// What was heard of the pod.
pub(crate) fn read(setting: &Setting, name: &str) -> Result<Facts, String> {
    let text = |file: String| {
        let path = setting.out.join(file);
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let t0_wall_ns = text(format!("{name}-t0"))?.trim().parse().map_err(|_| "T0 is no number".to_owned())?;
    let mut lines = Vec::new();
    for container in 0..CONTAINERS {
        let log = text(format!("{name}-c{container}.log"))?;
        lines.extend(log.lines().filter_map(Line::parse).map(|line| (container, line)));
    }
    Ok(Facts::of_containers(t0_wall_ns, lines))
}

/// A `kubectl logs` that does not outlive us.
struct Log(Child);

impl Drop for Log {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

impl Namespace<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut words = self.kubectl.split_whitespace();
        let mut command = Command::new(words.next().unwrap_or("kubectl"));
        command.args(words);
        if let Some(kubeconfig) = &self.setting.kubeconfig {
            command.arg("--kubeconfig").arg(kubeconfig);
        }
        command.args(arguments).stdin(Stdio::null());
        command
    }

    fn kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        let output =
            self.command(arguments).output().map_err(|error| format!("{}: {error}", self.kubectl))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("kubectl {}: {}", arguments.join(" "), said.lines().next().unwrap_or("failed")))
    }

    fn within(&self, arguments: &[&str]) -> Result<String, String> {
        self.kubectl(&[&["--namespace", &self.name], arguments].concat())
    }

    /// The kubelet names its events after the object and the nanoseconds of its clock, in hexadecimal.
    fn first_killing(&self) -> Result<u64, String> {
        let events = self.within(&["get", "events", "--field-selector", "reason=Killing", "-o", "json"])?;
        let events: Value = serde_json::from_str(&events).map_err(|error| error.to_string())?;
        let named = |event: &Value| {
            let (_, nanos) = event["metadata"]["name"].as_str()?.rsplit_once('.')?;
            u64::from_str_radix(nanos, 16).ok()
        };
        let first = events["items"].as_array().into_iter().flatten().filter_map(named).min();
        first.ok_or_else(|| "no Killing event".to_owned())
    }
}
