//! Connections of an interval, by destination, source and name.

use std::net::IpAddr;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _};

use super::MOST_NAMES;
use super::interner::cost;
use crate::record::Name;

/// What is counted; bounded in names and in their bytes, as a name that is counted cannot be forgotten.
#[derive(Debug)]
pub(super) struct Counts {
    /// The most names, of all destinations and sources together.
    most: usize,
    /// The most bytes of them. One that is counted twice costs twice: none of them costs more than that.
    most_bytes: usize,
    lists: HashMap<(IpAddr, IpAddr), Vec<Count>>,
    names: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Count {
    name: Arc<str>,
    connections: u64,
}

impl Counts {
    pub(super) fn new(most: usize, most_bytes: usize) -> Self {
        Self {
            most,
            most_bytes,
            lists: HashMap::new(),
            names: 0,
            bytes: 0,
        }
    }

    /// Counts a connection. Answers how many are lost for it: of another name, or this one.
    pub(super) fn add(&mut self, destination: IpAddr, source: IpAddr, name: Arc<str>) -> u64 {
        let place = (destination, source);
        let list = self.lists.get_mut(&place);
        let known = list.as_deref().map_or(0, Vec::len);
        let bytes = self.bytes + cost(&name);
        if let Some(list) = list {
            if let Some(count) = list.iter_mut().find(|count| count.name == name) {
                count.connections += 1;
                return 0;
            }
            if known >= MOST_NAMES || self.names >= self.most || bytes > self.most_bytes {
                // The name with the fewest connections goes; one that comes often comes again.
                let least = list.iter_mut().min_by_key(|count| count.connections);
                return match least {
                    Some(least) if bytes - cost(&least.name) <= self.most_bytes => {
                        self.bytes = bytes - cost(&least.name);
                        std::mem::replace(least, Count { name, connections: 1 }).connections
                    }
                    _ => 1,
                };
            }
        } else if self.names >= self.most || bytes > self.most_bytes {
            return 1;
        }
        self.names += 1;
        self.bytes = bytes;
        let list = self.lists.entry(place).or_default();
        if list.is_empty() {
            // Most have one.
            list.reserve_exact(1);
        }
        list.push(Count { name, connections: 1 });
        0
    }

    /// Names, and the connections that nobody has been told of yet, best first; none: there were no connections.
    pub(super) fn tell(&mut self, destination: IpAddr, source: IpAddr) -> Option<Vec<Name>> {
        if self.lists.is_empty() {
            return None;
        }
        let name = |count: &mut Count| Name {
            name: Arc::clone(&count.name),
            connections: Some(std::mem::take(&mut count.connections)),
        };
        let counts = self.lists.get_mut(&(destination, source))?;
        let mut list: Vec<Name> = counts.iter_mut().map(name).collect();
        list.sort_unstable_by(|a, b| {
            b.connections
                .cmp(&a.connections)
                .then_with(|| a.name.cmp(&b.name))
        });
        Some(list)
    }

    pub(super) fn clear(&mut self) {
        self.lists.clear();
        (self.names, self.bytes) = (0, 0);
    }
}
