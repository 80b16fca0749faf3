//! QUIC Initials: what is changed are the frames, which are sealed afterwards; or the datagram, which then rarely opens.
//!
//! An input is a byte of flags, a byte that divides what follows into two packets, and the frames (or the datagram).

use tcpwatch_tests::fuzz::{Random, blind};

use crate::forge::{Initial, crypto, varint};
use crate::hellos;

const IS_V2: u8 = 1;
const IS_DATAGRAM: u8 = 2;
const IS_DIVIDED: u8 = 4;
const IS_COALESCED: u8 = 8;
const IS_RETRIED: u8 = 16;

/// The datagrams that an input stands for.
pub fn datagrams(input: &[u8]) -> Vec<Vec<u8>> {
    let [flags, divide, frames @ ..] = input else {
        return Vec::new();
    };
    let has = |flag| flags & flag != 0;
    if has(IS_DATAGRAM) {
        return vec![frames.to_vec()];
    }
    let (first, second) = frames.split_at(if has(IS_DIVIDED) {
        frames.len() * usize::from(*divide) / 256
    } else {
        frames.len()
    });
    let initial = Initial {
        is_v2: has(IS_V2),
        ..Initial::default()
    };
    let mut later = initial.clone();
    later.number = u32::from(*divide);
    if has(IS_RETRIED) {
        (later.origin, later.id, later.token) = (b"retried", b"retried", b"token");
    }
    let (first, second) = (initial.seal(first), later.seal(second));
    if has(IS_COALESCED) {
        vec![[first, second].concat()]
    } else {
        vec![first, second]
    }
}

/// The frames of a ClientHello: in pieces, in any order, with others between.
pub fn frames(random: &mut Random) -> Vec<u8> {
    let hello = hellos::hello(random);
    let mut pieces = Vec::new();
    let mut from = 0;
    while from < hello.len() {
        let most = *random.pick(&[60, hello.len()]);
        let length = 1 + random.below(most);
        let to = (from + length).min(hello.len());
        pieces.push(crypto(from, &hello[from..to]));
        // Sometimes again what has been.
        from = if random.below(8) == 0 {
            to.saturating_sub(random.below(20)).max(from + 1)
        } else {
            to
        };
    }
    for _ in 0..random.below(pieces.len() + 1) {
        let other = match random.below(5) {
            0 => vec![0; random.below(300)],
            1 => vec![1],
            2 => [&[2][..], &varint(random.bits() >> 40), &[0, 1, 5, 0, 0]].concat(),
            3 => vec![3, 9, 0, 0, 1, 1, 2, 3],
            _ => Vec::new(),
        };
        pieces.push(other);
    }
    for at in (1..pieces.len()).rev() {
        if random.below(3) > 0 {
            pieces.swap(at, random.below(at + 1));
        }
    }
    pieces.concat()
}

/// A connection's first datagrams.
pub fn invent(random: &mut Random) -> Vec<u8> {
    let flags = random.byte() & !(IS_DATAGRAM | IS_DIVIDED | IS_RETRIED);
    let mut input = vec![flags, random.byte()];
    if random.below(8) == 0 {
        input[0] |= IS_DATAGRAM;
        let initial = Initial {
            is_v2: flags & IS_V2 != 0,
            ..Initial::default()
        };
        input.extend(initial.seal(&frames(random)));
    } else {
        input.extend(frames(random));
    }
    input
}

/// Another number, frame or way of sending.
pub fn change(input: &mut Vec<u8>, random: &mut Random) {
    if input.len() < 3 {
        return;
    }
    let at = 2 + random.below(input.len() - 2);
    match random.below(6) {
        0 => {
            let any = random.bits() >> 2;
            let number = *random.pick(&[0, 1, 63, 64, 16_383, 16_384, 17_000, (1 << 62) - 1, any]);
            blind::put(input, at, &varint(number));
        }
        1 => {
            let kind = *random.pick(&[0, 1, 2, 3, 6, 6, 0x1c, 0x40, 0xc0]);
            input.insert(at, kind);
        }
        2 => input[0] ^= 1 << random.below(5),
        3 => input[1] = random.byte(),
        4 => {
            let piece = crypto(random.below(20_000), &hellos::name(random));
            input.splice(at..at, piece);
        }
        _ => hellos::claim(&mut input[2..], random),
    }
}
