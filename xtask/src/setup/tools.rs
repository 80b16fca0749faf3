//! Programs that the tests call.

use crate::machine::{Machine, find};
use crate::setup::{Finding, Remedy, State};

/// Program, the package that has it on Debian, and what the tests do with it.
const TOOLS: [(&str, &str, &str); 4] = [
    ("ip", "iproute2", "network namespaces and devices"),
    ("ethtool", "ethtool", "segmentation offload on and off"),
    ("sysctl", "procps", "quiet namespaces"),
    (
        "qemu-system-x86_64",
        "qemu-system-x86",
        "other kernels than this one",
    ),
];

/// Each program, there or not.
pub fn look(machine: &Machine) -> Vec<Finding> {
    TOOLS
        .into_iter()
        .map(|(program, package, used_for)| {
            let state = match find(program) {
                Some(path) => State::Ready(path.display().to_string()),
                None if machine.debian => State::Missing(
                    format!("apt-get install {package} ({used_for})"),
                    Remedy::Packages(vec![package]),
                ),
                None => State::Blocked(format!("install {package}; the tests use it for {used_for}")),
            };
            Finding { name: program, state }
        })
        .collect()
}
