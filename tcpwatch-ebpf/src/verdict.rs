//! What is to become of a packet on the short way, by its transport header.

use core::mem::offset_of;

use network_types::ip::{IpProto, Ipv4Hdr, Ipv6Hdr};
use tcpwatch_common::ports::{bit, bit_of_either, group};
use tcpwatch_common::{POLICY_ANSWERS, POLICY_DNS, POLICY_SERVED, POLICY_TLS};

use crate::count::Here;
use crate::cpu::get;
use crate::maps::PORTS;
use crate::names::DNS;
use crate::opaque::{shifted, wide};
use crate::parse::load;
use crate::transport::{
    self, TCP_DATA_OFFSET, TCP_FLAGS, TCP_TO_FLAGS, UDP_PAYLOAD, UDP_TO_VERSION, tcp_bytes,
};

/// Bytes of a transport header, and of what may be a QUIC packet, that are looked at.
pub const TRANSPORT: usize = TCP_TO_FLAGS as usize;
const _: () = assert!(TRANSPORT >= UDP_TO_VERSION as usize);

/// In bytes 6 to 9 of an IPv4 header: where in the packet the fragment begins (the lower 13 bits of the first two), the time to live, and the
/// protocol.
const FRAGMENT: u32 = u32::from_ne_bytes([0x1f, 0xff, 0, 0]);
const FRAGMENT_AND_PROTOCOL: u32 = FRAGMENT | u32::from_ne_bytes([0, 0, 0, 0xff]);
const _: () = assert!(offset_of!(Ipv4Hdr, proto) == offset_of!(Ipv4Hdr, frags) + 3);

/// The same of a packet or first fragment, which has the protocol's header.
const fn begins(protocol: IpProto) -> u64 {
    u32::from_ne_bytes([0, 0, 0, protocol as u8]) as u64
}

/// What is to become of a packet, by its transport header.
pub enum Verdict {
    /// Nothing special.
    Count,
    /// It leaves from a port that is served.
    Served,
    /// The long way must look at it.
    Look,
}

/// What is to become of a packet with this IPv4 header.
#[inline(always)]
pub fn ipv4(header: usize, here: &Here) -> Verdict {
    let at = header + Ipv4Hdr::LEN;
    // By a number of which the compiler does not know how many bits it has: the mask is one that an instruction extends.
    let mask = i64::from(FRAGMENT_AND_PROTOCOL.cast_signed()).cast_unsigned();
    let kind = wide(load!(header + offset_of!(Ipv4Hdr, frags), u32).into()) & mask;
    if kind == begins(IpProto::Udp) {
        udp(at, here)
    } else if kind == begins(IpProto::Tcp) {
        let total = || u16::from_be(load!(header + offset_of!(Ipv4Hdr, tot_len), u16));
        tcp(at, || total().wrapping_sub(Ipv4Hdr::LEN as u16), here)
    } else if kind & u64::from(FRAGMENT) == 0 {
        Verdict::Count
    } else {
        // What is no first fragment has no transport header.
        Verdict::Look
    }
}

/// What is to become of a packet with this IPv6 header.
#[inline(always)]
pub fn ipv6(header: usize, here: &Here) -> Verdict {
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
