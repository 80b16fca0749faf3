//! The binary interface between the eBPF program and the daemon: every struct that crosses it, and nothing else.
//!
//! All integers are in host byte order; addresses are in network byte order, 16 bytes, with IPv4 written as
//! `::ffff:a.b.c.d` (RFC 4291 section 2.5.5.2).

#![no_std]

pub mod front;
pub mod gso;
pub mod names;
pub mod own;
pub mod ports;

/// Changes whenever a struct, a map or the meaning of a field changes.
pub const ABI_VERSION: u32 = 7;

/// How many generations of every table there are: one is written while the other is drained.
pub const GENERATIONS: usize = 2;

/// An address as the kernel tables hold it: 16 bytes in network order, IPv4 mapped.
pub type Address = [u8; 16];

/// Writes an IPv4 address as the mapped IPv6 address that the tables use.
#[inline(always)]
pub const fn mapped(v4: [u8; 4]) -> Address {
    [
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, v4[0], v4[1], v4[2], v4[3],
    ]
}

/// Bits in front of an IPv4 prefix in its mapped form.
pub const MAPPED_PREFIX_BITS: u32 = 96;

/// Room for own sources in each generation.
pub const SOURCES_ROOM: u32 = 65_536;

/// Set in a ban's value when the prefix is an IPv6 one, which must not match a mapped IPv4 address. The other bits are the
/// index of the ban's counters.
pub const BAN_IPV6: u32 = 1 << 31;

/// What a destination's counts are kept under.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowKey {
    /// Where the packet goes.
    pub destination: Address,
    /// The own source it left from; all zero when `--source any` is in force and the source is not an own address.
    pub source: Address,
    /// The interface it left through.
    pub ifindex: u32,
}

/// An own source: an address on an interface.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceKey {
    /// The address.
    pub address: Address,
    /// The interface it belongs to.
    pub ifindex: u32,
}

/// Packets and bytes on the wire.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets as they leave the device: a segmentation super-packet counts once per segment.
    pub packets: u64,
    /// Bytes of the frames, link-layer headers and the headers of every segment included.
    pub bytes: u64,
}

impl Counts {
    /// Adds `other`, wrapping as the kernel's counters do (2^64 bytes are 5,000 years at 1 Gbit/s).
    #[inline(always)]
    pub const fn add(&mut self, other: Self) {
        self.packets = self.packets.wrapping_add(other.packets);
        self.bytes = self.bytes.wrapping_add(other.bytes);
    }

    /// Takes `other` away again, wrapping.
    #[inline(always)]
    pub const fn subtract(&mut self, other: Self) {
        self.packets = self.packets.wrapping_sub(other.packets);
        self.bytes = self.bytes.wrapping_sub(other.bytes);
    }
}

/// What is counted of a destination.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets and bytes.
    pub counts: Counts,
    /// Attempts to open a TCP connection: SYN without ACK.
    pub tcp_connections: u64,
    /// Attempts to open a QUIC connection of version 1 or 2: a client's Initial, once for each connection.
    pub quic_connections: u64,
}

impl Traffic {
    /// Packets and bytes, no connection.
    #[inline(always)]
    pub const fn of(counts: Counts) -> Self {
        Self {
            counts,
            tcp_connections: 0,
            quic_connections: 0,
        }
    }

    /// Adds `other`, wrapping.
    #[inline(always)]
    pub const fn add(&mut self, other: Self) {
        self.counts.add(other.counts);
        self.tcp_connections = self.tcp_connections.wrapping_add(other.tcp_connections);
        self.quic_connections = self.quic_connections.wrapping_add(other.quic_connections);
    }
}

/// What became of a packet. Decided in this order; the first that fits is the one.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Neither IPv4 nor IPv6 (ARP, MPLS, PPPoE, more than two VLAN tags).
    NotIp = 0,
    /// Says it is IP, but its addresses cannot be read: cut short, wrong version, impossible header length.
    Malformed = 1,
    /// Not sent from one of the watched interface's own addresses: forwarded, or an unspecified source.
    OtherSource = 2,
    /// An answer to a client of this host.
    Served = 3,
    /// Goes to a destination inside one of the operator's prefixes.
    Banned = 4,
    /// Counted under its destination.
    Counted = 5,
    /// Would be counted, but the table has no room for its destination.
    Overflow = 6,
}

/// How many outcomes there are.
pub const OUTCOMES: usize = 7;

/// All totals of a generation, summed over the CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Times the program ran: socket buffers, each of which may be several packets on the wire.
    pub skbs: u64,
    /// Everything the program saw. Counted by itself, never derived from `outcomes`.
    pub seen: Counts,
    /// Indexed by [`Outcome`].
    pub outcomes: [Counts; OUTCOMES],
}

impl Totals {
    /// Adds the totals of another drain.
    pub fn add(&mut self, other: &Self) {
        self.skbs = self.skbs.wrapping_add(other.skbs);
        self.seen.add(other.seen);
        for (mine, theirs) in self.outcomes.iter_mut().zip(other.outcomes) {
            mine.add(theirs);
        }
    }
}

/// What holds for every packet of one generation.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Any of the `POLICY_` flags.
    pub flags: u64,
}

/// Packets from any source are counted (`--source any`), not only those from own addresses.
pub const POLICY_ANY_SOURCE: u64 = 1 << 0;
/// There is at least one banned prefix.
pub const POLICY_BANS: u64 = 1 << 1;
/// Packets from ports that this host serves are left out ([`ports`]).
pub const POLICY_SERVED: u64 = 1 << 2;
/// Questions to name servers are noted, so that the answers are believed ([`names`]).
pub const POLICY_DNS: u64 = 1 << 3;
/// The first data of new TCP connections is sampled.
pub const POLICY_TLS: u64 = 1 << 4;
/// The first datagrams of new QUIC connections are sampled.
pub const POLICY_QUIC: u64 = 1 << 5;
/// Packets from ports that this host serves are counted like all others, but how many they are is noted ([`front::Cpu::answers`]).
/// Not together with [`POLICY_SERVED`].
pub const POLICY_ANSWERS: u64 = 1 << 6;

const _: () = {
    assert!(size_of::<FlowKey>() == 36 && align_of::<FlowKey>() == 4);
    assert!(size_of::<SourceKey>() == 20 && align_of::<SourceKey>() == 4);
    assert!(size_of::<Counts>() == 16 && align_of::<Counts>() == 8);
    assert!(size_of::<Traffic>() == 32 && align_of::<Traffic>() == 8);
    assert!(size_of::<Policy>() == 8);
    assert!(Outcome::Overflow as usize + 1 == OUTCOMES);
};

#[cfg(feature = "user")]
mod user {
    use super::{Counts, FlowKey, Policy, SourceKey, Traffic};

    // SAFETY: #[repr(C)], integers only, no padding (asserted by the sizes above), every bit pattern valid.
    unsafe impl aya::Pod for FlowKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for SourceKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Counts {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Traffic {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Policy {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_address_is_written_in_its_mapped_form() {
        assert_eq!(
            mapped([192, 0, 2, 1]),
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1]
        );
    }
}
