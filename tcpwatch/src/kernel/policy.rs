//! What goes down into the kernel: own sources and banned prefixes, as one set that holds for a whole generation.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use tcpwatch_common::ports::{GROUP, GROUPS, bit, summary_bit};
use tcpwatch_common::{Address, MAPPED_PREFIX_BITS, SourceKey, mapped};

/// What holds for every packet of a generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicySet {
    /// Count packets from any source, not only from `sources`.
    pub any_source: bool,
    /// The own sources.
    pub sources: BTreeSet<SourceKey>,
    /// Destinations that are left out; a prefix's counts are kept under its position here.
    pub bans: Arc<[IpNet]>,
    /// Local ports whose packets are left out; none: they are not asked for.
    pub served: Option<Arc<PortBits>>,
    /// They are counted like all others, but how many they are is noted.
    pub only_noted: bool,
    /// What samples are taken of: `POLICY_DNS`, `POLICY_TLS`, `POLICY_QUIC`.
    pub samples: u64,
}

/// Sets of ports, a bit for each, 32 in a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortBits {
    /// Of TCP.
    pub tcp: Box<[u32; GROUPS as usize]>,
    /// Of UDP.
    pub udp: Box<[u32; GROUPS as usize]>,
}

impl PortBits {
    /// The [summary bits](summary_bit) of all of them.
    #[must_use]
    pub fn summary(&self) -> u64 {
        let ports = (0..=u16::MAX).filter(|port| {
            let word = (*port / GROUP as u16) as usize;
            (self.tcp[word] | self.udp[word]) & bit(*port) != 0
        });
        ports.fold(0, |summary, port| summary | summary_bit(port))
    }
}

/// The address as the kernel tables hold it.
#[must_use]
pub fn to_address(ip: IpAddr) -> Address {
    match ip {
        IpAddr::V4(v4) => mapped(v4.octets()),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The address that `address` stands for; mapped IPv4 becomes IPv4 again.
#[must_use]
pub fn to_ip(address: Address) -> IpAddr {
    Ipv6Addr::from(address).to_canonical()
}

/// Whether the address is one of IPv4, mapped.
#[must_use]
pub fn is_ipv4(address: Address) -> bool {
    to_ip(address).is_ipv4()
}

/// The prefix as the ban table holds it: length in bits of the mapped form, and the address.
#[must_use]
pub fn to_prefix(net: IpNet) -> (u32, Address) {
    let bits = u32::from(net.prefix_len());
    match net {
        IpNet::V4(_) => (MAPPED_PREFIX_BITS + bits, to_address(net.network())),
        IpNet::V6(_) => (bits, to_address(net.network())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_the_way_into_the_kernel_and_back() {
        for text in ["192.0.2.1", "2001:db8::1", "::", "0.0.0.0", "fe80::1"] {
            let ip: IpAddr = text.parse().unwrap();
            assert_eq!(to_ip(to_address(ip)), ip);
        }
    }

    #[test]
    fn an_ipv4_prefix_is_96_bits_longer_in_its_mapped_form() {
        let (bits, address) = to_prefix("203.0.113.0/24".parse().unwrap());
        assert_eq!(bits, 120);
        assert_eq!(address, mapped([203, 0, 113, 0]));
        assert_eq!(to_prefix("2001:db8::/32".parse().unwrap()).0, 32);
    }
}
