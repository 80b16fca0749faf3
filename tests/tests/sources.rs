//! Hosts with several own addresses: which of them are counted on the short way, and that all are counted exactly.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tcpwatch::kernel::capacity::Capacity;
use tcpwatch::kernel::policy::{PolicySet, to_address, to_ip};
use tcpwatch::tally::Drained;
use tcpwatch_common::front::{SOURCE_NUMBERS, USUAL_SOURCES};
use tcpwatch_common::{Counts, Outcome, SourceKey};
use tcpwatch_tests::counter::{Counter, LOOPBACK, Skb, policy};
use tcpwatch_tests::cpu::pin;
use tcpwatch_tests::frame::{
    EXPERIMENT, FRAGMENT, HOP_BY_HOP, IPV4, IPV6, UDP, ethernet, extension, fragment, ipv4, ipv4_fragment,
    ipv6, udp,
};

/// The `n`th own address.
fn own(n: u32, is_ipv4: bool) -> String {
    if is_ipv4 {
        format!("198.18.0.{n}")
    } else {
        format!("2001:db8:ffff::{n:x}")
    }
}

/// The `n`th destination.
fn to(n: u32, is_ipv4: bool) -> String {
    if is_ipv4 {
        format!("192.0.2.{n}")
    } else {
        format!("2001:db8:1::{n:x}")
    }
}

/// A banned destination.
const fn banned(is_ipv4: bool) -> &'static str {
    if is_ipv4 { "203.0.113.9" } else { "2001:db8:bad::9" }
}

/// So many own addresses of each family.
fn own_policy(count: u32) -> PolicySet {
    let own: Vec<String> = (1..=count)
        .flat_map(|n| [true, false].map(|is_ipv4| own(n, is_ipv4)))
        .collect();
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    policy(LOOPBACK, &own, &["203.0.113.0/24", "2001:db8:bad::/48"])
}

/// One own address of each family, and these of each.
fn crowd(numbers: impl Iterator<Item = u32>) -> PolicySet {
    let mut policy = own_policy(1);
    let crowd = numbers.flat_map(|n| [true, false].map(|is_ipv4| of_crowd(n, is_ipv4)));
    policy.sources.extend(crowd.map(|address| SourceKey {
        address: to_address(address),
        ifindex: LOOPBACK,
    }));
    policy
}

fn of_crowd(n: u32, is_ipv4: bool) -> IpAddr {
    if is_ipv4 {
        Ipv4Addr::from(0xc613_0000 + n).into()
    } else {
        Ipv6Addr::from(0x2001_0db8_ffff_0001_0000_0000_0000_0000 + u128::from(n)).into()
    }
}

fn counter(slots: u32, sources: u32) -> Counter {
    let capacity = Capacity {
        slots: Some(slots),
        spill: 16_384,
        bans: 2,
        samples: 0,
    };
    Counter::with(capacity, own_policy(sources))
}

fn frame(from: &str, to: &str) -> Vec<u8> {
    let (kind, packet) = if to.contains(':') {
        (IPV6, ipv6(from, to, UDP, &udp(8)))
    } else {
        (IPV4, ipv4(from, to, UDP, &udp(8)))
    };
    ethernet(kind, &packet)
}

fn send(counter: &mut Counter, from: &str, to: &str, times: u32) {
    counter.run_often(&frame(from, to), Skb::default(), times);
}

/// Packets of the last drain that went the long way, while no packed counter was full.
fn on_the_long_way(counter: &mut Counter) -> u64 {
    let lanes = counter.tables().last();
    lanes.iter().map(|lane| lane.seen.packets).sum()
}

/// Packets by source and destination.
fn by_flow(drained: &Drained) -> BTreeMap<(String, String), u64> {
    let mut sums = BTreeMap::new();
    for (key, traffic) in &drained.destinations {
        let flow = (to_ip(key.source).to_string(), to_ip(key.destination).to_string());
        *sums.entry(flow).or_default() += traffic.counts.packets;
    }
    sums
}

#[test]
fn packets_of_every_own_source_go_the_short_way() {
    const TIMES: u32 = 1000;
    pin(0);
    for is_ipv4 in [true, false] {
        // As many as are usual, and more.
        for sources in [USUAL_SOURCES, 4 * USUAL_SOURCES] {
            let mut counter = counter(1024, sources);
            // Twice, so that both generations are met.
            for _ in 0..2 {
                let mut expected = BTreeMap::new();
                for n in 1..=sources {
                    for from in [n, sources + 1 - n] {
                        send(&mut counter, &own(from, is_ipv4), &to(7, is_ipv4), TIMES);
                    }
                    expected.insert((own(n, is_ipv4), to(7, is_ipv4)), u64::from(2 * TIMES));
                }
                assert_eq!(by_flow(&counter.drain_balanced()), expected);
                // The first of each.
                assert_eq!(on_the_long_way(&mut counter), u64::from(sources));
            }
        }
    }
}

/// The negative control to the test above.
#[test]
fn packets_of_a_source_without_a_number_go_the_long_way() {
    const TIMES: u32 = 1000;
    pin(0);
    let mut counter = counter(1024, 1);
    counter.set_policy(crowd(0..SOURCE_NUMBERS));
    counter.drain_balanced();
    for (from, long) in [("198.19.3.3", 1), ("198.19.15.255", TIMES)] {
        send(&mut counter, from, &to(7, true), TIMES);
        let expected = [((from.to_owned(), to(7, true)), u64::from(TIMES))];
        assert_eq!(by_flow(&counter.drain_balanced()), expected.into());
        assert_eq!(on_the_long_way(&mut counter), u64::from(long));
    }
}

/// What is neither ours nor where one of ours would be.
fn other(n: u32, is_ipv4: bool) -> String {
    if is_ipv4 {
        format!("198.18.7.{n}")
    } else {
        format!("2001:db8:7::{n:x}")
    }
}

fn from_others(drained: &Drained) -> Counts {
    drained.totals.outcomes[Outcome::OtherSource as usize]
}

#[test]
fn packets_of_other_sources_go_the_short_way() {
    /// A packed counter and some more.
    const TIMES: u32 = (1 << 23) + 100;
    pin(0);
    for is_ipv4 in [true, false] {
        let bytes = if is_ipv4 { 50 } else { 70 };
        for sources in [0, 1, 4 * USUAL_SOURCES] {
            let mut counter = counter(64, sources);
            for n in 1..=50 {
                send(&mut counter, &other(n, is_ipv4), &to(7, is_ipv4), n);
            }
            let drained = counter.drain_balanced();
            let packets = (1..=50).sum();
            let expected = Counts {
                packets,
                bytes: packets * bytes,
            };
            assert_eq!(from_others(&drained), expected);
            assert_eq!(drained.totals.seen, expected);
            assert_eq!(on_the_long_way(&mut counter), 0, "{sources} own sources");
        }
        let mut counter = counter(64, 1);
        send(&mut counter, &other(1, is_ipv4), banned(is_ipv4), TIMES);
        let super_packet = Skb {
            wire_len: 60_000,
            gso_segs: 40,
            gso_size: 1400,
            ..Skb::default()
        };
        counter.run_often(&frame(&other(1, is_ipv4), &to(7, is_ipv4)), super_packet, 10);
        let drained = counter.drain_balanced();
        let expected = Counts {
            packets: u64::from(TIMES) + 400,
            bytes: u64::from(TIMES) * bytes + 600_000,
        };
        assert_eq!(from_others(&drained), expected);
        assert_eq!(drained.totals.skbs, u64::from(TIMES) + 10);
    }
}

/// What comes behind the addresses is nobody's business: neither fragments nor extension headers are followed for it.
#[test]
fn packets_of_other_sources_go_the_short_way_whatever_is_in_them() {
    const TIMES: u32 = 10;
    pin(0);
    let mut counter = counter(64, 1);
    let [from4, from6] = [true, false].map(|is_ipv4| other(1, is_ipv4));
    let [to4, to6] = [true, false].map(|is_ipv4| to(1, is_ipv4));
    let six = |next, payload: &[u8]| ethernet(IPV6, &ipv6(&from6, &to6, next, payload));
    let behind = udp(32);
    let frames = [
        ethernet(IPV4, &ipv4_fragment(&from4, &to4, 0, true, &behind)),
        ethernet(IPV4, &ipv4_fragment(&from4, &to4, 3, true, &behind)),
        ethernet(IPV4, &ipv4(&from4, &to4, EXPERIMENT, &behind)),
        six(HOP_BY_HOP, &extension(UDP, &[1; 6], &behind)),
        six(FRAGMENT, &fragment(UDP, 0, true, &behind)),
        six(FRAGMENT, &fragment(UDP, 3, true, &behind)),
        six(EXPERIMENT, &behind),
    ];
    let mut expected = Counts::default();
    for frame in &frames {
        counter.run_often(frame, Skb::default(), TIMES);
        expected.packets += u64::from(TIMES);
        expected.bytes += u64::from(TIMES) * frame.len() as u64;
    }
    let drained = counter.drain_balanced();
    assert_eq!(from_others(&drained), expected);
    assert_eq!(on_the_long_way(&mut counter), 0);
}

/// As many own sources as do not fit into their places: those that are not there must not be taken for somebody else's.
#[test]
fn own_sources_that_are_not_in_their_places_are_ours() {
    const OTHERS: u32 = 200;
    // Triangular numbers are different modulo 2^16, and no hash spreads them evenly.
    let crowd_numbers = || (0..2500_u32).map(|n| n * (n + 1) / 2 % (1 << 16));
    pin(0);
    let mut counter = counter(1024, 1);
    counter.set_policy(crowd(crowd_numbers()));
    counter.drain_balanced();
    for is_ipv4 in [true, false] {
        let mut expected = BTreeMap::new();
        for n in crowd_numbers() {
            let from = of_crowd(n, is_ipv4).to_string();
            send(&mut counter, &from, &to(7, is_ipv4), 2);
            expected.insert((from, to(7, is_ipv4)), 2);
        }
        let drained = counter.drain_balanced();
        assert_eq!(from_others(&drained), Counts::default());
        assert_eq!(by_flow(&drained), expected);
        // Others are still told from ours, those in such a place on the long way.
        for n in 0..OTHERS {
            send(&mut counter, &other(n, is_ipv4), &to(7, is_ipv4), 2);
        }
        let drained = counter.drain_balanced();
        assert_eq!(from_others(&drained), drained.totals.seen);
        assert_eq!(drained.totals.seen.packets, u64::from(2 * OTHERS));
        let long = on_the_long_way(&mut counter);
        assert!(
            (1..u64::from(2 * OTHERS)).contains(&long),
            "{long} on the long way"
        );
    }
}

#[test]
fn sources_that_become_usual_and_cease_to_be_are_told_apart() {
    const SOURCES: u32 = 3 * USUAL_SOURCES;
    pin(0);
    for is_ipv4 in [true, false] {
        let mut counter = counter(1024, SOURCES);
        // In each round others are busy; it takes one more until they are usual.
        for round in 0..9 {
            let mut expected = BTreeMap::new();
            for n in 1..=SOURCES {
                let busy = n / USUAL_SOURCES == round / 3;
                let times = if busy { 500 + n } else { n };
                send(&mut counter, &own(n, is_ipv4), &to(7, is_ipv4), times);
                expected.insert((own(n, is_ipv4), to(7, is_ipv4)), u64::from(times));
            }
            assert_eq!(by_flow(&counter.drain_balanced()), expected);
            assert_eq!(on_the_long_way(&mut counter), u64::from(SOURCES));
        }
    }
}

#[test]
fn packets_to_banned_destinations_go_the_short_way() {
    const TIMES: u32 = 1000;
    pin(0);
    for is_ipv4 in [true, false] {
        let mut counter = counter(64, USUAL_SOURCES + 1);
        // The last is none of the usual ones: nothing is counted that would make it one.
        for n in [1, 2, USUAL_SOURCES + 1] {
            send(&mut counter, &own(n, is_ipv4), banned(is_ipv4), TIMES);
            let drained = counter.drain_balanced();
            let bytes = if is_ipv4 { 50 } else { 70 };
            let expected = Counts {
                packets: TIMES.into(),
                bytes: u64::from(TIMES) * bytes,
            };
            assert_eq!(drained.totals.outcomes[Outcome::Banned as usize], expected);
            assert_eq!(drained.totals.seen, expected);
            let [(prefix, counts)] = drained.bans[..] else {
                panic!("one ban is met: {:?}", drained.bans)
            };
            assert!(prefix.contains(&banned(is_ipv4).parse::<std::net::IpAddr>().unwrap()));
            assert_eq!(counts, expected);
            assert_eq!(on_the_long_way(&mut counter), 1);
        }
    }
}

#[test]
fn a_counter_beside_a_slot_is_emptied_when_the_short_way_fills_it() {
    /// Packets that fill it, and some more.
    const TIMES: u32 = (1 << 23) + 100;
    pin(0);
    for is_ipv4 in [true, false] {
        let mut counter = counter(64, USUAL_SOURCES + 1);
        let from = own(USUAL_SOURCES + 1, is_ipv4);
        send(&mut counter, &from, &to(7, is_ipv4), TIMES);
        send(&mut counter, &from, banned(is_ipv4), TIMES);
        let drained = counter.drain_balanced();
        let expected = [((from, to(7, is_ipv4)), u64::from(TIMES))];
        assert_eq!(by_flow(&drained), expected.into());
        let [(_, banned)] = drained.bans[..] else {
            panic!("one ban is met: {:?}", drained.bans)
        };
        assert_eq!(banned.packets, u64::from(TIMES));
        assert_eq!(counter.tables().ways().spilled, 1);
    }
}

#[test]
fn super_packets_beside_a_slot_are_all_their_segments() {
    pin(0);
    for is_ipv4 in [true, false] {
        let mut counter = counter(64, USUAL_SOURCES + 1);
        let frame = frame(&own(USUAL_SOURCES + 1, is_ipv4), &to(7, is_ipv4));
        // On the short way, and with more segments than it takes.
        for gso_segs in [40, 2000] {
            let skb = Skb {
                wire_len: 60_000,
                gso_segs,
                gso_size: 1400,
                ..Skb::default()
            };
            counter.run_often(&frame, skb, 10);
            let drained = counter.drain_balanced();
            let expected = Counts {
                packets: u64::from(gso_segs) * 10,
                bytes: 600_000,
            };
            assert_eq!(drained.totals.seen, expected);
            assert_eq!(drained.totals.skbs, 10);
            assert_eq!(drained.destinations[0].1.counts, expected);
        }
    }
}

#[test]
fn destinations_that_lose_their_slots_keep_their_sources() {
    const SOURCES: u32 = USUAL_SOURCES + 4;
    const DESTINATIONS: u32 = 40;
    pin(0);
    for is_ipv4 in [true, false] {
        let mut counter = counter(64, SOURCES);
        for _ in 0..2 {
            let mut expected = BTreeMap::new();
            for round in 1..=3 {
                for n in 1..=SOURCES {
                    for destination in 1..=DESTINATIONS {
                        send(
                            &mut counter,
                            &own(n, is_ipv4),
                            &to(destination, is_ipv4),
                            n + destination,
                        );
                        let packets = u64::from(round * (n + destination));
                        expected.insert((own(n, is_ipv4), to(destination, is_ipv4)), packets);
                    }
                }
            }
            assert_eq!(by_flow(&counter.drain_balanced()), expected);
        }
        assert!(counter.tables().ways().evicted > 100, "slots were given away");
    }
}

#[test]
fn a_source_that_is_taken_away_is_no_longer_ours_and_the_others_are() {
    pin(0);
    for is_ipv4 in [true, false] {
        let mut counter = counter(1024, USUAL_SOURCES + 2);
        for without in [1, 5, USUAL_SOURCES + 2] {
            let mut policy = own_policy(USUAL_SOURCES + 2);
            let gone = to_address(own(without, is_ipv4).parse().unwrap());
            policy.sources.retain(|source| source.address != gone);
            counter.set_policy(policy);
            counter.drain_balanced();
            let mut expected = BTreeMap::new();
            for n in 1..=USUAL_SOURCES + 2 {
                send(&mut counter, &own(n, is_ipv4), &to(7, is_ipv4), 100 + n);
                if n != without {
                    expected.insert((own(n, is_ipv4), to(7, is_ipv4)), u64::from(100 + n));
                }
            }
            let drained = counter.drain_balanced();
            assert_eq!(by_flow(&drained), expected);
            assert_eq!(from_others(&drained).packets, u64::from(100 + without));
        }
    }
}

/// IPv6 packets with one mapped address: the destination's family is not the source's.
#[test]
fn sources_of_one_family_are_not_taken_for_those_of_the_other() {
    let own4 = "::ffff:198.18.0.1";
    let to4 = "::ffff:192.0.2.7";
    pin(0);
    // With usual sources of both families, and of one alone.
    let both = own_policy(3);
    let mut one = own_policy(3);
    one.sources.retain(|source| !to_ip(source.address).is_ipv4());
    for (policy, sources) in [
        (both, vec![own4.to_owned(), own(1, false), own(2, false)]),
        (one, vec![own(1, false), own(2, false)]),
    ] {
        let mut counter = counter(1024, 3);
        counter.set_policy(policy);
        counter.drain_balanced();
        let mut expected = BTreeMap::new();
        for to in [to4, "2001:db8:1::7"] {
            for (n, from) in (1..).zip(&sources) {
                send(&mut counter, from, to, 100 + n);
                let canonical = |text: &str| to_ip(to_address(text.parse().unwrap())).to_string();
                expected.insert((canonical(from), canonical(to)), u64::from(100 + n));
            }
        }
        if sources.len() == 3 {
            send(&mut counter, &own(1, true), &to(7, true), 9);
            expected.insert((own(1, true), to(7, true)), 101 + 9);
        }
        assert_eq!(by_flow(&counter.drain_balanced()), expected);
    }
}
