//! Sections of a report in columns that stand below one another.

use unicode_width::UnicodeWidthStr as _;

use crate::report::text::words::{cell, clean, plural, spark, step, title};
use crate::report::{Dimension, Group, Report, Section, Sum};
use crate::sink::text::{bar, bytes, share, thousands};

/// Between two columns.
const GAP: usize = 2;

/// A line of blocks shorter than this says nothing, and its heading needs as much.
const LEAST_SPARK: usize = 11;

/// What labels and places together have at most, so that numbers and time keep their room.
const LONGEST_LEFT: usize = 54;

/// A place shorter than this says nothing.
const LEAST_PLACE: usize = 4;

/// The same with names before the places, for which the blocks are left out.
const LEAST_NAMED_PLACE: usize = 20;

struct Line {
    label: String,
    place: String,
    packets: String,
    bytes: String,
    connections: String,
    share: String,
    series: Vec<u64>,
    weight: u64,
}

pub(super) struct Grid {
    title: &'static str,
    lines: Vec<Line>,
    /// Rows are times: a bar says more than when each of them was.
    bars: bool,
    /// Labels that lose their meaning when they are cut: addresses, prefixes, times.
    whole_labels: bool,
    /// Places have names before them.
    named: bool,
}

fn line(label: String, place: String, sum: &Sum, whole: u64, series: &[u64]) -> Line {
    Line {
        label,
        place,
        packets: thousands(sum.packets),
        bytes: bytes(sum.bytes),
        connections: sum.connections().map(thousands).unwrap_or_default(),
        share: share(sum.packets, whole),
        series: series.to_vec(),
        weight: sum.packets,
    }
}

pub(super) fn of(report: &Report, section: &Section) -> Grid {
    let whole = report.matched.packets;
    let groups = section.groups.iter().map(|group| {
        line(
            clean(&group.label),
            named_place(group),
            &group.sum,
            whole,
            &group.series,
        )
    });
    let rest = section.rest.iter().map(|rest| {
        let label = format!("{} more {}", thousands(rest.groups), plural(section.by));
        line(label, String::new(), &rest.sum, whole, &rest.series)
    });
    Grid {
        title: title(section.by),
        lines: groups.chain(rest).collect(),
        bars: matches!(section.by, Dimension::Hour | Dimension::Day),
        whole_labels: !matches!(
            section.by,
            Dimension::Country | Dimension::Network | Dimension::City | Dimension::Name
        ),
        named: section.groups.iter().any(|group| !group.names.is_empty()),
    }
}

/// The domains of a destination, and where it is.
fn named_place(group: &Group) -> String {
    match group.domains() {
        Some(domains) => format!("{} · {}", clean(&domains), clean(&group.place)),
        None => clean(&group.place),
    }
}

pub(super) fn banned(report: &Report, top: usize) -> Option<Grid> {
    let sum = |packets, bytes| Sum {
        packets,
        bytes,
        ..Sum::default()
    };
    let shown = if report.banned.len() > top + 1 {
        top
    } else {
        report.banned.len()
    };
    let (first, left) = report.banned.split_at_checked(shown)?;
    let mut lines: Vec<Line> = first
        .iter()
        .map(|row| {
            line(
                clean(&row.prefix),
                String::new(),
                &sum(row.packets, row.bytes),
                0,
                &[],
            )
        })
        .collect();
    if !left.is_empty() {
        let mut rest = Sum::default();
        for row in left {
            rest.add(sum(row.packets, row.bytes));
        }
        let label = format!("{} more prefixes", thousands(left.len() as u64));
        lines.push(line(label, String::new(), &rest, 0, &[]));
    }
    (!lines.is_empty()).then_some(Grid {
        title: "BANNED",
        lines,
        bars: false,
        whole_labels: true,
        named: false,
    })
}

/// Widths that all sections have in common.
struct Columns {
    left: usize,
    packets: usize,
    bytes: usize,
    connections: usize,
    share: usize,
    /// Room for the line of blocks; 0: none.
    spark: usize,
}

impl Columns {
    fn new(grids: &[Grid], width: usize) -> Self {
        let lines = || grids.iter().flat_map(|grid| &grid.lines);
        let widest = |of: fn(&Line) -> &String, heading: &str| {
            let widest = lines().map(|line| of(line).width()).max().unwrap_or(0);
            if widest == 0 { 0 } else { widest.max(heading.len()) }
        };
        let packets = widest(|line| &line.packets, "PACKETS");
        let bytes = widest(|line| &line.bytes, "BYTES");
        let connections = widest(|line| &line.connections, "CONNS");
        let share = widest(|line| &line.share, "SHARE");
        let numbers: usize = [packets, bytes, connections, share]
            .into_iter()
            .filter(|columns| *columns > 0)
            .map(|columns| GAP + columns)
            .sum();
        let steps = lines().map(|line| line.series.len()).max().unwrap_or(0);
        let named = grids.iter().map(Grid::needed_with_names).max().unwrap_or(0);
        let mut wanted = if steps > 1 { GAP + LEAST_SPARK } else { 0 };
        let natural = grids.iter().map(Grid::natural).max().unwrap_or(0);
        let needed = grids.iter().map(Grid::needed).max().unwrap_or(0);
        let most = width.saturating_sub(numbers);
        if width.saturating_sub(numbers + wanted) < named {
            wanted = 0;
        }
        let left = natural
            .min(LONGEST_LEFT)
            .min(most.saturating_sub(wanted))
            .max(needed.min(most));
        let spark = most.saturating_sub(left + GAP).min(steps);
        Self {
            left,
            packets,
            bytes,
            connections,
            share,
            spark: if steps > 1 && most.saturating_sub(left + GAP) >= LEAST_SPARK {
                spark
            } else {
                0
            },
        }
    }

    fn numbers(&self, packets: &str, bytes: &str, connections: &str, share: &str) -> String {
        let mut text = String::new();
        for (number, width) in [
            (packets, self.packets),
            (bytes, self.bytes),
            (connections, self.connections),
            (share, self.share),
        ] {
            if width > 0 {
                text.push_str(&format!("{:GAP$}{number:>width$}", ""));
            }
        }
        text
    }
}

impl Grid {
    fn label(&self) -> usize {
        let labels = self.lines.iter().map(|line| line.label.width());
        labels.max().unwrap_or(0).max(self.title.len())
    }

    fn place(&self) -> usize {
        self.lines
            .iter()
            .map(|line| line.place.width())
            .max()
            .unwrap_or(0)
    }

    fn natural(&self) -> usize {
        match self.place() {
            0 => self.label(),
            place => self.label() + GAP + place,
        }
    }

    fn needed(&self) -> usize {
        if self.whole_labels {
            self.label()
        } else {
            self.title.len()
        }
    }

    /// 0: it has no names.
    fn needed_with_names(&self) -> usize {
        if self.named {
            self.label() + GAP + self.place().min(LEAST_NAMED_PLACE)
        } else {
            0
        }
    }

    fn draw(&self, columns: &Columns, step_ms: i64) -> Vec<String> {
        let label = self.label().min(columns.left);
        let place = columns.left.saturating_sub(label + GAP);
        let has_places = self.place() > 0 && place >= LEAST_PLACE;
        let left = |label_text: &str, place_text: &str| {
            if has_places {
                format!(
                    "{}{:GAP$}{}",
                    cell(label_text, label),
                    "",
                    cell(place_text, place)
                )
            } else {
                cell(label_text, columns.left)
            }
        };
        let steps = self.lines.first().map_or(0, |line| line.series.len());
        let has_share = self.lines.iter().any(|line| !line.share.is_empty());
        let has_connections = self.lines.iter().any(|line| !line.connections.is_empty());
        let joined = if columns.spark > 0 {
            steps.div_ceil(columns.spark).max(1)
        } else {
            0
        };
        let heading = columns.numbers(
            "PACKETS",
            "BYTES",
            if has_connections { "CONNS" } else { "" },
            if has_share { "SHARE" } else { "" },
        );
        let mut heading = format!("{}{heading}", left(self.title, ""));
        if steps > 1 && joined > 0 && !self.bars {
            let step_ms = step_ms.saturating_mul(i64::try_from(joined).unwrap_or(1));
            heading.push_str(&format!("{:GAP$}PER {}", "", step(step_ms)));
        }
        let most = self.lines.iter().map(|line| line.weight).max().unwrap_or(0);
        let mut lines = vec![heading];
        for line in &self.lines {
            let numbers = columns.numbers(&line.packets, &line.bytes, &line.connections, &line.share);
            let mut drawn = format!("{}{numbers}", left(&line.label, &line.place));
            if self.bars && columns.spark > 0 {
                drawn.push_str(&format!("{:GAP$}{}", "", bar(line.weight, most, columns.spark)));
            } else if steps > 1 && joined > 0 {
                let joined: Vec<u64> = line
                    .series
                    .chunks(joined)
                    .map(|steps| steps.iter().sum())
                    .collect();
                drawn.push_str(&format!("{:GAP$}{}", "", spark(&joined)));
            }
            lines.push(drawn);
        }
        lines
    }
}

/// Each section as its lines, the heading first.
pub(super) fn draw(grids: &[Grid], width: usize, step_ms: i64) -> Vec<Vec<String>> {
    let columns = Columns::new(grids, width);
    grids.iter().map(|grid| grid.draw(&columns, step_ms)).collect()
}
