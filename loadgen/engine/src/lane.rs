//! What the slots of one lane share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use trial::id::LaneId;
use trial::settings::{Lane as LaneSettings, LaneKind, StatusRange};

use crate::connection::Connection;
use crate::pool::{Home, Pool};
use crate::request::Template;

/// Built on the caller's thread, so that what is invalid is refused before anything runs.
#[derive(Debug)]
pub(crate) struct LanePlan {
    pub(crate) id: LaneId,
    pub(crate) settings: LaneSettings,
    pub(crate) template: Template,
    pub(crate) expected: StatusRange,
    pub(crate) timeout: Duration,
}

/// A lane at work, on the engine's thread.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) plan: LanePlan,
    pool: RefCell<Pool<Connection>>,
    pub(crate) scheduled: Cell<u64>,
    pub(crate) opened: Cell<u64>,
    pub(crate) idle_closes: Cell<u64>,
}

impl Lane {
    pub(crate) fn new(plan: LanePlan) -> Rc<Self> {
        let places = usize::try_from(plan.settings.connections).unwrap_or(usize::MAX);
        Rc::new(Self {
            plan,
            pool: RefCell::new(Pool::new(places)),
            scheduled: Cell::new(0),
            opened: Cell::new(0),
            idle_closes: Cell::new(0),
        })
    }

    pub(crate) fn keeps_connections(&self) -> bool {
        self.plan.settings.kind != LaneKind::New
    }

    /// A kept connection for the slot if there is one, and the seat that the slot's connection holds.
    pub(crate) fn take(self: &Rc<Self>, slot: u64) -> (Option<Connection>, Seat) {
        let (connection, home) =
            if self.keeps_connections() { self.pool.borrow_mut().take(slot) } else { (None, None) };
        (connection, Seat { lane: Some(Rc::clone(self)), home })
    }

    /// The connection's task ended. If the connection was idle, that was the peer's close, and is counted.
    pub(crate) fn connection_ended(&self, home: Home, number: u32) {
        let closed = self.pool.borrow_mut().closed(home, number);
        if closed.is_some() {
            self.count_idle_close();
        }
    }

    pub(crate) fn count_idle_close(&self) {
        self.idle_closes.set(self.idle_closes.get() + 1);
    }
}

/// A connection's place in its lane, vacated when dropped: also when the slot's work is cancelled.
#[derive(Debug)]
pub(crate) struct Seat {
    lane: Option<Rc<Lane>>,
    pub(crate) home: Home,
}

impl Seat {
    /// Puts a connection back for a later slot.
    pub(crate) fn keep(mut self, connection: Connection) {
        if let Some(lane) = self.lane.take() {
            let surplus = lane.pool.borrow_mut().put(self.home, connection);
            drop(surplus);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(lane) = &self.lane {
            lane.pool.borrow_mut().vacate(self.home);
        }
    }
}
