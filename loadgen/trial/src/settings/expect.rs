//! What is accepted, and beyond what the measurement is not trusted.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::human;

/// Beyond these the measurement may have missed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Schedule lag, p99 of each lane.
    #[serde(with = "human")]
    pub schedule_lag: Duration,
    /// Longest gap on one pod that may go unseen.
    #[serde(with = "human")]
    pub detection_floor: Duration,
}

/// What is accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Expect {
    /// Failed requests allowed in an arm.
    pub failed: Allowed,
    /// Late requests allowed in an arm.
    pub late: Allowed,
    /// How many trial arms must pass.
    pub arms: ArmsExpected,
    /// Edges that must be so far apart, for every terminated pod.
    pub timeline: Vec<TimelineExpectation>,
}

/// A bound on a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// At most so many.
    AtMost(u64),
    /// Any number.
    Any,
}

impl Allowed {
    /// True if so many are accepted.
    #[must_use]
    pub const fn accepts(self, count: u64) -> bool {
        match self {
            Self::AtMost(most) => count <= most,
            Self::Any => true,
        }
    }
}

impl Serialize for Allowed {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::AtMost(most) => serializer.serialize_u64(*most),
            Self::Any => serializer.serialize_str("any"),
        }
    }
}

impl<'de> Deserialize<'de> for Allowed {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Count(u64),
            Text(String),
        }
        match Raw::deserialize(deserializer)? {
            Raw::Count(most) => Ok(Self::AtMost(most)),
            Raw::Text(text) if text == "any" => Ok(Self::Any),
            Raw::Text(text) => {
                Err(serde::de::Error::custom(format!("`{text}` is neither a number nor `any`")))
            }
        }
    }
}

/// How many trial arms must pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArmsExpected {
    /// Every one.
    All,
    /// At least one.
    Any,
}

/// `{edge, after, seconds, within}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimelineExpectation {
    /// The edge.
    pub edge: Edge,
    /// Measured from this one.
    pub after: Edge,
    /// So many seconds.
    pub seconds: f64,
    /// Give or take.
    pub within: f64,
}

/// An edge of a pod's timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "each is the field of the same name in a report's timeline")]
pub enum Edge {
    DeleteRequested,
    Terminating,
    T0,
    PreStopStarted,
    PreStopEnded,
    Sigterm,
    ListenerClosed,
    Drained,
    Killed,
    Exited,
    IpGone,
    Gone,
}
