//! An ordinary client with a pool of its own: reqwest, as it comes. What it thinks safe to send again, it sends again, and
//! says nothing of it: that is what this is for. Our own lanes beside it show what it hid.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder};
use tokio::time::sleep;
use trial::id::NodeId;

use crate::error::EngineError;
use crate::route::{Pick, Route, syn_pause};

/// Never looked up: the resolver answers with what the route picks. Without a port, so that the picked one counts.
pub(crate) const ORIGIN: &str = "http://service.invalid";

/// A lane's client, and how many connections it asked for.
#[derive(Debug, Clone)]
pub(crate) struct Pooled {
    pub(crate) client: Client,
    asked: Arc<AtomicU64>,
}

impl Pooled {
    /// `connections`: kept ones.
    pub(crate) fn new(
        route: Arc<dyn Route>,
        node: NodeId,
        connections: usize,
        seed: u64,
    ) -> Result<Self, EngineError> {
        let asked = Arc::<AtomicU64>::default();
        let random = Mutex::new(fastrand::Rng::with_seed(seed));
        let routed = Routed(Arc::new(Rules { route, node, random, asked: Arc::clone(&asked) }));
        let client = ClientBuilder::new()
            .no_proxy()
            .redirect(Policy::none())
            .pool_max_idle_per_host(connections)
            .dns_resolver(routed)
            .build()
            .map_err(|error| EngineError::Client { reason: error.to_string() })?;
        Ok(Self { client, asked })
    }

    /// Connections that it tried to open.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

/// New connections go where the route says.
struct Routed(Arc<Rules>);

struct Rules {
    route: Arc<dyn Route>,
    node: NodeId,
    random: Mutex<fastrand::Rng>,
    asked: Arc<AtomicU64>,
}

impl Rules {
    fn pick(&self) -> Pick {
        let random = self.random.lock().unwrap_or_else(PoisonError::into_inner).u64(..);
        // Which request goes by which connection nobody tells: all come from one node.
        self.route.pick(self.node, random)
    }

    /// As for our own lanes: see `Attempt::destination`.
    async fn address(&self) -> Result<SocketAddr, Failure> {
        let errno = |errno: Errno| io::Error::from_raw_os_error(errno as i32);
        for sent in 1_u32.. {
            match self.pick() {
                Pick::To { address, .. } => return Ok(address),
                Pick::Rejected => return Err(Rejected(errno(Errno::ECONNREFUSED)).into()),
                Pick::Unanswered => sleep(syn_pause(sent)).await,
                Pick::Unreachable { after, .. } => {
                    sleep(after).await;
                    return Err(errno(Errno::EHOSTUNREACH).into());
                }
            }
        }
        Err(errno(Errno::ETIMEDOUT).into())
    }
}

impl Resolve for Routed {
    fn resolve(&self, _name: Name) -> Resolving {
        let rules = Arc::clone(&self.0);
        Box::pin(async move {
            let address = rules.address().await?;
            rules.asked.fetch_add(1, Ordering::Relaxed);
            Ok::<Addrs, _>(Box::new(std::iter::once(address)))
        })
    }
}

type Failure = Box<dyn Error + Send + Sync>;

/// The rules named no endpoint.
#[derive(Debug, thiserror::Error)]
#[error("the rules name no endpoint")]
struct Rejected(#[source] io::Error);

/// True if no pod refused, but the rules.
pub(crate) fn is_rejected(error: &(dyn Error + 'static)) -> bool {
    chain(error).any(<dyn Error>::is::<Rejected>)
}

/// An error and those behind it.
pub(crate) fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| behind(*error))
}

fn behind<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    // The source of an `io::Error` that wraps another is that one's source: the other itself would be passed over.
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

/// The operating system's error number behind an error, if there is one.
pub(crate) fn errno(error: &(dyn Error + 'static)) -> Option<i32> {
    chain(error).find_map(|error| error.downcast_ref::<io::Error>()?.raw_os_error())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_error_number_is_found_however_deep_it_lies() {
        let inner = io::Error::from_raw_os_error(Errno::ECONNRESET as i32);
        let outer = io::Error::other(io::Error::other(inner));
        assert_eq!(errno(&outer), Some(Errno::ECONNRESET as i32));
        assert_eq!(errno(&io::Error::other("no number")), None);
        assert_eq!(syn_pause(1), Duration::from_secs(1));
    }
}
