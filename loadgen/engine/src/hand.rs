//! The tasks that do the work: each does one slot after the other, so that a slot costs no task of its own, and no timer.
//!
//! A request's time is over when a scan finds it so. Scans are as rare as they can be: none is due before the earliest
//! deadline that the last one saw, or before a request begun since can have run out of time.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use trial::record::Record;
use trial::time::Stamp;

use crate::classify::Ending;
use crate::lane::Lane;

/// Idle tasks kept for what comes; more are let go.
const IDLE_MAX: usize = 1024;

/// A slot to be worked on.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) lane: Rc<Lane>,
    pub(crate) record: Record,
}

/// A task, as others see it.
#[derive(Debug, Default)]
pub(crate) struct Hand {
    /// Its place among all.
    place: usize,
    job: RefCell<Option<Job>>,
    waker: RefCell<Option<Waker>>,
    /// Set while a request is under way.
    deadline: Cell<Option<Stamp>>,
    /// How the request under way is to end, from outside.
    cut: Cell<Option<Ending>>,
}

impl Hand {
    /// Gives it a slot; it must be idle.
    pub(crate) fn give(&self, job: Job) {
        self.job.replace(Some(job));
        self.wake();
    }

    /// Its next slot.
    pub(crate) async fn next(&self) -> Job {
        poll_fn(|cx| match self.job.take() {
            Some(job) => Poll::Ready(job),
            None => self.wait(cx),
        })
        .await
    }

    /// Works until it is done, or until [`Hand::cut`].
    pub(crate) async fn until_cut(
        &self,
        deadline: Stamp,
        // By reference: work is large, and would be copied on its way here.
        mut work: Pin<&mut impl Future<Output = Ending>>,
    ) -> Ending {
        self.deadline.set(Some(deadline));
        let ending = poll_fn(|cx| match (work.as_mut().poll(cx), self.cut.get()) {
            (Poll::Ready(ending), _) | (Poll::Pending, Some(ending)) => Poll::Ready(ending),
            (Poll::Pending, None) => self.wait(cx),
        })
        .await;
        self.deadline.set(None);
        self.cut.set(None);
        ending
    }

    /// The request under way has until then, and not until what was said when it began.
    pub(crate) fn has_until(&self, deadline: Stamp) {
        self.deadline.set(Some(deadline));
        // That its time was over was said of the old one.
        self.cut.set(self.cut.get().filter(|cut| *cut != Ending::TimedOut));
    }

    /// Ends the request under way.
    pub(crate) fn cut(&self, ending: Ending) {
        self.cut.set(Some(ending));
        self.wake();
    }

    fn wait<T>(&self, cx: &Context<'_>) -> Poll<T> {
        let mut waker = self.waker.borrow_mut();
        // A task's waker is nearly always the same.
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

/// All tasks of an engine that work on slots.
#[derive(Debug, Default)]
pub(crate) struct Hands {
    all: Vec<Option<Rc<Hand>>>,
    /// Places of those that were let go.
    free: Vec<usize>,
    idle: Vec<Rc<Hand>>,
}

impl Hands {
    /// One that is idle.
    pub(crate) fn idle(&mut self) -> Option<Rc<Hand>> {
        self.idle.pop()
    }

    /// A new one; its task is the caller's to spawn.
    pub(crate) fn hire(&mut self) -> Rc<Hand> {
        let place = self.free.pop().unwrap_or(self.all.len());
        let hand = Rc::new(Hand { place, ..Hand::default() });
        if place == self.all.len() {
            self.all.push(None);
        }
        self.all[place] = Some(Rc::clone(&hand));
        hand
    }

    /// It has nothing to do; false if it is one too many, and let go.
    pub(crate) fn rest(&mut self, hand: &Rc<Hand>) -> bool {
        let stays = self.idle.len() < IDLE_MAX;
        if stays {
            self.idle.push(Rc::clone(hand));
        } else {
            self.dismiss(hand);
        }
        stays
    }

    /// It will not work again.
    pub(crate) fn dismiss(&mut self, hand: &Rc<Hand>) {
        self.all[hand.place] = None;
        self.free.push(hand.place);
    }

    /// Ends the requests whose time is over; the earliest deadline of the others.
    pub(crate) fn cut_overdue(&self, now: Stamp) -> Option<Stamp> {
        let mut next: Option<Stamp> = None;
        for hand in self.all.iter().flatten() {
            match hand.deadline.get() {
                Some(deadline) if deadline <= now => hand.cut(Ending::TimedOut),
                Some(deadline) => next = Some(next.map_or(deadline, |known| known.min(deadline))),
                None => {}
            }
        }
        next
    }

    /// Ends every request that is under way.
    pub(crate) fn cut_all(&self) {
        for hand in self.all.iter().flatten().filter(|hand| hand.deadline.get().is_some()) {
            hand.cut(Ending::Interrupted);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::pin;
    use std::task::Waker;

    use super::*;

    fn at(nanos: u64) -> Stamp {
        Stamp::from_nanos(nanos)
    }

    #[test]
    fn only_what_is_overdue_is_cut_and_the_next_deadline_is_told() {
        let mut hands = Hands::default();
        let (early, late, idle) = (hands.hire(), hands.hire(), hands.hire());
        let mut cx = Context::from_waker(Waker::noop());
        let (mut never, mut never_either) = (pin!(pending()), pin!(pending()));
        let mut first = pin!(early.until_cut(at(10), never.as_mut()));
        let mut second = pin!(late.until_cut(at(20), never_either.as_mut()));
        assert!(first.as_mut().poll(&mut cx).is_pending() && second.as_mut().poll(&mut cx).is_pending());
        assert!(hands.rest(&idle));
        assert_eq!(hands.cut_overdue(at(9)), Some(at(10)));
        assert_eq!(hands.cut_overdue(at(10)), Some(at(20)));
        assert_eq!(first.as_mut().poll(&mut cx), Poll::Ready(Ending::TimedOut));
        assert!(second.as_mut().poll(&mut cx).is_pending());
        hands.cut_all();
        assert_eq!(second.as_mut().poll(&mut cx), Poll::Ready(Ending::Interrupted));
        assert_eq!(hands.cut_overdue(at(99)), None);
    }

    #[test]
    fn work_that_is_done_is_not_cut_and_leaves_nothing_for_the_next() {
        let hand = Hand::default();
        hand.cut(Ending::TimedOut);
        let mut cx = Context::from_waker(Waker::noop());
        let done = pin!(hand.until_cut(at(1), pin!(ready(Ending::Cut)))).poll(&mut cx);
        assert_eq!(done, Poll::Ready(Ending::Cut));
        assert!(pin!(hand.until_cut(at(1), pin!(pending()))).poll(&mut cx).is_pending());
    }

    #[test]
    fn idle_ones_are_used_again_up_to_a_bound_and_places_too() {
        let mut hands = Hands::default();
        let many: Vec<_> = (0..IDLE_MAX + 2).map(|_| hands.hire()).collect();
        let kept = many.iter().filter(|hand| hands.rest(hand)).count();
        assert_eq!(kept, IDLE_MAX);
        assert_eq!(hands.all.iter().flatten().count(), IDLE_MAX);
        hands.hire();
        assert_eq!(hands.all.len(), IDLE_MAX + 2);
        assert!(hands.idle().is_some());
    }
}
