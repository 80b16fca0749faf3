//! `tcpwatch geo import`: makes one place database from the data of others.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::enrich::countries;
use crate::enrich::geo::{OUR_TYPE, OUR_TYPE_WITHOUT_ANYCAST};
use crate::enrich::geo::{OURS, Shelves};
use crate::geo::Ending;
use crate::geo::import::check::Checked;
use crate::geo::import::interrupt::Interrupt;
use crate::geo::import::layout::Statement;
use crate::geo::import::progress::Progress;
use crate::geo::import::source::{Kind, Networks, Source, SourceError};
use crate::geo::import::staged::Staged;

mod check;
mod interrupt;
mod layout;
mod libloc;
mod merge;
mod mmdb;
mod progress;
mod source;
mod staged;
mod steps;
mod table;
mod tor;

/// What the licence of libloc's and Tor's data asks for.
const ATTRIBUTION: &str = "IPFire location database (location.ipfire.org), licence CC BY-SA 4.0 \
                           (creativecommons.org/licenses/by-sa/4.0)";

/// Arguments of `tcpwatch geo import`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// location.db of libloc, geoip and geoip6 of Tor, or CSV (network,country[,asn,name]); default: those that the packages
    /// libloc-database and tor-geoipdb have installed
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// The database to make or to replace; default: /var/lib/tcpwatch/places.mmdb for root, else
    /// tcpwatch/places.mmdb in the user's data directory
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Why it could not be done. Each text names what failed and what to do; the old file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// No file was named, and none is installed.
    #[error(
        "no location data is installed: apt-get install libloc-database, or name a location.db, geoip file or CSV"
    )]
    NothingInstalled,
    /// The user has no home.
    #[error("there is no directory for this user's data: name the database with --output")]
    NoDirectory,
    /// A source is not usable.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The sources have nothing that could be written.
    #[error("the sources know no country, network or anycast address: name others")]
    NothingKnown,
    /// The output is one of the inputs.
    #[error("{} is also to be read: name another file with --output", .path.display())]
    OwnSource {
        /// The file.
        path: PathBuf,
    },
    /// The output is a directory, a device or a pipe.
    #[error("{} is not a regular file: name another with --output", .path.display())]
    NotAFile {
        /// What was named.
        path: PathBuf,
    },
    /// Nothing can be written there.
    #[error("cannot write into {}: check that it exists, its permissions and its space, or name another place with --output",
            .directory.display())]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Signals cannot be received.
    #[error("cannot wait for signals: free memory or threads")]
    Signals(#[source] io::Error),
    /// The form cannot take so much.
    #[error("the database cannot be laid out: name fewer sources")]
    LayOut(#[source] mmdb::TooLarge),
    /// The finished file is not what it should be.
    #[error("the database that was made is wrong, and was not put in place: report this")]
    Check(#[source] check::Fault),
    /// The program was asked to end.
    #[error("interrupted: {} is as it was", .path.display())]
    Interrupted {
        /// The database that would have been replaced.
        path: PathBuf,
    },
    /// The summary cannot be written.
    #[error("the database is in place, but the summary cannot be written")]
    Answer(#[source] io::Error),
}

/// Does it.
///
/// # Errors
/// See [`ImportError`].
pub fn run(
    arguments: &Arguments,
    out: &mut dyn Write,
    _notices: &mut dyn Write,
) -> Result<Ending, ImportError> {
    let started = Instant::now();
    let files = match arguments.files.as_slice() {
        [] => source::packaged(),
        files => files.to_vec(),
    };
    if files.is_empty() {
        return Err(ImportError::NothingInstalled);
    }
    let place = match &arguments.output {
        Some(path) => path.clone(),
        None => {
            let directory = Shelves::ours().ok_or(ImportError::NoDirectory)?;
            fs::create_dir_all(&directory).map_err(|source| ImportError::Directory {
                directory: directory.clone(),
                source,
            })?;
            directory.join(OURS)
        }
    };
    make_sure_of(&place, &files)?;
    let made = make(&files, &place, Timestamp::now(), &Progress::on_a_terminal())?;
    match write!(out, "{}", made.summary(&place, started.elapsed().as_secs_f64())) {
        // Nobody wants to know.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Ending::Done),
        Err(error) => Err(ImportError::Answer(error)),
        Ok(()) => Ok(Ending::Done),
    }
}

/// That the output can be written and is none of the inputs, before any work is done.
fn make_sure_of(place: &Path, files: &[PathBuf]) -> Result<(), ImportError> {
    if let Ok(metadata) = fs::metadata(place) {
        if !metadata.is_file() {
            return Err(ImportError::NotAFile {
                path: place.to_owned(),
            });
        }
        let same = fs::canonicalize(place).ok();
        if files
            .iter()
            .any(|file| same.is_some() && fs::canonicalize(file).ok() == same)
        {
            return Err(ImportError::OwnSource {
                path: place.to_owned(),
            });
        }
    }
    let directory = staged::directory(place);
    // A file without a name: nothing is left of it.
    match tempfile::tempfile_in(directory) {
        Ok(_probe) => Ok(()),
        Err(source) => Err(ImportError::Directory {
            directory: directory.to_owned(),
            source,
        }),
    }
}

/// What was made of which sources.
#[derive(Debug)]
struct Made {
    sources: Vec<Described>,
    checked: Checked,
    bytes: usize,
    /// Ranges in address space that stands for other addresses.
    left_out: usize,
}

/// A source, without its data.
#[derive(Debug)]
struct Described {
    label: String,
    kind: Kind,
    date: Timestamp,
    ranges: usize,
}

/// Reads, merges, lays out, writes, checks, and puts in place.
fn make(files: &[PathBuf], place: &Path, now: Timestamp, progress: &Progress) -> Result<Made, ImportError> {
    let mut networks = Networks::default();
    let sources = files
        .iter()
        .map(|file| source::read(file, &mut networks, progress))
        .collect::<Result<Vec<_>, _>>()?;
    let described: Vec<Described> = sources.iter().map(Described::new).collect();
    progress.begin("merging", 1);
    let (places, left_out) = layout::fitting(&merge::merge(sources, &networks));
    if places.is_empty() {
        return Err(ImportError::NothingKnown);
    }
    // Only libloc marks anycast networks: without it, no mark does not mean that an address is not anycast.
    let marks_anycast = described.iter().any(|source| source.kind == Kind::Libloc);
    let statement = Statement {
        kind: if marks_anycast {
            OUR_TYPE
        } else {
            OUR_TYPE_WITHOUT_ANYCAST
        },
        date: described.iter().map(|source| source.date).max().unwrap_or(now),
        description: description(&described, now),
    };
    let bytes = layout::lay_out(&places, &networks, &statement, progress).map_err(ImportError::LayOut)?;

    let interrupt = Interrupt::watch().map_err(ImportError::Signals)?;
    let interrupted = || ImportError::Interrupted {
        path: place.to_owned(),
    };
    let unwritable = |source| ImportError::Directory {
        directory: staged::directory(place).to_owned(),
        source,
    };
    let staged = Staged::write(place, &bytes).map_err(unwritable)?;
    let size = bytes.len();
    drop(bytes);
    let checked = check::check(staged.path(), &places, &networks, &statement, progress, || {
        interrupt.came()
    });
    let checked = checked.map_err(|fault| match fault {
        check::Fault::Interrupted => interrupted(),
        fault => ImportError::Check(fault),
    })?;
    if interrupt.came() {
        return Err(interrupted());
    }
    staged.put_in_place().map_err(unwritable)?;
    Ok(Made {
        sources: described,
        checked,
        bytes: size,
        left_out,
    })
}

impl Described {
    fn new(source: &Source) -> Self {
        Self {
            label: source::label(&source.path),
            kind: source.kind,
            date: source.date,
            ranges: source.ranges,
        }
    }

    fn maker(&self) -> &'static str {
        match self.kind {
            Kind::Libloc => "libloc",
            Kind::Tor => "Tor",
            Kind::Table => "CSV",
        }
    }
}

/// A day in UTC.
fn day(time: Timestamp) -> jiff::civil::Date {
    time.to_zoned_datetime(TimeZone::UTC).date()
}

/// Whose data it is, and under which licence.
fn attribution(sources: &[Described]) -> String {
    let owners = [
        sources
            .iter()
            .any(|source| source.kind != Kind::Table)
            .then_some(ATTRIBUTION),
        Some(countries::ATTRIBUTION),
    ];
    owners.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// What the file says of itself.
fn description(sources: &[Described], now: Timestamp) -> String {
    let origins: Vec<String> = sources
        .iter()
        .map(|source| format!("{} ({}) of {}", source.label, source.maker(), day(source.date)))
        .collect();
    format!(
        "country, network and anycast of IP addresses; data: {}; made on {} by tcpwatch {} from {}",
        attribution(sources),
        day(now),
        env!("CARGO_PKG_VERSION"),
        origins.join(", "),
    )
}

impl Made {
    fn summary(&self, place: &Path, seconds: f64) -> String {
        let mut text = format!(
            "{}: {} networks, {:.1} MB, in {seconds:.1} s\n",
            place.display(),
            self.checked.networks,
            self.bytes as f64 / 1e6,
        );
        let width = self
            .sources
            .iter()
            .map(|source| source.label.chars().count())
            .max();
        for source in &self.sources {
            text += &format!(
                "  from     {:width$}  {}, {}, {} ranges\n",
                source.label,
                day(source.date),
                source.maker(),
                source.ranges,
                width = width.unwrap_or(0),
            );
        }
        if self.left_out > 0 {
            text += &format!(
                "  without  {} ranges in address space that stands for other addresses (2001::/32, 2002::/16)\n",
                self.left_out
            );
        }
        text += &format!(
            "  checked  all networks, and {} addresses by look-up\n  data     {}\n",
            self.checked.look_ups,
            attribution(&self.sources),
        );
        text
    }
}

#[cfg(test)]
mod tests;
