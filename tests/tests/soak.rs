//! Exactness under everything at once: both CPUs count without a pause while the tables are drained without a pause,
//! destinations come and go, slots change hands, counters fill up; and every packet is found again, once, where it belongs.
//!
//! Packets come from BPF_PROG_TEST_RUN. The same comparison must fail when a step of the drain is done wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use ipnet::IpNet;
use tcpwatch::kernel::attach::{Direction, LinkLayer};
use tcpwatch::kernel::capacity::Capacity;
use tcpwatch::kernel::drain::{CounterSource as _, Drain};
use tcpwatch::kernel::policy::to_ip;
use tcpwatch::tally::Drained;
use tcpwatch_common::front::USUAL_SOURCES;
use tcpwatch_common::{Counts, Outcome, Totals};
use tcpwatch_tests::counter::{LOOPBACK, Skb, load_with, policy};
use tcpwatch_tests::cpu::{StopOnDrop, pin};
use tcpwatch_tests::faulty::{Fault, Faulty, Ways};
use tcpwatch_tests::frame::{IPV4, IPV6, UDP, ethernet, ipv4, ipv6, udp};
use tcpwatch_tests::note;

/// Own sources of each family, some more than are usual at a time.
const SOURCES: usize = USUAL_SOURCES as usize + 4;
const BANS: [&str; 2] = ["203.0.113.0/24", "2001:db8:bad::/48"];

const DESTINATIONS: usize = 10_000;
/// Destinations that packets go to at a time: more than both CPUs have slots.
const WINDOW: usize = 3_000;
/// After so many calls the window moves by one.
const STAY: usize = 10;
/// The destination that gets packets all the time, from both CPUs.
const HOT: usize = 0;
/// Packets to it that each CPU begins with, before the first drain: more than a packed counter holds (2^23).
const BURST: u64 = 9_000_000;
/// Program runs of the proof.
const ENOUGH: u64 = 100_000_000;
/// Program runs after which a negative control is looked at; it goes on until it fails or [`LIMIT`] is over.
const CONTROL: u64 = 10_000_000;
const LIMIT: Duration = Duration::from_secs(60);

/// Fewer slots than destinations, so that slots change hands all the time; a spill that has room for all of them.
const CAPACITY: Capacity = Capacity {
    slots: Some(128),
    spill: 16_384,
    bans: 2,
    samples: 0,
};

/// The tests measure what two CPUs do to each other, so they take turns.
static TURN: Mutex<()> = Mutex::new(());

/// Where packets were counted: a destination with its source, or a ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Bucket {
    /// Destination, source and interface.
    Flow(IpAddr, IpAddr, u32),
    Ban(IpNet),
}

/// One destination's packet, and what it is counted as.
struct Packet {
    frame: Vec<u8>,
    context: [u8; 192],
    bucket: Bucket,
    /// Of one run of the program.
    counts: Counts,
}

/// The `n`th own source.
fn source(n: usize, is_ipv4: bool) -> String {
    if is_ipv4 {
        format!("198.18.0.{}", n + 1)
    } else {
        format!("2001:db8:ffff::{:x}", n + 1)
    }
}

/// The `n`th destination. Families alternate; other own sources, banned prefixes and super-packets are spread among them.
fn packet(n: usize) -> Packet {
    let (high, low) = (n >> 8, n & 255);
    let banned = n % 40 == 6 || n % 40 == 27;
    let own = if n % 8 == 5 || n % 8 == 2 {
        1 + n / 8 % (SOURCES - 1)
    } else {
        0
    };
    let source = source(own, n.is_multiple_of(2));
    let payload = udp(8 + n % 50);
    let (to, frame) = if n.is_multiple_of(2) {
        let to = if banned {
            format!("203.0.113.{low}")
        } else {
            format!("198.19.{high}.{low}")
        };
        (to.clone(), ethernet(IPV4, &ipv4(&source, &to, UDP, &payload)))
    } else {
        let prefix = if banned { "2001:db8:bad" } else { "2001:db8:1" };
        let to = format!("{prefix}::{n:x}");
        (to.clone(), ethernet(IPV6, &ipv6(&source, &to, UDP, &payload)))
    };
    let (mut skb, mut counts) = (
        Skb::default(),
        Counts {
            packets: 1,
            bytes: frame.len() as u64,
        },
    );
    if n % 16 == 3 || n % 16 == 8 {
        skb.gso_size = 1000;
        skb.gso_segs = 2 + (n % 40) as u32;
        skb.wire_len = 1500 * skb.gso_segs;
        counts = Counts {
            packets: u64::from(skb.gso_segs),
            bytes: u64::from(skb.wire_len),
        };
    }
    let bucket = if banned {
        let prefix = if n.is_multiple_of(2) { BANS[0] } else { BANS[1] };
        Bucket::Ban(prefix.parse().unwrap())
    } else {
        Bucket::Flow(to.parse().unwrap(), source.parse().unwrap(), LOOPBACK)
    };
    Packet {
        frame,
        context: skb.context(),
        bucket,
        counts,
    }
}

/// What was sent and what was counted.
#[derive(Default)]
struct Books {
    sent: BTreeMap<Bucket, Counts>,
    counted: BTreeMap<Bucket, Counts>,
    totals: Totals,
    /// Runs of the program.
    runs: u64,
    drains: u64,
    /// Drains whose identities did not hold.
    unbalanced: u64,
    ways: Ways,
}

/// How sent and counted differ, in packets and bytes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Difference {
    lost: Counts,
    duplicated: Counts,
    /// Counted where nothing was sent to.
    misattributed: Counts,
}

impl Books {
    fn add(&mut self, drained: &Drained) {
        self.drains += 1;
        self.unbalanced += u64::from(drained.imbalance().is_some());
        self.totals.add(&drained.totals);
        let mut add = |bucket, counts| self.counted.entry(bucket).or_default().add(counts);
        for (key, traffic) in &drained.destinations {
            let flow = Bucket::Flow(to_ip(key.destination), to_ip(key.source), key.ifindex);
            add(flow, traffic.counts);
        }
        for (prefix, counts) in &drained.bans {
            add(Bucket::Ban(*prefix), *counts);
        }
    }

    fn difference(&self) -> Difference {
        let mut difference = Difference::default();
        for (bucket, counted) in &self.counted {
            let Some(sent) = self.sent.get(bucket) else {
                difference.misattributed.add(*counted);
                continue;
            };
            difference.duplicated.add(Counts {
                packets: counted.packets.saturating_sub(sent.packets),
                bytes: counted.bytes.saturating_sub(sent.bytes),
            });
        }
        for (bucket, sent) in &self.sent {
            let counted = self.counted.get(bucket).copied().unwrap_or_default();
            difference.lost.add(Counts {
                packets: sent.packets.saturating_sub(counted.packets),
                bytes: sent.bytes.saturating_sub(counted.bytes),
            });
        }
        difference
    }

    fn note(&self, what: &str, time: Duration) {
        let difference = self.difference();
        note(format_args!(
            "{what}: {} runs, {} packets, lost {}, duplicated {}, misattributed {}, {} of {} drains unbalanced, {:?}, {:.1} s",
            self.runs,
            sum(&self.sent).packets,
            difference.lost.packets,
            difference.duplicated.packets,
            difference.misattributed.packets,
            self.unbalanced,
            self.drains,
            self.ways,
            time.as_secs_f64()
        ));
    }
}

fn sum(of: &BTreeMap<Bucket, Counts>) -> Counts {
    let mut sum = Counts::default();
    for counts in of.values() {
        sum.add(*counts);
    }
    sum
}

/// Has the program count `times` times. The program is shared by the CPUs, which really run it at once.
fn send(program: &SchedClassifier, packet: &Packet, times: u32) {
    let options = TestRunOptions {
        data_in: Some(&packet.frame),
        ctx_in: Some(&packet.context),
        repeat: times,
        ..TestRunOptions::new()
    };
    program.test_run(options).expect("every run is done");
}

/// What a CPU sends, and how far all of them are.
struct Traffic<'a> {
    program: &'a SchedClassifier,
    packets: &'a [Packet],
    runs: AtomicU64,
    enough: u64,
    /// The drainer has failed.
    stop: AtomicBool,
}

impl Traffic<'_> {
    /// Sends on the calling thread's CPU until there is enough. Returns the runs for each destination.
    fn run(&self, seed: u64) -> Vec<u64> {
        let mut sent = vec![0; self.packets.len()];
        let mut to = |n: usize, times: u32| {
            send(self.program, &self.packets[n], times);
            sent[n] += u64::from(times);
            self.runs.fetch_add(u64::from(times), Ordering::Relaxed);
        };
        for _ in 0..BURST / 1_000_000 {
            to(HOT, 1_000_000);
        }
        let mut random = seed;
        for step in 0_usize.. {
            if self.runs.load(Ordering::Relaxed) >= self.enough || self.stop.load(Ordering::Relaxed) {
                break;
            }
            // Marsaglia's xorshift.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let place = (random >> 32) as usize % WINDOW;
            let times = [8, 30, 100, 300][random as usize % 4];
            to((step / STAY + place) % DESTINATIONS, times);
            if step % 8 == 0 {
                to(HOT, 500);
            }
        }
        sent
    }
}

/// Both CPUs send `enough` packets while a third thread drains.
fn soak(fault: Fault, enough: u64) -> (Books, Duration) {
    let (mut programs, tables) = load_with(CAPACITY);
    let sources: Vec<String> = (0..SOURCES)
        .flat_map(|n| [true, false].map(|is_ipv4| source(n, is_ipv4)))
        .collect();
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    let mut source = Drain::new(Faulty::new(tables, fault), policy(LOOPBACK, &sources, &BANS)).unwrap();
    let mut books = Books::default();
    // So that sharing of slots begins with the first packet.
    books.add(&source.drain().unwrap().drained);
    let packets: Vec<Packet> = (0..DESTINATIONS).map(packet).collect();
    let traffic = Traffic {
        program: programs.get_mut(LinkLayer::Ethernet, Direction::Egress).unwrap(),
        packets: &packets,
        runs: AtomicU64::new(0),
        enough,
        stop: AtomicBool::new(false),
    };
    let began = Instant::now();
    thread::scope(|scope| {
        let senders = [0, 1].map(|cpu| {
            let traffic = &traffic;
            scope.spawn(move || {
                pin(cpu);
                traffic.run(0x9e37_79b9_7f4a_7c15 + cpu as u64)
            })
        });
        // Also when a drain panics: else the senders would go on for long.
        let stopping = StopOnDrop(&traffic.stop);
        let ended = || senders.iter().any(thread::ScopedJoinHandle::is_finished);
        while traffic.runs.load(Ordering::Relaxed) < 2 * BURST && !ended() {
            thread::yield_now();
        }
        while !senders.iter().all(thread::ScopedJoinHandle::is_finished) {
            books.add(&source.drain().unwrap().drained);
        }
        for sender in senders {
            for (n, runs) in sender.join().unwrap().into_iter().enumerate() {
                let Packet { bucket, counts, .. } = packets[n];
                books.runs += runs;
                books.sent.entry(bucket).or_default().add(Counts {
                    packets: counts.packets * runs,
                    bytes: counts.bytes * runs,
                });
            }
        }
        drop(stopping);
    });
    // What a drain without a grace period has left behind comes with the second.
    books.add(&source.drain().unwrap().drained);
    books.add(&source.drain().unwrap().drained);
    books.ways = source.tables().ways();
    (books, began.elapsed())
}

#[test]
fn a_hundred_million_packets_on_two_cpus_are_all_found_again() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (books, time) = soak(Fault::None, ENOUGH);
    books.note("both CPUs and a drain", time);

    assert_eq!(books.difference(), Difference::default());
    assert_eq!(books.counted, books.sent);
    assert_eq!(books.unbalanced, 0);
    assert_eq!(books.totals.skbs, books.runs);
    assert_eq!(books.totals.seen, sum(&books.sent));
    assert_eq!(
        books.totals.outcomes[Outcome::Overflow as usize],
        Counts::default()
    );
    // It was the hard case: otherwise the proof would be of something else.
    assert!(
        books.runs >= ENOUGH && books.drains >= 100,
        "{} drains",
        books.drains
    );
    assert_eq!(books.sent.len(), DESTINATIONS - DESTINATIONS / 20 + BANS.len());
    assert!(
        books.ways.evicted > 10_000 && books.ways.spilled > 10_000,
        "{:?}",
        books.ways
    );
}

/// The same comparison with something done wrong, until it fails.
fn must_differ(what: &str, fault: Fault) -> Books {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let began = Instant::now();
    loop {
        let (books, time) = soak(fault, 2 * BURST + CONTROL);
        books.note(what, time);
        if books.difference() != Difference::default() {
            return books;
        }
        assert!(
            began.elapsed() < LIMIT,
            "no difference in {LIMIT:?}: this test can no longer tell right from wrong"
        );
    }
}

#[test]
fn without_the_grace_period_the_comparison_fails() {
    // A packet that falls between reading and clearing as a whole is lost from totals and destinations alike: the
    // identities need not show it.
    must_differ("without the grace period", Fault::NoGracePeriod);
}

#[test]
fn with_the_tables_cleared_before_they_are_read_the_comparison_fails() {
    let books = must_differ("cleared before read", Fault::ClearFirst);
    // How much of the burst lies in the half that is cleared is a matter of the CPUs' pace.
    let Difference { lost, duplicated, .. } = books.difference();
    assert!(
        lost.packets > BURST && duplicated == Counts::default(),
        "lost {lost:?}, duplicated {duplicated:?}"
    );
}

#[test]
fn with_two_cpus_in_one_region_the_comparison_fails() {
    let books = must_differ("two CPUs in one region", Fault::OneRegion);
    assert!(books.unbalanced > 0, "the books show it");
}
