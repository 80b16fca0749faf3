//! Functions over the whole address space that are constant on ranges: what a source knows, and what sources come to
//! together. It knows no field, file or format.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where IPv4 lies in the space of keys: ::ffff:0:0/96, as in libloc's tree.
pub const MAPPED: (u128, u128) = (0xffff_0000_0000, 0xffff_ffff_ffff);

/// An address as a number; IPv4 mapped.
pub fn key(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The address of a number.
pub fn address(key: u128) -> IpAddr {
    match u32::try_from(key.wrapping_sub(MAPPED.0)) {
        Ok(v4) => Ipv4Addr::from_bits(v4).into(),
        Err(_) => Ipv6Addr::from_bits(key).into(),
    }
}

/// Keys from `first` to `last`, both included, that have the same value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run<T> {
    pub first: u128,
    pub last: u128,
    pub value: T,
}

/// A line of a source: a value for the addresses from `first` to `last`, both included and of one family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row<T> {
    first: u128,
    last: u128,
    /// How many addresses the line named, less one: where lines overlap, the one that named fewest decides.
    breadth: u128,
    value: T,
}

impl<T: Copy> Row<T> {
    /// Rows for a range of addresses. A range of IPv6 that lies around the mapped addresses is two: it says nothing
    /// about IPv4.
    pub fn of(first: IpAddr, last: IpAddr, value: T) -> impl Iterator<Item = Self> {
        let (low, high) = (key(first), key(last));
        let breadth = high.saturating_sub(low);
        let inside = |at: u128| (MAPPED.0..=MAPPED.1).contains(&at);
        let parts = if low > MAPPED.1 || high < MAPPED.0 || (inside(low) && inside(high)) {
            [Some((low, high)), None]
        } else {
            [
                (low < MAPPED.0).then_some((low, MAPPED.0 - 1)),
                (high > MAPPED.1).then_some((MAPPED.1 + 1, high)),
            ]
        };
        parts.into_iter().flatten().map(move |(first, last)| Self {
            first,
            last,
            breadth,
            value,
        })
    }
}

/// A value, or none, for every key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Steps<T> {
    /// Where the value changes, ascending, and what it is from there on. Before the first it is none.
    edges: Vec<(u128, Option<T>)>,
}

impl<T> Default for Steps<T> {
    fn default() -> Self {
        Self { edges: Vec::new() }
    }
}

impl<T: Copy + Eq> Steps<T> {
    /// From `first` on, the value is this. `first` must not lie before an earlier one; at the same key the later
    /// call decides.
    fn set(&mut self, first: u128, value: Option<T>) {
        debug_assert!(self.edges.last().is_none_or(|(at, _)| *at <= first));
        if self.edges.last().is_some_and(|(at, _)| *at == first) {
            self.edges.pop();
        }
        if self.edges.last().and_then(|(_, value)| *value) != value {
            self.edges.push((first, value));
        }
    }

    /// Gives the keys from `first` to `last` a value. Runs are added in order, without overlap.
    pub fn add(&mut self, first: u128, last: u128, value: T) {
        self.set(first, Some(value));
        if let Some(next) = last.checked_add(1) {
            self.set(next, None);
        }
    }

    /// What rows in any order come to. Where some overlap, the one that named the fewest addresses decides, of equal
    /// ones the last.
    pub fn paint(rows: &[Row<T>]) -> Self {
        let mut steps = Self::default();
        if rows.is_sorted_by(|one, two| one.last < two.first) {
            for row in rows {
                steps.add(row.first, row.last, row.value);
            }
            return steps;
        }
        let mut waiting: Vec<usize> = (0..rows.len()).collect();
        waiting.sort_by_key(|at| Reverse(rows[*at].first));
        let mut edges: Vec<u128> = rows
            .iter()
            .flat_map(|row| [Some(row.first), row.last.checked_add(1)])
            .flatten()
            .collect();
        edges.sort_unstable();
        edges.dedup();
        let mut active = BinaryHeap::new();
        for edge in edges {
            while let Some(at) = waiting.pop_if(|at| rows[*at].first == edge) {
                active.push((Reverse(rows[at].breadth), at));
            }
            while active.peek().is_some_and(|(_, at)| rows[*at].last < edge) {
                active.pop();
            }
            steps.set(edge, active.peek().map(|(_, at)| rows[*at].value));
        }
        steps
    }

    /// These, and where they are none, the others.
    pub fn over(&self, others: &Self) -> Self {
        self.zip(others, Option::or)
    }

    /// Both at once.
    pub fn zip<U: Copy + Eq, V: Copy + Eq>(
        &self,
        others: &Steps<U>,
        both: impl Fn(Option<T>, Option<U>) -> Option<V>,
    ) -> Steps<V> {
        let mut steps = Steps {
            edges: Vec::with_capacity(self.edges.len().max(others.edges.len())),
        };
        let (mut ours, mut theirs) = (self.edges.iter().peekable(), others.edges.iter().peekable());
        let (mut our, mut their) = (None, None);
        loop {
            let next = match (ours.peek(), theirs.peek()) {
                (Some((one, _)), Some((two, _))) => *one.min(two),
                (Some((one, _)), None) => *one,
                (None, Some((two, _))) => *two,
                (None, None) => return steps,
            };
            if let Some((_, value)) = ours.next_if(|(at, _)| *at == next) {
                our = *value;
            }
            if let Some((_, value)) = theirs.next_if(|(at, _)| *at == next) {
                their = *value;
            }
            steps.set(next, both(our, their));
        }
    }

    /// The value of one key.
    #[cfg(test)]
    pub fn get(&self, key: u128) -> Option<T> {
        let after = self.edges.partition_point(|(at, _)| *at <= key);
        self.edges[..after].last().and_then(|(_, value)| *value)
    }

    /// The keys that have a value, in order.
    pub fn runs(&self) -> impl Iterator<Item = Run<T>> {
        let ends = self.edges.iter().skip(1).map(|(at, _)| at - 1).chain([u128::MAX]);
        self.edges.iter().zip(ends).filter_map(|((first, value), last)| {
            Some(Run {
                first: *first,
                last,
                value: (*value)?,
            })
        })
    }

    /// How often the value changes.
    pub fn len(&self) -> usize {
        self.edges.len()
    }

    /// No key has a value.
    pub fn is_empty(&self) -> bool {
        self.edges.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(ranges: &[(u128, u128, u8)]) -> Vec<Row<u8>> {
        ranges
            .iter()
            .map(|(first, last, value)| Row {
                first: *first,
                last: *last,
                breadth: last - first,
                value: *value,
            })
            .collect()
    }

    fn runs(steps: &Steps<u8>) -> Vec<(u128, u128, u8)> {
        steps.runs().map(|run| (run.first, run.last, run.value)).collect()
    }

    #[test]
    fn ipv4_is_mapped_and_comes_back() {
        for text in [
            "0.0.0.0",
            "255.255.255.255",
            "192.0.2.1",
            "::",
            "2001:db8::1",
            "::1:0:0",
        ] {
            let one: IpAddr = text.parse().unwrap();
            assert_eq!(address(key(one)), one);
        }
        assert_eq!(key("1.2.3.4".parse().unwrap()), 0xffff_0102_0304);
    }

    #[test]
    fn the_narrower_row_decides_and_of_equal_ones_the_last() {
        let painted = Steps::paint(&rows(&[(10, 19, 1), (0, 99, 2), (12, 13, 3), (12, 13, 4)]));
        assert_eq!(
            runs(&painted),
            [(0, 9, 2), (10, 11, 1), (12, 13, 4), (14, 19, 1), (20, 99, 2)]
        );
    }

    #[test]
    fn equal_neighbours_are_one_run_and_gaps_stay() {
        let painted = Steps::paint(&rows(&[(0, 4, 1), (5, 9, 1), (12, 13, 1)]));
        assert_eq!(runs(&painted), [(0, 9, 1), (12, 13, 1)]);
        assert!(Steps::<u8>::paint(&[]).is_empty());
    }

    #[test]
    fn a_run_may_reach_the_end_of_the_address_space() {
        let end = u128::MAX;
        let painted = Steps::paint(&rows(&[(end - 5, end, 1), (end, end, 2)]));
        assert_eq!(runs(&painted), [(end - 5, end - 1, 1), (end, end, 2)]);
    }

    #[test]
    fn a_range_of_ipv6_around_the_mapped_addresses_says_nothing_about_ipv4() {
        let parts = |first: &str, last: &str| -> Vec<(u128, u128)> {
            Row::of(first.parse().unwrap(), last.parse().unwrap(), ())
                .map(|row| (row.first, row.last))
                .collect()
        };
        assert_eq!(
            parts("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            [(0, 0xfffe_ffff_ffff), (0x1_0000_0000_0000, u128::MAX)]
        );
        assert_eq!(
            parts("::ffff:1.2.3.4", "::ffff:1.2.3.5"),
            [(0xffff_0102_0304, 0xffff_0102_0305)]
        );
        assert_eq!(parts("2001:db8::", "2001:db8::").len(), 1);
        // It still counts as the whole address space where narrower ones overlap it.
        let whole = Row::of(
            "::".parse().unwrap(),
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap(),
            1,
        );
        let narrow = Row::of("::".parse().unwrap(), "::1:ffff:ffff:ffff".parse().unwrap(), 2);
        let painted = Steps::paint(&whole.chain(narrow).collect::<Vec<_>>());
        assert_eq!(painted.get(5), Some(2));
    }

    proptest! {
        #[test]
        fn painting_and_laying_over_agree_with_asking_each_key(
            old in proptest::collection::vec((0..60u128, 0..60u128, 0..4u8), 0..12),
            new in proptest::collection::vec((0..60u128, 0..60u128, 0..4u8), 0..12),
        ) {
            let ordered = |rows: Vec<(u128, u128, u8)>| -> Vec<(u128, u128, u8)> {
                rows.into_iter().map(|(a, b, value)| (a.min(b), a.max(b), value)).collect()
            };
            let asked = |rows: &[(u128, u128, u8)], key: u128| {
                rows.iter()
                    .enumerate()
                    .filter(|(_, (first, last, _))| (*first..=*last).contains(&key))
                    .min_by_key(|(at, (first, last, _))| (last - first, Reverse(*at)))
                    .map(|(_, (_, _, value))| *value)
            };
            let (old, new) = (ordered(old), ordered(new));
            let (older, newer) = (Steps::paint(&rows(&old)), Steps::paint(&rows(&new)));
            let both = newer.over(&older);
            for key in 0..61 {
                prop_assert_eq!(older.get(key), asked(&old, key));
                prop_assert_eq!(both.get(key), asked(&new, key).or(asked(&old, key)));
            }
            // No two neighbours are equal: the shortest form, so that equal functions are equal values.
            prop_assert!(both.edges.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 != pair[1].1));
            prop_assert!(both.edges.first().is_none_or(|(_, value)| value.is_some()));
        }
    }
}
