//! The slots of the front table on the long way: adding to them, taking, emptying and giving them away. The short way has its own
//! search.
//!
//! Each operation is a function of its own for each family: the verifier follows it once and forgets it.

use core::mem::MaybeUninit;

use tcpwatch_common::front::{
    BANNED, Beside, COUNTS, FULL, IN_USE, Slot4, Slot6, USUAL, WAYS, counted, to_carry,
};

use crate::cpu::get;
use crate::maps::{BESIDE4, BESIDE6, FRONT4, FRONT6};
use crate::opaque::{opaque, wide};

/// What a visit finds.
pub const COUNTED: u32 = 0;
/// As [`COUNTED`], and the slot's counter must be emptied.
pub const COUNTED_FULL: u32 = 1;
/// The destination is banned, and was added to.
pub const BANNED_SLOT: u32 = 2;
/// As [`BANNED_SLOT`], and the slot's counter must be emptied.
pub const BANNED_FULL: u32 = 3;
/// Not there, but a slot is free.
pub const ROOM: u32 = 4;
/// Not there, and no slot is free; or this CPU has no region.
pub const NO_ROOM: u32 = ROOM + 1;
/// There, and not full.
pub const HELD: u32 = 6;

/// A destination whose slot is looked for: the address, which only IPv6 has here, and the slot without counts.
pub type Wanted = [u64; 3];

/// A slot's contents.
pub struct Contents {
    /// The address, which only IPv6 has here, and the slot.
    pub slot: [u64; 3],
    /// All that it has counted, packed.
    pub packed: u64,
    pub tcp_connections: u64,
    pub quic_connections: u64,
}

/// Not in the low bits of any difference between keys.
const ELSEWHERE: u64 = 1;

/// Runs the body for each slot of a set and what is beside it, with pointers that move by constants only.
macro_rules! each {
    ($table:ident, $beside:ident, $index:expr, |$slot:ident, $besides:ident, $way:ident| $body:block) => {
        if let Some(set) = $table.get_ptr_mut($index)
            && let Some(besides) = $beside.get_ptr_mut($index)
        {
            each!(set, besides, $slot, $besides, $way, 0, $body);
            each!(set, besides, $slot, $besides, $way, 1, $body);
            each!(set, besides, $slot, $besides, $way, 2, $body);
            each!(set, besides, $slot, $besides, $way, 3, $body);
        }
    };
    ($set:ident, $set_beside:ident, $slot:ident, $besides:ident, $way:ident, $number:literal, $body:block) => {
        let $way: u64 = $number;
        // SAFETY: inside the sets.
        let ($slot, $besides) = unsafe {
            (
                opaque(&raw mut (*$set).slots[$number]),
                opaque(&raw mut (*$set_beside).slots[$number]),
            )
        };
        $body
    };
}

// Conditions are numbers here where they can be: the verifier follows both ways of each branch, for each slot.

/// How a slot differs from one that is wanted: 0, [`BANNED`], or something else.
#[inline(always)]
fn difference(slot: u64, wanted: u64) -> u64 {
    (slot ^ wanted) & !(all_if(slot / USUAL) & COUNTS)
}

/// Has its lowest bit set if the slot is taken.
#[inline(always)]
const fn taken(slot: u64) -> u64 {
    (slot / USUAL) | (slot / IN_USE)
}

/// All bits, if the lowest of the number is set; else none.
#[inline(always)]
pub fn all_if(number: u64) -> u64 {
    wide(number & 1).wrapping_neg()
}

macro_rules! operations {
    ($family:ident, $table:ident, $beside:ident, $word:expr, $difference:expr, $copy:expr, $write:expr) => {
        pub mod $family {
            use super::*;

            #[inline(never)]
            pub fn visit(index: u32, wanted: &Wanted, increment: u64, opens: u64) -> u32 {
                let mut all_taken = 1;
                each!($table, $beside, index, |slot, beside, _way| {
                    let difference = $difference(slot, wanted);
                    if difference & !BANNED == 0 {
                        let full = add(beside, increment, opens) / FULL;
                        return verdict(difference) + full as u32;
                    }
                    all_taken &= taken(word($word(slot)));
                });
                ROOM + wide(all_taken) as u32
            }

            /// Takes the slot with this number among all, or another one of its set that is free.
            #[inline(never)]
            pub fn claim(number: u64, wanted: &Wanted, banned: u64, increment: u64, opens: u64) -> u32 {
                let (index, first) = ((number / WAYS as u64) as u32, number % WAYS as u64);
                let mut free = 0;
                each!($table, $beside, index, |slot, _beside, way| {
                    free |= (!taken(word($word(slot))) & 1) << way;
                });
                // None but the first, if it is free.
                free &= !all_if(free >> first) | 1 << first;
                each!($table, $beside, index, |slot, beside, way| {
                    if free >> way & 1 != 0 {
                        $write(slot, wanted);
                        set($word(slot), wanted[2] | banned);
                        add(beside, increment, opens);
                        return 1;
                    }
                });
                0
            }

            /// Copies the slot with the fewest packets that is not banned.
            #[inline(never)]
            pub fn smallest(index: u32, into: &mut Contents) -> u32 {
                let mut fewest = u64::MAX;
                each!($table, $beside, index, |slot, beside, _way| {
                    let word = word($word(slot));
                    let packed = (counted(word) & all_if(word / USUAL)) + get!(beside, packed);
                    // Free ones and banned ones have most.
                    let packed = packed | all_if(!taken(word)) | all_if(word / BANNED);
                    if packed < fewest {
                        fewest = packed;
                        $copy(slot, into);
                        into.slot[2] = word;
                        into.packed = packed;
                        copy_connections(beside, into);
                    }
                });
                u32::from(fewest != u64::MAX)
            }

            /// Frees the slot that [`smallest`] has copied.
            #[inline(never)]
            pub fn release(index: u32, victim: &[u64; 3]) -> u32 {
                each!($table, $beside, index, |slot, beside, _way| {
                    // What is counted in it is the same, too.
                    if $difference(slot, victim) | (word($word(slot)) ^ victim[2]) == 0 {
                        clear(beside);
                        set($word(slot), 0);
                        return 1;
                    }
                });
                0
            }

            /// Empties the destination's packed counter, if it is full: [`COUNTED`] or [`BANNED_SLOT`], else [`HELD`] or
            /// [`NO_ROOM`].
            #[inline(never)]
            pub fn take(index: u32, wanted: &Wanted, into: &mut Contents) -> u32 {
                each!($table, $beside, index, |slot, beside, _way| {
                    let difference = $difference(slot, wanted);
                    if difference & !BANNED == 0 {
                        into.packed = get!(beside, packed);
                        if into.packed & FULL == 0 {
                            return HELD;
                        }
                        copy_connections(beside, into);
                        clear(beside);
                        return verdict(difference);
                    }
                });
                NO_ROOM
            }

            /// Carries what slots have counted themselves, where they have no more room for it. Answers with what it was added to.
            #[inline(never)]
            pub fn carry(index: u32) -> u64 {
                let mut sums = 0;
                each!($table, $beside, index, |slot, beside, _way| {
                    let word = word($word(slot));
                    if to_carry(word) & all_if(word / USUAL) & FULL != 0 {
                        sums |= add(beside, counted(word), 0);
                        set($word(slot), word & !COUNTS);
                    }
                });
                sums
            }
        }
    };
}

/// What `opens` of [`visit`](v4::visit) says that a packet opens a TCP connection.
pub const OPENS_TCP: u64 = 1;
/// And a QUIC connection.
pub const OPENS_QUIC: u64 = 1 << 32;

/// [`COUNTED`] or [`BANNED_SLOT`], for a difference of 0 or [`BANNED`].
#[inline(always)]
const fn verdict(difference: u64) -> u32 {
    COUNTED + (difference / BANNED) as u32 * (BANNED_SLOT - COUNTED)
}

#[inline(always)]
fn word(slot: *mut u64) -> u64 {
    // SAFETY: this CPU's own slot.
    unsafe { slot.read_volatile() }
}

#[inline(always)]
fn set(slot: *mut u64, word: u64) {
    // SAFETY: this CPU's own slot.
    unsafe { slot.write_volatile(word) };
}

/// Adds to what is beside a slot; answers with the packed counter. Connections without asking whether there are any, see [`difference`].
#[inline(always)]
fn add(beside: *mut Beside, increment: u64, opens: u64) -> u64 {
    let packed = get!(beside, packed) + increment;
    // SAFETY: this CPU's own.
    unsafe {
        (&raw mut (*beside).packed).write_volatile(packed);
        let tcp = &raw mut (*beside).tcp;
        tcp.write_volatile(tcp.read_volatile().wrapping_add(opens as u32));
        let quic = &raw mut (*beside).quic;
        quic.write_volatile(quic.read_volatile().wrapping_add((opens >> 32) as u32));
    }
    packed
}

#[inline(always)]
fn copy_connections(beside: *mut Beside, into: &mut Contents) {
    into.tcp_connections = u64::from(get!(beside, tcp));
    into.quic_connections = u64::from(get!(beside, quic));
}

#[inline(always)]
fn clear(beside: *mut Beside) {
    // SAFETY: this CPU's own.
    unsafe {
        (&raw mut (*beside).packed).write_volatile(0);
        (&raw mut (*beside).tcp).write_volatile(0);
        (&raw mut (*beside).quic).write_volatile(0);
    }
}

operations!(
    v4,
    FRONT4,
    BESIDE4,
    |slot: *mut Slot4| slot,
    |slot: *mut Slot4, wanted: &Wanted| difference(word(slot), wanted[2]),
    |_slot: *mut Slot4, _into: &mut Contents| {},
    |_slot: *mut Slot4, _wanted: &Wanted| {}
);

operations!(
    v6,
    FRONT6,
    BESIDE6,
    // SAFETY: inside the slot.
    |slot: *mut Slot6| unsafe { &raw mut (*slot).slot },
    |slot: *mut Slot6, wanted: &Wanted| {
        if get!(slot, destination[0]) == wanted[0] && get!(slot, destination[1]) == wanted[1] {
            difference(get!(slot, slot), wanted[2])
        } else {
            ELSEWHERE
        }
    },
    |slot: *mut Slot6, into: &mut Contents| {
        into.slot[0] = get!(slot, destination[0]);
        into.slot[1] = get!(slot, destination[1]);
    },
    // SAFETY: this CPU's own slot.
    |slot: *mut Slot6, wanted: &Wanted| unsafe {
        (&raw mut (*slot).destination[0]).write_volatile(wanted[0]);
        (&raw mut (*slot).destination[1]).write_volatile(wanted[1]);
    }
);

impl Contents {
    /// Nothing, in a place of the caller's.
    #[inline(always)]
    pub fn nothing(place: &mut MaybeUninit<Self>) -> &mut Self {
        const WORDS: usize = size_of::<Contents>() / size_of::<u64>();
        let words = place.as_mut_ptr().cast::<u64>();
        for word in 0..WORDS {
            // Volatile: the compiler would call a function that clears byte by byte in a loop, which the verifier refuses without
            // CAP_PERFMON.
            // SAFETY: inside the place, aligned for words.
            unsafe { words.add(word).write_volatile(0) };
        }
        // SAFETY: words, all written just now.
        unsafe { place.assume_init_mut() }
    }
}
