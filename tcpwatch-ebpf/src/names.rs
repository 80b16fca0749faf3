//! What tells the name of an address: which packets are looked at, and the samples of them that the daemon reads.
//!
//! Nothing here is on the short way: packets are looked at when they open a connection, leave from a port that has just opened one,
//! or ask a name server. The flows that samples are expected of are in a table whose oldest entries go by themselves.

use core::arch::asm;
use core::mem::{MaybeUninit, offset_of};

use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_RB_NO_WAKEUP, BPF_RB_RING_SIZE};
use aya_ebpf::helpers::{bpf_ktime_get_ns, bpf_skb_load_bytes};
use aya_ebpf::programs::TcContext;
use network_types::ip::IpProto;
use tcpwatch_common::front::Cpu;
use tcpwatch_common::names::{
    FlowId, FlowState, LONG_BYTES, MOST_SAMPLES, SHORT_BYTES, Sample, SampleHead, SampleKind,
};
use tcpwatch_common::ports::{self, PortGroup, group};
use tcpwatch_common::{POLICY_DNS, POLICY_QUIC, POLICY_TLS};

use crate::atomic;
use crate::bell;
use crate::fast::this_cpu;
use crate::maps::{FLOWS, PORTS, QUIC_FLOWS, SAMPLES};
use crate::parse::{Key, Parsed, header, skb};
use crate::transport::{self, TCP_FLAGS, Transport, UDP_PAYLOAD, opens_tcp};

/// The port of name servers.
pub const DNS: u16 = 53;
/// System ports (RFC 6335 section 6) are servers': an Initial that leaves from one is an answer.
const FIRST_CLIENT_PORT: u16 = 1024;
/// How long after a QUIC connection's first Initial another with the same identifier belongs to it, in nanoseconds. A client gives up
/// sooner.
const SAME_CONNECTION: u64 = 30_000_000_000;
/// Data packets of a new TCP connection that are sampled, and Initials of a QUIC connection.
const MOST_FIRST_PACKETS: u32 = 4;
/// Pieces of a name server's answers by TCP.
const MOST_DNS_PIECES: u32 = 64;
/// The longest connection identifier (RFC 9000 section 17.2).
const MOST_ID_BYTES: u8 = 20;
/// The shortest identifier that a client gives the server in its first Initial (RFC 9000 section 7.2): a packet with a shorter one is
/// an answer.
const FIRST_ID_BYTES: u8 = 8;
/// How long an answer of a name server is waited for, and how long a new connection's first data, in nanoseconds.
const PATIENCE: u64 = 30_000_000_000;
/// A TLS record with a handshake message in it (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// Which samples ask whether the daemon is to be woken: one in 64.
const BELL_STEP: u64 = 63;
/// Nearly a second, in a form that costs no division.
const SECOND_BITS: u32 = 30;
/// Words of a TCP header that are read.
const TCP_WORDS: usize = 4;
const FIN_OR_RST: u8 = 0x05;
/// Set in a DNS message that answers (RFC 1035 section 4.1.1), in the third byte.
const ANSWERS: u8 = 0x80;

/// Words of a flow's identity.
const ID_WORDS: usize = size_of::<FlowId>() / size_of::<u32>();

/// The identity of a flow, word by word: the compiler would clear and copy it byte by byte.
#[inline(always)]
fn identity(
    place: &mut MaybeUninit<FlowId>,
    local: [u32; 4],
    remote: [u32; 4],
    ports: u32,
    protocol: u8,
    token: u64,
) -> &FlowId {
    let words = place.as_mut_ptr().cast::<u32>();
    let put = |index: usize, word: u32| {
        // SAFETY: inside the place, aligned for words.
        unsafe { words.add(index).write_volatile(word) };
    };
    put(0, local[0]);
    put(1, local[1]);
    put(2, local[2]);
    put(3, local[3]);
    put(4, remote[0]);
    put(5, remote[1]);
    put(6, remote[2]);
    put(7, remote[3]);
    put(8, ports);
    put(9, u32::from(protocol));
    put(10, token as u32);
    put(ID_WORDS - 1, (token >> 32) as u32);
    // SAFETY: every word was written just now.
    unsafe { place.assume_init_ref() }
}

const _: () = assert!(offset_of!(FlowId, ports) == 32 && offset_of!(FlowId, token) == 40);

#[inline(always)]
fn now() -> u64 {
    // SAFETY: no preconditions.
    unsafe { bpf_ktime_get_ns() }
}

/// The group that the local port of an outgoing packet is in, for one generation.
#[inline(always)]
pub fn port_group(odd: bool, transport: &Transport) -> Option<*mut PortGroup> {
    PORTS.get_ptr_mut(group(odd, transport.is_udp(), transport.local_port()))
}

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
    if bytes >= 8 {
        let pointer = header::<false, 2>(ctx, at + 1, 8, &mut id)?;
        // SAFETY: eight bytes are there.
        let (low, high) = unsafe { (pointer.read_volatile(), pointer.add(1).read_volatile()) };
        let client = u64::from(low) | u64::from(high) << 32;
        return Some(Ids {
            destination_bytes,
            client,
        });
    }
    if bytes >= 4 {
        let pointer = header::<false, 2>(ctx, at + 1, 4, &mut id)?;
        // SAFETY: four bytes are there.
        let client = u64::from(unsafe { pointer.read_volatile() });
        return Some(Ids {
            destination_bytes,
            client,
        });
    }
    // Whoever uses shorter ones tells connections apart by ports.
    Some(Ids {
        destination_bytes,
        client: u64::from(bytes),
    })
}

/// How many connections an Initial opens: 1 if it is the first of its connection, else 0.
#[inline(never)]
pub fn opens_quic(ctx: &TcContext, key: &Key, ports: u32, payload: u32) -> u64 {
    let local_port = u16::from_be(crate::transport::first_half(ports));
    if local_port < FIRST_CLIENT_PORT {
        return 0;
    }
    let Some(ids) = connection_ids(ctx, payload) else {
        return 0;
    };
    let mut place = MaybeUninit::uninit();
    let id = identity(
        &mut place,
        key.source,
        key.destination,
        ports,
        IpProto::Udp as u8,
        ids.client,
    );
    let since = now();
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

/// Expects samples of a flow. Without room for it, there will be none.
#[inline(always)]
fn remember(id: &FlowId, start: u32, left: u32, since: u64) -> bool {
    FLOWS.insert(id, FlowState { since, start, left }, 0).is_ok()
}

#[inline(always)]
fn forget(id: &FlowId) {
    // It may have made room for another already.
    FLOWS.remove(id).unwrap_or(());
}

/// Marks a port in both generations, or takes the mark off. Not atomic: packets of neighbouring ports on two CPUs may undo each other's
/// mark, which costs a name, or a port's next packet the long way.
#[inline(always)]
fn expect(transport: &Transport, expected: bool) {
    let bit = ports::bit(transport.local_port());
    let mark = |odd| {
        if let Some(of) = port_group(odd, transport) {
            // SAFETY: a word of a map value.
            unsafe {
                let marks = &raw mut (*of).expected;
                let others = marks.read_volatile() & !bit;
                marks.write_volatile(if expected { others | bit } else { others });
            }
        }
    };
    mark(false);
    mark(true);
}

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
            quic(ctx, key, &transport);
        }
    } else if flags & POLICY_DNS != 0 && transport.remote_port() == DNS {
        question(ctx, key, &transport);
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
    let payload = offset + u32::from(data_offset >> 4) * 4;
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
    let id = identity(
        &mut place,
        key.source,
        key.destination,
        transport.ports,
        transport.protocol,
        0,
    );
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
    if tcp.bytes == 0 {
        return tcp.flags & FIN_OR_RST == 0 && now().wrapping_sub(since) < PATIENCE;
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

#[inline(always)]
fn quic(ctx: &TcContext, key: &Key, transport: &Transport) {
    let payload = transport.offset + UDP_PAYLOAD as u32;
    let Some(ids) = connection_ids(ctx, payload) else {
        return;
    };
    let mut place = MaybeUninit::uninit();
    let id = identity(
        &mut place,
        key.source,
        key.destination,
        transport.ports,
        transport.protocol,
        ids.client,
    );
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
    take(ctx, SampleKind::Quic, id, payload, [bytes, 0]);
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
fn question(ctx: &TcContext, key: &Key, transport: &Transport) {
    let Some((number, false)) = message(ctx, transport.offset + UDP_PAYLOAD as u32) else {
        return;
    };
    let mut place = MaybeUninit::uninit();
    let id = identity(
        &mut place,
        key.source,
        key.destination,
        transport.ports,
        transport.protocol,
        number,
    );
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
    const SYN: u8 = 0x02;
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
    if tcp.bytes == 0 || pieces == 0 || offset > FARTHEST {
        return;
    }
    // One stays: none means that nothing is believed yet.
    if pieces > 1 {
        // SAFETY: as above.
        unsafe { left.write_volatile(pieces - 1) };
    } else {
        return;
    }
    take(ctx, SampleKind::DnsTcp, id, tcp.payload, [tcp.bytes, offset]);
}

/// Puts the payload at `payload` into the ring buffer, if it may. `place`: its length, and where in the stream it is.
#[inline(always)]
fn take(ctx: &TcContext, kind: SampleKind, id: &FlowId, payload: u32, place: [u32; 2]) {
    let [bytes, offset] = place;
    if let Some(cpu) = this_cpu() {
        let taken = may_sample(cpu)
            && if bytes as usize <= SHORT_BYTES {
                put::<SHORT_BYTES>(ctx, kind, id, payload, bytes, offset)
            } else {
                put::<LONG_BYTES>(ctx, kind, id, payload, bytes, offset)
            };
        // SAFETY: this CPU's own. Atomic for PREEMPT_RT, and samples are seldom taken.
        unsafe {
            let sampling = &raw mut (*cpu).sampling;
            if taken {
                atomic::add(&raw mut (*sampling).taken, 1);
                if (*sampling).taken & BELL_STEP == 0 && is_filling() {
                    bell::ring();
                }
            } else {
                atomic::add(&raw mut (*sampling).dropped, 1);
            }
        }
    }
}

/// Whether a quarter of the ring buffer is waiting to be read.
#[inline(always)]
fn is_filling() -> bool {
    let waiting = SAMPLES.query(u64::from(BPF_RB_AVAIL_DATA));
    waiting >= SAMPLES.query(u64::from(BPF_RB_RING_SIZE)) / 4
}

/// Whether this CPU has taken fewer samples in this second than it may.
#[inline(always)]
fn may_sample(cpu: *mut Cpu) -> bool {
    let second = now() >> SECOND_BITS;
    // SAFETY: this CPU's own.
    unsafe {
        let sampling = &raw mut (*cpu).sampling;
        if (*sampling).second != second {
            (*sampling).second = second;
            (*sampling).used = 0;
        }
        (*sampling).used += 1;
        (*sampling).used <= MOST_SAMPLES
    }
}

/// Keeps the compiler from knowing a number's bounds, so that it checks them where the verifier can see it.
#[inline(always)]
fn bounded(number: u32) -> u32 {
    let mut wide = u64::from(number);
    // SAFETY: assigns a register to itself.
    unsafe {
        asm!("{0} = {0}", inlateout(reg) wide, options(pure, nomem, nostack, preserves_flags));
    }
    wide as u32
}

#[inline(always)]
fn put<const ROOM: usize>(
    ctx: &TcContext,
    kind: SampleKind,
    id: &FlowId,
    payload: u32,
    bytes: u32,
    offset: u32,
) -> bool {
    let Some(mut entry) = SAMPLES.reserve::<Sample<ROOM>>(0) else {
        return false;
    };
    // As the verifier understands it: from 1 to `ROOM`.
    let copied = bounded(bytes.wrapping_sub(1)).min(ROOM as u32 - 1) + 1;
    let sample = entry.as_mut_ptr();
    // SAFETY: inside the entry, which has room for `ROOM` bytes of payload.
    let failed = unsafe {
        let head = &raw mut (*sample).head;
        (*head).kind = kind as u32;
        (*head).bytes = copied;
        (*head).payload_bytes = bytes;
        (*head).offset = offset;
        (*head).segment_bytes = (*skb(ctx)).gso_size;
        let words = core::ptr::from_ref(id).cast::<u32>();
        let to = (&raw mut (*head).local_port).cast::<u32>();
        // Ports, then both addresses: the other way round than the identity has them.
        to.write_volatile(words.add(8).read_volatile());
        let mut word = 0;
        while word < 8 {
            to.add(1 + word).write_volatile(words.add(word).read_volatile());
            word += 1;
        }
        bpf_skb_load_bytes(
            skb(ctx).cast(),
            payload,
            (&raw mut (*sample).payload).cast(),
            copied,
        )
    };
    if failed == 0 {
        // The daemon looks by itself: waking it each time would cost the packets.
        entry.submit(u64::from(BPF_RB_NO_WAKEUP));
        true
    } else {
        entry.discard(u64::from(BPF_RB_NO_WAKEUP));
        false
    }
}

const _: () = {
    assert!(offset_of!(SampleHead, local_port) == 20);
    assert!(offset_of!(SampleHead, local) == 24 && offset_of!(SampleHead, remote) == 40);
};
