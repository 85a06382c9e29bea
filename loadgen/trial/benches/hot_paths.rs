//! What a record costs once it is there: into a part, out of it, and into the analysis; and what a schedule costs before.
//!
//! `cargo bench -p trial --features parquet`. Rates are records, or slots, a second.

#![expect(clippy::unwrap_used, reason = "a benchmark's way to fail")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use trial::analysis::Analysis;
use trial::arrival::Schedule;
use trial::event::{Event, TimedEvent};
use trial::id::{ArmId, LaneId};
use trial::record::{Flags, Record, Stage};
use trial::recording::{FORMAT_MAJOR, FORMAT_MINOR, Header, part};
use trial::scenario::alone::Alone;
use trial::settings::{Arrivals, LaneKind};
use trial::time::Stamp;

const PART_ROWS: usize = 65_536;
const FOLD_ROWS: usize = 262_144;
const SLOTS: usize = 100_000;

criterion_group! {
    name = hot_paths;
    config = Criterion::default().sample_size(10);
    targets = parts, analysis, schedules
}
criterion_main!(hot_paths);

fn parts(criterion: &mut Criterion) {
    let records = records(PART_ROWS);
    let encoded = Bytes::from(part::encode(&records, || {}).unwrap());
    let mut group = criterion.benchmark_group("part");
    group.throughput(Throughput::Elements(PART_ROWS as u64));
    group.bench_function("encode", |bencher| {
        bencher.iter(|| part::encode(black_box(&records), || {}).unwrap());
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| part::decode(black_box(encoded.clone())).unwrap());
    });
}

fn analysis(criterion: &mut Criterion) {
    let (header, records) = (header(), records(FOLD_ROWS));
    let events = events(FOLD_ROWS as u64);
    let mut group = criterion.benchmark_group("analysis");
    group.throughput(Throughput::Elements(FOLD_ROWS as u64));
    group.bench_function("of a load on a URL", |bencher| {
        bencher.iter(|| {
            let mut analysis = Analysis::new(&header, &events, vec![]);
            for chunk in records.chunks(1024) {
                analysis.add(ArmId(0), chunk);
            }
            analysis.finish()
        });
    });
}

fn schedules(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("schedule");
    group.throughput(Throughput::Elements(SLOTS as u64));
    for (name, arrivals) in [("constant", Arrivals::Constant), ("poisson", Arrivals::Poisson)] {
        let schedule = || Schedule::new(black_box(20_000.0), arrivals, None, 1, Duration::ZERO);
        group.bench_function(name, |bencher| bencher.iter(|| schedule().nth(SLOTS - 1)));
    }
}

/// As an unhurried service answers them: latencies around 100 µs, on fifty connections.
fn records(count: usize) -> Vec<Record> {
    let mut random = fastrand::Rng::with_seed(1);
    let schedule = Schedule::new(20_000.0, Arrivals::Constant, None, 1, Duration::ZERO);
    let mut nth = [0_u32; 50];
    (0_u64..)
        .zip(schedule)
        .take(count)
        .map(|(slot, due)| {
            let place = usize::try_from(slot % 50).unwrap();
            nth[place] += 1;
            let start = random.u32(50..600);
            let write_done = start + random.u32(20..90);
            let first_byte = write_done + random.u32(200..2_000);
            Record {
                start,
                write_done,
                first_byte,
                end: first_byte + random.u32(5..40),
                conn: u32::try_from(place).unwrap() + 1,
                nth: nth[place],
                bytes_in: 13,
                status: 200,
                stage: Stage::Done,
                flags: Flags(if nth[place] > 1 { Flags::REUSED } else { 0 }),
                ..Record::due(slot, Stamp::ZERO + due, LaneId(0))
            }
        })
        .collect()
}

fn events(rows: u64) -> Vec<TimedEvent> {
    let timed = |at_ns, event| TimedEvent { at_ns: Stamp::from_nanos(at_ns), arm: ArmId(0), event };
    vec![
        timed(0, Event::LoadStarted),
        timed(50_000_000_000, Event::LoadEnded),
        timed(50_000_000_001, Event::Completed { rows, overflowed: 0 }),
    ]
}

fn header() -> Header {
    let flags = Alone {
        url: "http://127.0.0.1:80".to_owned(),
        rate: Some(20_000.0),
        connections: 50,
        lanes: vec![(LaneKind::Reused, 1.0)],
        arrivals: Arrivals::Constant,
        ramp: None,
        exact: false,
        timeout: Duration::from_secs(5),
        late_over: Duration::from_secs(1),
        late_fails: false,
        duration: Some(Duration::from_secs(50)),
        method: "GET".to_owned(),
        headers: vec![],
        body: None,
        ca: None,
        expect_status: None,
        seed: 1,
    };
    Header {
        format_major: FORMAT_MAJOR,
        format_minor: FORMAT_MINOR,
        run_id: "bench".to_owned(),
        tool_version: "0".to_owned(),
        backend: "local".to_owned(),
        backend_version: None,
        nodes: vec![],
        agents: 1,
        started_at: "1970-01-01T00:00:00Z".to_owned(),
        epoch_wall_ns: 0,
        epoch_mono_ns: 0,
        argv: vec![],
        environment: BTreeMap::new(),
        plan: flags.plan().unwrap(),
    }
}
