//! The engine's thread from the inside: what its tasks share, and how a slot becomes a task.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use clock::Clock;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};
use trial::id::{LaneId, NodeId, PodId};
use trial::record::{Class, Flags, Record};
use trial::time::Stamp;

use crate::attempt::{Attempt, Left};
use crate::classify::Ending;
use crate::engine::{LaneSummary, Summary};
use crate::lane::Lane;
use crate::progress::Counters;
use crate::route::{Pick, Route};
use crate::sink::{FAILURE_FLUSH, FLUSH_EVERY, Sink};

/// A stalled taker of records gets this long at the end before the rest is counted as lost.
const LAST_ROWS_WITHIN: Duration = Duration::from_secs(2);

/// What the tasks of an engine share. All of them live on one thread.
pub(crate) struct Worker {
    pub(crate) clock: Clock,
    pub(crate) node: NodeId,
    pub(crate) agent: u8,
    pub(crate) in_flight_max: usize,
    pub(crate) max_lag: Duration,
    pub(crate) route: Arc<dyn Route>,
    pub(crate) random: RefCell<fastrand::Rng>,
    pub(crate) lanes: Vec<Rc<Lane>>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) sink: RefCell<Sink>,
    pub(crate) connections: Cell<u32>,
    pub(crate) in_flight: Cell<usize>,
    /// A failure waits in the sink.
    pub(crate) urgent: Notify,
    /// Nothing is in flight any more.
    pub(crate) quiet: Notify,
    pub(crate) interrupted: Cell<bool>,
    pub(crate) interrupt: Notify,
}

impl Worker {
    /// A slot is due: begins its work, or records it as unsent. Either way there will be exactly one record.
    pub(crate) fn release(self: &Rc<Self>, lane: usize, slot: u64, intended: Stamp, now: Stamp) {
        let lane = Rc::clone(&self.lanes[lane]);
        lane.scheduled.set(lane.scheduled.get() + 1);
        let mut record = self.record(lane.plan.id, slot, intended);
        if self.in_flight.get() >= self.in_flight_max || now.saturating_since(intended) > self.max_lag {
            record.flags.set(Flags::UNSENT);
            self.emit(record);
            return;
        }
        self.in_flight.set(self.in_flight.get() + 1);
        self.counters.begun();
        spawn_local(Rc::clone(self).work(lane, record));
    }

    async fn work(self: Rc<Self>, lane: Rc<Lane>, mut record: Record) {
        record.start = record.offset(self.clock.now());
        let patience = lane.plan.settings.delay + lane.plan.timeout;
        let attempt = Attempt::new(Rc::clone(&lane), record);
        let ending = tokio::select! {
            biased;
            ending = attempt.exchange(&self) => ending,
            () = sleep(patience) => Ending::TimedOut,
            () = self.interruption() => Ending::Interrupted,
        };
        let (record, left) = attempt.finish(ending, &self);
        self.emit(record);
        self.in_flight.set(self.in_flight.get() - 1);
        if self.in_flight.get() == 0 {
            self.quiet.notify_one();
        }
        if let Some(left) = left {
            settle(&lane, left, patience).await;
        }
    }

    async fn interruption(&self) {
        if !self.interrupted.get() {
            self.interrupt.notified().await;
        }
    }

    /// Ends what is in flight.
    pub(crate) fn interrupt_all(&self) {
        self.interrupted.set(true);
        self.interrupt.notify_waiters();
    }

    /// Where a new connection goes.
    pub(crate) fn pick(&self) -> Pick {
        let random = self.random.borrow_mut().u64(..);
        self.route.pick(random)
    }

    /// The pod of this name.
    pub(crate) fn pod_named(&self, name: &str) -> Option<PodId> {
        self.route.pod_named(name)
    }

    /// The number of a new connection, from 1.
    pub(crate) fn next_connection(&self) -> u32 {
        let number = self.connections.get().saturating_add(1);
        self.connections.set(number);
        number
    }

    /// Hands chunks over as they grow old, and failures at once. Runs until it is dropped.
    pub(crate) async fn flush_forever(self: Rc<Self>) {
        loop {
            tokio::select! {
                () = self.urgent.notified() => sleep(FAILURE_FLUSH).await,
                () = sleep(FLUSH_EVERY) => {}
            }
            self.sink.borrow_mut().offer();
        }
    }

    /// Hands the last rows over, and closes the books.
    pub(crate) async fn finish(&self) -> Summary {
        let _whole = timeout(LAST_ROWS_WITHIN, async {
            while !self.sink.borrow_mut().offer() {
                sleep(FAILURE_FLUSH).await;
            }
        })
        .await;
        self.sink.borrow_mut().lose();
        let summarise = |(index, lane): (usize, &Rc<Lane>)| LaneSummary {
            lane: lane.plan.id,
            scheduled: lane.scheduled.get(),
            connections_opened: lane.opened.get(),
            idle_closes: lane.idle_closes.get(),
            overflowed: self.sink.borrow().overflowed(index),
        };
        Summary { lanes: self.lanes.iter().enumerate().map(summarise).collect() }
    }

    fn record(&self, lane: LaneId, slot: u64, intended: Stamp) -> Record {
        Record { agent: self.agent, node: self.node, ..Record::due(slot, intended, lane) }
    }

    fn emit(&self, record: Record) {
        self.counters.ended(&record);
        self.sink.borrow_mut().push(record);
        if record.class != Class::None {
            self.urgent.notify_one();
        }
    }
}

/// Keeps the connection for a later slot, or sees it off. The slot's record is already out.
async fn settle(lane: &Lane, left: Left, patience: Duration) {
    let Left { mut connection, seat, reusable } = left;
    if !lane.keeps_connections() {
        drop(seat);
        connection.let_peer_close().await;
        return;
    }
    if !reusable {
        return;
    }
    if connection.sender.is_ready() {
        seat.keep(connection);
        return;
    }
    // hyper may still have the end of the request to write, if the answer overtook it.
    match timeout(patience, connection.sender.ready()).await {
        Ok(Ok(())) => seat.keep(connection),
        Ok(Err(_closed_by_peer)) => lane.count_idle_close(),
        Err(_stuck) => {}
    }
}
