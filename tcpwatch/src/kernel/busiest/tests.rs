use std::collections::{BTreeMap, BTreeSet};

use tcpwatch_common::Counts;
use tcpwatch_common::front::UNUSUAL_NUMBERS;

use super::*;
use crate::kernel::policy::to_address;

fn source(address: &str) -> SourceKey {
    SourceKey {
        address: to_address(address.parse().unwrap()),
        ifindex: 2,
    }
}

/// 198.51.100.0 and so many that follow.
fn neighbours(count: u8) -> Vec<SourceKey> {
    (0..count).map(|n| source(&format!("198.51.100.{n}"))).collect()
}

fn traffic(source: SourceKey, packets: u64) -> (FlowKey, Traffic) {
    let key = FlowKey {
        destination: to_address("192.0.2.1".parse().unwrap()),
        source: source.address,
        ifindex: source.ifindex,
    };
    let counts = Counts {
        packets,
        bytes: packets * 100,
    };
    (
        key,
        Traffic {
            counts,
            ..Traffic::default()
        },
    )
}

fn ranked(usual: &UsualSources, ipv4: bool) -> Vec<SourceKey> {
    usual.ranked(ipv4).map(|(_, source)| source).collect()
}

#[test]
fn all_are_usual_where_they_are_few() {
    let mut own = neighbours(3);
    own.extend(["fe80::1", "2001:db8::1"].map(source));
    own.push(SourceKey { ifindex: 3, ..own[0] });
    // What stands for addresses that are not ours.
    own.push(SourceKey {
        address: Address::default(),
        ifindex: 2,
    });
    let mut busiest = Busiest::default();
    let usual = busiest.choose(own.iter());
    assert_eq!(ranked(usual, true), [own[0], own[5], own[1], own[2]]);
    assert_eq!(ranked(usual, false), [own[4], own[3]], "link-local is last");
    let numbers: BTreeSet<_> = own.iter().filter_map(|source| usual.number(source)).collect();
    assert_eq!(numbers.len(), 6);
    assert!(numbers.iter().all(|number| (1..UNUSUAL_NUMBERS).contains(number)));
    let numbered: BTreeMap<_, _> = usual.numbered().collect();
    for source in &own[..6] {
        assert_eq!(numbered[&usual.number(source).unwrap()], Some(*source));
    }
}

#[test]
fn those_with_most_packets_are_chosen_and_keep_their_numbers() {
    let own = neighbours(40);
    let mut busiest = Busiest::default();
    busiest.choose(own.iter());
    let late: Vec<_> = own[20..36].iter().map(|source| traffic(*source, 1000)).collect();
    busiest.note(&late);
    let first = busiest.choose(own.iter()).clone();
    assert_eq!(ranked(&first, true), &own[20..36]);

    // One passes another by little: it stays outside. By much: it comes in, and the others stay where they were.
    let with = |packets| {
        let mut all = late.clone();
        all.push(traffic(own[39], packets));
        all
    };
    busiest.note(&with(1700));
    assert_eq!(busiest.choose(own.iter()), &first);
    busiest.note(&with(9000));
    let second = busiest.choose(own.iter()).clone();
    assert_eq!(ranked(&second, true)[0], own[39]);
    let stayed = own[20..36]
        .iter()
        .filter(|source| second.number(source) == first.number(source));
    assert_eq!(stayed.count(), ROOM - 1);
}

#[test]
fn one_that_is_no_longer_ours_is_forgotten() {
    let own = neighbours(20);
    let mut busiest = Busiest::default();
    busiest.note(&own.iter().map(|source| traffic(*source, 10)).collect::<Vec<_>>());
    busiest.choose(own.iter());
    let usual = busiest.choose(own[4..].iter());
    assert_eq!(ranked(usual, true).len(), ROOM);
    assert!(own[..4].iter().all(|source| usual.number(source).is_none()));
}

#[test]
fn packets_of_long_ago_weigh_nothing() {
    let own = neighbours(17);
    let mut busiest = Busiest::default();
    busiest.note(&[traffic(own[16], 1 << 40)]);
    for _ in 0..41 {
        busiest.note(
            &own[..16]
                .iter()
                .map(|source| traffic(*source, 10))
                .collect::<Vec<_>>(),
        );
    }
    assert_eq!(busiest.choose(own.iter()).number(&own[16]), None);
}
