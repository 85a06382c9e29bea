//! `stall serve`: a server for `scripts/stall`. `stall measure`: what the engine records of its standing still.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use testkit::{ServerProcess, Stall};

/// A server that can be stopped, and what the engine says of that.
#[derive(Debug, Parser)]
#[command(name = "stall")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answers until standard input ends; prints its address.
    Serve,
    /// Measures.
    Measure {
        /// Requests a second, of each lane.
        #[arg(long, default_value_t = 200.0)]
        rate: f64,
        /// How long the server stands still, in seconds.
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
        /// How long it is under load before, and after, in seconds.
        #[arg(long, default_value_t = 3.0)]
        around: f64,
    },
}

fn main() -> ExitCode {
    match work(&Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _told = writeln!(io::stderr(), "stall: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn work(command: &Command) -> Result<(), Box<dyn std::error::Error>> {
    match *command {
        Command::Serve => Ok(testkit::serve(|address| writeln!(io::stdout(), "{address}"))?),
        Command::Measure { rate, seconds, around } => measure(rate, seconds, around),
    }
}

fn measure(rate: f64, seconds: f64, around: f64) -> Result<(), Box<dyn std::error::Error>> {
    let (lasts, around) = (Duration::try_from_secs_f64(seconds)?, Duration::try_from_secs_f64(around)?);
    let stall = Stall { rate, lasts, late_over: Duration::from_millis(500), around };
    let server = ServerProcess::start(&std::env::current_exe()?)?;
    let stalled = stall.measure(&server)?;
    let (from, to) = (stalled.stopped.1, stalled.continued.0);
    for (kind, records) in &stalled.lanes {
        // The server takes a moment to answer what waits for it, and what comes due in that moment waits too.
        let meanwhile = records.iter().filter(|record| record.intended > from && record.intended < to);
        let answered = meanwhile.filter_map(|record| record.at(record.end)).max().unwrap_or(to);
        let (lasted, catching_up) = (to.saturating_since(from), answered.saturating_since(to));
        let due = |span: Duration| (rate * span.as_secs_f64()).round();
        let least = due(lasted.saturating_sub(stall.late_over));
        let most = due((lasted + catching_up).saturating_sub(stall.late_over));

        let mut latencies: Vec<u64> = records.iter().filter_map(trial::record::Record::latency_ns).collect();
        latencies.sort_unstable();
        let quantile = |per_mille: usize| -> Duration {
            let at = (latencies.len() * per_mille / 1000).min(latencies.len().saturating_sub(1));
            Duration::from_nanos(latencies.get(at).copied().unwrap_or(0))
        };
        let late = latencies.iter().filter(|nanos| Duration::from_nanos(**nanos) > stall.late_over).count();
        writeln!(
            io::stdout(),
            "{}: {} requests, {late} later than {:?} (by the schedule {least} to {most}: it stood still for {lasted:.2?}, and took \
             {catching_up:.0?} to catch up); p50 {:.1?} p90 {:.1?} p99 {:.1?} max {:.1?}",
            kind.as_str(),
            records.len(),
            stall.late_over,
            quantile(500),
            quantile(900),
            quantile(990),
            quantile(1000),
        )?;
    }
    Ok(())
}
