//! Work on one slot: from the moment it is due to its one record.
//!
//! * here: what all slots have in common, and HTTP/1
//! * `multiplexed`: HTTP/2
//! * `pooled`: a client that is not ours
//! * `answer`: what an answer carries

mod answer;
mod multiplexed;
mod pooled;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use nix::errno::Errno;
use tokio::time::sleep;
use trial::record::{Class, Flags, Record};
use trial::settings::LaneKind;

use crate::classify::{self, Echo, Ending, Seen};
use crate::connection::{Connection, Destination};
use crate::hand::Hand;
use crate::head::{Answers, Head};
use crate::http1::{Failure, Reader};
use crate::lane::{Lane, Seat};
use crate::route::{Pick, syn_pause};
use crate::stream::{Kept, Notes};
use crate::turn::Turn;
use crate::worker::Worker;
use answer::BodyEcho;
use multiplexed::Stream;

/// The state of a slot's work. It outlives the work itself, which a timeout or an interrupt may cancel anywhere.
pub(crate) struct Attempt {
    lane: Rc<Lane>,
    turn: u64,
    record: Cell<Record>,
    /// For a connection to be free, or leave to open one.
    waits: Cell<bool>,
    /// A connection is established, and TLS is being agreed on.
    securing: Cell<bool>,
    /// Of the connection in use; `None` while there is none.
    notes: RefCell<Option<Rc<Notes>>>,
    /// The stream of a shared connection, while there is one.
    stream: RefCell<Option<Stream>>,
    /// What a client told that is not ours, while there is one.
    told: Cell<Option<Seen>>,
    /// The connection after a complete answer.
    left: RefCell<Option<Left>>,
}

/// A connection that carried a complete answer, and what it is still good for.
pub(crate) struct Left {
    pub(crate) connection: Box<Connection>,
    pub(crate) seat: Seat,
    pub(crate) reusable: bool,
}

enum Sent {
    Ended(Ending),
    /// The kept connection was closed before a byte of the request was written.
    Stale(Seat),
}

impl Attempt {
    /// `turn`: see [`Lane::take`].
    pub(crate) fn new(lane: Rc<Lane>, record: Record, turn: u64) -> Self {
        Self {
            lane,
            turn,
            record: Cell::new(record),
            waits: Cell::new(false),
            securing: Cell::new(false),
            notes: RefCell::new(None),
            stream: RefCell::new(None),
            told: Cell::new(None),
            left: RefCell::new(None),
        }
    }

    /// Does the work. Cancel-safe: see [`Attempt::finish`].
    pub(crate) async fn exchange(&self, hand: &Hand, worker: &Worker) -> Ending {
        if self.lane.plan.settings.kind == LaneKind::H2 {
            // Boxed, so that what HTTP/1 does is not as large as the largest of all.
            return Box::pin(self.exchange_shared(worker)).await;
        }
        if let Some(pool) = self.lane.pooled() {
            return Box::pin(self.exchange_pooled(&pool, worker)).await;
        }
        let (mut kept, mut seat) = self.lane.take(self.turn);
        if kept.is_none() && seat.is_extra() && self.lane.takes_turns() {
            drop(seat);
            (kept, seat) = match self.wait_for_turn(hand, worker).await {
                Some(Turn::Use(connection, seat)) => (Some(connection), seat),
                // Another may be free by now.
                Some(Turn::Open) => self.lane.take(self.turn),
                None => return Ending::Unsent,
            };
        }
        if let Some(connection) = kept {
            match self.send(connection, seat, worker).await {
                Sent::Ended(ending) => return ending,
                Sent::Stale(free) => seat = free,
            }
            self.lane.count_idle_close();
            self.begins_anew();
        }
        let connection = match self.open(worker, &seat).await {
            Ok(connection) => connection,
            Err(ending) => return ending,
        };
        match self.send(connection, seat, worker).await {
            Sent::Ended(ending) => ending,
            // Only kept connections can be stale.
            Sent::Stale(_) => Ending::Cut,
        }
    }

    /// Waits for a turn. Until then the slot is not worked on: that it is late is the engine's doing, and its time to answer
    /// has not begun.
    async fn wait_for_turn(&self, hand: &Hand, worker: &Worker) -> Option<Turn> {
        self.waits.set(true);
        let late = Duration::from_nanos(u64::from(self.record.get().start) * 100);
        let turn = self.lane.turns.wait(worker.max_lag.saturating_sub(late)).await;
        self.waits.set(false);
        let now = worker.clock.now();
        self.update(|record| record.start = record.offset(now));
        hand.has_until(now + self.lane.patience());
        turn
    }

    /// True while the slot is not worked on.
    pub(crate) fn waits(&self) -> bool {
        self.waits.get()
    }

    /// The slot's record, and the connection if it is left in order.
    pub(crate) fn finish(&self, ending: Ending, worker: &Worker) -> (Record, Option<Left>) {
        let mut record = self.record.get();
        let (head, securing) = (record.status != 0, self.securing.get());
        let mut seen = Seen { securing, head, ..Seen::default() };
        // Of an answer when it came, of all else now.
        let mut end = None;
        if let Some(stream) = self.stream.take() {
            stream.observe(&mut record, &mut seen, &mut end, ending);
            worker.stamped.set(worker.stamped.get() || stream.is_stamped());
        } else if let Some(told) = self.told.get() {
            seen = told;
        } else if let Some(notes) = self.notes.borrow().as_deref() {
            worker.stamped.set(worker.stamped.get() || notes.is_stamped());
            seen.connected = true;
            seen.written = notes.written.get() > 0 && !notes.write_blocked.get();
            seen.first_byte = notes.first_read.get().is_some();
            seen.eof = notes.eof.get();
            seen.not_tls = notes.not_tls.get();
            (seen.read_errno, seen.write_errno) = (notes.read_errno.get(), notes.write_errno.get());
            if let (Some(at), true, 0) = (notes.last_write.get(), seen.written, seen.write_errno) {
                record.write_done = record.offset(at);
            }
            if let Some(at) = notes.first_read.get() {
                record.first_byte = record.offset(at);
            }
            if let (Some(at), Ending::Answered(_)) = (notes.last_read.get(), ending) {
                // The kernel had it then; that our task ran later is not the service's doing.
                // But where not the last byte but the close made it whole, the analysis asks what else happened then.
                let close_delimited = record.flags.has(Flags::CLOSE_DELIMITED);
                end = if close_delimited { notes.eof_at.get() } else { Some(at) };
            }
            if notes.closed_before_write.get() {
                record.flags.set(Flags::CLOSE_SEEN);
            }
        }
        let judgement = classify::judge(ending, &seen);
        record.end = record.offset(end.unwrap_or_else(|| worker.clock.now()));
        (record.class, record.stage, record.os_code) = (judgement.class, judgement.stage, judgement.os_code);
        if judgement.truncated {
            record.flags.set(Flags::TRUNCATED);
        }
        if judgement.unprocessed {
            record.flags.set(Flags::UNPROCESSED);
        }
        (record, self.left.take())
    }

    /// The kept connection was closed before a byte of the request was written: as if it had not been there.
    fn begins_anew(&self) {
        self.update(|record| {
            record.flags = Flags(Flags::AFTER_IDLE_CLOSE);
            (record.conn, record.nth) = (0, 0);
        });
        self.notes.replace(None);
    }

    fn update(&self, change: impl FnOnce(&mut Record)) {
        let mut record = self.record.get();
        change(&mut record);
        self.record.set(record);
    }

    async fn open(&self, worker: &Worker, seat: &Seat) -> Result<Box<Connection>, Ending> {
        let _opening = worker.opens();
        let destination = self.destination(worker).await?;
        self.routed_to(destination);
        let number = || worker.next_connection();
        Connection::open(&self.lane, seat.home, destination, worker.clock, &self.securing, number).await
    }

    /// Where the rules send the connection, once they send it anywhere.
    async fn destination(&self, worker: &Worker) -> Result<Destination, Ending> {
        let mut random = worker.draw();
        let from = worker.route.origin(worker.node, random);
        self.update(|record| record.node = from);
        self.lane.travel().await;
        // The kernel sends a SYN that nobody answered again. Each meets the rules as they are by then.
        for sent in 1_u32.. {
            match worker.route.pick(from, random) {
                Pick::To { pod, address, fallback } => {
                    return Ok(Destination { from, pod, address, fallback });
                }
                Pick::Rejected => {
                    self.was_rejected();
                    self.lane.travel().await;
                    return Err(Ending::NotConnected(Errno::ECONNREFUSED as i32));
                }
                Pick::Unanswered => {
                    self.was_rejected();
                    sleep(syn_pause(sent)).await;
                    random = worker.draw();
                }
                Pick::Unreachable { pod, after } => {
                    self.update(|record| record.pod = pod);
                    sleep(after).await;
                    return Err(Ending::NotConnected(Errno::EHOSTUNREACH as i32));
                }
            }
        }
        // Its own timeout ends a request long before.
        Err(Ending::NotConnected(Errno::ETIMEDOUT as i32))
    }

    fn was_rejected(&self) {
        self.update(|record| {
            record.pod = trial::id::PodId::NONE;
            record.flags.set(Flags::REJECTED);
        });
    }

    fn routed_to(&self, destination: Destination) {
        self.update(|record| {
            (record.node, record.pod) = (destination.from, destination.pod);
            if destination.fallback {
                record.flags.set(Flags::FALLBACK);
            }
        });
    }

    async fn send(&self, mut connection: Box<Connection>, seat: Seat, worker: &Worker) -> Sent {
        let kept = if connection.used == 0 { Kept::No } else { Kept::Yes };
        let record = self.record.get();
        let begun = record.at(record.start).unwrap_or(record.intended);
        let looks = worker.looks_first(&self.lane, begun);
        let carried = connection.begin(&self.lane.plan.template, record.slot, looks);
        let notes = Rc::clone(&connection.notes);
        self.notes.replace(Some(Rc::clone(&notes)));
        self.routed_to(connection.destination);
        self.update(|record| {
            (record.conn, record.nth) = (connection.number, connection.used);
            if kept == Kept::Yes {
                record.flags.set(Flags::REUSED);
            }
        });
        if !self.lane.keeps_connections() {
            notes.let_peer_close();
        }
        let mut reader =
            Answer { attempt: self, worker, said: Said::default(), echo: BodyEcho::of(&carried) };
        let failure = match connection.converse(&worker.room, &mut reader).await {
            Ok(()) => {
                let class = self.judge_answer(reader.said, &reader.echo);
                if connection.destination.pod.known().is_none() && worker.route.is_sticky() {
                    connection.destination.pod = self.record.get().pod;
                }
                let reusable = self.is_reusable(&connection, class);
                self.left.replace(Some(Left { connection, seat, reusable }));
                return Sent::Ended(Ending::Answered(class));
            }
            Err(failure) => failure,
        };
        let untouched = notes.written.get() == 0 && notes.write_errno.get() == 0;
        if kept == Kept::Yes && (notes.stale.get() || untouched) {
            return Sent::Stale(seat);
        }
        Sent::Ended(match failure {
            Failure::Unparsable => Ending::Unparsable,
            Failure::Cut => Ending::Cut,
        })
    }

    /// What the answer's head says, of itself and of the pod.
    fn note_head(&self, head: &Head<'_>, worker: &Worker) -> Said {
        self.update(|record| {
            record.status = head.status;
            record.pod_state = head.pod_state;
            record.sequence = head.sequence;
            if record.pod.known().is_none() {
                record.pod = head.pod.and_then(|name| worker.pod_named(name)).unwrap_or(record.pod);
            }
        });
        let slot = match head.answers {
            Answers::Unsaid => Echo::Absent,
            Answers::Slot(slot) if slot == self.record.get().slot => Echo::Same,
            Answers::Slot(_) | Answers::Nonsense => Echo::Other,
        };
        Said { status: head.status, slot }
    }

    fn note_framing(&self, head: &Head<'_>, close_delimited: bool) {
        self.update(|record| {
            if head.announces_close() {
                record.flags.set(Flags::CLOSE_ANNOUNCED);
            }
            if close_delimited {
                record.flags.set(Flags::CLOSE_DELIMITED);
            }
        });
    }

    fn note_data(&self, echo: &mut BodyEcho<'_>, data: &[u8]) {
        echo.add(data);
        self.update(|record| record.bytes_in = echo.bytes_in());
    }

    /// What a complete answer is worth.
    fn judge_answer(&self, said: Said, body: &BodyEcho<'_>) -> Class {
        let body = match self.lane.plan.settings.kind {
            LaneKind::Post if body.is_same() => Echo::Same,
            LaneKind::Post => Echo::Other,
            _ => Echo::Absent,
        };
        classify::answer(said.status, self.lane.plan.expected, said.slot, body)
    }

    fn is_reusable(&self, connection: &Connection, class: Class) -> bool {
        // After an answer to another's request, the connection's order is lost.
        self.lane.keeps_connections()
            && class != Class::BodyCorrupt
            && connection.is_in_order()
            && !connection.notes.is_over()
            && connection.notes.write_errno.get() == 0
            // From then on it is not HTTP.
            && self.record.get().status != 101
            && !self.record.get().flags.has(Flags::CLOSE_ANNOUNCED)
            && !self.lane.has_aged(connection.opened)
            && self.lane.plan.settings.max_requests_per_connection.is_none_or(|most| connection.used < most)
    }
}

/// What an answer's head said that its judgement needs.
#[derive(Debug, Clone, Copy)]
struct Said {
    status: u16,
    slot: Echo,
}

impl Default for Said {
    fn default() -> Self {
        Self { status: 0, slot: Echo::Absent }
    }
}

/// Takes down an answer of HTTP/1 as it comes.
struct Answer<'a> {
    attempt: &'a Attempt,
    worker: &'a Worker,
    said: Said,
    echo: BodyEcho<'a>,
}

impl Reader for Answer<'_> {
    fn head(&mut self, head: &Head<'_>, until_close: bool) {
        self.said = self.attempt.note_head(head, self.worker);
        self.attempt.note_framing(head, until_close);
    }

    fn data(&mut self, data: &[u8]) {
        self.attempt.note_data(&mut self.echo, data);
    }
}
