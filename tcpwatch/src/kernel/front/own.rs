//! The own sources in the mapped tables: each in the place where the short way looks for it.

use tcpwatch_common::front::{USUAL, tag, word};
use tcpwatch_common::own::{LEFT_OUT, PLACES, Source4, Source6, place, placed4, placed6};
use tcpwatch_common::{Address, SourceKey};

use super::Front;
use crate::kernel::drain::Generation;
use crate::kernel::policy::is_ipv4;
use crate::kernel::shared::{Element, Shared};

/// Multipliers that are tried at most. With 64 sources of each family in their 4,096 places, two in five spread both; with 256, none may,
/// but some eight of them share a place.
const MOST_TRIES: usize = 200;
/// Sources whose places are looked up at most, for all multipliers together.
const WORK: usize = 200_000;

impl Front {
    /// The own sources with their numbers: packets of those that have one go the short way; of each family, the one that comes first is
    /// found most quickly, if it is a usual one: the short way takes it for that. `generation` must be the spare one, or nothing attached.
    pub fn set_sources(&self, generation: Generation, own: &[(u32, SourceKey)]) {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        let (mut left4, mut left6) = (Vec::new(), Vec::new());
        for (number, source) in own {
            let tag = tag(*number);
            let ifindex = source.ifindex;
            if is_ipv4(source.address) {
                let [.., a, b, c, d] = source.address;
                let of = Source4 {
                    key: tag ^ self.secret,
                    address: u32::from_ne_bytes([a, b, c, d]),
                    ifindex,
                };
                if *number == 0 { &mut left4 } else { &mut v4 }.push(of);
            } else {
                let of = Source6 {
                    address: words(source.address),
                    tag,
                    ifindex,
                    padding: 0,
                };
                if *number == 0 { &mut left6 } else { &mut v6 }.push(of);
            }
        }
        let multiplier = spreading([&all_placed(&v4), &all_placed(&v6)]);
        for cpu in 0..self.layout.cpus as usize {
            let cpu = self.cpus.at(cpu);
            // SAFETY: inside the mapping; nobody uses the spare generation's part.
            unsafe {
                let place = &raw mut (*cpu).usual[generation.index()];
                (*place).first = v4
                    .first()
                    .filter(|own| own.key & USUAL != 0)
                    .copied()
                    .unwrap_or_default();
                (*place).multiplier = multiplier;
                let first6 = v6.first().filter(|own| own.tag & USUAL != 0);
                (*cpu).first6[generation.index()] = first6.copied().unwrap_or_default();
            }
        }
        let word = word(generation == Generation::Odd, 0, 0);
        let place = |placed| place(word, multiplier, placed);
        put(&self.own4, generation, place, &v4, &left4);
        put(&self.own6, generation, place, &v6, &left6);
    }
}

/// An own source of a family.
trait Own: Element {
    /// What is hashed for its place.
    fn placed(&self) -> u64;
    /// Its interface, none in a place that is free.
    fn ifindex(&self) -> u32;
    /// Says of a place, with or without a source, that another one should be there.
    fn leave_out(&mut self);
}

impl Own for Source4 {
    fn placed(&self) -> u64 {
        placed4(self.address, self.ifindex)
    }

    fn ifindex(&self) -> u32 {
        self.ifindex
    }

    fn leave_out(&mut self) {
        self.key |= LEFT_OUT;
    }
}

impl Own for Source6 {
    fn placed(&self) -> u64 {
        placed6(self.address, self.ifindex)
    }

    fn ifindex(&self) -> u32 {
        self.ifindex
    }

    fn leave_out(&mut self) {
        self.tag |= LEFT_OUT;
    }
}

fn all_placed(sources: &[impl Own]) -> Vec<u64> {
    sources.iter().map(Own::placed).collect()
}

/// Puts sources into their places, those that come first where two have the same, and notes there which ones are not in theirs, as are all
/// of `left`.
fn put<T: Own>(
    table: &Shared<T>,
    generation: Generation,
    place: impl Fn(u64) -> u32,
    sources: &[T],
    left: &[T],
) {
    table.clear(generation.index() * PLACES as usize, PLACES as usize);
    let all = sources.iter().map(|of| (of, true));
    for (source, has_number) in all.chain(left.iter().map(|of| (of, false))) {
        let place = table.at(place(source.placed()) as usize);
        // SAFETY: inside the mapping; nobody uses the spare generation's part.
        unsafe {
            let mut there = place.read_volatile();
            if has_number && there.ifindex() == 0 {
                there = *source;
            } else {
                there.leave_out();
            }
            place.write_volatile(there);
        }
    }
}

/// The multiplier that finds a place for each of the families' sources, or for as many as one does that is tried. `placed`: what of each is
/// hashed.
fn spreading(families: [&[u64]; 2]) -> u32 {
    let tries = WORK / (families[0].len() + families[1].len()).max(WORK / MOST_TRIES);
    let mut best = (usize::MAX, 1);
    for n in 0..tries.max(1) as u32 {
        let multiplier = n << 1 | 1;
        let without = families.map(|placed| without_place(placed, multiplier));
        best = best.min((without[0] + without[1], multiplier));
        if best.0 == 0 {
            break;
        }
    }
    best.1
}

/// How many share a place with another one.
fn without_place(placed: &[u64], multiplier: u32) -> usize {
    let mut taken = [0_u64; PLACES as usize / 64];
    for of in placed {
        let place = place(0, multiplier, *of) as usize;
        taken[place / 64] |= 1 << (place % 64);
    }
    let places: u32 = taken.iter().map(|word| word.count_ones()).sum();
    placed.len() - places as usize
}

/// An address as the kernel loads it.
fn words(address: Address) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = address;
    [
        u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
        u64::from_ne_bytes([i, j, k, l, m, n, o, p]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many IPv4 and IPv6 sources, `step` apart, on so many interfaces: what of each is hashed.
    fn placed(count: u32, step: u32, interfaces: u32) -> [Vec<u64>; 2] {
        let ifindex = |n| 2 + n % interfaces;
        let v4 = (0..count).map(|n| {
            let address = 0xc612_0000 + n / interfaces * step;
            placed4(address.to_be(), ifindex(n))
        });
        let v6 = (0..count).map(|n| {
            let last = u64::from(n / interfaces * step);
            placed6([0xb80d_0120, last.to_be()], ifindex(n))
        });
        [v4.collect(), v6.collect()]
    }

    #[test]
    fn sources_do_not_meet_as_long_as_they_are_few() {
        for step in [1, 4, 256] {
            for interfaces in [1, 2, 8] {
                let [v4, v6] = placed(64, step, interfaces);
                let multiplier = spreading([&v4, &v6]);
                for family in [v4, v6] {
                    let meet = without_place(&family, multiplier);
                    assert_eq!(meet, 0, "{step} apart, on {interfaces} interfaces");
                }
            }
        }
    }

    #[test]
    fn of_many_sources_few_meet() {
        for (count, most) in [(256, 8), (4000, 1600)] {
            let [v4, v6] = placed(count, 1, 1);
            let multiplier = spreading([&v4, &v6]);
            let meet = without_place(&v4, multiplier) + without_place(&v6, multiplier);
            assert!(meet <= 2 * most, "{meet} of {count} sources of each family");
        }
        // What is hashed alike meets, whatever is tried.
        assert_eq!(without_place(&[7, 7, 7], spreading([&[7, 7, 7], &[]])), 2);
    }
}
