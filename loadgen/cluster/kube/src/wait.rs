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

/// Looks until the condition is met, it can never be, or the time is over. A call that fails is no more than a look that
/// saw nothing.
pub(crate) async fn until<T, F>(limit: Duration, mut look: impl FnMut() -> F) -> Result<T, ClusterError>
where
    F: Future<Output = Result<Look<T>, ClusterError>>,
{
    let deadline = Instant::now() + limit;
    loop {
        let over = Instant::now() >= deadline;
        match look().await {
            Ok(Look::Met(value)) => return Ok(value),
            Ok(Look::NotYet(last_state)) if over => {
                return Err(ClusterError::NotReady { timeout: limit, last_state });
            }
            Err(error) if over || !matches!(error, ClusterError::Backend(_)) => return Err(error),
            Ok(Look::NotYet(_)) | Err(_) => sleep(EVERY).await,
        }
    }
}
