//! The short way: an ordinary packet from an own source, whose destination has a slot already, or one that is left out as served or as
//! of another source.
//!
//! Straight code without a call, but for packets of a source that is none of the usual ones, and one in some 100 that fills a slot: the
//! CPU's number and look-ups in arrays are instructions, and returning from a function costs more than most of what is here, where the
//! kernel guards returns (Documentation/admin-guide/hw-vuln/srso.rst). Whatever is out of the ordinary leaves by `Done::No`, before
//! anything was written, and goes the long way (`count.rs`).

use core::mem::offset_of;

use aya_ebpf::programs::TcContext;
use network_types::eth::{EthHdr, EtherType};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};
use tcpwatch_common::POLICY_ANY_SOURCE;
use tcpwatch_common::front::{BANNED, Cpu, FULL, PACKET, Slot4, Slot6, USUAL, folded, set};
use tcpwatch_common::own::{LEFT_OUT, place, placed4, placed6};

use crate::add::{self, add_two, amount};
use crate::count::Here;
use crate::cpu::{banned, first6, get, other_source, this_cpu};
use crate::find::{counts, find, has, search, slot_number, way};
use crate::front;
use crate::maps::{FRONT4, FRONT6, OWN4, OWN6};
use crate::opaque::{opaque, wide};
use crate::parse::{ifindex, load, skb};
use crate::spot::Spot;
use crate::verdict::{self, TRANSPORT, Verdict};

/// Version 4, five words: no options.
pub const VERSION_IHL: u8 = 0x45;

/// What became of a packet on the short way.
pub enum Done {
    /// It is in its bucket.
    Counted,
    /// The same, and a packed counter of the generation that this word names must be emptied.
    Full(u64),
    /// Nothing was done.
    No,
}

/// Whether a destination of the source with this tag or key counts in its slot.
#[inline(always)]
fn is_usual(tag: u64) -> bool {
    // By the sign, as the compiler would take a long instruction for the bit.
    wide(tag << (u64::BITS - 1 - USUAL.ilog2())).cast_signed() < 0
}

/// A frame with an Ethernet header, no tag in it.
#[inline(always)]
pub fn ethernet(ctx: &TcContext) -> Done {
    let Some(cpu) = this_cpu() else { return Done::No };
    let start = ctx.data();
    if start + EthHdr::LEN + Ipv4Hdr::LEN + TRANSPORT > ctx.data_end() {
        return Done::No;
    }
    // The kind of packet and the IP header's first byte at once, without the byte behind it.
    let kind = load!(start + offset_of!(EthHdr, ether_type), u32) & u32::from_ne_bytes([0xff, 0xff, 0xff, 0]);
    let [a, b] = (EtherType::Ipv4 as u16).to_ne_bytes();
    if kind != u32::from_ne_bytes([a, b, VERSION_IHL, 0]) {
        let [a, b, ..] = kind.to_ne_bytes();
        return other::<{ EthHdr::LEN }>(ctx, cpu, u16::from_ne_bytes([a, b]));
    }
    ipv4(ctx, cpu, start + EthHdr::LEN)
}

/// A packet that begins with its IP header.
#[inline(always)]
pub fn raw_ip(ctx: &TcContext) -> Done {
    let Some(cpu) = this_cpu() else { return Done::No };
    // SAFETY: a context field; the verifier turns it into a load from the socket buffer.
    let kind = unsafe { (*skb(ctx)).protocol } as u16;
    if kind != EtherType::Ipv4 as u16 {
        return other::<0>(ctx, cpu, kind);
    }
    let start = ctx.data();
    if start + Ipv4Hdr::LEN + TRANSPORT > ctx.data_end() || load!(start, u8) != VERSION_IHL {
        return Done::No;
    }
    ipv4(ctx, cpu, start)
}

#[inline(always)]
fn other<const OFFSET: usize>(ctx: &TcContext, cpu: *mut Cpu, kind: u16) -> Done {
    if kind != EtherType::Ipv6 as u16 {
        return Done::No;
    }
    ipv6::<OFFSET>(ctx, cpu)
}

/// `header` is inside the packet with the whole fixed header, which has no options, and [`TRANSPORT`] bytes behind it.
#[inline(always)]
fn ipv4(ctx: &TcContext, cpu: *mut Cpu, header: usize) -> Done {
    let source = load!(header + offset_of!(Ipv4Hdr, src_addr), u32);
    // Everything that this packet writes goes to the generation of this word.
    let here = Here::new(cpu, get!(cpu, word));
    let Here { usual, word, .. } = here;
    let ifindex = ifindex(ctx);
    let is_first = get!(usual, first.address) == source && get!(usual, first.ifindex) == ifindex;
    let key = if core::intrinsics::likely(is_first) {
        get!(usual, first.key)
    } else {
        let place = place(word, get!(usual, multiplier), placed4(source, ifindex));
        let Some(other) = OWN4.get_ptr_mut(place) else {
            return Done::No;
        };
        let key = get!(other, key);
        if get!(other, address) != source || get!(other, ifindex) != ifindex {
            return not_found(ctx, &here, key);
        }
        let key = key & !LEFT_OUT;
        if !is_usual(key) {
            return unusual4(ctx, &here, header, key);
        }
        key
    };
    if let Some(done) = decided(ctx, &here, verdict::ipv4(header, &here)) {
        return done;
    }
    let key = key4(header, key);
    let number = slot_number(word, get!(cpu, multiplier), key);
    let mut slot: *mut Slot4;
    let (mut index, mut found);
    find!(
        FRONT4,
        Slot4,
        word,
        number,
        slot_number(wide(word), get!(cpu, second), key),
        slot,
        index,
        {
            // SAFETY: a slot.
            found = unsafe { slot.read_volatile() };
            counts(found, key)
        },
        {
            // SAFETY: a slot.
            found = unsafe { slot.read_volatile() };
            has(found, key)
        },
        (found & BANNED != 0).then(|| add::banned(ctx, &here, slot, found, || front::v4::carry(index)))
    );
    add::count(ctx, &here, slot, found, || front::v4::carry(index))
}

/// A packet of a source that is none of the usual ones, with its key.
#[inline(always)]
fn unusual4(ctx: &TcContext, here: &Here, header: usize, key: u64) -> Done {
    if let Some(done) = decided(ctx, here, verdict::ipv4(header, here)) {
        return done;
    }
    beside(ctx, here, Spot::of_ipv4(here.cpu, here.word, key4(header, key)))
}

/// What is hashed for an IPv4 packet's destination, and its slot without counts, by the key of its source.
#[inline(always)]
fn key4(header: usize, key: u64) -> u64 {
    key ^ u64::from(u32::from_be(load!(header + offset_of!(Ipv4Hdr, dst_addr), u32)))
}

/// Where the verdict is not that the packet be counted under its destination.
#[inline(always)]
fn decided(ctx: &TcContext, here: &Here, verdict: Verdict) -> Option<Done> {
    match verdict {
        Verdict::Count => None,
        // SAFETY: inside the map value.
        Verdict::Served => Some(left_out(ctx, here, unsafe { &raw mut (*here.usual).served })),
        Verdict::Look => Some(Done::No),
    }
}

/// A packet that is not counted under a destination, but with what else has this outcome.
#[inline(always)]
fn left_out(ctx: &TcContext, here: &Here, outcome: *mut u64) -> Done {
    let (packets, bytes) = amount(ctx);
    if packets == 0 {
        return Done::No;
    }
    // SAFETY: this CPU's own totals.
    let seen = unsafe {
        (*here.usual).extra += packets - 1;
        add_two(outcome, &raw mut (*here.usual).seen, packets * PACKET + bytes)
    };
    if seen & FULL != 0 {
        Done::Full(here.word)
    } else {
        Done::Counted
    }
}

/// A packet whose source is not in its place, where it says `place` instead.
#[inline(always)]
fn not_found(ctx: &TcContext, here: &Here, place: u64) -> Done {
    let flags = u64::from(get!(here.usual, flags));
    if place & LEFT_OUT != 0 || flags & POLICY_ANY_SOURCE != 0 {
        return Done::No;
    }
    left_out(ctx, here, other_source(here.cpu, here.word))
}

/// A packet of a source that is none of the usual ones: it is counted beside its slot.
#[inline(always)]
fn beside(ctx: &TcContext, here: &Here, mut spot: Spot) -> Done {
    let usual = here.usual;
    let (packets, bytes) = amount(ctx);
    if packets == 0 {
        return Done::No;
    }
    let increment = packets * PACKET + bytes;
    let found = spot.visit(increment, 0);
    // SAFETY: this CPU's own totals.
    let seen = unsafe {
        let seen = &raw mut (*usual).seen;
        match found {
            front::COUNTED | front::COUNTED_FULL => add_two(&raw mut (*usual).counted, seen, increment),
            front::BANNED_SLOT | front::BANNED_FULL => add_two(banned(here.cpu, here.word), seen, increment),
            _ => return Done::No,
        }
    };
    // SAFETY: see above.
    unsafe { (*usual).extra += packets - 1 };
    if seen & FULL != 0 || matches!(found, front::COUNTED_FULL | front::BANNED_FULL) {
        Done::Full(here.word)
    } else {
        Done::Counted
    }
}

#[inline(always)]
fn ipv6<const OFFSET: usize>(ctx: &TcContext, cpu: *mut Cpu) -> Done {
    let header = ctx.data() + OFFSET;
    if header + Ipv6Hdr::LEN + TRANSPORT > ctx.data_end() || load!(header, u8) >> 4 != 6 {
        return Done::No;
    }
    // Everything that this packet writes goes to the generation of this word.
    let here = Here::new(cpu, get!(cpu, word));
    let Here { usual, word, .. } = here;
    let source = address6(header + offset_of!(Ipv6Hdr, src_addr));
    let ifindex = ifindex(ctx);
    let first = first6(cpu, word);
    let is_first = get!(first, address[0]) == source[0]
        && get!(first, address[1]) == source[1]
        && get!(first, ifindex) == ifindex;
    let tag = if core::intrinsics::likely(is_first) {
        get!(first, tag)
    } else {
        let place = place(word, get!(usual, multiplier), placed6(source, ifindex));
        let Some(other) = OWN6.get_ptr_mut(place) else {
            return Done::No;
        };
        let tag = get!(other, tag);
        if get!(other, address[0]) != source[0]
            || get!(other, address[1]) != source[1]
            || get!(other, ifindex) != ifindex
        {
            // A mapped address is that of an IPv4 source; the unspecified one is in no place, whatever it is.
            return if source[0] == 0 {
                Done::No
            } else {
                not_found(ctx, &here, tag)
            };
        }
        let tag = tag & !LEFT_OUT;
        if !is_usual(tag) {
            return unusual6(ctx, &here, header, tag);
        }
        tag
    };
    if let Some(done) = decided(ctx, &here, verdict::ipv6(header, &here)) {
        return done;
    }
    let to = address6(header + offset_of!(Ipv6Hdr, dst_addr));
    let folded = folded(get!(cpu, multipliers6[0]), to, tag);
    let mut slot: *mut Slot6;
    let (mut index, mut found);
    find!(
        FRONT6,
        Slot6,
        word,
        slot_number(word, get!(cpu, multipliers6[1]), folded),
        slot_number(wide(word), get!(cpu, second), folded),
        slot,
        index,
        {
            found = get!(slot, slot);
            get!(slot, destination[0]) == to[0] && get!(slot, destination[1]) == to[1] && counts(found, tag)
        },
        {
            found = get!(slot, slot);
            get!(slot, destination[0]) == to[0] && get!(slot, destination[1]) == to[1] && has(found, tag)
        },
        {
            // SAFETY: the word of the slot that counts.
            let word = unsafe { &raw mut (*slot).slot };
            (found & BANNED != 0).then(|| add::banned(ctx, &here, word, found, || front::v6::carry(index)))
        }
    );
    // SAFETY: the word of the slot that counts.
    let word = unsafe { &raw mut (*slot).slot };
    add::count(ctx, &here, word, found, || front::v6::carry(index))
}

/// A packet of a source that is none of the usual ones, with its tag.
#[inline(always)]
fn unusual6(ctx: &TcContext, here: &Here, header: usize, tag: u64) -> Done {
    if let Some(done) = decided(ctx, here, verdict::ipv6(header, here)) {
        return done;
    }
    let to = address6(header + offset_of!(Ipv6Hdr, dst_addr));
    beside(ctx, here, Spot::of_ipv6(here.cpu, here.word, to, tag))
}

/// The halves of an address of an IPv6 header.
#[inline(always)]
fn address6(at: usize) -> [u64; 2] {
    [load!(at, u64), load!(at + 8, u64)]
}
