//! Waiting for conditions, with the last state in the message when the time is over.

use std::time::Duration;

use ::cluster::ClusterError;
use tokio::time::{Instant, sleep};

/// How often a condition is looked at that has no watch.
const EVERY: Duration = Duration::from_millis(200);

/// What one look saw.
pub(crate) enum Look<T> {
    Met(T),
    /// Not yet: the state in words.
    NotYet(String),
}

/// Looks until the condition is met, `look` fails, or the time is over.
pub(crate) async fn until<T, F>(limit: Duration, mut look: impl FnMut() -> F) -> Result<T, ClusterError>
where
    F: Future<Output = Result<Look<T>, ClusterError>>,
{
    let deadline = Instant::now() + limit;
    loop {
        match look().await? {
            Look::Met(value) => return Ok(value),
            Look::NotYet(last_state) if Instant::now() >= deadline => {
                return Err(ClusterError::NotReady { timeout: limit, last_state });
            }
            Look::NotYet(_) => sleep(EVERY).await,
        }
    }
}
