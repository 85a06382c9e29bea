//! Checks `workload` and `local`, and what they say about each other.

use std::time::Duration;

use super::check::{duration, http_path, http_url, whole};
use super::error::{Place, Problem, one_line, quoted};
use super::raw::{RawExec, RawHandler, RawLocal, RawProbe, RawServer, RawStrategy, RawWorkload};
use super::tree::Node;
use crate::settings::{
    API_SERVER, Amount, Handler, KubeletVersion, Lifecycle, Local, OnSigterm, Probe, ProbeCheck, Program,
    Propagation, ServerSettings, Strategy, Workload,
};

const HOUR: u64 = 3600;
/// The kubelet that the emulation follows unless told otherwise.
const DEFAULT_KUBELET: KubeletVersion = KubeletVersion { minor: 34 };
/// Before `PodLifecycleSleepAction` (1.29) the API has no such field.
const SLEEP_SINCE: u16 = 29;
/// `PodLifecycleSleepActionAllowZero` is on by default since then.
const SLEEP_ZERO_SINCE: u16 = 33;

/// `local`.
pub(super) fn local(raw: &RawLocal) -> Result<Local, Problem> {
    let kubelet = raw.kubelet.as_deref().map_or(Ok(DEFAULT_KUBELET), |text| {
        KubeletVersion::parse(text).map_err(|_| {
            Problem::value(
                "local.kubelet",
                format_args!("{} is not a kubelet version", quoted(text)),
                "1.20 to 1.36",
            )
        })
    })?;
    let propagation = raw.propagation.as_deref().map_or(Ok(Propagation::KubeProxy), |text| {
        let allowed = "kube-proxy, nodes-100, nodes-5000, or a fixed time up to 600s such as 1300ms";
        match Propagation::parse(text) {
            Ok(Propagation::Fixed(fixed)) if fixed > Duration::from_mins(10) => {
                Err(Problem::value("local.propagation", format_args!("{text} is above 600s"), allowed))
            }
            Ok(propagation) => Ok(propagation),
            Err(_) => {
                Err(Problem::value("local.propagation", format_args!("{} is unknown", quoted(text)), allowed))
            }
        }
    })?;
    Ok(Local { propagation, nodes: whole("local.nodes", raw.nodes, 2, 1..=16)?, kubelet })
}

/// `workload`. The tree is asked who stated the grace, since a sleep above it is the fault of either.
pub(super) fn workload(
    raw: RawWorkload,
    kubelet: KubeletVersion,
    command: Option<&[String]>,
    tree: &Node,
) -> Result<Workload, Problem> {
    let grace =
        whole("workload.terminationGracePeriodSeconds", raw.termination_grace_period_seconds, 30, 0..=HOUR)?;
    let hook = HookRules { grace, kubelet, tree };
    let lifecycle = Lifecycle {
        pre_stop: raw
            .lifecycle
            .pre_stop
            .map(|handler| hook.handler("workload.lifecycle.preStop", handler))
            .transpose()?,
        post_start: raw
            .lifecycle
            .post_start
            .map(|handler| hook.handler("workload.lifecycle.postStart", handler))
            .transpose()?,
        stop_signal: raw.lifecycle.stop_signal.unwrap_or_default(),
    };
    Ok(Workload {
        replicas: whole("workload.replicas", raw.replicas, 3, 1..=50)?,
        min_ready_seconds: whole("workload.minReadySeconds", raw.min_ready_seconds, 0, 0..=3600)?,
        termination_grace_period_seconds: grace,
        lifecycle,
        readiness_probe: raw.readiness_probe.map(|raw| probe("workload.readinessProbe", raw)).transpose()?,
        liveness_probe: raw.liveness_probe.map(liveness).transpose()?,
        publish_not_ready_addresses: raw.publish_not_ready_addresses.unwrap_or(false),
        strategy: strategy(&raw.strategy)?,
        program: program(raw.server, command)?,
    })
}

fn program(raw: Option<RawServer>, command: Option<&[String]>) -> Result<Program, Problem> {
    match (raw, command) {
        (raw, None) => server(raw.unwrap_or_default()).map(Program::Server),
        (None, Some(command)) => Ok(Program::Command(command.to_vec())),
        (Some(_), Some(_)) => Err(Problem::of(
            "workload.server",
            "configures our own server, which --command replaces; allowed: one of the two",
        )),
    }
}

fn server(raw: RawServer) -> Result<ServerSettings, Problem> {
    let defaults = ServerSettings::default();
    let up_to = |seconds| Duration::ZERO..=Duration::from_secs(seconds);
    let time = |key: &str, stated: Option<&str>, default, most| {
        duration(&format!("workload.server.{key}"), stated, default, up_to(most))
    };
    let optional = |key: &str, stated: Option<&str>, most| {
        let path = format!("workload.server.{key}");
        let least = Duration::from_millis(10);
        let stated = stated.map(|_| duration(&path, stated, least, least..=Duration::from_secs(most)));
        stated.transpose()
    };
    if let Some(url) = raw.poll_while_draining.as_deref().filter(|url| *url != API_SERVER) {
        let url = http_url("workload.server.pollWhileDraining", url);
        url.map_err(|problem| problem.also_allowed(API_SERVER))?;
    }
    Ok(ServerSettings {
        on_sigterm: raw.on_sigterm.unwrap_or(OnSigterm::Drain),
        shutdown_takes: time("shutdownTakes", raw.shutdown_takes.as_deref(), defaults.shutdown_takes, HOUR)?,
        drain_timeout: time("drainTimeout", raw.drain_timeout.as_deref(), defaults.drain_timeout, HOUR)?,
        lame_duck: time("lameDuck", raw.lame_duck.as_deref(), defaults.lame_duck, HOUR)?,
        close_connections: raw.close_connections.unwrap_or(defaults.close_connections),
        fail_readiness: raw.fail_readiness.unwrap_or(defaults.fail_readiness),
        service_time: time("serviceTime", raw.service_time.as_deref(), defaults.service_time, 300)?,
        poll_while_draining: raw.poll_while_draining,
        exit_after: optional("exitAfter", raw.exit_after.as_deref(), HOUR)?,
        exit_code: whole("workload.server.exitCode", raw.exit_code, 0, 0..=255)?,
        wrapped: raw.wrapped.unwrap_or(false),
        report_every: optional("reportEvery", raw.report_every.as_deref(), HOUR)?,
        report_probes: raw.report_probes.unwrap_or(false),
        max_connections: raw
            .max_connections
            .map(|_| whole("workload.server.maxConnections", raw.max_connections, 1, 1..=10_000))
            .transpose()?,
    })
}

/// What a hook may be depends on the grace and on the kubelet.
struct HookRules<'a> {
    grace: u64,
    kubelet: KubeletVersion,
    tree: &'a Node,
}

impl HookRules<'_> {
    fn handler(&self, path: &str, raw: RawHandler) -> Result<Handler, Problem> {
        match raw {
            RawHandler::Sleep(sleep) => self.sleep(path, sleep.seconds),
            RawHandler::Exec(raw) => Ok(Handler::Exec { command: exec(&format!("{path}.exec"), raw)? }),
            RawHandler::HttpGet(raw) => Ok(Handler::HttpGet {
                path: http_path(&format!("{path}.httpGet.path"), raw.path, "/")?,
                port: port(&format!("{path}.httpGet.port"), raw.port)?,
            }),
            RawHandler::TcpSocket(raw) => {
                Ok(Handler::TcpSocket { port: port(&format!("{path}.tcpSocket.port"), raw.port)? })
            }
        }
    }

    /// The API server refuses a sleep above the grace period (`ValidateSleepAction`).
    fn sleep(&self, path: &str, stated: Option<i64>) -> Result<Handler, Problem> {
        let Self { grace, kubelet, .. } = *self;
        let path = format!("{path}.sleep.seconds");
        if kubelet.minor < SLEEP_SINCE {
            let problem =
                format!("{kubelet} has no sleep hook, which {path} asks for; allowed: 1.29 to 1.36");
            return Err(Problem::of("local.kubelet", problem));
        }
        let least = u64::from(kubelet.minor < SLEEP_ZERO_SINCE);
        let allowed = format!("{least} to {grace}");
        let stated = stated.ok_or_else(|| Problem::missing(&path, &allowed))?;
        let problem = match u64::try_from(stated) {
            Ok(seconds) if seconds > grace => {
                format!("{seconds} is above terminationGracePeriodSeconds ({grace}{})", self.grace_flag())
            }
            Ok(0) if least == 1 => format!("0 needs a kubelet of 1.33 or later (local.kubelet is {kubelet})"),
            Ok(seconds) => return Ok(Handler::Sleep { seconds }),
            Err(_) => format!("{stated} is below {least}"),
        };
        Err(Problem::value(&path, problem, allowed))
    }

    /// `, by --set …` when a flag and not the file states the grace.
    fn grace_flag(&self) -> String {
        match self.tree.at("workload.terminationGracePeriodSeconds").map(|node| &node.place) {
            Some(Place::Flag(flag)) => format!(", by {flag}"),
            _ => String::new(),
        }
    }
}

fn exec(path: &str, raw: RawExec) -> Result<Vec<String>, Problem> {
    let path = format!("{path}.command");
    if raw.command.first().is_none_or(String::is_empty) {
        return Err(Problem::missing(&path, "a program and its arguments, such as [sleep, \"5\"]"));
    }
    if raw.command.iter().any(|part| part.contains('\0')) {
        return Err(Problem::value(&path, "an argument holds a NUL", "text without NUL"));
    }
    Ok(raw.command)
}

fn port(path: &str, stated: Option<i64>) -> Result<Option<u16>, Problem> {
    stated.map(|_| whole(path, stated, 0_u16, 1..=65535)).transpose()
}

fn liveness(raw: RawProbe) -> Result<Probe, Problem> {
    const PATH: &str = "workload.livenessProbe";
    let probe = probe(PATH, raw)?;
    if probe.success_threshold != 1 {
        let path = format!("{PATH}.successThreshold");
        return Err(Problem::value(&path, "the API server allows nothing but 1 here", "1"));
    }
    Ok(probe)
}

fn probe(at: &str, raw: RawProbe) -> Result<Probe, Problem> {
    let kinds = "one of httpGet, tcpSocket, exec";
    let check = match (raw.http_get, raw.tcp_socket, raw.exec) {
        (Some(http), None, None) => ProbeCheck::HttpGet {
            path: http_path(&format!("{at}.httpGet.path"), http.path, "/")?,
            port: port(&format!("{at}.httpGet.port"), http.port)?,
        },
        (None, Some(tcp), None) => {
            ProbeCheck::TcpSocket { port: port(&format!("{at}.tcpSocket.port"), tcp.port)? }
        }
        (None, None, Some(raw)) => ProbeCheck::Exec { command: exec(&format!("{at}.exec"), raw)? },
        (None, None, None) => return Err(Problem::value(at, "says not what to probe", kinds)),
        _ => return Err(Problem::value(at, "httpGet, tcpSocket and exec exclude each other", kinds)),
    };
    // Kubernetes' own defaults: whoever states a probe gets the API server's.
    let number = |key: &str, stated: Option<i64>, default: u32, least: u32| {
        whole(&format!("{at}.{key}"), stated, default, least..=3600)
    };
    Ok(Probe {
        check,
        period_seconds: number("periodSeconds", raw.period_seconds, 10, 1)?,
        timeout_seconds: number("timeoutSeconds", raw.timeout_seconds, 1, 1)?,
        failure_threshold: number("failureThreshold", raw.failure_threshold, 3, 1)?,
        success_threshold: number("successThreshold", raw.success_threshold, 1, 1)?,
        initial_delay_seconds: number("initialDelaySeconds", raw.initial_delay_seconds, 0, 0)?,
    })
}

fn strategy(raw: &RawStrategy) -> Result<Strategy, Problem> {
    let max_surge = amount("workload.strategy.maxSurge", raw.max_surge.as_deref(), 1)?;
    let max_unavailable = amount("workload.strategy.maxUnavailable", raw.max_unavailable.as_deref(), 0)?;
    let zero = |amount| matches!(amount, Amount::Pods(0) | Amount::Percent(0));
    // A share that merely rounds to zero is fine: the Deployment controller then takes one pod away.
    if zero(max_surge) && zero(max_unavailable) {
        return Err(Problem::of(
            "workload.strategy",
            "maxSurge and maxUnavailable are both 0, so that no pod could ever be replaced; allowed: one of them above 0",
        ));
    }
    Ok(Strategy { max_surge, max_unavailable })
}

fn amount(path: &str, stated: Option<&str>, default: u32) -> Result<Amount, Problem> {
    let Some(text) = stated else { return Ok(Amount::Pods(default)) };
    let (number, most): (_, u32) = match text.strip_suffix('%') {
        Some(share) => (share.parse(), 100),
        None => (text.parse(), 50),
    };
    match number {
        Ok(percent) if most == 100 && percent <= most => Ok(Amount::Percent(percent)),
        Ok(pods) if most == 50 && pods <= most => Ok(Amount::Pods(pods)),
        _ => Err(Problem::value(
            path,
            format_args!("{} is no number of pods", one_line(text)),
            "0 to 50, or 0% to 100%",
        )),
    }
}
