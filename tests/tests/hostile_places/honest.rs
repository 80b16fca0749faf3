//! Honest files of every kind that is read, small: what is cut, and what the fuzzing starts from.

use std::time::{Duration, UNIX_EPOCH};

use ipnet::IpNet;
use mmdb_writer::{IpVersion, RecordSize, Value, Writer};
use tcpwatch_tests::places::BUILT_EPOCH_S;

use crate::reader::{NEIGHBOUR, VICTIM};

/// The files, with their types.
pub fn files() -> Vec<(&'static str, Vec<u8>)> {
    let v6 = IpVersion::V6;
    vec![
        written("GeoLite2-Country", v6, RecordSize::Bits24, country),
        written("GeoLite2-City", v6, RecordSize::Bits28, city),
        written("GeoLite2-ASN", v6, RecordSize::Bits24, flat_network),
        written("GeoIP2-Enterprise", v6, RecordSize::Bits32, enterprise),
        written("DBIP-Country-Lite", IpVersion::V4, RecordSize::Bits24, country),
        written("DBIP-City-Lite", v6, RecordSize::Bits32, city),
        written(
            "DBIP-ASN-Lite (compat=GeoLite2-ASN)",
            v6,
            RecordSize::Bits28,
            flat_network,
        ),
        written("tcpwatch-Country-ASN", v6, RecordSize::Bits28, ours),
    ]
}

/// What a place is called in the languages of GeoLite2.
fn names(name: &str) -> (String, Value) {
    let languages = ["de", "en", "es", "fr", "ja", "pt-BR", "ru", "zh-CN"];
    let names = languages.map(|language| (language, Value::from(format!("{name} ({language})"))));
    ("names".to_owned(), Value::map(names))
}

fn text(key: &str, text: &str) -> (String, Value) {
    (key.to_owned(), Value::from(text))
}

fn number(key: &str, number: u32) -> (String, Value) {
    (key.to_owned(), Value::from(number))
}

fn nation(key: &str, code: &str, name: &str) -> (String, Value) {
    let nation = Value::map([
        number("geoname_id", 2_750_405),
        text("iso_code", code),
        names(name),
    ]);
    (key.to_owned(), nation)
}

fn countries(code: &str, name: &str) -> Vec<(String, Value)> {
    vec![
        (
            "continent".to_owned(),
            Value::map([
                text("code", "EU"),
                number("geoname_id", 6_255_148),
                names("Europe"),
            ]),
        ),
        nation("country", code, name),
        nation("registered_country", code, name),
    ]
}

fn country(code: &str, name: &str) -> Value {
    Value::map(countries(code, name))
}

fn cities(code: &str, name: &str) -> Vec<(String, Value)> {
    let mut entries = countries(code, name);
    entries.push((
        "city".to_owned(),
        Value::map([
            number("geoname_id", 2_757_345),
            names(&format!("Capital of {name}")),
        ]),
    ));
    entries.push((
        "location".to_owned(),
        Value::map([
            ("accuracy_radius", Value::from(20_u16)),
            ("latitude", Value::from(52.0_f64)),
            ("longitude", Value::from(4.36_f64)),
            ("time_zone", Value::from("Europe/Amsterdam")),
        ]),
    ));
    entries.push(("postal".to_owned(), Value::map([text("code", "2611")])));
    let province = || Value::map([text("iso_code", "ZH"), names("Province")]);
    entries.push(("subdivisions".to_owned(), Value::array([province(), province()])));
    entries
}

fn city(code: &str, name: &str) -> Value {
    Value::map(cities(code, name))
}

fn network() -> Vec<(String, Value)> {
    vec![
        number("autonomous_system_number", 64_500),
        text("autonomous_system_organization", "Example Network B.V."),
    ]
}

fn flat_network(_code: &str, _name: &str) -> Value {
    Value::map(network())
}

fn enterprise(code: &str, name: &str) -> Value {
    let mut entries = cities(code, name);
    let mut traits = network();
    traits.extend(
        ["is_anycast", "is_legitimate_proxy", "is_satellite_provider"]
            .map(|key| (key.to_owned(), Value::from(true))),
    );
    traits.extend(
        ["isp", "organization", "domain", "connection_type", "user_type"].map(|key| text(key, "example.com")),
    );
    entries.push(("traits".to_owned(), Value::map(traits)));
    Value::map(entries)
}

/// The form of our own database.
fn ours(code: &str, name: &str) -> Value {
    let names = Value::map([text("en", name)]);
    let mut entries = network();
    entries.push((
        "country".to_owned(),
        Value::map([text("iso_code", code), ("names".to_owned(), names)]),
    ));
    entries.push((
        "traits".to_owned(),
        Value::map([("is_anycast".to_owned(), Value::from(true))]),
    ));
    Value::map(entries)
}

fn written(
    kind: &'static str,
    version: IpVersion,
    size: RecordSize,
    record: fn(&str, &str) -> Value,
) -> (&'static str, Vec<u8>) {
    let mut writer = Writer::builder(kind)
        .ip_version(version)
        .record_size(size)
        .description(&[("en", "made for a test")])
        .build_epoch(UNIX_EPOCH + Duration::from_secs(BUILT_EPOCH_S))
        .build();
    let mut put = |network: String, value: Value| {
        let network: IpNet = network.parse().unwrap();
        writer.insert_value(network, value).unwrap();
    };
    put(format!("{VICTIM}/8"), record("NL", "Netherlands"));
    put(format!("{NEIGHBOUR}/8"), record("DE", "Germany"));
    put("8.8.8.0/24".to_owned(), record("US", "United States"));
    if version == IpVersion::V6 {
        put("2a00::/16".to_owned(), record("FR", "France"));
        put("2001:db8::/32".to_owned(), record("AQ", "Antarctica"));
    }
    (kind, writer.to_bytes().unwrap())
}
