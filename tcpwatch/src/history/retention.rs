//! Out again when it is too old or too much, the oldest first, in slices; what is deleted has been rolled up, and stays known as written.

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use crate::history::dictionary::{self, Dictionary, NAMES_PRUNED_TO, PRUNED_TO};
use crate::history::rollup::{DAY_MS, HOUR_MS, Level, bucket_of, get, set};
use crate::history::sets;

/// Intervals that are deleted in one slice.
const SLICE: i64 = 50;

/// Pages that are given back to the file system in one slice.
const GIVE_BACK: i64 = 500;
/// Free pages that are never given back.
const FREE: i64 = 100;

/// Gives pages back to the file system when a quarter of the file is free: what is deleted in the usual course makes room for what
/// comes next.
pub(super) fn give_back(connection: &Connection) -> rusqlite::Result<bool> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (free, all) = (pragma("freelist_count")?, pragma("page_count")?);
    if free <= FREE || free <= all / 4 {
        return Ok(false);
    }
    // It yields a row for each page, and ends early if they are not asked for.
    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({GIVE_BACK})"))?;
    let mut rows = statement.query(())?;
    while rows.next()?.is_some() {}
    Ok(pragma("freelist_count")? < free)
}

/// Deletes intervals that ended at or before `until_ms`, the oldest first, if they have been rolled up. That they were written
/// stays known.
pub(super) fn forget_intervals(transaction: &Transaction<'_>, until_ms: i64) -> rusqlite::Result<bool> {
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
pub(super) fn used_bytes(transaction: &Transaction<'_>) -> rusqlite::Result<u64> {
    let pragma = |name: &str| transaction.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let pages = pragma("page_count")? - pragma("freelist_count")?;
    Ok(u64::try_from(pages * pragma("page_size")?).unwrap_or(0))
}

/// Deletes the oldest bucket that ended at or before `until_ms`; hours only when their day is there.
pub(super) fn forget(transaction: &Transaction<'_>, level: &Level, until_ms: i64) -> rusqlite::Result<bool> {
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
pub(super) fn prune(transaction: &Transaction<'_>, dictionary: &mut Dictionary) -> rusqlite::Result<bool> {
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
    if get(transaction, PRUNED_TO)?.is_some_and(|to| to >= first) {
        return Ok(false);
    }
    set(transaction, PRUNED_TO, first)?;
    overwriting(transaction, || dictionary::prune(transaction, first))?;
    dictionary.forget();
    Ok(true)
}

/// Deletes sets of names that nothing refers to any more, once for each day whose intervals have been deleted: to know what hours and
/// days refer to, all of them are read. False: no such day is over since the last time.
pub(super) fn prune_names(
    transaction: &Transaction<'_>,
    dictionary: &mut Dictionary,
) -> rusqlite::Result<bool> {
    let oldest: Option<i64> = transaction
        .prepare_cached("SELECT min(end_ms) FROM interval")?
        .query_row((), |row| row.get(0))?;
    let first = match oldest {
        Some(end_ms) => bucket_of(end_ms, DAY_MS),
        // What was rolled up is gone, and there was nothing else.
        None => match get(transaction, "hours_to")? {
            Some(hours) => hours.div_euclid(24),
            None => return Ok(false),
        },
    };
    if get(transaction, NAMES_PRUNED_TO)?.is_some_and(|to| to >= first) {
        return Ok(false);
    }
    set(transaction, NAMES_PRUNED_TO, first)?;
    overwriting(transaction, || sets::prune(transaction, first))?;
    dictionary.forget();
    Ok(true)
}

/// Pages that are freed meanwhile are overwritten, too, and so are names that somebody visited. Not with the traffic: it would be
/// written twice.
fn overwriting(
    transaction: &Transaction<'_>,
    delete: impl FnOnce() -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    transaction.pragma_update(None, "secure_delete", "ON")?;
    delete()?;
    transaction.pragma_update(None, "secure_delete", "FAST")
}
