//! A finished file read back, by the reader that everybody uses, before it is put in place.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;

use foldhash::fast::RandomState;
use maxminddb::{MaxMindDbError, Reader, WithinOptions};
use serde::Deserialize;

use crate::enrich::countries::Country;
use crate::geo::import::layout::{LANGUAGE, Statement};
use crate::geo::import::merge::Place;
use crate::geo::import::progress::Progress;
use crate::geo::import::source::Networks;
use crate::geo::import::steps::{MAPPED, Steps, address, key};

/// About how many addresses are looked up, besides the walk through all networks.
const LOOK_UPS: usize = 150_000;

/// The last address of IPv4 in the file, where it lies in ::/96.
const IPV4_END: u128 = 0xffff_ffff;

/// How a file stood the check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checked {
    /// Networks that it has.
    pub networks: usize,
    /// Addresses that were looked up one by one.
    pub look_ups: usize,
}

/// Why a file is not put in place.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The reader does not take it.
    #[error("it cannot be read back")]
    Read(#[source] MaxMindDbError),
    /// Its metadata is not what was written.
    #[error("its {0} is not what was written")]
    Metadata(&'static str),
    /// It answers otherwise than the sources.
    #[error("it says {found} for {address}, and the sources say {expected}")]
    Answer {
        /// An address for which it does.
        address: IpAddr,
        /// What it should say.
        expected: String,
        /// What it says.
        found: String,
    },
    /// The program is to end.
    #[error("interrupted")]
    Interrupted,
}

impl From<MaxMindDbError> for Fault {
    fn from(source: MaxMindDbError) -> Self {
        Self::Read(source)
    }
}

/// Compares the file with `places`, which it was made of: its metadata, all networks in it, and look-ups at both ends and in the
/// middle of ranges all over the address space. Stops early when `interrupted` says so.
///
/// # Errors
///
/// The first difference.
pub fn check(
    path: &Path,
    places: &Steps<Place>,
    networks: &Networks,
    statement: &Statement,
    progress: &Progress,
    interrupted: impl Fn() -> bool,
) -> Result<Checked, Fault> {
    let reader = Reader::open_readfile(path)?;
    let metadata = reader.metadata();
    for (right, what) in [
        (metadata.database_type == statement.kind, "type"),
        (metadata.ip_version == 6, "IP version"),
        (metadata.build_epoch == statement.build_epoch(), "date"),
        (
            metadata.description.get(LANGUAGE) == Some(&statement.description),
            "description",
        ),
    ] {
        if !right {
            return Err(Fault::Metadata(what));
        }
    }
    let answers = Answers {
        reader: &reader,
        networks,
    };
    progress.begin("reading back", 2 * places.len() as u64);
    let (found, count) = answers.all(|done| {
        progress.reached(done);
        if interrupted() {
            Err(Fault::Interrupted)
        } else {
            Ok(())
        }
    })?;
    if found != *places {
        return Err(answers.difference(&found, places));
    }
    let mut look_ups = 0;
    progress.begin("looking up", places.len() as u64);
    let every = (3 * places.len() / LOOK_UPS).max(1);
    for (done, run) in (0..).zip(places.runs()).step_by(every) {
        progress.reached(done);
        if interrupted() {
            return Err(Fault::Interrupted);
        }
        for key in [run.first, run.first.midpoint(run.last), run.last] {
            let found = answers.look_up(key)?;
            if found != Some(run.value) {
                return Err(answers.answer(key, Some(run.value), found));
            }
            look_ups += 1;
        }
    }
    Ok(Checked {
        networks: count,
        look_ups,
    })
}

/// A record as it is read back.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Record<'a> {
    #[serde(borrow)]
    country: Option<About<'a>>,
    autonomous_system_number: Option<u32>,
    autonomous_system_organization: Option<&'a str>,
    traits: Traits,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct About<'a> {
    iso_code: &'a str,
    #[serde(borrow)]
    names: Names<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Names<'a> {
    en: Option<&'a str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Traits {
    is_anycast: bool,
}

struct Answers<'a> {
    reader: &'a Reader<Vec<u8>>,
    networks: &'a Networks,
}

impl Answers<'_> {
    /// Everything that the file says, and how many networks it has. Calls `reached` with the number of those that are
    /// behind it.
    fn all(&self, mut reached: impl FnMut(u64) -> Result<(), Fault>) -> Result<(Steps<Place>, usize), Fault> {
        // In the file, IPv4 comes before all of IPv6; among the keys, in between.
        let (mut v4, mut below, mut above) = (Steps::default(), Steps::default(), Steps::default());
        let mut known: HashMap<usize, Place, RandomState> = HashMap::default();
        let mut count = 0;
        for found in self.reader.networks(WithinOptions::default())? {
            let found = found?;
            reached(count as u64)?;
            count += 1;
            let network = found.network()?;
            let (first, bits) = match network.ip() {
                IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
                IpAddr::V6(v6) => (v6.to_bits(), 128),
            };
            let host_bits = bits - u32::from(network.prefix());
            let last = first | u128::MAX.checked_shr(128 - host_bits).unwrap_or(0);
            let Some(offset) = found.offset() else { continue };
            let place = match known.get(&offset) {
                Some(place) => *place,
                None => {
                    let place = self.place(found.decode()?.unwrap_or_default());
                    let place = place.ok_or_else(|| self.answer(key(network.ip()), None, None))?;
                    known.insert(offset, place);
                    place
                }
            };
            // Nothing but IPv4 is ever written into ::/96, though a network may reach beyond it.
            if first <= IPV4_END {
                v4.add(MAPPED.0 + first, MAPPED.0 + last.min(IPV4_END), place);
            }
            if last > IPV4_END {
                let part = if first < MAPPED.0 { &mut below } else { &mut above };
                part.add(first.max(IPV4_END + 1), last, place);
            }
        }
        Ok((v4.over(&below).over(&above), count))
    }

    fn look_up(&self, key: u128) -> Result<Option<Place>, Fault> {
        let record = self.reader.lookup(address(key))?.decode()?;
        Ok(record.and_then(|record| self.place(record)))
    }

    /// The place of a record; none where it is nothing that we write.
    fn place(&self, record: Record<'_>) -> Option<Place> {
        let country = match record.country {
            Some(about) => {
                let country = Country::parse(about.iso_code.as_bytes()).ok().flatten()?;
                if country.code() != about.iso_code || country.name(LANGUAGE) != about.names.en {
                    return None;
                }
                Some(country)
            }
            None => None,
        };
        let network = match (
            record.autonomous_system_number,
            record.autonomous_system_organization,
        ) {
            (Some(asn), name) => Some(self.networks.find(asn, name)?),
            (None, None) => None,
            (None, Some(_)) => return None,
        };
        Some(Place {
            country,
            network,
            anycast: record.traits.is_anycast,
        })
    }

    /// The first address at which two answers differ.
    fn difference(&self, found: &Steps<Place>, expected: &Steps<Place>) -> Fault {
        let differing = found.zip(expected, |found, expected| {
            (found != expected).then_some((found, expected))
        });
        let first = differing.runs().next();
        first.map_or_else(
            || self.answer(0, None, None),
            |run| self.answer(run.first, run.value.1, run.value.0),
        )
    }

    fn answer(&self, key: u128, expected: Option<Place>, found: Option<Place>) -> Fault {
        Fault::Answer {
            address: address(key),
            expected: self.shown(expected),
            found: self.shown(found),
        }
    }

    fn shown(&self, place: Option<Place>) -> String {
        let Some(place) = place else {
            return "nothing that is written".to_owned();
        };
        let mut words = Vec::new();
        words.extend(place.country.map(|country| country.to_string()));
        words.extend(place.network.map(|id| {
            let (asn, name) = self.networks.get(id);
            format!("AS{asn} {}", name.unwrap_or_default())
        }));
        words.extend(place.anycast.then(|| "anycast".to_owned()));
        words.join(", ")
    }
}

#[cfg(test)]
mod tests;
