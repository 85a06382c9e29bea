//! Holds the local backend and a real cluster to the same statements about how pods end.
//!
//! Each statement is looked for in the recording of a `loadgen run`, so that what is compared is what the product itself
//! observes: lifecycle lines, watches, requests. Exit codes: 0 every statement holds, 1 could not run, 2 bad flag, 3 one
//! does not hold or was not shown.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;

use clap::{Parser, ValueEnum};

use crate::checks::CHECKS;
use crate::expect::{Expect, Seen};
use crate::experiments::{EXPERIMENTS, Experiment};
use crate::run::{Backend, Setting};

mod checks;
mod clients;
mod containers;
mod expect;
mod experiments;
mod facts;
mod pods;
mod rerun;
mod run;
mod table;

/// Runs the checks of the design's page on terminations.
#[derive(Debug, Parser)]
#[command(name = "parity")]
struct Arguments {
    /// Where; given twice, on both.
    #[arg(long, value_enum)]
    on: Vec<Backend>,
    /// These checks alone.
    #[arg(long, value_delimiter = ',', value_name = "N,…")]
    only: Vec<u16>,
    /// How the table is written.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Runs at once; by default 6 on local and 5 on a cluster, whose nodes may share this machine.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=32))]
    jobs: Option<u8>,
    /// Where recordings go.
    #[arg(long, default_value = "reports/runs/parity")]
    out: PathBuf,
    /// Looks at the recordings of an earlier suite again, and runs nothing.
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// The product; by default the one beside this program.
    #[arg(long)]
    loadgen: Option<PathBuf>,
    /// The cluster's.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Asks the API server for check 23; may be a program and its first arguments.
    #[arg(long, default_value = "kubectl")]
    kubectl: String,
    /// The server's image with STOPSIGNAL SIGQUIT.
    #[arg(long, default_value = "drainproof/server-sigquit:dev")]
    sigquit_image: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

fn main() -> ExitCode {
    match work(Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(3),
        Err(Trouble::Usage(message)) => {
            say(&format!("parity: {message}"));
            ExitCode::from(2)
        }
        Err(Trouble::Other(message)) => {
            say(&format!("parity: {message}"));
            ExitCode::from(1)
        }
    }
}

fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Why there is no table.
enum Trouble {
    /// A flag is wrong.
    Usage(String),
    /// Anything else.
    Other(String),
}

impl From<String> for Trouble {
    fn from(message: String) -> Self {
        Self::Other(message)
    }
}

fn work(arguments: Arguments) -> Result<bool, Trouble> {
    let beside = || std::env::current_exe().map(|own| own.with_file_name("loadgen"));
    let loadgen = arguments.loadgen.map_or_else(beside, Ok).map_err(|error| error.to_string())?;
    if !loadgen.is_file() {
        return Err(
            format!("{} does not exist: build it, or name it with --loadgen", loadgen.display()).into()
        );
    }
    let mut asked = if arguments.on.is_empty() { vec![Backend::Local] } else { arguments.on };
    asked.sort_unstable();
    asked.dedup();
    let wanted = |number: u16| arguments.only.is_empty() || arguments.only.contains(&number);
    if let Some(unknown) =
        arguments.only.iter().find(|only| !CHECKS.iter().any(|check| check.number == **only))
    {
        return Err(Trouble::Usage(format!("--only: there is no check {unknown} here")));
    }
    if let Some(missing) = arguments.from.as_ref().filter(|from| !from.is_dir()) {
        return Err(Trouble::Usage(format!("--from: {} is no directory", missing.display())));
    }
    let again = arguments.from.is_some();
    let started = jiff::Zoned::now().strftime("%Y%m%dt%H%M%S").to_string();
    let new = || arguments.out.join(format!("{started}-{}", std::process::id()));
    let out = arguments.from.unwrap_or_else(new);
    let setting = Setting {
        loadgen,
        out,
        jobs: arguments.jobs.map(usize::from),
        again,
        kubeconfig: arguments.kubeconfig,
        kubectl: arguments.kubectl,
        sigquit_image: arguments.sigquit_image,
    };
    setting.prepare().map_err(|error| format!("{}: {error}", setting.out.display()))?;
    let mut found = BTreeMap::new();
    for backend in &asked {
        let began = jiff::Timestamp::now();
        let of_backend = one_backend(&setting, *backend, wanted);
        let took = jiff::Timestamp::now().duration_since(began).as_secs();
        say(&format!("parity: {} took {took} s", backend.as_str()));
        found.extend(of_backend);
    }
    let mut rows = table::rows(&found, &asked, wanted);
    let mut second = 0;
    let again = rerun::needed(&setting, &rows);
    if !again.is_empty() {
        let (count, began) = (again.len(), jiff::Timestamp::now());
        say(&format!(
            "parity: {count} experiments were off by less than {} s: each twice again by itself",
            rerun::LITTLE
        ));
        second = rerun::run(&setting, &again, &mut found);
        say(&format!("parity: that took {} s", jiff::Timestamp::now().duration_since(began).as_secs()));
        rows = table::rows(&found, &asked, wanted);
    }
    tell(&setting, &asked, &rows, (second, arguments.format))
}

/// Prints the table, and in a line what it comes to: whether every statement holds.
fn tell(
    setting: &Setting,
    asked: &[Backend],
    rows: &[table::Row],
    (second, format): (usize, Format),
) -> Result<bool, Trouble> {
    let text = match format {
        Format::Text => table::text(rows),
        Format::Json => serde_json::to_string_pretty(rows).map_err(|error| error.to_string())? + "\n",
    };
    io::stdout().write_all(text.as_bytes()).map_err(|error| error.to_string())?;
    let looked_at = rows.iter().filter(|row| row.was_looked_at()).count();
    let held = rows.iter().filter(|row| row.holds()).count();
    let by_second = if second == 0 { String::new() } else { format!(" ({second} times by a second run)") };
    for backend in asked {
        let (unsure, runs) = run::inconclusive(setting, *backend);
        if unsure > 0 {
            say(&format!(
                "parity: on {} {unsure} of {runs} runs were inconclusive by their own verdict, as where agents lag: requests of \
                 these may be missed, not invented",
                backend.as_str()
            ));
        }
    }
    say(&format!(
        "parity: {held} of {looked_at} statements hold{by_second}; recordings in {}",
        setting.out.display()
    ));
    if looked_at == 0 {
        return Err("none of these checks can be looked at there".to_owned().into());
    }
    Ok(held == looked_at)
}

/// Runs the experiments that the wanted checks need, and looks at each.
fn one_backend(setting: &Setting, backend: Backend, wanted: impl Fn(u16) -> bool) -> table::Found {
    let applies = |on| table::applies(on, backend);
    let checks: Vec<_> =
        CHECKS.iter().enumerate().filter(|(_, check)| wanted(check.number) && applies(check.on)).collect();
    let needed: Vec<Experiment> = EXPERIMENTS
        .iter()
        .filter(|run| checks.iter().any(|(_, check)| check.experiment == run.name))
        .copied()
        .collect();
    let found = Mutex::new(table::Found::new());
    let keep = |place, index, seen| {
        if let Ok(mut found) = found.lock() {
            found.insert((backend, place, index), seen);
        }
    };
    run::all(setting, backend, needed, |experiment, outcome| {
        for (place, check) in checks.iter().filter(|(_, check)| check.experiment == experiment.name) {
            for (index, expect) in check.expect.iter().enumerate() {
                keep(*place, index, expect.seen_in(&outcome, backend));
            }
        }
    });
    for (place, check) in &checks {
        for (index, _) in
            check.expect.iter().enumerate().filter(|(_, expect)| matches!(expect, Expect::Refused))
        {
            if setting.again {
                keep(*place, index, Seen::nothing("not asked again"));
                continue;
            }
            let seen = match run::sleep_above_grace(setting, backend) {
                Ok((refused, shown)) => Seen::that(refused, shown),
                Err(message) => Seen::nothing(message),
            };
            keep(*place, index, seen);
        }
    }
    found.into_inner().unwrap_or_default()
}
