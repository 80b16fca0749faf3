//! Makes a history of made-up traffic to look at, and says how long it takes to ask it:
//! `cargo run --release -p tcpwatch --example history -- FILE [DAYS [ADDRESSES]]`, 30 days of 1,000 addresses an hour when nothing is
//! said. The last two hours are intervals of 20 seconds.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "shows, or ends with a panic"
)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tcpwatch::history::{Bounds, Reader, Store};
use tcpwatch::record::{BannedPrefix, Destination, GeoFile, Place, Record, RecordTotals, SCHEMA, Scope};
use tcpwatch::report::{Dimension, Filter, Groups, Period, Question, Sort, ask};
use tcpwatch_common::Counts;

const HOUR: i64 = 3600;

/// Country, its name, number, name, first address, anycast, weight.
type Network = (&'static str, &'static str, u32, &'static str, [u8; 2], bool, u64);

const NETWORKS: [Network; 14] = [
    ("US", "United States", 15169, "GOOGLE", [142, 250], false, 40),
    ("IE", "Ireland", 15169, "GOOGLE", [74, 125], false, 20),
    ("US", "United States", 13335, "CLOUDFLARENET", [104, 16], true, 30),
    ("US", "United States", 54113, "FASTLY", [151, 101], true, 12),
    (
        "NL",
        "Netherlands",
        62041,
        "Telegram Messenger Inc",
        [149, 154],
        false,
        14,
    ),
    ("US", "United States", 32934, "FACEBOOK", [31, 13], false, 9),
    ("DE", "Germany", 24940, "Hetzner Online GmbH", [88, 198], false, 6),
    ("FR", "France", 16276, "OVH SAS", [51, 68], false, 5),
    (
        "JP",
        "Japan",
        2497,
        "IIJ Internet Initiative Japan Inc.",
        [133, 130],
        false,
        3,
    ),
    (
        "BR",
        "Brazil",
        28573,
        "Claro NXT Telecomunicacoes Ltda",
        [200, 160],
        false,
        2,
    ),
    ("RU", "Russia", 13238, "YANDEX", [77, 88], false, 4),
    ("US", "United States", 16509, "AMAZON-02", [52, 94], false, 8),
    (
        "IN",
        "India",
        55836,
        "Reliance Jio Infocomm Limited",
        [49, 36],
        false,
        2,
    ),
    ("AU", "Australia", 1221, "Telstra Limited", [1, 120], false, 1),
];

/// xorshift64*, Vigna 2016.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % limit
    }
}

struct Traffic {
    random: Random,
    places: Vec<Arc<Place>>,
    addresses: usize,
    seq: u64,
}

impl Traffic {
    fn record(&mut self, end: Timestamp, seconds: i64) -> Record {
        let hour = end.to_zoned_datetime(TimeZone::UTC).hour();
        // Evenings are busy, nights are quiet.
        let busy = [
            2, 1, 1, 1, 1, 2, 3, 5, 7, 8, 8, 8, 9, 9, 8, 8, 9, 10, 12, 13, 12, 9, 6, 3,
        ][usize::from(hour.unsigned_abs())];
        let mut destinations: Vec<Destination> = (0..self.addresses)
            .map(|_| self.destination(busy, seconds))
            .collect();
        destinations.sort_by_key(|row| (row.address, row.source));
        destinations.dedup_by_key(|row| (row.address, row.source));
        destinations.sort_by_key(|row| std::cmp::Reverse(row.packets));
        let sum = |of: fn(&Destination) -> u64| destinations.iter().map(of).sum();
        let counted = Counts {
            packets: sum(|row| row.packets),
            bytes: sum(|row| row.bytes),
        };
        let banned = Counts {
            packets: busy * 11,
            bytes: busy * 9000,
        };
        self.seq += 1;
        Record {
            schema: SCHEMA,
            host: "proxy1".into(),
            boot_id: "5c1b".into(),
            run: "9f1e".into(),
            seq: self.seq,
            start: end - SignedDuration::from_secs(seconds),
            end,
            seconds: seconds as f64,
            partial: false,
            interfaces: vec![],
            totals: RecordTotals {
                seen: Counts {
                    packets: counted.packets + banned.packets,
                    bytes: counted.bytes + banned.bytes,
                },
                counted,
                banned,
                ..RecordTotals::default()
            },
            skbs: counted.packets / 3,
            balanced: true,
            drains: 1,
            geo: vec![GeoFile {
                file: "/var/lib/tcpwatch/places.mmdb".into(),
                kind: "tcpwatch-Country-ASN".into(),
                built: jiff::civil::date(2026, 1, 1),
            }],
            destinations,
            banned: vec![BannedPrefix {
                prefix: "203.0.113.0/24".parse().unwrap(),
                packets: banned.packets,
                bytes: banned.bytes,
            }],
        }
    }

    fn destination(&mut self, busy: u64, seconds: i64) -> Destination {
        let random = &mut self.random;
        let whole: u64 = NETWORKS.iter().map(|network| network.6).sum();
        let mut at = random.below(whole);
        let number = NETWORKS
            .iter()
            .position(|network| {
                let found = at < network.6;
                at = at.saturating_sub(network.6);
                found
            })
            .unwrap();
        let network = NETWORKS[number];
        // Few addresses have most of the traffic.
        let host = random.below(40) * random.below(40) * random.below(20);
        let is_v6 = random.below(5) == 0;
        let address: IpAddr = if is_v6 {
            Ipv6Addr::from(0x2a00_1450_u128 << 96 | u128::from(network.2) << 64 | u128::from(host)).into()
        } else {
            let [a, b] = network.4;
            Ipv4Addr::new(a, b, (host >> 8) as u8, host as u8).into()
        };
        let source: IpAddr = match (is_v6, random.below(3)) {
            (false, 0) => "198.51.100.8".parse().unwrap(),
            (false, _) => "198.51.100.7".parse().unwrap(),
            (true, 0) => "2001:db8:1:2::8".parse().unwrap(),
            (true, _) => "2001:db8:1:2::7".parse().unwrap(),
        };
        let packets =
            1 + (1 + random.below(100)) * random.below(100) * busy * seconds.unsigned_abs() / 40_000;
        Destination {
            address,
            source: Some(source),
            interface: "eth0".into(),
            packets,
            bytes: packets * (80 + random.below(1200)),
            tcp_connections: None,
            quic_connections: None,
            scope: Scope::Global,
            place: Arc::clone(&self.places[number]),
            names: None,
        }
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let path: PathBuf = arguments.next().expect("a file").into();
    let days: i64 = arguments.next().map_or(30, |days| days.parse().unwrap());
    let addresses = arguments
        .next()
        .map_or(1000, |addresses| addresses.parse().unwrap());
    let now = Timestamp::now();
    if !path.exists() {
        make(&path, now, days, addresses);
    }
    println!("{:>9.1} MB", std::fs::metadata(&path).unwrap().len() as f64 / 1e6);
    measure(&path, now, days);
}

fn make(path: &std::path::Path, now: Timestamp, days: i64, addresses: usize) {
    let places = NETWORKS
        .iter()
        .map(|(country, name, asn, network, _, anycast, _)| {
            Arc::new(Place {
                country: Some((*country).into()),
                country_name: Some((*name).into()),
                city: None,
                asn: Some(*asn),
                network: Some((*network).into()),
                anycast: Some(*anycast),
            })
        });
    let mut traffic = Traffic {
        random: Random(0x9e37_79b9_7f4a_7c15),
        places: places.collect(),
        addresses,
        seq: 0,
    };
    let mut store = Store::open(path, Bounds::default()).unwrap();
    let this_hour = now.as_second() / HOUR * HOUR;
    let fine = this_hour - 2 * HOUR;
    let mut ends: Vec<(i64, i64)> = (1..=days * 24 - 2)
        .map(|hour| (fine - (days * 24 - 2 - hour) * HOUR, HOUR))
        .collect();
    ends.extend(
        (1..)
            .map(|interval| fine + interval * 20)
            .take_while(|end| *end <= now.as_second())
            .map(|end| (end, 20)),
    );
    let started = Instant::now();
    for (end, seconds) in ends {
        let record = traffic.record(Timestamp::from_second(end).unwrap(), seconds);
        store.write(&record).unwrap();
    }
    while store.tidy(now).unwrap() {}
    println!("{:>9.1} s to make it", started.elapsed().as_secs_f64());
}

fn measure(path: &std::path::Path, now: Timestamp, days: i64) {
    use Dimension::{Country, Day, Destination as Address, Hour, Name, Network, Prefix, Source};
    let groups = Groups::built_in().unwrap();
    let usual = vec![Country, Network, Address];
    let all = vec![Country, Network, Address, Prefix, Source, Name, Day, Hour];
    for (what, hours, by, target) in [
        ("the last 2 hours, by interval", 2, usual.clone(), None),
        ("the last day, by hours", 24, usual.clone(), None),
        ("everything, by days", days * 24, usual.clone(), None),
        ("everything, by hours, 8 sections", days * 24, all, None),
        ("everything for google", days * 24, usual, Some("google")),
    ] {
        let question = Question {
            period: Period {
                from: now - SignedDuration::from_hours(hours),
                to: now,
            },
            by,
            filter: target.map(|target| Filter::parse(target, &groups).unwrap()),
            sort: Sort::Packets,
            top: None,
            usual: 10,
            zone: TimeZone::UTC,
            hours: false,
        };
        let started = Instant::now();
        let reader = Reader::open(path).unwrap();
        let report = ask(&reader, &question, None).unwrap();
        let taken = started.elapsed();
        assert!(report.proof.holds, "{:?}", report.proof);
        println!(
            "{:>9.1} ms: {what}, {} packets",
            taken.as_secs_f64() * 1e3,
            report.matched.packets
        );
    }
}
