//! What the header behind IP says, as far as counting wants to know it.

use core::mem::MaybeUninit;

use aya_ebpf::programs::TcContext;
use network_types::ip::IpProto;

use crate::parse::{Blur, header};

/// IPv6 headers between the fixed one and the transport header that are followed.
const MOST_EXTENSIONS: u32 = 4;

/// Opens a connection, or answers that.
pub const SYN: u8 = 0x02;
/// Acknowledges what has come.
pub const ACK: u8 = 0x10;
/// Bytes of a TCP header up to its flags.
pub const TCP_TO_FLAGS: u32 = 14;
/// Where they are.
pub const TCP_FLAGS: usize = 13;
/// Where the byte before them is, whose upper half says how long the header is.
pub const TCP_DATA_OFFSET: usize = 12;
/// Bytes of a UDP header and of what its payload must begin with to be a QUIC packet with a version.
pub const UDP_TO_VERSION: u32 = 13;
/// Where the payload of UDP begins.
pub const UDP_PAYLOAD: usize = 8;

/// QUIC version 1 (RFC 9000 section 15).
const VERSION_1: u32 = 1;
/// QUIC version 2 (RFC 9369 section 3.1).
const VERSION_2: u32 = 0x6b33_43cf;

/// A packet opens nothing.
pub const NOTHING: u32 = 0;
/// A TCP connection.
pub const TCP: u32 = 1;
/// A QUIC connection, if it is the first Initial of a client.
pub const QUIC: u32 = 2;

/// What is behind the IP headers.
#[derive(Clone, Copy)]
pub struct Transport {
    /// The protocol; of an IPv6 packet the one behind the headers that were followed.
    pub protocol: u8,
    /// Where it begins.
    pub offset: u32,
    /// Source port in the first half, destination port in the second, as they lie in memory; 0: there are none to be read.
    pub ports: u32,
    /// [`NOTHING`], [`TCP`] or [`QUIC`].
    pub opens: u32,
    /// Where the packet ends, by its own account: Ethernet may have more, to be long enough.
    pub end: u32,
}

impl Transport {
    /// One whose header is not read.
    #[inline(always)]
    pub const fn unread(protocol: u8, offset: u32, end: u32) -> Self {
        Self {
            protocol,
            offset,
            ports: 0,
            opens: NOTHING,
            end,
        }
    }

    /// The same, of which the verifier knows nothing.
    #[inline(always)]
    pub const fn blurred(self, blur: Blur) -> Self {
        Self {
            protocol: blur.word(self.protocol as u32) as u8,
            offset: blur.word(self.offset),
            ports: blur.word(self.ports),
            opens: blur.word(self.opens),
            end: blur.word(self.end),
        }
    }

    /// The port that the packet leaves from.
    #[inline(always)]
    pub const fn local_port(&self) -> u16 {
        u16::from_be(first_half(self.ports))
    }

    /// The port that it goes to.
    #[inline(always)]
    pub const fn remote_port(&self) -> u16 {
        u16::from_be(first_half(self.ports.rotate_right(16)))
    }

    #[inline(always)]
    pub const fn is_udp(&self) -> bool {
        self.protocol == IpProto::Udp as u8
    }

    #[inline(always)]
    pub const fn is_tcp(&self) -> bool {
        self.protocol == IpProto::Tcp as u8
    }
}

/// The half of a word that lies first in memory.
#[inline(always)]
pub const fn first_half(word: u32) -> u16 {
    if cfg!(target_endian = "little") {
        word as u16
    } else {
        (word >> 16) as u16
    }
}

/// Bytes of a TCP header with this [data offset](TCP_DATA_OFFSET).
#[inline(always)]
pub const fn tcp_bytes(data_offset: u8) -> u32 {
    (data_offset >> 4) as u32 * 4
}

/// Whether TCP flags are those of a packet that opens a connection.
#[inline(always)]
pub const fn opens_tcp(flags: u8) -> bool {
    flags & (SYN | ACK) == SYN
}

/// Whether a UDP payload that begins so may have QUIC's long header.
#[inline(always)]
pub const fn is_long(first: u8) -> bool {
    first & 0x80 != 0
}

/// Whether a UDP payload that begins so is an Initial: long header, its type, and a version that has that type (RFC 9000 section
/// 17.2.2, RFC 9369 section 3.2). `version` as it lies in the packet.
#[inline(always)]
pub const fn is_initial(first: u8, version: u32) -> bool {
    match u32::from_be(version) {
        VERSION_1 => first & 0xf0 == 0xc0,
        VERSION_2 => first & 0xf0 == 0xd0,
        _ => false,
    }
}

/// Reads the transport header at `offset`. None: it is not where `DIRECT` looks for it. Where the packet ends in it, it is not read.
#[inline(always)]
pub fn read<const DIRECT: bool>(ctx: &TcContext, protocol: u8, offset: u32, end: u32) -> Option<Transport> {
    let mut transport = Transport::unread(protocol, offset, end);
    let mut copy = MaybeUninit::<[u32; 4]>::uninit();
    if transport.is_tcp() {
        if let Some(at) = header::<DIRECT, 4>(ctx, offset, TCP_TO_FLAGS, &mut copy) {
            // SAFETY: fourteen bytes are there.
            let flags = unsafe {
                transport.ports = at.read_volatile();
                at.byte_add(TCP_FLAGS).cast::<u8>().read_volatile()
            };
            if opens_tcp(flags) {
                transport.opens = TCP;
            }
        } else if DIRECT && ctx.len() >= offset + TCP_TO_FLAGS {
            return None;
        }
    } else if transport.is_udp() {
        if let Some(at) = header::<DIRECT, 4>(ctx, offset, UDP_TO_VERSION, &mut copy) {
            // A copy lies on the stack, where words are read where they are aligned only.
            // SAFETY: thirteen bytes are there.
            let (payload, last) = unsafe {
                transport.ports = at.read_volatile();
                (
                    at.byte_add(UDP_PAYLOAD).read_volatile(),
                    at.byte_add(UDP_PAYLOAD + 4).cast::<u8>().read_volatile(),
                )
            };
            let [first, a, b, c] = payload.to_ne_bytes();
            if is_initial(first, u32::from_ne_bytes([a, b, c, last])) {
                transport.opens = QUIC;
            }
        } else if let Some(at) = header::<DIRECT, 4>(ctx, offset, UDP_PAYLOAD as u32, &mut copy) {
            if DIRECT && ctx.len() >= offset + UDP_TO_VERSION {
                return None;
            }
            // SAFETY: eight bytes are there.
            transport.ports = unsafe { at.read_volatile() };
        } else if DIRECT && ctx.len() >= offset + UDP_PAYLOAD as u32 {
            return None;
        }
    }
    Some(transport)
}

/// Where a packet ends that says that it has `bytes` from `offset` on. Super-packets may be longer than they can say.
#[inline(always)]
pub fn end(ctx: &TcContext, offset: u32, bytes: u16) -> u32 {
    let end = offset + u32::from(bytes);
    if bytes == 0 || end > ctx.len() {
        ctx.len()
    } else {
        end
    }
}

/// Whether an IPv6 header of this number may stand before the transport header.
#[inline(always)]
pub const fn is_extension(protocol: u8) -> bool {
    protocol == IpProto::HopOpt as u8
        || protocol == IpProto::Ipv6Route as u8
        || protocol == IpProto::Ipv6Frag as u8
        || protocol == IpProto::Ipv6Opts as u8
        || protocol == IpProto::Ah as u8
}

/// Follows IPv6 extension headers (RFC 8200 section 4) from `offset` on, by copies: to the transport header, or to what cannot be
/// followed.
#[inline(always)]
pub fn behind_extensions(ctx: &TcContext, mut protocol: u8, mut offset: u32, end: u32) -> Transport {
    let mut followed = 0;
    while is_extension(protocol) && followed < MOST_EXTENSIONS {
        followed += 1;
        let mut copy = MaybeUninit::<[u32; 1]>::uninit();
        let Some(at) = header::<false, 1>(ctx, offset, 4, &mut copy) else {
            return Transport::unread(protocol, offset, end);
        };
        // SAFETY: four bytes are there.
        let [next, length, fragment_high, fragment_low] = unsafe { at.read_volatile() }.to_ne_bytes();
        offset += match protocol {
            fragment if fragment == IpProto::Ipv6Frag as u8 => {
                // The upper 13 bits: behind the first fragment there is no header.
                if fragment_high != 0 || fragment_low & 0xf8 != 0 {
                    return Transport::unread(protocol, offset, end);
                }
                8
            }
            // RFC 4302 section 2.2: in words, minus two.
            ah if ah == IpProto::Ah as u8 => (u32::from(length) + 2) * 4,
            _ => (u32::from(length) + 1) * 8,
        };
        protocol = next;
    }
    read::<false>(ctx, protocol, offset, end).unwrap_or_else(|| Transport::unread(protocol, offset, end))
}
