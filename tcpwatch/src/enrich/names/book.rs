//! What is known of the names of addresses: from connections, from DNS answers, from reverse look-ups. Pure but for the time given
//! to it, and bounded.

mod counts;
mod entry;
mod interner;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use hashlink::LruCache;

use crate::enrich::names::Finding;
use crate::enrich::names::ptr::Outcome;
use crate::record::{Evidence, Names};

use counts::Counts;
use entry::Entry;
use interner::Interner;

/// The most names of one kind that are kept of an address, and the most that are counted of a destination and a source.
pub const MOST_NAMES: usize = 16;

/// The longest time that a name is believed without having been seen again.
pub const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The shortest life of a DNS answer: programs use an address for longer than a TTL of 0 says.
pub const SHORTEST: Duration = Duration::from_secs(60);

/// Source of connections from addresses that are not the host's own.
const OTHERS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// How much is kept.
///
/// An address with one name needs about 260 bytes: 125 in the map, 30 for the name and its times, 105 for the list that records
/// share. One with 16 names of both kinds needs 1.6 KB. So the default takes 17 MB as a rule and 105 MB at the worst, 8 MB for the
/// names themselves, each of which is kept once, and 11 MB at most for what is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Addresses; the one that was neither learned nor asked for longest goes first.
    pub addresses: usize,
    /// Bytes of all names, with some 50 for each on top.
    pub name_bytes: usize,
    /// Names whose connections are counted in an interval, for each destination and source. They may have half of
    /// `name_bytes`, as they cannot be forgotten before the interval ends.
    pub counted: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            addresses: 65_536,
            name_bytes: 8 << 20,
            counted: 65_536,
        }
    }
}

/// What was lost to the limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Addresses that were forgotten before their time.
    pub addresses: u64,
    /// Findings that there was no room for.
    pub findings: u64,
    /// Connections whose names are missing in the list of a record, those among the findings as well.
    pub connections: u64,
}

impl Losses {
    /// Those after `earlier`.
    const fn since(self, earlier: Self) -> Self {
        Self {
            addresses: self.addresses - earlier.addresses,
            findings: self.findings - earlier.findings,
            connections: self.connections - earlier.connections,
        }
    }
}

/// Names of addresses.
#[derive(Debug)]
pub struct Book {
    limits: Limits,
    names: Interner,
    entries: LruCache<IpAddr, Entry, RandomState>,
    /// Connections of this interval.
    connections: Counts,
    /// Whether names have no room, and forgetting has not helped in this interval.
    full: bool,
    /// The time that all others are counted from.
    start: Option<Instant>,
    /// The latest time that was given.
    clock: u32,
    /// When the interval began.
    began: u32,
    losses: Losses,
    /// Those before the interval.
    earlier: Losses,
}

impl Book {
    /// A book with nothing in it.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            names: Interner::default(),
            entries: LruCache::with_hasher(usize::MAX, RandomState::default()),
            connections: Counts::new(limits.counted, limits.name_bytes / 2),
            full: false,
            start: None,
            clock: 0,
            began: 0,
            losses: Losses::default(),
            earlier: Losses::default(),
        }
    }

    /// Takes a finding over. That an address is IPv4-mapped makes no difference.
    ///
    /// A source that is not the host's own belongs to the others, which records have together: give it as unspecified.
    pub fn learn(&mut self, finding: Finding, now: Instant) {
        let now = self.tick(now);
        match finding {
            Finding::Connection {
                source,
                destination,
                name,
            } => {
                let Some(name) = self.intern(&name) else {
                    self.losses.connections += 1;
                    return;
                };
                let destination = destination.to_canonical();
                self.entry(destination).see(Arc::clone(&name), now);
                self.losses.connections += self.connections.add(destination, source_of(Some(source)), name);
            }
            Finding::Answer { name, addresses } => {
                let Some(name) = self.intern(&name) else { return };
                for (address, life) in addresses {
                    let until = now.saturating_add(seconds(life.clamp(SHORTEST, LONGEST)));
                    self.entry(address.to_canonical())
                        .answer(Arc::clone(&name), now, until);
                }
            }
        }
    }

    /// Takes over what a reverse look-up ended with.
    ///
    /// After a failure, earlier names are kept for as long as they would have been.
    pub fn learn_reverse(&mut self, address: IpAddr, outcome: Outcome, now: Instant) {
        let now = self.tick(now);
        let until = now.saturating_add(seconds(outcome.life().min(LONGEST)));
        let names = match outcome {
            Outcome::Names { mut names, .. } => {
                names.sort_unstable();
                names.dedup();
                names.truncate(MOST_NAMES);
                Some(names.iter().filter_map(|name| self.intern(name)).collect())
            }
            Outcome::Nothing { .. } => Some(Vec::new()),
            Outcome::Failed { .. } => None,
        };
        self.entry(address.to_canonical()).reverse(names, until);
    }

    /// Whether an address has no name, and it is time to look it up; to be asked after [`names`](Self::names).
    #[must_use]
    pub fn wants_reverse(&self, address: IpAddr, now: Instant) -> bool {
        let now = self.seconds(now);
        let entry = self.entries.peek(&address.to_canonical());
        entry.is_none_or(|entry| entry.wants_reverse(now))
    }

    /// The names of a destination at the end of an interval; none: no name is known. To be asked for each row of a record:
    /// where a destination and a source have several, by several interfaces, the first that asks is told of the connections,
    /// and the others have the names with none.
    ///
    /// The strongest evidence that there is gives all of them:
    /// - names that connections of this interval asked for, from this source; else, without connections, those of the last 24
    ///   hours from any source;
    /// - names whose DNS answers were valid in this interval. A connection outlives the answer, so they stay when the
    ///   destination was last asked for less than ten minutes before the interval, up to 24 hours;
    /// - names of reverse look-ups.
    pub fn names(&mut self, destination: IpAddr, source: Option<IpAddr>, now: Instant) -> Option<Arc<Names>> {
        let now = self.tick(now);
        let destination = destination.to_canonical();
        // Also where connections decide: it has been asked for.
        let known = self.known(destination, now);
        match self.connections.tell(destination, source_of(source)) {
            None => known,
            Some(list) => Some(Arc::new(Names {
                from: Evidence::Sni,
                list,
            })),
        }
    }

    /// Connections are counted anew from `now` on. Answers what the limits have cost in the interval.
    pub fn end_interval(&mut self, now: Instant) -> Losses {
        let began = self.tick(now);
        self.connections.clear();
        self.full = false;
        self.began = began;
        let lost = self.losses.since(self.earlier);
        self.earlier = self.losses;
        lost
    }

    /// What the limits have cost since the book was opened.
    #[must_use]
    pub const fn losses(&self) -> Losses {
        self.losses
    }

    /// How many addresses something is known of.
    #[must_use]
    pub fn addresses(&self) -> usize {
        self.entries.len()
    }

    /// Names of an address without connections.
    fn known(&mut self, address: IpAddr, now: u32) -> Option<Arc<Names>> {
        let entry = self.entries.get_mut(&address)?;
        entry.expire(now, self.began);
        if entry.is_empty() {
            self.entries.remove(&address);
            return None;
        }
        entry.names()
    }

    /// The entry of an address, now the last to go.
    fn entry(&mut self, address: IpAddr) -> &mut Entry {
        if self.entries.len() >= self.limits.addresses && !self.entries.contains_key(&address) {
            self.forget_oldest();
        }
        self.entries.entry(address).or_insert_with(Entry::default)
    }

    /// Whether it had a name.
    fn forget_oldest(&mut self) -> bool {
        let oldest = self.entries.remove_lru();
        self.losses.addresses += u64::from(oldest.is_some());
        oldest.is_some_and(|(_, entry)| entry.uses().next().is_some())
    }

    /// The one copy of a name; none: there is no room, and nothing left to forget.
    fn intern(&mut self, name: &Arc<str>) -> Option<Arc<str>> {
        if let Some(known) = self.names.get(name) {
            return Some(known);
        }
        let most = self.limits.name_bytes;
        let fits = |names: &Interner| names.bytes_with(name) <= most;
        if !fits(&self.names) && !self.full {
            self.make_room();
        }
        let room = fits(&self.names);
        if !room {
            self.losses.findings += 1;
        }
        room.then(|| self.names.insert(name))
    }

    /// Drops names that nothing has, and addresses until an eighth is free: not for every name anew. When connections and
    /// records have too many of the names as well, no address helps, and nothing is tried before the next interval.
    fn make_room(&mut self) {
        let most = self.limits.name_bytes - self.limits.name_bytes / 8;
        self.names.sweep();
        // All of them in so many steps at most: each looks at all names.
        let step = self.entries.len().div_ceil(16);
        let mut helps = false;
        while self.names.bytes() > most && !self.entries.is_empty() {
            let before = self.names.bytes();
            let mut named = false;
            for _ in 0..step {
                named |= self.forget_oldest();
            }
            self.names.sweep();
            if named && self.names.bytes() == before && !helps {
                let used = self.entries.iter().flat_map(|(_, entry)| entry.uses());
                helps = self.names.bytes_without(used) <= most;
                if !helps {
                    break;
                }
            }
        }
        self.full = self.names.bytes() > most;
    }

    fn tick(&mut self, now: Instant) -> u32 {
        self.start.get_or_insert(now);
        self.clock = self.clock.max(self.seconds(now));
        self.clock
    }

    /// Whole seconds since the first call.
    fn seconds(&self, now: Instant) -> u32 {
        let start = self.start.unwrap_or(now);
        seconds(now.saturating_duration_since(start))
    }
}

/// 136 years are enough.
fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

fn source_of(source: Option<IpAddr>) -> IpAddr {
    match source.map(|source| source.to_canonical()) {
        Some(source) if !source.is_unspecified() => source,
        _ => OTHERS,
    }
}

#[cfg(test)]
mod tests;
