//! What control arms show without any disruption, and how much of another arm's failed and late requests that accounts for.

use std::collections::BTreeMap;

use super::Evidence;
use crate::record::Class;
use crate::report::{Arm, Lane};
use crate::statistics::rate_at_least;

/// Failures that chance brings about this seldom at the control arms' rate, or more seldom, are clearly beyond theirs.
const BEYOND: f64 = 0.001;

/// Classes that one and the same trouble may show as, depending on microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "names that say what they are")]
pub enum Kind {
    NoName,
    NoConnection,
    NoHandshake,
    Cut,
    Silence,
    BadAnswer,
}

impl Kind {
    /// The kind of a failed request's class.
    #[must_use]
    pub const fn of(class: Class) -> Self {
        match class {
            Class::Dns => Self::NoName,
            Class::ConnectRefused | Class::ConnectTimeout | Class::ConnectUnreachable => Self::NoConnection,
            Class::Tls => Self::NoHandshake,
            Class::WaitTimeout | Class::BodyTimeout => Self::Silence,
            Class::BodyCorrupt | Class::Http4xx | Class::Http5xx | Class::StatusUnexpected => Self::BadAnswer,
            _ => Self::Cut,
        }
    }
}

/// What happens without a disruption, by lane.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usual {
    lanes: BTreeMap<String, OfLane>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct OfLane {
    sent: u64,
    late: u64,
    failed: BTreeMap<Kind, u64>,
}

impl Usual {
    /// Sums control arms.
    pub fn of<'a>(controls: impl Iterator<Item = (&'a Arm, &'a Evidence)>) -> Self {
        let mut lanes: BTreeMap<String, OfLane> = BTreeMap::new();
        for (arm, evidence) in controls {
            for lane in &arm.lanes {
                let sum = lanes.entry(lane.name.clone()).or_default();
                sum.sent += lane.requests.sent;
                sum.late += evidence.late_by_lane.get(&lane.name).copied().unwrap_or_default();
                for (kind, failed) in evidence.failed_by_lane.get(&lane.name).into_iter().flatten() {
                    *sum.failed.entry(*kind).or_default() += failed;
                }
            }
        }
        Self { lanes }
    }

    /// How many of the arm's late requests would have been late without a disruption. Lane by lane: one that is slow anyway
    /// excuses no other.
    pub(super) fn late(&self, arm: &Arm, evidence: &Evidence) -> u64 {
        let of_lane = |lane: &Lane| {
            let late = evidence.late_by_lane.get(&lane.name).copied().unwrap_or_default();
            let Some(usual) = self.lanes.get(&lane.name) else { return 0 };
            let expected = (u128::from(usual.late) * u128::from(lane.requests.sent))
                .div_ceil(u128::from(usual.sent.max(1)));
            late.min(u64::try_from(expected).unwrap_or(u64::MAX))
        };
        arm.lanes.iter().map(of_lane).sum()
    }

    /// How many of the arm's failed requests are of lanes and kinds in which the control arms fail at a like rate. What is
    /// clearly more than theirs is not split: all of it is held against the arm.
    pub(super) fn failed(&self, arm: &Arm, evidence: &Evidence) -> u64 {
        let of_lane = |lane: &Lane| {
            let Some(usual) = self.lanes.get(&lane.name) else { return 0 };
            let is_alike = |(kind, failed): &(&Kind, &u64)| {
                let without = usual.failed.get(kind).copied().unwrap_or_default();
                let chance = rate_at_least((without, usual.sent), (**failed, lane.requests.sent));
                without > 0 && chance.is_some_and(|chance| chance > BEYOND)
            };
            let kinds = evidence.failed_by_lane.get(&lane.name).into_iter().flatten();
            kinds.filter(is_alike).map(|(_, failed)| failed).sum::<u64>()
        };
        arm.lanes.iter().map(of_lane).sum()
    }
}
