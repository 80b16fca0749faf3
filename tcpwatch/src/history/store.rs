//! One record into the history: in one transaction, once.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _};
use jiff::Timestamp;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use tcpwatch_common::Counts;

use crate::history::schema::{Access, open};
use crate::history::{Bounds, Detail, HistoryError, rollup};
use crate::record::{Destination, Place, Record, RecordTotals, Scope};

/// Entries of each dictionary that are held; beyond it they are forgotten and asked for again.
const MOST_HELD: usize = 1 << 16;

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is in the history now.
    New,
    /// It was there already, and nothing was added.
    Known,
}

/// A history that is written.
pub struct Store {
    path: PathBuf,
    connection: Connection,
    bounds: Bounds,
    known: Known,
}

/// Numbers of dictionary entries. What a transaction has added is forgotten when it fails.
#[derive(Default)]
struct Known {
    places: HashMap<(Scope, Arc<Place>), i64>,
    origins: HashMap<(Option<IpAddr>, Arc<str>), i64>,
    names: HashMap<String, i64>,
}

/// Where a row of traffic is counted: address (empty: the rest), origin, place and names.
type Key = (Vec<u8>, i64, i64, i64);

/// What a row of traffic counts.
#[derive(Clone, Copy, Default)]
struct Sums {
    counts: Counts,
    tcp: Option<u64>,
    quic: Option<u64>,
}

impl Sums {
    fn add(&mut self, row: &Destination) {
        self.counts.add(Counts {
            packets: row.packets,
            bytes: row.bytes,
        });
        let add = |sum: &mut Option<u64>, more: Option<u64>| {
            if let Some(more) = more {
                *sum = Some(sum.unwrap_or(0).saturating_add(more));
            }
        };
        add(&mut self.tcp, row.tcp_connections);
        add(&mut self.quic, row.quic_connections);
    }
}

impl Store {
    /// Opens a history, or makes one.
    ///
    /// # Errors
    /// It cannot be opened, or is another's.
    pub fn open(path: &Path, bounds: Bounds) -> Result<Self, HistoryError> {
        Ok(Self {
            path: path.to_owned(),
            connection: open(path, Access::Write)?,
            bounds,
            known: Known::default(),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a record, unless it is there already.
    ///
    /// # Errors
    /// It could not be written; nothing of it was.
    pub fn write(&mut self, record: &Record) -> Result<Written, HistoryError> {
        self.try_write(record).map_err(|error| {
            self.known = Known::default();
            self.named(error)
        })
    }

    fn named(&self, source: rusqlite::Error) -> HistoryError {
        match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
                HistoryError::Damaged {
                    path: self.path.clone(),
                    source,
                }
            }
            _ => HistoryError::Write(source),
        }
    }

    fn try_write(&mut self, record: &Record) -> rusqlite::Result<Written> {
        // At once, so that two writers take turns instead of failing in the middle.
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let Some(interval) = interval(&transaction, record)? else {
            return Ok(Written::Known);
        };
        let rows = rows(&transaction, &mut self.known, record, &self.bounds)?;
        insert(&transaction, "traffic_raw", interval, &rows)?;
        {
            let mut banned = transaction.prepare_cached(
                "INSERT INTO banned_raw (bucket, prefix, packets, bytes) VALUES (?, ?, ?, ?)",
            )?;
            for row in &record.banned {
                banned.execute(params![
                    interval,
                    row.prefix.to_string(),
                    number(row.packets),
                    number(row.bytes)
                ])?;
            }
        }
        rollup::late(&transaction, interval, milliseconds(record.end))?;
        transaction.commit()?;
        Ok(Written::New)
    }

    /// Rolls up hours and days that are over, and deletes what is too old or too much, a slice at a time. True: there is more to
    /// do, call again.
    ///
    /// # Errors
    /// It could not be written; the slice was not.
    pub fn tidy(&mut self, now: Timestamp) -> Result<bool, HistoryError> {
        rollup::slice(&mut self.connection, &self.bounds, milliseconds(now))
            .map_err(|error| self.named(error))
    }
}

/// The record's own row; none: it is there already.
fn interval(transaction: &Transaction<'_>, record: &Record) -> rusqlite::Result<Option<i64>> {
    transaction
        .prepare_cached("INSERT OR IGNORE INTO run (run, host, boot_id) VALUES (?, ?, ?)")?
        .execute(params![&*record.run, &*record.host, &*record.boot_id])?;
    let run: i64 = transaction
        .prepare_cached("SELECT id FROM run WHERE run = ?")?
        .query_row([&*record.run], |row| row.get(0))?;
    if rollup::was_written(transaction, run, number(record.seq))? {
        return Ok(None);
    }
    let totals = totals(&record.totals);
    let mut insert = transaction.prepare_cached(
        "INSERT OR IGNORE INTO interval (run, seq, start_ms, end_ms, length_ms, partial, balanced, drains, skbs, interfaces, geo, \
         seen_packets, seen_bytes, counted_packets, counted_bytes, overflow_packets, overflow_bytes, banned_packets, banned_bytes, \
         served_packets, served_bytes, other_source_packets, other_source_bytes, malformed_packets, malformed_bytes, \
         not_ip_packets, not_ip_bytes) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    let json = |value: serde_json::Result<String>| {
        value.map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
    };
    let mut values: Vec<Box<dyn rusqlite::ToSql>> = vec![
        Box::new(run),
        Box::new(number(record.seq)),
        Box::new(milliseconds(record.start)),
        Box::new(milliseconds(record.end)),
        Box::new((record.seconds * 1000.0).round() as i64),
        Box::new(record.partial),
        Box::new(record.balanced),
        Box::new(record.drains),
        Box::new(number(record.skbs)),
        Box::new(json(serde_json::to_string(&record.interfaces))?),
        Box::new(json(serde_json::to_string(&record.geo))?),
    ];
    for Counts { packets, bytes } in totals {
        values.push(Box::new(number(packets)));
        values.push(Box::new(number(bytes)));
    }
    let added = insert.execute(rusqlite::params_from_iter(values))?;
    Ok((added > 0).then(|| transaction.last_insert_rowid()))
}

fn totals(totals: &RecordTotals) -> [Counts; 8] {
    let RecordTotals {
        seen,
        counted,
        overflow,
        banned,
        served,
        other_source,
        malformed,
        not_ip,
    } = *totals;
    [
        seen,
        counted,
        overflow,
        banned,
        served,
        other_source,
        malformed,
        not_ip,
    ]
}

/// The traffic of a record, bounded: in the order of the table's key, so that SQLite writes its pages one after the other.
fn rows(
    transaction: &Transaction<'_>,
    known: &mut Known,
    record: &Record,
    bounds: &Bounds,
) -> rusqlite::Result<BTreeMap<Key, Sums>> {
    let mut rows: BTreeMap<Key, Sums> = BTreeMap::new();
    let top = if bounds.detail == Detail::Address {
        bounds.top
    } else {
        0
    };
    // Most packets come first in a record.
    for (at, row) in record.destinations.iter().enumerate() {
        let origin = known.origin(transaction, row.source, &row.interface)?;
        let key = if at < top {
            let place = known.place(transaction, row.scope, &row.place)?;
            let names = known.names(transaction, row.names.as_deref())?;
            (bytes(row.address), origin, place, names)
        } else {
            let place = reduced(&row.place, bounds.detail);
            (
                Vec::new(),
                origin,
                known.place(transaction, row.scope, &place)?,
                0,
            )
        };
        rows.entry(key).or_default().add(row);
    }
    Ok(rows)
}

/// What is kept of the place of a destination that is not kept itself.
fn reduced(place: &Place, detail: Detail) -> Arc<Place> {
    let networks = detail != Detail::Country;
    Arc::new(Place {
        country: place.country.clone(),
        country_name: place.country_name.clone(),
        city: None,
        asn: place.asn.filter(|_| networks),
        network: place.network.clone().filter(|_| networks),
        anycast: None,
    })
}

fn insert(
    transaction: &Transaction<'_>,
    table: &str,
    bucket: i64,
    rows: &BTreeMap<Key, Sums>,
) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(&format!(
        "INSERT INTO {table} (bucket, address, origin, place, names, packets, bytes, tcp_connections, quic_connections) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
    ))?;
    for ((address, origin, place, names), sums) in rows {
        insert.execute(params![
            bucket,
            address,
            origin,
            place,
            names,
            number(sums.counts.packets),
            number(sums.counts.bytes),
            sums.tcp.map(number),
            sums.quic.map(number)
        ])?;
    }
    Ok(())
}

impl Known {
    fn place(
        &mut self,
        transaction: &Transaction<'_>,
        scope: Scope,
        place: &Arc<Place>,
    ) -> rusqlite::Result<i64> {
        if let Some(id) = self.places.get(&(scope, Arc::clone(place))) {
            return Ok(*id);
        }
        let text = |text: &Option<Arc<str>>| text.as_deref().unwrap_or_default().to_owned();
        let values = params![
            scope.word(),
            text(&place.country),
            text(&place.country_name),
            text(&place.city),
            place.asn.map_or(-1, i64::from),
            text(&place.network),
            place.anycast.map_or(-1, i64::from)
        ];
        transaction
            .prepare_cached(
                "INSERT OR IGNORE INTO place (scope, country, country_name, city, asn, network, anycast) VALUES (?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(values)?;
        let id = transaction
            .prepare_cached(
                "SELECT id FROM place WHERE scope = ? AND country = ? AND country_name = ? AND city = ? AND asn = ? AND network = ? \
                 AND anycast = ?",
            )?
            .query_row(values, |row| row.get(0))?;
        keep(&mut self.places, (scope, Arc::clone(place)), id);
        Ok(id)
    }

    fn origin(
        &mut self,
        transaction: &Transaction<'_>,
        source: Option<IpAddr>,
        interface: &Arc<str>,
    ) -> rusqlite::Result<i64> {
        if let Some(id) = self.origins.get(&(source, Arc::clone(interface))) {
            return Ok(*id);
        }
        let values = params![source.map(bytes).unwrap_or_default(), &**interface];
        transaction
            .prepare_cached("INSERT OR IGNORE INTO origin (source, interface) VALUES (?, ?)")?
            .execute(values)?;
        let id = transaction
            .prepare_cached("SELECT id FROM origin WHERE source = ? AND interface = ?")?
            .query_row(values, |row| row.get(0))?;
        keep(&mut self.origins, (source, Arc::clone(interface)), id);
        Ok(id)
    }

    fn names(&mut self, transaction: &Transaction<'_>, names: Option<&[Arc<str>]>) -> rusqlite::Result<i64> {
        let Some(names) = names.filter(|names| !names.is_empty()) else {
            return Ok(0);
        };
        let mut sorted: Vec<Cow<'_, str>> = names.iter().map(|name| Cow::Borrowed(&**name)).collect();
        sorted.sort_unstable();
        let json = serde_json::to_string(&sorted)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        if let Some(id) = self.names.get(&json) {
            return Ok(*id);
        }
        transaction
            .prepare_cached("INSERT OR IGNORE INTO names (names) VALUES (?)")?
            .execute([&json])?;
        let id = transaction
            .prepare_cached("SELECT id FROM names WHERE names = ?")?
            .query_row([&json], |row| row.get(0))?;
        keep(&mut self.names, json, id);
        Ok(id)
    }
}

fn keep<K: std::hash::Hash + Eq>(known: &mut HashMap<K, i64>, key: K, id: i64) {
    if known.len() >= MOST_HELD {
        *known = HashMap::new();
    }
    known.insert(key, id);
}

/// Four or sixteen bytes, in network order.
fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// SQLite's numbers are signed; a counter comes to 2^63 in 29 years of 10 GB/s.
fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Since 1970, UTC.
pub(super) fn milliseconds(time: Timestamp) -> i64 {
    time.as_millisecond()
}
