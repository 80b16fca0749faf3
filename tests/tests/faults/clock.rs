//! The wall clock is set back an hour. Not the machine's: the program is given a library that answers for it.

use std::fs;
use std::process::Command;

use tcpwatch_tests::wait;

use super::support::{Site, Stream, held};

const LIBRARY: &str = r#"
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, clock, now);
    const char *file = getenv("CLOCK_SET_BACK");
    if (clock == CLOCK_REALTIME && file && access(file, F_OK) == 0)
        now->tv_sec -= 3600;
    return result;
}
"#;

#[test]
fn a_clock_that_is_set_back_an_hour_costs_no_packet() {
    let site = Site::new();
    let source = site.directory.path().join("back.c");
    let library = site.directory.path().join("back.so");
    let set_back = site.directory.path().join("set-back");
    fs::write(&source, LIBRARY).unwrap();
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status()
        .unwrap();
    assert!(built.success(), "cc (package gcc) makes the library");
    let watch = site
        .run()
        .env("LD_PRELOAD", library.to_str().unwrap())
        .env("CLOCK_SET_BACK", set_back.to_str().unwrap())
        .start();
    let stream = Stream::start(site.lab.udp_v4());
    wait::until("records are written", || site.records().len() > 3);
    let before = site.records().len();
    fs::write(&set_back, "").unwrap();
    wait::until("records go on", || site.records().len() > before + 10);
    fs::remove_file(&set_back).unwrap();
    let before = site.records().len();
    wait::until("records go on", || site.records().len() > before + 10);
    let sent = stream.stop();
    let ended = watch.stop();
    assert_eq!(ended.code(), Some(0), "{:#?}", ended.stderr);
    let records = site.records();
    assert!(
        records
            .iter()
            .enumerate()
            .all(|(n, record)| record.seq == n as u64 + 1)
    );
    // The control: the library did set it back.
    assert!(
        records.windows(2).any(|pair| pair[1].end < pair[0].start),
        "the records' times went back"
    );
    site.check(&sent);
    held(
        "wall clock set back an hour, and on again",
        "every record once, file and history whole",
        &format!("{} records, {} packets", records.len(), sent.total().packets),
    );
}
