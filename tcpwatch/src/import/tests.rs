//! Records through files into a history.

use std::io::Write as _;
use std::path::Path;

use clap::Parser;

use super::*;
use crate::history::{Reader, Resolution};
use crate::record::sample;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

/// What was said on both outputs, and how it ended.
fn import(history: &Path, files: &[&Path]) -> (String, String, Ending) {
    let words = ["import", "--history"].map(std::ffi::OsString::from);
    let words = words
        .into_iter()
        .chain([history.into()])
        .chain(files.iter().map(|path| path.as_os_str().to_owned()));
    let (mut out, mut notices) = (Vec::new(), Vec::new());
    let ending = run(Line::parse_from(words).arguments, &mut out, &mut notices).unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(out), text(notices), ending)
}

/// An hour and more, until a few days ago, a record every 20 s.
fn records() -> Vec<Record> {
    let beginning = Timestamp::now().as_millisecond() - 20 * 86_400_000;
    (1..=200)
        .map(|seq| {
            let destinations = (0..10)
                .map(|n| sample::destination([192, 0, 2, n], seq + u64::from(n), 100))
                .collect();
            sample::record("r", seq, beginning + seq as i64 * 20_000, destinations)
        })
        .collect()
}

fn write(path: &Path, records: &[Record]) {
    let mut file = std::fs::File::create(path).unwrap();
    for record in records {
        writeln!(file, "{}", serde_json::to_string(record).unwrap()).unwrap();
    }
}

fn packets(path: &Path) -> u64 {
    let reader = Reader::open(path).unwrap();
    let mut packets = 0;
    let plan = reader.plan(i64::MIN, i64::MAX, Resolution::Interval);
    reader
        .flows(&plan, &mut |flow| packets += flow.counts.packets)
        .unwrap();
    packets
}

#[test]
fn what_is_imported_is_all_of_it_once() {
    let directory = tempfile::tempdir().unwrap();
    let (path, file) = (directory.path().join("h.db"), directory.path().join("a.jsonl"));
    let records = records();
    write(&file, &records);
    let expected: u64 = records.iter().map(|record| record.totals.counted.packets).sum();
    let (out, notices, ending) = import(&path, &[&file]);
    assert_eq!(out, format!("{}: 200 new, 0 known, 0 refused\n", path.display()));
    assert_eq!((notices.as_str(), ending), ("", Ending::Done));
    assert_eq!(packets(&path), expected);
    // Again, although the intervals have been rolled up and are gone.
    let (out, _, ending) = import(&path, &[&file, &file]);
    assert_eq!(out, format!("{}: 0 new, 400 known, 0 refused\n", path.display()));
    assert_eq!(ending, Ending::Done);
    assert_eq!(packets(&path), expected);
    assert_eq!(
        crate::verify::tests::verify(&[&path]).0.last().unwrap(),
        "no findings"
    );
}

#[test]
fn what_came_in_parts_and_out_of_order_is_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("h.db");
    let mut records = records();
    let expected: u64 = records.iter().map(|record| record.totals.counted.packets).sum();
    records.reverse();
    for (at, part) in records.chunks(37).enumerate() {
        let file = directory.path().join(format!("{at}.jsonl"));
        write(&file, part);
        import(&path, &[&file]);
    }
    assert_eq!(packets(&path), expected);
    assert_eq!(
        crate::verify::tests::verify(&[&path]).0.last().unwrap(),
        "no findings"
    );
}

#[test]
fn what_is_no_record_is_refused_and_said_and_the_rest_goes_in() {
    let directory = tempfile::tempdir().unwrap();
    let (path, file) = (directory.path().join("h.db"), directory.path().join("a.jsonl"));
    let mut records = records();
    records.truncate(5);
    records[0].totals.counted.packets += 1;
    // This one says so itself.
    records[1].totals.counted.packets += 1;
    records[1].balanced = false;
    records[2].schema = 2;
    records[3].destinations[0].packets = u64::MAX;
    write(&file, &records);
    let mut lines = std::fs::OpenOptions::new().append(true).open(&file).unwrap();
    lines.write_all(b"\x1b[31m\n{\"a\":").unwrap();
    let (out, notices, ending) = import(&path, &[&file]);
    assert_eq!(
        out,
        format!(
            "{}: 2 new, 0 known, 5 refused\n  refused: 2 line that is no record\n  refused: 3 record whose books are not in order\n",
            path.display()
        )
    );
    assert_eq!(ending, Ending::Failed);
    assert_eq!(notices.lines().count(), 5);
    assert!(
        notices.starts_with(&format!("tcpwatch: {}:1: seen is", file.display())),
        "{notices}"
    );
    assert!(!notices.contains('\x1b'));
}

#[test]
fn nothing_is_begun_when_a_file_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("h.db");
    let words = ["import", "--history", path.to_str().unwrap(), "/nonexistent"];
    let error = run(
        Line::parse_from(words).arguments,
        &mut Vec::new(),
        &mut Vec::new(),
    )
    .unwrap_err();
    assert!(matches!(error, ImportError::Open { .. }) && error.before_start());
    assert!(!path.exists());
    let words = ["import", "--history", "none", "/nonexistent"];
    let error = run(
        Line::parse_from(words).arguments,
        &mut Vec::new(),
        &mut Vec::new(),
    )
    .unwrap_err();
    assert!(matches!(error, ImportError::None), "{error}");
}

#[test]
fn an_import_deletes_nothing_because_how_long_is_kept_is_for_the_daemon_to_say() {
    let directory = tempfile::tempdir().unwrap();
    let (path, file) = (directory.path().join("h.db"), directory.path().join("a.jsonl"));
    write(&file, &records());
    import(&path, &[&file]);
    let reader = Reader::open(&path).unwrap();
    let plan = reader.plan(i64::MIN, i64::MAX, Resolution::Interval);
    assert_eq!(plan.coarsest(), Some(Resolution::Interval));
    assert_eq!(
        reader.buckets(&plan).unwrap().len(),
        200,
        "20 days old, and still interval by interval"
    );
    drop(reader);
    // The control: a daemon that keeps intervals for two days.
    let mut store = Store::open(&path, crate::history::Bounds::default()).unwrap();
    while store.tidy(Timestamp::now()).unwrap() {}
    let reader = Reader::open(&path).unwrap();
    let plan = reader.plan(i64::MIN, i64::MAX, Resolution::Interval);
    assert_eq!(plan.coarsest(), Some(Resolution::Hour));
}
