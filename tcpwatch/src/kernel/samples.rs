//! The ring buffer that the programs put samples of names into.

use std::fmt;
use std::net::IpAddr;

use aya::maps::{MapData, RingBuf};
use tcpwatch_common::names::{SampleHead, SampleKind};

use super::policy::to_ip;

/// A piece of a packet that may tell a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawSample<'a> {
    /// What it is of.
    pub kind: SampleKind,
    /// This host's address.
    pub local: IpAddr,
    /// This host's port.
    pub local_port: u16,
    /// The other's address.
    pub remote: IpAddr,
    /// The other's port.
    pub remote_port: u16,
    /// TCP: place of the payload's first byte in the stream, 0 being the first after the handshake.
    pub offset: u32,
    /// Payload of each datagram that a super-packet becomes; none: it is one.
    pub segment_bytes: Option<usize>,
    /// What there is of the payload of TCP or UDP.
    pub payload: &'a [u8],
    /// Whether the packet had more.
    pub cut: bool,
}

impl<'a> RawSample<'a> {
    /// None: this is no sample.
    fn parse(entry: &'a [u8]) -> Option<Self> {
        let (head, payload) = entry.split_at_checked(size_of::<SampleHead>())?;
        // SAFETY: as many bytes as the struct has; integers and arrays of bytes only, whatever the alignment.
        let head: SampleHead = unsafe { head.as_ptr().cast::<SampleHead>().read_unaligned() };
        let kind = [
            SampleKind::DnsUdp,
            SampleKind::DnsTcp,
            SampleKind::Tls,
            SampleKind::Quic,
        ]
        .into_iter()
        .find(|kind| *kind as u32 == head.kind)?;
        Some(Self {
            kind,
            local: to_ip(head.local),
            local_port: u16::from_be_bytes(head.local_port),
            remote: to_ip(head.remote),
            remote_port: u16::from_be_bytes(head.remote_port),
            offset: head.offset,
            segment_bytes: (head.segment_bytes > 0).then_some(head.segment_bytes as usize),
            payload: payload.get(..head.bytes as usize)?,
            cut: head.payload_bytes > head.bytes,
        })
    }
}

/// The samples that have not been read yet.
pub struct Samples {
    ring: RingBuf<MapData>,
}

impl fmt::Debug for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Samples").finish_non_exhaustive()
    }
}

impl Samples {
    pub(super) const fn new(ring: RingBuf<MapData>) -> Self {
        Self { ring }
    }

    /// Hands over at most `most` samples, oldest first. True: there may be more.
    pub fn read(&mut self, most: usize, mut sample: impl FnMut(RawSample<'_>)) -> bool {
        for _ in 0..most {
            let Some(entry) = self.ring.next() else {
                return false;
            };
            if let Some(raw) = RawSample::parse(&entry) {
                sample(raw);
            }
        }
        true
    }
}
