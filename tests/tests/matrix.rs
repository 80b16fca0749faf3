//! What must hold on every kernel of the matrix (xtask/src/kernels.rs), which is emulated and slow: the kernel is the
//! one that was asked for, nothing is lost on it, neither by a drain nor on the way by clsact, and names are read.
//!
//! The negative controls and the large figures are in race.rs and counting.rs, on the kernel of the machine itself.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::io::Write as _;
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::{env, fs, thread};

use tcpwatch::kernel::drain::{CounterSource as _, Drain};
use tcpwatch::kernel::requirements;
use tcpwatch_tests::bpffs::BpfFs;
use tcpwatch_tests::counter::{LOOPBACK, load, policy, run_often};
use tcpwatch_tests::cpu::{StopOnDrop, pin};
use tcpwatch_tests::frame::{IPV4, UDP, ethernet, ipv4, udp};
use tcpwatch_tests::hook::{clsact_filters, clsact_ingress_filters, has_clsact};
use tcpwatch_tests::invocation::Invocation;
use tcpwatch_tests::lab::{Lab, NEAR_V4, NEAR_V6};
use tcpwatch_tests::named::{Named, names_of, only, opened};
use tcpwatch_tests::names_lab::RESOLVER;
use tcpwatch_tests::names_lab::dns::{self, Kind, Question};
use tcpwatch_tests::names_lab::hello::client_hello;
use tcpwatch_tests::names_lab::initial::Opening;
use tcpwatch_tests::records::{Counts, Record, check_sent, flow, totals};
use tcpwatch_tests::{note, wait};

/// include/uapi/linux/capability.h.
const CAP_PERFMON: libc::c_ulong = 38;

/// The tests need both CPUs, so they take turns.
static TURN: Mutex<()> = Mutex::new(());

/// Series of the wanted kernel, and whether it must be a PREEMPT_RT kernel.
fn wanted() -> (String, bool) {
    let name = env::var("TCPWATCH_TEST_KERNEL")
        .expect("these tests are run by `cargo xtask test --kernel NAME`, which names the kernel");
    match name.strip_suffix("-rt") {
        Some(series) => (series.to_owned(), true),
        None => (name, false),
    }
}

fn kernel(what: &str) -> String {
    fs::read_to_string(format!("/proc/sys/kernel/{what}")).unwrap()
}

#[test]
fn the_kernel_is_the_one_that_was_asked_for() {
    let (series, real_time) = wanted();
    let (release, version) = (kernel("osrelease"), kernel("version"));
    note(format_args!("Linux {} {}", release.trim(), version.trim()));
    assert!(
        release.starts_with(&format!("{series}.")),
        "{release} is not of {series}"
    );
    assert_eq!(version.contains("PREEMPT_RT"), real_time, "{version}");
    assert_eq!(thread::available_parallelism().unwrap().get(), 2);
}

/// What it finds decides between plain and atomic additions.
#[test]
fn tcpwatch_knows_a_real_time_kernel() {
    assert_eq!(requirements::is_preempt_rt().unwrap(), wanted().1);
}

#[test]
fn a_drain_beside_a_cpu_that_counts_loses_nothing() {
    const OWN: &str = "198.18.0.1";
    const BYTES: u64 = 50;
    /// Packets of one system call.
    const REPEAT: u32 = 2_000;
    const ENOUGH: u64 = 400_000;
    const ENOUGH_DRAINS: u64 = 30;

    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut programs, tables) = load(64, 1);
    let mut drain = Drain::new(tables, policy(LOOPBACK, &[OWN], &[])).unwrap();
    let packets = [1, 2, 3].map(|n| ethernet(IPV4, &ipv4(OWN, &format!("192.0.2.{n}"), UDP, &udp(8))));
    let (sent, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let (mut seen, mut counted, mut drains) = (0, 0, 0_u64);
    let mut add = |drained: tcpwatch::tally::Drained| {
        assert_eq!(drained.imbalance(), None);
        seen += drained.totals.seen.packets;
        for (_, tcpwatch_common::Traffic { counts, .. }) in &drained.destinations {
            assert_eq!(counts.bytes, counts.packets * BYTES);
            counted += counts.packets;
        }
    };
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            pin(1);
            while !stop.load(Ordering::Relaxed) {
                for packet in &packets {
                    run_often(&mut programs, packet, REPEAT);
                    sent.fetch_add(u64::from(REPEAT), Ordering::Relaxed);
                }
            }
        });
        // Also when a drain fails: else the sender would never end.
        let stopping = StopOnDrop(&stop);
        while sent.load(Ordering::Relaxed) < ENOUGH || drains < ENOUGH_DRAINS {
            assert!(!sender.is_finished(), "the sender has failed");
            add(drain.drain().unwrap().drained);
            drains += 1;
        }
        drop(stopping);
    });
    add(drain.drain().unwrap().drained);
    let sent = sent.into_inner();
    note(format_args!("sent {sent}, counted {counted}, {drains} drains"));
    assert_eq!((seen, counted), (sent, sent));
}

/// All send to the same destinations, so that both CPUs meet in every entry, also in that of a new destination; two on
/// each CPU, so that on a real-time kernel one interrupts the other in the middle of the program.
#[test]
fn by_clsact_every_packet_of_two_cpus_is_counted_and_no_filter_stays() {
    const DESTINATIONS: u16 = 20;
    const ROUNDS: u64 = 50;
    const DRAINS: usize = 3;

    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = Lab::new();
    lab.wait_until_quiet();
    let watch = lab.watch(["--attach", "auto", "--interval", "500ms"]);
    assert!(clsact_filters(&lab.near, "eth0").contains("tcpwatch"));
    let send = |cpu| {
        let (mut v4, mut v6) = (lab.udp_v4(), lab.udp_v6());
        pin(cpu);
        let mut rounds = 0;
        while rounds < ROUNDS || watch.stdout_lines().len() < DRAINS {
            for n in 0..DESTINATIONS {
                v4.send(IpAddr::from([192, 0, 2, n as u8]), 18);
                v6.send(IpAddr::from([0x2001, 0xdb8, 2, 0, 0, 0, 0, n]), 18);
            }
            rounds += 1;
        }
        rounds
    };
    let send = &send;
    let rounds: u64 = thread::scope(|scope| {
        [0, 1, 0, 1]
            .map(|cpu| scope.spawn(move || send(cpu)))
            .map(|sender| sender.join().unwrap())
            .iter()
            .sum()
    });
    let records = watch.stop().books();

    note(format_args!(
        "{} records of 500 ms, {} packets",
        records.len(),
        rounds * 2 * u64::from(DESTINATIONS)
    ));
    for record in &records {
        let attached: Vec<_> = record.interfaces.iter().map(|of| of.attach.as_str()).collect();
        assert_eq!(attached, ["clsact"]);
    }
    for n in 0..DESTINATIONS {
        let expected = |bytes| Counts {
            packets: rounds,
            bytes: rounds * bytes,
        };
        assert_eq!(flow(&records, &format!("192.0.2.{n}"), NEAR_V4), expected(60));
        assert_eq!(
            flow(&records, &format!("2001:db8:2::{n:x}"), NEAR_V6),
            expected(80)
        );
    }
    assert_eq!(
        totals(&records).counted.packets,
        rounds * 2 * u64::from(DESTINATIONS)
    );
    assert_eq!(totals(&records).seen, totals(&records).counted);
    assert_eq!(clsact_filters(&lab.near, "eth0"), "");
}

/// `tcpwatch run` in `near` as a service would run it, on a BPF file system of the test's own.
fn pinned(lab: &Lab, pins: &Path, runtime: &Path) -> Invocation {
    lab.tcpwatch(["run", "--format", "none", "--history", "none"])
        .with(["--control", "none", "--interval", "500ms"])
        .with_path("--pin", pins)
        .with_path("--runtime", runtime)
}

/// With pins, a classic filter goes on counting without the daemon, and the next one's program takes its place in one step.
#[test]
fn with_pins_a_kill_and_a_restart_lose_nothing_and_detach_leaves_nothing() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = Lab::new();
    lab.wait_until_quiet();
    let (directory, bpffs) = (tempfile::tempdir().unwrap(), BpfFs::mount());
    let (pins, runtime) = (bpffs.path().join("tcpwatch"), directory.path().join("run"));
    let file = directory.path().join("records");
    let start = || pinned(&lab, &pins, &runtime).with_path("--record", &file).start();
    let records = || -> Vec<Record> {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let whole = text.lines().filter_map(|line| serde_json::from_str(line).ok());
        whole.collect()
    };
    let mut socket = lab.udp_v4();
    let mut send = || {
        for n in 0..40 {
            socket.send_times([192, 0, 2, n].into(), 18, 10);
        }
    };
    let watch = start();
    send();
    wait::until("records are written", || records().len() >= 2);
    send();
    watch.kill();
    send();
    assert!(clsact_filters(&lab.near, "eth0").contains("direct-action"));
    let watch = start();
    send();
    assert_eq!(watch.stop().code(), Some(0));
    send();
    let watch = start();
    send();
    assert_eq!(watch.stop().code(), Some(0));
    let records = records();
    check_sent(&records, socket.sent(), NEAR_V4);
    assert_eq!(totals(&records).counted, socket.total());
    note(format_args!("{} packets", socket.total().packets));

    let detached = lab
        .tcpwatch(["detach"])
        .with_path("--pin", &pins)
        .with_path("--runtime", &runtime)
        .finish();
    assert_eq!(detached.code(), Some(0), "{detached:#?}");
    assert_eq!(clsact_filters(&lab.near, "eth0"), "");
    assert!(!pins.exists());
}

/// Why the unit has a third capability. That it is enough to have it while the programs are loaded, the test above shows: with pins, all
/// others are given up before.
#[test]
fn without_cap_perfmon_this_kernel_refuses_the_programs_and_the_cure_is_said() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = Lab::new();
    let (directory, bpffs) = (tempfile::tempdir().unwrap(), BpfFs::mount());
    let pins = bpffs.path().join("tcpwatch");
    let ended = thread::scope(|scope| {
        scope
            .spawn(|| {
                // SAFETY: takes numbers only; what is given up is this thread's, and so its children's.
                let dropped = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, CAP_PERFMON, 0, 0, 0) };
                assert_eq!(dropped, 0);
                pinned(&lab, &pins, &directory.path().join("run"))
                    .with_path("--record", &directory.path().join("records"))
                    .finish()
            })
            .join()
            .unwrap()
    });
    assert_eq!(ended.code(), Some(2), "{ended:#?}");
    let message = ended.stderr.last().unwrap();
    assert!(
        message.contains("without CAP_PERFMON: give tcpwatch that"),
        "{message}"
    );
    assert_eq!(clsact_filters(&lab.near, "eth0"), "");
}

/// Unlike TCX, clsact keeps the filter of a program that was killed; the next one takes it away.
#[test]
fn a_filter_of_a_killed_program_goes_with_the_next() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = Lab::new();
    lab.watch(["--interval", "1h"]).kill();
    assert!(clsact_filters(&lab.near, "eth0").contains("tcpwatch"));

    lab.wait_until_quiet();
    let watch = lab.watch(["--interval", "1h"]);
    let mut socket = lab.udp_v4();
    socket.send_times("192.0.2.1".parse().unwrap(), 18, 7);
    let records = watch.stop().books();
    // A filter left over would have no part in these books, but it would still be there.
    assert_eq!(
        totals(&records).seen,
        Counts {
            packets: 7,
            bytes: 7 * 60
        }
    );
    wait::until("no filter is left", || {
        clsact_filters(&lab.near, "eth0").is_empty()
    });
    assert!(has_clsact(&lab.near, "eth0"), "the qdisc may be in use by others");
}

/// From an answer of a name server, the first bytes of a TCP connection, and the first datagram of one by QUIC.
#[test]
fn names_are_read_and_connections_counted_and_no_filter_stays() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = Lab::new();
    let (resolver, listener) = lab.far.within(|| {
        (
            UdpSocket::bind((RESOLVER, dns::PORT)).unwrap(),
            TcpListener::bind(("192.0.2.2", 443)).unwrap(),
        )
    });
    lab.wait_until_quiet();
    let watch = lab.watch(["--interval", "1h", "--names", "dns,tls,quic"]);

    let question = Question::new("one.example.com", Kind::A);
    let client = lab
        .near
        .within(|| dns::asking((RESOLVER.parse::<IpAddr>().unwrap(), dns::PORT).into()));
    client.send(&question.message()).unwrap();
    let mut message = [0; 512];
    let (_, from) = resolver.recv_from(&mut message).unwrap();
    let answer = question.answer(&["192.0.2.1".parse().unwrap()], 60);
    resolver.send_to(&answer, from).unwrap();
    assert_eq!(client.recv(&mut message).unwrap(), answer.len());
    lab.udp_v4().send("192.0.2.1".parse().unwrap(), 18);

    let mut stream = lab
        .near
        .within(|| TcpStream::connect(("192.0.2.2", 443)).unwrap());
    stream.write_all(&client_hello("two.example.com")).unwrap();

    let opening = Opening {
        version: rustls::quic::Version::V1,
        name: "three.example.com",
        source_id: &[3; 8],
        datagrams: 1,
    };
    let udp = lab.near.within(|| UdpSocket::bind((NEAR_V4, 0)).unwrap());
    udp.send_to(&opening.initials()[0], ("192.0.2.3", 443)).unwrap();
    let records = watch.stop().books();
    drop((stream, listener));

    for (to, opens, named) in [
        ("192.0.2.1", (0, 0), Named::dns(&["one.example.com"])),
        ("192.0.2.2", (1, 0), Named::sni(&[("two.example.com", 1)])),
        ("192.0.2.3", (0, 1), Named::sni(&[("three.example.com", 1)])),
    ] {
        assert_eq!(opened(only(&records, to)), opens, "{to}");
        assert_eq!(names_of(&records, to), Some(named), "{to}");
    }
    assert_eq!(clsact_filters(&lab.near, "eth0"), "");
    assert_eq!(clsact_ingress_filters(&lab.near, "eth0"), "");
}
