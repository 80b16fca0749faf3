//! Programs that the tests and the bench call.

use crate::machine::{Machine, find};
use crate::setup::{Finding, Remedy, State};

/// A program, the package that has it on Debian, and what it is for.
type Tool = (&'static str, &'static str, &'static str);

const TESTS: [Tool; 7] = [
    ("ip", "iproute2", "network namespaces and devices"),
    ("ethtool", "ethtool", "segmentation offload on and off"),
    ("sysctl", "procps", "quiet namespaces"),
    ("mmdblookup", "mmdb-bin", "a second reader of place databases"),
    // The base package alone: the other one starts a service.
    ("dnsmasq", "dnsmasq-base", "a resolver whose answers are known"),
    ("curl", "curl", "requests by name through a proxy"),
    ("chromium", "chromium", "the report's page in a browser"),
];

const BENCH: [Tool; 1] = [("tcpdump", "tcpdump", "a packet socket to compare with")];

/// What the tests call, there or not.
pub fn for_tests(machine: &Machine) -> Vec<Finding> {
    look(machine, &TESTS)
}

/// What the bench calls besides, there or not.
pub fn for_bench(machine: &Machine) -> Vec<Finding> {
    look(machine, &BENCH)
}

fn look(machine: &Machine, tools: &[Tool]) -> Vec<Finding> {
    tools
        .iter()
        .map(|&(program, package, used_for)| {
            let state = match find(program) {
                Some(path) => State::Ready(path.display().to_string()),
                None if machine.debian => State::Missing(
                    format!("apt-get install {package} ({used_for})"),
                    Remedy::Packages(vec![package]),
                ),
                None => State::Blocked(format!("install {package}, which is needed for {used_for}")),
            };
            Finding { name: program, state }
        })
        .collect()
}
