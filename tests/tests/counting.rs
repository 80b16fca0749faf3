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
use tcpwatch_tests::records::{Counts, by_ban, check_sent, flow, to, totals};

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

/// Two senders on the same destinations, so that both CPUs meet each of them anew after every drain.
#[test]
fn drains_under_load_lose_nothing_of_a_million_packets() {
    const DESTINATIONS: u16 = 250;
    // Of one sender: half a million packets, and on a fast machine more until there were enough drains.
    const ROUNDS: u64 = 1000;
    const MOST_ROUNDS: u64 = 20_000;
    const DRAINS: usize = 10;

    let lab = Lab::new();
    let watch = lab.watch(["--interval", "100ms"]);
    let send = || {
        let (mut v4, mut v6) = (lab.udp_v4(), lab.udp_v6());
        let mut rounds = 0;
        while rounds < ROUNDS || rounds < MOST_ROUNDS && watch.stdout_lines().len() < DRAINS {
            for n in 0..DESTINATIONS {
                v4.send(IpAddr::from([192, 0, 2, n as u8]), 18);
                v6.send(IpAddr::from([0x2001, 0xdb8, 2, 0, 0, 0, 0, n]), 18);
            }
            rounds += 1;
        }
        rounds
    };
    let rounds = thread::scope(|scope| {
        let (one, two) = (scope.spawn(send), scope.spawn(send));
        one.join().unwrap() + two.join().unwrap()
    });
    let records = watch.stop().books();

    let (counted, sent) = (totals(&records).counted, rounds * 2 * u64::from(DESTINATIONS));
    note(format_args!(
        "{} records of 100 ms: sent {sent}, counted {}",
        records.len(),
        counted.packets
    ));
    assert!(sent >= 1_000_000 && records.len() >= DRAINS);
    assert_eq!(
        counted,
        Counts {
            packets: sent,
            bytes: sent / 2 * 60 + sent / 2 * 80
        }
    );
    for n in 0..DESTINATIONS {
        let (to4, to6) = (format!("192.0.2.{n}"), format!("2001:db8:2::{n:x}"));
        assert_eq!(
            flow(&records, &to4, NEAR_V4),
            Counts {
                packets: rounds,
                bytes: rounds * 60
            }
        );
        assert_eq!(
            flow(&records, &to6, NEAR_V6),
            Counts {
                packets: rounds,
                bytes: rounds * 80
            }
        );
    }
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
