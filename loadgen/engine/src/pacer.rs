//! Releases every slot when it is due: all lanes, from one place.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::mem;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use nix::errno::Errno;
use tokio::sync::Notify;
use tokio::task::yield_now;
use trial::arrival::Schedule;
use trial::time::Stamp;

use crate::passes::Passes;
use crate::timer::Timer;
use crate::worker::Worker;

/// Where slots are to be exact, so long before one is due the thread sleeps no more: a sleep ends late, nearly always by less
/// than this.
const AWAKE: Duration = Duration::from_millis(1);
/// Slots released in one go; after these the connections get their turn. Few, as what came due while this thread was not
/// run comes due all at once: if all of it were released before an answer is read, no connection would be found idle, each
/// slot would open its own, which takes longer than a request, and so on until nothing but connecting went on.
const BATCH: usize = 8;
/// Slots known ahead of time, at most: where more come in a pass or two, it does not matter which of them one ends with.
const AHEAD_MAX: usize = 256;

/// What the owner of an engine says to its thread.
#[derive(Debug)]
pub(crate) struct Control {
    stop_ns: AtomicU64,
    interrupted: AtomicBool,
    changed: Notify,
}

impl Control {
    pub(crate) fn new() -> Self {
        Self {
            stop_ns: AtomicU64::new(u64::MAX),
            interrupted: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    pub(crate) fn stop_at(&self, last: Stamp) {
        self.stop_ns.fetch_min(last.as_nanos(), Ordering::SeqCst);
        self.changed.notify_one();
    }

    pub(crate) fn interrupt(&self) {
        self.interrupted.store(true, Ordering::SeqCst);
        self.changed.notify_one();
    }

    fn last(&self) -> Stamp {
        Stamp::from_nanos(self.stop_ns.load(Ordering::SeqCst))
    }

    /// True once nothing more is to be sent.
    pub(crate) fn is_over(&self, now: Stamp) -> bool {
        now > self.last() || self.is_interrupted()
    }

    fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }
}

/// The schedules of all lanes, merged in order of due time.
pub(crate) struct Agenda {
    start: Stamp,
    lanes: Vec<Upcoming>,
    /// What comes next, as far as somebody has asked.
    ahead: VecDeque<Due>,
}

struct Upcoming {
    schedule: Schedule,
    slot: u64,
    due: Option<Duration>,
}

/// The next slot of an agenda.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) lane: usize,
    pub(crate) slot: u64,
    pub(crate) at: Stamp,
}

impl Agenda {
    pub(crate) fn new(start: Stamp, schedules: impl IntoIterator<Item = Schedule>) -> Self {
        let first = |mut schedule: Schedule| Upcoming { due: schedule.next(), schedule, slot: 0 };
        Self { start, lanes: schedules.into_iter().map(first).collect(), ahead: VecDeque::new() }
    }

    /// The next slot; between slots due at the same time, the lane that comes first.
    pub(crate) fn peek(&mut self) -> Option<Due> {
        if self.ahead.is_empty() {
            self.look_ahead();
        }
        self.ahead.front().copied()
    }

    /// The next slot was seen to.
    fn advance(&mut self) {
        self.ahead.pop_front();
    }

    /// When the slot is due that comes nearest to `at`, if it is within so much of it; else `at`.
    fn nearest(&mut self, at: Stamp, within: Duration) -> Stamp {
        while self.ahead.len() < AHEAD_MAX && self.ahead.back().is_none_or(|due| due.at < at) {
            if !self.look_ahead() {
                break;
            }
        }
        let later = self.ahead.partition_point(|due| due.at < at);
        let apart = |due: &Stamp| due.saturating_since(at).max(at.saturating_since(*due));
        let around = self.ahead.range(later.saturating_sub(1)..self.ahead.len().min(later + 1));
        let nearest = around.map(|due| due.at).min_by_key(apart);
        nearest.filter(|due| apart(due) <= within).unwrap_or(at)
    }

    /// False if there is nothing.
    fn look_ahead(&mut self) -> bool {
        let due = |(lane, next): (usize, &Upcoming)| {
            next.due.map(|due| Due { lane, slot: next.slot, at: self.start + due })
        };
        let next = self.lanes.iter().enumerate().filter_map(due).min_by_key(|due| (due.at, due.lane));
        let Some(due) = next else { return false };
        let lane = &mut self.lanes[due.lane];
        lane.slot += 1;
        lane.due = lane.schedule.next();
        self.ahead.push_back(due);
        true
    }
}

/// Runs the load to its end: until nothing (closed loops included) is due any more and nothing is in flight.
pub(crate) async fn run(worker: &Rc<Worker>, timer: &Timer, agenda: &mut Agenda) -> Result<(), Errno> {
    let control = Arc::clone(&worker.control);
    let control = &*control;
    let paced = pace(worker, timer, control, agenda).await;
    if paced.is_err() {
        worker.interrupt_all();
    }
    while !worker.is_quiet() {
        if control.is_interrupted() {
            worker.interrupt_all();
        }
        tokio::select! {
            () = worker.quiet.notified() => {}
            () = control.changed.notified() => {}
        }
    }
    paced
}

async fn pace(
    worker: &Rc<Worker>,
    timer: &Timer,
    control: &Control,
    agenda: &mut Agenda,
) -> Result<(), Errno> {
    worker.begin_loops(agenda.start);
    let lanes: Vec<_> = worker.lanes.iter().map(|lane| lane.passing()).collect();
    let mut passes = Passes::new(&lanes);
    let mut began = Stamp::ZERO;
    loop {
        let now = worker.clock.now();
        for _ in 0..BATCH {
            match agenda.peek() {
                _ if control.is_interrupted() || worker.slots_left.get() == 0 => return Ok(()),
                None => return Ok(()),
                Some(due) if due.at > control.last() => return Ok(()),
                Some(due) if due.at > now => break,
                Some(due) => {
                    began = now;
                    worker.release(due.lane, due.slot, due.at, now);
                    passes.note_due(due.at);
                    agenda.advance();
                }
            }
        }
        let Some(next) = agenda.peek() else { continue };
        let released = worker.clock.now();
        let gap = next.at.saturating_since(released);
        let in_flight = worker.in_flight.get() > 0;
        // Who is to be exact neither sleeps shortly before a slot is due, nor while an answer may come.
        let (sleeps, early) = if worker.exact {
            (gap >= AWAKE && !in_flight, AWAKE)
        } else {
            (gap >= passes.reach(worker.stamped.get()), Duration::ZERO)
        };
        if sleeps {
            tokio::select! {
                fired = timer.wait_until(worker.clock, released + gap.saturating_sub(early)) => fired?,
                () = control.changed.notified() => {}
            }
        } else if next.at <= released {
            look(worker).await;
        } else if worker.exact {
            poll(worker, timer, next.at).await?;
        } else {
            pass(worker, timer, &mut passes, agenda, began).await?;
        }
    }
}

/// What there is to do, and a look at the sockets. But where slots wait for a connection, only nothing to do says that they may
/// open theirs, and who polls always has something to do: so that is waited for.
async fn poll(worker: &Worker, timer: &Timer, until: Stamp) -> Result<(), Errno> {
    look(worker).await;
    if worker.lull.is_awaited() {
        return tokio::select! {
            fired = timer.wait_until(worker.clock, until) => fired,
            () = worker.lull.until_over() => Ok(()),
        };
    }
    Ok(())
}

/// To the end of the pass: what there is to do, and then nothing, whatever arrives meanwhile. But where slots wait for a connection
/// everything that arrives is of use, and nothing to do says that they may open theirs.
async fn pass(
    worker: &Worker,
    timer: &Timer,
    passes: &mut Passes,
    agenda: &mut Agenda,
    began: Stamp,
) -> Result<(), Errno> {
    let by_itself = worker.sends_by_itself();
    if by_itself {
        step_aside().await;
    }
    if !by_itself || worker.opening.get() > 0 {
        look(worker).await;
    }
    let length = passes.length(worker.in_flight.get(), worker.stamped.get());
    let next = agenda.peek().map_or(Stamp::ZERO, |due| due.at);
    if worker.lull.is_awaited() {
        look(worker).await;
        return timer.wait_until(worker.clock, next.max(began + length)).await;
    }
    // A pass that ends with a slot sends it at once, and those before it are late by less than one that ends between two.
    passes.sleep(worker.clock, length, next, |at| agenda.nearest(at, length / 2))?;
    look(worker).await;
    Ok(())
}

/// Whoever steps aside goes on after the tasks that had something to do, but not after those that these had something for, nor after a look at
/// the sockets. So what was released is sent, where the slot's own task sends it, on a connection that is open.
async fn step_aside() {
    let mut is_back = false;
    poll_fn(|cx| {
        if mem::replace(&mut is_back, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Whoever yields goes on after the sockets were looked at, and after what woke up for it, if it is a task like others: what a
/// runtime runs by itself comes before them.
async fn look(worker: &Worker) {
    let before = worker.clock.now();
    yield_now().await;
    worker.looked.set(before);
}

#[cfg(test)]
mod tests {
    use trial::settings::Arrivals;

    use super::*;

    #[test]
    fn lanes_are_merged_in_order_of_due_time() {
        let lane =
            |rate, phase| Schedule::new(rate, Arrivals::Constant, None, 0, Duration::from_millis(phase));
        let mut agenda = Agenda::new(Stamp::from_nanos(5), [lane(1000.0, 0), lane(250.0, 2), lane(0.001, 1)]);
        agenda.nearest(Stamp::from_nanos(3_500_000), Duration::ZERO);
        let mut seen = Vec::new();
        for _ in 0..9 {
            let due = agenda.peek().expect("endless");
            agenda.advance();
            seen.push((due.lane, due.slot, (due.at.as_nanos() - 5) / 1_000_000));
        }
        let expected = [
            (0, 0, 0),
            (0, 1, 1),
            (2, 0, 1),
            (0, 2, 2),
            (1, 0, 2),
            (0, 3, 3),
            (0, 4, 4),
            (0, 5, 5),
            (0, 6, 6),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn the_slot_that_comes_nearest_is_found_and_not_taken() {
        let micros = |micros: u64| Stamp::from_nanos(micros * 1000);
        let lane =
            |rate, phase| Schedule::new(rate, Arrivals::Constant, None, 0, Duration::from_micros(phase));
        // At 0, 30, 100, 200, 230, 300, 400, 430 …
        let mut agenda = Agenda::new(Stamp::ZERO, [lane(10_000.0, 0), lane(5_000.0, 30)]);
        let within = Duration::from_micros(50);
        for (at, nearest) in [(3, 0), (20, 30), (64, 30), (66, 100), (100, 100), (216, 230), (9_999, 10_000)]
        {
            assert_eq!(agenda.nearest(micros(at), within), micros(nearest), "{at}");
        }
        assert_eq!(agenda.nearest(micros(160), Duration::from_micros(30)), micros(160), "none is near");
        assert_eq!(agenda.peek().map(|due| due.at), Some(Stamp::ZERO));
        // So many are not asked for in one go.
        let far = Duration::from_hours(1);
        assert_eq!(agenda.nearest(Stamp::ZERO + far, within), Stamp::ZERO + far);
        assert_eq!(agenda.ahead.len(), AHEAD_MAX);
        let mut none = Agenda::new(Stamp::ZERO, []);
        assert_eq!(none.nearest(micros(7), within), micros(7));
    }

    #[test]
    fn the_earliest_stop_wins() {
        let control = Control::new();
        for nanos in [7, 5, 9] {
            control.stop_at(Stamp::from_nanos(nanos));
        }
        assert_eq!(control.last(), Stamp::from_nanos(5));
    }
}
