//! How long it takes to empty the kernel tables.

use std::net::Ipv4Addr;
use std::time::Instant;

use aya::programs::{TestRun as _, TestRunOptions};
use tcpwatch_tests::counter::{LOOPBACK, Skb};
use tcpwatch_tests::frame;

use crate::candidate::{Candidate, own};
use crate::clock::Pinned;
use crate::report::Line;
use crate::statistics::median;

const SOURCE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
/// Any address will do: these packets are only shown to the program and never sent.
const FIRST: u32 = 0x0a00_0000;
/// Where the destination is in an Ethernet frame with IPv4.
const DESTINATION: std::ops::Range<usize> = 30..34;
/// Destinations, and how often they are drained.
const CASES: [(u32, usize); 3] = [(1_000, 50), (100_000, 5), (1_000_000, 2)];
/// Drains that are not timed: tables that adapt to the number of destinations have then done so.
const WARM_UP: usize = 2;

/// Each number of destinations.
pub fn measure() -> Vec<Line> {
    let _pinned = Pinned::new();
    CASES
        .iter()
        .flat_map(|(destinations, times)| case(*destinations, *times))
        .collect()
}

fn case(destinations: u32, times: usize) -> [Line; 2] {
    let mut tcpwatch = Candidate::tcpwatch("tcpwatch", destinations, own(SOURCE, LOOPBACK), &[]);
    let mut taken = Vec::new();
    for turn in 0..WARM_UP + times {
        fill(&mut tcpwatch, destinations);
        let started = Instant::now();
        let drained = tcpwatch.drain().unwrap();
        let elapsed = started.elapsed();
        assert_eq!(drained.totals.seen.packets, u64::from(destinations));
        if turn >= WARM_UP {
            taken.push(elapsed.as_nanos() as f64);
        }
    }
    let (what, total) = (format!("drain, {destinations} destinations"), median(&taken));
    [
        Line::alone(
            &what,
            "for each destination",
            total / f64::from(destinations),
            "ns",
        ),
        Line::alone(&what, "in all", total / 1e6, "ms"),
    ]
}

/// One packet to each destination.
fn fill(tcpwatch: &mut Candidate, destinations: u32) {
    let mut packet = frame::ethernet(
        frame::IPV4,
        &frame::ipv4("198.51.100.7", "10.0.0.0", 17, &frame::udp(64)),
    );
    let context = Skb::default().context();
    let program = tcpwatch.program();
    for destination in FIRST..FIRST + destinations {
        packet[DESTINATION].copy_from_slice(&destination.to_be_bytes());
        let options = TestRunOptions {
            data_in: Some(&packet),
            ctx_in: Some(&context),
            ..TestRunOptions::new()
        };
        program.test_run(options).unwrap();
    }
}
