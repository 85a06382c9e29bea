//! `faults`: the table of planted faults, as a program. Exit codes: 0 every row is exact, 1 could not run, 2 bad flag,
//! 3 records and log disagree.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use testkit::{Pace, Row, row, specs};

/// Plants every fault in every lane that can have it, and holds the engine's records against the log.
#[derive(Debug, Parser)]
#[command(name = "faults")]
struct Arguments {
    /// Requests of a row, good ones included.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    requests: u64,
    /// Only rows of this class or fault; may be given several times.
    #[arg(long, value_name = "CLASS")]
    only: Vec<String>,
    /// Only rows of this lane; may be given several times.
    #[arg(long, value_name = "LANE")]
    lane: Vec<String>,
    /// Requests a second, but for faults that take seconds; or max, for each when the one before was answered [default: as each
    /// lane is tested]
    #[arg(long, value_name = "R|max", value_parser = pace)]
    rate: Option<Pace>,
    /// Decides which requests are hit.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How the table is written.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

fn pace(text: &str) -> Result<Pace, String> {
    if text == "max" {
        return Ok(Pace::Closed);
    }
    let rate = text.parse().ok().filter(|rate| (1.0..=100_000.0).contains(rate));
    rate.map(Pace::Rate).ok_or_else(|| "allowed: 1 to 100000, or max".to_owned())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match work(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(3),
        Err(failure) => {
            tell(&format!("faults: failed to run a row of the table: {failure}"));
            ExitCode::from(1)
        }
    }
}

fn work(arguments: &Arguments) -> Result<bool, Box<dyn std::error::Error>> {
    let wanted: Vec<_> = specs()
        .filter(|(spec, lane)| {
            let class = spec.class_name();
            let of_class = |only: &String| spec.name == only || class.split('|').any(|class| class == only);
            (arguments.only.is_empty() || arguments.only.iter().any(of_class))
                && (arguments.lane.is_empty() || arguments.lane.iter().any(|only| lane.kind.as_str() == only))
        })
        .collect();
    if wanted.is_empty() {
        return Err("no row has that class and lane".into());
    }
    let pace = arguments.rate.unwrap_or(Pace::Lane);
    let mut rows: Vec<Row> = Vec::new();
    for (number, (spec, lane)) in wanted.iter().enumerate() {
        let row = row(spec, lane, arguments.requests, arguments.seed, pace)?;
        let (lane, exact) = (row.lane, if row.tally.is_exact() { "exact" } else { "NOT EXACT" });
        tell(&format!("{}/{} {} {lane}: {exact}", number + 1, wanted.len(), row.fault));
        // Not only at the end, which may be half an hour away.
        row.tally.examples.iter().for_each(|example| tell(&format!("  {example}")));
        rows.push(row);
    }
    let table = match arguments.format {
        Format::Text => testkit::text(&rows),
        Format::Json => testkit::json(&rows)? + "\n",
    };
    io::stdout().write_all(table.as_bytes())?;
    Ok(rows.iter().all(|row| row.tally.is_exact()))
}

/// To stderr; whoever closed it does not want to know.
fn tell(line: &str) {
    let _told = writeln!(io::stderr(), "{line}");
}
