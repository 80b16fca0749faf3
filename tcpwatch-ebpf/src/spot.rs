//! A destination's place in the front table on the long way.

use tcpwatch_common::front::{
    BANNED, Cpu, Lane, USUAL, WAYS, folded, set, slot_number, unusual_number, usual_index, usual_number,
};

use crate::bell;
use crate::cpu::get;
use crate::front::{Contents, NO_ROOM, ROOM, Wanted, all_if, v4, v6};
use crate::parse::{Key, MAPPED};

/// A destination's place in the front table.
pub struct Spot {
    wanted: Wanted,
    /// The sets that may have it. It is in the other only where the first was full when it came.
    sets: [u32; 2],
    /// The slot of the first set that is looked at first; after a visit that found [`ROOM`], one of the set that has it, among all slots.
    number: u64,
    is_ipv4: bool,
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
    /// Where the destination of `key` has its place, counted for the source with this tag.
    #[inline(always)]
    pub fn new(cpu: *mut Cpu, word: u64, key: &Key, tag: u64) -> Self {
        if key.is_ipv4() {
            let hashed = (tag | u64::from(u32::from_be(key.destination[3]))) ^ get!(cpu, secret);
            Self::of_ipv4(cpu, word, hashed)
        } else {
            Self::of_ipv6(cpu, word, key.destination_words(), tag)
        }
    }

    /// The same by what is hashed.
    #[inline(always)]
    pub fn of_ipv4(cpu: *mut Cpu, word: u64, hashed: u64) -> Self {
        let numbers = [
            slot_number(word, get!(cpu, multiplier), hashed),
            slot_number(word, get!(cpu, second), hashed),
        ];
        // The others are not zero, for which the compiler would call a function, see `Contents::nothing`. Nobody reads them.
        Self::at(word, [hashed, hashed, hashed], numbers, true)
    }

    /// The same by destination and tag of the source.
    #[inline(always)]
    pub fn of_ipv6(cpu: *mut Cpu, word: u64, destination: [u64; 2], tag: u64) -> Self {
        let folded = folded(get!(cpu, multipliers6[0]), destination, tag);
        let numbers = [
            slot_number(word, get!(cpu, multipliers6[1]), folded),
            slot_number(word, get!(cpu, second), folded),
        ];
        Self::at(word, [destination[0], destination[1], tag], numbers, false)
    }

    /// In the region that `word` names, by the numbers of the slots that its hashes give.
    #[inline(always)]
    const fn at(word: u64, wanted: Wanted, numbers: [u64; 2], is_ipv4: bool) -> Self {
        Self {
            wanted,
            sets: [set(word, numbers[0]), set(word, numbers[1])],
            number: set(word, numbers[0]) as u64 * WAYS as u64 + numbers[0] % WAYS as u64,
            is_ipv4,
        }
    }

    /// Adds to the destination, if it has a slot.
    #[inline(always)]
    pub fn visit(&mut self, increment: u64, opens: u64) -> u32 {
        let [first, second] = self.sets;
        let found = self.visit_one(first, increment, opens);
        if found < ROOM {
            return found;
        }
        // It may be in the second also where the first has room by now.
        let elsewhere = self.visit_one(second, increment, opens);
        if elsewhere < ROOM {
            return elsewhere;
        }
        // The lowest bit is what `NO_ROOM` has more.
        let second = u64::from(second) * WAYS as u64;
        self.number ^= (self.number ^ second) & all_if(u64::from(found));
        found & elsewhere
    }

    #[inline(always)]
    fn visit_one(&self, set: u32, increment: u64, opens: u64) -> u32 {
        if self.is_ipv4 {
            v4::visit(set, &self.wanted, increment, opens)
        } else {
            v6::visit(set, &self.wanted, increment, opens)
        }
    }

    /// Takes a free slot, after a visit that found [`ROOM`]. False: there is none.
    #[inline(always)]
    pub fn claim(&self, lane: *mut Lane, banned: bool, increment: u64, opens: u64) -> bool {
        let verdict = if banned { BANNED } else { 0 };
        let claimed = self.claim_one(verdict, increment, opens);
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
    fn claim_one(&self, verdict: u64, increment: u64, opens: u64) -> bool {
        if self.is_ipv4 {
            v4::claim(self.number, &self.wanted, verdict, increment, opens) != 0
        } else {
            v6::claim(self.number, &self.wanted, verdict, increment, opens) != 0
        }
    }

    /// Copies the slot of the first set that has the fewest packets.
    #[inline(always)]
    pub fn smallest(&self, into: &mut Contents) -> bool {
        if self.is_ipv4 {
            v4::smallest(self.sets[0], into) != 0
        } else {
            v6::smallest(self.sets[0], into) != 0
        }
    }

    /// Frees the slot that [`Self::smallest`] has copied.
    #[inline(always)]
    pub fn release(&self, victim: &Contents) -> bool {
        if self.is_ipv4 {
            v4::release(self.sets[0], &victim.slot) != 0
        } else {
            v6::release(self.sets[0], &victim.slot) != 0
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
            v4::take(set, &self.wanted, into)
        } else {
            v6::take(set, &self.wanted, into)
        }
    }

    /// Destination of a slot of this family, and the number of its source.
    #[inline(always)]
    pub fn decode(&self, cpu: *mut Cpu, contents: &Contents) -> ([u32; 4], u32) {
        let [one, other, slot] = contents.slot;
        let (destination, usual) = if self.is_ipv4 {
            let destination = [0, 0, MAPPED, ((slot ^ get!(cpu, secret)) as u32).to_be()];
            (destination, usual_number(true, usual_index(slot)))
        } else {
            let destination = [one as u32, (one >> 32) as u32, other as u32, (other >> 32) as u32];
            (destination, usual_number(false, usual_index(slot)))
        };
        let number = unusual_number(slot);
        (
            destination,
            number ^ (number ^ usual) & all_if(slot / USUAL) as u32,
        )
    }
}
