//! What is applied to a cluster: the files under `manifests/`, with the scenario filled in.
//!
//! The files are read when this is compiled, so what a reader finds there is what runs.

use contract::paths;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    Container, ExecAction, HTTPGetAction, LifecycleHandler, Namespace, PodOS, Service, SleepAction,
    TCPSocketAction,
};
use k8s_openapi::api::core::v1::{Lifecycle, Probe};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::de::DeserializeOwned;
use trial::settings::{Amount, Handler, ProbeCheck, Program, StopSignal, Workload};

const NAMESPACE: &str = include_str!("../../../../manifests/namespace.yaml");
const SERVER: &str = include_str!("../../../../manifests/server.yaml");
const LOADGEN: &str = include_str!("../../../../manifests/loadgen.yaml");
const POLICY: &str = include_str!("../../../../manifests/network-policy.yaml");
const LEASE: &str = include_str!("../../../../manifests/lease.yaml");
const API_ACCESS: &str = include_str!("../../../../manifests/api-access.yaml");
const BUDGET: &str = include_str!("../../../../manifests/disruption-budget.yaml");

/// Every object of ours bears it, with the value `drainproof`.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`], and who owns the fields that are applied.
pub const MANAGER: &str = "drainproof";
/// The run that an object belongs to.
pub const RUN: &str = "drainproof/run";
/// The arm of the run.
pub const ARM: &str = "drainproof/arm";
/// Name of the Deployment and of the Service.
pub const WEB: &str = "web";
/// Name of the Job.
pub const AGENTS: &str = "loadgen";
/// The port that our server listens on in its pod.
pub const SERVER_PORT: u16 = 8080;

/// Images, as the cluster's nodes know them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// The server's.
    pub server: String,
    /// The agents'.
    pub loadgen: String,
}

/// Whose objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The run's id.
    pub run: String,
    /// The arm's number.
    pub arm: u16,
    /// Where the objects are.
    pub namespace: String,
}

impl Owner {
    /// A selector for everything of this arm.
    #[must_use]
    pub fn selector(&self) -> String {
        format!("{MANAGED_BY}={MANAGER},{RUN}={},{ARM}={}", self.run, self.arm)
    }

    fn labels(&self) -> [(String, String); 2] {
        [(RUN.to_owned(), self.run.clone()), (ARM.to_owned(), self.arm.to_string())]
    }

    fn own(&self, meta: &mut ObjectMeta) {
        meta.namespace = Some(self.namespace.clone());
        self.label(meta);
    }

    fn label(&self, meta: &mut ObjectMeta) {
        meta.labels.get_or_insert_default().extend(self.labels());
    }
}

/// A manifest that cannot be read as what it is: a flaw of this build, not of the user's.
#[derive(Debug, thiserror::Error)]
#[error("failed to read the built-in manifest of {kind}: {message}")]
pub struct ManifestError {
    kind: &'static str,
    message: String,
}

fn parse<T: DeserializeOwned>(kind: &'static str, yaml: &str) -> Result<T, ManifestError> {
    serde_saphyr::from_str(yaml).map_err(|error| ManifestError { kind, message: error.to_string() })
}

/// The namespace of an arm.
///
/// # Errors
/// See [`ManifestError`].
pub fn namespace(owner: &Owner) -> Result<Namespace, ManifestError> {
    let mut namespace: Namespace = parse("Namespace", NAMESPACE)?;
    namespace.metadata.name = Some(owner.namespace.clone());
    owner.label(&mut namespace.metadata);
    Ok(namespace)
}

/// The pods under test, and the Service in front of them.
///
/// # Errors
/// See [`ManifestError`].
pub fn server(
    owner: &Owner,
    workload: &Workload,
    image: &str,
) -> Result<(Deployment, Service), ManifestError> {
    let (deployment, service) = SERVER.split_once("\n---\n").unwrap_or((SERVER, ""));
    let mut deployment: Deployment = parse("Deployment", deployment)?;
    let mut service: Service = parse("Service", service)?;
    owner.own(&mut service.metadata);
    if workload.publish_not_ready_addresses {
        service.spec.get_or_insert_default().publish_not_ready_addresses = Some(true);
    }
    owner.own(&mut deployment.metadata);
    let spec = deployment.spec.get_or_insert_default();
    spec.replicas = i32::try_from(workload.replicas).ok();
    spec.min_ready_seconds = i32::try_from(workload.min_ready_seconds).ok();
    spec.strategy = Some(DeploymentStrategy {
        type_: Some("RollingUpdate".to_owned()),
        rolling_update: Some(RollingUpdateDeployment {
            max_surge: Some(amount(workload.strategy.max_surge)),
            max_unavailable: Some(amount(workload.strategy.max_unavailable)),
        }),
    });
    owner.label(spec.template.metadata.get_or_insert_default());
    let pod = spec.template.spec.get_or_insert_default();
    if workload.lifecycle.stop_signal != StopSignal::default() {
        // The API server takes a stop signal only of pods that say so.
        pod.os = Some(PodOS { name: "linux".to_owned() });
    }
    if workload.calls_api_server() {
        pod.automount_service_account_token = Some(true);
    }
    pod.termination_grace_period_seconds = i64::try_from(workload.termination_grace_period_seconds).ok();
    if let Some(container) = pod.containers.first_mut() {
        fill(container, workload, image);
    }
    Ok((deployment, service))
}

fn fill(container: &mut Container, workload: &Workload, image: &str) {
    container.image = Some(image.to_owned());
    match &workload.program {
        Program::Server(server) => {
            let flags = server.flags(workload.lifecycle.stop_signal);
            container.args.get_or_insert_default().extend(flags);
        }
        Program::Command(command) => (container.command, container.args) = (Some(command.clone()), None),
    }
    let hook = |hook: &Option<Handler>| hook.as_ref().map(handler);
    let (pre_stop, post_start) = (hook(&workload.lifecycle.pre_stop), hook(&workload.lifecycle.post_start));
    let signal = workload.lifecycle.stop_signal;
    let stop_signal = (signal != StopSignal::default()).then(|| signal.as_str().to_owned());
    if pre_stop.is_some() || post_start.is_some() || stop_signal.is_some() {
        container.lifecycle = Some(Lifecycle { pre_stop, post_start, stop_signal });
    }
    container.readiness_probe = workload.readiness_probe.as_ref().map(probe);
    container.liveness_probe = workload.liveness_probe.as_ref().map(probe);
}

fn handler(handler: &Handler) -> LifecycleHandler {
    match handler {
        Handler::Sleep { seconds } => LifecycleHandler {
            sleep: Some(SleepAction { seconds: i64::try_from(*seconds).unwrap_or(i64::MAX) }),
            ..LifecycleHandler::default()
        },
        Handler::Exec { command } => {
            LifecycleHandler { exec: Some(exec(command)), ..LifecycleHandler::default() }
        }
        Handler::HttpGet { path, port: to } => {
            LifecycleHandler { http_get: Some(http_get(path, *to)), ..LifecycleHandler::default() }
        }
        Handler::TcpSocket { port: to } => LifecycleHandler {
            tcp_socket: Some(TCPSocketAction { port: port(*to), ..TCPSocketAction::default() }),
            ..LifecycleHandler::default()
        },
    }
}

fn probe(probe: &trial::settings::Probe) -> Probe {
    let number = |value: u32| i32::try_from(value).ok();
    let mut object = Probe {
        period_seconds: number(probe.period_seconds),
        timeout_seconds: number(probe.timeout_seconds),
        failure_threshold: number(probe.failure_threshold),
        success_threshold: number(probe.success_threshold),
        initial_delay_seconds: number(probe.initial_delay_seconds),
        ..Probe::default()
    };
    match &probe.check {
        ProbeCheck::HttpGet { path, port: to } => object.http_get = Some(http_get(path, *to)),
        ProbeCheck::TcpSocket { port: to } => {
            object.tcp_socket = Some(TCPSocketAction { port: port(*to), ..TCPSocketAction::default() });
        }
        ProbeCheck::Exec { command } => object.exec = Some(exec(command)),
    }
    object
}

/// The image holds nothing but the server, which scenarios call by its name as they do on the local backend.
fn exec(command: &[String]) -> ExecAction {
    let mut command = command.to_vec();
    if let Some(first) = command.first_mut().filter(|first| *first == "server") {
        "/server".clone_into(first);
    }
    ExecAction { command: Some(command) }
}

fn http_get(path: &str, to: Option<u16>) -> HTTPGetAction {
    HTTPGetAction { path: Some(path.to_owned()), port: port(to), ..HTTPGetAction::default() }
}

fn port(port: Option<u16>) -> IntOrString {
    IntOrString::Int(i32::from(port.unwrap_or(SERVER_PORT)))
}

fn amount(amount: Amount) -> IntOrString {
    match amount {
        Amount::Pods(pods) => IntOrString::Int(i32::try_from(pods).unwrap_or(i32::MAX)),
        Amount::Percent(percent) => IntOrString::String(format!("{percent}%")),
    }
}

/// The agents' Job.
///
/// # Errors
/// See [`ManifestError`].
pub fn agents(owner: &Owner, image: &str, agents: u32, longest_seconds: u64) -> Result<Job, ManifestError> {
    let mut job: Job = parse("Job", LOADGEN)?;
    owner.own(&mut job.metadata);
    let spec = job.spec.get_or_insert_default();
    let count = i32::try_from(agents).ok();
    (spec.completions, spec.parallelism) = (count, count);
    spec.active_deadline_seconds = i64::try_from(longest_seconds).ok();
    owner.label(spec.template.metadata.get_or_insert_default());
    if let Some(container) = spec.template.spec.get_or_insert_default().containers.first_mut() {
        container.image = Some(image.to_owned());
    }
    Ok(job)
}

/// Who may reach agents: nobody.
///
/// # Errors
/// See [`ManifestError`].
pub fn network_policy(owner: &Owner) -> Result<NetworkPolicy, ManifestError> {
    let mut policy: NetworkPolicy = parse("NetworkPolicy", POLICY)?;
    owner.own(&mut policy.metadata);
    Ok(policy)
}

/// What tells that somebody conducts the run.
///
/// # Errors
/// See [`ManifestError`].
pub fn lease(owner: &Owner) -> Result<Lease, ManifestError> {
    let mut lease: Lease = parse("Lease", LEASE)?;
    owner.own(&mut lease.metadata);
    Ok(lease)
}

/// What lets the pods under test call the API server.
///
/// # Errors
/// See [`ManifestError`].
pub fn api_access(owner: &Owner) -> Result<(Role, RoleBinding), ManifestError> {
    let (role, binding) = API_ACCESS.split_once("\n---\n").unwrap_or((API_ACCESS, ""));
    let mut role: Role = parse("Role", role)?;
    let mut binding: RoleBinding = parse("RoleBinding", binding)?;
    owner.own(&mut role.metadata);
    owner.own(&mut binding.metadata);
    for subject in binding.subjects.iter_mut().flatten() {
        subject.namespace = Some(owner.namespace.clone());
    }
    Ok((role, binding))
}

/// What evictions must respect.
///
/// # Errors
/// See [`ManifestError`].
pub fn disruption_budget(owner: &Owner) -> Result<PodDisruptionBudget, ManifestError> {
    let mut budget: PodDisruptionBudget = parse("PodDisruptionBudget", BUDGET)?;
    owner.own(&mut budget.metadata);
    Ok(budget)
}

/// What to say if a Deployment, as the API server gives it back, has lost its stop signal: without the feature gate
/// `ContainerStopSignals` the server drops it without a word, and the image's own counts.
///
/// # Errors
/// The image is the usual one, whose own is SIGTERM: the pods would never see their signal.
pub(crate) fn dropped_stop_signal(
    workload: &Workload,
    applied: &Deployment,
    image: &str,
) -> Result<Option<String>, String> {
    let template = applied.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let hooks = template.and_then(|pod| pod.containers.first()?.lifecycle.as_ref());
    let signal = workload.lifecycle.stop_signal;
    if signal == StopSignal::default() || hooks.is_some_and(|hooks| hooks.stop_signal.is_some()) {
        return Ok(None);
    }
    let text = format!(
        "this cluster does not take lifecycle.stopSignal (feature gate ContainerStopSignals): the image's STOPSIGNAL counts, \
         which has to be {}",
        signal.as_str()
    );
    if image == SERVER_IMAGE {
        Err(format!("{text}; name such an image with --server-image"))
    } else {
        Ok(Some(text))
    }
}

/// The image that knows of no other stop signal than SIGTERM.
pub const SERVER_IMAGE: &str = "drainproof/server:dev";

/// Labels of the pods under test.
#[must_use]
pub fn web_selector(owner: &Owner) -> String {
    format!("{},app.kubernetes.io/name={WEB}", owner.selector())
}

/// Labels of the agents' pods.
#[must_use]
pub fn agent_selector(owner: &Owner) -> String {
    format!("{},app.kubernetes.io/name={AGENTS}", owner.selector())
}

/// Where a pod's clocks are asked for.
pub(crate) const CLOCK_PATH: &str = paths::CLOCK;

/// The labels by which a run's objects are found; of all runs if none is named.
#[must_use]
pub fn run_selector(run: Option<&str>) -> String {
    // Whatever bears no run's id is no run's, though it may be applied from the same files.
    run.map_or_else(
        || format!("{MANAGED_BY}={MANAGER},{RUN}"),
        |run| format!("{MANAGED_BY}={MANAGER},{RUN}={run}"),
    )
}
