//! Which packets open a connection: a TCP segment with SYN and without ACK, a client's first QUIC Initial (whose rows are in
//! quic.rs). Each row goes both ways through the program: as the first packet to its destination, and as one of many.

use std::collections::BTreeMap;

use etherparse::{SlicedPacket, TransportSlice};
use tcpwatch::kernel::attach::LinkLayer;
use tcpwatch::kernel::capacity::Capacity;
use tcpwatch::kernel::policy::to_ip;
use tcpwatch::tally::Drained;
use tcpwatch_common::Outcome::{Banned, Counted, OtherSource};
use tcpwatch_tests::counter::{Counter, LOOPBACK, Skb, policy};
use tcpwatch_tests::frame::{
    AUTHENTICATION, DESTINATION_OPTIONS, EXPERIMENT, FRAGMENT, HOP_BY_HOP, IPV4, IPV6, ROUTING, SERVICE_VLAN,
    TCP, UDP, VLAN, authentication, datagram, ethernet, extension, fragment, ipv4, ipv4_fragment,
    ipv4_with_options, ipv6, quic, tag, tcp_segment,
};

use crate::{OWN4, OWN6, RAW4, RAW6, TO4, TO6, counter, ipv4_to, ipv6_to, outcomes};

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PUSH: u8 = 0x08;
const ACK: u8 = 0x10;
const ECE: u8 = 0x40;
const CWR: u8 = 0x80;

pub const VERSION_1: u32 = 1;

/// From a client's port to a server's.
pub const PORTS: [u16; 2] = [40_000, 443];
pub const SERVERS_ID: [u8; 8] = [0x5e; 8];

/// A packet and how many connections of TCP and QUIC it opens. It is made from a number that no other packet has, so that
/// a QUIC connection is a new one.
pub struct Row {
    pub name: &'static str,
    pub packet: Box<dyn Fn(u8) -> Vec<u8>>,
    pub skb: Skb,
    pub opens: (u64, u64),
}

macro_rules! rows {
    ($($name:literal: $packet:expr => $tcp:literal, $quic:literal;)*) => {
        vec![$($crate::connections::Row {
            name: $name,
            packet: Box::new($packet),
            skb: tcpwatch_tests::counter::Skb::default(),
            opens: ($tcp, $quic),
        }),*]
    };
}

pub(crate) use rows;

/// The connections that were opened, over all destinations.
pub fn opened(drained: &Drained) -> (u64, u64) {
    drained.destinations.iter().fold((0, 0), |sum, (_, traffic)| {
        (sum.0 + traffic.tcp_connections, sum.1 + traffic.quic_connections)
    })
}

#[track_caller]
pub fn check(rows: Vec<Row>) {
    let mut counter = counter();
    let mut number = 0;
    let mut next = || {
        number += 1;
        number
    };
    let mut wrong = Vec::new();
    for row in rows {
        // As the first packet of a generation.
        let packet = (row.packet)(next());
        counter.run(LinkLayer::Ethernet, &packet, row.skb);
        let first = counter.drain();
        // Behind others to the same destination, from the source that had most packets in the drain before.
        let plain = if packet[12..14] == IPV4.to_be_bytes() {
            ipv4_to(TO4)
        } else {
            ipv6_to(TO6)
        };
        counter.run_often(&plain, Skb::default(), 8);
        counter.drain();
        counter.run_often(&plain, Skb::default(), 8);
        counter.run(LinkLayer::Ethernet, &(row.packet)(next()), row.skb);
        let later = counter.drain();
        for (way, drained) in [("as the first", first), ("as a later one", later)] {
            let opened = opened(&drained);
            if opened != row.opens {
                wrong.push(format!(
                    "{}, {way}: opens {opened:?} instead of {:?}",
                    row.name, row.opens
                ));
            }
            if outcomes(&drained) != [Counted as usize] || drained.imbalance().is_some() {
                wrong.push(format!(
                    "{}, {way}: outcomes {:?}, {:?}",
                    row.name,
                    outcomes(&drained),
                    drained.imbalance()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

pub fn v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ethernet(IPV4, &ipv4(OWN4, TO4, protocol, payload))
}

pub fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
    ethernet(IPV6, &ipv6(OWN6, TO6, next, payload))
}

fn segment(flags: u8) -> Vec<u8> {
    tcp_segment(PORTS, flags, 0)
}

/// A client's Initial of version 1 whose connection has this number.
pub fn initial(number: u8) -> Vec<u8> {
    datagram(PORTS, &quic(0xc3, VERSION_1, &SERVERS_ID, &[number; 8]))
}

#[test]
fn a_segment_with_syn_and_without_ack_opens_a_tcp_connection() {
    check(rows! {
        "syn": |_| v4(TCP, &segment(SYN)) => 1, 0;
        "syn over ipv6": |_| v6(TCP, &segment(SYN)) => 1, 0;
        "syn with ecn": |_| v4(TCP, &segment(SYN | ECE | CWR)) => 1, 0;
        "syn with data": |_| v4(TCP, &tcp_segment(PORTS, SYN, 1200)) => 1, 0;
        "syn from a system port": |_| v4(TCP, &tcp_segment([443, 443], SYN, 0)) => 1, 0;
        "syn and ack": |_| v4(TCP, &segment(SYN | ACK)) => 0, 0;
        "syn and ack with ecn": |_| v4(TCP, &segment(SYN | ACK | ECE)) => 0, 0;
        "ack": |_| v4(TCP, &segment(ACK)) => 0, 0;
        "data": |_| v6(TCP, &tcp_segment(PORTS, ACK | PUSH, 100)) => 0, 0;
        "fin": |_| v4(TCP, &segment(FIN | ACK)) => 0, 0;
        "rst": |_| v4(TCP, &segment(RST)) => 0, 0;
        "no flags": |_| v4(TCP, &segment(0)) => 0, 0;
        "udp that looks like a syn": |_| v4(UDP, &segment(SYN)) => 0, 0;
        "another protocol that looks like a syn": |_| v4(EXPERIMENT, &segment(SYN)) => 0, 0;
        "cut before its flags": |_| v4(TCP, &segment(SYN)[..13]) => 0, 0;
        "cut before its flags over ipv6": |_| v6(TCP, &segment(SYN)[..13]) => 0, 0;
        "nothing of it": |_| v4(TCP, &[]) => 0, 0;
    });
}

#[test]
fn tcp_attempts_are_counted_each() {
    let mut counter = counter();
    counter.run_often(&v4(TCP, &segment(SYN)), Skb::default(), 1000);
    counter.run_often(&v6(TCP, &segment(SYN)), Skb::default(), 500);
    counter.run_often(&v4(TCP, &segment(ACK)), Skb::default(), 700);
    let drained = counter.drain();
    assert_eq!(opened(&drained), (1500, 0));
    assert_eq!(drained.totals.seen.packets, 2200);
    assert_eq!(opened(&counter.drain()), (0, 0), "a drain begins anew");
}

#[test]
fn connections_are_found_behind_options_extension_headers_and_tags() {
    let options = |length: usize, protocol: u8, payload: &[u8]| {
        ethernet(
            IPV4,
            &ipv4_with_options(OWN4, TO4, protocol, &vec![1; length], payload),
        )
    };
    let syn_behind = |headers: &[u8]| {
        // From the inside to the outside; hop by hop comes first.
        let mut next = TCP;
        let mut payload = segment(SYN);
        for header in headers.iter().rev() {
            payload = match *header {
                AUTHENTICATION => authentication(next, &payload),
                FRAGMENT => fragment(next, 0, true, &payload),
                _ => extension(next, &[0; 14], &payload),
            };
            next = *header;
        }
        v6(next, &payload)
    };
    check(rows! {
        "syn behind 4 bytes of ipv4 options": move |_| options(4, TCP, &segment(SYN)) => 1, 0;
        "syn behind 40 bytes of ipv4 options": move |_| options(40, TCP, &segment(SYN)) => 1, 0;
        "initial behind ipv4 options": move |n| options(20, UDP, &initial(n)) => 0, 1;
        "hop by hop": move |_| syn_behind(&[HOP_BY_HOP]) => 1, 0;
        "destination options": move |_| syn_behind(&[DESTINATION_OPTIONS]) => 1, 0;
        "routing": move |_| syn_behind(&[ROUTING]) => 1, 0;
        "authentication": move |_| syn_behind(&[AUTHENTICATION]) => 1, 0;
        "fragment, the first": move |_| syn_behind(&[FRAGMENT]) => 1, 0;
        "four headers": move |_| syn_behind(&[HOP_BY_HOP, DESTINATION_OPTIONS, ROUTING, FRAGMENT]) => 1, 0;
        "five headers are not followed": move |_| syn_behind(&[HOP_BY_HOP, DESTINATION_OPTIONS, ROUTING, FRAGMENT, DESTINATION_OPTIONS]) => 0, 0;
        "an unknown header is not followed": move |_| v6(EXPERIMENT, &extension(TCP, &[0; 14], &segment(SYN))) => 0, 0;
        "initial behind hop by hop": move |n| v6(HOP_BY_HOP, &extension(UDP, &[1; 6], &initial(n))) => 0, 1;
        "a header longer than the packet": move |_| v6(HOP_BY_HOP, &[TCP, 255, 1, 1, 1, 1, 1, 1]) => 0, 0;
        "syn with a vlan tag": move |_| ethernet(VLAN, &tag(5, IPV4, &ipv4(OWN4, TO4, TCP, &segment(SYN)))) => 1, 0;
        "syn with two tags": move |_| ethernet(SERVICE_VLAN, &tag(5, VLAN, &tag(6, IPV6, &ipv6(OWN6, TO6, TCP, &segment(SYN))))) => 1, 0;
        "initial with a vlan tag": move |n| ethernet(VLAN, &tag(5, IPV4, &ipv4(OWN4, TO4, UDP, &initial(n)))) => 0, 1;
    });
}

#[test]
fn only_the_first_fragment_opens_a_connection() {
    let part = |protocol: u8, offset, more, payload: &[u8]| {
        let mut packet = ipv4_fragment(OWN4, TO4, offset, more, payload);
        packet[9] = protocol;
        ethernet(IPV4, &packet)
    };
    check(rows! {
        "syn in the first fragment": move |_| part(TCP, 0, true, &segment(SYN)) => 1, 0;
        "initial in the first fragment": move |n| part(UDP, 0, true, &initial(n)) => 0, 1;
        "later fragment that looks like a syn": move |_| part(TCP, 1, true, &segment(SYN)) => 0, 0;
        "last fragment that looks like a syn": move |_| part(TCP, 185, false, &segment(SYN)) => 0, 0;
        "later fragment that looks like an initial": move |n| part(UDP, 185, false, &initial(n)) => 0, 0;
        "fragment far behind": move |_| part(TCP, 0x1f00, false, &segment(SYN)) => 0, 0;
        "ipv6 later fragment that looks like a syn": move |_| v6(FRAGMENT, &fragment(TCP, 1, true, &segment(SYN))) => 0, 0;
        "ipv6 last fragment that looks like a syn": move |_| v6(FRAGMENT, &fragment(TCP, 185, false, &segment(SYN))) => 0, 0;
        "ipv6 later fragment that looks like an initial": move |n| v6(FRAGMENT, &fragment(UDP, 185, false, &initial(n))) => 0, 0;
    });
}

#[test]
fn connections_are_counted_on_devices_without_ethernet_header() {
    let mut counter = counter();
    for packet in [
        ipv4(RAW4, TO4, TCP, &segment(SYN)),
        ipv6(RAW6, TO6, TCP, &segment(SYN)),
        ipv4(RAW4, TO4, UDP, &initial(1)),
        ipv6(RAW6, TO6, UDP, &initial(2)),
        ipv4(RAW4, TO4, TCP, &segment(ACK)),
    ] {
        counter.run(LinkLayer::None, &packet, Skb::default());
    }
    let drained = counter.drain();
    assert_eq!(outcomes(&drained), [Counted as usize]);
    assert_eq!(opened(&drained), (2, 2));
}

#[test]
fn what_is_not_counted_opens_no_connection() {
    let to_banned = |protocol, payload: &[u8]| ethernet(IPV4, &ipv4(OWN4, "203.0.113.1", protocol, payload));
    let foreign = |protocol, payload: &[u8]| ethernet(IPV4, &ipv4("198.18.0.2", TO4, protocol, payload));
    for (outcome, packets) in [
        (
            Banned,
            [to_banned(TCP, &segment(SYN)), to_banned(UDP, &initial(1))],
        ),
        (
            OtherSource,
            [foreign(TCP, &segment(SYN)), foreign(UDP, &initial(2))],
        ),
    ] {
        let mut counter = counter();
        // Twice: the second finds what the first has left.
        for packet in packets.iter().chain(&packets) {
            counter.run(LinkLayer::Ethernet, packet, Skb::default());
        }
        let drained = counter.drain();
        assert_eq!(outcomes(&drained), [outcome as usize]);
        assert_eq!(drained.destinations, []);
        assert_eq!(drained.imbalance(), None);
    }
}

/// What of these frames looks like the opening of a TCP connection to a parser that is not ours.
#[test]
fn the_frames_mean_the_same_to_another_parser() {
    let part = |offset, more| {
        let mut packet = ipv4_fragment(OWN4, TO4, offset, more, &segment(SYN));
        packet[9] = TCP;
        ethernet(IPV4, &packet)
    };
    let behind = extension(
        DESTINATION_OPTIONS,
        &[0; 14],
        &extension(TCP, &[0; 6], &segment(SYN)),
    );
    for (name, frame, opens) in [
        ("syn", v4(TCP, &segment(SYN)), Some(true)),
        ("syn over ipv6", v6(TCP, &segment(SYN)), Some(true)),
        ("syn and ack", v4(TCP, &segment(SYN | ACK)), Some(false)),
        ("ack", v6(TCP, &segment(ACK)), Some(false)),
        (
            "behind options",
            ethernet(IPV4, &ipv4_with_options(OWN4, TO4, TCP, &[1; 40], &segment(SYN))),
            Some(true),
        ),
        ("behind extension headers", v6(HOP_BY_HOP, &behind), Some(true)),
        (
            "behind authentication",
            v6(AUTHENTICATION, &authentication(TCP, &segment(SYN))),
            Some(true),
        ),
        (
            "with two tags",
            ethernet(
                SERVICE_VLAN,
                &tag(5, VLAN, &tag(6, IPV4, &ipv4(OWN4, TO4, TCP, &segment(SYN)))),
            ),
            Some(true),
        ),
        ("later fragment", part(185, false), None),
        (
            "ipv6 later fragment",
            v6(FRAGMENT, &fragment(TCP, 185, false, &segment(SYN))),
            None,
        ),
        ("initial", v4(UDP, &initial(1)), None),
    ] {
        let parsed = SlicedPacket::from_ethernet(&frame).unwrap();
        let found = match parsed.transport {
            Some(TransportSlice::Tcp(tcp)) => {
                assert_eq!([tcp.source_port(), tcp.destination_port()], PORTS, "{name}");
                Some(tcp.syn() && !tcp.ack())
            }
            Some(TransportSlice::Udp(udp)) => {
                assert_eq!([udp.source_port(), udp.destination_port()], PORTS, "{name}");
                assert_eq!(udp.payload().len(), 1200, "{name}");
                None
            }
            _ => None,
        };
        assert_eq!(found, opens, "{name}");
    }
}

/// With few slots most destinations are counted behind the front table, and slots change hands: what was opened goes along.
#[test]
fn connections_are_counted_where_the_front_table_has_no_room() {
    const DESTINATIONS: u16 = 200;
    const ROUNDS: u64 = 20;

    let few = Capacity {
        slots: Some(64),
        spill: 4096,
        bans: 8,
        samples: 0,
    };
    let mut counter = Counter::with(few, policy(LOOPBACK, &[OWN4], &[]));
    let packets: Vec<_> = (0..DESTINATIONS)
        .map(|n| {
            let [high, low] = n.to_be_bytes();
            let to = format!("198.19.{high}.{low}");
            let syn = ethernet(IPV4, &ipv4(OWN4, &to, TCP, &segment(SYN)));
            (syn, ethernet(IPV4, &ipv4(OWN4, &to, TCP, &segment(ACK))))
        })
        .collect();
    for _ in 0..3 {
        for _ in 0..ROUNDS {
            for (syn, ack) in &packets {
                counter.run(LinkLayer::Ethernet, syn, Skb::default());
                counter.run(LinkLayer::Ethernet, ack, Skb::default());
            }
        }
        let drained = counter.drain();
        assert_eq!(drained.imbalance(), None);
        let mut each = BTreeMap::<_, u64>::new();
        for (key, traffic) in &drained.destinations {
            *each.entry(to_ip(key.destination)).or_default() += traffic.tcp_connections;
        }
        assert_eq!(each.len(), usize::from(DESTINATIONS));
        assert!(each.values().all(|opened| *opened == ROUNDS), "{each:?}");
    }
}
