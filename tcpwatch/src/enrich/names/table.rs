//! What is remembered of connections for a short time: bounded in number, in bytes and in age, and the oldest goes
//! first.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

use super::quic::ClientId;
use super::{Sample, SampleKind};

/// Which connection a sample is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    kind: SampleKind,
    local: (IpAddr, u16),
    remote: (IpAddr, u16),
    /// QUIC: a socket has one for each connection.
    client: Option<ClientId>,
}

impl Key {
    pub(super) fn of(sample: &Sample<'_>) -> Self {
        Self {
            kind: sample.kind,
            local: (sample.local, sample.local_port),
            remote: (sample.remote, sample.remote_port),
            client: match sample.kind {
                SampleKind::Quic => ClientId::of(sample.payload),
                SampleKind::DnsUdp | SampleKind::DnsTcp | SampleKind::Tls => None,
            },
        }
    }
}

/// How much a table holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) entries: usize,
    /// Of what the entries say that they have allocated.
    pub(super) bytes: usize,
    pub(super) age: Duration,
}

#[derive(Debug)]
pub(super) struct Table<V> {
    limits: Limits,
    entries: HashMap<Key, Entry<V>, RandomState>,
    /// By age; the number tells those of the same instant apart.
    order: BTreeMap<(Instant, u64), Key>,
    next: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry<V> {
    place: (Instant, u64),
    bytes: usize,
    value: V,
}

impl<V> Table<V> {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            entries: HashMap::default(),
            order: BTreeMap::new(),
            next: 0,
            bytes: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What the entries have allocated, as they said.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes an entry out, with the time from which its age counts.
    pub(super) fn take(&mut self, key: &Key) -> Option<(V, Instant)> {
        let entry = self.entries.remove(key)?;
        self.order.remove(&entry.place);
        self.bytes -= entry.bytes;
        Some((entry.value, entry.place.0))
    }

    /// Puts an entry in, in the place of one that is there. What has to go for it is given to `gone`.
    pub(super) fn put(&mut self, key: Key, value: V, bytes: usize, since: Instant, mut gone: impl FnMut(V)) {
        if let Some((old, _)) = self.take(&key) {
            gone(old);
        }
        let place = (since, self.next);
        self.next += 1;
        self.bytes += bytes;
        self.order.insert(place, key);
        self.entries.insert(key, Entry { place, bytes, value });
        while self.entries.len() > self.limits.entries || self.bytes > self.limits.bytes {
            self.drop_oldest(&mut gone);
        }
    }

    /// Drops what is too old.
    pub(super) fn expire(&mut self, now: Instant, mut gone: impl FnMut(V)) {
        while let Some((place, _)) = self.order.first_key_value()
            && now.saturating_duration_since(place.0) > self.limits.age
        {
            self.drop_oldest(&mut gone);
        }
    }

    fn drop_oldest(&mut self, gone: &mut impl FnMut(V)) {
        if let Some((_, key)) = self.order.first_key_value()
            && let Some((value, _)) = self.take(&{ *key })
        {
            gone(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn key(number: u32) -> Key {
        Key {
            kind: SampleKind::Tls,
            local: (Ipv4Addr::UNSPECIFIED.into(), 0),
            remote: (Ipv4Addr::from_bits(number).into(), 443),
            client: None,
        }
    }

    const LIMITS: Limits = Limits {
        entries: 3,
        bytes: 100,
        age: Duration::from_secs(10),
    };

    #[test]
    fn the_oldest_goes_first() {
        let start = Instant::now();
        let mut table = Table::new(LIMITS);
        let mut gone = Vec::new();
        for number in 0..4 {
            // Of the same instant as well.
            let since = start + Duration::from_secs(u64::from(number / 2));
            table.put(key(number), number, 10, since, |number| gone.push(number));
        }
        assert_eq!((table.len(), table.bytes(), &gone[..]), (3, 30, &[0][..]));
        table.put(key(4), 4, 85, start + Duration::from_secs(2), |number| {
            gone.push(number);
        });
        assert_eq!((table.len(), table.bytes(), &gone[..]), (2, 95, &[0, 1, 2][..]));
        table.put(key(5), 5, 101, start + Duration::from_secs(3), |number| {
            gone.push(number);
        });
        assert_eq!(
            (table.len(), table.bytes(), gone.len()),
            (0, 0, 6),
            "larger than all"
        );
        assert!(table.order.is_empty());
    }

    #[test]
    fn what_is_too_old_goes() {
        let start = Instant::now();
        let mut table = Table::new(LIMITS);
        table.put(key(0), 0, 10, start, |_| panic!());
        table.put(key(1), 1, 10, start + Duration::from_secs(5), |_| panic!());
        table.expire(start + Duration::from_secs(10), |_| panic!());
        let mut gone = Vec::new();
        table.expire(start + Duration::from_secs(11), |number| gone.push(number));
        assert_eq!(gone, [0]);
        // What is put back keeps its age.
        let (value, since) = table.take(&key(1)).unwrap();
        assert_eq!((value, table.len(), table.bytes()), (1, 0, 0));
        table.put(key(1), value, 10, since, |_| panic!());
        table.expire(start + Duration::from_secs(16), |number| gone.push(number));
        assert_eq!(gone, [0, 1]);
    }
}
