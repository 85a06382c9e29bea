//! `loadgen load`: the engine alone, on a URL.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use clock::{Anchor, Clock};
use engine::{Direct, Engine, EngineConfig};
use trial::arrival::TOGETHER_FROM;
use trial::plan::{EXACT_NOTE, Plan};
use trial::recording::{FORMAT_MAJOR, FORMAT_MINOR, Header};
use trial::report::Report;
use trial::scenario::alone::Alone;
use trial::scenario::redact;
use trial::settings::{Arrivals, LaneKind, Ramp, Target};
use trial::time::Stamp;

mod keep;
mod live;

use super::Format;
use crate::exit_code::ExitCode;
use crate::limits::{self, AwakeCores};
use crate::progress::Display;
use crate::recorder;
use crate::target::{authority, look_up};
use live::{Driven, Limit, Started};

/// From the last preparation to the first slot.
const LEAD: Duration = Duration::from_millis(20);
/// How long the load lasts, unless something else is said.
const DURATION: Duration = Duration::from_secs(10);
/// Longer bodies are not read.
const BODY_MAX: u64 = 64 << 20;

/// Flags of `loadgen load`.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to: http://HOST:PORT/PATH, or https://
    #[arg(value_name = "URL")]
    url: String,
    /// Requests a second over all connections (fractions and k are allowed), sent when due whatever becomes of those
    /// before; or max: each connection sends its next request when the last was answered
    #[arg(short = 'r', long, short_aliases = ['q', 'R'], value_name = "R|max", value_parser = rate, default_value = "max")]
    rate: Rate,
    /// Kept connections; with --rate max, requests under way at once
    #[arg(short = 'c', long, value_name = "N", default_value_t = 50)]
    connections: u32,
    /// Requests under way at once, at most: what is due beyond that is not sent, and reported as unsent
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    in_flight: Option<u32>,
    /// How long; 10s unless -n is given
    #[arg(short = 'd', long, short_alias = 'z', value_name = "D", value_parser = super::some_time)]
    duration: Option<Duration>,
    /// End after so many requests
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    requests: Option<u64>,
    /// Kinds of connections to try, each with a weight: reused, or new:1,reused:3
    #[arg(long, value_name = "LANE[:WEIGHT],…", value_delimiter = ',', value_parser = lane, default_value = "reused")]
    lanes: Vec<(LaneKind, f64)>,
    /// How requests are spaced
    #[arg(long, value_enum, default_value = "constant")]
    arrivals: Spacing,
    /// Let the rate rise linearly for so long before it stays
    #[arg(long, value_name = "D", value_parser = super::some_time)]
    ramp: Option<Duration>,
    /// Where a ramp begins
    #[arg(long, value_name = "R", value_parser = number, requires = "ramp", default_value = "0")]
    ramp_from: f64,
    /// Poll instead of sleeping when a slot is due soon or an answer is awaited, so that nothing waits for this client to wake: takes
    /// up to a whole core. Goes with a --rate
    #[arg(long)]
    exact: bool,
    /// Let cores halt that have nothing to do. Otherwise, with --exact or a --rate from 10k on, all of this machine's poll instead while the
    /// load lasts, where that is permitted (as root): a core that halted wakes late, and to wake it takes time. A server on
    /// this machine answers sooner for it
    #[arg(long)]
    may_halt: bool,
    /// A request that takes longer has failed
    #[arg(long, value_name = "D", value_parser = super::some_time, default_value = "5s")]
    timeout: Duration,
    /// An answer that takes longer, from when its request was due, is late, and fails the load [default: 1s, which fails nothing]
    #[arg(long, value_name = "D", value_parser = super::some_time)]
    late_over: Option<Duration>,
    /// A header, Name: value
    #[arg(short = 'H', long = "header", value_name = "H")]
    headers: Vec<String>,
    /// Method [default: GET, or POST with a body]
    #[arg(short = 'X', long, short_alias = 'm', value_name = "M")]
    method: Option<String>,
    /// Body, or @ and the file that holds it
    #[arg(short = 'b', long, value_name = "BODY|@FILE")]
    body: Option<String>,
    /// Certificates of the authorities that an https:// server's certificate may be signed by, as a PEM file; those of this machine if none
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// Statuses that count as answered
    #[arg(long, value_name = "FIRST-LAST", default_value = "200-299")]
    expect_status: String,
    /// Makes Poisson gaps repeatable
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Keep the recording and report.json here
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// What goes to stdout
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Nothing on stderr but errors
    #[arg(long)]
    quiet: bool,
    /// No moving figures on stderr
    #[arg(long)]
    no_progress: bool,
}

/// A number of requests a second, or as many as are answered.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Rate {
    Max,
    Of(f64),
}

/// How requests are spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Spacing {
    /// Evenly
    Constant,
    /// Exponentially distributed gaps, as of many users who know nothing of one another
    Poisson,
}

fn rate(text: &str) -> Result<Rate, String> {
    if text == "max" { Ok(Rate::Max) } else { number(text).map(Rate::Of) }
}

/// `1500`, `0.5`, `20k`.
fn number(text: &str) -> Result<f64, String> {
    let (digits, factor) = text.strip_suffix(['k', 'K']).map_or((text, 1.0), |digits| (digits, 1000.0));
    let number = digits.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    number
        .map(|number| number * factor)
        .ok_or_else(|| "neither a number such as 500, 0.5 or 20k, nor max".to_owned())
}

fn lane(text: &str) -> Result<(LaneKind, f64), String> {
    let (name, weight) = text.split_once(':').unwrap_or((text, "1"));
    let kind = LaneKind::ALL.into_iter().find(|kind| kind.as_str() == name.trim());
    let all = LaneKind::ALL.map(LaneKind::as_str).join(", ");
    let kind = kind.ok_or_else(|| format!("there is no lane {name}; there are {all}"))?;
    let weight = weight.parse().map_err(|_| format!("{weight} is no weight"))?;
    Ok((kind, weight))
}

pub(super) fn main(arguments: &Args, argv: &[String]) -> ExitCode {
    let (clock, anchor) = Clock::start();
    let mut plan = match plan(arguments, anchor) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    if let Err(code) = super::sendable(&plan) {
        return code;
    }
    let Some(Target::Url(url)) = plan.arms.first().map(|arm| arm.load.target.clone()) else {
        return super::fail(&"the plan has no target");
    };
    // Asked once, before any load: who resolves names is not what is measured.
    let address = match authority(&url).and_then(|authority| look_up(&authority)) {
        Ok(address) => address,
        Err(reason) => return super::fail(&format!("{}: {reason}", redact::url(&url))),
    };
    limits::open_files();
    let awake = (!arguments.may_halt && is_hurried(arguments)).then(AwakeCores::hold);
    plan.notes.extend(machine(arguments, awake.as_ref()));
    let header = header(&plan, anchor, argv);
    let config = |start: Stamp| {
        let load = plan.arms.first().map(|arm| arm.load.clone());
        load.map(|load| {
            let mut config =
                EngineConfig::new(clock, load, plan.seed, start, std::sync::Arc::new(Direct(address)));
            config.slots = arguments.requests;
            config.exact = arguments.exact;
            if let Some(most) = arguments.in_flight {
                config.in_flight_max = usize::try_from(most).unwrap_or(usize::MAX);
            }
            config
        })
    };
    let limit = Limit { duration: duration(arguments), counted: arguments.requests.is_some() };
    let start_engine = |sender| {
        let start = clock.now() + LEAD;
        let config = config(start).ok_or_else(|| "the plan has no load".to_owned())?;
        Engine::spawn(config, sender)
            .map(|engine| Started { begun: start, engine, _awake: awake.and_then(Result::ok) })
            .map_err(|error| format!("failed to start the load: {error}"))
    };
    let driven = match &arguments.out {
        None => live::drive(clock, &header, start_engine, limit, display(arguments)),
        Some(out) => keep::drive(clock, &header, &plan, out, start_engine, limit, display(arguments)),
    };
    match driven {
        Ok(driven) => conclude(arguments, &driven),
        Err(error) => super::fail(&error),
    }
}

fn duration(arguments: &Args) -> Option<Duration> {
    arguments.duration.or_else(|| arguments.requests.is_none().then_some(DURATION))
}

/// True if it matters to this load how soon a core wakes.
fn is_hurried(arguments: &Args) -> bool {
    arguments.exact || matches!(arguments.rate, Rate::Of(rate) if rate >= TOGETHER_FROM)
}

/// What the report says of what this machine was asked for. Where cores halt the figures say how late they wake; that is no failure.
fn machine(arguments: &Args, awake: Option<&Result<AwakeCores, String>>) -> Option<String> {
    let others = match awake {
        Some(Ok(_held)) => Some(
            "this machine's cores were kept from halting meanwhile: a server that is here too answers sooner than it would otherwise \
             (--may-halt lets them)"
                .to_owned(),
        ),
        Some(Err(reason)) if arguments.exact => {
            Some(format!("other cores may halt when they have nothing to do, and wake late ({reason})"))
        }
        // As on any machine, by anybody's load.
        Some(Err(_)) | None => None,
    };
    let polls = arguments.exact.then(|| format!("{EXACT_NOTE} the client polls instead of sleeping"));
    let told: Vec<_> = polls.into_iter().chain(others).collect();
    (!told.is_empty()).then(|| told.join("; "))
}

fn plan(arguments: &Args, anchor: Anchor) -> Result<Plan, ExitCode> {
    let body = match arguments.body.as_deref().map(body).transpose() {
        Ok(body) => body,
        Err(error) => return Err(super::misuse(&format!("-b {error}"))),
    };
    let method = if body.is_some() { "POST" } else { "GET" };
    let flags = Alone {
        url: arguments.url.clone(),
        rate: match arguments.rate {
            Rate::Max => None,
            Rate::Of(rate) => Some(rate),
        },
        connections: arguments.connections,
        lanes: arguments.lanes.clone(),
        arrivals: match arguments.arrivals {
            Spacing::Constant => Arrivals::Constant,
            Spacing::Poisson => Arrivals::Poisson,
        },
        exact: arguments.exact,
        ramp: arguments.ramp.map(|over| Ramp { from: arguments.ramp_from, over }),
        timeout: arguments.timeout,
        late_over: arguments.late_over.unwrap_or(Duration::from_secs(1)),
        late_fails: arguments.late_over.is_some(),
        duration: duration(arguments),
        method: arguments.method.clone().unwrap_or_else(|| method.to_owned()),
        headers: arguments.headers.clone(),
        body,
        ca: super::authorities(arguments.cacert.as_deref())?,
        expect_status: Some(arguments.expect_status.clone()),
        seed: arguments.seed.unwrap_or_else(|| u64::from(fastrand::Rng::with_seed(anchor.wall_ns).u32(..))),
    };
    flags.plan().map_err(|error| super::misuse(&error))
}

/// The body itself, or what is in the file that it names.
fn body(given: &str) -> Result<String, String> {
    let Some(path) = given.strip_prefix('@') else { return Ok(given.to_owned()) };
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(BODY_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("@{path}: {error}"))?;
    if bytes.len() as u64 > BODY_MAX {
        return Err(format!("@{path}: more than 64 MiB"));
    }
    String::from_utf8(bytes).map_err(|_| format!("@{path}: not text in UTF-8"))
}

fn header(plan: &Plan, anchor: Anchor, argv: &[String]) -> Header {
    Header {
        format_major: FORMAT_MAJOR,
        format_minor: FORMAT_MINOR,
        run_id: super::run::run_id(anchor, plan.seed),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        backend: "local".to_owned(),
        backend_version: None,
        nodes: vec![],
        agents: 1,
        started_at: super::run::started_at(anchor),
        epoch_wall_ns: anchor.wall_ns,
        epoch_mono_ns: anchor.mono_ns,
        argv: redact::arguments(argv),
        environment: recorder::environment(),
        plan: plan.redacted(),
    }
}

fn display(arguments: &Args) -> Display {
    if arguments.quiet || arguments.no_progress { Display::Off } else { Display::detect() }
}

fn conclude(arguments: &Args, Driven { report, told }: &Driven) -> ExitCode {
    if let Some(out) = &arguments.out
        && let Err(error) = recorder::replace(&out.join("report.json"), reports::json(report).as_bytes())
    {
        return super::fail(&error);
    }
    let printed = print(arguments, report, arguments.out.as_deref());
    match told {
        Some(code) => *code,
        None if printed != ExitCode::Success => printed,
        None => report.verdict.into(),
    }
}

fn print(arguments: &Args, report: &Report, out: Option<&Path>) -> ExitCode {
    let rendered = super::render(report, arguments.format);
    match (arguments.format, out) {
        (Format::Text, Some(out)) => {
            super::print(&format!("{rendered}\nReport and recording: {}\n", out.display()))
        }
        _ => super::print(&rendered),
    }
}

/// A thread of the load did not start, or died.
fn broken(error: &io::Error) -> String {
    format!("failed to start the load: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_written_as_people_write_them() {
        let table = [("20k", Ok(Rate::Of(20_000.0))), ("0.5", Ok(Rate::Of(0.5))), ("max", Ok(Rate::Max))];
        for (text, expected) in table {
            assert_eq!(rate(text), expected, "{text}");
        }
        for text in ["", "k", "-1", "inf", "nan", "fast"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lanes_may_carry_weights() {
        assert_eq!(lane("new"), Ok((LaneKind::New, 1.0)));
        assert_eq!(lane("reused:3"), Ok((LaneKind::Reused, 3.0)));
        assert!(lane("fast").unwrap_err().contains("reused"));
        assert!(lane("new:x").unwrap_err().contains("weight"));
    }
}
