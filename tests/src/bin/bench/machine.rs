//! What the figures were measured on.

use std::fs;

use serde::Serialize;

/// The machine, as far as it matters here.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// `model name` of the first processor.
    pub processor: String,
    /// Processors that are online.
    pub cpus: usize,
    /// The kernel's release.
    pub kernel: String,
    /// Whether eBPF programs are compiled to machine code.
    pub jit: bool,
}

/// Looks.
pub fn describe() -> Machine {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let processor = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| {
            line.strip_prefix("model name")?
                .split_once(": ")
                .map(|(_, name)| name.to_owned())
        })
        .unwrap_or_else(|| "unknown".to_owned());
    Machine {
        processor,
        cpus: std::thread::available_parallelism().map_or(1, usize::from),
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        jit: read("/proc/sys/net/core/bpf_jit_enable").trim() != "0",
    }
}
