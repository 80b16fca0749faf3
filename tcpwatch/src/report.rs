//! The report: what a history has of a period, summed up and put in order. Pure data; it knows neither SQLite nor a terminal.
//!
//! The rows of every section, with what is summed up behind them, come to `matched` exactly, and without a filter that is
//! `totals.counted` exactly. The encoders (text, CSV, JSON by serde, HTML) take a report and nothing else.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use tcpwatch_common::Counts;

use crate::domain::{shortened, together};
use crate::record::{GeoFile, RecordTotals, add_known};

mod ask;
mod axis;
mod bins;
pub mod command;
mod csv;
mod facts;
mod filter;
mod findings;
mod fold;
mod groups;
pub mod html;
mod period;
mod snippets;
#[cfg(test)]
mod tests;
mod text;

pub use ask::{Question, ask};
pub use csv::csv;
pub use filter::{Filter, FilterError};
pub use groups::{GroupOf, Groups, GroupsError};
pub use period::PeriodError;
pub use text::{Look, text};

/// The version of the report's form, as JSON shows it.
pub const SCHEMA: u32 = 1;

/// What rows of a section stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Dimension {
    /// Countries.
    Country,
    /// Networks: autonomous systems.
    Network,
    /// Cities, where a database had them.
    City,
    /// Kinds of addresses: global, private, multicast and so on.
    Scope,
    /// Destination addresses.
    Destination,
    /// Destinations by /24 (IPv4) and /48 (IPv6).
    Prefix,
    /// Own addresses that packets left from.
    Source,
    /// Interfaces that packets left through.
    Interface,
    /// Names of destinations, by the domains that somebody registered.
    Name,
    /// Hours, in the order of time.
    Hour,
    /// Days, in the order of time.
    Day,
}

/// What rows are sorted by, most first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// Packets.
    #[default]
    Packets,
    /// Bytes.
    Bytes,
    /// Connections opened, TCP and QUIC; where none were counted, packets.
    Connections,
}

/// Traffic. Connections are none where they were not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sum {
    /// Packets on the wire.
    pub packets: u64,
    /// Bytes of their frames.
    pub bytes: u64,
    /// TCP connections opened; none: not counted.
    pub tcp_connections: Option<u64>,
    /// QUIC connections opened; none: not counted.
    pub quic_connections: Option<u64>,
}

impl Sum {
    /// Adds `other`; what was counted in either is counted in the sum.
    pub fn add(&mut self, other: Self) {
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.tcp_connections = add_known(self.tcp_connections, other.tcp_connections);
        self.quic_connections = add_known(self.quic_connections, other.quic_connections);
    }

    /// TCP and QUIC together; none: neither was counted.
    pub fn connections(&self) -> Option<u64> {
        add_known(self.tcp_connections, self.quic_connections)
    }
}

/// Steps of equal length that the period is cut into, for series. A bucket of the history is in the step that its middle is in
/// (an interval: its end).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Bins {
    /// When the first one begins, in milliseconds since 1970, UTC; aligned to local time, so at or before the period's beginning.
    pub first_ms: i64,
    /// How long each is, in milliseconds.
    pub step_ms: i64,
    /// How many there are; at most 48.
    pub count: usize,
}

/// A row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    /// What it stands for, for programs: `US`, `AS15169`, `192.0.2.1`, `192.0.2.0/24`, `eth0`, `global`, a time; the scope where the
    /// database knew nothing.
    pub key: String,
    /// The same for people: `US United States`, `AS15169 GOOGLE`. Names come from outside; nothing in them has been escaped.
    pub label: String,
    /// In few words where it is, for destinations and prefixes: `US GOOGLE anycast`; else empty.
    pub place: String,
    /// The country, where the row has one.
    pub country: Option<Arc<str>>,
    /// The network's number, where the row has one.
    pub asn: Option<u32>,
    /// The address, for destinations and sources.
    pub address: Option<IpAddr>,
    /// For destinations, the last names known in the period, in order; else empty.
    pub names: Vec<Arc<str>>,
    /// Its traffic.
    pub sum: Sum,
    /// Distinct destination addresses in it that were kept one by one.
    pub destinations: u64,
    /// Packets in each step of the report's `bins`.
    pub series: Vec<u64>,
}

impl Group {
    /// The registrable domains of its names, for people.
    fn domains(&self) -> Option<String> {
        let domains = together(self.names.iter().map(|name| &**name))?;
        Some(shortened(&domains).into_owned())
    }
}

/// The rows that a section does not show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rest {
    /// How many there are.
    pub groups: u64,
    /// Their traffic.
    pub sum: Sum,
    /// Their packets in each step of the report's `bins`.
    pub series: Vec<u64>,
}

/// Traffic by one dimension. Groups and rest come to the report's `matched`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Section {
    /// What its rows stand for.
    pub by: Dimension,
    /// As the report sorts, most first; hours and days in the order of time. Destinations that were not kept one by one are the
    /// last row of their section, whatever their traffic.
    pub groups: Vec<Group>,
    /// What is left out; none: nothing.
    pub rest: Option<Rest>,
}

/// Whether it all adds up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// Sum of all rows of the history in the period, whether they match the filter or not.
    #[serde(serialize_with = "counts")]
    pub rows: Counts,
    /// What the intervals say was counted under a destination.
    #[serde(serialize_with = "counts")]
    pub counted: Counts,
    /// Sum of all outcomes.
    #[serde(serialize_with = "counts")]
    pub outcomes: Counts,
    /// What the intervals say was seen.
    #[serde(serialize_with = "counts")]
    pub seen: Counts,
    /// Intervals whose own books balanced.
    pub balanced: u64,
    /// Whether rows = counted, outcomes = seen, and every interval balanced.
    pub holds: bool,
}

/// A period: what ended after its beginning and not after its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Period {
    /// Its beginning.
    pub from: Timestamp,
    /// Its end.
    pub to: Timestamp,
}

/// What went to one of the operator's prefixes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Banned {
    /// The prefix.
    pub prefix: String,
    /// Packets on the wire.
    pub packets: u64,
    /// Bytes of their frames.
    pub bytes: u64,
}

/// What a history has of a period.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Version of this form: [`SCHEMA`].
    pub schema: u32,
    /// The hosts that wrote the history.
    pub hosts: Vec<String>,
    /// The local time zone, by its IANA name where it has one; days and hours of the day are its.
    pub zone: String,
    /// The period that is answered for.
    pub period: Period,
    /// The period that was asked for, when only hours or days are kept of its ends, so that it had to be widened.
    pub asked: Option<Period>,
    /// What the history has in all; none: nothing.
    pub extent: Option<Period>,
    /// Intervals recorded in the period.
    pub intervals: u64,
    /// How long they were, together.
    pub recorded_seconds: f64,
    /// Intervals whose books did not balance.
    pub unbalanced: u64,
    /// Socket buffers seen.
    pub skbs: u64,
    /// Every packet, by what became of it, whatever the filter.
    pub totals: RecordTotals,
    /// Whether it all adds up.
    pub proof: Proof,
    /// What was asked for with `--for`, in words; none: all traffic.
    pub filter: Option<String>,
    /// The traffic that matches the filter.
    pub matched: Sum,
    /// All traffic that was counted.
    pub all: Sum,
    /// Distinct destination addresses that match and were kept one by one.
    pub destinations: u64,
    /// What rows are sorted by.
    pub sort: Sort,
    /// The steps of all series.
    pub bins: Bins,
    /// What matches, in each step.
    pub series: Vec<Sum>,
    /// Traffic by each dimension that was asked for.
    pub sections: Vec<Section>,
    /// Packets that match by local weekday (Monday first) and hour of the day.
    pub heat: [[u64; 24]; 7],
    /// Packets that match, of which only the day is kept; `heat` and this come to `matched.packets`.
    pub heat_unplaced: u64,
    /// What went to the operator's prefixes, most packets first.
    pub banned: Vec<Banned>,
    /// The place databases of the last interval, or those of `--regeo`.
    pub geo: Vec<GeoFile>,
    /// The answer to `--for`.
    pub facts: Option<Facts>,
}

/// What is said of the target of `--for`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Facts {
    /// Packets a minute.
    pub packets: Rate,
    /// TCP connections a minute; none: not counted.
    pub tcp_connections: Option<Rate>,
    /// QUIC connections a minute; none: not counted.
    pub quic_connections: Option<Rate>,
    /// By own source, most packets first.
    pub sources: Vec<Part>,
    /// IPv4, IPv6; and unknown, where neither destination nor source was kept.
    pub families: Vec<Part>,
    /// Packets by local hour of the day.
    pub hours: [u64; 24],
    /// The period of the same length before this one; none: nothing was recorded then.
    pub previous: Option<Previous>,
    /// By name, most packets first; empty: no names were recorded.
    pub domains: Vec<Part>,
    /// By country, most packets first.
    pub countries: Vec<Part>,
    /// Served from many places at once; from one; unknown.
    pub anycast: Vec<Part>,
    /// What the numbers show, in words.
    pub findings: Vec<Finding>,
    /// Configuration that is offered, never applied.
    pub snippets: Vec<Snippet>,
    /// Traffic that does not match by what is kept of it, and may belong to the target all the same.
    pub undecided: Sum,
    /// What cannot be known from here.
    pub unknown: Vec<String>,
}

/// How often, on average and at most.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rate {
    /// A minute, over all that was recorded.
    pub mean: f64,
    /// A minute, in the busiest bucket.
    pub peak: f64,
    /// When the busiest bucket ended.
    pub peak_end: Timestamp,
    /// How long it was: an interval where they are kept, else an hour or a day.
    pub peak_seconds: f64,
}

/// A part of the target's traffic.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    /// Which.
    pub label: String,
    /// Its traffic.
    pub sum: Sum,
    /// Its share of the target's packets, from 0 to 1.
    pub share: f64,
    /// Distinct destination addresses in it.
    pub destinations: u64,
}

/// The target's traffic in the period before.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Previous {
    /// That period.
    pub period: Period,
    /// How much of it was recorded.
    pub recorded_seconds: f64,
    /// What matched.
    pub matched: Sum,
    /// Everything counted.
    pub all: Sum,
}

/// Something that the numbers show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which pattern, as one word.
    pub kind: &'static str,
    /// In words.
    pub text: String,
}

/// Configuration to copy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Snippet {
    /// For which program or file.
    pub title: &'static str,
    /// What it would do.
    pub purpose: String,
    /// The text to copy.
    pub text: String,
    /// Packets of the period that it would have moved.
    pub packets: u64,
    /// Their share of the target's packets, from 0 to 1.
    pub share: f64,
}

fn counts<S: Serializer>(counts: &Counts, to: S) -> Result<S::Ok, S::Error> {
    use serde::ser::SerializeStruct as _;
    let mut form = to.serialize_struct("Counts", 2)?;
    form.serialize_field("packets", &counts.packets)?;
    form.serialize_field("bytes", &counts.bytes)?;
    form.end()
}
