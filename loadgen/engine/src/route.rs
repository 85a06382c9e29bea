//! Where a new connection goes.

use std::net::SocketAddr;
use std::time::Duration;

use trial::id::{NodeId, PodId};

/// After the first, so many more SYNs follow a second apart, of which the last doubles the pause.
const SYNS_EACH_SECOND: u32 = 5;

/// How long the kernel waits before it sends a SYN that nobody answered again, after so many: each second at first, then
/// after twice as long each time (`tcp_syn_linear_timeouts`, since Linux 6.5).
pub(crate) fn syn_pause(sent: u32) -> Duration {
    Duration::from_secs(1 << sent.saturating_sub(SYNS_EACH_SECOND).min(6))
}

/// Decides where a new connection goes, as the rules of a node do: consulted once for each connection, at the time
/// it is opened, and never again while it lives.
pub trait Route: Send + Sync + 'static {
    /// The node that a new connection comes from, by a uniformly random number, which `pick` gets as well; `own` is the
    /// engine's, where it plays no other part. Called on the engine's thread: it must not block.
    fn origin(&self, own: NodeId, _random: u64) -> NodeId {
        own
    }

    /// What the rules of that node pick by a uniformly random number. Called on the engine's thread: it must not block.
    fn pick(&self, from: NodeId, random: u64) -> Pick;

    /// The pod of this name, as an answer gives it in `drainproof-pod`. Asked only where `pick` named none: behind an
    /// address of somebody else's, the answer alone tells who gave it. Called on the engine's thread, once an answer:
    /// it must not block.
    fn pod_named(&self, _name: &str) -> Option<PodId> {
        None
    }

    /// True if whatever answers on a connection answers all of it: so with a Service, whose rules choose once a
    /// connection, but not with a proxy that speaks HTTP.
    fn is_sticky(&self) -> bool {
        false
    }
}

/// Closures are routes.
impl<F: Fn(u64) -> Pick + Send + Sync + 'static> Route for F {
    fn pick(&self, _from: NodeId, random: u64) -> Pick {
        self(random)
    }
}

/// The answer of a [`Route`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pick {
    /// Connect to this address.
    To {
        /// The pod behind it, [`PodId::NONE`] if unknown.
        pod: PodId,
        /// Its address.
        address: SocketAddr,
        /// Named only because nothing else was ready: the record carries `FALLBACK`.
        fallback: bool,
    },
    /// The rules name no endpoint and reject: connect-refused at once, with the flag `REJECTED` and no pod.
    Rejected,
    /// The same, and the kernel's answer is lost (it sends few ICMP errors to one client): the route is asked again when
    /// TCP would send its SYN again, until the request's own timeout. The record carries `REJECTED`, whatever comes.
    Unanswered,
    /// The address is gone: connect-unreachable (EHOSTUNREACH) after this time, or connect-timeout if the
    /// request's own timeout comes first.
    Unreachable {
        /// The pod that had the address.
        pod: PodId,
        /// How long the kernel would try.
        after: Duration,
    },
}

/// Every connection to one address, for load on a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Direct(pub SocketAddr);

impl Route for Direct {
    fn pick(&self, _from: NodeId, _random: u64) -> Pick {
        Pick::To { pod: PodId::NONE, address: self.0, fallback: false }
    }
}

/// A route whose answers name their pods: `pods` finds the pod of a name.
#[derive(Debug, Clone, Copy)]
pub struct Named<R, N> {
    /// Where connections go.
    pub route: R,
    /// From a name to its pod.
    pub pods: N,
    /// See [`Route::is_sticky`].
    pub sticky: bool,
}

impl<R: Route, N: Fn(&str) -> Option<PodId> + Send + Sync + 'static> Route for Named<R, N> {
    fn origin(&self, own: NodeId, random: u64) -> NodeId {
        self.route.origin(own, random)
    }

    fn pick(&self, from: NodeId, random: u64) -> Pick {
        self.route.pick(from, random)
    }

    fn pod_named(&self, name: &str) -> Option<PodId> {
        (self.pods)(name)
    }

    fn is_sticky(&self) -> bool {
        self.sticky
    }
}
