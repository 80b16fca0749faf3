//! Packets cut short, over real devices: the kernel's test runs no longer take them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use tcpwatch_tests::frame::{IPV4, IPV6, UDP, ethernet, ipv4, ipv6, udp};
use tcpwatch_tests::lab::{Lab, NEAR_V4, NEAR_V6};
use tcpwatch_tests::packet_socket::PacketSocket;
use tcpwatch_tests::records::{Counts, flow, totals};
use tcpwatch_tests::tun::Tun;

#[test]
fn ip_cut_anywhere_in_its_header_is_malformed_on_ethernet() {
    let lab = Lab::new();
    let watch = lab.watch(["--interval", "1h"]);
    let v4 = ethernet(IPV4, &ipv4(NEAR_V4, "192.0.2.1", UDP, &udp(8)));
    let v6 = ethernet(IPV6, &ipv6(NEAR_V6, "2001:db8:1::1", UDP, &udp(8)));
    let socket = lab.near.within(|| PacketSocket::open("eth0"));
    for length in 14..=34 {
        socket.send(&v4[..length]);
    }
    for length in 14..=54 {
        socket.send(&v6[..length]);
    }
    let records = watch.stop().books();

    // 14 to 33, and 14 to 53.
    assert_eq!(
        totals(&records).malformed,
        Counts {
            packets: 20 + 40,
            bytes: 470 + 1340
        }
    );
    assert_eq!(
        flow(&records, "192.0.2.1", NEAR_V4),
        Counts {
            packets: 1,
            bytes: 34
        }
    );
    assert_eq!(
        flow(&records, "2001:db8:1::1", NEAR_V6),
        Counts {
            packets: 1,
            bytes: 54
        }
    );
    assert_eq!(totals(&records).not_ip, Counts::default());
}

#[test]
fn ip_cut_anywhere_in_its_header_is_malformed_on_tun() {
    let lab = Lab::new();
    let _tun = Tun::new(&lab.near, "tun0");
    lab.near.ip("address add 198.18.1.1/24 dev tun0");
    lab.near.ip("address add 2001:db8:aaaa::1/64 dev tun0 nodad");
    lab.near.ip("link set tun0 up");
    let watch = lab.watch(["--interval", "1h", "-i", "tun0"]);
    let v4 = ipv4("198.18.1.1", "192.0.2.1", UDP, &udp(8));
    let v6 = ipv6("2001:db8:aaaa::1", "2001:db8:1::1", UDP, &udp(8));
    let socket = lab.near.within(|| PacketSocket::open("tun0"));
    for length in 1..=20 {
        socket.send_as(IPV4, &v4[..length]);
    }
    for length in 1..=40 {
        socket.send_as(IPV6, &v6[..length]);
    }
    socket.send_as(0x88b5, &v4);
    let records = watch.stop().books();

    // 1 to 19, and 1 to 39.
    assert_eq!(
        totals(&records).malformed,
        Counts {
            packets: 19 + 39,
            bytes: 190 + 780
        }
    );
    assert_eq!(
        flow(&records, "192.0.2.1", "198.18.1.1"),
        Counts {
            packets: 1,
            bytes: 20
        }
    );
    assert_eq!(
        flow(&records, "2001:db8:1::1", "2001:db8:aaaa::1"),
        Counts {
            packets: 1,
            bytes: 40
        }
    );
    assert_eq!(
        totals(&records).not_ip,
        Counts {
            packets: 1,
            bytes: 36
        }
    );
}
