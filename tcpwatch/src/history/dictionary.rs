//! The dictionaries: what is known of places, origins, sets of names and runs is written once and then called by a number.
//!
//! Every entry has the last day of which something refers to it, so that it can go with that day.

use std::net::IpAddr;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _};
use rusqlite::{OptionalExtension as _, Transaction, params};

use crate::history::damage;
use crate::history::rollup::get;
use crate::history::sets::Sets;
use crate::record::{Names, Place, Scope};

/// Entries of each dictionary that are held; beyond it they are forgotten and asked for again.
const MOST_HELD: usize = 1 << 16;

/// In `progress`: the day before which nothing refers to anything, and the one before which no interval does; what only those before
/// it spoke of is deleted.
pub(super) const PRUNED_TO: &str = "pruned_to";
pub(super) const NAMES_PRUNED_TO: &str = "names_pruned_to";

/// Entries that are known without asking. What a transaction has added is forgotten when it fails.
#[derive(Default)]
pub(super) struct Dictionary {
    places: HashMap<(Scope, Arc<Place>), Entry>,
    origins: HashMap<(Option<IpAddr>, Arc<str>), Entry>,
    sets: Sets,
    /// How far entries had been deleted when these were read, see [`Dictionary::refresh`].
    pruned_to: [Option<i64>; 2],
}

#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub id: i64,
    pub used: i64,
}

impl Dictionary {
    /// Whatever is known may be wrong now.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// Forgets what is known when another process has deleted entries since: their numbers may be others' now.
    pub fn refresh(&mut self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        let pruned_to = [get(transaction, PRUNED_TO)?, get(transaction, NAMES_PRUNED_TO)?];
        if self.pruned_to != pruned_to {
            self.forget();
            self.pruned_to = pruned_to;
        }
        Ok(())
    }

    /// The number of a place of which a row of `day` speaks.
    pub fn place(
        &mut self,
        transaction: &Transaction<'_>,
        day: i64,
        scope: Scope,
        place: &Arc<Place>,
    ) -> rusqlite::Result<i64> {
        let key = (scope, Arc::clone(place));
        if let Some(entry) = self.places.get(&key)
            && entry.used >= day
        {
            return Ok(entry.id);
        }
        let text = |text: &Option<Arc<str>>| text.as_deref().unwrap_or_default().to_owned();
        let entry = transaction
            .prepare_cached(
                "INSERT INTO place (scope, country, country_name, city, asn, network, anycast, used) VALUES (?, ?, ?, ?, ?, ?, ?, ?) \
                 ON CONFLICT (scope, country, country_name, city, asn, network, anycast) DO UPDATE SET used = max(used, excluded.used) \
                 RETURNING id, used",
            )?
            .query_row(
                params![
                    scope.word(),
                    text(&place.country),
                    text(&place.country_name),
                    text(&place.city),
                    place.asn.map_or(-1, i64::from),
                    text(&place.network),
                    place.anycast.map_or(-1, i64::from),
                    day
                ],
                entry,
            )?;
        keep(&mut self.places, key, entry);
        Ok(entry.id)
    }

    /// The number of what is left of a place when its addresses are not kept one by one.
    pub fn reduced(&mut self, transaction: &Transaction<'_>, day: i64, place: i64) -> rusqlite::Result<i64> {
        let (scope, reduced) = transaction
            .prepare_cached("SELECT scope, country, country_name, asn, network FROM place WHERE id = ?")?
            .query_row([place], |row| {
                let text = |at| -> rusqlite::Result<Option<Arc<str>>> {
                    let text: String = row.get(at)?;
                    Ok((!text.is_empty()).then(|| text.into()))
                };
                let place = Place {
                    country: text(1)?,
                    country_name: text(2)?,
                    city: None,
                    asn: u32::try_from(row.get::<_, i64>(3)?).ok(),
                    network: text(4)?,
                    anycast: None,
                };
                Ok((row.get::<_, String>(0)?, place))
            })
            .optional()?
            .ok_or_else(|| damage("a place that is spoken of is missing"))?;
        let scope = Scope::from_word(&scope).unwrap_or(Scope::Reserved);
        self.place(transaction, day, scope, &Arc::new(reduced))
    }

    /// The number of an own source and interface.
    pub fn origin(
        &mut self,
        transaction: &Transaction<'_>,
        day: i64,
        source: Option<IpAddr>,
        interface: &Arc<str>,
    ) -> rusqlite::Result<i64> {
        let key = (source, Arc::clone(interface));
        if let Some(entry) = self.origins.get(&key)
            && entry.used >= day
        {
            return Ok(entry.id);
        }
        let bytes = match source {
            None => Vec::new(),
            Some(IpAddr::V4(v4)) => v4.octets().to_vec(),
            Some(IpAddr::V6(v6)) => v6.octets().to_vec(),
        };
        let entry = transaction
            .prepare_cached(
                "INSERT INTO origin (source, interface, used) VALUES (?, ?, ?) ON CONFLICT (source, interface) \
                 DO UPDATE SET used = max(used, excluded.used) RETURNING id, used",
            )?
            .query_row(params![bytes, &**interface, day], entry)?;
        keep(&mut self.origins, key, entry);
        Ok(entry.id)
    }

    /// The number of a set of names, however they are known; 0: none.
    pub fn names(
        &mut self,
        transaction: &Transaction<'_>,
        day: i64,
        names: Option<&Names>,
    ) -> rusqlite::Result<i64> {
        names.map_or(Ok(0), |names| self.sets.number(transaction, day, names))
    }
}

pub(super) fn entry(row: &rusqlite::Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        id: row.get(0)?,
        used: row.get(1)?,
    })
}

pub(super) fn keep<K: std::hash::Hash + Eq>(held: &mut HashMap<K, Entry>, key: K, entry: Entry) {
    if held.len() >= MOST_HELD {
        *held = HashMap::new();
    }
    held.insert(key, entry);
}

/// Deletes entries that only days before `day` speak of, of which nothing is kept any more.
pub(super) fn prune(transaction: &Transaction<'_>, day: i64) -> rusqlite::Result<()> {
    transaction.execute(
        "DELETE FROM written WHERE run IN (SELECT id FROM run WHERE used < ?)",
        [day],
    )?;
    for table in ["run", "place", "origin", "names"] {
        transaction.execute(&format!("DELETE FROM {table} WHERE used < ?"), [day])?;
    }
    Ok(())
}
