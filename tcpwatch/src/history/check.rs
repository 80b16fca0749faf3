//! The history's own books: SQLite's, those of every interval, and those of the roll-ups as far as what they were made from is there.

use std::path::Path;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _};
use rusqlite::Connection;
use tcpwatch_common::Counts;

use crate::history::plan::Progress;
use crate::history::rollup::{
    self, DAY, DAY_MS, HOUR, HOUR_MS, Level, TRAFFIC_OF_HOURS, TRAFFIC_OF_INTERVALS,
};
use crate::history::schema::{Access, open};
use crate::history::totals::{OF_INTERVAL, Totals};
use crate::history::traffic::Traffic;
use crate::history::{HistoryError, Reader};

/// Lines of SQLite's own check that are said.
const MOST_DAMAGES: usize = 100;

/// What was checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Intervals.
    pub intervals: u64,
    /// Hours.
    pub hours: u64,
    /// Days.
    pub days: u64,
}

/// Traffic by all that a roll-up keeps: origin, scope, country and network.
type Sums = HashMap<(i64, i64), Counts>;

struct Check<'a> {
    connection: &'a Connection,
    reader: &'a Reader,
    progress: Progress,
    /// Places that a roll-up may have made one of, by the first of them.
    places: HashMap<i64, i64>,
    found: &'a mut dyn FnMut(String),
    step: &'a mut dyn FnMut(u64, u64),
    done: u64,
    all: u64,
}

/// Checks a history, as it is at this moment. `found` is told what does not hold, `step` how far it has come.
///
/// # Errors
/// It cannot be opened, or reading it has to be given up.
pub fn check(
    path: &Path,
    found: &mut dyn FnMut(String),
    step: &mut dyn FnMut(u64, u64),
) -> Result<Checked, HistoryError> {
    let connection = open(path, Access::Read)?;
    let begin = || -> rusqlite::Result<Vec<String>> {
        // One state for everything.
        connection.execute_batch("BEGIN")?;
        let mut select = connection.prepare(&format!("PRAGMA integrity_check({MOST_DAMAGES})"))?;
        select.query_map((), |row| row.get(0))?.collect()
    };
    let verdict = begin().map_err(HistoryError::Read)?;
    if verdict != ["ok"] {
        for line in verdict {
            found(format!("SQLite: {line}"));
        }
    }
    drop(connection);
    let reader = Reader::open(path)?;
    let connection = reader.connection();
    let mut check = Check {
        connection,
        progress: *reader.progress(),
        places: places(&reader),
        reader: &reader,
        found,
        step,
        done: 0,
        all: 0,
    };
    check.run().map_err(HistoryError::Read)
}

/// The same number for places that differ in what a roll-up does not keep.
fn places(reader: &Reader) -> HashMap<i64, i64> {
    let mut numbers = HashMap::new();
    let mut first: HashMap<_, i64> = HashMap::new();
    for (id, known) in reader.known() {
        let place = &known.place;
        let text = |text: &Option<Arc<str>>| text.clone();
        let kept = (
            known.scope,
            text(&place.country),
            text(&place.country_name),
            place.asn,
            text(&place.network),
        );
        let first = first.entry(kept).or_insert(*id);
        numbers.insert(*id, *first);
    }
    numbers
}

impl Check<'_> {
    fn run(&mut self) -> rusqlite::Result<Checked> {
        let count = |table: &str| -> rusqlite::Result<u64> {
            let sql = format!("SELECT count(*) FROM {table}");
            let count: i64 = self.connection.query_row(&sql, (), |row| row.get(0))?;
            Ok(count.unsigned_abs())
        };
        let checked = Checked {
            intervals: count("interval")?,
            hours: count("total_hour")?,
            days: count("total_day")?,
        };
        self.all = checked.intervals + checked.hours + checked.days;
        self.ranges()?;
        self.orphans()?;
        self.intervals()?;
        self.numbers()?;
        self.level(&HOUR)?;
        self.level(&DAY)?;
        Ok(checked)
    }

    fn stepped(&mut self) {
        self.done += 1;
        (self.step)(self.done, self.all);
    }

    /// What is deleted must have been rolled up, and what is there must be within its range.
    fn ranges(&mut self) -> rusqlite::Result<()> {
        let Progress {
            raw_gone_ms,
            hours,
            days,
        } = self.progress;
        if raw_gone_ms > hours.1.saturating_mul(HOUR_MS) {
            (self.found)("intervals were deleted that no hour has".to_owned());
        }
        if hours.0 > days.1.saturating_mul(24) {
            (self.found)("hours were deleted that no day has".to_owned());
        }
        for (name, (first, end)) in [("hour", hours), ("day", days)] {
            let mut select = self.connection.prepare(&format!(
                "SELECT bucket FROM total_{name} WHERE bucket < ? OR bucket >= ?"
            ))?;
            let mut rows = select.query([first, end])?;
            while let Some(row) = rows.next()? {
                let bucket: i64 = row.get(0)?;
                (self.found)(format!("{name} {bucket} is outside of what was made"));
            }
        }
        Ok(())
    }

    /// Traffic without totals, and totals without traffic.
    fn orphans(&mut self) -> rusqlite::Result<()> {
        for (a, key, b) in [
            ("traffic_raw", "id", "interval"),
            ("traffic_hour", "bucket", "total_hour"),
            ("traffic_day", "bucket", "total_day"),
        ] {
            for (there, there_key, missing, missing_key) in [(a, "bucket", b, key), (b, key, a, "bucket")] {
                let mut select = self.connection.prepare(&format!(
                    "SELECT {there_key} FROM {there} WHERE {there_key} NOT IN (SELECT {missing_key} FROM {missing})"
                ))?;
                let mut rows = select.query(())?;
                while let Some(row) = rows.next()? {
                    let bucket: i64 = row.get(0)?;
                    (self.found)(format!("{there} {bucket} has no row in {missing}"));
                }
            }
        }
        Ok(())
    }

    /// The books of every interval.
    fn intervals(&mut self) -> rusqlite::Result<()> {
        let mut select = self.connection.prepare(&format!(
            "SELECT interval.id, run.run, seq, {OF_INTERVAL} FROM interval JOIN run ON run.id = interval.run ORDER BY end_ms"
        ))?;
        let mut rows = select.query(())?;
        while let Some(row) = rows.next()? {
            let (id, run, seq): (i64, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let totals = Totals::read(row, 3)?;
            let name = format!("record {seq} of run {}", run.chars().take(8).collect::<String>());
            let sql = "SELECT banned, rows FROM traffic_raw WHERE bucket >= ? AND bucket < ?";
            self.books(&name, sql, (id, id + 1), &totals);
            self.stepped();
        }
        Ok(())
    }

    /// The books of a bucket. Its traffic, where it can be read.
    fn books(&mut self, name: &str, sql: &str, of: (i64, i64), totals: &Totals) -> Option<Traffic> {
        let of_bucket = totals.of_record();
        let unbalanced = totals.unbalanced();
        if unbalanced > 0 {
            (self.found)(format!(
                "{name}: {unbalanced} of {} do not balance",
                totals.intervals()
            ));
        }
        let outcomes = [
            of_bucket.counted,
            of_bucket.overflow,
            of_bucket.banned,
            of_bucket.served,
            of_bucket.other_source,
            of_bucket.malformed,
            of_bucket.not_ip,
        ];
        self.equal(
            name,
            "seen",
            of_bucket.seen,
            "the sum of the outcomes",
            outcomes.iter(),
        );
        let traffic = match rollup::load(self.connection, sql, of) {
            Ok(traffic) => traffic,
            Err(error) => {
                (self.found)(format!("{name}: {error}"));
                return None;
            }
        };
        let rows = traffic.rows.values().map(|sums| &sums.counts);
        self.equal(
            name,
            "counted",
            of_bucket.counted,
            "the sum over destinations",
            rows,
        );
        let banned = traffic.banned.values();
        self.equal(
            name,
            "banned",
            of_bucket.banned,
            "the sum over banned prefixes",
            banned,
        );
        let missing = traffic
            .rows
            .keys()
            .find(|key| !self.reader.knows(key.place, key.origin, key.names));
        if missing.is_some() {
            (self.found)(format!(
                "{name}: a place, an origin or names that it speaks of are missing"
            ));
        }
        Some(traffic)
    }

    fn equal<'c>(
        &mut self,
        name: &str,
        sum: &str,
        is: Counts,
        of: &str,
        parts: impl Iterator<Item = &'c Counts>,
    ) {
        let mut should = (0_u128, 0_u128);
        for part in parts {
            should.0 += u128::from(part.packets);
            should.1 += u128::from(part.bytes);
        }
        if should != (u128::from(is.packets), u128::from(is.bytes)) {
            (self.found)(format!(
                "{name}: {sum} is {} packets and {} bytes, {of} comes to {} and {}",
                is.packets, is.bytes, should.0, should.1
            ));
        }
    }

    /// Numbers of each run that are neither there nor known as written, and such as are both.
    fn numbers(&mut self) -> rusqlite::Result<()> {
        let mut select = self.connection.prepare(
            "SELECT run.run, seq, seq FROM interval JOIN run ON run.id = interval.run \
             UNION ALL SELECT run.run, first, last FROM written JOIN run ON run.id = written.run ORDER BY 1, 2",
        )?;
        let mut rows = select.query(())?;
        let mut before: Option<(String, i64)> = None;
        while let Some(row) = rows.next()? {
            let (run, first, last): (String, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let name: String = run.chars().take(8).collect();
            if let Some((of, to)) = &before
                && *of == run
            {
                if first > to + 1 {
                    (self.found)(format!(
                        "run {name}: records {} to {} are missing",
                        to + 1,
                        first - 1
                    ));
                }
                if first <= *to {
                    (self.found)(format!("run {name}: record {first} is there twice"));
                }
            }
            let last = match &before {
                Some((of, to)) if *of == run => last.max(*to),
                Some(_) | None => last,
            };
            before = Some((run, last));
        }
        Ok(())
    }

    /// Hours or days: their books, and that they are the sum of what they were made from where all of that is still there.
    fn level(&mut self, level: &Level) -> rusqlite::Result<()> {
        let name = level.name;
        let buckets: Vec<i64> = self
            .connection
            .prepare(&format!("SELECT bucket FROM total_{name} ORDER BY bucket"))?
            .query_map((), |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for bucket in buckets {
            let what = format!("{name} {}", beginning(bucket, level));
            let here = (bucket, bucket + 1);
            let columns = crate::history::totals::COLUMNS;
            let sql = format!("SELECT {columns} FROM total_{name} WHERE bucket >= ? AND bucket < ?");
            let totals = rollup::sum(self.connection, &sql, here)?;
            let sql = format!("SELECT banned, rows FROM traffic_{name} WHERE bucket >= ? AND bucket < ?");
            let traffic = self.books(&what, &sql, here, &totals);
            if let (Some(traffic), Some((from, parts))) = (traffic, self.parts(level, bucket)?) {
                if totals != parts {
                    (self.found)(format!("{what}: its totals are not the sum of its {from}"));
                }
                let (sql, of) = Self::made_from(level, bucket);
                if let Ok(parts) = rollup::load(self.connection, sql, of)
                    && self.sums(&traffic) != self.sums(&parts)
                {
                    (self.found)(format!(
                        "{what}: its traffic by origin, country and network is not that of its {from}"
                    ));
                }
            }
            self.stepped();
        }
        Ok(())
    }

    fn made_from(level: &Level, bucket: i64) -> (&'static str, (i64, i64)) {
        if level.length == HOUR_MS {
            (TRAFFIC_OF_INTERVALS, (bucket * HOUR_MS, (bucket + 1) * HOUR_MS))
        } else {
            (TRAFFIC_OF_HOURS, (bucket * 24, (bucket + 1) * 24))
        }
    }

    /// The totals of what a bucket was made from; none: not all of it is there any more.
    fn parts(&self, level: &Level, bucket: i64) -> rusqlite::Result<Option<(&'static str, Totals)>> {
        let (_, of) = Self::made_from(level, bucket);
        if level.length == HOUR_MS {
            if of.0 < self.progress.raw_gone_ms {
                return Ok(None);
            }
            let parts = rollup::sum(self.connection, &rollup::totals_of_intervals(), of)?;
            return Ok(Some(("intervals", parts)));
        }
        if of.0 < self.progress.hours.0 {
            return Ok(None);
        }
        let parts = rollup::sum(self.connection, &rollup::totals_of_hours(), of)?;
        Ok(Some(("hours", parts)))
    }

    fn sums(&self, traffic: &Traffic) -> Sums {
        let mut sums = Sums::new();
        for (key, of) in &traffic.rows {
            let place = self.places.get(&key.place).copied().unwrap_or(-1);
            let sum = sums.entry((key.origin, place)).or_default();
            sum.packets = sum.packets.saturating_add(of.counts.packets);
            sum.bytes = sum.bytes.saturating_add(of.counts.bytes);
        }
        sums
    }
}

/// When an hour or day began.
fn beginning(bucket: i64, level: &Level) -> String {
    let ms = bucket.saturating_mul(level.length);
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(time) if level.length == DAY_MS => time.strftime("%Y-%m-%d").to_string(),
        Ok(time) => time.strftime("%Y-%m-%dT%H").to_string(),
        Err(_) => bucket.to_string(),
    }
}
