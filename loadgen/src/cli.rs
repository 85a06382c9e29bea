//! Flags, and what each subcommand does.
//!
//! * [`run`]: `loadgen run`
//! * [`load`]: `loadgen load`
//! * [`on_cluster`]: everything that talks to a cluster
//! * [`report`]: `loadgen report`
//! * [`compare`]: `loadgen compare`
//! * [`scenarios`]: `loadgen scenarios`
//! * [`cleanup`]: `loadgen cleanup`
//! * `ci`: what a CI is told without being asked

use std::fmt::Display;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use trial::plan::{Arm, Plan};
use trial::report::Report;
use trial::settings::human;

use crate::exit_code::ExitCode;

mod ci;
pub mod cleanup;
pub mod compare;
pub mod load;
#[cfg(feature = "kube")]
pub mod on_cluster;
pub mod report;
pub mod run;
pub mod scenarios;

/// A file of certificates is no larger.
const CERTIFICATES_MAX: u64 = 1 << 20;

/// The certificates in the file that `--cacert` names.
fn authorities(path: Option<&Path>) -> Result<Option<String>, ExitCode> {
    let Some(path) = path else { return Ok(None) };
    let refuse = |problem: &dyn Display| Err(misuse(&format!("--cacert {}: {problem}", path.display())));
    let mut pem = String::new();
    let read = File::open(path).and_then(|file| file.take(CERTIFICATES_MAX + 1).read_to_string(&mut pem));
    match read {
        Err(error) => refuse(&error),
        Ok(length) if length as u64 > CERTIFICATES_MAX => refuse(&"more than 1 MiB"),
        Ok(_) => match engine::authorities(&pem) {
            Err(error) => refuse(&error),
            Ok(_) => Ok(Some(pem)),
        },
    }
}

/// Proves whether a Kubernetes rollout drops requests, and which grace settings avoid it.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Deploy, load, disrupt, and judge
    Run(Box<run::Args>),
    /// Send load to a URL and report what became of every request
    Load(Box<load::Args>),
    /// List the built-in scenarios, or print one as YAML
    Scenarios(scenarios::Args),
    /// Say what got worse from one report.json to another, beyond noise
    Compare(compare::Args),
    /// Make the report of a recording again, offline
    Report(report::Args),
    /// Undo whatever an interrupted run left
    Cleanup(cleanup::Args),
    /// Ask a cluster whether a run could take place there; touches nothing
    #[cfg(feature = "kube")]
    Check(on_cluster::CheckArgs),
    /// Send load from inside a cluster, as a controller says
    #[cfg(feature = "kube")]
    #[command(hide = true)]
    Agent,
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// Formats of a report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Text,
    /// The whole document
    Json,
    /// For a pull request or a job's summary
    Markdown,
    /// One file for a browser
    Html,
    /// XML for a CI: a suite an arm, a case a lane
    Junit,
    /// Workflow commands of GitHub Actions: annotations
    Github,
}

/// Parses the command line and does what it says.
#[must_use]
pub fn main(arguments: &[String]) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error)
            if error.use_stderr() && error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand =>
        {
            return misuse(&one_line(&error));
        }
        Err(error) => {
            let _unread = error.print();
            return if error.use_stderr() { ExitCode::Usage } else { ExitCode::Success };
        }
    };
    log();
    match cli.command {
        Command::Run(arguments_of_run) => run::main(&arguments_of_run, arguments),
        Command::Load(arguments_of_load) => load::main(&arguments_of_load, arguments),
        Command::Scenarios(arguments) => scenarios::main(&arguments),
        Command::Report(arguments) => report::main(&arguments),
        Command::Compare(arguments) => compare::main(&arguments),
        Command::Cleanup(arguments) => cleanup::main(&arguments),
        #[cfg(feature = "kube")]
        Command::Check(arguments) => on_cluster::check(&arguments),
        #[cfg(feature = "kube")]
        Command::Agent => crate::agent::main(),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "loadgen", &mut text);
            print(&String::from_utf8_lossy(&text))
        }
    }
}

/// Runs a few calls to their end.
#[cfg(feature = "kube")]
fn block_on<F: Future>(future: F) -> io::Result<F::Output> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future))
}

/// Diagnostics go to stderr; `RUST_LOG` says how many.
fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        // What the client of the API complains of is our own line to say, once.
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn,kube_client=off,kube_runtime=off"));
    let _already = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).try_init();
}

/// Prints a result. A reader who has gone away is no failure.
fn print(text: &str) -> ExitCode {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            fail(&format!("failed to write the result: {error}"))
        }
        _ => ExitCode::Success,
    }
}

/// One line on stderr, in the form that whoever called reads.
#[expect(clippy::print_stderr, reason = "the one place where a failure is told to the user")]
fn complain(message: &dyn Display) {
    match ci::Surroundings::from_env().complaint(message) {
        Some(line) => eprintln!("{line}"),
        None => eprintln!("loadgen: {message}"),
    }
}

fn fail(message: &dyn Display) -> ExitCode {
    complain(message);
    ExitCode::CouldNotRun
}

/// What no engine could send is told before anything is touched.
fn sendable(plan: &Plan) -> Result<(), ExitCode> {
    let check = |arm: &Arm| {
        engine::check(&arm.load).map_err(|error| misuse(&format!("the load of arm {}: {error}", arm.name)))
    };
    plan.arms.iter().try_for_each(check)
}

fn misuse(message: &dyn Display) -> ExitCode {
    complain(message);
    ExitCode::Usage
}

/// The code that a report says.
fn code_of(report: &Report) -> ExitCode {
    match report.exit_code {
        130 => ExitCode::Interrupted,
        143 => ExitCode::Terminated,
        _ => report.verdict.into(),
    }
}

fn render(report: &Report, format: Format) -> String {
    match format {
        Format::Json => reports::json(report),
        Format::Markdown => reports::markdown(report),
        Format::Html => reports::html(report),
        Format::Junit => reports::junit(report),
        Format::Github => reports::annotations(report),
        Format::Text => {
            let terminal = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            let color = if terminal { reports::Color::Always } else { reports::Color::Never };
            reports::text(report, &reports::TextOptions { color, ..reports::TextOptions::default() })
        }
    }
}

/// A duration that is not zero.
fn some_time(text: &str) -> Result<Duration, String> {
    human::parse(text)
        .and_then(|time| if time.is_zero() { Err("must be more than zero".to_owned()) } else { Ok(time) })
}

/// What clap says over several lines, in one.
fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let said = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage"))
        .filter(|line| !line.is_empty());
    let said = said.collect::<Vec<_>>().join(" ");
    format!("{} (--help lists what there is)", said.strip_prefix("error: ").unwrap_or(&said))
}
