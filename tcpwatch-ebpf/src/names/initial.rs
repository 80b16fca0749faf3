//! The Initials of QUIC (RFC 9000 section 17.2): which of them opens a connection, and samples of the first ones.

use core::mem::MaybeUninit;

use aya_ebpf::programs::TcContext;
use network_types::ip::IpProto;
use tcpwatch_common::names::{FlowState, SampleKind};

use super::{MOST_FIRST_PACKETS, flow, sample};
use crate::maps::QUIC_FLOWS;
use crate::parse::{Key, header};
use crate::transport::{Transport, UDP_PAYLOAD, first_half};

/// System ports (RFC 6335 section 6) are servers': an Initial that leaves from one is an answer.
const FIRST_CLIENT_PORT: u16 = 1024;
/// How long after a QUIC connection's first Initial another with the same identifier belongs to it, in nanoseconds. A client gives up
/// sooner.
const SAME_CONNECTION: u64 = 30_000_000_000;
/// The longest connection identifier (RFC 9000 section 17.2).
const MOST_ID_BYTES: u8 = 20;
/// The shortest identifier that a client gives the server in its first Initial (RFC 9000 section 7.2): a packet with a shorter one is
/// an answer.
const FIRST_ID_BYTES: u8 = 8;

/// What tells a packet with a long header from those of other connections.
struct Ids {
    /// Length of the server's.
    destination_bytes: u8,
    /// The first eight bytes of the client's.
    client: u64,
}

/// The identifiers of a packet with a long header: the source's lies behind the other one (RFC 9000 section 17.2). None: there is no
/// such packet.
#[inline(always)]
fn connection_ids(ctx: &TcContext, payload: u32) -> Option<Ids> {
    /// First byte and version.
    const BEFORE_IDS: u32 = 5;
    let byte = |at: u32| {
        let mut copy = MaybeUninit::<[u32; 1]>::uninit();
        let pointer = header::<false, 1>(ctx, at, 1, &mut copy)?;
        // SAFETY: a byte is there.
        Some(unsafe { pointer.cast::<u8>().read_volatile() })
    };
    let destination_bytes = byte(payload + BEFORE_IDS)?;
    let at = payload + BEFORE_IDS + 1 + u32::from(destination_bytes);
    let bytes = byte(at)?;
    if destination_bytes > MOST_ID_BYTES || bytes > MOST_ID_BYTES {
        return None;
    }
    let mut id = MaybeUninit::<[u32; 2]>::uninit();
    let client = if bytes >= 8 {
        let pointer = header::<false, 2>(ctx, at + 1, 8, &mut id)?;
        // SAFETY: eight bytes are there.
        let (low, high) = unsafe { (pointer.read_volatile(), pointer.add(1).read_volatile()) };
        u64::from(low) | u64::from(high) << 32
    } else if bytes >= 4 {
        let pointer = header::<false, 2>(ctx, at + 1, 4, &mut id)?;
        // SAFETY: four bytes are there.
        u64::from(unsafe { pointer.read_volatile() })
    } else {
        // Whoever uses shorter ones tells connections apart by ports.
        u64::from(bytes)
    };
    Some(Ids {
        destination_bytes,
        client,
    })
}

/// How many connections an Initial opens: 1 if it is the first of its connection, else 0.
#[inline(never)]
pub fn opens(ctx: &TcContext, key: &Key, ports: u32, payload: u32) -> u64 {
    let local_port = u16::from_be(first_half(ports));
    if local_port < FIRST_CLIENT_PORT {
        return 0;
    }
    let Some(ids) = connection_ids(ctx, payload) else {
        return 0;
    };
    let mut place = MaybeUninit::uninit();
    let id = flow::outgoing(&mut place, key, ports, IpProto::Udp as u8, ids.client);
    let since = flow::now();
    if let Some(state) = QUIC_FLOWS.get_ptr(id) {
        // SAFETY: points to a map value.
        let began = unsafe { (&raw const (*state).since).read_volatile() };
        if since.wrapping_sub(began) < SAME_CONNECTION {
            return 0;
        }
    }
    if ids.destination_bytes < FIRST_ID_BYTES {
        return 0;
    }
    let state = FlowState {
        since,
        start: 0,
        left: MOST_FIRST_PACKETS,
    };
    // Without room it is counted again, should it come again.
    QUIC_FLOWS.insert(id, state, 0).unwrap_or(());
    1
}

/// Samples an Initial, if it is one of its connection's first.
#[inline(always)]
pub fn sample(ctx: &TcContext, key: &Key, transport: &Transport) {
    let payload = transport.offset + UDP_PAYLOAD as u32;
    let Some(ids) = connection_ids(ctx, payload) else {
        return;
    };
    let mut place = MaybeUninit::uninit();
    let id = flow::outgoing(&mut place, key, transport.ports, transport.protocol, ids.client);
    let Some(state) = QUIC_FLOWS.get_ptr_mut(id) else {
        return;
    };
    // SAFETY: points to a map value.
    unsafe {
        let left = &raw mut (*state).left;
        let packets = left.read_volatile();
        if packets == 0 {
            return;
        }
        left.write_volatile(packets - 1);
    }
    let bytes = transport.end.saturating_sub(payload);
    sample::take(ctx, SampleKind::Quic, id, payload, [bytes, 0]);
}
