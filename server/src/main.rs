//! `server`: the pod under test, and its hooks.

use std::{io, process::ExitCode};

use clap::{Parser, Subcommand};
use server::cli::{self, HookArgs, RunArgs};
use tracing_subscriber::EnvFilter;

/// An HTTP server whose preStop, SIGTERM and drain behaviour is configurable and reported.
#[derive(Parser)]
#[command(name = "server", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves until SIGTERM; lifecycle events go to standard output.
    Run(Box<RunArgs>),
    /// Runs as a lifecycle hook of the pod.
    Hook(HookArgs),
}

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
    match Arguments::parse().command {
        Command::Run(arguments) => cli::run(*arguments),
        Command::Hook(arguments) => cli::hook(&arguments),
    }
}
