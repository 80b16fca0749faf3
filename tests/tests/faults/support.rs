//! What the fault tests share: a row of the table, steady traffic whose every packet is known, and the books as a whole.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tcpwatch_tests::bpffs::BpfFs;
use tcpwatch_tests::daemon::Tcpwatch;
use tcpwatch_tests::invocation::Invocation;
use tcpwatch_tests::lab::{Lab, NEAR_V4};
use tcpwatch_tests::note;
use tcpwatch_tests::records::{self, Record};
use tcpwatch_tests::traffic::Udp;
use tcpwatch_tests::wait;

/// Adds a row to the table of faults; a test calls it last, so that what is in the table has held.
pub fn held(injected: &str, held: &str, figures: &str) {
    let row = format!("{injected} | {held} | {figures}\n");
    note(format_args!("fault: {}", row.trim_end()));
    if let Some(path) = std::env::var_os("TCPWATCH_FAULT_TABLE") {
        let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
        // At once, because other tests do the same.
        file.write_all(row.as_bytes()).unwrap();
    }
}

/// Whether faults are to last as long as they may in life (`cargo xtask test --faults --long`).
pub fn in_full() -> bool {
    std::env::var_os("TCPWATCH_FAULTS_LONG").is_some()
}

/// How long a fault lasts: what wears out meanwhile is room for destinations and records, not time.
pub fn lasting(short: u64, in_life: u64) -> Duration {
    Duration::from_secs(if in_full() { in_life } else { short })
}

/// Waits until that is over.
pub fn outlast(fault: Duration) {
    let began = Instant::now();
    wait::until_some(fault * 2, "the fault has lasted long enough", || {
        (began.elapsed() >= fault).then_some(())
    });
}

pub fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn said(watch: &Tcpwatch, text: &str) -> bool {
    watch.stderr_lines().iter().any(|line| line.contains(text))
}

/// Traffic that goes on until it is told to stop: 5 packets a millisecond at most, to 200 destinations.
pub struct Stream {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<Udp>,
}

impl Stream {
    pub fn start(mut socket: Udp) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let sender = thread::spawn(move || {
            let mut n = 0_u8;
            while !told.load(Ordering::Relaxed) {
                for _ in 0..5 {
                    n = n % 200 + 1;
                    socket.send([192, 0, 2, n].into(), 64);
                }
                // The pace of the traffic; nothing is waited for.
                thread::sleep(Duration::from_millis(1));
            }
            socket
        });
        Self { stop, sender }
    }

    pub fn stop(self) -> Udp {
        self.stop.store(true, Ordering::Relaxed);
        self.sender.join().unwrap()
    }
}

/// A directory of a BPF file system of the test's own.
pub struct PinDirectory {
    bpffs: BpfFs,
    path: PathBuf,
}

impl PinDirectory {
    pub fn new() -> Self {
        let bpffs = BpfFs::mount();
        Self {
            path: bpffs.path().join("tcpwatch"),
            bpffs,
        }
    }

    /// The file system.
    pub fn mounted(&self) -> &Path {
        self.bpffs.path()
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All that is below it.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut wanted = vec![self.path.clone()];
        while let Some(directory) = wanted.pop() {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                if entry.path().is_dir() {
                    wanted.push(entry.path());
                } else {
                    found.push(entry.path());
                }
            }
        }
        found
    }
}

/// A laboratory and what a tcpwatch in it keeps: a record file and a history, and with pins what outlives it.
pub struct Site {
    // First, so that the links are gone before the interfaces are.
    pub pins: PinDirectory,
    pub lab: Lab,
    pub directory: tempfile::TempDir,
}

impl Site {
    pub fn new() -> Self {
        let lab = Lab::new();
        lab.near.sysctl("net.ipv6.conf.all.disable_ipv6", 1);
        Self {
            pins: PinDirectory::new(),
            lab,
            directory: tempfile::tempdir().unwrap(),
        }
    }

    pub fn file(&self) -> PathBuf {
        self.directory.path().join("r.jsonl")
    }

    pub fn history(&self) -> PathBuf {
        self.directory.path().join("h.db")
    }

    pub fn runtime(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    pub fn run(&self) -> Invocation {
        self.run_every("100ms")
    }

    pub fn run_every(&self, interval: &str) -> Invocation {
        self.lab
            .tcpwatch(["run", "--format", "csv", "--interval", interval])
            .with_path("--history", &self.history())
            .with_path("--record", &self.file())
    }

    /// The same, with pins.
    pub fn pinned(&self) -> Invocation {
        self.run()
            .with_path("--pin", self.pins.path())
            .with_path("--runtime", &self.runtime())
            .with(["--control", "none"])
    }

    /// Ends what a pinned tcpwatch has left.
    pub fn detach(&self) {
        let ended = self
            .lab
            .tcpwatch(["detach"])
            .with_path("--pin", self.pins.path())
            .with_path("--runtime", &self.runtime())
            .finish();
        assert_eq!(ended.code(), Some(0), "{:#?}", ended.stderr);
    }

    /// The whole records of the file; a torn line is none.
    pub fn records(&self) -> Vec<Record> {
        fs::read_to_string(self.file())
            .unwrap()
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Until two more records are there than now.
    #[track_caller]
    pub fn wait_for_new_records(&self) {
        let before = self.records().len();
        wait::until("records go on", || self.records().len() > before + 1);
    }

    /// Record file and history have what was sent, nothing twice.
    #[track_caller]
    pub fn check(&self, sent: &Udp) {
        let records = self.records();
        records::check_sent(&records, sent.sent(), NEAR_V4);
        assert_eq!(records::kept(&self.history()), records::by_flow(&records));
        for file in [self.file(), self.history()] {
            let verdict = self
                .lab
                .tcpwatch(["verify"])
                .with([file.to_str().unwrap()])
                .finish();
            let twice = verdict.stdout.iter().any(|line| line.contains("twice"));
            assert!(!twice, "{:#?}", verdict.stdout);
        }
    }
}

/// Checks a refusal: status 2, one line with all of `words`.
#[track_caller]
pub fn refused(ended: &tcpwatch_tests::daemon::Ended, words: &[&str]) {
    assert_eq!(ended.code(), Some(2), "{ended:#?}");
    let lines: Vec<_> = ended
        .stderr
        .iter()
        .filter(|line| !line.trim_start().starts_with("WARN"))
        .collect();
    assert_eq!(lines.len(), 1, "{ended:#?}");
    for word in words {
        assert!(lines[0].contains(word), "{word:?} is not in: {}", lines[0]);
    }
}
