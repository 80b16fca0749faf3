//! Names that change from interval to interval: what is left of them in hours and days, and for how long.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::Connection;

use crate::history::rollup::{DAY_MS, HOUR_MS};
use crate::history::schema::{Access, open};
use crate::history::traffic::rows_from_bytes;
use crate::history::{Bounds, Reader, Resolution, Store, check};
use crate::record::{Record, sample};

const BEGINNING: i64 = 20_000 * DAY_MS;
/// Intervals of an hour.
const INTERVALS: i64 = 180;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap()
}

/// The one record of a run: packets to each of `addresses`, which all have `names`.
fn named(nth: i64, end_ms: i64, addresses: u8, packets: u64, names: &[&str]) -> Record {
    let mut destinations = Vec::new();
    for host in 1..=addresses {
        let mut row = sample::destination([192, 0, 2, host], packets, packets * 100);
        row.names = sample::asked(names);
        destinations.push(row);
    }
    sample::record(&format!("run{nth}"), 1, end_ms, destinations)
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

fn sets(path: &Path) -> Vec<String> {
    let connection = open(path, Access::Read).unwrap();
    let mut select = connection.prepare("SELECT names FROM names ORDER BY id").unwrap();
    let sets = select.query_map((), |row| row.get(0)).unwrap();
    sets.collect::<Result<_, _>>().unwrap()
}

fn assert_whole(path: &Path) {
    let checked = check(path, &mut |found| panic!("{found}"), &mut |_, _| ());
    checked.unwrap();
}

#[test]
fn sets_that_no_hour_has_go_after_the_intervals_that_had_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let bounds = Bounds {
        intervals: hours(2),
        hours: hours(48),
        ..Bounds::default()
    };
    let mut store = Store::open(&path, bounds).unwrap();
    // The last two hours of a day, each with names that have most packets in it.
    changing(&mut store, BEGINNING + 22 * HOUR_MS, 2, 3, "www.example");
    for (seq, packets, name) in [(22, 50, "hour.example"), (23, 60, "day.example")] {
        let record = named(seq, BEGINNING + seq * HOUR_MS + 1, 3, packets, &[name]);
        store.write(&record).unwrap();
    }
    let tidy = |store: &mut Store, hours: i64| while store.tidy(at(BEGINNING + hours * HOUR_MS)).unwrap() {};
    tidy(&mut store, 25);
    assert!(sets(&path).len() > 200, "intervals are kept still");
    assert_whole(&path);
    tidy(&mut store, 27);
    assert_eq!(sets(&path), [r#"["hour.example"]"#, r#"["day.example"]"#]);
    assert_whole(&path);
    // The hours go; what the day has stays.
    store
        .write(&named(5, BEGINNING + 2 * DAY_MS, 3, 1, &["new.example"]))
        .unwrap();
    tidy(&mut store, 6 * 24);
    assert_eq!(sets(&path), [r#"["day.example"]"#, r#"["new.example"]"#]);
    assert_whole(&path);
    // Nor is anything of them in the file.
    drop(store);
    let bytes = std::fs::read(&path).unwrap();
    let holds = |what: &[u8]| bytes.windows(what.len()).any(|window| window == what);
    assert!(holds(b"day.example") && !holds(b"hour.example"));
    let left: Vec<i64> = (0..360)
        .filter(|nth| holds(format!("\"n{nth}.example").as_bytes()))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn another_process_does_not_speak_of_sets_that_were_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let bounds = Bounds {
        intervals: Duration::ZERO,
        ..Bounds::default()
    };
    let mut daemon = Store::open(&path, bounds).unwrap();
    let mut import = Store::open(&path, bounds).unwrap();
    for (seq, packets, name) in [(1, 9, "most.example"), (2, 5, "less.example")] {
        let record = named(seq, BEGINNING + seq * 20_000, 1, packets, &[name]);
        import.write(&record).unwrap();
    }
    while daemon.tidy(at(BEGINNING + 2 * DAY_MS)).unwrap() {}
    assert_eq!(sets(&path), [r#"["most.example"]"#]);
    daemon
        .write(&named(3, BEGINNING + 60_000, 1, 1, &["other.example"]))
        .unwrap();
    import
        .write(&named(4, BEGINNING + 80_000, 1, 8, &["less.example"]))
        .unwrap();
    assert_eq!(
        sets(&path).last().map(String::as_str),
        Some(r#"["less.example"]"#)
    );
    assert_whole(&path);
}
