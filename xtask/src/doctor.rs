//! `cargo xtask doctor`: what this machine can build and run, each lack with its cure.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::bail;

use crate::machine::Machine;
use crate::places;
use crate::setup::{self, EVERYTHING, Known, State};

/// The first kernel with TCX (commit e420bed02507, 6.6).
const TCX: (u32, u32) = (6, 6);
/// The first kernel on which our programs load at all.
const MINIMUM: (u32, u32) = (5, 15);
/// Bits of the capability sets (linux/capability.h), with the names that setcap knows.
const CAPABILITIES: [(u32, &str); 3] = [(12, "cap_net_admin"), (38, "cap_perfmon"), (39, "cap_bpf")];

/// How one thing stands.
enum Verdict {
    Ok(String),
    /// tcpwatch runs, with less.
    Warning(String),
    /// tcpwatch does not run.
    Fault(String),
}

use Verdict::{Fault, Ok as Good, Warning};

/// Prints everything; fails where something needed is missing.
pub fn command() -> anyhow::Result<()> {
    let machine = Machine::detect();
    let mut needed = 0;
    println!("-- building and testing");
    for finding in setup::look(&machine, &Known::default(), &EVERYTHING) {
        needed += usize::from(matches!(finding.state, State::Missing(..) | State::Blocked(_)));
        setup::show(&finding);
    }
    println!("-- running");
    let mut verdicts = vec![
        ("kernel", kernel(&read("/proc/sys/kernel/osrelease"))),
        ("privilege", privilege(&machine, &read("/proc/self/status"))),
        ("JIT", jit(&read("/proc/sys/net/core/bpf_jit_enable"))),
        ("BTF", btf(Path::new("/sys/kernel/btf/vmlinux").exists())),
        ("bpffs", bpffs(&read("/proc/self/mounts"))),
        (
            "interface",
            interface(&read("/proc/net/route"), &read("/proc/net/ipv6_route")),
        ),
    ];
    verdicts.extend(databases().into_iter().map(|verdict| ("places", verdict)));
    for (name, verdict) in &verdicts {
        let (word, text) = match verdict {
            Good(text) => ("ok", text),
            Warning(text) => ("warning", text),
            Fault(text) => ("FAULT", text),
        };
        println!("{word:<8} {name}: {text}");
    }
    needed += verdicts
        .iter()
        .filter(|(_, verdict)| matches!(verdict, Fault(_)))
        .count();
    if needed > 0 {
        bail!("{needed} things are missing; `cargo xtask setup` installs what can be installed");
    }
    Ok(())
}

/// What cannot be read is judged as empty: each check then says what it did not find.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn kernel(release: &str) -> Verdict {
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|number| number.parse::<u32>().ok());
    let (Some(major), Some(minor)) = (numbers.next(), numbers.next()) else {
        return Fault(format!("`{release}` is not the release of a Linux kernel"));
    };
    if (major, minor) < MINIMUM {
        Fault(format!(
            "{release} is too old: install {}.{} or newer",
            MINIMUM.0, MINIMUM.1
        ))
    } else if (major, minor) < TCX {
        Warning(format!(
            "{release} attaches by clsact; {}.{} or newer has TCX",
            TCX.0, TCX.1
        ))
    } else {
        Good(format!("{release}, with TCX"))
    }
}

fn privilege(machine: &Machine, status: &str) -> Verdict {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
        .unwrap_or_default();
    let missing: Vec<_> = CAPABILITIES
        .into_iter()
        .filter(|(bit, _)| effective & (1 << bit) == 0)
        .map(|(_, name)| name)
        .collect();
    if missing.is_empty() {
        Good("all that is needed".to_owned())
    } else if machine.root {
        Fault(format!(
            "root here lacks {}: a container? allow them to it",
            missing.join(", ")
        ))
    } else if machine.can_elevate() {
        Good("by sudo".to_owned())
    } else {
        Fault(format!(
            "{} are missing: become root, or install sudo",
            missing.join(", ")
        ))
    }
}

fn jit(enabled: &str) -> Verdict {
    match enabled {
        "1" | "2" => Good("on".to_owned()),
        "0" => Warning(
            "off, every packet costs many times as much: sysctl -w net.core.bpf_jit_enable=1".to_owned(),
        ),
        // A kernel that always compiles has no such switch, and one hides it from everyone but root.
        _ => Good("not told; most kernels compile always".to_owned()),
    }
}

fn btf(there: bool) -> Verdict {
    if there {
        Good("/sys/kernel/btf/vmlinux".to_owned())
    } else {
        Warning("/sys/kernel/btf/vmlinux is missing: use a kernel with CONFIG_DEBUG_INFO_BTF=y".to_owned())
    }
}

fn bpffs(mounts: &str) -> Verdict {
    let mounted = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (place, kind) = (fields.next()?, fields.next()?);
        (kind == "bpf").then_some(place)
    });
    match mounted {
        Some(place) => Good(place.to_owned()),
        None => Warning("not mounted, so `--pin` does not work: mount -t bpf bpf /sys/fs/bpf".to_owned()),
    }
}

/// The device of each default route, as tcpwatch finds it without `--interface`.
fn interface(v4: &str, v6: &str) -> Verdict {
    let mut names = BTreeSet::new();
    for line in v4.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // Iface Destination Gateway Flags RefCnt Use Metric Mask
        if let [name, "00000000", _, _, _, _, _, "00000000", ..] = fields[..] {
            names.insert(name);
        }
    }
    for line in v6.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // destination, its prefix length, six other fields, flags, device; the kernel's own reject route is on lo.
        if let (Some(destination), Some(&"00"), Some(name)) = (fields.first(), fields.get(1), fields.last())
            && destination.bytes().all(|digit| digit == b'0')
            && *name != "lo"
        {
            names.insert(name);
        }
    }
    if names.is_empty() {
        return Warning("no default route: name one with `--interface`".to_owned());
    }
    Good(format!(
        "default route by {}",
        names.into_iter().collect::<Vec<_>>().join(", ")
    ))
}

fn databases() -> Vec<Verdict> {
    let found = places::found();
    if found.is_empty() {
        return vec![Warning(
            "no database, so records name no countries: run `cargo xtask setup`".to_owned(),
        )];
    }
    found
        .into_iter()
        .map(|(path, described)| match described {
            Ok(text) => Good(format!("{path} ({text})")),
            Err(error) => Warning(format!("{path} cannot be read: {error:#}")),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judges_a_kernel_by_its_release() {
        assert!(matches!(kernel("6.18.44-x"), Good(_)));
        assert!(matches!(kernel("6.6.0"), Good(_)));
        assert!(matches!(kernel("6.1.0-13-amd64"), Warning(_)));
        assert!(matches!(kernel("5.10.0"), Fault(_)));
        assert!(matches!(kernel(""), Fault(_)));
    }

    #[test]
    fn names_the_capabilities_that_root_lacks() {
        let root = Machine::for_test_as_root();
        assert!(matches!(privilege(&root, "CapEff:\t000001ffffffffff\n"), Good(_)));
        let Fault(text) = privilege(&root, "CapEff:\t0000000000001000\n") else {
            panic!("not a fault")
        };
        assert!(
            text.contains("cap_perfmon, cap_bpf") && !text.contains("net_admin"),
            "{text}"
        );
    }

    #[test]
    fn finds_the_default_routes_of_both_families() {
        let v4 = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\n\
                  eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\neth1\t0001A8C0\t00000000\t1\t0\t0\t0\t00FFFFFF\t0\n";
        let zero = "0".repeat(32);
        let v6 = format!(
            "{zero} 00 {zero} 00 fe80 00000400 00000001 00000000 00000003 wg0\n\
             {zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200 lo\n"
        );
        let Good(text) = interface(v4, &v6) else {
            panic!("no route")
        };
        assert_eq!(text, "default route by eth0, wg0");
        assert!(matches!(interface("", ""), Warning(_)));
    }

    #[test]
    fn finds_a_mounted_bpffs() {
        assert!(
            matches!(bpffs("proc /proc proc rw 0 0\nbpf /sys/fs/bpf bpf rw 0 0"), Good(place) if place == "/sys/fs/bpf")
        );
        assert!(matches!(bpffs("bpf /mnt tmpfs rw 0 0"), Warning(_)));
    }

    #[test]
    fn warns_of_an_interpreter() {
        assert!(matches!(jit("0"), Warning(_)));
        assert!(matches!(jit("1"), Good(_)));
    }
}
