//! Sets of destinations inside the lab's benchmarking range (RFC 2544): ordinary ones, and those that an attacker would
//! choose against a hash whose multiplier he knows.

use std::net::Ipv4Addr;

use crate::random::Random;

/// 198.18.0.0/15 without the /24 of the link itself.
const FIRST: u32 = 0xc612_0100;
const LAST: u32 = 0xc613_ffff;

/// Multipliers that programs use: 2^64 by the golden ratio, and wyhash's and rapidhash's kin.
const MULTIPLIERS: [(&str, u64); 2] = [
    ("0x9e3779b97f4a7c15", 0x9e37_79b9_7f4a_7c15),
    ("0xd6e8feb86659fd93", 0xd6e8_feb8_6659_fd93),
];

/// An address as the number that a program hashes.
type Form = fn(u32) -> u32;

/// A program reads the four bytes as they lie in the packet, or turns them first.
const ORDERS: [(&str, Form); 2] = [("host", |word| word), ("network", u32::to_be)];

/// Addresses one after the other.
pub fn sequential(count: usize) -> Vec<Ipv4Addr> {
    (FIRST..=LAST).take(count).map(Ipv4Addr::from).collect()
}

/// Addresses drawn from the whole range, each once.
pub fn random(count: usize) -> Vec<Ipv4Addr> {
    let mut all: Vec<_> = (FIRST..=LAST).map(Ipv4Addr::from).collect();
    Random::new().shuffle(&mut all);
    all.truncate(count);
    all
}

/// The sets that are worst for an unkeyed hash, each with its name.
///
/// A stride of two leaves the lowest bit of every product with an odd multiplier alone, so half of the places stay empty where
/// they are chosen by low bits. Where they are chosen by high bits, of whatever number, the addresses with the smallest
/// products lie in neighbouring places, and no others do: `count` of 130,816 addresses crowd into that part of the table.
pub fn constructed(count: usize) -> Vec<(String, Vec<Ipv4Addr>)> {
    let mut sets = vec![
        ("sequential".to_owned(), sequential(count)),
        (
            "every second".to_owned(),
            (FIRST..=LAST)
                .step_by(2)
                .take(count)
                .map(Ipv4Addr::from)
                .collect(),
        ),
    ];
    for (name, multiplier) in MULTIPLIERS {
        for (order, form) in ORDERS {
            let smallest = smallest(count, |word| u64::from(form(word)).wrapping_mul(multiplier));
            sets.push((format!("collide under {name}, {order} order"), smallest));
        }
    }
    sets
}

fn smallest(count: usize, hash: impl Fn(u32) -> u64) -> Vec<Ipv4Addr> {
    let mut all: Vec<u32> = (FIRST..=LAST).collect();
    all.sort_by_key(|word| hash(*word));
    all.truncate(count);
    // In order of address, so that the order of the first meeting is nobody's advantage.
    all.sort_unstable();
    all.into_iter().map(Ipv4Addr::from).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_set_has_as_many_different_addresses_as_asked_for() {
        let count = 50_000;
        let mut sets: Vec<_> = constructed(count).into_iter().map(|(_, set)| set).collect();
        sets.extend([random(count), sequential(count)]);
        for set in sets {
            assert_eq!(set.iter().collect::<BTreeSet<_>>().len(), count);
        }
    }

    #[test]
    fn constructed_addresses_crowd_into_their_part_of_the_table() {
        let multiplier = MULTIPLIERS[0].1;
        let place = |word: u32| u64::from(word).wrapping_mul(multiplier) >> 48;
        let places = |set: &[Ipv4Addr]| {
            set.iter()
                .map(|address| place(u32::from(*address)))
                .collect::<BTreeSet<_>>()
                .len()
        };
        let chosen = smallest(50_000, |word| u64::from(word).wrapping_mul(multiplier));
        let (chosen, random) = (places(&chosen), places(&random(50_000)));
        assert!(chosen * 10 < random * 8, "{chosen} places against {random}");
    }
}
