//! The program's records, read strictly, and the identities that every one of them must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Sum;
use std::net::IpAddr;
use std::ops::{AddAssign, Mul};
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use tcpwatch::history::{Reader, Resolution};

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Packets on the wire.
    pub packets: u64,
    /// Bytes of their frames.
    pub bytes: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

impl Mul<u64> for Counts {
    type Output = Self;

    fn mul(self, times: u64) -> Self {
        Self {
            packets: self.packets * times,
            bytes: self.bytes * times,
        }
    }
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |mut sum, next| {
            sum += next;
            sum
        })
    }
}

/// A record of schema 1. A field that the schema does not have is an error, as is one that is missing.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Always 1.
    pub schema: u32,
    /// The host's name.
    pub host: String,
    /// The kernel's identifier of this boot.
    pub boot_id: String,
    /// Identifier of the run.
    pub run: String,
    /// Number of the record in its run, from 1.
    pub seq: u64,
    /// RFC 3339, UTC, milliseconds.
    pub start: String,
    /// RFC 3339, UTC, milliseconds.
    pub end: String,
    /// Length of the interval.
    pub seconds: f64,
    /// Cut short by the end of the program.
    pub partial: bool,
    /// What was watched.
    pub interfaces: Vec<Interface>,
    /// By what became of the packets.
    pub totals: Totals,
    /// Socket buffers seen.
    pub skbs: u64,
    /// Whether the program found its identities kept.
    pub balanced: bool,
    /// How often the kernel tables were emptied.
    pub drains: u32,
    /// The place databases.
    pub geo: Vec<Geo>,
    /// By destination.
    pub destinations: Vec<Destination>,
    /// By banned prefix.
    pub banned: Vec<Banned>,
}

/// A watched interface.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// `tcx` or `clsact`.
    pub attach: String,
    /// The device's own counter.
    pub tx_packets: Option<u64>,
    /// The device's own counter.
    pub tx_bytes: Option<u64>,
}

/// Packets and bytes by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the outcomes are described in tcpwatch-common")]
pub struct Totals {
    pub seen: Counts,
    pub counted: Counts,
    pub overflow: Counts,
    pub banned: Counts,
    pub served: Counts,
    pub other_source: Counts,
    pub malformed: Counts,
    pub not_ip: Counts,
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.seen += other.seen;
        self.counted += other.counted;
        self.overflow += other.overflow;
        self.banned += other.banned;
        self.served += other.served;
        self.other_source += other.other_source;
        self.malformed += other.malformed;
        self.not_ip += other.not_ip;
    }
}

impl Totals {
    /// The sum of all outcomes, which `seen` must equal.
    pub fn sum_of_outcomes(&self) -> Counts {
        [
            self.counted,
            self.overflow,
            self.banned,
            self.served,
            self.other_source,
            self.malformed,
            self.not_ip,
        ]
        .into_iter()
        .sum()
    }
}

/// A place database.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Geo {
    /// Its path.
    pub file: String,
    /// Its `database_type`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The day it was built.
    pub built: String,
}

/// What was sent to one address from one own source. Unknown is null, so those fields stay JSON values.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are described in tcpwatch::record")]
pub struct Destination {
    pub address: IpAddr,
    pub source: Option<IpAddr>,
    pub interface: String,
    pub packets: u64,
    pub bytes: u64,
    pub tcp_connections: Value,
    pub quic_connections: Value,
    pub scope: String,
    pub country: Value,
    pub country_name: Value,
    pub city: Value,
    pub asn: Value,
    pub network: Value,
    pub anycast: Value,
    pub names: Value,
    pub names_from: Value,
    pub name_connections: Value,
}

impl Destination {
    /// Its packets and bytes.
    pub fn counts(&self) -> Counts {
        Counts {
            packets: self.packets,
            bytes: self.bytes,
        }
    }
}

/// What went to a banned prefix.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Banned {
    /// The prefix as the operator wrote it.
    pub prefix: String,
    /// Packets on the wire.
    pub packets: u64,
    /// Bytes of their frames.
    pub bytes: u64,
}

/// Reads JSON lines.
///
/// # Panics
///
/// When a line is not a record of schema 1.
#[track_caller]
pub fn parse<L: AsRef<str>>(lines: impl IntoIterator<Item = L>) -> Vec<Record> {
    lines
        .into_iter()
        .map(|line| match serde_json::from_str(line.as_ref()) {
            Ok(record) => record,
            Err(error) => panic!("not a record: {error}\n{}", line.as_ref()),
        })
        .collect()
}

/// Checks every identity of the books of one run: of each record, and of each with the one before it.
///
/// # Panics
///
/// When one does not hold.
#[track_caller]
pub fn check_books(records: &[Record]) {
    for (index, record) in records.iter().enumerate() {
        check_record(record);
        assert_eq!(
            record.seq,
            index as u64 + 1,
            "records are numbered from 1 without gaps"
        );
        if let Some(before) = index.checked_sub(1).map(|index| &records[index]) {
            assert_eq!(record.run, before.run, "one run has one identifier");
            assert_eq!(
                record.start, before.end,
                "record {} begins where the one before it ends",
                record.seq
            );
            assert!(!before.partial, "only the last record of a run is partial");
        }
    }
}

#[track_caller]
fn check_record(record: &Record) {
    let seq = record.seq;
    let totals = &record.totals;
    assert_eq!(record.schema, 1);
    assert!(
        record.balanced,
        "record {seq} says that it does not balance: {totals:?}"
    );
    // To the millisecond. A run that is ended as soon as it is ready lasts less than one.
    assert!(
        record.start < record.end && record.seconds > 0.0
            || record.partial && record.start == record.end && record.seconds <= 0.001,
        "record {seq} lasts from {} to {}, {} seconds",
        record.start,
        record.end,
        record.seconds
    );
    assert!(record.drains >= 1);
    assert!(
        record.skbs <= totals.seen.packets,
        "a socket buffer is at least one packet"
    );
    assert_eq!(
        totals.seen,
        totals.sum_of_outcomes(),
        "record {seq}: seen is the sum of the outcomes"
    );
    assert_eq!(
        totals.counted,
        record.destinations.iter().map(Destination::counts).sum(),
        "record {seq}: counted is the sum of the destinations"
    );
    assert_eq!(
        totals.banned,
        record
            .banned
            .iter()
            .map(|of| Counts {
                packets: of.packets,
                bytes: of.bytes
            })
            .sum(),
        "record {seq}: banned is the sum of the banned prefixes"
    );
    let flows: BTreeSet<_> = record
        .destinations
        .iter()
        .map(|of| (of.address, of.source, &of.interface))
        .collect();
    assert_eq!(
        flows.len(),
        record.destinations.len(),
        "record {seq}: every destination is there once"
    );
    assert!(
        record
            .destinations
            .is_sorted_by_key(|of| (std::cmp::Reverse(of.packets), of.address)),
        "record {seq}: destinations are sorted by packets, then address"
    );
    assert!(
        record
            .destinations
            .iter()
            .all(|of| of.packets > 0 && of.bytes > 0)
    );
}

/// The totals of all records.
pub fn totals(records: &[Record]) -> Totals {
    let mut sum = Totals::default();
    for record in records {
        sum += record.totals;
    }
    sum
}

/// What all records say was sent, by destination and own source.
pub fn by_flow(records: &[Record]) -> BTreeMap<(IpAddr, Option<IpAddr>), Counts> {
    let mut sums = BTreeMap::<_, Counts>::new();
    for of in records.iter().flat_map(|record| &record.destinations) {
        *sums.entry((of.address, of.source)).or_default() += of.counts();
    }
    sums
}

/// What all records say was sent to `destination` from `source`.
///
/// # Panics
///
/// When one of the literals is not an address.
#[track_caller]
pub fn flow(records: &[Record], destination: &str, source: &str) -> Counts {
    let key = (
        destination.parse().expect("a literal address"),
        Some(source.parse().expect("a literal address")),
    );
    by_flow(records).get(&key).copied().unwrap_or_default()
}

/// What all records say was sent to `destination`, from whichever source.
///
/// # Panics
///
/// When the literal is not an address.
#[track_caller]
pub fn to(records: &[Record], destination: &str) -> Counts {
    let wanted: IpAddr = destination.parse().expect("a literal address");
    by_flow(records)
        .iter()
        .filter(|((address, _), _)| *address == wanted)
        .map(|(_, counts)| *counts)
        .sum()
}

/// What all records say went to banned prefixes.
pub fn by_ban(records: &[Record]) -> BTreeMap<String, Counts> {
    let mut sums = BTreeMap::<_, Counts>::new();
    for of in records.iter().flat_map(|record| &record.banned) {
        *sums.entry(of.prefix.clone()).or_default() += Counts {
            packets: of.packets,
            bytes: of.bytes,
        };
    }
    sums
}

/// Checks that the records have exactly what was sent, destination by destination, each from `source` alone.
///
/// # Panics
///
/// When a count differs; it lists the first few that do.
#[track_caller]
pub fn check_sent(records: &[Record], sent: &crate::traffic::Ledger, source: &str) {
    let source: IpAddr = source.parse().expect("a literal address");
    let flows = by_flow(records);
    let wrong: Vec<String> = sent
        .iter()
        .map(|(destination, sent)| {
            (
                destination,
                *sent,
                flows
                    .get(&(*destination, Some(source)))
                    .copied()
                    .unwrap_or_default(),
            )
        })
        .filter(|(_, sent, counted)| sent != counted)
        .map(|(destination, sent, counted)| format!("{destination}: sent {sent:?}, counted {counted:?}"))
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {} destinations differ, such as\n{}",
        wrong.len(),
        sent.len(),
        wrong[..wrong.len().min(10)].join("\n")
    );
}

/// What a history has of each destination and own source.
///
/// # Panics
///
/// When it cannot be read, or has sums without an address.
#[track_caller]
pub fn kept(path: &Path) -> BTreeMap<(IpAddr, Option<IpAddr>), Counts> {
    let reader = Reader::open(path).expect("it is a history");
    let plan = reader.plan(i64::MIN, i64::MAX, Resolution::Interval);
    let mut sums = BTreeMap::<_, Counts>::new();
    reader
        .flows(&plan, &mut |flow| {
            let key = (
                flow.address.expect("so few are kept one by one"),
                flow.origin.source,
            );
            *sums.entry(key).or_default() += Counts {
                packets: flow.counts.packets,
                bytes: flow.counts.bytes,
            };
        })
        .expect("it can be read");
    sums
}
