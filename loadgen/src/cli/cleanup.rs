//! `loadgen cleanup`: ends the processes of runs that were interrupted so hard that nobody else could.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::Duration;

use cluster_local::process::{guard, sweep};

use crate::exit_code::ExitCode;

/// How often, and how long apart, one looks whether they have ended.
const ROUNDS: u32 = 60;
const PAUSE: Duration = Duration::from_millis(50);

/// Flags of `loadgen cleanup`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    #[cfg(feature = "kube")]
    #[command(flatten)]
    cluster: super::on_cluster::ClusterArgs,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// The run with this id, also if it is still going on
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// Every run that is over
    #[arg(long)]
    all: bool,
}

pub(super) fn main(arguments: &Args) -> ExitCode {
    let mut runs = sweep::marked();
    let mut said = Vec::new();
    match &arguments.which.run {
        Some(run) => runs.retain(|marked, _| marked == run),
        None => runs.retain(|run, _| {
            let live = is_guarded(run);
            if live {
                said.push(format!("run {run} is still going on; --run {run} would end it\n"));
            }
            !live
        }),
    }
    let incomplete = end(&runs, &mut said);
    #[cfg(feature = "kube")]
    let incomplete = on_cluster(arguments, &mut said) || incomplete;
    let which = match &arguments.which.run {
        Some(run) => format!("no run {run} was found"),
        None => "nothing is left of any run".to_owned(),
    };
    if said.is_empty() && !incomplete {
        said.push(format!("{which}\n"));
    } else if runs.is_empty() && !incomplete {
        said.insert(0, format!("{which} on this machine\n"));
    }
    match super::print(&said.concat()) {
        ExitCode::Success if incomplete => ExitCode::CleanupIncomplete,
        code => code,
    }
}

/// Undoes what is left on a cluster; true if not all could be.
#[cfg(feature = "kube")]
fn on_cluster(arguments: &Args, said: &mut Vec<String>) -> bool {
    match super::on_cluster::cleanup(&arguments.cluster, arguments.which.run.as_deref()) {
        Ok(cleaned) => {
            said.extend(cleaned.lines.into_iter().map(|line| line + "\n"));
            for left in &cleaned.left {
                super::complain(left);
            }
            !cleaned.left.is_empty()
        }
        Err(error) => {
            super::complain(&error);
            true
        }
    }
}

fn end(runs: &BTreeMap<String, Vec<u32>>, said: &mut Vec<String>) -> bool {
    let mut incomplete = false;
    for (run, processes) in runs {
        let gone = (0..ROUNDS).any(|_| {
            let gone = guard::end(run, &[]) == 0;
            if !gone {
                thread::sleep(PAUSE);
            }
            gone
        });
        let outcome = if gone { "ended" } else { "could not all be ended (are they yours?)" };
        said.push(format!("run {run}: {} processes {outcome}\n", processes.len()));
        incomplete |= !gone;
    }
    incomplete
}

/// A run's guard lives exactly as long as the run, and a little longer to end what is left.
fn is_guarded(run: &str) -> bool {
    let Ok(entries) = fs::read_dir("/proc") else { return false };
    entries.flatten().any(|entry| {
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let mut words = command.split(|byte| *byte == 0).skip(1);
        words.next() == Some(b"__guard") && words.next() == Some(run.as_bytes())
    })
}
