//! Real packets through a veth pair, measured by the kernel's own run-time statistics.

use std::net::Ipv4Addr;

use aya::sys::{Stats, enable_stats};
use tcpwatch_tests::lab::Lab;

use crate::candidate::Candidate;
use crate::report::{Budget, Line, compare};
use crate::sender::Sender;

const INTERFACE: &str = "eth0";
const SOURCE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// The benchmarking range (RFC 2544) without the /24 of the link itself.
const FIRST_DESTINATION: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 0);

/// The program alone, over the empty one, in nanoseconds and as a part of what the naive counter adds.
const CASES: [(u32, Budget); 4] = [
    (
        1,
        Budget {
            most_ns: Some(12.0),
            most_of_naive: Some(0.15),
        },
    ),
    (
        1_000,
        Budget {
            most_ns: Some(20.0),
            most_of_naive: Some(0.20),
        },
    ),
    (
        10_000,
        Budget {
            most_ns: Some(50.0),
            most_of_naive: Some(0.30),
        },
    ),
    (
        100_000,
        Budget {
            most_ns: None,
            most_of_naive: Some(0.55),
        },
    ),
];

/// Every candidate in turn with the same packets, `rounds` times for each number of destinations.
pub fn measure(rounds: usize, packets: usize) -> Vec<Line> {
    let lab = Lab::new();
    lab.far.ip("route add local 198.18.0.0/15 dev lo");
    lab.near.within(|| {
        let _stats = enable_stats(Stats::RunTime).unwrap();
        CASES
            .iter()
            .flat_map(|(destinations, budget)| case(*destinations, *budget, rounds, packets))
            .collect()
    })
}

fn case(destinations: u32, budget: Budget, rounds: usize, packets: usize) -> Vec<Line> {
    let first = u32::from(FIRST_DESTINATION);
    let mut sender = Sender::new(SOURCE, (first..first + destinations).map(Ipv4Addr::from));
    let name = c"eth0";
    // SAFETY: a terminated string.
    let ifindex = unsafe { libc::if_nametoindex(name.as_ptr()) };
    let mut candidates = [
        Candidate::empty(),
        Candidate::naive(SOURCE),
        Candidate::tcpwatch("tcpwatch", SOURCE, ifindex, &[]),
    ];
    // What is measured is a table in the middle of an interval, not its filling.
    for candidate in &mut candidates {
        let _link = candidate.attach(INTERFACE);
        sender.all_once();
    }
    let mut figures = vec![Vec::new(); candidates.len()];
    for _ in 0..rounds {
        for (candidate, figures) in candidates.iter_mut().zip(&mut figures) {
            let link = candidate.attach(INTERFACE);
            let before = candidate.program().info().unwrap();
            sender.send(packets);
            let after = candidate.program().info().unwrap();
            drop(link);
            let runs = after.run_count() - before.run_count();
            assert!(
                runs >= packets as u64,
                "{}: {runs} runs for {packets} packets",
                candidate.name
            );
            figures.push((after.run_time() - before.run_time()).as_nanos() as f64 / runs as f64);
        }
    }
    let named: Vec<_> = candidates
        .iter()
        .map(|candidate| candidate.name)
        .zip(figures)
        .collect();
    let what = match destinations {
        1 => "live, 1 destination".to_owned(),
        n => format!("live, {n} random destinations"),
    };
    compare(&what, &named, budget)
}
