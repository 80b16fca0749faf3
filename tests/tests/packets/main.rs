//! Single packets through the kernel program (BPF_PROG_TEST_RUN): each lands in one bucket, with the packets and bytes
//! that it is on the wire, and leaves as it came.
//!
//! The tables are in the modules; here is how a row is checked.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod connections;
mod damaged;
mod ip;
mod link;
mod policies;
mod quic;
mod segments;
mod served;

use std::net::IpAddr;

use tcpwatch::kernel::attach::LinkLayer;
use tcpwatch::kernel::policy::to_ip;
use tcpwatch::tally::Drained;
use tcpwatch_common::{OUTCOMES, Outcome};
use tcpwatch_tests::counter::{Counter, LOOPBACK, Skb, policy};
use tcpwatch_tests::frame::{IPV4, IPV6, UDP, ethernet, ipv4, ipv6, udp};

/// Own addresses, and two destinations.
const OWN4: &str = "198.18.0.1";
const OWN6: &str = "2001:db8:ffff::1";
const TO4: &str = "192.0.2.1";
const TO6: &str = "2001:db8:1::1";
/// Own addresses for the program without Ethernet header. BPF_PROG_TEST_RUN takes the protocol from bytes 12 and 13,
/// which are part of the source there: 08 00 and 86 dd.
const RAW4: &str = "8.0.0.1";
const RAW6: &str = "2001:db8:86dd::1";
/// The outcome of a destination depends on the longest of them.
const BANS: [&str; 5] = [
    "203.0.113.0/24",
    "203.0.113.128/25",
    "203.0.113.200/32",
    "2001:db8:bad::/48",
    "2001:db8:bad:1::/64",
];

/// One packet and what must become of it.
struct Case {
    name: String,
    packet: Vec<u8>,
    skb: Skb,
    outcome: Outcome,
    packets: u64,
    bytes: u64,
    /// Where it must be counted, if the test says so.
    destination: Option<&'static str>,
}

/// A table of packets, each one packet on the wire: name, packet => outcome, bytes, destination it is counted under.
macro_rules! table {
    ($($name:literal: $packet:expr => $outcome:ident, $bytes:literal $(, $destination:expr)?;)*) => {
        vec![$($crate::Case {
            name: $name.to_owned(),
            packet: $packet,
            skb: tcpwatch_tests::counter::Skb::default(),
            outcome: tcpwatch_common::Outcome::$outcome,
            packets: 1,
            bytes: $bytes,
            destination: [$($destination,)?].first().copied(),
        }),*]
    };
}

/// A table of segmentation super-packets: name, packet, gso_size, gso_segs, wire_len => outcome, packets, bytes.
macro_rules! gso_table {
    ($($name:literal: $packet:expr, $size:literal, $segments:literal, $wire:expr
        => $outcome:ident, $packets:literal, $bytes:expr;)*) => {
        vec![$($crate::Case {
            name: $name.to_owned(),
            packet: $packet,
            skb: tcpwatch_tests::counter::Skb {
                gso_size: $size,
                gso_segs: $segments,
                wire_len: $wire,
                ..tcpwatch_tests::counter::Skb::default()
            },
            outcome: tcpwatch_common::Outcome::$outcome,
            packets: $packets,
            bytes: $bytes,
            destination: None,
        }),*]
    };
}

use {gso_table, table};

/// The programs with the addresses and bans above in force.
fn counter() -> Counter {
    Counter::new(policy(
        LOOPBACK,
        &[OWN4, OWN6, RAW4, RAW6, "::ffff:198.18.0.9"],
        &BANS,
    ))
}

/// Runs every case and reports all that differ.
#[track_caller]
fn check(layer: LinkLayer, cases: Vec<Case>) {
    let mut counter = counter();
    let wrong: Vec<String> = cases
        .into_iter()
        .filter_map(|case| differs(&mut counter, layer, &case))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// What is wrong with a case, if anything is.
fn differs(counter: &mut Counter, layer: LinkLayer, case: &Case) -> Option<String> {
    let run = counter.run(layer, &case.packet, case.skb);
    let drained = counter.drain();
    let mut wrong = Vec::new();
    if run.returned != -1 {
        wrong.push(format!("returned {}", run.returned));
    }
    if run.packet != case.packet {
        wrong.push("the packet was changed".to_owned());
    }
    wrong.extend(drained.imbalance().map(|imbalance| imbalance.to_string()));
    if drained.totals.skbs != 1 {
        wrong.push(format!("{} socket buffers", drained.totals.skbs));
    }
    let seen = drained.totals.seen;
    if (seen.packets, seen.bytes) != (case.packets, case.bytes) {
        wrong.push(format!(
            "{} packets, {} bytes instead of {}, {}",
            seen.packets, seen.bytes, case.packets, case.bytes
        ));
    }
    let outcomes = outcomes(&drained);
    if outcomes != [case.outcome as usize] {
        wrong.push(format!("outcomes {outcomes:?} instead of {:?}", case.outcome));
    }
    let destinations: Vec<IpAddr> = drained
        .destinations
        .iter()
        .map(|(key, _)| to_ip(key.destination))
        .collect();
    if let Some(destination) = case.destination
        && destinations != [destination.parse::<IpAddr>().unwrap()]
    {
        wrong.push(format!("under {destinations:?} instead of {destination}"));
    }
    (!wrong.is_empty()).then(|| format!("{}: {}", case.name, wrong.join("; ")))
}

/// The numbers of the outcomes that have a packet.
fn outcomes(drained: &Drained) -> Vec<usize> {
    (0..OUTCOMES)
        .filter(|outcome| drained.totals.outcomes[*outcome].packets > 0)
        .collect()
}

/// A UDP packet of 50 bytes from our own address.
fn ipv4_to(destination: &str) -> Vec<u8> {
    ethernet(IPV4, &ipv4(OWN4, destination, UDP, &udp(8)))
}

/// A UDP packet of 70 bytes from our own address.
fn ipv6_to(destination: &str) -> Vec<u8> {
    ethernet(IPV6, &ipv6(OWN6, destination, UDP, &udp(8)))
}
