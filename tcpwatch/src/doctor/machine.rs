//! The kernel and our rights in it. Pure: judges what was read.

use super::finding::Finding;
use crate::kernel::capacity::{Capacity, SLOT_BYTES};
use crate::kernel::requirements::{OLDEST_KERNEL, check_kernel};
use crate::sink::text::{bytes, thousands};

/// Bytes of kernel memory that an entry of the spill takes, about.
const SPILL_ENTRY: u64 = 140;
/// Files that a run with one interface has open, with room to spare.
const FILES: u64 = 128;
/// Files for each further interface: its links, and their programs.
const FILES_OF_INTERFACE: u64 = 4;

/// By `uname`.
pub fn kernel(release: &str, real_time: bool) -> Vec<Finding> {
    const CHECK: &str = "kernel";
    let (major, minor) = OLDEST_KERNEL;
    if check_kernel(release).is_err() {
        return vec![
            Finding::fail(
                CHECK,
                format!("Linux {release} is too old: {major}.{minor} is the oldest that works"),
            )
            .cure("update the kernel, and start the machine anew"),
        ];
    }
    let mut found = vec![Finding::ok(
        CHECK,
        format!("Linux {release}; {major}.{minor} and later will do"),
    )];
    if real_time {
        found.push(Finding::note(
            CHECK,
            "PREEMPT_RT: packets are counted in one table for all CPUs, as exactly, at a higher cost for each",
        ));
    }
    found
}

/// `missing`: names of the capabilities that are not there.
pub fn rights(missing: &[String], root: bool, binary: &str) -> Finding {
    const CHECK: &str = "rights";
    if missing.is_empty() {
        return Finding::ok(CHECK, "CAP_BPF and CAP_NET_ADMIN, all that is needed");
    }
    let short = |name: &str| name.trim_start_matches("CAP_").to_lowercase();
    let names = missing.join(" and ");
    if root {
        // Root that lacks rights is a container's, or a unit's with a bounding set.
        let added: Vec<String> = missing
            .iter()
            .map(|name| format!("--cap-add={}", name.trim_start_matches("CAP_")))
            .collect();
        return Finding::fail(CHECK, format!("root here lacks {names}"))
            .cure(format!("a container: start it with {}", added.join(" ")))
            .cure(format!(
                "a service: AmbientCapabilities={names} and the same in CapabilityBoundingSet=",
                names = missing.join(" ")
            ));
    }
    let wanted: Vec<String> = missing.iter().map(|name| format!("+{}", short(name))).collect();
    let wanted = wanted.join(",");
    Finding::fail(CHECK, format!("{names} missing"))
        .cure("as root: sudo tcpwatch doctor, sudo tcpwatch run")
        .cure(format!(
            "once for this binary: sudo setcap cap_bpf,cap_net_admin,cap_perfmon+ep {binary}"
        ))
        .cure(format!(
            "as this user, with these rights alone: sudo setpriv --reuid=$(id -u) --regid=$(id -g) --init-groups \
             --inh-caps={wanted} --ambient-caps={wanted} {binary} run"
        ))
}

/// `enabled`: what the kernel says, if it does.
pub fn jit(enabled: Option<&str>) -> Finding {
    const CHECK: &str = "BPF JIT";
    const ON: &str = "sysctl -w net.core.bpf_jit_enable=1, and the same line in /etc/sysctl.d/";
    match enabled.map(str::trim) {
        Some("1") => Finding::ok(CHECK, "on: programs are machine code"),
        Some("2") => Finding::note(CHECK, "on, and every program is written to the kernel's log").cure(ON),
        Some("0") => Finding::warn(CHECK, "off: a packet costs many times as much").cure(ON),
        // One that compiles always may have no such switch, and others show it to root only.
        Some(_) | None => Finding::ok(CHECK, "not told here; nearly every kernel has it on"),
    }
}

/// Nothing depends on it.
pub fn btf(there: bool) -> Finding {
    if there {
        Finding::ok("BTF", "there, though tcpwatch does without")
    } else {
        Finding::note(
            "BTF",
            "none, and none is needed: only other tracing tools miss it",
        )
    }
}

/// A directory of a BPF file system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BpfFs {
    /// Where it was looked for.
    pub path: String,
    /// Whether a file system for BPF is there.
    pub mounted: bool,
    /// Whether this user may make directories in it.
    pub writable: bool,
    /// Whether this run is to pin.
    pub wanted: bool,
}

/// Needed for `--pin`, and nothing else.
pub fn bpffs(found: &BpfFs) -> Finding {
    const CHECK: &str = "bpffs";
    let BpfFs {
        path,
        mounted,
        writable,
        wanted,
    } = found;
    let lacking = |says: String| {
        if *wanted {
            Finding::fail(CHECK, says)
        } else {
            Finding::note(CHECK, format!("{says}; only --pin needs it"))
        }
    };
    match (mounted, writable) {
        (true, true) => Finding::ok(CHECK, format!("{path}, for --pin")),
        (true, false) => lacking(format!("{path} cannot be written by this user")).cure(format!(
            "as root; if it is mounted read-only: mount -o remount,rw {path}"
        )),
        (false, _) if path.starts_with(super::facts::BPFFS) => {
            lacking(format!("{path} is no BPF file system")).cure("mount -t bpf bpf /sys/fs/bpf")
        }
        (false, _) => lacking(format!("{path} is no BPF file system"))
            .cure("mount -t bpf bpf /sys/fs/bpf, and name a directory in it: --pin /sys/fs/bpf/tcpwatch"),
    }
}

/// What the tables take of the machine's memory.
pub fn tables(capacity: Capacity, cpus: usize, real_time: bool, available: Option<u64>) -> Finding {
    const CHECK: &str = "tables";
    let slots = if real_time {
        0
    } else {
        (1_u64 << capacity.set_bits(cpus)) * tcpwatch_common::front::WAYS as u64
    };
    let front = slots * SLOT_BYTES as u64 * cpus as u64;
    let spill = u64::from(capacity.spill) * SPILL_ENTRY * tcpwatch_common::GENERATIONS as u64;
    let says = format!(
        "{} for {cpus} CPU{} × {} slots, about {} for {} more destinations",
        bytes(front),
        if cpus == 1 { "" } else { "s" },
        thousands(slots),
        bytes(spill),
        thousands(u64::from(capacity.spill))
    );
    match available {
        Some(available) if (front + spill) * 2 > available => Finding::warn(
            CHECK,
            format!("{says}; {} of memory are available", bytes(available)),
        )
        .cure("lower --slots and --spill, or give the machine more memory"),
        Some(available) => Finding::ok(CHECK, format!("{says}; {} available", bytes(available))),
        None => Finding::ok(CHECK, says),
    }
}

/// `limit`: none is no limit.
pub fn files(limit: Option<u64>, interfaces: usize) -> Finding {
    const CHECK: &str = "open files";
    let wanted = FILES + FILES_OF_INTERFACE * interfaces as u64;
    match limit {
        Some(limit) if limit < wanted => Finding::warn(
            CHECK,
            format!("at most {limit}, and a run may need up to {wanted}"),
        )
        .cure("ulimit -n 1024; for a service: LimitNOFILE=1024"),
        Some(limit) => Finding::ok(CHECK, format!("up to {}", thousands(limit))),
        None => Finding::ok(CHECK, "no limit"),
    }
}

/// `synchronised`: none: the kernel does not say.
pub fn clock(now: &jiff::ZonedDateTime, synchronised: Option<bool>) -> Finding {
    const CHECK: &str = "clock";
    const FIRST_YEAR: i16 = 2025;
    let shown = now.strftime("%Y-%m-%d %H:%M:%S %Z").to_string();
    if now.year() < FIRST_YEAR {
        return Finding::fail(
            CHECK,
            format!("{shown} is in the past: records would be of a wrong time"),
        )
        .cure("timedatectl set-ntp true, or date -s '…'");
    }
    match synchronised {
        Some(true) => Finding::ok(CHECK, format!("{shown}, synchronised")),
        Some(false) => Finding::warn(
            CHECK,
            format!("{shown}, but nothing keeps it right: records may be of a wrong time"),
        )
        .cure("timedatectl set-ntp true, or install chrony"),
        None => Finding::ok(CHECK, shown),
    }
}
