//! Devices without an Ethernet header.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use tcpwatch_tests::lab::Lab;
use tcpwatch_tests::records::{Counts, flow, to, totals};
use tcpwatch_tests::traffic::Ledger;
use tcpwatch_tests::tun::Tun;

const TUN_V4: &str = "198.18.1.1";
const TUN_V6: &str = "2001:db8:aaaa::1";

fn tun(lab: &Lab) -> Tun {
    let tun = Tun::new(&lab.near, "tun0");
    lab.near.ip("address add 198.18.1.1/24 dev tun0");
    lab.near.ip("address add 2001:db8:aaaa::1/64 dev tun0 nodad");
    // Room for all that a test sends: the test reads the device only afterwards.
    lab.near.ip("link set tun0 txqueuelen 10000 up");
    lab.near.ip("route add 198.51.100.0/24 dev tun0");
    lab.near.ip("route add 2001:db8:2::/48 dev tun0");
    tun
}

#[test]
fn counts_exactly_what_comes_out_of_a_tun_device() {
    let lab = Lab::new();
    let mut tun = tun(&lab);
    let watch = lab.watch(["--interval", "1h", "-i", "tun0", "--ban", "198.51.100.128/25"]);
    let (mut v4, mut v6) = (lab.udp_from(TUN_V4), lab.udp_from(TUN_V6));
    for n in 1..=200_u16 {
        v4.send([198, 51, 100, (n % 100) as u8].into(), usize::from(n));
        v6.send([0x2001, 0xdb8, 2, 0, 0, 0, 0, n % 50].into(), usize::from(n));
    }
    v4.send_times("198.51.100.200".parse().unwrap(), 10, 7);
    let records = watch.stop().books();
    let came_out: Ledger = tun.read_all();

    // 198.51.100.1 got packets of 1 and 101 bytes; no packet has a link-layer header.
    assert_eq!(
        flow(&records, "198.51.100.1", TUN_V4),
        Counts {
            packets: 2,
            bytes: 2 * 28 + 102
        }
    );
    assert_eq!(
        flow(&records, "2001:db8:2::1", TUN_V6),
        Counts {
            packets: 4,
            bytes: 4 * 48 + 1 + 51 + 101 + 151
        }
    );
    let ours = came_out.iter().filter(|(address, _)| !address.is_multicast());
    let mut destinations = 0;
    for (address, counts) in ours {
        let counted = if address.to_string() == "198.51.100.200" {
            totals(&records).banned
        } else {
            to(&records, &address.to_string())
        };
        assert_eq!(counted, *counts, "{address}");
        destinations += 1;
    }
    assert_eq!(destinations, 100 + 50 + 1);
    assert_eq!(totals(&records).not_ip, Counts::default());
    assert_eq!(totals(&records).malformed, Counts::default());
    assert_eq!(records[0].interfaces[0].name, "tun0");
}

#[test]
fn watches_a_tun_device_beside_an_ethernet_one() {
    let lab = Lab::new();
    let _tun = tun(&lab);
    let watch = lab.watch(["--interval", "1h", "-i", "tun0", "eth0"]);
    lab.udp_from(TUN_V4)
        .send_times("198.51.100.1".parse().unwrap(), 100, 5);
    lab.udp_v4().send_times("192.0.2.1".parse().unwrap(), 100, 6);
    let records = watch.stop().books();

    assert_eq!(
        to(&records, "198.51.100.1"),
        Counts {
            packets: 5,
            bytes: 5 * 128
        }
    );
    assert_eq!(
        to(&records, "192.0.2.1"),
        Counts {
            packets: 6,
            bytes: 6 * 142
        }
    );
}

#[test]
fn watches_a_tun_device_by_clsact_too() {
    let lab = Lab::new();
    let _tun = tun(&lab);
    let watch = lab.watch(["--interval", "1h", "-i", "tun0", "--attach", "clsact"]);
    lab.udp_from(TUN_V4)
        .send_times("198.51.100.1".parse().unwrap(), 100, 5);
    let records = watch.stop().books();

    assert_eq!(
        to(&records, "198.51.100.1"),
        Counts {
            packets: 5,
            bytes: 5 * 128
        }
    );
    assert_eq!(records[0].interfaces[0].attach, "clsact");
}
