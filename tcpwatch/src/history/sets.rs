//! Sets of names, each written once and called by a number: a server's visitors make ever new ones.

use foldhash::{HashMap, HashSet, HashSetExt as _};
use rusqlite::{OptionalExtension as _, Transaction, params};

use crate::domain::registrable;
use crate::history::damage;
use crate::history::dictionary::{Entry, entry, keep};
use crate::history::traffic::{Malformed, rows_from_bytes};
use crate::record::Names;

/// Names of a set; the best ones.
const MOST_NAMES: usize = 16;

/// What there may be at most; who reads a history holds all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Most {
    /// Sets of several names, and bytes of their text.
    several: Size,
    /// Sets of one name; bytes of all sets.
    one: Size,
    /// The same, where the one name is a registrable domain.
    domain: Size,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Size {
    sets: i64,
    bytes: i64,
}

const MOST: Most = Most {
    several: Size {
        sets: 50_000,
        bytes: 16_000_000,
    },
    one: Size {
        sets: 200_000,
        bytes: 28_000_000,
    },
    domain: Size {
        sets: 250_000,
        bytes: 32_000_000,
    },
};

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    several: Size,
    one: Size,
}

impl Held {
    fn read(transaction: &Transaction<'_>) -> rusqlite::Result<Self> {
        let mut held = Self::default();
        // A host's name has no quotes.
        let mut select = transaction.prepare_cached(
            r#"SELECT instr(names, '","') > 0, count(*), sum(length(CAST(names AS BLOB))) FROM names GROUP BY 1"#,
        )?;
        let mut rows = select.query(())?;
        while let Some(row) = rows.next()? {
            *held.of(row.get(0)?) = Size {
                sets: row.get(1)?,
                bytes: row.get(2)?,
            };
        }
        Ok(held)
    }

    const fn of(&mut self, several: bool) -> &mut Size {
        if several { &mut self.several } else { &mut self.one }
    }
}

/// Sets that are known without asking.
pub(super) struct Sets {
    known: HashMap<String, Entry>,
    /// None: to be counted.
    held: Option<Held>,
    most: Most,
}

impl Default for Sets {
    fn default() -> Self {
        Self {
            known: HashMap::default(),
            held: None,
            most: MOST,
        }
    }
}

impl Sets {
    /// The number of a set; 0: none. Where there is no room for a new one, it becomes its best name, where there is none for that
    /// either, the domain of this, and then none.
    pub fn number(
        &mut self,
        transaction: &Transaction<'_>,
        day: i64,
        names: &Names,
    ) -> rusqlite::Result<i64> {
        let mut sorted: Vec<&str> = names.texts().take(MOST_NAMES).collect();
        let Some(best) = sorted.first().copied() else {
            return Ok(0);
        };
        sorted.sort_unstable();
        sorted.dedup();
        let Most { several, one, domain } = self.most;
        if sorted.len() > 1
            && let Some(id) = self.set(transaction, day, &sorted, several)?
        {
            return Ok(id);
        }
        if let Some(id) = self.set(transaction, day, &[best], one)? {
            return Ok(id);
        }
        let id = self.set(transaction, day, &[registrable(best)], domain)?;
        Ok(id.unwrap_or(0))
    }

    /// The number of a set; none: it is new, and there would be more than `most`.
    fn set(
        &mut self,
        transaction: &Transaction<'_>,
        day: i64,
        sorted: &[&str],
        most: Size,
    ) -> rusqlite::Result<Option<i64>> {
        let json = serde_json::to_string(sorted)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        if let Some(entry) = self.known.get(&json)
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
                let mut held = match self.held {
                    Some(held) => held,
                    None => Held::read(transaction)?,
                };
                self.held = Some(held);
                let several = sorted.len() > 1;
                let length = i64::try_from(json.len()).unwrap_or(i64::MAX);
                let mut bytes = held.of(several).bytes;
                if !several {
                    bytes = bytes.saturating_add(held.several.bytes);
                }
                if held.of(several).sets >= most.sets || bytes.saturating_add(length) > most.bytes {
                    return Ok(None);
                }
                let size = held.of(several);
                size.sets += 1;
                size.bytes = size.bytes.saturating_add(length);
                self.held = Some(held);
                transaction
                    .prepare_cached("INSERT INTO names (names, used) VALUES (?, ?) RETURNING id, used")?
                    .query_row(params![json, day], entry)?
            }
        };
        keep(&mut self.known, json, entry);
        Ok(Some(entry.id))
    }
}

/// Deletes sets of names that only days before `day` speak of, of which no interval is kept any more, and that no hour and no day
/// has: most of the sets of an address that has another one each time.
pub(super) fn prune(transaction: &Transaction<'_>, day: i64) -> rusqlite::Result<()> {
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
    use rusqlite::Connection;

    use super::*;
    use crate::history::schema::{Access, open};
    use crate::record::sample;

    fn history() -> (tempfile::TempDir, Connection) {
        let directory = tempfile::tempdir().unwrap();
        let connection = open(&directory.path().join("history.db"), Access::Write).unwrap();
        (directory, connection)
    }

    fn few(several: i64, one: i64, domain: i64) -> Sets {
        let size = |sets| Size { sets, bytes: 10_000 };
        Sets {
            most: Most {
                several: size(several),
                one: size(one),
                domain: size(domain),
            },
            ..Sets::default()
        }
    }

    /// What a set became.
    fn kept(transaction: &Transaction<'_>, sets: &mut Sets, day: i64, names: &[&str]) -> String {
        let id = sets
            .number(transaction, day, &sample::asked(names).unwrap())
            .unwrap();
        transaction
            .query_row("SELECT names FROM names WHERE id = ?", [id], |row| row.get(0))
            .optional()
            .unwrap()
            .unwrap_or_default()
    }

    #[test]
    fn sets_of_several_names_leave_room_for_single_ones() {
        let (_directory, mut connection) = history();
        let transaction = connection.transaction().unwrap();
        let mut sets = few(2, 3, 4);
        let mut now = |names: &[&str]| kept(&transaction, &mut sets, 1, names);
        assert_eq!(now(&["b.example", "a.example"]), r#"["a.example","b.example"]"#);
        assert_eq!(now(&["c.example", "a.example"]), r#"["a.example","c.example"]"#);
        // There is no room for a third: its best name, for which there is.
        assert_eq!(now(&["x.d.com", "a.example"]), r#"["x.d.com"]"#);
        // Those that are there stay what they are, whatever their order.
        assert_eq!(now(&["a.example", "b.example"]), r#"["a.example","b.example"]"#);
        assert_eq!(now(&["x.e.com"]), r#"["x.e.com"]"#);
        assert_eq!(now(&["x.f.com", "x.f.com"]), r#"["x.f.com"]"#);
        assert_eq!(now(&["x.g.com"]), r#"["g.com"]"#);
        assert_eq!(now(&["y.g.com", "x.g.com"]), r#"["g.com"]"#);
        assert_eq!(now(&["x.h.com"]), "");
        // What another process, or one before this, has put there counts.
        let mut sets = few(2, 3, 4);
        let mut later = |names: &[&str]| kept(&transaction, &mut sets, 2, names);
        assert_eq!(later(&["x.h.com", "x.g.com"]), "");
        assert_eq!(later(&["c.example", "a.example"]), r#"["a.example","c.example"]"#);
    }

    #[test]
    fn the_text_of_all_names_is_bounded() {
        let (_directory, mut connection) = history();
        let transaction = connection.transaction().unwrap();
        let most = |bytes| Size { sets: 1000, bytes };
        let mut sets = Sets {
            most: Most {
                several: most(10_000),
                one: most(12_000),
                domain: most(13_000),
            },
            ..Sets::default()
        };
        let label = "l".repeat(60);
        let bytes = || -> i64 {
            transaction
                .query_row("SELECT ifnull(sum(length(names)), 0) FROM names", (), |row| {
                    row.get(0)
                })
                .unwrap()
        };
        for (most, several) in [(10_000, true), (13_000, false)] {
            for nth in 0..1000 {
                let name = format!("{label}.{label}{nth:03}.com");
                let names = [&*name, "other.example"];
                let names = if several { &names[..] } else { &names[..1] };
                let named = sample::asked(names).unwrap();
                sets.number(&transaction, 1, &named).unwrap();
                assert!(bytes() <= 13_000);
            }
            assert!((most - 200..=13_000).contains(&bytes()), "{}", bytes());
            // Whoever counts anew finds as much.
            assert_eq!(Some(Held::read(&transaction).unwrap()), sets.held);
        }
    }

    #[test]
    fn of_very_many_names_the_best_are_kept() {
        let (_directory, mut connection) = history();
        let transaction = connection.transaction().unwrap();
        let names: Vec<String> = (0..40).map(|nth| format!("{:02}.example", 40 - nth)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let set = kept(&transaction, &mut Sets::default(), 1, &names);
        let kept: Vec<String> = serde_json::from_str(&set).unwrap();
        assert_eq!(
            (kept.len(), &*kept[0], &*kept[15]),
            (16, "25.example", "40.example")
        );
    }
}
