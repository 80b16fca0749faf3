//! Whether a file is the database that was asked for, and good enough to replace the one in place. It fetches nothing and
//! replaces nothing.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use maxminddb::{MaxMindDbError, Reader};

use crate::enrich::geo::{GeoError, Places};

/// A tree of fewer nodes is no database of the internet: DB-IP Lite's smallest has half a million.
const FEWEST_NODES: u32 = 1000;

/// How far ahead of this machine's clock the maker's may be.
const CLOCK_DIFFERENCE: SignedDuration = SignedDuration::from_hours(24);

/// Addresses that have had an owner for many years: public resolvers, root name servers, registries and universities, of
/// all continents.
const PROBES: [IpAddr; 16] = [
    IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8)),
    IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1)),
    IpAddr::V4(Ipv4Addr::new(198, 41, 0, 4)),
    IpAddr::V4(Ipv4Addr::new(18, 9, 22, 69)),
    IpAddr::V4(Ipv4Addr::new(193, 0, 6, 139)),
    IpAddr::V4(Ipv4Addr::new(129, 132, 1, 1)),
    IpAddr::V4(Ipv4Addr::new(202, 12, 27, 33)),
    IpAddr::V4(Ipv4Addr::new(133, 11, 0, 1)),
    IpAddr::V4(Ipv4Addr::new(200, 160, 2, 3)),
    IpAddr::V4(Ipv4Addr::new(196, 216, 2, 6)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8888)),
    IpAddr::V6(Ipv6Addr::new(0x2606, 0x4700, 0x4700, 0, 0, 0, 0, 0x1111)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x503, 0xba3e, 0, 0, 0, 2, 0x30)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x67c, 0x2e8, 0x22, 0, 0, 0xc100, 0x68b)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdc3, 0, 0, 0, 0, 0, 0x35)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x12ff, 0, 2, 0, 0, 0, 3)),
];

/// Of each family's probes, so many in four may be unknown: makers do leave out an address now and then.
const UNKNOWN_OF_FOUR: usize = 1;

/// What a database is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Countries.
    Country,
    /// Cities, with their countries.
    City,
    /// Autonomous systems.
    Networks,
}

impl Subject {
    /// The word that the type of such a database contains, and DB-IP's name for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Country => "country",
            Self::City => "city",
            Self::Networks => "asn",
        }
    }
}

/// What a database says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// `database_type`.
    pub kind: String,
    /// When it was built.
    pub built: Timestamp,
    /// Nodes of its tree.
    pub nodes: u32,
    /// Its length.
    pub bytes: u64,
}

impl Description {
    /// The day on which it was built, UTC.
    pub fn day(&self) -> Date {
        day(self.built)
    }
}

/// The day in UTC.
pub fn day(time: Timestamp) -> Date {
    time.to_zoned_datetime(TimeZone::UTC).date()
}

/// Why a file is refused.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// It cannot be read.
    #[error("it cannot be read")]
    Read {
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is no whole MMDB file.
    #[error("it is cut short, damaged or not an MMDB file: try again later")]
    Damaged {
        /// What is wrong with it.
        #[source]
        source: MaxMindDbError,
    },
    /// It is about something else.
    #[error("it is of type {kind:?}, and should be about {wanted:?}: check --url")]
    Kind {
        /// Its type.
        kind: String,
        /// The word that it should contain.
        wanted: &'static str,
    },
    /// It has one address family only.
    #[error("it has no IPv6 addresses (ip_version {version}): check --url")]
    OneFamily {
        /// `ip_version` of its metadata.
        version: u16,
    },
    /// No time.
    #[error("its build time is impossible: try again later")]
    ImpossibleTime {
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A time to come.
    #[error("it says that it was built on {built}, which is to come: check this machine's clock")]
    Future {
        /// The day.
        built: Date,
    },
    /// Too small.
    #[error(
        "its tree has {nodes} nodes, and a database of the internet has {FEWEST_NODES} at the very least: try again later"
    )]
    Small {
        /// How many it has.
        nodes: u32,
    },
    /// Older than the one in place.
    #[error("it was built on {new}, before the one in place ({old}): --force takes it all the same")]
    Older {
        /// When it was built.
        new: Date,
        /// When the one in place was.
        old: Date,
    },
    /// Much smaller than the one in place.
    #[error(
        "its tree has {new} nodes, less than half of the one in place ({old}): --force takes it all the same"
    )]
    Shrunk {
        /// How many it has.
        new: u32,
        /// How many the one in place has.
        old: u32,
    },
    /// tcpwatch itself cannot use it.
    #[error("tcpwatch cannot use it")]
    Unusable {
        /// Why.
        #[source]
        source: GeoError,
    },
    /// It knows too little.
    #[error("it knows nothing of {unknown} out of {asked} well-known {family} addresses: try again later")]
    Ignorant {
        /// How many are unknown.
        unknown: usize,
        /// How many were looked up.
        asked: usize,
        /// Of which family.
        family: &'static str,
    },
}

/// What the database at `path` says of itself, provided that it is about `subject` at all; none: there is no file.
///
/// # Errors
///
/// The file cannot be read, or is not what its name says.
pub fn describe(path: &Path, subject: Subject) -> Result<Option<Description>, CheckError> {
    match open(path, subject) {
        Err(CheckError::Read { source }) if source.kind() == ErrorKind::NotFound => Ok(None),
        done => done.map(|(description, _)| Some(description)),
    }
}

/// Checks a new file at `path` by itself, and against the one in place.
///
/// # Errors
///
/// The first thing that is wrong with it. With `force`, it may be older or smaller than the one in place.
pub fn check(
    path: &Path,
    subject: Subject,
    in_place: Option<&Description>,
    now: Timestamp,
    force: bool,
) -> Result<Description, CheckError> {
    let (new, ip_version) = open(path, subject)?;
    if ip_version != 6 {
        return Err(CheckError::OneFamily { version: ip_version });
    }
    if new.built.duration_since(now) > CLOCK_DIFFERENCE {
        return Err(CheckError::Future { built: new.day() });
    }
    if new.nodes < FEWEST_NODES {
        return Err(CheckError::Small { nodes: new.nodes });
    }
    if let Some(old) = in_place.filter(|_| !force) {
        if new.built < old.built {
            return Err(CheckError::Older {
                new: new.day(),
                old: old.day(),
            });
        }
        if new.nodes < old.nodes / 2 {
            return Err(CheckError::Shrunk {
                new: new.nodes,
                old: old.nodes,
            });
        }
    }
    probe(path, subject)?;
    Ok(new)
}

/// What it says of itself, and its IP version.
fn open(path: &Path, subject: Subject) -> Result<(Description, u16), CheckError> {
    let read = |source| CheckError::Read { source };
    let mut bytes = Vec::new();
    let mut file = File::open(path).map_err(read)?;
    // Reading a pipe or a device may never end.
    if !file.metadata().map_err(read)?.is_file() {
        return Err(read(ErrorKind::InvalidInput.into()));
    }
    file.read_to_end(&mut bytes).map_err(read)?;
    let length = bytes.len() as u64;
    let reader = Reader::from_source(bytes).map_err(|source| CheckError::Damaged { source })?;
    let metadata = reader.metadata();
    let kind: String = metadata.database_type.escape_debug().take(100).collect();
    if !kind.to_ascii_lowercase().contains(subject.word()) {
        return Err(CheckError::Kind {
            kind,
            wanted: subject.word(),
        });
    }
    let impossible = |source| CheckError::ImpossibleTime { source };
    let seconds = i64::try_from(metadata.build_epoch).map_err(|error| impossible(error.into()))?;
    let built = Timestamp::from_second(seconds).map_err(|error| impossible(error.into()))?;
    let description = Description {
        kind,
        built,
        nodes: metadata.node_count,
        bytes: length,
    };
    Ok((description, metadata.ip_version))
}

/// Looks up what everybody knows, in the way in which a running tcpwatch does.
fn probe(path: &Path, subject: Subject) -> Result<(), CheckError> {
    let mut places =
        Places::open_given(&[path.to_owned()]).map_err(|source| CheckError::Unusable { source })?;
    let (v4, v6): (Vec<_>, Vec<_>) = PROBES.into_iter().partition(IpAddr::is_ipv4);
    for (family, addresses) in [("IPv4", v4), ("IPv6", v6)] {
        let asked = addresses.len();
        let mut unknown = |address: &IpAddr| {
            let place = places.lookup(*address);
            match subject {
                Subject::Country | Subject::City => place.country.is_none(),
                Subject::Networks => place.asn.is_none(),
            }
        };
        let unknown = addresses.iter().filter(|address| unknown(address)).count();
        if unknown * 4 > asked * UNKNOWN_OF_FOUR {
            return Err(CheckError::Ignorant {
                unknown,
                asked,
                family,
            });
        }
    }
    Ok(())
}
