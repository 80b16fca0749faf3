//! What reads the files, and how one file is examined: opened, asked about many addresses, and its answers looked at.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tcpwatch::enrich::geo::Description;
use tcpwatch::enrich::{Enricher, Places};
use tcpwatch::record::Place;
use tcpwatch_tests::fuzz::watch::Log;

use crate::harmless::assert_harmless;

/// Addresses that every file is asked about: both families, special ones, those that are carried inside others, and the
/// networks that the files here speak of.
pub const SPREAD: [&str; 36] = [
    "0.0.0.0",
    "0.0.0.1",
    "1.1.1.1",
    "8.8.8.8",
    "10.0.0.1",
    "89.255.255.255",
    "90.0.0.0",
    "90.0.0.1",
    "90.255.255.255",
    "91.0.0.1",
    "92.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "128.0.0.0",
    "169.254.1.1",
    "192.0.2.1",
    "198.51.100.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::5a00:1",
    "::ffff:90.0.0.1",
    "64:ff9b::5a00:1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:5a00:1::1",
    "2400:cb00:2048:1::1",
    "2a00:1450:4001::1",
    "2a00::1",
    "3fff::1",
    "8000::",
    "fc00::1",
    "fe80::1",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
];

/// The address whose record is the hostile one, where a file has such a record.
pub const VICTIM: &str = "90.0.0.1";

/// An address whose record is honest in the same file.
pub const NEIGHBOUR: &str = "91.0.0.1";

/// The longest text that may come out of a file.
const LONGEST_TEXT: usize = 100;

/// The longest explanation of why a file is refused, and the longest description.
const LONGEST_REFUSAL: usize = 1001;

/// An opened file.
pub trait Reader {
    /// Where an address is.
    fn place(&mut self, address: IpAddr) -> Arc<Place>;

    /// Look-ups that met damage.
    fn errors(&self) -> u64;

    /// What it says of itself.
    fn descriptions(&self) -> Vec<Description>;
}

/// Something that opens files: the real thing, or one that is known to be broken.
pub type Open = fn(&Path) -> Result<Box<dyn Reader>, String>;

/// The program's own reader.
pub fn real(path: &Path) -> Result<Box<dyn Reader>, String> {
    let places = Places::open_given(&[path.to_owned()]).map_err(|error| {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        text
    })?;
    Ok(Box::new(places))
}

impl Reader for Places {
    fn place(&mut self, address: IpAddr) -> Arc<Place> {
        // Whatever its scope: the special ones are looked up only here.
        self.lookup(address)
    }

    fn errors(&self) -> u64 {
        Enricher::errors(self)
    }

    fn descriptions(&self) -> Vec<Description> {
        self.descriptions()
    }
}

/// What became of a file.
#[derive(Debug)]
pub enum Seen {
    /// It was not opened, for this reason.
    Refused(String),
    /// It was read.
    Opened {
        /// The places of the [`SPREAD`].
        places: Vec<(IpAddr, Arc<Place>)>,
        /// Look-ups that met damage, each address having been asked about twice.
        errors: u64,
    },
}

impl Seen {
    /// The place of an address of the spread, if the file was opened.
    pub fn place(&self, address: &str) -> Option<&Place> {
        let Self::Opened { places, .. } = self else {
            return None;
        };
        let address: IpAddr = address.parse().unwrap();
        places
            .iter()
            .find(|(of, _)| *of == address)
            .map(|(_, place)| &**place)
    }

    /// The code of its country.
    pub fn country(&self, address: &str) -> Option<&str> {
        self.place(address)?.country.as_deref()
    }
}

/// Where the files are written, one after another under the same name.
pub struct Bench {
    open: Open,
    path: PathBuf,
    addresses: Vec<IpAddr>,
    _directory: tempfile::TempDir,
}

impl Bench {
    /// For `open`.
    pub fn new(open: Open) -> Self {
        // In memory where there is such a place: on a disk, writing takes a hundred times as long as reading.
        let memory = Path::new("/dev/shm");
        let directory = if memory.is_dir() {
            tempfile::tempdir_in(memory)
        } else {
            tempfile::tempdir()
        };
        let directory = directory.unwrap();
        Self {
            open,
            path: directory.path().join("hostile.mmdb"),
            addresses: SPREAD.iter().map(|address| address.parse().unwrap()).collect(),
            _directory: directory,
        }
    }

    /// Opens `input` and asks it about every address of the spread, twice. Panics where anything that comes out could
    /// do harm.
    pub fn examine(&self, log: &Log, name: &str, input: &Arc<[u8]>) -> Seen {
        log.case(name, input);
        std::fs::write(&self.path, input).unwrap();
        let opened = log.step(|| "opening it".to_owned(), || (self.open)(&self.path));
        let mut reader = match opened {
            Ok(reader) => reader,
            Err(text) => {
                self.assert_good_refusal(&text);
                return Seen::Refused(text);
            }
        };
        let descriptions = log.step(|| "describing it".to_owned(), || reader.descriptions());
        for description in &descriptions {
            assert_good_description(description);
        }
        let mut places = Vec::with_capacity(self.addresses.len());
        for address in &self.addresses {
            let place = log.step(|| format!("looking up {address}"), || reader.place(*address));
            assert_good_place(&place);
            places.push((*address, place));
        }
        for (address, place) in &places {
            let again = log.step(
                || format!("looking up {address} again"),
                || reader.place(*address),
            );
            assert_eq!(again, *place, "{address} is elsewhere when asked about again");
        }
        Seen::Opened {
            places,
            errors: reader.errors(),
        }
    }

    fn assert_good_refusal(&self, text: &str) {
        let path = self.path.to_str().unwrap();
        assert!(text.contains(path), "does not name the file: {text:?}");
        assert!(text.chars().count() < LONGEST_REFUSAL, "too long: {text:?}");
        assert_harmless(text);
    }
}

/// Fails when what a file says of itself could do harm where it is shown.
fn assert_good_description(description: &Description) {
    for text in [
        &*description.file.kind,
        description.text.as_deref().unwrap_or_default(),
    ] {
        assert!(text.chars().count() < LONGEST_REFUSAL, "too long: {text:?}");
        assert_harmless(text);
    }
    assert!(description.languages.len() < 100, "too many languages");
    description.languages.iter().for_each(|tag| assert_harmless(tag));
}

/// Fails when a place is what no place can be, or could do harm where it is shown.
pub fn assert_good_place(place: &Place) {
    if let Some(code) = &place.country {
        let letters = code.len() == 2 && code.bytes().all(|letter| letter.is_ascii_uppercase());
        assert!(letters, "no country: {code:?}");
    }
    for text in [&place.country_name, &place.city, &place.network]
        .into_iter()
        .flatten()
    {
        let length = text.chars().count();
        assert!((1..=LONGEST_TEXT).contains(&length), "{length} characters");
        assert_eq!(text.trim(), &**text);
        assert_harmless(text);
    }
}
