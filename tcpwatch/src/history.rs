//! The history: records kept in an SQLite file, so that questions about hours and days can be answered.
//!
//! Bounded in rows for each interval, in time and in size, and exact all the same: what is not kept for each destination is
//! kept as a sum for its network and country. It sees records only; it asks neither the kernel nor a database.

use std::path::PathBuf;
use std::time::Duration;

mod aside;
mod check;
mod clock;
mod dictionary;
mod keeper;
mod path;
mod plan;
mod read;
mod retention;
mod rollup;
mod schema;
mod sets;
mod store;
#[cfg(test)]
mod tests;
mod totals;
mod traffic;

pub use check::{Checked, check};
pub use keeper::{Keeper, Outcome};
pub use path::usual_path;
pub use plan::{Plan, Resolution};
pub use read::{Bucket, Flow, Known, OTHER_PREFIXES, Origin, Reader};
pub use schema::{Access, open};
pub use store::{Store, Written};

/// What of a destination is kept at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Detail {
    /// Addresses, networks, countries and cities.
    #[default]
    Address,
    /// Networks and countries, no address and no name.
    Network,
    /// Countries only.
    Country,
}

/// How much is kept, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Destinations of an interval, an hour or a day that are kept one by one; the others are summed up.
    pub top: usize,
    /// How long intervals are kept.
    pub intervals: Duration,
    /// How long hours are kept.
    pub hours: Duration,
    /// How long days are kept.
    pub days: Duration,
    /// Bytes of the file from which on the oldest intervals go before their time.
    pub bytes: u64,
    /// What is kept of a destination.
    pub detail: Detail,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Default for Bounds {
    fn default() -> Self {
        Self {
            top: 5000,
            intervals: 2 * DAY,
            hours: 30 * DAY,
            days: 730 * DAY,
            bytes: 2_000_000_000,
            detail: Detail::Address,
        }
    }
}

/// What SQLite itself would say of a file in which something is missing.
fn damage(what: &str) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT),
        Some(what.to_owned()),
    )
}

/// Why the history cannot be used. Each text names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// There is none.
    #[error("there is no history {}: `tcpwatch run` makes it; or name one with --history FILE", .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Its directory cannot be made.
    #[error("cannot make the directory of the history {}: name another one with --history FILE, or --history none", .path.display())]
    Directory {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It cannot be made.
    #[error("cannot make the history {}: name another one with --history FILE, or --history none", .path.display())]
    Make {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It cannot be opened.
    #[error("cannot open the history {}: check its permissions", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// It is another program's file, or none of SQLite's.
    #[error("{} is no history of tcpwatch: name another file with --history", .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A later version of this program has made it.
    #[error("the history {} is of version {version}, this tcpwatch knows up to {}: use the newer tcpwatch", .path.display(), schema::VERSION)]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: i64,
    },
    /// It is damaged.
    #[error("the history {} is damaged: move it away, tcpwatch begins a new one", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// It is damaged and cannot be moved out of the way.
    #[error("the damaged history {} cannot be moved away: move it yourself", .path.display())]
    MoveAway {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// There can be no thread for it.
    #[error("cannot start the history's thread")]
    Thread {
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It was removed, or another file has its name now.
    #[error("the history {} was removed or replaced", .path.display())]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// A record that says more than can be.
    #[error("record {seq} has counts beyond 2^53, or a length beyond 115 days: it is not kept")]
    TooLarge {
        /// Its number.
        seq: u64,
    },
    /// A record or a roll-up could not be written; nothing of it was.
    #[error("cannot write the history")]
    Write(#[source] rusqlite::Error),
    /// A question could not be answered.
    #[error("cannot read the history")]
    Read(#[source] rusqlite::Error),
}
