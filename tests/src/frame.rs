//! Frames for BPF_PROG_TEST_RUN: well-formed ones from etherparse's headers, to be cut and damaged by the tests.

use etherparse::{
    EtherType, Ethernet2Header, IpAuthHeader, IpFragOffset, IpNumber, Ipv4Header, Ipv6FragmentHeader,
    Ipv6Header, Ipv6RawExtHeader, SingleVlanHeader, TcpHeader, UdpHeader, VlanId, VlanPcp,
};

/// Ethernet type of IPv4.
pub const IPV4: u16 = 0x0800;
/// Ethernet type of IPv6.
pub const IPV6: u16 = 0x86dd;
/// Ethernet type of a VLAN tag (IEEE 802.1Q).
pub const VLAN: u16 = 0x8100;
/// Ethernet type of a service VLAN tag (IEEE 802.1ad).
pub const SERVICE_VLAN: u16 = 0x88a8;

/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of UDP.
pub const UDP: u8 = 17;
/// Protocol number of the hop-by-hop options header.
pub const HOP_BY_HOP: u8 = 0;
/// Protocol number of the routing header.
pub const ROUTING: u8 = 43;
/// Protocol number of the fragment header.
pub const FRAGMENT: u8 = 44;
/// Protocol number of the authentication header.
pub const AUTHENTICATION: u8 = 51;
/// Protocol number of the destination options header.
pub const DESTINATION_OPTIONS: u8 = 60;
/// A protocol number for experiments (RFC 3692), which no program knows.
pub const EXPERIMENT: u8 = 253;

/// An Ethernet frame.
pub fn ethernet(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let header = Ethernet2Header {
        source: [2, 0, 0, 0, 0, 1],
        destination: [2, 0, 0, 0, 0, 2],
        ether_type: EtherType(ether_type),
    };
    join(&header.to_bytes(), payload)
}

/// The same to every station.
pub fn broadcast(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = ethernet(ether_type, payload);
    frame[..6].fill(0xff);
    frame
}

/// What follows the Ethernet type of a VLAN: the rest of the tag, the type of the content, and the content.
pub fn tag(id: u16, ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let header = SingleVlanHeader {
        pcp: VlanPcp::ZERO,
        drop_eligible_indicator: false,
        vlan_id: VlanId::try_new(id).expect("a literal of 12 bits"),
        ether_type: EtherType(ether_type),
    };
    join(&header.to_bytes(), payload)
}

/// An IPv4 packet.
pub fn ipv4(source: &str, destination: &str, protocol: u8, payload: &[u8]) -> Vec<u8> {
    finish(ipv4_header(source, destination, protocol, payload), payload)
}

/// An IPv4 packet with options, a multiple of four bytes, up to 40.
pub fn ipv4_with_options(
    source: &str,
    destination: &str,
    protocol: u8,
    options: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let mut header = ipv4_header(source, destination, protocol, payload);
    header.options = options.try_into().expect("a multiple of four, up to 40");
    header.set_payload_len(payload.len()).expect("it fits");
    finish(header, payload)
}

/// A fragment of an IPv4 packet; `offset` is in units of eight bytes.
pub fn ipv4_fragment(source: &str, destination: &str, offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    let mut header = ipv4_header(source, destination, UDP, payload);
    header.dont_fragment = false;
    header.more_fragments = more;
    header.fragment_offset = IpFragOffset::try_new(offset).expect("a literal of 13 bits");
    finish(header, payload)
}

fn ipv4_header(source: &str, destination: &str, protocol: u8, payload: &[u8]) -> Ipv4Header {
    let octets = |text: &str| {
        text.parse::<std::net::Ipv4Addr>()
            .expect("a literal address")
            .octets()
    };
    let length = u16::try_from(payload.len()).expect("it fits");
    Ipv4Header::new(
        length,
        64,
        IpNumber(protocol),
        octets(source),
        octets(destination),
    )
    .expect("it fits")
}

fn finish(mut header: Ipv4Header, payload: &[u8]) -> Vec<u8> {
    header.header_checksum = header.calc_header_checksum();
    join(&header.to_bytes(), payload)
}

/// An IPv6 packet; `next` names what the payload begins with.
pub fn ipv6(source: &str, destination: &str, next: u8, payload: &[u8]) -> Vec<u8> {
    let octets = |text: &str| {
        text.parse::<std::net::Ipv6Addr>()
            .expect("a literal address")
            .octets()
    };
    let header = Ipv6Header {
        traffic_class: 0,
        flow_label: etherparse::Ipv6FlowLabel::ZERO,
        payload_length: u16::try_from(payload.len()).expect("it fits"),
        next_header: IpNumber(next),
        hop_limit: 64,
        source: octets(source),
        destination: octets(destination),
    };
    join(&header.to_bytes(), payload)
}

/// An IPv6 extension header that is a list of options or a routing header: 8 bytes, or `8 * n` for `8 * n - 2` of content.
pub fn extension(next: u8, content: &[u8], payload: &[u8]) -> Vec<u8> {
    let header = Ipv6RawExtHeader::new_raw(IpNumber(next), content).expect("8 * n - 2 bytes of content");
    join(&header.to_bytes(), payload)
}

/// An IPv6 fragment header; `offset` is in units of eight bytes.
pub fn fragment(next: u8, offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    let offset = IpFragOffset::try_new(offset).expect("a literal of 13 bits");
    join(
        &Ipv6FragmentHeader::new(IpNumber(next), offset, more, 7).to_bytes(),
        payload,
    )
}

/// An authentication header with a check value of 12 bytes: 24 bytes.
pub fn authentication(next: u8, payload: &[u8]) -> Vec<u8> {
    let header = IpAuthHeader::new(IpNumber(next), 1, 1, &[0xaa; 12]).expect("a multiple of four bytes");
    join(&header.to_bytes(), payload)
}

/// A UDP header and `bytes` bytes.
pub fn udp(bytes: usize) -> Vec<u8> {
    let length = u16::try_from(8 + bytes).expect("it fits");
    let header = UdpHeader {
        source_port: 40_000,
        destination_port: 443,
        length,
        checksum: 0,
    };
    join(&header.to_bytes(), &vec![b'x'; bytes])
}

/// A TCP header with `options` bytes of options, a multiple of four, and `bytes` bytes.
pub fn tcp(options: usize, bytes: usize) -> Vec<u8> {
    let mut header = TcpHeader::new(40_000, 443, 1, 65_535);
    header.ack = true;
    header.set_options_raw(&vec![1; options]).expect("up to 40 bytes");
    join(&header.to_bytes(), &vec![b'x'; bytes])
}

/// A TCP segment from one port to the other with these flags, as they lie in its fourteenth byte (RFC 9293, section 3.1),
/// and `bytes` bytes.
pub fn tcp_segment(ports: [u16; 2], flags: u8, bytes: usize) -> Vec<u8> {
    let mut segment = join(
        &TcpHeader::new(ports[0], ports[1], 1, 65_535).to_bytes(),
        &vec![b'x'; bytes],
    );
    segment[13] = flags;
    segment
}

/// A UDP datagram from one port to the other.
pub fn datagram(ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let header = UdpHeader {
        source_port: ports[0],
        destination_port: ports[1],
        length: u16::try_from(8 + payload.len()).expect("it fits"),
        checksum: 0,
    };
    join(&header.to_bytes(), payload)
}

/// A QUIC packet with a long header (RFC 9000, section 17.2), which says these connection identifiers; the rest of its
/// 1200 bytes means nothing.
pub fn quic(first: u8, version: u32, destination_id: &[u8], source_id: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    packet.extend(version.to_be_bytes());
    for id in [destination_id, source_id] {
        packet.push(u8::try_from(id.len()).expect("it fits"));
        packet.extend(id);
    }
    packet.resize(1200, b'x');
    packet
}

fn join(header: &[u8], payload: &[u8]) -> Vec<u8> {
    [header, payload].concat()
}
