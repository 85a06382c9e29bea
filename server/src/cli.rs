//! Flags and entry points, for our own binary and for any that re-executes itself as the server.
//!
//! Exit codes: 0 done, 1 could not start, 2 bad flag.

use std::{
    io::{self, Write},
    net::SocketAddr,
    process::ExitCode,
    time::Duration,
};

use clap::{
    ArgAction, Args, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};
use contract::{env, lifecycle::Hook, signal::StopSignal};

use crate::{
    config::{Config, ConfigError},
    hook as hooks,
    lifecycle::OnSigterm,
    shell, wrap,
};

/// The flag that [`crate::wrap`] leaves out; it is to be one argument with its value.
pub(crate) const WRAPPED: &str = "--wrapped";

fn stop_signal_names() -> impl TypedValueParser<Value = StopSignal> {
    PossibleValuesParser::new(StopSignal::ALL.map(StopSignal::as_str))
        .try_map(|name| name.parse::<StopSignal>())
}

/// Flags of `server run`, as they were given. [`Config`] is what they mean.
#[derive(Debug, Clone, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "settings of their own, each named by its flag; none is a mode"
)]
pub struct RunArgs {
    /// Where to listen; port 0 takes a free one, told in the `main-started` line.
    #[arg(long, env = "SERVER_LISTEN", value_name = "ADDR:PORT", default_value = "0.0.0.0:8080")]
    pub(crate) listen: SocketAddr,
    /// The pod's name, told in every answer and every lifecycle line.
    #[arg(long, env = env::POD_NAME, default_value = "server")]
    pub(crate) pod_name: String,
    /// What SIGTERM does.
    #[arg(long, env = "SERVER_ON_SIGTERM", value_enum, default_value = "drain")]
    pub(crate) on_sigterm: OnSigterm,
    /// How long a shutdown takes even when idle, counted from SIGTERM.
    #[arg(long, env = "SERVER_SHUTDOWN_TAKES", value_parser = duration, default_value = "0s")]
    pub(crate) shutdown_takes: Duration,
    /// How long draining may take, counted from the closing of the listener; what is left then is cut.
    #[arg(long, env = "SERVER_DRAIN_TIMEOUT", value_parser = duration, default_value = "20s")]
    pub(crate) drain_timeout: Duration,
    /// How long to go on accepting new connections after SIGTERM.
    #[arg(long, env = "SERVER_LAME_DUCK", value_parser = duration, default_value = "0s")]
    pub(crate) lame_duck: Duration,
    /// After SIGTERM announce the close in answers and let clients end idle connections, and serve what waits in
    /// the accept queue; false: close idle connections and the queue at once.
    #[arg(long, env = "SERVER_CLOSE_CONNECTIONS", action = ArgAction::Set, default_value_t = true)]
    pub(crate) close_connections: bool,
    /// Answer readiness probes with 503 after SIGTERM.
    #[arg(long, env = "SERVER_FAIL_READINESS", action = ArgAction::Set, default_value_t = false,
          num_args = 0..=1, default_missing_value = "true")]
    pub(crate) fail_readiness: bool,
    /// How long every answer takes, beyond what its request asks for.
    #[arg(long, env = "SERVER_SERVICE_TIME", value_parser = duration, default_value = "0ms")]
    pub(crate) service_time: Duration,
    /// A URL (http) to GET once a second after SIGTERM, or `apiserver`: the pod's service account at the API server.
    /// Results are lifecycle events.
    #[arg(long, env = "SERVER_POLL_WHILE_DRAINING", value_name = "URL|apiserver")]
    pub(crate) poll_while_draining: Option<String>,
    /// Longest request head, in bytes.
    #[arg(long, env = "SERVER_MAX_HEADER_BYTES", value_name = "N", default_value_t = 16 * 1024)]
    pub(crate) max_header_bytes: usize,
    /// Longest request body, in bytes; a longer one is answered with 413.
    #[arg(long, env = "SERVER_MAX_BODY_BYTES", value_name = "N", default_value_t = 1024 * 1024)]
    pub(crate) max_body_bytes: usize,
    /// Most open connections; at the limit none is accepted until one ends.
    #[arg(long, env = "SERVER_MAX_CONNECTIONS", value_name = "N", default_value_t = 10_000)]
    pub(crate) max_connections: u64,
    /// How long a request's head, and then its body, may take to arrive once its first byte is there.
    #[arg(long, env = "SERVER_HEADER_READ_TIMEOUT", value_parser = duration, default_value = "10s")]
    pub(crate) header_read_timeout: Duration,
    /// The signal that begins the shutdown: what the image's STOPSIGNAL or the pod's `lifecycle.stopSignal` names.
    #[arg(long, env = "SERVER_STOP_SIGNAL", value_parser = stop_signal_names(), default_value = "SIGTERM")]
    pub(crate) stop_signal: StopSignal,
    /// Crash (exit with 1) this long after it began to listen, whatever is under way.
    #[arg(long, env = "SERVER_EXIT_AFTER", value_parser = duration)]
    pub(crate) exit_after: Option<Duration>,
    /// What an orderly end exits with. A JVM's is 143: it ends by the signal's own number.
    #[arg(long, env = "SERVER_EXIT_CODE", value_name = "N", default_value_t = 0)]
    pub(crate) exit_code: u8,
    /// Say so often that the process still runs: the last line tells when SIGKILL came. 10ms or more.
    #[arg(long, env = "SERVER_REPORT_EVERY", value_parser = duration)]
    pub(crate) report_every: Option<Duration>,
    /// Say when a probe asks.
    #[arg(long, env = "SERVER_REPORT_PROBES", action = ArgAction::Set, default_value_t = false,
          num_args = 0..=1, default_missing_value = "true")]
    pub(crate) report_probes: bool,
    /// Run beneath a process that waits and passes no signal on, as `sh -c` does with a command that it does not exec.
    #[arg(long, env = "SERVER_WRAPPED", action = ArgAction::Set, default_value_t = false,
          num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(crate) wrapped: bool,
}

/// Flags of `server hook`.
#[derive(Debug, Clone, Args)]
pub struct HookArgs {
    #[command(subcommand)]
    hook: HookCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum HookCommand {
    /// Runs as `lifecycle.preStop`.
    PreStop(HookFlags),
    /// Runs as `lifecycle.postStart`.
    PostStart(HookFlags),
}

#[derive(Debug, Clone, Args)]
struct HookFlags {
    /// How long the hook runs.
    #[arg(long, value_parser = duration, default_value = "0s")]
    sleep: Duration,
    /// What it exits with.
    #[arg(long, value_name = "N", default_value_t = 0)]
    exit_code: u8,
    /// Say so often that the hook still runs. 10ms or more.
    #[arg(long, value_parser = duration)]
    report_every: Option<Duration>,
    /// Leave a child behind that holds the hook's output open for this long.
    #[arg(long, value_parser = duration)]
    leave_child: Option<Duration>,
    /// Exit with 1 until this time (RFC 3339), and as told from then on.
    #[arg(long, value_name = "TIME")]
    fail_until: Option<jiff::Timestamp>,
    /// The pod's name, told in the hook's lifecycle lines.
    #[arg(long, env = env::POD_NAME, default_value = "server")]
    pod_name: String,
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("bad settings: {0}")]
    Config(#[from] ConfigError),
    #[error("failed to {0}")]
    Start(#[from] shell::StartError),
    #[error("failed to start the runtime: {0}")]
    Runtime(#[source] io::Error),
    #[error("failed to run beneath a wrapper: {0}")]
    Wrap(#[source] io::Error),
}

/// Serves until the process is to exit; returns what it is to exit with. Blocks, on a runtime of its own.
#[must_use]
pub fn run(arguments: RunArgs) -> ExitCode {
    match try_run(arguments) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            complain(&error);
            if matches!(error, RunError::Config(_)) { ExitCode::from(2) } else { ExitCode::from(1) }
        }
    }
}

/// Runs a hook to its end; returns what the process is to exit with. Blocks.
#[must_use]
pub fn hook(arguments: &HookArgs) -> ExitCode {
    let (hook, flags) = match &arguments.hook {
        HookCommand::PreStop(flags) => (Hook::PreStop, flags),
        HookCommand::PostStart(flags) => (Hook::PostStart, flags),
    };
    let too_early = flags.fail_until.is_some_and(|until| jiff::Timestamp::now() < until);
    let work = hooks::Work {
        sleep: flags.sleep,
        code: if too_early { 1 } else { flags.exit_code },
        report_every: flags.report_every.map(|every| every.max(Duration::from_millis(10))),
        leave_child: flags.leave_child,
    };
    match hooks::run(&flags.pod_name, hook, work) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            complain(&format_args!("failed to write lifecycle lines: {error}"));
            ExitCode::from(1)
        }
    }
}

/// What to exit with.
fn try_run(arguments: RunArgs) -> Result<u8, RunError> {
    let (wrapped, exit_code) = (arguments.wrapped, arguments.exit_code);
    let config = Config::try_from(arguments)?;
    if wrapped {
        return wrap::run().map_err(RunError::Wrap);
    }
    // One thread: a pod is one core at most, dozens of them share a laptop, and one thread gives one order of events.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(RunError::Runtime)?;
    let outcome = runtime.block_on(shell::run(config));
    // Nothing is waited for after `finished`; a name lookup may still block a thread.
    runtime.shutdown_background();
    outcome?;
    Ok(exit_code)
}

/// One line on stderr, whatever becomes of it.
fn complain(message: &dyn std::fmt::Display) {
    let _ = writeln!(io::stderr(), "server: {message}");
}

/// Reads `5s`, `250ms`, `1m30s` or `0`.
fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let signed: jiff::SignedDuration =
        text.parse().map_err(|error| format!("{error}; durations look like 5s, 250ms or 1m30s"))?;
    Duration::try_from(signed).map_err(|_| "a duration cannot be negative".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_write_them() {
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert!(duration("-1s").is_err());
        assert!(duration("5").unwrap_err().contains("look like"));
    }
}
