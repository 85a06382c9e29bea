//! The lanes of the table.

use std::time::Duration;

use trial::settings::{Lane, LaneKind};

use crate::fault::{Need, Spec, Wire};

/// A lane as it is tested.
#[derive(Debug, Clone, Copy)]
pub struct TestLane {
    /// Which.
    pub kind: LaneKind,
    /// What it speaks.
    pub wire: Wire,
    /// Slots a second.
    pub rate: f64,
    /// Kept connections.
    pub connections: u32,
    /// Delay asked of the server.
    pub delay: Duration,
    /// Rest of a connection between two requests.
    pub idle: Duration,
    /// Requests at once on a connection.
    pub streams: u32,
    /// A connection carries more than one request.
    pub keeps: bool,
    /// The answer's body must be the request's.
    pub echoes: bool,
}

/// Every lane; a line each.
#[rustfmt::skip]
pub const LANES: &[TestLane] = &[
    TestLane { kind: LaneKind::New, wire: Wire::Http1, rate: 2000.0, connections: 1, delay: Duration::ZERO, idle: Duration::ZERO, streams: 1, keeps: false, echoes: false },
    TestLane { kind: LaneKind::Reused, wire: Wire::Http1, rate: 2000.0, connections: 20, delay: Duration::ZERO, idle: Duration::ZERO, streams: 1, keeps: true, echoes: false },
    TestLane { kind: LaneKind::Slow, wire: Wire::Http1, rate: 2000.0, connections: 100, delay: Duration::from_millis(20), idle: Duration::ZERO, streams: 1, keeps: true, echoes: false },
    TestLane { kind: LaneKind::Post, wire: Wire::Http1, rate: 2000.0, connections: 20, delay: Duration::ZERO, idle: Duration::ZERO, streams: 1, keeps: true, echoes: true },
    TestLane { kind: LaneKind::Idle, wire: Wire::Http1, rate: 2000.0, connections: 200, delay: Duration::ZERO, idle: Duration::from_millis(50), streams: 1, keeps: true, echoes: false },
    TestLane { kind: LaneKind::H2, wire: Wire::Http2, rate: 2000.0, connections: 20, delay: Duration::from_millis(5), idle: Duration::ZERO, streams: 10, keeps: true, echoes: false },
];

impl TestLane {
    /// True if the fault can occur here.
    #[must_use]
    pub const fn can_have(&self, spec: &Spec) -> bool {
        match spec.need {
            Need::Nothing => true,
            Need::Kept => self.keeps,
            Need::Echo => self.echoes,
        }
    }

    /// The lane, at `rate` slots a second; if `alone`, with a request at a time on each connection.
    #[must_use]
    pub fn settings(&self, rate: f64, alone: bool) -> Lane {
        Lane {
            connections: self.connections,
            delay: self.delay,
            idle: self.idle,
            max_concurrent_streams: if alone { 1 } else { self.streams },
            ..Lane::new(self.kind, rate)
        }
    }
}
