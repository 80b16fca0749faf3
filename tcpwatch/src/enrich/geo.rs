//! Places from MMDB files: which files are used, in which order, and what one address comes to.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::enrich::scope::{destination, scope};
use crate::enrich::{Enricher, geo::database::Database, geo::text::Texts};
use crate::record::{GeoFile, Place, Scope};

mod database;
mod shelves;
mod text;

pub use shelves::Shelves;

/// Why a file cannot serve as a place database. Each text names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum GeoError {
    /// Nothing has this name.
    #[error("no such place database: {}: check the path", .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It is a directory.
    #[error("{} is a directory: name the MMDB file in it, for example {}",
            .path.display(), .path.join("GeoLite2-Country.mmdb").display())]
    Directory {
        /// The directory.
        path: PathBuf,
    },
    /// It is a pipe, a device or a socket.
    #[error("{} is not a regular file: name an MMDB file", .path.display())]
    NotAFile {
        /// What was named.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("cannot read the place database {}: check its permissions", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It has no bytes.
    #[error("the place database {} is empty: fetch it again", .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// It is still packed.
    #[error("{} is compressed: unpack it and name the .mmdb file", .path.display())]
    Compressed {
        /// The file.
        path: PathBuf,
    },
    /// It is no whole MMDB file.
    #[error("{} is cut short, damaged or not an MMDB file: fetch it again", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: maxminddb::MaxMindDbError,
    },
    /// It is an MMDB file about something else.
    #[error("{} is of type {kind:?}, which has no countries: use a Country, City or Enterprise file \
             (GeoLite2-Country.mmdb, GeoLite2-City.mmdb, dbip-country-lite.mmdb)", .path.display())]
    NoCountries {
        /// The file.
        path: PathBuf,
        /// `database_type` of its metadata.
        kind: String,
    },
    /// Its records are not laid out as GeoIP2's are.
    #[error("{} is of type {kind:?}, whose records are not in the form of GeoIP2: use a file of MaxMind, DB-IP \
             or one made by cargo xtask setup", .path.display())]
    OtherForm {
        /// The file.
        path: PathBuf,
        /// `database_type` of its metadata.
        kind: String,
        /// What does not fit.
        #[source]
        source: maxminddb::MaxMindDbError,
    },
}

/// What to do when there is no place database.
const HOW_TO_GET_ONE: &str = "no place database found, countries stay unknown: cargo xtask setup builds one from \
     Debian's tor-geoipdb; or put GeoLite2-Country.mmdb or dbip-country-lite.mmdb into /var/lib/GeoIP; \
     or give one with --geo FILE";

/// Place databases, asked in order.
///
/// The files are held in memory whole: a file that is truncated or replaced in place while the program runs changes
/// nothing, where a mapping would be a SIGBUS.
#[derive(Debug, Default)]
pub struct Places {
    databases: Vec<Database>,
    /// Country and city names, each held once.
    texts: Texts,
}

impl Places {
    /// No databases at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// The files that the operator named.
    ///
    /// # Errors
    ///
    /// The first file that cannot be used; none is skipped.
    pub fn open_given(paths: &[PathBuf]) -> Result<Self, GeoError> {
        let databases = paths
            .iter()
            .map(|path| Database::open(path))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            databases,
            texts: Texts::default(),
        })
    }

    /// The database found in the usual places, and warnings: a file that was skipped, or that there is none.
    pub fn discover() -> (Self, Vec<String>) {
        Self::discover_in(&Shelves::usual())
    }

    /// The same for other places.
    ///
    /// One file is used, the operator's newest, so that memory and time to start do not depend on how many lie
    /// around; `--geo` takes several. A file with cities goes before one without that was built on the same day.
    pub fn discover_in(shelves: &Shelves) -> (Self, Vec<String>) {
        let mut warnings = Vec::new();
        let mut best: Option<Database> = None;
        for path in shelves.operators_files(&mut warnings) {
            if let Some(found) = open_or_warn(&path, &mut warnings)
                && best.as_ref().is_none_or(|best| found.rank() > best.rank())
            {
                best = Some(found);
            }
        }
        for path in &shelves.files {
            if best.is_none() && path.exists() {
                best = open_or_warn(path, &mut warnings);
            }
        }
        if best.is_none() {
            warnings.push(HOW_TO_GET_ONE.to_owned());
        }
        (
            Self {
                databases: best.into_iter().collect(),
                texts: Texts::default(),
            },
            warnings,
        )
    }

    /// Where `address` is, whatever its scope.
    ///
    /// The first file that knows the country decides. A later one adds a city, provided that it names the same
    /// country.
    pub fn lookup(&mut self, address: IpAddr) -> Place {
        let address = destination(address);
        let mut place = Place::default();
        for database in &mut self.databases {
            if place.country.is_some() && place.city.is_some() {
                break;
            }
            let found = database.lookup(address, &mut self.texts);
            if place.country.is_none() {
                place = found;
            } else if place.city.is_none() && place.country == found.country {
                place.city = found.city;
            }
        }
        place
    }
}

impl Enricher for Places {
    fn place(&mut self, address: IpAddr) -> Place {
        if scope(address) == Scope::Global {
            self.lookup(address)
        } else {
            Place::default()
        }
    }

    fn files(&self) -> Vec<GeoFile> {
        self.databases
            .iter()
            .map(|database| database.file().clone())
            .collect()
    }

    fn errors(&self) -> u64 {
        self.databases.iter().map(Database::errors).sum()
    }
}

fn open_or_warn(path: &Path, warnings: &mut Vec<String>) -> Option<Database> {
    match Database::open(path) {
        Ok(database) => Some(database),
        Err(error) => {
            let mut warning = format!("place database skipped: {error}");
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                warning.push_str(&format!(": {error}"));
                cause = error.source();
            }
            warnings.push(warning);
            None
        }
    }
}

#[cfg(test)]
mod tests;
