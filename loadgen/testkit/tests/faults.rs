//! The table of planted faults, with fewer requests than `scripts/faults` sends by default.
#![cfg(test)] // For the lints, which take helpers for test code only where it says so.

use testkit::{By, LANES, Pace, Row, Spec, TestLane, row, specs};
use trial::settings::LaneKind;

/// Per row: a seventh or more of them are hit.
const REQUESTS: u64 = 400;

fn every_row_is_exact(kind: LaneKind, pace: Pace) {
    rows_are_exact(specs().filter(|(_, lane)| lane.kind == kind), REQUESTS, pace);
}

fn rows_are_exact<'a>(rows: impl Iterator<Item = (&'a Spec, &'a TestLane)>, requests: u64, pace: Pace) {
    let rows: Vec<Row> = rows
        .map(|(spec, lane)| {
            row(spec, lane, requests, 7, pace).unwrap_or_else(|error| panic!("{}: {error}", spec.name))
        })
        .collect();
    println!("{}", testkit::text(&rows));
    for row in &rows {
        assert!(row.tally.is_exact(), "{} in {}: {:?}", row.fault, row.lane, row.tally);
        assert_eq!(row.tally.requests, requests);
    }
}

#[test]
fn every_fault_is_recorded_rightly_and_once_on_new_connections() {
    every_row_is_exact(LaneKind::New, Pace::Lane);
}

#[test]
fn every_fault_is_recorded_rightly_and_once_on_kept_connections() {
    every_row_is_exact(LaneKind::Reused, Pace::Lane);
}

#[test]
fn every_fault_is_recorded_rightly_and_once_on_slow_requests() {
    every_row_is_exact(LaneKind::Slow, Pace::Lane);
}

#[test]
fn every_fault_is_recorded_rightly_and_once_on_posts() {
    every_row_is_exact(LaneKind::Post, Pace::Lane);
}

#[test]
fn every_fault_is_recorded_rightly_and_once_on_rested_connections() {
    every_row_is_exact(LaneKind::Idle, Pace::Lane);
}

#[test]
fn every_fault_is_recorded_rightly_and_once_on_http2() {
    every_row_is_exact(LaneKind::H2, Pace::Lane);
}

#[test]
fn every_fault_is_recorded_rightly_and_once_where_slots_are_released_together() {
    // As many as it takes for the engine to find out what a sleep costs, and then some. What takes seconds is not sent so fast.
    let fast = |spec: &Spec| !spec.times_out() && !spec.late && spec.by != By::Straw;
    let rows = specs().filter(|(spec, lane)| lane.kind == LaneKind::Reused && fast(spec));
    rows_are_exact(rows, 4_000, Pace::Rate(20_000.0));
}

#[test]
fn every_fault_is_recorded_rightly_and_once_in_a_closed_loop() {
    every_row_is_exact(LaneKind::Reused, Pace::Closed);
}

#[test]
fn every_lane_is_in_the_table() {
    // What lane `pooled` records is what another client chose to tell: no oracle holds it to a log.
    for kind in LaneKind::ALL.into_iter().filter(|kind| *kind != LaneKind::Pooled) {
        assert!(LANES.iter().any(|lane| lane.kind == kind), "{}", kind.as_str());
    }
}
