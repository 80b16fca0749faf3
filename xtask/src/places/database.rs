//! From ranges to an MMDB file in the layout of GeoIP2-Country, and the proof that it answers as its source does.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use mmdb_writer::{IpVersion, Value, Writer};

use super::data::Range;
use super::names::{self, Names};

/// By this tcpwatch knows a database made here.
pub const TYPE: &str = "tcpwatch-Country";
/// What the licence of the data asks for, in the file itself.
pub const ATTRIBUTION: &str = "country of IP addresses, from the IPFire location database (location.ipfire.org), licence \
     CC BY-SA 4.0 (creativecommons.org/licenses/by-sa/4.0), by way of Tor and Debian's tor-geoipdb, converted by \
     tcpwatch; country names from Unicode CLDR, licence Unicode-3.0";

/// Every how many ranges one is looked up again at both ends: some 6,000 of today's 660,000.
const CHECK_EVERY: usize = 101;

/// IPv6 networks through which the file format shows the IPv4 tree (mapped, Teredo, 6to4): they have no country of
/// their own. First and last address as numbers.
const ALIASES: [(u128, u128); 3] = [
    (0xffff_0000_0000, 0xffff_ffff_ffff),
    (0x2001_0000 << 96, (0x2001_0001 << 96) - 1),
    (0x2002 << 112, (0x2003 << 112) - 1),
];

/// A database in memory.
pub struct Made {
    pub bytes: Vec<u8>,
    /// Ranges that lie in aliased networks and were left out.
    pub aliased: usize,
}

/// `date` is that of the data, in seconds since 1970: a reader judges its age by it.
///
/// # Errors
///
/// The writer refuses a range, or the file would be too large.
pub fn make(ranges: &[Range], date: u64) -> anyhow::Result<Made> {
    let names = names::all();
    let mut writer = Writer::builder(TYPE)
        .ip_version(IpVersion::V6)
        .languages(["en", "de", "es", "fr", "ja", "pt-BR", "ru", "zh-CN"])
        .description(&[("en", ATTRIBUTION)])
        .build_epoch(UNIX_EPOCH + Duration::from_secs(date))
        .build();
    let mut places: HashMap<[u8; 2], Value> = HashMap::new();
    let mut aliased = 0;
    for range in ranges {
        let place = places
            .entry(range.country)
            .or_insert_with(|| place(range.code(), names.get(range.code())));
        let parts = without_aliases(range.first, range.last);
        if parts.is_empty() {
            aliased += 1;
        }
        for (first, last) in parts {
            writer
                .insert_range(first, last, place)
                .with_context(|| format!("cannot enter {first} to {last}"))?;
        }
    }
    Ok(Made {
        bytes: writer.to_bytes().context("cannot lay out the database")?,
        aliased,
    })
}

fn place(code: &str, names: Option<&Names>) -> Value {
    let mut country = vec![("iso_code", Value::from(code))];
    if let Some(names) = names {
        country.push((
            "names",
            Value::map(names.iter().map(|(tag, name)| (*tag, Value::from(*name)))),
        ));
    }
    Value::map([("country", Value::map(country))])
}

/// What remains of a range outside [`ALIASES`], in order.
fn without_aliases(first: IpAddr, last: IpAddr) -> Vec<(IpAddr, IpAddr)> {
    let (IpAddr::V6(low), IpAddr::V6(high)) = (first, last) else {
        return vec![(first, last)];
    };
    let (mut low, high) = (low.to_bits(), high.to_bits());
    let mut parts = Vec::new();
    let mut keep = |low: u128, high: u128| {
        parts.push((Ipv6Addr::from_bits(low).into(), Ipv6Addr::from_bits(high).into()));
    };
    for (alias_low, alias_high) in ALIASES {
        if low > alias_high || high < alias_low {
            continue;
        }
        if low < alias_low {
            keep(low, alias_low - 1);
        }
        // No alias ends at the end of the address space.
        low = alias_high + 1;
    }
    if low <= high {
        keep(low, high);
    }
    parts
}

/// Reads a database back: its structure, and the country at both ends of many ranges. Returns how many addresses.
///
/// # Errors
///
/// It is damaged, or answers otherwise than `ranges`.
pub fn check(bytes: &[u8], ranges: &[Range]) -> anyhow::Result<usize> {
    let reader = maxminddb::Reader::from_source(bytes).context("the database cannot be opened")?;
    reader.verify().context("the database is damaged")?;
    let mut checked = 0;
    for (number, range) in ranges.iter().enumerate() {
        // The first ones too, so that a small database is checked as a whole.
        if number % CHECK_EVERY != 0 && number >= CHECK_EVERY {
            continue;
        }
        for (first, last) in without_aliases(range.first, range.last) {
            for address in [first, last] {
                let found: Option<&str> = reader
                    .lookup(address)
                    .and_then(|place| place.decode_path(&maxminddb::path!["country", "iso_code"]))
                    .with_context(|| format!("{address} cannot be looked up"))?;
                if found != Some(range.code()) {
                    bail!(
                        "the database says {} for {address}, its source {}",
                        found.unwrap_or("nothing"),
                        range.code()
                    );
                }
                checked += 1;
            }
        }
    }
    Ok(checked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: &str, last: &str, country: &[u8; 2]) -> Range {
        Range {
            first: first.parse().unwrap(),
            last: last.parse().unwrap(),
            country: *country,
        }
    }

    fn parts(first: &str, last: &str) -> Vec<String> {
        without_aliases(first.parse().unwrap(), last.parse().unwrap())
            .into_iter()
            .map(|(first, last)| format!("{first}-{last}"))
            .collect()
    }

    #[test]
    fn leaves_out_what_lies_in_an_aliased_network() {
        assert!(parts("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff").is_empty());
        assert!(parts("2001::5", "2001::6").is_empty());
        assert!(parts("::ffff:1.2.3.4", "::ffff:1.2.3.5").is_empty());
    }

    #[test]
    fn splits_a_range_around_an_aliased_network() {
        assert_eq!(
            parts("2001::", "2003::"),
            [
                "2001:1::-2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                "2003::-2003::"
            ]
        );
        assert_eq!(
            parts("2000::", "2001::1"),
            ["2000::-2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]
        );
        assert_eq!(parts("2002:ffff::", "2003::1"), ["2003::-2003::1"]);
    }

    #[test]
    fn leaves_other_ranges_as_they_are() {
        assert_eq!(parts("192.0.2.0", "192.0.2.77"), ["192.0.2.0-192.0.2.77"]);
        assert_eq!(
            parts("2001:db8::", "2001:db8::ffff"),
            ["2001:db8::-2001:db8::ffff"]
        );
    }

    fn ranges() -> Vec<Range> {
        vec![
            range("192.0.2.0", "192.0.2.76", b"DE"),
            range("192.0.2.77", "192.0.2.77", b"US"),
            range("2001:db8::", "2001:db8::ffff", b"JP"),
            range("2002::", "2002::1", b"FR"),
            range("203.0.113.0", "203.0.113.255", b"OS"),
        ]
    }

    #[test]
    fn a_database_answers_as_its_source_in_the_layout_of_geoip() {
        let made = make(&ranges(), 1_782_362_039).unwrap();
        assert_eq!(made.aliased, 1);
        assert_eq!(check(&made.bytes, &ranges()).unwrap(), 8);

        let reader = maxminddb::Reader::from_source(&made.bytes[..]).unwrap();
        assert_eq!(reader.metadata().build_epoch, 1_782_362_039);
        assert_eq!(reader.metadata().database_type, "tcpwatch-Country");
        assert!(reader.metadata().description["en"].contains("CC BY-SA 4.0"));
        let country: maxminddb::geoip2::Country = reader
            .lookup("192.0.2.76".parse().unwrap())
            .unwrap()
            .decode()
            .unwrap()
            .unwrap();
        assert_eq!(country.country.iso_code, Some("DE"));
        assert_eq!(country.country.names.english, Some("Germany"));
        assert_eq!(country.country.names.simplified_chinese, Some("德国"));
        assert!(!reader.lookup("192.0.2.78".parse().unwrap()).unwrap().has_data());
        let nameless: maxminddb::geoip2::Country = reader
            .lookup("203.0.113.1".parse().unwrap())
            .unwrap()
            .decode()
            .unwrap()
            .unwrap();
        assert_eq!(
            (nameless.country.iso_code, nameless.country.names.english),
            (Some("OS"), None)
        );
    }

    #[test]
    fn the_check_finds_a_wrong_country_a_missing_range_and_damage() {
        let mut wrong = ranges();
        wrong[0].country = *b"AT";
        let made = make(&wrong, 0).unwrap();
        let error = check(&made.bytes, &ranges()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the database says AT for 192.0.2.0, its source DE"
        );

        let made = make(&ranges()[1..], 0).unwrap();
        assert!(
            check(&made.bytes, &ranges())
                .unwrap_err()
                .to_string()
                .contains("says nothing for 192.0.2.0")
        );

        let made = make(&ranges(), 0).unwrap();
        assert!(check(&made.bytes[..made.bytes.len() / 2], &ranges()).is_err());
    }
}
