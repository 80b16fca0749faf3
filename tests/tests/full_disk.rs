//! A full disk under the record file: counting goes on, records wait and are written whole and once when there is room.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::fs;

use tcpwatch_tests::disk::SmallDisk;
use tcpwatch_tests::lab::{Lab, NEAR_V4};
use tcpwatch_tests::records::{self, check_books};
use tcpwatch_tests::wait;

#[test]
fn a_full_disk_costs_no_record() {
    let lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(directory.path(), "256k");
    let path = directory.path().join("records.jsonl");
    let mut watch = lab
        .tcpwatch(["run", "--format", "csv", "--interval", "100ms"])
        .with_path("--record", &path)
        .spawn();
    watch.wait_until_started();
    let mut socket = lab.udp_v4();
    let mut send = |times| {
        for n in 1..20_u8 {
            socket.send_times([192, 0, 2, n].into(), 10, times);
        }
    };
    send(3);
    wait::until("a record is written", || {
        fs::read_to_string(&path).unwrap().contains('\n')
    });

    let filler = disk.fill();
    send(5);
    let said = |watch: &tcpwatch_tests::daemon::Tcpwatch, text: &str| {
        watch.stderr_lines().iter().any(|line| line.contains(text))
    };
    wait::until("the failure is said", || said(&watch, "cannot write to"));
    // Counting goes on, and so does the other output.
    let before = watch.stdout_lines().len();
    send(7);
    wait::until("stdout goes on", || watch.stdout_lines().len() > before);

    fs::remove_file(filler).unwrap();
    wait::until("the recovery is said", || said(&watch, "can be written again"));
    send(11);
    let ended = watch.stop();
    assert_eq!(ended.code(), Some(0), "{:#?}", ended.stderr);

    let text = fs::read_to_string(&path).unwrap();
    let records: Vec<records::Record> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a whole line"))
        .collect();
    // Numbers without a gap, whole books, and every packet.
    check_books(&records);
    records::check_sent(&records, socket.sent(), NEAR_V4);
}
