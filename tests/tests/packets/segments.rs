//! Segmentation super-packets: how many packets and bytes they become on the wire.

use tcpwatch::kernel::attach::LinkLayer;
use tcpwatch_tests::frame::{
    EXPERIMENT, HOP_BY_HOP, IPV4, IPV6, TCP, UDP, VLAN, ethernet, extension, ipv4, ipv4_with_options, ipv6,
    tag, tcp, udp,
};

use crate::{OWN4, OWN6, TO4, TO6, check, gso_table};

#[test]
fn the_segments_that_the_kernel_names_are_counted() {
    let own = || ethernet(IPV4, &ipv4(OWN4, TO4, TCP, &tcp(12, 3000)));
    let foreign = || ethernet(IPV4, &ipv4("198.18.0.2", TO4, TCP, &tcp(0, 3000)));
    let banned = || ethernet(IPV4, &ipv4(OWN4, "203.0.113.1", TCP, &tcp(0, 3000)));
    let mpls = || ethernet(0x8847, &[0; 3000]);
    let zeroes = || ethernet(IPV4, &[0; 3000]);
    check(
        LinkLayer::Ethernet,
        gso_table! {
            "44 segments": own(), 1448, 44, 64_504 => Counted, 44, 64_504;
            "one segment": own(), 3000, 1, 3066 => Counted, 1, 3066;
            "65535 segments": own(), 1, 65_535, 65_536 => Counted, 65_535, 65_536;
            "segments without a size are one packet": own(), 0, 44, 3066 => Counted, 1, 3066;
            "no wire length is the packet's own": own(), 1448, 3, 0 => Counted, 3, 3066;
            "no segmentation, wire length above length": own(), 0, 0, 4000 => Counted, 1, 4000;
            "foreign": foreign(), 1000, 3, 3162 => OtherSource, 3, 3162;
            "banned": banned(), 1000, 3, 3162 => Banned, 3, 3162;
            "not ip": mpls(), 1000, 3, 3100 => NotIp, 3, 3100;
            "malformed": zeroes(), 1000, 3, 3100 => Malformed, 3, 3100;
        },
    );
}

/// `gso_segs` is 0 for senders that the kernel does not trust.
#[test]
fn the_number_of_segments_is_derived_where_the_kernel_does_not_name_it() {
    let v4 = |protocol, payload: &[u8]| ethernet(IPV4, &ipv4(OWN4, TO4, protocol, payload));
    let v6 = |next, payload: &[u8]| ethernet(IPV6, &ipv6(OWN6, TO6, next, payload));
    let options = ethernet(IPV4, &ipv4_with_options(OWN4, TO4, TCP, &[1; 20], &tcp(0, 3000)));
    let vlan = ethernet(VLAN, &tag(5, IPV4, &ipv4(OWN4, TO4, TCP, &tcp(0, 3000))));
    let hop_by_hop = v6(HOP_BY_HOP, &extension(TCP, &[1; 6], &tcp(0, 3000)));
    let short = v6(HOP_BY_HOP, &extension(TCP, &[1; 6], &tcp(0, 3100)));
    // Every wire length is the packet's own and the headers once more for every segment but the first.
    check(
        LinkLayer::Ethernet,
        gso_table! {
            "tcp, divides evenly": v4(TCP, &tcp(0, 3000)), 1000, 0, 3054 + 2 * 54 => Counted, 3, 3162;
            "tcp, one byte more": v4(TCP, &tcp(0, 3001)), 1000, 0, 3055 + 3 * 54 => Counted, 4, 3217;
            "tcp, one byte less": v4(TCP, &tcp(0, 2999)), 1000, 0, 3053 + 2 * 54 => Counted, 3, 3161;
            "tcp with timestamps": v4(TCP, &tcp(12, 3000)), 1000, 0, 3066 + 2 * 66 => Counted, 3, 3198;
            "tcp with 40 bytes of options": v4(TCP, &tcp(40, 3000)), 1000, 0, 3094 + 2 * 94 => Counted, 3, 3282;
            "tcp, many small segments": v4(TCP, &tcp(0, 3000)), 100, 0, 3054 + 29 * 54 => Counted, 30, 4620;
            "tcp behind ipv4 options": options, 1000, 0, 3074 + 2 * 74 => Counted, 3, 3222;
            "tcp behind a vlan tag": vlan, 1000, 0, 3058 + 2 * 58 => Counted, 3, 3174;
            "tcp, less than a segment": v4(TCP, &tcp(0, 900)), 1000, 0, 954 => Counted, 1, 954;
            "tcp without payload": v4(TCP, &tcp(0, 0)), 1000, 0, 54 => Counted, 1, 54;
            "tcp over ipv6": v6(TCP, &tcp(12, 3000)), 1000, 0, 3086 + 2 * 86 => Counted, 3, 3258;
            "udp": v4(UDP, &udp(3000)), 1000, 0, 3042 + 2 * 42 => Counted, 3, 3126;
            "udp, one byte more": v4(UDP, &udp(3001)), 1000, 0, 3043 + 3 * 42 => Counted, 4, 3169;
            "udp over ipv6": v6(UDP, &udp(3000)), 1400, 0, 3062 + 2 * 62 => Counted, 3, 3186;
            "tcp behind an extension header": hop_by_hop, 1000, 0, 3082 + 2 * 82 => Counted, 3, 3246;
            "another protocol, by its wire length": v4(EXPERIMENT, &[0; 3000]), 1000, 0, 3034 + 2 * 34 => Counted, 3, 3102;
            "another protocol, a short last segment": v4(EXPERIMENT, &[0; 3100]), 1000, 0, 3134 + 3 * 34 => Counted, 4, 3236;
        "tcp behind an extension header, a short last segment": short, 1000, 0, 3182 + 3 * 82 => Counted, 4, 3428;
        },
    );
}
