//! From intervals to hours, from hours to days, and out again when they are too old: in slices, each a transaction, so that a record
//! never waits long.
//!
//! An hour is made when it is over, from the intervals, a day from the hours; a record that comes later still is added where it
//! belongs. So the history is complete, for each resolution, in a range that `progress` has:
//!
//! * intervals: those that ended after `raw_gone_ms`;
//! * hours: from `hours_gone` up to `hours_to`, without it;
//! * days: from `days_gone` up to `days_to`, without it.

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};

use crate::history::Bounds;

pub(super) const HOUR_MS: i64 = 3_600_000;
pub(super) const DAY_MS: i64 = 86_400_000;

/// After an hour's end, so that its last record is there: an interval may take a while to be written.
const GRACE_MS: i64 = 60_000;

/// Intervals that are deleted in one slice.
const SLICE: i64 = 50;

/// Columns of the sums, but for the bucket.
const TOTALS: [&str; 16] = [
    "seen_packets",
    "seen_bytes",
    "counted_packets",
    "counted_bytes",
    "overflow_packets",
    "overflow_bytes",
    "banned_packets",
    "banned_bytes",
    "served_packets",
    "served_bytes",
    "other_source_packets",
    "other_source_bytes",
    "malformed_packets",
    "malformed_bytes",
    "not_ip_packets",
    "not_ip_bytes",
];

/// A resolution that is made from a finer one.
struct Level {
    /// `hour` or `day`.
    name: &'static str,
    /// Milliseconds of a bucket.
    length: i64,
}

const HOUR: Level = Level {
    name: "hour",
    length: HOUR_MS,
};
const DAY: Level = Level {
    name: "day",
    length: DAY_MS,
};

/// Does the next thing that is to be done at `now_ms`. False: there is nothing.
pub(super) fn slice(connection: &mut Connection, bounds: &Bounds, now_ms: i64) -> rusqlite::Result<bool> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let before = |age| now_ms.saturating_sub(as_ms(age));
    // What is too large gives up its finest resolution first.
    let too_large = used_bytes(&transaction)? > bounds.bytes;
    let done = make_hour(&transaction, bounds, now_ms)?
        || make_day(&transaction, bounds)?
        || forget_intervals(
            &transaction,
            if too_large {
                now_ms
            } else {
                before(bounds.intervals)
            },
        )?
        || forget(
            &transaction,
            &HOUR,
            if too_large { now_ms } else { before(bounds.hours) },
        )?
        || forget(
            &transaction,
            &DAY,
            if too_large { now_ms } else { before(bounds.days) },
        )?;
    transaction.commit()?;
    if done {
        // Gives pages that deleting has freed back to the file system, some at a time.
        connection.execute_batch("PRAGMA incremental_vacuum(200)")?;
    }
    Ok(done)
}

fn as_ms(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn get(transaction: &Transaction<'_>, what: &str) -> rusqlite::Result<Option<i64>> {
    transaction
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

/// Rolls up the next hour that is over and has intervals.
fn make_hour(transaction: &Transaction<'_>, bounds: &Bounds, now_ms: i64) -> rusqlite::Result<bool> {
    let done = get(transaction, "hours_to")?;
    let over = (now_ms - GRACE_MS).div_euclid(HOUR_MS);
    // Hours without intervals are skipped; they are empty in both resolutions.
    let next: Option<i64> = transaction
        .prepare_cached("SELECT min(end_ms) FROM interval WHERE end_ms > ?")?
        .query_row([done.map_or(i64::MIN, |done| done * HOUR_MS)], |row| row.get(0))?;
    let Some(hour) = next.map(|end_ms| (end_ms - 1).div_euclid(HOUR_MS)) else {
        return Ok(false);
    };
    if hour >= over {
        return Ok(false);
    }
    let range = params![hour, hour * HOUR_MS, (hour + 1) * HOUR_MS];
    transaction.execute(
        "INSERT INTO traffic_hour (bucket, address, origin, place, names, packets, bytes, tcp_connections, quic_connections) \
         SELECT ?1, address, origin, place, names, sum(packets), sum(bytes), sum(tcp_connections), sum(quic_connections) \
         FROM traffic_raw WHERE bucket IN (SELECT id FROM interval WHERE end_ms > ?2 AND end_ms <= ?3) \
         GROUP BY address, origin, place, names",
        range,
    )?;
    transaction.execute(
        "INSERT INTO banned_hour (bucket, prefix, packets, bytes) SELECT ?1, prefix, sum(packets), sum(bytes) FROM banned_raw \
         WHERE bucket IN (SELECT id FROM interval WHERE end_ms > ?2 AND end_ms <= ?3) GROUP BY prefix",
        range,
    )?;
    transaction.execute(
        &format!(
            "INSERT INTO total_hour (bucket, intervals, length_ms, unbalanced, partial, drains, skbs, {}) \
             SELECT ?1, count(*), sum(length_ms), sum(balanced = 0), sum(partial), sum(drains), sum(skbs), {} \
             FROM interval WHERE end_ms > ?2 AND end_ms <= ?3",
            TOTALS.join(", "),
            TOTALS.map(|column| format!("sum({column})")).join(", ")
        ),
        range,
    )?;
    fold(transaction, &HOUR, hour, bounds.top)?;
    set(transaction, "hours_to", hour + 1)?;
    Ok(true)
}

/// Rolls up the next day all of whose hours are.
fn make_day(transaction: &Transaction<'_>, bounds: &Bounds) -> rusqlite::Result<bool> {
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
    let range = params![day, day * 24, (day + 1) * 24];
    transaction.execute(
        "INSERT INTO traffic_day (bucket, address, origin, place, names, packets, bytes, tcp_connections, quic_connections) \
         SELECT ?1, address, origin, place, names, sum(packets), sum(bytes), sum(tcp_connections), sum(quic_connections) \
         FROM traffic_hour WHERE bucket >= ?2 AND bucket < ?3 GROUP BY address, origin, place, names",
        range,
    )?;
    transaction.execute(
        "INSERT INTO banned_day (bucket, prefix, packets, bytes) SELECT ?1, prefix, sum(packets), sum(bytes) FROM banned_hour \
         WHERE bucket >= ?2 AND bucket < ?3 GROUP BY prefix",
        range,
    )?;
    transaction.execute(
        &format!(
            "INSERT INTO total_day (bucket, intervals, length_ms, unbalanced, partial, drains, skbs, {}) \
             SELECT ?1, sum(intervals), sum(length_ms), sum(unbalanced), sum(partial), sum(drains), sum(skbs), {} \
             FROM total_hour WHERE bucket >= ?2 AND bucket < ?3",
            TOTALS.join(", "),
            TOTALS.map(|column| format!("sum({column})")).join(", ")
        ),
        range,
    )?;
    fold(transaction, &DAY, day, bounds.top)?;
    set(transaction, "days_to", day + 1)?;
    Ok(true)
}

/// Keeps the `top` addresses with most packets of a bucket, and sums up the others by network, country and origin.
fn fold(transaction: &Transaction<'_>, level: &Level, bucket: i64, top: usize) -> rusqlite::Result<()> {
    let table = format!("traffic_{}", level.name);
    let addresses: i64 = transaction
        .prepare_cached(&format!(
            "SELECT count(*) FROM (SELECT 1 FROM {table} WHERE bucket = ? AND address <> x'' GROUP BY address)"
        ))?
        .query_row([bucket], |row| row.get(0))?;
    let top = i64::try_from(top).unwrap_or(i64::MAX);
    if addresses <= top {
        return Ok(());
    }
    transaction.execute_batch(
        "CREATE TEMP TABLE IF NOT EXISTS out (address BLOB PRIMARY KEY) WITHOUT ROWID; DELETE FROM out; \
         CREATE TEMP TABLE IF NOT EXISTS rest (place INTEGER, scope TEXT, country TEXT, country_name TEXT, asn INTEGER, network TEXT, \
         origin INTEGER, packets INTEGER, bytes INTEGER, tcp INTEGER, quic INTEGER); DELETE FROM rest;",
    )?;
    transaction.execute(
        &format!(
            "INSERT INTO out SELECT address FROM {table} WHERE bucket = ?1 AND address <> x'' GROUP BY address \
             ORDER BY sum(packets) DESC, address LIMIT -1 OFFSET ?2"
        ),
        params![bucket, top],
    )?;
    transaction.execute(
        &format!(
            "INSERT INTO rest SELECT NULL, scope, country, country_name, asn, network, origin, sum(packets), sum(bytes), \
             sum(tcp_connections), sum(quic_connections) FROM {table} JOIN place ON place.id = {table}.place \
             WHERE bucket = ?1 AND address IN (SELECT address FROM out) \
             GROUP BY scope, country, country_name, asn, network, origin"
        ),
        [bucket],
    )?;
    transaction.execute_batch(
        "INSERT OR IGNORE INTO place (scope, country, country_name, city, asn, network, anycast) \
         SELECT DISTINCT scope, country, country_name, '', asn, network, -1 FROM rest; \
         UPDATE rest SET place = (SELECT id FROM place AS p WHERE p.scope = rest.scope AND p.country = rest.country \
         AND p.country_name = rest.country_name AND p.city = '' AND p.asn = rest.asn AND p.network = rest.network AND p.anycast = -1);",
    )?;
    transaction.execute(
        &format!("DELETE FROM {table} WHERE bucket = ?1 AND address IN (SELECT address FROM out)"),
        [bucket],
    )?;
    transaction.execute(
        &format!(
            "INSERT INTO {table} (bucket, address, origin, place, names, packets, bytes, tcp_connections, quic_connections) \
             SELECT ?1, x'', origin, place, 0, packets, bytes, tcp, quic FROM rest WHERE true {ADD}"
        ),
        [bucket],
    )?;
    transaction.execute_batch("DELETE FROM out; DELETE FROM rest;")
}

/// Adds to a row that is there. Connections that were not counted are no zero.
const ADD: &str = "ON CONFLICT (bucket, address, origin, place, names) DO UPDATE SET packets = packets + excluded.packets, \
     bytes = bytes + excluded.bytes, \
     tcp_connections = CASE WHEN excluded.tcp_connections IS NULL THEN tcp_connections \
     ELSE ifnull(tcp_connections, 0) + excluded.tcp_connections END, \
     quic_connections = CASE WHEN excluded.quic_connections IS NULL THEN quic_connections \
     ELSE ifnull(quic_connections, 0) + excluded.quic_connections END";

/// A record that was just written belongs to an hour, perhaps a day, that has been rolled up already: it is added there.
pub(super) fn late(transaction: &Transaction<'_>, interval: i64, end_ms: i64) -> rusqlite::Result<()> {
    for level in [&HOUR, &DAY] {
        let bucket = (end_ms - 1).div_euclid(level.length);
        let to = get(transaction, &format!("{}s_to", level.name))?;
        let name = level.name;
        let gone = get(transaction, &format!("{name}s_gone"))?;
        if to.is_none_or(|to| bucket >= to) || gone.is_some_and(|gone| bucket < gone) {
            continue;
        }
        transaction.execute(
            &format!(
                "INSERT INTO traffic_{name} (bucket, address, origin, place, names, packets, bytes, tcp_connections, quic_connections) \
                 SELECT ?1, address, origin, place, names, packets, bytes, tcp_connections, quic_connections FROM traffic_raw \
                 WHERE bucket = ?2 {ADD}"
            ),
            params![bucket, interval],
        )?;
        transaction.execute(
            &format!(
                "INSERT INTO banned_{name} (bucket, prefix, packets, bytes) SELECT ?1, prefix, packets, bytes FROM banned_raw \
                 WHERE bucket = ?2 ON CONFLICT (bucket, prefix) DO UPDATE SET packets = packets + excluded.packets, \
                 bytes = bytes + excluded.bytes"
            ),
            params![bucket, interval],
        )?;
        let add = |column: &&str| format!("{column} = {column} + excluded.{column}");
        let rest = [
            "intervals",
            "length_ms",
            "unbalanced",
            "partial",
            "drains",
            "skbs",
        ];
        let sums: Vec<String> = rest.iter().chain(&TOTALS).map(add).collect();
        transaction.execute(
            &format!(
                "INSERT INTO total_{name} (bucket, intervals, length_ms, unbalanced, partial, drains, skbs, {0}) \
                 SELECT ?1, 1, length_ms, balanced = 0, partial, drains, skbs, {0} FROM interval WHERE id = ?2 \
                 ON CONFLICT (bucket) DO UPDATE SET {1}",
                TOTALS.join(", "),
                sums.join(", ")
            ),
            params![bucket, interval],
        )?;
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
        "SELECT id, run, seq, end_ms FROM interval WHERE end_ms <= ?1 ORDER BY end_ms LIMIT ?2",
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
            "DELETE FROM banned_raw WHERE bucket = ?",
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
    let longer = transaction
        .prepare_cached("UPDATE written SET last = ?2 WHERE run = ?1 AND last = ?2 - 1")?
        .execute(params![run, seq])?;
    if longer == 0 {
        transaction
            .prepare_cached("INSERT INTO written (run, first, last) VALUES (?1, ?2, ?2)")?
            .execute(params![run, seq])?;
    }
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
    for table in ["traffic", "banned", "total"] {
        transaction.execute(&format!("DELETE FROM {table}_{name} WHERE bucket = ?"), [bucket])?;
    }
    set(transaction, &format!("{name}s_gone"), bucket + 1)?;
    Ok(true)
}
