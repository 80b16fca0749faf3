//! How large the kernel tables are made, and how much of the front table is in use. Pure arithmetic.

use tcpwatch_common::GENERATIONS;
use tcpwatch_common::front::{BesideSet, Set4, Set6, WAYS};

use crate::config::MOST_BANS;

/// The memory that the front table takes if nobody says how large it should be, in bytes.
pub const FRONT_BYTES: usize = 32 << 20;
/// The most slots of a CPU that are made without being asked for: more do not fit into its caches by far.
pub const MOST_DEFAULT_SLOTS: u32 = 131_072;
/// The fewest slots of a CPU.
pub const FEWEST_SLOTS: u32 = 64;
/// The most slots of a CPU: the number of a set has 20 bits.
pub const MOST_SLOTS: u32 = 4_194_304;
/// Memory for samples of names that have not been read, in bytes: some 2,600 of most, which is a quarter of a second of what a CPU takes
/// at most.
pub const SAMPLE_BYTES: u32 = 4 << 20;
/// Memory of a slot in both generations and for both families, in bytes.
pub const SLOT_BYTES: usize =
    GENERATIONS * (size_of::<Set4>() + size_of::<Set6>() + 2 * size_of::<BesideSet>()) / WAYS;

/// How much the kernel tables hold, in each of the two generations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Slots of each CPU in the front table, for each address family, made a power of two; none: what `FRONT_BYTES` have
    /// room for.
    pub slots: Option<u32>,
    /// Pairs of destination and own source behind the front table.
    pub spill: u32,
    /// Banned prefixes at the beginning; there is [room](Self::room_for_bans) for more.
    pub bans: u32,
    /// Bytes for samples of names, a power of two; 0: none are taken.
    pub samples: u32,
}

/// Banned prefixes that there is room for at least: some 16 KB in each generation.
const FEWEST_BANS: u32 = 1024;

impl Capacity {
    /// Banned prefixes that there is room for, so that some can be added while running: as many again, and never few.
    #[must_use]
    pub fn room_for_bans(self) -> u32 {
        let most = u32::try_from(MOST_BANS).unwrap_or(u32::MAX);
        self.bans
            .saturating_mul(2)
            .clamp(FEWEST_BANS, most)
            .max(self.bans)
    }

    /// The sets of each CPU's region as a power of two, if so many CPUs have one.
    pub fn set_bits(self, cpus: usize) -> u32 {
        let slots = self.slots.map_or_else(
            || {
                let fit = u32::try_from(FRONT_BYTES / (SLOT_BYTES * cpus.max(1))).unwrap_or(u32::MAX);
                // Rounded down: the next power of two would be more memory than was meant.
                1 << fit.clamp(FEWEST_SLOTS, MOST_DEFAULT_SLOTS).ilog2()
            },
            |slots| slots.clamp(FEWEST_SLOTS, MOST_SLOTS).next_power_of_two(),
        );
        (slots / WAYS as u32).ilog2()
    }
}

/// Sets in use at the beginning: 2^10, with 4,096 slots, which take 32 KB for IPv4.
const FIRST_BITS: u32 = 10;
/// The fewest: 2^5.
const FEWEST_BITS: u32 = 5;
/// A table of so many slots is small: 32 KB for IPv4. Three for each destination, and three of four are in the slot that is looked at first.
const ROOMY: u64 = 4096;
/// Drains in a row that must have left most of the table empty before it is made smaller.
const CALM: u32 = 4;

/// How much of a region is in use: as little as the number of destinations allows, because what is not touched takes no place
/// in the CPU's caches, and is not read by the drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizing {
    most: u32,
    bits: u32,
    calm: u32,
}

impl Sizing {
    /// For regions of 2^`most` sets.
    pub fn new(most: u32) -> Self {
        Self {
            most,
            bits: FIRST_BITS.min(most),
            calm: 0,
        }
    }

    /// Sets for the next generation, as a power of two.
    pub const fn bits(self) -> u32 {
        self.bits
    }

    /// Takes note of how many destinations a CPU had at most in a generation.
    pub fn note(&mut self, destinations: u64) {
        let sets = |slots: u64| slots.div_ceil(WAYS as u64).next_power_of_two().ilog2();
        let destinations = destinations.min(u64::from(MOST_SLOTS));
        // One and a half slots for each at least, with which one destination in sixty finds both its sets full. More would take more
        // pages and lines of the caches, which costs the others more; but for the first three, as long as the table is small.
        let slots = (destinations * 3).div_ceil(2).max((destinations * 3).min(ROOMY));
        let bits = sets(slots).clamp(FEWEST_BITS.min(self.most), self.most);
        if bits >= self.bits {
            self.bits = bits;
            self.calm = 0;
        } else {
            self.calm += 1;
            if self.calm >= CALM {
                self.bits -= 1;
                self.calm = 0;
            }
        }
    }
}

/// How full the tables of the current generation are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    /// Entries of the spill.
    pub spilled: u64,
    /// Room in the spill.
    pub room: u64,
    /// Whether the front table could be larger and should.
    pub cramped: bool,
    /// Slots of the front table that are taken, on the CPU and of the family that has most.
    pub taken: u64,
    /// Slots of the front table in use, of one CPU and family.
    pub slots: u64,
}

impl Fill {
    /// Whether the tables should be drained now, not at the end of the interval.
    #[must_use]
    pub const fn wants_drain(self) -> bool {
        self.cramped || self.room > 0 && self.spilled * 2 >= self.room
    }

    /// Whether a loss is near: 80 %.
    #[must_use]
    pub const fn is_alarming(self) -> bool {
        self.room > 0 && self.spilled * 5 >= self.room * 4
    }

    /// Of the spill, in percent.
    #[must_use]
    pub fn percent(self) -> u64 {
        (self.spilled * 100).checked_div(self.room).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn capacity(slots: Option<u32>) -> Capacity {
        Capacity {
            slots,
            spill: 1,
            bans: 1,
            samples: 0,
        }
    }

    #[test]
    fn the_default_keeps_to_its_memory_on_every_machine() {
        for cpus in [1, 2, 4, 16, 128, 512] {
            let sets = 1_usize << capacity(None).set_bits(cpus);
            let bytes = sets * WAYS * SLOT_BYTES * cpus;
            assert!(bytes <= FRONT_BYTES, "{cpus} CPUs: {bytes}");
            assert!(sets * WAYS <= MOST_DEFAULT_SLOTS as usize);
        }
        assert_eq!(capacity(None).set_bits(1), 15);
        assert_eq!(capacity(None).set_bits(2), 15);
        assert_eq!(capacity(None).set_bits(128), 9);
    }

    #[test]
    fn there_is_room_for_as_many_bans_again_up_to_the_most_that_are_kept() {
        let room = |bans| {
            Capacity {
                bans,
                ..capacity(None)
            }
            .room_for_bans()
        };
        assert_eq!([room(0), room(512), room(513)], [1024, 1024, 1026]);
        assert_eq!([room(600_000), room(1_000_000)], [1_000_000, 1_000_000]);
    }

    #[test]
    fn wanted_slots_are_rounded_up_to_a_power_of_two() {
        assert_eq!(capacity(Some(1000)).set_bits(4), 8);
        assert_eq!(capacity(Some(1)).set_bits(4), 4);
        assert_eq!(capacity(Some(u32::MAX)).set_bits(4), 20);
    }

    #[test]
    fn the_table_grows_at_once_and_shrinks_slowly() {
        let mut sizing = Sizing::new(15);
        assert_eq!(sizing.bits(), 10);
        sizing.note(2_730);
        assert_eq!(sizing.bits(), 10);
        sizing.note(2_731);
        assert_eq!(sizing.bits(), 11);
        sizing.note(10_000);
        assert_eq!(sizing.bits(), 12);
        sizing.note(1_000_000);
        assert_eq!(sizing.bits(), 15);
        for _ in 0..CALM - 1 {
            sizing.note(10);
        }
        assert_eq!(sizing.bits(), 15);
        sizing.note(10);
        assert_eq!(sizing.bits(), 14);
        for _ in 0..100 {
            sizing.note(0);
        }
        assert_eq!(sizing.bits(), FEWEST_BITS);
        // Three slots for each.
        sizing.note(170);
        assert_eq!(sizing.bits(), 7);
        sizing.note(171);
        assert_eq!(sizing.bits(), 8);
        let mut small = Sizing::new(4);
        small.note(1 << 40);
        assert_eq!(small.bits(), 4);
    }

    #[test]
    fn tables_are_drained_at_a_half_and_warned_about_at_four_fifths() {
        let fill = |spilled| Fill {
            spilled,
            room: 100,
            ..Fill::default()
        };
        assert!(!fill(49).wants_drain() && fill(50).wants_drain());
        assert!(!fill(79).is_alarming() && fill(80).is_alarming());
        assert_eq!(fill(80).percent(), 80);
    }
}
