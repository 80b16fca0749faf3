//! What is known of one address. Times are in seconds of the book.

use std::sync::Arc;

use super::{LONGEST, MOST_NAMES};
use crate::record::{Evidence, Name, Names};

/// The same in seconds.
const LONGEST_SECONDS: u32 = LONGEST.as_secs() as u32;

/// An answer outlives its life by so much from when its address was last asked for: connections use it for longer, and some of
/// them are silent for a while.
const SILENCE_SECONDS: u32 = 10 * 60;

/// Names of reverse look-ups are shown for so long after their time, while they are looked up again.
const GRACE_SECONDS: u32 = 60 * 60;

/// Names of an address, by evidence. Both lists have at most [`MOST_NAMES`], the one that was seen last at the end.
#[derive(Debug, Default)]
pub(super) struct Entry {
    sni: Vec<Known>,
    dns: Vec<Answer>,
    ptr: Option<Box<Reverse>>,
    /// What was answered last, as long as it holds.
    shared: Option<Arc<Names>>,
}

#[derive(Debug)]
struct Known {
    name: Arc<str>,
    seen: u32,
}

#[derive(Debug)]
struct Answer {
    name: Arc<str>,
    learned: u32,
    /// The end of its life, or of the silence after it.
    until: u32,
}

#[derive(Debug)]
struct Reverse {
    /// In their order; empty: the address has none.
    names: Vec<Arc<str>>,
    /// When the names are no longer shown.
    end: u32,
    /// When to look again.
    until: u32,
}

impl Entry {
    /// A connection asked for a name.
    pub(super) fn see(&mut self, name: Arc<str>, now: u32) {
        let known = take(&mut self.sni, |known| known.name == name);
        if known.is_none() {
            self.shared = None;
        }
        push(&mut self.sni, Known { name, seen: now });
    }

    /// A name was answered with this address.
    pub(super) fn answer(&mut self, name: Arc<str>, now: u32, until: u32) {
        let known = take(&mut self.dns, |known| known.name == name);
        if known.is_none() {
            self.shared = None;
        }
        let answer = Answer {
            name,
            learned: now,
            // Who was given a longer life before still uses it.
            until: known.map_or(until, |known| known.until.max(until)),
        };
        push(&mut self.dns, answer);
    }

    /// A reverse look-up has ended; none: failed.
    pub(super) fn reverse(&mut self, names: Option<Vec<Arc<str>>>, until: u32) {
        self.shared = None;
        let reverse = self.ptr.get_or_insert_with(|| {
            Box::new(Reverse {
                names: Vec::new(),
                end: 0,
                until,
            })
        });
        reverse.until = until;
        if let Some(names) = names {
            reverse.names = names;
            reverse.end = until.saturating_add(GRACE_SECONDS);
        }
    }

    /// Whether there is no other name and no recent result.
    pub(super) fn wants_reverse(&self, now: u32) -> bool {
        self.sni.is_empty()
            && self.dns.is_empty()
            && self.ptr.as_ref().is_none_or(|reverse| reverse.until <= now)
    }

    /// Drops what was too old when the interval began, in which the rest is asked for.
    pub(super) fn expire(&mut self, now: u32, began: u32) {
        let before = self.sni.len() + self.dns.len();
        self.sni
            .retain(|known| now < known.seen.saturating_add(LONGEST_SECONDS));
        self.dns.retain_mut(|answer| {
            let good = now < answer.learned.saturating_add(LONGEST_SECONDS) && answer.until > began;
            answer.until = answer.until.max(now.saturating_add(SILENCE_SECONDS));
            good
        });
        if self.sni.len() + self.dns.len() != before {
            self.shared = None;
        }
        if let Some(reverse) = &mut self.ptr
            && now >= reverse.end
        {
            if !reverse.names.is_empty() {
                reverse.names.clear();
                self.shared = None;
            }
            if now >= reverse.until {
                self.ptr = None;
            }
        }
    }

    /// Whether nothing is known, not even that there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.sni.is_empty() && self.dns.is_empty() && self.ptr.is_none()
    }

    /// The names as often as they are held here, and nowhere else.
    pub(super) fn uses(&self) -> impl Iterator<Item = &Arc<str>> {
        let shared = self.shared.iter().filter(|names| Arc::strong_count(names) == 1);
        let sni = self.sni.iter().map(|known| &known.name);
        let dns = self.dns.iter().map(|answer| &answer.name);
        let ptr = self.ptr.iter().flat_map(|reverse| &reverse.names);
        let shared = shared.flat_map(|names| &names.list).map(|name| &name.name);
        sni.chain(dns).chain(ptr).chain(shared)
    }

    /// The names of the strongest evidence, without connections; to be asked after [`expire`](Self::expire).
    pub(super) fn names(&mut self) -> Option<Arc<Names>> {
        if self.shared.is_none() {
            self.shared = self.gather().map(Arc::new);
        }
        self.shared.clone()
    }

    fn gather(&self) -> Option<Names> {
        let named = |connections| {
            move |name: &Arc<str>| Name {
                name: Arc::clone(name),
                connections,
            }
        };
        let (from, mut list): (_, Vec<Name>) = if !self.sni.is_empty() {
            let names = self.sni.iter().map(|known| &known.name);
            (Evidence::Sni, names.map(named(Some(0))).collect())
        } else if !self.dns.is_empty() {
            let names = self.dns.iter().map(|answer| &answer.name);
            (Evidence::Dns, names.map(named(None)).collect())
        } else {
            let names = self.ptr.iter().flat_map(|reverse| &reverse.names);
            (Evidence::Ptr, names.map(named(None)).collect())
        };
        list.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        (!list.is_empty()).then_some(Names { from, list })
    }
}

fn take<T>(list: &mut Vec<T>, is: impl Fn(&T) -> bool) -> Option<T> {
    list.iter().rposition(is).map(|place| list.remove(place))
}

/// Adds something at the end, for which the first goes when there are enough. Most addresses have one name.
fn push<T>(list: &mut Vec<T>, new: T) {
    if list.len() >= MOST_NAMES {
        list.remove(0);
    }
    if list.is_empty() {
        list.reserve_exact(1);
    }
    list.push(new);
}
