//! The beginning of a QUIC connection, version 1 (RFC 9000, RFC 9001) and 2 (RFC 9369): the client's Initials, which
//! are sealed with keys that everybody can derive, and the ClientHello in them. The cryptography is rustls'.

use rustls::Side;
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::quic::{DirectionalKeys, Keys};

use super::hello::{self, Hello, server_name};
use super::pieces::{Full, Pieces};
use super::reader::{Reader, Short};

/// Bytes of the handshake that are looked at.
const LONGEST: usize = hello::LONGEST + 4;

/// Initials in one sample that are opened. A sample may be several datagrams that the kernel segments later: then their
/// Initials follow one another as if they were one datagram's.
const MOST_PACKETS: usize = 16;

/// Longest connection ID (RFC 9000 section 17.2).
const LONGEST_ID: usize = 20;

/// Bytes of the sealed packet from which the mask of the header is made, and how far behind the beginning of the packet
/// number they are (RFC 9001 section 5.4.2).
const MASK_SAMPLE: usize = 16;
const LONGEST_NUMBER: usize = 4;

const LONG_HEADER: u8 = 0x80;

const PADDING: u64 = 0x00;
const PING: u64 = 0x01;
const ACK: u64 = 0x02;
const ACK_ECN: u64 = 0x03;
const CRYPTO: u64 = 0x06;

/// What is known of a connection whose ClientHello has not been read.
#[derive(Debug, Default)]
pub struct Connection {
    /// From which the keys come: of the first Initial, or of the first after a Retry (RFC 9001 section 5.2). Others that
    /// the client uses later, at the server's wish, change nothing.
    origin: Option<Origin>,
    crypto: Pieces,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Origin {
    version: Version,
    length: usize,
    id: [u8; LONGEST_ID],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// An Initial as it was sent.
struct Initial<'a> {
    origin: Origin,
    /// From the first byte of the header to the last of the packet.
    packet: &'a [u8],
    /// Where the packet number begins.
    number_at: usize,
}

impl Connection {
    /// Reads a datagram that the client sent. Unreadable is one that is no Initial of this connection, or not whole; it
    /// changes nothing.
    pub fn datagram(&mut self, datagram: &[u8]) -> Hello {
        let initials = initials(datagram);
        let Some(first) = initials.first() else {
            return Hello::Unreadable;
        };
        let mut candidates = vec![first.origin];
        if let Some(known) = self.origin.filter(|known| *known != first.origin) {
            candidates.insert(0, known);
        }
        for origin in candidates {
            let Some(keys) = keys(origin) else {
                continue;
            };
            let opened: Vec<_> = initials
                .iter()
                .filter_map(|initial| initial.open(&keys))
                .collect();
            if opened.is_empty() {
                continue;
            }
            if self.origin != Some(origin) {
                // After a Retry the handshake is sent again.
                *self = Self {
                    origin: Some(origin),
                    crypto: Pieces::default(),
                };
            }
            for frames in opened {
                if self.frames(&frames).is_err() {
                    return Hello::Unreadable;
                }
            }
            return server_name(self.crypto.beginning());
        }
        Hello::Unreadable
    }

    /// Whether anything is known yet.
    pub fn is_empty(&self) -> bool {
        self.origin.is_none()
    }

    /// The memory in use beside the structure, in bytes.
    pub(super) fn size(&self) -> usize {
        self.crypto.size()
    }

    /// Keeps what CRYPTO frames carry, up to the first frame that an Initial that matters does not have (RFC 9000
    /// section 17.2.2).
    fn frames(&mut self, frames: &[u8]) -> Result<(), Full> {
        let mut frames = Reader::new(frames);
        while let Ok(Some((offset, data))) = crypto(&mut frames) {
            self.crypto.insert(offset, data, LONGEST)?;
        }
        Ok(())
    }
}

/// The content of the next CRYPTO frame and its place; none when another frame ends the search.
fn crypto<'a>(frames: &mut Reader<'a>) -> Result<Option<(usize, &'a [u8])>, Short> {
    loop {
        match frames.varint()? {
            PADDING | PING => {}
            kind @ (ACK | ACK_ECN) => {
                let [_largest, _delay] = [frames.varint()?, frames.varint()?];
                let ranges = frames.varint()?;
                frames.varint()?;
                let mut numbers = ranges.saturating_mul(2);
                if kind == ACK_ECN {
                    numbers = numbers.saturating_add(3);
                }
                // Each takes a byte at least, so that this ends with the packet.
                for _ in 0..numbers {
                    frames.varint()?;
                }
            }
            CRYPTO => {
                let offset = frames.varint_length()?;
                let length = frames.varint_length()?;
                return Ok(Some((offset, frames.take(length)?)));
            }
            _ => return Ok(None),
        }
    }
}

/// The Initials of a datagram, as far as it can be followed. What is for another connection is not looked at (RFC 9000
/// section 12.2).
fn initials(datagram: &[u8]) -> Vec<Initial<'_>> {
    let mut found: Vec<Initial<'_>> = Vec::new();
    let mut reader = Reader::new(datagram);
    while found.len() < MOST_PACKETS {
        let Ok(Some(packet)) = packet(&mut reader) else {
            break;
        };
        let Packet::Initial(initial) = packet else {
            continue;
        };
        if found.first().is_some_and(|first| first.origin != initial.origin) {
            break;
        }
        found.push(initial);
    }
    found
}

enum Packet<'a> {
    Initial(Initial<'a>),
    Other,
}

/// What packets of both versions with a long header begin with.
struct Header<'a> {
    first: u8,
    version: Version,
    destination: &'a [u8],
    source: &'a [u8],
}

/// The next packet's; none: it has another.
fn header<'a>(datagram: &mut Reader<'a>) -> Result<Option<Header<'a>>, Short> {
    let first = datagram.u8()?;
    if first & LONG_HEADER == 0 {
        return Ok(None);
    }
    let version = match datagram.u32()? {
        0x0000_0001 => Version::One,
        0x6b33_43cf => Version::Two,
        _ => return Ok(None),
    };
    let mut id = || -> Result<&'a [u8], Short> {
        let length = usize::from(datagram.u8()?);
        datagram.take(length)
    };
    let (destination, source) = (id()?, id()?);
    if destination.len() > LONGEST_ID || source.len() > LONGEST_ID {
        return Ok(None);
    }
    Ok(Some(Header {
        first,
        version,
        destination,
        source,
    }))
}

/// What a client calls itself: by that a socket's connections to the same server are told apart. Bytes behind its length are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ClientId {
    length: usize,
    id: [u8; LONGEST_ID],
}

impl ClientId {
    /// None: the datagram does not begin with a long header.
    pub(super) fn of(datagram: &[u8]) -> Option<Self> {
        let header = header(&mut Reader::new(datagram)).ok()??;
        Some(Self {
            length: header.source.len(),
            id: padded(header.source),
        })
    }
}

/// An ID with zeros behind it; at most the first [`LONGEST_ID`] bytes.
fn padded(id: &[u8]) -> [u8; LONGEST_ID] {
    let mut padded = [0; LONGEST_ID];
    for (to, from) in padded.iter_mut().zip(id) {
        *to = *from;
    }
    padded
}

/// The next packet; none when it has no length of its own: then it is the last one.
fn packet<'a>(datagram: &mut Reader<'a>) -> Result<Option<Packet<'a>>, Short> {
    let whole = datagram.rest();
    let Some(Header {
        first,
        version,
        destination,
        ..
    }) = header(datagram)?
    else {
        return Ok(None);
    };
    // The second has the types in another order: Retry, Initial, 0-RTT, Handshake.
    let kind = match version {
        Version::One => first >> 4 & 3,
        Version::Two => (first >> 4).wrapping_sub(1) & 3,
    };
    match kind {
        0 => {
            let token = datagram.varint_length()?;
            datagram.take(token)?;
        }
        // Retry, which no client sends.
        3 => return Ok(None),
        _ => {}
    }
    let sealed = datagram.varint_length()?;
    let number_at = whole.len() - datagram.rest().len();
    datagram.take(sealed)?;
    if kind != 0 {
        return Ok(Some(Packet::Other));
    }
    let origin = Origin {
        version,
        length: destination.len(),
        id: padded(destination),
    };
    Ok(Some(Packet::Initial(Initial {
        origin,
        packet: &whole[..number_at + sealed],
        number_at,
    })))
}

impl Initial<'_> {
    /// The frames; none if it was not sealed with these keys.
    fn open(&self, keys: &DirectionalKeys) -> Option<Vec<u8>> {
        let mut packet = self.packet.to_vec();
        let (header, sealed) = packet.split_at_mut(self.number_at);
        let (number, rest) = sealed.split_at_mut_checked(LONGEST_NUMBER)?;
        let sample = rest.get(..MASK_SAMPLE)?;
        let first = header.first_mut()?;
        keys.header.decrypt_in_place(sample, first, number).ok()?;
        let length = usize::from(*first & 3) + 1;
        // Those of Initials are small: what is left out in front of them is zero (RFC 9000 appendix A.3).
        let number = number[..length]
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte));
        let (header, sealed) = packet.split_at_mut(self.number_at + length);
        let frames = keys.packet.decrypt_in_place(number, header, sealed).ok()?;
        Some(frames.to_vec())
    }
}

/// The keys with which the client seals.
fn keys(origin: Origin) -> Option<DirectionalKeys> {
    let suite = TLS13_AES_128_GCM_SHA256.tls13()?;
    let quic = suite.quic_suite()?.quic;
    let version = match origin.version {
        Version::One => rustls::quic::Version::V1,
        Version::Two => rustls::quic::Version::V2,
    };
    let id = &origin.id[..origin.length];
    Some(Keys::initial(version, suite, quic, id, Side::Server).remote)
}

#[cfg(test)]
mod tests;
