//! Ten thousand intervals: what is kept does not grow.

use std::fs;
use std::time::Duration;

use tcpwatch_tests::wait;

use super::support::{Site, Stream, held};

fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

#[test]
fn ten_thousand_intervals_leave_memory_and_descriptors_as_they_are() {
    const INTERVALS: usize = 10_000;
    let site = Site::new();
    let watch = site
        .lab
        .tcpwatch([
            "run",
            "--format",
            "json",
            "--interval",
            "10ms",
            "--fast-intervals",
        ])
        .with_path("--record", &site.file())
        .start();
    let stream = Stream::start(site.lab.udp_v4());
    let limit = Duration::from_secs(220);
    let lines = || watch.stdout_lines().len();
    wait::until_some(limit, "the first intervals", || {
        (lines() > INTERVALS / 5).then_some(())
    });
    let (memory, files) = (resident_kib(watch.pid()), descriptors(watch.pid()));
    wait::until_some(limit, "ten thousand intervals", || {
        (lines() > INTERVALS).then_some(())
    });
    let (memory_after, files_after) = (resident_kib(watch.pid()), descriptors(watch.pid()));
    let sent = stream.stop();
    let records = watch.stop().books();
    tcpwatch_tests::records::check_sent(&records, sent.sent(), tcpwatch_tests::lab::NEAR_V4);
    assert!(
        memory_after < memory + 4096,
        "from {memory} KiB to {memory_after} KiB"
    );
    assert!(
        files_after <= files + 1,
        "from {files} to {files_after} descriptors"
    );
    held(
        "10,000 intervals of 10 ms",
        "memory and descriptors flat, every packet recorded",
        &format!(
            "{memory} KiB after 2,000, {memory_after} KiB after 10,000; {files} and {files_after} descriptors; {} packets",
            sent.total().packets
        ),
    );
}
