//! The real program against a model in a few lines of Rust: random sequences of packets, drains and policies must come to the
//! same counts, per outcome, destination and ban, after every drain.
//!
//! The model knows nothing of slots, sets and spills. Its rules are those of docs/accounting.md.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tcpwatch::kernel::capacity::Capacity;
use tcpwatch::kernel::policy::{PolicySet, to_address, to_ip};
use tcpwatch::tally::Drained;
use tcpwatch_common::{Counts, Outcome, SourceKey, Totals};
use tcpwatch_tests::counter::{Counter, LOOPBACK, Skb, policy};
use tcpwatch_tests::frame::{
    HOP_BY_HOP, IPV4, IPV6, UDP, VLAN, ethernet, extension, ipv4, ipv4_with_options, ipv6, tag, udp,
};
use tcpwatch_tests::note;

const OWN: [[&str; 2]; 3] = [
    ["198.18.0.1", "2001:db8:ffff::1"],
    ["198.18.0.2", "2001:db8:ffff::2"],
    // Not ours under any policy.
    ["198.18.0.99", "2001:db8:ffff::99"],
];
/// More own sources of each family than are usual at a time; ours under one policy.
const MANY: usize = 20;
const POLICIES: usize = 6;

/// The `n`th source.
fn nth_source(n: usize, ipv6: bool) -> String {
    match n.checked_sub(OWN.len()) {
        None => OWN[n][usize::from(ipv6)].to_owned(),
        Some(n) if ipv6 => format!("2001:db8:ffff::1:{n:x}"),
        Some(n) => format!("198.18.1.{n}"),
    }
}

/// The `n`th policy.
fn nth_policy(n: usize) -> PolicySet {
    let [[a4, a6], [b4, b6], _] = OWN;
    match n {
        0 => policy(LOOPBACK, &[a4, a6], &["203.0.113.0/24", "2001:db8:bad::/48"]),
        // One prefix inside another.
        1 => policy(
            LOOPBACK,
            &[a4, a6, b4, b6],
            &["203.0.113.128/25", "203.0.113.0/24"],
        ),
        2 => policy(LOOPBACK, &[b4, b6], &[]),
        // ::/0 contains the mapped form of every IPv4 address, but does not mean it.
        3 => PolicySet {
            any_source: true,
            ..policy(LOOPBACK, &[a4, a6], &["::/0"])
        },
        4 => {
            let many: Vec<String> = (0..OWN.len() + MANY)
                .filter(|n| *n != 2)
                .flat_map(|n| [false, true].map(|ipv6| nth_source(n, ipv6)))
                .collect();
            let many: Vec<&str> = many.iter().map(String::as_str).collect();
            policy(LOOPBACK, &many, &["203.0.113.0/24", "2001:db8:bad::/48"])
        }
        // More own sources than have a number: the last of them do without the front table.
        _ => {
            let mut crowd = policy(LOOPBACK, &[a4, a6, b4, b6], &["203.0.113.0/24"]);
            crowd.sources.extend((0..4200_u32).map(|n| {
                let [_, _, high, low] = n.to_be_bytes();
                SourceKey {
                    address: to_address([10, 0, high, low].into()),
                    ifindex: LOOPBACK,
                }
            }));
            crowd
        }
    }
}

/// One of the shortest frames.
const SHORT: Counts = Counts {
    packets: 1,
    bytes: 60,
};

/// What a packet looks like; what does not fit the short way is counted on the long one.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Plain,
    Vlan,
    /// IPv4 options or an IPv6 extension header.
    Options,
    /// A super-packet.
    Super {
        segments: u16,
    },
    /// The kernel's length instead of the frame's.
    Long {
        bytes: u16,
    },
}

/// `times` packets to each of `count` destinations from `first` on.
#[derive(Clone, Debug)]
struct Packets {
    ipv6: bool,
    source: usize,
    first: u8,
    count: u8,
    payload: u8,
    shape: Shape,
    times: u32,
}

#[derive(Clone, Debug)]
enum Event {
    Packets(Packets),
    NotIp,
    Malformed,
    Drain,
    Policy(usize),
}

fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![
        6 => Just(Shape::Plain),
        1 => Just(Shape::Vlan),
        1 => Just(Shape::Options),
        1 => prop_oneof![1_u16..100, Just(65_535)].prop_map(|segments| Shape::Super { segments }),
        1 => (1000_u16..).prop_map(|bytes| Shape::Long { bytes }),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let packets = (
        any::<bool>(),
        prop_oneof![5 => Just(0_usize), 3 => Just(1), 1 => Just(2), 4 => 3..OWN.len() + MANY],
        any::<u8>(),
        prop_oneof![2 => Just(1_u8), 1 => 1_u8..40],
        any::<u8>(),
        shape(),
        // 150 of the largest super-packets fill a counter.
        prop_oneof![3 => 1_u32..4, 1 => 4_u32..40, 1 => Just(150_u32)],
    )
        .prop_map(|(ipv6, source, first, count, payload, shape, times)| {
            Event::Packets(Packets {
                ipv6,
                source,
                first,
                count,
                payload,
                shape,
                times,
            })
        });
    prop_oneof![
        20 => packets,
        1 => Just(Event::NotIp),
        1 => Just(Event::Malformed),
        3 => Just(Event::Drain),
        2 => (0..POLICIES).prop_map(Event::Policy),
    ]
}

/// The `n`th destination; the last quarter is banned under some policies.
fn destination(n: u8, ipv6: bool) -> String {
    match (ipv6, n < 192) {
        (false, true) => format!("192.0.2.{n}"),
        (false, false) => format!("203.0.113.{}", (n - 192) * 4),
        (true, true) => format!("2001:db8:1::{n:x}"),
        (true, false) => format!("2001:db8:bad::{n:x}"),
    }
}

fn frame(source: &str, to: &str, payload: u8, shape: Shape) -> (Vec<u8>, Skb) {
    let datagram = udp(usize::from(payload));
    let (kind, packet) = match (to.contains(':'), shape) {
        (false, Shape::Options) => (IPV4, ipv4_with_options(source, to, UDP, &[1; 8], &datagram)),
        (false, _) => (IPV4, ipv4(source, to, UDP, &datagram)),
        (true, Shape::Options) => (
            IPV6,
            ipv6(source, to, HOP_BY_HOP, &extension(UDP, &[1; 6], &datagram)),
        ),
        (true, _) => (IPV6, ipv6(source, to, UDP, &datagram)),
    };
    let frame = match shape {
        Shape::Vlan => ethernet(VLAN, &tag(5, kind, &packet)),
        _ => ethernet(kind, &packet),
    };
    let skb = match shape {
        Shape::Super { segments } => Skb {
            gso_segs: u32::from(segments),
            gso_size: 1,
            wire_len: 65_000,
            ..Skb::default()
        },
        Shape::Long { bytes } => Skb {
            wire_len: u32::from(bytes),
            ..Skb::default()
        },
        _ => Skb::default(),
    };
    (frame, skb)
}

/// What one interval should come to.
#[derive(Debug, Default)]
struct Interval {
    totals: Totals,
    flows: BTreeMap<(IpAddr, IpAddr), Counts>,
    bans: BTreeMap<IpNet, Counts>,
}

impl Interval {
    fn add(&mut self, outcome: Outcome, counts: Counts, runs: u64) {
        self.totals.skbs += runs;
        self.totals.seen.add(counts);
        self.totals.outcomes[outcome as usize].add(counts);
    }

    fn packet(&mut self, policy: &PolicySet, source: IpAddr, to: IpAddr, counts: Counts, runs: u64) {
        let own = policy.sources.contains(&SourceKey {
            address: to_address(source),
            ifindex: LOOPBACK,
        });
        if !own && !policy.any_source {
            return self.add(Outcome::OtherSource, counts, runs);
        }
        let ban = policy
            .bans
            .iter()
            .filter(|net| net.contains(&to))
            .max_by_key(|net| net.prefix_len());
        if let Some(ban) = ban {
            self.bans.entry(*ban).or_default().add(counts);
            return self.add(Outcome::Banned, counts, runs);
        }
        let source = if own { source } else { "::".parse().unwrap() };
        self.flows.entry((to, source)).or_default().add(counts);
        self.add(Outcome::Counted, counts, runs);
    }
}

/// Overflow over all cases, so that a test can tell that it had some.
#[derive(Default)]
struct Met {
    overflow: u64,
    packets: u64,
}

fn compare(expected: &Interval, drained: &Drained, exact: bool, met: &mut Met) {
    assert_eq!(drained.imbalance(), None);
    let mut flows = BTreeMap::<_, Counts>::new();
    for (key, traffic) in &drained.destinations {
        assert_eq!(key.ifindex, LOOPBACK);
        let flow = (to_ip(key.destination), to_ip(key.source));
        flows.entry(flow).or_default().add(traffic.counts);
    }
    let bans: BTreeMap<IpNet, Counts> = drained.bans.iter().copied().collect();
    assert_eq!(bans.len(), drained.bans.len(), "a prefix comes up once");
    assert_eq!(bans, expected.bans);
    let overflow = drained.totals.outcomes[Outcome::Overflow as usize];
    met.overflow += overflow.packets;
    met.packets += drained.totals.seen.packets;
    if exact {
        assert_eq!(drained.totals, expected.totals);
        assert_eq!(flows, expected.flows);
        return;
    }
    // What the tables had no room for would have been counted; nothing else may differ.
    let mut totals = drained.totals;
    totals.outcomes[Outcome::Counted as usize].add(overflow);
    totals.outcomes[Outcome::Overflow as usize] = Counts::default();
    assert_eq!(totals, expected.totals);
    for (flow, counts) in flows {
        let sent = expected.flows.get(&flow).copied().unwrap_or_default();
        assert!(
            counts.packets <= sent.packets && counts.bytes <= sent.bytes,
            "{flow:?}: sent {sent:?}, counted {counts:?}"
        );
    }
}

/// Shows the packets to the program, and counts them as they should be counted.
fn send(counter: &mut Counter, packets: &Packets, in_force: &PolicySet, interval: &mut Interval) {
    let source = nth_source(packets.source, packets.ipv6);
    for n in 0..packets.count {
        let to = destination(packets.first.wrapping_add(n), packets.ipv6);
        let (frame, skb) = frame(&source, &to, packets.payload, packets.shape);
        counter.run_often(&frame, skb, packets.times);
        let bytes = if skb.wire_len > 0 {
            u64::from(skb.wire_len)
        } else {
            frame.len() as u64
        };
        let counts = Counts {
            packets: u64::from(skb.gso_segs.max(1)) * u64::from(packets.times),
            bytes: bytes * u64::from(packets.times),
        };
        interval.packet(
            in_force,
            source.parse().unwrap(),
            to.parse().unwrap(),
            counts,
            packets.times.into(),
        );
    }
}

fn run(counter: &mut Counter, events: &[Event], exact: bool, met: &mut Met) {
    let mut in_force = nth_policy(0);
    let mut wanted = in_force.clone();
    counter.set_policy(in_force.clone());
    // Away with what a failed case may have left.
    counter.drain();
    let mut interval = Interval::default();
    for event in events.iter().chain([&Event::Drain]) {
        match event {
            Event::Packets(packets) => send(counter, packets, &in_force, &mut interval),
            Event::NotIp => {
                counter.run_often(&ethernet(0x0806, &[0; 46]), Skb::default(), 1);
                interval.add(Outcome::NotIp, SHORT, 1);
            }
            Event::Malformed => {
                counter.run_often(&ethernet(IPV4, &[0; 46]), Skb::default(), 1);
                interval.add(Outcome::Malformed, SHORT, 1);
            }
            Event::Drain => {
                compare(&interval, &counter.drain(), exact, met);
                interval = Interval::default();
                in_force = wanted.clone();
            }
            Event::Policy(n) => {
                wanted = nth_policy(*n);
                counter.set_policy(wanted.clone());
            }
        }
    }
}

fn cases(what: &str, capacity: Capacity, cases: u32, exact: bool) -> Met {
    let counter = RefCell::new(Counter::with(capacity, nth_policy(0)));
    let met = RefCell::new(Met::default());
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&prop::collection::vec(event(), 40..80), |events| {
            run(&mut counter.borrow_mut(), &events, exact, &mut met.borrow_mut());
            Ok(())
        })
        .unwrap();
    let met = met.into_inner();
    let ways = counter.borrow_mut().tables().ways();
    note(format_args!(
        "{what}: {cases} cases, {} packets, {} overflowed, {ways:?}",
        met.packets, met.overflow
    ));
    met
}

#[test]
fn with_room_for_all_everything_is_equal() {
    let roomy = Capacity {
        slots: None,
        spill: 4096,
        bans: 8,
        samples: 0,
    };
    assert_eq!(cases("large tables", roomy, 100, true).overflow, 0);
    // Slots for a part only: the rest is in the spill, and slots change hands.
    let few = Capacity {
        slots: Some(64),
        ..roomy
    };
    assert_eq!(cases("few slots", few, 100, true).overflow, 0);
}

#[test]
fn without_room_for_all_the_rest_is_overflow_and_nothing_else_differs() {
    for spill in [4, 16] {
        let tiny = Capacity {
            slots: Some(64),
            spill,
            bans: 8,
            samples: 0,
        };
        assert!(cases("tiny tables", tiny, 100, false).overflow > 0);
    }
}

/// A comparison that a wrong model passes would prove nothing.
#[test]
#[should_panic = "assertion"]
fn a_model_that_forgets_bans_fails() {
    let roomy = Capacity {
        slots: None,
        spill: 4096,
        bans: 8,
        samples: 0,
    };
    let mut counter = Counter::with(roomy, nth_policy(0));
    let (frame, skb) = frame(OWN[0][0], "203.0.113.1", 8, Shape::Plain);
    counter.run_often(&frame, skb, 1);
    let mut forgetful = Interval::default();
    let (source, to) = (OWN[0][0].parse().unwrap(), "203.0.113.1".parse().unwrap());
    let counts = Counts {
        packets: 1,
        bytes: 50,
    };
    forgetful.packet(&nth_policy(2), source, to, counts, 1);
    compare(&forgetful, &counter.drain(), true, &mut Met::default());
}
