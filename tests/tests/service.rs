//! What tcpwatch does for being a service: what its manager is told, priorities for the journal, rights that it gives up.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tcpwatch_tests::command;
use tcpwatch_tests::lab::Lab;
use tcpwatch_tests::records::to;
use tcpwatch_tests::wait;

/// What is in the service manager's place.
struct Manager(UnixDatagram);

impl Manager {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        Self(socket)
    }

    /// The next datagram; none: nothing comes.
    fn next(&self) -> Option<String> {
        let mut buffer = [0; 4096];
        let length = self.0.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
    }

    fn wait_for(&self, wanted: &str) -> String {
        wait::until_some(wait::PATIENCE, wanted, || {
            self.next().filter(|told| told.starts_with(wanted))
        })
    }
}

/// A BPF file system of the test's own: `ip netns exec` hides that of the machine.
struct BpfFs(tempfile::TempDir);

impl BpfFs {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        command::run(&format!("mount -t bpf bpf {}", directory.path().display()));
        Self(directory)
    }
}

impl Drop for BpfFs {
    fn drop(&mut self) {
        command::run(&format!("umount --lazy {}", self.0.path().display()));
    }
}

#[test]
fn the_manager_is_told_of_the_start_every_record_and_the_end_and_that_the_loop_goes_round() {
    let lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let manager = Manager::at(&path);
    let watch = lab
        .tcpwatch(["run", "--format", "none", "--interval", "200ms"])
        .env("NOTIFY_SOCKET", path.to_str().unwrap())
        .env("WATCHDOG_USEC", "100000")
        .start();
    // Whoever is told that it is ready finds its packets counted.
    assert_eq!(manager.wait_for("").as_str(), "READY=1");
    manager.wait_for("WATCHDOG=1");
    lab.udp_v4().send_times("192.0.2.1".parse().unwrap(), 100, 10);
    manager.wait_for("STATUS=record 2: ");
    let ended = watch.stop();
    manager.wait_for("STOPPING=1");
    assert_eq!(ended.code(), Some(0));
    assert!(ended.stdout.is_empty(), "{:?}", ended.stdout);
}

#[test]
fn a_loop_that_hangs_gives_no_sign_of_life() {
    let lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let manager = Manager::at(&path);
    let watch = lab
        .tcpwatch(["run", "--format", "none", "--interval", "1h"])
        .env("NOTIFY_SOCKET", path.to_str().unwrap())
        .env("WATCHDOG_USEC", "100000")
        .start();
    manager.wait_for("WATCHDOG=1");
    watch.signal(libc::SIGSTOP);
    wait::until("nothing comes any more", || manager.next().is_none());
    watch.signal(libc::SIGCONT);
    manager.wait_for("WATCHDOG=1");
    watch.stop();
}

#[test]
fn the_journal_gets_priorities_and_nobody_else_does() {
    let lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    let said = |journal: &dyn Fn(&File) -> String| {
        let path = directory.path().join("stderr");
        let stderr = File::create(&path).unwrap();
        let status = lab
            .tcpwatch(["run", "--interface", "eth0", "--top", "0"])
            .env("JOURNAL_STREAM", &journal(&stderr))
            .command()
            .stdout(Stdio::null())
            .stderr(stderr)
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(2));
        fs::read_to_string(&path).unwrap()
    };
    let journal = |file: &File| {
        let metadata = file.metadata().unwrap();
        format!("{}:{}", metadata.dev(), metadata.ino())
    };
    let message = said(&journal);
    assert!(message.starts_with("<3>tcpwatch: "), "{message}");
    let message = said(&|_| "0:0".to_owned());
    assert!(message.starts_with("tcpwatch: "), "{message}");
}

#[test]
fn every_thread_of_a_service_has_two_capabilities_and_works_with_them() {
    let lab = Lab::new();
    let bpf = BpfFs::new();
    let directory = tempfile::tempdir().unwrap();
    let record = directory.path().join("records.jsonl");
    let watch = lab
        .tcpwatch(["run", "--format", "json", "--interval", "200ms"])
        .with_path("--pin", &bpf.0.path().join("pins"))
        .with_path("--runtime", &directory.path().join("run"))
        .with_path("--record", &record)
        .with_path("--history", &directory.path().join("history.db"))
        .start();
    let mut sets = BTreeSet::new();
    for task in fs::read_dir(format!("/proc/{}/task", watch.pid())).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let kept = |line: &&str| line.starts_with("Cap") || line.starts_with("NoNewPrivs");
        sets.extend(status.lines().filter(kept).map(|line| line.replace('\t', " ")));
    }
    // CAP_NET_ADMIN is 12, CAP_BPF 39.
    let expected = [
        "CapAmb: 0000000000000000",
        "CapBnd: 0000008000001000",
        "CapEff: 0000008000001000",
        "CapInh: 0000000000000000",
        "CapPrm: 0000008000001000",
        "NoNewPrivs: 1",
    ];
    assert_eq!(sets.iter().map(String::as_str).collect::<Vec<_>>(), expected);

    // What it does later works with them, and inside its walls: a file that is opened anew, a program that is attached again.
    fs::rename(&record, directory.path().join("records.jsonl.1")).unwrap();
    watch.signal(libc::SIGHUP);
    wait::until("the record file is there again", || record.exists());
    lab.near.ip("link del eth0");
    lab.connect();
    watch.wait_for_records(2);
    let mut socket = lab.udp_v4();
    wait::until("the new eth0 is watched", || {
        socket.send_times("192.0.2.7".parse().unwrap(), 100, 1);
        watch
            .records()
            .iter()
            .any(|record| to(std::slice::from_ref(record), "192.0.2.7").packets > 0)
    });
    let ended = watch.stop();
    assert_eq!(ended.code(), Some(0), "{:?}", ended.stderr);
    let denied = ended
        .stderr
        .iter()
        .find(|line| line.contains("denied") || line.contains("not permitted"));
    assert_eq!(denied, None);
}
