//! The daemon dies at each step of a drain and of what becomes of it, and at each step of a start.

use std::path::PathBuf;
use std::time::Duration;

use tcpwatch_tests::wait;

use super::support::{Site, Stream, held};

/// A build with the feature `faults`.
fn faulty() -> PathBuf {
    std::env::var_os("TCPWATCH_FAULTY_BIN").map(PathBuf::from).expect(
        "TCPWATCH_FAULTY_BIN names tcpwatch built with --features faults: run cargo xtask test --faults",
    )
}

/// Dies at `step` of a running daemon, then, if it is one of a start, of the next.
#[track_caller]
fn survives_death_at(step: &str) {
    let site = Site::new();
    let program = faulty();
    // A running daemon first, so that a start has something to take over.
    let watch = site.pinned().start();
    let stream = Stream::start(site.lab.udp_v4());
    wait::until("records are written", || site.records().len() > 2);
    watch.kill();
    for nth in [1, 4] {
        let dying = site
            .pinned()
            .copy_at(&program)
            .env("TCPWATCH_DIE_AT", &format!("{step}:{nth}"))
            .spawn();
        let limit = Duration::from_secs(if nth == 1 { 20 } else { 5 });
        // A step of a start has no fourth time: then it is killed from outside.
        let ended = end(dying, limit, nth == 1);
        assert_eq!(ended.code(), None, "{step}: it is killed: {:#?}", ended.stderr);
    }
    let watch = site.pinned().start();
    site.wait_for_new_records();
    let sent = stream.stop();
    assert_eq!(watch.stop().code(), Some(0));
    site.check(&sent);
    site.detach();
    held(
        &format!("kill -9 at the step '{step}', first and fourth time"),
        "sent = record file = history, none twice",
        &format!("{} packets", sent.total().packets),
    );
}

#[track_caller]
fn end(
    mut dying: tcpwatch_tests::daemon::Tcpwatch,
    limit: Duration,
    must: bool,
) -> tcpwatch_tests::daemon::Ended {
    let began = std::time::Instant::now();
    wait::until("it dies or has had its time", || {
        !dying.is_running() || began.elapsed() > limit.min(Duration::from_secs(15))
    });
    if dying.is_running() {
        assert!(!must, "it did not die at the step");
        return dying.kill();
    }
    dying.wait(Duration::from_secs(1))
}

macro_rules! steps {
    ($($name:ident: $step:literal,)*) => {
        $(#[test]
        fn $name() {
            survives_death_at($step);
        })*
    };
}

steps! {
    death_after_the_flip_costs_nothing: "flipped",
    death_after_reading_costs_nothing: "read",
    death_after_the_journal_costs_nothing: "journaled",
    death_after_clearing_costs_nothing: "cleared",
    death_after_sealing_costs_nothing: "sealed",
    death_after_pushing_costs_nothing: "pushed",
    death_after_writing_costs_nothing: "written",
    death_after_taking_over_costs_nothing: "taken-over",
    death_after_replacing_the_program_costs_nothing: "replaced",
    death_after_pinning_costs_nothing: "pinned",
}
