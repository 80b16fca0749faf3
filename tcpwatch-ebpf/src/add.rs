//! What the short way writes: three words.

use aya_ebpf::programs::TcContext;
use tcpwatch_common::front::{
    FULL, MOST_BYTES, MOST_BYTES_AT_ONCE, MOST_PACKETS_AT_ONCE, PACKET, addend, to_carry,
};

use crate::count::Here;
use crate::cpu;
use crate::fast::Done;
use crate::parse::skb;

/// Counts a packet, or a segmentation super-packet of as many as the kernel says, in a slot, which has `found` in it. `carry` empties what
/// the slot has counted, when there is no more room for it, and answers with what it was added to.
#[inline(always)]
pub fn count(ctx: &TcContext, here: &Here, slot: *mut u64, found: u64, carry: impl FnOnce() -> u64) -> Done {
    // SAFETY: inside the map value.
    add(
        ctx,
        here,
        slot,
        found,
        unsafe { &raw mut (*here.usual).counted },
        carry,
    )
}

/// The same for the slot of a destination that is banned.
#[inline(always)]
pub fn banned(ctx: &TcContext, here: &Here, slot: *mut u64, found: u64, carry: impl FnOnce() -> u64) -> Done {
    add(ctx, here, slot, found, cpu::banned(here.cpu, here.word), carry)
}

/// Packets that a socket buffer is, as [`segments`] has them, and their bytes.
#[inline(always)]
pub fn amount(ctx: &TcContext) -> (u64, u64) {
    // SAFETY: context fields; the verifier turns them into loads from the socket buffer.
    let (bytes, gso_size) = unsafe { (u64::from((*skb(ctx)).wire_len), (*skb(ctx)).gso_size) };
    let packets = match gso_size {
        0 => u64::from(bytes <= MOST_BYTES),
        _ => segments(ctx, bytes),
    };
    (packets, bytes)
}

/// Packets that a segmentation super-packet of so many bytes has, as the kernel says; 0: it goes the long way.
#[inline(always)]
fn segments(ctx: &TcContext, bytes: u64) -> u64 {
    // SAFETY: a context field; the verifier turns it into a load from the socket buffer.
    let packets = unsafe { u64::from((*skb(ctx)).gso_segs) };
    if packets == 0
        || packets > MOST_PACKETS_AT_ONCE
        || bytes > MOST_BYTES_AT_ONCE
        || bytes > packets * MOST_BYTES
    {
        return 0;
    }
    packets
}

/// Adds to a slot, which has `found` in it, to the outcome, and to what was seen.
///
/// Plain additions: no other run of the program can interrupt this one on its CPU, as the egress hook is called with bottom
/// halves disabled (`__dev_queue_xmit()`, net/core/dev.c), and no other CPU writes here.
#[inline(always)]
fn add(
    ctx: &TcContext,
    here: &Here,
    slot: *mut u64,
    found: u64,
    outcome: *mut u64,
    carry: impl FnOnce() -> u64,
) -> Done {
    // SAFETY: context fields; the verifier turns them into loads from the socket buffer.
    let (bytes, gso_size) = unsafe { (u64::from((*skb(ctx)).wire_len), (*skb(ctx)).gso_size) };
    let mut packets = 1;
    if gso_size != 0 {
        packets = segments(ctx, bytes);
        if packets == 0 {
            return Done::No;
        }
        // SAFETY: this CPU's own total; nothing can fail any more.
        unsafe { (*here.usual).extra += packets - 1 };
    } else if bytes > MOST_BYTES {
        return Done::No;
    }
    let sum = found + addend(packets, bytes);
    // SAFETY: the callers' pointers into map values.
    let seen = unsafe {
        slot.write_volatile(sum);
        add_two(outcome, &raw mut (*here.usual).seen, packets * PACKET + bytes)
    };
    let to_carry = to_carry(sum);
    if (to_carry | seen) & FULL == 0 {
        return Done::Counted;
    }
    let carried = if to_carry & FULL == 0 { 0 } else { carry() };
    if (carried | seen) & FULL == 0 {
        Done::Counted
    } else {
        Done::Full(here.word)
    }
}

/// Adds to an outcome and to what was seen, which is the first of both to be full: answers with it.
///
/// # Safety
/// Both must point into this CPU's own totals.
#[inline(always)]
pub unsafe fn add_two(outcome: *mut u64, seen: *mut u64, increment: u64) -> u64 {
    // SAFETY: the caller's promise.
    unsafe {
        outcome.write_volatile(outcome.read_volatile() + increment);
        let total = seen.read_volatile() + increment;
        seen.write_volatile(total);
        total
    }
}
