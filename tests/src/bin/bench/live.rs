//! Real packets through a veth pair, measured by the kernel's own run-time statistics.

use std::net::Ipv4Addr;

use aya::sys::{Stats, enable_stats};
use tcpwatch_common::SourceKey;
use tcpwatch_tests::lab::Lab;

use crate::addresses;
use crate::candidate::{Candidate, INTERFACE, ROOM, SOURCE, lab_own, lab_source};
use crate::clock::Pinned;
use crate::report::{Budget, Line, Promise, Series, compare};
use crate::sender::{Popularity, Sender};
use crate::statistics::{median, ratios};

/// The exponent that is found for destinations of proxies and caches.
const ZIPF: Popularity = Popularity::Zipf(1.1);
/// Destinations that an attacker chooses.
const CHOSEN: usize = 50_000;

/// Destinations, and what was promised for them when each is as likely as any other.
const CASES: [(usize, Option<f64>, Option<f64>); 4] = [
    (1, Some(12.0), Some(0.15)),
    (1_000, Some(20.0), Some(0.20)),
    (10_000, Some(50.0), Some(0.30)),
    (100_000, None, Some(0.55)),
];

/// How many own addresses a host has: few, as many as are usual, and more.
const SOURCES: [usize; 3] = [4, 16, 64];
/// Destinations of all of them together.
const FLOWS: usize = 1_024;

/// Every program in turn with the same packets, `rounds` times for each number of destinations.
pub fn measure(lab: &Lab, rounds: usize, packets: usize) -> Vec<Line> {
    add_sources(lab);
    lab.near.within(|| {
        let _stats = enable_stats(Stats::RunTime).unwrap();
        let _pinned = Pinned::new();
        let mut lines = Vec::new();
        for (destinations, most_ns, most_of_naive) in CASES {
            let promise = Promise {
                most_ns,
                most_of_naive,
            };
            lines.extend(case(destinations, Popularity::Uniform, promise, rounds, packets));
            if destinations > 1 {
                lines.extend(case(destinations, ZIPF, Promise::default(), rounds, packets));
            }
        }
        for sources in SOURCES {
            lines.extend(from_several(sources, rounds, packets));
        }
        lines
    })
}

/// The `n`th own address of a host that has several.
const fn nth_source(n: usize) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, 0, 101 + n as u8)
}

/// Gives the host its several addresses.
fn add_sources(lab: &Lab) {
    for n in 0..SOURCES.into_iter().max().unwrap_or_default() {
        lab.near
            .ip(&format!("address add {}/32 dev {INTERFACE}", nth_source(n)));
    }
}

/// [`FLOWS`] destinations in all, each from one of several own addresses.
fn from_several(sources: usize, rounds: usize, packets: usize) -> Vec<Line> {
    let from: Vec<Ipv4Addr> = (0..sources).map(nth_source).collect();
    let own: Vec<SourceKey> = from.iter().copied().map(lab_own).collect();
    let destinations = addresses::sequential(FLOWS / sources);
    let sender = Sender::from_all(&from, &destinations, Popularity::Uniform);
    let load = || {
        [
            Candidate::empty(),
            Candidate::naive_of(&from),
            Candidate::of_sources("tcpwatch", ROOM, &own, &[]),
        ]
    };
    let what = format!("live, {FLOWS} destinations of {sources} own addresses");
    compare(
        &what,
        &in_turn(load, &sender, rounds, packets),
        Promise::default(),
    )
}

/// Every program in turn, once its tables are filled. Each round loads them anew: where the kernel puts a program, and its tables,
/// makes some difference, and medians are to be of that, too.
fn in_turn<const N: usize>(
    load: impl Fn() -> [Candidate; N],
    sender: &Sender,
    rounds: usize,
    packets: usize,
) -> [Series; N] {
    let mut series = [const { ("", Vec::new()) }; N];
    for round in 0..rounds {
        let mut candidates = load();
        for candidate in &mut candidates {
            candidate.warm_up(sender);
        }
        for (candidate, (name, ns)) in candidates.iter_mut().zip(&mut series) {
            *name = candidate.name;
            ns.push(candidate.measure(sender, round * packets, packets));
        }
    }
    series
}

fn case(
    destinations: usize,
    popularity: Popularity,
    promise: Promise,
    rounds: usize,
    packets: usize,
) -> Vec<Line> {
    let sender = Sender::new(SOURCE, &addresses::sequential(destinations), popularity);
    let load = || {
        [
            Candidate::empty(),
            Candidate::naive(SOURCE),
            Candidate::per_cpu(),
            Candidate::tcpwatch("tcpwatch", ROOM, lab_source(), &[]),
            Candidate::everything(ROOM, lab_source()),
        ]
    };
    let series = in_turn(load, &sender, rounds, packets);
    let what = match (destinations, popularity) {
        (1, _) => "live, 1 destination".to_owned(),
        (n, Popularity::Uniform) => format!("live, {n} destinations, uniform"),
        (n, Popularity::Zipf(s)) => format!("live, {n} destinations, Zipf({s})"),
    };
    compare(&what, &series, promise)
}

/// What chosen destinations cost tcpwatch, as a part of what as many random ones do. One loaded program meets all sets in
/// turn, each after a drain, so that nothing differs but the addresses.
pub fn collisions(lab: &Lab, rounds: usize, packets: usize) -> Vec<Line> {
    let case = format!("collisions, {CHOSEN} destinations");
    let mut sets = vec![("random".to_owned(), addresses::random(CHOSEN))];
    sets.extend(addresses::constructed(CHOSEN));
    let over_empty: Vec<Vec<f64>> = lab.near.within(|| {
        let _stats = enable_stats(Stats::RunTime).unwrap();
        let _pinned = Pinned::new();
        let senders: Vec<_> = sets
            .iter()
            .map(|(_, set)| Sender::new(SOURCE, set, Popularity::Uniform))
            .collect();
        let mut empty = Candidate::empty();
        let mut tcpwatch = Candidate::tcpwatch("tcpwatch", ROOM, lab_source(), &[]);
        let mut figures = vec![Vec::new(); senders.len()];
        for round in 0..rounds {
            let first = round * packets;
            let base = empty.measure(&senders[0], first, packets);
            for (sender, figures) in senders.iter().zip(&mut figures) {
                tcpwatch.drain();
                tcpwatch.warm_up(sender);
                figures.push(tcpwatch.measure(sender, first, packets) - base);
            }
        }
        figures
    });
    let mut lines: Vec<Line> = sets
        .iter()
        .zip(&over_empty)
        .map(|((name, _), ns)| {
            let mut line = Line::alone(&case, name, median(ns), "ns");
            line.ratio = Some(median(&ratios(ns, &over_empty[0])));
            line.ratio_of = Some("random");
            line
        })
        .collect();
    let worst = lines[1..]
        .iter_mut()
        .max_by(|one, other| one.ratio.unwrap_or(0.0).total_cmp(&other.ratio.unwrap_or(0.0)));
    if let Some(worst) = worst {
        let ratio = worst.ratio.unwrap_or(f64::NAN);
        worst
            .budgets
            .push(Budget::at_most(2.0, "of random, the worst set", ratio));
    }
    lines
}
