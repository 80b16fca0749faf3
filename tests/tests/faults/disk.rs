//! The disk is full, the record file goes away, or the process stands still.

use std::fs;
use std::time::{Duration, Instant};

use tcpwatch_tests::disk::SmallDisk;
use tcpwatch_tests::records::check_books;
use tcpwatch_tests::wait;

use super::support::{Site, Stream, held, said};

/// Seconds instead of a minute: what waits is bounded by records, and half a second makes as many in them as 20 s do in three minutes.
const FULL: Duration = Duration::from_secs(4);

#[test]
fn a_disk_that_is_full_under_file_and_history_costs_nothing() {
    let site = Site::new();
    let disk = SmallDisk::mount(site.directory.path(), "4m");
    let watch = site.run_every("500ms").start();
    let stream = Stream::start(site.lab.udp_v4());
    wait::until("a record is written", || !site.records().is_empty());
    let filler = disk.fill();
    let full = Instant::now();
    wait::until("the failures are said", || {
        said(&watch, "cannot write to") && said(&watch, "cannot write the history")
    });
    wait::until("it has been full for long enough", || full.elapsed() >= FULL);
    fs::remove_file(filler).unwrap();
    wait::until("the recoveries are said", || {
        said(&watch, "can be written again") && said(&watch, "the history can be written again")
    });
    let sent = stream.stop();
    let ended = watch.stop();
    assert_eq!(ended.code(), Some(0), "{:#?}", ended.stderr);
    check_books(&site.records());
    site.check(&sent);
    held(
        "disk full for 4 s (8 intervals) under record file and history",
        "said; all is written when there is room, once",
        &format!("{} packets sent and recorded", sent.total().packets),
    );
}

#[test]
fn a_record_file_that_is_removed_is_made_anew_at_a_hangup() {
    let site = Site::new();
    let watch = site.run().start();
    let stream = Stream::start(site.lab.udp_v4());
    wait::until("a record is written", || !site.records().is_empty());
    let kept = site.directory.path().join("kept");
    // The control has the bytes of the file that is removed.
    fs::hard_link(site.file(), &kept).unwrap();
    fs::remove_file(site.file()).unwrap();
    watch.signal(libc::SIGHUP);
    wait::until("the file is there again, with records", || {
        fs::read_to_string(site.file()).is_ok_and(|text| text.lines().count() > 2)
    });
    let sent = stream.stop();
    assert_eq!(watch.stop().code(), Some(0));
    let text = fs::read_to_string(&kept).unwrap() + &fs::read_to_string(site.file()).unwrap();
    let removed = text.lines().count() - site.records().len();
    assert!(removed > 0);
    fs::write(site.file(), text).unwrap();
    check_books(&site.records());
    site.check(&sent);
    held(
        "record file removed, then SIGHUP",
        "made anew; no record is in neither or in both, the history is whole",
        &format!(
            "{removed} records in the removed file, {} packets",
            sent.total().packets
        ),
    );
}

#[test]
fn a_process_that_stands_still_under_traffic_loses_nothing() {
    let site = Site::new();
    let watch = site.run().start();
    let stream = Stream::start(site.lab.udp_v4());
    wait::until("a record is written", || !site.records().is_empty());
    watch.signal(libc::SIGSTOP);
    // The kernel counts into tables whose room depends on destinations, not on time: 8 s are as good as 30.
    let stopped = Instant::now();
    wait::until("it has stood still long enough", || {
        stopped.elapsed() >= Duration::from_secs(8)
    });
    let before = site.records().len();
    watch.signal(libc::SIGCONT);
    wait::until("records go on", || site.records().len() > before);
    let sent = stream.stop();
    assert_eq!(watch.stop().code(), Some(0));
    let longest = site
        .records()
        .iter()
        .map(|record| record.seconds)
        .fold(0.0, f64::max);
    assert!(
        longest > 7.0,
        "the control: one record has the pause: {longest} s"
    );
    check_books(&site.records());
    site.check(&sent);
    held(
        "SIGSTOP for 8 s under traffic",
        "nothing lost: the kernel goes on counting",
        &format!("{} packets, one record of {longest:.1} s", sent.total().packets),
    );
}
