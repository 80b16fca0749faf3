//! Names that change from interval to interval: what is left of them in hours and days, and for how long.

use jiff::Timestamp;
use rusqlite::Connection;

use crate::history::rollup::{DAY_MS, HOUR_MS};
use crate::history::schema::{Access, open};
use crate::history::traffic::rows_from_bytes;
use crate::history::{Bounds, Reader, Resolution, Store};
use crate::record::{Record, sample};

const BEGINNING: i64 = 20_000 * DAY_MS;
/// Intervals of an hour.
const INTERVALS: i64 = 180;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap()
}

/// Packets to each of `addresses`, which all have `names`.
fn named(seq: i64, end_ms: i64, addresses: u8, packets: u64, names: &[&str]) -> Record {
    let mut destinations = Vec::new();
    for host in 1..=addresses {
        let mut row = sample::destination([192, 0, 2, host], packets, packets * 100);
        row.names = sample::asked(names);
        destinations.push(row);
    }
    sample::record("r", seq.unsigned_abs(), end_ms, destinations)
}

/// The hours of a day, each interval with a name of its own beside `also`.
fn changing(store: &mut Store, beginning: i64, hours: i64, addresses: u8, also: &str) {
    for nth in 0..hours * INTERVALS {
        let end_ms = beginning + (nth + 1) * 20_000;
        let record = named(
            end_ms / 20_000,
            end_ms,
            addresses,
            10,
            &[&format!("n{nth}.example"), also],
        );
        store.write(&record).unwrap();
    }
}

fn rows(connection: &Connection, table: &str) -> usize {
    let mut rows = 0;
    let mut select = connection.prepare(&format!("SELECT rows FROM {table}")).unwrap();
    let mut buckets = select.query(()).unwrap();
    while let Some(bucket) = buckets.next().unwrap() {
        rows_from_bytes(bucket.get_ref(0).unwrap().as_blob().unwrap(), |_, _| rows += 1).unwrap();
    }
    rows
}

#[test]
fn an_hour_and_a_day_have_one_row_of_an_address_however_often_its_names_change() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let mut store = Store::open(&path, Bounds::default()).unwrap();
    changing(&mut store, BEGINNING, 2, 3, "www.example");
    // More packets than any other, and then one that comes late.
    let busiest = named(1, BEGINNING + HOUR_MS / 2 + 1, 3, 11, &["busiest.example"]);
    store.write(&busiest).unwrap();
    while store.tidy(at(BEGINNING + DAY_MS + HOUR_MS)).unwrap() {}
    store
        .write(&named(2, BEGINNING + HOUR_MS / 2, 3, 2, &["late.example"]))
        .unwrap();
    let connection = open(&path, Access::Read).unwrap();
    assert_eq!(rows(&connection, "traffic_raw"), 3 * (2 * 180 + 2));
    assert_eq!(rows(&connection, "traffic_hour"), 3 * 2);
    assert_eq!(rows(&connection, "traffic_day"), 3);
    let reader = Reader::open(&path).unwrap();
    let plan = reader.plan(BEGINNING, BEGINNING + HOUR_MS, Resolution::Hour);
    let mut packets = 0;
    reader
        .flows(&plan, &mut |flow| {
            assert_eq!(&*flow.names[0], "busiest.example");
            packets += flow.counts.packets;
        })
        .unwrap();
    assert_eq!(packets, 3 * (180 * 10 + 11 + 2));
}
