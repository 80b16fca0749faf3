//! Debian's package `location`, which fetches IPFire's database and checks its signature. What it has fetched becomes
//! a database of ours by `tcpwatch geo import`.

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use super::say;
use crate::enrich::geo::OURS;
use crate::geo::Ending;
use crate::geo::import::{self, ImportError};
use crate::geo::shelf::{Shelf, ShelfError};

/// How `location update` says that there is nothing newer.
const NOTHING_NEWER: i32 = 3;

/// Why the database was not refreshed.
#[derive(Debug, thiserror::Error)]
pub enum LocationError {
    /// The program is missing.
    #[error(
        "there is no program `location`: `apt install location`; or use DB-IP's databases (--source dbip), \
         or make one from what is here (`tcpwatch geo import`)"
    )]
    Missing,
    /// It cannot be started.
    #[error("cannot start `location update`: check the package `location`")]
    Start {
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It has failed.
    #[error("`location update` has failed ({status}): {said}: run it as root, and check the network")]
    Failed {
        /// How it ended.
        status: std::process::ExitStatus,
        /// The last that it said.
        said: String,
    },
    /// The directory.
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    /// No database could be made.
    #[error(transparent)]
    Import(#[from] ImportError),
}

/// Brings the package's database up to date, which takes as long as the download, and makes ours in `directory` from it.
///
/// # Errors
///
/// See [`LocationError`].
pub fn update(
    directory: &Path,
    out: &mut dyn Write,
    notices: &mut dyn Write,
) -> Result<Ending, LocationError> {
    say(notices, "tcpwatch: `location update` fetches IPFire's database");
    let output = Command::new("location")
        .arg("update")
        .stdin(Stdio::null())
        .output()
        .map_err(|source| match source.kind() {
            ErrorKind::NotFound => LocationError::Missing,
            _ => LocationError::Start { source },
        })?;
    if !output.status.success() && output.status.code() != Some(NOTHING_NEWER) {
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let last = said.lines().rev().map(str::trim).find(|line| !line.is_empty());
        return Err(LocationError::Failed {
            status: output.status,
            said: last
                .unwrap_or("it said nothing")
                .escape_debug()
                .take(300)
                .collect(),
        });
    }
    // The importer expects the directory.
    drop(Shelf::lock(directory)?);
    let arguments = import::Arguments {
        files: Vec::new(),
        output: Some(directory.join(OURS)),
    };
    Ok(import::run(&arguments, out, notices)?)
}
