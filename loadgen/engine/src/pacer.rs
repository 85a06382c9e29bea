//! Releases every slot when it is due: all lanes, one timer.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use tokio::sync::Notify;
use tokio::task::yield_now;
use trial::arrival::Schedule;
use trial::time::Stamp;

use crate::passes::{self, Passes};
use crate::timer::Timer;
use crate::worker::Worker;

/// Where slots are to be exact, so long before one is due the thread sleeps no more: a sleep ends late, nearly always by less
/// than this.
const AWAKE: Duration = Duration::from_millis(1);
/// Slots released in one go; after these the connections get their turn. Few, as what came due while this thread was not
/// run comes due all at once: if all of it were released before an answer is read, no connection would be found idle, each
/// slot would open its own, which takes longer than a request, and so on until nothing but connecting went on.
const BATCH: usize = 8;

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
        Self { start, lanes: schedules.into_iter().map(first).collect() }
    }

    /// The next slot; between slots due at the same time, the lane that comes first.
    pub(crate) fn peek(&self) -> Option<Due> {
        let due = |(lane, next): (usize, &Upcoming)| {
            next.due.map(|due| Due { lane, slot: next.slot, at: self.start + due })
        };
        self.lanes.iter().enumerate().filter_map(due).min_by_key(|due| (due.at, due.lane))
    }

    fn advance(&mut self, lane: usize) {
        let next = &mut self.lanes[lane];
        next.slot += 1;
        next.due = next.schedule.next();
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
                    worker.release(due.lane, due.slot, due.at, now);
                    passes.note_due(due.at);
                    agenda.advance(due.lane);
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
            (gap >= passes::SHORTEST, Duration::ZERO)
        };
        if sleeps {
            tokio::select! {
                fired = timer.wait_until(worker.clock, released + gap.saturating_sub(early)) => fired?,
                () = control.changed.notified() => {}
            }
            began = worker.clock.now();
        } else if next.at <= released {
            look(worker).await;
        } else if worker.exact {
            poll(worker, timer, next.at).await?;
        } else {
            let until = next.at.max(began + passes.length(worker.in_flight.get(), worker.stamped.get()));
            pass(worker, timer, &mut passes, until).await?;
            began = worker.clock.now();
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

/// Until then: what there is to do, and then nothing, whatever arrives meanwhile. But where slots wait for a connection
/// everything that arrives is of use, and nothing to do says that they may open theirs.
async fn pass(worker: &Worker, timer: &Timer, passes: &mut Passes, until: Stamp) -> Result<(), Errno> {
    look(worker).await;
    if worker.lull.is_awaited() {
        return timer.wait_until(worker.clock, until).await;
    }
    passes.sleep(until.saturating_since(worker.clock.now()));
    look(worker).await;
    Ok(())
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
        let mut seen = Vec::new();
        for _ in 0..9 {
            let due = agenda.peek().expect("endless");
            agenda.advance(due.lane);
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
    fn the_earliest_stop_wins() {
        let control = Control::new();
        for nanos in [7, 5, 9] {
            control.stop_at(Stamp::from_nanos(nanos));
        }
        assert_eq!(control.last(), Stamp::from_nanos(5));
    }
}
