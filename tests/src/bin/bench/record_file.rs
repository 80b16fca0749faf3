//! The record file of a running tcpwatch, watched for the moment a line is complete.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// How often the file is looked at, and so how exact the moment is.
const PAUSE: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(30);

/// What is needed of a record.
#[derive(Debug, Deserialize)]
pub struct Written {
    /// When its interval ended.
    pub end: Timestamp,
    /// Its rows.
    pub destinations: Vec<IgnoredAny>,
    /// The place databases that were loaded.
    pub geo: Vec<IgnoredAny>,
}

/// A file that grows by whole lines.
pub struct RecordFile {
    path: PathBuf,
    /// How far it was read.
    position: u64,
}

impl RecordFile {
    /// Need not exist yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, position: 0 }
    }

    /// The next record and the moment at which its line was complete.
    ///
    /// # Panics
    ///
    /// When none comes.
    pub fn next(&mut self) -> (Written, Timestamp) {
        let deadline = Instant::now() + PATIENCE;
        let mut known = self.position;
        loop {
            let length = fs::metadata(&self.path).map_or(0, |file| file.len());
            // A record has no line break but its last byte, so the end of the file tells whether it is complete.
            if length > known && self.bytes(length - 1, 1) == b"\n" {
                let at = Timestamp::now();
                let text = self.bytes(self.position, (length - self.position) as usize);
                self.position = length;
                // More than one where this program was kept from looking for an interval: then the last counts.
                let line = text.trim_ascii_end().rsplit(|byte| *byte == b'\n').next();
                return (serde_json::from_slice(line.unwrap()).unwrap(), at);
            }
            known = length;
            assert!(Instant::now() < deadline, "no record within {PATIENCE:?}");
            thread::sleep(PAUSE);
        }
    }

    fn bytes(&self, from: u64, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        let file = File::open(&self.path).unwrap();
        file.read_exact_at(&mut bytes, from).unwrap();
        bytes
    }
}
