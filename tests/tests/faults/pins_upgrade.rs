//! Another build takes over under traffic.

use std::fs;

use tcpwatch_tests::invocation::binary;
use tcpwatch_tests::wait;

use super::support::{Site, Stream, held};

#[test]
fn an_upgrade_under_traffic_costs_nothing() {
    for mode in ["tcx", "clsact"] {
        let site = Site::new();
        let copy = site.directory.path().join("tcpwatch-old");
        fs::copy(binary(), &copy).unwrap();
        let old = |clean| {
            let watch = site.pinned().with(["--attach", mode]).copy_at(&copy).start();
            let before = if site.file().exists() {
                site.records().len()
            } else {
                0
            };
            wait::until("records are written", || {
                site.file().exists() && site.records().len() > before + 1
            });
            if clean {
                assert_eq!(watch.stop().code(), Some(0));
            } else {
                watch.kill();
            }
        };
        let first = site.pinned().with(["--attach", mode]).copy_at(&copy).start();
        let stream = Stream::start(site.lab.udp_v4());
        assert_eq!(first.stop().code(), Some(0));
        for clean in [true, false] {
            old(clean);
            let watch = site.pinned().with(["--attach", mode]).start();
            site.wait_for_new_records();
            assert_eq!(watch.stop().code(), Some(0));
        }
        let watch = site.pinned().with(["--attach", mode]).start();
        let sent = stream.stop();
        assert_eq!(watch.stop().code(), Some(0));
        site.check(&sent);
        site.detach();
        held(
            &format!(
                "another copy of the program takes over under traffic, by {mode}, after SIGTERM and after kill -9"
            ),
            "sent = record file = history, none twice",
            &format!("{} packets", sent.total().packets),
        );
    }
}
