//! The front table on the long way: finding, taking, emptying and giving away slots. The short way has its own search.
//!
//! Each operation is a function of its own for each family: the verifier follows it once and forgets it.

use core::mem::MaybeUninit;

use tcpwatch_common::front::{
    BANNED, Cpu, FULL, IN_USE, Lane, Opened, SOURCE_NUMBERS, SOURCE_SHIFT, Slot4, Slot6, WAYS, folded, set,
    slot_number,
};

use crate::bell;
use crate::fast::{get, opaque};
use crate::maps::{FRONT4, FRONT6, OPENED4, OPENED6};
use crate::parse::{Key, MAPPED};

/// A destination's place in the front table.
pub struct Spot {
    /// IPv4: the slot's key alone. IPv6: address and tag.
    key: [u64; 3],
    /// The sets that may have it. It is in the other only where the first was full when it came.
    sets: [u32; 2],
    /// The slot of the first set that is looked at first.
    way: u32,
    is_ipv4: bool,
}

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

/// A slot's contents.
pub struct Contents {
    key: [u64; 3],
    /// Packed counter.
    pub packed: u64,
    pub opened: Opened,
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

/// The connections of a slot; runs the body with a pointer to them, if there is such a set.
macro_rules! opened {
    ($table:ident[$index:expr], $way:ident, |$opened:ident| $body:expr) => {
        if let Some(set) = $table.get_ptr_mut($index) {
            // SAFETY: inside the set; this CPU's own.
            let $opened = opaque(unsafe { &raw mut (*set).slots[$way] });
            $body
        }
    };
}

macro_rules! operations {
    ($family:ident, $table:ident, $opened:ident, $words:literal, $free:expr, $difference:expr, $banned:expr, $copy:expr, $write:expr) => {
        mod $family {
            use super::*;

            #[inline(never)]
            pub fn visit(index: u32, key: &[u64; 3], increment: u64, opens: u64) -> u32 {
                let mut answer = NO_ROOM;
                each!($table[index], |slot, way| {
                    let difference = $difference(slot, key);
                    if difference == 0 || difference == BANNED {
                        let packed = get!(slot, packed) + increment;
                        // SAFETY: this CPU's own slot.
                        unsafe { (&raw mut (*slot).packed).write_volatile(packed) };
                        if opens != 0 {
                            opened!($opened[index], way, |opened| add_opened(opened, opens));
                        }
                        let verdict = if difference == 0 {
                            COUNTED
                        } else {
                            BANNED_SLOT
                        };
                        return verdict + u32::from(packed & FULL != 0);
                    }
                    if $free(slot) {
                        answer = ROOM;
                    }
                });
                answer
            }

            /// Takes the slot with this number among all, or another one of its set that is free.
            #[inline(never)]
            pub fn claim(number: u64, key: &[u64; 3], verdict: u64, increment: u64, opens: u64) -> u32 {
                let (index, first) = ((number / WAYS as u64) as u32, number as u32 % WAYS as u32);
                let mut chosen = NO_WAY;
                each!($table[index], |slot, way| {
                    if $free(slot) && (chosen == NO_WAY || first == way as u32) {
                        chosen = way as u32;
                    }
                });
                each!($table[index], |slot, way| {
                    if chosen == way as u32 {
                        $write(slot, key, verdict);
                        // SAFETY: this CPU's own slot.
                        unsafe { (&raw mut (*slot).packed).write_volatile(increment) };
                        if opens != 0 {
                            opened!($opened[index], way, |opened| add_opened(opened, opens));
                        }
                        return 1;
                    }
                });
                0
            }

            /// Copies the slot with the fewest packets that is not banned.
            #[inline(never)]
            pub fn smallest(index: u32, secret: u64, into: &mut Contents) -> u32 {
                let mut fewest = u64::MAX;
                each!($table[index], |slot, _way| {
                    let packed = get!(slot, packed);
                    if packed < fewest && !$free(slot) && !$banned(slot, secret) {
                        fewest = packed;
                        into.packed = packed;
                        $copy(slot, into);
                    }
                });
                u32::from(fewest != u64::MAX)
            }

            /// Copies the connections of the slot that [`smallest`] has found.
            #[inline(never)]
            pub fn opened(index: u32, into: &mut Contents) -> u32 {
                each!($table[index], |slot, way| {
                    if $difference(slot, &into.key) == 0 {
                        opened!($opened[index], way, |opened| copy_opened(opened, into));
                        return 1;
                    }
                });
                0
            }

            #[inline(never)]
            pub fn release(index: u32, key: &[u64; 3]) -> u32 {
                each!($table[index], |slot, way| {
                    if $difference(slot, key) == 0 {
                        opened!($opened[index], way, |opened| clear_opened(opened));
                        // SAFETY: this CPU's own slot.
                        unsafe {
                            let words = slot.cast::<u64>();
                            for word in 0..$words {
                                words.add(word).write_volatile(0);
                            }
                        }
                        return 1;
                    }
                });
                0
            }

            /// Empties the destination's counter, if it is full: [`COUNTED`] or [`BANNED_SLOT`], else [`HELD`] or
            /// [`NO_ROOM`].
            #[inline(never)]
            pub fn take(index: u32, key: &[u64; 3], into: &mut Contents) -> u32 {
                each!($table[index], |slot, way| {
                    let difference = $difference(slot, key);
                    if difference == 0 || difference == BANNED {
                        let packed = get!(slot, packed);
                        if packed & FULL == 0 {
                            return HELD;
                        }
                        into.packed = packed;
                        opened!($opened[index], way, |opened| {
                            copy_opened(opened, into);
                            clear_opened(opened);
                        });
                        // SAFETY: this CPU's own slot.
                        unsafe { (&raw mut (*slot).packed).write_volatile(0) };
                        return if difference == 0 {
                            COUNTED
                        } else {
                            BANNED_SLOT
                        };
                    }
                });
                NO_ROOM
            }
        }
    };
}

/// What `opens` of [`Spot::visit`] says that a packet opens a TCP connection.
pub const OPENS_TCP: u64 = 1;
/// And a QUIC connection.
pub const OPENS_QUIC: u64 = 1 << 32;

/// One more connection.
#[inline(always)]
fn add_opened(opened: *mut Opened, opens: u64) {
    // SAFETY: this CPU's own.
    unsafe {
        let tcp = &raw mut (*opened).tcp;
        tcp.write_volatile(tcp.read_volatile().wrapping_add(opens as u32));
        let quic = &raw mut (*opened).quic;
        quic.write_volatile(quic.read_volatile().wrapping_add((opens >> 32) as u32));
    }
}

#[inline(always)]
fn copy_opened(opened: *mut Opened, into: &mut Contents) {
    into.opened.tcp = get!(opened, tcp);
    into.opened.quic = get!(opened, quic);
}

#[inline(always)]
fn clear_opened(opened: *mut Opened) {
    // SAFETY: this CPU's own.
    unsafe {
        (&raw mut (*opened).tcp).write_volatile(0);
        (&raw mut (*opened).quic).write_volatile(0);
    }
}

operations!(
    v4,
    FRONT4,
    OPENED4,
    2,
    |slot: *mut Slot4| get!(slot, key) == 0,
    |slot: *mut Slot4, key: &[u64; 3]| get!(slot, key) ^ key[0],
    |slot: *mut Slot4, secret: u64| (get!(slot, key) ^ secret) & BANNED != 0,
    |slot: *mut Slot4, into: &mut Contents| into.key[0] = get!(slot, key),
    // SAFETY: this CPU's own slot.
    |slot: *mut Slot4, key: &[u64; 3], verdict: u64| unsafe {
        (&raw mut (*slot).key).write_volatile(key[0] ^ verdict);
    }
);

operations!(
    v6,
    FRONT6,
    OPENED6,
    4,
    |slot: *mut Slot6| get!(slot, tag) == 0,
    |slot: *mut Slot6, key: &[u64; 3]| {
        if get!(slot, destination[0]) == key[0] && get!(slot, destination[1]) == key[1] {
            get!(slot, tag) ^ key[2]
        } else {
            ELSEWHERE
        }
    },
    |slot: *mut Slot6, _secret: u64| get!(slot, tag) & BANNED != 0,
    |slot: *mut Slot6, into: &mut Contents| {
        into.key = [
            get!(slot, destination[0]),
            get!(slot, destination[1]),
            get!(slot, tag),
        ];
    },
    // SAFETY: this CPU's own slot.
    |slot: *mut Slot6, key: &[u64; 3], verdict: u64| unsafe {
        (&raw mut (*slot).destination[0]).write_volatile(key[0]);
        (&raw mut (*slot).destination[1]).write_volatile(key[1]);
        (&raw mut (*slot).tag).write_volatile(key[2] ^ verdict);
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
        // SAFETY: five words, all written just now.
        unsafe { place.assume_init_mut() }
    }
}

/// One more slot is taken, of the first or the second family.
///
/// # Safety
/// `lane` must be this CPU's own totals.
#[inline(always)]
unsafe fn take_note(lane: *mut Lane, family: usize) {
    // SAFETY: the caller's promise.
    let (taken, step) = unsafe {
        (*lane).taken[family] += 1;
        ((*lane).taken[family], (*lane).front_step)
    };
    if taken & step == 0 {
        bell::ring();
    }
}

impl Spot {
    /// Where the destination of `key` has its place, counted for the source with this number.
    #[inline(always)]
    pub fn new(cpu: *mut Cpu, word: u64, key: &Key, source: u32) -> Self {
        let tag = u64::from(source) | IN_USE;
        if key.is_ipv4() {
            let destination = u64::from(u32::from_be(key.destination[3]));
            let key = destination | u64::from(source) << SOURCE_SHIFT | IN_USE;
            let key = key ^ get!(cpu, secret);
            let numbers = [
                slot_number(word, get!(cpu, multiplier), key),
                slot_number(word, get!(cpu, second), key),
            ];
            // The others are not zero, for which the compiler would call a function, see `Contents::nothing`. Nobody reads them.
            return Self::at(word, [key, tag, tag], numbers, true);
        }
        let destination = key.destination_words();
        let folded = folded(get!(cpu, multipliers6[0]), destination, tag);
        let numbers = [
            slot_number(word, get!(cpu, multipliers6[1]), folded),
            slot_number(word, get!(cpu, second), folded),
        ];
        Self::at(word, [destination[0], destination[1], tag], numbers, false)
    }

    /// In the region that `word` names, by the numbers of the slots that its hashes give.
    #[inline(always)]
    const fn at(word: u64, key: [u64; 3], numbers: [u64; 2], is_ipv4: bool) -> Self {
        Self {
            key,
            sets: [set(word, numbers[0]), set(word, numbers[1])],
            way: numbers[0] as u32 % WAYS as u32,
            is_ipv4,
        }
    }

    /// Adds to the destination, if it has a slot.
    #[inline(always)]
    pub fn visit(&self, increment: u64, opens: u64) -> u32 {
        let [first, second] = self.sets;
        let found = self.visit_one(first, increment, opens);
        if found < ROOM {
            return found;
        }
        // It may be in the second also where the first has room by now.
        match self.visit_one(second, increment, opens) {
            NO_ROOM => found,
            answer => answer,
        }
    }

    #[inline(always)]
    fn visit_one(&self, set: u32, increment: u64, opens: u64) -> u32 {
        if self.is_ipv4 {
            v4::visit(set, &self.key, increment, opens)
        } else {
            v6::visit(set, &self.key, increment, opens)
        }
    }

    /// Takes a free slot. False: there is none.
    #[inline(always)]
    pub fn claim(&self, lane: *mut Lane, banned: bool, increment: u64, opens: u64) -> bool {
        let verdict = if banned { BANNED } else { 0 };
        let [first, second] = self.sets.map(|set| u64::from(set) * WAYS as u64);
        let claimed = self.claim_one(first + u64::from(self.way), verdict, increment, opens)
            || self.claim_one(second, verdict, increment, opens);
        if claimed {
            // Each family by a constant, see `opaque`.
            // SAFETY: this CPU's own totals.
            unsafe {
                if self.is_ipv4 {
                    take_note(lane, 0);
                } else {
                    take_note(lane, 1);
                }
            }
        }
        claimed
    }

    #[inline(always)]
    fn claim_one(&self, number: u64, verdict: u64, increment: u64, opens: u64) -> bool {
        if self.is_ipv4 {
            v4::claim(number, &self.key, verdict, increment, opens) != 0
        } else {
            v6::claim(number, &self.key, verdict, increment, opens) != 0
        }
    }

    /// Copies the slot of the first set that has the fewest packets.
    #[inline(always)]
    pub fn smallest(&self, cpu: *mut Cpu, into: &mut Contents) -> bool {
        if self.is_ipv4 {
            v4::smallest(self.sets[0], get!(cpu, secret), into) != 0
        } else {
            v6::smallest(self.sets[0], 0, into) != 0
        }
    }

    /// Copies the connections of the slot that [`Self::smallest`] has copied.
    #[inline(always)]
    pub fn opened(&self, victim: &mut Contents) -> bool {
        if self.is_ipv4 {
            v4::opened(self.sets[0], victim) != 0
        } else {
            v6::opened(self.sets[0], victim) != 0
        }
    }

    /// Frees the slot that [`Self::smallest`] has copied.
    #[inline(always)]
    pub fn release(&self, victim: &Contents) -> bool {
        if self.is_ipv4 {
            v4::release(self.sets[0], &victim.key) != 0
        } else {
            v6::release(self.sets[0], &victim.key) != 0
        }
    }

    /// Empties the destination's counter, if it is full.
    #[inline(always)]
    pub fn take(&self, into: &mut Contents) -> u32 {
        let [first, second] = self.sets;
        match self.take_one(first, into) {
            NO_ROOM => self.take_one(second, into),
            answer => answer,
        }
    }

    #[inline(always)]
    fn take_one(&self, set: u32, into: &mut Contents) -> u32 {
        if self.is_ipv4 {
            v4::take(set, &self.key, into)
        } else {
            v6::take(set, &self.key, into)
        }
    }

    /// Destination of a slot of this family, and the number of its source.
    #[inline(always)]
    pub fn decode(&self, cpu: *mut Cpu, contents: &Contents) -> ([u32; 4], u32) {
        if self.is_ipv4 {
            let key = contents.key[0] ^ get!(cpu, secret);
            let source = (key >> SOURCE_SHIFT) as u32 & (SOURCE_NUMBERS - 1);
            return ([0, 0, MAPPED, (key as u32).to_be()], source);
        }
        let [one, other, tag] = contents.key;
        (
            [one as u32, (one >> 32) as u32, other as u32, (other >> 32) as u32],
            tag as u32 & (SOURCE_NUMBERS - 1),
        )
    }
}
