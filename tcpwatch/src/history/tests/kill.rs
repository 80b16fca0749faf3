//! SIGKILL in the middle of writing, again and again: what was acknowledged is there, once.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use jiff::Timestamp;

use super::store::{busy, packets};
use crate::history::rollup::DAY_MS;
use crate::history::schema::{Access, open};
use crate::history::{Bounds, Store, Written};

const BEGINNING: i64 = 20_000 * DAY_MS;
const KILLS: u32 = 200;
/// Packets of a record to 40 destinations.
const PACKETS: u64 = 820;

fn end_ms(seq: u64) -> i64 {
    // Twelve in an hour, so that roll-ups and deletions are killed, too.
    BEGINNING + seq as i64 * 300_000
}

fn bounds() -> Bounds {
    Bounds {
        top: 30,
        intervals: Duration::from_secs(2 * 3600),
        hours: Duration::from_secs(24 * 3600),
        ..Bounds::default()
    }
}

/// What the killed process does: write, say so, and go on. Without the variable, nothing.
#[test]
fn child() {
    let Ok(task) = std::env::var("TCPWATCH_TEST_WRITER") else {
        return;
    };
    let (first, path) = task.split_once(' ').unwrap();
    let first: u64 = first.parse().unwrap();
    let mut store = Store::open(Path::new(path), bounds()).unwrap();
    let mut stdout = std::io::stdout();
    // The last one that was acknowledged once more: a retry.
    if first > 1 {
        let again = store.write(&busy("r", first - 1, end_ms(first - 1), 40)).unwrap();
        assert_eq!(again, Written::Known, "record {} was acknowledged", first - 1);
    }
    for seq in first.. {
        // Perhaps it was written before it could be acknowledged.
        store.write(&busy("r", seq, end_ms(seq), 40)).unwrap();
        if writeln!(stdout, "written {seq}")
            .and_then(|()| stdout.flush())
            .is_err()
        {
            return;
        }
        store
            .tidy(Timestamp::from_millisecond(end_ms(seq)).unwrap())
            .unwrap();
    }
}

#[test]
fn no_kill_loses_or_doubles_a_record() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let program = std::env::current_exe().unwrap();
    let (mut acknowledged, mut random) = (0_u64, 0x9e37_79b9_7f4a_7c15_u64);
    for _ in 0..KILLS {
        let mut child = Command::new(&program)
            .args(["--exact", "--nocapture", "history::tests::kill::child"])
            .env(
                "TCPWATCH_TEST_WRITER",
                format!("{} {}", acknowledged + 1, path.display()),
            )
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // After so many records, and so many turns of a loop later.
        let (records, turns) = ((random >> 40) % 12, (random >> 33) % 200_000);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut taken = 0;
        for line in lines.by_ref() {
            let line = line.unwrap();
            if let Some((_, seq)) = line.split_once("written ") {
                acknowledged = seq.parse().unwrap();
                taken += 1;
            }
            if taken > records {
                break;
            }
        }
        assert!(
            taken > records,
            "the writer ended by itself: {:?}",
            child.wait_with_output()
        );
        for turn in 0..turns {
            std::hint::black_box(turn);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it still said is acknowledged as well.
        for line in lines.map_while(Result::ok) {
            if let Some(seq) = line.strip_prefix("written ").and_then(|seq| seq.parse().ok()) {
                acknowledged = seq;
            }
        }
        let (rows, counted) = packets(&path);
        assert_eq!(rows, counted);
        // One may have been written before it could be acknowledged.
        let written = rows / PACKETS;
        assert_eq!(rows % PACKETS, 0);
        assert!(
            (acknowledged..=acknowledged + 1).contains(&written),
            "{acknowledged} acknowledged, {written} there"
        );
    }
    assert!(acknowledged > u64::from(KILLS));
    let connection = open(&path, Access::Read).unwrap();
    let verdict: String = connection
        .query_row("PRAGMA integrity_check", (), |row| row.get(0))
        .unwrap();
    assert_eq!(verdict, "ok");
    let days: i64 = connection
        .query_row("SELECT count(*) FROM total_day", (), |row| row.get(0))
        .unwrap();
    assert!(days > 0, "kills met roll-ups of days, too");
}
