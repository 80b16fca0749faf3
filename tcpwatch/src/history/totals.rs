//! The totals of intervals, hours and days: the columns that hold them, and how they are added up.

use rusqlite::{Row, Transaction, params_from_iter};
use tcpwatch_common::Counts;

use crate::record::RecordTotals;

/// Columns of a row of totals, but for the bucket.
pub(super) const COLUMNS: &str = "intervals, length_ms, unbalanced, partial, drains, skbs, seen_packets, seen_bytes, \
     counted_packets, counted_bytes, overflow_packets, overflow_bytes, banned_packets, banned_bytes, served_packets, served_bytes, \
     other_source_packets, other_source_bytes, malformed_packets, malformed_bytes, not_ip_packets, not_ip_bytes";

/// The same of one interval.
pub(super) const OF_INTERVAL: &str = "1, length_ms, balanced = 0, partial, drains, skbs, seen_packets, seen_bytes, \
     counted_packets, counted_bytes, overflow_packets, overflow_bytes, banned_packets, banned_bytes, served_packets, served_bytes, \
     other_source_packets, other_source_bytes, malformed_packets, malformed_bytes, not_ip_packets, not_ip_bytes";

const NUMBERS: usize = 22;
/// Where the outcomes begin.
const OUTCOMES: usize = 6;

/// A row of totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals([u64; NUMBERS]);

impl Totals {
    /// From the columns beginning with `first`.
    pub fn read(row: &Row<'_>, first: usize) -> rusqlite::Result<Self> {
        let mut numbers = [0; NUMBERS];
        for (at, number) in numbers.iter_mut().enumerate() {
            *number = count(row.get(first + at)?);
        }
        Ok(Self(numbers))
    }

    pub fn add(&mut self, other: &Self) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum = sum.saturating_add(more);
        }
    }

    pub const fn intervals(&self) -> u64 {
        self.0[0]
    }

    pub const fn length_ms(&self) -> u64 {
        self.0[1]
    }

    pub const fn unbalanced(&self) -> u64 {
        self.0[2]
    }

    pub const fn skbs(&self) -> u64 {
        self.0[5]
    }

    pub const fn of_record(&self) -> RecordTotals {
        RecordTotals {
            seen: self.counts(0),
            counted: self.counts(1),
            overflow: self.counts(2),
            banned: self.counts(3),
            served: self.counts(4),
            other_source: self.counts(5),
            malformed: self.counts(6),
            not_ip: self.counts(7),
        }
    }

    /// The columns have the order of [`RecordTotals::named`].
    const fn counts(&self, at: usize) -> Counts {
        Counts {
            packets: self.0[OUTCOMES + 2 * at],
            bytes: self.0[OUTCOMES + 2 * at + 1],
        }
    }

    /// Writes it as the bucket's row, in place of the one that is there.
    pub fn write(&self, transaction: &Transaction<'_>, table: &str, bucket: i64) -> rusqlite::Result<()> {
        let marks = ", ?".repeat(NUMBERS);
        transaction
            .prepare_cached(&format!(
                "INSERT OR REPLACE INTO {table} (bucket, {COLUMNS}) VALUES (?{marks})"
            ))?
            .execute(params_from_iter(
                std::iter::once(bucket).chain(self.0.map(number)),
            ))?;
        Ok(())
    }
}

/// SQLite's numbers are signed. A record's are bounded far below, a sum of years stays below, too.
pub(super) fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// They were written from unsigned numbers.
pub(super) fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
