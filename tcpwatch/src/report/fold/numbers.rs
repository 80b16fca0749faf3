//! Values that are met again and again, by number.

use std::hash::Hash;

use foldhash::{HashMap, HashMapExt as _};

/// Values by number, found again by where they lie.
pub(super) struct Numbers<T> {
    by_place: HashMap<(usize, usize), u32>,
    by_value: HashMap<T, u32>,
}

impl<T: Hash + Eq + Clone> Numbers<T> {
    pub(super) fn new() -> Self {
        Self {
            by_place: HashMap::new(),
            by_value: HashMap::new(),
        }
    }

    /// The number of a value that lies at `place`; `is` compares it, since another value may lie where one was. True: it is new.
    pub(super) fn get(
        &mut self,
        place: (usize, usize),
        list: &mut Vec<T>,
        is: impl Fn(&T) -> bool,
        value: impl FnOnce() -> T,
    ) -> (u32, bool) {
        if let Some(number) = self.by_place.get(&place)
            && list.get(*number as usize).is_some_and(is)
        {
            return (*number, false);
        }
        let (number, is_new) = self.of(list, value());
        self.by_place.insert(place, number);
        (number, is_new)
    }

    pub(super) fn of(&mut self, list: &mut Vec<T>, value: T) -> (u32, bool) {
        if let Some(number) = self.by_value.get(&value) {
            return (*number, false);
        }
        let number = u32::try_from(list.len()).unwrap_or(u32::MAX);
        list.push(value.clone());
        self.by_value.insert(value, number);
        (number, true)
    }
}
