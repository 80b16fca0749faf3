//! A tcpwatch that is asked and changed while it runs: status, bans, reload, and clients that mean no good.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tcpwatch_tests::daemon::{Ended, Tcpwatch};
use tcpwatch_tests::lab::Lab;
use tcpwatch_tests::note;
use tcpwatch_tests::records::{by_ban, to, totals};
use tcpwatch_tests::wait;

/// A lab, and a directory with the socket, a configuration and a ban file.
struct Desk {
    lab: Lab,
    directory: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        Self {
            lab: Lab::new(),
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// tcpwatch with a socket and these arguments.
    fn watch<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Tcpwatch {
        self.invocation(arguments).start()
    }

    fn invocation<'a>(
        &self,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> tcpwatch_tests::invocation::Invocation {
        self.lab
            .tcpwatch(["run", "--format", "json"])
            .with(arguments)
            .with_path("--control", &self.path("run/control.sock"))
    }

    /// A command that asks it.
    fn ask<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Ended {
        self.lab
            .tcpwatch(arguments)
            .with_path("--control", &self.path("run/control.sock"))
            .finish()
    }

    /// The same, which must be done.
    #[track_caller]
    fn done<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> String {
        let ended = self.ask(arguments);
        assert_eq!(ended.code(), Some(0), "{ended:?}");
        ended.stdout.join("\n")
    }

    #[track_caller]
    fn status(&self) -> Value {
        serde_json::from_str(&self.done(["status", "--json"])).unwrap()
    }

    fn connect(&self) -> UnixStream {
        UnixStream::connect(self.path("run/control.sock")).unwrap()
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn status_tells_people_and_programs_how_it_is() {
    let desk = Desk::new();
    let watch = desk.watch(["--interval", "200ms"]);
    watch.wait_for_records(2);
    let socket = fs::metadata(desk.path("run/control.sock")).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o660);
    let directory = fs::metadata(desk.path("run")).unwrap();
    assert_eq!(directory.permissions().mode() & 0o027, 0);

    let status = desk.status();
    assert_eq!(status["healthy"], true, "{status}");
    assert_eq!(status["pid"], watch.pid());
    assert_eq!(status["interfaces"][0]["name"], "eth0");
    assert!(status["records"].as_u64().unwrap() >= 2);
    assert_eq!(status["outlets"][0]["name"], "stdout");
    let text = desk.done(["status"]);
    assert!(
        text.contains(": all is well\n") && text.contains("  interfaces     eth0  "),
        "{text}"
    );

    // An interface that is gone is wrong.
    watch.stop().books();
    assert!(!desk.path("run/control.sock").exists());
    let watch = desk.watch(["--interval", "200ms", "--interface", "eth0"]);
    desk.lab.near.ip("link delete eth0");
    wait::until("the interface is missed", || {
        desk.ask(["status"]).code() == Some(1)
    });
    let text = desk.ask(["status"]).stdout.join("\n");
    assert!(
        text.contains("\n  wrong          no interface is watched"),
        "{text}"
    );
    watch.stop().books();

    let nobody = desk.ask(["status"]);
    assert_eq!(nobody.code(), Some(2));
    assert!(
        nobody.stderr[0].starts_with("tcpwatch: no tcpwatch answers on "),
        "{nobody:?}"
    );
}

/// The sender never stops; what it sends is counted before the ban and after it, and banned between.
#[test]
fn a_ban_under_traffic_takes_effect_whole_and_no_packet_is_lost_by_it() {
    let desk = Desk::new();
    let watch = desk.watch(["--interval", "1h"]);
    let stop = AtomicBool::new(false);
    let (banned, control) = (address("203.0.113.7"), address("192.0.2.7"));
    let sender = thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let mut udp = desk.lab.udp_v4();
            while !stop.load(Ordering::Relaxed) {
                udp.send_times(banned, 100, 50);
                udp.send_times(control, 100, 50);
            }
            udp
        });
        for _ in 0..20 {
            let added = desk.done(["ban", "add", "203.0.113.0/24", "2001:db8:bad::/48"]);
            assert!(added.contains("203.0.113.0/24: banned, in force now"), "{added}");
            let removed = desk.done(["ban", "remove", "203.0.113.0/24"]);
            assert!(
                removed.contains("203.0.113.0/24: counted again, in force now"),
                "{removed}"
            );
        }
        stop.store(true, Ordering::Relaxed);
        sending.join().unwrap()
    });
    // From here on the ban holds for every packet, because it was answered.
    let mut after = desk.lab.udp_v4();
    after.send_times(banned, 100, 3);
    desk.done(["ban", "add", "203.0.113.0/24"]);
    after.send_times(banned, 100, 11);
    let list = desk.done(["ban", "list"]);
    let line = list
        .lines()
        .find(|line| line.starts_with("203.0.113.0/24"))
        .unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(&words[1..5], ["11", "1562", "this", "run"], "{list}");

    let records = watch.stop().books();
    let sent = sender.sent()[&banned].packets + 14;
    let (counted, left_out) = (
        to(&records, "203.0.113.7").packets,
        by_ban(&records)["203.0.113.0/24"].packets,
    );
    note(format_args!("sent {sent}: counted {counted}, banned {left_out}"));
    assert_eq!(counted + left_out, sent);
    assert!(counted > 3 && left_out > 11);
    assert_eq!(to(&records, "192.0.2.7"), sender.sent()[&control], "the control");
    assert_eq!(totals(&records).overflow.packets, 0);
}

#[test]
fn bans_are_kept_in_the_ban_file_when_that_is_asked_for() {
    let desk = Desk::new();
    desk.write("bans", "# ours\n192.0.2.1\n");
    let watch = desk
        .invocation(["--ban", "198.51.100.0/24"])
        .with_path("--ban-file", &desk.path("bans"))
        .start();
    let bans = || fs::read_to_string(desk.path("bans")).unwrap();

    let said = desk.done(["ban", "add", "203.0.113.0/24"]);
    assert!(said.contains("until the next restart or reload"), "{said}");
    assert_eq!(bans(), "# ours\n192.0.2.1\n");
    let said = desk.done(["ban", "add", "--persist", "203.0.113.0/24", "192.0.2.2"]);
    assert!(
        said.contains("203.0.113.0/24: banned already") && said.contains("written to "),
        "{said}"
    );
    assert_eq!(bans(), "# ours\n192.0.2.1\n203.0.113.0/24\n192.0.2.2/32\n");
    desk.done(["ban", "remove", "--persist", "192.0.2.1"]);
    assert_eq!(bans(), "# ours\n203.0.113.0/24\n192.0.2.2/32\n");
    let said = desk.done(["ban", "remove", "198.51.100.0/24"]);
    assert!(said.contains("is back with the next restart or reload"), "{said}");

    // Superseded by a reload, which says so.
    desk.done(["ban", "add", "192.0.2.9"]);
    let said = desk.done(["reload"]);
    assert!(said.contains("192.0.2.9/32 are banned no longer"), "{said}");
    assert!(said.contains("198.51.100.0/24 are banned again"), "{said}");
    let list = desk.done(["ban", "list", "--json"]);
    let listed: Vec<String> = list
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["prefix"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(listed, ["198.51.100.0/24", "203.0.113.0/24", "192.0.2.2/32"]);

    for (wrong, code, why) in [
        (
            ["ban", "remove", "192.0.2.200"],
            1,
            "192.0.2.200/32 is not banned",
        ),
        (["ban", "add", "192.0.2.1/24"], 2, "has host bits set"),
    ] {
        let refused = desk.ask(wrong);
        assert_eq!(refused.code(), Some(code), "{refused:?}");
        assert!(refused.stderr[0].contains(why), "{refused:?}");
    }
    let many: Vec<String> = (0..2000).map(|n| format!("2001:db8::{n:x}")).collect();
    let refused = desk.ask(["ban", "add"].into_iter().chain(many.iter().map(String::as_str)));
    assert_eq!(refused.code(), Some(1));
    assert!(refused.stderr[0].contains("restart tcpwatch"), "{refused:?}");
    watch.stop().books();

    // Without a ban file there is nothing to keep it in.
    let watch = desk.watch(["--interval", "1h"]);
    let refused = desk.ask(["ban", "add", "--persist", "192.0.2.1"]);
    assert!(
        refused.code() == Some(1) && refused.stderr[0].contains("configure one"),
        "{refused:?}"
    );
    assert_eq!(desk.done(["ban", "list"]), "nothing is banned");
    let refused = desk.ask(["reload"]);
    assert!(
        refused.stderr[0].contains("without --config and --ban-file"),
        "{refused:?}"
    );
    watch.stop().books();
}

#[test]
fn a_reload_puts_in_force_what_it_can_and_a_bad_file_changes_nothing() {
    let desk = Desk::new();
    let options = |rest: &str| {
        let bans = desk.path("bans");
        desk.write(
            "config.toml",
            &format!("ban-file = {:?}\n{rest}", bans.to_str().unwrap()),
        );
    };
    desk.write("bans", "192.0.2.1\n");
    options("interval = \"1h\"\n");
    let mut watch = desk
        .invocation([])
        .with_path("--config", &desk.path("config.toml"))
        .start();
    let mut udp = desk.lab.udp_v4();
    udp.send_times(address("192.0.2.1"), 10, 3);
    udp.send_times(address("203.0.113.1"), 10, 5);

    desk.write("bans", "192.0.2.1\n203.0.113.0/24\n192.0.2.1.1\n");
    let bad = desk.ask(["reload"]);
    assert_eq!(bad.code(), Some(1));
    assert!(bad.stderr[0].contains("bans:3: "), "{bad:?}");
    assert_eq!(desk.status()["bans"], 1);

    desk.write("bans", "203.0.113.0/24\n");
    options("interval = \"200ms\"\nspill = 1000\n");
    let said = desk.done(["reload"]);
    for line in [
        "bans: 1 added, 1 removed, 1 now",
        "interval: 0.2s, was 3600s",
        "changed but takes effect with the next start: spill",
    ] {
        assert!(said.contains(line), "{said}");
    }
    udp.send_times(address("192.0.2.1"), 10, 7);
    udp.send_times(address("203.0.113.1"), 10, 11);
    watch.wait_for_records(2);

    // SIGHUP does the same, and no longer ends it.
    desk.write("bans", "");
    watch.signal(libc::SIGHUP);
    wait::until("the reload is said", || {
        watch.stderr_lines().iter().any(|line| line.contains("reloaded "))
    });
    assert_eq!(desk.status()["bans"], 0);
    options("intervall = 1\n");
    watch.signal(libc::SIGHUP);
    wait::until("the refusal is said", || {
        watch.stderr_lines().iter().any(|line| {
            line.contains("not reloaded, nothing is changed: ") && line.contains("did you mean \"interval\"?")
        })
    });
    let sick = desk.ask(["status"]);
    assert!(
        sick.code() == Some(1)
            && sick
                .stdout
                .join("\n")
                .contains("the last error was: not reloaded")
    );
    assert!(watch.is_running());
    let records = watch.stop().books();
    assert_eq!(by_ban(&records)["192.0.2.1/32"].packets, 3);
    assert_eq!(to(&records, "192.0.2.1").packets, 7);
    assert_eq!(to(&records, "203.0.113.1").packets, 5);
    assert_eq!(by_ban(&records)["203.0.113.0/24"].packets, 11);
}

#[test]
fn a_socket_of_a_live_one_is_left_alone_and_that_of_a_dead_one_taken_over() {
    let desk = Desk::new();
    let watch = desk.watch(["--interval", "1h"]);
    let second = desk.invocation(["--interval", "1h"]).finish();
    assert_eq!(second.code(), Some(2));
    let said = second.stderr.last().unwrap();
    assert!(
        said.starts_with("tcpwatch: another tcpwatch answers on ")
            && said.ends_with("choose another --control"),
        "{said}"
    );
    desk.status();
    watch.kill();
    assert!(desk.path("run/control.sock").exists());
    let watch = desk.watch(["--interval", "1h"]);
    assert_eq!(desk.status()["pid"], watch.pid());
    watch.stop().books();
}

#[test]
fn clients_that_mean_no_good_hold_up_no_record() {
    let desk = Desk::new();
    let watch = desk.watch(["--interval", "200ms"]);
    let silent: Vec<UnixStream> = (0..30).map(|_| desk.connect()).collect();
    let start = Instant::now();
    watch.wait_for_records(10);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    // Their turn is over after some seconds each, eight at a time.
    desk.status();
    drop(silent);

    let hostile: [&[u8]; 4] = [
        b"\x00\xff garbage\n",
        &vec![b'['; 1 << 20],
        b"{\"protocol\":9,\"request\":\"status\"}\n",
        b"{\"protocol\":1,\"request\":\"stop\"}\n",
    ];
    for (what, why) in hostile.into_iter().zip([
        "this is no request",
        "bytes at most",
        "this is another protocol",
        "no such request",
    ]) {
        let mut client = desk.connect();
        // It may be let go in the middle.
        client.write_all(what).unwrap_or_default();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap_or_default();
        assert!(answer.contains(why), "{answer}");
    }
    // One that asks for a drain again and again, and one that takes no answer.
    let until = Instant::now() + Duration::from_secs(3);
    let before = watch.records().len();
    let mut unread = desk.connect();
    unread
        .write_all(b"{\"protocol\":1,\"request\":\"ban-list\"}\n")
        .unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while Instant::now() < until {
                    let mut client = desk.connect();
                    client
                        .write_all(b"{\"protocol\":1,\"request\":\"ban-list\"}\n")
                        .unwrap();
                    let mut answer = String::new();
                    client.read_to_string(&mut answer).unwrap();
                    assert_eq!(answer, "{\"protocol\":1,\"bans\":[]}\n");
                }
            });
        }
    });
    let records = watch.records().len() - before;
    assert!(records >= 10, "{records} records of 200 ms in 3 s");
    watch.stop().books();
}
