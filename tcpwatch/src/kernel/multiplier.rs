//! The secret multiplier of the IPv4 hash. Pure.
//!
//! A hash that is one multiplication meets any two keys with no more than twice chance's probability, whoever chose them. But
//! addresses that follow one another are multiples of one step, and some multipliers turn those into few sets: of these, none
//! is taken. It costs three bits of the secret.

use tcpwatch_common::front::{SHIFT_AT, WAYS, set4};

/// How far neighbours among destinations are apart: hosts of a network, networks of a provider, providers.
const STEPS: [u64; 3] = [1, 1 << 8, 1 << 16];

/// Sizes of a table in sets, as powers of two. In a larger one, so many neighbours are no ordinary traffic.
const BITS: std::ops::RangeInclusive<u32> = 4..=13;

/// Neighbours for each set: about as many as destinations are when the table is as full as it gets.
const LOAD: usize = 2;

/// One in so many neighbours may find its set full. Of addresses without any order it is one in 27.
const MISSES: usize = 10;

/// Multipliers that are tried. One in eight is good, so the last is hardly ever reached, and it is only slower.
const TRIES: usize = 200;

/// A multiplier out of random numbers: odd, and one that spreads neighbours.
///
/// # Errors
/// There are no random numbers.
pub fn choose<E>(mut random: impl FnMut() -> Result<u64, E>) -> Result<u64, E> {
    let mut multiplier = random()? | 1;
    for _ in 0..TRIES {
        if spreads(multiplier) {
            break;
        }
        multiplier = random()? | 1;
    }
    Ok(multiplier)
}

/// Whether neighbours, however far apart and in a table of whatever size, find room.
fn spreads(multiplier: u64) -> bool {
    STEPS
        .iter()
        .all(|step| BITS.clone().all(|bits| finds_room(multiplier, *step, bits)))
}

fn finds_room(multiplier: u64, step: u64, bits: u32) -> bool {
    let word = u64::from(u64::BITS - bits) << SHIFT_AT;
    let neighbours = LOAD << bits;
    let mut sets = vec![0_usize; 1 << bits];
    let mut missed = 0;
    for n in 0..neighbours as u64 {
        let set = &mut sets[set4(word, multiplier, n * step) as usize];
        *set += 1;
        missed += usize::from(*set > WAYS);
    }
    missed * MISSES <= neighbours
}

#[cfg(test)]
mod tests {
    use super::*;

    /// xorshift64*.
    fn numbers() -> impl FnMut() -> Result<u64, ()> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        move || {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            Ok(state.wrapping_mul(0x2545_f491_4f6c_dd1d))
        }
    }

    #[test]
    fn a_multiplier_that_maps_neighbours_to_few_sets_is_not_taken() {
        // 2^64 / 3 and little more: every third neighbour in the same set.
        assert!(!finds_room(0x5555_5555_5555_5557, 1, 8));
        // 1: all of them in the first set.
        let mut bad_first = [1, 0x5555_5555_5555_5557, 0x9e37_79b9_7f4a_7c15].into_iter();
        let chosen = choose(|| bad_first.next().ok_or(())).unwrap();
        assert_eq!(chosen, 0x9e37_79b9_7f4a_7c15);
    }

    #[test]
    fn enough_multipliers_are_good_and_a_chosen_one_spreads_neighbours_at_every_size() {
        let mut random = numbers();
        let good = (0..200).filter(|_| spreads(random().unwrap() | 1)).count();
        assert!((10..200).contains(&good), "{good} of 200 are good");
        for _ in 0..20 {
            let multiplier = choose(&mut random).unwrap();
            assert!(multiplier % 2 == 1 && spreads(multiplier));
        }
    }
}
