//! The egress hook is shared: other programs keep their place and their packets, a second tcpwatch is welcome or refused
//! with a reason, and nothing of ours is left behind.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use tcpwatch_tests::hook::{self, Foreign, Place, Verdict};
use tcpwatch_tests::lab::{Lab, NEAR_V4};
use tcpwatch_tests::records::to;
use tcpwatch_tests::wait;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn two_instances_count_the_same_by_tcx() {
    let lab = Lab::new();
    let first = lab.watch(["--interval", "1h", "--attach", "tcx"]);
    let second = lab.watch(["--interval", "200ms", "--attach", "tcx"]);
    assert_eq!(hook::tcx_programs(&lab.near, "eth0").len(), 2);
    let mut socket = lab.udp_v4();
    socket.send_times(address("192.0.2.1"), 100, 2000);
    let second = second.stop().books();
    // The end of one leaves the other alone.
    assert_eq!(hook::tcx_programs(&lab.near, "eth0").len(), 1);
    socket.send_times(address("192.0.2.1"), 100, 10);
    let first = first.stop().books();

    assert_eq!(to(&second, "192.0.2.1").packets, 2000);
    assert_eq!(to(&first, "192.0.2.1").packets, 2010);
    hook::assert_bare(&lab.near, "eth0");
}

#[test]
fn a_second_instance_by_clsact_is_refused_and_harms_nothing() {
    let lab = Lab::new();
    let first = lab.watch(["--interval", "1h", "--attach", "clsact"]);
    let filters = hook::clsact_filters(&lab.near, "eth0");
    let second = lab
        .tcpwatch(["run", "--interval", "1h", "--attach", "clsact"])
        .finish();
    assert_eq!(second.code(), Some(2), "{second:?}");
    let message = second.stderr.last().unwrap();
    assert!(message.starts_with("tcpwatch: eth0: "), "{message}");
    assert!(
        message.contains("already attached") && message.contains("--attach tcx"),
        "{message}"
    );
    assert_eq!(second.stdout, [] as [&str; 0]);

    assert_eq!(hook::clsact_filters(&lab.near, "eth0"), filters);
    lab.udp_v4().send_times(address("192.0.2.1"), 100, 10);
    assert_eq!(to(&first.stop().books(), "192.0.2.1").packets, 10);
}

#[test]
fn tcx_and_clsact_can_watch_side_by_side() {
    let lab = Lab::new();
    let first = lab.watch(["--interval", "1h", "--attach", "clsact"]);
    let second = lab.watch(["--interval", "1h", "--attach", "tcx"]);
    lab.udp_v4().send_times(address("192.0.2.1"), 100, 10);
    let (first, second) = (first.stop().books(), second.stop().books());
    assert_eq!(to(&first, "192.0.2.1").packets, 10);
    assert_eq!(to(&second, "192.0.2.1").packets, 10);
    assert_eq!(first[0].interfaces[0].attach, "clsact");
    assert_eq!(second[0].interfaces[0].attach, "tcx");
}

#[test]
fn nothing_is_attached_any_more_after_kill_by_tcx() {
    let lab = Lab::new();
    let watch = lab.watch(["--interval", "1h", "--attach", "tcx"]);
    assert_eq!(hook::tcx_programs(&lab.near, "eth0"), ["tcpwatch_l2"]);
    watch.kill();
    // The kernel lets go of a dead process's descriptors a moment after it is reported dead.
    wait::until("the program is detached", || {
        hook::tcx_programs(&lab.near, "eth0").is_empty()
    });
    hook::assert_bare(&lab.near, "eth0");
}

/// Filters of other people: one that never matches, and a classic BPF program that never does.
fn add_foreign_filters(lab: &Lab) -> String {
    lab.near.run("tc qdisc add dev eth0 clsact");
    lab.near
        .run("tc filter add dev eth0 egress pref 7 u32 match ip dst 203.0.113.99/32 flowid 1:1");
    let mut command = Command::new("ip");
    command.args([
        "netns",
        "exec",
        lab.near.name(),
        "tc",
        "filter",
        "add",
        "dev",
        "eth0",
        "egress",
        "pref",
        "9",
    ]);
    let status = command.args(["bpf", "bytecode", "1,6 0 0 0"]).status().unwrap();
    assert!(status.success());
    let filters = hook::clsact_filters(&lab.near, "eth0");
    assert!(
        filters.contains("u32") && filters.contains("bytecode"),
        "{filters}"
    );
    filters
}

/// The lines of `tc filter show` about other people's filters. Each priority also has a line without a filter.
fn foreign(filters: &str) -> Vec<&str> {
    filters
        .lines()
        .filter(|line| !line.contains("tcpwatch_l2") && !line.trim().ends_with("chain 0"))
        .collect()
}

/// How many filters are ours.
fn ours(filters: &str) -> usize {
    filters
        .lines()
        .filter(|line| line.contains("tcpwatch_l2"))
        .count()
}

#[test]
fn a_start_after_kill_by_clsact_removes_our_stale_filter_and_no_other() {
    let lab = Lab::new();
    let before = add_foreign_filters(&lab);
    let watch = lab.watch(["--interval", "1h", "--attach", "clsact"]);
    watch.kill();
    let stale = hook::clsact_filters(&lab.near, "eth0");
    assert_eq!(ours(&stale), 1, "a classic filter outlives its process: {stale}");

    let watch = lab.watch(["--interval", "1h", "--attach", "clsact"]);
    let filters = hook::clsact_filters(&lab.near, "eth0");
    assert_eq!(ours(&filters), 1, "{filters}");
    lab.udp_v4().send_times(address("192.0.2.1"), 100, 10);
    assert_eq!(to(&watch.stop().books(), "192.0.2.1").packets, 10);
    assert_eq!(hook::clsact_filters(&lab.near, "eth0"), before);
}

#[test]
fn a_clean_end_leaves_the_hook_as_it_was() {
    let lab = Lab::new();
    for attach in ["tcx", "clsact"] {
        lab.watch(["--interval", "1h", "--attach", attach]).stop().books();
        hook::assert_bare(&lab.near, "eth0");
    }
    let lab = Lab::new();
    let filters = add_foreign_filters(&lab);
    for attach in ["tcx", "clsact"] {
        let watch = lab.watch(["--interval", "1h", "--attach", attach]);
        assert_eq!(
            foreign(&hook::clsact_filters(&lab.near, "eth0")),
            foreign(&filters)
        );
        watch.stop().books();
        assert_eq!(hook::clsact_filters(&lab.near, "eth0"), filters);
        assert!(hook::has_clsact(&lab.near, "eth0"));
    }
}

#[test]
fn other_programs_on_tcx_keep_their_order_and_see_every_packet() {
    let lab = Lab::new();
    let foreign = [
        Foreign::attach(&lab.near, "eth0", "foreign_a", Verdict::Next, Place::Last),
        Foreign::attach(&lab.near, "eth0", "foreign_b", Verdict::Pass, Place::Last),
        Foreign::attach(&lab.near, "eth0", "foreign_c", Verdict::Next, Place::Last),
    ];
    let names = ["foreign_a", "foreign_b", "foreign_c"];
    assert_eq!(hook::tcx_programs(&lab.near, "eth0"), names);
    let watch = lab.watch(["--interval", "1h", "--attach", "tcx"]);
    // We come first, because one of them lets nothing through to those behind it.
    assert_eq!(
        hook::tcx_programs(&lab.near, "eth0"),
        ["tcpwatch_l2", "foreign_a", "foreign_b", "foreign_c"]
    );
    lab.udp_v4().send_times(address("192.0.2.1"), 100, 10);
    assert_eq!(to(&watch.stop().books(), "192.0.2.1").packets, 10);
    assert_eq!(hook::tcx_programs(&lab.near, "eth0"), names);
    drop(foreign);
}

#[test]
fn the_packets_of_a_watched_interface_arrive() {
    let lab = Lab::new();
    for attach in ["tcx", "clsact"] {
        let watch = lab.watch(["--interval", "1h", "--attach", attach]);
        let receiver = lab
            .far
            .within(|| std::net::UdpSocket::bind(("198.51.100.1", 4000)).unwrap());
        receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let sender = lab
            .near
            .within(|| std::net::UdpSocket::bind((NEAR_V4, 0)).unwrap());
        for n in 0..100_u8 {
            sender.send_to(&[n; 50], ("198.51.100.1", 4000)).unwrap();
            let mut buffer = [0; 100];
            let length = receiver.recv(&mut buffer).unwrap();
            assert_eq!(buffer[..length], [n; 50]);
        }
        assert_eq!(to(&watch.stop().books(), "198.51.100.1").packets, 100);
    }
}

#[test]
fn a_filter_that_others_remove_is_put_back_and_the_gap_is_said() {
    for removal in ["tc filter del dev eth0 egress", "tc qdisc del dev eth0 clsact"] {
        let lab = Lab::new();
        let watch = lab.watch(["--interval", "100ms", "--attach", "clsact"]);
        lab.near.run(removal);
        let mut socket = lab.udp_v4();
        wait::until("packets are counted again", || {
            socket.send(address("192.0.2.1"), 10);
            to(&watch.records(), "192.0.2.1").packets > 0
        });
        socket.send_times(address("192.0.2.2"), 10, 500);
        let ended = watch.stop();
        assert_eq!(to(&ended.books(), "192.0.2.2").packets, 500, "{removal}");
        let messages = ended.stderr.join("\n");
        assert!(
            messages.contains("eth0: somebody has removed tcpwatch"),
            "{messages}"
        );
    }
}

#[test]
fn a_start_by_tcx_removes_what_a_killed_clsact_instance_left_but_not_a_live_ones() {
    let lab = Lab::new();
    lab.watch(["--interval", "1h", "--attach", "clsact"]).kill();
    assert_eq!(ours(&hook::clsact_filters(&lab.near, "eth0")), 1);
    lab.watch(["--interval", "1h", "--attach", "tcx"]).stop().books();
    assert_eq!(ours(&hook::clsact_filters(&lab.near, "eth0")), 0);

    let live = lab.watch(["--interval", "1h", "--attach", "clsact"]);
    lab.watch(["--interval", "1h", "--attach", "tcx"]).stop().books();
    assert_eq!(ours(&hook::clsact_filters(&lab.near, "eth0")), 1);
    live.stop().books();
}
