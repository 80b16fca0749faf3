//! Questions to the history: what is in the buckets of a plan, row by row. All answers of a reader are of one moment.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _};
use ipnet::IpNet;
use rusqlite::{Connection, OptionalExtension as _, params};
use tcpwatch_common::Counts;

use crate::history::plan::{Piece, Plan, Progress, Resolution};
use crate::history::rollup::{DAY_MS, HOUR_MS};
use crate::history::schema::{Access, open};
use crate::history::totals::{COLUMNS, OF_INTERVAL, Totals};
use crate::history::traffic::{Malformed, Traffic, banned_from_bytes, rows_from_bytes};
use crate::history::{HistoryError, damage};
use crate::record::{Place, RecordTotals, Scope};

/// Stands for the banned prefixes that are not kept one by one.
pub const OTHER_PREFIXES: &str = "other prefixes";

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
        let progress = Progress::read(&connection)?;
        Ok(Self {
            known: known_places(&connection)?,
            origins: origins(&connection)?,
            names: names(&connection)?,
            progress,
            connection,
        })
    }

    pub(super) const fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) const fn progress(&self) -> &Progress {
        &self.progress
    }

    pub(super) const fn known(&self) -> &HashMap<i64, Known> {
        &self.known
    }

    /// Whether all that a row speaks of is there.
    pub(super) fn knows(&self, place: i64, origin: i64, names: i64) -> bool {
        self.known.contains_key(&place)
            && self.origins.contains_key(&origin)
            && (names == 0 || self.names.contains_key(&names))
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
            let hours = one("SELECT min(bucket) * 3600000 + 1, (max(bucket) + 1) * 3600000 FROM total_hour")?;
            let days = one("SELECT min(bucket) * 86400000 + 1, (max(bucket) + 1) * 86400000 FROM total_day")?;
            let first = [raw.0, hours.0, days.0].into_iter().flatten().min();
            let last = [raw.1, hours.1, days.1].into_iter().flatten().max();
            Ok(first.zip(last))
        };
        read().map_err(HistoryError::Read)
    }

    /// How many bytes the rows of the intervals take that ended after `from_ms` and not after `to_ms`; a row has about twenty.
    ///
    /// # Errors
    /// The history cannot be read.
    pub fn weight(&self, from_ms: i64, to_ms: i64) -> Result<u64, HistoryError> {
        let read = || -> rusqlite::Result<u64> {
            let bytes: i64 = self
                .connection
                .prepare_cached(
                    "SELECT ifnull(sum(length(rows)), 0) FROM interval JOIN traffic_raw ON bucket = interval.id \
                     WHERE end_ms > ? AND end_ms <= ?",
                )?
                .query_row([from_ms, to_ms], |row| row.get(0))?;
            Ok(u64::try_from(bytes).unwrap_or(0))
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
        let sql = match piece.resolution {
            Resolution::Interval => {
                "SELECT end_ms, length_ms, rows FROM interval JOIN traffic_raw ON bucket = interval.id \
                 WHERE end_ms > ? AND end_ms <= ? ORDER BY end_ms"
            }
            Resolution::Hour => {
                "SELECT (bucket + 1) * 3600000, 3600000, rows FROM traffic_hour WHERE bucket >= ? AND bucket < ? ORDER BY bucket"
            }
            Resolution::Day => {
                "SELECT (bucket + 1) * 86400000, 86400000, rows FROM traffic_day WHERE bucket >= ? AND bucket < ? ORDER BY bucket"
            }
        };
        let mut select = self.connection.prepare_cached(sql)?;
        let mut rows = select.query([piece.first, piece.end])?;
        while let Some(row) = rows.next()? {
            let (end_ms, length_ms) = (row.get(0)?, row.get(1)?);
            let mut missing = false;
            rows_from_bytes(row.get_ref(2)?.as_blob()?, |key, sums| {
                let (Some(origin), Some(known)) = (self.origins.get(&key.origin), self.known.get(&key.place))
                else {
                    missing = true;
                    return;
                };
                each(Flow {
                    end_ms,
                    length_ms,
                    address: key.address,
                    known,
                    origin,
                    names: self.names.get(&key.names).map_or(&[], Vec::as_slice),
                    counts: sums.counts,
                    tcp: sums.tcp,
                    quic: sums.quic,
                });
            })
            .map_err(|Malformed| damage("the traffic of a bucket cannot be read"))?;
            if missing {
                return Err(damage("a place or an origin that is spoken of is missing"));
            }
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
        let sql = match piece.resolution {
            Resolution::Interval => {
                format!("SELECT end_ms, {OF_INTERVAL} FROM interval WHERE end_ms > ? AND end_ms <= ?")
            }
            Resolution::Hour => format!(
                "SELECT (bucket + 1) * {HOUR_MS}, {COLUMNS} FROM total_hour WHERE bucket >= ? AND bucket < ?"
            ),
            Resolution::Day => format!(
                "SELECT (bucket + 1) * {DAY_MS}, {COLUMNS} FROM total_day WHERE bucket >= ? AND bucket < ?"
            ),
        };
        let mut select = self.connection.prepare_cached(&sql)?;
        let mut rows = select.query([piece.first, piece.end])?;
        while let Some(row) = rows.next()? {
            let totals = Totals::read(row, 1)?;
            buckets.push(Bucket {
                end_ms: row.get(0)?,
                intervals: totals.intervals(),
                length_ms: totals.length_ms(),
                unbalanced: totals.unbalanced(),
                skbs: totals.skbs(),
                totals: totals.of_record(),
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
            let mut sums = Traffic::default();
            for piece in &plan.pieces {
                let sql = match piece.resolution {
                    Resolution::Interval => {
                        "SELECT banned FROM interval JOIN traffic_raw ON bucket = interval.id WHERE end_ms > ? AND end_ms <= ?"
                    }
                    Resolution::Hour => "SELECT banned FROM traffic_hour WHERE bucket >= ? AND bucket < ?",
                    Resolution::Day => "SELECT banned FROM traffic_day WHERE bucket >= ? AND bucket < ?",
                };
                let mut select = self.connection.prepare_cached(sql)?;
                let mut rows = select.query([piece.first, piece.end])?;
                while let Some(row) = rows.next()? {
                    banned_from_bytes(row.get_ref(0)?.as_blob()?, |prefix, counts| {
                        sums.add_banned(prefix, counts);
                    })
                    .map_err(|Malformed| damage("the banned prefixes of a bucket cannot be read"))?;
                }
            }
            let mut sums: Vec<_> = sums.banned.into_iter().collect();
            sums.sort_by_key(|(prefix, counts)| (Reverse(counts.packets), *prefix));
            let text = |prefix: Option<IpNet>| {
                prefix.map_or_else(|| OTHER_PREFIXES.to_owned(), |prefix| prefix.to_string())
            };
            Ok(sums
                .into_iter()
                .map(|(prefix, counts)| (text(prefix), counts))
                .collect())
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

fn known_places(connection: &Connection) -> rusqlite::Result<HashMap<i64, Known>> {
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
