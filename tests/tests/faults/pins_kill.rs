//! The daemon is killed at random moments, or is dead for long, and what is pinned goes on counting.

use std::thread;
use std::time::{Duration, Instant};

use tcpwatch_tests::hook;
use tcpwatch_tests::records::totals;
use tcpwatch_tests::wait;

use super::support::{Site, Stream, held, lasting, outlast};

/// Kills and restarts under traffic, in a laboratory of its own.
fn survives_kills(times: u32, arguments: &[&str]) -> (u64, Duration) {
    let site = Site::new();
    let began = Instant::now();
    let mut random = u64::from(std::process::id()) * 2_654_435_761 + u64::from(times);
    let first = site.pinned().with(arguments.iter().copied()).start();
    let stream = Stream::start(site.lab.udp_v4());
    let mut watch = first;
    for _ in 0..times {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // A random moment of an interval of 100 ms, and of the start before it; that is what is tested.
        thread::sleep(Duration::from_millis((random >> 33) % 150));
        watch.kill();
        watch = site.pinned().with(arguments.iter().copied()).spawn();
        if !(random >> 50).is_multiple_of(4) {
            watch.wait_until_started();
        }
    }
    watch.wait_until_started();
    let sent = stream.stop();
    let ended = watch.stop();
    assert_eq!(ended.code(), Some(0), "{:#?}", ended.stderr);
    site.check(&sent);
    let records = site.records();
    assert_eq!(totals(&records).overflow.packets, 0);
    site.detach();
    hook::assert_bare(&site.lab.near, "eth0");
    (sent.total().packets, began.elapsed())
}

#[test]
fn two_hundred_and_fifty_kills_lose_and_repeat_nothing() {
    let (packets, taken) = survives_kills(250, &[]);
    held(
        "kill -9 at 250 random moments under traffic, first half",
        "sent = record file = history, none twice",
        &format!("{packets} packets, {:.0} s", taken.as_secs_f64()),
    );
}

#[test]
fn two_hundred_and_fifty_more_kills_lose_and_repeat_nothing() {
    let (packets, taken) = survives_kills(251, &[]);
    held(
        "kill -9 at 251 random moments under traffic, second half",
        "sent = record file = history, none twice",
        &format!("{packets} packets, {:.0} s", taken.as_secs_f64()),
    );
}

#[test]
fn kills_by_clsact_lose_and_repeat_nothing() {
    let (packets, taken) = survives_kills(20, &["--attach", "clsact"]);
    held(
        "kill -9 at 20 random moments under traffic, by clsact",
        "sent = record file = history, none twice",
        &format!("{packets} packets, {:.0} s", taken.as_secs_f64()),
    );
}

#[test]
fn without_pins_a_kill_does_lose_packets() {
    let site = Site::new();
    let watch = site.run().start();
    let stream = Stream::start(site.lab.udp_v4());
    wait::until("records are written", || site.records().len() > 2);
    watch.kill();
    let watch = site.run().start();
    let before = site.records().len();
    wait::until("records go on", || site.records().len() > before);
    let sent = stream.stop().total().packets;
    assert_eq!(watch.stop().code(), Some(0));
    let counted = totals(&site.records()).counted.packets;
    assert!(counted < sent, "{counted} of {sent}");
    held(
        "the control: one kill -9 without --pin",
        "does lose packets, so the tests above would see it",
        &format!("{} of {sent} lost", sent - counted),
    );
}

#[test]
fn a_daemon_that_is_dead_for_long_loses_nothing() {
    for clean in [false, true] {
        let site = Site::new();
        let watch = site.pinned().start();
        let stream = Stream::start(site.lab.udp_v4());
        wait::until("records are written", || site.records().len() > 2);
        if clean {
            assert_eq!(watch.stop().code(), Some(0));
        } else {
            watch.kill();
        }
        let dead = lasting(8, 60);
        outlast(dead);
        let watch = site.pinned().start();
        site.wait_for_new_records();
        let sent = stream.stop();
        assert_eq!(watch.stop().code(), Some(0));
        site.check(&sent);
        site.detach();
        held(
            &format!(
                "daemon dead for {} s under traffic after {}",
                dead.as_secs(),
                if clean { "SIGTERM" } else { "kill -9" }
            ),
            "the kernel goes on counting, the next start records it",
            &format!("{} packets sent and recorded", sent.total().packets),
        );
    }
}
