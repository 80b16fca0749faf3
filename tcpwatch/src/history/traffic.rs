//! The traffic of an interval, an hour or a day: how it is summed up, bounded, and written as bytes.
//!
//! One value holds all rows of a bucket: nobody ever asks for one row alone, and a row of a table for each of them would be looked up,
//! written, and deleted again one by one.

use std::cmp::Reverse;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};
use ipnet::IpNet;
use tcpwatch_common::Counts;

use crate::record::add_known;

/// Of the form below; the first byte of every value.
const FORM: u8 = 1;

/// What a row counts: packets to an address, from an origin. Places, origins and names are numbers of dictionary entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    /// None: the sum of addresses that are not kept one by one.
    pub address: Option<IpAddr>,
    pub origin: i64,
    pub place: i64,
    /// 0: no names.
    pub names: i64,
}

/// How much of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub counts: Counts,
    /// None: not counted, which is no zero.
    pub tcp: Option<u64>,
    pub quic: Option<u64>,
}

impl Sums {
    pub fn add(&mut self, more: Self) {
        add(&mut self.counts, more.counts);
        self.tcp = add_known(self.tcp, more.tcp);
        self.quic = add_known(self.quic, more.quic);
    }
}

fn add(sum: &mut Counts, more: Counts) {
    sum.packets = sum.packets.saturating_add(more.packets);
    sum.bytes = sum.bytes.saturating_add(more.bytes);
}

/// All rows of a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Traffic {
    pub rows: HashMap<Key, Sums>,
    /// What went to the operator's prefixes; none: to those that are not kept one by one.
    pub banned: HashMap<Option<IpNet>, Counts>,
}

/// Bytes that are no traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl Traffic {
    pub fn with_capacity(rows: usize) -> Self {
        Self {
            rows: HashMap::with_capacity(rows),
            banned: HashMap::new(),
        }
    }

    pub fn add_row(&mut self, key: Key, sums: Sums) {
        self.rows.entry(key).or_default().add(sums);
    }

    pub fn add_banned(&mut self, prefix: Option<IpNet>, counts: Counts) {
        add(self.banned.entry(prefix).or_default(), counts);
    }

    pub fn add(&mut self, other: &Self) {
        for (key, sums) in &other.rows {
            self.add_row(*key, *sums);
        }
        for (prefix, counts) in &other.banned {
            self.add_banned(*prefix, *counts);
        }
    }

    /// Gives all rows of an address, origin and place the same names: those that have most packets, but no names only where there are
    /// no others; of equals the oldest. Names are those of an interval, and another set nearly every time where an address has many.
    pub fn unite(&mut self) {
        let nameless = |key: &Key| Key { names: 0, ..*key };
        let mut most: HashMap<Key, (u64, Reverse<i64>)> = HashMap::new();
        for (key, sums) in self.rows.iter().filter(|(key, _)| key.names != 0) {
            let names = (sums.counts.packets, Reverse(key.names));
            let best = most.entry(nameless(key)).or_insert(names);
            *best = names.max(*best);
        }
        let names_of = |key: &Key| most.get(&nameless(key)).map_or(0, |(_, Reverse(names))| *names);
        let others: Vec<(Key, Sums)> = self
            .rows
            .extract_if(|key, _| names_of(key) != key.names)
            .collect();
        for (key, sums) in others {
            let names = names_of(&key);
            self.add_row(Key { names, ..key }, sums);
        }
    }

    /// Keeps the `top` addresses with most packets and sums up the others by origin and by what `reduced` makes of their place;
    /// the same with the prefixes.
    pub fn fold<E>(&mut self, top: usize, mut reduced: impl FnMut(i64) -> Result<i64, E>) -> Result<(), E> {
        let mut addresses: HashMap<IpAddr, u64> = HashMap::with_capacity(self.rows.len());
        for (key, sums) in &self.rows {
            if let Some(address) = key.address {
                let sum = addresses.entry(address).or_default();
                *sum = sum.saturating_add(sums.counts.packets);
            }
        }
        let out = beyond(addresses, top);
        if !out.is_empty() {
            let leaving = |key: &Key| key.address.is_some_and(|address| out.contains(&address));
            let left: Vec<(Key, Sums)> = self.rows.extract_if(|key, _| leaving(key)).collect();
            let mut places: HashMap<i64, i64> = HashMap::new();
            for (key, sums) in left {
                let place = match places.get(&key.place) {
                    Some(place) => *place,
                    None => {
                        let place = reduced(key.place)?;
                        places.insert(key.place, place);
                        place
                    }
                };
                let key = Key {
                    address: None,
                    origin: key.origin,
                    place,
                    names: 0,
                };
                self.add_row(key, sums);
            }
        }
        let prefixes = self
            .banned
            .iter()
            .filter_map(|(prefix, counts)| Some(((*prefix)?, counts.packets)))
            .collect();
        for prefix in beyond(prefixes, top) {
            if let Some(counts) = self.banned.remove(&Some(prefix)) {
                self.add_banned(None, counts);
            }
        }
        Ok(())
    }

    /// The rows as bytes, in the order of their keys, so that equal traffic is equal bytes.
    pub fn rows_to_bytes(&self) -> Vec<u8> {
        let mut rows: Vec<(&Key, &Sums)> = self.rows.iter().collect();
        rows.sort_unstable_by_key(|(key, _)| **key);
        let mut bytes = Vec::with_capacity(rows.len() * 16 + 8);
        bytes.push(FORM);
        put(&mut bytes, rows.len() as u64);
        let mut origin = 0;
        for (key, sums) in rows {
            let (kind, address) = kind(key.address);
            let flag = |bit: u8, set: bool| u8::from(set) << bit;
            bytes.push(
                kind | flag(2, key.names != 0)
                    | flag(3, sums.tcp.is_some())
                    | flag(4, sums.quic.is_some())
                    | flag(5, key.origin != origin),
            );
            bytes.extend_from_slice(address.bytes());
            if key.origin != origin {
                put(&mut bytes, key.origin.cast_unsigned());
                origin = key.origin;
            }
            put(&mut bytes, key.place.cast_unsigned());
            if key.names != 0 {
                put(&mut bytes, key.names.cast_unsigned());
            }
            put(&mut bytes, sums.counts.packets);
            put(&mut bytes, sums.counts.bytes);
            for connections in [sums.tcp, sums.quic].into_iter().flatten() {
                put(&mut bytes, connections);
            }
        }
        bytes
    }

    /// The prefixes as bytes.
    pub fn banned_to_bytes(&self) -> Vec<u8> {
        let mut banned: Vec<_> = self.banned.iter().collect();
        banned.sort_unstable_by_key(|(prefix, _)| **prefix);
        let mut bytes = vec![FORM];
        put(&mut bytes, banned.len() as u64);
        for (prefix, counts) in banned {
            let (kind, address) = kind(prefix.map(|prefix| prefix.addr()));
            bytes.push(kind);
            bytes.extend_from_slice(address.bytes());
            if let Some(prefix) = prefix {
                bytes.push(prefix.prefix_len());
            }
            put(&mut bytes, counts.packets);
            put(&mut bytes, counts.bytes);
        }
        bytes
    }
}

/// All but the `top` with most, of equals those that come first.
fn beyond<T: Ord + Copy + Hash>(sums: HashMap<T, u64>, top: usize) -> HashSet<T> {
    if sums.len() <= top {
        return HashSet::new();
    }
    let mut sums: Vec<(T, u64)> = sums.into_iter().collect();
    sums.select_nth_unstable_by(top, |a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    sums.drain(top..).map(|(what, _)| what).collect()
}

/// Calls `each` for every row.
pub(super) fn rows_from_bytes(bytes: &[u8], mut each: impl FnMut(Key, Sums)) -> Result<(), Malformed> {
    let mut from = Bytes::new(bytes)?;
    let mut origin = 0;
    for _ in 0..from.number()? {
        let flags = from.byte()?;
        if flags >> 6 != 0 {
            return Err(Malformed);
        }
        let address = from.address(flags & 3)?;
        if flags & 1 << 5 != 0 {
            origin = from.number()?.cast_signed();
        }
        let place = from.number()?.cast_signed();
        let mut if_set = |bit: u8| (flags & 1 << bit != 0).then(|| from.number()).transpose();
        let names = if_set(2)?.unwrap_or(0).cast_signed();
        let counts = Counts {
            packets: from.number()?,
            bytes: from.number()?,
        };
        let mut if_set = |bit: u8| (flags & 1 << bit != 0).then(|| from.number()).transpose();
        let (tcp, quic) = (if_set(3)?, if_set(4)?);
        let key = Key {
            address,
            origin,
            place,
            names,
        };
        each(key, Sums { counts, tcp, quic });
    }
    from.end()
}

/// Calls `each` for every prefix.
pub(super) fn banned_from_bytes(
    bytes: &[u8],
    mut each: impl FnMut(Option<IpNet>, Counts),
) -> Result<(), Malformed> {
    let mut from = Bytes::new(bytes)?;
    for _ in 0..from.number()? {
        let kind = from.byte()?;
        let prefix = match from.address(kind)? {
            Some(address) => match IpNet::new(address, from.byte()?) {
                Ok(prefix) => Some(prefix),
                Err(ipnet::PrefixLenError) => return Err(Malformed),
            },
            None => None,
        };
        let counts = Counts {
            packets: from.number()?,
            bytes: from.number()?,
        };
        each(prefix, counts);
    }
    from.end()
}

/// Seven bits in each byte, the lowest first; the highest bit says that more follow.
fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

enum Octets {
    None,
    V4([u8; 4]),
    V6([u8; 16]),
}

impl Octets {
    const fn bytes(&self) -> &[u8] {
        match self {
            Self::None => &[],
            Self::V4(octets) => octets,
            Self::V6(octets) => octets,
        }
    }
}

fn kind(address: Option<IpAddr>) -> (u8, Octets) {
    match address {
        None => (0, Octets::None),
        Some(IpAddr::V4(v4)) => (1, Octets::V4(v4.octets())),
        Some(IpAddr::V6(v6)) => (2, Octets::V6(v6.octets())),
    }
}

/// What is still to be read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        match bytes.split_first() {
            Some((&FORM, rest)) => Ok(Self(rest)),
            Some(_) | None => Err(Malformed),
        }
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.0.split_first().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*first)
    }

    fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(Malformed);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Malformed)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (first, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*first)
    }

    fn address(&mut self, kind: u8) -> Result<Option<IpAddr>, Malformed> {
        match kind {
            0 => Ok(None),
            1 => Ok(Some(Ipv4Addr::from(self.array::<4>()?).into())),
            2 => Ok(Some(Ipv6Addr::from(self.array::<16>()?).into())),
            _ => Err(Malformed),
        }
    }

    const fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

#[cfg(test)]
mod tests;
