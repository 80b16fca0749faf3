//! The disk is full, the record file goes away, or the process stands still.

use std::fs;

use tcpwatch_tests::disk::SmallDisk;
use tcpwatch_tests::records::check_books;
use tcpwatch_tests::wait;

use super::support::{Site, Stream, held, in_full, lasting, outlast, said};

#[test]
fn a_disk_that_is_full_under_file_and_history_costs_nothing() {
    let site = Site::new();
    let disk = SmallDisk::mount(site.directory.path(), "4m");
    // What waits is bounded by records: eight at least, as in three minutes of the usual 20 s.
    let (full_for, interval) = (lasting(4, 60), if in_full() { "5s" } else { "500ms" });
    let watch = site.run_every(interval).start();
    let stream = Stream::start(site.lab.udp_v4());
    wait::until("a record is written", || !site.records().is_empty());
    let filler = disk.fill();
    wait::until("the failures are said", || {
        said(&watch, "cannot write to") && said(&watch, "cannot write the history")
    });
    outlast(full_for);
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
        &format!(
            "disk full for {} s (intervals of {interval}) under record file and history",
            full_for.as_secs()
        ),
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
    let still = lasting(8, 30);
    outlast(still);
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
        longest > still.as_secs_f64() - 1.0,
        "the control: one record has the pause: {longest} s"
    );
    check_books(&site.records());
    site.check(&sent);
    held(
        &format!("SIGSTOP for {} s under traffic", still.as_secs()),
        "nothing lost: the kernel goes on counting",
        &format!("{} packets, one record of {longest:.1} s", sent.total().packets),
    );
}
