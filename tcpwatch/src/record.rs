//! The record: what one interval yields, in the form in which it leaves the program (schema 1).
//!
//! Pure data. It knows neither the kernel nor where it is written to.

mod names;
mod read;
#[cfg(test)]
pub(crate) mod sample;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};
use tcpwatch_common::{Counts, Outcome, Totals};

pub use names::{Evidence, Name, Names};

/// The version of the record's form that this program writes.
pub const SCHEMA: u32 = 1;

/// One interval: where the outgoing traffic went, and the proof that nothing is missing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Version of this form: [`SCHEMA`].
    pub schema: u32,
    /// The host's name.
    pub host: Arc<str>,
    /// The kernel's random identifier of this boot.
    pub boot_id: Arc<str>,
    /// A random identifier of this run of the program.
    pub run: Arc<str>,
    /// Number of the record within the run, from 1, without gaps.
    pub seq: u64,
    /// When counting for this record began; the end of the record before it.
    #[serde(serialize_with = "milliseconds")]
    pub start: Timestamp,
    /// When counting for it ended: the moment the kernel tables were switched.
    #[serde(serialize_with = "milliseconds")]
    pub end: Timestamp,
    /// Length by the monotonic clock, which a change of the wall clock does not touch.
    #[serde(serialize_with = "three_decimals")]
    pub seconds: f64,
    /// The interval was cut short by the end of the program.
    pub partial: bool,
    /// The interfaces that were watched when the interval ended.
    pub interfaces: Vec<WatchedInterface>,
    /// Every packet, by what became of it.
    pub totals: RecordTotals,
    /// Socket buffers seen; one may be many packets (segmentation offload).
    pub skbs: u64,
    /// Whether every identity of the accounting held at every drain of the interval.
    pub balanced: bool,
    /// How often the kernel tables were emptied for this record.
    pub drains: u32,
    /// The place databases in use.
    pub geo: Vec<GeoFile>,
    /// Most packets first, then by address, source and interface.
    pub destinations: Vec<Destination>,
    /// What was left out, by the operator's prefixes that had any; most packets first.
    pub banned: Vec<BannedPrefix>,
}

/// An interface as it was watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchedInterface {
    /// Its name.
    pub name: Arc<str>,
    /// How the program is attached: `tcx` or `clsact`.
    pub attach: Cow<'static, str>,
    /// The device's own counter of packets sent, a moment after the interval ended; none: it cannot be read.
    #[serde(default)]
    pub tx_packets: Option<u64>,
    /// The same of bytes.
    #[serde(default)]
    pub tx_bytes: Option<u64>,
}

impl WatchedInterface {
    /// An interface whose counters are not known.
    pub fn new(name: impl Into<Arc<str>>, attach: &'static str) -> Self {
        Self {
            name: name.into(),
            attach: attach.into(),
            tx_packets: None,
            tx_bytes: None,
        }
    }
}

/// Packets and bytes of every outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordTotals {
    /// Everything that left through the interfaces; the sum of all others.
    #[serde(with = "counts")]
    pub seen: Counts,
    /// Counted under a destination; the sum over `destinations`.
    #[serde(with = "counts")]
    pub counted: Counts,
    /// Would have been counted, but the kernel table was full.
    #[serde(with = "counts")]
    pub overflow: Counts,
    /// Went to the operator's prefixes; the sum over `banned`.
    #[serde(with = "counts")]
    pub banned: Counts,
    /// Answers to clients.
    #[serde(with = "counts")]
    pub served: Counts,
    /// Not from an own address.
    #[serde(with = "counts")]
    pub other_source: Counts,
    /// IP by name, but unreadable.
    #[serde(with = "counts")]
    pub malformed: Counts,
    /// Neither IPv4 nor IPv6.
    #[serde(with = "counts")]
    pub not_ip: Counts,
}

impl RecordTotals {
    /// Everything seen, and then what became of it, under the names that the record has for them and in its order.
    #[must_use]
    pub const fn named(&self) -> [(&'static str, Counts); 8] {
        [
            ("seen", self.seen),
            ("counted", self.counted),
            ("overflow", self.overflow),
            ("banned", self.banned),
            ("served", self.served),
            ("other_source", self.other_source),
            ("malformed", self.malformed),
            ("not_ip", self.not_ip),
        ]
    }

    /// What became of everything that was seen: the parts of `seen`.
    pub fn outcomes(&self) -> impl Iterator<Item = Counts> + use<> {
        self.named().into_iter().skip(1).map(|(_, counts)| counts)
    }
}

impl From<&Totals> for RecordTotals {
    fn from(totals: &Totals) -> Self {
        let of = |outcome: Outcome| totals.outcomes[outcome as usize];
        Self {
            seen: totals.seen,
            counted: of(Outcome::Counted),
            overflow: of(Outcome::Overflow),
            banned: of(Outcome::Banned),
            served: of(Outcome::Served),
            other_source: of(Outcome::OtherSource),
            malformed: of(Outcome::Malformed),
            not_ip: of(Outcome::NotIp),
        }
    }
}

/// A place database in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GeoFile {
    /// Its path.
    pub file: Arc<str>,
    /// `database_type` of its metadata.
    #[serde(rename = "type")]
    pub kind: Arc<str>,
    /// The day it was built.
    pub built: jiff::civil::Date,
}

/// What was sent to one address from one own source.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "read::Destination")]
pub struct Destination {
    /// Where to.
    pub address: IpAddr,
    /// From which own address; none when `--source any` let through a packet from another's.
    pub source: Option<IpAddr>,
    /// Through which interface.
    pub interface: Arc<str>,
    /// Packets on the wire.
    pub packets: u64,
    /// Bytes of their frames.
    pub bytes: u64,
    /// TCP connections that were begun: segments with SYN and without ACK; none: a version that did not count them.
    pub tcp_connections: Option<u64>,
    /// QUIC connections that were begun: a client's Initials, each connection once; none: a version that did not count them.
    pub quic_connections: Option<u64>,
    /// What kind of address it is, whatever a database says.
    pub scope: Scope,
    /// Where it is, as far as the databases know.
    #[serde(flatten)]
    pub place: Arc<Place>,
    /// What it was called; none: unknown.
    #[serde(flatten, serialize_with = "names::serialize")]
    pub names: Option<Arc<Names>>,
}

impl Destination {
    /// Connections that were begun; none: not counted.
    pub fn connections(&self) -> Option<u64> {
        add_known(self.tcp_connections, self.quic_connections)
    }
}

/// The sum of what is known; none: neither is.
pub fn add_known(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        (one, None) | (None, one) => one,
    }
}

/// Where an address is and whose network it belongs to. What no database knows is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Place {
    /// ISO 3166-1 alpha-2 code.
    pub country: Option<Arc<str>>,
    /// The country's name.
    pub country_name: Option<Arc<str>>,
    /// The city's name.
    pub city: Option<Arc<str>>,
    /// Number of the autonomous system.
    pub asn: Option<u32>,
    /// Name of the autonomous system.
    pub network: Option<Arc<str>>,
    /// Whether the address is served from many places at once.
    pub anycast: Option<bool>,
}

/// What kind of address a destination is, after the IANA special-purpose registries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// An ordinary public address.
    Global,
    /// RFC 1918, RFC 4193.
    Private,
    /// 100.64.0.0/10 (RFC 6598).
    Shared,
    /// 127.0.0.0/8, ::1.
    Loopback,
    /// 169.254.0.0/16, fe80::/10.
    LinkLocal,
    /// 224.0.0.0/4, ff00::/8.
    Multicast,
    /// 255.255.255.255.
    Broadcast,
    /// RFC 5737, RFC 3849, RFC 9637.
    Documentation,
    /// 198.18.0.0/15, 2001:2::/48.
    Benchmarking,
    /// 0.0.0.0, ::.
    Unspecified,
    /// Any other block that is not globally reachable.
    Reserved,
}

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.word())
    }
}

impl Scope {
    /// All of them.
    const ALL: [Self; 11] = [
        Self::Global,
        Self::Private,
        Self::Shared,
        Self::Loopback,
        Self::LinkLocal,
        Self::Multicast,
        Self::Broadcast,
        Self::Documentation,
        Self::Benchmarking,
        Self::Unspecified,
        Self::Reserved,
    ];

    /// The scope that a word stands for; none: no such word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.word() == word)
    }

    /// The word that stands for it in every format.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Private => "private",
            Self::Shared => "shared",
            Self::Loopback => "loopback",
            Self::LinkLocal => "link_local",
            Self::Multicast => "multicast",
            Self::Broadcast => "broadcast",
            Self::Documentation => "documentation",
            Self::Benchmarking => "benchmarking",
            Self::Unspecified => "unspecified",
            Self::Reserved => "reserved",
        }
    }
}

/// What went to one of the operator's prefixes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BannedPrefix {
    /// The prefix.
    pub prefix: ipnet::IpNet,
    /// Packets on the wire.
    pub packets: u64,
    /// Bytes of their frames.
    pub bytes: u64,
}

mod counts {
    pub(super) use super::read::counts as deserialize;
    use super::{Counts, Serializer};
    use serde::ser::SerializeStruct as _;

    pub(super) fn serialize<S: Serializer>(counts: &Counts, to: S) -> Result<S::Ok, S::Error> {
        let mut form = to.serialize_struct("Counts", 2)?;
        form.serialize_field("packets", &counts.packets)?;
        form.serialize_field("bytes", &counts.bytes)?;
        form.end()
    }
}

fn milliseconds<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{time:.3}"))
}

fn three_decimals<S: Serializer>(seconds: &f64, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64((seconds * 1000.0).round() / 1000.0)
}
