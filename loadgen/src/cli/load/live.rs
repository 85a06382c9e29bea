//! Load while it happens: the figures that move, signals, and the report that is made on the way.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use clock::Clock;
use cluster::Emitter;
use engine::{Engine, Summary};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};
use trial::analysis::Analysis;
use trial::event::{Event, TimedEvent};
use trial::id::ArmId;
use trial::record::Record;
use trial::recording::Header;
use trial::report::Report;
use trial::time::Stamp;

use super::super::complain;
use super::broken;
use crate::conductor::Stop;
use crate::exit_code::ExitCode;
use crate::heartbeat::Heartbeat;
use crate::limits::AwakeCores;
use crate::progress::Display;

/// How often the figures move, and whether the load is over is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Chunks of records that may wait: a quarter of a million rows.
pub(super) const CHUNK_QUEUE: usize = 256;
/// Events that may wait.
const EVENT_QUEUE: usize = 1024;
/// Records are held back until a stall of their time would have been told.
const HELD_FOR: Duration = Duration::from_millis(250);

/// The arm that there is.
pub(super) const ARM: ArmId = ArmId(0);

/// A load that runs.
#[derive(Debug)]
pub(super) struct Started {
    /// When the first slot is due.
    pub(super) begun: Stamp,
    pub(super) engine: Engine,
    /// Held as long as it runs.
    pub(super) _awake: Option<AwakeCores>,
}

/// Starts the engine.
pub(super) trait Start: FnOnce(SyncSender<Vec<Record>>) -> Result<Started, String> {}
impl<F: FnOnce(SyncSender<Vec<Record>>) -> Result<Started, String>> Start for F {}

/// What ends the load.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    /// `None`: the number of requests.
    pub(super) duration: Option<Duration>,
    /// The number of requests may end it earlier.
    pub(super) counted: bool,
}

/// How it went.
#[derive(Debug)]
pub(super) struct Driven {
    pub(super) report: Report,
    /// The code that a signal asks for.
    pub(super) told: Option<ExitCode>,
}

/// Drives the load and folds its records as they come: nothing is kept, and memory does not grow.
pub(super) fn drive(
    clock: Clock,
    header: &Header,
    start: impl Start,
    limit: Limit,
    display: Display,
) -> Result<Driven, String> {
    let (events, told) = sync_channel(EVENT_QUEUE);
    let (sender, records) = sync_channel(CHUNK_QUEUE);
    let emitter = Emitter::new(clock, ARM, events);
    thread::scope(|scope| {
        let folding = thread::Builder::new()
            .name("fold".to_owned())
            .spawn_scoped(scope, move || fold(header, &records, &told))
            .map_err(|error| broken(&error))?;
        let ended = attend(clock, &emitter, || start(sender), limit, display);
        if let Ok((_, Ok(summary))) = &ended {
            let overflowed = lanes(&emitter, header, summary);
            let scheduled: u64 = summary.lanes.iter().map(|lane| lane.scheduled).sum();
            emitter.emit(Event::Completed { rows: scheduled - overflowed, overflowed });
        }
        drop(emitter);
        let report = folding.join().map_err(|_| "the records could not be counted".to_owned())?;
        let (stop, summary) = ended?;
        summary?;
        Ok(Driven { report, told: code(stop) })
    })
}

/// What a signal asks for.
pub(super) fn code(stop: Stop) -> Option<ExitCode> {
    match stop {
        Stop::Interrupt => Some(ExitCode::Interrupted),
        Stop::Terminate => Some(ExitCode::Terminated),
        Stop::No | Stop::MaxTime | Stop::Failed => None,
    }
}

/// Says of each lane what no record shows; how many records were lost.
pub(super) fn lanes(emitter: &Emitter, header: &Header, summary: &Summary) -> u64 {
    let planned = header.plan.arms.first().map_or(&[][..], |arm| &arm.load.lanes);
    for lane in &summary.lanes {
        let name = planned.get(usize::from(lane.lane.0)).map_or("?", |lane| lane.kind.as_str());
        emitter.emit(Event::LaneSummary {
            lane: name.to_owned(),
            connections_opened: lane.connections_opened,
            idle_closes: lane.idle_closes,
            overflowed: lane.overflowed,
        });
    }
    summary.lanes.iter().map(|lane| lane.overflowed).sum()
}

/// The report, from records as they come and events as they are told.
fn fold(header: &Header, records: &Receiver<Vec<Record>>, told: &Receiver<TimedEvent>) -> Report {
    let mut analysis = Analysis::new(header, &[], vec![]);
    let mut held: VecDeque<(u64, Vec<Record>)> = VecDeque::new();
    loop {
        match records.recv_timeout(LOOK_EVERY) {
            Ok(chunk) => held.push_back((clock::monotonic_ns(), chunk)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        for event in told.try_iter() {
            analysis.told(&event);
        }
        let now = clock::monotonic_ns();
        while let Some((_, chunk)) =
            held.pop_front_if(|(at, _)| Duration::from_nanos(now.saturating_sub(*at)) >= HELD_FOR)
        {
            analysis.add(ARM, &chunk);
        }
    }
    // Until nobody is left to tell any.
    for event in told {
        analysis.told(&event);
    }
    for (_, chunk) in held {
        analysis.add(ARM, &chunk);
    }
    analysis.finish()
}

/// What the engine came to.
pub(super) type Ended = (Stop, Result<Summary, String>);

/// Starts the engine and waits for its end, which a signal may bring about.
pub(super) fn attend(
    clock: Clock,
    emitter: &Emitter,
    start: impl FnOnce() -> Result<Started, String>,
    limit: Limit,
    display: Display,
) -> Result<Ended, String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| broken(&error))?;
    let of_stalls = emitter.clone();
    let heartbeat = Heartbeat::start(clock, move |at, for_ns| {
        of_stalls.emit_at(at, Event::Stalled { for_ns, agent: None });
    })
    .map_err(|error| broken(&error))?;
    let Started { begun, engine, _awake } = match start() {
        Ok(started) => started,
        Err(error) => {
            heartbeat.stop();
            return Err(error);
        }
    };
    emitter.emit_at(begun, Event::LoadStarted);
    let until = limit.duration.map(|duration| begun + duration);
    if let Some(until) = until {
        // A slot that is due just then belongs to the next second.
        engine.stop_at(Stamp::from_nanos(until.as_nanos().saturating_sub(1)));
    }
    let stop = runtime.block_on(watch(&engine, begun, clock, display));
    let summary = engine.join().map_err(|error| format!("the load broke off: {error}"));
    heartbeat.stop();
    let stop = stop.map_err(|error| broken(&error))?;
    if let Ok(summary) = &summary {
        // The time that was asked for, though the last answers came a little before its end or after it.
        let whole = |until: &Stamp| stop == Stop::No && (!limit.counted || *until < summary.ended);
        let ended = until.filter(whole).unwrap_or(summary.ended);
        emitter.emit_at(ended, Event::LoadEnded);
    }
    if stop != Stop::No {
        emitter.emit(Event::Interrupted { signal: stop.as_str().to_owned() });
    }
    Ok((stop, summary))
}

async fn watch(engine: &Engine, begun: Stamp, clock: Clock, display: Display) -> io::Result<Stop> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    let mut line = Line::new(display, begun);
    let mut stop = Stop::No;
    while !engine.is_finished() {
        let asked = tokio::select! {
            _ = ticks.tick() => {
                line.show(clock.now(), engine.progress());
                continue;
            }
            _ = interrupt.recv() => Stop::Interrupt,
            _ = terminate.recv() => Stop::Terminate,
        };
        if stop != Stop::No {
            complain(&"ended at once, without a report");
            let code = code(asked).unwrap_or(ExitCode::Interrupted);
            std::process::exit(i32::from(code.code()));
        }
        stop = asked;
        engine.interrupt();
    }
    line.bar.finish_and_clear();
    Ok(stop)
}

/// The figures that move.
struct Line {
    bar: ProgressBar,
    begun: Stamp,
    /// When it was last shown, and how much had been answered.
    before: (Stamp, u64),
}

/// The rate shown is that of this long, so that it can be read.
const RATE_OVER: Duration = Duration::from_millis(500);

impl Line {
    fn new(display: Display, begun: Stamp) -> Self {
        let bar = match display {
            Display::Live => ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()),
            Display::Off | Display::Lines => ProgressBar::hidden(),
        };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        Self { bar, begun, before: (begun, 0) }
    }

    fn show(&mut self, now: Stamp, progress: engine::Progress) {
        let (at, answered) = self.before;
        let past = now.saturating_since(at);
        if self.bar.is_hidden() || past < RATE_OVER {
            return;
        }
        let answers = progress.ok.saturating_sub(answered);
        self.before = (now, progress.ok);
        self.bar.set_message(text(now.saturating_since(self.begun), past, answers, progress));
        self.bar.tick();
    }
}

fn text(since: Duration, past: Duration, answers: u64, progress: engine::Progress) -> String {
    let a_second = u128::from(answers) * 1_000_000_000 / past.as_nanos().max(1);
    let unsent = if progress.unsent > 0 { format!(", {} UNSENT", progress.unsent) } else { String::new() };
    format!(
        "{:.1} s  {a_second} a second  {} answered, {} failed, {} in flight{unsent}",
        since.as_secs_f64(),
        progress.ok,
        progress.failed,
        progress.in_flight
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_goes_on_and_warns_of_what_was_not_sent() {
        let progress =
            engine::Progress { ok: 700, failed: 2, in_flight: 5, unsent: 3, ..engine::Progress::default() };
        let line = text(Duration::from_millis(1500), Duration::from_millis(500), 100, progress);
        assert_eq!(line, "1.5 s  200 a second  700 answered, 2 failed, 5 in flight, 3 UNSENT");
    }
}
