//! What was seen, beside what is stated.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use crate::checks::{CHECKS, On};
use crate::expect::Seen;
use crate::run::Backend;

/// How far apart the backends may be in what happens within a pod, s.
const WITHIN_POD: f64 = 0.15;

/// A statement and what each backend showed of it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    /// The check's place.
    #[serde(skip)]
    pub(crate) place: usize,
    /// The statement's place in it.
    #[serde(skip)]
    pub(crate) index: usize,
    /// The check's number.
    pub(crate) check: u16,
    /// What it says.
    pub(crate) says: &'static str,
    /// What is to be seen.
    pub(crate) expected: String,
    /// What was, on the local backend; `None` if it was not run there.
    pub(crate) local: Option<Seen>,
    /// What was, on the cluster.
    pub(crate) kube: Option<Seen>,
    /// How far apart the backends are, s.
    pub(crate) difference: Option<f64>,
    /// Both edges are the pod's own.
    pub(crate) within_pod: bool,
    /// How much later than the local backend a cluster may be, beyond what both may differ by, s.
    pub(crate) slack_of_kube: f64,
    /// Why the statement stands for one backend alone.
    pub(crate) not_modelled: Option<&'static str>,
}

impl Row {
    /// Whether any backend was asked.
    pub(crate) fn was_looked_at(&self) -> bool {
        self.local.is_some() || self.kube.is_some()
    }

    /// Each backend that was asked shows what is stated, and they agree.
    pub(crate) fn holds(&self) -> bool {
        let seen = [&self.local, &self.kube].into_iter().flatten();
        self.was_looked_at() && self.agrees() && seen.into_iter().all(|seen| seen.holds == Some(true))
    }

    /// Edges within a pod are as far apart on one backend as on the other.
    fn agrees(&self) -> bool {
        !self.within_pod || self.apart_by() <= 0.0
    }

    /// By how much the backends differ beyond what they may, s.
    pub(crate) fn apart_by(&self) -> f64 {
        let beyond =
            |kube_later: f64| (kube_later - WITHIN_POD - self.slack_of_kube).max(-kube_later - WITHIN_POD);
        self.difference.map_or(f64::NEG_INFINITY, beyond)
    }
}

/// How what was seen is found: by backend, check's place and expectation's place.
pub(crate) type Found = BTreeMap<(Backend, usize, usize), Seen>;

/// Whether a statement can be looked at on a backend.
pub(crate) fn applies(on: On, backend: Backend) -> bool {
    match on {
        On::Both => true,
        On::Local => backend == Backend::Local,
        On::Kube => backend == Backend::Kube,
    }
}

/// One row a statement. `asked`: the backends that were run.
pub(crate) fn rows(found: &Found, asked: &[Backend], wanted: impl Fn(u16) -> bool) -> Vec<Row> {
    let mut rows = Vec::new();
    for (place, check) in CHECKS.iter().enumerate().filter(|(_, check)| wanted(check.number)) {
        for (index, expect) in check.expect.iter().enumerate() {
            let of = |backend| {
                let asked = asked.contains(&backend) && applies(check.on, backend);
                asked.then(|| {
                    found.get(&(backend, place, index)).cloned().unwrap_or_else(|| Seen::nothing("not run"))
                })
            };
            let (local, kube) = (of(Backend::Local), of(Backend::Kube));
            let seconds = |seen: &Option<Seen>| seen.as_ref().and_then(|seen| seen.seconds);
            let difference = seconds(&local).zip(seconds(&kube)).map(|(local, kube)| kube - local);
            let not_modelled = match check.on {
                On::Both => None,
                On::Local => Some("kube: no kubelet of that version at hand"),
                On::Kube => Some("local: one container a pod"),
            };
            rows.push(Row {
                place,
                index,
                check: check.number,
                says: check.says,
                expected: expect.text(),
                local,
                kube,
                difference,
                within_pod: expect.is_within_pod(),
                slack_of_kube: expect.slack_of_kube(),
                not_modelled,
            });
        }
    }
    rows
}

/// The whole of a long message stands in the JSON.
const WIDEST: usize = 60;

/// `why`: where a backend has nothing to show.
fn cell(seen: Option<&Seen>, why: Option<&str>) -> String {
    let shown = seen.map_or_else(String::new, |seen| {
        let short: String = seen.shown.chars().take(WIDEST).collect();
        if short.len() < seen.shown.len() { short + "…" } else { short }
    });
    match seen {
        None => why.map_or_else(|| "–".to_owned(), |why| format!("– {why}")),
        Some(Seen { holds: Some(true), .. }) => shown,
        Some(Seen { holds: Some(false), .. }) => format!("✗ {shown}"),
        Some(Seen { holds: None, .. }) => format!("? {shown}"),
    }
}

/// For people.
pub(crate) fn text(rows: &[Row]) -> String {
    let mut cells: Vec<[String; 5]> = Vec::new();
    for row in rows {
        cells.push([
            String::new(),
            row.expected.clone(),
            cell(row.local.as_ref(), row.not_modelled),
            cell(row.kube.as_ref(), row.not_modelled),
            row.difference.map_or_else(String::new, |seconds| {
                format!("{}{seconds:+.3} s", if row.agrees() { "" } else { "✗ " })
            }),
        ]);
    }
    let head = ["", "expected", "local", "kube", "difference"].map(str::to_owned);
    let width =
        |column: usize| cells.iter().chain([&head]).map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..5).map(width).collect();
    let line = |row: &[String; 5]| {
        let mut text = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let pad = width.saturating_sub(cell.chars().count());
            let _ = write!(text, "{cell}{}  ", " ".repeat(pad));
        }
        text.trim_end().to_owned()
    };
    let mut out = line(&head);
    let mut said = "";
    for (row, cells) in rows.iter().zip(&cells) {
        if row.says != said {
            said = row.says;
            let _ = write!(out, "\n\n{:3} {said}", row.check);
        }
        let _ = write!(out, "\n{}", line(cells));
    }
    out + "\n"
}
