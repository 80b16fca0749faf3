//! The front table, where most packets are counted without a call into the kernel, and what each CPU keeps beside it.
//!
//! The table is set-associative: a hash with a secret key chooses a set and the slot in it that is looked at first; where the set is
//! full, another hash chooses another set. Each CPU has a region of its own in each generation, so nobody else writes what it writes.
//! The daemon maps all of it.

use crate::names::Sampling;
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

/// Set in every slot that is taken, so that none is zero.
pub const IN_USE: u64 = 1 << 32;
/// Set in a slot whose destination is counted for the source that has most packets of its family. Such a slot counts itself, above
/// this bit; where it is not set, the number of its source is there.
pub const USUAL: u64 = 1 << 33;
/// Set in the slot of a banned destination, which is none of [`USUAL`].
pub const BANNED: u64 = 1 << 63;
/// Where a source's number lies in a slot; for IPv4, the destination is below all of this.
pub const SOURCE_SHIFT: u32 = 34;
/// Numbers of sources are smaller. Sources that have none are counted in the spill table only.
pub const SOURCE_NUMBERS: u32 = 4096;
const _: () = assert!((SOURCE_NUMBERS as u64) << SOURCE_SHIFT < BANNED);

/// What is hashed for a source with this number, beside a destination.
#[inline(always)]
pub const fn tag(number: u32) -> u64 {
    (number as u64) << SOURCE_SHIFT | IN_USE | USUAL
}

/// The number of the source in a [`tag`], or in a slot that is not of [`USUAL`]; without the secret.
#[inline(always)]
pub const fn source_number(tag: u64) -> u32 {
    (tag >> SOURCE_SHIFT) as u32 & (SOURCE_NUMBERS - 1)
}

/// What says which destination a slot of [`USUAL`] has; the rest of it counts.
pub const NAMED: u64 = (1 << SOURCE_SHIFT) - 1;
/// Where the bytes lie that a slot of [`USUAL`] has counted: 19 bits, and one for the last addition.
const BYTES_AT: u32 = SOURCE_SHIFT;
/// Where its packets lie: 9 bits, and one for the last addition.
const PACKETS_AT: u32 = BYTES_AT + 20;
/// As many packets at most are added to a slot of [`USUAL`] at once.
pub const MOST_PACKETS_AT_ONCE: u64 = (1 << 9) - 1;
/// As many bytes at most are added to one at once.
pub const MOST_BYTES_AT_ONCE: u64 = (1 << 19) - 1;
const _: () = assert!(MOST_BYTES <= MOST_BYTES_AT_ONCE);

/// Has [`FULL`] if a slot of [`USUAL`] has counted 2^9 packets or 2^19 bytes, which must be carried to [`Beside::packed`].
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

/// An IPv4 destination's slot: its address in host order below the rest. Address and source are exclusive-or the CPU's `secret`.
/// Zero: free.
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

/// What an IPv4 packet from the usual source needs to be counted, for one generation: one cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usual {
    /// What is hashed for `source4` and destination 0.0.0.0: exclusive-or the destination makes it any other. 0: no source.
    pub key4: u64,
    /// The IPv4 own source that has most packets, as it lies in the packet; 0: none.
    pub source4: u32,
    /// Its interface.
    pub ifindex4: u32,
    /// Packed: everything that was counted on the short way, of both families.
    pub seen: u64,
    /// Packed: what of it was counted under a destination.
    pub counted: u64,
    /// Packets on the wire more than socket buffers, on the short way.
    pub extra: u64,
    /// What [`Cpu::word`] is while the generation is in use, for what a packet does after it was counted.
    pub word: u64,
    /// Packed: what was left out on the short way as served.
    pub served: u64,
    /// What [`crate::Policy::flags`] has for the generation's packets.
    pub flags: u64,
}

/// The same for IPv6.
#[repr(C, align(32))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usual6 {
    /// The own source that has most packets, as it lies in the packet; 0: none.
    pub source: [u64; 2],
    /// What is hashed for it beside a destination. 0: no source.
    pub tag: u64,
    /// Its interface.
    pub ifindex: u32,
    /// Zero.
    pub padding: u32,
}

/// One CPU's totals of a generation, and what shows how full its tables are.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lane {
    /// Everything that was seen, but for what is still in [`Usual::seen`]. Never derived from the outcomes.
    pub seen: Counts,
    /// By outcome; `counted` without what is still in [`Usual::counted`].
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
    /// Secret: exclusive-or IPv4 slots.
    pub secret: u64,
    /// By generation.
    pub usual: [Usual; GENERATIONS],
    /// By generation.
    pub usual6: [Usual6; GENERATIONS],
    /// By generation.
    pub lanes: [Lane; GENERATIONS],
    /// Samples of names.
    pub sampling: Sampling,
    /// Socket buffers from ports that are served, while [`crate::POLICY_ANSWERS`] holds.
    pub answers: u64,
    /// Of the first CPU: how many flips there had been when a generation came into use, by generation; 0: it never was. Programs do
    /// not use it; it is here so that it outlives the daemon with the counts.
    pub epochs: [u64; GENERATIONS],
    /// Of the first CPU: the last of these whose counts were read and are kept elsewhere, so that they may be cleared.
    pub kept: u64,
}

const _: () = {
    assert!(size_of::<Set4>() == 32);
    assert!(size_of::<Set6>() == 96);
    assert!(size_of::<BesideSet>() == 64);
    assert!(size_of::<Usual>() == 64);
    assert!(size_of::<Usual6>() == 32);
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
