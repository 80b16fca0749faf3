//! Samples of packets that tell the name of an address: what the programs put into the ring buffer.

use crate::Address;

/// What a sample is of.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SampleKind {
    /// A name server's answer by UDP.
    DnsUdp = 0,
    /// A piece of a name server's answers by TCP.
    DnsTcp = 1,
    /// What a new TCP connection sends first.
    Tls = 2,
    /// A datagram with a QUIC Initial.
    Quic = 3,
}

/// What is known of a sample besides its bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SampleHead {
    /// One of [`SampleKind`].
    pub kind: u32,
    /// How many bytes of the payload follow.
    pub bytes: u32,
    /// How many it has.
    pub payload_bytes: u32,
    /// TCP: place of the first of them in the stream, 0 being the first after the handshake.
    pub offset: u32,
    /// This host's port and the other's, as they lie in the packet.
    pub local_port: [u8; 2],
    /// See `local_port`.
    pub remote_port: [u8; 2],
    /// This host's address.
    pub local: Address,
    /// The other's.
    pub remote: Address,
}

/// Bytes of payload in a sample of most packets: a datagram of an ordinary network fits.
pub const SHORT_BYTES: usize = 1536;
/// Bytes of payload in a sample of a large segment: a TLS record of the largest size fits (RFC 8446 section 5.1).
pub const LONG_BYTES: usize = 16_384 + 256;

/// A sample in the ring buffer.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Sample<const BYTES: usize> {
    /// What it is.
    pub head: SampleHead,
    /// The payload's beginning.
    pub payload: [u8; BYTES],
}

/// A connection or a question that samples are expected of.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowId {
    /// This host's address.
    pub local: Address,
    /// The other's.
    pub remote: Address,
    /// This host's port, then the other's, as they lie in an outgoing packet.
    pub ports: [u8; 4],
    /// IP protocol.
    pub protocol: u32,
    /// DNS: the question's number. QUIC: the client's connection identifier, or its first eight bytes. TCP: zero.
    pub token: u64,
}

/// What is still expected of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowState {
    /// When it began, or was last seen to begin anew, in nanoseconds of the kernel's monotonic clock.
    pub since: u64,
    /// TCP: sequence number of the first byte.
    pub start: u32,
    /// How many more packets are sampled.
    pub left: u32,
}

/// How many connections and questions are remembered; the one that was not used for longest goes.
pub const FLOWS: u32 = 16_384;
/// How many samples a CPU takes in a second, at most.
pub const MOST_SAMPLES: u64 = 10_000;

/// A CPU's account of its samples.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sampling {
    /// The second that `used` is of.
    pub second: u64,
    /// Samples taken in it.
    pub used: u64,
    /// Samples taken.
    pub taken: u64,
    /// Samples not taken: too many in a second, or the ring buffer was full.
    pub dropped: u64,
}

const _: () = {
    assert!(size_of::<SampleHead>() == 52);
    assert!(size_of::<FlowId>() == 48 && align_of::<FlowId>() == 8);
    assert!(size_of::<FlowState>() == 16);
    assert!(size_of::<Sampling>() == 32);
    assert!(size_of::<Sample<SHORT_BYTES>>() == 52 + SHORT_BYTES);
};
