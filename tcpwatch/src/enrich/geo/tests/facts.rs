//! What is taken of each kind of file: networks, anycast, names in other languages, and several kinds together.

use super::*;

fn network(number: u32, name: &str) -> Vec<(String, Value)> {
    vec![
        ("autonomous_system_number".to_owned(), Value::U32(number)),
        ("autonomous_system_organization".to_owned(), Value::from(name)),
    ]
}

fn traits(entries: Vec<(String, Value)>) -> (String, Value) {
    ("traits".to_owned(), Value::map(entries))
}

fn anycast(is: bool) -> (String, Value) {
    ("is_anycast".to_owned(), Value::from(is))
}

fn networks(kind: &str, built: u64) -> Vec<u8> {
    mmdb(
        kind,
        built,
        &[
            ("8.8.8.0/24", Value::map(network(15169, "GOOGLE"))),
            ("2a00:1450::/32", Value::map(network(15169, "GOOGLE"))),
            ("9.0.0.0/8", Value::map(network(0, "Not announced"))),
        ],
    )
}

fn text(text: Option<&Arc<str>>) -> &str {
    text.map_or("-", |text| text)
}

#[test]
fn networks_come_from_asn_files_of_both_makers() {
    for kind in [
        "GeoLite2-ASN",
        "DBIP-ASN-Lite (compat=GeoLite2-ASN)",
        "GeoIP2-ISP",
    ] {
        let mut places = open(&networks(kind, NEW_YEAR));
        let found = place(&mut places, "8.8.8.8");
        assert_eq!(
            (found.asn, text(found.network.as_ref())),
            (Some(15169), "GOOGLE"),
            "{kind}"
        );
        assert_eq!(found.country, None);
        assert_eq!(place(&mut places, "2a00:1450::1").asn, Some(15169));
        assert_eq!(
            place(&mut places, "9.9.9.9"),
            Place::default(),
            "AS 0 is no network"
        );
        assert_eq!(place(&mut places, "1.1.1.1"), Place::default());
        assert_eq!(places.errors(), 0);
    }
}

#[test]
fn an_enterprise_file_has_the_network_among_its_traits() {
    let mut entries = network(13335, "CLOUDFLARENET");
    entries.push(anycast(true));
    let value = Value::map([named("country", Some("US"), "United States"), traits(entries)]);
    let mut places = open(&mmdb("GeoIP2-Enterprise", NEW_YEAR, &[("1.1.1.0/24", value)]));
    let found = place(&mut places, "1.1.1.1");
    assert_eq!(
        (found.asn, text(found.network.as_ref())),
        (Some(13335), "CLOUDFLARENET")
    );
    assert_eq!((text(found.country.as_ref()), found.anycast), ("US", Some(true)));
}

#[test]
fn only_our_own_file_says_that_an_address_is_not_anycast() {
    let entries = |kind: &str| {
        let plain = Value::map([named("country", Some("US"), "United States")]);
        let marked = Value::map([
            named("country", Some("US"), "United States"),
            traits(vec![anycast(true)]),
        ]);
        mmdb(kind, NEW_YEAR, &[("8.0.0.0/8", plain), ("1.1.1.0/24", marked)])
    };
    for (kind, unmarked) in [("GeoLite2-Country", None), (database::OUR_TYPE, Some(false))] {
        let mut places = open(&entries(kind));
        assert_eq!(place(&mut places, "1.1.1.1").anycast, Some(true), "{kind}");
        assert_eq!(place(&mut places, "8.8.8.8").anycast, unmarked, "{kind}");
        assert_eq!(
            place(&mut places, "9.9.9.9").anycast,
            None,
            "{kind} does not know it"
        );
    }
}

#[test]
fn names_come_in_the_language_asked_for_where_the_file_has_it() {
    let names = Value::map([
        ("en", Value::from("Germany")),
        ("zh-CN", Value::from("\u{5fb7}\u{56fd}")),
        ("pt-BR", Value::from("Alemanha")),
    ]);
    let cities = Value::map([
        ("en", Value::from("Berlin")),
        ("zh-CN", Value::from("\u{67cf}\u{6797}")),
    ]);
    let country = Value::map([("iso_code", Value::from("DE")), ("names", names)]);
    let value = Value::map([("country", country), ("city", Value::map([("names", cities)]))]);
    let bytes = mmdb("Test-City", NEW_YEAR, &[("80.0.0.0/8", value)]);
    for (tag, country, city) in [
        ("en", "Germany", "Berlin"),
        ("zh-CN", "\u{5fb7}\u{56fd}", "\u{67cf}\u{6797}"),
        ("zh", "\u{5fb7}\u{56fd}", "\u{67cf}\u{6797}"),
        ("pt", "Alemanha", "Berlin"),
        ("fi", "Germany", "Berlin"),
    ] {
        let mut places = open(&bytes).in_language(tag.parse().unwrap());
        let found = place(&mut places, "80.1.2.3");
        assert_eq!(
            (text(found.country_name.as_ref()), text(found.city.as_ref())),
            (country, city),
            "{tag}"
        );
    }
}

#[test]
fn another_language_forgets_the_names_of_the_one_before() {
    let mut places = open(&countries("Test-Country", NEW_YEAR));
    assert_eq!(
        text(place(&mut places, "80.0.0.1").country_name.as_ref()),
        "Germany"
    );
    let mut places = places.in_language("de".parse().unwrap());
    assert_eq!(
        text(place(&mut places, "80.0.0.1").country_name.as_ref()),
        "Anders"
    );
}

#[test]
fn the_newest_file_of_each_kind_is_used_and_ours_fills_the_gaps() {
    let directory = tempfile::tempdir().unwrap();
    let ours = {
        let mut entries = network(15169, "GOOGLE of ours");
        entries.push(named("country", Some("CA"), "Canada"));
        let second = Value::map(network(64500, "EXAMPLE"));
        let bytes = mmdb(
            database::OUR_TYPE,
            NEW_YEAR - 900 * DAY,
            &[("8.0.0.0/8", Value::map(entries)), ("80.0.0.0/8", second)],
        );
        write(directory.path(), OURS, &bytes)
    };
    let shelves = Shelves {
        directories: vec![directory.path().into()],
        files: vec![ours],
    };
    write(
        directory.path(),
        "GeoLite2-Country.mmdb",
        &countries("GeoLite2-Country", NEW_YEAR),
    );
    write(
        directory.path(),
        "GeoLite2-ASN.mmdb",
        &networks("GeoLite2-ASN", NEW_YEAR),
    );
    write(
        directory.path(),
        "dbip-asn-lite-2025-12.mmdb",
        &networks("DBIP-ASN-Lite", NEW_YEAR - DAY),
    );
    let (mut places, warnings) = Places::discover_in(&shelves);
    assert_eq!(warnings, Vec::<String>::new());
    let names: Vec<String> = places
        .files()
        .iter()
        .map(|file| file.file.rsplit('/').next().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["GeoLite2-Country.mmdb", "GeoLite2-ASN.mmdb", OURS]);

    let found = place(&mut places, "8.8.8.8");
    assert_eq!(
        (text(found.country.as_ref()), text(found.network.as_ref())),
        ("US", "GOOGLE")
    );
    assert_eq!(found.anycast, Some(false));
    let found = place(&mut places, "8.9.9.9");
    assert_eq!((text(found.country.as_ref()), found.asn), ("US", Some(15169)));
    let found = place(&mut places, "80.1.1.1");
    assert_eq!(
        (text(found.country.as_ref()), text(found.network.as_ref())),
        ("DE", "EXAMPLE")
    );
}

#[test]
fn a_file_describes_itself() {
    let mut writer = Writer::builder("Test-Country")
        .build_epoch(UNIX_EPOCH + Duration::from_secs(NEW_YEAR))
        .description(&[("en", "All rights\u{1b}[2J reserved")])
        .languages(["en", "zh-CN"])
        .build();
    let us = Value::map([named("country", Some("US"), "United States")]);
    writer
        .insert_value("8.0.0.0/8".parse::<ipnet::IpNet>().unwrap(), us)
        .unwrap();
    let bytes = writer.to_bytes().unwrap();
    let places = open(&bytes);
    let [description] = &places.descriptions()[..] else {
        panic!("one file")
    };
    assert_eq!(description.bytes, bytes.len() as u64);
    assert_eq!(description.languages, ["en", "zh-CN"]);
    assert_eq!(description.text.as_deref(), Some("All rights[2J reserved"));
    assert_eq!(description.ip_version, 6);
    assert_eq!(description.networks, 1);
}
