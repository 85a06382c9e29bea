//! The lanes of the table.

use std::time::Duration;

use trial::settings::{Arrivals, Lane, LaneKind};

use crate::fault::{Need, Spec};

/// A lane as it is tested.
#[derive(Debug, Clone, Copy)]
pub struct TestLane {
    /// Which.
    pub kind: LaneKind,
    /// Slots a second.
    pub rate: f64,
    /// Kept connections.
    pub connections: u32,
    /// Delay asked of the server.
    pub delay: Duration,
    /// A connection carries more than one request.
    pub keeps: bool,
    /// The answer's body must be the request's.
    pub echoes: bool,
}

/// Every lane; a line each.
#[rustfmt::skip]
pub const LANES: &[TestLane] = &[
    TestLane { kind: LaneKind::New, rate: 2000.0, connections: 1, delay: Duration::ZERO, keeps: false, echoes: false },
    TestLane { kind: LaneKind::Reused, rate: 2000.0, connections: 20, delay: Duration::ZERO, keeps: true, echoes: false },
    TestLane { kind: LaneKind::Slow, rate: 2000.0, connections: 100, delay: Duration::from_millis(20), keeps: true, echoes: false },
    TestLane { kind: LaneKind::Post, rate: 2000.0, connections: 20, delay: Duration::ZERO, keeps: true, echoes: true },
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

    /// The lane, at `rate` slots a second.
    #[must_use]
    pub fn settings(&self, rate: f64) -> Lane {
        Lane {
            kind: self.kind,
            rate,
            connections: self.connections,
            delay: self.delay,
            arrivals: Arrivals::Constant,
            max_requests_per_connection: None,
        }
    }
}
