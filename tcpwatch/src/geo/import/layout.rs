//! Places as an MMDB file: the form of its records, and what can have one.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use jiff::Timestamp;

use crate::enrich::countries::Country;
use crate::geo::import::merge::Place;
use crate::geo::import::mmdb::{self, Data, TooLarge};
use crate::geo::import::progress::Progress;
use crate::geo::import::source::Networks;
use crate::geo::import::steps::{MAPPED, Run, Steps};

/// The language of the names that are written.
pub const LANGUAGE: &str = "en";

/// Where the form shows IPv4 addresses under another number (::/96, Teredo, 6to4): no record fits in there. First and last key,
/// ascending.
const ALIASES: [(u128, u128); 3] = [
    (0, 0xffff_ffff),
    (0x2001_0000 << 96, (0x2001_0001 << 96) - 1),
    (0x2002 << 112, (0x2003 << 112) - 1),
];

/// What a file says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Statement {
    /// `database_type`.
    pub kind: &'static str,
    /// The date of the data.
    pub date: Timestamp,
    /// Origin and licence.
    pub description: String,
}

impl Statement {
    /// The date as the form has it: seconds since 1970.
    pub fn build_epoch(&self) -> u64 {
        u64::try_from(self.date.as_second()).unwrap_or(0)
    }
}

/// The places that fit into a file, and how many runs of them lie in aliased space, wholly or in part, and are left out.
pub fn fitting(places: &Steps<Place>) -> (Steps<Place>, usize) {
    let mut fitting = Steps::default();
    let mut left_out = 0;
    for run in places.runs() {
        let mut first = run.first;
        let mut cut = false;
        for (low, high) in ALIASES {
            if first > high || run.last < low || first > run.last {
                continue;
            }
            cut = true;
            if first < low {
                fitting.add(first, low - 1, run.value);
            }
            // No alias ends at the end of the address space.
            first = high + 1;
        }
        if first <= run.last {
            fitting.add(first, run.last, run.value);
        }
        left_out += usize::from(cut);
    }
    (fitting, left_out)
}

/// Lays out places that are [`fitting`].
///
/// # Errors
///
/// The file would be too large.
pub fn lay_out(
    places: &Steps<Place>,
    networks: &Networks,
    statement: &Statement,
    progress: &Progress,
) -> Result<Vec<u8>, TooLarge> {
    progress.begin("laying out", places.len() as u64);
    let mut records = Records::default();
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for (done, run) in (0..).zip(places.runs()) {
        progress.reached(done);
        let value = records.place_of(run.value, networks);
        for (first, last) in of_one_family(run) {
            if (MAPPED.0..=MAPPED.1).contains(&first) {
                v4.push(Run {
                    first: first - MAPPED.0,
                    last: last - MAPPED.0,
                    value,
                });
            } else {
                v6.push(Run { first, last, value });
            }
        }
    }
    let metadata = mmdb::Metadata {
        kind: statement.kind,
        language: LANGUAGE,
        description: &statement.description,
        build_epoch: statement.build_epoch(),
    };
    mmdb::file(&v4, &v6, &records.data, metadata)
}

/// A run in parts that are of IPv4 or of IPv6.
fn of_one_family(run: Run<Place>) -> impl Iterator<Item = (u128, u128)> {
    [
        (run.first, run.last.min(MAPPED.0 - 1)),
        (run.first.max(MAPPED.0), run.last.min(MAPPED.1)),
        (run.first.max(MAPPED.1 + 1), run.last),
    ]
    .into_iter()
    .filter(|(first, last)| first <= last)
}

/// Records in the form of GeoIP2's Country and ASN files, each once. What is not known is absent.
#[derive(Debug, Default)]
struct Records {
    data: Data,
    places: HashMap<Place, u32, RandomState>,
    countries: HashMap<Country, u32, RandomState>,
}

impl Records {
    /// Where the record of a place is.
    fn place_of(&mut self, place: Place, networks: &Networks) -> u32 {
        if let Some(at) = self.places.get(&place) {
            return *at;
        }
        let at = self.data.end();
        let network = place.network.map(|id| networks.get(id));
        let name = network.and_then(|(_, name)| name);
        let fields = [
            place.country.is_some(),
            network.is_some(),
            name.is_some(),
            place.anycast,
        ];
        self.data.map(fields.into_iter().map(u8::from).sum());
        if let Some((asn, _)) = network {
            self.data.text("autonomous_system_number");
            self.data.number(asn);
        }
        if let Some(name) = name {
            self.data.text("autonomous_system_organization");
            self.data.text(name);
        }
        if let Some(country) = place.country {
            self.data.text("country");
            self.country(country);
        }
        if place.anycast {
            self.data.text("traits");
            self.data.map(1);
            self.data.text("is_anycast");
            self.data.flag(true);
        }
        self.places.insert(place, at);
        at
    }

    fn country(&mut self, country: Country) {
        if let Some(at) = self.countries.get(&country) {
            self.data.again(*at);
            return;
        }
        self.countries.insert(country, self.data.end());
        let name = country.name(LANGUAGE);
        self.data.map(1 + u8::from(name.is_some()));
        self.data.text("iso_code");
        self.data.text(country.code());
        if let Some(name) = name {
            self.data.text("names");
            self.data.map(1);
            self.data.text(LANGUAGE);
            self.data.text(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo::import::steps::{address, key};

    fn anycast() -> Place {
        Place {
            anycast: true,
            ..Place::default()
        }
    }

    fn fits(first: &str, last: &str) -> (Vec<String>, usize) {
        let mut places = Steps::default();
        places.add(key(first.parse().unwrap()), key(last.parse().unwrap()), anycast());
        let (fitting, left_out) = fitting(&places);
        let parts = fitting
            .runs()
            .map(|run| format!("{}-{}", address(run.first), address(run.last)))
            .collect();
        (parts, left_out)
    }

    #[test]
    fn leaves_out_what_lies_in_aliased_space() {
        assert_eq!(
            fits("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            (vec![], 1)
        );
        assert_eq!(fits("2001::5", "2001::6"), (vec![], 1));
        assert_eq!(fits("::1", "::1"), (vec![], 1));
    }

    #[test]
    fn cuts_aliased_space_out_of_what_is_larger() {
        assert_eq!(
            fits("2001::", "2003::"),
            (
                vec![
                    "2001:1::-2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff".to_owned(),
                    "2003::-2003::".to_owned()
                ],
                1
            )
        );
        assert_eq!(
            fits("2000::", "2001::1"),
            (
                vec!["2000::-2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff".to_owned()],
                1
            )
        );
        assert_eq!(
            fits("2002:ffff::", "2003::1"),
            (vec!["2003::-2003::1".to_owned()], 1)
        );
    }

    #[test]
    fn leaves_other_addresses_as_they_are() {
        for (first, last) in [
            ("192.0.2.0", "192.0.2.77"),
            ("2001:db8::", "2001:db8::ffff"),
            ("0.0.0.0", "255.255.255.255"),
        ] {
            assert_eq!(fits(first, last), (vec![format!("{first}-{last}")], 0));
        }
    }

    #[test]
    fn a_run_over_both_families_is_written_in_parts_of_one() {
        let run = |first, last| Run {
            first,
            last,
            value: anycast(),
        };
        assert_eq!(
            of_one_family(run(1 << 40, u128::MAX)).collect::<Vec<_>>(),
            [
                (1 << 40, 0xfffe_ffff_ffff),
                (0xffff_0000_0000, 0xffff_ffff_ffff),
                (0x1_0000_0000_0000, u128::MAX)
            ]
        );
        assert_eq!(of_one_family(run(MAPPED.0 + 5, MAPPED.0 + 9)).count(), 1);
        assert_eq!(of_one_family(run(1 << 100, 1 << 101)).count(), 1);
    }
}
