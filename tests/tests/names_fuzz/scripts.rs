//! Samples of several connections, one after another.
//!
//! An input is their steps; each is a head of eight bytes (what and how, port, offset, time, and the length of what
//! follows in two) and the payload.

use std::time::Duration;

use tcpwatch::enrich::names::SampleKind;
use tcpwatch_tests::fuzz::{Random, blind};

use crate::forge::{Initial, crypto, vector16};
use crate::{answers, hellos};

const IS_CUT: u8 = 4;
const IS_SEALED: u8 = 8;
/// All of these bits: on so many ports, more than an observer holds.
const ON_MANY: u8 = 0xf0;
const MANY: u16 = 4200;
const HEAD: usize = 8;

/// One sample, or the same on many ports.
pub struct Step {
    pub kind: SampleKind,
    pub port: u16,
    pub ports: u16,
    pub offset: u32,
    pub cut: bool,
    /// How much later than the one before.
    pub later: Duration,
    pub payload: Vec<u8>,
}

/// The steps of an input, as far as they go.
pub fn steps(input: &[u8]) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut many = 0;
    let mut rest = input;
    while let [how, port, a, b, c, later, more, less, tail @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*more, *less])).min(tail.len());
        let (payload, tail) = tail.split_at(length);
        rest = tail;
        let kind = match how & 3 {
            0 => SampleKind::DnsUdp,
            1 => SampleKind::DnsTcp,
            2 => SampleKind::Tls,
            _ => SampleKind::Quic,
        };
        // What takes long is done once, and with what is read fast.
        let fast = kind == SampleKind::Tls && many == 0 && payload.len() < 600;
        let ports = if how & ON_MANY == ON_MANY && fast { MANY } else { 1 };
        many += u32::from(ports > 1);
        let payload = if kind == SampleKind::Quic && how & IS_SEALED != 0 {
            Initial::default().seal(payload)
        } else {
            payload.to_vec()
        };
        steps.push(Step {
            kind,
            port: u16::from(*port & 3),
            ports,
            offset: u32::from_be_bytes([*a, *a, *b, *c]),
            cut: how & IS_CUT != 0,
            later: Duration::from_millis(u64::from(*later).pow(2) / 2),
            payload,
        });
    }
    steps
}

fn step(how: u8, port: u8, offset: usize, payload: &[u8], random: &mut Random) -> Vec<u8> {
    let offset = (offset as u32).to_be_bytes();
    let later = if random.below(10) == 0 { random.byte() } else { 0 };
    [
        &[how, port, offset[1], offset[2], offset[3], later][..],
        &vector16(payload),
    ]
    .concat()
}

/// A few connections, their segments in some order.
pub fn invent(random: &mut Random) -> Vec<u8> {
    let mut steps = Vec::new();
    for port in 0..1 + random.below(4) as u8 {
        let many = if random.below(200) == 0 { ON_MANY } else { 0 };
        match random.below(4) {
            0 => {
                let message = answers::invent(random);
                steps.push(step(0, port, 0, &message, random));
            }
            1 => {
                let stream = [
                    vector16(&answers::invent(random)),
                    vector16(&answers::invent(random)),
                ]
                .concat();
                segments(&mut steps, 1, port, &stream, random);
            }
            2 => {
                let stream = hellos::invent(random);
                segments(&mut steps, many | 2, port, &stream, random);
            }
            _ => {
                let hello = hellos::hello(random);
                let middle = random.below(hello.len());
                for (from, to) in [(0, middle), (middle, hello.len())] {
                    let frames = crypto(from, &hello[from..to]);
                    steps.push(step(3 | IS_SEALED, port, 0, &frames, random));
                }
            }
        }
    }
    for at in (1..steps.len()).rev() {
        if random.below(4) == 0 {
            steps.swap(at, random.below(at + 1));
        }
        if random.below(8) == 0 {
            steps.push(steps[at].clone());
        }
    }
    steps.concat()
}

fn segments(steps: &mut Vec<Vec<u8>>, how: u8, port: u8, stream: &[u8], random: &mut Random) {
    let mut from = 0;
    while from < stream.len() {
        let to = (from + 1 + random.below(stream.len())).min(stream.len());
        steps.push(step(how, port, from, &stream[from..to], random));
        from = to;
    }
}

/// Another kind, port, offset or time of a step, or another step.
pub fn change(input: &mut Vec<u8>, random: &mut Random) {
    // Where the steps begin.
    let mut heads = Vec::new();
    let mut at = 0;
    while let Some(head) = input.get(at..at + HEAD) {
        heads.push(at);
        at += HEAD + usize::from(u16::from_be_bytes([head[6], head[7]]));
    }
    if heads.is_empty() {
        return;
    }
    let head = *random.pick(&heads);
    match random.below(6) {
        0 => input[head] ^= *random.pick(&[1, 2, 3, IS_CUT, IS_SEALED]),
        1 => input[head + 1] = random.byte(),
        2 => {
            let offset = *random.pick(&[[0, 0, 0], [0, 0, 1], [0, 64, 1], [0, 68, 0], [0xff; 3], [1, 0, 0]]);
            blind::put(input, head + 2, &offset);
        }
        3 => input[head + 5] = random.byte(),
        4 => input.extend(invent(random)),
        _ => hellos::claim(input, random),
    }
}
