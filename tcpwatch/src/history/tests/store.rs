//! Single records and their edges; two readers while it is written; the bound on the size.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;

use crate::history::rollup::{DAY_MS, HOUR_MS};
use crate::history::schema::{Access, open};
use crate::history::{Bounds, HistoryError, Reader, Resolution, Store, Written};
use crate::record::{Place, Record, sample};

const BEGINNING: i64 = 20_000 * DAY_MS;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap()
}

/// To `count` addresses, a packet more to each.
pub(super) fn busy(run: &str, seq: u64, end_ms: i64, count: u32) -> Record {
    let destinations = (0..count)
        .map(|n| sample::destination((0x0a00_0000 + n).to_be_bytes(), u64::from(n) + 1, 100))
        .collect();
    sample::record(run, seq, end_ms, destinations)
}

/// Packets of all rows, and of `counted` of all buckets.
pub(super) fn packets(path: &Path) -> (u64, u64) {
    let reader = Reader::open(path).unwrap();
    let plan = reader.plan(i64::MIN, i64::MAX, Resolution::Day);
    let mut rows = 0;
    reader
        .flows(&plan, &mut |flow| rows += flow.counts.packets)
        .unwrap();
    let counted = reader
        .buckets(&plan)
        .unwrap()
        .iter()
        .map(|bucket| bucket.totals.counted.packets)
        .sum();
    (rows, counted)
}

#[test]
fn a_record_is_counted_once_also_after_its_interval_has_been_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new/history.db");
    let bounds = Bounds {
        intervals: Duration::ZERO,
        ..Bounds::default()
    };
    let mut store = Store::open(&path, bounds).unwrap();
    let records: Vec<Record> = (1..=100)
        .map(|seq| busy("r", seq, BEGINNING + seq as i64 * 20_000, 3))
        .collect();
    for record in &records {
        assert_eq!(store.write(record).unwrap(), Written::New);
        assert_eq!(store.write(record).unwrap(), Written::Known);
    }
    while store.tidy(at(BEGINNING + DAY_MS)).unwrap() {}
    let connection = open(&path, Access::Read).unwrap();
    let number = |sql: &str| -> i64 { connection.query_row(sql, (), |row| row.get(0)).unwrap() };
    assert_eq!(number("SELECT count(*) FROM interval"), 0);
    assert_eq!(number("SELECT count(*) FROM traffic_raw"), 0);
    // One range, whatever the order in which they went.
    assert_eq!(number("SELECT count(*) FROM written"), 1);
    for record in records.iter().rev() {
        assert_eq!(store.write(record).unwrap(), Written::Known);
    }
    assert_eq!(packets(&path), (600, 600));
}

#[test]
fn ranges_of_written_records_grow_together() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let bounds = Bounds {
        intervals: Duration::ZERO,
        ..Bounds::default()
    };
    let mut store = Store::open(&path, bounds).unwrap();
    let ranges = |expected: &[(i64, i64)]| {
        let connection = open(&path, Access::Read).unwrap();
        let mut select = connection
            .prepare("SELECT first, last FROM written ORDER BY first")
            .unwrap();
        let found: Vec<(i64, i64)> = select
            .query_map((), |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(found, expected);
    };
    for (seq, expected) in [
        (5, &[(5, 5)][..]),
        (3, &[(3, 3), (5, 5)]),
        (4, &[(3, 5)]),
        (2, &[(2, 5)]),
        (9, &[(2, 5), (9, 9)]),
        (6, &[(2, 6), (9, 9)]),
    ] {
        assert_eq!(
            store.write(&busy("r", seq, BEGINNING + 1, 1)).unwrap(),
            Written::New
        );
        while store.tidy(at(BEGINNING + DAY_MS)).unwrap() {}
        ranges(expected);
    }
}

#[test]
fn only_its_owner_may_read_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let mut store = Store::open(&path, Bounds::default()).unwrap();
    store.write(&busy("r", 1, BEGINNING, 1)).unwrap();
    for suffix in ["", "-wal", "-shm"] {
        let name = directory.path().join(format!("history.db{suffix}"));
        let mode = std::fs::metadata(&name).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", name.display());
    }
}

#[test]
fn records_at_the_edges_are_kept_exactly() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let mut store = Store::open(&path, Bounds::default()).unwrap();
    // No destination; a length of nothing; a clock that was set back an hour; before 1970; the largest numbers.
    let empty = sample::record("r", 1, BEGINNING, vec![]);
    let mut back = busy("r", 2, BEGINNING - HOUR_MS, 2);
    back.start = empty.end;
    back.seconds = 0.0;
    let ancient = busy("r", 3, -5 * DAY_MS, 1);
    let largest = sample::record(
        "r",
        4,
        BEGINNING + 1,
        vec![sample::destination([192, 0, 2, 1], 1 << 53, 1 << 53)],
    );
    for record in [&empty, &back, &ancient, &largest] {
        assert_eq!(store.write(record).unwrap(), Written::New);
    }
    let all = (1 << 53) + 3 + 1;
    assert_eq!(packets(&path), (all, all));
    while store.tidy(at(BEGINNING + 2 * DAY_MS)).unwrap() {}
    // What is two years old went with its day.
    assert_eq!(packets(&path), (all - 1, all - 1));

    let mut beyond = largest.clone();
    beyond.seq = 5;
    for spoil in [
        |record: &mut Record| record.destinations[0].packets += 1,
        |record: &mut Record| record.destinations[0].tcp_connections = Some(u64::MAX),
        |record: &mut Record| record.totals.not_ip.bytes = u64::MAX,
        |record: &mut Record| record.skbs = u64::MAX,
        |record: &mut Record| record.seq = u64::MAX,
        |record: &mut Record| record.seconds = 1e300,
        |record: &mut Record| record.seconds = -1.0,
        |record: &mut Record| record.seconds = f64::NAN,
    ] {
        let mut record = beyond.clone();
        spoil(&mut record);
        let refused = store.write(&record).unwrap_err();
        assert!(matches!(refused, HistoryError::TooLarge { .. }), "{refused}");
    }
    assert_eq!(packets(&path), (all - 1, all - 1));
}

#[test]
fn sums_of_hostile_records_do_not_keep_hours_from_being_made() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let mut store = Store::open(&path, Bounds::default()).unwrap();
    for seq in 1..=2000 {
        let destination = sample::destination([192, 0, 2, 1], 1 << 53, 1 << 53);
        store
            .write(&sample::record("r", seq, BEGINNING + 1, vec![destination]))
            .unwrap();
    }
    while store.tidy(at(BEGINNING + 10 * DAY_MS)).unwrap() {}
    let (rows, counted) = packets(&path);
    assert_eq!(rows, 2000 << 53);
    assert_eq!(counted, i64::MAX as u64, "as much as a column takes");
}

#[test]
fn texts_are_kept_as_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let mut store = Store::open(&path, Bounds::default()).unwrap();
    let hostile = [
        "'; DROP TABLE interval; --",
        "\"\\\u{0}\n\r\t",
        "<script>alert(1)</script>",
        "\u{202e}\u{feff}é😀",
        "",
    ];
    for (seq, text) in hostile.iter().enumerate() {
        let mut record = busy(&format!("r{text}"), seq as u64 + 1, BEGINNING + seq as i64, 1);
        record.host = (*text).into();
        let row = &mut record.destinations[0];
        row.interface = (*text).into();
        row.names = sample::asked(&[text, text]);
        row.place = Arc::new(Place {
            network: Some((*text).into()),
            city: Some((*text).into()),
            ..Place::default()
        });
        assert_eq!(store.write(&record).unwrap(), Written::New);
        assert_eq!(store.write(&record).unwrap(), Written::Known);
    }
    let reader = Reader::open(&path).unwrap();
    let plan = reader.plan(i64::MIN, i64::MAX, Resolution::Interval);
    let mut found = Vec::new();
    reader
        .flows(&plan, &mut |flow| {
            assert_eq!(flow.names.len(), 1);
            assert_eq!(flow.known.place.network, flow.known.place.city);
            // What is empty is not known.
            let network = flow.known.place.network.clone().unwrap_or_default();
            assert_eq!((&*flow.names[0], &*flow.origin.interface), (&*network, &*network));
            found.push(network.to_string());
        })
        .unwrap();
    assert_eq!(found, hostile);
}

#[test]
fn readers_see_whole_records_while_it_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let bounds = Bounds {
        top: 20,
        intervals: Duration::from_secs(1800),
        ..Bounds::default()
    };
    let mut store = Store::open(&path, bounds).unwrap();
    store.write(&busy("r", 1, BEGINNING + 20_000, 50)).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let (mut reads, mut most) = (0, 0);
                    while !done.load(Ordering::Relaxed) || reads == 0 {
                        let (rows, counted) = packets(&path);
                        assert_eq!(rows, counted);
                        // Each record has 50 destinations and 1275 packets; none is half there, and none goes again.
                        assert_eq!(rows % 1275, 0);
                        assert!(rows >= most);
                        most = rows;
                        reads += 1;
                    }
                    reads
                })
            })
            .collect();
        for seq in 2..=600 {
            store
                .write(&busy("r", seq, BEGINNING + seq as i64 * 20_000, 50))
                .unwrap();
            while store.tidy(at(BEGINNING + seq as i64 * 20_000)).unwrap() {}
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
    });
    assert_eq!(packets(&path), (600 * 1275, 600 * 1275));
}

#[test]
fn a_reader_keeps_to_its_moment() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let bounds = Bounds {
        intervals: Duration::ZERO,
        hours: Duration::ZERO,
        days: Duration::ZERO,
        ..Bounds::default()
    };
    let mut store = Store::open(&path, bounds).unwrap();
    store.write(&busy("r", 1, BEGINNING + 1, 50)).unwrap();
    let reader = Reader::open(&path).unwrap();
    store.write(&busy("r", 2, BEGINNING + 2, 50)).unwrap();
    while store.tidy(at(BEGINNING + 10 * DAY_MS)).unwrap() {}
    assert_eq!(packets(&path), (0, 0));
    let plan = reader.plan(i64::MIN, i64::MAX, Resolution::Interval);
    let mut rows = 0;
    reader
        .flows(&plan, &mut |flow| rows += flow.counts.packets)
        .unwrap();
    assert_eq!(rows, 1275);
}

#[test]
fn a_history_that_is_too_large_gives_up_intervals_then_hours_and_nothing_that_is_not_rolled_up() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let bounds = |bytes| Bounds {
        bytes,
        ..Bounds::default()
    };
    let write = |store: &mut Store, from: u64, to: u64| {
        for seq in from..to {
            store
                .write(&busy("r", seq, BEGINNING + seq as i64 * 600_000, 1000))
                .unwrap();
        }
    };
    // Two days, twelve hours and a half, an interval every ten minutes.
    let mut store = Store::open(&path, bounds(u64::MAX)).unwrap();
    write(&mut store, 1, 364);
    let now = at(BEGINNING + 364 * 600_000);
    while store.tidy(now).unwrap() {}
    let all = packets(&path);
    let count = |table: &str| -> i64 {
        let connection = open(&path, Access::Read).unwrap();
        connection
            .query_row(&format!("SELECT count(*) FROM {table}"), (), |row| row.get(0))
            .unwrap()
    };
    let full = std::fs::metadata(&path).unwrap().len();
    let before = count("interval");
    assert!(before > 280, "{before}");
    drop(store);

    let mut store = Store::open(&path, bounds(full * 3 / 4)).unwrap();
    while store.tidy(now).unwrap() {}
    let (intervals, hours) = (count("interval"), count("total_hour"));
    assert!(
        intervals < before && intervals > 0 && hours > 55,
        "{intervals} {hours}"
    );
    assert_eq!(packets(&path), all);
    drop(store);

    // As small as can be: the intervals of the hour that is not over stay, and so do the hours of the day that is not.
    let mut store = Store::open(&path, bounds(0)).unwrap();
    while store.tidy(now).unwrap() {}
    drop(store);
    assert_eq!((count("total_day"), count("total_hour")), (0, 12));
    let left = count("interval");
    assert_eq!(left, 3);
    let (rows, counted) = packets(&path);
    assert_eq!(rows, counted);
    // The room goes back to the file system.
    let small = std::fs::metadata(&path).unwrap().len();
    assert!(small < full / 2, "{small} of {full}");
}

#[test]
fn an_hour_of_ever_other_destinations_is_made_in_bounded_memory_and_exactly() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let bounds = Bounds {
        top: 3000,
        ..Bounds::default()
    };
    let mut store = Store::open(&path, bounds).unwrap();
    let mut all = 0;
    for seq in 1..=60_u32 {
        let destinations = (0..3000_u32)
            .map(|n| {
                sample::destination(
                    (0x0a00_0000 + seq * 3000 + n).to_be_bytes(),
                    u64::from(seq * n) + 1,
                    100,
                )
            })
            .collect();
        let record = sample::record("r", seq.into(), BEGINNING + i64::from(seq) * 60_000, destinations);
        all += record.totals.counted.packets;
        store.write(&record).unwrap();
    }
    while store.tidy(at(BEGINNING + 2 * HOUR_MS)).unwrap() {}
    let reader = Reader::open(&path).unwrap();
    let plan = reader.plan(BEGINNING, BEGINNING + HOUR_MS, Resolution::Hour);
    let (mut kept, mut packets, mut least) = (0, 0, u64::MAX);
    reader
        .flows(&plan, &mut |flow| {
            packets += flow.counts.packets;
            if flow.address.is_some() {
                kept += 1;
                least = least.min(flow.counts.packets);
            }
        })
        .unwrap();
    assert_eq!((kept, packets), (3000, all));
    // 180,000 destinations with up to 180,000 packets: the largest 3000 have more than 120,000 each.
    assert!(least > 120_000, "{least}");
}

#[test]
fn what_the_dictionaries_have_goes_with_the_last_day_that_speaks_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let bounds = Bounds {
        intervals: Duration::ZERO,
        hours: Duration::ZERO,
        days: Duration::from_secs(3 * 86_400),
        ..Bounds::default()
    };
    let mut store = Store::open(&path, bounds).unwrap();
    for day in 0..30 {
        let mut record = busy(&format!("run{day}"), 1, BEGINNING + day * DAY_MS + 1, 2);
        for row in &mut record.destinations {
            row.names = sample::asked(&[&format!("{day}.example")]);
            row.place = sample::place(&format!("C{day}"), 7);
            row.interface = format!("tun{day}").into();
        }
        store.write(&record).unwrap();
        while store.tidy(at(BEGINNING + day * DAY_MS + 2 * HOUR_MS)).unwrap() {}
    }
    let connection = open(&path, Access::Read).unwrap();
    for table in ["run", "place", "origin", "names"] {
        let entries: i64 = connection
            .query_row(&format!("SELECT count(*) FROM {table}"), (), |row| row.get(0))
            .unwrap();
        assert!((3..=6).contains(&entries), "{table}: {entries}");
    }
    let (rows, counted) = packets(&path);
    assert_eq!(rows, counted);
    assert!(rows >= 9, "{rows}");
}
