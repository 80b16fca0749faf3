//! The slots of the front table on the long way: adding to them, taking, emptying and giving them away. The short way has its own
//! search.
//!
//! Each operation is a function of its own for each family: the verifier follows it once and forgets it.

use core::mem::MaybeUninit;

use tcpwatch_common::front::{
    BANNED, Beside, CARRY, FULL, IN_USE, NAMED, Slot4, Slot6, USUAL, WAYS, counted,
};

use crate::fast::{get, opaque};
use crate::maps::{BESIDE4, BESIDE6, FRONT4, FRONT6};

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
pub const NO_ROOM: u32 = 5;
/// There, and not full.
pub const HELD: u32 = 6;

/// A destination whose slot is looked for: the address, which only IPv6 has here, and the slot. [`USUAL`]: its source is the usual one of
/// the generation.
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

/// Not the number of a slot in its set.
const NO_WAY: u32 = WAYS as u32;

/// Not in the low bits of any difference between keys.
const ELSEWHERE: u64 = 1;

/// Runs the body for each slot of a set, with a pointer that moves by constants only.
macro_rules! each {
    ($table:ident[$index:expr], |$slot:ident, $way:ident| $body:block) => {
        if let Some(set) = $table.get_ptr_mut($index) {
            each!(set, $slot, $way, 0, $body);
            each!(set, $slot, $way, 1, $body);
            each!(set, $slot, $way, 2, $body);
            each!(set, $slot, $way, 3, $body);
        }
    };
    ($set:ident, $slot:ident, $way:ident, $number:literal, $body:block) => {
        let $way: usize = $number;
        // SAFETY: inside the set.
        let $slot = opaque(unsafe { &raw mut (*$set).slots[$way] });
        $body
    };
}

/// What is beside a slot; runs the body with a pointer to it, if there is such a set.
macro_rules! beside {
    ($table:ident[$index:expr], $way:ident, |$beside:ident| $body:block) => {
        if let Some(set) = $table.get_ptr_mut($index) {
            // SAFETY: inside the set; this CPU's own.
            let $beside = opaque(unsafe { &raw mut (*set).slots[$way] });
            $body
        }
    };
}

/// How a slot differs from one that is wanted: 0, [`BANNED`], or something else.
#[inline(always)]
const fn difference(slot: u64, wanted: u64) -> u64 {
    if slot & USUAL == 0 {
        // Such a slot has the number of its source, and the answer is the same if that is the usual one.
        (slot ^ wanted) & !USUAL
    } else {
        (slot ^ wanted) & NAMED
    }
}

macro_rules! operations {
    ($family:ident, $table:ident, $beside:ident, $word:expr, $difference:expr, $copy:expr, $write:expr) => {
        pub mod $family {
            use super::*;

            #[inline(never)]
            pub fn visit(index: u32, wanted: &Wanted, increment: u64, opens: u64) -> u32 {
                let mut answer = NO_ROOM;
                each!($table[index], |slot, way| {
                    let difference = $difference(slot, wanted);
                    if difference == 0 || difference == BANNED {
                        beside!($beside[index], way, |beside| {
                            let full = add(beside, increment, opens) & FULL != 0;
                            let verdict = if difference == 0 {
                                COUNTED
                            } else {
                                BANNED_SLOT
                            };
                            return verdict + u32::from(full);
                        });
                    }
                    if word($word(slot)) == 0 {
                        answer = ROOM;
                    }
                });
                answer
            }

            /// Takes the slot with this number among all, or another one of its set that is free.
            #[inline(never)]
            pub fn claim(number: u64, wanted: &Wanted, banned: u64, increment: u64, opens: u64) -> u32 {
                let (index, first) = ((number / WAYS as u64) as u32, number as u32 % WAYS as u32);
                let mut chosen = NO_WAY;
                each!($table[index], |slot, way| {
                    if word($word(slot)) == 0 && (chosen == NO_WAY || first == way as u32) {
                        chosen = way as u32;
                    }
                });
                each!($table[index], |slot, way| {
                    if chosen == way as u32 {
                        beside!($beside[index], way, |beside| {
                            let [.., named] = *wanted;
                            $write(slot, wanted);
                            let named = if banned == 0 && named & USUAL != 0 {
                                named & NAMED
                            } else {
                                named & !USUAL | banned
                            };
                            set($word(slot), named);
                            add(beside, increment, opens);
                            return 1;
                        });
                    }
                });
                0
            }

            /// Copies the slot with the fewest packets that is not banned.
            #[inline(never)]
            pub fn smallest(index: u32, into: &mut Contents) -> u32 {
                let mut fewest = u64::MAX;
                each!($table[index], |slot, way| {
                    let word = word($word(slot));
                    if word & IN_USE != 0 && word & (USUAL | BANNED) != BANNED {
                        beside!($beside[index], way, |beside| {
                            let packed = counted(word) + get!(beside, packed);
                            if packed < fewest {
                                fewest = packed;
                                $copy(slot, into);
                                into.slot[2] = word;
                                into.packed = packed;
                                copy_connections(beside, into);
                            }
                        });
                    }
                });
                u32::from(fewest != u64::MAX)
            }

            /// Frees the slot that [`smallest`] has copied.
            #[inline(never)]
            pub fn release(index: u32, victim: &[u64; 3]) -> u32 {
                each!($table[index], |slot, way| {
                    if word($word(slot)) == victim[2] && $difference(slot, victim) & NAMED == 0 {
                        beside!($beside[index], way, |beside| {
                            clear(beside);
                            set($word(slot), 0);
                            return 1;
                        });
                    }
                });
                0
            }

            /// Empties the destination's packed counter, if it is full: [`COUNTED`] or [`BANNED_SLOT`], else [`HELD`] or
            /// [`NO_ROOM`].
            #[inline(never)]
            pub fn take(index: u32, wanted: &Wanted, into: &mut Contents) -> u32 {
                each!($table[index], |slot, way| {
                    let difference = $difference(slot, wanted);
                    if difference == 0 || difference == BANNED {
                        beside!($beside[index], way, |beside| {
                            into.packed = get!(beside, packed);
                            if into.packed & FULL == 0 {
                                return HELD;
                            }
                            copy_connections(beside, into);
                            clear(beside);
                            return if difference == 0 {
                                COUNTED
                            } else {
                                BANNED_SLOT
                            };
                        });
                    }
                });
                NO_ROOM
            }

            /// Carries what slots have counted themselves, where they have no more room for it. Answers with what it was added to.
            #[inline(never)]
            pub fn carry(index: u32) -> u64 {
                let mut sums = 0;
                each!($table[index], |slot, way| {
                    let word = word($word(slot));
                    if word & USUAL != 0 && word & CARRY != 0 {
                        beside!($beside[index], way, |beside| {
                            sums |= add(beside, counted(word), 0);
                            set($word(slot), word & NAMED);
                        });
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

/// Adds to what is beside a slot; answers with the packed counter.
#[inline(always)]
fn add(beside: *mut Beside, increment: u64, opens: u64) -> u64 {
    let packed = get!(beside, packed) + increment;
    // SAFETY: this CPU's own.
    unsafe {
        (&raw mut (*beside).packed).write_volatile(packed);
        if opens != 0 {
            let tcp = &raw mut (*beside).tcp;
            tcp.write_volatile(tcp.read_volatile().wrapping_add(opens as u32));
            let quic = &raw mut (*beside).quic;
            quic.write_volatile(quic.read_volatile().wrapping_add((opens >> 32) as u32));
        }
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
