//! What is known of every file that may serve, so that a replaced one is read once and no other is read again, and one that
//! cannot be used leaves the one before it in use.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::enrich::Enricher as _;
use crate::enrich::geo::database::{Database, Rank};
use crate::enrich::geo::seen::{Seen, Sighting, Sightings};
use crate::enrich::geo::selection::{Part, Role, Selection};
use crate::enrich::geo::{GeoError, HOW_TO_GET_ONE, Places};

/// The files that may serve, and those of them that do.
#[derive(Debug)]
pub struct Catalogue {
    selection: Selection,
    listings: BTreeMap<PathBuf, Listing>,
}

/// What came of replaced files.
#[derive(Debug, Default)]
pub struct Changes {
    /// The databases from now on; none: they are the same as before.
    pub places: Option<Places>,
    /// Which are in use now, and which no longer.
    pub news: Vec<String>,
    /// Which could not be used, and what stays in use instead.
    pub warnings: Vec<String>,
}

/// One file.
#[derive(Debug)]
struct Listing {
    part: Part,
    /// What it was when it was judged.
    seen: Seen,
    state: State,
    /// Why it is not used as it is.
    refusal: Option<Refusal>,
}

#[derive(Debug)]
enum State {
    /// In memory and in use: as the file is, or, where there is a refusal, as it was before.
    InUse(Database),
    /// Usable, but another is better.
    Passed(Rank),
    /// Not usable.
    Refused,
}

#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    text: String,
    /// The system could not read it, which may pass without a trace on the file.
    unread: bool,
}

/// When a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// At the start: whatever there is.
    First,
    /// While there is something to stay with: only what holds still.
    Careful,
}

impl Catalogue {
    /// Opens the files as they are now. The warnings say which were skipped, or that there are none.
    ///
    /// # Errors
    /// A file of `--geo` cannot be used; none of those is skipped.
    pub fn open(selection: Selection) -> Result<(Self, Places, Vec<String>), GeoError> {
        let mut catalogue = Self {
            selection,
            listings: BTreeMap::new(),
        };
        let mut changes = Changes::default();
        for path in catalogue.selection.candidates(&mut changes.warnings) {
            let seen = Seen::of(&path);
            if catalogue.selection.is_given() {
                let state = State::InUse(Database::open(&path)?);
                catalogue.enter(path, seen, state, None);
            } else {
                catalogue.judge(path, seen, Reading::First, &mut changes.warnings);
            }
        }
        catalogue.choose(&mut changes.warnings);
        let places = catalogue.places();
        if places.files().is_empty() {
            changes.warnings.push(HOW_TO_GET_ONE.to_owned());
        }
        Ok((catalogue, places, changes.warnings))
    }

    /// The directories in which a change may concern these files, whether they exist or not; also those of files that links
    /// lead to.
    pub fn directories(&self) -> Vec<PathBuf> {
        let mut directories = self.selection.directories();
        for path in self.listings.keys() {
            // One that is gone, or may not be looked at, leads nowhere.
            if let Ok(target) = path.canonicalize() {
                directories.extend(target.parent().map(Path::to_owned));
            }
        }
        directories.sort();
        directories.dedup();
        directories
    }

    /// Looks at all files: those that are not what they were when they were judged. With `again`, also those that the system
    /// could not read then.
    pub fn look(&self, again: bool) -> Sightings {
        // A directory that cannot be listed says nothing; the files in it that are known are looked at all the same.
        let listed = self.selection.candidates(&mut Vec::new());
        let known = self.listings.keys().cloned();
        let mut sightings = Sightings::new();
        for path in listed.into_iter().chain(known) {
            let seen = Seen::of(&path);
            let (differs, in_place) = match self.listings.get(&path) {
                Some(listing) => {
                    let unread = listing.refusal.as_ref().is_some_and(|refusal| refusal.unread);
                    (
                        seen != listing.seen || again && unread,
                        seen.same_file(&listing.seen),
                    )
                }
                None => (seen != Seen::Absent, false),
            };
            if differs {
                sightings.insert(path, Sighting { seen, in_place });
            }
        }
        sightings
    }

    /// Reads files that were replaced and have come to rest, and takes them into use. One that changes meanwhile is left as it
    /// was known, and the next look shows it again: what was read may be half of this and half of that.
    pub fn take(&mut self, replaced: Sightings) -> Changes {
        let before: Vec<Database> = self.in_use().into_iter().map(Database::share).collect();
        let mut changes = Changes::default();
        for (path, Sighting { seen, .. }) in replaced {
            self.judge(path, seen, Reading::Careful, &mut changes.warnings);
        }
        self.choose(&mut changes.warnings);
        let after = self.in_use();
        if before.len() == after.len() && before.iter().zip(&after).all(|(old, new)| old.is(new)) {
            return changes;
        }
        for new in &after {
            if before.iter().any(|old| old.is(new)) {
                continue;
            }
            let old = before.iter().find(|old| old.file().file == new.file().file);
            let instead = old.map_or_else(String::new, |old| {
                format!(", instead of the one built on {}", old.file().built)
            });
            changes
                .news
                .push(format!("place database in use: {}{instead}", named(new)));
        }
        for old in &before {
            if !after.iter().any(|new| old.file().file == new.file().file) {
                let why = match self.listings.get(Path::new(&*old.file().file)) {
                    Some(_) => "another is better",
                    None => "it was removed",
                };
                changes
                    .news
                    .push(format!("place database no longer in use: {}: {why}", named(old)));
            }
        }
        changes.places = Some(self.places());
        changes
    }

    /// Those in use, with nothing in their caches.
    fn places(&self) -> Places {
        let databases = self.in_use().into_iter().map(Database::share).collect();
        Places::of(databases).in_language(self.selection.language().clone())
    }

    /// In the order in which they are asked.
    fn in_use(&self) -> Vec<&Database> {
        let mut databases: Vec<_> = self
            .listings
            .iter()
            .filter_map(|(path, listing)| match &listing.state {
                State::InUse(database) => Some((listing.part, path, database)),
                State::Passed(_) | State::Refused => None,
            })
            .collect();
        databases.sort_by_key(|(part, path, _)| (*part, *path));
        databases.into_iter().map(|(_, _, database)| database).collect()
    }

    fn enter(&mut self, path: PathBuf, seen: Seen, state: State, refusal: Option<Refusal>) {
        if let Some(part) = self.selection.part(&path) {
            let listing = Listing {
                part,
                seen,
                state,
                refusal,
            };
            self.listings.insert(path, listing);
        }
    }

    /// Finds out what a file is worth that was seen to be another than before.
    fn judge(&mut self, path: PathBuf, seen: Seen, reading: Reading, warnings: &mut Vec<String>) {
        let before = self.listings.remove(&path);
        let unchanged = |known: &Listing| known.refusal.is_none() && known.seen.same_contents(&seen);
        // Not its contents, but its permissions have changed, or its links.
        let before = match before {
            Some(known) if unchanged(&known) => return self.enter(path, seen, known.state, None),
            before => before,
        };
        if seen == Seen::Absent && !self.selection.is_given() {
            // Whether it is missed shows when the others have been judged.
            match before.map(|listing| listing.state) {
                Some(state @ State::InUse(_)) => self.enter(path, seen, state, None),
                Some(State::Passed(_) | State::Refused) | None => {}
            }
            return;
        }
        let Some(opened) = read(&path, seen, reading) else {
            self.listings.extend(before.map(|listing| (path, listing)));
            return;
        };
        match opened {
            Ok(database) => {
                self.enter(path, seen, State::InUse(database), None);
                self.demote();
            }
            Err(refusal) => {
                let said = before
                    .as_ref()
                    .is_some_and(|before| before.seen == seen && before.refusal.as_ref() == Some(&refusal));
                let kept = before.map(|listing| listing.state);
                let (state, warning) = match kept {
                    Some(State::InUse(database)) => {
                        let warning = format!(
                            "place database not replaced, the one built on {} stays in use: {}",
                            database.file().built,
                            refusal.text
                        );
                        (State::InUse(database), warning)
                    }
                    Some(State::Passed(_) | State::Refused) | None => (
                        State::Refused,
                        format!("place database skipped: {}", refusal.text),
                    ),
                };
                if !said {
                    warnings.push(warning);
                }
                self.enter(path, seen, state, Some(refusal));
            }
        }
    }

    /// Of the files that were found, takes the best for each role into use.
    fn choose(&mut self, warnings: &mut Vec<String>) {
        for role in [Role::Places, Role::Networks, Role::Ours] {
            while let Some(path) = self.best(role, |_| true)
                && let Some(listing) = self.listings.get_mut(&path)
                && let State::Passed(_) = listing.state
            {
                match read(&path, listing.seen, Reading::Careful) {
                    Some(Ok(database)) => listing.state = State::InUse(database),
                    Some(Err(refusal)) => {
                        warnings.push(format!("place database skipped: {}", refusal.text));
                        listing.state = State::Refused;
                        listing.refusal = Some(refusal);
                    }
                    // The next look meets it as a new one.
                    None => drop(self.listings.remove(&path)),
                }
            }
        }
        self.demote();
        self.forget_removed(warnings);
    }

    /// Lets go of databases in memory that another one in memory is better than: there are never more than two of a role.
    fn demote(&mut self) {
        for role in [Role::Places, Role::Networks, Role::Ours] {
            let Some(best) = self.best(role, |state| matches!(state, State::InUse(_))) else {
                continue;
            };
            for (path, listing) in &mut self.listings {
                if listing.part.role == role
                    && *path != best
                    && listing.seen != Seen::Absent
                    && let State::InUse(database) = &listing.state
                {
                    listing.state = match listing.refusal {
                        None => State::Passed(database.rank()),
                        Some(_) => State::Refused,
                    };
                }
            }
        }
    }

    /// Lets go of files that were removed, unless there is no other: then the last ones stay in use.
    fn forget_removed(&mut self, warnings: &mut Vec<String>) {
        if self.selection.is_given() {
            return;
        }
        let in_use = |listing: &Listing| matches!(listing.state, State::InUse(_));
        let removed = |listing: &Listing| listing.seen == Seen::Absent;
        if self
            .listings
            .values()
            .any(|listing| in_use(listing) && !removed(listing))
        {
            self.listings.retain(|_, listing| !removed(listing));
            return;
        }
        for listing in self.listings.values_mut().filter(|listing| removed(listing)) {
            if let (State::InUse(database), None) = (&listing.state, &listing.refusal) {
                let text = format!(
                    "place database removed, and there is no other: {} stays in use until the end: \
                     `tcpwatch geo update` fetches another",
                    named(database)
                );
                warnings.push(text.clone());
                listing.refusal = Some(Refusal { text, unread: false });
            }
        }
    }

    /// The best file for a role among those that are there, usable, and `eligible`.
    fn best(&self, role: Role, eligible: impl Fn(&State) -> bool) -> Option<PathBuf> {
        let mut members: Vec<_> = self
            .listings
            .iter()
            .filter(|(_, listing)| listing.part.role == role && listing.seen != Seen::Absent)
            .filter(|(_, listing)| eligible(&listing.state))
            .filter_map(|(path, listing)| match &listing.state {
                State::InUse(database) => Some((listing.part, path, database.rank())),
                State::Passed(rank) => Some((listing.part, path, *rank)),
                State::Refused => None,
            })
            .collect();
        members.sort_by_key(|(part, path, _)| (*part, *path));
        let best = match role {
            Role::Given | Role::Ours => members.first(),
            // The first of equals: `max_by` would take the last.
            Role::Places | Role::Networks => members.iter().rev().max_by_key(|(_, _, rank)| *rank),
        };
        best.map(|(_, path, _)| (*path).clone())
    }
}

/// Reads a file of which `seen` was last seen; none: it is another by now.
fn read(path: &Path, seen: Seen, reading: Reading) -> Option<Result<Database, Refusal>> {
    let opened = Database::open(path).map_err(|error| Refusal {
        unread: matches!(error, GeoError::Read { .. }),
        text: chain(&error),
    });
    (reading == Reading::First || Seen::of(path) == seen).then_some(opened)
}

fn named(database: &Database) -> String {
    let file = database.file();
    format!("{} ({}), built on {}", file.file, file.kind, file.built)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
