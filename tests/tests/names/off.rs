//! Without names nothing is read and nothing stands at the door; with them nothing stays there.

use std::fs;

use tcpwatch_tests::daemon::Tcpwatch;
use tcpwatch_tests::hook;
use tcpwatch_tests::named::names_of;
use tcpwatch_tests::names_lab::dns::{Kind, Stub};
use tcpwatch_tests::names_lab::hello::Request;
use tcpwatch_tests::names_lab::quic::Client;
use tcpwatch_tests::names_lab::{HTTPS, NamesLab, RESOLVER};
use tcpwatch_tests::wait;
use tcpwatch_tests::web::Authority;

use crate::{API, WWW};

/// BPF_MAP_TYPE_RINGBUF of linux/bpf.h.
const RING_BUFFER: u64 = 27;
/// The least that the kernel makes one of.
const PAGE_BYTES: u64 = 4096;

/// Bytes of the ring buffer that the program has open; 0 without one.
fn ring_buffer_bytes(watch: &Tcpwatch) -> u64 {
    let field = |info: &str, name: &str| -> Option<u64> {
        info.lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|value| value.trim().parse().ok())
    };
    fs::read_dir(format!("/proc/{}/fdinfo", watch.pid()))
        .unwrap()
        .filter_map(|entry| fs::read_to_string(entry.unwrap().path()).ok())
        .filter(|info| field(info, "map_type:") == Some(RING_BUFFER))
        .filter_map(|info| field(&info, "max_entries:"))
        .max()
        .unwrap_or_default()
}

#[test]
fn without_names_no_connection_and_no_answer_gives_one() {
    for arguments in [&[][..], &["--names", "none"]] {
        let names = NamesLab::new();
        let authority = Authority::new();
        let (_web, _quic) = (names.web(&authority, &[WWW]), names.quic(&authority, &[API]));
        let _resolver = names.resolver(&format!("host-record={WWW},192.0.2.1,60\n"));
        let at_targets = names.at_targets();
        let watch = names.watch(arguments.iter().copied());
        names.server().within(|| Stub::of(RESOLVER).ask(WWW, Kind::A));
        Request::to(WWW).make(names.server(), &authority, "192.0.2.1", HTTPS);
        Client::new(&authority).get(names.server(), "192.0.2.2", HTTPS, &[API]);
        at_targets.wait_until_quiet();
        assert_eq!(
            hook::tcx_ingress_programs(names.server(), "eth0"),
            [] as [&str; 0]
        );
        assert!(ring_buffer_bytes(&watch) <= PAGE_BYTES);
        let records = watch.stop().books();
        assert_eq!(names_of(&records, "192.0.2.1"), None);
        assert_eq!(names_of(&records, "192.0.2.2"), None);
    }
}

/// Only answers of name servers are looked at where packets arrive.
#[test]
fn only_dns_needs_a_program_where_packets_arrive() {
    let names = NamesLab::new();
    for (evidence, programs) in [("dns", 1), ("tls,quic", 0), ("dns,tls,quic", 1)] {
        let watch = names.watch(["--attach", "tcx", "--names", evidence]);
        for interface in ["eth0", "eth1"] {
            assert_eq!(
                hook::tcx_ingress_programs(names.server(), interface).len(),
                programs,
                "{evidence}"
            );
        }
        assert!(ring_buffer_bytes(&watch) > PAGE_BYTES, "{evidence}");
        assert_eq!(watch.stop().code(), Some(0));
        hook::assert_bare(names.server(), "eth0");
        hook::assert_bare(names.server(), "eth1");
    }
}

#[test]
fn nothing_is_attached_any_more_after_kill_by_tcx() {
    let names = NamesLab::new();
    let watch = names.watch(["--attach", "tcx", "--names", "dns,tls,quic"]);
    assert_eq!(hook::tcx_ingress_programs(names.server(), "eth0").len(), 1);
    watch.kill();
    // The kernel lets go of a dead process's descriptors a moment after it is reported dead.
    wait::until("the programs are detached", || {
        ["eth0", "eth1"].iter().all(|interface| {
            hook::tcx_programs(names.server(), interface).is_empty()
                && hook::tcx_ingress_programs(names.server(), interface).is_empty()
        })
    });
}

#[test]
fn filters_of_both_sides_are_removed_by_clsact_also_after_a_kill_and_a_start() {
    let names = NamesLab::new();
    let ours = |side: &str| side.lines().filter(|line| line.contains("tcpwatch")).count();
    let both = || {
        (
            ours(&hook::clsact_filters(names.server(), "eth0")),
            ours(&hook::clsact_ingress_filters(names.server(), "eth0")),
        )
    };
    let arguments = ["--attach", "clsact", "--names", "dns"];
    names.watch(arguments).kill();
    assert_eq!(both(), (1, 1), "a classic filter outlives its process");
    // Without names, too: what is stale is ours.
    let watch = names.watch(["--attach", "clsact"]);
    assert_eq!(both(), (1, 0));
    assert_eq!(watch.stop().code(), Some(0));
    let watch = names.watch(arguments);
    assert_eq!(both(), (1, 1));
    assert_eq!(watch.stop().code(), Some(0));
    assert_eq!(both(), (0, 0));
}
