//! Load that is recorded: the report comes from the recording, by the same path as `loadgen report` takes.

use std::path::Path;

use clock::Clock;
use cluster::Emitter;
use trial::event::Event;
use trial::plan::Plan;
use trial::recording::Header;

use super::live::{ARM, Driven, Limit, Start, attend, code, lanes};
use crate::playback;
use crate::progress::Display;
use crate::recorder::Recorder;

pub(super) fn drive(
    clock: Clock,
    header: &Header,
    plan: &Plan,
    out: &Path,
    start: impl Start,
    limit: Limit,
    display: Display,
) -> Result<Driven, String> {
    let arm = plan.arms.first().ok_or_else(|| "the plan has no load".to_owned())?;
    let recorder = Recorder::create(out, header, Box::new(|_| {})).map_err(|error| error.to_string())?;
    let rows = recorder.rows(ARM, &arm.load).map_err(|error| error.to_string())?;
    let emitter = Emitter::new(clock, ARM, recorder.events());
    let sender = rows.sender.clone();
    let (stop, summary) = attend(clock, &emitter, || start(sender), limit, display)?;
    match (summary, rows.finish()) {
        (Ok(summary), Ok(rows)) => {
            let overflowed = lanes(&emitter, header, &summary);
            emitter.emit(Event::Completed { rows, overflowed });
        }
        // There is a recording to keep: what went wrong is said in it, and makes the load inconclusive.
        (Err(message), _) => {
            emitter.emit(Event::Aborted { message });
        }
        (_, Err(error)) => {
            emitter.emit(Event::Aborted { message: error.to_string() });
        }
    }
    drop(emitter);
    recorder.finish().map_err(|error| error.to_string())?;
    let report = playback::report(out).map_err(|error| error.to_string())?;
    Ok(Driven { report, told: code(stop) })
}
