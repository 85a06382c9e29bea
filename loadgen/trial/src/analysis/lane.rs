//! The counts and distributions of one lane.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::outages::Windows;
use crate::id::PodId;
use crate::record::{Class, Flags, Record};
use crate::report::{self, LagQuantiles, LaneTerminations, Quantiles, Requests};
use crate::settings::{self, Arrivals};
use crate::verdict::Kind;

/// What became of a slot, in the sums of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Unsent,
    Ok,
    Late,
    /// Failed by the service.
    Failed,
    /// Not the service's doing: a fault of the measuring client.
    ClientFault,
    /// The end of the run came first, or the record shows no outcome.
    Interrupted,
}

/// One lane's fold. Its size does not grow with the number of records.
#[derive(Debug)]
pub(super) struct Lane<'a> {
    pub(super) plan: &'a settings::Lane,
    /// Beyond this an answer is late, from the intended time.
    pub(super) late_over: Duration,
    pub(super) requests: Requests,
    pub(super) windows: Windows,
    latency: Distribution,
    lag: Distribution,
    first_requests: u64,
    /// Requests that had a connection, and of these those on one that had carried another before.
    connected: u64,
    reused: u64,
    /// A request's pod is known.
    pub(super) named: bool,
    /// What happened to its requests on pods that were terminating.
    pub(super) hits: BTreeMap<PodId, Hits>,
    /// Failed ones, and late ones that count, since the disruption began.
    pub(super) failed_after: u64,
    pub(super) late_after: u64,
    /// Late ones that count, whenever.
    pub(super) late_counted: u64,
    /// Failed ones, whenever.
    pub(super) failed_by_kind: BTreeMap<Kind, u64>,
    pub(super) summary: Option<Summary>,
}

/// What happened to one lane's requests on one pod while it was terminating.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Hits {
    /// Due to it or under way on it.
    pub(super) exposed: u64,
    /// The same of requests whose pod is not known.
    pub(super) possible: u64,
    pub(super) failed: bool,
    /// One that counts: the schedule was kept.
    pub(super) late: bool,
}

/// Totals that the engine told.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Summary {
    pub(super) connections_opened: u64,
    pub(super) idle_closes: u64,
    pub(super) overflowed: u64,
}

/// Values in units of 100 ns, to three digits, and the exact maximum.
#[derive(Debug, Default)]
struct Distribution {
    // Absent until the first value, and should its fixed bounds ever be refused.
    histogram: Option<Histogram<u64>>,
    max: u64,
    seen: bool,
}

impl Distribution {
    fn record(&mut self, units: u32) {
        let value = u64::from(units);
        (self.seen, self.max) = (true, self.max.max(value));
        if self.histogram.is_none() {
            self.histogram = Histogram::new_with_bounds(1, u64::from(u32::MAX), 3).ok();
        }
        if let Some(histogram) = &mut self.histogram {
            histogram.saturating_record(value);
        }
    }

    fn quantile(&self, quantile: f64) -> u64 {
        self.histogram
            .as_ref()
            .map_or(self.max, |histogram| histogram.value_at_quantile(quantile).min(self.max))
            * 100
    }
}

impl<'a> Lane<'a> {
    pub(super) fn new(lane: &'a settings::Lane, load: &settings::Load) -> Self {
        Self {
            plan: lane,
            late_over: lane.delay.saturating_add(load.late_over),
            requests: Requests::default(),
            windows: Windows::default(),
            latency: Distribution::default(),
            lag: Distribution::default(),
            first_requests: 0,
            connected: 0,
            reused: 0,
            named: false,
            hits: BTreeMap::new(),
            failed_after: 0,
            late_after: 0,
            late_counted: 0,
            failed_by_kind: BTreeMap::new(),
            summary: None,
        }
    }

    pub(super) const fn name(&self) -> &'static str {
        self.plan.kind.as_str()
    }

    /// True if connections were to be kept, and none ever was.
    pub(super) fn never_reused(&self) -> bool {
        self.plan.kind != settings::LaneKind::New
            && self.reused == 0
            && self.connected > u64::from(self.plan.connections)
    }

    /// Counts a record, and says what became of it.
    pub(super) fn add(&mut self, record: &Record) -> Outcome {
        let outcome = self.outcome(record);
        let requests = &mut self.requests;
        requests.scheduled += 1;
        if outcome == Outcome::Unsent {
            requests.unsent += 1;
            return outcome;
        }
        requests.sent += 1;
        match outcome {
            Outcome::Ok => requests.ok += 1,
            Outcome::Late => requests.late += 1,
            Outcome::Failed => requests.failed += 1,
            Outcome::ClientFault | Outcome::Interrupted | Outcome::Unsent => requests.interrupted += 1,
        }
        if record.start != Record::UNSEEN {
            self.lag.record(record.start);
        }
        if matches!(outcome, Outcome::Ok | Outcome::Late) {
            self.latency.record(record.end);
        }
        self.first_requests += u64::from(record.nth == 1 && record.conn > 0);
        self.connected += u64::from(record.conn > 0);
        self.reused += u64::from(record.flags.has(Flags::REUSED));
        self.named |= record.pod.known().is_some();
        outcome
    }

    fn outcome(&self, record: &Record) -> Outcome {
        if record.is_unsent() {
            return Outcome::Unsent;
        }
        match record.class {
            class if class.is_client_fault() => Outcome::ClientFault,
            Class::Interrupted => Outcome::Interrupted,
            Class::None => match record.latency_ns() {
                None => Outcome::Interrupted,
                Some(nanos) if Duration::from_nanos(nanos) > self.late_over => Outcome::Late,
                Some(_) => Outcome::Ok,
            },
            _ => Outcome::Failed,
        }
    }

    /// As an arm's terminations are counted, of this lane's requests alone.
    fn terminations(&self, replicas: u32) -> LaneTerminations {
        let mut found = LaneTerminations {
            failed_requests: self.failed_after,
            late_requests: self.late_after,
            ..LaneTerminations::default()
        };
        for hits in self.hits.values() {
            let bad = hits.failed || hits.late;
            // Where answers do not name their pod, 3k requests reach one of k pods with 95 %.
            let reached = hits.exposed > 0 || hits.possible >= 3 * u64::from(replicas.max(1));
            found.exposed += u64::from(bad || reached);
            found.failed += u64::from(hits.failed);
            found.late += u64::from(hits.late);
            found.bad += u64::from(bad);
        }
        found
    }

    /// The medians of lag and latency, where so much of what latency counts is the client's own doing that whoever reads it should
    /// know.
    pub(super) fn mostly_lag(&self) -> Option<(u64, u64)> {
        const WORTH_A_WORD_NS: u64 = 200_000;
        let (lag, latency) = (self.lag.quantile(0.5), self.latency.quantile(0.5));
        let is_open = self.plan.arrivals != Arrivals::Closed && self.latency.seen;
        (is_open && lag >= WORTH_A_WORD_NS && lag * 2 >= latency).then_some((lag, latency))
    }

    /// The lane's part of the report; `replicas` are those of the workload.
    pub(super) fn report(&self, replicas: u32) -> report::Lane {
        let latency = self.latency.seen.then(|| Quantiles {
            p50: self.latency.quantile(0.5),
            p90: self.latency.quantile(0.9),
            p99: self.latency.quantile(0.99),
            p999: self.latency.quantile(0.999),
            max: self.latency.max * 100,
        });
        let lag = self.lag.seen.then(|| LagQuantiles {
            p50: self.lag.quantile(0.5),
            p99: self.lag.quantile(0.99),
            max: self.lag.max * 100,
        });
        report::Lane {
            name: self.name().to_owned(),
            requests: self.requests,
            latency_ns: latency,
            schedule_lag_ns: lag,
            connections_opened: self
                .summary
                .map_or(self.first_requests, |summary| summary.connections_opened),
            idle_closes: self.summary.map(|summary| summary.idle_closes),
            terminations: Some(self.terminations(replicas)),
        }
    }
}
