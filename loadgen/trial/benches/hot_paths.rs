//! What a record costs once it is there: into a part, out of it, and into the analysis.
//!
//! `cargo bench -p trial --features parquet`. Each figure is the median of several passes over the same records.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "figures are what it is for")]
#![expect(clippy::disallowed_methods, reason = "time passes here for real")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use trial::analysis::Analysis;
use trial::arrival::Schedule;
use trial::event::{Event, TimedEvent};
use trial::id::{ArmId, LaneId};
use trial::record::{Flags, Record, Stage};
use trial::recording::{FORMAT_MAJOR, FORMAT_MINOR, Header, part};
use trial::scenario::alone::Alone;
use trial::settings::{Arrivals, LaneKind};
use trial::time::Stamp;

const PASSES: usize = 7;
const PART_ROWS: usize = 262_144;
const FOLD_ROWS: usize = 1_000_000;

fn main() {
    let records: Vec<Record> = records(FOLD_ROWS);
    let part_rows = &records[..PART_ROWS];
    let encoded = Bytes::from(part::encode(part_rows).unwrap());
    println!("part: {:.2} bytes a record", ratio(encoded.len(), PART_ROWS));
    measure("part: encode", PART_ROWS, || drop(black_box(part::encode(part_rows))));
    measure("part: decode", PART_ROWS, || drop(black_box(part::decode(encoded.clone()))));
    let header = header();
    measure("analysis: survey and add", FOLD_ROWS, || {
        let mut analysis = Analysis::new(&header, &events(FOLD_ROWS as u64), vec![]);
        for chunk in records.chunks(1024) {
            analysis.survey(ArmId(0), chunk);
        }
        analysis.surveyed();
        for chunk in records.chunks(1024) {
            analysis.add(ArmId(0), chunk);
        }
        black_box(analysis.finish());
    });
    measure("schedule: constant", FOLD_ROWS, || schedule(Arrivals::Constant));
    measure("schedule: poisson", FOLD_ROWS, || schedule(Arrivals::Poisson));
}

fn measure(what: &str, rows: usize, mut pass: impl FnMut()) {
    let mut times: Vec<Duration> = (0..PASSES)
        .map(|_| {
            let began = Instant::now();
            pass();
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    let nanos = |time: Duration| ratio(usize::try_from(time.as_nanos()).unwrap(), rows);
    println!(
        "{what}: {:.1} ns a record ({:.1} to {:.1})",
        nanos(times[PASSES / 2]),
        nanos(times[0]),
        nanos(times[PASSES - 1])
    );
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn ratio(all: usize, of: usize) -> f64 {
    all as f64 / of as f64
}

fn schedule(arrivals: Arrivals) {
    black_box(Schedule::new(20_000.0, arrivals, None, 1, Duration::ZERO).nth(FOLD_ROWS - 1));
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
