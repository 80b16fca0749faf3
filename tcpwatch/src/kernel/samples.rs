//! The ring buffer that the programs put samples of names into.

use std::fmt;

use aya::maps::{MapData, RingBuf};
use tcpwatch_common::names::SampleHead;

use super::policy::to_ip;
use crate::sample::{Sample, SampleKind};

/// What an entry of the ring buffer has. None: it is no sample.
fn parse(entry: &[u8]) -> Option<Sample<'_>> {
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
    Some(Sample {
        kind,
        local: to_ip(head.local),
        local_port: u16::from_be_bytes(head.local_port),
        remote: to_ip(head.remote),
        remote_port: u16::from_be_bytes(head.remote_port),
        offset: head.offset,
        payload: payload.get(..head.bytes as usize)?,
        cut: head.payload_bytes > head.bytes,
    })
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
    pub fn read(&mut self, most: usize, mut taken: impl FnMut(Sample<'_>)) -> bool {
        for _ in 0..most {
            let Some(entry) = self.ring.next() else {
                return false;
            };
            if let Some(sample) = parse(&entry) {
                taken(sample);
            }
        }
        true
    }
}
