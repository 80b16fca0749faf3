//! Names: what packets tell about the name that a destination is known by. Here are the words in which that is said;
//! [`Observer`] reads them out of packets.
//!
//! It never knows where the packets come from, and everything in them is hostile: each parser is bounded in time and
//! memory and answers only names that [`host`] accepts.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub mod book;
pub mod dns;
pub mod hello;
pub mod host;
pub mod observer;
pub mod ptr;
pub mod quic;
pub mod tls;

mod finished;
#[cfg(test)]
mod forge;
mod pieces;
mod reader;
mod table;

pub use book::Book;

pub use observer::{Counters, Observer};

/// What a sample is a piece of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SampleKind {
    /// An answer received by UDP from the name server, which is the remote side.
    DnsUdp,
    /// A piece of what the name server sent on a TCP connection.
    DnsTcp,
    /// A piece of what was sent first on a TCP connection that this host opened.
    Tls,
    /// A datagram sent that begins with a QUIC Initial.
    Quic,
}

/// One packet's payload.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// What it is a piece of.
    pub kind: SampleKind,
    /// This host's address.
    pub local: IpAddr,
    /// This host's port.
    pub local_port: u16,
    /// The other side's address.
    pub remote: IpAddr,
    /// The other side's port.
    pub remote_port: u16,
    /// TCP: the place of the payload's first byte in its direction's stream, 0 for the first after the handshake.
    /// UDP: without meaning.
    pub offset: u32,
    /// Of TCP or UDP, as far as it was taken.
    pub payload: &'a [u8],
    /// Whether the packet had more than `payload`.
    pub cut: bool,
}

/// What was learnt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A connection was opened to a server that its client called `name`.
    Connection {
        /// This host's address.
        source: IpAddr,
        /// The server's address.
        destination: IpAddr,
        /// As [`host`] accepts it.
        name: Arc<str>,
    },
    /// A name server said which addresses `name` has.
    Answer {
        /// That was asked for, as [`host`] accepts it.
        name: Arc<str>,
        /// Each once, with the time for which it may be kept, which may be zero. Not empty.
        addresses: Vec<(IpAddr, Duration)>,
    },
}
