//! What must hold within one record, see docs/accounting.md and docs/records.md.

use std::cmp::Reverse;
use std::hash::Hash;

use foldhash::{HashSet, HashSetExt as _};
use tcpwatch_common::Counts;

use crate::record::{Destination, Record, SCHEMA};

/// How far the clock and the monotonic clock may be apart, beside the rounding.
const CLOCK_MS: f64 = 1000.0;

/// Something that does not hold.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Fault {
    /// Another form than this program knows.
    #[error("its schema is {0}, this tcpwatch knows {SCHEMA}")]
    Schema(u32),
    /// The program itself said so.
    #[error("says itself that it does not balance")]
    Unbalanced,
    /// A sum that is another than it should be.
    #[error("{sum} is {} packets and {} bytes, {of} comes to {} and {}", .is.packets, .is.bytes, .should.0, .should.1)]
    Sum {
        /// Which.
        sum: &'static str,
        /// As the record has it.
        is: Counts,
        /// Of what it is the sum.
        of: &'static str,
        /// Packets and bytes that they come to.
        should: (u128, u128),
    },
    /// An order that is another than it should be.
    #[error("{list} are not sorted: entry {at} belongs before the one before it")]
    Order {
        /// Which.
        list: &'static str,
        /// From 1.
        at: usize,
    },
    /// An entry that is there twice.
    #[error("entry {at} of {list} is there twice")]
    Twice {
        /// Which.
        list: &'static str,
        /// From 1.
        at: usize,
    },
    /// A destination with a name that it has already.
    #[error("entry {at} of destinations has the same name twice")]
    Name {
        /// From 1.
        at: usize,
    },
    /// An entry that counts nothing.
    #[error("entry {at} of {list} counts nothing")]
    Nothing {
        /// Which.
        list: &'static str,
        /// From 1.
        at: usize,
    },
    /// More socket buffers than packets.
    #[error("{skbs} socket buffers are more than {packets} packets")]
    SocketBuffers {
        /// Of the record.
        skbs: u64,
        /// Seen.
        packets: u64,
    },
    /// Counted without a look at the tables.
    #[error("was made without a drain")]
    NoDrain,
    /// It ends before it begins, or lasted another time.
    #[error("lasted {monotonic_s:.3} s, but {wall_s:.3} s by the wall clock: that was changed")]
    Clock {
        /// By the monotonic clock.
        monotonic_s: f64,
        /// From start to end.
        wall_s: f64,
    },
}

impl Fault {
    /// Whether such a record must not go into a history: what it says is not so.
    #[must_use]
    pub const fn is_false(&self) -> bool {
        matches!(self, Self::Schema(_) | Self::Sum { .. })
    }
}

/// All that does not hold.
#[must_use]
pub fn faults(record: &Record) -> Vec<Fault> {
    let mut faults = Vec::new();
    if record.schema != SCHEMA {
        faults.push(Fault::Schema(record.schema));
    }
    if !record.balanced {
        faults.push(Fault::Unbalanced);
    }
    sums(record, &mut faults);
    let destinations = &record.destinations;
    list(
        "destinations",
        destinations,
        |row| (row.packets, row.bytes),
        |row| (row.address, row.source, &*row.interface),
        &mut faults,
    );
    if let Some(at) = destinations.iter().position(has_a_name_twice) {
        faults.push(Fault::Name { at: at + 1 });
    }
    list(
        "banned prefixes",
        &record.banned,
        |row| (row.packets, row.bytes),
        |row| row.prefix,
        &mut faults,
    );
    let packets = record.totals.seen.packets;
    if record.skbs > packets {
        faults.push(Fault::SocketBuffers {
            skbs: record.skbs,
            packets,
        });
    }
    if record.drains == 0 {
        faults.push(Fault::NoDrain);
    }
    let wall_ms = (record.end.as_millisecond() - record.start.as_millisecond()) as f64;
    if (wall_ms - record.seconds * 1000.0).abs() > CLOCK_MS + record.seconds {
        faults.push(Fault::Clock {
            monotonic_s: record.seconds,
            wall_s: wall_ms / 1000.0,
        });
    }
    faults
}

fn has_a_name_twice(row: &Destination) -> bool {
    row.names.as_deref().is_some_and(|names| {
        let mut seen = HashSet::with_capacity(names.list.len());
        names.texts().any(|name| !seen.insert(name))
    })
}

fn sums(record: &Record, faults: &mut Vec<Fault>) {
    let totals = &record.totals;
    let mut check = |sum, is: Counts, of, parts: &mut dyn Iterator<Item = (u64, u64)>| {
        let should = parts.fold((0, 0), |(packets, bytes), part| {
            (packets + u128::from(part.0), bytes + u128::from(part.1))
        });
        if (u128::from(is.packets), u128::from(is.bytes)) != should {
            faults.push(Fault::Sum { sum, is, of, should });
        }
    };
    let mut outcomes = totals.outcomes().map(|counts| (counts.packets, counts.bytes));
    check("seen", totals.seen, "the sum of the outcomes", &mut outcomes);
    let mut rows = record.destinations.iter().map(|row| (row.packets, row.bytes));
    check("counted", totals.counted, "the sum over destinations", &mut rows);
    let mut rows = record.banned.iter().map(|row| (row.packets, row.bytes));
    check("banned", totals.banned, "the sum over banned prefixes", &mut rows);
}

/// Order, twice and nothing; of each the first, so that a hostile record does not make a line for each of its entries.
fn list<'a, T, K: Ord + Hash>(
    list: &'static str,
    rows: &'a [T],
    counts: impl Fn(&T) -> (u64, u64),
    key: impl Fn(&'a T) -> K,
    faults: &mut Vec<Fault>,
) {
    let order = |row: &'a T| (Reverse(counts(row).0), key(row));
    if let Some(at) = rows.windows(2).position(|pair| match pair {
        [a, b] => order(a) > order(b),
        _ => false,
    }) {
        faults.push(Fault::Order { list, at: at + 2 });
    }
    let mut seen = HashSet::with_capacity(rows.len());
    if let Some(at) = rows.iter().position(|row| !seen.insert(key(row))) {
        faults.push(Fault::Twice { list, at: at + 1 });
    }
    let nothing = |row: &T| counts(row).0 == 0 || counts(row).1 == 0;
    if let Some(at) = rows.iter().position(nothing) {
        faults.push(Fault::Nothing { list, at: at + 1 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample;

    #[test]
    fn a_record_with_its_books_in_order_has_no_fault() {
        assert_eq!(faults(&sample::full()), []);
        assert_eq!(faults(&sample::record("r", 1, 0, vec![])), []);
    }

    #[test]
    fn every_identity_is_checked() {
        type Spoil = fn(&mut Record);
        let spoiled: [(&str, Spoil); 15] = [
            ("its schema is 2", |record| record.schema = 2),
            ("says itself", |record| record.balanced = false),
            ("seen is 60 packets", |record| record.totals.seen.packets += 1),
            ("seen is", |record| record.totals.not_ip.bytes += 1),
            ("counted is", |record| record.destinations[0].bytes += 1),
            ("banned is", |record| record.banned[0].bytes -= 1),
            ("destinations are not sorted: entry 2", |record| {
                record.destinations.reverse();
            }),
            ("entry 2 of destinations is there twice", |record| {
                record.destinations[1] = record.destinations[0].clone();
                sample::balance(record);
            }),
            ("entry 2 of destinations has the same name twice", |record| {
                record.destinations[1].names = sample::asked(&["a.example", "b.example", "a.example"]);
            }),
            ("entry 2 of destinations counts nothing", |record| {
                record.destinations[1].packets = 0;
                sample::balance(record);
            }),
            ("entry 1 of banned prefixes counts nothing", |record| {
                record.banned[0].bytes = 0;
                sample::balance(record);
            }),
            ("1000 socket buffers", |record| record.skbs = 1000),
            ("without a drain", |record| record.drains = 0),
            ("but 20.000 s by the wall clock", |record| record.seconds = 3600.0),
            ("but 0.000 s by the wall clock", |record| {
                record.end = record.start;
            }),
        ];
        for (text, spoil) in spoiled {
            let mut record = sample::full();
            spoil(&mut record);
            let texts: Vec<String> = faults(&record).iter().map(Fault::to_string).collect();
            assert!(
                texts.iter().any(|found| found.contains(text)),
                "{text}: {texts:?}"
            );
        }
    }

    #[test]
    fn connections_of_names_may_be_more_than_those_of_their_interval() {
        // The first bytes of a connection can come in the interval after its SYN.
        let mut record = sample::full();
        record.destinations[0].tcp_connections = Some(0);
        assert_eq!(faults(&record), []);
    }

    #[test]
    fn hostile_sums_do_not_overflow() {
        let mut record = sample::full();
        for row in &mut record.destinations {
            row.packets = u64::MAX;
        }
        assert!(faults(&record).iter().any(Fault::is_false));
    }
}
