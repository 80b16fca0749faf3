//! Which datagrams open a QUIC connection: a client's Initial of a version that is known, the first of its connection.

use tcpwatch::kernel::attach::LinkLayer;
use tcpwatch_tests::counter::Skb;
use tcpwatch_tests::frame::{IPV4, TCP, UDP, datagram, ethernet, ipv4, quic};

use crate::connections::{PORTS, SERVERS_ID, VERSION_1, check, initial, opened, rows, v4, v6};
use crate::{OWN4, counter};

/// RFC 9369, section 3.1.
const VERSION_2: u32 = 0x6b33_43cf;

#[test]
fn a_clients_initial_opens_a_quic_connection() {
    fn long(first: u8, version: u32, number: u8) -> Vec<u8> {
        v4(
            UDP,
            &datagram(PORTS, &quic(first, version, &SERVERS_ID, &[number; 8])),
        )
    }
    check(rows! {
        "version 1": |n| v4(UDP, &initial(n)) => 0, 1;
        "version 1 over ipv6": |n| v6(UDP, &initial(n)) => 0, 1;
        "version 1, lowest first byte": |n| long(0xc0, VERSION_1, n) => 0, 1;
        "version 1, highest first byte": |n| long(0xcf, VERSION_1, n) => 0, 1;
        "version 1, 0-rtt": |n| long(0xd3, VERSION_1, n) => 0, 0;
        "version 1, handshake": |n| long(0xe3, VERSION_1, n) => 0, 0;
        "version 1, retry": |n| long(0xf3, VERSION_1, n) => 0, 0;
        "version 2": |n| long(0xd3, VERSION_2, n) => 0, 1;
        "version 2, lowest first byte": |n| long(0xd0, VERSION_2, n) => 0, 1;
        "version 2, highest first byte": |n| long(0xdf, VERSION_2, n) => 0, 1;
        "version 2, retry": |n| long(0xc3, VERSION_2, n) => 0, 0;
        "version 2, 0-rtt": |n| long(0xe3, VERSION_2, n) => 0, 0;
        "version 2, handshake": |n| long(0xf3, VERSION_2, n) => 0, 0;
        "version negotiation": |n| long(0xc3, 0, n) => 0, 0;
        "a draft's version": |n| long(0xc3, 0xff00_001d, n) => 0, 0;
        "an unknown version": |n| long(0xc3, 0x1a2a_3a4a, n) => 0, 0;
        "without the fixed bit": |n| long(0x83, VERSION_1, n) => 0, 0;
        "short header": |n| long(0x43, VERSION_1, n) => 0, 0;
        "to another port": |n| v4(UDP, &datagram([40_000, 8443], &initial(n)[8..])) => 0, 1;
        "from a system port, as servers answer": |n| v4(UDP, &datagram([443, 40_000], &initial(n)[8..])) => 0, 0;
        "from the last system port": |n| v4(UDP, &datagram([1023, 40_000], &initial(n)[8..])) => 0, 0;
        "from the first other port": |n| v4(UDP, &datagram([1024, 443], &initial(n)[8..])) => 0, 1;
        "no identifier of the client": |n| v4(UDP, &datagram([50_000 + u16::from(n), 443], &quic(0xc3, VERSION_1, &SERVERS_ID, &[]))) => 0, 1;
        "an identifier of one byte": |n| v4(UDP, &datagram([51_000 + u16::from(n), 443], &quic(0xc3, VERSION_1, &SERVERS_ID, &[7]))) => 0, 1;
        "the longest identifiers": |n| v4(UDP, &datagram(PORTS, &quic(0xc3, VERSION_1, &[9; 20], &[n; 20]))) => 0, 1;
        "too long an identifier of the server": |n| v4(UDP, &datagram(PORTS, &quic(0xc3, VERSION_1, &[9; 21], &[n; 8]))) => 0, 0;
        "too long an identifier of the client": |n| v4(UDP, &datagram(PORTS, &quic(0xc3, VERSION_1, &SERVERS_ID, &[n; 21]))) => 0, 0;
        "cut before its identifiers": |n| v4(UDP, &initial(n)[..13]) => 0, 0;
        "cut in the client's identifier": |n| v4(UDP, &initial(n)[..26]) => 0, 0;
        "cut in its version": |n| v4(UDP, &initial(n)[..12]) => 0, 0;
        "no payload": |_| v4(UDP, &datagram(PORTS, &[])) => 0, 0;
        "cut in its ports": |n| v4(UDP, &initial(n)[..3]) => 0, 0;
        "tcp that looks like one": |n| v4(TCP, &datagram(PORTS, &initial(n)[8..])) => 0, 0;
    });
}

#[test]
fn one_quic_connection_is_counted_once_however_many_initials_it_has() {
    let mut counter = counter();
    let mut send = |packets: &[Vec<u8>]| {
        for packet in packets {
            counter.run(LinkLayer::Ethernet, packet, Skb::default());
        }
        let drained = counter.drain();
        assert_eq!(drained.totals.seen.packets, packets.len() as u64);
        opened(&drained)
    };
    let from = |port: u16, id: &[u8]| {
        v4(
            UDP,
            &datagram([port, 443], &quic(0xc3, VERSION_1, &SERVERS_ID, id)),
        )
    };
    assert_eq!(send(&[from(40_000, &[1; 8])]), (0, 1));
    // The same in the next generation; the server's identifier is another one after its answer.
    let answered = v4(
        UDP,
        &datagram([40_000, 443], &quic(0xc3, VERSION_1, &[0xaa; 12], &[1; 8])),
    );
    assert_eq!(
        send(&[from(40_000, &[1; 8]), answered, from(40_000, &[1; 8])]),
        (0, 0)
    );
    assert_eq!(
        send(&[from(40_000, &[2; 8])]),
        (0, 1),
        "another identifier from the same socket"
    );
    assert_eq!(
        send(&[from(40_001, &[1; 8])]),
        (0, 1),
        "the same identifier from another socket"
    );
    assert_eq!(
        send(&[ethernet(IPV4, &ipv4(OWN4, "192.0.2.2", UDP, &initial(1)))]),
        (0, 1),
        "the same to another server"
    );
    // Without an identifier the ports tell connections apart.
    assert_eq!(send(&[from(40_002, &[]), from(40_002, &[])]), (0, 1));
    assert_eq!(send(&[from(40_003, &[]), from(40_002, &[])]), (0, 1));
}

#[test]
fn a_super_packet_of_datagrams_opens_one_connection() {
    let mut row = rows! {
        "two initials in one buffer": |n| {
            let two = [quic(0xc3, VERSION_1, &SERVERS_ID, &[n; 8]), quic(0xc3, VERSION_1, &SERVERS_ID, &[n; 8])];
            v4(UDP, &datagram(PORTS, &two.concat()))
        } => 0, 1;
    };
    row[0].skb = Skb {
        gso_size: 1200,
        gso_segs: 2,
        wire_len: 2 * (42 + 1200),
        ..Skb::default()
    };
    check(row);
}
