//! What becomes of a record: pure encoders that turn it into bytes, and outlets that get the bytes out of the program.
//!
//! An encoder does no I/O, an outlet knows no format. Neither sees a kernel type nor asks a database.

use std::io::{self, IsTerminal};
use std::iter::Sum;
use std::time::Duration;

use foldhash::{HashMap, HashMapExt as _};
use jiff::tz::TimeZone;

use crate::record::{Destination, Evidence, Names, Record, add_known};

mod classic;
mod csv;
mod json;
pub mod outlet;
mod pieces;
mod table;
pub(crate) mod text;

pub use classic::Classic;
pub use csv::Csv;
pub(crate) use csv::harmless;
pub use json::Json;
pub use outlet::{Outcome, Outlet};
pub use pieces::{PIECE_BYTES, Pieces};
pub use table::{Grouping, Table};

/// What the bytes look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people: countries and networks with their shares, top destinations, the accounts.
    Table,
    /// The text of the script that tcpwatch replaces.
    Classic,
    /// One JSON object per line, the whole record.
    Json,
    /// One row per total, destination and banned prefix.
    Csv,
    /// Nothing: for a service, whose records are in a file or the history.
    #[value(name = "none")]
    Nothing,
}

/// How records are made into text.
#[derive(Clone, Debug)]
pub struct Style {
    /// Columns of the terminal; less than 60 is taken as 60.
    pub width: usize,
    /// Whether to use colours.
    pub colour: bool,
    /// How many rows each section of a table shows.
    pub top: usize,
    /// The sections of a table; empty: country, network (where one is known), destination.
    pub by: Vec<Grouping>,
    /// The operator's interval, as the classic text repeats it.
    pub interval: Duration,
    /// Whether the classic text has names instead of places.
    pub resolve: bool,
    /// The time zone of times that people read. JSON and CSV have UTC.
    pub zone: TimeZone,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            width: 80,
            colour: false,
            top: 10,
            by: Vec::new(),
            interval: Duration::from_secs(20),
            resolve: false,
            zone: TimeZone::system(),
        }
    }
}

/// Whether what goes there may have colours: only people look at terminals, and some want none
/// (<https://no-color.org>).
pub fn wants_colour(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A format. The same record is always the same bytes: one that could not be written whole is written again.
pub trait Encode: Send {
    /// The line that comes once, before the first record; empty: there is none.
    fn heading(&self) -> &str {
        ""
    }

    /// Writes `record` as whole lines.
    ///
    /// # Errors
    ///
    /// What `to` answers; then no more is to be written.
    fn encode(&self, record: &Record, to: &mut Pieces<'_>) -> io::Result<()>;
}

/// The encoder of `format`.
pub fn encoder(format: Format, style: &Style) -> Box<dyn Encode> {
    match format {
        Format::Table => Box::new(Table::new(style.clone())),
        Format::Classic => Box::new(Classic::new(style.clone())),
        Format::Json => Box::new(Json),
        Format::Csv => Box::new(Csv),
        Format::Nothing => Box::new(Nothing),
    }
}

/// No bytes at all.
struct Nothing;

impl Encode for Nothing {
    fn encode(&self, _: &Record, _: &mut Pieces<'_>) -> io::Result<()> {
        Ok(())
    }
}

/// What rows of a record come to.
#[derive(Clone, Copy, Debug, Default)]
struct Amount {
    packets: u64,
    bytes: u64,
    /// None: not counted.
    connections: Option<u64>,
}

impl Amount {
    fn of(row: &Destination) -> Self {
        Self {
            packets: row.packets,
            bytes: row.bytes,
            connections: row.connections(),
        }
    }

    fn add(&mut self, more: Self) {
        self.packets = self.packets.saturating_add(more.packets);
        self.bytes = self.bytes.saturating_add(more.bytes);
        self.connections = add_known(self.connections, more.connections);
    }
}

impl Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |mut sum, part| {
            sum.add(part);
            sum
        })
    }
}

/// What was sent to one address, from whichever own source.
struct Sent<'a> {
    amount: Amount,
    /// One of the rows that were merged; address, scope and place are the same in all of them.
    row: &'a Destination,
    /// The best known: those with the strongest evidence, of these those read from most connections, of these those of the row with
    /// most packets.
    names: Option<&'a Names>,
}

/// How much names are to be believed: their evidence, then connections that they were read from in this interval.
fn strength(names: &Names) -> (Evidence, u64) {
    let read = names.list.iter().filter_map(|name| name.connections);
    (names.from, read.fold(0, u64::saturating_add))
}

/// The destinations with the rows of different own sources merged, most packets first, then by address.
fn by_address(record: &Record) -> Vec<Sent<'_>> {
    let mut sent: Vec<Sent<'_>> = Vec::with_capacity(record.destinations.len());
    let mut place_of = HashMap::with_capacity(record.destinations.len());
    for row in &record.destinations {
        let (amount, names) = (Amount::of(row), row.names.as_deref());
        let at = *place_of.entry(&row.address).or_insert(sent.len());
        match sent.get_mut(at) {
            Some(sent) => {
                sent.amount.add(amount);
                if names.map(strength) > sent.names.map(strength) {
                    sent.names = names;
                }
            }
            None => sent.push(Sent { amount, row, names }),
        }
    }
    let packets = |sent: &Sent<'_>| sent.amount.packets;
    sent.sort_unstable_by(|a, b| {
        packets(b)
            .cmp(&packets(a))
            .then(a.row.address.cmp(&b.row.address))
    });
    sent
}

#[cfg(test)]
mod sample;
