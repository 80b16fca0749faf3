//! What says that it is IP, but cannot be read.
//!
//! Newer kernels refuse to test-run an untagged packet that is shorter than its IP header; those are sent over real
//! devices by `tests/cut.rs`.

use tcpwatch::kernel::attach::LinkLayer;
use tcpwatch_common::Outcome;
use tcpwatch_tests::counter::Skb;
use tcpwatch_tests::frame::{
    IPV4, IPV6, SERVICE_VLAN, UDP, VLAN, ethernet, ipv4, ipv4_with_options, ipv6, tag, udp,
};

use crate::{Case, OWN4, OWN6, TO4, TO6, check, table};

#[test]
fn impossible_versions_and_header_lengths_are_malformed() {
    let v4 = ipv4(OWN4, TO4, UDP, &udp(8));
    let v6 = ipv6(OWN6, TO6, UDP, &udp(8));
    let long4 = [&v4[..], &[0; 20]].concat();
    let first = |packet: &[u8], byte: u8| [&[byte], &packet[1..]].concat();
    check(
        LinkLayer::Ethernet,
        table! {
            "ihl 0": ethernet(IPV4, &first(&v4, 0x40)) => Malformed, 50;
            "ihl 1": ethernet(IPV4, &first(&v4, 0x41)) => Malformed, 50;
            "ihl 2": ethernet(IPV4, &first(&v4, 0x42)) => Malformed, 50;
            "ihl 3": ethernet(IPV4, &first(&v4, 0x43)) => Malformed, 50;
            "ihl 4": ethernet(IPV4, &first(&v4, 0x44)) => Malformed, 50;
            "ihl 9 in 36 bytes fits": ethernet(IPV4, &first(&v4, 0x49)) => Counted, 50;
            "ihl 10 in 36 bytes": ethernet(IPV4, &first(&v4, 0x4a)) => Malformed, 50;
            "ihl 15 in 36 bytes": ethernet(IPV4, &first(&v4, 0x4f)) => Malformed, 50;
            "ihl 6 in 20 bytes": ethernet(IPV4, &first(&v4[..20], 0x46)) => Malformed, 34;
            "ihl 10 behind a tag": ethernet(VLAN, &tag(5, IPV4, &first(&v4, 0x4a))) => Malformed, 54;
            "version 6 called ipv4": ethernet(IPV4, &v6) => Malformed, 70;
            "version 4 called ipv6": ethernet(IPV6, &long4) => Malformed, 70;
            "version 0 called ipv4": ethernet(IPV4, &first(&v4, 0x05)) => Malformed, 50;
            "version 15 called ipv4": ethernet(IPV4, &first(&v4, 0xf5)) => Malformed, 50;
            "version 7 called ipv6": ethernet(IPV6, &first(&v6, 0x70)) => Malformed, 70;
            "version 4 called ipv6 behind a tag": ethernet(VLAN, &tag(5, IPV6, &long4)) => Malformed, 74;
            "nothing but zeroes": ethernet(IPV4, &[0; 60]) => Malformed, 74;
        },
    );
}

#[test]
fn ip_cut_anywhere_in_its_header_is_malformed() {
    let v4 = ipv4(OWN4, TO4, UDP, &udp(8));
    let v6 = ipv6(OWN6, TO6, UDP, &udp(8));
    let options = ethernet(IPV4, &ipv4_with_options(OWN4, TO4, UDP, &[1; 8], &udp(8)));
    let mut cases = cuts("ipv4 with options", &options, 34, 42);
    cases.extend(cuts("vlan ipv4", &ethernet(VLAN, &tag(5, IPV4, &v4)), 14, 38));
    cases.extend(cuts("vlan ipv6", &ethernet(VLAN, &tag(5, IPV6, &v6)), 14, 58));
    cases.extend(cuts(
        "two vlans",
        &ethernet(SERVICE_VLAN, &tag(5, VLAN, &tag(6, IPV4, &v4))),
        14,
        42,
    ));
    check(LinkLayer::Ethernet, cases);
}

/// A packet cut to every length from `shortest` up to `enough`, from which on its addresses can be read.
fn cuts(name: &str, packet: &[u8], shortest: usize, enough: usize) -> Vec<Case> {
    (shortest..=enough)
        .map(|length| Case {
            name: format!("{name} cut to {length}"),
            packet: packet[..length].to_vec(),
            skb: Skb::default(),
            outcome: if length < enough {
                Outcome::Malformed
            } else {
                Outcome::Counted
            },
            packets: 1,
            bytes: length as u64,
            destination: None,
        })
        .collect()
}
