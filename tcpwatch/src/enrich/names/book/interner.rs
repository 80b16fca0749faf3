//! Each name once.

use std::sync::Arc;

use foldhash::{HashMap, HashSet};

/// What a name costs besides its text: the counters before it, a place in the set, and what the allocator adds.
const OVERHEAD_BYTES: usize = 48;

/// Names, shared by all who have them.
#[derive(Debug, Default)]
pub(super) struct Interner {
    names: HashSet<Arc<str>>,
    bytes: usize,
    /// How often all of them were looked at.
    #[cfg(test)]
    pub(super) sweeps: usize,
}

impl Interner {
    pub(super) fn get(&self, name: &str) -> Option<Arc<str>> {
        self.names.get(name).cloned()
    }

    /// Adds a name that is not there.
    pub(super) fn insert(&mut self, name: &Arc<str>) -> Arc<str> {
        if self.names.insert(Arc::clone(name)) {
            self.bytes += cost(name);
        }
        Arc::clone(name)
    }

    /// What all of them cost, and one more.
    pub(super) fn bytes_with(&self, name: &str) -> usize {
        self.bytes + cost(name)
    }

    /// What all of them cost.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// What those would cost that somebody else has but for `uses`, in which each name is as often as it is had.
    pub(super) fn bytes_without<'a>(&self, uses: impl Iterator<Item = &'a Arc<str>>) -> usize {
        // Each name is in memory once.
        let mut counts: HashMap<*const str, usize> = HashMap::default();
        for name in uses {
            *counts.entry(Arc::as_ptr(name)).or_default() += 1;
        }
        let had = |name: &&Arc<str>| {
            let known = counts.get(&Arc::as_ptr(name)).copied().unwrap_or_default();
            Arc::strong_count(name) > 1 + known
        };
        self.names.iter().filter(had).map(|name| cost(name)).sum()
    }

    /// Drops those that nobody else has.
    pub(super) fn sweep(&mut self) {
        #[cfg(test)]
        {
            self.sweeps += 1;
        }
        let bytes = &mut self.bytes;
        self.names.retain(|name| {
            let kept = Arc::strong_count(name) > 1;
            if !kept {
                *bytes -= cost(name);
            }
            kept
        });
    }
}

/// In bytes.
pub(super) const fn cost(name: &str) -> usize {
    name.len() + OVERHEAD_BYTES
}
