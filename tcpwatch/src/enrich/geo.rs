//! Places from MMDB files: which files are used, in which order, and what one address comes to.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use self::database::Database;
use self::merge::Merged;
use self::text::Texts;
use crate::enrich::Enricher;
use crate::enrich::scope::{destination, scope};
use crate::record::{GeoFile, Place, Scope};

mod catalogue;
mod database;
mod entry;
mod error;
mod language;
mod merge;
mod seen;
mod selection;
mod shelves;
mod text;
mod tree;
mod weight;

pub use catalogue::{Catalogue, Changes};
pub use database::{Description, OUR_TYPE, OUR_TYPE_WITHOUT_ANYCAST};
pub use error::GeoError;
pub use language::{Language, LanguageError};
pub use seen::{Seen, Sighting, Sightings};
pub use selection::Selection;
pub use shelves::{OURS, Shelves};
pub(crate) use text::{clean, clean_name};

/// What to do when there is no place database.
const HOW_TO_GET_ONE: &str = "no place database found, countries and networks stay unknown: `tcpwatch geo update` fetches \
     one from DB-IP, `tcpwatch geo import` makes one from Debian's location data; or put GeoLite2-Country.mmdb into \
     /var/lib/GeoIP; or give one with --geo FILE";

/// Place databases, asked in order.
///
/// The files are held in memory whole: a file that is truncated or replaced in place while the program runs changes
/// nothing, where a mapping would be a SIGBUS.
#[derive(Debug, Default)]
pub struct Places {
    databases: Vec<Database>,
    language: Language,
    /// Names of countries, cities and networks, each held once.
    texts: Texts,
    merged: Merged,
    nowhere: Arc<Place>,
}

impl Places {
    /// No databases at all.
    pub fn none() -> Self {
        Self::default()
    }

    fn of(databases: Vec<Database>) -> Self {
        Self {
            databases,
            ..Self::default()
        }
    }

    /// The same with names in another language, where a file has them. Without this they are in English.
    #[must_use]
    pub fn in_language(mut self, language: Language) -> Self {
        self.language = language;
        for database in &mut self.databases {
            database.forget();
        }
        self
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
        Ok(Self::of(databases))
    }

    /// The databases found in the usual places, and warnings: a file that was skipped, or that there is none.
    pub fn discover() -> (Self, Vec<String>) {
        Self::discover_in(&Shelves::usual())
    }

    /// The same for other places.
    ///
    /// Three files are used at most, so that memory and time to start do not depend on how many lie around: the newest
    /// one with places, the newest one with networks, and one made by `tcpwatch geo import`, which fills their gaps. A file
    /// with cities goes before one without that was built on the same day. `--geo` takes any number.
    pub fn discover_in(shelves: &Shelves) -> (Self, Vec<String>) {
        match Selection::found_in(shelves.clone()).open() {
            Ok(found) => found,
            Err(error) => unreachable!("found files are skipped, not refused: {error}"),
        }
    }

    /// Where `address` is, whatever its scope, as [`merge`] puts together what the files say.
    pub fn lookup(&mut self, address: IpAddr) -> Arc<Place> {
        let address = destination(address);
        let mut place = Arc::clone(&self.nowhere);
        for database in &mut self.databases {
            let found = database.lookup(address, &self.language, &mut self.texts);
            if let Some(found) = found {
                place = self.merged.get(&place, &found);
            }
        }
        place
    }

    /// What the files say of themselves, in the order in which they are asked.
    pub fn descriptions(&self) -> Vec<Description> {
        self.databases.iter().map(Database::description).collect()
    }
}

impl Enricher for Places {
    fn place(&mut self, address: IpAddr) -> Arc<Place> {
        if scope(address) == Scope::Global {
            self.lookup(address)
        } else {
            Arc::clone(&self.nowhere)
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

#[cfg(test)]
mod tests;
