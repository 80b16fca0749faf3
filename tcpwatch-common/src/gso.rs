//! How many packets a segmentation super-packet becomes when the kernel does not say.
//!
//! `gso_segs` is 0 for packets from senders that the kernel does not trust (tun, AF_PACKET with a vnet header) before
//! Linux 6.19. By then `wire_len` already holds the headers of every segment (`qdisc_pkt_len_init()`, net/core/dev.c).

use core::num::NonZeroU32;

/// The shortest headers that hide a transport header: IPv4, GRE, IPv4 and UDP on a device without a link layer.
const LEAST_HEADERS: u32 = 20 + 4 + 20 + 8;

/// Number of segments of a packet of `len` bytes, headers included once, cut into payloads of `gso_size` bytes.
///
/// `headers` is the length of all headers in front of the payload, where they could be read. Without it, it follows
/// from `wire_len = len + (segments - 1) * headers`.
pub const fn segments(len: u32, wire_len: u32, gso_size: NonZeroU32, headers: Option<u32>) -> u32 {
    if let Some(headers) = headers {
        return at_least_one(payloads(len.saturating_sub(headers), gso_size));
    }
    let most = at_least_one(payloads(len, gso_size));
    let added = wire_len.saturating_sub(len);
    // Headers longer than two segments' payload do not occur (the smallest MSS that Linux sends is 48 bytes), so it is one of
    // three numbers. Written out: without CAP_PERFMON the verifier follows a loop here until it gives up.
    let (fewer, fewest) = (most.saturating_sub(1), most.saturating_sub(2));
    let at_most = headers_for(len, added, gso_size, most);
    let at_fewer = headers_for(len, added, gso_size, fewer);
    let at_fewest = headers_for(len, added, gso_size, fewest);
    if at_most >= LEAST_HEADERS {
        most
    } else if at_fewer >= LEAST_HEADERS {
        fewer
    } else if at_fewest > 0 {
        fewest
    } else if at_fewer > 0 {
        fewer
    } else {
        most
    }
}

/// The length of the headers if there are so many segments; 0: there cannot be.
const fn headers_for(len: u32, added: u32, gso_size: NonZeroU32, segments: u32) -> u32 {
    let Some(copies) = NonZeroU32::new(segments.saturating_sub(1)) else {
        return 0;
    };
    let headers = added / copies.get();
    let fits = headers * copies.get() == added && payloads(len.saturating_sub(headers), gso_size) == segments;
    if fits { headers } else { 0 }
}

const fn payloads(bytes: u32, gso_size: NonZeroU32) -> u32 {
    bytes.div_ceil(gso_size.get())
}

const fn at_least_one(segments: u32) -> u32 {
    if segments == 0 { 1 } else { segments }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: NonZeroU32 = NonZeroU32::new(1448).unwrap();

    #[test]
    fn known_headers_leave_only_the_payload_to_divide() {
        assert_eq!(segments(66 + 44 * 1448, 0, MSS, Some(66)), 44);
        assert_eq!(segments(66 + 44 * 1448 + 1, 0, MSS, Some(66)), 45);
        assert_eq!(segments(66, 0, MSS, Some(66)), 1);
    }

    #[test]
    fn headers_longer_than_the_packet_still_make_one_packet() {
        assert_eq!(segments(40, 40, MSS, Some(66)), 1);
    }

    #[test]
    fn unknown_headers_follow_from_the_wire_length() {
        for (payload, headers) in [
            (44 * 1448_u32, 66),
            (44 * 1448 - 1, 66),
            (2 * 1448, 90),
            (1449, 54),
        ] {
            let len = headers + payload;
            let expected = payload.div_ceil(1448);
            let wire_len = len + (expected - 1) * headers;
            assert_eq!(
                segments(len, wire_len, MSS, None),
                expected,
                "payload {payload}, headers {headers}"
            );
        }
    }

    #[test]
    fn headers_that_are_too_short_to_hide_a_transport_header_are_no_answer() {
        let gso_size = NonZeroU32::new(1000).unwrap();
        // 3 segments with 123 bytes of headers would fit as well, but more segments are tried first.
        assert_eq!(segments(82 + 3001, 82 + 3001 + 3 * 82, gso_size, None), 4);
        // 3 segments would mean headers of 45 bytes.
        assert_eq!(segments(90 + 2 * 1448, 90 + 2 * 1448 + 90, MSS, None), 2);
    }

    #[test]
    fn headers_longer_than_a_segment_are_found_too() {
        let gso_size = NonZeroU32::new(48).unwrap();
        let (payload, headers) = (480, 86);
        assert_eq!(
            segments(headers + payload, headers + payload + 9 * headers, gso_size, None),
            10
        );
    }
}
