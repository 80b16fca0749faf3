//! What stands in front of the IP header: VLAN tags, other protocols, nothing at all.

use tcpwatch::kernel::attach::LinkLayer;
use tcpwatch_tests::frame::{
    HOP_BY_HOP, IPV4, IPV6, SERVICE_VLAN, TCP, UDP, VLAN, ethernet, extension, ipv4, ipv4_with_options, ipv6,
    tag, tcp, udp,
};

use crate::{OWN4, OWN6, RAW4, RAW6, TO4, TO6, check, gso_table, table};

#[test]
fn up_to_two_vlan_tags_are_looked_behind() {
    let v4 = ipv4(OWN4, TO4, UDP, &udp(8));
    let v6 = ipv6(OWN6, TO6, UDP, &udp(8));
    let foreign = ipv4("198.18.0.2", TO4, UDP, &udp(8));
    let two = |outer, inner| ethernet(outer, &tag(5, inner, &tag(6, IPV4, &v4)));
    check(
        LinkLayer::Ethernet,
        table! {
            "802.1Q ipv4": ethernet(VLAN, &tag(5, IPV4, &v4)) => Counted, 54, TO4;
            "802.1Q ipv6": ethernet(VLAN, &tag(5, IPV6, &v6)) => Counted, 74, TO6;
            "802.1ad ipv4": ethernet(SERVICE_VLAN, &tag(4095, IPV4, &v4)) => Counted, 54, TO4;
            "priority tag": ethernet(VLAN, &tag(0, IPV4, &v4)) => Counted, 54, TO4;
            "802.1ad, 802.1Q": two(SERVICE_VLAN, VLAN) => Counted, 58, TO4;
            "802.1Q twice": two(VLAN, VLAN) => Counted, 58, TO4;
            "802.1Q, 802.1ad": two(VLAN, SERVICE_VLAN) => Counted, 58, TO4;
            "two tags, ipv6": ethernet(SERVICE_VLAN, &tag(5, VLAN, &tag(6, IPV6, &v6))) => Counted, 78, TO6;
            "three tags": ethernet(VLAN, &tag(5, VLAN, &tag(6, VLAN, &tag(7, IPV4, &v4)))) => NotIp, 62;
            "arp in a vlan": ethernet(VLAN, &tag(5, 0x0806, &[0; 28])) => NotIp, 46;
            "foreign source in a vlan": ethernet(VLAN, &tag(5, IPV4, &foreign)) => OtherSource, 54;
        },
    );
}

#[test]
fn what_is_not_ip_is_called_so() {
    let ip = ipv4(OWN4, TO4, UDP, &udp(8));
    let behind = |label: &[u8]| [label, &ip].concat();
    check(
        LinkLayer::Ethernet,
        table! {
            "arp": ethernet(0x0806, &[0; 28]) => NotIp, 42;
            "rarp": ethernet(0x8035, &[0; 28]) => NotIp, 42;
            "mpls with ipv4 in it": ethernet(0x8847, &behind(&[0, 0, 0x11, 64])) => NotIp, 54;
            "mpls multicast": ethernet(0x8848, &behind(&[0, 0, 0x11, 64])) => NotIp, 54;
            "pppoe discovery": ethernet(0x8863, &[0x11, 9, 0, 0, 0, 0]) => NotIp, 20;
            "pppoe session": ethernet(0x8864, &behind(&[0x11, 0, 0, 1, 0, 38, 0, 0x21])) => NotIp, 58;
            "lldp": ethernet(0x88cc, &[0; 20]) => NotIp, 34;
            "eapol": ethernet(0x888e, &[0; 4]) => NotIp, 18;
            "802.3 length and llc": ethernet(38, &[&[0x42, 0x42, 3], &ip[3..]].concat()) => NotIp, 50;
            "802.3 raw ipx": ethernet(30, &[0xff; 30]) => NotIp, 44;
            "type 0": ethernet(0, &ip) => NotIp, 50;
            "nothing but an ethernet header": ethernet(0x88b5, &[]) => NotIp, 14;
        },
    );
}

#[test]
fn packets_without_an_ethernet_header_are_read() {
    let v4 = |source, destination| ipv4(source, destination, UDP, &udp(8));
    let v6 = |source, destination| ipv6(source, destination, UDP, &udp(8));
    let with = |mut packet: Vec<u8>, at: usize, byte: u8| {
        packet[at] = byte;
        packet
    };
    let options = ipv4_with_options(RAW4, TO4, TCP, &[1; 40], &tcp(0, 0));
    let hop_by_hop = ipv6(RAW6, TO6, HOP_BY_HOP, &extension(UDP, &[1; 6], &udp(8)));
    check(
        LinkLayer::None,
        table! {
            "ipv4": v4(RAW4, TO4) => Counted, 36, TO4;
            "ipv6": v6(RAW6, TO6) => Counted, 56, TO6;
            "ipv4 options": options => Counted, 80, TO4;
            "ipv6 extension header": hop_by_hop => Counted, 64, TO6;
            "foreign ipv4": v4("8.0.0.2", TO4) => OtherSource, 36;
            "foreign ipv6": v6("2001:db8:86dd::2", TO6) => OtherSource, 56;
            "banned ipv4": v4(RAW4, "203.0.113.9") => Banned, 36;
            "banned ipv6": v6(RAW6, "2001:db8:bad::9") => Banned, 56;
            "arp by its type": with(v4(RAW4, TO4), 13, 0x06) => NotIp, 36;
            "mpls by its type": with(with(v4(RAW4, TO4), 12, 0x88), 13, 0x47) => NotIp, 36;
            "ihl 4": with(v4(RAW4, TO4), 0, 0x44) => Malformed, 36;
            "ihl 9 in 36 bytes fits": with(v4(RAW4, TO4), 0, 0x49) => Counted, 36, TO4;
            "ihl 10 in 36 bytes": with(v4(RAW4, TO4), 0, 0x4a) => Malformed, 36;
            "version 6 called ipv4": with(v4(RAW4, TO4), 0, 0x65) => Malformed, 36;
            "version 4 called ipv6": with(v6(RAW6, TO6), 0, 0x45) => Malformed, 56;
        },
    );
}

#[test]
fn super_packets_without_an_ethernet_header_are_cut_right() {
    let tcp4 = || ipv4(RAW4, TO4, TCP, &tcp(12, 3000));
    let udp6 = || ipv6(RAW6, TO6, UDP, &udp(3000));
    check(
        LinkLayer::None,
        gso_table! {
            "said": tcp4(), 1448, 44, 61_600 => Counted, 44, 61_600;
            "not said, tcp over ipv4": tcp4(), 1000, 0, 3052 + 2 * 52 => Counted, 3, 3156;
            "not said, udp over ipv6": udp6(), 1000, 0, 3048 + 2 * 48 => Counted, 3, 3144;
        },
    );
}
