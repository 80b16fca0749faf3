//! One MMDB file: opened, checked, and asked about addresses.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;
use std::{fmt, fs};

use foldhash::{HashMap, HashMapExt as _};
use maxminddb::{LookupResult, MaxMindDbError, Reader};

use crate::enrich::geo::entry::Entry;
use crate::enrich::geo::text::{Texts, clean, clean_long};
use crate::enrich::geo::tree::count_records;
use crate::enrich::geo::weight::is_too_heavy;
use crate::enrich::geo::{GeoError, Language};
use crate::record::{GeoFile, Place};

/// No place database is so large: the largest, of cities in eight languages, has a hundredth of it.
const MOST_BYTES: u64 = 8 << 30;

/// Zeroes between the search tree and the data section.
const SEPARATOR: usize = 16;

/// Languages that a description names. GeoLite2 has eight.
const MOST_LANGUAGES: usize = 64;

/// How many records of the file are held decoded; beyond it they are forgotten and decoded anew. A country file has
/// a few hundred, a city file about as many as there are cities in the traffic.
const MOST_KNOWN: usize = 1 << 16;

/// Addresses that are looked up when a file is opened: spread over the address space, and assigned in every
/// database. Reading the whole file (`Reader::verify`) would take seconds for a city file.
const PROBES: [IpAddr; 12] = [
    IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1)),
    IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8)),
    IpAddr::V4(Ipv4Addr::new(41, 0, 0, 1)),
    IpAddr::V4(Ipv4Addr::new(80, 80, 80, 80)),
    IpAddr::V4(Ipv4Addr::new(133, 1, 1, 1)),
    IpAddr::V4(Ipv4Addr::new(177, 1, 1, 1)),
    IpAddr::V4(Ipv4Addr::new(193, 0, 6, 139)),
    IpAddr::V4(Ipv4Addr::new(222, 222, 222, 222)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8888)),
    IpAddr::V6(Ipv6Addr::new(0x2400, 0xcb00, 0x2048, 1, 0, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2a00, 0x1450, 0x4001, 0, 0, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2c0f, 0xfb50, 0, 0, 0, 0, 0, 1)),
];

/// `database_type` of the files that `tcpwatch geo import` makes.
pub const OUR_TYPE: &str = "tcpwatch-Country-ASN";

/// The same where none of their sources marks anycast networks.
pub const OUR_TYPE_WITHOUT_ANYCAST: &str = "tcpwatch-Country-ASN-without-anycast";

/// How files for the same purpose are ordered, the best is the greatest: the day it was built, and whether it has cities.
pub(super) type Rank = (jiff::civil::Date, bool);

/// What a file says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Path, type and date, as records name them.
    pub file: GeoFile,
    /// Networks that it has a record of.
    pub networks: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// 4: IPv4 only; 6: both families.
    pub ip_version: u16,
    /// The languages that it has names in.
    pub languages: Vec<String>,
    /// Its description in English, which may name licence and origin; none: it has none.
    pub text: Option<String>,
}

/// A file in memory, for the reader and for what the reader does not tell.
#[derive(Clone)]
struct Contents(Arc<Vec<u8>>);

impl fmt::Debug for Contents {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{} bytes", self.0.len())
    }
}

impl AsRef<[u8]> for Contents {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A place database in memory.
#[derive(Debug)]
pub(super) struct Database {
    /// Shared with those who have looked this file up before and will again; they have caches of their own.
    reader: Arc<Reader<Contents>>,
    contents: Contents,
    file: GeoFile,
    /// Every anycast network has its mark in this file.
    flags_anycast: bool,
    /// Places already decoded, by the offset of their record: few records serve very many addresses. None: damaged.
    known: HashMap<usize, Option<Arc<Place>>>,
    errors: u64,
}

impl Database {
    pub(super) fn open(path: &Path) -> Result<Self, GeoError> {
        let contents = Contents(Arc::new(read(path)?));
        let damaged = |source| GeoError::Damaged {
            path: path.to_owned(),
            source,
        };
        let reader = Reader::from_source(contents.clone()).map_err(damaged)?;
        let metadata = reader.metadata();
        let kind = clean(&metadata.database_type);
        let has = |words: &[&str]| {
            let kind = kind.to_ascii_lowercase();
            words.iter().any(|word| kind.contains(word))
        };
        if !has(&["country", "city", "enterprise", "asn", "isp"]) {
            return Err(GeoError::OtherSubject {
                path: path.to_owned(),
                kind,
            });
        }
        let built = i64::try_from(metadata.build_epoch)
            .ok()
            .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
            .ok_or_else(|| damaged(MaxMindDbError::invalid_database("the build time is impossible")))?
            .to_zoned_datetime(jiff::tz::TimeZone::UTC)
            .date();
        let file = GeoFile {
            file: path.to_string_lossy().into(),
            kind: kind.as_str().into(),
            built,
        };
        let database = Self {
            flags_anycast: kind == OUR_TYPE,
            reader: Arc::new(reader),
            contents,
            file,
            known: HashMap::new(),
            errors: 0,
        };
        for address in PROBES {
            match database.probe(address) {
                Ok(()) => {}
                Err(source @ MaxMindDbError::Decoding { .. }) => {
                    return Err(GeoError::OtherForm {
                        path: path.to_owned(),
                        kind,
                        source,
                    });
                }
                Err(source) => return Err(damaged(source)),
            }
        }
        Ok(database)
    }

    /// The same file in memory, not read again, with nothing in its cache.
    pub(super) fn share(&self) -> Self {
        Self {
            reader: Arc::clone(&self.reader),
            contents: self.contents.clone(),
            file: self.file.clone(),
            flags_anycast: self.flags_anycast,
            known: HashMap::new(),
            errors: 0,
        }
    }

    /// Whether both are the same file in memory.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.reader, &other.reader)
    }

    /// What goes into the record about this file.
    pub(super) fn file(&self) -> &GeoFile {
        &self.file
    }

    /// What the file says of itself.
    pub(super) fn description(&self) -> Description {
        let metadata = self.reader.metadata();
        let text = metadata
            .description
            .get("en")
            .or(metadata.description.values().next());
        let tags = metadata.languages.iter().map(|tag| clean(tag));
        Description {
            file: self.file.clone(),
            networks: self.networks(),
            bytes: self.contents.0.len() as u64,
            ip_version: metadata.ip_version,
            languages: tags.filter(|tag| !tag.is_empty()).take(MOST_LANGUAGES).collect(),
            text: text.map(|text| clean_long(text)).filter(|text| !text.is_empty()),
        }
    }

    /// Reads the whole tree: some milliseconds for each million networks.
    fn networks(&self) -> u64 {
        let metadata = self.reader.metadata();
        let tree = self.contents.0.get(..self.tree_bytes()).unwrap_or_default();
        count_records(tree, metadata.record_size, metadata.node_count)
    }

    fn tree_bytes(&self) -> usize {
        let metadata = self.reader.metadata();
        metadata.node_count as usize * usize::from(metadata.record_size) / 4
    }

    /// The data section, and what is behind it.
    fn data(&self) -> &[u8] {
        self.contents
            .0
            .get(self.tree_bytes() + SEPARATOR..)
            .unwrap_or_default()
    }

    /// Lookups that met damaged data.
    pub(super) fn errors(&self) -> u64 {
        self.errors
    }

    /// Orders files found by themselves: the newest is the greatest, then one with cities.
    pub(super) fn rank(&self) -> Rank {
        (
            self.file.built,
            !self.file.kind.to_ascii_lowercase().contains("country"),
        )
    }

    /// Forgets what was decoded: it was in another language.
    pub(super) fn forget(&mut self) {
        self.known = HashMap::new();
    }

    /// Where `address` is; none: the file does not know. Damaged data is counted and not known either.
    pub(super) fn lookup(
        &mut self,
        address: IpAddr,
        language: &Language,
        texts: &mut Texts,
    ) -> Option<Arc<Place>> {
        match self.find(address, language, texts) {
            Ok(place) => place,
            Err(error) => {
                if self.errors == 0 {
                    tracing::warn!(
                        "place database {} is damaged, some places stay unknown: {error}",
                        self.file.file
                    );
                }
                self.errors += 1;
                None
            }
        }
    }

    fn find(
        &mut self,
        address: IpAddr,
        language: &Language,
        texts: &mut Texts,
    ) -> Result<Option<Arc<Place>>, MaxMindDbError> {
        if !self.covers(address) {
            return Ok(None);
        }
        let found = self.reader.lookup(address)?;
        let Some(offset) = found.offset() else {
            return Ok(None);
        };
        if let Some(known) = self.known.get(&offset) {
            self.errors += u64::from(known.is_none());
            return Ok(known.clone());
        }
        if self.known.len() >= MOST_KNOWN {
            self.known.clear();
        }
        match self
            .read(&found, offset)
            .and_then(|entry| entry.place(language, self.flags_anycast, texts))
        {
            Ok(place) => {
                let place = Arc::new(place);
                self.known.insert(offset, Some(Arc::clone(&place)));
                Ok(Some(place))
            }
            Err(error) => {
                self.known.insert(offset, None);
                Err(error)
            }
        }
    }

    /// Reads without keeping anything.
    fn probe(&self, address: IpAddr) -> Result<(), MaxMindDbError> {
        if self.covers(address) {
            let found = self.reader.lookup(address)?;
            if let Some(offset) = found.offset() {
                self.read(&found, offset)?;
            }
        }
        Ok(())
    }

    /// The record at `offset`, unless there is more in it than in any honest one.
    fn read<'a>(
        &self,
        found: &LookupResult<'a, Contents>,
        offset: usize,
    ) -> Result<Entry<'a>, MaxMindDbError> {
        if is_too_heavy(self.data(), offset) {
            return Err(MaxMindDbError::invalid_database_at(
                "a record has too many values",
                offset,
            ));
        }
        Ok(found.decode::<Entry<'a>>()?.unwrap_or_default())
    }

    fn covers(&self, address: IpAddr) -> bool {
        address.is_ipv4() || self.reader.metadata().ip_version == 6
    }
}

fn read(path: &Path) -> Result<Vec<u8>, GeoError> {
    let path_owned = || path.to_owned();
    let unreadable = |source: std::io::Error| match source.kind() {
        ErrorKind::NotFound => GeoError::Missing { path: path_owned() },
        _ => GeoError::Read {
            path: path_owned(),
            source,
        },
    };
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(GeoError::Directory { path: path_owned() });
    }
    // Reading a pipe would wait for a writer, reading some devices never ends.
    if !metadata.is_file() {
        return Err(GeoError::NotAFile { path: path_owned() });
    }
    if metadata.len() > MOST_BYTES {
        return Err(GeoError::TooLarge {
            path: path_owned(),
            bytes: metadata.len(),
        });
    }
    let bytes = fs::read(path).map_err(unreadable)?;
    match bytes.as_slice() {
        [] => Err(GeoError::Empty { path: path_owned() }),
        // gzip, xz, zip, zstd
        [0x1f, 0x8b, ..] | [0xfd, b'7', b'z', ..] | [b'P', b'K', 3, 4, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            Err(GeoError::Compressed { path: path_owned() })
        }
        _ => Ok(bytes),
    }
}
