//! The tables of the history, and how its file is opened.
//!
//! Times are milliseconds since 1970, UTC. An interval belongs to the moment at which it ended: to the hour
//! `(end_ms - 1) / 3600000` and the day `(end_ms - 1) / 86400000`, so that an interval that ends with an hour is that hour's.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::history::HistoryError;

/// Of the tables below.
pub(super) const VERSION: i64 = 1;

/// `tcpw`: by it `file` and we recognise ours.
const APPLICATION: i64 = 0x7463_7077;

/// How long one waits for another process that writes.
const BUSY: Duration = Duration::from_secs(5);

/// Counts of all outcomes, in the order of the record.
macro_rules! totals {
    () => {
        "seen_packets INTEGER NOT NULL, seen_bytes INTEGER NOT NULL, \
         counted_packets INTEGER NOT NULL, counted_bytes INTEGER NOT NULL, \
         overflow_packets INTEGER NOT NULL, overflow_bytes INTEGER NOT NULL, \
         banned_packets INTEGER NOT NULL, banned_bytes INTEGER NOT NULL, \
         served_packets INTEGER NOT NULL, served_bytes INTEGER NOT NULL, \
         other_source_packets INTEGER NOT NULL, other_source_bytes INTEGER NOT NULL, \
         malformed_packets INTEGER NOT NULL, malformed_bytes INTEGER NOT NULL, \
         not_ip_packets INTEGER NOT NULL, not_ip_bytes INTEGER NOT NULL"
    };
}

/// Traffic in one resolution. `bucket` is an interval's `id`, the number of an hour or of a day; see `traffic` for the values.
/// What went to banned prefixes comes first, so that it is read without what is behind it.
macro_rules! traffic {
    ($name:literal) => {
        concat!(
            "CREATE TABLE ",
            $name,
            " (bucket INTEGER PRIMARY KEY, banned BLOB NOT NULL, rows BLOB NOT NULL) STRICT;\n"
        )
    };
}

/// The totals of the intervals of an hour or a day.
macro_rules! sums {
    ($name:literal) => {
        concat!(
            "CREATE TABLE ",
            $name,
            " (bucket INTEGER PRIMARY KEY, intervals INTEGER NOT NULL, length_ms INTEGER NOT NULL, unbalanced INTEGER NOT NULL, \
             partial INTEGER NOT NULL, drains INTEGER NOT NULL, skbs INTEGER NOT NULL, ",
            totals!(),
            ") STRICT;\n"
        )
    };
}

const TABLES: &str = concat!(
    // `used`, here and below: the last day of which something kept refers to the entry.
    "CREATE TABLE run (id INTEGER PRIMARY KEY, run TEXT NOT NULL UNIQUE, host TEXT NOT NULL, boot_id TEXT NOT NULL, \
     used INTEGER NOT NULL) STRICT;\n",
    // A record. That (run, seq) is unique keeps it from being counted twice.
    "CREATE TABLE interval (id INTEGER PRIMARY KEY, run INTEGER NOT NULL, seq INTEGER NOT NULL, start_ms INTEGER NOT NULL, \
     end_ms INTEGER NOT NULL, length_ms INTEGER NOT NULL, partial INTEGER NOT NULL, balanced INTEGER NOT NULL, \
     drains INTEGER NOT NULL, skbs INTEGER NOT NULL, interfaces TEXT NOT NULL, geo TEXT NOT NULL, ",
    totals!(),
    ", UNIQUE (run, seq)) STRICT;\n",
    "CREATE INDEX interval_end ON interval (end_ms);\n",
    // What is known of an address; a text that is not known is empty, a number is -1: so that equal places are equal rows.
    "CREATE TABLE place (id INTEGER PRIMARY KEY, scope TEXT NOT NULL, country TEXT NOT NULL, country_name TEXT NOT NULL, \
     city TEXT NOT NULL, asn INTEGER NOT NULL, network TEXT NOT NULL, anycast INTEGER NOT NULL, used INTEGER NOT NULL, \
     UNIQUE (scope, country, country_name, city, asn, network, anycast)) STRICT;\n",
    // Where packets left from; an empty source is not an own one.
    "CREATE TABLE origin (id INTEGER PRIMARY KEY, source BLOB NOT NULL, interface TEXT NOT NULL, used INTEGER NOT NULL, \
     UNIQUE (source, interface)) STRICT;\n",
    // Sets of names as a JSON list, however they are known. Number 0 is no row: no names.
    "CREATE TABLE names (id INTEGER PRIMARY KEY, names TEXT NOT NULL UNIQUE, used INTEGER NOT NULL) STRICT;\n",
    traffic!("traffic_raw"),
    traffic!("traffic_hour"),
    traffic!("traffic_day"),
    sums!("total_hour"),
    sums!("total_day"),
    // Records whose interval has been deleted, as ranges of their numbers.
    "CREATE TABLE written (run INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, PRIMARY KEY (run, first)) \
     STRICT, WITHOUT ROWID;\n",
    // How far roll-ups and deletions have come, see `rollup`.
    "CREATE TABLE progress (what TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;\n",
);

/// What a history is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Records are written; the file is made if there is none.
    Write,
    /// Questions are asked; nothing is changed.
    Read,
}

/// Opens a history.
///
/// # Errors
/// It cannot be opened, or is not one that this program knows.
pub fn open(path: &Path, access: Access) -> Result<Connection, HistoryError> {
    let flags = match access {
        Access::Write => {
            make_directory(path)?;
            make_private(path)?;
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE
        }
        Access::Read if !path.exists() => {
            return Err(HistoryError::Missing {
                path: path.to_owned(),
            });
        }
        // A reader of a file in WAL mode shares memory with the writer, so it must be able to write beside it.
        Access::Read => OpenFlags::SQLITE_OPEN_READ_WRITE,
    };
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)
        .or_else(|error| match access {
            Access::Read => Connection::open_with_flags(
                path,
                OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
            ),
            Access::Write => Err(error),
        })
        .map_err(|error| named(path, error))?;
    prepare(connection, path, access)
}

/// Recognises the file, and makes the tables of a new one.
fn prepare(mut connection: Connection, path: &Path, access: Access) -> Result<Connection, HistoryError> {
    let ours = |connection: &mut Connection| -> rusqlite::Result<Option<i64>> {
        connection.busy_timeout(BUSY)?;
        let application: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
        if tables == 0 && access == Access::Write {
            make(connection)?;
            return Ok(Some(VERSION));
        }
        Ok((application == APPLICATION).then_some(version))
    };
    match ours(&mut connection).map_err(|error| named(path, error))? {
        Some(VERSION) => {}
        Some(version) if version > VERSION => {
            return Err(HistoryError::Newer {
                path: path.to_owned(),
                version,
            });
        }
        Some(_) | None => {
            return Err(HistoryError::Foreign {
                path: path.to_owned(),
            });
        }
    }
    // With WAL a kill loses nothing and a power cut the last moments at most; readers and the writer do not wait for each other.
    let set = |connection: &Connection| -> rusqlite::Result<()> {
        if access == Access::Write {
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            // What is deleted is overwritten where that costs no further page.
            connection.pragma_update(None, "secure_delete", "FAST")?;
        } else {
            connection.pragma_update(None, "query_only", true)?;
        }
        // What a log that had to grow may keep for itself.
        connection.pragma_update(None, "journal_size_limit", 16_000_000)?;
        connection.pragma_update(None, "cache_size", -4_000)?;
        // All that a record and its roll-ups need.
        connection.set_prepared_statement_cache_capacity(64);
        Ok(())
    };
    set(&connection).map_err(|error| named(path, error))?;
    Ok(connection)
}

fn make(connection: &mut Connection) -> rusqlite::Result<()> {
    // Before anything is in the file: it cannot be changed later without copying all of it.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    // Another process may have been faster.
    let tables: i64 = transaction.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
    if tables == 0 {
        transaction.execute_batch(TABLES)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    transaction.commit()
}

fn make_directory(path: &Path) -> Result<(), HistoryError> {
    match path.parent() {
        Some(parent) if parent != Path::new("") => {
            std::fs::create_dir_all(parent).map_err(|source| HistoryError::Directory {
                path: path.to_owned(),
                source,
            })
        }
        Some(_) | None => Ok(()),
    }
}

/// Makes the file, if there is none, for its owner alone: it says whom this host speaks to. What SQLite puts beside it gets the
/// same rights.
fn make_private(path: &Path) -> Result<(), HistoryError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let made = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match made {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(HistoryError::Make {
            path: path.to_owned(),
            source,
        }),
    }
}

fn named(path: &Path, source: rusqlite::Error) -> HistoryError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => HistoryError::Foreign { path },
        Some(ErrorCode::DatabaseCorrupt) => HistoryError::Damaged { path, source },
        _ => HistoryError::Open { path, source },
    }
}
