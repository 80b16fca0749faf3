//! Tiny place databases (MMDB).

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fs, iter};

use ipnet::IpNet;
use mmdb_writer::{Value, Writer};

/// The day on which they say that they were built.
pub const BUILT: &str = "2026-01-01";

/// The same in seconds since 1970.
pub const BUILT_EPOCH_S: u64 = 1_767_225_600;

/// A database of type `kind` that puts all documentation and benchmarking addresses, and some more, into one country.
///
/// # Panics
///
/// When the writer refuses.
pub fn mmdb(kind: &str) -> Vec<u8> {
    let country = Value::map([(
        "country",
        Value::map([
            ("iso_code", Value::from("NL")),
            (
                "names",
                Value::map(iter::once(("en", Value::from("Netherlands")))),
            ),
        ]),
    )]);
    let mut writer = Writer::builder(kind)
        .build_epoch(UNIX_EPOCH + Duration::from_secs(BUILT_EPOCH_S))
        .build();
    for network in [
        "192.0.2.0/24",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "198.18.0.0/15",
        "80.0.0.0/8",
    ] {
        let network: IpNet = network.parse().expect("a literal prefix");
        writer
            .insert_value(network, country.clone())
            .expect("the writer takes it");
    }
    writer.to_bytes().expect("it is small")
}

/// Writes a database of countries into `directory`.
///
/// # Panics
///
/// When that fails.
pub fn write_countries(directory: &Path) -> PathBuf {
    write(directory, "countries.mmdb", &mmdb("Tiny-Country"))
}

/// Writes bytes to a file in `directory`.
///
/// # Panics
///
/// When that fails.
pub fn write(directory: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, bytes).expect("the directory is ours");
    path
}

/// A database of countries, built on `date` (midnight, UTC), in which all of 80.0.0.0/13 is in one country and every network of
/// 256 addresses has a city of its own, named by [`city`]: so half of it is not the whole, and two are told apart anywhere.
///
/// # Panics
///
/// When the writer refuses.
pub fn cities(country: &str, date: &str) -> Vec<u8> {
    let mut writer = Writer::builder("Tiny-City").build_epoch(midnight(date)).build();
    for third in 0..8_u8 {
        for fourth in 0..=255_u8 {
            let address = Ipv4Addr::new(80, third, fourth, 0);
            let names = |name: &str| Value::map([("en", Value::from(name))]);
            let entry = Value::map([
                (
                    "country",
                    Value::map([("iso_code", Value::from(country)), ("names", names(country))]),
                ),
                ("city", Value::map([("names", names(&city(country, address)))])),
            ]);
            let network = IpNet::new(address.into(), 24).expect("a length of IPv4");
            writer.insert_value(network, entry).expect("the writer takes it");
        }
    }
    writer.to_bytes().expect("it is small")
}

/// The city of an address in [`cities`].
pub fn city(country: &str, address: Ipv4Addr) -> String {
    let [first, second, third, _] = address.octets();
    format!("{country} {first}.{second}.{third}")
}

fn midnight(date: &str) -> SystemTime {
    let midnight: jiff::Timestamp = format!("{date}T00:00:00Z").parse().expect("a literal date");
    let seconds = u64::try_from(midnight.as_second()).expect("a day of our time");
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Replaces `path` by another file at once, as every careful program does.
///
/// # Panics
///
/// When that fails.
pub fn replace(path: &Path, bytes: &[u8]) {
    let mut name = path.file_name().expect("a file has a name").to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    fs::write(&new, bytes).expect("the directory is ours");
    fs::rename(&new, path).expect("the directory is ours");
}
