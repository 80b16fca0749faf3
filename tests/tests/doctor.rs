//! `tcpwatch doctor` and `tcpwatch selftest`: the real program in namespaces that lack what it needs and in one that has it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aya::programs::loaded_programs;
use serde_json::Value;
use tcpwatch_tests::bpffs::BpfFs;
use tcpwatch_tests::command;
use tcpwatch_tests::daemon::Ended;
use tcpwatch_tests::hook;
use tcpwatch_tests::invocation::{Invocation, binary};
use tcpwatch_tests::lab::Lab;
use tcpwatch_tests::namespace::Namespace;
use tcpwatch_tests::wait;

/// The check's findings, as verdict, words and cures.
#[track_caller]
fn findings(answer: &Value, check: &str) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    answer["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["check"] == check)
        .map(|finding| {
            let cures = finding["cures"].as_array().unwrap();
            (
                text(&finding["verdict"]),
                text(&finding["says"]),
                cures.iter().map(text).collect::<Vec<_>>().join("; "),
            )
        })
        .collect()
}

#[track_caller]
fn only(answer: &Value, check: &str) -> (String, String, String) {
    let mut found = findings(answer, check);
    assert_eq!(found.len(), 1, "{check}: {answer:#}");
    found.remove(0)
}

#[track_caller]
fn object(ended: &Ended) -> Value {
    assert_eq!(ended.stdout.len(), 1, "{ended:#?}");
    serde_json::from_str(&ended.stdout[0]).unwrap()
}

/// A copy of the program that every user may start.
fn public_copy(directory: &Path) -> PathBuf {
    let copy = directory.join("tcpwatch");
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    fs::copy(binary(), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    copy
}

const NOBODY: &str = "setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all --ambient-caps=-all --bounding-set=-all --";

#[test]
fn a_machine_that_has_all_that_is_needed_is_said_to() {
    let lab = Lab::new();
    lab.wait_until_quiet();
    let before = lab.near.run("cat /sys/class/net/eth0/statistics/tx_packets");
    let ended = lab.tcpwatch(["doctor", "--json"]).finish();
    assert_eq!(ended.code(), Some(0), "{ended:#?}");
    let answer = object(&ended);
    assert_eq!(answer["would_run"], true);
    assert_eq!(only(&answer, "rights").0, "ok");
    let (verdict, says, _) = only(&answer, "attach");
    assert!(verdict != "fail" && says.contains("(tried)"), "{says}");
    let (verdict, says, _) = only(&answer, "interface");
    assert_eq!(verdict, "ok");
    assert!(
        says.contains("eth0: veth, default route of IPv4 and IPv6, up: 198.18.0.1, 2001:db8:ffff::1"),
        "{says}"
    );
    assert_eq!(only(&answer, "hook").1, "eth0 egress: free");
    // What was tried was tried elsewhere, and nothing was sent.
    hook::assert_bare(&lab.near, "eth0");
    assert!(!hook::has_clsact(&lab.near, "eth0") && !hook::has_clsact(&lab.near, "lo"));
    let after = lab.near.run("cat /sys/class/net/eth0/statistics/tx_packets");
    assert_eq!(before, after);
}

#[test]
fn people_get_a_line_for_each_check_and_cures_under_what_is_amiss() {
    let lab = Lab::new();
    let ended = lab.tcpwatch(["doctor", "-i", "eth0", "eth7"]).finish();
    assert_eq!(ended.code(), Some(1), "{ended:#?}");
    assert_eq!(ended.stderr, [] as [&str; 0]);
    let at = ended
        .stdout
        .iter()
        .position(|line| line.starts_with("  FAIL  interface") && line.ends_with("no interface eth7"))
        .unwrap_or_else(|| panic!("{ended:#?}"));
    assert_eq!(ended.stdout[at + 1].trim(), "→ take one of eth0, lo");
    let mut before = "  OK";
    for line in &ended.stdout {
        let amiss = ["  WARN", "  FAIL"].iter().any(|word| before.starts_with(word));
        assert!(!amiss || line.trim_start().starts_with('→'), "{ended:#?}");
        before = line;
    }
    assert!(
        ended
            .stdout
            .last()
            .unwrap()
            .starts_with("tcpwatch run would NOT work here"),
        "{ended:#?}"
    );
}

#[test]
fn a_namespace_with_nothing_in_it_has_no_route() {
    let namespace = Namespace::new("a");
    let ended = Invocation::new(&namespace, ["doctor", "--json"]).finish();
    assert_eq!(ended.code(), Some(1), "{ended:#?}");
    let (verdict, says, cures) = only(&object(&ended), "interface");
    assert_eq!((&*verdict, &*says), ("fail", "no default route"));
    assert!(cures.contains("--interface") && cures.contains("lo"), "{cures}");
}

#[test]
fn without_rights_it_says_how_to_get_them_and_looks_at_the_rest() {
    let lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    let copy = public_copy(directory.path());
    let nobody = |arguments: &[&'static str]| {
        lab.tcpwatch(arguments.iter().copied())
            .copy_at(&copy)
            .under(NOBODY)
            .finish()
    };
    let ended = nobody(&["doctor", "--json"]);
    assert_eq!(ended.code(), Some(1), "{ended:#?}");
    let answer = object(&ended);
    let (verdict, says, cures) = only(&answer, "rights");
    assert_eq!((&*verdict, &*says), ("fail", "CAP_BPF and CAP_NET_ADMIN missing"));
    for word in ["sudo", "setpriv", "setcap", copy.to_str().unwrap()] {
        assert!(cures.contains(word), "{word}: {cures}");
    }
    let (verdict, says, _) = only(&answer, "attach");
    assert!(verdict == "note" && says.contains("not tried"), "{says}");
    assert_eq!(only(&answer, "interface").0, "ok");

    let ended = nobody(&["selftest"]);
    assert_eq!(ended.code(), Some(2), "{ended:#?}");
    assert_eq!(ended.stdout, [] as [&str; 0]);
    assert!(
        ended.stderr[0].starts_with("tcpwatch: missing CAP_BPF"),
        "{ended:#?}"
    );
}

#[test]
fn with_two_rights_it_would_run_and_tries_what_it_may() {
    let lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    let copy = public_copy(directory.path());
    let two = "setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all,+bpf,+net_admin \
               --ambient-caps=-all,+bpf,+net_admin --bounding-set=-all,+bpf,+net_admin --";
    let as_two = |arguments: &[&'static str]| {
        lab.tcpwatch(arguments.iter().copied())
            .copy_at(&copy)
            .under(two)
            .finish()
    };
    let ended = as_two(&["doctor", "--json"]);
    assert_eq!(ended.code(), Some(0), "{ended:#?}");
    let (verdict, says, _) = only(&object(&ended), "attach");
    assert!(verdict == "note" && says.contains("CAP_SYS_ADMIN"), "{says}");
    let ended = as_two(&["selftest"]);
    assert_eq!(ended.code(), Some(2), "{ended:#?}");
    assert!(
        ended.stderr[0].contains("CAP_SYS_ADMIN") && ended.stderr[0].contains("sudo"),
        "{ended:#?}"
    );
}

#[test]
fn a_configuration_is_judged_as_a_run_would_have_it() {
    let lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    let judged = |text: &str| {
        fs::write(&file, text).unwrap();
        lab.tcpwatch(["doctor", "--json"])
            .with_path("--config", &file)
            .finish()
    };
    let ended =
        judged("interface = [\"eth0\"]\nattach = \"clsact\"\nrecord = \"/nonexistent/records.jsonl\"\n");
    assert_eq!(ended.code(), Some(1), "{ended:#?}");
    let answer = object(&ended);
    assert_eq!(only(&answer, "file").0, "ok");
    let (verdict, _, cures) = only(&answer, "record file");
    assert_eq!(verdict, "fail");
    assert!(cures.contains("mkdir -p /nonexistent"), "{cures}");
    assert_eq!(only(&answer, "attach").1, "clsact works (tried)");

    let ended = judged("intervall = \"20s\"\n");
    assert_eq!(ended.code(), Some(1), "{ended:#?}");
    let (verdict, says, _) = only(&object(&ended), "file");
    assert!(verdict == "fail" && says.contains("intervall"), "{says}");
}

#[test]
fn others_on_the_hook_are_named_and_so_is_a_tcpwatch() {
    let lab = Lab::new();
    let watch = lab
        .tcpwatch(["run", "--interval", "1h", "--format", "json"])
        .start();
    let ended = lab.tcpwatch(["doctor", "--json"]).finish();
    assert_eq!(ended.code(), Some(0), "{ended:#?}");
    let (_, says, _) = only(&object(&ended), "hook");
    assert!(says.contains("tcpwatch_l2"), "{says}");
    watch.stop();
}

#[test]
fn one_that_runs_already_is_not_disturbed() {
    let lab = Lab::new();
    for attach in ["tcx", "clsact"] {
        let watch = lab
            .tcpwatch(["run", "--interval", "1h", "--format", "json", "--attach", attach])
            .start();
        lab.udp_v4().send_times("192.0.2.1".parse().unwrap(), 100, 10);
        assert_eq!(lab.tcpwatch(["doctor"]).finish().code(), Some(0));
        assert_eq!(lab.tcpwatch(["selftest"]).finish().code(), Some(0));
        lab.udp_v4().send_times("192.0.2.1".parse().unwrap(), 100, 10);
        let books = watch.stop().books();
        let counted: u64 = books.iter().map(|record| record.totals.counted.packets).sum();
        assert_eq!(counted, 20, "{attach}");
    }
}

#[test]
fn what_a_killed_tcpwatch_left_pinned_is_told_from_what_a_living_one_has() {
    let lab = Lab::new();
    let (bpffs, runtime) = (BpfFs::mount(), tempfile::tempdir().unwrap());
    let pin = bpffs.path().join("tcpwatch");
    let file = runtime.path().join("config.toml");
    fs::write(
        &file,
        format!(
            "pin = {pin:?}\nruntime = {:?}\ncontrol = \"none\"\n",
            runtime.path()
        ),
    )
    .unwrap();
    let doctor = || {
        let ended = lab
            .tcpwatch(["doctor", "--json"])
            .with_path("--config", &file)
            .finish();
        assert_eq!(ended.code(), Some(0), "{ended:#?}");
        object(&ended)
    };
    assert_eq!(only(&doctor(), "bpffs").0, "ok");
    assert!(findings(&doctor(), "pins").is_empty());
    let watch = lab
        .tcpwatch(["run", "--interval", "1h", "--format", "json"])
        .with_path("--config", &file)
        .start();
    assert_eq!(only(&doctor(), "pins").0, "ok");
    watch.kill();
    let (verdict, says, cures) = only(&doctor(), "pins");
    assert!(
        verdict == "warn" && says.contains(pin.to_str().unwrap()),
        "{says}"
    );
    let cure = format!("tcpwatch detach --pin {}", pin.display());
    assert!(cures.contains(&cure), "{cures}");
    let ended = lab
        .tcpwatch(["detach"])
        .with_path("--pin", &pin)
        .with_path("--runtime", runtime.path())
        .finish();
    assert_eq!(ended.code(), Some(0), "{ended:#?}");
    assert!(findings(&doctor(), "pins").is_empty());
}

/// What a selftest could leave outside: interfaces, namespaces with a name, pins.
fn traces() -> [BTreeSet<String>; 3] {
    let links = command::run("ip -o link show");
    let links = links.lines().filter_map(|line| line.split(": ").nth(1));
    let names = command::run("ip netns list");
    // Those of other tests come and go.
    let names = names.lines().filter(|name| !name.starts_with("tw-"));
    let pins = fs::read_dir("/sys/fs/bpf").into_iter().flatten().flatten();
    [
        links.map(str::to_owned).collect(),
        names.map(str::to_owned).collect(),
        pins.map(|entry| entry.path().display().to_string()).collect(),
    ]
}

/// Loaded programs of ours that are not in `known`.
fn new_programs(known: &BTreeSet<u32>) -> BTreeSet<u32> {
    loaded_programs()
        .filter_map(Result::ok)
        .filter(|info| {
            info.name_as_str()
                .is_some_and(|name| name.starts_with("tcpwatch_"))
        })
        .map(|info| info.id())
        .filter(|id| !known.contains(id))
        .collect()
}

#[test]
fn the_selftest_passes_quickly_and_leaves_nothing_behind() {
    let namespace = Namespace::new("a");
    let before = traces();
    let known = new_programs(&BTreeSet::new());
    let begin = Instant::now();
    let ended = Invocation::new(&namespace, ["selftest", "--json"]).finish();
    let took = begin.elapsed();
    assert_eq!(ended.code(), Some(0), "{ended:#?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    let answer = object(&ended);
    assert_eq!(answer["passed"], true);
    assert_eq!(answer["left_behind"], serde_json::json!([]));
    let parts = answer["parts"].as_array().unwrap();
    assert!(!parts.is_empty());
    for part in parts {
        let rows = part["rows"].as_array().unwrap();
        let row = |what: &str| rows.iter().find(|row| row["what"] == what).unwrap();
        // 44 packets of one buffer, each with its headers: 44 × (14 + 20 + 8 + 1400).
        assert_eq!(
            row("GSO burst")["counted"],
            serde_json::json!({"packets": 44, "bytes": 63_448, "tcp_connections": 0})
        );
        assert_eq!(row("GSO burst")["arrived"], 44);
        assert_eq!(row("TCP connections")["counted"]["tcp_connections"], 10);
        assert_eq!(row("banned")["outcome"], "banned");
        assert_eq!(row("banned")["counted"]["packets"], 7);
        assert_eq!(part["balanced"], true);
    }
    assert_eq!(traces(), before);
    assert_eq!(namespace.ip("-o link show").lines().count(), 1);
    wait::until("its programs are gone", || new_programs(&known).is_empty());
}

#[test]
fn the_selftest_finds_a_packet_that_is_missing() {
    let namespace = Namespace::new("a");
    let ended = Invocation::new(&namespace, ["selftest", "--fault"]).finish();
    assert_eq!(ended.code(), Some(1), "{ended:#?}");
    assert!(
        ended.stdout.iter().any(|line| line.ends_with("WRONG")),
        "{ended:#?}"
    );
    assert!(ended.stdout.last().unwrap().starts_with("FAILED"), "{ended:#?}");
}
