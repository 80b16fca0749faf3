//! The secret multipliers of the hashes that choose an IPv4 destination's two sets. Pure.
//!
//! A hash that is one multiplication meets any two keys with no more than twice chance's probability, whoever chose them. But
//! addresses that follow one another are multiples of one step, and some multipliers turn those into few sets: of these, none
//! is taken. It costs some five bits of the secret.

use tcpwatch_common::front::{WAYS, set, slot_number, word};

/// How far neighbours among destinations are apart: hosts of a network, networks of a provider, providers.
const STEPS: [u64; 3] = [1, 1 << 8, 1 << 16];

/// Sizes of a table in sets, as powers of two. In a larger one, so many neighbours are no ordinary traffic.
const BITS: std::ops::RangeInclusive<u32> = 4..=13;

/// Neighbours for three sets: as many as destinations are when the table is as full as it gets.
const NEIGHBOURS_OF_THREE: usize = 8;

/// One in so many neighbours may find both its sets full. Of addresses without any order it is one in 60.
const MISSES: usize = 50;

/// One in so many neighbours may find its first set full. Of addresses without any order it is one in 13.
const SECONDS: usize = 10;

/// Pairs of multipliers that are tried. One in thirty is good, so the last is hardly ever reached, and it is only slower.
const TRIES: usize = 300;

/// What the keys are multiplied by, for the first and the second set of a destination: random numbers, odd, that spread neighbours.
///
/// # Errors
/// There are no random numbers.
pub fn choose<E>(mut random: impl FnMut() -> Result<u64, E>) -> Result<[u64; 2], E> {
    let mut pair = || Ok([random()? | 1, random()? | 1]);
    let mut multipliers = pair()?;
    for _ in 0..TRIES {
        if spread(multipliers) {
            break;
        }
        multipliers = pair()?;
    }
    Ok(multipliers)
}

/// Whether neighbours, however far apart and in a table of whatever size, find room.
fn spread(multipliers: [u64; 2]) -> bool {
    STEPS
        .iter()
        .all(|step| BITS.clone().all(|bits| find_room(multipliers, *step, bits)))
}

fn find_room(multipliers: [u64; 2], step: u64, bits: u32) -> bool {
    let word = word(false, bits, 0);
    let neighbours = (NEIGHBOURS_OF_THREE << bits) / 3;
    let mut taken = vec![0_usize; 1 << bits];
    // How many find their first set full, and both.
    let mut full = [0; 2];
    for n in 0..neighbours as u64 {
        for (multiplier, full) in multipliers.into_iter().zip(&mut full) {
            let set = &mut taken[set(word, slot_number(word, multiplier, n * step)) as usize];
            if *set < WAYS {
                *set += 1;
                break;
            }
            *full += 1;
        }
    }
    full[0] * SECONDS <= neighbours && full[1] * MISSES <= neighbours
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

    /// xorshift64*.
    fn numbers() -> impl FnMut() -> Result<u64, ()> {
        let mut state = GOLDEN;
        move || {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            Ok(state.wrapping_mul(0x2545_f491_4f6c_dd1d))
        }
    }

    #[test]
    fn multipliers_that_map_neighbours_to_few_sets_are_not_taken() {
        // 2^64 / 3 and little more: every third neighbour in the same set.
        const THIRDS: u64 = 0x5555_5555_5555_5557;
        assert!(find_room([GOLDEN, GOLDEN], 1, 8));
        assert!(!find_room([THIRDS, GOLDEN], 1, 8));
        // 1: all of them in the first set.
        assert!(!find_room([1, 1], 1, 8));
        let good = choose(numbers()).unwrap();
        let mut bad_first = [1, 1, THIRDS, GOLDEN].into_iter().chain(good);
        assert_eq!(choose(|| bad_first.next().ok_or(())).unwrap(), good);
    }

    #[test]
    fn enough_pairs_are_good_and_a_chosen_one_spreads_neighbours_at_every_size() {
        let mut random = numbers();
        let good = (0..500)
            .filter(|_| spread([random().unwrap() | 1, random().unwrap() | 1]))
            .count();
        assert!((5..100).contains(&good), "{good} of 500 are good");
        for _ in 0..20 {
            let multipliers = choose(&mut random).unwrap();
            assert!(multipliers.iter().all(|of| of % 2 == 1) && spread(multipliers));
        }
    }
}
