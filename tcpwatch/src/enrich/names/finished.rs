//! Connections that have told all: remembered for a short time, as more of them comes. Bounded in number and in age, and the
//! oldest goes first.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher as _;
use std::time::{Duration, Instant};

use foldhash::quality::RandomState;

use super::table::Key;

/// How long; clients send a packet again after a second or so, and then after twice as long each time.
pub(super) const AGE: Duration = Duration::from_secs(10);

/// How many: 4,000 new ones in a second are remembered for all of [`AGE`]. A hash stands for the connection; with 25
/// bytes in each of 65,536 places of the map and 24 in as many of the queue, they need 3.2 MB.
pub(super) const MOST: usize = 40_000;

#[derive(Debug, Default)]
pub(super) struct Finished {
    marks: HashMap<u64, Instant, RandomState>,
    /// By age.
    order: VecDeque<(Instant, u64)>,
    hasher: RandomState,
}

impl Finished {
    /// Remembers a connection from `now` on.
    pub(super) fn insert(&mut self, key: &Key, now: Instant) {
        let id = self.hasher.hash_one(key);
        self.marks.insert(id, now);
        self.order.push_back((now, id));
        while self.order.len() > MOST {
            self.drop_oldest();
        }
    }

    pub(super) fn contains(&self, key: &Key) -> bool {
        self.marks.contains_key(&self.hasher.hash_one(key))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.marks.len()
    }

    /// Drops what is too old.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((since, _)) = self.order.front()
            && now.saturating_duration_since(*since) > AGE
        {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((since, id)) = self.order.pop_front()
            && self.marks.get(&id).is_some_and(|mark| *mark == since)
        {
            self.marks.remove(&id);
        }
    }
}
