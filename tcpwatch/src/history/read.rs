//! Questions to the history: which of its resolutions answer for a period, and what is in them, row by row.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _};
use rusqlite::{Connection, OptionalExtension as _, params};
use tcpwatch_common::Counts;

use crate::history::HistoryError;
use crate::history::rollup::{DAY_MS, HOUR_MS};
use crate::history::schema::{Access, open};
use crate::record::{Place, RecordTotals, Scope};

/// How finely a part of a period is answered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resolution {
    /// Interval by interval.
    Interval,
    /// Hours, UTC.
    Hour,
    /// Days, UTC.
    Day,
}

/// A part of a period: buckets from `first` up to `end`, without it. For intervals these are milliseconds: those that ended after
/// `first` and not after `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    resolution: Resolution,
    first: i64,
    end: i64,
}

/// How a period is answered for. What ended after `from_ms` and not after `to_ms` is in it; where only hours or days are kept, a
/// period that begins or ends within one is widened to all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pieces: Vec<Piece>,
    /// Its beginning, in milliseconds since 1970, UTC.
    pub from_ms: i64,
    /// Its end.
    pub to_ms: i64,
}

/// Traffic that a row of the history counts.
#[derive(Clone, Debug)]
pub struct Flow<'a> {
    /// When its bucket ended, in milliseconds since 1970, UTC.
    pub end_ms: i64,
    /// How long its bucket was; for an interval as it was measured.
    pub length_ms: i64,
    /// Where to; none: the sum of destinations that were not kept one by one.
    pub address: Option<IpAddr>,
    /// What is known of the destination.
    pub known: &'a Known,
    /// Where it left from.
    pub origin: &'a Origin,
    /// Names of the destination.
    pub names: &'a [Arc<str>],
    /// Packets and bytes.
    pub counts: Counts,
    /// Connections opened; none: they were not counted.
    pub tcp: Option<u64>,
    /// The same for QUIC.
    pub quic: Option<u64>,
}

/// What is known of a destination.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Known {
    /// What kind of address it is.
    pub scope: Scope,
    /// Where it is.
    pub place: Place,
}

/// Where packets left from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The own source; none: not an own address.
    pub source: Option<IpAddr>,
    /// The interface.
    pub interface: Arc<str>,
}

/// The totals of an interval, an hour or a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// When it ended.
    pub end_ms: i64,
    /// Intervals in it.
    pub intervals: u64,
    /// How long they were, together.
    pub length_ms: u64,
    /// Intervals whose books did not balance.
    pub unbalanced: u64,
    /// Socket buffers.
    pub skbs: u64,
    /// Every packet, by what became of it.
    pub totals: RecordTotals,
}

/// A history that is asked.
pub struct Reader {
    connection: Connection,
    known: HashMap<i64, Known>,
    origins: HashMap<i64, Origin>,
    names: HashMap<i64, Vec<Arc<str>>>,
    progress: Progress,
}

/// See `rollup`.
#[derive(Clone, Copy, Debug)]
struct Progress {
    raw_gone_ms: i64,
    hours: (i64, i64),
    days: (i64, i64),
}

impl Reader {
    /// Opens a history; a daemon may go on writing it. What is asked of it is as of this moment.
    ///
    /// # Errors
    /// It cannot be opened, or is another's.
    pub fn open(path: &Path) -> Result<Self, HistoryError> {
        let connection = open(path, Access::Read)?;
        Self::begin(connection).map_err(HistoryError::Read)
    }

    fn begin(connection: Connection) -> rusqlite::Result<Self> {
        // A transaction sees one state, so that sums agree however long the questions take.
        connection.execute_batch("BEGIN")?;
        let progress = |what: &str, otherwise: i64| -> rusqlite::Result<i64> {
            let value = connection
                .prepare_cached("SELECT value FROM progress WHERE what = ?")?
                .query_row([what], |row| row.get(0))
                .optional()?;
            Ok(value.unwrap_or(otherwise))
        };
        let progress = Progress {
            raw_gone_ms: progress("raw_gone_ms", i64::MIN)?,
            hours: (progress("hours_gone", i64::MIN)?, progress("hours_to", i64::MIN)?),
            days: (progress("days_gone", i64::MIN)?, progress("days_to", i64::MIN)?),
        };
        Ok(Self {
            known: known(&connection)?,
            origins: origins(&connection)?,
            names: names(&connection)?,
            progress,
            connection,
        })
    }

    /// When the first and the last bucket ended; none: there is nothing.
    ///
    /// # Errors
    /// The history cannot be read.
    pub fn extent(&self) -> Result<Option<(i64, i64)>, HistoryError> {
        let one = |sql: &str| -> rusqlite::Result<(Option<i64>, Option<i64>)> {
            self.connection
                .query_row(sql, (), |row| Ok((row.get(0)?, row.get(1)?)))
        };
        let read = || -> rusqlite::Result<Option<(i64, i64)>> {
            let raw = one("SELECT min(end_ms), max(end_ms) FROM interval")?;
            let hours = one("SELECT min(bucket) * 3600000 + 1, max(bucket) * 3600000 + 1 FROM total_hour")?;
            let days = one("SELECT min(bucket) * 86400000 + 1, max(bucket) * 86400000 + 1 FROM total_day")?;
            let first = [raw.0, hours.0, days.0].into_iter().flatten().min();
            let last = [raw.1, hours.1, days.1].into_iter().flatten().max();
            Ok(first.zip(last))
        };
        read().map_err(HistoryError::Read)
    }

    /// How to answer for what ended after `from_ms` and not after `to_ms`, in buckets no longer than `coarsest` where there are such.
    #[must_use]
    pub fn plan(&self, from_ms: i64, to_ms: i64, coarsest: Resolution) -> Plan {
        self.progress.plan(from_ms, to_ms, coarsest)
    }

    /// Calls `each` for every row of a plan.
    ///
    /// # Errors
    /// The history cannot be read.
    pub fn flows(&self, plan: &Plan, each: &mut dyn FnMut(Flow<'_>)) -> Result<(), HistoryError> {
        plan.pieces
            .iter()
            .try_for_each(|piece| self.flows_of(piece, each))
            .map_err(HistoryError::Read)
    }

    fn flows_of(&self, piece: &Piece, each: &mut dyn FnMut(Flow<'_>)) -> rusqlite::Result<()> {
        let columns = "address, origin, place, names, packets, bytes, tcp_connections, quic_connections";
        let (sql, range) = match piece.resolution {
            Resolution::Interval => (
                format!(
                    "SELECT end_ms, length_ms, {columns} FROM interval JOIN traffic_raw ON bucket = interval.id \
                     WHERE end_ms > ? AND end_ms <= ? ORDER BY end_ms"
                ),
                [piece.first, piece.end],
            ),
            Resolution::Hour => (
                format!(
                    "SELECT (bucket + 1) * {HOUR_MS}, {HOUR_MS}, {columns} FROM traffic_hour WHERE bucket >= ? AND bucket < ?"
                ),
                [piece.first, piece.end],
            ),
            Resolution::Day => (
                format!(
                    "SELECT (bucket + 1) * {DAY_MS}, {DAY_MS}, {columns} FROM traffic_day WHERE bucket >= ? AND bucket < ?"
                ),
                [piece.first, piece.end],
            ),
        };
        let mut select = self.connection.prepare_cached(&sql)?;
        let mut rows = select.query(range)?;
        while let Some(row) = rows.next()? {
            let (origin, place, names): (i64, i64, i64) = (row.get(3)?, row.get(4)?, row.get(5)?);
            let (Some(origin), Some(known)) = (self.origins.get(&origin), self.known.get(&place)) else {
                return Err(rusqlite::Error::QueryReturnedNoRows);
            };
            each(Flow {
                end_ms: row.get(0)?,
                length_ms: row.get(1)?,
                address: address(row.get_ref(2)?.as_blob()?),
                known,
                origin,
                names: self.names.get(&names).map_or(&[], Vec::as_slice),
                counts: Counts {
                    packets: count(row.get(6)?),
                    bytes: count(row.get(7)?),
                },
                tcp: row.get::<_, Option<i64>>(8)?.map(count),
                quic: row.get::<_, Option<i64>>(9)?.map(count),
            });
        }
        Ok(())
    }

    /// The totals of a plan's buckets, in the order of time.
    ///
    /// # Errors
    /// The history cannot be read.
    pub fn buckets(&self, plan: &Plan) -> Result<Vec<Bucket>, HistoryError> {
        let mut buckets = Vec::new();
        for piece in &plan.pieces {
            self.buckets_of(piece, &mut buckets).map_err(HistoryError::Read)?;
        }
        buckets.sort_by_key(|bucket| bucket.end_ms);
        Ok(buckets)
    }

    fn buckets_of(&self, piece: &Piece, buckets: &mut Vec<Bucket>) -> rusqlite::Result<()> {
        let totals = "skbs, seen_packets, seen_bytes, counted_packets, counted_bytes, overflow_packets, overflow_bytes, \
             banned_packets, banned_bytes, served_packets, served_bytes, other_source_packets, other_source_bytes, \
             malformed_packets, malformed_bytes, not_ip_packets, not_ip_bytes";
        let sql = match piece.resolution {
            Resolution::Interval => format!(
                "SELECT end_ms, 1, length_ms, balanced = 0, {totals} FROM interval WHERE end_ms > ? AND end_ms <= ?"
            ),
            Resolution::Hour => format!(
                "SELECT (bucket + 1) * {HOUR_MS}, intervals, length_ms, unbalanced, {totals} FROM total_hour \
                 WHERE bucket >= ? AND bucket < ?"
            ),
            Resolution::Day => format!(
                "SELECT (bucket + 1) * {DAY_MS}, intervals, length_ms, unbalanced, {totals} FROM total_day \
                 WHERE bucket >= ? AND bucket < ?"
            ),
        };
        let mut select = self.connection.prepare_cached(&sql)?;
        let mut rows = select.query([piece.first, piece.end])?;
        while let Some(row) = rows.next()? {
            let counts = |at: usize| -> rusqlite::Result<Counts> {
                Ok(Counts {
                    packets: count(row.get(at)?),
                    bytes: count(row.get(at + 1)?),
                })
            };
            buckets.push(Bucket {
                end_ms: row.get(0)?,
                intervals: count(row.get(1)?),
                length_ms: count(row.get(2)?),
                unbalanced: count(row.get(3)?),
                skbs: count(row.get(4)?),
                totals: RecordTotals {
                    seen: counts(5)?,
                    counted: counts(7)?,
                    overflow: counts(9)?,
                    banned: counts(11)?,
                    served: counts(13)?,
                    other_source: counts(15)?,
                    malformed: counts(17)?,
                    not_ip: counts(19)?,
                },
            });
        }
        Ok(())
    }

    /// What went to the operator's prefixes in a plan, most packets first.
    ///
    /// # Errors
    /// The history cannot be read.
    pub fn banned(&self, plan: &Plan) -> Result<Vec<(String, Counts)>, HistoryError> {
        let read = || -> rusqlite::Result<Vec<(String, Counts)>> {
            let mut sums: HashMap<String, Counts> = HashMap::new();
            for piece in &plan.pieces {
                let sql = match piece.resolution {
                    Resolution::Interval => {
                        "SELECT prefix, packets, bytes FROM interval JOIN banned_raw ON bucket = interval.id \
                         WHERE end_ms > ? AND end_ms <= ?"
                    }
                    Resolution::Hour => {
                        "SELECT prefix, packets, bytes FROM banned_hour WHERE bucket >= ? AND bucket < ?"
                    }
                    Resolution::Day => {
                        "SELECT prefix, packets, bytes FROM banned_day WHERE bucket >= ? AND bucket < ?"
                    }
                };
                let mut select = self.connection.prepare_cached(sql)?;
                let mut rows = select.query([piece.first, piece.end])?;
                while let Some(row) = rows.next()? {
                    let counts = Counts {
                        packets: count(row.get(1)?),
                        bytes: count(row.get(2)?),
                    };
                    sums.entry(row.get(0)?).or_default().add(counts);
                }
            }
            let mut sums: Vec<_> = sums.into_iter().collect();
            sums.sort_by(|a, b| b.1.packets.cmp(&a.1.packets).then_with(|| a.0.cmp(&b.0)));
            Ok(sums)
        };
        read().map_err(HistoryError::Read)
    }

    /// Hosts and place databases (JSON, as in the record) of the last intervals that are kept.
    ///
    /// # Errors
    /// The history cannot be read.
    pub fn sources(&self) -> Result<(Vec<String>, Option<String>), HistoryError> {
        let read = || -> rusqlite::Result<(Vec<String>, Option<String>)> {
            let mut hosts = self
                .connection
                .prepare_cached("SELECT DISTINCT host FROM run ORDER BY host")?;
            let hosts = hosts.query_map((), |row| row.get(0))?.collect::<Result<_, _>>()?;
            let geo = self
                .connection
                .prepare_cached("SELECT geo FROM interval ORDER BY end_ms DESC LIMIT 1")?
                .query_row(params![], |row| row.get(0))
                .optional()?;
            Ok((hosts, geo))
        };
        read().map_err(HistoryError::Read)
    }
}

impl Progress {
    fn plan(&self, from_ms: i64, to_ms: i64, coarsest: Resolution) -> Plan {
        let ceil = |ms: i64, length: i64| ms.div_euclid(length) + i64::from(ms.rem_euclid(length) > 0);
        // What is gone in one resolution is answered for in the next one, whose buckets are then wanted whole.
        let gone_ms = self.hours.0.saturating_mul(HOUR_MS);
        let widen = |ms: i64, up: bool| {
            let length = if ms < gone_ms {
                DAY_MS
            } else if ms < self.raw_gone_ms {
                HOUR_MS
            } else {
                return ms;
            };
            if up {
                ceil(ms, length) * length
            } else {
                ms.div_euclid(length) * length
            }
        };
        let (from_ms, to_ms) = (widen(from_ms, false), widen(to_ms, true));
        let mut pieces = Vec::new();
        if from_ms >= to_ms {
            return Plan {
                pieces,
                from_ms,
                to_ms: from_ms,
            };
        }
        // Days in the middle, then hours on both sides of them, then intervals on both sides of these.
        let whole = |(gone, to): (i64, i64), length: i64, from: i64, until: i64| {
            let first = ceil(from, length).max(gone);
            let end = until.div_euclid(length).min(to);
            (first < end).then_some((first, end))
        };
        let needs_days = from_ms < gone_ms;
        let days_until = if coarsest >= Resolution::Day {
            to_ms
        } else {
            gone_ms.min(to_ms)
        };
        let days = if coarsest >= Resolution::Day || needs_days {
            whole(self.days, DAY_MS, from_ms, days_until)
        } else {
            None
        };
        let mut gaps = Vec::new();
        match days {
            Some((first, end)) => {
                pieces.push(Piece {
                    resolution: Resolution::Day,
                    first,
                    end,
                });
                gaps.extend([(from_ms, first * DAY_MS), (end * DAY_MS, to_ms)]);
            }
            None => gaps.push((from_ms, to_ms)),
        }
        for (from, until) in gaps {
            if from >= until {
                continue;
            }
            let hours_until = if coarsest >= Resolution::Hour {
                until
            } else {
                self.raw_gone_ms.min(until)
            };
            match whole(self.hours, HOUR_MS, from, hours_until) {
                Some((first, end)) => {
                    pieces.push(Piece {
                        resolution: Resolution::Hour,
                        first,
                        end,
                    });
                    for (first, end) in [(from, first * HOUR_MS), (end * HOUR_MS, until)] {
                        if first < end {
                            pieces.push(Piece {
                                resolution: Resolution::Interval,
                                first,
                                end,
                            });
                        }
                    }
                }
                None => pieces.push(Piece {
                    resolution: Resolution::Interval,
                    first: from,
                    end: until,
                }),
            }
        }
        Plan {
            pieces,
            from_ms,
            to_ms,
        }
    }
}

fn known(connection: &Connection) -> rusqlite::Result<HashMap<i64, Known>> {
    let mut texts: HashMap<String, Arc<str>> = HashMap::new();
    let mut text = |text: String| {
        (!text.is_empty())
            .then(|| Arc::clone(texts.entry(text).or_insert_with_key(|text| text.as_str().into())))
    };
    let mut select = connection
        .prepare("SELECT id, scope, country, country_name, city, asn, network, anycast FROM place")?;
    let mut rows = select.query(())?;
    let mut known = HashMap::new();
    while let Some(row) = rows.next()? {
        let scope: String = row.get(1)?;
        let (asn, anycast): (i64, i64) = (row.get(5)?, row.get(7)?);
        let place = Place {
            country: text(row.get(2)?),
            country_name: text(row.get(3)?),
            city: text(row.get(4)?),
            asn: u32::try_from(asn).ok(),
            network: text(row.get(6)?),
            anycast: (anycast >= 0).then_some(anycast > 0),
        };
        // A word of a later version of the program.
        let scope = Scope::from_word(&scope).unwrap_or(Scope::Reserved);
        known.insert(row.get(0)?, Known { scope, place });
    }
    Ok(known)
}

fn origins(connection: &Connection) -> rusqlite::Result<HashMap<i64, Origin>> {
    let mut select = connection.prepare("SELECT id, source, interface FROM origin")?;
    let rows = select.query_map((), |row| {
        let origin = Origin {
            source: address(row.get_ref(1)?.as_blob()?),
            interface: row.get::<_, String>(2)?.into(),
        };
        Ok((row.get(0)?, origin))
    })?;
    rows.collect()
}

fn names(connection: &Connection) -> rusqlite::Result<HashMap<i64, Vec<Arc<str>>>> {
    let mut select = connection.prepare("SELECT id, names FROM names")?;
    let rows = select.query_map((), |row| {
        let names: Vec<Arc<str>> = serde_json::from_str(&row.get::<_, String>(1)?).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, Box::new(error))
        })?;
        Ok((row.get(0)?, names))
    })?;
    rows.collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(v4).into());
    }
    <[u8; 16]>::try_from(bytes)
        .ok()
        .map(|v6| Ipv6Addr::from(v6).into())
}

/// They were written from unsigned numbers.
fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = HOUR_MS;

    fn progress() -> Progress {
        Progress {
            raw_gone_ms: 240 * HOUR,
            hours: (96, 288),
            days: (1, 12),
        }
    }

    fn pieces(from: i64, to: i64, coarsest: Resolution) -> Vec<(Resolution, i64, i64)> {
        let plan = progress().plan(from, to, coarsest);
        plan.pieces
            .iter()
            .map(|piece| (piece.resolution, piece.first, piece.end))
            .collect()
    }

    #[test]
    fn the_coarsest_buckets_are_in_the_middle() {
        use Resolution::{Day, Hour, Interval};
        assert_eq!(
            pieces(250 * HOUR + 1, 290 * HOUR + 5, Day),
            [
                (Day, 11, 12),
                (Hour, 251, 264),
                (Interval, 250 * HOUR + 1, 251 * HOUR),
                (Interval, 288 * HOUR, 290 * HOUR + 5)
            ]
        );
        assert_eq!(
            pieces(250 * HOUR, 252 * HOUR, Interval),
            [(Interval, 250 * HOUR, 252 * HOUR)]
        );
    }

    #[test]
    fn where_only_coarse_buckets_are_kept_the_period_is_widened() {
        use Resolution::{Day, Hour, Interval};
        assert_eq!(
            pieces(100 * HOUR + 7, 102 * HOUR + 7, Interval),
            [(Hour, 100, 103)]
        );
        assert_eq!(pieces(30 * HOUR, 40 * HOUR, Interval), [(Day, 1, 2)]);
        let plan = progress().plan(30 * HOUR, 100 * HOUR + 1, Hour);
        assert_eq!((plan.from_ms, plan.to_ms), (24 * HOUR, 101 * HOUR));
    }
}
