//! Reports of histories that are written here, against expected values and against plain sums over the records.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tcpwatch_common::Counts;

use crate::history::{Bounds, Reader, Store};
use crate::record::{BannedPrefix, Destination, GeoFile, Place, Record, RecordTotals, SCHEMA, Scope, sample};
use crate::report::{Dimension, Filter, Groups, Period, Question, Report, Sort, ask};

mod answer;
mod golden;
mod names;
mod regeo;
mod sums;

/// A history, and the records that are in it.
struct Written {
    directory: tempfile::TempDir,
    records: Vec<Record>,
}

impl Written {
    fn new(records: Vec<Record>) -> Self {
        Self::bounded(records, Bounds::default())
    }

    fn bounded(records: Vec<Record>, bounds: Bounds) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let written = Self { directory, records };
        let mut store = Store::open(&written.path(), bounds).unwrap();
        for record in &written.records {
            store.write(record).unwrap();
        }
        written
    }

    /// Rolls up and forgets what is to be at `now`.
    fn tidy(&self, now: &str, bounds: Bounds) {
        let mut store = Store::open(&self.path(), bounds).unwrap();
        while store.tidy(time(now)).unwrap() {}
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("history.db")
    }

    fn ask(&self, question: &Question) -> Report {
        ask(&Reader::open(&self.path()).unwrap(), question, None).unwrap()
    }
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn question(from: &str, to: &str, by: &[Dimension]) -> Question {
    Question {
        period: Period {
            from: time(from),
            to: time(to),
        },
        by: by.to_vec(),
        filter: None,
        sort: Sort::Packets,
        top: None,
        usual: 10,
        zone: TimeZone::UTC,
        hours: false,
    }
}

fn about(target: &str) -> Option<Filter> {
    Some(Filter::parse(target, &Groups::built_in().unwrap()).unwrap())
}

/// What is sent to `to` from `from`.
fn row(to: &str, from: &str, packets: u64, bytes: u64) -> Destination {
    Destination {
        address: address(to),
        source: Some(address(from)),
        interface: "eth0".into(),
        packets,
        bytes,
        tcp_connections: None,
        quic_connections: None,
        scope: Scope::Global,
        place: Arc::default(),
        names: None,
    }
}

fn in_network(mut row: Destination, country: [&str; 2], asn: u32, network: &str) -> Destination {
    row.place = Arc::new(Place {
        country: Some(country[0].into()),
        country_name: Some(country[1].into()),
        city: None,
        asn: Some(asn),
        network: Some(network.into()),
        anycast: None,
    });
    row
}

/// Of 20 seconds that ended at `end`.
fn record(seq: u64, end: &str, destinations: Vec<Destination>) -> Record {
    lasting(seq, time(end), 20.0, destinations)
}

fn lasting(seq: u64, end: Timestamp, seconds: f64, mut destinations: Vec<Destination>) -> Record {
    destinations.sort_by(|a, b| b.packets.cmp(&a.packets).then(a.address.cmp(&b.address)));
    let mut counted = Counts::default();
    for row in &destinations {
        counted.add(Counts {
            packets: row.packets,
            bytes: row.bytes,
        });
    }
    Record {
        schema: SCHEMA,
        host: "proxy1".into(),
        boot_id: "b".into(),
        run: "r".into(),
        seq,
        start: end - SignedDuration::from_secs_f64(seconds),
        end,
        seconds,
        partial: false,
        interfaces: vec![],
        totals: RecordTotals {
            seen: counted,
            counted,
            ..RecordTotals::default()
        },
        skbs: counted.packets,
        balanced: true,
        drains: 1,
        geo: vec![GeoFile {
            file: "/var/lib/GeoIP/GeoLite2-Country.mmdb".into(),
            kind: "GeoLite2-Country".into(),
            built: jiff::civil::date(2026, 1, 1),
        }],
        destinations,
        banned: vec![],
    }
}

/// The same, with packets to a banned prefix.
fn with_banned(mut record: Record, prefix: &str, packets: u64, bytes: u64) -> Record {
    let counts = Counts { packets, bytes };
    record.totals.seen.add(counts);
    record.totals.banned.add(counts);
    record.banned.push(BannedPrefix {
        prefix: prefix.parse().unwrap(),
        packets,
        bytes,
    });
    record
}
