//! Databases like DB-IP Lite's, small: a few thousand networks, and whatever the well-known addresses are in.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flate2::Compression;
use flate2::write::GzEncoder;
use ipnet::IpNet;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use mmdb_writer::{IpVersion, Value, Writer};

/// DB-IP's names for the three kinds.
pub const COUNTRY: &str = "DBIP-Country-Lite";
/// See [`COUNTRY`].
pub const CITY: &str = "DBIP-City-Lite";
/// See [`COUNTRY`].
pub const ASN: &str = "DBIP-ASN-Lite (compat=GeoLite2-ASN)";

/// As many networks as a good database has at least.
pub const NETWORKS: u16 = 4000;

/// The first day of this month, UTC.
pub fn this_month() -> Date {
    Timestamp::now()
        .to_zoned_datetime(TimeZone::UTC)
        .date()
        .first_of_month()
}

/// The first day of the month before.
pub fn last_month() -> Date {
    this_month().saturating_sub(1.month())
}

/// What the server calls the file of a month: `country`, `city` or `asn`.
pub fn path(subject: &str, month: Date) -> String {
    format!("/dbip-{subject}-lite-{}.mmdb.gz", month.strftime("%Y-%m"))
}

/// What well-known addresses are in.
const WELL_KNOWN: [&str; 16] = [
    "8.8.0.0/16",
    "1.1.0.0/16",
    "198.41.0.0/16",
    "18.9.0.0/16",
    "193.0.0.0/16",
    "129.132.0.0/16",
    "202.12.0.0/16",
    "133.11.0.0/16",
    "200.160.0.0/16",
    "196.216.0.0/16",
    "2001:4860::/32",
    "2606:4700::/32",
    "2001:503::/32",
    "2001:67c::/32",
    "2001:dc3::/32",
    "2001:12ff::/32",
];

/// A database of type `kind`, built on that day, with so many networks of both families in turn besides the well-known.
///
/// # Panics
///
/// When the writer refuses.
pub fn database(kind: &str, built: Date, networks: u16) -> Vec<u8> {
    // Tests ask for the same few again and again.
    static MADE: Mutex<BTreeMap<(String, Date, u16), Vec<u8>>> = Mutex::new(BTreeMap::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (kind.to_owned(), built, networks);
    made.entry(key)
        .or_insert_with(|| make(kind, built, networks))
        .clone()
}

fn make(kind: &str, built: Date, networks: u16) -> Vec<u8> {
    let mut writer = Writer::builder(kind).build_epoch(midnight(built)).build();
    for network in WELL_KNOWN {
        insert(&mut writer, network, record(kind, 0));
    }
    fill(&mut writer, kind, networks);
    writer.to_bytes().expect("it is small")
}

/// The same without the well-known addresses.
///
/// # Panics
///
/// When the writer refuses.
pub fn ignorant(kind: &str, built: Date) -> Vec<u8> {
    let mut writer = Writer::builder(kind).build_epoch(midnight(built)).build();
    fill(&mut writer, kind, NETWORKS);
    writer.to_bytes().expect("it is small")
}

/// The same for IPv4 only.
///
/// # Panics
///
/// When the writer refuses.
pub fn one_family(kind: &str, built: Date) -> Vec<u8> {
    let mut writer = Writer::builder(kind)
        .build_epoch(midnight(built))
        .ip_version(IpVersion::V4)
        .build();
    for n in 0..NETWORKS {
        insert(&mut writer, &ipv4(n), record(kind, different(n)));
    }
    writer.to_bytes().expect("it is small")
}

fn fill(writer: &mut Writer, kind: &str, networks: u16) {
    for n in 0..networks {
        let network = match n % 2 {
            0 => ipv4(n),
            _ => format!("2a0a:{n:x}::/32"),
        };
        insert(writer, &network, record(kind, different(n)));
    }
}

fn ipv4(n: u16) -> String {
    format!("80.{}.{}.0/24", n >> 8, n & 0xff)
}

/// Neighbours differ, so that the writer does not join them.
fn different(n: u16) -> u32 {
    1 + u32::from(n % 7)
}

fn midnight(day: Date) -> SystemTime {
    let midnight = day.to_zoned_datetime(TimeZone::UTC).expect("a day of our time");
    let seconds = u64::try_from(midnight.timestamp().as_second()).expect("after 1970");
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Packed as it is published.
///
/// # Panics
///
/// Never: it is written to memory.
pub fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

fn insert(writer: &mut Writer, network: &str, value: Value) {
    let network: IpNet = network.parse().expect("a literal prefix");
    writer.insert_value(network, value).expect("the writer takes it");
}

fn record(kind: &str, n: u32) -> Value {
    if kind.contains("ASN") {
        return Value::map([
            ("autonomous_system_number", Value::from(64_500 + n)),
            (
                "autonomous_system_organization",
                Value::from(format!("NETWORK {n}").as_str()),
            ),
        ]);
    }
    let code = format!("A{}", char::from(b'A' + u8::try_from(n).expect("a small number")));
    Value::map([(
        "country",
        Value::map([
            ("iso_code", Value::from(code.as_str())),
            (
                "names",
                Value::map([("en", Value::from(format!("Country {n}").as_str()))]),
            ),
        ]),
    )])
}
