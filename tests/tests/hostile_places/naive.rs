//! A reader as one writes it first, without any check: what proves that the corpus and the fuzzing find something.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tcpwatch::enrich::geo::Description;
use tcpwatch::record::Place;
use tcpwatch_tests::fuzz::watch::LONGEST_STEP;
use tcpwatch_tests::mmdb::{MARKER, SEPARATOR, kind};

use crate::reader::{Open, Reader};

/// How long a loop of pointers runs: until it was noticed, and not for ever, as the thread cannot be ended.
const LONGEST_LOOP: Duration = LONGEST_STEP.saturating_mul(3);

/// Opens with the reader that checks nothing.
pub const NAIVE: Open = |path: &Path| {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    let refused = |what: &str| format!("{}: {what}", path.display());
    let marker = (0..bytes.len())
        .rev()
        .find(|at| bytes[*at..].starts_with(MARKER))
        .ok_or_else(|| refused("no marker"))?;
    let metadata = &bytes[marker + MARKER.len()..];
    let number = |key| {
        let at = find(metadata, 0, key)?;
        Some(unsigned(metadata, at))
    };
    let nodes = number("node_count").ok_or_else(|| refused("no node_count"))?;
    let record_size = number("record_size").ok_or_else(|| refused("no record_size"))?;
    let is_ipv4 = number("ip_version") == Some(4);
    Ok(Box::new(Naive {
        bytes,
        nodes,
        record_size,
        is_ipv4,
    }))
};

struct Naive {
    bytes: Vec<u8>,
    nodes: usize,
    record_size: usize,
    is_ipv4: bool,
}

impl Reader for Naive {
    fn place(&mut self, address: IpAddr) -> Arc<Place> {
        let (bits, length) = match (address, self.is_ipv4) {
            (IpAddr::V4(address), true) => (u128::from(address.to_bits()) << 96, 32),
            (IpAddr::V4(address), false) => (u128::from(address.to_bits()), 128),
            (IpAddr::V6(_), true) => return Arc::default(),
            (IpAddr::V6(address), false) => (address.to_bits(), 128),
        };
        let mut node = 0;
        for depth in 0..length {
            if node >= self.nodes {
                break;
            }
            node = self.side(node, usize::from(bits >> (127 - depth) & 1 == 1));
        }
        if node <= self.nodes {
            return Arc::default();
        }
        let data = &self.bytes[self.nodes * self.record_size / 4 + SEPARATOR..];
        let root = node - self.nodes - SEPARATOR;
        let code = find(data, root, "country").and_then(|country| find(data, country, "iso_code"));
        let country = code.map(|code| {
            let (_, size, at) = header(data, code);
            std::str::from_utf8(&data[at..at + size]).unwrap().into()
        });
        Arc::new(Place {
            country,
            ..Place::default()
        })
    }

    fn errors(&self) -> u64 {
        0
    }

    fn descriptions(&self) -> Vec<Description> {
        Vec::new()
    }
}

impl Naive {
    fn side(&self, node: usize, side: usize) -> usize {
        let at = node * self.record_size / 4;
        let number = |bytes: &[u8]| {
            bytes
                .iter()
                .fold(0, |number, byte| number << 8 | usize::from(*byte))
        };
        match (self.record_size, side) {
            (28, 0) => usize::from(self.bytes[at + 3] >> 4) << 24 | number(&self.bytes[at..at + 3]),
            (28, _) => number(&self.bytes[at + 3..at + 7]) & 0x0fff_ffff,
            (size, side) => number(&self.bytes[at + side * size / 8..at + (side + 1) * size / 8]),
        }
    }
}

/// Type, size, and where the value is, pointers followed wherever they lead.
fn header(data: &[u8], mut at: usize) -> (u8, usize, usize) {
    let started = Instant::now();
    loop {
        assert!(started.elapsed() < LONGEST_LOOP, "it would go on for ever");
        let control = data[at];
        let low = usize::from(control & 31);
        at += 1;
        let mut of = control >> 5;
        if of == kind::POINTER {
            at = target(data, at, low).0;
            continue;
        }
        if of == 0 {
            of = data[at] + 7;
            at += 1;
        }
        let more = low.saturating_sub(28);
        let base = [0, 29, 285, 65_821][more];
        let size = data[at..at + more]
            .iter()
            .fold(0, |size, byte| size << 8 | usize::from(*byte));
        return (of, if more == 0 { low } else { base + size }, at + more);
    }
}

/// Where a pointer leads, and where it ends.
fn target(data: &[u8], at: usize, low: usize) -> (usize, usize) {
    let length = (low >> 3) + 1;
    let high = if length == 4 { 0 } else { low & 7 };
    let target = data[at..at + length]
        .iter()
        .fold(high, |target, byte| target << 8 | usize::from(*byte));
    (target + [0, 2048, 526_336, 0][length - 1], at + length)
}

fn unsigned(data: &[u8], at: usize) -> usize {
    let (_, size, at) = header(data, at);
    data[at..at + size]
        .iter()
        .fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// Where the value of `key` begins in the map at `at`.
fn find(data: &[u8], at: usize, key: &str) -> Option<usize> {
    let (_, pairs, mut at) = header(data, at);
    for _ in 0..pairs {
        let (_, size, text) = header(data, at);
        let found = &data[text..text + size] == key.as_bytes();
        at = skip(data, at);
        if found {
            return Some(at);
        }
        at = skip(data, at);
    }
    None
}

/// Where the value behind the one at `at` begins.
fn skip(data: &[u8], at: usize) -> usize {
    let control = data[at];
    if control >> 5 == kind::POINTER {
        return target(data, at + 1, usize::from(control & 31)).1;
    }
    let (of, size, mut at) = header(data, at);
    let values = match of {
        kind::MAP => 2 * size,
        kind::ARRAY => size,
        kind::BOOL => return at,
        _ => return at + size,
    };
    for _ in 0..values {
        at = skip(data, at);
    }
    at
}
