//! Rights and memory that are missing: said before anything is attached, with the cure.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use tcpwatch_tests::hook;
use tcpwatch_tests::invocation::binary;
use tcpwatch_tests::lab::Lab;
use tcpwatch_tests::records::to;

use super::support::{address, held, refused};

#[test]
fn each_capability_that_is_missing_is_named() {
    let lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = directory.path().join("tcpwatch");
    fs::copy(binary(), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    let with = |capabilities: &str| {
        lab.tcpwatch(["run", "--format", "json", "--interval", "1h"])
            .copy_at(&copy)
            .under(&format!(
                "setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all{capabilities} \
                 --ambient-caps=-all{capabilities} --bounding-set=-all{capabilities} --"
            ))
    };
    refused(&with(",+bpf").finish(), &["missing CAP_NET_ADMIN:"]);
    refused(&with(",+net_admin").finish(), &["missing CAP_BPF:"]);
    refused(&with("").finish(), &["CAP_BPF", "CAP_NET_ADMIN"]);
    hook::assert_bare(&lab.near, "eth0");
    // The control: with these two it works.
    let watch = with(",+bpf,+net_admin").start();
    lab.udp_v4().send_times(address("192.0.2.1"), 10, 30);
    assert_eq!(to(&watch.stop().books(), "192.0.2.1").packets, 30);
    held(
        "CAP_BPF, CAP_NET_ADMIN or both missing",
        "refused, the missing one named, nothing attached; with the two it counts",
        "3 refusals, 30 of 30",
    );
}

#[test]
fn tables_that_get_no_memory_are_refused_with_the_cure() {
    let lab = Lab::new();
    // More than addresses can be had for, on any machine.
    let ended = lab
        .tcpwatch(["run", "--slots", "4194304"])
        .under("prlimit --as=600000000 --")
        .finish();
    refused(&ended, &["cannot", "map"]);
    hook::assert_bare(&lab.near, "eth0");
    held(
        "no memory for the kernel tables",
        "refused in one line that names the table, nothing attached",
        "address space of 600 MB",
    );
}
