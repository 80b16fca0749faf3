//! One packet over and over by BPF_PROG_TEST_RUN: the instructions alone, everything in the cache.

use std::net::Ipv4Addr;

use aya::programs::{TestRun as _, TestRunOptions};
use ipnet::{IpNet, Ipv4Net};
use tcpwatch_tests::counter::LOOPBACK;
use tcpwatch_tests::frame;

use crate::candidate::Candidate;
use crate::report::{Budget, Line, compare};

const SOURCE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const REPEAT: u32 = 1_000_000;
/// As many banned prefixes as the budget speaks of.
const BANS: u32 = 16_384;

/// Every candidate in turn, `rounds` times.
pub fn measure(rounds: usize) -> Vec<Line> {
    let bans: Vec<IpNet> = (0..BANS)
        .map(|i| {
            Ipv4Net::new(Ipv4Addr::from(0x0a00_0000 + i * 256), 24)
                .unwrap()
                .into()
        })
        .collect();
    let mut candidates = [
        Candidate::empty(),
        Candidate::naive(SOURCE),
        Candidate::tcpwatch("tcpwatch", SOURCE, LOOPBACK, &[]),
        Candidate::tcpwatch("tcpwatch, 16,384 bans", SOURCE, LOOPBACK, &bans),
    ];
    let packet = frame::ethernet(
        0x0800,
        &frame::ipv4("198.51.100.7", "192.0.2.1", 17, &frame::udp(64)),
    );
    let mut figures = vec![Vec::new(); candidates.len()];
    for _ in 0..rounds {
        for (candidate, figures) in candidates.iter_mut().zip(&mut figures) {
            let options = TestRunOptions {
                data_in: Some(&packet),
                repeat: REPEAT,
                ..TestRunOptions::new()
            };
            // The kernel answers with the mean time of one run, in whole nanoseconds.
            let result = candidate.program().test_run(options).unwrap();
            figures.push(result.duration.as_nanos() as f64);
        }
    }
    let named: Vec<_> = candidates
        .iter()
        .map(|candidate| candidate.name)
        .zip(figures)
        .collect();
    compare(
        "one destination, in the cache (BPF_PROG_TEST_RUN)",
        &named,
        Budget::default(),
    )
}
