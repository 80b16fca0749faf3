//! One record into the history: in one transaction, once.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _};
use jiff::Timestamp;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use tcpwatch_common::Counts;

use crate::history::dictionary::Dictionary;
use crate::history::retention;
use crate::history::rollup::{self, DAY_MS, Slice};
use crate::history::schema::{Access, open};
use crate::history::totals::number;
use crate::history::traffic::{Key, Sums, Traffic};
use crate::history::{Bounds, Detail, HistoryError};
use crate::record::{Destination, Place, Record};

/// Beyond any counter of an interval: ten days of 10 GB/s. What says more is no record, and sums of it could overflow.
const LARGEST: u64 = 1 << 53;

/// Beyond any interval, also of a daemon that could not drain for weeks.
const LONGEST_S: f64 = 10_000_000.0;

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is in the history now.
    New,
    /// It was there already, and nothing was added.
    Known,
    /// It belongs to a day that has been deleted already, and nothing was added.
    TooOld,
}

/// A history that is written.
pub struct Store {
    path: PathBuf,
    /// The file that is open, and its log.
    file: Option<Identity>,
    log: Option<Identity>,
    connection: Connection,
    bounds: Bounds,
    dictionary: Dictionary,
    /// That something went before its time has been said.
    cut: bool,
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
            file: identity(path),
            log: identity(&beside(path, "-wal")),
            bounds,
            dictionary: Dictionary::default(),
            cut: false,
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
        // Whoever removes the file would otherwise have us write into one that nobody can find.
        if identity(&self.path) != self.file {
            return Err(HistoryError::Gone {
                path: self.path.clone(),
            });
        }
        if beyond_reason(record) {
            return Err(HistoryError::TooLarge { seq: record.seq });
        }
        let written = self.try_write(record).map_err(|error| {
            self.dictionary.forget();
            self.named(error)
        });
        if self.log.is_none() {
            self.log = identity(&beside(&self.path, "-wal"));
        }
        written
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
        let end_ms = record.end.as_millisecond();
        let day = rollup::bucket_of(end_ms, DAY_MS);
        // At once, so that two writers take turns instead of failing in the middle.
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        self.dictionary.refresh(&transaction)?;
        let run = run(&transaction, record, day)?;
        if retention::was_written(&transaction, run, number(record.seq))? {
            return Ok(Written::Known);
        }
        let Some(interval) = interval(&transaction, record, run)? else {
            return Ok(Written::Known);
        };
        if retention::is_gone(&transaction, end_ms)? {
            return Ok(Written::TooOld);
        }
        let traffic = traffic(&transaction, &mut self.dictionary, record, &self.bounds, day)?;
        rollup::save(&transaction, "traffic_raw", interval, &traffic)?;
        rollup::late(
            &transaction,
            &mut self.dictionary,
            &self.bounds,
            interval,
            end_ms,
            &traffic,
        )?;
        transaction.commit()?;
        Ok(Written::New)
    }

    /// Rolls up hours and days that are over, and deletes what is too old or too much, a slice at a time. True: there is more to
    /// do, call again.
    ///
    /// # Errors
    /// It could not be written; the slice was not.
    pub fn tidy(&mut self, now: Timestamp) -> Result<bool, HistoryError> {
        self.tidy_by(now, now.as_millisecond())
    }

    /// When what is in it was recorded last, in milliseconds since 1970; none: nothing is in it.
    pub(super) fn last_ms(&self) -> Result<Option<i64>, HistoryError> {
        self.connection
            .query_row("SELECT max(end_ms) FROM interval", (), |row| row.get(0))
            .map_err(|error| self.named(error))
    }

    /// The same as [`Store::tidy`], with deletions by a time of their own.
    pub(super) fn tidy_by(&mut self, now: Timestamp, deletions_ms: i64) -> Result<bool, HistoryError> {
        let slice = rollup::slice(
            &mut self.connection,
            &mut self.dictionary,
            &self.bounds,
            now.as_millisecond(),
            deletions_ms,
        )
        .map_err(|error| {
            self.dictionary.forget();
            self.named(error)
        })?;
        if slice == Slice::Cut && !std::mem::replace(&mut self.cut, true) {
            tracing::warn!(
                "the history {} has reached its size of {} MB: intervals go before their time, then hours, then days; raise --history-size, \
                 or lower --history-top",
                self.path.display(),
                self.bounds.bytes / 1_000_000
            );
        }
        Ok(slice != Slice::Nothing)
    }
}

impl Drop for Store {
    /// The log of a file that was removed or replaced must not be taken for that of the file that has its name now. SQLite leaves
    /// it where it is.
    fn drop(&mut self) {
        let log = beside(&self.path, "-wal");
        if identity(&self.path) != self.file && self.log.is_some() && identity(&log) == self.log {
            for file in [log, beside(&self.path, "-shm")] {
                if let Err(error) = std::fs::remove_file(&file) {
                    tracing::warn!("cannot remove {}: {error}", file.display());
                }
            }
        }
    }
}

/// What SQLite keeps beside a file.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Device and number.
type Identity = (u64, u64);

/// Which file has this name; none: no file.
fn identity(path: &Path) -> Option<Identity> {
    let file = std::fs::metadata(path).ok()?;
    Some((file.dev(), file.ino()))
}

fn beyond_reason(record: &Record) -> bool {
    let too_many = |counts: Counts| counts.packets > LARGEST || counts.bytes > LARGEST;
    let rows = record.destinations.iter().map(|row| Counts {
        packets: row.packets.max(row.tcp_connections.unwrap_or(0)),
        bytes: row.bytes.max(row.quic_connections.unwrap_or(0)),
    });
    let banned = record.banned.iter().map(|row| Counts {
        packets: row.packets,
        bytes: row.bytes,
    });
    record
        .totals
        .named()
        .into_iter()
        .map(|(_, counts)| counts)
        .chain(rows)
        .chain(banned)
        .any(too_many)
        || record.skbs > LARGEST
        || record.seq > LARGEST
        || !(0.0..=LONGEST_S).contains(&record.seconds)
}

/// The number of the record's run.
fn run(transaction: &Transaction<'_>, record: &Record, day: i64) -> rusqlite::Result<i64> {
    transaction
        .prepare_cached(
            "INSERT INTO run (run, host, boot_id, used) VALUES (?, ?, ?, ?) \
             ON CONFLICT (run) DO UPDATE SET used = max(used, excluded.used) RETURNING id",
        )?
        .query_row(
            params![&*record.run, &*record.host, &*record.boot_id, day],
            |row| row.get(0),
        )
}

/// The record's own row; none: it is there already.
fn interval(transaction: &Transaction<'_>, record: &Record, run: i64) -> rusqlite::Result<Option<i64>> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO interval (run, seq, start_ms, end_ms, length_ms, partial, balanced, drains, skbs, interfaces, geo, \
         seen_packets, seen_bytes, counted_packets, counted_bytes, overflow_packets, overflow_bytes, banned_packets, banned_bytes, \
         served_packets, served_bytes, other_source_packets, other_source_bytes, malformed_packets, malformed_bytes, \
         not_ip_packets, not_ip_bytes) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (run, seq) DO NOTHING",
    )?;
    let json = |value: serde_json::Result<String>| {
        value.map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
    };
    let mut values: Vec<Box<dyn rusqlite::ToSql>> = vec![
        Box::new(run),
        Box::new(number(record.seq)),
        Box::new(record.start.as_millisecond()),
        Box::new(record.end.as_millisecond()),
        Box::new((record.seconds * 1000.0).round() as i64),
        Box::new(record.partial),
        Box::new(record.balanced),
        Box::new(record.drains),
        Box::new(number(record.skbs)),
        Box::new(json(serde_json::to_string(&record.interfaces))?),
        Box::new(json(serde_json::to_string(&record.geo))?),
    ];
    for (_, Counts { packets, bytes }) in record.totals.named() {
        values.push(Box::new(number(packets)));
        values.push(Box::new(number(bytes)));
    }
    let added = insert.execute(rusqlite::params_from_iter(values))?;
    Ok((added > 0).then(|| transaction.last_insert_rowid()))
}

/// The traffic of a record, bounded.
fn traffic(
    transaction: &Transaction<'_>,
    dictionary: &mut Dictionary,
    record: &Record,
    bounds: &Bounds,
    day: i64,
) -> rusqlite::Result<Traffic> {
    let mut traffic = Traffic::with_capacity(record.destinations.len().min(bounds.top));
    // A record's destinations share what is known of them: it is compared once, not for each.
    let mut places: HashMap<(usize, bool), i64> = HashMap::new();
    let mut origins: Vec<(&Destination, i64)> = Vec::new();
    for (at, row) in in_order(&record.destinations).into_iter().enumerate() {
        let whole = at < bounds.top && bounds.detail == Detail::Address;
        let same = |of: &Destination| of.source == row.source && of.interface == row.interface;
        let origin = match origins.iter().find(|(of, _)| same(of)) {
            Some((_, origin)) => *origin,
            None => {
                let origin = dictionary.origin(transaction, day, row.source, &row.interface)?;
                if origins.len() < 16 {
                    origins.push((row, origin));
                }
                origin
            }
        };
        // The scope belongs to the address, and so do not all rows of a place have the same.
        let known = (Arc::as_ptr(&row.place) as usize * 16 + row.scope as usize, whole);
        let place = match places.get(&known) {
            Some(place) => *place,
            None => {
                let place = if whole {
                    dictionary.place(transaction, day, row.scope, &row.place)?
                } else {
                    dictionary.place(transaction, day, row.scope, &reduced(&row.place, bounds.detail))?
                };
                places.insert(known, place);
                place
            }
        };
        let names = if whole {
            dictionary.names(transaction, day, row.names.as_deref())?
        } else {
            0
        };
        let key = Key {
            address: whole.then_some(row.address),
            origin,
            place,
            names,
        };
        let counts = Counts {
            packets: row.packets,
            bytes: row.bytes,
        };
        let sums = Sums {
            counts,
            tcp: row.tcp_connections,
            quic: row.quic_connections,
        };
        traffic.add_row(key, sums);
    }
    for (at, row) in record.banned.iter().enumerate() {
        let counts = Counts {
            packets: row.packets,
            bytes: row.bytes,
        };
        let whole = at < bounds.top && bounds.detail == Detail::Address;
        traffic.add_banned(whole.then_some(row.prefix), counts);
    }
    Ok(traffic)
}

/// Most packets first, as a record has them; one from elsewhere may not.
fn in_order(destinations: &[Destination]) -> Vec<&Destination> {
    let mut rows: Vec<&Destination> = destinations.iter().collect();
    if !rows.is_sorted_by_key(|row| std::cmp::Reverse(row.packets)) {
        rows.sort_by_key(|row| std::cmp::Reverse(row.packets));
    }
    rows
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
