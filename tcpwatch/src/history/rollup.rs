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

use crate::history::dictionary::Dictionary;
use crate::history::retention::{forget, forget_intervals, give_back, prune, prune_names, used_bytes};
use crate::history::totals::{COLUMNS, OF_INTERVAL, Totals};
use crate::history::traffic::{Malformed, Traffic, banned_from_bytes, rows_from_bytes};
use crate::history::{Bounds, damage};

pub(super) const HOUR_MS: i64 = 3_600_000;
pub(super) const DAY_MS: i64 = 86_400_000;

/// After an hour's end, so that its last record is there: an interval may take a while to be written.
const GRACE_MS: i64 = 60_000;

/// Rows that are held while an hour or a day is made, some 100 bytes each.
const MOST_ROWS: usize = 150_000;

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

/// What a slice did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slice {
    /// There was nothing to do.
    Nothing,
    /// Something that was due.
    Work,
    /// Deleted something before its time, because the file is too large.
    Cut,
}

/// Does the next piece of work: makes what is over at `now_ms`, deletes what is too old at `deletions_ms`.
pub(super) fn slice(
    connection: &mut Connection,
    dictionary: &mut Dictionary,
    bounds: &Bounds,
    now_ms: i64,
    deletions_ms: i64,
) -> rusqlite::Result<Slice> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    dictionary.refresh(&transaction)?;
    // What is too large gives up its finest resolution first.
    let too_large = used_bytes(&transaction)? > bounds.bytes;
    let until = |age| {
        if too_large {
            now_ms
        } else {
            deletions_ms.saturating_sub(as_ms(age))
        }
    };
    let deleted = || -> rusqlite::Result<bool> {
        Ok(forget_intervals(&transaction, until(bounds.intervals))?
            || forget(&transaction, &HOUR, until(bounds.hours))?
            || forget(&transaction, &DAY, until(bounds.days))?)
    };
    let made =
        make_hour(&transaction, dictionary, bounds, now_ms)? || make_day(&transaction, dictionary, bounds)?;
    // First, because what is freed by it need not be freed by deleting more.
    let pruned = !made && prune(&transaction, dictionary)?;
    let deleted = !made && !pruned && deleted()?;
    let done = made || pruned || deleted || prune_names(&transaction, dictionary)?;
    transaction.commit()?;
    Ok(if deleted && too_large {
        Slice::Cut
    } else if done || give_back(connection)? {
        Slice::Work
    } else {
        Slice::Nothing
    })
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

pub(super) fn set(transaction: &Transaction<'_>, what: &str, value: i64) -> rusqlite::Result<()> {
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
    load_bounded(connection, sql, of, &mut |_| Ok(()))
}

/// The same; `bound` is called after every bucket.
fn load_bounded(
    connection: &Connection,
    sql: &str,
    of: (i64, i64),
    bound: &mut dyn FnMut(&mut Traffic) -> rusqlite::Result<()>,
) -> rusqlite::Result<Traffic> {
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
        bound(&mut traffic)?;
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
    let hour = match next.map(|end_ms| bucket_of(end_ms, HOUR_MS)) {
        Some(hour) if hour < over => hour,
        // All that is over is made, also the hours in which nothing was recorded: so that their day can be.
        Some(_) | None if done.is_some_and(|done| done < over) => {
            set(transaction, "hours_to", over)?;
            return Ok(true);
        }
        Some(_) | None => return Ok(false),
    };
    let range = (hour * HOUR_MS, (hour + 1) * HOUR_MS);
    let totals = sum(transaction, &totals_of_intervals(), range)?;
    make(
        transaction,
        dictionary,
        bounds,
        (&HOUR, hour),
        (TRAFFIC_OF_INTERVALS, range),
        &totals,
    )?;
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
    if hours < (day + 1) * 24 {
        return Ok(false);
    }
    let range = (day * 24, (day + 1) * 24);
    let totals = sum(transaction, &totals_of_hours(), range)?;
    make(
        transaction,
        dictionary,
        bounds,
        (&DAY, day),
        (TRAFFIC_OF_HOURS, range),
        &totals,
    )?;
    Ok(true)
}

fn make(
    transaction: &Transaction<'_>,
    dictionary: &mut Dictionary,
    bounds: &Bounds,
    (level, bucket): (&Level, i64),
    (sql, range): (&str, (i64, i64)),
    totals: &Totals,
) -> rusqlite::Result<()> {
    let day = bucket_of((bucket + 1) * level.length, DAY_MS);
    // Where every interval has other names of the same destinations, these are decided on before the end of the hour; where it has
    // other destinations, those with fewest packets so far go.
    let most = MOST_ROWS.max(bounds.top.saturating_mul(8));
    let traffic = load_bounded(transaction, sql, range, &mut |traffic| {
        if traffic.rows.len() <= most {
            return Ok(());
        }
        traffic.unite();
        if traffic.rows.len() <= most {
            return Ok(());
        }
        traffic.fold(bounds.top.saturating_mul(4), |place| {
            dictionary.reduced(transaction, day, place)
        })
    })?;
    save_folded(transaction, dictionary, bounds, level, bucket, traffic)?;
    let name = level.name;
    totals.write(transaction, &format!("total_{name}"), bucket)?;
    set(transaction, &format!("{name}s_to"), bucket + 1)
}

/// Keeps as many addresses of a bucket as `top` says, each with the same names in all of it.
fn save_folded(
    transaction: &Transaction<'_>,
    dictionary: &mut Dictionary,
    bounds: &Bounds,
    level: &Level,
    bucket: i64,
    mut traffic: Traffic,
) -> rusqlite::Result<()> {
    let day = bucket_of((bucket + 1) * level.length, DAY_MS);
    traffic.unite();
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
