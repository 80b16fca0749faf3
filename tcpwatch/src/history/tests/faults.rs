//! What can go wrong with the file: records wait, are written when it is right again, or are counted as lost.

use std::fs;
use std::io::{Seek as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::store::{busy, packets};
use crate::history::rollup::DAY_MS;
use crate::history::{Bounds, HistoryError, Keeper, Outcome, Reader, Store};
use crate::record::Record;

const PATIENCE: Duration = Duration::from_secs(20);

fn record(seq: u64) -> Arc<Record> {
    let now = jiff::Timestamp::now().as_millisecond();
    Arc::new(busy("r", seq, now + seq as i64, 10))
}

/// Packets of a record.
const PACKETS: u64 = 55;

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        thread::yield_now();
    }
}

fn start(path: &Path) -> Keeper {
    Keeper::start(path, Bounds::default()).unwrap()
}

fn damaged(directory: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.display().to_string().contains(".damaged-"))
        .filter(|path| !path.display().to_string().ends_with("-wal"))
        .filter(|path| !path.display().to_string().ends_with("-shm"))
        .collect();
    found.sort();
    found
}

fn written(count: u64) -> Outcome {
    Outcome {
        written: count,
        ..Outcome::default()
    }
}

#[test]
fn what_is_pushed_is_written_when_it_ends() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let keeper = start(&path);
    for seq in 1..=30 {
        keeper.push(record(seq));
    }
    assert_eq!(keeper.finish(PATIENCE), written(30));
    assert_eq!(packets(&path), (30 * PACKETS, 30 * PACKETS));
}

#[test]
fn records_wait_while_another_process_has_the_lock() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let keeper = start(&path);
    keeper.push(record(1));
    until("the first is written", || keeper.waiting() == 0);
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let locked = Instant::now();
    for seq in 2..=5 {
        keeper.push(record(seq));
    }
    // Longer than one waits for a lock.
    until("it waits", || locked.elapsed() > Duration::from_millis(5600));
    assert_eq!(keeper.waiting(), 4);
    other.execute_batch("COMMIT").unwrap();
    until("all are written", || keeper.waiting() == 0);
    assert_eq!(keeper.finish(PATIENCE), written(5));
    assert_eq!(packets(&path), (5 * PACKETS, 5 * PACKETS));
}

#[test]
fn the_end_waits_no_longer_than_it_may() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let keeper = start(&path);
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let started = Instant::now();
    for seq in 1..=3 {
        keeper.push(record(seq));
    }
    assert!(
        started.elapsed() < Duration::from_millis(500),
        "handing over waits for nothing"
    );
    let outcome = keeper.finish(Duration::from_millis(300));
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(
        outcome,
        Outcome {
            left: 3,
            ..Outcome::default()
        }
    );
}

#[test]
fn a_full_queue_drops_the_oldest_and_counts_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let keeper = start(&path);
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    keeper.push(record(1));
    // It is out of the queue and waits for the lock, or it is still in it: then one more is dropped.
    until("it is taken", || keeper.waiting() == 1);
    for seq in 2..=101 {
        keeper.push(record(seq));
    }
    assert!(keeper.waiting() <= 65);
    other.execute_batch("COMMIT").unwrap();
    until("the rest is written", || keeper.waiting() == 0);
    let outcome = keeper.finish(PATIENCE);
    assert_eq!((outcome.written + outcome.dropped, outcome.left), (101, 0));
    assert!((36..=37).contains(&outcome.dropped), "{outcome:?}");
    // The newest are those that are there.
    assert_eq!(packets(&path).0, outcome.written * PACKETS);
    let connection = Connection::open(&path).unwrap();
    let last: i64 = connection
        .query_row("SELECT max(seq) FROM interval", (), |row| row.get(0))
        .unwrap();
    assert_eq!(last, 101);
}

#[test]
fn a_record_that_cannot_be_kept_holds_up_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let keeper = start(&path);
    let mut hostile = (*record(1)).clone();
    hostile.totals.seen.bytes = u64::MAX;
    keeper.push(Arc::new(hostile));
    keeper.push(record(2));
    assert_eq!(
        keeper.finish(PATIENCE),
        Outcome {
            written: 1,
            dropped: 1,
            left: 0
        }
    );
    assert_eq!(packets(&path), (PACKETS, PACKETS));
}

#[test]
fn a_file_that_is_removed_is_begun_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let keeper = start(&path);
    keeper.push(record(1));
    until("the first is written", || keeper.waiting() == 0);
    for suffix in ["", "-wal", "-shm"] {
        fs::remove_file(directory.path().join(format!("history.db{suffix}"))).unwrap();
    }
    keeper.push(record(2));
    until("the second is written", || keeper.waiting() == 0);
    assert_eq!(packets(&path), (PACKETS, PACKETS));
    // The same with another one in its place.
    let other = directory.path().join("other.db");
    drop(Store::open(&other, Bounds::default()).unwrap());
    fs::rename(&other, &path).unwrap();
    keeper.push(record(3));
    assert_eq!(keeper.finish(PATIENCE), written(3));
    assert_eq!(packets(&path), (PACKETS, PACKETS));
}

/// Garbage over all but the first so many bytes.
fn spoil(path: &Path, from: u64) {
    let length = fs::metadata(path).unwrap().len();
    let mut file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.seek(std::io::SeekFrom::Start(from)).unwrap();
    file.write_all(&vec![0xa5; (length - from) as usize]).unwrap();
}

#[test]
fn a_damaged_file_is_moved_away_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let keeper = start(&path);
    keeper.push(record(1));
    assert_eq!(keeper.finish(PATIENCE), written(1));
    // Behind the header, in the table of tables.
    spoil(&path, 100);
    let keeper = start(&path);
    keeper.push(record(2));
    assert_eq!(keeper.finish(PATIENCE), written(1));
    assert_eq!(packets(&path), (PACKETS, PACKETS));
    assert_eq!(damaged(directory.path()).len(), 1);
}

#[test]
fn a_file_that_is_damaged_while_it_is_used_is_moved_away() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let keeper = start(&path);
    keeper.push(record(1));
    until("the first is written", || keeper.waiting() == 0);
    // Another writer, and all of it in the file: what the keeper has in memory is no longer what is there.
    let mut other = Store::open(&path, Bounds::default()).unwrap();
    other.write(&busy("other", 1, 20_000 * DAY_MS, 10)).unwrap();
    let connection = Connection::open(&path).unwrap();
    let busy: i64 = connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get(0))
        .unwrap();
    assert_eq!(busy, 0);
    spoil(&path, 4096);
    keeper.push(record(2));
    keeper.push(record(3));
    assert_eq!(keeper.finish(PATIENCE), written(3));
    assert_eq!(damaged(directory.path()).len(), 1);
    assert_eq!(packets(&path), (2 * PACKETS, 2 * PACKETS));
}

#[test]
fn another_programs_file_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch("CREATE TABLE theirs (x)").unwrap();
    drop(connection);
    let text = directory.path().join("text");
    fs::write(&text, "no database, but somebody's text\n".repeat(1000)).unwrap();
    for path in [&path, &text] {
        let before = fs::read(path).unwrap();
        let refused = Keeper::start(path, Bounds::default()).unwrap_err();
        assert!(matches!(refused, HistoryError::Foreign { .. }), "{refused}");
        assert!(matches!(Reader::open(path), Err(HistoryError::Foreign { .. })));
        assert_eq!(fs::read(path).unwrap(), before);
    }
}

#[test]
fn a_newer_version_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    drop(Store::open(&path, Bounds::default()).unwrap());
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let refused = Keeper::start(&path, Bounds::default()).unwrap_err();
    assert!(
        matches!(refused, HistoryError::Newer { version: 99, .. }),
        "{refused}"
    );
    assert!(matches!(
        Reader::open(&path),
        Err(HistoryError::Newer { version: 99, .. })
    ));
}

#[test]
fn there_is_no_history_to_read_where_there_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    assert!(matches!(Reader::open(&path), Err(HistoryError::Missing { .. })));
    assert!(!path.exists());
}

#[test]
fn a_place_where_no_file_can_be_made_is_said() {
    let directory = tempfile::tempdir().unwrap();
    // Not even root can make a directory in a file, nor a file of this name in a directory.
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let refused = Keeper::start(&file.join("history.db"), Bounds::default()).unwrap_err();
    assert!(matches!(refused, HistoryError::Directory { .. }), "{refused}");
    let refused = Keeper::start(directory.path(), Bounds::default()).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains(&directory.path().display().to_string()),
        "{refused}"
    );
    // For others, a directory without the right to write.
    if !rustix::process::geteuid().is_root() {
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o500)).unwrap();
        let refused = Keeper::start(&directory.path().join("history.db"), Bounds::default()).unwrap_err();
        assert!(matches!(refused, HistoryError::Make { .. }), "{refused}");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
    }
}
