//! One MMDB file: opened, checked, and asked about addresses.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _};
use maxminddb::{MaxMindDbError, Reader};

use crate::enrich::geo::entry::Entry;
use crate::enrich::geo::text::{Texts, clean, clean_long};
use crate::enrich::geo::{GeoError, Language};
use crate::record::{GeoFile, Place};

/// No place database is so large: the largest, of cities in eight languages, has a hundredth of it.
const MOST_BYTES: u64 = 8 << 30;

/// Networks that are counted; beyond it, the tree of a damaged file may lead back into itself.
const MOST_NETWORKS: u64 = 50_000_000;

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

/// What a file says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Path, type and date, as records name them.
    pub file: GeoFile,
    /// Networks that it has a record of; none: its tree is damaged, or larger than any.
    pub networks: Option<u64>,
    /// Size in bytes.
    pub bytes: u64,
    /// 4: IPv4 only; 6: both families.
    pub ip_version: u16,
    /// The languages that it has names in.
    pub languages: Vec<String>,
    /// Its description in English, which may name licence and origin; none: it has none.
    pub text: Option<String>,
}

/// A place database in memory.
#[derive(Debug)]
pub(super) struct Database {
    reader: Reader<Vec<u8>>,
    bytes: u64,
    file: GeoFile,
    /// Every anycast network has its mark in this file.
    flags_anycast: bool,
    /// Places already decoded, by the offset of their record: few records serve very many addresses. None: damaged.
    known: HashMap<usize, Option<Arc<Place>>>,
    errors: u64,
}

impl Database {
    pub(super) fn open(path: &Path) -> Result<Self, GeoError> {
        let contents = read(path)?;
        let bytes = contents.len() as u64;
        let damaged = |source| GeoError::Damaged {
            path: path.to_owned(),
            source,
        };
        let reader = Reader::from_source(contents).map_err(damaged)?;
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
            reader,
            bytes,
            file,
            known: HashMap::new(),
            errors: 0,
        };
        for address in PROBES {
            match database.decode(address) {
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
        Description {
            file: self.file.clone(),
            networks: self.networks(),
            bytes: self.bytes,
            ip_version: metadata.ip_version,
            languages: metadata.languages.iter().map(|tag| clean(tag)).collect(),
            text: text.map(|text| clean_long(text)).filter(|text| !text.is_empty()),
        }
    }

    /// Walks the whole tree: a tenth of a second for each million networks.
    fn networks(&self) -> Option<u64> {
        let mut count = 0;
        for network in self.reader.networks(maxminddb::WithinOptions::default()).ok()? {
            network.ok()?;
            count += 1;
            if count > MOST_NETWORKS {
                return None;
            }
        }
        Some(count)
    }

    /// Lookups that met damaged data.
    pub(super) fn errors(&self) -> u64 {
        self.errors
    }

    /// Orders files found by themselves: the newest is the greatest, then one with cities.
    pub(super) fn rank(&self) -> (jiff::civil::Date, bool) {
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
        match found.decode::<Entry<'_>>() {
            Ok(entry) => {
                let place = entry
                    .unwrap_or_default()
                    .place(language, self.flags_anycast, texts);
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

    /// Decodes without keeping anything.
    fn decode(&self, address: IpAddr) -> Result<(), MaxMindDbError> {
        if self.covers(address) {
            self.reader.lookup(address)?.decode::<Entry<'_>>()?;
        }
        Ok(())
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
