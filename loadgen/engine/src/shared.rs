//! Connections that carry several requests at once, in places that the slots use in turn. A slot whose place
//! is full, or is being opened, takes another with room, else it opens an extra one.

use std::rc::Rc;

use crate::pool::{Home, Numbered};

/// Whether a shared connection takes another request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    Yes,
    /// Not before one of its requests is over.
    Full,
    /// Never again: it is gone, going, or used up.
    Retired,
}

/// What the pool must know of a shared connection.
pub(crate) trait Sharable: Numbered {
    fn room(&self) -> Room;
}

/// A connection for a slot.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Shares<C> {
    Use(Rc<C>),
    /// One is to be opened, and this is its home, to be given back with [`Shared::put`] or [`Shared::vacate`].
    Open(Home),
}

#[derive(Debug)]
pub(crate) struct Shared<C> {
    places: Vec<SharedPlace<C>>,
    extras: Vec<Rc<C>>,
}

#[derive(Debug)]
enum SharedPlace<C> {
    Empty,
    /// A slot is opening its connection.
    Opening,
    Open(Rc<C>),
}

impl<C: Sharable> Shared<C> {
    pub(crate) fn new(places: usize) -> Self {
        Self { places: (0..places.max(1)).map(|_| SharedPlace::Empty).collect(), extras: Vec::new() }
    }

    pub(crate) fn take(&mut self, slot: u64) -> Shares<C> {
        let count = self.places.len();
        let own = usize::try_from(slot % count as u64).unwrap_or(0);
        match &self.places[own] {
            SharedPlace::Open(connection) => match connection.room() {
                Room::Yes => return Shares::Use(Rc::clone(connection)),
                Room::Retired => self.places[own] = SharedPlace::Empty,
                Room::Full => {}
            },
            SharedPlace::Empty | SharedPlace::Opening => {}
        }
        if matches!(self.places[own], SharedPlace::Empty) {
            self.places[own] = SharedPlace::Opening;
            return Shares::Open(Some(own));
        }
        self.extras.retain(|extra| extra.room() != Room::Retired);
        let others = (own + 1..count).chain(0..own).filter_map(|place| match &self.places[place] {
            SharedPlace::Open(connection) => Some(connection),
            _ => None,
        });
        match self.extras.iter().chain(others).find(|other| other.room() == Room::Yes) {
            Some(other) => Shares::Use(Rc::clone(other)),
            None => Shares::Open(None),
        }
    }

    /// A connection was opened. One that is too many serves its first request only.
    pub(crate) fn put(&mut self, home: Home, connection: &Rc<C>) {
        if let Some(place) = home {
            self.places[place] = SharedPlace::Open(Rc::clone(connection));
        } else if self.extras.len() < self.places.len() {
            self.extras.push(Rc::clone(connection));
        }
    }

    /// It was not.
    pub(crate) fn vacate(&mut self, home: Home) {
        if let Some(place) = home
            && matches!(self.places[place], SharedPlace::Opening)
        {
            self.places[place] = SharedPlace::Empty;
        }
    }

    /// The connection of that number is gone: removes and returns it if it is here.
    pub(crate) fn closed(&mut self, number: u32) -> Option<Rc<C>> {
        if let Some(index) = self.extras.iter().position(|extra| extra.number() == number) {
            return Some(self.extras.swap_remove(index));
        }
        let here =
            |place: &&mut SharedPlace<C>| matches!(place, SharedPlace::Open(c) if c.number() == number);
        match self.places.iter_mut().find(here).map(|place| std::mem::replace(place, SharedPlace::Empty)) {
            Some(SharedPlace::Open(connection)) => Some(connection),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    struct Several {
        number: u32,
        room: Cell<Room>,
    }

    impl Several {
        fn new(number: u32) -> Rc<Self> {
            Rc::new(Self { number, room: Cell::new(Room::Yes) })
        }
    }

    impl Numbered for Several {
        fn number(&self) -> u32 {
            self.number
        }
    }

    impl Sharable for Several {
        fn room(&self) -> Room {
            self.room.get()
        }
    }

    #[test]
    fn shared_connections_are_used_in_turn_and_a_full_or_unfinished_one_is_never_waited_for() {
        let (a, b, c) = (Several::new(1), Several::new(2), Several::new(3));
        let mut pool = Shared::new(2);
        assert_eq!(pool.take(0), Shares::Open(Some(0)));
        assert_eq!(pool.take(0), Shares::Open(None), "its place is being opened");
        pool.put(Some(0), &a);
        assert_eq!(pool.take(0), Shares::Use(Rc::clone(&a)));
        assert_eq!(pool.take(1), Shares::Open(Some(1)));
        pool.put(Some(1), &b);
        assert_eq!(pool.take(3), Shares::Use(Rc::clone(&b)));
        a.room.set(Room::Full);
        assert_eq!(pool.take(2), Shares::Use(Rc::clone(&b)), "another's");
        b.room.set(Room::Full);
        assert_eq!(pool.take(2), Shares::Open(None));
        pool.put(None, &c);
        assert_eq!(pool.take(2), Shares::Use(Rc::clone(&c)), "the extra");
    }

    #[test]
    fn a_retired_connection_is_replaced_and_a_closed_one_forgotten() {
        let (a, b) = (Several::new(1), Several::new(2));
        let mut pool = Shared::new(1);
        assert_eq!(pool.take(0), Shares::Open(Some(0)));
        pool.vacate(Some(0));
        assert_eq!(pool.take(0), Shares::Open(Some(0)), "the first attempt failed");
        pool.put(Some(0), &a);
        pool.put(None, &b);
        a.room.set(Room::Retired);
        assert_eq!(pool.take(0), Shares::Open(Some(0)));
        assert_eq!(Rc::strong_count(&a), 1, "its streams alone keep it");
        pool.put(Some(0), &Several::new(3));
        assert_eq!(pool.closed(3).map(|gone| gone.number), Some(3));
        assert_eq!(pool.take(0), Shares::Open(Some(0)));
        assert_eq!(pool.take(0), Shares::Use(Rc::clone(&b)));
        assert!(pool.closed(2).is_some() && pool.closed(2).is_none());
        assert_eq!(pool.take(0), Shares::Open(None));
    }
}
