//! The front table, where most packets are counted without a call into the kernel, and what each CPU keeps beside it.
//!
//! The table is set-associative: a hash with a secret key chooses a set and the slot in it that is looked at first; where the set is
//! full, another hash chooses another set. Each CPU has a region of its own in each generation, so nobody else writes what it writes.
//! The daemon maps all of it.

use crate::names::Sampling;
use crate::own::{Source4, Source6};
use crate::{Counts, GENERATIONS, OUTCOMES};

/// Slots of a set. Four of IPv4 fill half a cache line.
pub const WAYS: usize = 4;

/// One packet in a packed counter: packets in the upper 24 bits, bytes in the lower 40.
pub const PACKET: u64 = 1 << 40;
/// Set in a packed counter that must be emptied: 2^23 packets.
pub const FULL: u64 = 1 << 63;
/// The most bytes a packet may have on average to be added to a packed counter. With that, the bytes stay below 2^40 until
/// the counter is full, also when the last addition is a super-packet of 65,535 segments.
pub const MOST_BYTES: u64 = 118_784;
const _: () = assert!(((FULL / PACKET) + 65_535) * MOST_BYTES < PACKET);

/// What a packed counter holds.
#[inline(always)]
pub const fn unpack(packed: u64) -> Counts {
    Counts {
        packets: packed / PACKET,
        bytes: packed % PACKET,
    }
}

/// Own sources of a family whose destinations' slots count themselves: those with most packets.
pub const USUAL_SOURCES: u32 = 16;
/// Where the index of a usual source lies in a slot; for IPv4, the destination is below.
const INDEX_AT: u32 = u32::BITS;
/// Set in the slot of a usual source.
pub const USUAL: u64 = (USUAL_SOURCES as u64) << INDEX_AT;
/// Set in every slot of another source, so that none that is taken is zero.
pub const IN_USE: u64 = 1 << INDEX_AT;
/// Set in the slot of a banned destination.
pub const BANNED: u64 = USUAL << 1;
/// Where the number of a source that is none of the usual ones lies in a slot, and what is counted for one that is.
const NUMBER_AT: u32 = BANNED.ilog2() + 1;
/// What a slot of a usual source counts with.
pub const COUNTS: u64 = u64::MAX << NUMBER_AT;
/// Numbers of sources are smaller. Sources that have none are counted in the spill table only.
pub const SOURCE_NUMBERS: u32 = 4096;
/// Numbers of sources that are none of the usual ones begin here. Below are those of the usual ones, see [`usual_number`], and 0, which
/// is nobody's.
pub const UNUSUAL_NUMBERS: u32 = USUAL_SOURCES * 3;
const _: () = assert!(NUMBER_AT + SOURCE_NUMBERS.ilog2() <= u64::BITS);

/// The number of the usual source with this index.
#[inline(always)]
pub const fn usual_number(is_ipv4: bool, index: u32) -> u32 {
    USUAL_SOURCES * (2 - is_ipv4 as u32) + index
}

/// What a slot has of the source with this number, and what is hashed for it beside a destination. The lower half is zero. 0: nobody.
#[must_use]
pub const fn tag(number: u32) -> u64 {
    if number < USUAL_SOURCES {
        0
    } else if number < UNUSUAL_NUMBERS {
        USUAL | ((number % USUAL_SOURCES) as u64) << INDEX_AT
    } else {
        IN_USE | (number as u64) << NUMBER_AT
    }
}

/// The index of the source in a slot of [`USUAL`].
#[inline(always)]
pub const fn usual_index(slot: u64) -> u32 {
    (slot >> INDEX_AT) as u32 % USUAL_SOURCES
}

/// The number of the source in another slot.
#[inline(always)]
pub const fn unusual_number(slot: u64) -> u32 {
    (slot >> NUMBER_AT) as u32 % SOURCE_NUMBERS
}

/// Where the bytes lie that a slot of [`USUAL`] has counted: 17 bits, and one for the last addition.
const BYTES_AT: u32 = NUMBER_AT;
/// Where its packets lie: 7 bits, and one for the last addition.
const PACKETS_AT: u32 = BYTES_AT + 18;
/// As many packets at most are added to a slot of [`USUAL`] at once.
pub const MOST_PACKETS_AT_ONCE: u64 = (1 << (u64::BITS - PACKETS_AT - 1)) - 1;
/// As many bytes at most are added to one at once.
pub const MOST_BYTES_AT_ONCE: u64 = (1 << (PACKETS_AT - BYTES_AT - 1)) - 1;
const _: () = assert!(MOST_BYTES <= MOST_BYTES_AT_ONCE);

/// Has [`FULL`] if a slot of [`USUAL`] has counted 2^7 packets or 2^17 bytes, which must be carried to [`Beside::packed`].
#[inline(always)]
pub const fn to_carry(slot: u64) -> u64 {
    // The uppermost bit of the bytes, where that of the packets is.
    slot | slot << (u64::BITS - PACKETS_AT)
}

/// What is added to a slot of [`USUAL`].
#[inline(always)]
pub const fn addend(packets: u64, bytes: u64) -> u64 {
    ((packets << (PACKETS_AT - BYTES_AT)) + bytes) << BYTES_AT
}

/// What a slot of [`USUAL`] has counted itself, packed.
#[inline(always)]
pub const fn counted(slot: u64) -> u64 {
    let packets = slot >> PACKETS_AT;
    let bytes = (slot >> BYTES_AT) & ((1 << (PACKETS_AT - BYTES_AT)) - 1);
    packets * PACKET + bytes
}

/// An IPv4 destination's slot: its address in host order, exclusive-or the CPU's `secret`, below the rest. Zero: free.
pub type Slot4 = u64;

/// One of the two sets whose slots an IPv4 destination may be in.
#[repr(C, align(32))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Set4 {
    /// In no order.
    pub slots: [Slot4; WAYS],
}

/// An IPv6 destination. All zero: free.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot6 {
    /// The address, in network order.
    pub destination: [u64; 2],
    /// As an IPv4 slot, without an address or secret in it.
    pub slot: u64,
}

/// One of the two sets whose slots an IPv6 destination may be in.
#[repr(C, align(32))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Set6 {
    /// In no order.
    pub slots: [Slot6; WAYS],
}

/// What a slot has beside it, because few packets touch it: in one line with the slot, there would be half as many slots in it.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// Packed: what was counted, but for what the slot still has itself.
    pub packed: u64,
    /// Connections opened by TCP.
    pub tcp: u32,
    /// By QUIC.
    pub quic: u32,
}

/// Those of a set of either family.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BesideSet {
    /// In the order of the slots.
    pub slots: [Beside; WAYS],
}

/// Set in [`Cpu::word`]: packets are counted in generation 1.
pub const ODD: u64 = 1 << 63;
/// Where the number of bits that a hash is shifted by lies in [`Cpu::word`]; the region's first set is below it.
pub const SHIFT_AT: u32 = 32;
/// First set of a CPU that has no region: beyond the end of every table.
pub const NO_REGION: u32 = 1 << 31;

/// A CPU's word, for a region that begins with this set and has 2^`bits` sets in use, 62 at most.
#[must_use]
pub const fn word(odd: bool, bits: u32, first_set: u32) -> u64 {
    let odd = if odd { ODD } else { 0 };
    let shift = (u64::BITS - WAYS.ilog2() - bits) as u64;
    odd | shift << SHIFT_AT | first_set as u64
}

/// By how much the hashes of `word` are shifted.
#[inline(always)]
const fn shift(word: u64) -> u64 {
    (word >> SHIFT_AT) & 63
}

/// The sets in use of the region that `word` names, as a power of two; none: it is no such word.
#[must_use]
pub const fn bits(word: u64) -> Option<u32> {
    match shift(word) as u32 {
        0 => None,
        shift => (u64::BITS - WAYS.ilog2()).checked_sub(shift),
    }
}

/// The slot of an IPv4 key, or of what of an IPv6 destination is hashed ([`folded`]), in the region that `word` names. With
/// [`Cpu::multiplier`], for IPv6 the second of [`Cpu::multipliers6`], the one that is looked at first; with [`Cpu::second`] one of the
/// other set, of which only the set is meant.
#[inline(always)]
pub const fn slot_number(word: u64, multiplier: u64, key: u64) -> u64 {
    // Multiply-shift (Dietzfelbinger et al. 1997): for a secret odd multiplier, two keys meet with at most twice the
    // probability of chance, whichever they are.
    key.wrapping_mul(multiplier) >> shift(word)
}

/// What of an IPv6 destination is hashed.
#[inline(always)]
pub const fn folded(multiplier: u64, destination: [u64; 2], tag: u64) -> u64 {
    let high = (destination[0] ^ tag).wrapping_mul(multiplier);
    // Folded, or addresses that differ in the uppermost bits of both halves only would meet whatever the multipliers.
    (high ^ (high >> 32)).wrapping_add(destination[1])
}

/// The set of a slot of the region that `word` names, among all sets.
#[inline(always)]
pub const fn set(word: u64, slot: u64) -> u32 {
    (word as u32).wrapping_add((slot / WAYS as u64) as u32)
}

/// What the short way needs to count a packet, for one generation: one cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usual {
    /// The IPv4 own source that has most packets. Always one of the usual ones: the short way does not ask.
    pub first: Source4,
    /// Packed: everything that was counted on the short way, of both families.
    pub seen: u64,
    /// Packed: what of it was counted under a destination.
    pub counted: u64,
    /// Packets on the wire more than socket buffers, on the short way.
    pub extra: u64,
    /// Which ports may be served, of both protocols ([`crate::ports::summary_bit`]). Zero: none is asked for.
    pub served_ports: u64,
    /// Packed: what was left out on the short way as served.
    pub served: u64,
    /// What [`crate::Policy::flags`] has for the generation's packets.
    pub flags: u32,
    /// What the hashes for the places of own sources are multiplied by, of both families. Odd.
    pub multiplier: u32,
}

/// One CPU's totals of a generation, and what shows how full its tables are.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lane {
    /// Everything that was seen, but for what is still in [`Usual::seen`]. Never derived from the outcomes.
    pub seen: Counts,
    /// By outcome, without what is still packed in [`Usual`], [`Cpu::banned`] and [`Cpu::other_source`].
    pub outcomes: [Counts; OUTCOMES],
    /// Packets on the wire more than socket buffers, but for [`Usual::extra`].
    pub extra: u64,
    /// Packets that found neither their slot nor a free one.
    pub missed: u64,
    /// Slots taken in the front table, IPv4 and IPv6. A slot that changes hands counts again.
    pub taken: [u64; 2],
    /// Entries made in the spill table.
    pub spilled: u64,
    /// Slots that were given to another destination.
    pub evicted: u64,
    /// The daemon is woken when none of these bits is set in the number of slots taken of a family.
    pub front_step: u64,
    /// The same for entries made in the spill table.
    pub spill_step: u64,
}

/// Everything that belongs to one CPU.
#[repr(C, align(1024))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// Which generation packets are counted in ([`ODD`]), and this CPU's region in it: by how many bits a hash is shifted to
    /// be the number of a slot ([`SHIFT_AT`]), and the first set. The daemon writes it whole; a packet reads it once.
    pub word: u64,
    /// Secret: what an IPv4 hash is multiplied by. Odd.
    pub multiplier: u64,
    /// Secret: the same for the other set of a destination, of both families. Odd.
    pub second: u64,
    /// Secret: the same for the halves of an IPv6 address. Odd.
    pub multipliers6: [u64; 2],
    /// Secret: exclusive-or IPv4 destinations in slots. The upper half is zero.
    pub secret: u64,
    /// Packed, by generation: what was left out on the short way as banned.
    pub banned: [u64; GENERATIONS],
    /// By generation.
    pub usual: [Usual; GENERATIONS],
    /// By generation: the IPv6 own source that has most packets, one of the usual ones, too.
    pub first6: [Source6; GENERATIONS],
    /// By generation.
    pub lanes: [Lane; GENERATIONS],
    /// Packed, by generation: what was left out on the short way as of another source.
    pub other_source: [u64; GENERATIONS],
    /// Samples of names.
    pub sampling: Sampling,
    /// Socket buffers from ports that are served, while [`crate::POLICY_ANSWERS`] holds.
    pub answers: u64,
    /// Of the first CPU: how many flips there had been when a generation came into use, by generation; 0: it never was. Programs do
    /// not use it; it is here so that it outlives the daemon with the counts. So is what follows.
    pub epochs: [u64; GENERATIONS],
    /// Of the first CPU: the last of these whose counts were read and are kept elsewhere, so that they may be cleared.
    pub kept: u64,
    /// What [`Cpu::word`] is while a generation is in use.
    pub words: [u64; GENERATIONS],
}

const _: () = {
    assert!(size_of::<Set4>() == 32);
    assert!(size_of::<Set6>() == 96);
    assert!(size_of::<BesideSet>() == 64);
    assert!(size_of::<Usual>() == 64);
    assert!(size_of::<Lane>() == 192);
    assert!(size_of::<Cpu>() == 1024);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_counter_is_packets_above_bytes() {
        let packed = 3 * PACKET + 4242;
        assert_eq!(
            unpack(packed),
            Counts {
                packets: 3,
                bytes: 4242
            }
        );
        assert_eq!(unpack(FULL).packets, 1 << 23);
    }

    #[test]
    fn a_slot_says_whose_it_is_and_what_it_has_counted() {
        for is_ipv4 in [true, false] {
            for index in 0..USUAL_SOURCES {
                let number = usual_number(is_ipv4, index);
                assert!((1..UNUSUAL_NUMBERS).contains(&number));
                let slot = tag(number) | BANNED | addend(MOST_PACKETS_AT_ONCE * 2, MOST_BYTES_AT_ONCE * 2);
                assert_eq!(usual_index(slot), index);
                assert_eq!(slot & (BANNED - 1), tag(number));
                assert_eq!(unpack(counted(slot)).packets, MOST_PACKETS_AT_ONCE * 2);
                assert_eq!(unpack(counted(slot)).bytes, MOST_BYTES_AT_ONCE * 2);
                assert_ne!(slot & USUAL, 0);
            }
        }
        assert_ne!(usual_number(true, USUAL_SOURCES - 1), usual_number(false, 0));
        for number in UNUSUAL_NUMBERS..SOURCE_NUMBERS {
            let slot = tag(number);
            assert_eq!(slot & (USUAL | BANNED | IN_USE), IN_USE);
            assert_eq!(unusual_number(slot | BANNED), number);
        }
    }

    #[test]
    fn a_slot_asks_to_be_carried_by_its_packets_or_its_bytes() {
        let asks = |packets, bytes| to_carry(USUAL | addend(packets, bytes)) & FULL != 0;
        assert!(!asks(MOST_PACKETS_AT_ONCE, MOST_BYTES_AT_ONCE));
        assert!(asks(MOST_PACKETS_AT_ONCE + 1, 0));
        assert!(asks(1, MOST_BYTES_AT_ONCE + 1));
    }

    #[test]
    fn a_slot_is_inside_the_region_that_the_word_names() {
        let word = word(true, 5, 96);
        let sets = 96..128;
        for n in 0..10_000_u64 {
            let key = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            assert!(sets.contains(&set(word, slot_number(word, 0xd6e8_feb8_6659_fd93, key))));
            let folded = folded(3, [n, key], IN_USE);
            assert!(sets.contains(&set(word, slot_number(word, 0xd6e8_feb8_6659_fd93, folded))));
        }
    }

    #[test]
    fn a_word_says_how_many_sets_are_in_use() {
        for sets in 0..=20 {
            let word = word(true, sets, NO_REGION);
            assert_eq!(bits(word), Some(sets));
            assert_eq!(word as u32, NO_REGION);
        }
        assert_eq!(bits(0), None);
    }

    #[test]
    fn addresses_that_differ_in_the_uppermost_bits_do_not_meet_in_few_sets() {
        let word = word(false, 10, 0);
        let mut met = [0_u32; 1024];
        for n in 0..4096_u64 {
            let folded = folded(0xd6e8_feb8_6659_fd93, [n << 58, (n >> 6) << 58], IN_USE);
            met[set(word, slot_number(word, 0x9e37_79b9_7f4a_7c15, folded)) as usize] += 1;
        }
        assert!(met.iter().all(|n| *n < 32), "{:?}", met.iter().max());
    }
}
