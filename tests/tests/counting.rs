//! The real program on a real interface: every destination's packets and bytes are those that were sent.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::thread;

use tcpwatch_tests::frame::{IPV4, IPV6, UDP, ethernet, ipv4, ipv6, udp};
use tcpwatch_tests::hook::{Foreign, Place, Verdict};
use tcpwatch_tests::lab::{ELSEWHERE_V4, ELSEWHERE_V6, Lab, NEAR_V4, NEAR_V6};
use tcpwatch_tests::note;
use tcpwatch_tests::packet_socket::PacketSocket;
use tcpwatch_tests::records::{Counts, by_ban, by_flow, check_sent, flow, to, totals};

/// A thousand addresses of each family.
fn destinations() -> impl Iterator<Item = (IpAddr, IpAddr)> {
    (0_u16..1000).map(|n| {
        let [high, low] = n.to_be_bytes();
        (
            IpAddr::from([198, 19, high, low]),
            IpAddr::from([0x2001, 0xdb8, 1, 0, 0, 0, 0, n + 1]),
        )
    })
}

#[test]
fn counts_every_packet_to_2000_destinations_of_both_families() {
    let lab = Lab::new();
    let watch = lab.watch(["--interval", "1s"]);
    let (mut v4, mut v6) = (lab.udp_v4(), lab.udp_v6());
    // Round after round, so that the destinations take turns; each has a number and a size of packets of its own.
    for round in 0..7 {
        for (n, (to4, to6)) in destinations().enumerate() {
            if round <= n % 7 {
                v4.send(to4, n);
                v6.send(to6, 1400 - n);
            }
        }
    }
    let records = watch.stop().books();

    assert_eq!((v4.sent().len(), v6.sent().len()), (1000, 1000));
    // 142 times 1 + 2 + … + 7, and 1 + 2 + 3 + 4 + 5 + 6.
    assert_eq!((v4.total().packets, v6.total().packets), (3997, 3997));
    check_sent(&records, v4.sent(), NEAR_V4);
    check_sent(&records, v6.sent(), NEAR_V6);
    assert_eq!(
        to(&records, "198.19.0.0"),
        Counts {
            packets: 1,
            bytes: 42
        }
    );
    assert_eq!(
        to(&records, "198.19.3.231"),
        Counts {
            packets: 6,
            bytes: 6 * (42 + 999)
        }
    );
    assert_eq!(
        to(&records, "2001:db8:1::1"),
        Counts {
            packets: 1,
            bytes: 62 + 1400
        }
    );
    assert_eq!(totals(&records).overflow, Counts::default());
    assert_eq!(totals(&records).other_source, Counts::default());
}

#[test]
fn drains_under_load_lose_nothing_of_a_million_packets() {
    const EACH: u64 = 500_000;
    const DESTINATIONS: u8 = 50;

    let lab = Lab::new();
    let watch = lab.watch(["--interval", "100ms"]);
    let (mut v4, mut v6) = (lab.udp_v4(), lab.udp_v6());
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..EACH {
                v4.send(IpAddr::from([192, 0, 2, (n % u64::from(DESTINATIONS)) as u8]), 18);
            }
        });
        for n in 0..EACH {
            let last = (n % u64::from(DESTINATIONS)) as u16;
            v6.send(IpAddr::from([0x2001, 0xdb8, 2, 0, 0, 0, 0, last]), 18);
        }
    });
    let records = watch.stop().books();

    let counted: Counts = by_flow(&records)
        .into_iter()
        .filter(|((to, _), _)| !to.is_multicast())
        .map(|(_, counts)| counts)
        .sum();
    note(format_args!(
        "{} records of 100 ms: sent {}, counted {}",
        records.len(),
        2 * EACH,
        counted.packets
    ));
    assert_eq!(
        counted,
        Counts {
            packets: 1_000_000,
            bytes: EACH * (42 + 18) + EACH * (62 + 18)
        }
    );
    for n in 0..u16::from(DESTINATIONS) {
        assert_eq!(
            flow(&records, &format!("192.0.2.{n}"), NEAR_V4),
            Counts {
                packets: 10_000,
                bytes: 600_000
            }
        );
        assert_eq!(
            flow(&records, &format!("2001:db8:2::{n:x}"), NEAR_V6),
            Counts {
                packets: 10_000,
                bytes: 800_000
            }
        );
    }
    assert!(
        records.len() >= 10,
        "only {} intervals of 100 ms passed",
        records.len()
    );
}

#[test]
fn keeps_banned_and_foreign_packets_in_their_own_buckets() {
    let lab = Lab::new();
    let watch = lab.watch([
        "--interval",
        "1h",
        "--ban",
        "203.0.113.0/24",
        "203.0.113.128/25",
        "--ban",
        "2001:db8:bad::/48",
    ]);
    let (mut v4, mut v6) = (lab.udp_v4(), lab.udp_v6());
    v4.send_times("203.0.113.1".parse().unwrap(), 100, 30);
    v4.send_times("203.0.113.200".parse().unwrap(), 100, 40);
    v4.send_times("198.51.100.1".parse().unwrap(), 100, 50);
    v6.send_times("2001:db8:bad::1".parse().unwrap(), 100, 60);
    v6.send_times("2001:db8:1::1".parse().unwrap(), 100, 70);
    let (mut foreign4, mut foreign6) = (lab.udp_from(ELSEWHERE_V4), lab.udp_from(ELSEWHERE_V6));
    foreign4.send_times("198.51.100.1".parse().unwrap(), 100, 80);
    // To a banned destination, but from a foreign source, which comes first.
    foreign4.send_times("203.0.113.1".parse().unwrap(), 100, 90);
    foreign6.send_times("2001:db8:1::1".parse().unwrap(), 100, 100);
    let records = watch.stop().books();

    let expected = BTreeMap::from([
        (
            "203.0.113.0/24".to_owned(),
            Counts {
                packets: 30,
                bytes: 30 * 142,
            },
        ),
        (
            "203.0.113.128/25".to_owned(),
            Counts {
                packets: 40,
                bytes: 40 * 142,
            },
        ),
        (
            "2001:db8:bad::/48".to_owned(),
            Counts {
                packets: 60,
                bytes: 60 * 162,
            },
        ),
    ]);
    assert_eq!(by_ban(&records), expected);
    assert_eq!(
        to(&records, "198.51.100.1"),
        Counts {
            packets: 50,
            bytes: 50 * 142
        }
    );
    assert_eq!(
        to(&records, "2001:db8:1::1"),
        Counts {
            packets: 70,
            bytes: 70 * 162
        }
    );
    assert_eq!(to(&records, "203.0.113.1"), Counts::default());
    let totals = totals(&records);
    assert_eq!(
        totals.banned,
        Counts {
            packets: 130,
            bytes: 70 * 142 + 60 * 162
        }
    );
    assert_eq!(
        totals.other_source,
        Counts {
            packets: 270,
            bytes: 170 * 142 + 100 * 162
        }
    );
}

#[test]
fn a_file_of_bans_is_read_with_its_comments() {
    let lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("relays.txt");
    std::fs::write(
        &file,
        "# relays\n203.0.113.0/24\n\n  198.51.100.7  # one address\n2001:db8:bad::/48\n",
    )
    .unwrap();
    let watch = lab
        .tcpwatch(["run", "--format", "json", "--interval", "1h"])
        .with_path("--ban-file", &file)
        .start();
    let mut v4 = lab.udp_v4();
    v4.send_times("203.0.113.1".parse().unwrap(), 10, 3);
    v4.send_times("198.51.100.7".parse().unwrap(), 10, 4);
    v4.send_times("198.51.100.8".parse().unwrap(), 10, 5);
    let records = watch.stop().books();

    let bans = by_ban(&records);
    assert_eq!(bans["203.0.113.0/24"].packets, 3);
    assert_eq!(bans["198.51.100.7/32"].packets, 4);
    assert_eq!(to(&records, "198.51.100.8").packets, 5);
}

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

/// A raw packet of more than a page leaves with nothing but its Ethernet header in the linear part of the buffer.
#[test]
fn reads_headers_outside_the_linear_part() {
    let lab = Lab::new();
    lab.near.ip("link set eth0 mtu 9000");
    lab.far.ip("link set eth0 mtu 9000");
    let watch = lab.watch(["--interval", "1h", "--ban", "203.0.113.0/24"]);
    let socket = lab.near.within(|| PacketSocket::open("eth0"));
    for _ in 0..3 {
        socket.send(&ethernet(IPV4, &ipv4(NEAR_V4, "192.0.2.1", UDP, &udp(6000))));
        socket.send(&ethernet(IPV6, &ipv6(NEAR_V6, "2001:db8:1::1", UDP, &udp(6000))));
        socket.send(&ethernet(IPV4, &ipv4(NEAR_V4, "203.0.113.1", UDP, &udp(6000))));
        socket.send(&ethernet(
            IPV4,
            &ipv4("198.18.0.99", "192.0.2.1", UDP, &udp(6000)),
        ));
        socket.send(&ethernet(
            IPV4,
            &[&[0x41][..], &ipv4(NEAR_V4, "192.0.2.1", UDP, &udp(6000))[1..]].concat(),
        ));
        socket.send(&ethernet(0x88b5, &vec![0; 6000]));
    }
    let records = watch.stop().books();

    assert_eq!(
        flow(&records, "192.0.2.1", NEAR_V4),
        Counts {
            packets: 3,
            bytes: 3 * 6042
        }
    );
    assert_eq!(
        flow(&records, "2001:db8:1::1", NEAR_V6),
        Counts {
            packets: 3,
            bytes: 3 * 6062
        }
    );
    let totals = totals(&records);
    assert_eq!(
        totals.banned,
        Counts {
            packets: 3,
            bytes: 3 * 6042
        }
    );
    assert_eq!(
        totals.other_source,
        Counts {
            packets: 3,
            bytes: 3 * 6042
        }
    );
    assert_eq!(
        totals.malformed,
        Counts {
            packets: 3,
            bytes: 3 * 6042
        }
    );
    assert_eq!(
        totals.not_ip,
        Counts {
            packets: 3,
            bytes: 3 * 6014
        }
    );
}

/// A tag that the device is to insert is not part of the frame yet.
#[test]
fn counts_packets_with_a_vlan_tag_beside_the_frame() {
    let lab = Lab::new();
    let watch = lab.watch(["--interval", "1h"]);
    let tagger = Foreign::attach(&lab.near, "eth0", "tagger", Verdict::TagVlan, Place::First);
    let (mut v4, mut v6) = (lab.udp_v4(), lab.udp_v6());
    v4.send_times("192.0.2.1".parse().unwrap(), 100, 5);
    v6.send_times("2001:db8:1::1".parse().unwrap(), 100, 6);
    // One tag beside the frame, and one within it.
    let second = Foreign::attach(&lab.near, "eth0", "tagger2", Verdict::TagVlan, Place::First);
    v4.send_times("192.0.2.2".parse().unwrap(), 100, 7);
    drop((tagger, second));
    let records = watch.stop().books();

    assert_eq!(
        to(&records, "192.0.2.1"),
        Counts {
            packets: 5,
            bytes: 5 * 142
        }
    );
    assert_eq!(
        to(&records, "2001:db8:1::1"),
        Counts {
            packets: 6,
            bytes: 6 * 162
        }
    );
    assert_eq!(to(&records, "192.0.2.2").packets, 7);
}

#[test]
fn watches_two_interfaces_and_tells_them_apart() {
    let lab = Lab::new();
    lab.near.ip(&format!(
        "link add eth1 address 02:00:00:00:01:01 type veth peer name eth1 address 02:00:00:00:01:02 netns {}",
        lab.far.name()
    ));
    lab.near.ip("address add 198.18.2.1/24 dev eth1");
    lab.far.ip("address add 198.18.2.2/24 dev eth1");
    lab.far.ip("link set eth1 up");
    lab.near.ip("link set eth1 up");
    // Known from the start, so that no packet waits for an answer.
    lab.near
        .ip("neighbour replace 198.18.2.2 lladdr 02:00:00:00:01:02 dev eth1 nud permanent");
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
