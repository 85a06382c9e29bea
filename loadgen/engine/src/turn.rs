//! Slots that found every connection of their lane busy.
//!
//! An open loop does not wait for the service: such a slot opens a connection of its own. But connections are busy too
//! while their answers lie in the kernel and this thread has not come to read them, be it that it did not run for a moment
//! or that it has much to do. To open one takes several times what a request takes, so a client that answered its own
//! delay by opening connections would fall behind for good, and do nothing else in the end.
//!
//! So a slot opens its connection as soon as the engine has nothing else to do: then it is the service that keeps the
//! others busy. Until then it takes whichever becomes free. That is a matter of microseconds, unless the engine is at its
//! limit; a slot for which it lasts beyond the greatest lag allowed is unsent, like others that the engine is late with.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::connection::Connection;
use crate::lane::Seat;

/// Slots that open theirs at once. While they do, others may find a connection free.
const TOGETHER: usize = 32;

/// What a slot is to do that waited.
#[derive(Debug)]
pub(crate) enum Turn {
    /// This connection is free.
    Use(Box<Connection>, Seat),
    /// Open one.
    Open,
}

/// The slots of a lane that wait, the first first.
#[derive(Debug)]
pub(crate) struct Turns {
    queue: RefCell<VecDeque<oneshot::Sender<Turn>>>,
    lull: Arc<Lull>,
}

impl Turns {
    pub(crate) fn new(lull: &Arc<Lull>) -> Self {
        Self { queue: RefCell::default(), lull: Arc::clone(lull) }
    }

    /// Waits for a turn; `None` if there was none within this time.
    pub(crate) async fn wait(&self, within: Duration) -> Option<Turn> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut queue = self.queue.borrow_mut();
            while queue.front().is_some_and(oneshot::Sender::is_closed) {
                queue.pop_front();
            }
            queue.push_back(sender);
        }
        let _waiter = Waiter::new(&self.lull);
        timeout(within, receiver).await.ok()?.ok()
    }

    /// Gives a connection to the slot that has waited longest; gives it back if none waits.
    pub(crate) fn give(&self, connection: Box<Connection>, seat: Seat) -> Option<(Box<Connection>, Seat)> {
        let mut turn = Turn::Use(connection, seat);
        loop {
            let Some(next) = self.queue.borrow_mut().pop_front() else { break };
            match next.send(turn) {
                Ok(()) => return None,
                // It waits no longer.
                Err(back) => turn = back,
            }
        }
        match turn {
            Turn::Use(connection, seat) => Some((connection, seat)),
            Turn::Open => None,
        }
    }

    /// Lets some open theirs.
    fn open_some(&self) {
        let mut left = TOGETHER;
        while left > 0 {
            let Some(next) = self.queue.borrow_mut().pop_front() else { return };
            left -= usize::from(next.send(Turn::Open).is_ok());
        }
    }
}

/// Knows when the engine has nothing to do.
#[derive(Debug, Default)]
pub(crate) struct Lull {
    waiting: AtomicUsize,
    come: Notify,
    over: Notify,
}

impl Lull {
    /// True if a slot waits.
    pub(crate) fn is_awaited(&self) -> bool {
        self.waiting.load(Relaxed) > 0
    }

    /// Returns once no slot waits any more. Only for who knows that one does.
    pub(crate) async fn until_over(&self) {
        self.over.notified().await;
    }

    /// The thread is about to sleep until something comes.
    pub(crate) fn begins(&self) {
        if self.is_awaited() {
            self.come.notify_one();
        }
    }

    /// Gives turns whenever there is nothing else to do. Runs until it is dropped.
    pub(crate) async fn use_forever<'a>(&self, lanes: impl Iterator<Item = &'a Turns> + Clone) {
        loop {
            self.come.notified().await;
            // Answers may have come that this thread has not asked for: whoever yields goes on after the sockets were looked
            // at. When there is nothing to do after that as well, nothing is left that could free a connection.
            yield_now().await;
            self.come.notified().await;
            for turns in lanes.clone() {
                turns.open_some();
            }
        }
    }
}

/// A slot that waits, for as long as it does.
struct Waiter(Arc<Lull>);

impl Waiter {
    fn new(lull: &Arc<Lull>) -> Self {
        lull.waiting.fetch_add(1, Relaxed);
        Self(Arc::clone(lull))
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if self.0.waiting.fetch_sub(1, Relaxed) == 1 {
            self.0.over.notify_waiters();
        }
    }
}
