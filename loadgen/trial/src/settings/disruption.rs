//! What is done to the workload, and where: disruptions, and the local backend's own settings.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::human;

/// What is done to the workload under load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Disruption {
    /// Nothing: a control arm.
    None,
    /// `kubectl rollout restart`.
    RolloutRestart,
    /// Deletes pods, which are replaced.
    DeletePods {
        /// How many, one after the other.
        count: u32,
        /// Pause between two.
        #[serde(with = "human")]
        every: Duration,
        /// Grace by delete options, instead of the spec's.
        grace_period_seconds: Option<u64>,
        /// `--grace-period=0 --force`: the object is gone at once, whatever the kubelet still does.
        #[serde(default)]
        force: bool,
        /// Which pods.
        #[serde(default, skip_serializing_if = "Victim::is_default")]
        which: Victim,
        /// Further deletes of the same pod, in order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        again: Vec<Again>,
    },
    /// Evicts pods, as a drain does: a `PodDisruptionBudget` may refuse for a while.
    Evict {
        /// How many, one after the other.
        count: u32,
    },
    /// `kubectl scale`.
    Scale {
        /// To so many replicas.
        to: u32,
    },
    /// `kubectl drain` of the node with most of the pods, which is made schedulable again.
    DrainNode,
}

/// Which pods are deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Victim {
    /// Any that serves.
    #[default]
    Available,
    /// The youngest, whether it serves already or not.
    Newest,
}

impl Victim {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A further delete of a pod that is terminating.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Again {
    /// After the delete before it.
    #[serde(with = "human")]
    pub after: Duration,
    /// Its grace by delete options.
    pub grace_period_seconds: Option<u64>,
}

impl Disruption {
    /// The grace that its deletes ask for, if they ask for one.
    #[must_use]
    pub const fn grace_seconds(&self) -> Option<u64> {
        match self {
            Self::DeletePods { grace_period_seconds, .. } => *grace_period_seconds,
            _ => None,
        }
    }

    /// True for what only a real cluster does.
    #[must_use]
    pub const fn needs_cluster(&self) -> bool {
        matches!(self, Self::DrainNode)
    }

    /// The name in reports.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::RolloutRestart => "rolloutRestart",
            Self::DeletePods { .. } => "deletePods",
            Self::Evict { .. } => "evict",
            Self::Scale { .. } => "scale",
            Self::DrainNode => "drainNode",
        }
    }
}

/// Settings of the local backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Local {
    /// How long rules lag behind the slice.
    pub propagation: Propagation,
    /// Virtual nodes, each with its own rules.
    pub nodes: u8,
    /// Which kubelet is emulated.
    pub kubelet: KubeletVersion,
}

/// How long the rules of a node lag behind the slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// kube-proxy's own pacing, modelled.
    KubeProxy,
    /// A cluster of 100 nodes, sampled.
    Nodes100,
    /// A cluster of 5000 nodes, sampled.
    Nodes5000,
    /// Always this long after the delete.
    Fixed(Duration),
}

impl Propagation {
    /// Reads `kube-proxy`, `nodes-100`, `nodes-5000` or a duration.
    ///
    /// # Errors
    /// What is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "kube-proxy" => Ok(Self::KubeProxy),
            "nodes-100" => Ok(Self::Nodes100),
            "nodes-5000" => Ok(Self::Nodes5000),
            other => human::parse(other).map(Self::Fixed).map_err(|_| {
                format!(
                    "`{other}` is none of kube-proxy, nodes-100, nodes-5000, or a fixed time such as 1300ms"
                )
            }),
        }
    }
}

impl Serialize for Propagation {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::KubeProxy => serializer.serialize_str("kube-proxy"),
            Self::Nodes100 => serializer.serialize_str("nodes-100"),
            Self::Nodes5000 => serializer.serialize_str("nodes-5000"),
            Self::Fixed(duration) => serializer.serialize_str(&human::format(*duration)),
        }
    }
}

impl<'de> Deserialize<'de> for Propagation {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// A kubelet's minor version, 1.20 to 1.36.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KubeletVersion {
    /// The 34 of 1.34.
    pub minor: u16,
}

impl KubeletVersion {
    /// Reads `1.34`.
    ///
    /// # Errors
    /// What is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        text.strip_prefix("1.")
            .and_then(|minor| minor.parse().ok())
            .filter(|minor| (20..=36).contains(minor))
            .map(|minor| Self { minor })
            .ok_or_else(|| format!("`{text}` is not a kubelet version from 1.20 to 1.36"))
    }
}

impl std::fmt::Display for KubeletVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "1.{}", self.minor)
    }
}

impl Serialize for KubeletVersion {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KubeletVersion {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// Time without disruption before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settle {
    /// Before the first disruption.
    #[serde(with = "human")]
    pub before: Duration,
    /// After the last terminating pod is gone.
    #[serde(with = "human")]
    pub after: Duration,
}
