//! Parsers as one writes them first, without any check: what proves that the fuzzing finds something.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use rustls::Side;
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::quic::{Keys, Version};
use tcpwatch::enrich::names::dns::Reply;
use tcpwatch::enrich::names::hello::Hello;
use tcpwatch::enrich::names::tls::first_sent;
use tcpwatch::enrich::names::{Finding, SampleKind};
use tcpwatch_tests::fuzz::watch::LONGEST_STEP;

use crate::examine::{Seen, Told, of_hello, of_reply, of_script};
use crate::initials;

/// How long a loop of pointers runs: until it was noticed, and not for ever, as the thread cannot be ended.
const LONGEST_LOOP: Duration = LONGEST_STEP.saturating_mul(3);

fn u16_at(bytes: &[u8], at: usize) -> usize {
    usize::from(bytes[at]) << 8 | usize::from(bytes[at + 1])
}

/// Follows every pointer, wherever it leads.
fn name_at(message: &[u8], mut at: usize) -> (Vec<u8>, usize) {
    let started = Instant::now();
    let (mut labels, mut end) = (Vec::new(), None);
    loop {
        let length = usize::from(message[at]);
        if length == 0 {
            return (labels.join(&b'.'), end.unwrap_or(at + 1));
        }
        if length >= 0xc0 {
            end = end.or(Some(at + 2));
            at = u16_at(message, at) & 0x3fff;
            if started.elapsed() > LONGEST_LOOP {
                return (Vec::new(), at);
            }
            continue;
        }
        labels.push(&message[at + 1..=at + length]);
        // A loop that collects labels shall not take all memory.
        labels.truncate(1000);
        at += 1 + length;
    }
}

pub fn dns(message: &[u8]) -> Seen {
    let (question, mut at) = name_at(message, 12);
    at += 4;
    let mut addresses = Vec::new();
    for _ in 0..u16_at(message, 6) {
        let (_, next) = name_at(message, at);
        let length = u16_at(message, next + 8);
        let data = &message[next + 10..next + 10 + length];
        if u16_at(message, next) == 1 && addresses.is_empty() {
            let address = Ipv4Addr::new(data[0] | 0x80 & 0xbf, data[1], data[2], data[3]);
            addresses.push((address.into(), Duration::from_secs(60)));
        }
        at = next + 10 + length;
    }
    let name = String::from_utf8_lossy(&question).to_lowercase();
    if addresses.is_empty() || !name.ends_with("example") {
        return Seen::new(Told::Nothing, at);
    }
    of_reply(&Reply::Addresses(name.into(), addresses))
}

/// The name in a ClientHello, taken as it is.
fn server_name(handshake: &[u8]) -> Hello {
    let session = usize::from(handshake[38]);
    let suites = u16_at(handshake, 39 + session);
    let methods = usize::from(handshake[41 + session + suites]);
    let mut at = 42 + session + suites + methods + 2;
    while at < handshake.len() {
        let length = u16_at(handshake, at + 2);
        if u16_at(handshake, at) == 0 {
            let size = u16_at(handshake, at + 7);
            let name = String::from_utf8_lossy(&handshake[at + 9..at + 9 + size]);
            return Hello::Name(name.trim_end_matches('.').to_lowercase().into());
        }
        at += 4 + length;
    }
    Hello::Nameless
}

pub fn tls(stream: &[u8]) -> Seen {
    let mut handshake = Vec::new();
    let mut at = 0;
    while at < stream.len() {
        let length = u16_at(stream, at + 3);
        handshake.extend_from_slice(&stream[at + 5..at + 5 + length]);
        at += 5 + length;
    }
    of_hello(&server_name(&handshake), stream.len())
}

/// Knows where the number is, as our own packets have no surprises in the header; checks none of the frames.
pub fn quic(input: &[u8]) -> Seen {
    let datagrams = initials::datagrams(input);
    let Some(datagram) = datagrams.first().filter(|_| input[0] & 31 == 0) else {
        return Seen::new(Told::Unreadable, 0);
    };
    let suite = TLS13_AES_128_GCM_SHA256.tls13().unwrap();
    let quic = suite.quic_suite().unwrap().quic;
    let keys = Keys::initial(Version::V1, suite, quic, &datagram[6..14], Side::Server).remote;
    let mut packet = datagram.clone();
    // Behind the version, the two IDs, and the empty token; the length has one to four bytes.
    let number_at = 16 + (1 << (packet[16] >> 6));
    let sample: Vec<u8> = packet[number_at + 4..number_at + 20].to_vec();
    let (header, sealed) = packet.split_at_mut(number_at);
    keys.header
        .decrypt_in_place(&sample, &mut header[0], &mut sealed[..4])
        .unwrap();
    let (header, sealed) = packet.split_at_mut(number_at + 4);
    let frames = keys.packet.decrypt_in_place(0, header, sealed).unwrap();
    let mut handshake = vec![0; 64 << 10];
    let mut reach = 0;
    let mut at = 0;
    let number = |at: &mut usize| {
        let first = frames[*at];
        let size = 1 << (first >> 6);
        let bytes = &frames[*at + 1..*at + size];
        *at += size;
        bytes.iter().fold(usize::from(first & 0x3f), |number, byte| {
            number << 8 | usize::from(*byte)
        })
    };
    while at < frames.len() {
        let kind = number(&mut at);
        if kind == 6 {
            let offset = number(&mut at);
            let length = number(&mut at);
            handshake[offset..offset + length].copy_from_slice(&frames[at..at + length]);
            at += length;
            reach = reach.max(offset + length);
        } else if kind == 2 {
            let [_largest, _delay] = [number(&mut at), number(&mut at)];
            for _ in 0..=2 * number(&mut at) {
                number(&mut at);
            }
        } else if kind > 1 {
            break;
        }
    }
    of_hello(&server_name(&handshake[..reach]), input.len())
}

/// Puts segments one behind the other as they come, and forgets what it has told.
pub fn observer(input: &[u8]) -> Seen {
    let mut streams: HashMap<u16, Vec<u8>> = HashMap::new();
    let mut findings = 0_u32;
    of_script(input, |sample, _| {
        if sample.kind != SampleKind::Tls {
            return Vec::new();
        }
        let stream = streams.entry(sample.local_port).or_default();
        stream.extend_from_slice(sample.payload);
        let Hello::Name(name) = first_sent(stream) else {
            return Vec::new();
        };
        findings += 1;
        vec![Finding::Connection {
            source: sample.local,
            destination: sample.remote,
            name,
        }]
    });
    Seen::new(
        if findings > 0 { Told::Name } else { Told::Nothing },
        findings.min(20),
    )
}
