//! Own sources and banned prefixes.

use std::net::IpAddr;

use tcpwatch::kernel::attach::LinkLayer;
use tcpwatch::kernel::policy::{PolicySet, to_address, to_ip};
use tcpwatch_common::Outcome::{Banned, Counted, OtherSource};
use tcpwatch_common::SourceKey;
use tcpwatch_tests::counter::{Counter, LOOPBACK, Skb, policy};
use tcpwatch_tests::frame::{IPV4, IPV6, UDP, ethernet, ipv4, ipv6, udp};
use tcpwatch_tests::namespace::Namespace;

use crate::{BANS, OWN4, OWN6, TO4, TO6, check, counter, ipv4_to, ipv6_to, outcomes, table};

#[test]
fn foreign_sources_are_kept_apart() {
    let from4 = |source| ethernet(IPV4, &ipv4(source, TO4, UDP, &udp(8)));
    let from6 = |source| ethernet(IPV6, &ipv6(source, TO6, UDP, &udp(8)));
    let to_banned = ethernet(IPV4, &ipv4("198.18.0.2", "203.0.113.1", UDP, &udp(8)));
    check(
        LinkLayer::Ethernet,
        table! {
            "own ipv4": from4(OWN4) => Counted, 50;
            "the address beside it": from4("198.18.0.0") => OtherSource, 50;
            "ipv4 unspecified, as dhcp sends": from4("0.0.0.0") => OtherSource, 50;
            "own ipv6": from6(OWN6) => Counted, 70;
            "the ipv6 address beside it": from6("2001:db8:ffff::2") => OtherSource, 70;
            "ipv6 unspecified, as duplicate address detection sends": from6("::") => OtherSource, 70;
            "ipv6 link-local": from6("fe80::1") => OtherSource, 70;
            "an own address written as mapped": from6("::ffff:198.18.0.9") => Counted, 70;
            "foreign to a banned destination": to_banned => OtherSource, 50;
        },
    );
}

#[test]
fn an_address_of_another_interface_is_a_foreign_source() {
    let namespace = Namespace::new("a");
    namespace.ip("link add one type veth peer name two");
    let index = |name: &str| -> u32 {
        namespace
            .run(&format!("cat /sys/class/net/{name}/ifindex"))
            .trim()
            .parse()
            .unwrap()
    };
    let (one, two) = (index("one"), index("two"));
    let mut counter = Counter::new(policy(one, &[OWN4], &[]));
    let through = |ifindex| Skb {
        ifindex,
        ..Skb::default()
    };
    namespace.within(|| {
        counter.run(LinkLayer::Ethernet, &ipv4_to(TO4), through(one));
        let own = counter.drain();
        assert_eq!(outcomes(&own), [Counted as usize]);
        assert_eq!(own.destinations[0].0.ifindex, one);
        assert_eq!(
            to_ip(own.destinations[0].0.source),
            OWN4.parse::<IpAddr>().unwrap()
        );
        counter.run(LinkLayer::Ethernet, &ipv4_to(TO4), through(two));
        assert_eq!(outcomes(&counter.drain()), [OtherSource as usize]);
    });
}

#[test]
fn the_same_address_on_two_interfaces_is_two_own_sources() {
    let address = to_address(OWN4.parse().unwrap());
    let sources = [LOOPBACK, 4242]
        .map(|ifindex| SourceKey { address, ifindex })
        .into();
    let mut counter = Counter::new(PolicySet {
        sources,
        ..PolicySet::default()
    });
    counter.run(LinkLayer::Ethernet, &ipv4_to(TO4), Skb::default());
    let drained = counter.drain();
    assert_eq!(outcomes(&drained), [Counted as usize]);
    assert_eq!(drained.destinations[0].0.ifindex, LOOPBACK);
}

#[test]
fn any_source_counts_foreign_sources_without_naming_them() {
    let own = policy(LOOPBACK, &[OWN4], &["203.0.113.0/24"]);
    let mut counter = Counter::new(PolicySet {
        any_source: true,
        ..own
    });
    for (source, destination) in [
        (OWN4, TO4),
        ("198.18.0.2", TO4),
        ("198.18.0.3", TO4),
        ("198.18.0.3", "203.0.113.9"),
    ] {
        let packet = ethernet(IPV4, &ipv4(source, destination, UDP, &udp(8)));
        counter.run(LinkLayer::Ethernet, &packet, Skb::default());
    }
    let drained = counter.drain();
    assert_eq!(drained.imbalance(), None);
    assert_eq!(outcomes(&drained), [Banned as usize, Counted as usize]);
    let mut flows: Vec<_> = drained
        .destinations
        .iter()
        .map(|(key, traffic)| (to_ip(key.source).to_string(), traffic.counts.packets))
        .collect();
    flows.sort();
    // The unspecified address stands for whichever foreign source; an own one keeps its name.
    assert_eq!(flows, [("198.18.0.1".to_owned(), 1), ("::".to_owned(), 2)]);
}

#[test]
fn banned_destinations_are_left_out_by_the_longest_prefix() {
    let mut counter = counter();
    let table = [
        ("203.0.113.1", Some(0)),
        ("203.0.113.127", Some(0)),
        ("203.0.113.128", Some(1)),
        ("203.0.113.199", Some(1)),
        ("203.0.113.200", Some(2)),
        ("203.0.113.255", Some(1)),
        ("203.0.112.255", None),
        ("203.0.114.0", None),
        ("2001:db8:bad::1", Some(3)),
        ("2001:db8:bad:1::1", Some(4)),
        ("2001:db8:bad:1:ffff::1", Some(4)),
        ("2001:db8:bad:2::1", Some(3)),
        ("2001:db8:bae::1", None),
        ("::ffff:203.0.113.1", Some(0)),
    ];
    let mut wrong = Vec::new();
    for (destination, ban) in table {
        let packet = if destination.contains(':') {
            ipv6_to(destination)
        } else {
            ipv4_to(destination)
        };
        // Twice: the second packet must not find a short cut around the ban.
        for _ in 0..2 {
            let run = counter.run(LinkLayer::Ethernet, &packet, Skb::default());
            assert_eq!((run.returned, &run.packet), (-1, &packet), "{destination}");
        }
        let drained = counter.drain();
        assert_eq!(drained.imbalance(), None, "{destination}");
        let hit: Vec<(String, u64)> = drained
            .bans
            .iter()
            .map(|(prefix, counts)| (prefix.to_string(), counts.packets))
            .collect();
        let expected = if ban.is_some() { Banned } else { Counted };
        let ban: Vec<(String, u64)> = ban.map(|n: usize| (BANS[n].to_owned(), 2)).into_iter().collect();
        if hit != ban || outcomes(&drained) != [expected as usize] {
            wrong.push(format!(
                "{destination}: bans {hit:?} instead of {ban:?}, outcomes {:?}",
                outcomes(&drained)
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn a_ban_of_all_of_one_family_leaves_the_other_alone() {
    for (ban, v4, v6) in [("0.0.0.0/0", Banned, Counted), ("::/0", Counted, Banned)] {
        let mut counter = Counter::new(policy(LOOPBACK, &[OWN4, OWN6], &[ban]));
        counter.run(LinkLayer::Ethernet, &ipv4_to(TO4), Skb::default());
        assert_eq!(
            outcomes(&counter.drain()),
            [v4 as usize],
            "IPv4 with {ban} banned"
        );
        counter.run(LinkLayer::Ethernet, &ipv6_to(TO6), Skb::default());
        assert_eq!(
            outcomes(&counter.drain()),
            [v6 as usize],
            "IPv6 with {ban} banned"
        );
    }
}

#[test]
fn a_new_policy_holds_from_the_next_drain_on() {
    let mut counter = Counter::new(policy(LOOPBACK, &[OWN4], &[]));
    let send = |counter: &mut Counter| {
        counter.run(LinkLayer::Ethernet, &ipv4_to("203.0.113.1"), Skb::default());
    };
    send(&mut counter);
    counter.set_policy(policy(LOOPBACK, &[OWN4], &["203.0.113.0/24"]));
    send(&mut counter);
    let drained = counter.drain();
    assert_eq!(
        (outcomes(&drained), drained.totals.seen.packets),
        (vec![Counted as usize], 2)
    );
    counter.set_policy(policy(LOOPBACK, &["198.18.0.2"], &["203.0.113.0/24"]));
    send(&mut counter);
    assert_eq!(outcomes(&counter.drain()), [Banned as usize]);
    send(&mut counter);
    assert_eq!(outcomes(&counter.drain()), [OtherSource as usize]);
    counter.set_policy(PolicySet::default());
    counter.set_policy(policy(LOOPBACK, &[OWN4], &[]));
    assert_eq!(outcomes(&counter.drain()), [] as [usize; 0]);
    send(&mut counter);
    assert_eq!(outcomes(&counter.drain()), [Counted as usize]);
}
