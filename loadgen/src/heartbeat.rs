//! Notices when this process stood still: stopped, starved or swapped out.
//!
//! While it did, no load was sent, no pod's clock was served and no event was stamped, so what the run says of that
//! time is the machine's doing and not the service's. The engine's schedule lag shows a stall of its own thread alone.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use clock::Clock;
use trial::time::Stamp;

/// How often it beats.
const EVERY: Duration = Duration::from_millis(20);
/// A beat so much later than it was due is a stall. Below this a busy machine's scheduler is at work, which the
/// schedule lag of each request tells more exactly.
const STALL: Duration = Duration::from_millis(150);

/// The beating thread.
#[derive(Debug)]
pub struct Heartbeat {
    stop: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Heartbeat {
    /// Starts it. `stalled` is told when a stall was over and how many nanoseconds it had lasted.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn start(clock: Clock, mut stalled: impl FnMut(Stamp, u64) + Send + 'static) -> io::Result<Self> {
        let (stop, stopped) = mpsc::sync_channel(1);
        let thread = thread::Builder::new().name("heartbeat".to_owned()).spawn(move || {
            let mut last = clock.now();
            while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                let now = clock.now();
                let late = now.saturating_since(last).saturating_sub(EVERY);
                if late >= STALL {
                    stalled(now, u64::try_from(late.as_nanos()).unwrap_or(u64::MAX));
                }
                // Whoever is told may be slow to take it, which is no stall of the process.
                last = clock.now();
            }
        })?;
        Ok(Self { stop, thread })
    }

    /// False once its thread has ended.
    #[must_use]
    pub fn is_beating(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Ends it, so that no event comes after the recording's end.
    pub fn stop(self) {
        let _ended = self.stop.try_send(());
        let _panicked = self.thread.join();
    }
}
