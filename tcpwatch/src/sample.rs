//! A piece of a packet that may tell a name, on its way from the kernel to who reads it.

use std::net::IpAddr;

pub use tcpwatch_common::names::SampleKind;

/// One packet's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
