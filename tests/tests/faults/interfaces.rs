//! Interfaces that come, go, and change their names, a hundred at a time.

use std::fs;

use tcpwatch_tests::command;
use tcpwatch_tests::hook;
use tcpwatch_tests::lab::NEAR_V4;
use tcpwatch_tests::namespace::Namespace;
use tcpwatch_tests::records::{self, flow};
use tcpwatch_tests::wait;

use super::support::{Site, Stream, address, held};

#[test]
fn a_hundred_interfaces_that_come_and_go_leave_the_others_exact() {
    let site = Site::new();
    let near = &site.lab.near;
    let watch = site.run().with(["-i", "all"]).start();
    let stream = Stream::start(site.lab.udp_v4());
    wait::until("records are written", || site.records().len() > 2);
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", watch.pid())).unwrap().count();
    let watched = || site.records().last().map_or(0, |record| record.interfaces.len());
    let before = descriptors();
    for _ in 0..2 {
        let add: String = (0..50)
            .map(|n| {
                format!("link add a{n} up type veth peer name b{n}\nlink set b{n} up\naddress add 198.18.100.{n}/32 dev a{n}\n")
            })
            .collect();
        command::ip_batch(near.name(), &add);
        wait::until("a hundred more are watched", || watched() >= 101);
        let delete: String = (0..50).map(|n| format!("link del a{n}\n")).collect();
        command::ip_batch(near.name(), &delete);
        wait::until("they are let go", || watched() == 1);
    }
    wait::until("their descriptors are gone", || descriptors() <= before + 1);
    let sent = stream.stop();
    let after = descriptors();
    assert_eq!(watch.stop().code(), Some(0));
    records::check_sent(&site.records(), sent.sent(), NEAR_V4);
    held(
        "100 interfaces come and go, twice, with -i all",
        "counts of the one that stays are exact, nothing leaks",
        &format!(
            "{} packets, {before} and {after} descriptors",
            sent.total().packets
        ),
    );
}

#[test]
fn an_interface_that_is_renamed_or_moved_away_leaves_the_others_exact() {
    let site = Site::new();
    let near = &site.lab.near;
    let elsewhere = Namespace::new("c");
    site.lab.connect_eth1("198.18.2.1/24", "198.18.2.2");
    site.lab.far.ip("address add 198.18.2.2/24 dev eth1");
    near.ip("route add 198.51.100.0/24 via 198.18.2.2");
    let watch = site.run().with(["-i", "all"]).start();
    let stream = Stream::start(site.lab.udp_v4());
    let mut second = site.lab.udp_from("198.18.2.1");
    second.send_times(address("198.51.100.1"), 10, 100);
    // Renamed while it is up: the packets stay those of the same device.
    near.ip("link set eth1 name other");
    second.send_times(address("198.51.100.1"), 10, 100);
    wait::until("the new name is in a record", || {
        site.records()
            .last()
            .is_some_and(|record| record.interfaces.iter().any(|of| of.name == "other"))
    });
    second.send_times(address("198.51.100.1"), 10, 100);
    near.ip(&format!("link set other netns {}", elsewhere.name()));
    wait::until("it is let go", || {
        site.records()
            .last()
            .is_some_and(|record| record.interfaces.len() == 1)
    });
    wait::until("nothing of ours is on it", || {
        hook::tcx_programs(&elsewhere, "other").is_empty()
    });
    // Back again, and watched again.
    elsewhere.ip(&format!("link set other netns {}", near.name()));
    near.ip("address add 198.18.2.1/24 dev other");
    near.ip("link set other up");
    near.ip("neighbour replace 198.18.2.2 lladdr 02:00:00:00:01:02 dev other nud permanent");
    near.ip("route replace 198.51.100.0/24 via 198.18.2.2");
    let mut third = site.lab.udp_from("198.18.2.1");
    wait::until("it is counted again", || {
        third.send(address("198.51.100.2"), 10);
        flow(&site.records(), "198.51.100.2", "198.18.2.1").packets > 0
    });
    third.send_times(address("198.51.100.3"), 10, 100);
    let sent = stream.stop();
    assert_eq!(watch.stop().code(), Some(0));
    let records = site.records();
    records::check_sent(&records, sent.sent(), NEAR_V4);
    assert_eq!(flow(&records, "198.51.100.1", "198.18.2.1").packets, 300);
    assert_eq!(flow(&records, "198.51.100.3", "198.18.2.1").packets, 100);
    held(
        "an interface renamed, moved to another namespace, and back",
        "counted under both names, let go, watched again; the other exact",
        &format!("300 and 100 of it, {} of the other", sent.total().packets),
    );
}
