//! Rights and memory that are missing: said before anything is attached, with the cure.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tcpwatch_tests::hook;
use tcpwatch_tests::invocation::binary;
use tcpwatch_tests::lab::Lab;
use tcpwatch_tests::records::to;
use tcpwatch_tests::wait;

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

/// A memory cgroup of the old hierarchy, removed when dropped.
struct Group(PathBuf);

impl Group {
    fn with_limit(bytes: u64) -> Self {
        let path = PathBuf::from(format!("/sys/fs/cgroup/memory/tw-{}", std::process::id()));
        fs::create_dir(&path).expect("the memory controller is mounted");
        let group = Self(path);
        fs::write(group.0.join("memory.limit_in_bytes"), bytes.to_string()).unwrap();
        group
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The process has ended a moment before the group notices.
        wait::until("the group is empty", || fs::remove_dir(&self.0).is_ok());
    }
}

fn script(path: &Path, group: &Path) {
    let text = format!(
        "#!/bin/sh\nset -e\necho $$ > {}/cgroup.procs\nexec \"$@\"\n",
        group.display()
    );
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn tables_that_get_no_memory_are_refused_with_the_cure() {
    let lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    let start = directory.path().join("start");
    let (mut figures, held_by) = (String::new(), Path::new("/sys/fs/cgroup/memory").is_dir());
    if held_by {
        let group = Group::with_limit(64 << 20);
        script(&start, &group.0);
        let ended = lab
            .tcpwatch(["run", "--spill", "4000000"])
            .under(start.to_str().unwrap())
            .finish();
        refused(&ended, &["memory", "--spill"]);
        figures = "4,000,000 entries in a group of 64 MB".to_owned();
    }
    // More than addresses can be had for, on any machine.
    let ended = lab
        .tcpwatch(["run", "--spill", "16777216", "--slots", "4194304"])
        .under("prlimit --as=600000000 --")
        .finish();
    assert_ne!(ended.code(), Some(0), "{ended:#?}");
    hook::assert_bare(&lab.near, "eth0");
    if figures.is_empty() {
        "address space of 600 MB".clone_into(&mut figures);
    }
    held(
        "no memory for the kernel tables",
        "refused in one line with the cure, nothing attached",
        &figures,
    );
}
