//! Addresses, interfaces and routes that come and go while the program runs: no restart, and no gap in the books.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::net::IpAddr;

use tcpwatch_tests::command;
use tcpwatch_tests::daemon::Tcpwatch;
use tcpwatch_tests::hook;
use tcpwatch_tests::lab::{Lab, NEAR_V4};
use tcpwatch_tests::records::{Counts, flow, to, totals};
use tcpwatch_tests::traffic::Udp;
use tcpwatch_tests::wait;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Sends single packets until a record has one of them under `source`.
#[track_caller]
fn send_until_counted(watch: &Tcpwatch, socket: &mut Udp, destination: &str, source: &str) {
    wait::until(&format!("a packet from {source} is counted"), || {
        socket.send(address(destination), 10);
        flow(&watch.records(), destination, source).packets > 0
    });
}

#[test]
fn an_address_added_while_running_is_an_own_source_from_then_on() {
    let lab = Lab::new();
    // Nothing but the test sends anything then, so that every number is known.
    lab.near.sysctl("net.ipv6.conf.all.disable_ipv6", 1);
    let watch = lab.watch(["--interval", "100ms"]);
    lab.near.ip("address add 198.18.0.77/24 dev eth0");
    let mut socket = lab.udp_from("198.18.0.77");
    send_until_counted(&watch, &mut socket, "192.0.2.1", "198.18.0.77");
    socket.send_times(address("192.0.2.2"), 10, 500);
    let records = watch.stop().books();

    assert_eq!(flow(&records, "192.0.2.2", "198.18.0.77").packets, 500);
    // None is missing: those before the program knew the address are in the bucket for foreign sources.
    let totals = totals(&records);
    assert_eq!(
        totals.counted.packets + totals.other_source.packets,
        socket.total().packets
    );
}

#[test]
fn an_ipv6_address_added_while_running_is_an_own_source_from_then_on() {
    let lab = Lab::new();
    let watch = lab.watch(["--interval", "100ms"]);
    lab.near.ip("address add 2001:db8:ffff::77/64 dev eth0 nodad");
    let mut socket = lab.udp_from("2001:db8:ffff::77");
    send_until_counted(&watch, &mut socket, "2001:db8:1::1", "2001:db8:ffff::77");
    socket.send_times(address("2001:db8:1::2"), 10, 500);
    let records = watch.stop().books();

    assert_eq!(flow(&records, "2001:db8:1::2", "2001:db8:ffff::77").packets, 500);
}

#[test]
fn an_address_removed_while_running_is_a_foreign_source_from_then_on() {
    let lab = Lab::new();
    lab.near.sysctl("net.ipv6.conf.all.disable_ipv6", 1);
    lab.near.ip("address add 198.18.0.77/24 dev eth0");
    let watch = lab.watch(["--interval", "100ms"]);
    let mut socket = lab.udp_from("198.18.0.77");
    socket.send_times(address("192.0.2.1"), 10, 50);
    // It stays an address of the host, so that packets can still be sent from it.
    lab.near.ip("address add 198.18.0.77/32 dev lo");
    lab.near.ip("address del 198.18.0.77/24 dev eth0");
    wait::until("a packet from the address is foreign", || {
        socket.send(address("192.0.2.2"), 10);
        totals(&watch.records()).other_source.packets > 0
    });
    let before = totals(&watch.records()).other_source.packets;
    socket.send_times(address("192.0.2.3"), 10, 500);
    let records = watch.stop().books();

    assert_eq!(to(&records, "192.0.2.1").packets, 50);
    assert_eq!(to(&records, "192.0.2.3").packets, 0);
    assert!(totals(&records).other_source.packets >= before + 500);
    let counted: Counts = ["192.0.2.1", "192.0.2.2"]
        .map(|of| to(&records, of))
        .into_iter()
        .sum();
    assert_eq!(
        counted.packets + totals(&records).other_source.packets,
        socket.total().packets
    );
}

/// More changes at once than a netlink socket holds: what was missed must be asked for again.
#[test]
fn a_storm_of_address_changes_ends_with_the_right_own_sources() {
    let lab = Lab::new();
    lab.near.sysctl("net.ipv6.conf.all.disable_ipv6", 1);
    let watch = lab.watch(["--interval", "100ms"]);
    let all = |verb: &str| -> String {
        (0..4000)
            .map(|n| {
                format!(
                    "address {verb} 198.19.{}.{}/32 dev eth0\n",
                    128 + n / 250,
                    1 + n % 250
                )
            })
            .collect()
    };
    command::ip_batch(lab.near.name(), &all("add"));
    command::ip_batch(lab.near.name(), &all("del"));
    lab.near.ip("address add 198.19.200.1/32 dev eth0");
    let mut added = lab.udp_from("198.19.200.1");
    send_until_counted(&watch, &mut added, "192.0.2.1", "198.19.200.1");
    added.send_times(address("192.0.2.2"), 10, 500);
    // An address that was there in the middle of it.
    lab.near.ip("address add 198.19.128.1/32 dev lo");
    lab.udp_from("198.19.128.1")
        .send_times(address("192.0.2.3"), 10, 500);
    let records = watch.stop().books();

    assert_eq!(flow(&records, "192.0.2.2", "198.19.200.1").packets, 500);
    assert_eq!(to(&records, "192.0.2.3").packets, 0);
}

/// Takes the interface away under the running program and brings it back.
fn survives_the_loss_of_its_interface(arguments: &[&str]) {
    let lab = Lab::new();
    let mut watch = lab.watch(["--interval", "100ms"].iter().chain(arguments).copied());
    lab.udp_v4().send_times(address("192.0.2.1"), 10, 100);
    lab.near.ip("link del eth0");
    watch.wait_for_records(3);
    assert!(watch.is_running());
    lab.connect();
    let mut socket = lab.udp_v4();
    send_until_counted(&watch, &mut socket, "192.0.2.2", NEAR_V4);
    // Again, at once and twice: the program must not take the new one for the old.
    for _ in 0..2 {
        lab.near.ip("link del eth0");
        lab.connect();
    }
    let mut socket = lab.udp_v4();
    send_until_counted(&watch, &mut socket, "192.0.2.3", NEAR_V4);
    socket.send_times(address("192.0.2.4"), 10, 500);
    let ended = watch.stop();
    let records = ended.books();

    assert_eq!(
        to(&records, "192.0.2.1").packets,
        100,
        "sent before the interface went away"
    );
    assert_eq!(to(&records, "192.0.2.4").packets, 500, "sent after it came back");
    let runs: Vec<_> = records.iter().map(|record| &record.run).collect();
    assert!(runs.iter().all(|run| *run == runs[0]));
    let last = records.last().unwrap();
    assert_eq!(last.interfaces.len(), 1);
    assert_eq!(last.interfaces[0].name, "eth0");
    hook::assert_bare(&lab.near, "eth0");
}

#[test]
fn a_named_interface_that_is_made_anew_is_watched_again() {
    survives_the_loss_of_its_interface(&["-i", "eth0"]);
}

#[test]
fn the_default_routes_interface_that_is_made_anew_is_watched_again() {
    survives_the_loss_of_its_interface(&[]);
}

#[test]
fn an_interface_that_is_made_anew_is_watched_again_by_clsact() {
    survives_the_loss_of_its_interface(&["-i", "eth0", "--attach", "clsact"]);
}

#[test]
fn an_interface_that_goes_down_and_up_is_counted_on() {
    for attach in ["tcx", "clsact"] {
        let lab = Lab::new();
        let watch = lab.watch(["--interval", "100ms", "--attach", attach]);
        lab.udp_v4().send_times(address("192.0.2.1"), 10, 100);
        lab.near.ip("link set eth0 down");
        watch.wait_for_records(3);
        lab.near.ip("link set eth0 up");
        lab.route();
        let mut socket = lab.udp_v4();
        send_until_counted(&watch, &mut socket, "192.0.2.2", NEAR_V4);
        socket.send_times(address("192.0.2.3"), 10, 500);
        let records = watch.stop().books();

        assert_eq!(to(&records, "192.0.2.1").packets, 100, "{attach}");
        assert_eq!(to(&records, "192.0.2.3").packets, 500, "{attach}");
    }
}

#[test]
fn the_default_routes_interface_is_followed_to_another_one_and_the_old_one_is_let_go() {
    let lab = Lab::new();
    // One family alone has a route, or the other would keep eth0.
    lab.near.sysctl("net.ipv6.conf.all.disable_ipv6", 1);
    lab.connect_eth1("198.18.2.1/24", "198.18.2.2");
    let watch = lab.watch(["--interval", "100ms"]);
    lab.near.ip("route replace default via 198.18.2.2");
    let mut socket = lab.udp_from("198.18.2.1");
    send_until_counted(&watch, &mut socket, "192.0.2.1", "198.18.2.1");
    socket.send_times(address("192.0.2.2"), 10, 500);
    wait::until("eth0 is let go", || {
        hook::tcx_programs(&lab.near, "eth0").is_empty()
    });
    let records = watch.stop().books();

    assert_eq!(flow(&records, "192.0.2.2", "198.18.2.1").packets, 500);
    let last: Vec<&str> = records
        .last()
        .unwrap()
        .interfaces
        .iter()
        .map(|i| i.name.as_str())
        .collect();
    assert_eq!(last, ["eth1"]);
}

#[test]
fn a_default_route_that_is_missing_for_a_while_keeps_its_interface() {
    let lab = Lab::new();
    let watch = lab.watch(["--interval", "100ms"]);
    lab.near.ip("route del default");
    let seen = watch.records().len();
    // Longer than the time between two looks at the route.
    watch.wait_for_records(seen + 25);
    assert_eq!(hook::tcx_programs(&lab.near, "eth0").len(), 1);
    watch.stop().books();
}

#[test]
fn all_next_hops_of_a_default_route_are_watched() {
    let lab = Lab::new();
    lab.connect_eth1("198.18.2.1/24", "198.18.2.2");
    lab.near
        .ip("route replace default nexthop via 198.18.0.2 dev eth0 nexthop via 198.18.2.2 dev eth1");
    let watch = lab.watch(["--interval", "1h"]);
    let records = watch.stop().books();
    let mut names: Vec<&str> = records[0].interfaces.iter().map(|i| i.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["eth0", "eth1"]);
}
