//! What is said of a target.

use super::*;
use crate::report::Facts;

const UNITED_STATES: [&str; 2] = ["US", "United States"];

fn google(to: &str, from: &str, packets: u64) -> Destination {
    in_network(
        row(to, from, packets, packets * 100),
        UNITED_STATES,
        15169,
        "GOOGLE",
    )
}

fn other(packets: u64) -> Destination {
    in_network(
        row("104.16.132.229", "198.51.100.7", packets, packets * 100),
        UNITED_STATES,
        13335,
        "CLOUDFLARENET",
    )
}

/// A record for every minute of `hours` hours from midnight, made by `of` the number of its minute.
fn minutes(hours: u64, of: impl Fn(u64) -> Vec<Destination>) -> Written {
    let start = time("2026-01-02T00:00:00Z");
    let records = (0..hours * 60).map(|minute| {
        let end = start + SignedDuration::from_mins(i64::try_from(minute).unwrap() + 1);
        lasting(minute + 1, end, 60.0, of(minute))
    });
    Written::new(records.collect())
}

fn facts(written: &Written, from: &str, to: &str, target: &str) -> (Report, Facts) {
    let mut question = question(from, to, &[]);
    question.filter = about(target);
    let report = written.ask(&question);
    let facts = report.facts.clone().unwrap();
    (report, facts)
}

fn kinds(facts: &Facts) -> Vec<&'static str> {
    facts.findings.iter().map(|finding| finding.kind).collect()
}

#[test]
fn rates_shares_and_the_period_before_are_those_of_the_target() {
    // 10 packets in each minute of the first hour; 20 in each of the second, but for one with 200.
    let written = minutes(2, |minute| {
        let packets = if minute < 60 {
            10
        } else if minute == 75 {
            200
        } else {
            20
        };
        vec![google("142.250.74.78", "198.51.100.7", packets), other(60)]
    });
    let (report, facts) = facts(&written, "2026-01-02T01:00:00Z", "2026-01-02T02:00:00Z", "google");
    assert_eq!(report.matched.packets, 59 * 20 + 200);
    assert_eq!(report.all.packets, 59 * 20 + 200 + 60 * 60);
    assert_eq!(
        (facts.packets.mean, facts.packets.peak, facts.packets.peak_seconds),
        (23.0, 200.0, 60.0)
    );
    assert_eq!(facts.packets.peak_end, time("2026-01-02T01:16:00Z"));
    let previous = facts.previous.unwrap();
    assert_eq!(
        (previous.matched.packets, previous.recorded_seconds),
        (600, 3600.0)
    );
    assert_eq!(facts.hours[1], report.matched.packets);
    assert_eq!(facts.hours[0], 0);
    assert!(facts.tcp_connections.is_none() && facts.domains.is_empty());
    assert_eq!(kinds(&facts), Vec::<&str>::new());
    let (_, before) = self::facts(&written, "2026-01-02T00:00:00Z", "2026-01-02T01:00:00Z", "google");
    assert_eq!(before.previous, None);
}

#[test]
fn short_intervals_make_no_peak_of_their_own() {
    // The last interval was cut short after 0.1 seconds: no 600 times of its packets a minute.
    let end = time("2026-01-02T00:00:40.100Z");
    let records = vec![
        record(
            1,
            "2026-01-02T00:00:20Z",
            vec![google("142.250.74.78", "198.51.100.7", 30)],
        ),
        record(
            2,
            "2026-01-02T00:00:40Z",
            vec![google("142.250.74.78", "198.51.100.7", 30)],
        ),
        lasting(3, end, 0.1, vec![google("142.250.74.78", "198.51.100.7", 9)]),
    ];
    let written = Written::new(records);
    let (_, facts) = facts(&written, "2026-01-02T00:00:00Z", "2026-01-02T00:01:00Z", "google");
    assert_eq!((facts.packets.peak, facts.packets.peak_seconds), (69.0, 60.0));
}

#[test]
fn several_own_addresses_and_their_families_are_said() {
    let written = minutes(1, |_| {
        vec![
            google("142.250.74.78", "198.51.100.7", 50),
            google("2a00:1450:4001::1", "2001:db8:1:2::7", 30),
            google("2a00:1450:4001::2", "2001:db8:1:2::8", 20),
            other(10),
        ]
    });
    let (_, facts) = facts(&written, "2026-01-02T00:00:00Z", "2026-01-02T01:00:00Z", "google");
    assert_eq!(
        kinds(&facts),
        ["several_sources", "both_families", "shared_range"]
    );
    let texts: Vec<&str> = facts
        .findings
        .iter()
        .map(|finding| finding.text.as_str())
        .collect();
    assert_eq!(
        texts,
        [
            "3 own addresses send to it: 198.51.100.7 50.0 %, 2001:db8:1:2::7 30.0 %, 2001:db8:1:2::8 20.0 %. To the other side these \
             are as many senders.",
            "IPv4 and IPv6 are both used for it: 50.0 % and 50.0 %. A client that uses both appears under two addresses.",
            "2 own IPv6 addresses of 2001:db8:1:2::/64 send to it (50.0 % of its packets). Whoever judges IPv6 by /64 sees one sender \
             in them, and everybody else whose addresses are in that /64."
        ]
    );
    let offered: Vec<(&str, u64)> = facts
        .snippets
        .iter()
        .map(|snippet| (snippet.title, snippet.packets))
        .collect();
    // sing-box binds one address of each family: only what leaves from the second IPv6 address moves.
    assert_eq!(
        offered,
        [
            ("sing-box", 60 * 20),
            ("/etc/gai.conf", 60 * 50),
            ("nftables", 60 * 100)
        ]
    );
}

#[test]
fn one_own_address_is_no_pattern() {
    let written = minutes(1, |_| {
        vec![google("142.250.74.78", "198.51.100.7", 50), other(10)]
    });
    let (_, facts) = facts(&written, "2026-01-02T00:00:00Z", "2026-01-02T01:00:00Z", "google");
    assert_eq!(kinds(&facts), Vec::<&str>::new());
    let offered: Vec<(&str, u64)> = facts
        .snippets
        .iter()
        .map(|snippet| (snippet.title, snippet.packets))
        .collect();
    assert_eq!(offered, [("sing-box", 3000), ("Xray", 3000), ("nftables", 3000)]);
    // Nothing is offered for what was not sent.
    let (report, none) = self::facts(
        &written,
        "2026-01-02T00:00:00Z",
        "2026-01-02T01:00:00Z",
        "netflix",
    );
    assert_eq!((report.matched.packets, none.snippets.len()), (0, 0));
    assert_eq!(kinds(&none), Vec::<&str>::new());
}

#[test]
fn bursts_and_few_minutes_are_said_of_what_comes_in_bursts() {
    let written = minutes(2, |minute| {
        let packets = if minute == 30 { 5000 } else { 10 };
        vec![google("142.250.74.78", "198.51.100.7", packets)]
    });
    let (_, facts) = facts(&written, "2026-01-02T00:00:00Z", "2026-01-02T02:00:00Z", "google");
    assert_eq!(kinds(&facts), ["burst", "few_minutes"]);
    assert_eq!(
        facts.findings[0].text,
        "Bursts: the busiest minute ended 2026-01-02 00:31 with 97 times the mean."
    );
    assert_eq!(
        facts.findings[1].text,
        "Half of its packets left in 1 of 120 recorded minutes."
    );
}

#[test]
fn traffic_at_all_hours_is_said_when_all_hours_are_recorded() {
    let written = minutes(24, |_| vec![google("142.250.74.78", "198.51.100.7", 10)]);
    let (_, day) = facts(&written, "2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z", "google");
    assert_eq!(kinds(&day), ["all_hours"]);
    let (_, half) = facts(&written, "2026-01-02T00:00:00Z", "2026-01-02T12:00:00Z", "google");
    assert_eq!(kinds(&half), Vec::<&str>::new());
    // A night.
    let written = minutes(24, |minute| {
        let packets = if minute < 6 * 60 { 1 } else { 10 };
        vec![google("142.250.74.78", "198.51.100.7", packets)]
    });
    let (_, night) = facts(&written, "2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z", "google");
    assert_eq!(kinds(&night), Vec::<&str>::new());
}

#[test]
fn names_and_connections_are_used_where_there_are_any() {
    let written = minutes(1, |_| {
        let mut video = other(10);
        video.names = sample::asked(&["r1.googlevideo.com"]);
        video.tcp_connections = Some(2);
        video.quic_connections = Some(1);
        vec![video, google("142.250.74.78", "198.51.100.7", 30)]
    });
    let (report, facts) = facts(&written, "2026-01-02T00:00:00Z", "2026-01-02T01:00:00Z", "google");
    assert_eq!(report.matched.packets, 60 * 40);
    assert_eq!(report.matched.connections(), Some(180));
    let domains: Vec<(&str, f64)> = facts
        .domains
        .iter()
        .map(|part| (part.label.as_str(), part.share))
        .collect();
    assert_eq!(domains, [("no name known", 0.75), ("googlevideo.com", 0.25)]);
    assert_eq!(facts.tcp_connections.unwrap().mean, 2.0);
    assert_eq!(facts.quic_connections.unwrap().mean, 1.0);
    assert!(
        !facts
            .unknown
            .iter()
            .any(|text| text.contains("names were used") || text.contains("connections"))
    );
}

#[test]
fn what_may_belong_to_it_is_said_with_its_size() {
    let written = minutes(1, |_| {
        vec![
            google("142.250.74.78", "198.51.100.7", 30),
            row("9.9.9.9", "198.51.100.7", 10, 1000),
        ]
    });
    let (_, facts) = facts(
        &written,
        "2026-01-02T00:00:00Z",
        "2026-01-02T01:00:00Z",
        "AS15169",
    );
    assert_eq!(facts.undecided.packets, 600);
    assert!(
        facts.unknown.contains(
            &"Whether 600 packets (25.0 % of all) belong to it: too little of their destinations is kept or known.".to_owned()
        ),
        "{:?}",
        facts.unknown
    );
}

#[test]
fn snippets_are_what_the_programs_read() {
    let written = minutes(1, |_| {
        vec![
            google("142.250.74.78", "198.51.100.7", 50),
            google("142.250.74.79", "198.51.100.8", 30),
            google("2a00:1450:4001::1", "2001:db8:1:2::7", 20),
        ]
    });
    let (_, facts) = facts(
        &written,
        "2026-01-02T00:00:00Z",
        "2026-01-02T01:00:00Z",
        "AS15169",
    );
    let text = |title: &str| {
        let snippet = facts
            .snippets
            .iter()
            .find(|snippet| snippet.title == title)
            .unwrap();
        snippet.text.clone()
    };
    let sing_box: serde_json::Value = serde_json::from_str(&text("sing-box")).unwrap();
    assert_eq!(
        sing_box,
        serde_json::json!({
            "outbounds": [{"type": "direct", "tag": "one-exit", "inet4_bind_address": "198.51.100.7", "inet6_bind_address": "2001:db8:1:2::7"}],
            "route": {"rules": [{"ip_cidr": ["142.250.74.78/31", "2a00:1450:4001::1"], "outbound": "one-exit"}]}
        })
    );
    let xray: serde_json::Value = serde_json::from_str(&text("Xray")).unwrap();
    assert_eq!(
        xray,
        serde_json::json!({
            "outbounds": [{"protocol": "freedom", "tag": "one-exit", "sendThrough": "198.51.100.7", "settings": {"domainStrategy": "UseIPv4"}}],
            "routing": {"rules": [{"type": "field", "ip": ["142.250.74.78/31"], "outboundTag": "one-exit"}]}
        })
    );
    assert_eq!(
        text("nftables"),
        "table inet tcpwatch_target {\n  set target4 {\n    type ipv4_addr; flags interval;\n    elements = { 142.250.74.78/31 }\n  }\n  \
         set target6 {\n    type ipv6_addr; flags interval;\n    elements = { 2a00:1450:4001::1 }\n  }\n  chain output {\n    \
         type route hook output priority mangle;\n    ip daddr @target4 meta mark set 0x7477\n    ip6 daddr @target6 meta mark set \
         0x7477\n  }\n}\n# ip rule add fwmark 0x7477 table 100; ip -6 rule add fwmark 0x7477 table 100\n"
    );
}

#[test]
fn where_only_hours_are_kept_peaks_are_those_of_hours() {
    // Three hours; the busiest minute is in the first one, the busiest hour is the second.
    let written = minutes(3, |minute| {
        let packets = match minute {
            30 => 1000,
            60..120 => 40,
            _ => 10,
        };
        vec![google("142.250.74.78", "198.51.100.7", packets)]
    });
    let bounds = Bounds {
        intervals: std::time::Duration::from_secs(70 * 60),
        ..Bounds::default()
    };
    // Intervals of the last hour are kept.
    written.tidy("2026-01-02T03:02:00Z", bounds);
    let (report, facts) = facts(&written, "2026-01-02T00:00:00Z", "2026-01-02T03:00:00Z", "google");
    assert_eq!(report.matched.packets, 59 * 10 + 1000 + 60 * 40 + 60 * 10);
    assert_eq!((facts.packets.peak, facts.packets.peak_seconds), (40.0, 3600.0));
    assert_eq!(facts.packets.peak_end, time("2026-01-02T02:00:00Z"));
}

#[test]
fn nothing_that_matches_is_said_to_be_nothing() {
    let written = minutes(1, |_| vec![other(10)]);
    let (report, facts) = facts(
        &written,
        "2026-01-02T00:00:00Z",
        "2026-01-02T01:00:00Z",
        "netflix",
    );
    assert_eq!((facts.packets.mean, facts.packets.peak), (0.0, 0.0));
    let look = crate::report::Look {
        width: 80,
        colour: false,
        zone: TimeZone::UTC,
    };
    let text = crate::report::text(&report, &look);
    assert!(
        text.contains("packets a minute    none in all that was recorded\n"),
        "{text}"
    );
}
