//! Each name once.

use std::sync::Arc;

use foldhash::HashSet;

/// What a name costs besides its text: the counters before it, a place in the set, and what the allocator adds.
const OVERHEAD_BYTES: usize = 48;

/// Names, shared by all who have them.
#[derive(Debug, Default)]
pub(super) struct Interner {
    names: HashSet<Arc<str>>,
    bytes: usize,
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

    /// Drops those that nobody else has.
    pub(super) fn sweep(&mut self) {
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

const fn cost(name: &str) -> usize {
    name.len() + OVERHEAD_BYTES
}
