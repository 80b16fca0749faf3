//! What goes wrong before anything is attached: exit status 2, one line that names the thing and the cure, and nothing
//! left on the interface.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tcpwatch_tests::daemon::Ended;
use tcpwatch_tests::hook;
use tcpwatch_tests::invocation::{Invocation, binary};
use tcpwatch_tests::lab::Lab;
use tcpwatch_tests::namespace::Namespace;
use tcpwatch_tests::places;
use tcpwatch_tests::records::to;

/// Checks the form of a refusal: status 2, nothing on standard output, one line that begins with the program's name and
/// has all of `words`.
#[track_caller]
fn assert_refused(ended: &Ended, words: &[&str]) {
    assert_eq!(ended.code(), Some(2), "{ended:#?}");
    assert_eq!(ended.stdout, [] as [&str; 0]);
    // A warning about something else may come before it.
    let lines: Vec<_> = ended
        .stderr
        .iter()
        .filter(|line| !line.trim_start().starts_with("WARN"))
        .collect();
    assert_eq!(lines.len(), 1, "{ended:#?}");
    assert!(lines[0].starts_with("tcpwatch: "), "{}", lines[0]);
    for word in words {
        assert!(lines[0].contains(word), "{word:?} is not in: {}", lines[0]);
    }
}

/// The same for what clap says, which may add how it is used.
#[track_caller]
fn assert_wrong_usage(ended: &Ended, words: &[&str]) {
    assert_eq!(ended.code(), Some(2), "{ended:#?}");
    assert_eq!(ended.stdout, [] as [&str; 0]);
    assert!(ended.stderr[0].starts_with("error: "), "{ended:#?}");
    for word in words {
        assert!(
            ended.stderr.join("\n").contains(word),
            "{word:?} is not in: {ended:#?}"
        );
    }
}

#[track_caller]
fn refused(lab: &Lab, arguments: &[&str], words: &[&str]) {
    let ended = lab.tcpwatch(["run"]).with(arguments.iter().copied()).finish();
    assert_refused(&ended, words);
    hook::assert_bare(&lab.near, "eth0");
    assert!(!hook::has_clsact(&lab.near, "eth0"));
}

#[test]
fn names_an_interface_that_is_not_there_and_those_that_are() {
    refused(&Lab::new(), &["-i", "eth7"], &["eth7", "eth0", "lo"]);
}

#[test]
fn one_wrong_name_among_right_ones_attaches_nothing() {
    refused(&Lab::new(), &["-i", "eth0", "eth7"], &["eth7"]);
}

#[test]
fn names_an_interface_without_addresses_and_the_cure() {
    let lab = Lab::new();
    lab.near.ip("link add bare0 type veth peer name bare1");
    lab.near.sysctl("net.ipv6.conf.bare0.disable_ipv6", 1);
    lab.near.ip("link set bare0 up");
    let ended = lab.tcpwatch(["run", "-i", "bare0"]).finish();
    assert_refused(&ended, &["bare0", "address", "--source any"]);
    hook::assert_bare(&lab.near, "bare0");
}

#[test]
fn says_that_there_is_no_default_route_and_how_to_name_an_interface() {
    let namespace = Namespace::new("a");
    namespace.ip("link add one type veth peer name two");
    assert_refused(
        &Invocation::new(&namespace, ["run"]).finish(),
        &["default route", "-i", "one", "two"],
    );
}

#[test]
fn says_when_no_interface_is_up() {
    let namespace = Namespace::new("a");
    namespace.ip("link add one type veth peer name two");
    assert_refused(
        &Invocation::new(&namespace, ["run", "-i", "all"]).finish(),
        &["up", "one", "two"],
    );
}

#[test]
fn quotes_prefixes_that_are_none() {
    let lab = Lab::new();
    refused(
        &lab,
        &["--ban", "203.0.113.0/33"],
        &["--ban", "203.0.113.0/33", "203.0.113.0/24"],
    );
    refused(&lab, &["--ban", "example.com"], &["--ban", "example.com"]);
    refused(
        &lab,
        &["--ban", "203.0.113.0/24", "2001:db8::/129"],
        &["2001:db8::/129"],
    );
    refused(&lab, &["--ban", ""], &["--ban"]);
}

#[test]
fn offers_both_meanings_of_a_prefix_with_host_bits() {
    let lab = Lab::new();
    refused(
        &lab,
        &["--ban", "203.0.113.7/24"],
        &["203.0.113.7/24", "host bits", "203.0.113.0/24"],
    );
    refused(
        &lab,
        &["--ban", "2001:db8::7/32"],
        &["2001:db8::7/32", "host bits", "2001:db8::/32"],
    );
}

#[test]
fn names_file_and_line_of_a_bad_ban() {
    let lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    let text = "# relays\n203.0.113.0/24\n\nrelay.example.com\n";
    let file = places::write(directory.path(), "relays.txt", text.as_bytes());
    let refuse = |file: &Path, words: &[&str]| {
        assert_refused(
            &lab.tcpwatch(["run"]).with_path("--ban-file", file).finish(),
            words,
        );
        hook::assert_bare(&lab.near, "eth0");
    };
    refuse(&file, &["relays.txt:4", "relay.example.com"]);
    fs::write(&file, "203.0.113.0/24\n203.0.113.9/24 # a comment\n").unwrap();
    refuse(&file, &["relays.txt:2", "203.0.113.9/24", "host bits"]);
    refuse(
        &directory.path().join("missing.txt"),
        &["missing.txt", "No such file"],
    );
    refuse(directory.path(), &[directory.path().to_str().unwrap()]);
    fs::write(&file, b"203.0.113.0/24\n\xff\xfe\n").unwrap();
    refuse(&file, &["relays.txt"]);
}

#[test]
fn says_what_an_interval_may_be() {
    let lab = Lab::new();
    for interval in ["0", "0s", "50ms", "99ms", "25h", "1000000h"] {
        refused(&lab, &["--interval", interval], &["--interval", interval]);
    }
    for interval in ["50ms", "25h"] {
        refused(&lab, &["--interval", interval], &["100ms", "24h"]);
    }
    for interval in ["abc", "", "20", "20 parsecs"] {
        refused(&lab, &["--interval", interval], &["--interval", interval, "20s"]);
    }
    // A value that begins with a minus must not be taken for an option's name without a word.
    let ended = lab.tcpwatch(["run", "--interval=-5s"]).finish();
    assert_refused(&ended, &["--interval", "-5s"]);
}

#[test]
fn says_what_a_source_may_be() {
    let lab = Lab::new();
    refused(
        &lab,
        &["--source", "somewhere"],
        &["--source", "somewhere", "auto", "any"],
    );
    refused(&lab, &["--source", "any", "198.18.0.1"], &["--source any"]);
}

#[test]
fn says_what_capacities_and_counts_may_be() {
    let lab = Lab::new();
    refused(&lab, &["--spill", "0"], &["--spill", "1"]);
    refused(&lab, &["--spill", "4294967295"], &["--spill"]);
    refused(&lab, &["--intervals", "0"], &["--intervals", "1"]);
}

#[test]
fn names_place_databases_that_cannot_be_used_and_why() {
    let lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    let whole = places::mmdb("Tiny-Country");
    let file = |name: &str, bytes: &[u8]| places::write(directory.path(), name, bytes);
    let noise: Vec<u8> = (0..10_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let mut flipped = whole.clone();
    // The metadata says how many nodes there are; the tree then ends elsewhere.
    flipped.drain(..whole.len() / 3);
    let cases: [(PathBuf, &[&str]); 8] = [
        (file("noise.mmdb", &noise), &["noise.mmdb"]),
        (file("cut.mmdb", &whole[..whole.len() / 2]), &["cut.mmdb"]),
        (file("tail.mmdb", &flipped), &["tail.mmdb"]),
        (file("empty.mmdb", &[]), &["empty.mmdb", "empty"]),
        (
            file("domains.mmdb", &places::mmdb("Tiny-Domain")),
            &["domains.mmdb", "Tiny-Domain", "Country"],
        ),
        (
            file("packed.mmdb", &[0x1f, 0x8b, 8, 0, 0, 0]),
            &["packed.mmdb", "compressed"],
        ),
        (
            directory.path().join("missing.mmdb"),
            &["missing.mmdb", "check the path"],
        ),
        (directory.path().to_owned(), &["directory"]),
    ];
    for (path, words) in cases {
        assert_refused(&lab.tcpwatch(["run"]).with_path("--geo", &path).finish(), words);
        hook::assert_bare(&lab.near, "eth0");
    }
    // A good one first does not make a bad one good.
    let good = places::write_countries(directory.path());
    let bad = directory.path().join("noise.mmdb");
    let ended = lab
        .tcpwatch(["run"])
        .with_path("--geo", &good)
        .with_path("--geo", &bad)
        .finish();
    assert_refused(&ended, &["noise.mmdb"]);
}

#[test]
fn names_a_record_file_that_cannot_be_written() {
    let lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    let geo = places::write_countries(directory.path());
    let pipe = directory.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for (path, reason) in [
        (
            directory.path().join("no/such/directory/records.jsonl"),
            "No such file",
        ),
        (geo.join("records.jsonl"), "Not a directory"),
        (directory.path().to_owned(), "directory"),
        (pipe, "pipe"),
    ] {
        let ended = lab
            .tcpwatch(["run"])
            .with_path("--geo", &geo)
            .with_path("--record", &path)
            .finish();
        assert_refused(&ended, &[path.to_str().unwrap(), reason]);
        hook::assert_bare(&lab.near, "eth0");
    }
}

#[test]
fn names_an_option_that_it_does_not_have() {
    let lab = Lab::new();
    assert_wrong_usage(
        &lab.tcpwatch(["run", "--intervall", "1s"]).finish(),
        &["--intervall", "--interval"],
    );
    assert_wrong_usage(
        &lab.tcpwatch(["run", "--format", "xml"]).finish(),
        &["xml", "json"],
    );
    assert_wrong_usage(
        &lab.tcpwatch(["run", "--attach", "xdp"]).finish(),
        &["xdp", "tcx", "clsact"],
    );
    assert_wrong_usage(&lab.tcpwatch(["walk"]).finish(), &["walk"]);
    assert_wrong_usage(
        &lab.tcpwatch(["run", "--spill", "many"]).finish(),
        &["--spill", "many"],
    );
    hook::assert_bare(&lab.near, "eth0");
}

#[test]
fn says_that_the_kernel_is_too_old() {
    let lab = Lab::new();
    let wrapper = format!("setarch {} --uname-2.6", std::env::consts::ARCH);
    let ended = lab.tcpwatch(["run"]).under(&wrapper).finish();
    assert_refused(&ended, &["Linux 2.6.", "5.15", "update the kernel"]);
    hook::assert_bare(&lab.near, "eth0");
}

/// A copy of the program that any user may execute, wherever the repository is.
fn public_copy(directory: &Path) -> PathBuf {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    let copy = directory.join("tcpwatch");
    fs::copy(binary(), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    copy
}

/// What runs a program as the user nobody with exactly these capabilities, such as `+bpf`.
fn nobody_with(capabilities: &[&str]) -> String {
    let set: String = capabilities
        .iter()
        .map(|capability| format!(",+{capability}"))
        .collect();
    format!(
        "setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all{set} --ambient-caps=-all{set} \
         --bounding-set=-all{set} --"
    )
}

#[test]
fn names_the_capabilities_that_are_missing() {
    let lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    let copy = public_copy(directory.path());
    let run = |capabilities: &[&str]| {
        lab.tcpwatch(["run"])
            .copy_at(&copy)
            .under(&nobody_with(capabilities))
            .finish()
    };
    assert_refused(
        &run(&[]),
        &[
            "CAP_BPF",
            "CAP_NET_ADMIN",
            "root",
            "setcap",
            copy.to_str().unwrap(),
        ],
    );

    let only_bpf = run(&["bpf"]);
    assert_refused(&only_bpf, &["missing CAP_NET_ADMIN:"]);
    let only_net_admin = run(&["net_admin"]);
    assert_refused(&only_net_admin, &["missing CAP_BPF:"]);
    hook::assert_bare(&lab.near, "eth0");
}

#[test]
fn works_for_any_user_with_exactly_two_capabilities() {
    let lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    let copy = public_copy(directory.path());
    for attach in ["tcx", "clsact"] {
        let watch = lab
            .tcpwatch([
                "run",
                "--format",
                "json",
                "--interval",
                "1h",
                "--attach",
                attach,
                "--ban",
                "203.0.113.0/24",
            ])
            .copy_at(&copy)
            .under(&nobody_with(&["bpf", "net_admin"]))
            .start();
        let mut socket = lab.udp_v4();
        socket.send_times("192.0.2.1".parse().unwrap(), 100, 10);
        socket.send_times("203.0.113.1".parse().unwrap(), 100, 20);
        let records = watch.stop().books();
        assert_eq!(to(&records, "192.0.2.1").packets, 10, "{attach}");
        assert_eq!(records[0].totals.banned.packets, 20, "{attach}");
        hook::assert_bare(&lab.near, "eth0");
    }
}
