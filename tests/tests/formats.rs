//! What standard output shows in each format, of real traffic.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::process::Stdio;
use std::time::Duration;

use tcpwatch_tests::daemon::{Ended, Tcpwatch};
use tcpwatch_tests::lab::{Lab, NEAR_V4, NEAR_V6};
use tcpwatch_tests::pty::Terminal;
use tcpwatch_tests::{places, wait};

/// Runs the program in `format` over known traffic: four destinations, and one that is banned.
fn run(lab: &Lab, format: &str, environment: &[(&str, &str)]) -> Ended {
    let directory = tempfile::tempdir().unwrap();
    let geo = places::write_countries(directory.path());
    // Nothing but the test sends anything then; IPv6 destinations have a test of their own.
    lab.near.sysctl("net.ipv6.conf.all.disable_ipv6", 1);
    let mut invocation = lab
        .tcpwatch([
            "run",
            "--format",
            format,
            "--interval",
            "20s",
            "--ban",
            "203.0.113.0/24",
        ])
        .with_path("--geo", &geo);
    for (name, value) in environment {
        invocation = invocation.env(name, value);
    }
    let watch = invocation.start();
    send(lab);
    watch.stop()
}

fn send(lab: &Lab) {
    let mut socket = lab.udp_v4();
    for (destination, packets) in [
        ("198.51.100.2", 40),
        ("192.0.2.1", 1234),
        ("198.19.0.1", 7),
        ("203.0.113.1", 9),
        ("198.51.100.1", 40),
    ] {
        socket.send_times(destination.parse().unwrap(), 100, packets);
    }
}

#[test]
fn json_has_the_schema_the_order_and_null_for_what_is_unknown() {
    let records = run(&Lab::new(), "json", &[]).books();
    assert_eq!(records.len(), 1);
    let record = &records[0];
    assert!(record.partial);
    assert_eq!(record.drains, 1);
    assert_eq!(record.skbs, 1330);
    let shown: Vec<_> = record
        .destinations
        .iter()
        .map(|of| (of.address.to_string(), of.packets, of.bytes))
        .collect();
    assert_eq!(
        shown,
        [
            ("192.0.2.1".to_owned(), 1234, 1234 * 142),
            ("198.51.100.1".to_owned(), 40, 40 * 142),
            ("198.51.100.2".to_owned(), 40, 40 * 142),
            ("198.19.0.1".to_owned(), 7, 7 * 142),
        ]
    );
    let scopes: Vec<_> = record.destinations.iter().map(|of| of.scope.as_str()).collect();
    assert_eq!(
        scopes,
        ["documentation", "documentation", "documentation", "benchmarking"]
    );
    for of in &record.destinations {
        assert_eq!(of.source, Some(NEAR_V4.parse().unwrap()));
        assert_eq!(of.interface, "eth0");
        // No database decides over an address that is not a public one.
        for unknown in [
            &of.country,
            &of.country_name,
            &of.city,
            &of.asn,
            &of.network,
            &of.anycast,
            &of.names,
            &of.names_from,
            &of.name_connections,
        ] {
            assert!(unknown.is_null(), "{of:?}");
        }
        // Datagrams that are no Initials open nothing.
        assert_eq!(
            (&of.tcp_connections, &of.quic_connections),
            (&0.into(), &0.into())
        );
    }
    assert_eq!(record.banned.len(), 1);
    assert_eq!(
        (record.banned[0].prefix.as_str(), record.banned[0].packets),
        ("203.0.113.0/24", 9)
    );
    assert_eq!(record.geo.len(), 1);
    assert!(record.geo[0].file.ends_with("/countries.mmdb"));
    assert_eq!(
        (record.geo[0].kind.as_str(), record.geo[0].built.as_str()),
        ("Tiny-Country", places::BUILT)
    );
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(record.host, host.trim());
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert_eq!(record.boot_id, boot.trim());
    for time in [&record.start, &record.end] {
        // 2026-01-02T03:04:00.000Z
        assert_eq!(time.len(), 24, "{time}");
        assert!(time.ends_with('Z'), "{time}");
    }
}

#[test]
fn json_gives_scopes_and_addresses_of_ipv6() {
    let lab = Lab::new();
    let watch = lab.watch(["--interval", "1h"]);
    lab.udp_v6().send("2001:db8:1::1".parse().unwrap(), 100);
    let records = watch.stop().books();
    let wanted: std::net::IpAddr = "2001:db8:1::1".parse().unwrap();
    let of = records[0]
        .destinations
        .iter()
        .find(|of| of.address == wanted)
        .unwrap();
    assert_eq!(
        (of.packets, of.bytes, of.scope.as_str()),
        (1, 162, "documentation")
    );
    assert_eq!(of.source, Some(NEAR_V6.parse().unwrap()));
}

#[test]
fn classic_is_the_scripts_text() {
    let ended = run(&Lab::new(), "classic", &[]);
    assert_eq!(ended.code(), Some(0));
    assert_eq!(
        ended.stdout[..5],
        [
            "=== fetch info in 20s ===",
            "1234 : IP Address not found",
            "40 : IP Address not found",
            "40 : IP Address not found",
            "7 : IP Address not found",
        ]
    );
    assert_eq!(ended.stdout.len(), 6);
    let last = &ended.stdout[5];
    let date = last
        .strip_prefix("=== end of ")
        .and_then(|rest| rest.strip_suffix(" ==="))
        .unwrap();
    // Fri Jan  2 03:04:20 UTC 2026
    let words: Vec<&str> = date.split_whitespace().collect();
    assert_eq!(words.len(), 6, "{last}");
    assert_eq!(date.len(), 28, "{last}");
    assert_eq!(words[4], "UTC", "{last}");
}

#[test]
fn csv_has_one_heading_and_a_row_for_every_number() {
    let ended = run(&Lab::new(), "csv", &[]);
    assert_eq!(ended.code(), Some(0));
    let rows: Vec<Vec<&str>> = ended
        .stdout
        .iter()
        .map(|line| line.split(',').collect())
        .collect();
    assert_eq!(
        ended.stdout[0],
        "row,start,end,seq,partial,name,source,interface,packets,bytes,scope,country,country_name,balanced,city,asn,network,\
         anycast,tcp_connections,quic_connections,names,names_from,name_connections"
    );
    assert!(rows.iter().all(|row| row.len() == 23), "{:#?}", ended.stdout);
    let short: Vec<String> = rows[1..]
        .iter()
        .map(|row| {
            format!("{} {} {} {} {}", row[0], row[5], row[8], row[9], row[10])
                .trim_end()
                .to_owned()
        })
        .collect();
    assert_eq!(
        short,
        [
            "total seen 1330 188860",
            "total counted 1321 187582",
            "total overflow 0 0",
            "total banned 9 1278",
            "total served 0 0",
            "total other_source 0 0",
            "total malformed 0 0",
            "total not_ip 0 0",
            "destination 192.0.2.1 1234 175228 documentation",
            "destination 198.51.100.1 40 5680 documentation",
            "destination 198.51.100.2 40 5680 documentation",
            "destination 198.19.0.1 7 994 benchmarking",
            "banned 203.0.113.0/24 9 1278",
        ]
    );
    assert!(
        rows[1..]
            .iter()
            .all(|row| row[3] == "1" && row[4] == "true" && row[13] == "true")
    );
}

#[track_caller]
fn assert_table(shown: &str) {
    for line in shown.lines() {
        assert!(
            line.chars().count() <= 80,
            "{} columns: {line}",
            line.chars().count()
        );
    }
    for word in [
        "192.0.2.1",
        "198.51.100.1",
        "203.0.113.0/24",
        "1,234",
        "1,330",
        "balanced",
    ] {
        assert!(shown.contains(word), "{word:?} is not in\n{shown}");
    }
    assert!(
        !shown.contains("NOT BALANCED") && !shown.contains("not balanced"),
        "{shown}"
    );
}

#[test]
fn the_table_fits_80_columns_and_has_no_colour_in_a_pipe() {
    let ended = run(&Lab::new(), "table", &[("TERM", "xterm-256color")]);
    assert_eq!(ended.code(), Some(0));
    let shown = ended.stdout.join("\n");
    assert_table(&shown);
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
}

/// Runs the program on a terminal and returns what that showed.
fn on_a_terminal(lab: &Lab, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    lab.near.sysctl("net.ipv6.conf.all.disable_ipv6", 1);
    let mut terminal = Terminal::open();
    let mut invocation = lab
        .tcpwatch(["run", "--interval", "20s", "--ban", "203.0.113.0/24"])
        .with(arguments.iter().copied())
        .env("TERM", "xterm-256color");
    for (name, value) in environment {
        invocation = invocation.env(name, value);
    }
    let mut command = invocation.command();
    command.stdout(terminal.program_side()).stderr(Stdio::piped());
    let mut watch = Tcpwatch::new(command.spawn());
    // The command keeps a copy of the terminal's side, and with it the terminal, open.
    drop(command);
    watch.wait_until_started();
    send(lab);
    watch.signal(libc::SIGTERM);
    let ended = watch.wait(Duration::from_secs(10));
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    wait::until("the terminal shows the record", || {
        terminal.shown().ends_with('\n')
    });
    terminal.shown()
}

#[test]
fn a_terminal_gets_the_table_in_colour() {
    let shown = on_a_terminal(&Lab::new(), &[], &[]);
    assert!(shown.contains("\u{1b}["), "{shown}");
    let plain = without_escapes(&shown);
    assert_table(&plain);
}

#[test]
fn a_terminal_gets_no_escape_codes_with_no_color() {
    let shown = on_a_terminal(&Lab::new(), &["--format", "table"], &[("NO_COLOR", "1")]);
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
    assert_table(&shown);
}

/// Removes select-graphic-rendition sequences, the only ones that the table may have.
fn without_escapes(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut plain = parts.next().unwrap().to_owned();
    for part in parts {
        let (code, rest) = part.split_once('m').unwrap();
        assert!(
            code.chars().all(|digit| digit.is_ascii_digit() || digit == ';'),
            "{code:?}"
        );
        plain.push_str(rest);
    }
    plain
}

#[test]
fn a_pipe_gets_json_where_nothing_is_said() {
    let lab = Lab::new();
    let watch = lab.tcpwatch(["run", "--interval", "1h"]).start();
    lab.udp_v4().send("192.0.2.1".parse().unwrap(), 100);
    assert_eq!(watch.stop().books().len(), 1);
}

#[test]
fn every_format_can_go_with_a_record_file() {
    let lab = Lab::new();
    for format in ["table", "classic", "csv", "json"] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("records.jsonl");
        let watch = lab
            .tcpwatch(["run", "--format", format, "--interval", "1h"])
            .with_path("--record", &path)
            .start();
        lab.udp_v4().send("192.0.2.1".parse().unwrap(), 100);
        let ended = watch.stop();
        assert_eq!(ended.code(), Some(0), "{format}: {ended:?}");
        assert!(!ended.stdout.is_empty(), "{format}");
        let text = std::fs::read_to_string(&path).unwrap();
        let records = tcpwatch_tests::records::parse(text.lines());
        assert_eq!(
            tcpwatch_tests::records::to(&records, "192.0.2.1").packets,
            1,
            "{format}"
        );
    }
}

#[test]
fn the_start_block_says_what_is_watched() {
    let lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    let geo = places::write_countries(directory.path());
    let path = directory.path().join("records.jsonl");
    let watch = lab
        .tcpwatch(["run", "--interval", "90s", "--ban", "203.0.113.0/24"])
        .with_path("--geo", &geo)
        .with_path("--record", &path)
        .start();
    let block = watch.stop().stderr.join("\n");
    for word in [
        "eth0",
        "tcx",
        NEAR_V4,
        NEAR_V6,
        "203.0.113.0/24",
        "1m 30s",
        "countries.mmdb",
        places::BUILT,
        "json",
        "records.jsonl",
    ] {
        assert!(block.contains(word), "{word:?} is not in\n{block}");
    }
}

#[test]
fn without_a_place_database_it_says_how_to_get_one_and_counts_on() {
    let lab = Lab::new();
    let watch = lab.watch(["--interval", "1h"]);
    lab.udp_v4().send("192.0.2.1".parse().unwrap(), 100);
    let ended = watch.stop();
    let records = ended.books();
    // This machine may have a database, for instance the one that the set-up makes.
    if records[0].geo.is_empty() {
        assert!(ended.stderr.join("\n").contains("--geo"), "{:#?}", ended.stderr);
    }
    assert_eq!(tcpwatch_tests::records::to(&records, "192.0.2.1").packets, 1);
}
