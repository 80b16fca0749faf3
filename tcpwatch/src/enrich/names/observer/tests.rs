//! Pieces in any order, and too many of them.

use std::net::{IpAddr, Ipv4Addr};

use hickory_proto::rr::RData;
use hickory_proto::rr::rdata::A;

use super::*;
use crate::enrich::names::forge::{
    Initial, answer, client_hello, crypto, host_name, record, records, vector16,
};

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
const REMOTE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

fn sample(kind: SampleKind, local_port: u16, offset: usize, payload: &[u8]) -> Sample<'_> {
    Sample {
        kind,
        local: LOCAL,
        local_port,
        remote: REMOTE,
        remote_port: 443,
        offset: offset.try_into().unwrap(),
        payload,
        cut: false,
    }
}

fn found(name: &str) -> Vec<Finding> {
    vec![Finding::Connection {
        source: LOCAL,
        destination: REMOTE,
        name: name.into(),
    }]
}

fn told(name: &str) -> Finding {
    Finding::Answer {
        name: name.into(),
        addresses: vec![(REMOTE, Duration::from_secs(60))],
    }
}

fn hello() -> Vec<u8> {
    let hello = client_hello(&[(21, vec![0; 1700]), host_name(b"a.example")]);
    records(&hello, 1000)
}

fn reply_for(name: &str) -> Vec<u8> {
    let data = RData::A(A::new(192, 0, 2, 1));
    answer(name, vec![record(name, 60, data)]).to_vec().unwrap()
}

#[test]
fn a_hello_in_segments_of_any_order_is_one_finding() {
    let now = Instant::now();
    let hello = hello();
    let [a, b, c] = [(0, 600), (600, 1300), (1300, hello.len())];
    for order in [[a, b, c], [c, b, a], [b, c, a], [b, a, c], [a, c, b], [c, a, b]] {
        let mut observer = Observer::new();
        let mut findings = Vec::new();
        // Each comes twice, and all once more.
        for (from, to) in order.into_iter().flat_map(|piece| [piece, piece]).chain(order) {
            findings.extend(observer.observe(sample(SampleKind::Tls, 1, from, &hello[from..to]), now));
        }
        assert_eq!(findings, found("a.example"), "{order:?}");
        assert_eq!(observer.waiting(), (0, 0));
        let counters = Counters {
            samples: 9,
            findings: 1,
            ..Counters::default()
        };
        assert_eq!(observer.counters(), counters);
    }
}

#[test]
fn connections_are_kept_apart() {
    let now = Instant::now();
    let hello = hello();
    let mut observer = Observer::new();
    for port in 0..100 {
        assert_eq!(
            observer.observe(sample(SampleKind::Tls, port, 0, &hello[..900]), now),
            []
        );
    }
    for port in 0..100 {
        assert_eq!(
            observer.observe(sample(SampleKind::Tls, port, 900, &hello[900..]), now),
            found("a.example")
        );
    }
}

#[test]
fn a_hello_in_initials_is_one_finding() {
    let now = Instant::now();
    let hello = client_hello(&[(21, vec![0; 1700]), host_name(b"a.example")]);
    let first = Initial::default().seal(&crypto(0, &hello[..1000]));
    let second = Initial {
        number: 1,
        ..Initial::default()
    }
    .seal(&crypto(1000, &hello[1000..]));
    let mut observer = Observer::new();
    assert_eq!(observer.observe(sample(SampleKind::Quic, 1, 0, &first), now), []);
    assert_eq!(
        observer.observe(sample(SampleKind::Quic, 1, 0, &first[..900]), now),
        []
    );
    assert_eq!(
        observer.observe(sample(SampleKind::Quic, 1, 0, &second), now),
        found("a.example")
    );
    assert_eq!(observer.observe(sample(SampleKind::Quic, 1, 0, &first), now), []);
    let counters = Counters {
        samples: 4,
        findings: 1,
        unreadable: 1,
        ..Counters::default()
    };
    assert_eq!(observer.counters(), counters);
    assert_eq!(observer.waiting(), (0, 0));
}

#[test]
fn each_message_of_a_name_server_is_a_finding() {
    let now = Instant::now();
    let mut observer = Observer::new();
    let message = reply_for("a.example.");
    assert_eq!(
        observer.observe(sample(SampleKind::DnsUdp, 1, 0, &message), now),
        [told("a.example")]
    );

    let names = ["a.example.", "b.example.", "c.example.", "d.example."];
    let stream: Vec<u8> = names.iter().flat_map(|name| vector16(&reply_for(name))).collect();
    let expected = ["a.example", "b.example", "c.example", "d.example"].map(told);
    // From anywhere near the beginning of the stream, or far in it, also where the numbers begin anew.
    for base in [0_u32, 500, 1 << 20, u32::MAX - 70] {
        for length in [1, 7, 45, 46, 100, stream.len()] {
            let mut observer = Observer::new();
            let mut findings = Vec::new();
            let mut offset = base;
            // With a small piece in the middle of the stream nobody knows where a message begins.
            let first = if (1..16_000).contains(&base) {
                stream.len() / 4
            } else {
                length
            };
            let (first, rest) = stream.split_at(first);
            for piece in [first].into_iter().chain(rest.chunks(length)) {
                let sample = Sample {
                    offset,
                    ..sample(SampleKind::DnsTcp, 1, 0, piece)
                };
                findings.extend(observer.observe(sample, now));
                offset = offset.wrapping_add(piece.len() as u32);
            }
            assert_eq!(findings, expected, "{base} {length}");
            assert_eq!(observer.counters().unreadable, 0);
        }
    }
}

#[test]
fn messages_in_segments_of_another_order_are_put_together() {
    let now = Instant::now();
    let stream: Vec<u8> = [
        vector16(&reply_for("a.example.")),
        vector16(&reply_for("b.example.")),
    ]
    .concat();
    let mut observer = Observer::new();
    let mut findings = Vec::new();
    for (from, to) in [(20, 60), (60, stream.len()), (0, 30), (0, 30), (10, stream.len())] {
        findings.extend(observer.observe(sample(SampleKind::DnsTcp, 1, from, &stream[from..to]), now));
    }
    assert_eq!(findings, [told("a.example"), told("b.example")]);
    assert_eq!(observer.counters().given_up, 0);
}

#[test]
fn what_never_ends_is_given_up() {
    let start = Instant::now();
    let hello = hello();
    let mut observer = Observer::new();
    observer.observe(sample(SampleKind::Tls, 1, 0, &hello[..900]), start);
    let late = start + UNFINISHED.age + Duration::from_secs(1);
    assert_eq!(
        observer.observe(sample(SampleKind::Tls, 1, 900, &hello[900..]), late),
        []
    );
    assert_eq!(observer.counters().given_up, 1);

    let mut observer = Observer::new();
    for at in 0..100 {
        observer.observe(sample(SampleKind::Tls, 1, at, &hello[at..=at]), start);
    }
    assert_eq!((observer.waiting(), observer.counters().given_up), ((0, 0), 1));

    // A message longer than is waited for.
    assert_eq!(
        observer.observe(sample(SampleKind::DnsTcp, 1, 0, &[0xff, 0xff, 1]), start),
        []
    );
    assert_eq!((observer.waiting(), observer.counters().given_up), ((0, 0), 2));
}

#[test]
fn a_connection_of_another_protocol_is_looked_at_once() {
    let now = Instant::now();
    let mut observer = Observer::new();
    let plain = client_hello(&[]);
    for _ in 0..4 {
        assert_eq!(
            observer.observe(sample(SampleKind::Tls, 1, 0, b"SSH-2.0-OpenSSH_10.0\r\n"), now),
            []
        );
        assert_eq!(
            observer.observe(sample(SampleKind::Tls, 2, 0, &records(&plain, 900)), now),
            []
        );
    }
    let counters = Counters {
        samples: 8,
        unreadable: 1,
        nameless: 1,
        ..Counters::default()
    };
    assert_eq!(observer.counters(), counters);
}

#[test]
fn is_bounded_in_number_and_memory() {
    let now = Instant::now();
    let hello = client_hello(&[(21, vec![0; 16_000])]);
    let stream = records(&hello, 16_000);
    let mut observer = Observer::new();
    for connection in 0..6000_usize {
        let port = u16::try_from(connection).unwrap();
        // The first byte makes it a handshake; the rest makes it as long as it may be.
        observer.observe(sample(SampleKind::Tls, port, 8000, &stream[8000..16_000]), now);
        observer.observe(sample(SampleKind::Tls, port, 0, &stream[..5]), now);
        let (waiting, bytes) = observer.waiting();
        assert!(
            waiting <= UNFINISHED.entries && bytes <= UNFINISHED.bytes,
            "{waiting} {bytes}"
        );
    }
    let (waiting, bytes) = observer.waiting();
    assert!(bytes > UNFINISHED.bytes / 2, "{waiting} {bytes}");
    assert!(observer.counters().given_up > 5000);
}

#[test]
fn connections_are_remembered_at_full_speed_and_no_more_of_them() {
    let start = Instant::now();
    let hello = records(&client_hello(&[host_name(b"a.example")]), 900);
    let mut observer = Observer::new();
    let mut found = |port, now| {
        let findings = observer.observe(sample(SampleKind::Tls, port, 0, &hello), now);
        (findings.len(), observer.finished.len())
    };
    for port in 0..40_000_u16 {
        // 4,000 a second.
        let now = start + Duration::from_micros(250) * port.into();
        assert_eq!(found(port, now), (1, usize::from(port) + 1));
    }
    let end = start + Duration::from_secs(10);
    assert_eq!(found(0, end), (0, 40_000));
    assert_eq!(found(40_000, end), (1, 40_000), "for the oldest");
    assert_eq!(found(0, end), (1, 40_000));
    assert_eq!(found(1, start + Duration::from_secs(30)), (1, 1));
}

#[test]
fn another_connection_from_the_same_port_is_another_finding() {
    let now = Instant::now();
    let [first, second] = [1, 2].map(|random| {
        let mut stream = hello();
        // The first of the random bytes, behind two headers and the version.
        stream[11] = random;
        stream
    });
    let mut observer = Observer::new();
    let mut observe = |from, piece| observer.observe(sample(SampleKind::Tls, 1, from, piece), now);
    assert_eq!(observe(0, &first[..40]), []);
    assert_eq!(observe(40, &first[40..]), found("a.example"));
    // Again, and in other pieces.
    assert_eq!(observe(0, &first), []);
    assert_eq!(observe(0, &first[..40]), []);
    assert_eq!(observe(0, &second[..800]), []);
    assert_eq!(observe(800, &second[800..]), found("a.example"));
    assert_eq!(observe(0, &second[..800]), []);
    assert_eq!(observe(800, &second[800..]), []);
}
