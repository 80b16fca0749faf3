//! Segmentation offload: what the program counts of a super-packet is what the connection says it sent, and what the
//! device transmits when it is given single packets.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use tcpwatch_tests::lab::{Lab, NEAR_V4, NEAR_V6};
use tcpwatch_tests::note;
use tcpwatch_tests::records::{Counts, check_sent, flow, totals};
use tcpwatch_tests::tcp::Bulk;

const MEGABYTES: usize = 1 << 20;

/// Sends 24 MiB over TCP to `destination` and compares the program's books with the connection's own.
fn bulk(lab: &Lab, destination: &str, source: &str) {
    const BYTES: usize = 24 * MEGABYTES;

    let watch = lab.watch(["--interval", "500ms"]);
    let connection = Bulk::connect(lab, destination);
    connection.send(BYTES);
    let before = connection.info();
    let records = watch.stop().books();
    assert_eq!(
        connection.info(),
        before,
        "the connection was idle while the program was stopped"
    );

    let expected = connection.on_the_wire();
    let counted = flow(&records, destination, source);
    let skbs: u64 = records.iter().map(|record| record.skbs).sum();
    note(format_args!(
        "TCP to {destination}: {} segments sent ({} again), {} packets in {skbs} buffers counted",
        before.segs_out, before.total_retrans, counted.packets
    ));
    assert_eq!(counted, expected);
    assert!(before.bytes_sent >= BYTES as u64);
    assert_eq!(connection.finish(), BYTES as u64);
    // The test is about super-packets: there were some.
    assert!(
        skbs * 4 < counted.packets,
        "{} packets came in {skbs} buffers",
        counted.packets
    );
}

#[test]
fn counts_the_segments_that_a_tcp_connection_says_it_sent() {
    bulk(&Lab::new(), "198.51.100.9", NEAR_V4);
}

#[test]
fn counts_the_segments_of_tcp_over_ipv6() {
    bulk(&Lab::new(), "2001:db8:1::9", NEAR_V6);
}

/// The stack cuts the super-packets itself then, behind the hook.
#[test]
fn counts_the_segments_that_the_stack_cuts_in_software() {
    let lab = Lab::new();
    lab.near.run("ethtool -K eth0 tso off");
    bulk(&lab, "198.51.100.9", NEAR_V4);
}

/// Super-packets of more than 64 KiB, whose IPv6 payload length is 0 and which carry an extra header to the device.
#[test]
fn counts_the_segments_of_big_tcp() {
    const BYTES: usize = 24 * MEGABYTES;

    let lab = Lab::new();
    lab.near.ip("link set eth0 gso_max_size 185000");
    let watch = lab.watch(["--interval", "500ms"]);
    let connection = Bulk::connect(&lab, "2001:db8:1::9");
    connection.send(BYTES);
    let records = watch.stop().books();

    let expected = connection.on_the_wire();
    let counted = flow(&records, "2001:db8:1::9", NEAR_V6);
    note(format_args!(
        "BIG TCP: {} segments sent, {} packets counted, {} bytes more than the connection's",
        expected.packets,
        counted.packets,
        counted.bytes.saturating_sub(expected.bytes)
    ));
    assert_eq!(counted.packets, expected.packets);
    // The extra header is 8 bytes; the kernel counts it in every segment of such a packet.
    let most = expected.bytes + 8 * expected.packets;
    assert!(
        (expected.bytes..=most).contains(&counted.bytes),
        "{} bytes, not {}",
        counted.bytes,
        expected.bytes
    );
    assert_eq!(connection.finish(), BYTES as u64);
}

/// With no offload at all, a third party knows the numbers: the device.
#[test]
fn agrees_with_the_device_counters_when_offload_is_off() {
    const BYTES: usize = 8 * MEGABYTES;
    let destination = "198.51.100.9";

    let lab = Lab::new();
    // Without IPv6 nothing but the test sends anything.
    lab.near.sysctl("net.ipv6.conf.all.disable_ipv6", 1);
    lab.near.run("ethtool -K eth0 tso off gso off sg off tx off");
    let read = || Counts {
        packets: lab.device_counter("tx_packets"),
        bytes: lab.device_counter("tx_bytes"),
    };
    let before = read();
    let watch = lab.watch(["--interval", "500ms"]);
    assert_eq!(read(), before, "the link is quiet");
    let connection = Bulk::connect(&lab, destination);
    connection.send(BYTES);
    let records = watch.stop().books();
    let after = read();

    let device = Counts {
        packets: after.packets - before.packets,
        bytes: after.bytes - before.bytes,
    };
    assert_eq!(totals(&records).seen, device);
    assert_eq!(flow(&records, destination, NEAR_V4), device);
    assert_eq!(connection.on_the_wire(), device);
    assert_eq!(connection.finish(), BYTES as u64);
}

#[test]
fn counts_the_segments_of_udp() {
    const SEGMENT: usize = 1400;
    let lab = Lab::new();
    let watch = lab.watch(["--interval", "1h"]);
    let (mut v4, mut v6) = (lab.udp_v4(), lab.udp_v6());
    let (to4, to6) = ("198.51.100.9".parse().unwrap(), "2001:db8:1::9".parse().unwrap());
    for socket in [&mut v4, &mut v6] {
        socket.segment(SEGMENT as u16);
    }
    for _ in 0..100 {
        v4.send_segmented(to4, 44 * SEGMENT, SEGMENT);
        v6.send_segmented(to6, 44 * SEGMENT, SEGMENT);
    }
    // A last segment that is shorter, and a datagram that is only one.
    v4.send_segmented(to4, 3 * SEGMENT + 1, SEGMENT);
    v6.send_segmented(to6, 3 * SEGMENT + 1, SEGMENT);
    v4.send_segmented(to4, 5, SEGMENT);
    let records = watch.stop().books();

    check_sent(&records, v4.sent(), NEAR_V4);
    check_sent(&records, v6.sent(), NEAR_V6);
    assert_eq!(
        flow(&records, "198.51.100.9", NEAR_V4),
        Counts {
            packets: 4405,
            bytes: 4403 * 1442 + 42 + 1 + 42 + 5
        }
    );
    assert_eq!(
        flow(&records, "2001:db8:1::9", NEAR_V6),
        Counts {
            packets: 4404,
            bytes: 4403 * 1462 + 62 + 1
        }
    );
    let skbs: u64 = records.iter().map(|record| record.skbs).sum();
    assert!(
        skbs < 1000,
        "the segments came in {skbs} buffers: there was no offload to test"
    );
}

/// The exact totals of these tests rely on it: nothing leaves the network by itself.
#[test]
fn the_lab_is_quiet() {
    let lab = Lab::new();
    let watch = lab.watch(["--interval", "100ms"]);
    watch.wait_for_records(20);
    let records = watch.stop().books();
    assert_eq!(totals(&records).seen, Counts::default(), "{records:#?}");
}
