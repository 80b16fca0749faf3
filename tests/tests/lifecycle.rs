//! From start to end: addresses and interfaces that come and go, signals, full tables, other programs on the hook, and
//! what is left behind.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tcpwatch_tests::daemon::Tcpwatch;
use tcpwatch_tests::hook::{self, Foreign, Place, Verdict};
use tcpwatch_tests::lab::{Lab, NEAR_V4};
use tcpwatch_tests::records::{self, Counts, Record, check_books, flow, to, totals};
use tcpwatch_tests::traffic::Udp;
use tcpwatch_tests::wait;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Sends single packets until a record has one of them under `source`; returns how many that took.
#[track_caller]
fn send_until_counted(watch: &Tcpwatch, socket: &mut Udp, destination: &str, source: &str) {
    wait::until(&format!("a packet from {source} is counted"), || {
        socket.send(address(destination), 10);
        flow(&watch.records(), destination, source).packets > 0
    });
}

#[test]
fn an_address_added_while_running_is_an_own_source_from_then_on() {
    let lab = Lab::new();
    let watch = lab.watch(["--interval", "100ms"]);
    lab.near.ip("address add 198.18.0.77/24 dev eth0");
    lab.near.ip("address add 2001:db8:ffff::77/64 dev eth0 nodad");
    let (mut v4, mut v6) = (lab.udp_from("198.18.0.77"), lab.udp_from("2001:db8:ffff::77"));
    send_until_counted(&watch, &mut v4, "192.0.2.1", "198.18.0.77");
    send_until_counted(&watch, &mut v6, "2001:db8:1::1", "2001:db8:ffff::77");
    v4.send_times(address("192.0.2.2"), 10, 500);
    v6.send_times(address("2001:db8:1::2"), 10, 500);
    let records = watch.stop().books();

    assert_eq!(flow(&records, "192.0.2.2", "198.18.0.77").packets, 500);
    assert_eq!(flow(&records, "2001:db8:1::2", "2001:db8:ffff::77").packets, 500);
    // None is missing: those before the program knew the address are in the bucket for foreign sources.
    let counted: Counts = ["192.0.2.1", "192.0.2.2", "2001:db8:1::1", "2001:db8:1::2"]
        .map(|of| to(&records, of))
        .into_iter()
        .sum();
    assert_eq!(
        counted.packets + totals(&records).other_source.packets,
        v4.total().packets + v6.total().packets
    );
}

#[test]
fn an_address_removed_while_running_is_a_foreign_source_from_then_on() {
    let lab = Lab::new();
    lab.near.ip("address add 198.18.0.77/24 dev eth0");
    let watch = lab.watch(["--interval", "100ms"]);
    let mut socket = lab.udp_from("198.18.0.77");
    socket.send_times(address("192.0.2.1"), 10, 50);
    // It stays an address of the host, so that packets can still be sent from it.
    lab.near.ip("address add 198.18.0.77/32 dev lo");
    lab.near.ip("address del 198.18.0.77/24 dev eth0");
    wait::until("a packet from the address is foreign", || {
        socket.send(address("192.0.2.2"), 10);
        totals(&watch.records()).other_source.packets > 0
    });
    let before = totals(&watch.records()).other_source.packets;
    socket.send_times(address("192.0.2.3"), 10, 500);
    let records = watch.stop().books();

    assert_eq!(to(&records, "192.0.2.1").packets, 50);
    assert_eq!(to(&records, "192.0.2.3").packets, 0);
    assert!(totals(&records).other_source.packets >= before + 500);
    let counted: Counts = ["192.0.2.1", "192.0.2.2"]
        .map(|of| to(&records, of))
        .into_iter()
        .sum();
    assert_eq!(
        counted.packets + totals(&records).other_source.packets,
        socket.total().packets
    );
}

/// Takes the interface away under the running program and brings it back.
fn survives_the_loss_of_its_interface(arguments: &[&str]) {
    let lab = Lab::new();
    let mut watch = lab.watch(["--interval", "100ms"].iter().chain(arguments).copied());
    lab.udp_v4().send_times(address("192.0.2.1"), 10, 100);
    lab.near.ip("link del eth0");
    watch.wait_for_records(3);
    assert!(watch.is_running());
    lab.connect();
    let mut socket = lab.udp_v4();
    send_until_counted(&watch, &mut socket, "192.0.2.2", NEAR_V4);
    // Again, at once and twice: the program must not take the new one for the old.
    for _ in 0..2 {
        lab.near.ip("link del eth0");
        lab.connect();
    }
    let mut socket = lab.udp_v4();
    send_until_counted(&watch, &mut socket, "192.0.2.3", NEAR_V4);
    socket.send_times(address("192.0.2.4"), 10, 500);
    let ended = watch.stop();
    let records = ended.books();

    assert_eq!(
        to(&records, "192.0.2.1").packets,
        100,
        "sent before the interface went away"
    );
    assert_eq!(to(&records, "192.0.2.4").packets, 500, "sent after it came back");
    let runs: Vec<_> = records.iter().map(|record| &record.run).collect();
    assert!(runs.iter().all(|run| *run == runs[0]));
    let last = records.last().unwrap();
    assert_eq!(last.interfaces.len(), 1);
    assert_eq!(last.interfaces[0].name, "eth0");
    hook::assert_bare(&lab.near, "eth0");
}

#[test]
fn a_named_interface_that_is_made_anew_is_watched_again() {
    survives_the_loss_of_its_interface(&["-i", "eth0"]);
}

#[test]
fn the_default_routes_interface_that_is_made_anew_is_watched_again() {
    survives_the_loss_of_its_interface(&[]);
}

#[test]
fn an_interface_that_is_made_anew_is_watched_again_by_clsact() {
    survives_the_loss_of_its_interface(&["-i", "eth0", "--attach", "clsact"]);
}

#[test]
fn an_interface_that_goes_down_and_up_is_counted_on() {
    for attach in ["tcx", "clsact"] {
        let lab = Lab::new();
        let watch = lab.watch(["--interval", "100ms", "--attach", attach]);
        lab.udp_v4().send_times(address("192.0.2.1"), 10, 100);
        lab.near.ip("link set eth0 down");
        watch.wait_for_records(3);
        lab.near.ip("link set eth0 up");
        lab.route();
        let mut socket = lab.udp_v4();
        send_until_counted(&watch, &mut socket, "192.0.2.2", NEAR_V4);
        socket.send_times(address("192.0.2.3"), 10, 500);
        let records = watch.stop().books();

        assert_eq!(to(&records, "192.0.2.1").packets, 100, "{attach}");
        assert_eq!(to(&records, "192.0.2.3").packets, 500, "{attach}");
    }
}

#[test]
fn the_default_routes_interface_is_followed_to_another_one() {
    let lab = Lab::new();
    lab.near.ip(&format!(
        "link add eth1 address 02:00:00:00:01:01 type veth peer name eth1 address 02:00:00:00:01:02 netns {}",
        lab.far.name()
    ));
    lab.near.ip("address add 198.18.2.1/24 dev eth1");
    lab.far.ip("link set eth1 up");
    lab.near.ip("link set eth1 up");
    lab.near
        .ip("neighbour replace 198.18.2.2 lladdr 02:00:00:00:01:02 dev eth1 nud permanent");
    let watch = lab.watch(["--interval", "100ms"]);
    lab.near.ip("route replace default via 198.18.2.2");
    let mut socket = lab.udp_from("198.18.2.1");
    send_until_counted(&watch, &mut socket, "192.0.2.1", "198.18.2.1");
    socket.send_times(address("192.0.2.2"), 10, 500);
    let records = watch.stop().books();

    assert_eq!(flow(&records, "192.0.2.2", "198.18.2.1").packets, 500);
}

fn read_records(path: &Path) -> Vec<Record> {
    records::parse(fs::read_to_string(path).unwrap().lines())
}

/// The lines of a file that may not be there yet.
fn line_count(path: &Path) -> usize {
    fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

#[test]
fn a_rotated_record_file_loses_no_record_and_repeats_none() {
    let lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("records.jsonl");
    let watch = lab
        .tcpwatch(["run", "--format", "json", "--interval", "100ms"])
        .with_path("--record", &path)
        .start();
    let mut socket = lab.udp_v4();
    let mut files = Vec::new();
    for rotation in 1..=3 {
        wait::until("the record file has three records", || {
            socket.send(address("192.0.2.1"), 10);
            line_count(&path) >= 3
        });
        let old = directory.path().join(format!("records.jsonl.{rotation}"));
        fs::rename(&path, &old).unwrap();
        watch.signal(libc::SIGHUP);
        wait::until("the record file is there again", || {
            socket.send(address("192.0.2.1"), 10);
            line_count(&path) >= 1
        });
        files.push(old);
    }
    let on_stdout = watch.stop().books();
    files.push(path);

    let in_files: Vec<Record> = files.iter().flat_map(|file| read_records(file)).collect();
    check_books(&in_files);
    assert_eq!(to(&in_files, "192.0.2.1"), socket.total());
    assert_eq!(in_files.len(), on_stdout.len());
    for (in_file, on_stdout) in in_files.iter().zip(&on_stdout) {
        assert_eq!((in_file.seq, in_file.totals), (on_stdout.seq, on_stdout.totals));
    }
}

#[test]
fn records_are_appended_to_what_the_file_has() {
    let lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("records.jsonl");
    for packets in [3, 4] {
        let watch = lab
            .tcpwatch(["run", "--interval", "1h"])
            .with_path("-o", &path)
            .start();
        lab.udp_v4().send_times(address("192.0.2.1"), 10, packets);
        watch.stop().books();
    }
    let records = read_records(&path);
    assert_eq!(records.len(), 2);
    assert_ne!(records[0].run, records[1].run);
    let counts: Vec<u64> = records
        .iter()
        .map(|record| to(std::slice::from_ref(record), "192.0.2.1").packets)
        .collect();
    assert_eq!(counts, [3, 4]);
}

#[test]
fn hangup_without_a_record_file_changes_nothing() {
    let lab = Lab::new();
    let watch = lab.watch(["--interval", "100ms"]);
    watch.signal(libc::SIGHUP);
    watch.wait_for_records(2);
    watch.stop().books();
}

#[test]
fn a_signal_in_the_middle_of_an_interval_ends_with_a_partial_record() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let lab = Lab::new();
        let watch = lab.watch(["--interval", "1h"]);
        let mut socket = lab.udp_v4();
        socket.send_times(address("192.0.2.1"), 100, 1000);
        watch.signal(signal);
        let records = watch.wait(Duration::from_secs(10)).books();

        assert_eq!(records.len(), 1);
        assert!(records[0].partial);
        assert_eq!(
            to(&records, "192.0.2.1"),
            Counts {
                packets: 1000,
                bytes: 142_000
            }
        );
        hook::assert_bare(&lab.near, "eth0");
    }
}

#[test]
fn ends_by_itself_after_the_wanted_number_of_records() {
    let lab = Lab::new();
    let ended = lab
        .tcpwatch([
            "run",
            "--format",
            "json",
            "--interval",
            "100ms",
            "--intervals",
            "3",
        ])
        .finish();
    let records = ended.books();
    assert_eq!(records.len(), 3);
    assert!(records.iter().all(|record| !record.partial));
    hook::assert_bare(&lab.near, "eth0");
}

#[test]
fn a_full_table_keeps_the_total_and_is_empty_again_after_the_drain() {
    let lab = Lab::new();
    // Nothing but the test sends anything then, so that every number is known.
    lab.near.sysctl("net.ipv6.conf.all.disable_ipv6", 1);
    let watch = lab.watch(["--interval", "500ms", "--spill", "64"]);
    let mut socket = lab.udp_v4();
    // Within one interval: it takes a few milliseconds.
    watch.wait_for_records(1);
    for n in 0..500_u16 {
        let [high, low] = n.to_be_bytes();
        socket.send_times([198, 19, high, low].into(), 100, 3);
    }
    watch.wait_for_records(2);
    socket.send_times(address("192.0.2.1"), 100, 10);
    let records = watch.stop().books();

    let totals = totals(&records);
    assert_eq!(
        totals.seen,
        Counts {
            packets: 1510,
            bytes: 1510 * 142
        }
    );
    assert_eq!(totals.counted.packets + totals.overflow.packets, 1510);
    assert!(totals.overflow.packets > 0, "{totals:?}");
    let fullest = records
        .iter()
        .map(|record| record.destinations.len())
        .max()
        .unwrap();
    assert_eq!(fullest, 64);
    assert!(
        records
            .iter()
            .flat_map(|record| &record.destinations)
            .all(|of| of.packets == 3 || of.packets == 10)
    );
    assert_eq!(
        to(&records, "192.0.2.1").packets,
        10,
        "there is room again after the drain"
    );
}

#[test]
fn two_instances_count_the_same_by_tcx() {
    let lab = Lab::new();
    let first = lab.watch(["--interval", "1h", "--attach", "tcx"]);
    let second = lab.watch(["--interval", "200ms", "--attach", "tcx"]);
    assert_eq!(hook::tcx_programs(&lab.near, "eth0").len(), 2);
    let mut socket = lab.udp_v4();
    socket.send_times(address("192.0.2.1"), 100, 2000);
    let second = second.stop().books();
    // The end of one leaves the other alone.
    assert_eq!(hook::tcx_programs(&lab.near, "eth0").len(), 1);
    socket.send_times(address("192.0.2.1"), 100, 10);
    let first = first.stop().books();

    assert_eq!(to(&second, "192.0.2.1").packets, 2000);
    assert_eq!(to(&first, "192.0.2.1").packets, 2010);
    hook::assert_bare(&lab.near, "eth0");
}

#[test]
fn a_second_instance_by_clsact_is_refused_and_harms_nothing() {
    let lab = Lab::new();
    let first = lab.watch(["--interval", "1h", "--attach", "clsact"]);
    let filters = hook::clsact_filters(&lab.near, "eth0");
    let second = lab
        .tcpwatch(["run", "--interval", "1h", "--attach", "clsact"])
        .finish();
    assert_eq!(second.code(), Some(2), "{second:?}");
    let message = second.stderr.last().unwrap();
    assert!(message.starts_with("tcpwatch: eth0: "), "{message}");
    assert!(
        message.contains("already attached") && message.contains("--attach tcx"),
        "{message}"
    );
    assert_eq!(second.stdout, [] as [&str; 0]);

    assert_eq!(hook::clsact_filters(&lab.near, "eth0"), filters);
    lab.udp_v4().send_times(address("192.0.2.1"), 100, 10);
    assert_eq!(to(&first.stop().books(), "192.0.2.1").packets, 10);
}

#[test]
fn tcx_and_clsact_can_watch_side_by_side() {
    let lab = Lab::new();
    let first = lab.watch(["--interval", "1h", "--attach", "clsact"]);
    let second = lab.watch(["--interval", "1h", "--attach", "tcx"]);
    lab.udp_v4().send_times(address("192.0.2.1"), 100, 10);
    let (first, second) = (first.stop().books(), second.stop().books());
    assert_eq!(to(&first, "192.0.2.1").packets, 10);
    assert_eq!(to(&second, "192.0.2.1").packets, 10);
    assert_eq!(first[0].interfaces[0].attach, "clsact");
    assert_eq!(second[0].interfaces[0].attach, "tcx");
}

#[test]
fn nothing_is_attached_any_more_after_kill_by_tcx() {
    let lab = Lab::new();
    let watch = lab.watch(["--interval", "1h", "--attach", "tcx"]);
    assert_eq!(hook::tcx_programs(&lab.near, "eth0"), ["tcpwatch_l2"]);
    watch.kill();
    // The kernel lets go of a dead process's descriptors a moment after it is reported dead.
    wait::until("the program is detached", || {
        hook::tcx_programs(&lab.near, "eth0").is_empty()
    });
    hook::assert_bare(&lab.near, "eth0");
}

/// Filters of other people: one that never matches, and a classic BPF program that never does.
fn add_foreign_filters(lab: &Lab) -> String {
    lab.near.run("tc qdisc add dev eth0 clsact");
    lab.near
        .run("tc filter add dev eth0 egress pref 7 u32 match ip dst 203.0.113.99/32 flowid 1:1");
    let mut command = Command::new("ip");
    command.args([
        "netns",
        "exec",
        lab.near.name(),
        "tc",
        "filter",
        "add",
        "dev",
        "eth0",
        "egress",
        "pref",
        "9",
    ]);
    let status = command.args(["bpf", "bytecode", "1,6 0 0 0"]).status().unwrap();
    assert!(status.success());
    let filters = hook::clsact_filters(&lab.near, "eth0");
    assert!(
        filters.contains("u32") && filters.contains("bytecode"),
        "{filters}"
    );
    filters
}

/// The lines of `tc filter show` that are not about our filter.
fn without_ours(filters: &str) -> String {
    filters
        .lines()
        .filter(|line| !line.contains("tcpwatch_l2"))
        .map(|line| format!("{line}\n"))
        .collect()
}

fn ours(filters: &str) -> usize {
    filters.matches("tcpwatch_l2").count()
}

#[test]
fn a_start_after_kill_by_clsact_removes_our_stale_filter_and_no_other() {
    let lab = Lab::new();
    let foreign = add_foreign_filters(&lab);
    let watch = lab.watch(["--interval", "1h", "--attach", "clsact"]);
    watch.kill();
    let stale = hook::clsact_filters(&lab.near, "eth0");
    assert_eq!(ours(&stale), 1, "a classic filter outlives its process: {stale}");

    let watch = lab.watch(["--interval", "1h", "--attach", "clsact"]);
    let filters = hook::clsact_filters(&lab.near, "eth0");
    assert_eq!(ours(&filters), 1, "{filters}");
    lab.udp_v4().send_times(address("192.0.2.1"), 100, 10);
    assert_eq!(to(&watch.stop().books(), "192.0.2.1").packets, 10);
    assert_eq!(hook::clsact_filters(&lab.near, "eth0"), foreign);
}

#[test]
fn a_clean_end_leaves_the_hook_as_it_was() {
    let lab = Lab::new();
    for attach in ["tcx", "clsact"] {
        lab.watch(["--interval", "1h", "--attach", attach]).stop().books();
        hook::assert_bare(&lab.near, "eth0");
    }
    let lab = Lab::new();
    let filters = add_foreign_filters(&lab);
    for attach in ["tcx", "clsact"] {
        let watch = lab.watch(["--interval", "1h", "--attach", attach]);
        assert_eq!(
            without_ours(&hook::clsact_filters(&lab.near, "eth0")).trim(),
            filters.trim()
        );
        watch.stop().books();
        assert_eq!(hook::clsact_filters(&lab.near, "eth0"), filters);
        assert!(hook::has_clsact(&lab.near, "eth0"));
    }
}

#[test]
fn other_programs_on_tcx_keep_their_order_and_see_every_packet() {
    let lab = Lab::new();
    let foreign = [
        Foreign::attach(&lab.near, "eth0", "foreign_a", Verdict::Next, Place::Last),
        Foreign::attach(&lab.near, "eth0", "foreign_b", Verdict::Pass, Place::Last),
        Foreign::attach(&lab.near, "eth0", "foreign_c", Verdict::Next, Place::Last),
    ];
    let names = ["foreign_a", "foreign_b", "foreign_c"];
    assert_eq!(hook::tcx_programs(&lab.near, "eth0"), names);
    let watch = lab.watch(["--interval", "1h", "--attach", "tcx"]);
    // We come first, because one of them lets nothing through to those behind it.
    assert_eq!(
        hook::tcx_programs(&lab.near, "eth0"),
        ["tcpwatch_l2", "foreign_a", "foreign_b", "foreign_c"]
    );
    lab.udp_v4().send_times(address("192.0.2.1"), 100, 10);
    assert_eq!(to(&watch.stop().books(), "192.0.2.1").packets, 10);
    assert_eq!(hook::tcx_programs(&lab.near, "eth0"), names);
    drop(foreign);
}

#[test]
fn the_packets_of_a_watched_interface_arrive() {
    let lab = Lab::new();
    for attach in ["tcx", "clsact"] {
        let watch = lab.watch(["--interval", "1h", "--attach", attach]);
        let receiver = lab
            .far
            .within(|| std::net::UdpSocket::bind(("198.51.100.1", 4000)).unwrap());
        receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let sender = lab
            .near
            .within(|| std::net::UdpSocket::bind((NEAR_V4, 0)).unwrap());
        for n in 0..100_u8 {
            sender.send_to(&[n; 50], ("198.51.100.1", 4000)).unwrap();
            let mut buffer = [0; 100];
            let length = receiver.recv(&mut buffer).unwrap();
            assert_eq!(buffer[..length], [n; 50]);
        }
        assert_eq!(to(&watch.stop().books(), "198.51.100.1").packets, 100);
    }
}

/// Starts the program with its standard output going into `cat`, which the test may kill.
#[test]
fn a_reader_that_is_killed_ends_the_program_well() {
    let lab = Lab::new();
    let mut child = lab
        .tcpwatch(["run", "--format", "json", "--interval", "100ms"])
        .command()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut reader = Command::new("cat")
        .stdin(child.stdout.take().unwrap())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut watch = Tcpwatch::new(Ok(child));
    watch.wait_until_started();
    reader.kill().unwrap();
    reader.wait().unwrap();
    let ended = watch.wait(Duration::from_secs(10));
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    hook::assert_bare(&lab.near, "eth0");
}

/// A reader that has stopped reading holds up neither the counting nor the record file.
#[test]
fn a_reader_that_stops_reading_holds_nothing_up() {
    let lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("records.jsonl");
    let mut child = lab
        .tcpwatch(["run", "--format", "json", "--interval", "100ms"])
        .with_path("--record", &path)
        .command()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let unread = child.stdout.take().unwrap();
    let mut watch = Tcpwatch::new(Ok(child));
    watch.wait_until_started();
    let mut socket = lab.udp_v4();
    // Some 200 records of 500 destinations are more than a pipe holds; ten are more already.
    for _ in 0..15 {
        for n in 0..500_u16 {
            let [high, low] = n.to_be_bytes();
            socket.send([198, 19, high, low].into(), 10);
        }
        let before = line_count(&path);
        wait::until("the record file goes on", || line_count(&path) > before);
    }
    watch.signal(libc::SIGTERM);
    let ended = watch.wait(Duration::from_secs(20));
    drop(unread);
    assert!(ended.code().is_some(), "{ended:?}");
    let records = read_records(&path);
    check_books(&records);
    records::check_sent(&records, socket.sent(), NEAR_V4);
    hook::assert_bare(&lab.near, "eth0");
}
