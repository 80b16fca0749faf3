//! What the figures were measured on.

use std::fs;
use std::path::Path;

use serde::Serialize;

/// The machine, as far as it matters here.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// Version of what was measured.
    pub tcpwatch: &'static str,
    /// `model name` of the first processor.
    pub processor: String,
    /// Processors that are online.
    pub cpus: usize,
    /// Size of the first processor's second-level cache, as the kernel writes it; empty where it does not say.
    pub l2: String,
    /// The kernel's release.
    pub kernel: String,
    /// Whether eBPF programs are compiled to machine code.
    pub jit: bool,
    /// The load averages over 1, 5 and 15 minutes before the first measurement.
    pub load: String,
}

/// Looks.
pub fn describe() -> Machine {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let processor = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| {
            line.strip_prefix("model name")?
                .split_once(": ")
                .map(|(_, name)| name.to_owned())
        })
        .unwrap_or_else(|| "unknown".to_owned());
    let load = read("/proc/loadavg");
    Machine {
        tcpwatch: env!("CARGO_PKG_VERSION"),
        processor,
        cpus: std::thread::available_parallelism().map_or(1, usize::from),
        l2: second_level_cache().unwrap_or_default(),
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        jit: read("/proc/sys/net/core/bpf_jit_enable").trim() != "0",
        load: load.split(' ').take(3).collect::<Vec<_>>().join(" "),
    }
}

fn second_level_cache() -> Option<String> {
    let caches = Path::new("/sys/devices/system/cpu/cpu0/cache");
    (0..8)
        .map(|index| caches.join(format!("index{index}")))
        .find(|cache| fs::read_to_string(cache.join("level")).is_ok_and(|level| level.trim() == "2"))
        .and_then(|cache| fs::read_to_string(cache.join("size")).ok())
        .map(|size| size.trim().to_owned())
}
