//! The engine's thread from the inside: what its tasks share, and how a slot comes to be worked on.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use clock::Clock;
use tokio::sync::Notify;
use tokio::task::{spawn_local, yield_now};
use tokio::time::{sleep, timeout};
use trial::id::{LaneId, NodeId, PodId};
use trial::record::{Class, Flags, Record, Stage};
use trial::settings::{Arrivals, LaneKind};
use trial::time::Stamp;

use crate::attempt::{Attempt, Left};
use crate::classify::Ending;
use crate::engine::{LaneSummary, Summary};
use crate::hand::{Hand, Hands, Job};
use crate::lane::Lane;
use crate::pacer::Control;
use crate::progress::Counters;
use crate::route::Route;
use crate::sink::{FAILURE_FLUSH, FLUSH_EVERY, Sink};
use crate::turn::Lull;

/// A stalled taker of records gets this long at the end before the rest is counted as lost.
const LAST_ROWS_WITHIN: Duration = Duration::from_secs(2);
/// A closed loop that got no connection waits so long: nobody who is refused at once asks again at once.
const CLOSED_LOOP_PAUSE: Duration = Duration::from_millis(10);

/// A look at the sockets is good for so long: a close that is no older crosses the request on any network.
const LOOK_HOLDS: Duration = Duration::from_micros(200);

/// What the tasks of an engine share. All of them live on one thread.
pub(crate) struct Worker {
    pub(crate) clock: Clock,
    pub(crate) node: NodeId,
    pub(crate) agent: u8,
    pub(crate) in_flight_max: usize,
    pub(crate) max_lag: Duration,
    pub(crate) exact: bool,
    pub(crate) route: Arc<dyn Route>,
    pub(crate) random: RefCell<fastrand::Rng>,
    pub(crate) lanes: Vec<Rc<Lane>>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) sink: RefCell<Sink>,
    pub(crate) hands: RefCell<Hands>,
    pub(crate) control: Arc<Control>,
    pub(crate) lull: Arc<Lull>,
    /// When all sockets were last looked at, where slots come fast or are to be exact.
    pub(crate) looked: Cell<Stamp>,
    /// The kernel has been seen to say when it got an answer.
    pub(crate) stamped: Cell<bool>,
    /// Slots that may still come due, over all lanes.
    pub(crate) slots_left: Cell<u64>,
    /// Closed loops that go on.
    pub(crate) loops: Cell<usize>,
    pub(crate) connections: Cell<u32>,
    pub(crate) in_flight: Cell<usize>,
    /// Connections that are being opened.
    pub(crate) opening: Cell<usize>,
    /// What is read is read to here, and understood at once.
    pub(crate) room: RefCell<Box<[u8]>>,
    /// A failure waits in the sink.
    pub(crate) urgent: Notify,
    /// Nothing is in flight any more.
    pub(crate) quiet: Notify,
    pub(crate) interrupted: Cell<bool>,
}

impl Worker {
    /// A slot is due: begins its work, or records it as unsent. Either way there will be exactly one record.
    pub(crate) fn release(self: &Rc<Self>, lane: usize, slot: u64, intended: Stamp, now: Stamp) {
        let lane = &self.lanes[lane];
        self.count_due(lane);
        let record = self.record(lane.plan.id, slot, intended);
        if self.in_flight.get() >= self.in_flight_max || now.saturating_since(intended) > self.max_lag {
            self.emit(&unsent(record));
            return;
        }
        self.begin();
        let idle = self.hands.borrow_mut().idle();
        let hand = idle.unwrap_or_else(|| {
            let hand = self.hands.borrow_mut().hire();
            spawn_local(Rc::clone(self).serve(Rc::clone(&hand)));
            hand
        });
        hand.give(Job { lane: Rc::clone(lane), record });
    }

    /// Works on the slots that it is given.
    async fn serve(self: Rc<Self>, hand: Rc<Hand>) {
        loop {
            let Job { lane, mut record } = hand.next().await;
            let now = self.clock.now();
            record.start = record.offset(now);
            let turn = record.slot;
            let (_, left) = self.work(&hand, &lane, record, now, turn).await;
            if let Some(left) = left {
                settle(&lane, left).await;
            }
            if !self.hands.borrow_mut().rest(&hand) {
                return;
            }
        }
    }

    /// Begins the closed loops of the lanes that have them.
    pub(crate) fn begin_loops(self: &Rc<Self>, start: Stamp) {
        for lane in self.lanes.iter().filter(|lane| lane.plan.settings.arrivals == Arrivals::Closed) {
            for turn in 0..lane.plan.settings.connections {
                self.loops.set(self.loops.get() + 1);
                spawn_local(Rc::clone(self).repeat(Rc::clone(lane), u64::from(turn), start));
            }
        }
    }

    /// Sends a request when the one before was answered.
    async fn repeat(self: Rc<Self>, lane: Rc<Lane>, turn: u64, start: Stamp) {
        let hand = self.hands.borrow_mut().hire();
        sleep(start.saturating_since(self.clock.now())).await;
        loop {
            let now = self.clock.now();
            if self.interrupted.get() || self.control.is_over(now) || self.slots_left.get() == 0 {
                break;
            }
            let slot = self.count_due(&lane);
            let mut record = self.record(lane.plan.id, slot, now);
            record.start = 0;
            self.begin();
            match self.work(&hand, &lane, record, now, turn).await {
                (_, Some(left)) if lane.keeps_connections() => settle(&lane, left).await,
                // Whether the peer closes in time is not this loop's to wait for.
                (_, Some(left)) => drop(spawn_local(let_go(Rc::clone(&lane), left))),
                // No connection was got, or none on which a request could be sent.
                (Stage::Connect | Stage::Due | Stage::Dns | Stage::Tls, None) => {
                    sleep(CLOSED_LOOP_PAUSE).await;
                }
                (_, None) => {}
            }
        }
        self.hands.borrow_mut().dismiss(&hand);
        self.loops.set(self.loops.get() - 1);
        self.tell_if_quiet();
    }

    /// The work on a slot, to its record. Gives how far it came, and the connection if it is left in order.
    async fn work(
        &self,
        hand: &Hand,
        lane: &Rc<Lane>,
        record: Record,
        begun: Stamp,
        turn: u64,
    ) -> (Stage, Option<Left>) {
        let attempt = Attempt::new(Rc::clone(lane), record, turn);
        // What was due and is not sent by now will not be.
        let ending = if self.interrupted.get() {
            Ending::Interrupted
        } else {
            let exchange = pin!(attempt.exchange(hand, self));
            hand.until_cut(begun + lane.patience(), exchange).await
        };
        let (record, left) = if ending == Ending::Unsent || attempt.waits() {
            self.counters.not_begun();
            (unsent(record), None)
        } else {
            attempt.finish(ending, self)
        };
        self.emit(&record);
        self.in_flight.set(self.in_flight.get() - 1);
        self.tell_if_quiet();
        (record.stage, left)
    }

    /// Ends requests whose time is over. Runs until it is dropped.
    pub(crate) async fn cut_forever(self: Rc<Self>) {
        let shortest = self.lanes.iter().map(|lane| lane.patience()).min().unwrap_or(Duration::MAX);
        loop {
            let now = self.clock.now();
            // Where this thread stood still, an answer may lie in the kernel that came in time. Whoever yields goes on only
            // after the sockets were looked at; the second time, after those were served that had something.
            yield_now().await;
            yield_now().await;
            let newest = now + shortest;
            let next = self.hands.borrow().cut_overdue(now).map_or(newest, |next| next.min(newest));
            sleep(next.saturating_since(now)).await;
        }
    }

    /// Lets slots open connections when that is right. Runs until it is dropped.
    pub(crate) async fn use_lulls(self: Rc<Self>) {
        self.lull.use_forever(self.lanes.iter().map(|lane| &lane.turns)).await;
    }

    /// Whether the peer's end is looked for just before a request, begun then, goes out on a kept connection. Not where that was done a moment
    /// ago: where slots come fast, by the look at all sockets before them. And not in a closed loop, whose requests follow the
    /// answers at once: it asks how much a service can do, and a look a request would be a fair part of what it costs. A close
    /// that comes within that moment, and that the runtime has not heard of, is recorded as crossed by the request, although it was
    /// here a little earlier.
    pub(crate) fn looks_first(&self, lane: &Lane, begun: Stamp) -> bool {
        lane.plan.settings.arrivals != Arrivals::Closed
            && begun.saturating_since(self.looked.get()) >= LOOK_HOLDS
    }

    /// True if a slot's own task sends its request, in every lane, and none but that: no task of a connection that is shared, or is not ours.
    pub(crate) fn sends_by_itself(&self) -> bool {
        self.lanes.iter().all(|lane| !matches!(lane.plan.settings.kind, LaneKind::H2 | LaneKind::Pooled))
    }

    /// A connection is being opened, until what is given is dropped.
    pub(crate) fn opens(&self) -> impl Drop {
        struct Opening<'a>(&'a Cell<usize>);
        impl Drop for Opening<'_> {
            fn drop(&mut self) {
                self.0.set(self.0.get() - 1);
            }
        }
        self.opening.set(self.opening.get() + 1);
        Opening(&self.opening)
    }

    fn begin(&self) {
        self.in_flight.set(self.in_flight.get() + 1);
        self.counters.begun();
    }

    /// Counts a slot of the lane; its index.
    fn count_due(&self, lane: &Lane) -> u64 {
        let slot = lane.scheduled.get();
        lane.scheduled.set(slot + 1);
        self.slots_left.set(self.slots_left.get().saturating_sub(1));
        slot
    }

    /// True once nothing is under way and nothing will be by itself.
    pub(crate) fn is_quiet(&self) -> bool {
        self.in_flight.get() == 0 && self.loops.get() == 0
    }

    fn tell_if_quiet(&self) {
        if self.is_quiet() {
            self.quiet.notify_one();
        }
    }

    /// Ends what is in flight.
    pub(crate) fn interrupt_all(&self) {
        self.interrupted.set(true);
        self.hands.borrow().cut_all();
    }

    /// By chance.
    pub(crate) fn draw(&self) -> u64 {
        self.random.borrow_mut().u64(..)
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
        let ended = self.clock.now();
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
            connections_opened: lane.connections_opened(),
            idle_closes: lane.idle_closes.get(),
            overflowed: self.sink.borrow().overflowed(index),
        };
        Summary { ended, lanes: self.lanes.iter().enumerate().map(summarise).collect() }
    }

    fn record(&self, lane: LaneId, slot: u64, intended: Stamp) -> Record {
        Record { agent: self.agent, node: self.node, ..Record::due(slot, intended, lane) }
    }

    fn emit(&self, record: &Record) {
        self.counters.ended(record);
        self.sink.borrow_mut().push(*record);
        if record.class != Class::None {
            self.urgent.notify_one();
        }
    }
}

/// The record of a slot that was not sent.
fn unsent(mut record: Record) -> Record {
    record.start = Record::UNSEEN;
    record.flags.set(Flags::UNSENT);
    record
}

/// Keeps the connection for a later slot, or sees it off. The slot's record is already out.
async fn settle(lane: &Lane, left: Left) {
    let Left { connection, seat, reusable } = left;
    if !lane.keeps_connections() {
        drop(seat);
        connection.let_peer_close(lane.plan.one_way).await;
        return;
    }
    if !reusable {
        return;
    }
    if connection.is_sent() {
        seat.keep(connection);
        return;
    }
    // The answer overtook the end of the request.
    match timeout(lane.patience(), connection.send_rest()).await {
        Ok(true) => seat.keep(connection),
        Ok(false) => lane.count_idle_close(),
        Err(_stuck) => {}
    }
}

/// [`settle`], as a task of its own.
async fn let_go(lane: Rc<Lane>, left: Left) {
    settle(&lane, left).await;
}
