//! What tells the name of an address: which packets are looked at, and the samples of them that the daemon reads.
//!
//! Nothing here is on the short way: packets are looked at when they open a connection, do more than acknowledge from a port that has
//! just opened one, or ask a name server. The flows that samples are expected of are in a table whose oldest entries go by themselves.

pub mod dns;
pub mod flow;
pub mod initial;
mod sample;

use core::mem::MaybeUninit;

use aya_ebpf::programs::TcContext;
use tcpwatch_common::names::{FlowId, LONG_BYTES, SampleKind};
use tcpwatch_common::{POLICY_DNS, POLICY_QUIC, POLICY_TLS};

use self::flow::{expect, forget, now, remember};
use self::sample::take;
use crate::maps::FLOWS;
use crate::parse::{Key, Parsed, header};
use crate::transport::{self, TCP_FLAGS, Transport, opens_tcp, tcp_bytes};

/// The port of name servers.
pub const DNS: u16 = 53;
/// Data packets of a new TCP connection that are sampled, and Initials of a QUIC connection.
const MOST_FIRST_PACKETS: u32 = 4;
/// How long an answer of a name server is waited for, and how long a new connection's first data, in nanoseconds.
const PATIENCE: u64 = 30_000_000_000;
/// A TLS record with a handshake message in it (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// Words of a TCP header that are read.
const TCP_WORDS: usize = 4;
const FIN_OR_RST: u8 = 0x05;

/// Looks at an outgoing packet that has been counted.
#[inline(always)]
pub fn outgoing(ctx: &TcContext, parsed: Parsed<'_>, flags: u64) {
    let Parsed::Ip { key, transport } = parsed else {
        return;
    };
    if transport.is_tcp() {
        tcp(ctx, key, &transport, flags);
    } else if transport.opens == transport::QUIC {
        if flags & POLICY_QUIC != 0 {
            initial::sample(ctx, key, &transport);
        }
    } else if flags & POLICY_DNS != 0 && transport.remote_port() == DNS {
        dns::question(ctx, key, &transport);
    }
}

/// The parts of a TCP header that are needed.
struct Tcp {
    sequence: u32,
    acknowledged: u32,
    flags: u8,
    /// Where the data begins.
    payload: u32,
    /// How much there is.
    bytes: u32,
}

#[inline(always)]
fn tcp_header(ctx: &TcContext, transport: &Transport) -> Option<Tcp> {
    let offset = transport.offset;
    let mut copy = MaybeUninit::<[u32; TCP_WORDS]>::uninit();
    let at = header::<false, TCP_WORDS>(ctx, offset, 16, &mut copy)?;
    // SAFETY: sixteen bytes are there.
    let (sequence, acknowledged, last) = unsafe {
        (
            at.add(1).read_volatile(),
            at.add(2).read_volatile(),
            at.add(3).read_volatile(),
        )
    };
    let [data_offset, flags, ..] = last.to_ne_bytes();
    const { assert!(TCP_FLAGS == 13) };
    let payload = offset + tcp_bytes(data_offset);
    Some(Tcp {
        sequence: u32::from_be(sequence),
        acknowledged: u32::from_be(acknowledged),
        flags,
        payload,
        bytes: transport.end.saturating_sub(payload),
    })
}

#[inline(always)]
fn tcp(ctx: &TcContext, key: &Key, transport: &Transport, flags: u64) {
    let Some(tcp) = tcp_header(ctx, transport) else {
        return;
    };
    let mut place = MaybeUninit::uninit();
    let id = flow::outgoing(&mut place, key, transport.ports, transport.protocol, 0);
    let to_dns = transport.remote_port() == DNS;
    if opens_tcp(tcp.flags) {
        if to_dns {
            if flags & POLICY_DNS != 0 {
                // Nothing is believed until the server has acknowledged this.
                remember(id, tcp.sequence.wrapping_add(1), 0, now());
            }
        } else if flags & POLICY_TLS != 0
            && remember(id, tcp.sequence.wrapping_add(1), MOST_FIRST_PACKETS, now())
        {
            expect(transport, true);
        }
        return;
    }
    if to_dns {
        if tcp.flags & FIN_OR_RST != 0 {
            forget(id);
        }
        // An earlier connection from the port was to somebody else.
        if flags & POLICY_TLS != 0 {
            expect(transport, false);
        }
        return;
    }
    if !more_expected(ctx, id, &tcp) {
        forget(id);
        expect(transport, false);
    }
}

/// Samples a data packet of a new TCP connection. False: none is of interest any more.
#[inline(always)]
fn more_expected(ctx: &TcContext, id: &FlowId, tcp: &Tcp) -> bool {
    let Some(state) = FLOWS.get_ptr_mut(id) else {
        return false;
    };
    // SAFETY: points to a map value, here and below.
    let (since, start, left) = unsafe {
        (
            (&raw const (*state).since).read_volatile(),
            (&raw const (*state).start).read_volatile(),
            (&raw const (*state).left).read_volatile(),
        )
    };
    // What only acknowledges is looked at seldom, so whoever comes first sees that it took too long.
    if now().wrapping_sub(since) >= PATIENCE {
        return false;
    }
    if tcp.bytes == 0 {
        return tcp.flags & FIN_OR_RST == 0;
    }
    let offset = tcp.sequence.wrapping_sub(start);
    if left == 0 || offset > LONG_BYTES as u32 {
        return false;
    }
    let whole = if offset == 0 {
        match hello_bytes(ctx, tcp.payload, tcp.bytes) {
            Some(bytes) => bytes <= tcp.bytes,
            None => return false,
        }
    } else {
        false
    };
    // SAFETY: see above.
    unsafe { (&raw mut (*state).left).write_volatile(left - 1) };
    take(ctx, SampleKind::Tls, id, tcp.payload, [tcp.bytes, offset]);
    !whole && left > 1
}

/// Bytes of the record that a ClientHello begins in and, at the stream's beginning, ends in as a rule. None: this is no TLS.
#[inline(always)]
fn hello_bytes(ctx: &TcContext, payload: u32, bytes: u32) -> Option<u32> {
    const RECORD_HEADER: u32 = 5;
    let mut copy = MaybeUninit::<[u32; 2]>::uninit();
    if bytes < RECORD_HEADER + 1 {
        let at = header::<false, 2>(ctx, payload, 1, &mut copy)?;
        // SAFETY: a byte is there.
        let first = unsafe { at.cast::<u8>().read_volatile() };
        return (first == HANDSHAKE).then_some(u32::MAX);
    }
    let at = header::<false, 2>(ctx, payload, RECORD_HEADER + 1, &mut copy)?;
    // SAFETY: six bytes are there.
    let (kind, high, low, message) = unsafe {
        let at = at.cast::<u8>();
        (
            at.read_volatile(),
            at.add(3).read_volatile(),
            at.add(4).read_volatile(),
            at.add(5).read_volatile(),
        )
    };
    let record = u32::from(high) << 8 | u32::from(low);
    (kind == HANDSHAKE && message == CLIENT_HELLO).then_some(RECORD_HEADER + record)
}
