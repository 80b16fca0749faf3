//! The report as CSV: one row for each number, under one heading. Cells that a spreadsheet would run are made text.

use crate::record::RecordTotals;
use crate::report::{Dimension, Report, Sum};
use crate::sink::harmless;

const HEADING: [&str; 14] = [
    "row",
    "by",
    "key",
    "label",
    "place",
    "country",
    "asn",
    "packets",
    "bytes",
    "tcp_connections",
    "quic_connections",
    "share",
    "destinations",
    "names",
];

#[derive(Default)]
struct Row {
    row: &'static str,
    by: &'static str,
    key: String,
    label: String,
    place: String,
    country: String,
    asn: String,
    sum: Sum,
    /// What the share is of; 0: none.
    whole: u64,
    destinations: Option<u64>,
    names: String,
}

/// The report, whole lines.
#[expect(clippy::expect_used, reason = "rows of one length, written into memory")]
pub fn csv(report: &Report) -> String {
    write(report).expect("every row has a cell for every column, and they are text")
}

fn write(report: &Report) -> Result<String, Box<dyn std::error::Error>> {
    let mut to = ::csv::Writer::from_writer(Vec::new());
    to.write_record(HEADING)?;
    for row in rows(report) {
        let Sum {
            packets,
            bytes,
            tcp_connections,
            quic_connections,
        } = row.sum;
        let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
        let share = if row.whole > 0 {
            format!("{:.6}", packets as f64 / row.whole as f64)
        } else {
            String::new()
        };
        to.write_record([
            row.row.to_owned(),
            row.by.to_owned(),
            harmless(row.key),
            harmless(row.label),
            harmless(row.place),
            harmless(row.country),
            row.asn,
            packets.to_string(),
            bytes.to_string(),
            number(tcp_connections),
            number(quic_connections),
            share,
            number(row.destinations),
            harmless(row.names),
        ])?;
    }
    Ok(String::from_utf8(
        to.into_inner().map_err(::csv::IntoInnerError::into_error)?,
    )?)
}

fn rows(report: &Report) -> Vec<Row> {
    let mut rows = totals(&report.totals);
    rows.push(Row {
        row: "matched",
        label: report.filter.clone().unwrap_or_default(),
        sum: report.matched,
        whole: report.all.packets,
        destinations: Some(report.destinations),
        ..Row::default()
    });
    for (at, sum) in report.series.iter().enumerate() {
        let step = i64::try_from(at).unwrap_or(0).saturating_mul(report.bins.step_ms);
        rows.push(Row {
            row: "time",
            key: super::bins::timestamp(report.bins.first_ms.saturating_add(step)).to_string(),
            sum: *sum,
            whole: report.matched.packets,
            ..Row::default()
        });
    }
    for section in &report.sections {
        let by = word(section.by);
        rows.extend(section.groups.iter().map(|group| Row {
            row: "group",
            by,
            key: group.key.clone(),
            label: group.label.clone(),
            place: group.place.clone(),
            country: group.country.as_deref().unwrap_or_default().to_owned(),
            asn: group.asn.map(|asn| asn.to_string()).unwrap_or_default(),
            sum: group.sum,
            whole: report.matched.packets,
            destinations: Some(group.destinations),
            names: group.names.join(" "),
        }));
        rows.extend(section.rest.iter().map(|rest| Row {
            row: "rest",
            by,
            label: format!("{} more", rest.groups),
            sum: rest.sum,
            whole: report.matched.packets,
            ..Row::default()
        }));
    }
    rows.extend(report.banned.iter().map(|banned| Row {
        row: "banned",
        key: banned.prefix.clone(),
        label: banned.prefix.clone(),
        sum: Sum {
            packets: banned.packets,
            bytes: banned.bytes,
            ..Sum::default()
        },
        ..Row::default()
    }));
    rows
}

fn totals(totals: &RecordTotals) -> Vec<Row> {
    totals
        .named()
        .into_iter()
        .map(|(name, counts)| Row {
            row: "total",
            key: name.to_owned(),
            sum: Sum {
                packets: counts.packets,
                bytes: counts.bytes,
                ..Sum::default()
            },
            ..Row::default()
        })
        .collect()
}

/// As `--by` has it.
fn word(by: Dimension) -> &'static str {
    match by {
        Dimension::Country => "country",
        Dimension::Network => "network",
        Dimension::City => "city",
        Dimension::Scope => "scope",
        Dimension::Destination => "destination",
        Dimension::Prefix => "prefix",
        Dimension::Source => "source",
        Dimension::Interface => "interface",
        Dimension::Name => "name",
        Dimension::Hour => "hour",
        Dimension::Day => "day",
    }
}
