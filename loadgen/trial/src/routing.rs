//! The routing table of one node: consulted once for each new connection, as kube-proxy's rules are in the kernel.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::id::PodId;

/// How a connection's pod stood in the node's rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Routing {
    /// The node's rules named the pod as a ready endpoint.
    Programmed,
    /// The node's rules no longer named it: an established connection from before.
    Removed,
    /// Named although terminating, since no other endpoint was ready.
    Fallback,
    /// Not observed.
    Unknown,
}

impl Routing {
    /// The name in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Programmed => "programmed",
            Self::Removed => "removed",
            Self::Fallback => "fallback",
            Self::Unknown => "unknown",
        }
    }
}

/// Where a new connection may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// The pod.
    pub pod: PodId,
    /// Its address.
    pub address: SocketAddr,
    /// Serving although terminating, because nothing else is ready (KEP-1669).
    pub fallback: bool,
}

/// An immutable table. Changes are published as new tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// Programmed endpoints; empty means that connections are rejected.
    pub endpoints: Vec<Endpoint>,
}

impl Table {
    /// Picks an endpoint from a uniformly random number; `None` means REJECT: the client sees "connection refused".
    #[must_use]
    pub fn pick(&self, random: u64) -> Option<&Endpoint> {
        // Multiply-shift keeps the choice uniform without a modulo's bias worth speaking of.
        let index = (u128::from(random) * self.endpoints.len() as u128) >> 64;
        self.endpoints.get(usize::try_from(index).unwrap_or(0))
    }
}
