//! The history of the real program: exactly what its records have, over restarts and kills, and whatever happens to the file.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tcpwatch_tests::daemon::{Ended, Tcpwatch};
use tcpwatch_tests::disk::SmallDisk;
use tcpwatch_tests::invocation::Invocation;
use tcpwatch_tests::lab::{Lab, NEAR_V4};
use tcpwatch_tests::records::{self, Record};
use tcpwatch_tests::wait;

fn read(path: &Path) -> Vec<Record> {
    records::parse(fs::read_to_string(path).unwrap().lines())
}

fn run(lab: &Lab, history: &Path, record: &Path) -> Invocation {
    lab.tcpwatch(["run", "--format", "csv", "--interval", "100ms"])
        .with_path("--history", history)
        .with_path("--record", record)
}

/// The program's verdict on the books.
fn verify(lab: &Lab, files: &[&Path]) -> Ended {
    let files = files.iter().map(|path| path.to_str().unwrap());
    lab.tcpwatch(["verify"]).with(files).finish()
}

fn said(watch: &Tcpwatch, text: &str) -> bool {
    watch.stderr_lines().iter().any(|line| line.contains(text))
}

#[test]
fn the_history_has_what_the_records_have_also_after_a_restart() {
    let lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    let (history, file) = (directory.path().join("h.db"), directory.path().join("r.jsonl"));
    let mut socket = lab.udp_v4();
    let mut sixth = lab.udp_v6();
    for round in 1..=3 {
        let watch = run(&lab, &history, &file).start();
        assert!(said(
            &watch,
            &format!(
                "history    {}, intervals 2 days, hours 30 days, days 2 years",
                history.display()
            )
        ));
        for n in 1..40_u8 {
            socket.send_times([192, 0, 2, n].into(), 10 * round, u64::from(n));
        }
        sixth.send_times("2001:db8:1::1".parse().unwrap(), 100, 7);
        watch.wait_for_csv();
        for n in 1..40_u8 {
            socket.send_times([198, 51, 100, n].into(), 100, 3);
        }
        let ended = watch.stop();
        assert_eq!(ended.code(), Some(0), "{:#?}", ended.stderr);
    }
    let records = read(&file);
    records::check_sent(&records, socket.sent(), NEAR_V4);
    assert_eq!(records::kept(&history), records::by_flow(&records));

    let verdict = verify(&lab, &[&file, &history]);
    assert_eq!(verdict.code(), Some(0), "{:#?}", verdict.stdout);
    assert_eq!(verdict.stdout.last().unwrap(), "no findings");
    // The control: one packet more, in the one and in the other.
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replacen("\"packets\":39,", "\"packets\":40,", 1)).unwrap();
    let verdict = verify(&lab, &[&file]);
    assert_eq!(verdict.code(), Some(1), "{:#?}", verdict.stdout);
    let mut bytes = fs::read(&history).unwrap();
    let half = bytes.len() / 2;
    bytes[half..].fill(0x5a);
    fs::write(&history, bytes).unwrap();
    let verdict = verify(&lab, &[&history]);
    assert_eq!(
        verdict.code(),
        Some(1),
        "{:#?} {:#?}",
        verdict.stdout,
        verdict.stderr
    );
}

#[test]
fn the_books_are_compared_with_the_devices_own_counters() {
    let lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    let (history, file) = (directory.path().join("h.db"), directory.path().join("r.jsonl"));
    let mut socket = lab.udp_v4();
    let watch = run(&lab, &history, &file).start();
    watch.wait_for_csv();
    // Spread over several intervals: what one of them has may be missing.
    for n in 1..=8_u8 {
        socket.send_times([192, 0, 2, n].into(), 100, 2500);
        watch.wait_for_csv();
    }
    assert_eq!(watch.stop().code(), Some(0));
    let records = read(&file);
    records::check_sent(&records, socket.sent(), NEAR_V4);
    let verdict = verify(&lab, &[&file]);
    assert_eq!(verdict.code(), Some(0), "{:#?}", verdict.stdout);
    // The control: a device that has sent nothing of it.
    let text = fs::read_to_string(&file).unwrap();
    let mut lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for line in &mut lines {
        line["interfaces"][0]["tx_packets"] = 7.into();
    }
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(&file, lines).unwrap();
    let verdict = verify(&lab, &[&file]);
    assert_eq!(verdict.code(), Some(1), "{:#?}", verdict.stdout);
    assert!(
        verdict
            .stdout
            .iter()
            .any(|line| line.contains("the devices have sent 0 packets")),
        "{:#?}",
        verdict.stdout
    );
}

/// Waits for something of which the program says nothing, record by record.
trait Progress {
    fn wait_for_csv(&self);
}

impl Progress for Tcpwatch {
    fn wait_for_csv(&self) {
        let before = self.stdout_lines().len();
        wait::until("the next record", || self.stdout_lines().len() > before + 16);
    }
}

#[test]
fn kills_cost_no_record_that_was_written_and_double_none() {
    let lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    let (history, file) = (directory.path().join("h.db"), directory.path().join("r.jsonl"));
    let mut socket = lab.udp_v4();
    for round in 0..5 {
        let watch = run(&lab, &history, &file).start();
        for n in 1..20_u8 {
            socket.send_times([192, 0, 2, n].into(), 10, 5);
        }
        watch.wait_for_csv();
        for n in 1..20_u8 {
            socket.send_times([192, 0, 2, n].into(), 10, 5 + round);
        }
        watch.kill();
    }
    let watch = run(&lab, &history, &file).start();
    watch.wait_for_csv();
    assert_eq!(watch.stop().code(), Some(0));
    // The last start has ended a line that was torn: it is no record.
    let records: Vec<Record> = fs::read_to_string(&file)
        .unwrap()
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    // A kill can fall between the two outputs. What the file has and the history has not goes in, and nothing else.
    let import = || {
        lab.tcpwatch(["import", file.to_str().unwrap()])
            .with_path("--history", &history)
            .finish()
    };
    let numbers = |ended: &Ended| -> Vec<u64> {
        let line = ended.stdout[0].rsplit(": ").next().unwrap().to_owned();
        line.split(", ")
            .map(|part| part.split(' ').next().unwrap().parse().unwrap())
            .collect()
    };
    let first = numbers(&import());
    assert_eq!(first[0] + first[1], records.len() as u64, "{first:?}");
    assert!(first[0] <= 5, "at most one for each kill: {first:?}");
    assert_eq!(numbers(&import())[..2], [0, records.len() as u64]);
    let kept = records::kept(&history);
    for (flow, counts) in records::by_flow(&records) {
        let in_history = kept.get(&flow).copied().unwrap_or_default();
        assert!(in_history.packets >= counts.packets, "{flow:?}");
        let sent = socket.sent().get(&flow.0).copied().unwrap_or_default();
        assert!(
            in_history.packets <= sent.packets,
            "{flow:?}: {in_history:?} of {sent:?}"
        );
    }
    let verdict = verify(&lab, &[&history]);
    assert_eq!(verdict.code(), Some(0), "{:#?}", verdict.stdout);
}

#[test]
fn a_full_disk_costs_no_record_of_the_history() {
    let lab = Lab::new();
    let (directory, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let disk = SmallDisk::mount(directory.path(), "1m");
    let (history, file) = (directory.path().join("h.db"), other.path().join("r.jsonl"));
    let watch = run(&lab, &history, &file).start();
    let mut socket = lab.udp_v4();
    let mut send = |times| {
        for n in 1..20_u8 {
            socket.send_times([192, 0, 2, n].into(), 10, times);
        }
    };
    send(3);
    watch.wait_for_csv();
    let filler = disk.fill();
    send(5);
    wait::until("the failure is said", || said(&watch, "cannot write the history"));
    // Counting goes on, and so do the other outputs.
    send(7);
    watch.wait_for_csv();
    fs::remove_file(filler).unwrap();
    wait::until("the recovery is said", || {
        said(&watch, "the history can be written again")
    });
    send(11);
    let ended = watch.stop();
    assert_eq!(ended.code(), Some(0), "{:#?}", ended.stderr);
    let records = read(&file);
    records::check_books(&records);
    records::check_sent(&records, socket.sent(), NEAR_V4);
    assert_eq!(records::kept(&history), records::by_flow(&records));
    let verdict = verify(&lab, &[&file, &history]);
    assert_eq!(verdict.code(), Some(0), "{:#?}", verdict.stdout);
}

#[test]
fn a_history_that_takes_nothing_holds_up_neither_records_nor_the_end() {
    let lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    let (history, file) = (directory.path().join("h.db"), directory.path().join("r.jsonl"));
    let watch = run(&lab, &history, &file).start();
    let mut socket = lab.udp_v4();
    watch.wait_for_csv();
    let other = rusqlite::Connection::open(&history).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    socket.send_times([192, 0, 2, 1].into(), 10, 9);
    // More records than can wait.
    wait::until("more than can wait", || said(&watch, "the history takes nothing"));
    let ended = watch.stop();
    assert_eq!(ended.code(), Some(1));
    assert!(
        ended
            .stderr
            .last()
            .unwrap()
            .contains("records could not be written"),
        "{:#?}",
        ended.stderr
    );
    let records = read(&file);
    records::check_books(&records);
    records::check_sent(&records, socket.sent(), NEAR_V4);
    other.execute_batch("COMMIT").unwrap();
    // The gap is a finding, and importing the records closes it.
    let verdict = verify(&lab, &[&history]);
    let import = lab
        .tcpwatch(["import", file.to_str().unwrap()])
        .with_path("--history", &history)
        .finish();
    assert_eq!(import.code(), Some(0), "{:#?}", import.stderr);
    assert_eq!(records::kept(&history), records::by_flow(&records));
    assert_eq!(
        verify(&lab, &[&history]).code(),
        Some(0),
        "before: {:#?}",
        verdict.stdout
    );
}

#[test]
fn a_history_that_was_asked_for_and_cannot_be_opened_is_an_error_before_anything_is_attached() {
    let lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    let text = directory.path().join("text");
    fs::write(&text, "somebody's text\n".repeat(100)).unwrap();
    for (path, message) in [
        (&text, "is no history of tcpwatch"),
        (&text.join("h.db"), "cannot make the directory of the history"),
    ] {
        let ended = lab
            .tcpwatch(["run", "--format", "csv"])
            .with_path("--history", path)
            .finish();
        assert_eq!(ended.code(), Some(2), "{:#?}", ended.stderr);
        assert!(
            ended.stderr.last().unwrap().contains(message),
            "{:#?}",
            ended.stderr
        );
        assert!(!ended.stderr.iter().any(|line| line.contains("watching outgoing")));
    }
    for arguments in [
        ["run", "--history-keep", "3d/1d/9d"],
        ["run", "--history-size", "1kB"],
        ["run", "--history-top", "0"],
    ] {
        assert_eq!(lab.tcpwatch(arguments).finish().code(), Some(2));
    }
    assert_eq!(lab.tcpwatch(["verify", "/nonexistent"]).finish().code(), Some(2));
    assert_eq!(lab.tcpwatch(["import", "/nonexistent"]).finish().code(), Some(2));
}

/// Starts the program with an empty /var/lib of its own, mounted with these options.
fn with_own_directory(lab: &Lab, script: &Path, prepare: &str) -> Tcpwatch {
    let text = format!(
        "#!/bin/sh\nset -e\nmount -t tmpfs tmpfs /var/lib\n{prepare}\nunset TCPWATCH_HISTORY\nexec \"$@\"\n"
    );
    fs::write(script, text).unwrap();
    fs::set_permissions(script, fs::Permissions::from_mode(0o755)).unwrap();
    lab.tcpwatch(["run", "--format", "csv", "--interval", "100ms"])
        .under(&format!("unshare --mount {}", script.display()))
        .start()
}

#[test]
fn a_history_is_kept_by_default_and_one_that_cannot_be_is_a_warning() {
    let lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("start");
    let watch = with_own_directory(&lab, &script, "");
    assert!(said(
        &watch,
        "history    /var/lib/tcpwatch/history.db, intervals 2 days"
    ));
    watch.wait_for_csv();
    let file = format!("/proc/{}/root/var/lib/tcpwatch/history.db", watch.pid());
    assert!(fs::metadata(file).unwrap().len() > 0);
    assert_eq!(watch.stop().code(), Some(0));

    let watch = with_own_directory(&lab, &script, "mount -o remount,ro /var/lib");
    assert!(said(
        &watch,
        "no history is kept: cannot make the directory of the history"
    ));
    assert!(!said(&watch, "history    "));
    watch.wait_for_csv();
    let ended = watch.stop();
    assert_eq!(ended.code(), Some(0), "{:#?}", ended.stderr);
}
