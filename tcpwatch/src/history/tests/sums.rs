//! Whatever is written in whatever order, rolled up and deleted whenever: what the history answers is the sum over the records.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;
use tcpwatch_common::Counts;

use crate::history::rollup::{DAY_MS, HOUR_MS, bucket_of, get};
use crate::history::schema::{Access, open};
use crate::history::{Bounds, Detail, Plan, Reader, Resolution, Store, Written};
use crate::record::{BannedPrefix, Destination, Evidence, Names, Record, Scope, sample};

/// Midnight, UTC.
const BEGINNING: i64 = 20_000 * DAY_MS;
const DAYS: i64 = 4;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap()
}

/// Destinations with all that can be different between two of them; the place belongs to the address.
fn destination() -> impl Strategy<Value = Destination> {
    let connections = || prop_oneof![Just(None), (0..5_u64).prop_map(Some)];
    (
        0..12_u8,
        0..3_u8,
        0..2_u8,
        1..1000_u64,
        connections(),
        connections(),
    )
        .prop_map(|(host, source, interface, packets, tcp, quic)| Destination {
            source: (source > 0).then(|| [198, 51, 100, source].into()),
            interface: format!("eth{interface}").into(),
            tcp_connections: tcp,
            quic_connections: quic,
            scope: if host == 11 { Scope::Private } else { Scope::Global },
            place: if host > 9 {
                Default::default()
            } else {
                sample::place(["US", "DE", "FR"][usize::from(host % 3)], u32::from(host % 5))
            },
            names: if host % 4 == 1 {
                sample::asked(&[&format!("h{host}.example"), "b.example"])
            } else {
                None
            },
            ..sample::destination([192, 0, 2, host], packets, packets * 100)
        })
}

/// Records of three runs within some days, many of them around the ends of hours and days.
fn records() -> impl Strategy<Value = Vec<Record>> {
    let moment = prop_oneof![
        0..DAYS * DAY_MS,
        (0..DAYS * 24, -1..=1_i64).prop_map(|(hour, off)| hour * HOUR_MS + off),
        (0..DAYS, -1..=1_i64).prop_map(|(day, off)| day * DAY_MS + off),
    ];
    let destinations = prop::collection::vec(destination(), 0..12);
    let banned = prop::collection::vec((0..6_u8, 1..9_u64), 0..4);
    let record = (moment, destinations, banned).prop_map(|(ms, destinations, banned)| {
        let mut record = sample::record("", 0, BEGINNING + ms, destinations);
        record
            .destinations
            .dedup_by_key(|row| (row.address, row.source, std::sync::Arc::clone(&row.interface)));
        let prefixes: BTreeMap<u8, u64> = banned.into_iter().collect();
        record.banned = prefixes
            .into_iter()
            .map(|(net, packets)| BannedPrefix {
                prefix: format!("203.0.{net}.0/24").parse().unwrap(),
                packets,
                bytes: packets * 60,
            })
            .collect();
        sample::balance(&mut record);
        record
    });
    prop::collection::vec((record, 0..3_u8), 1..40).prop_map(|records| {
        let mut next = [0; 3];
        let number = |(mut record, run): (Record, u8)| {
            let seq = &mut next[usize::from(run)];
            *seq += 1;
            record.seq = *seq;
            record.run = format!("run{run}").into();
            record
        };
        records.into_iter().map(number).collect()
    })
}

/// Packets, bytes, connections; of connections also whether they were counted.
type Sum = (u64, u64, Option<u64>, Option<u64>);

fn add(
    sums: &mut BTreeMap<String, Sum>,
    dimension: &str,
    value: &str,
    counts: Counts,
    tcp: Option<u64>,
    quic: Option<u64>,
) {
    let sum = sums.entry(format!("{dimension} {value}")).or_default();
    let plus = |a: Option<u64>, b: Option<u64>| match (a, b) {
        (None, None) => None,
        (a, b) => Some(a.unwrap_or(0) + b.unwrap_or(0)),
    };
    *sum = (
        sum.0 + counts.packets,
        sum.1 + counts.bytes,
        plus(sum.2, tcp),
        plus(sum.3, quic),
    );
}

/// By everything that stays exact: at any `top`, and with all addresses kept.
fn add_all(sums: &mut BTreeMap<String, Sum>, row: &Destination, whole: bool) {
    let counts = Counts {
        packets: row.packets,
        bytes: row.bytes,
    };
    let mut by = |dimension: &str, value: &str| {
        add(
            sums,
            dimension,
            value,
            counts,
            row.tcp_connections,
            row.quic_connections,
        );
    };
    by("all", "");
    by(
        "country",
        &format!("{:?} {:?}", row.place.country, row.place.country_name),
    );
    by("network", &format!("{:?} {:?}", row.place.asn, row.place.network));
    by("scope", row.scope.word());
    by("source", &format!("{:?}", row.source));
    by("interface", &row.interface);
    by(
        "source and network",
        &format!("{:?} {:?}", row.source, row.place.asn),
    );
    if whole {
        by("address", &row.address.to_string());
        by("city", &format!("{:?} {:?}", row.place.city, row.place.anycast));
        let mut names: Vec<&str> = row.names.iter().flat_map(|names| names.texts()).collect();
        names.sort_unstable();
        by("names", &format!("{names:?}"));
    }
}

fn expected(records: &[Record], plan: &Plan, whole: bool) -> BTreeMap<String, Sum> {
    let mut sums = BTreeMap::new();
    for record in records {
        let end_ms = record.end.as_millisecond();
        if end_ms > plan.from_ms && end_ms <= plan.to_ms {
            record
                .destinations
                .iter()
                .for_each(|row| add_all(&mut sums, row, whole));
            for row in &record.banned {
                let counts = Counts {
                    packets: row.packets,
                    bytes: row.bytes,
                };
                add(&mut sums, "banned", "", counts, None, None);
                if whole {
                    add(&mut sums, "prefix", &row.prefix.to_string(), counts, None, None);
                }
            }
        }
    }
    sums
}

fn answered(reader: &Reader, plan: &Plan, whole: bool) -> BTreeMap<String, Sum> {
    let mut sums = BTreeMap::new();
    reader
        .flows(plan, &mut |flow| {
            let row = Destination {
                address: flow.address.unwrap_or([0, 0, 0, 0].into()),
                source: flow.origin.source,
                interface: std::sync::Arc::clone(&flow.origin.interface),
                packets: flow.counts.packets,
                bytes: flow.counts.bytes,
                tcp_connections: flow.tcp,
                quic_connections: flow.quic,
                scope: flow.known.scope,
                place: flow.known.place.clone().into(),
                names: Names::new(Evidence::Dns, flow.names.iter().cloned()).map(Into::into),
            };
            add_all(&mut sums, &row, whole);
        })
        .unwrap();
    for (prefix, counts) in reader.banned(plan).unwrap() {
        add(&mut sums, "banned", "", counts, None, None);
        if whole {
            add(&mut sums, "prefix", &prefix, counts, None, None);
        }
    }
    sums
}

/// The traffic and the totals of a period, at every resolution, against the records.
fn check(reader: &Reader, kept: &[Record], from: i64, to: i64, whole: bool) -> Result<Plan, TestCaseError> {
    let mut plans = Vec::new();
    for coarsest in [Resolution::Interval, Resolution::Hour, Resolution::Day] {
        let plan = reader.plan(from, to, coarsest);
        prop_assert!(plan.from_ms <= from && (plan.to_ms >= to || plan.to_ms == plan.from_ms));
        prop_assert_eq!(
            answered(reader, &plan, whole),
            expected(kept, &plan, whole),
            "{:?}",
            plan
        );
        let buckets = reader.buckets(&plan).unwrap();
        let of_plan = || {
            kept.iter().filter(|record| {
                let end = record.end.as_millisecond();
                end > plan.from_ms && end <= plan.to_ms
            })
        };
        let sum = |of: &dyn Fn(&Record) -> u64| of_plan().map(of).sum::<u64>();
        prop_assert_eq!(
            buckets.iter().map(|bucket| bucket.intervals).sum::<u64>(),
            of_plan().count() as u64
        );
        prop_assert_eq!(
            buckets.iter().map(|bucket| bucket.length_ms).sum::<u64>(),
            sum(&|_| 20_000)
        );
        prop_assert_eq!(
            buckets.iter().map(|bucket| bucket.skbs).sum::<u64>(),
            sum(&|record| record.skbs)
        );
        prop_assert_eq!(
            buckets.iter().map(|bucket| bucket.totals.seen.bytes).sum::<u64>(),
            sum(&|record| record.totals.seen.bytes)
        );
        prop_assert_eq!(
            buckets
                .iter()
                .map(|bucket| bucket.totals.counted.packets)
                .sum::<u64>(),
            sum(&|record| record.totals.counted.packets)
        );
        plans.push(plan);
    }
    // What a period is widened to depends on what is kept, not on the resolution that is asked for.
    prop_assert!(
        plans
            .iter()
            .all(|plan| (plan.from_ms, plan.to_ms) == (plans[0].from_ms, plans[0].to_ms))
    );
    Ok(plans.remove(0))
}

fn days_gone(path: &std::path::Path) -> i64 {
    let connection = open(path, Access::Read).unwrap();
    get(&connection, "days_gone").unwrap().unwrap_or(i64::MIN)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn the_history_is_the_sum_of_its_records(
        records in records(),
        top in prop_oneof![0..14_usize, Just(1000)],
        tidied in prop::collection::vec((0..40_usize, 0..DAYS * DAY_MS), 0..12),
        keep in prop_oneof![Just((2, 12, 48)), Just((0, 0, 0)), Just((1, 30, 10_000)), Just((10_000, 10_000, 10_000))],
        cuts in prop::collection::vec(0..DAYS * DAY_MS, 3),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history.db");
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let bounds = Bounds { top, intervals: hours(keep.0), hours: hours(keep.1), days: hours(keep.2), ..Bounds::default() };
        let mut store = Store::open(&path, bounds).unwrap();
        let whole = top == 1000;
        let mut kept: Vec<Record> = Vec::new();
        for (index, record) in records.iter().enumerate() {
            match store.write(record).unwrap() {
                Written::New => kept.push(record.clone()),
                Written::TooOld => {
                    prop_assert!(bucket_of(record.end.as_millisecond(), DAY_MS) < days_gone(&path));
                }
                Written::Known => prop_assert!(false, "it is new"),
            }
            for (_, now) in tidied.iter().filter(|(after, _)| *after == index) {
                while store.tidy(at(BEGINNING + now)).unwrap() {}
            }
            let gone = days_gone(&path);
            kept.retain(|record| bucket_of(record.end.as_millisecond(), DAY_MS) >= gone);
        }
        // Once more is nothing more.
        for record in &records {
            let again = store.write(record).unwrap();
            prop_assert!(again != Written::New, "{} of {}", record.seq, record.run);
        }
        for record in &kept {
            prop_assert_eq!(store.write(record).unwrap(), Written::Known);
        }
        let reader = Reader::open(&path).unwrap();
        check(&reader, &kept, BEGINNING - 100 * DAY_MS, BEGINNING + 100 * DAY_MS, whole)?;
        // A period and its parts: each begins where the one before it ends.
        let mut cuts: Vec<i64> = cuts.iter().map(|cut| BEGINNING + cut).collect();
        cuts.sort_unstable();
        let all = check(&reader, &kept, cuts[0], cuts[2], whole)?;
        let first = check(&reader, &kept, cuts[0], cuts[1], whole)?;
        prop_assert_eq!(all.from_ms, first.from_ms);
        let second = check(&reader, &kept, first.to_ms.max(first.from_ms), cuts[2].max(first.to_ms), whole)?;
        prop_assert_eq!(second.from_ms, first.to_ms);
        prop_assert_eq!(second.to_ms, all.to_ms.max(first.to_ms));
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn less_detail_keeps_the_sums_that_it_keeps(records in records()) {
        for detail in [Detail::Network, Detail::Country] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("history.db");
            let mut store = Store::open(&path, Bounds { detail, ..Bounds::default() }).unwrap();
            for record in &records {
                store.write(record).unwrap();
            }
            let reader = Reader::open(&path).unwrap();
            let plan = reader.plan(i64::MIN, i64::MAX, Resolution::Interval);
            let (answered, expected) = (answered(&reader, &plan, false), expected(&records, &plan, false));
            for (what, sum) in expected {
                if detail == Detail::Network || !what.contains("network") {
                    prop_assert_eq!(answered.get(&what), Some(&sum), "{}", what);
                }
            }
            reader.flows(&plan, &mut |flow| {
                assert!(flow.address.is_none() && flow.names.is_empty() && flow.known.place.city.is_none());
                assert!(detail == Detail::Network || flow.known.place.asn.is_none() && flow.known.place.network.is_none());
            }).unwrap();
            // Nothing of an address is in the file at all, nor of a banned prefix.
            drop((reader, store));
            let bytes = std::fs::read(&path).unwrap();
            let holds = |what: &[u8]| bytes.windows(what.len()).any(|window| window == what);
            let destinations = records.iter().flat_map(|record| &record.destinations);
            let addresses: std::collections::BTreeSet<_> = destinations.map(|row| row.address).collect();
            for address in addresses {
                let std::net::IpAddr::V4(v4) = address else { unreachable!("all are IPv4") };
                prop_assert!(!holds(&v4.octets()), "{}", address);
            }
            prop_assert!(!holds(b".example") && !holds(b" City"));
        }
    }
}
