//! Answers, honest and hostile.

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::rdata::svcb::{IpHint, SVCB, SvcParamKey};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, HTTPS, TXT};

use super::*;
use crate::enrich::names::forge::{answer, record};

fn v4(last: u8) -> RData {
    RData::A(A(Ipv4Addr::new(192, 0, 2, last)))
}

fn alias(target: &str) -> RData {
    RData::CNAME(CNAME(Name::from_ascii(target).unwrap()))
}

fn told(name: &str, addresses: &[(&str, u64)]) -> Reply {
    let addresses = addresses
        .iter()
        .map(|(address, seconds)| (address.parse().unwrap(), Duration::from_secs(*seconds)));
    Reply::Addresses(name.into(), addresses.collect())
}

fn of(question: &str, records: Vec<hickory_proto::rr::Record>) -> Reply {
    reply(&answer(question, records).to_vec().unwrap(), false)
}

/// One by hand: the header, the question `a.example` for A in IN, and what follows.
fn raw(answers: u16, rest: &[u8]) -> Vec<u8> {
    let header = [
        4,
        7,
        0x81,
        0x80,
        0,
        1,
        answers.to_be_bytes()[0],
        answers.to_be_bytes()[1],
        0,
        0,
        0,
        0,
    ];
    [&header[..], b"\x01a\x07example\0\0\x01\0\x01", rest].concat()
}

const A_RECORD: &[u8] = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01";

#[test]
fn tells_the_addresses_of_the_question() {
    let v6 = RData::AAAA(AAAA(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)));
    let records = vec![
        record("A.Example.", 60, v4(1)),
        record("a.example.", 0, v4(2)),
        record("a.example.", 300, v6),
    ];
    let expected = [("192.0.2.1", 60), ("192.0.2.2", 0), ("2001:db8::1", 300)];
    assert_eq!(of("a.eXample.", records), told("a.example", &expected));
    assert_eq!(
        reply(&raw(1, A_RECORD), false),
        told("a.example", &[("192.0.2.1", 60)])
    );
}

#[test]
fn aliases_are_followed_in_any_order_and_the_shortest_time_counts() {
    let records = vec![
        record("c.example.", 300, v4(1)),
        record("b.example.", 20, alias("C.example.")),
        record("a.example.", 60, alias("b.example.")),
        record("b.example.", 10, v4(2)),
        record("other.example.", 60, v4(3)),
    ];
    assert_eq!(
        of("a.example.", records),
        told("a.example", &[("192.0.2.1", 20), ("192.0.2.2", 10)])
    );
}

#[test]
fn what_the_question_does_not_lead_to_is_no_evidence() {
    for records in [
        vec![record("b.example.", 60, v4(1))],
        vec![
            record("a.example.", 60, alias("b.example.")),
            record("c.example.", 60, v4(1)),
        ],
        vec![
            record("a.example.", 60, alias("a.example.")),
            record("a.example.", 60, v4(1)),
        ],
        vec![
            record("a.example.", 60, alias("b.example.")),
            record("b.example.", 60, alias("a.example.")),
            record("b.example.", 60, v4(1)),
        ],
        vec![record(
            "a.example.",
            60,
            RData::TXT(TXT::new(vec!["192.0.2.1".to_owned()])),
        )],
        vec![],
    ] {
        assert_eq!(of("a.example.", records.clone()), Reply::Nothing, "{records:?}");
    }
    // Additional records are not the answer.
    let mut message = answer("a.example.", vec![]);
    message.add_additional(record("a.example.", 60, v4(1)));
    assert_eq!(reply(&message.to_vec().unwrap(), false), Reply::Nothing);
}

#[test]
fn a_chain_may_be_as_long_as_resolvers_follow() {
    let chain = |links: usize| {
        let mut records: Vec<_> = (0..links)
            .map(|link| {
                record(
                    &format!("{link}.example."),
                    60,
                    alias(&format!("{}.example.", link + 1)),
                )
            })
            .collect();
        records.push(record(&format!("{links}.example."), 60, v4(1)));
        of("0.example.", records)
    };
    assert_eq!(chain(MOST_NAMES - 1), told("0.example", &[("192.0.2.1", 60)]));
    assert_eq!(chain(MOST_NAMES), Reply::Nothing);
}

#[test]
fn addresses_to_which_no_packet_leaves_are_no_evidence() {
    let mut records: Vec<_> = [
        "0.0.0.0",
        "127.0.0.1",
        "169.254.1.1",
        "224.0.0.251",
        "255.255.255.255",
    ]
    .iter()
    .map(|address| record("a.example.", 60, RData::A(A(address.parse().unwrap()))))
    .collect();
    for address in ["::", "::1", "::ffff:127.0.0.1", "fe80::1", "ff02::fb"] {
        records.push(record(
            "a.example.",
            60,
            RData::AAAA(AAAA(address.parse().unwrap())),
        ));
    }
    assert_eq!(of("a.example.", records.clone()), Reply::Nothing);
    records.push(record("a.example.", 60, RData::A(A::new(10, 0, 0, 1))));
    records.push(record(
        "a.example.",
        60,
        RData::AAAA(AAAA("::ffff:192.0.2.1".parse().unwrap())),
    ));
    assert_eq!(
        of("a.example.", records),
        told("a.example", &[("10.0.0.1", 60), ("192.0.2.1", 60)])
    );
}

#[test]
fn the_hints_of_a_service_are_addresses() {
    let hints = vec![
        (
            SvcParamKey::Ipv4Hint,
            SvcParamValue::Ipv4Hint(IpHint(vec![A::new(192, 0, 2, 1), A::new(192, 0, 2, 2)])),
        ),
        (
            SvcParamKey::Ipv6Hint,
            SvcParamValue::Ipv6Hint(IpHint(vec![AAAA("2001:db8::1".parse().unwrap())])),
        ),
    ];
    let records = vec![record(
        "a.example.",
        60,
        RData::HTTPS(HTTPS(SVCB::new(1, Name::root(), hints))),
    )];
    let expected = [("192.0.2.1", 60), ("192.0.2.2", 60), ("2001:db8::1", 60)];
    assert_eq!(of("a.example.", records), told("a.example", &expected));
}

#[test]
fn what_is_no_answer_is_unreadable_and_a_refusal_tells_nothing() {
    let good = raw(1, A_RECORD);
    // A question, another operation, no question, two, a failure, a name that does not exist.
    for (at, byte, expected) in [
        (2, 0x01, Reply::Unreadable),
        (2, 0xa9, Reply::Unreadable),
        (5, 0, Reply::Unreadable),
        (5, 2, Reply::Unreadable),
        (3, 0x82, Reply::Nothing),
        (3, 0x83, Reply::Nothing),
        (26, 3, Reply::Nothing),
    ] {
        let mut bad = good.clone();
        bad[at] = byte;
        assert_eq!(reply(&bad, false), expected, "{at}");
    }
    for cut in 0..27 {
        assert_eq!(reply(&good[..cut], true), Reply::Unreadable);
    }
    assert_eq!(
        reply(&raw(1, &[A_RECORD, b"more"].concat()), false),
        told("a.example", &[("192.0.2.1", 60)])
    );
    // A record of another class.
    let mut chaos = good.clone();
    chaos[32] = 3;
    assert_eq!(reply(&chaos, false), Reply::Nothing);
}

#[test]
fn of_what_is_cut_the_whole_records_count() {
    let two = [A_RECORD, A_RECORD].concat();
    let whole = raw(2, &two[..two.len() - 1]);
    assert_eq!(reply(&whole, false), Reply::Unreadable);
    assert_eq!(reply(&whole, true), told("a.example", &[("192.0.2.1", 60)]));
    let mut truncated = whole.clone();
    truncated[2] |= 2;
    assert_eq!(reply(&truncated, false), told("a.example", &[("192.0.2.1", 60)]));
    assert_eq!(reply(&raw(2, b""), true), Reply::Nothing);
}

#[test]
fn pointers_lead_back_or_nowhere() {
    // To itself, to the next, forward, to each other, to a label of 64 bytes, out of the message.
    for pointer in [
        b"\xc0\x1b",
        b"\xc0\x1d",
        b"\xc0\x2d",
        b"\xff\xff",
        b"\x40\x01",
        b"\x80\x01",
    ] {
        let record = [pointer, &A_RECORD[2..]].concat();
        assert_eq!(reply(&raw(1, &record), false), Reply::Unreadable, "{pointer:?}");
    }
    let each_other = b"\xc0\x1f\0\x05\0\x01\0\0\0\x3c\0\x02\xc0\x1b";
    assert_eq!(reply(&raw(1, each_other), false), Reply::Unreadable);
    // A question that is a loop.
    let header = [4, 7, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
    assert_eq!(
        reply(&[&header[..], b"\xc0\x0c\0\x01\0\x01"].concat(), false),
        Reply::Unreadable
    );
}

#[test]
fn a_message_made_of_pointers_takes_no_time() {
    // 16 KiB of pointers, each to the one before, and as many records as are read that begin at the last of them.
    let mut rest = b"\0\0\x63\0\x01\0\0\0\0".to_vec();
    let chain = (0x3fff - 40) / 2;
    let at = 27 + rest.len() + 2;
    rest.extend(u16::try_from(2 * chain).unwrap().to_be_bytes());
    rest.extend([0xc0, 0x0c]);
    for link in 1..chain {
        let to = u16::try_from(at + 2 * (link - 1)).unwrap() | 0xc000;
        rest.extend(to.to_be_bytes());
    }
    let last = u16::try_from(at + 2 * (chain - 1)).unwrap() | 0xc000;
    let record = [&last.to_be_bytes()[..], &A_RECORD[2..]].concat();
    for _ in 0..3000 {
        rest.extend(&record);
    }
    let message = raw(3001, &rest);
    let started = std::time::Instant::now();
    assert_eq!(reply(&message, false), told("a.example", &[("192.0.2.1", 60)]));
    let taken = started.elapsed();
    assert!(taken < Duration::from_secs(2), "{taken:?}");
}

#[test]
fn names_that_are_none_tell_nothing() {
    let labels: [&[u8]; 6] = [b"a\x1b[2J", b"a.b", b"\xff\xfe", b"a b", b"-", b"a\0"];
    for label in labels {
        let name = Name::from_labels([label, &b"example"[..]]).unwrap();
        let mut message = answer("x.example.", vec![]);
        message.queries[0].set_name(name.clone());
        message.add_answer(hickory_proto::rr::Record::from_rdata(name, 60, v4(1)));
        assert_eq!(
            reply(&message.to_vec().unwrap(), false),
            Reply::Nothing,
            "{}",
            label.escape_ascii()
        );
    }
    assert_eq!(of(".", vec![record(".", 60, v4(1))]), Reply::Nothing);
    // On the way they do no harm.
    let odd = "a\\.b.example.";
    let records = vec![record("a.example.", 60, alias(odd)), record(odd, 60, v4(1))];
    assert_eq!(of("a.example.", records), told("a.example", &[("192.0.2.1", 60)]));
}

#[test]
fn is_bounded_in_addresses_and_time() {
    let mut many = Vec::new();
    for hint in 0..16_000_u32 {
        many.push(A(Ipv4Addr::from_bits(0x0a00_0000 | hint)));
    }
    let hints = vec![(SvcParamKey::Ipv4Hint, SvcParamValue::Ipv4Hint(IpHint(many)))];
    let records = vec![record(
        "a.example.",
        u32::MAX,
        RData::HTTPS(HTTPS(SVCB::new(1, Name::root(), hints))),
    )];
    let Reply::Addresses(_, addresses) = of("a.example.", records) else {
        panic!("nothing");
    };
    assert_eq!(addresses.len(), MOST_ADDRESSES);
    assert_eq!(
        addresses[0].1,
        Duration::ZERO,
        "RFC 2181: a time with the highest bit is none"
    );
}
