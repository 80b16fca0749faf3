//! CSV: one row per total, destination and banned prefix, all of them under one heading.

use std::io;

use jiff::Timestamp;

use crate::record::Record;
use crate::sink::{Encode, Pieces};

/// What a formula may begin with in a spreadsheet; some take the full-width signs for the same.
const FORMULA: [char; 10] = [
    '=', '+', '-', '@', '\t', '\r', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}',
];

const HEADING: &str = "row,start,end,seq,partial,name,source,interface,packets,bytes,scope,country,country_name,\
    balanced,city,asn,network,anycast,tcp_connections,quic_connections,names,names_from,name_connections\n";

/// Tidy rows; the heading comes once, before the first record.
#[derive(Clone, Copy, Debug, Default)]
pub struct Csv;

/// What differs between the rows of a record.
#[derive(Default)]
struct Row {
    row: &'static str,
    name: String,
    source: String,
    interface: String,
    packets: u64,
    bytes: u64,
    scope: String,
    country: String,
    country_name: String,
    city: String,
    asn: String,
    network: String,
    anycast: String,
    tcp_connections: String,
    quic_connections: String,
    names: String,
    names_from: &'static str,
    name_connections: String,
}

impl Encode for Csv {
    fn heading(&self) -> &str {
        HEADING
    }

    fn encode(&self, record: &Record, to: &mut Pieces<'_>) -> io::Result<()> {
        let mut to = ::csv::Writer::from_writer(to);
        let common = [
            time(record.start),
            time(record.end),
            record.seq.to_string(),
            record.partial.to_string(),
        ];
        let balanced = record.balanced.to_string();
        for row in rows(record) {
            let [start, end, seq, partial] = &common;
            let (packets, bytes) = (row.packets.to_string(), row.bytes.to_string());
            to.write_record([
                row.row,
                start,
                end,
                seq,
                partial,
                &harmless(row.name),
                &row.source,
                &harmless(row.interface),
                &packets,
                &bytes,
                &row.scope,
                &harmless(row.country),
                &harmless(row.country_name),
                &balanced,
                &harmless(row.city),
                &row.asn,
                &harmless(row.network),
                &row.anycast,
                &row.tcp_connections,
                &row.quic_connections,
                &harmless(row.names),
                row.names_from,
                &row.name_connections,
            ])?;
        }
        to.flush()
    }
}

fn rows(record: &Record) -> impl Iterator<Item = Row> {
    let totals = record.totals.named().map(|(name, counts)| Row {
        row: "total",
        name: name.to_owned(),
        packets: counts.packets,
        bytes: counts.bytes,
        ..Row::default()
    });
    let text = |text: &Option<std::sync::Arc<str>>| text.as_deref().unwrap_or_default().to_owned();
    let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
    let destinations = record.destinations.iter().map(move |d| Row {
        row: "destination",
        name: d.address.to_string(),
        source: d.source.map(|source| source.to_string()).unwrap_or_default(),
        interface: d.interface.to_string(),
        packets: d.packets,
        bytes: d.bytes,
        scope: d.scope.word().to_owned(),
        country: text(&d.place.country),
        country_name: text(&d.place.country_name),
        city: text(&d.place.city),
        asn: d.place.asn.map(|number| number.to_string()).unwrap_or_default(),
        network: text(&d.place.network),
        anycast: d.place.anycast.map(|is| is.to_string()).unwrap_or_default(),
        tcp_connections: number(d.tcp_connections),
        quic_connections: number(d.quic_connections),
        names: d.names.iter().map(|names| joined(names.texts())).collect(),
        names_from: d.names.as_ref().map_or("", |names| names.from.word()),
        name_connections: d
            .names
            .as_ref()
            .and_then(|names| names.connections())
            .map(joined)
            .unwrap_or_default(),
    });
    let banned = record.banned.iter().map(|banned| Row {
        row: "banned",
        name: banned.prefix.to_string(),
        packets: banned.packets,
        bytes: banned.bytes,
        ..Row::default()
    });
    totals.into_iter().chain(destinations).chain(banned)
}

/// With a blank between them; no name has one in it.
fn joined(parts: impl Iterator<Item = impl ToString>) -> String {
    let parts: Vec<String> = parts.map(|part| part.to_string()).collect();
    parts.join(" ")
}

fn time(time: Timestamp) -> String {
    format!("{time:.3}")
}

/// `text` so that a spreadsheet does not take it for a formula: an apostrophe goes in front of what could be one.
pub(crate) fn harmless(text: String) -> String {
    if text.starts_with(FORMULA) {
        format!("'{text}")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::sample;

    #[test]
    fn every_number_has_its_row_under_the_heading() {
        let mut record = sample::empty();
        record.seq = 3;
        record.totals.seen = sample::counts(12, 5241);
        record.totals.counted = sample::counts(3, 4242);
        record.totals.banned = sample::counts(9, 999);
        let mut bolivia = sample::in_country("2800::1", 3, 4242, "BO", "Bolivia, Plurinational State of");
        bolivia.source = None;
        bolivia.tcp_connections = Some(3);
        bolivia.quic_connections = Some(0);
        let bolivia = sample::in_network(bolivia, 64500, "EXAMPLE", true);
        let bolivia = sample::named(bolivia, &[("-a.example", 2), ("b.example", 1)]);
        let asked = sample::asked(sample::destination("192.0.2.1", 1, 60), &["c.example"]);
        record.destinations = vec![bolivia, asked];
        record.banned = vec![sample::banned("203.0.113.0/24", 9, 999)];
        let text = format!("{}{}", Csv.heading(), sample::encoded(&Csv, &record));
        let when = "2026-01-02T03:04:00.000Z,2026-01-02T03:04:20.000Z,3,false";
        assert_eq!(
            text,
            format!(
                "row,start,end,seq,partial,name,source,interface,packets,bytes,scope,country,country_name,balanced,\
                 city,asn,network,anycast,tcp_connections,quic_connections,names,names_from,name_connections\n\
                 total,{when},seen,,,12,5241,,,,true,,,,,,,,,\n\
                 total,{when},counted,,,3,4242,,,,true,,,,,,,,,\n\
                 total,{when},overflow,,,0,0,,,,true,,,,,,,,,\n\
                 total,{when},banned,,,9,999,,,,true,,,,,,,,,\n\
                 total,{when},served,,,0,0,,,,true,,,,,,,,,\n\
                 total,{when},other_source,,,0,0,,,,true,,,,,,,,,\n\
                 total,{when},malformed,,,0,0,,,,true,,,,,,,,,\n\
                 total,{when},not_ip,,,0,0,,,,true,,,,,,,,,\n\
                 destination,{when},2800::1,,eth0,3,4242,global,BO,\"Bolivia, Plurinational State of\",true,,64500,EXAMPLE,true,3,0,'-a.example b.example,sni,2 1\n\
                 destination,{when},192.0.2.1,198.51.100.7,eth0,1,60,documentation,,,true,,,,,,,c.example,dns,\n\
                 banned,{when},203.0.113.0/24,,,9,999,,,,true,,,,,,,,,\n"
            )
        );
    }

    #[test]
    fn a_cell_that_a_spreadsheet_would_run_is_made_text() {
        let mut record = sample::empty();
        let mut evil = sample::in_country("8.8.8.8", 1, 1, "US", "=HYPERLINK(\"http://x\",\"y\")");
        evil.interface = "@sum".into();
        record.destinations = vec![evil];
        let lines = sample::encoded(&Csv, &record);
        assert!(
            lines.contains(",'@sum,1,1,global,US,\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\",true"),
            "{lines}"
        );
        for start in FORMULA {
            assert_eq!(harmless(format!("{start}1")), format!("'{start}1"));
        }
        assert_eq!(harmless("Germany".to_owned()), "Germany");
    }
}
