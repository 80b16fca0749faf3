//! The dictionaries: what is known of places, origins, sets of names and runs is written once and then called by a number.
//!
//! Every entry has the last day of which something refers to it, so that it can go with that day.

use std::net::IpAddr;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};
use rusqlite::{OptionalExtension as _, Transaction, params};

use crate::domain::registrable;
use crate::history::damage;
use crate::history::rollup::get;
use crate::history::traffic::{Malformed, rows_from_bytes};
use crate::record::{Names, Place, Scope};

/// Entries of each dictionary that are held; beyond it they are forgotten and asked for again.
const MOST_HELD: usize = 1 << 16;

/// Sets of names, of which a server's many visitors make ever new ones: who reads a history holds all of them.
const MOST_SETS: i64 = 100_000;

/// In `progress`: the day before which nothing refers to anything, and the one before which no interval does; what only those before
/// it spoke of is deleted.
pub(super) const PRUNED_TO: &str = "pruned_to";
pub(super) const NAMES_PRUNED_TO: &str = "names_pruned_to";

/// Names of a set; the best ones.
const MOST_NAMES: usize = 16;

/// Entries that are known without asking. What a transaction has added is forgotten when it fails.
pub(super) struct Dictionary {
    places: HashMap<(Scope, Arc<Place>), Entry>,
    origins: HashMap<(Option<IpAddr>, Arc<str>), Entry>,
    names: HashMap<String, Entry>,
    /// How many sets of names there are; none: to be counted.
    sets: Option<i64>,
    most_sets: i64,
    /// How far entries had been deleted when these were read, see [`Dictionary::refresh`].
    pruned_to: [Option<i64>; 2],
}

impl Default for Dictionary {
    fn default() -> Self {
        Self {
            places: HashMap::new(),
            origins: HashMap::new(),
            names: HashMap::new(),
            sets: None,
            most_sets: MOST_SETS,
            pruned_to: [None; 2],
        }
    }
}

#[derive(Clone, Copy)]
struct Entry {
    id: i64,
    used: i64,
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

    /// The number of a set of names, however they are known; 0: none. When there are [`MOST_SETS`], a new one becomes the domain of
    /// its best name, and when there are twice as many, none.
    pub fn names(
        &mut self,
        transaction: &Transaction<'_>,
        day: i64,
        names: Option<&Names>,
    ) -> rusqlite::Result<i64> {
        let Some(names) = names else {
            return Ok(0);
        };
        let mut sorted: Vec<&str> = names.texts().take(MOST_NAMES).collect();
        let best = sorted.first().copied().map(registrable);
        sorted.sort_unstable();
        sorted.dedup();
        if let Some(id) = self.set(transaction, day, &sorted, self.most_sets)? {
            return Ok(id);
        }
        let best = best.as_slice();
        let id = self.set(transaction, day, best, self.most_sets.saturating_mul(2))?;
        Ok(id.unwrap_or(0))
    }

    /// The number of a set; none: it is new, and there are `most` already.
    fn set(
        &mut self,
        transaction: &Transaction<'_>,
        day: i64,
        sorted: &[&str],
        most: i64,
    ) -> rusqlite::Result<Option<i64>> {
        let json = serde_json::to_string(sorted)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        if let Some(entry) = self.names.get(&json)
            && entry.used >= day
        {
            return Ok(Some(entry.id));
        }
        let known = transaction
            .prepare_cached("UPDATE names SET used = max(used, ?) WHERE names = ? RETURNING id, used")?
            .query_row(params![day, json], entry)
            .optional()?;
        let entry = match known {
            Some(entry) => entry,
            None => {
                let sets = match self.sets {
                    Some(sets) => sets,
                    None => transaction.query_row("SELECT count(*) FROM names", (), |row| row.get(0))?,
                };
                self.sets = Some(sets);
                if sets >= most {
                    return Ok(None);
                }
                self.sets = Some(sets + 1);
                transaction
                    .prepare_cached("INSERT INTO names (names, used) VALUES (?, ?) RETURNING id, used")?
                    .query_row(params![json, day], entry)?
            }
        };
        keep(&mut self.names, json, entry);
        Ok(Some(entry.id))
    }
}

fn entry(row: &rusqlite::Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        id: row.get(0)?,
        used: row.get(1)?,
    })
}

fn keep<K: std::hash::Hash + Eq>(held: &mut HashMap<K, Entry>, key: K, entry: Entry) {
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

/// Deletes sets of names that only days before `day` speak of, of which no interval is kept any more, and that no hour and no day
/// has: most of the sets of an address that has another one each time.
pub(super) fn prune_names(transaction: &Transaction<'_>, day: i64) -> rusqlite::Result<()> {
    let mut select = transaction.prepare("SELECT id FROM names WHERE used < ?")?;
    let old: Vec<i64> = select
        .query_map([day], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    if old.is_empty() {
        return Ok(());
    }
    let mut kept = HashSet::new();
    for table in ["traffic_hour", "traffic_day"] {
        let mut select = transaction.prepare(&format!("SELECT rows FROM {table}"))?;
        let mut buckets = select.query(())?;
        while let Some(bucket) = buckets.next()? {
            rows_from_bytes(bucket.get_ref(0)?.as_blob()?, |key, _| {
                kept.insert(key.names);
            })
            .map_err(|Malformed| damage("the traffic of a bucket cannot be read"))?;
        }
    }
    let mut delete = transaction.prepare("DELETE FROM names WHERE id = ?")?;
    for id in old.iter().filter(|id| !kept.contains(*id)) {
        delete.execute([id])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::schema::{Access, open};
    use crate::record::sample;

    #[test]
    fn sets_of_names_are_bounded_and_what_is_beyond_is_a_domain() {
        let directory = tempfile::tempdir().unwrap();
        let mut connection = open(&directory.path().join("history.db"), Access::Write).unwrap();
        let mut dictionary = Dictionary {
            most_sets: 3,
            ..Dictionary::default()
        };
        let transaction = connection.transaction().unwrap();
        let number = |dictionary: &mut Dictionary, names: &[&str]| {
            dictionary
                .names(&transaction, 1, sample::asked(names).as_deref())
                .unwrap()
        };
        let whole: Vec<i64> = (0..3)
            .map(|nth| {
                number(
                    &mut dictionary,
                    &[&format!("www{nth}.example.com"), "b.example.org"],
                )
            })
            .collect();
        // Those that are there stay what they are, whatever their order.
        assert_eq!(
            number(&mut dictionary, &["b.example.org", "www1.example.com"]),
            whole[1]
        );
        let domain = number(&mut dictionary, &["www3.example.com", "b.example.org"]);
        assert!(!whole.contains(&domain));
        assert_eq!(number(&mut dictionary, &["www4.example.com"]), domain);
        assert_eq!(number(&mut dictionary, &["example.com"]), domain);
        assert_ne!(number(&mut dictionary, &["x.example.org"]), 0);
        assert_ne!(number(&mut dictionary, &["x.example.net"]), 0);
        assert_eq!(number(&mut dictionary, &["x.example.edu"]), 0, "twice as many");
        // What another process, or one before this, has put there counts.
        dictionary.forget();
        dictionary.most_sets = 3;
        let mut number = |names: &[&str]| {
            dictionary
                .names(&transaction, 2, sample::asked(names).as_deref())
                .unwrap()
        };
        assert_eq!(number(&["x.example.edu"]), 0);
        assert_eq!(number(&["b.example.org", "www2.example.com"]), whole[2]);
        let sets: String = transaction
            .query_row(
                "SELECT group_concat(names, ' ') FROM names WHERE used = 1",
                (),
                |row| row.get(0),
            )
            .unwrap();
        assert!(
            sets.ends_with(r#"["example.com"] ["example.org"] ["example.net"]"#),
            "{sets}"
        );
    }

    #[test]
    fn of_very_many_names_the_best_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let mut connection = open(&directory.path().join("history.db"), Access::Write).unwrap();
        let transaction = connection.transaction().unwrap();
        let names: Vec<String> = (0..40).map(|nth| format!("{:02}.example", 40 - nth)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        Dictionary::default()
            .names(&transaction, 1, sample::asked(&names).as_deref())
            .unwrap();
        let set: String = transaction
            .query_row("SELECT names FROM names", (), |row| row.get(0))
            .unwrap();
        let kept: Vec<String> = serde_json::from_str(&set).unwrap();
        assert_eq!(
            (kept.len(), &*kept[0], &*kept[15]),
            (16, "25.example", "40.example")
        );
    }
}
