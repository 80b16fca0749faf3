//! Name servers' answers: which incoming packets are looked at, and whom is believed.

use core::mem::{MaybeUninit, offset_of};

use aya_ebpf::programs::TcContext;
use network_types::eth::{EthHdr, EtherType};
use network_types::ip::{IpProto, Ipv4Hdr, Ipv6Hdr};
use tcpwatch_common::names::{FlowId, SampleKind};

use super::flow::{self, identity, now, remember};
use super::sample::take;
use super::{DNS, PATIENCE, Tcp, tcp_header};
use crate::fast::VERSION_IHL;
use crate::maps::FLOWS;
use crate::parse::{Key, Parsed, header, load, skb};
use crate::transport::{self, SYN, Transport, UDP_PAYLOAD};

/// Pieces of a name server's answers by TCP.
const MOST_DNS_PIECES: u32 = 64;
/// Set in a DNS message that answers (RFC 1035 section 4.1.1), in the third byte.
const ANSWERS: u8 = 0x80;

/// Whether an incoming packet may be from a name server, as far as that is seen where it lies: its header at `OFFSET`.
#[inline(always)]
pub fn may_answer<const OFFSET: usize>(ctx: &TcContext) -> bool {
    let start = ctx.data();
    if start + OFFSET + Ipv6Hdr::LEN + size_of::<u16>() > ctx.data_end() {
        // Too short, or not all of it where it can be read.
        return ctx.len() as usize >= OFFSET + Ipv4Hdr::LEN + UDP_PAYLOAD;
    }
    let kind = if OFFSET == 0 {
        // SAFETY: a context field; the verifier turns it into a load from the socket buffer.
        unsafe { (*skb(ctx)).protocol as u16 }
    } else {
        load!(start + offset_of!(EthHdr, ether_type), u16)
    };
    let header = start + OFFSET;
    let (protocol, port) = if kind == EtherType::Ipv4 as u16 {
        if load!(header, u8) != VERSION_IHL {
            return true;
        }
        (
            load!(header + offset_of!(Ipv4Hdr, proto), u8),
            load!(header + Ipv4Hdr::LEN, u16),
        )
    } else if kind == EtherType::Ipv6 as u16 {
        let protocol = load!(header + offset_of!(Ipv6Hdr, next_hdr), u8);
        if transport::is_extension(protocol) {
            return true;
        }
        (protocol, load!(header + Ipv6Hdr::LEN, u16))
    } else {
        return kind == EtherType::Ieee8021q as u16 || kind == EtherType::Ieee8021ad as u16;
    };
    port == DNS.to_be() && (protocol == IpProto::Udp as u8 || protocol == IpProto::Tcp as u8)
}

/// The number of a DNS message, and whether it answers. By UDP.
#[inline(always)]
fn message(ctx: &TcContext, payload: u32) -> Option<(u64, bool)> {
    let mut copy = MaybeUninit::<[u32; 1]>::uninit();
    let at = header::<false, 1>(ctx, payload, 4, &mut copy)?;
    // SAFETY: four bytes are there.
    let [high, low, flags, _] = unsafe { at.read_volatile() }.to_ne_bytes();
    Some((u64::from(high) << 8 | u64::from(low), flags & ANSWERS != 0))
}

/// Notes a question, so that its answer is believed.
#[inline(always)]
pub fn question(ctx: &TcContext, key: &Key, transport: &Transport) {
    let Some((number, false)) = message(ctx, transport.offset + UDP_PAYLOAD as u32) else {
        return;
    };
    let mut place = MaybeUninit::uninit();
    let id = flow::outgoing(&mut place, key, transport.ports, transport.protocol, number);
    remember(id, 0, 1, now());
}

/// Looks at a packet that has come from port 53.
#[inline(always)]
pub fn incoming(ctx: &TcContext, parsed: Parsed<'_>) {
    let Parsed::Ip { key, transport } = parsed else {
        return;
    };
    if transport.local_port() != DNS {
        return;
    }
    // As the question had them.
    let ports = transport.ports.rotate_right(16);
    let mut place = MaybeUninit::uninit();
    if transport.is_udp() {
        let payload = transport.offset + UDP_PAYLOAD as u32;
        let Some((number, true)) = message(ctx, payload) else {
            return;
        };
        let (local, remote) = (key.destination, key.source);
        let id = identity(&mut place, local, remote, ports, transport.protocol, number);
        // Only who was asked is believed, once, and not for long.
        let Some(state) = FLOWS.get_ptr(id) else { return };
        // SAFETY: points to a map value.
        let asked = unsafe { (&raw const (*state).since).read_volatile() };
        if now().wrapping_sub(asked) < PATIENCE && FLOWS.remove(id).is_ok() {
            let bytes = transport.end.saturating_sub(payload);
            take(ctx, SampleKind::DnsUdp, id, payload, [bytes, 0]);
        }
    } else if transport.is_tcp()
        && let Some(tcp) = tcp_header(ctx, &transport)
    {
        let (local, remote) = (key.destination, key.source);
        let id = identity(&mut place, local, remote, ports, transport.protocol, 0);
        answers_by_tcp(ctx, id, &tcp);
    }
}

#[inline(always)]
fn answers_by_tcp(ctx: &TcContext, id: &FlowId, tcp: &Tcp) {
    /// Behind it, a piece is of no answer that was asked for.
    const FARTHEST: u32 = 1 << 20;
    let Some(state) = FLOWS.get_ptr_mut(id) else {
        return;
    };
    // SAFETY: points to a map value.
    let (start, left) = unsafe { (&raw mut (*state).start, &raw mut (*state).left) };
    // SAFETY: as above.
    let (from, pieces) = unsafe { (start.read_volatile(), left.read_volatile()) };
    if tcp.flags & SYN != 0 {
        // The first that acknowledges what we have sent says where its stream begins.
        if pieces == 0 && tcp.acknowledged == from {
            // SAFETY: as above.
            unsafe {
                start.write_volatile(tcp.sequence.wrapping_add(1));
                left.write_volatile(MOST_DNS_PIECES);
            }
        }
        return;
    }
    let offset = tcp.sequence.wrapping_sub(from);
    // One stays: none means that nothing is believed yet.
    if tcp.bytes == 0 || pieces <= 1 || offset > FARTHEST {
        return;
    }
    // SAFETY: as above.
    unsafe { left.write_volatile(pieces - 1) };
    take(ctx, SampleKind::DnsTcp, id, tcp.payload, [tcp.bytes, offset]);
}
