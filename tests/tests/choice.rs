//! Whose packets are counted, and on which interfaces.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::net::IpAddr;

use tcpwatch_tests::lab::{ELSEWHERE_V4, Lab, NEAR_V4, NEAR_V6};
use tcpwatch_tests::records::{Counts, by_flow, flow, to, totals};
use tcpwatch_tests::traffic::Sink;

#[test]
fn counts_only_the_sources_it_is_told() {
    let lab = Lab::new();
    lab.near.ip("address add 198.18.0.3/24 dev eth0");
    let watch = lab.watch(["--interval", "1h", "--source", "198.18.0.3"]);
    let (mut first, mut second) = (lab.udp_v4(), lab.udp_from("198.18.0.3"));
    first.send_times("192.0.2.1".parse().unwrap(), 10, 3);
    second.send_times("192.0.2.1".parse().unwrap(), 10, 4);
    let records = watch.stop().books();

    assert_eq!(flow(&records, "192.0.2.1", "198.18.0.3").packets, 4);
    assert_eq!(to(&records, "192.0.2.1").packets, 4);
    assert_eq!(totals(&records).other_source.packets, 3);
}

#[test]
fn any_source_counts_what_others_sent_without_naming_them() {
    let lab = Lab::new();
    let watch = lab.watch(["--interval", "1h", "--source", "any"]);
    let (mut own, mut foreign) = (lab.udp_v4(), lab.udp_from(ELSEWHERE_V4));
    own.send_times("192.0.2.1".parse().unwrap(), 10, 3);
    foreign.send_times("192.0.2.1".parse().unwrap(), 10, 4);
    let records = watch.stop().books();

    let flows = by_flow(&records);
    assert_eq!(to(&records, "192.0.2.1").packets, 7);
    assert_eq!(flows[&("192.0.2.1".parse().unwrap(), None)].packets, 4);
    assert_eq!(flow(&records, "192.0.2.1", NEAR_V4).packets, 3);
    assert_eq!(totals(&records).other_source, Counts::default());
}

#[test]
fn tells_the_own_addresses_of_one_interface_apart() {
    let lab = Lab::new();
    lab.near.ip("address add 198.18.0.3/24 dev eth0");
    lab.near.ip("address add 2001:db8:ffff::3/64 dev eth0 nodad");
    let watch = lab.watch(["--interval", "1h"]);
    for (source, packets) in [(NEAR_V4, 2), ("198.18.0.3", 3)] {
        lab.udp_from(source)
            .send_times("192.0.2.1".parse().unwrap(), 10, packets);
    }
    for (source, packets) in [(NEAR_V6, 4), ("2001:db8:ffff::3", 5)] {
        lab.udp_from(source)
            .send_times("2001:db8:1::1".parse().unwrap(), 10, packets);
    }
    let records = watch.stop().books();

    assert_eq!(flow(&records, "192.0.2.1", NEAR_V4).packets, 2);
    assert_eq!(flow(&records, "192.0.2.1", "198.18.0.3").packets, 3);
    assert_eq!(flow(&records, "2001:db8:1::1", NEAR_V6).packets, 4);
    assert_eq!(flow(&records, "2001:db8:1::1", "2001:db8:ffff::3").packets, 5);
}

#[test]
fn watches_two_interfaces_and_tells_them_apart() {
    let lab = Lab::new();
    lab.connect_eth1("198.18.2.1/24", "198.18.2.2");
    lab.far.ip("address add 198.18.2.2/24 dev eth1");
    lab.near.ip("route add 198.51.100.0/24 via 198.18.2.2");
    let watch = lab.watch(["--interval", "1h", "-i", "eth0", "eth1"]);
    lab.udp_v4().send_times("192.0.2.1".parse().unwrap(), 10, 3);
    lab.udp_from("198.18.2.1")
        .send_times("198.51.100.1".parse().unwrap(), 10, 4);
    // The address of one interface, through the other.
    lab.udp_from(NEAR_V4)
        .send_times("198.51.100.2".parse().unwrap(), 10, 5);
    let records = watch.stop().books();

    let of = |address: &str| {
        let address: IpAddr = address.parse().unwrap();
        let destinations = records.iter().flat_map(|record| &record.destinations);
        destinations
            .filter(|of| of.address == address)
            .map(|of| (of.interface.as_str(), of.packets))
            .collect::<Vec<_>>()
    };
    assert_eq!(of("192.0.2.1"), [("eth0", 3)]);
    assert_eq!(of("198.51.100.1"), [("eth1", 4)]);
    assert_eq!(of("198.51.100.2"), []);
    assert_eq!(totals(&records).other_source.packets, 5);
    let names: Vec<_> = records[0].interfaces.iter().map(|of| of.name.as_str()).collect();
    assert_eq!(names, ["eth0", "eth1"]);
}

#[test]
fn watches_the_interfaces_of_both_default_routes() {
    let lab = Lab::new();
    lab.connect_eth1("2001:db8:fffe::1/64", "2001:db8:fffe::2");
    lab.near.ip("-6 route replace default via 2001:db8:fffe::2");
    let watch = lab.watch(["--interval", "1h"]);
    lab.udp_v4().send_times("192.0.2.1".parse().unwrap(), 10, 3);
    lab.udp_from("2001:db8:fffe::1")
        .send_times("2001:db8:1::1".parse().unwrap(), 10, 4);
    let records = watch.stop().books();

    let names: Vec<_> = records[0].interfaces.iter().map(|of| of.name.as_str()).collect();
    assert_eq!(names, ["eth0", "eth1"]);
    assert_eq!(flow(&records, "192.0.2.1", NEAR_V4).packets, 3);
    assert_eq!(flow(&records, "2001:db8:1::1", "2001:db8:fffe::1").packets, 4);
}

#[test]
fn watches_loopback_when_it_is_named() {
    let lab = Lab::new();
    // Else the answers that nobody listens would be counted, too.
    let _sink = lab.near.within(Sink::open);
    let watch = lab.watch(["--interval", "1h", "-i", "lo"]);
    lab.udp_from("127.0.0.1")
        .send_times("127.0.0.2".parse().unwrap(), 100, 5);
    lab.udp_from("::1").send_times("::1".parse().unwrap(), 100, 6);
    let records = watch.stop().books();

    assert_eq!(
        flow(&records, "127.0.0.2", "127.0.0.1"),
        Counts {
            packets: 5,
            bytes: 5 * 142
        }
    );
    assert_eq!(
        flow(&records, "::1", "::1"),
        Counts {
            packets: 6,
            bytes: 6 * 162
        }
    );
}
