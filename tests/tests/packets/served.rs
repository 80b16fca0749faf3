//! Packets from ports that this host serves are answers to clients, and left out as such.

use std::sync::Arc;

use tcpwatch::kernel::attach::LinkLayer;
use tcpwatch::kernel::policy::{PolicySet, PortBits};
use tcpwatch_common::OUTCOMES;
use tcpwatch_common::Outcome::{self, Banned, Counted, OtherSource, Served};
use tcpwatch_common::front::USUAL_SOURCES;
use tcpwatch_common::ports::{GROUPS, bit, group};
use tcpwatch_tests::counter::{Counter, LOOPBACK, Skb, policy};
use tcpwatch_tests::frame::{
    HOP_BY_HOP, IPV4, IPV6, TCP, UDP, VLAN, datagram, ethernet, extension, ipv4, ipv4_fragment,
    ipv4_with_options, ipv6, tag, tcp_segment,
};

use crate::connections::opened;
use crate::{BANS, OWN4, OWN6, RAW4, TO4, TO6, outcomes};

/// An own address that is the first of its network.
const NETWORK6: &str = "2001:db8:ffff::";

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// A set of ports.
fn ports(of: &[u16]) -> Box<[u32; GROUPS as usize]> {
    let mut words = Box::new([0; GROUPS as usize]);
    for port in of {
        words[group(false, false, *port) as usize] |= bit(*port);
    }
    words
}

fn serving(tcp: &[u16], udp: &[u16]) -> PolicySet {
    PolicySet {
        served: Some(Arc::new(PortBits {
            tcp: ports(tcp),
            udp: ports(udp),
        })),
        ..policy(LOOPBACK, &[OWN4, OWN6, NETWORK6, RAW4], &BANS)
    }
}

fn segment(from: u16, flags: u8) -> Vec<u8> {
    tcp_segment([from, 40_000], flags, 0)
}

fn v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ethernet(IPV4, &ipv4(OWN4, TO4, protocol, payload))
}

/// From an own address whose lower half is zero.
fn v6_of_network(next: u8, payload: &[u8]) -> Vec<u8> {
    ethernet(IPV6, &ipv6(NETWORK6, TO6, next, payload))
}

fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
    ethernet(IPV6, &ipv6(OWN6, TO6, next, payload))
}

/// A fragment, which needs not be one of UDP.
fn part(protocol: u8, offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    let mut packet = ipv4_fragment(OWN4, TO4, offset, more, payload);
    packet[9] = protocol;
    ethernet(IPV4, &packet)
}

/// To a banned destination.
fn banned(port: u16) -> Vec<u8> {
    ethernet(IPV4, &ipv4(OWN4, "203.0.113.1", TCP, &segment(port, ACK)))
}

/// Runs each packet as the first of a generation, and behind others of its kind, which the program has a short way for.
#[track_caller]
fn check(policy: PolicySet, rows: Vec<(&str, Vec<u8>, Outcome)>) {
    let mut counter = Counter::new(policy);
    let mut wrong = Vec::new();
    for (name, packet, outcome) in rows {
        for times in [1, 8, 8] {
            counter.run_often(&packet, Skb::default(), times);
            let drained = counter.drain();
            let bytes = u64::from(times) * packet.len() as u64;
            if outcomes(&drained) != [outcome as usize]
                || drained.totals.outcomes[outcome as usize].bytes != bytes
                || drained.imbalance().is_some()
            {
                wrong.push(format!(
                    "{name}, {times} times: {:?} instead of {outcome:?}",
                    drained.totals
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn what_leaves_from_a_served_port_is_served() {
    let options = ethernet(
        IPV4,
        &ipv4_with_options(OWN4, TO4, TCP, &[1; 8], &segment(443, ACK)),
    );
    let udp_part = |offset, more| part(UDP, offset, more, &datagram([51_820, 9], &[0; 24]));
    let tcp_part = |offset, more| part(TCP, offset, more, &segment(443, ACK));
    let foreign = ethernet(IPV4, &ipv4("198.18.0.2", TO4, TCP, &segment(443, ACK)));
    check(
        serving(&[443, 8080, 0xffff], &[51_820, 0]),
        vec![
            ("tcp", v4(TCP, &segment(443, ACK)), Served),
            ("tcp over ipv6", v6(TCP, &segment(8080, ACK)), Served),
            (
                "from an address with nothing in its lower half",
                v6_of_network(TCP, &segment(443, ACK)),
                Served,
            ),
            (
                "the same behind hop by hop",
                v6_of_network(HOP_BY_HOP, &extension(TCP, &[1; 6], &segment(443, ACK))),
                Served,
            ),
            ("its last port", v4(TCP, &segment(0xffff, ACK)), Served),
            ("the port beside it", v4(TCP, &segment(0xfffe, ACK)), Counted),
            ("syn and ack", v4(TCP, &segment(443, SYN | ACK)), Served),
            ("a port that is not", v4(TCP, &segment(444, ACK)), Counted),
            (
                "the same bit of another group",
                v4(TCP, &segment(443 + 32, ACK)),
                Counted,
            ),
            (
                "the same bit of the summary",
                v4(TCP, &segment(443 + 64, ACK)),
                Counted,
            ),
            (
                "the same bit of the summary, udp",
                v4(UDP, &datagram([51_820 + 64, 40_000], &[0; 32])),
                Counted,
            ),
            (
                "to a served port, from another",
                v4(TCP, &tcp_segment([40_000, 443], ACK, 0)),
                Counted,
            ),
            ("udp", v4(UDP, &datagram([51_820, 40_000], &[0; 32])), Served),
            (
                "udp over ipv6",
                v6(UDP, &datagram([51_820, 40_000], &[0; 32])),
                Served,
            ),
            (
                "udp without payload",
                v4(UDP, &datagram([51_820, 40_000], &[])),
                Served,
            ),
            (
                "udp from port 0",
                v4(UDP, &datagram([0, 40_000], &[0; 32])),
                Served,
            ),
            (
                "udp from a port of tcp",
                v4(UDP, &datagram([443, 40_000], &[0; 32])),
                Counted,
            ),
            ("tcp from a port of udp", v4(TCP, &segment(51_820, ACK)), Counted),
            (
                "with a vlan tag",
                ethernet(VLAN, &tag(5, IPV4, &ipv4(OWN4, TO4, TCP, &segment(443, ACK)))),
                Served,
            ),
            ("behind ipv4 options", options, Served),
            (
                "behind hop by hop",
                v6(HOP_BY_HOP, &extension(TCP, &[1; 6], &segment(443, ACK))),
                Served,
            ),
            ("the first fragment", udp_part(0, true), Served),
            ("the first fragment by tcp", tcp_part(0, true), Served),
            // Offsets with something in one byte, and in the other.
            ("a later fragment has no port", udp_part(4, false), Counted),
            ("nor has one far behind", udp_part(0x100, true), Counted),
            ("nor has one by tcp", tcp_part(4, false), Counted),
            ("nor has that far behind", tcp_part(0x1f00, true), Counted),
            ("cut in its ports", v4(TCP, &segment(443, ACK)[..3]), Counted),
            ("from a foreign source", foreign, OtherSource),
            ("to a banned destination", banned(443), Served),
            ("to a banned destination from another port", banned(444), Banned),
        ],
    );
}

/// Own sources whose destinations count beside their slots, because as many others as can be usual have more packets.
#[test]
fn what_leaves_from_an_own_source_that_is_not_usual_is_served_and_looked_at_too() {
    const BUSY: u64 = 100;
    let busy: Vec<String> = (1..=USUAL_SOURCES)
        .flat_map(|n| [format!("198.18.1.{n}"), format!("2001:db8:ffff:1::{n:x}")])
        .collect();
    let own = busy.iter().map(String::as_str).chain([OWN4, OWN6]);
    let mut counter = Counter::new(PolicySet {
        served: serving(&[443], &[51_820]).served,
        ..policy(LOOPBACK, &own.collect::<Vec<_>>(), &BANS)
    });
    let others = |counter: &mut Counter| {
        for from in &busy {
            let packet = if from.contains(':') {
                ethernet(IPV6, &ipv6(from, TO6, TCP, &segment(40_000, ACK)))
            } else {
                ethernet(IPV4, &ipv4(from, TO4, TCP, &segment(40_000, ACK)))
            };
            counter.run_often(&packet, Skb::default(), BUSY as u32);
        }
    };
    others(&mut counter);
    counter.drain();
    let behind = |payload: &[u8]| v6(HOP_BY_HOP, &extension(TCP, &[1; 6], payload));
    // Whether each packet opens a connection is the last of a row.
    let rows = [
        ("tcp", v4(TCP, &segment(443, ACK)), Served, false),
        ("udp", v4(UDP, &datagram([51_820, 9], &[0; 32])), Served, false),
        ("tcp over ipv6", v6(TCP, &segment(443, ACK)), Served, false),
        (
            "udp over ipv6",
            v6(UDP, &datagram([51_820, 9], &[0; 32])),
            Served,
            false,
        ),
        ("behind hop by hop", behind(&segment(443, ACK)), Served, false),
        ("a port that is not", v4(TCP, &segment(444, ACK)), Counted, false),
        ("over ipv6", v6(TCP, &segment(444, ACK)), Counted, false),
        (
            "a later fragment",
            part(TCP, 0x100, false, &segment(443, ACK)),
            Counted,
            false,
        ),
        ("to a banned destination", banned(443), Served, false),
        ("the same from another port", banned(444), Banned, false),
        ("syn", v4(TCP, &segment(444, SYN)), Counted, true),
        ("syn over ipv6", v6(TCP, &segment(444, SYN)), Counted, true),
        ("syn behind hop by hop", behind(&segment(444, SYN)), Counted, true),
    ];
    for (name, packet, outcome, opens) in rows {
        for times in [1, 8] {
            others(&mut counter);
            // Where the destinations have slots, nothing but the verdict keeps a packet from being counted there.
            for packet in [v4(TCP, &segment(444, ACK)), v6(TCP, &segment(444, ACK))] {
                counter.run_often(&packet, Skb::default(), 1);
            }
            counter.run_often(&packet, Skb::default(), times);
            let drained = counter.drain();
            assert_eq!(drained.imbalance(), None, "{name}");
            let mut expected = [0; OUTCOMES];
            expected[Counted as usize] = 2 * u64::from(USUAL_SOURCES) * BUSY + 2;
            expected[outcome as usize] += u64::from(times);
            assert_eq!(
                drained.totals.outcomes.map(|counts| counts.packets),
                expected,
                "{name}, {times} times"
            );
            let connections = if opens { u64::from(times) } else { 0 };
            assert_eq!(opened(&drained), (connections, 0), "{name}, {times} times");
        }
    }
}

/// Before a destination is known as served it may have a slot, and the other way round.
#[test]
fn one_destination_can_be_a_client_and_a_target() {
    let mut counter = Counter::new(serving(&[443], &[]));
    for _ in 0..3 {
        for from in [40_000, 443, 40_000, 443, 443] {
            counter.run(LinkLayer::Ethernet, &v4(TCP, &segment(from, ACK)), Skb::default());
        }
        let drained = counter.drain();
        assert_eq!(drained.imbalance(), None);
        assert_eq!(drained.totals.outcomes[Counted as usize].packets, 2);
        assert_eq!(drained.totals.outcomes[Served as usize].packets, 3);
    }
}

#[test]
fn served_ports_hold_from_the_next_drain_on() {
    let mut counter = Counter::new(serving(&[443], &[]));
    let packet = v4(TCP, &segment(8443, ACK));
    let mut outcome = |policy: Option<PolicySet>| {
        if let Some(policy) = policy {
            counter.set_policy(policy);
        }
        counter.run_often(&packet, Skb::default(), 3);
        outcomes(&counter.drain())
    };
    assert_eq!(outcome(None), [Counted as usize]);
    assert_eq!(outcome(Some(serving(&[443, 8443], &[]))), [Counted as usize]);
    assert_eq!(outcome(None), [Served as usize]);
    assert_eq!(outcome(Some(serving(&[443], &[]))), [Served as usize]);
    assert_eq!(outcome(None), [Counted as usize]);
    assert_eq!(outcome(Some(policy(LOOPBACK, &[OWN4], &[]))), [Counted as usize]);
    assert_eq!(outcome(None), [Counted as usize]);
}

/// The negative control: without the option the same packets are counted.
#[test]
fn nothing_is_served_unless_it_is_asked_for() {
    check(
        policy(LOOPBACK, &[OWN4, OWN6], &BANS),
        vec![
            ("tcp", v4(TCP, &segment(443, ACK)), Counted),
            (
                "udp over ipv6",
                v6(UDP, &datagram([51_820, 40_000], &[0; 32])),
                Counted,
            ),
        ],
    );
}
