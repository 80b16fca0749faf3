//! From intervals to hours, from hours to days, and out again when they are too old: in slices, each a transaction, so that a record
//! never waits long.
//!
//! An hour is made when it is over, from the intervals, a day from the hours; a record that comes later still is added where it
//! belongs. So the history is complete, for each resolution, in a range that `progress` has:
//!
//! * intervals: those that ended after `raw_gone_ms`, but for those before `days_gone`;
//! * hours: from `hours_gone` up to `hours_to`, without it;
//! * days: from `days_gone` up to `days_to`, without it.

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};

use crate::history::dictionary::{self, Dictionary};
use crate::history::totals::{COLUMNS, OF_INTERVAL, Totals};
use crate::history::traffic::{Malformed, Traffic, banned_from_bytes, rows_from_bytes};
use crate::history::{Bounds, damage};

pub(super) const HOUR_MS: i64 = 3_600_000;
pub(super) const DAY_MS: i64 = 86_400_000;

/// After an hour's end, so that its last record is there: an interval may take a while to be written.
const GRACE_MS: i64 = 60_000;

/// Intervals that are deleted in one slice.
const SLICE: i64 = 50;

/// Pages that are given back to the file system in one slice.
const GIVE_BACK: i64 = 500;

/// A resolution that is made from a finer one.
pub(super) struct Level {
    /// `hour` or `day`.
    pub name: &'static str,
    /// Milliseconds of a bucket.
    pub length: i64,
}

pub(super) const HOUR: Level = Level {
    name: "hour",
    length: HOUR_MS,
};
pub(super) const DAY: Level = Level {
    name: "day",
    length: DAY_MS,
};

/// The number of the hour or day in which an interval ended.
pub(super) const fn bucket_of(end_ms: i64, length: i64) -> i64 {
    (end_ms - 1).div_euclid(length)
}

/// Does the next piece of work. False: there is none.
pub(super) fn slice(
    connection: &mut Connection,
    dictionary: &mut Dictionary,
    bounds: &Bounds,
    now_ms: i64,
) -> rusqlite::Result<bool> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // What is too large gives up its finest resolution first.
    let too_large = used_bytes(&transaction)? > bounds.bytes;
    let until = |age| {
        if too_large {
            now_ms
        } else {
            now_ms.saturating_sub(as_ms(age))
        }
    };
    let deleted = || -> rusqlite::Result<bool> {
        Ok(forget_intervals(&transaction, until(bounds.intervals))?
            || forget(&transaction, &HOUR, until(bounds.hours))?
            || forget(&transaction, &DAY, until(bounds.days))?)
    };
    let done = make_hour(&transaction, dictionary, bounds, now_ms)?
        || make_day(&transaction, dictionary, bounds)?
        || deleted()?
        || prune(&transaction, dictionary)?;
    transaction.commit()?;
    Ok(done || give_back(connection)?)
}

/// Gives pages back to the file system when a quarter of the file is free: what is deleted in the usual course makes room for what
/// comes next.
fn give_back(connection: &Connection) -> rusqlite::Result<bool> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (free, all) = (pragma("freelist_count")?, pragma("page_count")?);
    if free <= GIVE_BACK || free <= all / 4 {
        return Ok(false);
    }
    // It yields a row for each page, and ends early if they are not asked for.
    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({GIVE_BACK})"))?;
    let mut rows = statement.query(())?;
    while rows.next()?.is_some() {}
    Ok(pragma("freelist_count")? < free)
}

fn as_ms(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn get(connection: &Connection, what: &str) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT value FROM progress WHERE what = ?")?
        .query_row([what], |row| row.get(0))
        .optional()
}

fn set(transaction: &Transaction<'_>, what: &str, value: i64) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("INSERT OR REPLACE INTO progress (what, value) VALUES (?, ?)")?
        .execute(params![what, value])?;
    Ok(())
}

/// Writes the traffic of a bucket, in place of what is there.
pub(super) fn save(
    transaction: &Transaction<'_>,
    table: &str,
    bucket: i64,
    traffic: &Traffic,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(&format!(
            "INSERT OR REPLACE INTO {table} (bucket, banned, rows) VALUES (?, ?, ?)"
        ))?
        .execute(params![
            bucket,
            traffic.banned_to_bytes(),
            traffic.rows_to_bytes()
        ])?;
    Ok(())
}

/// Adds up the traffic that a query yields, in the columns `banned` and `rows`.
pub(super) fn load(connection: &Connection, sql: &str, of: (i64, i64)) -> rusqlite::Result<Traffic> {
    let mut traffic = Traffic::default();
    let mut select = connection.prepare_cached(sql)?;
    let mut rows = select.query([of.0, of.1])?;
    while let Some(row) = rows.next()? {
        let add = |(banned, rows): (&[u8], &[u8]), traffic: &mut Traffic| -> Result<(), Malformed> {
            banned_from_bytes(banned, |prefix, counts| traffic.add_banned(prefix, counts))?;
            rows_from_bytes(rows, |key, sums| traffic.add_row(key, sums))
        };
        let bytes = (row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?);
        add(bytes, &mut traffic).map_err(|Malformed| damage("the traffic of a bucket cannot be read"))?;
    }
    Ok(traffic)
}

pub(super) fn sum(connection: &Connection, sql: &str, of: (i64, i64)) -> rusqlite::Result<Totals> {
    let mut totals = Totals::default();
    let mut select = connection.prepare_cached(sql)?;
    let mut rows = select.query([of.0, of.1])?;
    while let Some(row) = rows.next()? {
        totals.add(&Totals::read(row, 0)?);
    }
    Ok(totals)
}

/// What an hour is made from: after the first, up to the second moment.
pub(super) const TRAFFIC_OF_INTERVALS: &str = "SELECT banned, rows FROM interval JOIN traffic_raw ON bucket = interval.id WHERE end_ms > ? AND end_ms <= ?";
/// What a day is made from: the first hour, up to the second, without it.
pub(super) const TRAFFIC_OF_HOURS: &str =
    "SELECT banned, rows FROM traffic_hour WHERE bucket >= ? AND bucket < ?";

pub(super) fn totals_of_intervals() -> String {
    format!("SELECT {OF_INTERVAL} FROM interval WHERE end_ms > ? AND end_ms <= ?")
}

pub(super) fn totals_of_hours() -> String {
    format!("SELECT {COLUMNS} FROM total_hour WHERE bucket >= ? AND bucket < ?")
}

/// Rolls up the next hour that is over and has intervals.
fn make_hour(
    transaction: &Transaction<'_>,
    dictionary: &mut Dictionary,
    bounds: &Bounds,
    now_ms: i64,
) -> rusqlite::Result<bool> {
    let done = get(transaction, "hours_to")?;
    let over = (now_ms - GRACE_MS).div_euclid(HOUR_MS);
    // Hours without intervals are skipped; they are empty in both resolutions.
    let next: Option<i64> = transaction
        .prepare_cached("SELECT min(end_ms) FROM interval WHERE end_ms > ?")?
        .query_row([done.map_or(i64::MIN, |done| done * HOUR_MS)], |row| row.get(0))?;
    let Some(hour) = next.map(|end_ms| bucket_of(end_ms, HOUR_MS)) else {
        return Ok(false);
    };
    if hour >= over {
        return Ok(false);
    }
    let range = (hour * HOUR_MS, (hour + 1) * HOUR_MS);
    let traffic = load(transaction, TRAFFIC_OF_INTERVALS, range)?;
    let totals = sum(transaction, &totals_of_intervals(), range)?;
    make(transaction, dictionary, bounds, &HOUR, hour, traffic, &totals)?;
    Ok(true)
}

/// Rolls up the next day all of whose hours are.
fn make_day(
    transaction: &Transaction<'_>,
    dictionary: &mut Dictionary,
    bounds: &Bounds,
) -> rusqlite::Result<bool> {
    let Some(hours) = get(transaction, "hours_to")? else {
        return Ok(false);
    };
    let done = get(transaction, "days_to")?;
    let next: Option<i64> = transaction
        .prepare_cached("SELECT min(bucket) FROM total_hour WHERE bucket >= ?")?
        .query_row([done.map_or(i64::MIN, |done| done * 24)], |row| row.get(0))?;
    let Some(day) = next.map(|hour| hour.div_euclid(24)) else {
        return Ok(false);
    };
    // Hours are made in order, and those without intervals skipped: the first of the next day tells that this one is over.
    if hours < (day + 1) * 24 {
        return Ok(false);
    }
    let range = (day * 24, (day + 1) * 24);
    let traffic = load(transaction, TRAFFIC_OF_HOURS, range)?;
    let totals = sum(transaction, &totals_of_hours(), range)?;
    make(transaction, dictionary, bounds, &DAY, day, traffic, &totals)?;
    Ok(true)
}

fn make(
    transaction: &Transaction<'_>,
    dictionary: &mut Dictionary,
    bounds: &Bounds,
    level: &Level,
    bucket: i64,
    traffic: Traffic,
    totals: &Totals,
) -> rusqlite::Result<()> {
    save_folded(transaction, dictionary, bounds, level, bucket, traffic)?;
    let name = level.name;
    totals.write(transaction, &format!("total_{name}"), bucket)?;
    set(transaction, &format!("{name}s_to"), bucket + 1)
}

/// Keeps as many addresses of a bucket as `top` says.
fn save_folded(
    transaction: &Transaction<'_>,
    dictionary: &mut Dictionary,
    bounds: &Bounds,
    level: &Level,
    bucket: i64,
    mut traffic: Traffic,
) -> rusqlite::Result<()> {
    let day = bucket_of((bucket + 1) * level.length, DAY_MS);
    traffic.fold(bounds.top, |place| dictionary.reduced(transaction, day, place))?;
    save(transaction, &format!("traffic_{}", level.name), bucket, &traffic)
}

/// A record that was just written belongs to an hour, perhaps a day, that has been rolled up already: it is added there.
pub(super) fn late(
    transaction: &Transaction<'_>,
    dictionary: &mut Dictionary,
    bounds: &Bounds,
    interval: i64,
    end_ms: i64,
    traffic: &Traffic,
) -> rusqlite::Result<()> {
    for level in [&HOUR, &DAY] {
        let name = level.name;
        let bucket = bucket_of(end_ms, level.length);
        let to = get(transaction, &format!("{name}s_to"))?;
        let gone = get(transaction, &format!("{name}s_gone"))?;
        if to.is_none_or(|to| bucket >= to) || gone.is_some_and(|gone| bucket < gone) {
            continue;
        }
        let here = (bucket, bucket + 1);
        let sql = format!("SELECT banned, rows FROM traffic_{name} WHERE bucket >= ? AND bucket < ?");
        let mut held = load(transaction, &sql, here)?;
        held.add(traffic);
        save_folded(transaction, dictionary, bounds, level, bucket, held)?;
        let sql = format!("SELECT {COLUMNS} FROM total_{name} WHERE bucket >= ? AND bucket < ?");
        let mut totals = sum(transaction, &sql, here)?;
        let sql = format!("SELECT {OF_INTERVAL} FROM interval WHERE id >= ? AND id < ?");
        totals.add(&sum(transaction, &sql, (interval, interval + 1))?);
        totals.write(transaction, &format!("total_{name}"), bucket)?;
    }
    Ok(())
}

/// Deletes intervals that ended at or before `until_ms`, the oldest first, if they have been rolled up. That they were written
/// stays known.
fn forget_intervals(transaction: &Transaction<'_>, until_ms: i64) -> rusqlite::Result<bool> {
    let Some(hours) = get(transaction, "hours_to")? else {
        return Ok(false);
    };
    let until = until_ms.min(hours.saturating_mul(HOUR_MS));
    let mut select = transaction.prepare_cached(
        "SELECT id, run, seq, end_ms FROM interval WHERE end_ms <= ?1 ORDER BY end_ms, id LIMIT ?2",
    )?;
    let gone: Vec<(i64, i64, i64, i64)> = select
        .query_map(params![until, SLICE], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?
        .collect::<Result<_, _>>()?;
    let Some((.., last_ms)) = gone.last().copied() else {
        return Ok(false);
    };
    for (id, run, seq, _) in gone {
        for statement in [
            "DELETE FROM traffic_raw WHERE bucket = ?",
            "DELETE FROM interval WHERE id = ?",
        ] {
            transaction.prepare_cached(statement)?.execute([id])?;
        }
        remember(transaction, run, seq)?;
    }
    let so_far = get(transaction, "raw_gone_ms")?.unwrap_or(i64::MIN);
    set(transaction, "raw_gone_ms", last_ms.max(so_far))?;
    Ok(true)
}

/// Notes that a record was written, as one of a range: the records of a run are numbered without gaps.
fn remember(transaction: &Transaction<'_>, run: i64, seq: i64) -> rusqlite::Result<()> {
    // The range that ends before it, and the one that begins after it.
    let before: Option<i64> = transaction
        .prepare_cached("SELECT first FROM written WHERE run = ?1 AND first < ?2 AND last = ?2 - 1 LIMIT 1")?
        .query_row(params![run, seq], |row| row.get(0))
        .optional()?;
    let after: Option<i64> = transaction
        .prepare_cached("DELETE FROM written WHERE run = ?1 AND first = ?2 + 1 RETURNING last")?
        .query_row(params![run, seq], |row| row.get(0))
        .optional()?;
    transaction
        .prepare_cached("INSERT OR REPLACE INTO written (run, first, last) VALUES (?, ?, ?)")?
        .execute(params![run, before.unwrap_or(seq), after.unwrap_or(seq)])?;
    Ok(())
}

/// Whether a record was written and its interval has been deleted since.
pub(super) fn was_written(transaction: &Transaction<'_>, run: i64, seq: i64) -> rusqlite::Result<bool> {
    transaction
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM written WHERE run = ?1 AND first <= ?2 AND last >= ?2)",
        )?
        .query_row(params![run, seq], |row| row.get(0))
}

/// Whether the day in which an interval ended has been deleted.
pub(super) fn is_gone(transaction: &Transaction<'_>, end_ms: i64) -> rusqlite::Result<bool> {
    Ok(get(transaction, "days_gone")?.is_some_and(|gone| bucket_of(end_ms, DAY_MS) < gone))
}

/// Bytes of the file that are in use.
fn used_bytes(transaction: &Transaction<'_>) -> rusqlite::Result<u64> {
    let pragma = |name: &str| transaction.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let pages = pragma("page_count")? - pragma("freelist_count")?;
    Ok(u64::try_from(pages * pragma("page_size")?).unwrap_or(0))
}

/// Deletes the oldest bucket that ended at or before `until_ms`; hours only when their day is there.
fn forget(transaction: &Transaction<'_>, level: &Level, until_ms: i64) -> rusqlite::Result<bool> {
    let name = level.name;
    let mut until = until_ms.div_euclid(level.length);
    if level.length == HOUR_MS {
        let Some(days) = get(transaction, "days_to")? else {
            return Ok(false);
        };
        until = until.min(days.saturating_mul(24));
    }
    let oldest: Option<i64> = transaction
        .prepare_cached(&format!("SELECT min(bucket) FROM total_{name} WHERE bucket < ?"))?
        .query_row([until], |row| row.get(0))?;
    let Some(bucket) = oldest else {
        return Ok(false);
    };
    for table in ["traffic", "total"] {
        transaction
            .prepare_cached(&format!("DELETE FROM {table}_{name} WHERE bucket = ?"))?
            .execute([bucket])?;
    }
    let so_far = get(transaction, &format!("{name}s_gone"))?.unwrap_or(i64::MIN);
    set(transaction, &format!("{name}s_gone"), so_far.max(bucket + 1))?;
    Ok(true)
}

/// Deletes what the dictionaries have for days that are gone in every resolution. False: there were none since the last time.
fn prune(transaction: &Transaction<'_>, dictionary: &mut Dictionary) -> rusqlite::Result<bool> {
    let first: Option<i64> = transaction
        .prepare_cached(
            "SELECT min(day) FROM (SELECT (min(end_ms) - 1) / 86400000 AS day FROM interval \
             UNION ALL SELECT min(bucket) / 24 FROM total_hour UNION ALL SELECT min(bucket) FROM total_day)",
        )?
        .query_row((), |row| row.get(0))?;
    // One less, because SQLite rounds towards zero.
    let Some(first) = first.map(|day| day - 1) else {
        return Ok(false);
    };
    if get(transaction, "pruned_to")?.is_some_and(|to| to >= first) {
        return Ok(false);
    }
    set(transaction, "pruned_to", first)?;
    dictionary::prune(transaction, first)?;
    dictionary.forget();
    Ok(true)
}
