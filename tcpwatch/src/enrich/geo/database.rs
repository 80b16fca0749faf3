//! One MMDB file: opened, checked, and asked about addresses.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use foldhash::{HashMap, HashMapExt as _};
use maxminddb::{MaxMindDbError, Reader};
use serde::Deserialize;

use crate::enrich::geo::GeoError;
use crate::enrich::geo::text::{Texts, clean};
use crate::record::{GeoFile, Place};

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

/// A place database in memory.
#[derive(Debug)]
pub(super) struct Database {
    reader: Reader<Vec<u8>>,
    file: GeoFile,
    /// Places already decoded, by the offset of their record: few records serve very many addresses.
    known: HashMap<usize, Place>,
    errors: u64,
}

impl Database {
    pub(super) fn open(path: &Path) -> Result<Self, GeoError> {
        let bytes = read(path)?;
        let damaged = |source| GeoError::Damaged {
            path: path.to_owned(),
            source,
        };
        let reader = Reader::from_source(bytes).map_err(damaged)?;
        let metadata = reader.metadata();
        let kind = clean(&metadata.database_type);
        if !["country", "city", "enterprise"]
            .iter()
            .any(|word| kind.to_ascii_lowercase().contains(word))
        {
            return Err(GeoError::NoCountries {
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
            reader,
            file,
            known: HashMap::new(),
            errors: 0,
        };
        for address in PROBES {
            match database.decode(address) {
                Ok(_) => {}
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

    /// Where `address` is; damaged data is counted and answered with the place of which nothing is known.
    pub(super) fn lookup(&mut self, address: IpAddr, texts: &mut Texts) -> Place {
        match self.find(address, texts) {
            Ok(place) => place,
            Err(error) => {
                if self.errors == 0 {
                    tracing::warn!(
                        "place database {} is damaged, some places stay unknown: {error}",
                        self.file.file
                    );
                }
                self.errors += 1;
                Place::default()
            }
        }
    }

    fn find(&mut self, address: IpAddr, texts: &mut Texts) -> Result<Place, MaxMindDbError> {
        if !self.covers(address) {
            return Ok(Place::default());
        }
        let found = self.reader.lookup(address)?;
        let Some(offset) = found.offset() else {
            return Ok(Place::default());
        };
        if let Some(place) = self.known.get(&offset) {
            return Ok(place.clone());
        }
        let place = found
            .decode::<Entry<'_>>()?
            .map(|entry| entry.place(texts))
            .unwrap_or_default();
        if self.known.len() >= MOST_KNOWN {
            self.known.clear();
        }
        self.known.insert(offset, place.clone());
        Ok(place)
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

/// What is read of a record in the form of GeoIP2.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry<'a> {
    #[serde(borrow)]
    country: Country<'a>,
    #[serde(borrow)]
    registered_country: Country<'a>,
    #[serde(borrow)]
    city: City<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Country<'a> {
    iso_code: Option<&'a str>,
    #[serde(borrow)]
    names: Names<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct City<'a> {
    #[serde(borrow)]
    names: Names<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Names<'a> {
    en: Option<&'a str>,
}

impl Entry<'_> {
    /// The country where the address is used; where the file leaves that open (anycast, satellite links), the one
    /// where its network is registered, which is still better than nothing.
    fn place(&self, texts: &mut Texts) -> Place {
        let country = [&self.country, &self.registered_country]
            .into_iter()
            .find_map(|country| {
                let code = alpha_2(country.iso_code?)?;
                Some((code, country.names.en))
            });
        let Some((code, name)) = country else {
            return Place::default();
        };
        Place {
            country: texts.get(&code),
            country_name: name.and_then(|name| texts.get(name)),
            city: self.city.names.en.and_then(|name| texts.get(name)),
            ..Place::default()
        }
    }
}

/// `code` in capitals, if it is one: two letters, and not the ZZ that stands for "unknown".
fn alpha_2(code: &str) -> Option<String> {
    let code = code.to_ascii_uppercase();
    (code.len() == 2 && code.bytes().all(|letter| letter.is_ascii_uppercase()) && code != "ZZ")
        .then_some(code)
}
