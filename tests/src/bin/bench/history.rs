//! What a history costs: writing a record, rolling up an hour, the room of thirty days, and the time of a question.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tcpwatch::history::{Bounds, Reader, Resolution, Store};
use tcpwatch::record::{Destination, Place, Record, RecordTotals, SCHEMA, Scope};
use tcpwatch_common::Counts;

use crate::clock::{self, Pinned};
use crate::random::Random;
use crate::report::{Budget, Line};
use crate::statistics::median;

/// Midnight, UTC.
const BEGINNING: i64 = 20_000 * 86_400_000;
const HOUR: i64 = 3_600_000;
const INTERVAL: i64 = 20_000;
const DESTINATIONS: usize = 5000;
const DAYS: i64 = 30;
/// Of these an interval has some, most of them again and again.
const POOL: u32 = 40_000;
const PLACES: u32 = 3000;
const RECORDS: usize = 30;

/// Records as a busy host makes them.
struct Records {
    random: Random,
    places: Vec<Arc<Place>>,
    seq: u64,
}

impl Records {
    fn new() -> Self {
        let place = |n: u32| {
            Arc::new(Place {
                country: Some(
                    format!(
                        "{}{}",
                        (b'A' + (n % 26) as u8) as char,
                        (b'A' + (n / 26 % 10) as u8) as char
                    )
                    .into(),
                ),
                country_name: Some(format!("Country {}", n % 260).into()),
                city: None,
                asn: Some(n),
                network: Some(format!("NETWORK-{n}").into()),
                anycast: Some(false),
            })
        };
        Self {
            random: Random::new(),
            places: (0..PLACES).map(place).collect(),
            seq: 0,
        }
    }

    fn next(&mut self, end_ms: i64, destinations: usize) -> Record {
        self.seq += 1;
        // A stride through a pool: each once, others each time.
        let pool = POOL.max(destinations as u32 * 2);
        let start = self.random.next() as u32 % pool;
        let mut sum = Counts::default();
        let mut rows: Vec<Destination> = (0..destinations as u32)
            .map(|n| {
                let number = (start + n) % pool;
                let bits = self.random.next();
                // Many have few packets, few have many.
                let packets = 1 + (1_u64 << (bits % 14)) / (1 + bits % 7);
                let bytes = packets * (60 + bits % 1400);
                sum.packets += packets;
                sum.bytes += bytes;
                Destination {
                    address: (0x0b00_0000 + number.wrapping_mul(7919) % 0x1000_0000)
                        .to_be_bytes()
                        .into(),
                    source: Some([198, 51, 100, (number % 2) as u8].into()),
                    interface: "eth0".into(),
                    packets,
                    bytes,
                    tcp_connections: None,
                    quic_connections: None,
                    scope: Scope::Global,
                    place: Arc::clone(&self.places[(number % PLACES) as usize]),
                    names: None,
                }
            })
            .collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.packets));
        Record {
            schema: SCHEMA,
            host: "bench".into(),
            boot_id: "b".into(),
            run: "r".into(),
            seq: self.seq,
            start: Timestamp::from_millisecond(end_ms - INTERVAL).unwrap(),
            end: Timestamp::from_millisecond(end_ms).unwrap(),
            seconds: 20.0,
            partial: false,
            interfaces: Vec::new(),
            totals: RecordTotals {
                seen: sum,
                counted: sum,
                ..RecordTotals::default()
            },
            skbs: sum.packets,
            balanced: true,
            drains: 1,
            geo: Vec::new(),
            destinations: rows,
            banned: Vec::new(),
        }
    }
}

/// All of it, in a directory of its own.
pub fn measure() -> Vec<Line> {
    let _pinned = Pinned::new();
    let mut lines = Vec::new();
    for destinations in [1000, 10_000, 100_000] {
        lines.extend(write(destinations));
    }
    lines.extend(hour());
    lines.extend(month());
    lines
}

/// Milliseconds of time and of processor time.
fn timed<T>(what: impl FnOnce() -> T) -> (T, f64, f64) {
    let (started, cpu) = (Instant::now(), clock::of_thread());
    let result = what();
    (
        result,
        started.elapsed().as_secs_f64() * 1e3,
        (clock::of_thread() - cpu).as_secs_f64() * 1e3,
    )
}

fn open(directory: &Path) -> Store {
    Store::open(&directory.join("history.db"), Bounds::default()).unwrap()
}

fn write(destinations: usize) -> Vec<Line> {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path());
    let mut records = Records::new();
    let (mut time, mut cpu) = (Vec::new(), Vec::new());
    for n in 0..RECORDS as i64 {
        let record = records.next(BEGINNING + n * INTERVAL, destinations);
        let (_, taken, used) = timed(|| store.write(&record).unwrap());
        time.push(taken);
        cpu.push(used);
    }
    let case = format!("history, a record of {destinations} destinations, {DESTINATIONS} kept");
    vec![
        Line::alone(&case, "to write it", median(&time), "ms"),
        Line::alone(&case, "processor time", median(&cpu), "ms"),
    ]
}

/// 180 intervals become an hour, and later 24 hours a day.
fn hour() -> Vec<Line> {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path());
    let mut records = Records::new();
    for n in 1..=HOUR / INTERVAL {
        store
            .write(&records.next(BEGINNING + n * INTERVAL, DESTINATIONS))
            .unwrap();
    }
    let at = |ms| Timestamp::from_millisecond(ms).unwrap();
    let over = BEGINNING + HOUR + 61_000;
    let (more, hour, hour_cpu) = timed(|| store.tidy(at(over)).unwrap());
    assert!(more, "an hour was to be made");
    while store.tidy(at(over)).unwrap() {}
    let mut deleting = 0.0;
    let later = BEGINNING + 3 * 24 * HOUR;
    loop {
        let (more, _, used) = timed(|| store.tidy(at(later)).unwrap());
        deleting += used;
        if !more {
            break;
        }
    }
    let case = format!("history, an hour of 180 intervals, {DESTINATIONS} destinations each");
    let interval = (hour_cpu + deleting) / 180.0;
    vec![
        Line::alone(&case, "to roll it up", hour, "ms"),
        Line::alone(&case, "roll-ups and deleting, for each interval", interval, "ms"),
    ]
}

fn month() -> Vec<Line> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let mut store = open(directory.path());
    let mut records = Records::new();
    let at = |ms| Timestamp::from_millisecond(ms).unwrap();
    let end = BEGINNING + DAYS * 24 * HOUR;
    // Hours that nobody needs interval by interval any more are one record each; the last two days are whole.
    let mut now = BEGINNING;
    while now < end {
        now += if now < end - 48 * HOUR { HOUR } else { INTERVAL };
        store.write(&records.next(now, DESTINATIONS)).unwrap();
        if now % HOUR == 0 {
            while store.tidy(at(now + 61_000)).unwrap() {}
        }
    }
    drop(store);
    let size = fs::metadata(&path).unwrap().len() as f64 / 1e6;
    let case =
        format!("history, {DAYS} days of {DESTINATIONS} destinations, two days of them in intervals of 20 s");
    let mut lines = vec![Line::alone(&case, "size of the file", size, "MB")];
    for (what, hours, coarsest, limit) in [
        ("6 hours, interval by interval", 6, Resolution::Interval, None),
        ("6 hours, by hours", 6, Resolution::Hour, Some(500.0)),
        ("24 hours, by hours", 24, Resolution::Hour, Some(500.0)),
        ("30 days, by hours", 24 * DAYS, Resolution::Hour, None),
        ("30 days, by days", 24 * DAYS, Resolution::Day, Some(500.0)),
    ] {
        let (mut times, mut rows) = (Vec::new(), 0_u64);
        for _ in 0..5 {
            let started = Instant::now();
            let reader = Reader::open(&path).unwrap();
            let plan = reader.plan(end - hours * HOUR, end, coarsest);
            let (mut packets, mut counted) = (0_u64, 0_u64);
            rows = 0;
            reader
                .flows(&plan, &mut |flow| {
                    rows += 1;
                    packets += flow.counts.packets;
                })
                .unwrap();
            for bucket in reader.buckets(&plan).unwrap() {
                counted += bucket.totals.counted.packets;
            }
            assert_eq!(packets, counted, "what is kept is exact");
            times.push(started.elapsed());
        }
        let time = median(
            &times
                .iter()
                .map(|time: &Duration| time.as_secs_f64() * 1e3)
                .collect::<Vec<_>>(),
        );
        let mut line = Line::alone(&case, &format!("{what}: {rows} rows"), time, "ms");
        if let Some(limit) = limit {
            line = line.promised(Budget::at_most(limit, "ms", time));
        }
        lines.push(line);
    }
    lines.push(Line::alone(
        &case,
        "memory of the measurement, at its highest",
        peak_mb(),
        "MB",
    ));
    lines
}

fn peak_mb() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let kib: f64 = status
        .lines()
        .find_map(|line| {
            line.strip_prefix("VmHWM:")?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        })
        .unwrap();
    kib * 1024.0 / 1e6
}
