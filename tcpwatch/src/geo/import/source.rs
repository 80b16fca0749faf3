//! One file of somebody's data: what kind it is, how old, and what it knows about which addresses.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use foldhash::fast::RandomState;
use jiff::Timestamp;

use crate::enrich::countries::{Country, NotACode};
use crate::enrich::geo::{clean, clean_name};
use crate::geo::import::progress::Progress;
use crate::geo::import::steps::Steps;
use crate::geo::import::{libloc, table, tor};

/// Where packages of Debian put their data.
const PACKAGED: [&str; 4] = [
    "/usr/share/libloc-location/location.db",
    "/var/lib/location/database.db",
    "/usr/share/tor/geoip",
    "/usr/share/tor/geoip6",
];

/// The largest file that is read: five times libloc's.
const LARGEST_BYTES: u64 = 256 << 20;

/// The most networks, each with its name: five times those that there are.
const MOST_NETWORKS: u32 = 1 << 19;

/// Whose form a file has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// libloc's location database.
    Libloc,
    /// Tor's ranges of one family.
    Tor,
    /// Lines of the operator's.
    Table,
}

/// What a file says.
#[derive(Debug)]
pub struct Source {
    pub path: PathBuf,
    pub kind: Kind,
    /// When its data was put together.
    pub date: Timestamp,
    /// Ranges that it has, as it counts them.
    pub ranges: usize,
    pub known: Known,
}

/// What is known about which addresses, each thing for itself.
#[derive(Debug, Default)]
pub struct Known {
    pub countries: Steps<Country>,
    pub networks: Steps<NetworkId>,
    /// Whether an address is anycast; none where the source does not say.
    pub anycast: Steps<bool>,
}

/// A network, by its place in [`Networks`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NetworkId(u32);

/// The networks of all sources, each pair of number and name once.
#[derive(Debug, Default)]
pub struct Networks {
    all: Vec<(u32, Option<Box<str>>)>,
    ids: HashMap<(u32, Option<Box<str>>), NetworkId, RandomState>,
}

impl Networks {
    /// The network of this AS number and name.
    ///
    /// # Errors
    ///
    /// There are too many.
    pub fn id(&mut self, asn: u32, name: Option<&str>) -> Result<NetworkId, TooManyNetworks> {
        let network = (asn, name.map(Box::from));
        if let Some(id) = self.ids.get(&network) {
            return Ok(*id);
        }
        let id = u32::try_from(self.all.len())
            .ok()
            .filter(|id| *id < MOST_NETWORKS)
            .map(NetworkId)
            .ok_or(TooManyNetworks)?;
        self.all.push(network.clone());
        self.ids.insert(network, id);
        Ok(id)
    }

    /// Number and name of a network.
    pub fn get(&self, id: NetworkId) -> (u32, Option<&str>) {
        self.all
            .get(id.0 as usize)
            .map_or((0, None), |(asn, name)| (*asn, name.as_deref()))
    }

    /// The network of this number and name, where there is one.
    pub fn find(&self, asn: u32, name: Option<&str>) -> Option<NetworkId> {
        self.ids.get(&(asn, name.map(Box::from))).copied()
    }
}

/// A source has more networks than can be real, which would fill the memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there are more than {MOST_NETWORKS} pairs of AS number and name: use one name for a number")]
pub struct TooManyNetworks;

/// Why a file cannot be imported. Each text names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It cannot be read.
    #[error("cannot read {}: check the path and its permissions", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It is a directory, a pipe or a device.
    #[error("{} is not a regular file: name a file", .path.display())]
    NotAFile {
        /// What was named.
        path: PathBuf,
    },
    /// It is larger than any data of this sort.
    #[error("{} has more than {} MB: name a location.db, a geoip file of Tor, or CSV", .path.display(), LARGEST_BYTES >> 20)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is still packed.
    #[error("{} is packed: unpack it first", .path.display())]
    Packed {
        /// The file.
        path: PathBuf,
    },
    /// It is finished already.
    #[error("{} is a place database already: name it with --geo", .path.display())]
    Finished {
        /// The file.
        path: PathBuf,
    },
    /// It is no text and no location.db.
    #[error("{} is neither a location.db of libloc, nor a geoip file of Tor, nor CSV: check the path", .path.display())]
    Unrecognised {
        /// The file.
        path: PathBuf,
    },
    /// It knows no address.
    #[error("{} has no line with addresses: fetch it again", .path.display())]
    NothingInIt {
        /// The file.
        path: PathBuf,
    },
    /// A line is not as it should be.
    #[error("{}:{line}", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
        /// What is wrong.
        #[source]
        source: LineFault,
    },
    /// A location.db is not whole.
    #[error("{} is cut short or damaged: fetch it again", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        #[source]
        source: libloc::Fault,
    },
}

/// What can be wrong with a line of text. Quotes what it found, without what could upset a terminal.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineFault {
    /// Not the right number of fields.
    #[error("{0:?} is not `first,last,country`: fetch the file again")]
    NotTors(String),
    /// Columns that are called otherwise.
    #[error("the heading is {0:?}: the columns are network,country[,asn,name]")]
    Heading(String),
    /// Not the right number of fields.
    #[error("{0} fields, where 2 to 4 are expected: write network,country[,asn,name]")]
    Fields(usize),
    /// Not an address.
    #[error("{0:?} is not an address: write it like 192.0.2.1 or 2001:db8::1")]
    Address(String),
    /// Neither a prefix nor a range.
    #[error("{0:?} is no network: write it like 203.0.113.0/24, 2001:db8::/32 or 192.0.2.0-192.0.2.9")]
    Network(String),
    /// A prefix with bits behind its length.
    #[error("{0:?} has bits behind its length: clear them, or write the address alone")]
    HostBits(String),
    /// The last address lies before the first, or in the other family.
    #[error("{0:?} is not a range from a lower to a higher address of one family: check both ends")]
    Order(String),
    /// Not a country code.
    #[error(transparent)]
    Country(#[from] NotACode),
    /// Not an AS number.
    #[error("{0:?} is not an AS number: write it like 64500 or AS64500, or nothing where it is unknown")]
    Asn(String),
    /// A name alone.
    #[error("the network {0:?} has no AS number: add it, or leave the name out")]
    NameWithoutAsn(String),
    /// More names than there are networks in the world.
    #[error(transparent)]
    Networks(#[from] TooManyNetworks),
    /// A field that does not end in its line.
    #[error("{0:?} goes over several lines: close its quote")]
    OpenQuote(String),
    /// What the reader of CSV could not take.
    #[error("not CSV: {0}: check the quotes")]
    Csv(String),
}

/// The beginning of what is quoted in an error.
pub fn quoted(bytes: &[u8]) -> String {
    const MOST: usize = 60;
    String::from_utf8_lossy(&bytes[..bytes.len().min(MOST)]).into_owned()
}

/// A network's name as sources write it, without what could upset a terminal; none when nothing is left of it.
pub fn name(bytes: &[u8]) -> Option<String> {
    let name = clean_name(&String::from_utf8_lossy(bytes));
    (!name.is_empty()).then_some(name)
}

/// The files of the installed packages, each once.
pub fn packaged() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = PACKAGED
        .iter()
        .filter_map(|path| fs::canonicalize(path).ok())
        .filter(|path| path.is_file())
        .collect();
    let mut seen = Vec::new();
    found.retain(|path| {
        let new = !seen.contains(path);
        seen.push(path.clone());
        new
    });
    found
}

/// Reads one file, whatever it is.
///
/// # Errors
///
/// See [`SourceError`].
pub fn read(path: &Path, networks: &mut Networks, progress: &Progress) -> Result<Source, SourceError> {
    let path = path.to_owned();
    let unreadable = |source| SourceError::Read {
        path: path.clone(),
        source,
    };
    let metadata = fs::metadata(&path).map_err(unreadable)?;
    // Reading a pipe would wait for a writer, reading some devices never ends.
    if !metadata.is_file() {
        return Err(SourceError::NotAFile { path });
    }
    let mut bytes = Vec::new();
    let mut file = File::open(&path).map_err(unreadable)?.take(LARGEST_BYTES + 1);
    file.read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST_BYTES {
        return Err(SourceError::TooLarge { path });
    }
    let modified = metadata
        .modified()
        .and_then(|time| {
            Timestamp::try_from(time).map_err(|error| std::io::Error::new(ErrorKind::InvalidData, error))
        })
        .map_err(unreadable)?;
    progress.begin(&format!("reading {}", label(&path)), bytes.len() as u64);

    if bytes.starts_with(libloc::MAGIC) {
        return match libloc::read(&bytes, networks, progress) {
            Ok(contents) => Ok(Source {
                kind: Kind::Libloc,
                date: contents.created,
                ranges: contents.networks,
                known: contents.known,
                path,
            }),
            Err(source) => Err(SourceError::Damaged { path, source }),
        };
    }
    if is_packed(&bytes) {
        return Err(SourceError::Packed { path });
    }
    if has_mmdb_marker(&bytes) {
        return Err(SourceError::Finished { path });
    }
    if bytes[..bytes.len().min(4096)].contains(&0) {
        return Err(SourceError::Unrecognised { path });
    }
    let at_line = |(line, source)| SourceError::Line {
        path: path.clone(),
        line,
        source,
    };
    let (kind, date, contents) = if tor::is_tors(&bytes) {
        let date = tor::generated(&bytes).unwrap_or(modified);
        (Kind::Tor, date, tor::read(&bytes, progress).map_err(at_line)?)
    } else {
        let contents = table::read(&bytes, networks, progress).map_err(at_line)?;
        (Kind::Table, modified, contents)
    };
    if contents.ranges == 0 {
        return Err(SourceError::NothingInIt { path });
    }
    Ok(Source {
        path,
        kind,
        date,
        ranges: contents.ranges,
        known: contents.known,
    })
}

/// What a text comes to.
#[derive(Debug)]
pub struct Contents {
    /// Lines with addresses.
    pub ranges: usize,
    pub known: Known,
}

/// A file's name without its directories, fit for a terminal.
pub fn label(path: &Path) -> String {
    clean(&path.file_name().unwrap_or(path.as_os_str()).to_string_lossy())
}

/// gzip, xz, bzip2, zstd, zip, or a package of Debian.
fn is_packed(bytes: &[u8]) -> bool {
    const BEGINNINGS: [&[u8]; 6] = [
        &[0x1f, 0x8b],
        &[0xfd, b'7', b'z'],
        b"BZh",
        &[0x28, 0xb5, 0x2f, 0xfd],
        b"PK\x03\x04",
        b"!<arch>",
    ];
    BEGINNINGS.iter().any(|beginning| bytes.starts_with(beginning))
}

fn has_mmdb_marker(bytes: &[u8]) -> bool {
    const MARKER: &[u8] = b"\xab\xcd\xefMaxMind.com";
    const METADATA_BYTES: usize = 128 * 1024;
    let end = &bytes[bytes.len().saturating_sub(METADATA_BYTES)..];
    end.windows(MARKER.len()).any(|window| window == MARKER)
}
