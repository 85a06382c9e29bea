//! Lifecycle hooks, as kubelet runs them (`pkg/kubelet/lifecycle/handlers.go`).

use std::process::Command;
use std::time::Duration;

use contract::env::LIFECYCLE_OUT;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use trial::event::HookOutcome;
use trial::settings::Handler;

use crate::pod::Spec;
use crate::process::{self, Isolation, Status};

/// Where and in what a hook runs.
#[derive(Debug, Clone)]
pub struct Context {
    /// The pod.
    pub spec: Spec,
    /// Its main process.
    pub pid: u32,
}

/// Runs a hook to its end. Dropping the future does not end a hook that runs in the container.
pub async fn run(context: Context, handler: Handler) -> HookOutcome {
    match handler {
        Handler::Sleep { seconds } => {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            HookOutcome::Completed
        }
        // Nothing is even tried (`handlerRunner.Run`).
        Handler::TcpSocket { .. } => HookOutcome::Failed {
            message: "invalid handler: a tcpSocket hook is never carried out".to_owned(),
        },
        Handler::HttpGet { path, port } => http_get(&context, &path, port).await,
        Handler::Exec { command } => match exec(&context, &command).await {
            Ok(Ended { code: Some(0), .. }) => HookOutcome::Completed,
            Ok(ended) => HookOutcome::Failed { message: ended.describe() },
            Err(message) => HookOutcome::Failed { message },
        },
    }
}

async fn http_get(context: &Context, path: &str, port: Option<u16>) -> HookOutcome {
    let address = context.spec.address;
    let url = format!("http://{}:{}{path}", address.ip(), port.unwrap_or_else(|| address.port()));
    // Any answer is success and nothing but the grace bounds it: kubelet sets no timeout here.
    let sent = async {
        let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build()?;
        client.get(url).send().await
    };
    match sent.await {
        Ok(_) => HookOutcome::Completed,
        Err(error) => HookOutcome::Failed { message: format!("{error}") },
    }
}

/// How a command in the container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Exit code.
    pub code: Option<i32>,
    /// Signal.
    pub signal: Option<i32>,
}

impl Ended {
    fn describe(self) -> String {
        match (self.code, self.signal) {
            (Some(code), _) => format!("exited with {code}"),
            (None, Some(signal)) => format!("killed by signal {signal}"),
            (None, None) => "ended in an unknown way".to_owned(),
        }
    }
}

/// Runs a command in the container, as `ExecSync` does: it has ended when the command has and nobody holds its
/// output open any more.
///
/// # Errors
/// It could not be started, said in words.
pub async fn exec(context: &Context, command: &[String]) -> Result<Ended, String> {
    let spec = &context.spec;
    let mut enter = Command::new(&spec.executable);
    enter
        .args(["__enter", spec.isolation.as_str(), &context.pid.to_string(), "--"])
        .args(spec.program(command));
    spec.environment(&mut enter);
    if spec.isolation == Isolation::None {
        // Without a namespace, /proc/1 is the machine's: the container's log is found by the pod's own number.
        enter.env(LIFECYCLE_OUT, format!("/proc/{}/fd/1", context.pid));
    }
    let mut shimmed = process::spawn_shimmed(&spec.spawner, enter)
        .await
        .map_err(|error| format!("failed to start: {error}"))?;
    let drain = async {
        let (mut out, mut err) = (tokio::io::sink(), tokio::io::sink());
        let _ended = tokio::join!(
            tokio::io::copy(&mut shimmed.stdout, &mut out),
            tokio::io::copy(&mut shimmed.stderr, &mut err)
        );
    };
    let status = async {
        let mut result = Err("ended without a word".to_owned());
        // Three short lines at most; the limit only bounds a program that is not ours.
        let mut lines = BufReader::new((&mut shimmed.status).take(64 * 1024)).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            match serde_json::from_str(&line) {
                Ok(Status::Failed { message }) => result = Err(message),
                Ok(Status::Exited { code, signal, .. }) => result = Ok(Ended { code, signal }),
                Ok(Status::Started { .. }) | Err(_) => {}
            }
        }
        result
    };
    let ((), result) = tokio::join!(drain, status);
    let _reaped = tokio::task::spawn_blocking(move || shimmed.shim.wait()).await;
    result
}
