//! Readable IPv4 and IPv6, in every shape, is counted under its destination.

use std::net::IpAddr;

use etherparse::{NetSlice, SlicedPacket};
use tcpwatch::kernel::attach::LinkLayer;
use tcpwatch_tests::frame::{
    AUTHENTICATION, DESTINATION_OPTIONS, EXPERIMENT, FRAGMENT, HOP_BY_HOP, IPV4, IPV6, ROUTING, SERVICE_VLAN,
    TCP, UDP, VLAN, authentication, broadcast, ethernet, extension, fragment, ipv4, ipv4_fragment,
    ipv4_with_options, ipv6, tag, tcp, udp,
};

use crate::{OWN4, OWN6, TO4, TO6, check, ipv4_to, ipv6_to, table};

#[test]
fn ipv4_and_ipv6_are_counted_under_their_destinations() {
    let v4 = |protocol, payload: &[u8]| ethernet(IPV4, &ipv4(OWN4, TO4, protocol, payload));
    let v6 = |next, payload: &[u8]| ethernet(IPV6, &ipv6(OWN6, TO6, next, payload));
    let everyone = broadcast(IPV4, &ipv4(OWN4, "255.255.255.255", UDP, &udp(8)));
    check(
        LinkLayer::Ethernet,
        table! {
            "ipv4 udp": ipv4_to(TO4) => Counted, 50, TO4;
            "ipv4 tcp": v4(TCP, &tcp(0, 1)) => Counted, 55, TO4;
            "ipv4 tcp with options": v4(TCP, &tcp(40, 0)) => Counted, 94, TO4;
            "ipv4 unknown protocol": v4(EXPERIMENT, &[0; 4]) => Counted, 38, TO4;
            "ipv4 nothing but its header": v4(UDP, &[]) => Counted, 34, TO4;
            "ipv4 cut in its udp header": ipv4_to(TO4)[..37].to_vec() => Counted, 37, TO4;
            "ipv4 padded to 60": [ipv4_to(TO4), vec![0; 10]].concat() => Counted, 60, TO4;
            "ipv4 of 1514 bytes": v4(UDP, &udp(1472)) => Counted, 1514, TO4;
            "ipv4 to itself": ipv4_to(OWN4) => Counted, 50, OWN4;
            "ipv4 multicast": ipv4_to("224.0.0.251") => Counted, 50, "224.0.0.251";
            "ipv4 broadcast": everyone => Counted, 50, "255.255.255.255";
            "ipv4 to 0.0.0.0": ipv4_to("0.0.0.0") => Counted, 50, "0.0.0.0";
            "ipv6 udp": ipv6_to(TO6) => Counted, 70, TO6;
            "ipv6 tcp": v6(TCP, &tcp(12, 0)) => Counted, 86, TO6;
            "ipv6 no next header": v6(59, &[]) => Counted, 54, TO6;
            "ipv6 multicast": ipv6_to("ff02::fb") => Counted, 70, "ff02::fb";
            "ipv6 to ::": ipv6_to("::") => Counted, 70, "::";
            "ipv6 to a mapped address": ipv6_to("::ffff:192.0.2.7") => Counted, 70, "192.0.2.7";
        },
    );
}

#[test]
fn ipv4_with_options_and_in_fragments_is_counted() {
    let options = |length| {
        ethernet(
            IPV4,
            &ipv4_with_options(OWN4, TO4, UDP, &vec![1; length], &udp(8)),
        )
    };
    let part =
        |offset, more, payload: &[u8]| ethernet(IPV4, &ipv4_fragment(OWN4, TO4, offset, more, payload));
    check(
        LinkLayer::Ethernet,
        table! {
            "4 bytes of options": options(4) => Counted, 54, TO4;
            "20 bytes of options": options(20) => Counted, 70, TO4;
            "40 bytes of options": options(40) => Counted, 90, TO4;
            "first fragment": part(0, true, &udp(8)) => Counted, 50, TO4;
            "middle fragment": part(3, true, &[7; 24]) => Counted, 58, TO4;
            "last fragment": part(6, false, &[7; 5]) => Counted, 39, TO4;
        },
    );
}

#[test]
fn ipv6_is_counted_whatever_extension_headers_it_has() {
    let with = |next, headers: &[u8]| ethernet(IPV6, &ipv6(OWN6, TO6, next, headers));
    let options = || extension(UDP, &[1; 6], &udp(8));
    let parts = extension(FRAGMENT, &[1; 6], &fragment(UDP, 0, true, &udp(8)));
    let chain = extension(
        ROUTING,
        &[1; 6],
        &extension(DESTINATION_OPTIONS, &[0; 14], &parts),
    );
    // The header of the packet is 54 bytes.
    let cut = |bytes: usize| with(HOP_BY_HOP, &options())[..54 + bytes].to_vec();
    check(
        LinkLayer::Ethernet,
        table! {
            "hop by hop": with(HOP_BY_HOP, &options()) => Counted, 78, TO6;
            "routing": with(ROUTING, &extension(TCP, &[0; 22], &tcp(0, 0))) => Counted, 98, TO6;
            "first fragment": with(FRAGMENT, &fragment(UDP, 0, true, &udp(8))) => Counted, 78, TO6;
            "later fragment": with(FRAGMENT, &fragment(UDP, 181, false, &[9; 3])) => Counted, 65, TO6;
            "authentication": with(AUTHENTICATION, &authentication(TCP, &tcp(0, 0))) => Counted, 98, TO6;
            "destination options": with(DESTINATION_OPTIONS, &options()) => Counted, 78, TO6;
            "five of them": with(HOP_BY_HOP, &chain) => Counted, 110, TO6;
            "cut before the extension header": cut(0) => Counted, 54, TO6;
            "cut after its first byte": cut(1) => Counted, 55, TO6;
            "cut in its middle": cut(5) => Counted, 59, TO6;
            "cut in the udp header behind it": cut(11) => Counted, 65, TO6;
            "longer than the packet": with(HOP_BY_HOP, &[UDP, 255, 1, 1, 1, 1, 1, 1]) => Counted, 62, TO6;
        },
    );
}

/// The frames of these tables are readable for a parser that is not ours, and mean the same to it.
#[test]
fn the_test_frames_mean_the_same_to_another_parser() {
    let v4 = ipv4(OWN4, TO4, UDP, &udp(8));
    let v6 = ipv6(OWN6, TO6, UDP, &udp(8));
    let extensions = extension(DESTINATION_OPTIONS, &[0; 14], &extension(UDP, &[1; 6], &udp(8)));
    let frames = [
        ethernet(IPV4, &v4),
        ethernet(IPV4, &ipv4_with_options(OWN4, TO4, TCP, &[1; 40], &tcp(12, 9))),
        ethernet(IPV4, &ipv4_fragment(OWN4, TO4, 3, true, &[7; 24])),
        ethernet(SERVICE_VLAN, &tag(5, VLAN, &tag(6, IPV4, &v4))),
        ethernet(IPV6, &v6),
        ethernet(VLAN, &tag(5, IPV6, &v6)),
        ethernet(IPV6, &ipv6(OWN6, TO6, HOP_BY_HOP, &extensions)),
        ethernet(
            IPV6,
            &ipv6(OWN6, TO6, AUTHENTICATION, &authentication(TCP, &tcp(0, 0))),
        ),
        ethernet(
            IPV6,
            &ipv6(OWN6, TO6, FRAGMENT, &fragment(UDP, 181, false, &[9; 3])),
        ),
    ];
    for frame in frames {
        let parsed = SlicedPacket::from_ethernet(&frame).unwrap();
        let (source, destination): (IpAddr, IpAddr) = match parsed.net.unwrap() {
            NetSlice::Ipv4(ip) => (
                ip.header().source_addr().into(),
                ip.header().destination_addr().into(),
            ),
            NetSlice::Ipv6(ip) => (
                ip.header().source_addr().into(),
                ip.header().destination_addr().into(),
            ),
            other => panic!("{other:?}"),
        };
        let expected = if source.is_ipv4() {
            (OWN4, TO4)
        } else {
            (OWN6, TO6)
        };
        assert_eq!(
            (source.to_string().as_str(), destination.to_string().as_str()),
            expected
        );
    }
}
