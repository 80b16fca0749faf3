//! Tests of the places: small databases are made here, for addresses that no test sends anything to.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, UNIX_EPOCH};

use mmdb_writer::{IpVersion, Value, Writer};
use proptest::prelude::*;

use super::*;

mod facts;
mod replaced;

/// 2026-01-01.
const NEW_YEAR: u64 = 1_767_225_600;
const DAY: u64 = 86_400;

fn named(key: &str, code: Option<&str>, name: &str) -> (String, Value) {
    let names = Value::map([("en", Value::from(name)), ("de", Value::from("Anders"))]);
    let mut entry: BTreeMap<String, Value> = [("names".to_owned(), names)].into();
    if let Some(code) = code {
        entry.insert("iso_code".to_owned(), Value::from(code));
    }
    (key.to_owned(), Value::map(entry))
}

fn mmdb(kind: &str, built: u64, entries: &[(&str, Value)]) -> Vec<u8> {
    let mut writer = Writer::builder(kind)
        .build_epoch(UNIX_EPOCH + Duration::from_secs(built))
        .build();
    for (network, value) in entries {
        writer
            .insert_value(network.parse::<ipnet::IpNet>().unwrap(), value.clone())
            .unwrap();
    }
    writer.to_bytes().unwrap()
}

fn countries(kind: &str, built: u64) -> Vec<u8> {
    let us = Value::map([named("country", Some("US"), "United States")]);
    let de = Value::map([named("country", Some("DE"), "Germany")]);
    mmdb(
        kind,
        built,
        &[("8.0.0.0/8", us), ("80.0.0.0/8", de.clone()), ("2a00::/16", de)],
    )
}

fn write(directory: &std::path::Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn open(bytes: &[u8]) -> Places {
    let directory = tempfile::tempdir().unwrap();
    Places::open_given(&[write(directory.path(), "x.mmdb", bytes)]).unwrap()
}

fn refused(bytes: &[u8]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = write(directory.path(), "x.mmdb", bytes);
    let error = Places::open_given(std::slice::from_ref(&path)).unwrap_err();
    assert!(!error.to_string().contains('\n'));
    error.to_string().replace(path.to_str().unwrap(), "FILE")
}

fn place(places: &mut Places, address: &str) -> Place {
    Place::clone(&places.place(address.parse().unwrap()))
}

fn country(places: &mut Places, address: &str) -> Option<String> {
    place(places, address).country.map(|code| code.to_string())
}

#[test]
fn addresses_of_both_families_get_their_country_and_name() {
    let mut places = open(&countries("GeoLite2-Country", NEW_YEAR));
    let found = place(&mut places, "8.8.8.8");
    assert_eq!(
        (found.country.as_deref(), found.country_name.as_deref()),
        (Some("US"), Some("United States"))
    );
    assert_eq!(
        (found.city, found.asn, found.network, found.anycast),
        (None, None, None, None)
    );
    assert_eq!(country(&mut places, "2a00::1").as_deref(), Some("DE"));
    assert_eq!(country(&mut places, "9.9.9.9"), None);
    assert_eq!(country(&mut places, "64:ff9b::8.8.8.8").as_deref(), Some("US"));
    assert_eq!(country(&mut places, "2002:808:808::1").as_deref(), Some("US"));
    assert_eq!(places.errors(), 0);

    let files = places.files();
    assert_eq!(files.len(), 1);
    assert_eq!(&*files[0].kind, "GeoLite2-Country");
    assert_eq!(files[0].built.to_string(), "2026-01-01");
}

#[test]
fn only_global_addresses_are_looked_up() {
    let us = Value::map([named("country", Some("US"), "United States")]);
    let mut places = open(&mmdb("Test-Country", NEW_YEAR, &[("10.0.0.0/8", us)]));
    assert_eq!(country(&mut places, "10.0.0.1"), None);
    assert_eq!(
        places.lookup("10.0.0.1".parse().unwrap()).country.as_deref(),
        Some("US"),
        "the control"
    );
}

#[test]
fn the_country_of_registration_stands_in_where_the_file_leaves_the_country_open() {
    let both = Value::map([
        named("country", Some("DE"), "Germany"),
        named("registered_country", Some("US"), "United States"),
    ]);
    let registered = Value::map([named("registered_country", Some("AU"), "Australia")]);
    let bytes = mmdb(
        "Test-City",
        NEW_YEAR,
        &[("80.0.0.0/8", both), ("1.1.1.0/24", registered)],
    );
    let mut places = open(&bytes);
    assert_eq!(country(&mut places, "80.1.1.1").as_deref(), Some("DE"));
    assert_eq!(country(&mut places, "1.1.1.1").as_deref(), Some("AU"));
}

#[test]
fn a_code_that_is_no_country_is_unknown_and_a_name_that_is_empty_is_none() {
    let entry = |code, name| Value::map([named("country", Some(code), name)]);
    let bytes = mmdb(
        "Test-Country",
        NEW_YEAR,
        &[
            ("8.0.0.0/8", entry("ZZ", "Unknown")),
            ("9.0.0.0/8", entry("\u{1b}[", "x")),
            ("11.0.0.0/8", entry("de", "\u{202e}\u{7}")),
            ("12.0.0.0/8", entry("FR", "Fra\u{202e}n\u{1b}[2Jce")),
        ],
    );
    let mut places = open(&bytes);
    assert_eq!(place(&mut places, "8.8.8.8"), Place::default());
    assert_eq!(place(&mut places, "9.9.9.9"), Place::default());
    let found = place(&mut places, "11.0.0.1");
    assert_eq!(
        (found.country.as_deref(), found.country_name.as_deref()),
        (Some("DE"), None)
    );
    let found = place(&mut places, "12.0.0.1");
    assert_eq!(found.country_name.as_deref(), Some("Fran[2Jce"));
}

#[test]
fn a_later_file_fills_gaps_and_never_contradicts() {
    let directory = tempfile::tempdir().unwrap();
    let first = write(
        directory.path(),
        "first.mmdb",
        &countries("Test-Country", NEW_YEAR),
    );
    let town =
        |code, country, city| Value::map([named("country", Some(code), country), named("city", None, city)]);
    let second = mmdb(
        "Test-City",
        NEW_YEAR,
        &[
            ("8.0.0.0/9", town("US", "USA", "Denver")),
            ("80.0.0.0/8", town("AT", "Austria", "Graz")),
            ("9.0.0.0/8", town("FR", "France", "Lyon")),
        ],
    );
    let second = write(directory.path(), "second.mmdb", &second);
    let mut places = Places::open_given(&[first, second]).unwrap();
    let mut seen = |address: &str| {
        let place = Place::clone(&places.place(address.parse().unwrap()));
        [place.country_name, place.city].map(|text| text.map(|text| text.to_string()).unwrap_or_default())
    };
    assert_eq!(seen("8.1.1.1"), ["United States", "Denver"]);
    assert_eq!(seen("8.200.1.1"), ["United States", ""]);
    assert_eq!(
        seen("80.1.1.1"),
        ["Germany", ""],
        "a city of another country is not taken"
    );
    assert_eq!(seen("9.1.1.1"), ["France", "Lyon"]);
    assert_eq!(places.files().len(), 2);
}

#[test]
fn places_of_one_record_share_their_texts() {
    let mut places = open(&countries("Test-Country", NEW_YEAR));
    let one = place(&mut places, "80.0.0.1").country_name.unwrap();
    let two = place(&mut places, "80.200.0.1").country_name.unwrap();
    assert!(std::sync::Arc::ptr_eq(&one, &two));
}

#[test]
fn an_ipv4_only_file_has_no_ipv6_and_makes_no_errors() {
    let mut writer = Writer::builder("Test-Country").ip_version(IpVersion::V4).build();
    let us = Value::map([named("country", Some("US"), "United States")]);
    writer
        .insert_value("8.0.0.0/8".parse::<ipnet::IpNet>().unwrap(), us)
        .unwrap();
    let mut places = open(&writer.to_bytes().unwrap());
    assert_eq!(country(&mut places, "8.8.8.8").as_deref(), Some("US"));
    assert_eq!(country(&mut places, "2a00::1"), None);
    assert_eq!(places.errors(), 0);
}

#[test]
fn every_unusable_file_is_an_error_that_names_it_and_the_cure() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().to_str().unwrap();
    let text = |path: PathBuf| {
        Places::open_given(&[path])
            .unwrap_err()
            .to_string()
            .replace(at, "DIR")
    };
    assert_eq!(
        text(directory.path().join("none")),
        "no such place database: DIR/none: check the path"
    );
    assert_eq!(
        text(directory.path().into()),
        "DIR is a directory: name the MMDB file in it, for example DIR/GeoLite2-Country.mmdb"
    );
    assert_eq!(
        text("/dev/null".into()),
        "/dev/null is not a regular file: name an MMDB file"
    );

    assert_eq!(refused(b""), "the place database FILE is empty: fetch it again");
    assert_eq!(
        refused(b"\x1f\x8b\x08rest"),
        "FILE is compressed: unpack it and name the .mmdb file"
    );
    let damaged = "FILE is cut short, damaged or not an MMDB file: fetch it again";
    assert_eq!(refused(b"hello"), damaged);
    let whole = countries("Test-Country", NEW_YEAR);
    for length in [1, whole.len() / 2, whole.len() - 1] {
        assert_eq!(refused(&whole[..length]), damaged, "cut to {length} bytes");
    }
    assert_eq!(
        refused(&whole[whole.len() / 2..]),
        damaged,
        "the beginning is missing"
    );
    assert_eq!(
        refused(&countries("GeoIP2-Domain", NEW_YEAR)),
        "FILE is of type \"GeoIP2-Domain\", which has neither countries nor networks: use a Country, City, \
         Enterprise, ASN or ISP file (GeoLite2-Country.mmdb, GeoLite2-ASN.mmdb, dbip-city-lite.mmdb)"
    );
    let flat = Value::map([("country", Value::from("US"))]);
    assert_eq!(
        refused(&mmdb("other country.mmdb", NEW_YEAR, &[("8.0.0.0/8", flat)])),
        "FILE is of type \"other country.mmdb\", whose records are not in the form of GeoIP2: use a file of \
         MaxMind, DB-IP or one made by tcpwatch geo import"
    );
}

#[test]
fn a_file_that_the_system_refuses_is_an_error_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = write(directory.path(), "x.mmdb", b"x").join("below");
    let error = Places::open_given(std::slice::from_ref(&path)).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot read the place database {}: check its permissions",
            path.display()
        )
    );
}

#[test]
fn the_newest_of_the_operators_files_is_used_then_the_one_with_cities() {
    let directory = tempfile::tempdir().unwrap();
    let shelves = Shelves {
        directories: vec![directory.path().into()],
        files: vec![],
    };
    let used = || {
        let (places, warnings) = Places::discover_in(&shelves);
        assert_eq!(warnings, Vec::<String>::new());
        let files = places.files();
        assert_eq!(files.len(), 1);
        files[0].file.rsplit('/').next().unwrap().to_owned()
    };
    write(
        directory.path(),
        "GeoLite2-Country.mmdb",
        &countries("GeoLite2-Country", NEW_YEAR),
    );
    assert_eq!(used(), "GeoLite2-Country.mmdb");
    write(
        directory.path(),
        "dbip-country-lite-2025-12.mmdb",
        &countries("DBIP-Country-Lite", NEW_YEAR - 31 * DAY),
    );
    assert_eq!(used(), "GeoLite2-Country.mmdb");
    write(
        directory.path(),
        "GeoLite2-City.mmdb",
        &countries("GeoLite2-City", NEW_YEAR + 60),
    );
    assert_eq!(used(), "GeoLite2-City.mmdb");
    write(
        directory.path(),
        "dbip-country-lite-2026-01.mmdb",
        &countries("DBIP-Country-Lite", NEW_YEAR + DAY),
    );
    assert_eq!(used(), "dbip-country-lite-2026-01.mmdb");
}

#[test]
fn the_imported_file_is_used_when_the_operator_has_none_that_works() {
    let directory = tempfile::tempdir().unwrap();
    let operators = directory.path().join("GeoIP");
    fs::create_dir(&operators).unwrap();
    let broken = write(&operators, "GeoLite2-Country.mmdb", b"not a database");
    let made = write(
        directory.path(),
        "places.mmdb",
        &countries("tcpwatch-Country-ASN", NEW_YEAR),
    );
    let shelves = Shelves {
        directories: vec![directory.path().join("no such directory"), operators],
        files: vec![directory.path().join("absent.mmdb"), made.clone()],
    };
    let (places, warnings) = Places::discover_in(&shelves);
    assert_eq!(&*places.files()[0].file, made.to_str().unwrap());
    assert_eq!(warnings.len(), 1);
    let expected = format!("place database skipped: {} is cut short", broken.display());
    assert!(
        warnings[0].starts_with(&expected) && !warnings[0].contains('\n'),
        "{}",
        warnings[0]
    );
}

#[test]
fn without_any_file_there_is_a_warning_that_says_how_to_get_one() {
    let (mut places, warnings) = Places::discover_in(&Shelves::default());
    assert_eq!(places.files(), []);
    assert_eq!(place(&mut places, "8.8.8.8"), Place::default());
    assert_eq!(warnings.len(), 1);
    for cure in [
        "tcpwatch geo update",
        "tcpwatch geo import",
        "/var/lib/GeoIP",
        "--geo FILE",
    ] {
        assert!(warnings[0].contains(cure), "{}", warnings[0]);
    }
}

#[test]
fn damaged_records_are_unknown_places_and_counted() {
    // No address that is looked up at opening is in this network.
    let france = Value::map([named("country", Some("FR"), "France")]);
    let whole = mmdb("Test-Country", NEW_YEAR, &[("90.0.0.0/8", france)]);
    let mut bytes = whole.clone();
    let at = bytes.windows(6).position(|text| text == b"France").unwrap();
    bytes[at] = 0xff;
    let mut places = open(&bytes);
    assert_eq!(place(&mut places, "90.0.0.1"), Place::default());
    assert_eq!(place(&mut places, "90.0.0.1"), Place::default());
    assert_eq!(places.errors(), 2);
    assert_eq!(
        country(&mut open(&whole), "90.0.0.1").as_deref(),
        Some("FR"),
        "the control"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_damage_makes_it_panic(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
                                addresses in proptest::collection::vec(any::<std::net::IpAddr>(), 1..20)) {
        let directory = tempfile::tempdir().unwrap();
        let mut bytes = countries("Test-Country", NEW_YEAR);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let path = write(directory.path(), "x.mmdb", &bytes);
        if let Ok(mut places) = Places::open_given(&[path]) {
            for address in addresses {
                places.lookup(address);
            }
            places.lookup("8.8.8.8".parse().unwrap());
            places.lookup("2a00::1".parse().unwrap());
        }
    }
}
