//! Countries in the records of a running tcpwatch. Documentation addresses have none, so the packets go to public ones;
//! they are only shown to the program, never sent.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use tcpwatch_tests::injection::Injector;
use tcpwatch_tests::lab::{Lab, NEAR_V4};
use tcpwatch_tests::places;

#[test]
fn public_destinations_have_their_country_and_the_classic_text_names_it() {
    let lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    let geo = places::write_countries(directory.path());
    let mut watching = lab
        .tcpwatch(["run", "--format", "classic", "--interval", "1h"])
        .with_path("--geo", &geo)
        .spawn();
    watching.wait_until_started();
    let injector = Injector::new(&lab.near, "eth0");
    lab.near.within(|| {
        injector.udp(NEAR_V4, "80.1.2.3".parse().unwrap(), 100, 5);
        injector.udp(NEAR_V4, "81.1.2.3".parse().unwrap(), 100, 3);
    });
    let ended = watching.stop();
    assert_eq!(ended.code(), Some(0), "{:#?}", ended.stderr);
    let lines: Vec<&str> = ended.stdout.iter().map(String::as_str).collect();
    assert_eq!(
        lines[..3],
        [
            "=== fetch info in 3600s ===",
            "5 : NL, Netherlands",
            "3 : IP Address not found"
        ]
    );
}
