//! One packet over and over by BPF_PROG_TEST_RUN: the instructions alone, everything in the cache.

use std::net::Ipv4Addr;

use aya::programs::{TestRun as _, TestRunOptions};
use ipnet::{IpNet, Ipv4Net};
use tcpwatch_common::SourceKey;
use tcpwatch_tests::counter::{LOOPBACK, Skb};
use tcpwatch_tests::frame;

use crate::candidate::{Candidate, ROOM, own};
use crate::clock::{self, Pinned};
use crate::report::{Budget, Line, Promise, Series, compare};
use crate::statistics::{median, ratios};

const SOURCE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
/// Runs in one system call; few, so that many rounds with all programs in turn fit into little time.
const REPEAT: u32 = 100_000;
/// Rounds here for each round of the live measurements.
const ROUNDS: usize = 5;
/// As many banned prefixes as the budget speaks of.
const BANS: u32 = 16_384;
const WITH_BANS: &str = "tcpwatch, 16,384 bans";

/// IPv4 with and without bans, IPv6, segments of TCP with data and without, a segmented packet, then packets that are out of the ordinary.
pub fn measure(rounds: usize) -> Vec<Line> {
    let _pinned = Pinned::new();
    let rounds = rounds * ROUNDS;
    let udp = frame::udp(64);
    let v4 = frame::ethernet(frame::IPV4, &frame::ipv4("198.51.100.7", "192.0.2.1", 17, &udp));
    let v6 = frame::ethernet(
        frame::IPV6,
        &frame::ipv6("2001:db8::7", "2001:db8:1::1", 17, &udp),
    );
    let tcp = frame::ipv4("198.51.100.7", "192.0.2.1", frame::TCP, &frame::tcp(0, 2_800));
    let gso = frame::ethernet(frame::IPV4, &tcp);
    let segmented = Skb {
        wire_len: gso.len() as u32 + 54,
        gso_segs: 2,
        gso_size: 1_400,
        ..Skb::default()
    };
    let own_v4 = own(SOURCE, LOOPBACK);
    let own_v6 = SourceKey {
        address: tcpwatch::kernel::policy::to_address("2001:db8::7".parse().unwrap()),
        ifindex: LOOPBACK,
    };

    let series = in_turn(&mut with_bans(own_v4), &v4, Skb::default(), rounds);
    let mut lines = compare("test run, IPv4", &series, Promise::default());
    promise_bans(&mut lines, &series);

    let mut only = [Candidate::empty(), tcpwatch(own_v6)];
    let series = in_turn(&mut only, &v6, Skb::default(), rounds);
    lines.extend(compare("test run, IPv6", &series, Promise::default()));

    let mut all = [
        Candidate::empty(),
        Candidate::naive(SOURCE),
        Candidate::per_cpu(),
        tcpwatch(own_v4),
        Candidate::everything(ROOM, own_v4),
    ];
    let segment = |bytes| {
        let segment = frame::tcp(0, bytes);
        frame::ethernet(
            frame::IPV4,
            &frame::ipv4("198.51.100.7", "192.0.2.1", frame::TCP, &segment),
        )
    };
    for (case, packet, skb) in [
        ("test run, IPv4, data by TCP", segment(64), Skb::default()),
        ("test run, IPv4, TCP acknowledges", segment(0), Skb::default()),
        ("test run, IPv4, 2 segments in one packet", gso, segmented),
    ] {
        let series = in_turn(&mut all, &packet, skb, rounds);
        lines.extend(compare(case, &series, Promise::default()));
    }

    let series = in_turn(&mut out_of_the_ordinary(own_v4), &v4, Skb::default(), rounds);
    lines.extend(compare(
        "test run, IPv4, out of the ordinary",
        &series,
        Promise::default(),
    ));
    lines
}

/// Programs to which a packet from `source` is not what it is to most. Before the first drain, the usual sources are the lowest.
fn out_of_the_ordinary(source: SourceKey) -> [Candidate; 6] {
    let lower: Vec<SourceKey> = (1..=16)
        .map(|n| own(Ipv4Addr::new(198, 18, 0, n), LOOPBACK))
        .collect();
    let other = lower[0];
    let many: Vec<SourceKey> = lower.into_iter().chain([source]).collect();
    let to: IpNet = Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 2, 0), 24).into();
    [
        Candidate::empty(),
        Candidate::naive(SOURCE),
        Candidate::of_sources("tcpwatch, second own source", ROOM, &[other, source], &[]),
        Candidate::of_sources("tcpwatch, 17th own source", ROOM, &many, &[]),
        Candidate::tcpwatch("tcpwatch, banned destination", ROOM, source, &[to]),
        Candidate::tcpwatch("tcpwatch, source not our own", ROOM, other, &[]),
    ]
}

fn tcpwatch(source: SourceKey) -> Candidate {
    Candidate::tcpwatch("tcpwatch", ROOM, source, &[])
}

fn with_bans(source: SourceKey) -> [Candidate; 6] {
    let bans: Vec<IpNet> = (0..BANS)
        .map(|i| {
            Ipv4Net::new(Ipv4Addr::from(0x0a00_0000 + i * 256), 24)
                .unwrap()
                .into()
        })
        .collect();
    [
        Candidate::empty(),
        Candidate::naive(SOURCE),
        Candidate::per_cpu(),
        Candidate::everything(ROOM, source),
        tcpwatch(source),
        Candidate::tcpwatch(WITH_BANS, ROOM, source, &bans),
    ]
}

/// Bans against none, the whole run of each. Over the empty program there are 3 ns left of both, of which a twentieth is less
/// than a clock can tell; those figures are printed, too.
fn promise_bans(lines: &mut [Line], series: &[Series]) {
    let [.., (_, without), (_, with)] = series else {
        panic!("at last tcpwatch without and with bans")
    };
    let ratio = median(&ratios(with, without));
    if let Some(line) = lines.last_mut() {
        line.budgets
            .push(Budget::at_most(1.05, "of tcpwatch without bans", ratio));
    }
}

/// Every program in turn, `rounds` times.
fn in_turn(candidates: &mut [Candidate], packet: &[u8], skb: Skb, rounds: usize) -> Vec<Series> {
    let mut series: Vec<_> = candidates.iter().map(|of| (of.name, Vec::new())).collect();
    for _ in 0..rounds {
        for (candidate, (_, ns)) in candidates.iter_mut().zip(&mut series) {
            ns.push(run(candidate, packet, skb));
        }
    }
    for drained in candidates.iter_mut().filter_map(Candidate::drain) {
        let total = drained.totals.seen;
        assert!(
            total.bytes >= total.packets * packet.len() as u64 / 2,
            "packets have a length on the wire"
        );
    }
    series
}

/// Nanoseconds a run. The kernel answers in whole nanoseconds and counts the time in which others had the processor; the
/// thread's own clock does neither, and the one system call is spread over all runs.
fn run(candidate: &mut Candidate, packet: &[u8], skb: Skb) -> f64 {
    let context = skb.context();
    let options = TestRunOptions {
        data_in: Some(packet),
        // Without a context the kernel leaves the wire length at zero.
        ctx_in: Some(&context),
        repeat: REPEAT,
        ..TestRunOptions::new()
    };
    let program = candidate.program();
    let before = clock::of_thread();
    program.test_run(options).unwrap();
    (clock::of_thread() - before).as_nanos() as f64 / f64::from(REPEAT)
}
