//! The front table, where most packets are counted without a call into the kernel, and what each CPU keeps beside it.
//!
//! The table is set-associative: a hash with a secret key chooses a set, a destination may be in any of its slots. Each CPU
//! has a region of its own in each generation, so nobody else writes what it writes. The daemon maps all of it.

use crate::names::Sampling;
use crate::{Counts, GENERATIONS, OUTCOMES};

/// Slots of a set. Four for IPv4 fill one cache line.
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

/// Where a source's number lies in the key of an IPv4 slot; the destination is below it.
pub const SOURCE_SHIFT: u32 = 32;
/// Numbers of sources are smaller. Sources that have none are counted in the spill table only.
pub const SOURCE_NUMBERS: u32 = 4096;
/// Set in the key of every slot in use, so that none is zero.
pub const IN_USE: u64 = 1 << 62;
/// Set in the key of a banned destination's slot.
pub const BANNED: u64 = 1 << 63;
const _: () = assert!((SOURCE_NUMBERS as u64) << SOURCE_SHIFT < IN_USE);

/// An IPv4 destination. All zero: free.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot4 {
    /// Destination in host order, number of the source, [`IN_USE`] and [`BANNED`], all exclusive-or the CPU's `secret`.
    pub key: u64,
    /// Packed counter.
    pub packed: u64,
}

/// The slots that an IPv4 destination may be in.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Set4 {
    /// In no order.
    pub slots: [Slot4; WAYS],
}

/// An IPv6 destination. All zero: free.
#[repr(C, align(32))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot6 {
    /// The address, in network order.
    pub destination: [u64; 2],
    /// Number of the source, [`IN_USE`] and [`BANNED`].
    pub tag: u64,
    /// Packed counter.
    pub packed: u64,
}

/// The slots that an IPv6 destination may be in.
#[repr(C, align(128))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Set6 {
    /// In no order.
    pub slots: [Slot6; WAYS],
}

/// Connections that were opened to a destination that has a slot. Beside the slots, as few packets open one: in a line of their
/// own, they would be touched by every packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// By TCP.
    pub tcp: u32,
    /// By QUIC.
    pub quic: u32,
}

/// Those of a set of either family.
#[repr(C, align(32))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenedSet {
    /// In the order of the slots.
    pub slots: [Opened; WAYS],
}

/// Set in [`Cpu::word`]: packets are counted in generation 1.
pub const ODD: u64 = 1 << 63;
/// Where the number of bits that the hash is shifted by lies in [`Cpu::word`]; the region's first set is below it.
pub const SHIFT_AT: u32 = 32;
/// First set of a CPU that has no region: beyond the end of every table.
pub const NO_REGION: u32 = 1 << 31;

/// The set of an IPv4 destination in the region that `word` names.
#[inline(always)]
pub const fn set4(word: u64, multiplier: u64, key: u64) -> u32 {
    // Multiply-shift (Dietzfelbinger et al. 1997): for a secret odd multiplier, two keys meet with at most twice the
    // probability of chance, whichever they are.
    set(word, key.wrapping_mul(multiplier))
}

/// The set of an IPv6 destination in the region that `word` names.
#[inline(always)]
pub const fn set6(word: u64, multipliers: [u64; 2], destination: [u64; 2], tag: u64) -> u32 {
    let high = (destination[0] ^ tag).wrapping_mul(multipliers[0]);
    // Folded, or addresses that differ in the uppermost bits of both halves only would meet whatever the multipliers.
    let both = (high ^ (high >> 32)).wrapping_add(destination[1]);
    set(word, both.wrapping_mul(multipliers[1]))
}

#[inline(always)]
const fn set(word: u64, hash: u64) -> u32 {
    (word as u32).wrapping_add((hash >> ((word >> SHIFT_AT) & 63)) as u32)
}

/// What an IPv4 packet from the usual source needs to be counted, for one generation: one cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usual {
    /// Key of a slot for `source4` and destination 0.0.0.0: exclusive-or the destination makes it any other.
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
    /// Tag of its slots.
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
    /// be the number of a set ([`SHIFT_AT`]), and the first set. The daemon writes it whole; a packet reads it once.
    pub word: u64,
    /// Secret: what an IPv4 hash is multiplied by. Odd.
    pub multiplier: u64,
    /// Secret: the same for the halves of an IPv6 address. Odd.
    pub multipliers6: [u64; 2],
    /// Secret: exclusive-or the keys of IPv4 slots.
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
    assert!(size_of::<Set4>() == 64);
    assert!(size_of::<Set6>() == 128);
    assert!(size_of::<OpenedSet>() == 32);
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
    fn a_set_is_inside_the_region_that_the_word_names() {
        let bits = 5;
        let word = ODD | (64 - bits) << SHIFT_AT | 96;
        for n in 0..10_000_u64 {
            let key = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            assert!((96..128).contains(&set4(word, 0xd6e8_feb8_6659_fd93, key)));
            assert!((96..128).contains(&set6(word, [3, 0xd6e8_feb8_6659_fd93], [n, key], IN_USE)));
        }
    }

    #[test]
    fn addresses_that_differ_in_the_uppermost_bits_do_not_meet_in_few_sets() {
        let word = (64 - 10) << SHIFT_AT;
        let multipliers = [0xd6e8_feb8_6659_fd93, 0x9e37_79b9_7f4a_7c15];
        let mut met = [0_u32; 1024];
        for n in 0..4096_u64 {
            let (one, other) = (n << 58, (n >> 6) << 58);
            met[set6(word, multipliers, [one, other], IN_USE) as usize] += 1;
        }
        assert!(met.iter().all(|n| *n < 32), "{:?}", met.iter().max());
    }
}
