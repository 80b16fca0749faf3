//! The way of counting that is used on PREEMPT_RT kernels, where tasks interrupt each other inside the hook: every
//! addition atomic. This kernel is none, so it is only shown that this way counts the same.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use tcpwatch::kernel::capacity::Capacity;
use tcpwatch::kernel::drain::{CounterSource as _, Drain};
use tcpwatch::kernel::load;
use tcpwatch_common::{Counts, Outcome};
use tcpwatch_tests::counter::{self, LOOPBACK};
use tcpwatch_tests::{command, frame};

#[test]
fn atomic_totals_count_the_same() {
    command::require_root();
    for preemptible in [false, true] {
        let capacity = Capacity {
            slots: None,
            spill: 16,
            bans: 1,
            samples: 0,
        };
        let (mut programs, tables) = load::load_for(capacity, preemptible).unwrap();
        let mut drain = Drain::new(
            tables,
            counter::policy(LOOPBACK, &["198.51.100.7"], &["203.0.113.0/24"]),
        )
        .unwrap();
        for (destination, times) in [("192.0.2.1", 1000), ("203.0.113.9", 10)] {
            let packet = frame::ethernet(
                0x0800,
                &frame::ipv4("198.51.100.7", destination, 17, &frame::udp(100)),
            );
            counter::run_often(&mut programs, &packet, times);
        }
        let drained = drain.drain().unwrap().drained;
        let of = |outcome: Outcome| drained.totals.outcomes[outcome as usize];
        let bytes = 14 + 20 + 8 + 100;
        assert_eq!(drained.totals.skbs, 1010);
        assert_eq!(
            of(Outcome::Counted),
            Counts {
                packets: 1000,
                bytes: 1000 * bytes
            }
        );
        assert_eq!(
            of(Outcome::Banned),
            Counts {
                packets: 10,
                bytes: 10 * bytes
            }
        );
        assert_eq!(drained.imbalance(), None);
    }
}
