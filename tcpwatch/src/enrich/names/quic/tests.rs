//! The vectors of the RFCs, and what can be done with frames and packets.

use super::*;
use crate::enrich::names::forge::{self, client_hello, crypto, host_name, of_rustls_in_quic, varint};

fn named(name: &str) -> Hello {
    Hello::Name(name.into())
}

fn hello() -> Vec<u8> {
    client_hello(&[(21, vec![0; 1500]), host_name(b"a.example")])
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits
        .chunks(2)
        .map(|byte| (byte[0] << 4 | byte[1]) as u8)
        .collect()
}

/// RFC 9001 appendix A.2, RFC 9369 appendix A.2.
const VECTORS: [&str; 2] = [
    include_str!("../vectors/rfc9001-a2.hex"),
    include_str!("../vectors/rfc9369-a2.hex"),
];

#[test]
fn opens_the_client_initials_of_the_rfcs() {
    for vector in VECTORS {
        let datagram = hex(vector);
        assert_eq!(datagram.len(), 1200);
        assert_eq!(Connection::default().datagram(&datagram), named("example.com"));
        for at in [0, 3, 7, 18, 22, 700, 1199] {
            let mut damaged = datagram.clone();
            damaged[at] ^= 1;
            assert_eq!(
                Connection::default().datagram(&damaged),
                Hello::Unreadable,
                "{at}"
            );
        }
        assert_eq!(
            Connection::default().datagram(&datagram[..1199]),
            Hello::Unreadable
        );
    }
}

#[test]
fn the_forge_seals_as_the_rfcs_do() {
    for (is_v2, vector) in [false, true].into_iter().zip(VECTORS) {
        let mut frames = crypto(0, &hex(include_str!("../vectors/rfc9001-a2-hello.hex")));
        frames.resize(1162, 0);
        let id = &[0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08];
        let initial = forge::Initial {
            is_v2,
            origin: id,
            id,
            number: 2,
            ..forge::Initial::default()
        };
        assert_eq!(initial.seal(&frames), hex(vector));
    }
}

#[test]
fn reads_the_name_that_rustls_sends() {
    for is_v2 in [false, true] {
        let initial = forge::Initial {
            is_v2,
            ..forge::Initial::default()
        };
        let datagram = initial.seal(&crypto(0, &of_rustls_in_quic("www.example.com")));
        assert_eq!(
            Connection::default().datagram(&datagram),
            named("www.example.com")
        );
    }
}

#[test]
fn frames_may_come_in_any_order_in_any_initial_with_others_between() {
    let hello = hello();
    let ack = [
        &[2][..],
        &varint(70_000),
        &[0, 2, 5, 1, 1, 300_u16.to_be_bytes()[1] & 0x3f, 2],
    ]
    .concat();
    let ack_ecn = [&[3][..], &[9, 0, 0, 1], &[1, 2, 3]].concat();
    let first = [
        crypto(900, &hello[900..]),
        vec![0; 40],
        crypto(0, &hello[..300]),
        ack,
    ]
    .concat();
    let second = [
        vec![1],
        ack_ecn,
        crypto(600, &hello[600..950]),
        crypto(300, &hello[300..600]),
    ]
    .concat();
    for number in [1, 2] {
        for (is_v2, coalesced) in [(false, false), (true, true), (false, true)] {
            let seal = |frames: &[u8], number| {
                forge::Initial {
                    is_v2,
                    number,
                    token: b"token",
                    ..forge::Initial::default()
                }
                .seal(frames)
            };
            let (first, second) = (seal(&first, number), seal(&second, 2 - number));
            let mut connection = Connection::default();
            if coalesced {
                assert_eq!(connection.datagram(&[first, second].concat()), named("a.example"));
            } else {
                assert_eq!(connection.datagram(&second), Hello::Unfinished);
                assert_eq!(connection.datagram(&second), Hello::Unfinished);
                assert_eq!(connection.datagram(&first), named("a.example"));
            }
        }
    }
}

#[test]
fn other_packets_of_a_datagram_are_stepped_over() {
    let initial = forge::Initial::default().seal(&crypto(0, &hello()));
    // 0-RTT: the same header without a token.
    let early = [
        &[0xd0, 0, 0, 0, 1, 8][..],
        b"original",
        &[0],
        &varint(30),
        &[7; 30],
    ]
    .concat();
    let short = [&[0x40][..], &[7; 30]].concat();
    assert_eq!(
        Connection::default().datagram(&[&early[..], &initial].concat()),
        named("a.example")
    );
    assert_eq!(
        Connection::default().datagram(&[&initial[..], &early, &short].concat()),
        named("a.example")
    );
    assert_eq!(
        Connection::default().datagram(&[&short[..], &initial].concat()),
        Hello::Unreadable
    );
}

#[test]
fn keys_follow_the_first_initial_or_a_retry() {
    let hello = hello();
    let [start, end] = [crypto(0, &hello[..700]), crypto(700, &hello[700..])];
    let seal = |origin: &[u8], id: &[u8], frames: &[u8]| {
        forge::Initial {
            origin,
            id,
            ..forge::Initial::default()
        }
        .seal(frames)
    };
    // The server has chosen another ID: the keys stay.
    let mut connection = Connection::default();
    assert_eq!(
        connection.datagram(&seal(b"original", b"original", &start)),
        Hello::Unfinished
    );
    assert_eq!(
        connection.datagram(&seal(b"original", b"chosen", &end)),
        named("a.example")
    );
    // After a Retry they do not, and all is sent again.
    let mut connection = Connection::default();
    assert_eq!(
        connection.datagram(&seal(b"original", b"original", &start)),
        Hello::Unfinished
    );
    assert_eq!(
        connection.datagram(&seal(b"retried", b"retried", &end)),
        Hello::Unfinished
    );
    assert_eq!(
        connection.datagram(&seal(b"retried", b"retried", &start)),
        named("a.example")
    );
    // What nobody can open changes nothing.
    let mut connection = Connection::default();
    assert_eq!(
        connection.datagram(&seal(b"original", b"original", &start)),
        Hello::Unfinished
    );
    assert_eq!(
        connection.datagram(&seal(b"foreign", b"chosen", &end)),
        Hello::Unreadable
    );
    assert_eq!(
        connection.datagram(&seal(b"original", b"original", &end)),
        named("a.example")
    );
}

#[test]
fn hostile_frames_and_lengths_are_unreadable_or_without_effect() {
    let initial = forge::Initial::default();
    let open = |frames: &[u8]| Connection::default().datagram(&initial.seal(frames));
    let far = [&[6][..], &varint(u64::MAX >> 2), &[1, 0]].concat();
    assert_eq!(open(&far), Hello::Unreadable);
    assert_eq!(open(&crypto(LONGEST, b"a")), Hello::Unreadable);
    let endless = [&[6, 0][..], &varint(u64::MAX >> 2), &[1]].concat();
    assert_eq!(open(&endless), Hello::Unfinished);
    let ranges = [&[2, 0, 0][..], &varint(u64::MAX >> 2), &[0; 30]].concat();
    assert_eq!(open(&ranges), Hello::Unfinished);
    // CONNECTION_CLOSE ends it, also in front of more.
    assert_eq!(
        open(&[&[0x1c, 0, 0, 0][..], &crypto(0, &hello())].concat()),
        Hello::Unfinished
    );
    assert_eq!(
        open(&crypto(0, b"\x02\0\0\0")),
        Hello::Unreadable,
        "a ServerHello"
    );
    let holes: Vec<_> = (0..200).map(|piece| crypto(2 * piece, b"\x01")).collect();
    assert_eq!(open(&holes.concat()), Hello::Unreadable);

    let sealed = initial.seal(&crypto(0, &hello()));
    for cut in 0..60 {
        assert_eq!(Connection::default().datagram(&sealed[..cut]), Hello::Unreadable);
    }
    let mut unknown = sealed.clone();
    unknown[4] = 3;
    assert_eq!(
        Connection::default().datagram(&unknown),
        Hello::Unreadable,
        "version 3"
    );
    let tiny = [&[0xc0, 0, 0, 0, 1, 0, 0, 0][..], &varint(3), &[0; 3]].concat();
    assert_eq!(Connection::default().datagram(&tiny), Hello::Unreadable);
    let long_id = [&[0xc0, 0, 0, 0, 1, 21][..], &[0; 60]].concat();
    assert_eq!(Connection::default().datagram(&long_id), Hello::Unreadable);
}
