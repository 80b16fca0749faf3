//! The proof that a drain loses nothing while packets are being counted, and its negative controls: the same without
//! the grace period, and by taking entries out of the live map, must lose.
//!
//! Packets come from BPF_PROG_TEST_RUN on one CPU without a pause; the other CPU drains without a pause. Every run of
//! the program is known to the system call that asked for it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tcpwatch::kernel::drain::{CounterSource as _, Drain, Generation, Tables};
use tcpwatch::kernel::load::Programs;
use tcpwatch::kernel::policy::{PolicySet, to_ip};
use tcpwatch::tally::Drained;
use tcpwatch_common::{Counts, FlowKey, Outcome, Traffic};
use tcpwatch_tests::counter::{LOOPBACK, load, policy, run_often};
use tcpwatch_tests::cpu::{StopOnDrop, pin};
use tcpwatch_tests::faulty::{Fault, Faulty};
use tcpwatch_tests::frame::{IPV4, UDP, ethernet, ipv4, udp};
use tcpwatch_tests::note;

const OWN: &str = "198.18.0.1";
const DESTINATIONS: usize = 8;
/// Bytes of every packet.
const BYTES: u64 = 50;
/// Packets of one system call. Long, so that most drains fall into the middle of one; short enough for the grace
/// period, which waits for the whole call.
const REPEAT: u32 = 20_000;
/// Packets of the proof.
const ENOUGH: u64 = 20_000_000;
/// Drains of the proof.
const ENOUGH_DRAINS: u64 = 100;
/// How long a negative control may take to show a loss.
const LIMIT: Duration = Duration::from_secs(60);

/// The tests measure what two CPUs do to each other, so they take turns.
static TURN: Mutex<()> = Mutex::new(());

/// A packet to every destination.
fn packets() -> Vec<(IpAddr, Vec<u8>)> {
    (0..DESTINATIONS)
        .map(|n| format!("192.0.2.{}", n + 1))
        .map(|to| (to.parse().unwrap(), ethernet(IPV4, &ipv4(OWN, &to, UDP, &udp(8)))))
        .collect()
}

/// What was sent and what was counted.
#[derive(Default)]
struct Books {
    sent: BTreeMap<IpAddr, u64>,
    counted: BTreeMap<IpAddr, Counts>,
    /// By the totals, which are kept apart from the destinations.
    seen: Counts,
    drains: u64,
    /// Drains whose identities did not hold.
    unbalanced: u64,
}

impl Books {
    fn add(&mut self, drained: &Drained) {
        self.drains += 1;
        self.unbalanced += u64::from(drained.imbalance().is_some());
        self.seen.add(drained.totals.seen);
        self.add_destinations(&drained.destinations);
    }

    fn add_destinations(&mut self, destinations: &[(FlowKey, Traffic)]) {
        for (key, traffic) in destinations {
            self.counted
                .entry(to_ip(key.destination))
                .or_default()
                .add(traffic.counts);
        }
    }

    fn sent(&self) -> u64 {
        self.sent.values().sum()
    }

    fn counted(&self) -> u64 {
        self.counted.values().map(|counts| counts.packets).sum()
    }

    fn note(&self, what: &str, time: Duration) {
        let (sent, counted) = (self.sent(), self.counted());
        note(format_args!(
            "{what}: sent {sent}, counted {counted}, difference {}, {} of {} drains unbalanced, {:.1} s",
            i128::from(sent) - i128::from(counted),
            self.unbalanced,
            self.drains,
            time.as_secs_f64()
        ));
    }
}

/// Sends on one CPU while `drain` is called on the other, again and again, until it says that it is enough; then once
/// more, with nothing being sent.
fn race(
    programs: &mut Programs,
    mut drain: impl FnMut(&mut Books) + Send,
    mut enough: impl FnMut(&Books, u64, Duration) -> bool + Send,
) -> (Books, Duration) {
    let stop = AtomicBool::new(false);
    let sent_so_far = AtomicU64::new(0);
    let mut books = Books::default();
    let began = Instant::now();
    let sent = thread::scope(|scope| {
        let sender = scope.spawn(|| {
            pin(1);
            let packets = packets();
            let mut sent = BTreeMap::<IpAddr, u64>::new();
            while !stop.load(Ordering::Relaxed) {
                for (to, packet) in &packets {
                    run_often(programs, packet, REPEAT);
                    *sent.entry(*to).or_default() += u64::from(REPEAT);
                    sent_so_far.fetch_add(u64::from(REPEAT), Ordering::Relaxed);
                }
            }
            sent
        });
        // The drains have a thread of their own, so that the test's keeps its CPUs.
        let drainer = scope.spawn(|| {
            pin(0);
            // Also when the drain panics: else the sender would never end, nor the test.
            let stopping = StopOnDrop(&stop);
            while !enough(&books, sent_so_far.load(Ordering::Relaxed), began.elapsed()) {
                assert!(!sender.is_finished(), "the sender has failed");
                drain(&mut books);
            }
            drop(stopping);
            let sent = sender.join().unwrap();
            drain(&mut books);
            // A drain that was given no time may have left something behind for the next.
            drain(&mut books);
            sent
        });
        drainer.join().unwrap()
    });
    books.sent = sent;
    (books, began.elapsed())
}

fn own_policy() -> PolicySet {
    policy(LOOPBACK, &[OWN], &[])
}

#[test]
fn a_drain_with_a_grace_period_loses_nothing() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut programs, tables) = load(1024, 1);
    let mut source = Drain::new(tables, own_policy()).unwrap();
    let (books, time) = race(
        &mut programs,
        |books| books.add(&source.drain().unwrap().drained),
        |books, sent, _| sent >= ENOUGH && books.drains >= ENOUGH_DRAINS,
    );
    books.note("flip, grace period, read, clear", time);

    let expected: BTreeMap<IpAddr, Counts> = books
        .sent
        .iter()
        .map(|(to, packets)| {
            (
                *to,
                Counts {
                    packets: *packets,
                    bytes: packets * BYTES,
                },
            )
        })
        .collect();
    assert_eq!(books.counted, expected);
    assert_eq!(
        books.seen,
        Counts {
            packets: books.sent(),
            bytes: books.sent() * BYTES
        }
    );
    assert_eq!(books.unbalanced, 0);
    assert!(books.sent() >= ENOUGH && books.drains >= ENOUGH_DRAINS);
}

#[test]
fn the_same_drain_without_the_grace_period_loses() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut programs, tables) = load(1024, 1);
    let mut source = Drain::new(Faulty::new(tables, Fault::NoGracePeriod), own_policy()).unwrap();
    let began = Instant::now();
    // A packet that is counted while its table is read makes a drain unbalanced; it is lost for good only when it falls
    // between reading and clearing. A hundred of the former nearly always have some of the latter.
    loop {
        let (books, time) = race(
            &mut programs,
            |books| books.add(&source.drain().unwrap().drained),
            |books, _, _| books.unbalanced >= 100 || began.elapsed() >= LIMIT,
        );
        books.note("without the grace period", time);
        if books.counted() != books.sent() {
            assert!(books.unbalanced > 0, "the books show it");
            return;
        }
        assert!(
            began.elapsed() < LIMIT,
            "no loss in {LIMIT:?}: this test can no longer tell a right drain from a wrong one"
        );
    }
}

#[test]
fn taking_entries_out_of_the_live_map_loses() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut programs, mut tables) = load(1024, 1);
    tables.install(Generation::Even, &own_policy()).unwrap();
    let (mut books, time) = race(
        &mut programs,
        |books| {
            books.drains += 1;
            books.add_destinations(&tables.take_live(Generation::Even));
        },
        // Only the end of the race tells what is missing, so it lasts as long as the proof; the loss is in every
        // second of it.
        |_, sent, elapsed| sent >= ENOUGH || elapsed >= LIMIT,
    );
    let totals = tables.read(Generation::Even).unwrap().totals;
    books.seen = totals.seen;
    books.note("lookup and delete on the live map", time);
    // The totals, which nobody took from, have every packet. So the packets were seen; they were lost in the taking.
    assert_eq!(books.seen.packets, books.sent());
    assert_eq!(totals.outcomes[Outcome::Counted as usize].packets, books.sent());
    assert_ne!(
        books.counted(),
        books.sent(),
        "{} packets and {} drains without a loss: this test can no longer tell a right drain from a wrong one",
        books.sent(),
        books.drains
    );
}
