//! Kernel tables that are full, at every level, and machines whose CPUs have no place in them: what is counted is exact, and
//! what is not counted is known.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::thread;

use ipnet::IpNet;
use tcpwatch::kernel::capacity::Capacity;
use tcpwatch::kernel::load::load_on;
use tcpwatch::kernel::policy::{PolicySet, to_ip};
use tcpwatch::tally::Drained;
use tcpwatch_common::front::Lane;
use tcpwatch_common::{Counts, Outcome};
use tcpwatch_tests::command;
use tcpwatch_tests::counter::{Counter, LOOPBACK, Skb, policy};
use tcpwatch_tests::cpu::pin;
use tcpwatch_tests::faulty::Ways;
use tcpwatch_tests::frame::{IPV4, IPV6, UDP, VLAN, ethernet, ipv4, ipv6, tag, udp};

const OWN4: &str = "198.18.0.1";
const OWN6: &str = "2001:db8:ffff::1";
/// Packets that fill a packed counter.
const FULL: u32 = 1 << 23;

/// 16 sets of four slots: the smallest front table there is.
const fn smallest(spill: u32) -> Capacity {
    Capacity {
        slots: Some(64),
        spill,
        bans: 2,
        samples: 0,
    }
}

fn own_policy() -> PolicySet {
    policy(LOOPBACK, &[OWN4, OWN6], &["203.0.113.0/24", "2001:db8:bad::/48"])
}

/// The `n`th destination.
fn to(n: u32, is_ipv4: bool) -> String {
    if is_ipv4 {
        format!("198.19.{}.{}", n >> 8, n & 255)
    } else {
        format!("2001:db8:1::{n:x}")
    }
}

/// The `n`th banned destination.
fn banned(n: u32, is_ipv4: bool) -> String {
    if is_ipv4 {
        format!("203.0.113.{n}")
    } else {
        format!("2001:db8:bad::{n:x}")
    }
}

fn packet(to: &str) -> (u16, Vec<u8>) {
    if to.contains(':') {
        (IPV6, ipv6(OWN6, to, UDP, &udp(8)))
    } else {
        (IPV4, ipv4(OWN4, to, UDP, &udp(8)))
    }
}

fn send(counter: &mut Counter, to: &str, times: u32) {
    let (kind, packet) = packet(to);
    counter.run_often(&ethernet(kind, &packet), Skb::default(), times);
}

fn of(drained: &Drained, outcome: Outcome) -> Counts {
    drained.totals.outcomes[outcome as usize]
}

/// Families, each with destinations that are not banned, and with banned ones.
const KINDS: [(bool, bool); 4] = [(true, false), (true, true), (false, false), (false, true)];

/// The only ban that was met, and what it left out.
#[track_caller]
fn only_ban(drained: &Drained) -> (IpNet, Counts) {
    let [ban] = drained.bans[..] else {
        panic!("one ban is met: {:?}", drained.bans)
    };
    ban
}

/// Packets by destination.
fn by_destination(drained: &Drained) -> BTreeMap<IpAddr, u64> {
    let mut sums = BTreeMap::new();
    for (key, traffic) in &drained.destinations {
        *sums.entry(to_ip(key.destination)).or_default() += traffic.counts.packets;
    }
    sums
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn what_finds_its_set_full_is_counted_in_the_spill() {
    pin(0);
    for is_ipv4 in [true, false] {
        let mut counter = Counter::with(smallest(1024), own_policy());
        for n in 0..200 {
            send(&mut counter, &to(n, is_ipv4), 1);
        }
        let drained = counter.drain_balanced();
        let expected: BTreeMap<IpAddr, u64> = (0..200).map(|n| (address(&to(n, is_ipv4)), 1)).collect();
        assert_eq!(by_destination(&drained), expected);
        assert_eq!(of(&drained, Outcome::Overflow), Counts::default());
        let Ways {
            taken,
            evicted,
            spilled,
        } = counter.tables().ways();
        // Every destination is in one place: in the 64 slots, or behind them.
        assert_eq!(taken - evicted + spilled, 200);
        assert!(taken - evicted <= 64 && evicted > 0, "{taken}, {evicted}");
    }
}

/// The `n`th of destinations in no order: neighbours are spread better than those.
fn scattered(n: u32, is_ipv4: bool) -> String {
    // One to one, as odd multipliers and shifts are.
    let n = n.wrapping_add(1).wrapping_mul(0x9e37_79b1);
    let n = (n ^ n >> 15).wrapping_mul(0x85eb_ca6b);
    let n = n ^ n >> 13;
    if is_ipv4 {
        IpAddr::from(n.to_be_bytes()).to_string()
    } else {
        format!("2001:db8:1::{:x}:{:x}", n >> 16, n & 0xffff)
    }
}

/// Counts `each` packets at once to each of so many scattered destinations, and does so `rounds` times, in a table of 4,096 slots. All of
/// them are banned, or none. What was drained, and each CPU's totals.
fn scatter(
    destinations: u32,
    rounds: u32,
    each: u32,
    is_ipv4: bool,
    are_banned: bool,
) -> (Drained, Vec<Lane>) {
    let large = Capacity {
        slots: Some(4_096),
        ..smallest(1_024)
    };
    let everything: &[&str] = if are_banned {
        &["0.0.0.0/0", "2001:db8:1::/48"]
    } else {
        &[]
    };
    let mut counter = Counter::with(large, policy(LOOPBACK, &[OWN4, OWN6], everything));
    for _ in 0..rounds {
        for n in 0..destinations {
            send(&mut counter, &scattered(n, is_ipv4), each);
        }
    }
    let drained = counter.drain_balanced();
    let outcome = if are_banned {
        Outcome::Banned
    } else {
        Outcome::Counted
    };
    let sent = u64::from(rounds * destinations * each);
    assert_eq!(of(&drained, outcome).packets, sent);
    assert_eq!(drained.totals.seen.packets, sent);
    let lanes = counter.tables().last().to_vec();
    (drained, lanes)
}

#[test]
fn a_destination_whose_first_set_is_full_has_a_slot_in_its_second() {
    /// Two for each three slots.
    const DESTINATIONS: u32 = 2_730;
    pin(0);
    for is_ipv4 in [true, false] {
        let (_, lanes) = scatter(DESTINATIONS, 1, 1, is_ipv4, false);
        // With one set for each, one in twelve would find it full; with two, it is one in sixty.
        let spilled: u64 = lanes.iter().map(|lane| lane.spilled).sum();
        assert!(spilled <= u64::from(DESTINATIONS / 25), "{spilled} in the spill");
    }
}

/// Two destinations for each five slots: some 30 find their first set full, and some two or three both.
const SOME_IN_SECOND_SETS: u32 = 1_638;

#[test]
fn the_short_way_looks_into_both_sets() {
    pin(0);
    for (is_ipv4, are_banned) in KINDS {
        // What is seen here are the packets on the long way, as long as no set was full for 16 of them: the first to each destination, and
        // the second to those that the short way does not find.
        let (_, lanes) = scatter(SOME_IN_SECOND_SETS, 2, 1, is_ipv4, are_banned);
        let seen: u64 = lanes.iter().map(|lane| lane.seen.packets).sum();
        assert!(seen >= u64::from(SOME_IN_SECOND_SETS), "{seen}");
        let long = seen - u64::from(SOME_IN_SECOND_SETS);
        assert!(long <= 12, "{long} of the second packets on the long way");
    }
}

#[test]
fn what_slots_of_both_sets_have_counted_is_carried() {
    /// Twice what a slot can hold, and some.
    const EACH: u32 = 600;
    pin(0);
    for (is_ipv4, are_banned) in KINDS {
        let (drained, _) = scatter(SOME_IN_SECOND_SETS, 1, EACH, is_ipv4, are_banned);
        if are_banned {
            let bytes = if is_ipv4 { 50 } else { 70 };
            let packets = u64::from(SOME_IN_SECOND_SETS * EACH);
            let expected = Counts {
                packets,
                bytes: packets * bytes,
            };
            assert_eq!(of(&drained, Outcome::Banned), expected);
            assert_eq!(only_ban(&drained).1, expected);
            continue;
        }
        let expected: BTreeMap<IpAddr, u64> = (0..SOME_IN_SECOND_SETS)
            .map(|n| (address(&scattered(n, is_ipv4)), u64::from(EACH)))
            .collect();
        assert_eq!(by_destination(&drained), expected);
    }
}

#[test]
fn what_finds_the_spill_full_is_overflow_and_in_the_totals() {
    pin(0);
    for is_ipv4 in [true, false] {
        let mut counter = Counter::with(smallest(8), own_policy());
        // The second time, destinations that were not counted find no room either.
        for n in (0..200).chain(0..200) {
            send(&mut counter, &to(n, is_ipv4), 1);
        }
        let drained = counter.drain_balanced();
        let ways = counter.tables().ways();
        assert_eq!(ways.spilled, 8);
        let counted = by_destination(&drained);
        assert_eq!(counted.len() as u64, ways.taken - ways.evicted + 8);
        assert!(counted.len() <= 64 + 8);
        assert!(counted.values().all(|packets| (1..=2).contains(packets)));
        assert_eq!(drained.totals.seen.packets, 400);
        assert_eq!(
            of(&drained, Outcome::Overflow).packets,
            400 - counted.values().sum::<u64>()
        );
        // The next generation has all its room.
        send(&mut counter, &to(300, is_ipv4), 1);
        assert_eq!(of(&counter.drain_balanced(), Outcome::Counted).packets, 1);
    }
}

/// What the front table has of a destination comes before what the spill has.
fn parts(drained: &Drained, to: &str) -> Vec<u64> {
    drained
        .destinations
        .iter()
        .filter(|(key, _)| to_ip(key.destination) == address(to))
        .map(|(_, traffic)| traffic.counts.packets)
        .collect()
}

#[test]
fn a_destination_that_comes_late_and_often_gets_a_slot() {
    pin(0);
    for is_ipv4 in [true, false] {
        let mut counter = Counter::with(smallest(1024), own_policy());
        for n in 0..600 {
            send(&mut counter, &to(n, is_ipv4), 1);
        }
        let late = to(1000, is_ipv4);
        send(&mut counter, &late, 1000);
        let drained = counter.drain_balanced();
        let parts = parts(&drained, &late);
        assert_eq!(parts.iter().sum::<u64>(), 1000);
        // One in 16 packets without a slot takes one.
        assert!(parts[0] >= 1000 - 15, "{parts:?}");
        assert_eq!(drained.totals.seen.packets, 1600);
        assert_eq!(of(&drained, Outcome::Counted).packets, 1600);
    }
}

/// The negative control to the test above: where no slot is given away, all of its packets are in the spill.
#[test]
fn slots_of_banned_destinations_are_not_given_away() {
    pin(0);
    let mut counter = Counter::with(smallest(1024), own_policy());
    for n in 0..600 {
        send(&mut counter, &banned(n, false), 1);
    }
    let late = to(1000, false);
    send(&mut counter, &late, 1000);
    let drained = counter.drain_balanced();
    assert_eq!(parts(&drained, &late), [1000]);
    assert_eq!(of(&drained, Outcome::Banned).packets, 600);
    assert_eq!(
        counter.tables().ways(),
        Ways {
            taken: 64,
            evicted: 0,
            spilled: 1
        }
    );
}

#[test]
fn a_counter_is_emptied_into_the_spill_at_two_to_the_23_and_not_before() {
    pin(0);
    for is_ipv4 in [true, false] {
        let mut counter = Counter::with(smallest(16), own_policy());
        // The first packet is counted beside the slot, the others in it, from where they are carried 128 at a time.
        for (times, spilled) in [(FULL, 0), (FULL + 1, 1), (2 * FULL + 7, 1)] {
            let before = counter.tables().ways().spilled;
            send(&mut counter, &to(1, is_ipv4), times);
            let drained = counter.drain_balanced();
            assert_eq!(
                by_destination(&drained)[&address(&to(1, is_ipv4))],
                u64::from(times)
            );
            assert_eq!(drained.totals.skbs, u64::from(times));
            assert_eq!(drained.totals.seen, of(&drained, Outcome::Counted));
            assert_eq!(counter.tables().ways().spilled - before, spilled, "{times}");
        }
    }
}

#[test]
fn the_longest_packets_fill_a_counter_without_running_over() {
    pin(0);
    let mut counter = Counter::with(smallest(16), own_policy());
    let (kind, packet) = packet(&to(1, true));
    // The most that the kernel lets a test packet have; on the long way, too.
    for frame in [ethernet(kind, &packet), ethernet(VLAN, &tag(5, kind, &packet))] {
        let long = Skb {
            wire_len: 65_536,
            ..Skb::default()
        };
        counter.run_often(&frame, long, FULL + 1000);
        // The last addition to a counter that is one packet short of full is as large as it can be.
        let most = Skb {
            wire_len: 65_536,
            gso_segs: 65_535,
            gso_size: 1,
            ..Skb::default()
        };
        counter.run_often(&frame, long, FULL - 1001);
        counter.run_often(&frame, most, 300);
        let drained = counter.drain_balanced();
        let expected = Counts {
            packets: 2 * 8_388_608 - 1 + 300 * 65_535,
            bytes: (2 * 8_388_608 - 1 + 300) * 65_536,
        };
        assert_eq!(drained.totals.seen, expected);
        assert_eq!(of(&drained, Outcome::Counted), expected);
        assert_eq!(drained.totals.skbs, 2 * 8_388_608 - 1 + 300);
    }
}

#[test]
fn a_banned_destination_that_fills_its_counter_is_exact() {
    pin(0);
    let mut counter = Counter::with(smallest(16), own_policy());
    for (is_ipv4, bytes) in [(true, 50), (false, 70)] {
        send(&mut counter, &banned(9, is_ipv4), 9_000_000);
        let drained = counter.drain_balanced();
        let expected = Counts {
            packets: 9_000_000,
            bytes: 9_000_000 * bytes,
        };
        assert_eq!(of(&drained, Outcome::Banned), expected);
        let (prefix, counts) = only_ban(&drained);
        assert!(prefix.contains(&address(&banned(9, is_ipv4))), "{prefix}");
        assert_eq!(counts, expected);
        assert_eq!(drained.totals.seen, expected);
    }
}

#[test]
fn a_full_counter_that_the_spill_has_no_room_for_is_overflow_to_the_packet() {
    pin(0);
    let mut counter = Counter::with(smallest(1), own_policy());
    send(&mut counter, &to(1, true), FULL + 2);
    send(&mut counter, &to(2, true), FULL + 2);
    let drained = counter.drain_balanced();
    assert_eq!(by_destination(&drained)[&address(&to(1, true))], 8_388_610);
    assert_eq!(by_destination(&drained)[&address(&to(2, true))], 1);
    assert_eq!(
        of(&drained, Outcome::Overflow),
        Counts {
            packets: 8_388_609,
            bytes: 8_388_609 * 50
        }
    );
    assert_eq!(drained.totals.seen.packets, 2 * 8_388_610);
}

#[test]
fn what_a_slot_has_counted_is_carried_before_it_runs_over() {
    pin(0);
    let long = |wire_len, gso_segs| Skb {
        wire_len,
        gso_segs,
        gso_size: gso_segs.min(1),
        ..Skb::default()
    };
    // A slot is carried at 2^7 packets or 2^17 bytes. One packet less, or a packet less than those bytes, and the most segments that are
    // added on the short way; then the fewest that are not. The first packet is not in the slot.
    for (bytes, times, segments) in [(50, 128, 127), (16_384, 8, 127), (65_535, 3, 127), (70, 128, 128)] {
        for (is_ipv4, is_banned) in KINDS {
            let to = if is_banned { banned } else { to };
            let mut counter = Counter::with(smallest(16), own_policy());
            let (kind, packet) = packet(&to(1, is_ipv4));
            let frame = ethernet(kind, &packet);
            let bytes = bytes.max(frame.len() as u32);
            for _ in 0..3 {
                counter.run_often(&frame, long(bytes, 0), times);
                counter.run_often(&frame, long(65_536, segments), 1);
            }
            let drained = counter.drain_balanced();
            let expected = Counts {
                packets: 3 * u64::from(times + segments),
                bytes: 3 * (u64::from(times) * u64::from(bytes) + 65_536),
            };
            assert_eq!(drained.totals.seen, expected);
            if is_banned {
                assert_eq!(of(&drained, Outcome::Banned), expected);
                assert_eq!(only_ban(&drained).1, expected);
                continue;
            }
            assert_eq!(of(&drained, Outcome::Counted), expected);
            let [(_, traffic)] = drained.destinations[..] else {
                panic!("one destination: {:?}", drained.destinations)
            };
            assert_eq!(traffic.counts, expected);
        }
    }
}

/// Does something on the `n`th CPU, on a thread of its own: one that was put on a CPU may use no other. Returns the CPU's
/// number.
fn on_cpu(n: usize, work: impl FnOnce() + Send) -> usize {
    let run = || {
        let cpu = pin(n);
        work();
        cpu
    };
    thread::scope(|scope| scope.spawn(run).join().unwrap())
}

/// As many packets to each of ten destinations as its number says, from the `n`th CPU. Returns the CPU's number.
fn ten(counter: &mut Counter, n: usize) -> usize {
    on_cpu(n, || {
        for n in 1..=10 {
            send(counter, &to(n, true), n);
            send(counter, &to(n, false), n);
        }
    })
}

/// What [`ten`] comes to, `rounds` times.
fn tenfold(rounds: u64) -> BTreeMap<IpAddr, u64> {
    (1..=10)
        .flat_map(|n| [true, false].map(|is_ipv4| (address(&to(n, is_ipv4)), rounds * u64::from(n))))
        .collect()
}

#[test]
fn a_cpu_alone_writes_its_own_totals_only() {
    let mut counter = Counter::with(smallest(64), own_policy());
    for n in [0, 1] {
        let cpu = ten(&mut counter, n);
        assert_eq!(by_destination(&counter.drain_balanced()), tenfold(1));
        for (of, lane) in counter.tables().last().iter().enumerate() {
            assert_eq!(lane.taken[0] > 0 && lane.taken[1] > 0, of == cpu, "CPU {of}");
        }
    }
}

#[test]
fn a_cpu_without_a_region_counts_in_the_spill() {
    command::require_root();
    let (first, second) = (on_cpu(0, || {}), on_cpu(1, || {}));
    let cpus = first.max(second) as u32 + 1;
    let loaded = load_on(smallest(64), false, cpus, &[first as u32]).unwrap();
    let mut counter = Counter::over(loaded, own_policy());
    // Twice, so that both generations are met.
    for _ in 0..2 {
        ten(&mut counter, 1);
        let before = counter.drain_balanced();
        assert_eq!(by_destination(&before), tenfold(1));
        let lane = counter.tables().last()[second];
        assert_eq!((lane.taken, lane.spilled), ([0, 0], 20));

        ten(&mut counter, 0);
        ten(&mut counter, 1);
        assert_eq!(by_destination(&counter.drain_balanced()), tenfold(2));
        assert_ne!(counter.tables().last()[first].taken, [0, 0]);
    }
}

#[test]
fn more_cpus_than_there_are_change_nothing() {
    command::require_root();
    let with_region: Vec<u32> = (0..48).collect();
    let mut counter = Counter::over(
        load_on(smallest(64), false, 64, &with_region).unwrap(),
        own_policy(),
    );
    for _ in 0..3 {
        ten(&mut counter, 0);
        let drained = counter.drain_balanced();
        assert_eq!(by_destination(&drained), tenfold(1));
        assert_eq!(drained.totals.skbs, 2 * 55);
    }
    assert_eq!(counter.tables().last().len(), 64);
}
