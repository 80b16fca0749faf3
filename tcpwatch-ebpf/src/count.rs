//! From a key to exactly one bucket of the current generation.

use core::num::NonZeroU32;

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::maps::lpm_trie;
use aya_ebpf::programs::TcContext;
use tcpwatch_common::{
    Address, BAN_IPV6, Counts, FlowKey, OUTCOMES, Outcome, POLICY_ANY_SOURCE, POLICY_BANS, gso,
};

use crate::atomic;
use crate::maps::{GENERATION, OUTCOME, POLICY, SEEN, SIDE_0, SIDE_1, Side};
use crate::parse::{Key, Parsed, headers_bytes, skb};

const ADDRESS_BITS: u32 = size_of::<Address>() as u32 * 8;

/// Puts one socket buffer into its bucket.
#[inline(always)]
pub fn packet(ctx: &TcContext, parsed: Parsed<'_>) {
    let wire = on_the_wire(ctx, &parsed);
    let Some(word) = GENERATION.get_ptr(0) else { return };
    // SAFETY: points into a map value. The daemon changes it at any time, so it is read exactly once: everything that
    // this packet writes goes to the same generation.
    let generation = unsafe { word.read_volatile() } as u32 & 1;
    if let Some(seen) = SEEN.get_ptr_mut(generation) {
        // SAFETY: this CPU's map value, see `add_own`.
        unsafe {
            if preemptible() {
                atomic::add(&raw mut (*seen).skbs, 1);
            } else {
                (*seen).skbs += 1;
            }
            add_own(&raw mut (*seen).counts, wire);
        }
    }
    let outcome = match parsed {
        // One branch for each generation, not a pointer to one of them: with a map that the verifier does not know as a
        // constant, look-ups are no longer inlined.
        Parsed::Ip { key, .. } if generation == 0 => classify(key, wire, &SIDE_0, 0),
        Parsed::Ip { key, .. } => classify(key, wire, &SIDE_1, 1),
        Parsed::Not(outcome) => outcome,
        // The copying parser reaches everything.
        Parsed::OutOfReach => Outcome::Malformed,
    };
    #[cfg(feature = "log")]
    if matches!(outcome, Outcome::Malformed | Outcome::Overflow) {
        aya_log_ebpf::debug!(ctx, "outcome {}, {} bytes", outcome as u32, wire.bytes);
    }
    if let Some(counts) = OUTCOME.get_ptr_mut(generation * OUTCOMES as u32 + outcome as u32) {
        // SAFETY: this CPU's map value, see `add_own`.
        unsafe { add_own(counts, wire) };
    }
}

/// Finds the outcome in the order that docs/accounting.md gives, and counts the destination or the ban.
///
/// An entry in `destinations` is the proof that its packets come from an own source and are not banned: policies
/// change only together with the generation, whose tables begin empty.
#[inline(always)]
fn classify(key: &mut Key, wire: Counts, side: &Side, generation: u32) -> Outcome {
    if add_to_known(side, key.flow(), wire) {
        Outcome::Counted
    } else {
        classify_new(key, wire, side, generation)
    }
}

#[inline(always)]
fn classify_new(key: &mut Key, wire: Counts, side: &Side, generation: u32) -> Outcome {
    let Some(policy) = POLICY.get(generation) else {
        return Outcome::OtherSource;
    };
    if side.sources.get_ptr(key.own_source()).is_none() {
        if policy.flags & POLICY_ANY_SOURCE == 0 {
            return Outcome::OtherSource;
        }
        // Whatever a router forwards: kept per destination only, or clients x destinations would fill the table.
        key.forget_source();
    }
    if policy.flags & POLICY_BANS != 0
        && let Some(ban) = side.bans.get(lpm_trie::Key::new(ADDRESS_BITS, key.flow().destination))
        // ::/0 and its like contain the mapped form of every IPv4 address, but do not mean it.
        && !(key.is_ipv4() && *ban & BAN_IPV6 != 0)
    {
        if let Some(counts) = side.ban_counts.get_ptr_mut(*ban & !BAN_IPV6) {
            add_shared(counts, wire);
        }
        return Outcome::Banned;
    }
    if add_to_known(side, key.flow(), wire)
        || side.destinations.insert(key.flow(), wire, u64::from(BPF_NOEXIST)).is_ok()
        // Either another CPU was first with the same key, or there is no room (or no memory).
        || add_to_known(side, key.flow(), wire)
    {
        Outcome::Counted
    } else {
        Outcome::Overflow
    }
}

/// Adds to the destination if the table has it.
#[inline(always)]
fn add_to_known(side: &Side, key: &FlowKey, wire: Counts) -> bool {
    let known = side.destinations.get_ptr_mut(key);
    if let Some(counts) = known {
        add_shared(counts, wire);
    }
    known.is_some()
}

/// Packets and bytes as they leave the device.
#[inline(always)]
fn on_the_wire(ctx: &TcContext, parsed: &Parsed<'_>) -> Counts {
    // SAFETY: context fields; the verifier turns them into loads from the socket buffer.
    let (wire_len, gso_size) = unsafe { ((*skb(ctx)).wire_len, (*skb(ctx)).gso_size) };
    // SAFETY: as above.
    let gso_segs = unsafe { (*skb(ctx)).gso_segs };
    let packets = match (gso_size, gso_segs, parsed) {
        (0, ..) => 1,
        (_, 1.., _) => gso_segs,
        (
            _,
            0,
            Parsed::Ip {
                protocol, transport, ..
            },
        ) => segments(ctx, *protocol, *transport),
        (_, 0, Parsed::Not(_) | Parsed::OutOfReach) => segments(ctx, 0, 0),
    };
    Counts {
        packets: u64::from(packets),
        bytes: u64::from(wire_len),
    }
}

/// A super-packet of which the kernel does not know the number of segments. Rare, so kept out of the usual way.
#[inline(never)]
fn segments(ctx: &TcContext, protocol: u8, transport: u32) -> u32 {
    // SAFETY: context fields; the verifier turns them into loads from the socket buffer.
    let (wire_len, gso_size) = unsafe { ((*skb(ctx)).wire_len, (*skb(ctx)).gso_size) };
    let Some(gso_size) = NonZeroU32::new(gso_size) else {
        return 1;
    };
    gso::segments(
        ctx.len(),
        wire_len,
        gso_size,
        headers_bytes(ctx, protocol, transport),
    )
}

/// Adds to a value that all CPUs share.
#[inline(always)]
fn add_shared(counts: *mut Counts, wire: Counts) {
    // SAFETY: points to a map value, whose two words are 8-byte aligned and live as long as the program runs.
    unsafe {
        atomic::add(&raw mut (*counts).packets, wire.packets);
        atomic::add(&raw mut (*counts).bytes, wire.bytes);
    }
}

/// Not 0: additions to this CPU's own values are atomic. Set by the daemon before the program is loaded, and a constant for
/// the verifier, which leaves out the branch that is not taken.
#[unsafe(no_mangle)]
static PREEMPTIBLE: u8 = 0;

/// Adds to a value of this CPU alone. No other run of the program can interrupt this one: the egress hook is called with
/// bottom halves disabled (`__dev_queue_xmit()`, net/core/dev.c). On PREEMPT_RT that is no protection from other tasks.
///
/// # Safety
/// `counts` must point into this CPU's part of a per-CPU map value.
#[inline(always)]
unsafe fn add_own(counts: *mut Counts, wire: Counts) {
    // SAFETY: the caller's promise; see above for why nobody else writes it now.
    unsafe {
        if preemptible() {
            add_shared(counts, wire);
        } else {
            (*counts).add(wire);
        }
    }
}

#[inline(always)]
fn preemptible() -> bool {
    // SAFETY: a static. Volatile, or the compiler would take the value from here instead of the loaded object's.
    unsafe { core::ptr::read_volatile(&raw const PREEMPTIBLE) != 0 }
}
