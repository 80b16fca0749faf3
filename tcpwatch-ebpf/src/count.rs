//! The long way: from a key to exactly one bucket of the current generation, whatever the packet.

use core::num::NonZeroU32;

use aya_ebpf::programs::TcContext;
use tcpwatch_common::front::{Cpu, Lane, MOST_BYTES, PACKET, USUAL, Usual};
use tcpwatch_common::{
    Counts, Outcome, POLICY_ANSWERS, POLICY_ANY_SOURCE, POLICY_DNS, POLICY_QUIC, POLICY_SERVED, POLICY_TLS,
    Policy, Traffic, gso, ports,
};

use crate::atomic;
use crate::cpu::{get, lane, this_cpu, usual};
use crate::front;
use crate::maps::{POLICY, SIDE_0, SIDE_1, Side};
use crate::names::{self, DNS};
use crate::opaque::opaque;
use crate::parse::{Blur, Key, Parsed, headers_bytes, skb};
use crate::spill::{self, NOT_BANNED};
use crate::spot::Spot;
use crate::transport::{self, Transport, UDP_PAYLOAD};

/// One in so many packets that find their set full takes a slot from another destination: a destination that comes late
/// but often gets one soon, and one that comes seldom does not push others out.
const ADMISSION: u64 = 16;

/// Set in the answer of [`packet`], beside the word of its generation, where the word has nothing: the front table must be seen to
/// ([`crate::settle`]).
pub const SETTLE: u64 = 1 << 40;
/// The same: it may tell a name ([`names::outgoing`]).
pub const LOOK: u64 = 1 << 41;

/// Where a packet is counted.
pub struct Here {
    pub cpu: *mut Cpu,
    pub lane: *mut Lane,
    pub usual: *mut Usual,
    pub word: u64,
}

impl Here {
    #[inline(always)]
    pub fn new(cpu: *mut Cpu, word: u64) -> Self {
        Self {
            cpu,
            lane: lane(cpu, word),
            usual: usual(cpu, word),
            word,
        }
    }
}

/// Puts one socket buffer into its bucket. `RT`: tasks can interrupt each other inside the hook, so that nothing belongs to
/// one CPU alone: every addition is atomic, and the front table is not used.
///
/// Answers with what is left to be done, [`SETTLE`] and [`LOOK`], and the word of its generation; or 0.
#[inline(always)]
pub fn packet<const RT: bool>(ctx: &TcContext, parsed: Parsed<'_>) -> u64 {
    let wire = on_the_wire(ctx, &parsed);
    let Some(cpu) = this_cpu() else { return 0 };
    // Read once: everything that this packet writes goes to the same generation.
    let word = get!(cpu, word);
    let here = Here::new(cpu, word);
    let mut duties = 0;
    // SAFETY: this CPU's totals.
    unsafe {
        add_own::<RT>(&raw mut (*here.lane).seen, wire);
        if wire.packets > 1 {
            add_word::<RT>(&raw mut (*here.lane).extra, wire.packets - 1);
        }
    }
    let opens = opens(ctx, &parsed);
    let outcome = match parsed {
        Parsed::Ip { key, transport } => {
            let packet = Packet {
                ctx,
                wire,
                transport,
                opens,
            };
            // One branch for each generation, not a reference to one of them: with a map that the verifier does not know as a
            // constant, look-ups are no longer inlined.
            if word.cast_signed() < 0 {
                classify::<RT>(&here, key, &packet, &SIDE_1, 1, &mut duties)
            } else {
                classify::<RT>(&here, key, &packet, &SIDE_0, 0, &mut duties)
            }
        }
        Parsed::Not(outcome) => outcome,
        // The copying parser reaches everything.
        Parsed::OutOfReach => Outcome::Malformed,
    };
    #[cfg(feature = "log")]
    if matches!(outcome, Outcome::Malformed | Outcome::Overflow) {
        aya_log_ebpf::debug!(ctx, "outcome {}, {} bytes", outcome as u32, wire.bytes);
    }
    macro_rules! put {
        ($outcome:ident) => {
            // SAFETY: this CPU's totals.
            unsafe {
                let sum = opaque(&raw mut (*here.lane).outcomes[Outcome::$outcome as usize]);
                add_own::<RT>(sum, wire);
            }
        };
    }
    match outcome {
        Outcome::NotIp => put!(NotIp),
        Outcome::Malformed => put!(Malformed),
        Outcome::OtherSource => put!(OtherSource),
        Outcome::Served => put!(Served),
        Outcome::Banned => put!(Banned),
        Outcome::Counted => put!(Counted),
        Outcome::Overflow => put!(Overflow),
    }
    if duties == 0 { 0 } else { word | duties }
}

/// What is known of a packet besides its addresses.
struct Packet<'a> {
    ctx: &'a TcContext,
    wire: Counts,
    transport: Transport,
    /// Which connection it opens, as [`Spot::visit`] has it.
    opens: u64,
}

/// Which connection a packet opens. Before anything is known of its source, which may have to be forgotten, and tells connections apart.
#[inline(always)]
fn opens(ctx: &TcContext, parsed: &Parsed<'_>) -> u64 {
    let Parsed::Ip { key, transport } = parsed else {
        return 0;
    };
    let opens = match transport.opens {
        transport::TCP => front::OPENS_TCP,
        transport::QUIC => {
            names::initial::opens(ctx, key, transport.ports, transport.offset + UDP_PAYLOAD as u32)
                * front::OPENS_QUIC
        }
        _ => 0,
    };
    Blur::new(ctx).long(opens)
}

/// Finds the outcome in the order that docs/accounting.md gives, and counts the destination or the ban.
///
/// A slot or an entry of the spill is the proof that its packets come from an own source, and says whether they are banned:
/// policies change only together with the generation, whose tables begin empty.
#[inline(always)]
fn classify<const RT: bool>(
    here: &Here,
    key: &mut Key,
    packet: &Packet<'_>,
    side: &Side,
    generation: u32,
    duties: &mut u64,
) -> Outcome {
    let Packet {
        ctx,
        wire,
        transport,
        opens,
    } = *packet;
    let Some(policy) = POLICY.get(generation) else {
        return Outcome::OtherSource;
    };
    let Some(source) = source::<RT>(here, key, side, policy) else {
        return Outcome::OtherSource;
    };
    if look_at_ports(here, key, &transport, policy.flags, duties) {
        return Outcome::Served;
    }
    *duties = Blur::new(ctx).long(*duties);
    if RT
        || source == 0
        || mixes(key, source)
        || wire.packets > u64::from(u16::MAX)
        || wire.bytes > wire.packets * MOST_BYTES
    {
        return behind(here, key, traffic(wire, opens), side, policy);
    }
    let increment = wire.packets * PACKET + wire.bytes;
    let mut spot = Spot::new(here.cpu, here.word, key, source);
    let room = match spot.visit(increment, opens) {
        front::COUNTED => return Outcome::Counted,
        front::BANNED_SLOT => return Outcome::Banned,
        front::COUNTED_FULL => {
            *duties |= SETTLE;
            return Outcome::Counted;
        }
        front::BANNED_FULL => {
            *duties |= SETTLE;
            return Outcome::Banned;
        }
        front::ROOM => true,
        _ => {
            if asks_for_room(here) {
                *duties |= SETTLE;
            }
            false
        }
    };
    let traffic = traffic(wire, opens);
    if !room && spill::add_to_known(side, key.flow(), traffic) {
        return Outcome::Counted;
    }
    let ban = spill::ban(side, policy, key);
    let is_banned = ban != NOT_BANNED;
    if room && spot.claim(here.lane, is_banned, increment, opens) {
        return if is_banned {
            Outcome::Banned
        } else {
            Outcome::Counted
        };
    }
    settle_behind(here, key, traffic, side, ban)
}

/// Whether the source is a usual one of the other family than the destination: an IPv6 packet with one mapped address. A slot would say the
/// usual one of the destination's family.
#[inline(always)]
fn mixes(key: &Key, source: u64) -> bool {
    source & USUAL != 0 && key.is_ipv4() != key.is_from_ipv4()
}

/// Takes note of whether the packet may tell a name. True: it answers a client.
#[inline(always)]
fn look_at_ports(here: &Here, key: &Key, transport: &Transport, flags: u64, duties: &mut u64) -> bool {
    if transport.ports == 0 {
        return false;
    }
    if flags & (POLICY_SERVED | POLICY_ANSWERS | POLICY_TLS) != 0
        && let Some(group) = names::flow::port_group(here.word.cast_signed() < 0, transport)
    {
        let bit = ports::bit(transport.local_port());
        // What others send does not answer our clients.
        let own = key.source[0] | key.source[1] | key.source[2] | key.source[3] != 0;
        if own && get!(group, served) & bit != 0 {
            if flags & POLICY_SERVED != 0 {
                return true;
            }
            if flags & POLICY_ANSWERS != 0 {
                // SAFETY: this CPU's own. Atomic for PREEMPT_RT.
                unsafe { atomic::add(&raw mut (*here.cpu).answers, 1) };
            }
        }
        if transport.is_tcp() && get!(group, expected) & bit != 0 {
            *duties |= LOOK;
        }
    }
    let asks = flags & POLICY_DNS != 0 && transport.remote_port() == DNS;
    let opens = match transport.opens {
        transport::TCP => POLICY_TLS,
        transport::QUIC => POLICY_QUIC,
        _ => 0,
    };
    if asks || flags & opens != 0 {
        *duties |= LOOK;
    }
    false
}

/// What a packet adds to a destination that is not in the front table.
#[inline(always)]
fn traffic(wire: Counts, opens: u64) -> Traffic {
    Traffic {
        counts: wire,
        tcp_connections: opens & u64::from(u32::MAX),
        quic_connections: opens >> 32,
    }
}

/// Counts without the front table.
#[inline(always)]
fn behind(here: &Here, key: &Key, traffic: Traffic, side: &Side, policy: &Policy) -> Outcome {
    if spill::add_to_known(side, key.flow(), traffic) {
        return Outcome::Counted;
    }
    settle_behind(here, key, traffic, side, spill::ban(side, policy, key))
}

#[inline(always)]
fn settle_behind(here: &Here, key: &Key, traffic: Traffic, side: &Side, ban: u32) -> Outcome {
    if ban != NOT_BANNED {
        spill::add_to_ban(side, ban, traffic.counts);
        Outcome::Banned
    } else if spill::put(side, here.lane, key.flow(), traffic) {
        Outcome::Counted
    } else {
        Outcome::Overflow
    }
}

/// The tag of the packet's source; 0: one without a number. None: not ours.
#[inline(always)]
pub fn source<const RT: bool>(here: &Here, key: &mut Key, side: &Side, policy: &Policy) -> Option<u64> {
    let usual = here.usual;
    if !RT
        && key.source[3] == get!(usual, first.address)
        && key.ifindex == get!(usual, first.ifindex)
        && key.is_from_ipv4()
    {
        // The lower half is that of a destination.
        return Some(get!(usual, first.key) >> 32 << 32);
    }
    let tag = |half: *const u32| {
        // SAFETY: points to a map value.
        u64::from(unsafe { *half }) << 32
    };
    if let Some(half) = side.sources.get_ptr(key.own_source()) {
        return Some(tag(half));
    }
    if policy.flags & POLICY_ANY_SOURCE == 0 {
        return None;
    }
    // Whatever a router forwards: kept per destination and interface only, or clients x destinations would fill the tables.
    key.forget_source();
    Some(side.sources.get_ptr(key.own_source()).map_or(0, tag))
}

/// Whether it is time for a set to be given a free slot.
#[inline(always)]
fn asks_for_room(here: &Here) -> bool {
    // SAFETY: this CPU's totals.
    let missed = unsafe {
        (*here.lane).missed += 1;
        (*here.lane).missed
    };
    missed.is_multiple_of(ADMISSION)
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
        (_, 0, Parsed::Ip { transport, .. }) => segments(ctx, transport.protocol, transport.offset),
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

/// Adds to this CPU's own totals.
///
/// # Safety
/// `sum` must point into a map value.
#[inline(always)]
unsafe fn add_own<const RT: bool>(sum: *mut Counts, counts: Counts) {
    if RT {
        spill::add_shared(sum, counts);
    } else {
        // SAFETY: the caller's promise. Nobody else writes it now, see `add::add`.
        unsafe { (*sum).add(counts) };
    }
}

/// Adds to one of this CPU's own words.
///
/// # Safety
/// `word` must point into a map value and be 8-byte aligned.
#[inline(always)]
unsafe fn add_word<const RT: bool>(word: *mut u64, n: u64) {
    // SAFETY: the caller's promise; and see `add::add`.
    unsafe {
        if RT {
            atomic::add(word, n);
        } else {
            *word += n;
        }
    }
}
