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
use network_types::ip::{IpProto, Ipv4Hdr, Ipv6Hdr};
use tcpwatch_common::front::{
    BANNED, Cpu, FULL, PACKET, Slot4, Slot6, SHIFT_AT, USUAL, WAYS, folded, set,
};
use tcpwatch_common::own::{LEFT_OUT, place, placed4, placed6};
use tcpwatch_common::ports::{bit, bit_of_either, group};
use tcpwatch_common::{POLICY_ANSWERS, POLICY_ANY_SOURCE, POLICY_DNS, POLICY_SERVED, POLICY_TLS};

use crate::add::{self, add_two, amount};
use crate::count::Here;
use crate::cpu::{banned, first6, get, other_source, this_cpu};
use crate::front;
use crate::maps::{FRONT4, FRONT6, OWN4, OWN6, PORTS};
use crate::names::DNS;
use crate::opaque::{opaque, shifted, wide};
use crate::parse::{ifindex, skb};
use crate::spot::Spot;
use crate::transport::{
    self, TCP_DATA_OFFSET, TCP_FLAGS, TCP_TO_FLAGS, UDP_PAYLOAD, UDP_TO_VERSION, tcp_bytes,
};

/// Version 4, five words: no options.
pub const VERSION_IHL: u8 = 0x45;
/// Bytes of a transport header, and of what may be a QUIC packet, that are looked at.
const TRANSPORT: usize = TCP_TO_FLAGS as usize;
const _: () = assert!(TRANSPORT >= UDP_TO_VERSION as usize);

/// In an IPv4 header's second word but one: where in the packet the fragment begins (the lower 13 bits of two bytes), the time to live, and
/// the protocol.
const FRAGMENT: u32 = u32::from_ne_bytes([0x1f, 0xff, 0, 0]);
const FRAGMENT_AND_PROTOCOL: u32 = FRAGMENT | u32::from_ne_bytes([0, 0, 0, 0xff]);
const _: () = assert!(offset_of!(Ipv4Hdr, proto) == offset_of!(Ipv4Hdr, frags) + 3);

/// The same of a packet that has the protocol's header.
const fn whole(protocol: IpProto) -> u64 {
    u32::from_ne_bytes([0, 0, 0, protocol as u8]) as u64
}

/// Where in its header a packet's destination is.
const DESTINATION4: usize = offset_of!(Ipv4Hdr, dst_addr);
const DESTINATION6: usize = offset_of!(Ipv6Hdr, dst_addr);

/// What became of a packet on the short way.
pub enum Done {
    /// It is in its bucket.
    Counted,
    /// The same, and a packed counter of the generation that this word names must be emptied.
    Full(u64),
    /// Nothing was done.
    No,
}

/// Whether a slot of [`USUAL`](tcpwatch_common::front::USUAL) is that of `key`, banned or not.
#[inline(always)]
fn has(slot: u64, key: u64) -> bool {
    // The compiler would take a mask of 37 bits instead, which is a long instruction, or two.
    wide((slot ^ key) << (u64::BITS - BANNED.ilog2())) == 0
}

/// The same, and not banned.
#[inline(always)]
fn counts(slot: u64, key: u64) -> bool {
    wide((slot ^ key) << (u64::BITS - 1 - BANNED.ilog2())) == 0
}

/// Whether a destination of the source with this tag or key counts in its slot.
#[inline(always)]
fn is_usual(tag: u64) -> bool {
    // By the sign, see `has`.
    wide(tag << (u64::BITS - 1 - USUAL.ilog2())).cast_signed() < 0
}

/// Reads a field of a header, which need not be aligned for its type.
macro_rules! load {
    ($at:expr, $type:ty) => {
        // SAFETY: the caller has compared the place with the packet's end. The verifier allows loads that are not aligned
        // where the processor does.
        unsafe { ($at as *const $type).read_volatile() }
    };
}
pub(crate) use load;

/// As [`slot_number`](front::slot_number): whatever is in the word above the number of bits is not looked at.
#[inline(always)]
fn slot_number(word: u64, multiplier: u64, key: u64) -> u64 {
    shifted(key.wrapping_mul(multiplier), word >> SHIFT_AT)
}

/// Which slot of its set has this number.
#[inline(always)]
const fn way(number: u64) -> usize {
    number as usize % WAYS
}

/// Moves the pointer from the first slot of a set to the one that the condition holds for; does the rest where there is none.
macro_rules! search {
    ($slot:ident, $is_it:expr, else $none:block) => {
        if !$is_it {
            // SAFETY: inside the set, here and below.
            $slot = opaque(unsafe { $slot.add(1) });
            if !$is_it {
                // SAFETY: see above.
                $slot = opaque(unsafe { $slot.add(1) });
                if !$is_it {
                    // SAFETY: see above.
                    $slot = opaque(unsafe { $slot.add(1) });
                    if !$is_it $none
                }
            }
        }
    };
}

/// Finds a destination's slot where it may be: `$slot` points to it and `$index` is its set. `$number` is that of the slot that is
/// looked at first, `$other` one of the other set. Most packets find the first one to be theirs, and not banned (`$counts`); of
/// the others, `$is_it` is asked, and then `$banned`. Where there is none, the packet goes the long way.
macro_rules! find {
    (
        $table:ident, $type:ty, $word:expr, $number:expr, $other:expr, $slot:ident, $index:ident,
        $counts:expr, $is_it:expr, $banned:expr
    ) => {
        let number = $number;
        $index = set($word, number);
        let Some(first) = $table.get_ptr_mut($index) else {
            return Done::No;
        };
        // SAFETY: inside the set.
        $slot = opaque(unsafe { first.cast::<$type>().add(way(number)) });
        if core::intrinsics::unlikely(!$counts) {
            $slot = opaque(first.cast());
            search!($slot, $is_it, else {
                $index = set($word, $other);
                let Some(second) = $table.get_ptr_mut($index) else {
                    return Done::No;
                };
                $slot = opaque(second.cast());
                search!($slot, $is_it, else { return Done::No });
            });
            if let Some(done) = $banned {
                return done;
            }
        }
    };
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

/// What is to become of a packet, by its transport header.
#[derive(PartialEq, Eq)]
enum Verdict {
    /// Nothing special.
    Count,
    /// It leaves from a port that is served.
    Served,
    /// The long way must look at it.
    Look,
}

/// Of a packet whose UDP header is `at`, where there are [`TRANSPORT`] bytes. Most packets need nothing but what is in their own headers and
/// in what they are counted in.
#[inline(always)]
fn udp(at: usize, here: &Here) -> Verdict {
    let first = load!(at + UDP_PAYLOAD, u8);
    if transport::is_long(first) && transport::is_initial(first, load!(at + UDP_PAYLOAD + 1, u32)) {
        return Verdict::Look;
    }
    by_ports::<false>(at, || false, here)
}

/// The same of a TCP header; `bytes`: how many the IP header says that there are from there on.
#[inline(always)]
fn tcp(at: usize, bytes: impl FnOnce() -> u16, here: &Here) -> Verdict {
    if transport::opens_tcp(load!(at + TCP_FLAGS, u8)) {
        return Verdict::Look;
    }
    // First data is expected by TCP only.
    by_ports::<true>(
        at,
        || has_flag(here, POLICY_TLS) && !only_acknowledges(at, bytes()),
        here,
    )
}

/// What holds for the generation's packets.
#[inline(always)]
fn has_flag(here: &Here, flag: u64) -> bool {
    u64::from(get!(here.usual, flags)) & flag != 0
}

/// The rest, which both have in common.
#[inline(always)]
fn by_ports<const TCP: bool>(at: usize, may_be_expected: impl FnOnce() -> bool, here: &Here) -> Verdict {
    if load!(at + 2, u16) == DNS.to_be() && has_flag(here, POLICY_DNS) {
        return Verdict::Look;
    }
    // The lower byte of the port has the bits that a summary goes by.
    let may_be_served = shifted(get!(here.usual, served_ports), load!(at + 1, u8).into()) & 1 != 0;
    if core::intrinsics::likely(!may_be_served && !may_be_expected()) {
        return Verdict::Count;
    }
    let port = u16::from_be(load!(at, u16));
    let Some(group) = PORTS.get_ptr_mut(group(here.word.cast_signed() < 0, !TCP, port)) else {
        return Verdict::Look;
    };
    // SAFETY: the element is as large.
    let either = unsafe { group.cast::<u64>().read_volatile() };
    if core::intrinsics::likely(either & bit_of_either(port) == 0) {
        return Verdict::Count;
    }
    // In this order: a port that is served may have a mark from before.
    let served = get!(group, served) & bit(port) != 0;
    if served && has_flag(here, POLICY_SERVED) {
        Verdict::Served
    } else if served && has_flag(here, POLICY_ANSWERS) || get!(group, expected) & bit(port) != 0 {
        Verdict::Look
    } else {
        Verdict::Count
    }
}

/// Whether a TCP segment of so many bytes has neither data nor any flag but the one that most have.
#[inline(always)]
fn only_acknowledges(at: usize, bytes: u16) -> bool {
    load!(at + TCP_FLAGS, u8) == transport::ACK
        && u32::from(bytes) == tcp_bytes(load!(at + TCP_DATA_OFFSET, u8))
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
    match verdict4(header, &here) {
        Verdict::Count => {}
        Verdict::Served => return served(ctx, &here),
        Verdict::Look => return Done::No,
    }
    let key = key ^ u64::from(u32::from_be(load!(header + DESTINATION4, u32)));
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

/// What is to become of a packet with this IPv4 header.
#[inline(always)]
fn verdict4(header: usize, here: &Here) -> Verdict {
    let at = header + Ipv4Hdr::LEN;
    // By a number of which the compiler does not know how many bits it has: the mask is one that an instruction extends.
    let mask = i64::from(FRAGMENT_AND_PROTOCOL.cast_signed()).cast_unsigned();
    let kind = wide(load!(header + offset_of!(Ipv4Hdr, frags), u32).into()) & mask;
    if kind == whole(IpProto::Udp) {
        udp(at, here)
    } else if kind == whole(IpProto::Tcp) {
        let total = || u16::from_be(load!(header + offset_of!(Ipv4Hdr, tot_len), u16));
        tcp(at, || total().wrapping_sub(Ipv4Hdr::LEN as u16), here)
    } else if kind & u64::from(FRAGMENT) == 0 {
        Verdict::Count
    } else {
        // What is no first fragment has no transport header.
        Verdict::Look
    }
}

/// A packet of a source that is none of the usual ones, with its key.
#[inline(always)]
fn unusual4(ctx: &TcContext, here: &Here, header: usize, key: u64) -> Done {
    match verdict4(header, here) {
        Verdict::Count => {}
        Verdict::Served => return served(ctx, here),
        Verdict::Look => return Done::No,
    }
    let key = key ^ u64::from(u32::from_be(load!(header + DESTINATION4, u32)));
    let numbers = [
        slot_number(here.word, get!(here.cpu, multiplier), key),
        slot_number(here.word, get!(here.cpu, second), key),
    ];
    beside(ctx, here, Spot::of_ipv4(here.word, key, numbers))
}

/// A packet from a port that is served.
#[inline(always)]
fn served(ctx: &TcContext, here: &Here) -> Done {
    // SAFETY: inside the map value.
    left_out(ctx, here, unsafe { &raw mut (*here.usual).served })
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
    const SOURCE: usize = offset_of!(Ipv6Hdr, src_addr);
    let header = ctx.data() + OFFSET;
    if header + Ipv6Hdr::LEN + TRANSPORT > ctx.data_end() || load!(header, u8) >> 4 != 6 {
        return Done::No;
    }
    // Everything that this packet writes goes to the generation of this word.
    let here = Here::new(cpu, get!(cpu, word));
    let Here { usual, word, .. } = here;
    let source = [load!(header + SOURCE, u64), load!(header + SOURCE + 8, u64)];
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
    match verdict6(header, &here) {
        Verdict::Count => {}
        Verdict::Served => return served(ctx, &here),
        Verdict::Look => return Done::No,
    }
    let to = [
        load!(header + DESTINATION6, u64),
        load!(header + DESTINATION6 + 8, u64),
    ];
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

/// What is to become of a packet with this IPv6 header, behind which is a header of this kind.
#[inline(always)]
fn verdict6(header: usize, here: &Here) -> Verdict {
    let protocol = load!(header + offset_of!(Ipv6Hdr, next_hdr), u8);
    let at = header + Ipv6Hdr::LEN;
    if protocol == IpProto::Udp as u8 {
        udp(at, here)
    } else if protocol == IpProto::Tcp as u8 {
        let bytes = || u16::from_be(load!(header + offset_of!(Ipv6Hdr, payload_len), u16));
        tcp(at, bytes, here)
    } else if transport::is_extension(wide(protocol.into()) as u8) {
        Verdict::Look
    } else {
        Verdict::Count
    }
}

/// A packet of a source that is none of the usual ones, with its tag.
#[inline(always)]
fn unusual6(ctx: &TcContext, here: &Here, header: usize, tag: u64) -> Done {
    match verdict6(header, here) {
        Verdict::Count => {}
        Verdict::Served => return served(ctx, here),
        Verdict::Look => return Done::No,
    }
    let to = [
        load!(header + DESTINATION6, u64),
        load!(header + DESTINATION6 + 8, u64),
    ];
    let folded = folded(get!(here.cpu, multipliers6[0]), to, tag);
    let numbers = [
        slot_number(here.word, get!(here.cpu, multipliers6[1]), folded),
        slot_number(here.word, get!(here.cpu, second), folded),
    ];
    beside(ctx, here, Spot::of_ipv6(here.word, to, tag, numbers))
}
