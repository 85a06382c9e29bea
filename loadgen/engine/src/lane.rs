//! What the slots of one lane share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use clock::Clock;
use tokio::time::sleep;
use trial::id::{LaneId, NodeId};
use trial::settings::{Arrivals, Lane as LaneSettings, LaneKind, StatusRange};
use trial::time::Stamp;

use crate::connection::Connection;
use crate::error::EngineError;
use crate::multiplexed::Multiplexed;
use crate::passes::Passing;
use crate::pool::{Home, Pool, Rested};
use crate::pooled::Pooled;
use crate::request::Template;
use crate::route::Route;
use crate::secure::Security;
use crate::shared::{Shared, Shares};
use crate::turn::{Lull, Turns};

/// Built on the caller's thread, so that what is invalid is refused before anything runs.
#[derive(Debug)]
pub(crate) struct LanePlan {
    pub(crate) id: LaneId,
    pub(crate) settings: LaneSettings,
    pub(crate) template: Template,
    pub(crate) expected: StatusRange,
    pub(crate) timeout: Duration,
    /// What is sent, by either side, is under way for so long: half of `load.rtt`.
    pub(crate) one_way: Duration,
    /// `None` for plain HTTP.
    pub(crate) security: Option<Security>,
}

/// A lane at work, on the engine's thread.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) plan: LanePlan,
    clock: Clock,
    kept: RefCell<Kept>,
    /// Slots that found them all busy.
    pub(crate) turns: Turns,
    pub(crate) scheduled: Cell<u64>,
    pub(crate) opened: Cell<u64>,
    pub(crate) idle_closes: Cell<u64>,
}

/// How a lane keeps its connections.
#[derive(Debug)]
enum Kept {
    /// Not at all.
    Never,
    InTurn(Pool<Box<Connection>>),
    AtRest(Rested<Box<Connection>>),
    /// Several requests at once on each.
    Together(Shared<Multiplexed>),
    /// By a client that is not ours.
    Elsewhere(Pooled),
}

impl Lane {
    /// `route`, with the node that asks it, and `seed`: of a client that picks by itself.
    pub(crate) fn new(
        plan: LanePlan,
        clock: Clock,
        (route, node): (&Arc<dyn Route>, NodeId),
        seed: u64,
        lull: &Arc<Lull>,
    ) -> Result<Rc<Self>, EngineError> {
        let count = usize::try_from(plan.settings.connections).unwrap_or(usize::MAX);
        let kept = match plan.settings.kind {
            LaneKind::New => Kept::Never,
            LaneKind::Idle => Kept::AtRest(Rested::new(plan.settings.idle, count)),
            LaneKind::Reused | LaneKind::Slow | LaneKind::Post => Kept::InTurn(Pool::new(count)),
            LaneKind::H2 => Kept::Together(Shared::new(count)),
            LaneKind::Pooled => Kept::Elsewhere(Pooled::new(Arc::clone(route), node, count, seed)?),
        };
        Ok(Rc::new(Self {
            plan,
            clock,
            kept: RefCell::new(kept),
            turns: Turns::new(lull),
            scheduled: Cell::new(0),
            opened: Cell::new(0),
            idle_closes: Cell::new(0),
        }))
    }

    /// The client that does this lane's work, if it is not ours.
    pub(crate) fn pooled(&self) -> Option<Pooled> {
        match &*self.kept.borrow() {
            Kept::Elsewhere(pooled) => Some(pooled.clone()),
            _ => None,
        }
    }

    /// Connections established; by a client that is not ours, connections that it tried to.
    pub(crate) fn connections_opened(&self) -> u64 {
        self.opened.get() + self.pooled().map_or(0, |pooled| pooled.asked())
    }

    /// How long a request may take.
    pub(crate) fn patience(&self) -> Duration {
        self.plan.settings.delay + self.plan.timeout
    }

    /// What was sent is under way.
    pub(crate) async fn travel(&self) {
        if !self.plan.one_way.is_zero() {
            sleep(self.plan.one_way).await;
        }
    }

    pub(crate) fn keeps_connections(&self) -> bool {
        self.plan.settings.kind != LaneKind::New
    }

    /// Whether the kernel is asked when it got what is read. Not in a closed loop, which asks how much a service can do: the question
    /// costs a part of what a request does.
    pub(crate) fn asks_when(&self) -> bool {
        self.plan.settings.arrivals != Arrivals::Closed
    }

    /// True if a slot that finds no connection free may wait for one that soon is. Not where connections have to rest first, nor
    /// where none are kept.
    pub(crate) fn takes_turns(&self) -> bool {
        matches!(*self.kept.borrow(), Kept::InTurn(_))
    }

    /// What there is to know before its slots are released together with others.
    pub(crate) fn passing(&self) -> Passing {
        let LaneSettings { rate, connections, kind, .. } = self.plan.settings;
        let is_stamped = self.asks_when()
            && self.keeps_connections()
            && kind != LaneKind::Pooled
            && self.plan.one_way.is_zero();
        Passing { rate, connections: self.takes_turns().then_some(connections), is_stamped }
    }

    /// A kept connection for a slot if there is one, and the seat that the slot's connection holds. Whose turn it is, is
    /// the slot's number, or in a closed loop the loop's.
    pub(crate) fn take(self: &Rc<Self>, turn: u64) -> (Option<Box<Connection>>, Seat) {
        let (connection, home) = match &mut *self.kept.borrow_mut() {
            Kept::Never | Kept::Together(_) | Kept::Elsewhere(_) => (None, None),
            // An aged one is closed as it is dropped, and the slot opens its successor.
            Kept::InTurn(pool) => {
                let (connection, home) = pool.take(turn);
                (connection.filter(|connection| !self.has_aged(connection.opened)), home)
            }
            Kept::AtRest(rested) => {
                let now = self.clock.now();
                let mut next = || rested.take(now);
                let young =
                    std::iter::from_fn(&mut next).find(|connection| !self.has_aged(connection.opened));
                (young, None)
            }
        };
        (connection, Seat { lane: Some(Rc::clone(self)), home })
    }

    /// The connection that the slot shares, or the seat of the one that is to be opened.
    pub(crate) fn share(self: &Rc<Self>, slot: u64) -> Result<Rc<Multiplexed>, SharedSeat> {
        let home = match &mut *self.kept.borrow_mut() {
            Kept::Together(pool) => match pool.take(slot) {
                Shares::Use(connection) => return Ok(connection),
                Shares::Open(home) => home,
            },
            Kept::Never | Kept::InTurn(_) | Kept::AtRest(_) | Kept::Elsewhere(_) => None,
        };
        Err(SharedSeat { lane: Rc::clone(self), home })
    }

    /// The seat of a connection that is one too many.
    pub(crate) fn extra_seat(self: &Rc<Self>) -> SharedSeat {
        SharedSeat { lane: Rc::clone(self), home: None }
    }

    /// A shared connection's task ended.
    pub(crate) fn shared_ended(&self, number: u32) {
        let gone = match &mut *self.kept.borrow_mut() {
            Kept::Together(pool) => pool.closed(number),
            Kept::Never | Kept::InTurn(_) | Kept::AtRest(_) | Kept::Elsewhere(_) => None,
        };
        // Its drop is none of the pool's business, which is free again.
        drop(gone);
    }

    /// True if a connection opened then is older than the lane lets them grow.
    pub(crate) fn has_aged(&self, opened: Stamp) -> bool {
        let age = || self.clock.now().saturating_since(opened);
        self.plan.settings.max_connection_age.is_some_and(|most| age() >= most)
    }

    /// The connection's task ended. If the connection was idle, that was the peer's close, and is counted.
    pub(crate) fn connection_ended(&self, home: Home, number: u32) {
        let closed = match &mut *self.kept.borrow_mut() {
            Kept::Never | Kept::Together(_) | Kept::Elsewhere(_) => None,
            Kept::InTurn(pool) => pool.closed(home, number),
            Kept::AtRest(rested) => rested.closed(number),
        };
        if closed.is_some() {
            self.count_idle_close();
        }
    }

    pub(crate) fn count_idle_close(&self) {
        self.idle_closes.set(self.idle_closes.get() + 1);
    }
}

/// The place of a shared connection that is being opened, vacated when dropped.
#[derive(Debug)]
pub(crate) struct SharedSeat {
    lane: Rc<Lane>,
    home: Home,
}

impl SharedSeat {
    /// It is open, and others may use it.
    pub(crate) fn fill(&mut self, connection: &Rc<Multiplexed>) {
        if let Kept::Together(pool) = &mut *self.lane.kept.borrow_mut() {
            pool.put(self.home.take(), connection);
        }
    }
}

impl Drop for SharedSeat {
    fn drop(&mut self) {
        if let Kept::Together(pool) = &mut *self.lane.kept.borrow_mut() {
            pool.vacate(self.home);
        }
    }
}

/// A connection's place in its lane, vacated when dropped: also when the slot's work is cancelled.
#[derive(Debug)]
pub(crate) struct Seat {
    lane: Option<Rc<Lane>>,
    pub(crate) home: Home,
}

impl Seat {
    /// True if its connection would be one more than the lane keeps.
    pub(crate) fn is_extra(&self) -> bool {
        self.home.is_none()
    }

    /// Gives a connection to a slot that waits for one, or puts it back for a later slot.
    pub(crate) fn keep(self, connection: Box<Connection>) {
        let Some(lane) = self.lane.clone() else { return };
        let back =
            if lane.takes_turns() { lane.turns.give(connection, self) } else { Some((connection, self)) };
        let Some((connection, mut this)) = back else { return };
        if let Some(lane) = this.lane.take() {
            connection.rests();
            let surplus = match &mut *lane.kept.borrow_mut() {
                Kept::Never | Kept::Together(_) | Kept::Elsewhere(_) => Some(connection),
                Kept::InTurn(pool) => pool.put(this.home, connection),
                Kept::AtRest(rested) => rested.put(lane.clock.now(), connection),
            };
            drop(surplus);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(lane) = &self.lane
            && let Kept::InTurn(pool) = &mut *lane.kept.borrow_mut()
        {
            pool.vacate(self.home);
        }
    }
}
