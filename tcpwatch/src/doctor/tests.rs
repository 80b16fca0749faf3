//! What is said of machines that this one is not.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::civil::date;

use super::finding::{Finding, Verdict};
use super::hooks::{Occupants, Trial, Trials, attach, occupants};
use super::links::{Device, interface, nothing, offload, stacked};
use super::machine::{BpfFs, bpffs, clock, files, jit, kernel, rights, tables};
use super::show::{Paper, json, text};
use super::stores::{Opened, Pins, PlaceFile, Running, Target, history, instance, places, record, space};
use super::{Section, would_run};
use crate::config::{Interfaces, Sources};
use crate::kernel::attach::survey::Filter;
use crate::kernel::attach::{AttachMode, Direction, LinkLayer};
use crate::kernel::capacity::Capacity;
use crate::net::{Defaults, Interface};
use crate::pipeline::choice::ChoiceError;

#[track_caller]
fn is(finding: &Finding, verdict: Verdict, words: &[&str]) {
    let all = format!("{} {}", finding.says, finding.cures.join(" "));
    assert_eq!(finding.verdict, verdict, "{all}");
    for word in words {
        assert!(all.contains(word), "{word:?} is not in: {all}");
    }
    assert!(
        verdict < Verdict::Warn || !finding.cures.is_empty(),
        "no cure: {all}"
    );
}

#[test]
fn a_kernel_before_5_15_fails_and_a_real_time_one_is_noted() {
    is(
        &kernel("5.10.0-28-amd64", false)[0],
        Verdict::Fail,
        &["5.10.0", "5.15"],
    );
    assert_eq!(kernel("6.1.0", false).len(), 1);
    let real_time = kernel("6.12.1-rt", true);
    is(&real_time[0], Verdict::Ok, &["6.12.1-rt"]);
    is(&real_time[1], Verdict::Note, &["PREEMPT_RT"]);
}

#[test]
fn missing_rights_come_with_three_ways_to_them() {
    let missing = ["CAP_BPF".to_owned(), "CAP_NET_ADMIN".to_owned()];
    let user = rights(&missing, false, "/usr/bin/tcpwatch");
    is(
        &user,
        Verdict::Fail,
        &[
            "sudo",
            "setcap cap_bpf,cap_net_admin,cap_perfmon+ep /usr/bin/tcpwatch",
            "setpriv",
        ],
    );
    is(
        &rights(&missing[..1], true, "tcpwatch"),
        Verdict::Fail,
        &["--cap-add=BPF", "AmbientCapabilities=CAP_BPF"],
    );
    is(&rights(&[], false, "tcpwatch"), Verdict::Ok, &[]);
}

#[test]
fn an_interpreter_is_warned_of() {
    is(&jit(Some("0\n")), Verdict::Warn, &["bpf_jit_enable=1"]);
    is(&jit(Some("1")), Verdict::Ok, &[]);
    is(&jit(Some("2")), Verdict::Note, &[]);
    is(&jit(None), Verdict::Ok, &["not told"]);
}

#[test]
fn a_missing_bpf_file_system_matters_to_those_who_pin() {
    let found = |mounted, writable, wanted| BpfFs {
        path: "/sys/fs/bpf".to_owned(),
        mounted,
        writable,
        wanted,
    };
    is(&bpffs(&found(true, true, true)), Verdict::Ok, &["/sys/fs/bpf"]);
    let mount = "mount -t bpf bpf /sys/fs/bpf";
    is(
        &bpffs(&found(false, true, false)),
        Verdict::Note,
        &[mount, "--pin"],
    );
    is(&bpffs(&found(false, true, true)), Verdict::Fail, &[mount]);
    is(&bpffs(&found(true, false, true)), Verdict::Fail, &["written"]);
    let elsewhere = BpfFs {
        path: "/var/lib/pins".to_owned(),
        ..found(false, true, true)
    };
    is(
        &bpffs(&elsewhere),
        Verdict::Fail,
        &["/var/lib/pins", "--pin /sys/fs/bpf/tcpwatch"],
    );
}

#[test]
fn tables_are_weighed_against_the_memory_that_is_there() {
    let capacity = Capacity {
        slots: None,
        spill: 131_072,
        bans: 1,
        samples: 0,
    };
    is(
        &tables(capacity, 2, false, Some(8 << 30)),
        Verdict::Ok,
        &["2 CPUs", "131,072 slots", "36.7 MB"],
    );
    is(
        &tables(capacity, 1, false, Some(100 << 20)),
        Verdict::Warn,
        &["1 CPU ", "--slots"],
    );
    is(&tables(capacity, 4, true, None), Verdict::Ok, &["0 slots"]);
}

#[test]
fn open_files_are_counted_for_the_interfaces_that_there_are() {
    is(&files(Some(1024), 1), Verdict::Ok, &["1,024"]);
    is(&files(Some(1024), 1000), Verdict::Warn, &["ulimit"]);
    is(&files(Some(64), 0), Verdict::Warn, &["LimitNOFILE"]);
    is(&files(None, 1000), Verdict::Ok, &[]);
}

#[test]
fn a_clock_of_the_past_fails_and_one_that_nobody_keeps_is_warned_of() {
    let at = |text: &str| text.parse::<jiff::ZonedDateTime>().unwrap();
    let now = at("2026-05-01T12:00:00[UTC]");
    is(
        &clock(&now, Some(true)),
        Verdict::Ok,
        &["2026-05-01 12:00:00 UTC"],
    );
    is(&clock(&now, Some(false)), Verdict::Warn, &["chrony"]);
    is(&clock(&now, None), Verdict::Ok, &[]);
    is(
        &clock(&at("1970-01-01T00:00:09[UTC]"), Some(true)),
        Verdict::Fail,
        &["1970"],
    );
}

#[test]
fn what_was_tried_decides_whether_a_run_can_be_attached() {
    let fails = || Trial::Fails("no".to_owned());
    let tried = |tcx, clsact| Trials::Tried { tcx, clsact };
    use AttachMode::{Auto, Clsact, Tcx};
    is(
        &attach(&tried(Trial::Works, Trial::Works), Auto),
        Verdict::Ok,
        &["tcx", "clsact"],
    );
    is(
        &attach(&tried(Trial::Works, fails()), Auto),
        Verdict::Ok,
        &["tcx"],
    );
    is(
        &attach(&tried(fails(), Trial::Works), Auto),
        Verdict::Note,
        &["clsact works", "6.6"],
    );
    is(
        &attach(&tried(fails(), fails()), Auto),
        Verdict::Fail,
        &["modprobe sch_ingress"],
    );
    is(
        &attach(&tried(fails(), Trial::Works), Tcx),
        Verdict::Fail,
        &["--attach auto"],
    );
    is(
        &attach(&tried(Trial::Works, fails()), Clsact),
        Verdict::Fail,
        &["--attach auto"],
    );
    is(
        &attach(&Trials::Unloadable("no memory".to_owned()), Auto),
        Verdict::Fail,
        &["no memory"],
    );
    let untried = Trials::Untried {
        why: "no right".to_owned(),
        tcx: false,
    };
    is(
        &attach(&untried, Auto),
        Verdict::Note,
        &["no right", "has clsact"],
    );
}

fn filter(name: &str, priority: u16, is_bpf: bool) -> Filter {
    Filter {
        name: name.to_owned(),
        priority,
        is_bpf,
        is_ours: false,
    }
}

#[test]
fn those_on_a_hook_are_named_in_their_order() {
    let on = |tcx: &[(u32, &str)], classic: Vec<Filter>| Occupants {
        tcx: Some(
            tcx.iter()
                .map(|(id, name)| (*id, Some((*name).to_owned())))
                .collect(),
        ),
        classic: Some(classic),
    };
    let said = |found: &Occupants, by_tcx| occupants("eth0", Direction::Egress, found, by_tcx);
    is(&said(&on(&[], vec![]), true), Verdict::Ok, &["eth0 egress: free"]);
    let agent = on(
        &[(12, "agent")],
        vec![filter("u32", 1, false), filter("old", 7, true)],
    );
    is(
        &said(&agent, true),
        Verdict::Ok,
        &["tcx agent (12); then clsact u32 (pref 1), old (pref 7); tcpwatch goes first"],
    );
    is(
        &said(&agent, false),
        Verdict::Warn,
        &["they run before tcpwatch", "--attach tcx"],
    );
    let ours = on(&[(9, "tcpwatch_l2"), (12, "agent")], vec![]);
    is(
        &said(&ours, true),
        Verdict::Ok,
        &["in this order: tcx tcpwatch_l2 (9), agent (12)"],
    );
    let mine = Filter {
        is_ours: true,
        ..filter("tcpwatch_l2", 1, true)
    };
    is(
        &said(&on(&[], vec![mine]), false),
        Verdict::Note,
        &["no other can be attached"],
    );
    is(&said(&Occupants::default(), true), Verdict::Note, &["sudo"]);
}

fn eth0() -> Interface {
    Interface {
        index: 2,
        name: "eth0".into(),
        layer: Some(LinkLayer::Ethernet),
        kind: libc::ARPHRD_ETHER,
        up: true,
        addresses: ["192.0.2.7", "192.0.2.8", "192.0.2.9", "2001:db8::7"]
            .map(|text| text.parse().unwrap())
            .into(),
    }
}

#[test]
fn an_interface_is_described_and_one_that_cannot_send_is_warned_of() {
    let defaults = Defaults {
        v4: [2].into(),
        v6: [2].into(),
    };
    let said = |eth0: &Interface, device: Option<&Device>| {
        interface(eth0, device, &Interfaces::DefaultRoute, &defaults)
    };
    is(
        &said(&eth0(), None),
        Verdict::Ok,
        &["eth0: Ethernet, default route of IPv4 and IPv6, up: 192.0.2.7, 192.0.2.8, 192.0.2.9, and 1 more"],
    );
    let down = Interface { up: false, ..eth0() };
    is(&said(&down, None), Verdict::Warn, &["ip link set eth0 up"]);
    let loose = Device {
        operational: Some(false),
        ..Device::default()
    };
    is(&said(&eth0(), Some(&loose)), Verdict::Warn, &["carrier"]);
}

#[test]
fn why_there_is_nothing_to_watch_is_parted_from_what_to_do() {
    let finding = nothing(&ChoiceError::NoSuch {
        name: "eth9".to_owned(),
        present: "eth0, lo".to_owned(),
    });
    assert_eq!(finding.says, "no interface eth9");
    assert_eq!(finding.cures, ["take one of eth0, lo"]);
    let finding = nothing(&ChoiceError::NoDefaultRoute {
        present: "eth0".to_owned(),
    });
    is(
        &finding,
        Verdict::Fail,
        &["no default route", "--interface", "eth0"],
    );
}

#[test]
fn offloads_are_said_to_change_nothing() {
    let device = |packets| Device {
        gso_bytes: Some(65_536),
        gso_packets: Some(packets),
        ..Device::default()
    };
    is(
        &offload(&eth0(), &device(65_535)).unwrap(),
        Verdict::Ok,
        &["65.5 kB", "packet by packet"],
    );
    is(
        &offload(&eth0(), &device(1)).unwrap(),
        Verdict::Ok,
        &["by itself"],
    );
    assert_eq!(offload(&eth0(), &Device::default()), None);
}

#[test]
fn stacked_devices_are_warned_of_where_packets_are_counted_twice() {
    let device = |index, kind: &str, on, part_of| Device {
        index,
        kind: Some(kind.to_owned()),
        on,
        part_of,
        ..Device::default()
    };
    let (bond, slave) = (device(2, "bond", None, None), device(3, "veth", None, Some(2)));
    let (vlan, pair) = (device(4, "vlan", Some(2), None), device(5, "veth", Some(2), None));
    let name = |text: &str| Arc::<str>::from(text);
    let all = [
        (name("bond0"), &bond),
        (name("eth1"), &slave),
        (name("bond0.5"), &vlan),
        (name("veth5"), &pair),
    ];
    let found = stacked(&all, &Sources::Any);
    assert_eq!(found.len(), 2, "{found:#?}");
    is(
        &found[0],
        Verdict::Warn,
        &["bond0 lies on eth1", "counted twice", "-i bond0"],
    );
    is(&found[1], Verdict::Warn, &["bond0.5 lies on bond0"]);
    is(
        &stacked(&all, &Sources::Auto)[0],
        Verdict::Note,
        &["other_source"],
    );
    assert_eq!(stacked(&all[..1], &Sources::Any), []);
}

#[test]
fn an_old_place_database_and_none_are_warned_of() {
    let file = PlaceFile {
        path: "/var/lib/tcpwatch/places.mmdb".to_owned(),
        kind: "DBIP-City-Lite".to_owned(),
        built: date(2026, 1, 1),
    };
    let said = |today| places(std::slice::from_ref(&file), &[], today).remove(0);
    is(&said(date(2026, 3, 2)), Verdict::Ok, &["60 days old"]);
    is(&said(date(2026, 3, 3)), Verdict::Warn, &["tcpwatch geo update"]);
    is(&said(date(2026, 1, 1)), Verdict::Ok, &["of today"]);
    is(
        &places(&[], &[], date(2026, 1, 1))[0],
        Verdict::Warn,
        &["geo update", "--geo"],
    );
    let skipped = places(&[file], &["x.mmdb skipped".to_owned()], date(2026, 1, 2));
    is(&skipped[1], Verdict::Warn, &["x.mmdb skipped", "--geo"]);
}

fn target(free: u64, whole: u64) -> Target {
    Target {
        path: "/var/lib/tcpwatch/history.db".into(),
        bytes: Some(5_000_000),
        directory: "/var/lib/tcpwatch".into(),
        writable: true,
        space: Some((free, whole)),
    }
}

#[test]
fn little_room_is_a_hundred_megabytes_or_a_twentieth() {
    let said = |free, whole| space("history", &target(free, whole)).unwrap();
    is(
        &said(50_000_000_000, 100_000_000_000),
        Verdict::Ok,
        &["50.0 GB of 100.0 GB free"],
    );
    is(&said(99_000_000, 200_000_000), Verdict::Warn, &["--history-size"]);
    is(&said(4_000_000_000, 100_000_000_000), Verdict::Warn, &[]);
    let silent = Target {
        space: None,
        ..target(0, 0)
    };
    assert_eq!(space("history", &silent), None);
}

#[test]
fn a_history_that_was_asked_for_must_open() {
    let roomy = target(50_000_000_000, 100_000_000_000);
    let most = 2_000_000_000;
    is(
        &history(&roomy, &Opened::Opens, true, most),
        Verdict::Ok,
        &["5.0 MB"],
    );
    is(
        &history(&roomy, &Opened::Missing, true, most),
        Verdict::Ok,
        &["first start"],
    );
    let refused = Opened::Refused("x is no history of tcpwatch".to_owned());
    is(
        &history(&roomy, &refused, true, most),
        Verdict::Fail,
        &["--history none"],
    );
    is(&history(&roomy, &refused, false, most), Verdict::Warn, &[]);
    let closed = Target {
        writable: false,
        ..roomy
    };
    is(
        &history(&closed, &Opened::Missing, false, most),
        Verdict::Warn,
        &["no history is kept"],
    );
    let narrow = target(1_000_000_000, 2_000_000_000);
    is(
        &history(&narrow, &Opened::Opens, false, most),
        Verdict::Note,
        &["2.0 GB", "--history-size"],
    );
}

#[test]
fn a_record_file_needs_its_directory() {
    let there = Target {
        path: "/srv/records/tcpwatch.jsonl".into(),
        ..target(1, 1)
    };
    is(&record(&there), Verdict::Ok, &["appended"]);
    let nowhere = Target {
        writable: false,
        bytes: None,
        ..there
    };
    is(&record(&nowhere), Verdict::Fail, &["mkdir -p /srv/records"]);
}

#[test]
fn pins_that_nobody_reads_are_warned_of() {
    let said = |running, pins| {
        instance(
            running,
            Path::new("/run/tcpwatch/control.sock"),
            pins,
            &PathBuf::from("/sys/fs/bpf/tcpwatch"),
        )
    };
    assert_eq!(said(Running::No, Pins::None).len(), 1);
    is(
        &said(Running::No, Pins::Some)[1],
        Verdict::Warn,
        &["tcpwatch run --pin /sys/fs/bpf/tcpwatch", "tcpwatch detach"],
    );
    is(&said(Running::No, Pins::Held)[1], Verdict::Ok, &["that runs"]);
    is(&said(Running::Stale, Pins::Some)[0], Verdict::Note, &["dead"]);
    is(
        &said(Running::Forbidden, Pins::Forbidden)[1],
        Verdict::Note,
        &["sudo"],
    );
}

fn sections() -> [Section; 2] {
    [
        Section {
            title: "kernel",
            findings: vec![
                Finding::ok("kernel", "Linux 6.18"),
                Finding::warn("open files", "at most 64").cure("ulimit -n 1024"),
            ],
        },
        Section {
            title: "network",
            findings: vec![Finding::fail("interface", "no interface\neth9").cure("take one of eth0, lo")],
        },
    ]
}

#[test]
fn the_answer_is_aligned_and_its_last_line_says_it_all() {
    let mut out = Vec::new();
    text("host", &sections(), Paper::default(), &mut out).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        String::from_utf8(out).unwrap(),
        format!(
            "tcpwatch {version} on host: what it needs, and how that stands\n\
             \n\
             kernel\n\
             \x20 OK    kernel      Linux 6.18\n\
             \x20 WARN  open files  at most 64\n\
             \x20                   → ulimit -n 1024\n\
             \n\
             network\n\
             \x20 FAIL  interface   no interface eth9\n\
             \x20                   → take one of eth0, lo\n\
             \n\
             tcpwatch run would NOT work here: see the line that says FAIL. And 1 warning.\n"
        )
    );
}

#[test]
fn on_a_terminal_long_lines_are_broken_under_their_beginning() {
    let mut out = Vec::new();
    let paper = Paper {
        colour: false,
        columns: Some(60),
    };
    let section = Section {
        title: "kernel",
        findings: vec![Finding::note("kernel", "word ".repeat(12)).cure("cure ".repeat(12).trim_end())],
    };
    text("host", &[section], paper, &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(
        out.lines()
            .all(|line| line.chars().count() <= 62 || line.starts_with("tcpwatch")),
        "{out}"
    );
    assert!(
        out.contains("\n                word word") && out.contains("\n                  cure cure"),
        "{out}"
    );
}

#[test]
fn the_object_says_whether_a_run_would_work() {
    let mut out = Vec::new();
    json("host", &sections(), &mut out).unwrap();
    let object: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(object["would_run"], false);
    assert_eq!(object["checks"][1]["verdict"], "warn");
    assert_eq!(object["checks"][2]["cures"][0], "take one of eth0, lo");
    assert!(would_run(&sections()[..1]));
}
