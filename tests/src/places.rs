//! Tiny place databases (MMDB).

use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};
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
