//! The command as a whole, on files and histories that are in order and on such as are not.

use std::io::Write as _;
use std::path::Path;

use jiff::Timestamp;
use rusqlite::Connection;

use super::*;
use crate::history::{Bounds, Store};
use crate::record::sample;

/// What is said of these files, and how it ended.
pub(crate) fn verify(files: &[&Path]) -> (Vec<String>, Ending) {
    let arguments = Arguments {
        files: files.iter().map(|path| path.to_path_buf()).collect(),
        quiet: false,
    };
    let mut out = Vec::new();
    let ending = run(&arguments, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    (text.lines().map(str::to_owned).collect(), ending)
}

/// A run of records, one after the other.
fn records(count: u64) -> Vec<Record> {
    (1..=count)
        .map(|seq| {
            let mut record = sample::full();
            record.seq = seq;
            record.start = Timestamp::from_millisecond(1_700_000_000_000 + seq as i64 * 20_000).unwrap();
            record.end = Timestamp::from_millisecond(1_700_000_020_000 + seq as i64 * 20_000).unwrap();
            record
        })
        .collect()
}

fn write(path: &Path, records: &[Record]) {
    let mut file = std::fs::File::create(path).unwrap();
    for record in records {
        writeln!(file, "{}", serde_json::to_string(record).unwrap()).unwrap();
    }
}

#[test]
fn records_in_order_have_no_findings_also_over_several_files() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b) = (directory.path().join("a.jsonl"), directory.path().join("b.jsonl"));
    let records = records(10);
    write(&a, &records[..4]);
    write(&b, &records[4..]);
    let (said, ending) = verify(&[&a, &b]);
    assert_eq!(ending, Ending::Done);
    assert_eq!(
        said,
        [
            "10 records of 1 runs in 2 files, 2023-11-14T22:13:40Z to 2023-11-14T22:17:00Z, 20 destination rows: seen 590 packets and \
             72410 bytes, of which counted 500, banned 90, overflow 0",
            "no findings"
        ]
    );
    // The other way round they are not.
    let (said, ending) = verify(&[&b, &a]);
    assert_eq!(ending, Ending::Failed, "{said:?}");
}

#[test]
fn every_line_that_is_wrong_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.jsonl");
    let mut records = records(6);
    records[1].totals.counted.packets += 1;
    records.remove(3);
    write(&path, &records);
    let mut text = std::fs::read_to_string(&path).unwrap();
    text.insert_str(0, "\n\u{1b}[31mno record\n");
    let torn = serde_json::to_string(&records[0]).unwrap();
    text.push_str(&torn[..torn.len() / 2]);
    std::fs::write(&path, text).unwrap();
    let (said, ending) = verify(&[&path]);
    assert_eq!(ending, Ending::Failed);
    let name = path.display();
    let expected = [
        format!("{name}:1: is empty"),
        format!("{name}:2: is no record: expected value at line 1 column 1"),
        format!(
            "{name}:4: record 2 of run r: seen is 59 packets and 7241 bytes, the sum of the outcomes comes to 60 and 7241"
        ),
        format!(
            "{name}:4: record 2 of run r: counted is 51 packets and 6242 bytes, the sum over destinations comes to 50 and 6242"
        ),
        format!("{name}:6: record 5 of run r follows number 3: record 4 missing"),
        format!("{name}:8: has no end: a write broke off, or is going on; nothing else is said of it"),
    ];
    assert_eq!(said[..6], expected);
    assert_eq!(said.last().unwrap(), "6 findings");
}

#[test]
fn a_compressed_file_is_read_and_one_that_is_cut_short_is_a_finding() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.jsonl.gz");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for record in records(50) {
        writeln!(encoder, "{}", serde_json::to_string(&record).unwrap()).unwrap();
    }
    let bytes = encoder.finish().unwrap();
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(verify(&[&path]).1, Ending::Done);
    std::fs::write(&path, &bytes[..bytes.len() - 20]).unwrap();
    let (said, ending) = verify(&[&path]);
    assert_eq!(ending, Ending::Failed);
    assert!(
        said.iter().any(|line| line.contains("cannot be read to its end")),
        "{said:?}"
    );
}

#[test]
fn a_file_that_is_not_there_is_an_error() {
    let arguments = Arguments {
        files: vec!["/nonexistent/records.jsonl".into()],
        quiet: false,
    };
    assert!(matches!(
        run(&arguments, &mut Vec::new()),
        Err(VerifyError::Open { .. })
    ));
}

/// Four days of intervals, the older ones rolled up and deleted.
fn history(path: &Path) {
    let bounds = Bounds {
        top: 1,
        intervals: std::time::Duration::from_secs(6 * 3600),
        hours: std::time::Duration::from_secs(60 * 3600),
        ..Bounds::default()
    };
    let mut store = Store::open(path, bounds).unwrap();
    for n in 0..96 {
        let mut record = sample::full();
        record.seq = n + 1;
        record.start = Timestamp::from_millisecond(1_700_000_000_000 + n as i64 * 3_600_000).unwrap();
        record.end = Timestamp::from_millisecond(1_700_003_600_000 + n as i64 * 3_600_000).unwrap();
        store.write(&record).unwrap();
        while store.tidy(record.end).unwrap() {}
    }
}

#[test]
fn a_history_in_order_has_no_findings() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    history(&path);
    let (said, ending) = verify(&[&path]);
    assert_eq!(
        (said.last().unwrap().as_str(), ending),
        ("no findings", Ending::Done),
        "{said:?}"
    );
    assert!(
        said[0].contains(" intervals, ") && said[0].contains(" hours, "),
        "{said:?}"
    );
}

#[test]
fn whatever_is_changed_in_a_history_is_found() {
    let cases = [
        (
            "UPDATE interval SET counted_packets = counted_packets + 1 WHERE id = (SELECT max(id) FROM interval)",
            "counted is 51",
        ),
        (
            "UPDATE interval SET banned_bytes = 0 WHERE id = (SELECT max(id) FROM interval)",
            "banned is 9 packets and 0 bytes",
        ),
        (
            "UPDATE interval SET balanced = 0 WHERE id = (SELECT max(id) FROM interval)",
            "do not balance",
        ),
        (
            "DELETE FROM traffic_raw WHERE bucket = (SELECT max(bucket) FROM traffic_raw)",
            "has no row in traffic_raw",
        ),
        (
            "UPDATE traffic_raw SET rows = x'0199' WHERE bucket = (SELECT max(bucket) FROM traffic_raw)",
            "cannot be read",
        ),
        (
            "DELETE FROM interval WHERE id = (SELECT max(id) - 1 FROM interval)",
            "records 95 to 95 are missing",
        ),
        (
            "INSERT INTO written SELECT run, seq, seq FROM interval WHERE id = (SELECT max(id) FROM interval)",
            "record 96 is there twice",
        ),
        ("DELETE FROM place", "that it speaks of are missing"),
        (
            "UPDATE total_hour SET skbs = skbs + 1 WHERE bucket = (SELECT max(bucket) FROM total_hour)",
            "its totals are not the sum of its intervals",
        ),
        (
            "UPDATE total_day SET drains = 0 WHERE bucket = (SELECT max(bucket) FROM total_day)",
            "its totals are not the sum of its hours",
        ),
        (
            "UPDATE traffic_hour SET rows = (SELECT rows FROM traffic_day ORDER BY bucket DESC LIMIT 1) WHERE bucket = (SELECT max(bucket) FROM traffic_hour)",
            "the sum over destinations",
        ),
        (
            "UPDATE progress SET value = 0 WHERE what = 'hours_to'",
            "is outside of what was made",
        ),
        (
            "UPDATE progress SET value = value + 1000 WHERE what = 'hours_gone'",
            "hours were deleted that no day has",
        ),
        (
            "UPDATE progress SET value = value * 2 WHERE what = 'raw_gone_ms'",
            "intervals were deleted that no hour has",
        ),
        (
            "PRAGMA writable_schema = 1; DELETE FROM sqlite_schema WHERE name = 'interval_end'",
            "SQLite: ",
        ),
    ];
    for (change, finding) in cases {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history.db");
        history(&path);
        Connection::open(&path).unwrap().execute_batch(change).unwrap();
        let (said, ending) = verify(&[&path]);
        assert_eq!(ending, Ending::Failed, "{change}");
        assert!(
            said.iter().any(|line| line.contains(finding)),
            "{change}: {said:#?}"
        );
    }
}
