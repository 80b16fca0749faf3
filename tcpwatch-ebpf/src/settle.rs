//! What is left to be done with the front table when a packet has been counted.

use core::mem::MaybeUninit;

use tcpwatch_common::front::unpack;
use tcpwatch_common::{Outcome, Policy, Traffic};

use crate::count::{Here, source};
use crate::cpu::{banned, other_source, this_cpu};
use crate::front::{self, Contents};
use crate::maps::{POLICY, SIDE_0, SIDE_1, Side};
use crate::parse::{Key, Parsed};
use crate::spill::{self, NOT_BANNED};
use crate::spot::Spot;

/// Moves the destination with the fewest packets from a full set to the spill, so that the next one that comes takes its slot.
#[inline(always)]
fn make_room(here: &Here, spot: &Spot, side: &Side) {
    let mut place = MaybeUninit::uninit();
    let victim = Contents::nothing(&mut place);
    if !spot.smallest(victim) {
        return;
    }
    let (destination, number) = spot.decode(here.cpu, victim);
    if let Some(key) = key_of(side, destination, number)
        && spill::put(side, here.lane, key.flow(), held(victim))
        && spot.release(victim)
    {
        // SAFETY: this CPU's totals.
        unsafe { (*here.lane).evicted += 1 };
    }
}

/// What a slot has counted.
#[inline(always)]
fn held(slot: &Contents) -> Traffic {
    Traffic {
        counts: unpack(slot.packed),
        tcp_connections: slot.tcp_connections,
        quic_connections: slot.quic_connections,
    }
}

/// The whole key of a destination that has a slot.
#[inline(always)]
fn key_of(side: &Side, destination: [u32; 4], number: u32) -> Option<Key> {
    let words = side.numbers.get_ptr(number)?.cast::<u32>();
    // SAFETY: a SourceKey is five words of a map value.
    let word = |index| unsafe { words.add(index).read_volatile() };
    Some(Key {
        destination,
        source: [word(0), word(1), word(2), word(3)],
        ifindex: word(4),
    })
}

/// Sees to the front table after a packet, in the generation of `word`: empties counters that it has filled, its slot's and
/// those of the short way's totals, or gives its set a free slot.
#[inline(always)]
pub fn after(parsed: Parsed<'_>, word: u64) {
    let Some(cpu) = this_cpu() else { return };
    let here = Here::new(cpu, word);
    // SAFETY: this CPU's totals.
    unsafe {
        let (lane, usual) = (here.lane, here.usual);
        (*lane).seen.add(unpack((*usual).seen));
        (*usual).seen = 0;
        (*lane).outcomes[Outcome::Counted as usize].add(unpack((*usual).counted));
        (*usual).counted = 0;
        (*lane).outcomes[Outcome::Served as usize].add(unpack((*usual).served));
        (*usual).served = 0;
        let banned = banned(cpu, word);
        (*lane).outcomes[Outcome::Banned as usize].add(unpack(*banned));
        *banned = 0;
        let other_source = other_source(cpu, word);
        (*lane).outcomes[Outcome::OtherSource as usize].add(unpack(*other_source));
        *other_source = 0;
    }
    match parsed {
        Parsed::Ip { key, .. } if word.cast_signed() < 0 => settle_slot(&here, key, &SIDE_1, 1),
        Parsed::Ip { key, .. } => settle_slot(&here, key, &SIDE_0, 0),
        Parsed::Not(_) | Parsed::OutOfReach => {}
    }
}

#[inline(always)]
fn settle_slot(here: &Here, key: &mut Key, side: &Side, generation: u32) {
    if let Some(policy) = POLICY.get(generation)
        && let Some(source) = source::<false>(here, key, side, policy)
    {
        let spot = Spot::new(here.cpu, here.word, key, source);
        let mut place = MaybeUninit::uninit();
        let full = Contents::nothing(&mut place);
        match spot.take(full) {
            front::NO_ROOM => make_room(here, &spot, side),
            front::HELD => {}
            verdict => empty_slot(here, verdict, held(full), key, side, policy),
        }
    }
}

/// Moves what a full slot had counted to the tables behind. What they have no room for is lost as `overflow`, not from the
/// totals.
#[inline(always)]
fn empty_slot(here: &Here, verdict: u32, traffic: Traffic, key: &Key, side: &Side, policy: &Policy) {
    let counts = traffic.counts;
    if verdict == front::BANNED_SLOT {
        let ban = spill::ban(side, policy, key);
        if ban != NOT_BANNED {
            spill::add_to_ban(side, ban, counts);
        }
    } else if !spill::put(side, here.lane, key.flow(), traffic) {
        // SAFETY: this CPU's totals.
        unsafe {
            let outcomes = &raw mut (*here.lane).outcomes;
            (*outcomes)[Outcome::Counted as usize].subtract(counts);
            (*outcomes)[Outcome::Overflow as usize].add(counts);
        }
    }
}
