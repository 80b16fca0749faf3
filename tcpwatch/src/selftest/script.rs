//! The traffic that a selftest sends, and what must come of it. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use tcpwatch_common::{Counts, Traffic};

/// Ethernet header, in bytes.
const ETHERNET: u64 = 14;
/// UDP header, in bytes.
const UDP: u64 = 8;
/// TCP header of a SYN with its usual options: segment size, selective acknowledgements, time stamps, window scale.
const SYN: u64 = 40;

/// The own IPv4 address.
pub const NEAR_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// The other end's.
pub const FAR_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// The own IPv6 address.
pub const NEAR_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// The other end's.
pub const FAR_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
/// An address of this host that is not the watched interface's.
pub const FOREIGN: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 250);

/// How packets are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UDP datagrams of so much payload.
    Datagrams {
        /// Bytes.
        payload: u16,
    },
    /// One buffer that the kernel cuts into packets at the very end (GSO).
    Burst {
        /// Bytes of payload of each packet.
        segment: u16,
    },
    /// TCP connections to a closed port: of each, one SYN leaves.
    Connections,
}

/// What must become of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Counted under their destination.
    Counted,
    /// Left out, and counted under their prefix.
    Banned,
    /// Not from an own source.
    OtherSource,
}

/// Packets of one kind to one destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Act {
    /// As it is called in the answer.
    pub what: &'static str,
    /// Where to.
    pub destination: IpAddr,
    /// How.
    pub kind: Kind,
    /// How many packets.
    pub packets: u16,
    /// What becomes of them.
    pub fate: Fate,
}

impl Act {
    /// Exactly what is to be counted.
    pub fn expected(&self) -> Traffic {
        let ip = if self.destination.is_ipv4() { 20 } else { 40 };
        let rest = match self.kind {
            Kind::Datagrams { payload } => UDP + u64::from(payload),
            Kind::Burst { segment } => UDP + u64::from(segment),
            Kind::Connections => SYN,
        };
        let packets = u64::from(self.packets);
        Traffic {
            counts: Counts {
                packets,
                bytes: packets * (ETHERNET + ip + rest),
            },
            tcp_connections: if self.kind == Kind::Connections {
                packets
            } else {
                0
            },
            quic_connections: 0,
        }
    }
}

/// The prefix that is banned.
pub fn banned() -> IpNet {
    IpNet::new_assert(Ipv4Addr::new(198, 18, 99, 0).into(), 24)
}

/// All of it; `ipv6`: whether this machine has that family.
pub fn script(ipv6: bool) -> Vec<Act> {
    let v4 = |last| IpAddr::from(Ipv4Addr::new(198, 18, 1, last));
    let v6 = |last| IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, last));
    let act = |what, destination, kind, packets| Act {
        what,
        destination,
        kind,
        packets,
        fate: Fate::Counted,
    };
    let mut acts = vec![
        act("UDP", v4(1), Kind::Datagrams { payload: 100 }, 100),
        act("UDP, empty", v4(2), Kind::Datagrams { payload: 0 }, 3),
        act("UDP, full", v4(3), Kind::Datagrams { payload: 1472 }, 25),
        act("GSO burst", v4(4), Kind::Burst { segment: 1400 }, 44),
        act("TCP connections", v4(5), Kind::Connections, 10),
    ];
    if ipv6 {
        acts.extend([
            act("UDP", v6(1), Kind::Datagrams { payload: 100 }, 100),
            act("GSO burst", v6(2), Kind::Burst { segment: 1300 }, 44),
            act("TCP connections", v6(3), Kind::Connections, 10),
        ]);
    }
    acts.push(Act {
        fate: Fate::Banned,
        ..act(
            "banned",
            Ipv4Addr::new(198, 18, 99, 1).into(),
            Kind::Datagrams { payload: 50 },
            7,
        )
    });
    acts.push(Act {
        fate: Fate::OtherSource,
        ..act("other source", v4(6), Kind::Datagrams { payload: 50 }, 5)
    });
    acts
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_act_has_a_destination_of_its_own_from_the_ranges_for_tests() {
        let acts = script(true);
        let destinations: BTreeSet<IpAddr> = acts.iter().map(|act| act.destination).collect();
        assert_eq!(destinations.len(), acts.len());
        let ranges = ["198.18.0.0/15", "2001:db8::/32"].map(|text| text.parse::<IpNet>().unwrap());
        for act in acts {
            assert!(
                ranges.iter().any(|range| range.contains(&act.destination)),
                "{act:?}"
            );
            assert_eq!(
                banned().contains(&act.destination),
                act.fate == Fate::Banned,
                "{act:?}"
            );
        }
    }

    #[test]
    fn what_is_expected_has_the_headers_of_every_packet() {
        let expected = |kind, packets, to: &str| {
            let traffic = Act {
                what: "",
                destination: to.parse().unwrap(),
                kind,
                packets,
                fate: Fate::Counted,
            }
            .expected();
            (traffic.counts.bytes, traffic.tcp_connections)
        };
        assert_eq!(
            expected(Kind::Datagrams { payload: 100 }, 2, "198.18.1.1"),
            (284, 0)
        );
        assert_eq!(
            expected(Kind::Burst { segment: 1300 }, 44, "2001:db8::1"),
            (59_928, 0)
        );
        assert_eq!(expected(Kind::Connections, 1, "198.18.1.1"), (74, 1));
    }

    #[test]
    fn a_machine_without_ipv6_is_tested_all_the_same() {
        assert!(script(false).iter().all(|act| act.destination.is_ipv4()));
        assert!(script(false).len() >= 7);
    }
}
