//! What was off by little in company is measured again by itself.
//!
//! Several experiments at once keep the suite short, but where the cluster's nodes are processes of one small machine they
//! sometimes wait for one another. A time that is off by a few tenths of a second is then the machine's, or the backend's:
//! nobody can tell until the experiment is run with nothing beside it, and that is what counts. What is not a time, or is off
//! by more, is never asked again.

use std::fs;

use crate::checks::CHECKS;
use crate::expect::{Expect, Seen};
use crate::experiments::{EXPERIMENTS, Experiment};
use crate::run::{self, Backend, Setting};
use crate::table::{Found, Row};

/// Waiting for one another explains so much, s.
pub(crate) const LITTLE: f64 = 0.5;
/// If more are off, it is not chance.
const MOST: usize = 8;

/// The experiments to run again, by backend; none if there are too many.
pub(crate) fn needed(rows: &[Row]) -> Vec<(Backend, Experiment)> {
    let mut needed: Vec<(Backend, Experiment)> = Vec::new();
    for row in rows.iter().filter(|row| row.was_looked_at() && !row.holds()) {
        let check = &CHECKS[row.place];
        let expect = &check.expect[row.index];
        let seen = [(Backend::Local, &row.local), (Backend::Kube, &row.kube)];
        let seen = seen.into_iter().filter_map(|(backend, seen)| Some((backend, seen.as_ref()?)));
        // Each within its bounds, or off by little: then it is the times that do not agree.
        let off: Option<Vec<_>> = seen.map(|(backend, seen)| Some((backend, expect.off_by(seen)?))).collect();
        let Some(off) = off.filter(|off| off.iter().all(|(_, by)| *by < LITTLE)) else { continue };
        let all_within = off.iter().all(|(_, by)| *by == 0.0);
        let Some(experiment) = EXPERIMENTS.iter().find(|run| run.name == check.experiment) else { continue };
        for (backend, _) in off.into_iter().filter(|(_, by)| all_within || *by > 0.0) {
            if !needed.iter().any(|(on, known)| *on == backend && known.name == experiment.name) {
                needed.push((backend, *experiment));
            }
        }
    }
    if needed.len() > MOST { vec![] } else { needed }
}

/// Runs them one after the other; what they show takes the place of what was found.
pub(crate) fn run(setting: &Setting, again: Vec<(Backend, Experiment)>, found: &mut Found) {
    let alone = Setting { out: setting.out.join("alone"), ..setting.clone() };
    if !setting.again && alone.prepare().is_err() {
        return;
    }
    for (backend, experiment) in again {
        let recorded = alone.out.join(backend.as_str()).join(experiment.name);
        if setting.again && !fs::exists(recorded).unwrap_or(false) {
            continue;
        }
        let outcome = run::one(&alone, backend, &experiment);
        for (place, check) in
            CHECKS.iter().enumerate().filter(|(_, check)| check.experiment == experiment.name)
        {
            for (index, expect) in check.expect.iter().enumerate() {
                // What is refused was asked for already, and ran nowhere.
                let Some(before) = found.get_mut(&(backend, place, index)) else { continue };
                if matches!(expect, Expect::Refused) {
                    continue;
                }
                let seen = expect.seen_in(&outcome);
                let both = seen.seconds.is_some() && before.seconds.is_some();
                let shown =
                    if both { format!("{}, at first {}", seen.shown, before.shown) } else { seen.shown };
                *before = Seen { shown, ..seen };
            }
        }
    }
}
