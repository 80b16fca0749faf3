//! A fixed history, and what is shown of it, character by character.

use super::*;
use crate::report::{Look, csv, text};

fn written() -> Written {
    let us = ["US", "United States"];
    let rows = |factor: u64| {
        let mut anycast = in_network(
            row("104.16.132.229", "198.51.100.7", 150 * factor, 105_000),
            us,
            13335,
            "CLOUDFLARENET",
        );
        Arc::make_mut(&mut anycast.place).anycast = Some(true);
        let mut private = row("10.8.0.2", "198.51.100.7", 12, 2400);
        private.scope = Scope::Private;
        vec![
            in_network(
                row("142.250.74.78", "198.51.100.7", 421 * factor, 505_200),
                us,
                15169,
                "GOOGLE",
            ),
            in_network(
                row("142.250.74.46", "198.51.100.8", 80, 72_000),
                us,
                15169,
                "GOOGLE",
            ),
            in_network(
                row("2a00:1450:4001:81b::200e", "2001:db8:1:2::7", 44, 9000),
                ["IE", "Ireland"],
                15169,
                "GOOGLE",
            ),
            in_network(
                row("149.154.167.99", "198.51.100.7", 85, 34_000),
                ["NL", "Netherlands"],
                62041,
                "Telegram Messenger Inc",
            ),
            anycast,
            private,
            row("9.9.9.9", "198.51.100.7", 3, 180),
        ]
    };
    let records = (1..=6).map(|minute: u64| {
        let end = time("2026-01-02T03:00:00Z") + SignedDuration::from_mins(i64::try_from(minute).unwrap());
        let record = lasting(minute, end, 60.0, rows(minute));
        with_banned(record, "203.0.113.0/24", 9, 999)
    });
    Written::new(records.collect())
}

fn look(width: usize) -> Look {
    Look {
        width,
        colour: false,
        zone: TimeZone::UTC,
    }
}

const USUAL: [Dimension; 3] = [Dimension::Country, Dimension::Network, Dimension::Destination];

#[test]
fn look_at_it() {
    let written = written();
    let mut question = question("2026-01-02T03:00:00Z", "2026-01-02T03:06:00Z", &USUAL);
    for width in [80, 120] {
        println!("{}", text(&written.ask(&question), &look(width)));
    }
    question.top = Some(2);
    println!("{}", text(&written.ask(&question), &look(80)));
    question.filter = about("google");
    println!("{}", text(&written.ask(&question), &look(80)));
    println!("{}", csv(&written.ask(&question)));
}
