//! Connections that have told all: remembered for a short time, as more of them comes. Bounded in number and in age, and the
//! oldest goes first.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher as _;
use std::time::{Duration, Instant};

use foldhash::quality::RandomState;

use super::table::Key;

/// How long; clients send a packet again after a second or so, and then after twice as long each time.
pub(super) const AGE: Duration = Duration::from_secs(10);

/// How many: 4,000 new ones in a second are remembered for all of [`AGE`]. A hash stands for the connection; with 41
/// bytes in each of 65,536 places of the map and 24 in as many of the queue, they need 4.3 MB.
pub(super) const MOST: usize = 40_000;

/// Bytes from which a ClientHello is known again: the random ones in it are among them (RFC 8446 section 4.1.2).
const BEGINNING: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Finished {
    marks: HashMap<u64, Mark, RandomState>,
    /// By age; of a connection that came again, the first is without effect.
    order: VecDeque<(Instant, u64)>,
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    since: Instant,
    /// Of how it began; none: that is not known.
    beginning: Option<u64>,
}

impl Finished {
    /// Remembers a connection from `now` on, with what was sent on it from the first byte on, as far as it is known.
    pub(super) fn insert(&mut self, key: &Key, stream: &[u8], now: Instant) {
        let id = self.hasher.hash_one(key);
        let mark = Mark {
            since: now,
            beginning: self.beginning(stream),
        };
        self.marks.insert(id, mark);
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

    /// Forgets a connection when `stream`, the first bytes on one with its addresses and ports, is the beginning of another.
    pub(super) fn give_way(&mut self, key: &Key, stream: &[u8]) {
        let id = self.hasher.hash_one(key);
        if let Some(new) = self.beginning(stream)
            && self
                .marks
                .get(&id)
                .is_some_and(|mark| mark.beginning != Some(new))
        {
            self.marks.remove(&id);
        }
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
            && self.marks.get(&id).is_some_and(|mark| mark.since == since)
        {
            self.marks.remove(&id);
        }
    }

    fn beginning(&self, stream: &[u8]) -> Option<u64> {
        stream
            .get(..BEGINNING)
            .map(|beginning| self.hasher.hash_one(beginning))
    }
}
