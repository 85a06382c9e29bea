//! What was off by little in company is measured again by itself.
//!
//! Several experiments at once keep the suite short, but where the cluster's nodes are processes of one small machine they
//! sometimes wait for one another. A time that is off by a few tenths of a second is then the machine's, or the backend's:
//! nobody can tell until the experiment is run with nothing beside it. It is run so twice, and the worse of the two counts. An
//! experiment of which anything else does not hold is not run again, and nothing but those times is taken from the new runs. The
//! local backend tells when it stood still, and is asked again only where it did.

use std::fs;

use crate::checks::CHECKS;
use crate::expect::{Expect, Seen};
use crate::experiments::{EXPERIMENTS, Experiment};
use crate::run::{self, Backend, Setting};
use crate::table::{Found, Row};

/// Waiting for one another explains so much, s.
pub(crate) const LITTLE: f64 = 0.5;
/// If more experiments are off, it is not chance.
const MOST: usize = 8;
/// Runs of each.
const TIMES: [&str; 2] = ["alone-1", "alone-2"];

/// An experiment to run again, and the places of the statements that it is run for.
#[derive(Debug)]
pub(crate) struct Again {
    backend: Backend,
    experiment: Experiment,
    places: Vec<(usize, usize)>,
}

/// The experiments to run again; none if there are too many.
pub(crate) fn needed(setting: &Setting, rows: &[Row]) -> Vec<Again> {
    let mut needed: Vec<Again> = Vec::new();
    let mut beyond: Vec<(Backend, &str)> = Vec::new();
    for row in rows.iter().filter(|row| row.was_looked_at() && !row.holds()) {
        let check = &CHECKS[row.place];
        let Some(experiment) = EXPERIMENTS.iter().find(|run| run.name == check.experiment) else { continue };
        for (backend, by) in off(row, &check.expect[row.index]) {
            let known = needed
                .iter_mut()
                .find(|known| known.backend == backend && known.experiment.name == experiment.name);
            match (by, known) {
                (None, _) => beyond.push((backend, experiment.name)),
                (Some(_), Some(known)) => known.places.push((row.place, row.index)),
                (Some(_), None) => needed.push(Again {
                    backend,
                    experiment: *experiment,
                    places: vec![(row.place, row.index)],
                }),
            }
        }
    }
    needed.retain(|again| !beyond.contains(&(again.backend, again.experiment.name)));
    needed.retain(|again| again.backend == Backend::Kube || stood_still(setting, again));
    if needed.len() > MOST { vec![] } else { needed }
}

/// Whether its recording tells that the process which emulates the kubelet stood still.
fn stood_still(setting: &Setting, again: &Again) -> bool {
    let directory = setting.out.join(again.backend.as_str()).join(again.experiment.name);
    let events = fs::read_to_string(directory.join("recording/events.ndjson")).unwrap_or_default();
    trial::recording::parse_events(&events)
        .0
        .iter()
        .any(|timed| matches!(timed.event, trial::event::Event::Stalled { .. }))
}

/// The backends whose fault a row may be, and by how much; `None` where that is no time, or too much of it.
fn off(row: &Row, expect: &Expect) -> Vec<(Backend, Option<f64>)> {
    let seen = [(Backend::Local, &row.local), (Backend::Kube, &row.kube)];
    let seen: Vec<(Backend, &Seen)> =
        seen.into_iter().filter_map(|(backend, seen)| Some((backend, seen.as_ref()?))).collect();
    let apart = if row.within_pod { row.apart_by() } else { 0.0 };
    let by =
        |seen: &Seen, backend| expect.off_by(seen, backend).map(|by| by.max(apart)).filter(|by| *by < LITTLE);
    // Each within its bounds: then it is the two that do not agree, and both are asked again.
    let all_hold = seen.iter().all(|(_, seen)| seen.holds == Some(true));
    seen.into_iter()
        .filter(|(_, seen)| all_hold || seen.holds != Some(true))
        .map(|(backend, seen)| (backend, by(seen, backend)))
        .collect()
}

/// Runs them one after the other; the times that they were run for take the place of what was found. How many did.
pub(crate) fn run(setting: &Setting, needed: &[Again], found: &mut Found) -> usize {
    let mut replaced = 0;
    for again in needed {
        let outcomes: Vec<_> = TIMES.iter().filter_map(|name| outcome(setting, name, again)).collect();
        for &(place, index) in &again.places {
            let expect = &CHECKS[place].expect[index];
            let other = match again.backend {
                Backend::Local => Backend::Kube,
                Backend::Kube => Backend::Local,
            };
            let other = found.get(&(other, place, index)).and_then(|seen| seen.seconds);
            // Off its own bounds, or else off what the other backend showed.
            let distance = |seen: &Seen| {
                let apart = seen.seconds.zip(other).map_or(0.0, |(one, other)| (one - other).abs());
                (expect.off_by(seen, again.backend).unwrap_or(f64::INFINITY), apart)
            };
            let compared = |one: &Seen, than: &Seen| {
                let ((off, apart), (than_off, than_apart)) = (distance(one), distance(than));
                off.total_cmp(&than_off).then(apart.total_cmp(&than_apart))
            };
            let seen = outcomes.iter().map(|outcome| expect.seen_in(outcome, again.backend));
            let worst = seen.max_by(compared);
            let Some((worst, first)) = worst.zip(found.get_mut(&(again.backend, place, index))) else {
                continue;
            };
            let shown = format!("{}, in company {}", worst.shown, first.shown);
            *first = Seen { shown, ..worst };
            replaced += 1;
        }
    }
    replaced
}

fn outcome(setting: &Setting, name: &str, again: &Again) -> Option<run::Outcome> {
    let alone = Setting { out: setting.out.join(name), ..setting.clone() };
    let recorded = alone.out.join(again.backend.as_str()).join(again.experiment.name);
    if setting.again && !fs::exists(recorded).unwrap_or(false) {
        return None;
    }
    if !setting.again
        && let Err(error) = alone.prepare()
    {
        return Some(Err(format!("{}: {error}", alone.out.display())));
    }
    Some(run::one(&alone, again.backend, &again.experiment))
}
