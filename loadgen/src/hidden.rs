//! The programs that a run re-executes this binary as. They are no interface: their names begin with `__`, and
//! they are looked for before the command line is parsed, while this process still has a single thread.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cluster_local::process::{Isolation, guard, shim};

/// The server, as a pod's main process or hook.
#[derive(Debug, Parser)]
#[command(name = "server", disable_help_subcommand = true)]
struct ServerCli {
    #[command(subcommand)]
    command: ServerCommand,
}

#[derive(Debug, Subcommand)]
enum ServerCommand {
    /// Serves.
    Run(Box<server::cli::RunArgs>),
    /// Runs a hook.
    Hook(server::cli::HookArgs),
}

/// Runs a hidden program, if the arguments name one.
#[must_use]
pub fn dispatch(arguments: &[String]) -> Option<ExitCode> {
    let (name, rest) = arguments.get(1..)?.split_first()?;
    match name.as_str() {
        "__shim" => Some(with_isolation(rest, shim::shim)),
        "__init" => Some(with_isolation(rest, shim::init)),
        "__enter" => Some(enter(rest)),
        "__guard" => rest.first().map(|run| guard::guard(run)),
        "__noop" => Some(ExitCode::SUCCESS),
        "__server" => Some(serve(rest)),
        _ => None,
    }
}

fn with_isolation(rest: &[String], program: fn(Isolation, &[String]) -> ExitCode) -> ExitCode {
    match rest {
        [isolation, dashes, command @ ..] if dashes == "--" => match Isolation::parse(isolation) {
            Some(isolation) => program(isolation, command),
            None => ExitCode::from(2),
        },
        _ => ExitCode::from(2),
    }
}

fn enter(rest: &[String]) -> ExitCode {
    match rest {
        [isolation, pid, dashes, command @ ..] if dashes == "--" => {
            match (Isolation::parse(isolation), pid.parse()) {
                (Some(isolation), Ok(pid)) => shim::enter(isolation, pid, command),
                _ => ExitCode::from(2),
            }
        }
        _ => ExitCode::from(2),
    }
}

fn serve(rest: &[String]) -> ExitCode {
    let arguments = std::iter::once("server").chain(rest.iter().map(String::as_str));
    match ServerCli::try_parse_from(arguments) {
        Ok(ServerCli { command: ServerCommand::Run(arguments) }) => server::cli::run(*arguments),
        Ok(ServerCli { command: ServerCommand::Hook(arguments) }) => server::cli::hook(&arguments),
        Err(error) => {
            let _unread = error.print();
            ExitCode::from(2)
        }
    }
}
