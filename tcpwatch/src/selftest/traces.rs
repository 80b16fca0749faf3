//! What a selftest could have left behind, and whether it has.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use crate::kernel::attach::survey;

/// The kernel frees programs and namespaces a moment after their last user is gone.
const PATIENCE: Duration = Duration::from_secs(1);

/// What was made.
#[derive(Debug, Default)]
pub struct Traces {
    /// Numbers of the loaded programs.
    pub programs: BTreeSet<u32>,
    /// Numbers of the namespaces.
    pub namespaces: Vec<u64>,
}

impl Traces {
    /// What of it is still there, in words. A program lives for as long as a link, a filter or a pin holds it, and a
    /// namespace for as long as a thread is in it or a mount holds it: with these two gone, so is all that hung on them.
    pub fn left(&self) -> Vec<String> {
        let begin = Instant::now();
        loop {
            let left = self.look();
            if left.is_empty() || begin.elapsed() > PATIENCE {
                return left;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn look(&self) -> Vec<String> {
        let loaded: BTreeSet<u32> = survey::names().into_keys().collect();
        let mut left: Vec<String> = self
            .programs
            .intersection(&loaded)
            .map(|id| format!("program {id} is still loaded"))
            .collect();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        for namespace in &self.namespaces {
            if mounts.contains(&format!("net:[{namespace}]")) {
                left.push(format!("the network namespace {namespace} is mounted"));
            }
            if own_threads().contains(namespace) {
                left.push(format!("a thread is still in the network namespace {namespace}"));
            }
        }
        left
    }
}

/// The network namespaces that threads of this process are in.
fn own_threads() -> BTreeSet<u64> {
    let Ok(threads) = fs::read_dir("/proc/self/task") else {
        return BTreeSet::new();
    };
    threads
        .flatten()
        .filter_map(|thread| fs::metadata(thread.path().join("ns/net")).ok())
        .map(|namespace| namespace.ino())
        .collect()
}
