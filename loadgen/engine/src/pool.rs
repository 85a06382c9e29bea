//! The kept connections of a lane. Pure but for what `C` is.
//!
//! [`Pool`]: a lane has a number of places that its slots use in turn. A slot whose place is busy takes any other idle
//! connection, else it opens an extra one (see `turn` for when). Extras that there are serve every other round of the places, so
//! that none lies idle for good.
//!
//! [`Rested`]: a connection carries its next request only when it has rested for long enough, so that servers that close
//! what idles come near it. Again nothing waits: where none has rested, another is opened.

use std::collections::VecDeque;
use std::time::Duration;

use trial::time::Stamp;

/// What the pool must know of a connection.
pub(crate) trait Numbered {
    fn number(&self) -> u32;
}

/// Where a connection returns to: its place, or among the extras.
pub(crate) type Home = Option<usize>;

#[derive(Debug)]
pub(crate) struct Pool<C> {
    places: Vec<Place<C>>,
    extras: VecDeque<C>,
    idle_places: usize,
    extras_out: Peak,
}

/// The most extras that were out at once, lately. Lately is counted in slots, since only they ask.
#[derive(Debug, Default)]
struct Peak {
    now: usize,
    most: usize,
    most_before: usize,
    slots: u32,
}

impl Peak {
    /// Slots until what was is forgotten: this many, and at most twice as many.
    const SLOTS: u32 = 8192;

    fn slot(&mut self) {
        self.slots += 1;
        if self.slots == Self::SLOTS {
            (self.slots, self.most_before, self.most) = (0, self.most, self.now);
        }
    }

    fn out(&mut self) {
        self.now += 1;
        self.most = self.most.max(self.now);
    }

    fn back(&mut self) {
        self.now = self.now.saturating_sub(1);
    }

    fn lately(&self) -> usize {
        self.most.max(self.most_before)
    }
}

#[derive(Debug)]
enum Place<C> {
    Empty,
    Busy,
    Idle(C),
}

impl<C: Numbered> Pool<C> {
    pub(crate) fn new(places: usize) -> Self {
        let places = (0..places.max(1)).map(|_| Place::Empty).collect();
        Self { places, extras: VecDeque::new(), idle_places: 0, extras_out: Peak::default() }
    }

    /// A connection for the slot, or none if one is to be opened; and the home that it has, or will have.
    /// The home must be given back with [`Pool::put`] or [`Pool::vacate`].
    pub(crate) fn take(&mut self, slot: u64) -> (Option<C>, Home) {
        self.extras_out.slot();
        let count = self.places.len();
        let own = usize::try_from(slot % count as u64).unwrap_or(0);
        // Extras have their turns as well: one that lay idle for good would hold up the drain of the server it leads to,
        // which can ask a client to close only with an answer.
        let extras_turn = slot / count as u64 % 2 == 1 && !self.extras.is_empty();
        if !extras_turn && !matches!(self.places[own], Place::Busy) {
            return (self.occupy(own), Some(own));
        }
        if let Some(extra) = self.extras.pop_front() {
            self.extras_out.out();
            return (Some(extra), None);
        }
        if self.idle_places > 0 {
            let mut others = (own + 1..count).chain(0..own);
            if let Some(other) = others.find(|&place| matches!(self.places[place], Place::Idle(_))) {
                return (self.occupy(other), Some(other));
            }
        }
        self.extras_out.out();
        (None, None)
    }

    /// Returns a connection that may be used again; gives back one that is too many, to be closed.
    pub(crate) fn put(&mut self, home: Home, connection: C) -> Option<C> {
        if let Some(place) = home {
            self.places[place] = Place::Idle(connection);
            self.idle_places += 1;
            return None;
        }
        self.extras_out.back();
        // A client that stood still for a moment is asked for all that came due meanwhile at once. If it closed what that
        // took each time, it would soon hold every port in TIME_WAIT.
        let most = self.places.len() + self.places.len().max(self.extras_out.lately());
        if self.idle_places + self.extras.len() >= most {
            return Some(connection);
        }
        self.extras.push_back(connection);
        None
    }

    /// The slot is done and its connection gone.
    pub(crate) fn vacate(&mut self, home: Home) {
        match home {
            Some(place) => self.places[place] = Place::Empty,
            None => self.extras_out.back(),
        }
    }

    /// The connection of that number was closed by the peer: removes and returns it if it is idle here.
    pub(crate) fn closed(&mut self, home: Home, number: u32) -> Option<C> {
        let Some(place) = home else {
            let index = self.extras.iter().position(|extra| extra.number() == number)?;
            return self.extras.remove(index);
        };
        match &self.places[place] {
            Place::Idle(connection) if connection.number() == number => {
                let connection = self.occupy(place);
                self.vacate(home);
                connection
            }
            _ => None,
        }
    }

    fn occupy(&mut self, place: usize) -> Option<C> {
        match std::mem::replace(&mut self.places[place], Place::Busy) {
            Place::Idle(connection) => {
                self.idle_places -= 1;
                Some(connection)
            }
            Place::Empty | Place::Busy => None,
        }
    }
}

/// Connections in the order in which they came to rest.
#[derive(Debug)]
pub(crate) struct Rested<C> {
    resting: VecDeque<(Stamp, C)>,
    rest: Duration,
    most: usize,
}

impl<C: Numbered> Rested<C> {
    pub(crate) fn new(rest: Duration, most: usize) -> Self {
        Self { resting: VecDeque::new(), rest, most: most.max(1) }
    }

    /// The connection that has rested longest, if that is long enough.
    pub(crate) fn take(&mut self, now: Stamp) -> Option<C> {
        let (since, _) = self.resting.front()?;
        if now.saturating_since(*since) < self.rest {
            return None;
        }
        self.resting.pop_front().map(|(_, connection)| connection)
    }

    /// Lays a connection to rest; gives it back if there are enough, to be closed.
    pub(crate) fn put(&mut self, now: Stamp, connection: C) -> Option<C> {
        if self.resting.len() >= self.most {
            return Some(connection);
        }
        self.resting.push_back((now, connection));
        None
    }

    /// The connection of that number was closed by the peer: removes and returns it if it rests here.
    pub(crate) fn closed(&mut self, number: u32) -> Option<C> {
        let index = self.resting.iter().position(|(_, connection)| connection.number() == number)?;
        self.resting.remove(index).map(|(_, connection)| connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_taken_only_when_it_has_rested_and_the_longest_rested_first() {
        let at = |millis| Stamp::ZERO + Duration::from_millis(millis);
        let mut pool = Rested::new(Duration::from_millis(50), 3);
        assert_eq!(pool.take(at(0)), None);
        for number in [1, 2, 3] {
            assert_eq!(pool.put(at(u64::from(number)), number), None);
        }
        assert_eq!(pool.put(at(4), 4), Some(4), "too many");
        assert_eq!(pool.take(at(50)), None, "49 ms are not enough");
        assert_eq!(pool.take(at(51)), Some(1));
        assert_eq!(pool.take(at(51)), None);
        assert_eq!((pool.closed(1), pool.closed(2), pool.closed(2)), (None, Some(2), None));
        assert_eq!((pool.take(at(60)), pool.take(at(60))), (Some(3), None));
    }

    impl Numbered for u32 {
        fn number(&self) -> u32 {
            *self
        }
    }

    #[test]
    fn slots_use_the_places_in_turn() {
        let mut pool = Pool::new(2);
        assert_eq!(pool.take(0), (None, Some(0)));
        assert_eq!(pool.take(1), (None, Some(1)));
        assert_eq!(pool.put(Some(0), 10), None);
        assert_eq!(pool.put(Some(1), 11), None);
        assert_eq!(pool.take(3), (Some(11), Some(1)));
        assert_eq!(pool.take(4), (Some(10), Some(0)));
    }

    #[test]
    fn a_busy_place_is_never_waited_for() {
        let mut pool = Pool::new(2);
        assert_eq!(pool.take(0), (None, Some(0)));
        assert_eq!(pool.take(1), (None, Some(1)));
        assert_eq!(pool.take(2), (None, None), "nothing idle: an extra");
        pool.put(Some(1), 11);
        assert_eq!(pool.take(4), (Some(11), Some(1)), "another place's connection");
        pool.put(None, 12);
        assert_eq!(pool.take(6), (Some(12), None), "the extra");
    }

    #[test]
    fn extras_are_used_again_even_when_no_place_is_busy() {
        let mut pool = Pool::new(2);
        for (home, number) in [(Some(0), 10), (Some(1), 11), (None, 20), (None, 21)] {
            if let Some(place) = home {
                pool.take(place as u64);
            }
            pool.put(home, number);
        }
        let mut used = Vec::new();
        for slot in 0..8 {
            let (connection, home) = pool.take(slot);
            used.extend(connection);
            pool.put(home, connection.unwrap());
        }
        used.sort_unstable();
        used.dedup();
        assert_eq!(used, [10, 11, 20, 21], "every other round is the extras'");
    }

    #[test]
    fn extras_are_kept_up_to_twice_the_places() {
        let mut pool = Pool::new(2);
        pool.take(0);
        pool.put(Some(0), 1);
        let kept = (2..10).filter(|number| pool.put(None, *number).is_none()).count();
        assert_eq!(kept, 3);
    }

    #[test]
    fn what_a_burst_took_is_kept_for_the_next_and_later_let_go() {
        let mut pool = Pool::new(2);
        let (mut opened, mut slots) = (0, 0..);
        let mut burst = |pool: &mut Pool<u32>, size: usize| {
            let taken: Vec<_> = slots.by_ref().take(size).map(|slot| pool.take(slot)).collect();
            let mut closed = 0;
            for (connection, home) in taken {
                let connection = connection.unwrap_or_else(|| {
                    opened += 1;
                    opened
                });
                closed += usize::from(pool.put(home, connection).is_some());
            }
            (opened, closed)
        };
        let (first, closed) = burst(&mut pool, 50);
        assert_eq!((first, closed), (50, 0));
        for _ in 0..10 {
            let (opened, _) = burst(&mut pool, 50);
            assert_eq!(opened, first);
        }
        for _ in 0..2 * Peak::SLOTS {
            burst(&mut pool, 1);
        }
        burst(&mut pool, 5);
        let kept = (0..20).filter(|slot| pool.take(*slot).0.is_some()).count();
        assert!(kept <= 6, "{kept} of a burst long ago");
    }

    #[test]
    fn a_close_removes_what_is_idle_and_nothing_else() {
        let mut pool = Pool::new(1);
        pool.take(0);
        assert_eq!(pool.closed(Some(0), 1), None, "busy: its request will tell");
        pool.put(Some(0), 1);
        assert_eq!(pool.closed(Some(0), 2), None, "an earlier connection of the same place");
        assert_eq!(pool.closed(Some(0), 1), Some(1));
        assert_eq!(pool.closed(Some(0), 1), None, "once");
        assert_eq!(pool.take(5), (None, Some(0)));
        pool.put(None, 7);
        assert_eq!(pool.closed(None, 7), Some(7));
    }
}
