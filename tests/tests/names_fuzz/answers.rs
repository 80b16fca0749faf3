//! Answers of name servers.

use hickory_proto::rr::rdata::svcb::{IpHint, SVCB, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, HTTPS, TXT};
use hickory_proto::rr::{Name, RData};
use tcpwatch_tests::fuzz::{Random, blind};

use crate::forge::{answer, record};
use crate::hellos::claim;

const OWNERS: [&str; 6] = [
    "a.example.",
    "www.a.example.",
    "B.example.",
    "c.cdn.example.",
    "a\\.b.example.",
    ".",
];

fn data(random: &mut Random) -> RData {
    let v4 = A(random
        .pick(&[0xc000_0201_u32, 0x7f00_0001, 0, 0x0a00_0001])
        .to_owned()
        .into());
    let v6 = AAAA(u128::from(random.bits()).into());
    match random.below(7) {
        0 | 1 => RData::A(v4),
        2 => RData::AAAA(v6),
        3 | 4 => RData::CNAME(CNAME(Name::from_ascii(random.pick(&OWNERS)).unwrap())),
        5 => {
            let hints = vec![
                (
                    SvcParamKey::Ipv4Hint,
                    SvcParamValue::Ipv4Hint(IpHint(vec![v4; random.below(40)])),
                ),
                (SvcParamKey::Ipv6Hint, SvcParamValue::Ipv6Hint(IpHint(vec![v6]))),
            ];
            RData::HTTPS(HTTPS(SVCB::new(1, Name::root(), hints)))
        }
        _ => RData::TXT(TXT::new(vec!["v=spf1 -all".to_owned()])),
    }
}

/// A message, honest or made of pieces.
pub fn invent(random: &mut Random) -> Vec<u8> {
    if random.below(4) == 0 {
        return of_pieces(random);
    }
    let question = *random.pick(&OWNERS);
    let count = random.below(12);
    let records = (0..count)
        .map(|_| {
            let owner = if random.below(2) == 0 {
                question
            } else {
                *random.pick(&OWNERS)
            };
            let seconds = *random.pick(&[0, 1, 60, 300, u32::MAX]);
            record(owner, seconds, data(random))
        })
        .collect();
    answer(question, records).to_vec().unwrap()
}

/// Names that are pointers to anywhere, counts that are as they please.
fn of_pieces(random: &mut Random) -> Vec<u8> {
    let count = random.below(200) as u8;
    let mut message = vec![4, 7, 0x81, 0x80, 0, 1, 0, count, 0, 0, 0, 0];
    message.extend(b"\x01a\x07example\0\0\x01\0\x01");
    for _ in 0..random.below(usize::from(count) + 2) {
        name(&mut message, random);
        let kind = *random.pick(&[1, 1, 1, 28, 5, 5, 65, 16, 41]);
        message.extend([0, kind, 0, 1, 0, 0, 0, 60]);
        let begun = message.len();
        message.extend([0, 0]);
        match kind {
            1 => message.extend([192, 0, 2, random.byte()]),
            28 => message.extend([0x20; 16]),
            5 => name(&mut message, random),
            _ => message.extend((0..random.below(40)).map(|_| 0)),
        }
        let length = (message.len() - begun - 2) as u16;
        blind::put(&mut message, begun, &length.to_be_bytes());
    }
    message
}

fn name(message: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..random.below(3) {
        let length = random.below(8) as u8;
        message.push(length);
        message.extend((0..length).map(|_| *random.pick(b"abcA.\x1b")));
    }
    let to = match random.below(4) {
        0 => random.below(message.len() + 20),
        1 => message.len() - random.below(message.len().min(40)),
        _ => 12,
    };
    message.extend((0xc000 | to as u16).to_be_bytes());
}

/// Another pointer, type, count, label or length.
pub fn change(message: &mut Vec<u8>, random: &mut Random) {
    if message.is_empty() {
        return;
    }
    let at = random.below(message.len());
    match random.below(6) {
        0 => {
            let to = match random.below(3) {
                0 => at,
                1 => at.saturating_sub(random.below(30)),
                _ => random.below(message.len()),
            };
            blind::put(message, at, &(0xc000 | to as u16).to_be_bytes());
        }
        1 => blind::put(message, at, &[0, *random.pick(&[1, 5, 28, 65, 41, 255]), 0, 1]),
        2 => blind::put(message, 4 + random.below(8), &[0, random.byte() & 7]),
        3 => {
            // 16 KiB of pointers, each to the one before, and one at its end.
            let begun = message.len();
            let links = random.below(6000);
            for link in 0..links {
                let to = if link == 0 { 12 } else { begun + 2 * (link - 1) };
                message.extend((0xc000 | to as u16).to_be_bytes());
            }
            blind::put(message, at, &(0xc000 | (begun + 2 * links) as u16).to_be_bytes());
        }
        4 => {
            let label = random.below(64) as u8;
            blind::put(message, at, &[label]);
        }
        _ => claim(message, random),
    }
}
