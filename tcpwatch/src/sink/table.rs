//! The table that people look at: countries and networks with their shares, top destinations, and the accounts.

use std::io::{self, Write as _};

use tcpwatch_common::Counts;

use crate::record::{Destination, Record};
use crate::sink::table::grid::{Grid, Row};
use crate::sink::{Amount, Encode, Pieces, Sent, Style, by_address, text};

mod grid;
mod grouping;

pub use grouping::Grouping;

/// How narrow a table can be: below, the largest numbers have no room.
const LEAST_WIDTH: usize = 60;

/// How many banned prefixes are shown.
const TOP_BANNED: usize = 5;

const BOLD: &str = "1";
const CYAN: &str = "36";
const GREEN: &str = "32";
const RED: &str = "1;31";
const YELLOW: &str = "33";

/// A block of lines per record, and an empty line behind it.
#[derive(Clone, Debug)]
pub struct Table {
    style: Style,
}

impl Table {
    /// Draws in `style`.
    pub fn new(style: Style) -> Self {
        let width = style.width.max(LEAST_WIDTH);
        Self {
            style: Style { width, ..style },
        }
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.style.colour && !text.is_empty() {
            format!("\u{1b}[{colour}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    /// When, how long, where.
    fn head(&self, record: &Record) -> Vec<String> {
        let zone = &self.style.zone;
        let (start, end) = (
            record.start.to_zoned_datetime(zone.clone()),
            record.end.to_zoned_datetime(zone.clone()),
        );
        let time = if record.seconds < 1.0 {
            "%H:%M:%S%.3f"
        } else {
            "%H:%M:%S"
        };
        let from = start.strftime(&format!("%Y-%m-%d {time}")).to_string();
        let to = if start.date() == end.date() {
            end.strftime(&format!("{time} %Z")).to_string()
        } else {
            end.strftime(&format!("%Y-%m-%d {time} %Z")).to_string()
        };
        let length = if record.seconds < 1.0 {
            format!("· {:.3} s", record.seconds)
        } else {
            format!("· {:.1} s", record.seconds)
        };
        let mut pieces = vec![format!("{from} – {to}"), length];
        if record.partial {
            pieces.push("· cut short".to_owned());
        }
        for (at, interface) in record.interfaces.iter().enumerate() {
            let before = if at == 0 { "· " } else { "" };
            let after = if at + 1 < record.interfaces.len() { "," } else { "" };
            pieces.push(format!("{before}{}{after}", text::plain(&interface.name)));
        }
        let lines = text::wrap(pieces.iter().map(String::as_str), self.style.width);
        lines.iter().map(|line| self.paint(BOLD, line)).collect()
    }

    /// What was counted, and how fast it went.
    fn summary(&self, record: &Record, destinations: usize) -> Vec<String> {
        let counted = record.totals.counted;
        let mut pieces = vec![
            format!("{} packets", text::thousands(counted.packets)),
            format!("· {}", text::bytes(counted.bytes)),
            format!("· {} destinations", text::thousands(destinations as u64)),
        ];
        if record.seconds > 0.0 {
            let packets = (counted.packets as f64 / record.seconds).round() as u64;
            pieces.push(format!("· {} packets/s", text::thousands(packets)));
            pieces.push(format!("· {}", text::bit_rate(counted.bytes, record.seconds)));
        }
        let sum = |of: fn(&Destination) -> Option<u64>| {
            let counted = record.destinations.iter().filter_map(of);
            counted.fold(0_u64, u64::saturating_add)
        };
        for (protocol, connections) in [
            ("TCP", sum(|row| row.tcp_connections)),
            ("QUIC", sum(|row| row.quic_connections)),
        ] {
            if connections > 0 {
                pieces.push(format!(
                    "· {} {protocol} connections",
                    text::thousands(connections)
                ));
            }
        }
        text::wrap(pieces.iter().map(String::as_str), self.style.width)
    }

    /// Every outcome that has packets, and whether it all adds up.
    fn accounts(&self, record: &Record) -> Vec<String> {
        let totals = &record.totals;
        let mut pieces = text::accounts(totals);
        let (verdict, colour) = if record.balanced {
            ("balanced ✓", GREEN)
        } else {
            ("NOT BALANCED", RED)
        };
        pieces.push(format!("· {verdict}"));
        let mut lines = text::wrap(pieces.iter().map(String::as_str), self.style.width);
        if let Some(last) = lines.last_mut()
            && let Some(rest) = last.strip_suffix(verdict)
        {
            *last = format!("{rest}{}", self.paint(colour, verdict));
        }
        if totals.overflow.packets > 0 {
            let line = format!(
                "{} packets had no room in the kernel table: raise --spill",
                text::thousands(totals.overflow.packets)
            );
            lines.extend(self.painted_text(YELLOW, &line));
        }
        lines
    }

    /// A section for each grouping, and why some are missing.
    fn counted(&self, record: &Record, sent: &[Sent<'_>]) -> (Vec<String>, Vec<Grid>) {
        let whole = record.destinations.iter().map(Amount::of).sum::<Amount>().packets;
        let mut hint = Vec::new();
        if record.geo.is_empty() {
            let text = "no place database is loaded, countries and networks are unknown: tcpwatch geo update \
                        fetches one, or give one with --geo FILE";
            hint.push(String::new());
            hint.extend(self.painted_text(YELLOW, text));
        }
        let usual = [Grouping::Country, Grouping::Network, Grouping::Destination];
        let wanted = match &self.style.by[..] {
            [] => usual.into_iter().filter(|by| by.is_known(record)).collect(),
            by => by.to_vec(),
        };
        let grids = wanted
            .into_iter()
            .filter(|by| !(by.needs_places() && record.geo.is_empty()))
            .map(|by| {
                let rows = by.rows(record, sent, self.style.top);
                Grid::new(by.title(), by != Grouping::Destination, rows, whole)
            });
        (hint, grids.collect())
    }

    /// The sections, each after an empty line.
    fn sections(&self, mut grids: Vec<Grid>) -> Vec<String> {
        let mut lines = Vec::new();
        for (heading, rows) in grid::draw(&mut grids, self.style.width) {
            lines.push(String::new());
            lines.push(self.paint(BOLD, heading.trim_end()));
            lines.extend(rows.into_iter().map(|(columns, bar)| match bar.as_str() {
                "" => columns,
                bar => format!("{columns}{}", self.paint(CYAN, bar)),
            }));
        }
        lines
    }

    fn painted_text(&self, colour: &str, text: &str) -> Vec<String> {
        let lines = text::wrap(text.split(' '), self.style.width);
        lines.iter().map(|line| self.paint(colour, line)).collect()
    }
}

impl Encode for Table {
    fn encode(&self, record: &Record, to: &mut Pieces<'_>) -> io::Result<()> {
        let mut lines = self.head(record);
        let mut grids = Vec::new();
        if record.destinations.is_empty() && record.totals.counted == Counts::default() {
            lines.push("no packets".to_owned());
        } else {
            let sent = by_address(record);
            lines.extend(self.summary(record, sent.len()));
            let (hint, counted) = self.counted(record, &sent);
            lines.extend(hint);
            grids = counted;
        }
        if !record.banned.is_empty() {
            grids.push(banned(record));
        }
        lines.extend(self.sections(grids));
        lines.push(String::new());
        lines.extend(self.accounts(record));
        let mut block = String::new();
        for line in lines {
            block.push_str(line.trim_end());
            block.push('\n');
        }
        block.push('\n');
        to.write_all(block.as_bytes())
    }
}

fn banned(record: &Record) -> Grid {
    let rows = cut(
        record.banned.iter(),
        TOP_BANNED,
        "prefixes",
        |banned| Amount {
            packets: banned.packets,
            bytes: banned.bytes,
            connections: None,
        },
        |banned, amount| Row::new(banned.prefix.to_string(), amount),
    );
    Grid::new("BANNED", false, rows, 0)
}

/// Rows for the first `top` of `parts`, and one that sums up the rest. One row more than `top` is shown rather than summed
/// up. No row is made that is not shown: there may be a hundred thousand.
fn cut<T>(
    mut parts: impl ExactSizeIterator<Item = T>,
    top: usize,
    what: &str,
    amount: impl Fn(&T) -> Amount,
    row: impl Fn(T, Amount) -> Row,
) -> Vec<Row> {
    let shown = if parts.len() > top + 1 { top } else { parts.len() };
    let left_out = parts.len() - shown;
    let with_amount = |part: T| {
        let amount = amount(&part);
        row(part, amount)
    };
    let mut rows: Vec<Row> = parts.by_ref().take(shown).map(with_amount).collect();
    if left_out > 0 {
        let label = format!("{} more {what}", text::thousands(left_out as u64));
        rows.push(Row::new(label, parts.map(|part| amount(&part)).sum()));
    }
    rows
}

#[cfg(test)]
mod tests;
