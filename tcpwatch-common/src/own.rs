//! The own sources, as the short way finds them.

use crate::front::{ODD, SOURCE_NUMBERS, tag};

/// An IPv4 own source. No interface: none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Source4 {
    /// What is hashed for it and destination 0.0.0.0: exclusive-or the destination makes it any other. Beside [`LEFT_OUT`].
    pub key: u64,
    /// As it lies in the packet.
    pub address: u32,
    /// Its interface; 0: none.
    pub ifindex: u32,
}

/// An IPv6 own source. No interface: none.
#[repr(C, align(32))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Source6 {
    /// As it lies in the packet.
    pub address: [u64; 2],
    /// What is hashed for it beside a destination. Beside [`LEFT_OUT`].
    pub tag: u64,
    /// Its interface; 0: none.
    pub ifindex: u32,
    /// Zero.
    pub padding: u32,
}

/// Places for the own sources of a family and generation, of which each is in the one that its hash says; of two with the same place, one
/// is counted on the long way.
pub const PLACES: u32 = 4096;

/// Set in a place's [`Source4::key`] or [`Source6::tag`], taken or not: a source that is not there may be one of ours nevertheless.
pub const LEFT_OUT: u64 = 1 << 63;
const _: () = assert!(tag(SOURCE_NUMBERS - 1) < LEFT_OUT);

/// What of an IPv4 source is hashed for its place.
#[inline(always)]
pub const fn placed4(address: u32, ifindex: u32) -> u64 {
    (address as u64) << u32::BITS | ifindex as u64
}

/// What of an IPv6 source is hashed for its place.
#[inline(always)]
pub const fn placed6(address: [u64; 2], ifindex: u32) -> u64 {
    address[0] ^ address[1] ^ ifindex as u64
}

/// An own source's place among those of all generations, with [`Usual::multiplier`](crate::front::Usual::multiplier).
#[inline(always)]
pub const fn place(word: u64, multiplier: u32, placed: u64) -> u32 {
    // A factor of 64 bits, or the lower ones of what is hashed would not reach the upper ones of the hash.
    let factor = (multiplier as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let place = placed.wrapping_mul(factor) >> (u64::BITS - PLACES.ilog2());
    (word >> ODD.ilog2()) as u32 * PLACES + place as u32
}

const _: () = {
    assert!(size_of::<Source4>() == 16);
    assert!(size_of::<Source6>() == 32);
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::word;

    #[test]
    fn places_of_generations_are_apart() {
        for n in 0..10_000_u32 {
            let placed = placed4(n.wrapping_mul(0x9e37_79b9), n);
            let even = place(word(false, 3, 0), 0x85eb_ca6b, placed);
            assert!(even < PLACES);
            assert_eq!(place(word(true, 3, 0), 0x85eb_ca6b, placed), even + PLACES);
        }
    }
}
