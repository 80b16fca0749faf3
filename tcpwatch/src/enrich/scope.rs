//! What kind of address a destination is, after the IANA IPv4 and IPv6 Special-Purpose Address Registries
//! (RFC 6890, RFC 8190) and the IPv6 address space (RFC 4291).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::record::Scope;

/// The kind of `address`.
///
/// An IPv6 address that stands for an IPv4 address (mapped, NAT64, 6to4, Teredo) is of that address's kind: the
/// packet ends there, and RFC 6052 section 3.1 and RFC 3056 section 2 want it global.
pub fn scope(address: IpAddr) -> Scope {
    match destination(address) {
        IpAddr::V4(v4) => scope_v4(v4),
        IpAddr::V6(v6) => scope_v6(v6),
    }
}

/// `address`, or the IPv4 address that it stands for: what a database is to be asked about.
pub(super) fn destination(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => embedded(v6).map_or(IpAddr::V6(v6), IpAddr::V4),
    }
}

fn scope_v4(address: Ipv4Addr) -> Scope {
    match address.octets() {
        [0, 0, 0, 0] => Scope::Unspecified,
        // "This network" (RFC 791 section 3.2).
        [0, ..] => Scope::Reserved,
        // RFC 1918.
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Scope::Private,
        // RFC 6598.
        [100, 64..=127, ..] => Scope::Shared,
        // RFC 1122 section 3.2.1.3.
        [127, ..] => Scope::Loopback,
        // RFC 3927.
        [169, 254, ..] => Scope::LinkLocal,
        // Anycast of PCP (RFC 7723) and TURN (RFC 8155): reachable, within a block that is not (RFC 6890).
        [192, 0, 0, 9 | 10] => Scope::Global,
        [192, 0, 0, _] => Scope::Reserved,
        // RFC 5737.
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Scope::Documentation,
        // 6a44 relay (RFC 6751). The rest of the former 6to4 anycast block (RFC 7526) has no answer in the registry.
        [192, 88, 99, 2] => Scope::Reserved,
        // RFC 2544.
        [198, 18 | 19, ..] => Scope::Benchmarking,
        // RFC 5771; 233.252.0.0/24 for documentation (RFC 6676) is multicast first.
        [224..=239, ..] => Scope::Multicast,
        // RFC 8190, RFC 919 section 7.
        [255, 255, 255, 255] => Scope::Broadcast,
        // RFC 1112 section 4.
        [240..=255, ..] => Scope::Reserved,
        _ => Scope::Global,
    }
}

fn scope_v6(address: Ipv6Addr) -> Scope {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Scope::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => Scope::Loopback,
        // RFC 4193.
        [0xfc00..=0xfdff, ..] => Scope::Private,
        // RFC 4291 section 2.5.6.
        [0xfe80..=0xfebf, ..] => Scope::LinkLocal,
        // RFC 4291 section 2.7.
        [0xff00..=0xffff, ..] => Scope::Multicast,
        // RFC 3849, RFC 9637.
        [0x2001, 0x0db8, ..] | [0x3fff, 0x0000..=0x0fff, ..] => Scope::Documentation,
        // RFC 5180.
        [0x2001, 0x0002, 0, ..] => Scope::Benchmarking,
        // Anycast of PCP (RFC 7723), TURN (RFC 8155) and DNS-SD registration (RFC 9665).
        [0x2001, 0x0001, 0, 0, 0, 0, 0, 1..=3] => Scope::Global,
        // AMT (RFC 7450), AS112 (RFC 7535), ORCHIDv2 (RFC 7343), drone identifiers (RFC 9374).
        [0x2001, 0x0003 | 0x0020..=0x003f, ..] | [0x2001, 0x0004, 0x0112, ..] => Scope::Global,
        // The rest of 2001::/23, for protocols (RFC 2928).
        [0x2001, 0x0000..=0x01ff, ..] => Scope::Reserved,
        // What IANA gives out as global unicast (RFC 4291 section 2.4).
        [0x2000..=0x3fff, ..] => Scope::Global,
        // Discard-only (RFC 6666), dummy (RFC 9780), local NAT64 (RFC 8215), SRv6 SIDs (RFC 9602), site-local
        // (RFC 3879), IPv4-compatible (RFC 4291 section 2.5.5.1) and all that was never given out.
        _ => Scope::Reserved,
    }
}

/// The IPv4 address that an IPv6 address stands for.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        // Mapped (RFC 4291 section 2.5.5.2) and the well-known prefix of NAT64 (RFC 6052).
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        // 6to4 (RFC 3056): the router's address.
        [0x2002, high, low, ..] => Some(v4(high, low)),
        // Teredo (RFC 4380 section 4): the client's address, inverted.
        [0x2001, 0, _, _, _, _, high, low] => Some(v4(!high, !low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_special_block_has_its_scope_at_its_first_and_last_address() {
        for (address, expected) in [
            ("0.0.0.0", Scope::Unspecified),
            ("0.0.0.1", Scope::Reserved),
            ("0.255.255.255", Scope::Reserved),
            ("1.0.0.0", Scope::Global),
            ("9.255.255.255", Scope::Global),
            ("10.0.0.0", Scope::Private),
            ("10.255.255.255", Scope::Private),
            ("11.0.0.0", Scope::Global),
            ("100.63.255.255", Scope::Global),
            ("100.64.0.0", Scope::Shared),
            ("100.127.255.255", Scope::Shared),
            ("100.128.0.0", Scope::Global),
            ("127.0.0.1", Scope::Loopback),
            ("127.255.255.255", Scope::Loopback),
            ("169.253.255.255", Scope::Global),
            ("169.254.0.0", Scope::LinkLocal),
            ("169.254.255.255", Scope::LinkLocal),
            ("172.15.255.255", Scope::Global),
            ("172.16.0.0", Scope::Private),
            ("172.31.255.255", Scope::Private),
            ("172.32.0.0", Scope::Global),
            ("192.0.0.0", Scope::Reserved),
            ("192.0.0.8", Scope::Reserved),
            ("192.0.0.9", Scope::Global),
            ("192.0.0.10", Scope::Global),
            ("192.0.0.11", Scope::Reserved),
            ("192.0.0.170", Scope::Reserved),
            ("192.0.1.0", Scope::Global),
            ("192.0.2.0", Scope::Documentation),
            ("192.0.2.255", Scope::Documentation),
            ("192.31.196.1", Scope::Global),
            ("192.88.99.1", Scope::Global),
            ("192.88.99.2", Scope::Reserved),
            ("192.168.0.0", Scope::Private),
            ("192.168.255.255", Scope::Private),
            ("192.169.0.0", Scope::Global),
            ("198.17.255.255", Scope::Global),
            ("198.18.0.0", Scope::Benchmarking),
            ("198.19.255.255", Scope::Benchmarking),
            ("198.20.0.0", Scope::Global),
            ("198.51.100.7", Scope::Documentation),
            ("203.0.113.255", Scope::Documentation),
            ("223.255.255.255", Scope::Global),
            ("224.0.0.0", Scope::Multicast),
            ("233.252.0.1", Scope::Multicast),
            ("239.255.255.255", Scope::Multicast),
            ("240.0.0.0", Scope::Reserved),
            ("255.255.255.254", Scope::Reserved),
            ("255.255.255.255", Scope::Broadcast),
        ] {
            assert_eq!(scope(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn every_special_ipv6_block_has_its_scope() {
        for (address, expected) in [
            ("::", Scope::Unspecified),
            ("::1", Scope::Loopback),
            ("::2", Scope::Reserved),
            ("::8.8.8.8", Scope::Reserved),
            ("64:ff9b:1::8.8.8.8", Scope::Reserved),
            ("100::1", Scope::Reserved),
            ("100:0:0:1::", Scope::Reserved),
            ("1fff:ffff::", Scope::Reserved),
            ("2000::", Scope::Global),
            ("2001:1::", Scope::Reserved),
            ("2001:1::1", Scope::Global),
            ("2001:1::2", Scope::Global),
            ("2001:1::3", Scope::Global),
            ("2001:1::4", Scope::Reserved),
            ("2001:2::1", Scope::Benchmarking),
            ("2001:2:1::", Scope::Reserved),
            ("2001:3::1", Scope::Global),
            ("2001:4:111:ffff::", Scope::Reserved),
            ("2001:4:112::1", Scope::Global),
            ("2001:10::1", Scope::Reserved),
            ("2001:1f:ffff::", Scope::Reserved),
            ("2001:20::", Scope::Global),
            ("2001:2f:ffff::", Scope::Global),
            ("2001:30::", Scope::Global),
            ("2001:3f:ffff::", Scope::Global),
            ("2001:40::", Scope::Reserved),
            ("2001:1ff:ffff::", Scope::Reserved),
            ("2001:200::", Scope::Global),
            ("2001:4860:4860::8888", Scope::Global),
            ("2001:db8::1", Scope::Documentation),
            ("2001:db9::", Scope::Global),
            ("2620:4f:8000::1", Scope::Global),
            ("3fff::1", Scope::Documentation),
            ("3fff:fff:ffff::", Scope::Documentation),
            ("3fff:1000::", Scope::Global),
            ("4000::", Scope::Reserved),
            ("5f00::1", Scope::Reserved),
            ("fbff::", Scope::Reserved),
            ("fc00::1", Scope::Private),
            ("fdff:ffff::1", Scope::Private),
            ("fe00::", Scope::Reserved),
            ("fe80::1", Scope::LinkLocal),
            ("febf::1", Scope::LinkLocal),
            ("fec0::1", Scope::Reserved),
            ("ff02::1", Scope::Multicast),
            ("ff0e::1", Scope::Multicast),
        ] {
            assert_eq!(scope(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn an_address_that_stands_for_an_ipv4_address_has_its_scope() {
        for (address, ipv4, expected) in [
            ("::ffff:10.1.2.3", "10.1.2.3", Scope::Private),
            ("::ffff:8.8.8.8", "8.8.8.8", Scope::Global),
            ("64:ff9b::8.8.8.8", "8.8.8.8", Scope::Global),
            ("64:ff9b::192.168.1.1", "192.168.1.1", Scope::Private),
            ("2002:808:808::1", "8.8.8.8", Scope::Global),
            ("2002:c000:204::1", "192.0.2.4", Scope::Documentation),
            // The example of RFC 4380: client 192.0.2.45 behind the server 65.54.227.120.
            (
                "2001:0:4136:e378:8000:63bf:3fff:fdd2",
                "192.0.2.45",
                Scope::Documentation,
            ),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(destination(address), ipv4.parse::<IpAddr>().unwrap(), "{address}");
            assert_eq!(scope(address), expected, "{address}");
        }
    }
}
