//! From start to end: signals, numbers of records, record files, readers that go away, full tables.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::fs;
use std::net::IpAddr;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tcpwatch_tests::daemon::Tcpwatch;
use tcpwatch_tests::hook;
use tcpwatch_tests::lab::{Lab, NEAR_V4};
use tcpwatch_tests::records::{self, Counts, Record, check_books, to, totals};
use tcpwatch_tests::wait;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn read_records(path: &Path) -> Vec<Record> {
    records::parse(fs::read_to_string(path).unwrap().lines())
}

/// The lines of a file that may not be there yet.
fn line_count(path: &Path) -> usize {
    fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

#[test]
fn a_rotated_record_file_loses_no_record_and_repeats_none() {
    let lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("records.jsonl");
    let watch = lab
        .tcpwatch(["run", "--format", "json", "--interval", "100ms"])
        .with_path("--record", &path)
        .start();
    let mut socket = lab.udp_v4();
    let mut files = Vec::new();
    for rotation in 1..=3 {
        wait::until("the record file has three records", || {
            socket.send(address("192.0.2.1"), 10);
            line_count(&path) >= 3
        });
        let old = directory.path().join(format!("records.jsonl.{rotation}"));
        fs::rename(&path, &old).unwrap();
        watch.signal(libc::SIGHUP);
        wait::until("the record file is there again", || {
            socket.send(address("192.0.2.1"), 10);
            line_count(&path) >= 1
        });
        files.push(old);
    }
    let on_stdout = watch.stop().books();
    files.push(path);

    let in_files: Vec<Record> = files.iter().flat_map(|file| read_records(file)).collect();
    check_books(&in_files);
    assert_eq!(to(&in_files, "192.0.2.1"), socket.total());
    assert_eq!(in_files.len(), on_stdout.len());
    for (in_file, on_stdout) in in_files.iter().zip(&on_stdout) {
        assert_eq!((in_file.seq, in_file.totals), (on_stdout.seq, on_stdout.totals));
    }
}

#[test]
fn records_are_appended_to_what_the_file_has() {
    let lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("records.jsonl");
    for packets in [3, 4] {
        let watch = lab
            .tcpwatch(["run", "--interval", "1h"])
            .with_path("-o", &path)
            .start();
        lab.udp_v4().send_times(address("192.0.2.1"), 10, packets);
        watch.stop().books();
    }
    let records = read_records(&path);
    assert_eq!(records.len(), 2);
    assert_ne!(records[0].run, records[1].run);
    let counts: Vec<u64> = records
        .iter()
        .map(|record| to(std::slice::from_ref(record), "192.0.2.1").packets)
        .collect();
    assert_eq!(counts, [3, 4]);
}

/// Without a file to open anew it means what it means to every program: the terminal is gone.
#[test]
fn hangup_without_a_record_file_ends_the_program_unless_it_was_ignored() {
    let lab = Lab::new();
    // The tests may have been started by nohup themselves.
    let watch = lab
        .tcpwatch(["run", "--format", "json", "--interval", "1h"])
        .under("env --default-signal=HUP")
        .start();
    lab.udp_v4().send_times(address("192.0.2.1"), 10, 3);
    watch.signal(libc::SIGHUP);
    let records = watch.wait(Duration::from_secs(10)).books();
    assert_eq!(to(&records, "192.0.2.1").packets, 3);

    let mut watch = lab
        .tcpwatch(["run", "--format", "json", "--interval", "100ms"])
        .under("nohup")
        .start();
    watch.signal(libc::SIGHUP);
    watch.wait_for_records(3);
    assert!(watch.is_running());
    watch.stop().books();
}

/// A process that does not outlive the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // An error says that it has ended already.
        self.0.kill().unwrap_or_default();
        self.0.wait().unwrap();
    }
}

/// The operator has stopped the terminal (Ctrl-S), or nobody reads the pipe: neither the counting nor the end waits.
#[test]
fn messages_that_nobody_reads_hold_nothing_up() {
    let lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("records.jsonl");
    let (_unread, mut full) = std::io::pipe().unwrap();
    // SAFETY: sets flags of a descriptor that is open for as long as the calls last.
    unsafe {
        libc::fcntl(full.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK);
        while std::io::Write::write(&mut full, &[b'x'; 4096]).is_ok() {}
        libc::fcntl(full.as_raw_fd(), libc::F_SETFL, 0);
    }
    let mut watch = Killed(
        lab.tcpwatch(["run", "--format", "json", "--interval", "100ms"])
            .with_path("--record", &path)
            .command()
            .stdout(Stdio::null())
            .stderr(full)
            .spawn()
            .unwrap(),
    );
    wait::until("records are written", || path.exists() && line_count(&path) > 1);
    for n in 0..20 {
        lab.near
            .ip(&format!("address add 198.18.0.{}/24 dev eth0", 100 + n));
    }
    let before = line_count(&path);
    wait::until("records go on", || line_count(&path) > before + 1);
    // SAFETY: sends a signal to a process of ours that has not been waited for.
    unsafe { libc::kill(watch.0.id().cast_signed(), libc::SIGTERM) };
    wait::until("the program ends", || watch.0.try_wait().unwrap().is_some());
    assert_eq!(watch.0.wait().unwrap().code(), Some(0));
    check_books(&read_records(&path));
    hook::assert_bare(&lab.near, "eth0");
}

#[test]
fn a_signal_in_the_middle_of_an_interval_ends_with_a_partial_record() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let lab = Lab::new();
        let watch = lab.watch(["--interval", "1h"]);
        let mut socket = lab.udp_v4();
        socket.send_times(address("192.0.2.1"), 100, 1000);
        watch.signal(signal);
        let records = watch.wait(Duration::from_secs(10)).books();

        assert_eq!(records.len(), 1);
        assert!(records[0].partial);
        assert_eq!(
            to(&records, "192.0.2.1"),
            Counts {
                packets: 1000,
                bytes: 142_000
            }
        );
        hook::assert_bare(&lab.near, "eth0");
    }
}

#[test]
fn ends_by_itself_after_the_wanted_number_of_records() {
    let lab = Lab::new();
    let ended = lab
        .tcpwatch([
            "run",
            "--format",
            "json",
            "--interval",
            "100ms",
            "--intervals",
            "3",
        ])
        .finish();
    let records = ended.books();
    assert_eq!(records.len(), 3);
    assert!(records.iter().all(|record| !record.partial));
    hook::assert_bare(&lab.near, "eth0");
}

#[test]
fn a_full_table_keeps_the_total_and_is_empty_again_after_the_drain() {
    let lab = Lab::new();
    // Nothing but the test sends anything then, so that every number is known.
    lab.near.sysctl("net.ipv6.conf.all.disable_ipv6", 1);
    let watch = lab.watch(["--interval", "500ms", "--slots", "64", "--spill", "64"]);
    let mut socket = lab.udp_v4();
    // Within one interval: it takes a few milliseconds.
    watch.wait_for_records(1);
    for n in 0..500_u16 {
        let [high, low] = n.to_be_bytes();
        socket.send_times([198, 19, high, low].into(), 100, 3);
    }
    watch.wait_for_records(2);
    socket.send_times(address("192.0.2.1"), 100, 10);
    let records = watch.stop().books();

    let totals = totals(&records);
    assert_eq!(
        totals.seen,
        Counts {
            packets: 1510,
            bytes: 1510 * 142
        }
    );
    assert_eq!(totals.counted.packets + totals.overflow.packets, 1510);
    assert!(totals.overflow.packets > 0, "{totals:?}");
    let fullest = records
        .iter()
        .map(|record| record.destinations.len())
        .max()
        .unwrap();
    // Where a packet overflowed, the spill was full, and so was its set of four. How many of the other slots were taken is the
    // secret hash's doing, and drains in between may make it more.
    assert!((64 + 4..500).contains(&fullest), "{fullest} destinations");
    assert!(
        records
            .iter()
            .flat_map(|record| &record.destinations)
            .all(|of| of.packets <= 3 || of.packets == 10)
    );
    assert_eq!(
        to(&records, "192.0.2.1").packets,
        10,
        "there is room again after the drain"
    );
}

/// Starts the program with its standard output going into `cat`, which the test may kill.
#[test]
fn a_reader_that_is_killed_ends_the_program_well() {
    let lab = Lab::new();
    let mut child = lab
        .tcpwatch(["run", "--format", "json", "--interval", "100ms"])
        .command()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut reader = Command::new("cat")
        .stdin(child.stdout.take().unwrap())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut watch = Tcpwatch::new(Ok(child));
    watch.wait_until_started();
    reader.kill().unwrap();
    reader.wait().unwrap();
    let ended = watch.wait(Duration::from_secs(10));
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    hook::assert_bare(&lab.near, "eth0");
}

/// A reader that has stopped reading holds up neither the counting nor the record file.
#[test]
fn a_reader_that_stops_reading_holds_nothing_up() {
    let lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("records.jsonl");
    let mut child = lab
        .tcpwatch(["run", "--format", "json", "--interval", "100ms"])
        .with_path("--record", &path)
        .command()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let unread = child.stdout.take().unwrap();
    let mut watch = Tcpwatch::new(Ok(child));
    watch.wait_until_started();
    let mut socket = lab.udp_v4();
    // Some 200 records of 500 destinations are more than a pipe holds; ten are more already.
    for _ in 0..15 {
        for n in 0..500_u16 {
            let [high, low] = n.to_be_bytes();
            socket.send([198, 19, high, low].into(), 10);
        }
        let before = line_count(&path);
        wait::until("the record file goes on", || line_count(&path) > before);
    }
    watch.signal(libc::SIGTERM);
    let ended = watch.wait(Duration::from_secs(20));
    drop(unread);
    // What nobody read was not written, and that is said.
    assert_eq!(ended.code(), Some(1), "{ended:?}");
    assert!(
        ended.stderr.last().unwrap().contains("could not be written"),
        "{ended:?}"
    );
    let records = read_records(&path);
    check_books(&records);
    records::check_sent(&records, socket.sent(), NEAR_V4);
    hook::assert_bare(&lab.near, "eth0");
}
