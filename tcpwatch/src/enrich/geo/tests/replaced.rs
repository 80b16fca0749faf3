//! Files that are replaced by others, better, worse and broken, while they are in use.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;
use crate::enrich::Selection;

/// Countries, from a file that was built some days after the new year; `country` is where 8.8.8.8 is.
fn of(country: &str, days: u64) -> Vec<u8> {
    let entry = Value::map([named("country", Some(country), "Somewhere")]);
    mmdb("Tiny-Country", NEW_YEAR + days * DAY, &[("8.0.0.0/8", entry)])
}

fn networks(asn: u32, days: u64) -> Vec<u8> {
    let entry = Value::map([("autonomous_system_number", Value::from(asn))]);
    mmdb("Tiny-ASN", NEW_YEAR + days * DAY, &[("8.0.0.0/8", entry)])
}

struct Shelf {
    directory: tempfile::TempDir,
    catalogue: Catalogue,
    places: Places,
}

/// What one round of looking and taking said.
#[derive(Debug, Default, PartialEq, Eq)]
struct Round {
    replaced: bool,
    news: Vec<String>,
    warnings: Vec<String>,
}

impl Shelf {
    fn found(files: &[(&str, Vec<u8>)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            write(directory.path(), name, bytes);
        }
        let shelves = Shelves {
            directories: vec![directory.path().to_owned()],
            files: vec![directory.path().join(OURS)],
        };
        let (catalogue, places, warnings) = Catalogue::open(Selection::found_in(shelves)).unwrap();
        assert_eq!(warnings.len(), usize::from(files.is_empty()), "{warnings:?}");
        Self {
            directory,
            catalogue,
            places,
        }
    }

    fn given(name: &str, bytes: &[u8]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = write(directory.path(), name, bytes);
        let selection = Selection::new(&[path], Language::default());
        let (catalogue, places, warnings) = Catalogue::open(selection).unwrap();
        assert!(warnings.is_empty());
        Self {
            directory,
            catalogue,
            places,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Replaces a file by another at once.
    fn replace(&self, name: &str, bytes: &[u8]) {
        let path = write(self.directory.path(), "new", bytes);
        fs::rename(path, self.path(name)).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    fn round(&mut self) -> Round {
        self.round_of(false)
    }

    fn round_of(&mut self, again: bool) -> Round {
        let changes = self.catalogue.take(self.catalogue.look(again));
        let replaced = changes.places.is_some();
        if let Some(places) = changes.places {
            self.places = places;
        }
        let directory = format!("{}/", self.directory.path().display());
        let shortened = |texts: Vec<String>| texts.iter().map(|text| text.replace(&directory, "")).collect();
        Round {
            replaced,
            news: shortened(changes.news),
            warnings: shortened(changes.warnings),
        }
    }

    /// Country and AS number of 8.8.8.8.
    fn answer(&mut self) -> (Option<String>, Option<u32>) {
        let found = place(&mut self.places, "8.8.8.8");
        (found.country.map(|code| code.to_string()), found.asn)
    }

    fn dates(&self) -> Vec<String> {
        let files = self.places.files();
        files.iter().map(|file| file.built.to_string()).collect()
    }
}

fn news(texts: &[&str]) -> Round {
    Round {
        replaced: true,
        news: texts.iter().map(|text| (*text).to_owned()).collect(),
        warnings: Vec::new(),
    }
}

const NAME: &str = "GeoLite2-Country.mmdb";

#[test]
fn a_replaced_file_is_taken_once_whether_it_is_newer_or_older() {
    for mut shelf in [
        Shelf::given(NAME, &of("US", 1)),
        Shelf::found(&[(NAME, of("US", 1))]),
    ] {
        assert_eq!(shelf.round(), Round::default());
        shelf.replace(NAME, &of("DE", 2));
        assert_eq!(
            shelf.round(),
            news(&[
                "place database in use: GeoLite2-Country.mmdb (Tiny-Country), built on 2026-01-03, instead of the one \
                 built on 2026-01-02"
            ])
        );
        assert_eq!(shelf.answer(), (Some("DE".to_owned()), None));
        assert_eq!(shelf.round(), Round::default());
        shelf.replace(NAME, &of("FR", 0));
        assert!(shelf.round().replaced);
        assert_eq!(shelf.answer(), (Some("FR".to_owned()), None));
        assert_eq!(shelf.dates(), ["2026-01-01"]);
    }
}

#[test]
fn what_cannot_be_used_leaves_the_old_one_in_use_and_is_said_once() {
    let whole = of("DE", 1);
    let broken: [(&[u8], &str); 4] = [
        (
            &whole[..whole.len() / 2],
            "is cut short, damaged or not an MMDB file",
        ),
        (b"", "is empty"),
        (
            b"<html>Not found</html>",
            "is cut short, damaged or not an MMDB file",
        ),
        (&mmdb("GeoIP2-Anonymous-IP", NEW_YEAR, &[]), "is of type"),
    ];
    for mut shelf in [
        Shelf::given(NAME, &of("US", 1)),
        Shelf::found(&[(NAME, of("US", 1)), (OURS, of("FR", 9))]),
    ] {
        for (bytes, why) in broken {
            shelf.replace(NAME, bytes);
            let round = shelf.round();
            assert!(!round.replaced && round.news.is_empty(), "{round:?}");
            let [warning] = round.warnings.as_slice() else {
                panic!("one warning: {round:?}")
            };
            let kept = "place database not replaced, the one built on 2026-01-02 stays in use: ";
            assert!(warning.starts_with(kept), "{warning}");
            assert!(warning.contains(NAME) && warning.contains(why), "{warning}");
            assert_eq!(shelf.round(), Round::default());
            assert_eq!(shelf.round_of(true), Round::default());
            assert_eq!(shelf.answer().0.as_deref(), Some("US"));
        }
        shelf.replace(NAME, &of("DE", 1));
        assert!(shelf.round().replaced);
        assert_eq!(shelf.answer().0.as_deref(), Some("DE"));
    }
}

#[test]
fn a_broken_file_does_not_hold_up_another() {
    let mut shelf = Shelf::found(&[(NAME, of("US", 1)), ("GeoLite2-ASN.mmdb", networks(1, 1))]);
    shelf.replace(NAME, b"broken");
    shelf.replace("GeoLite2-ASN.mmdb", &networks(2, 2));
    let round = shelf.round();
    assert_eq!((round.replaced, round.warnings.len()), (true, 1));
    assert_eq!(shelf.answer(), (Some("US".to_owned()), Some(2)));
    shelf.replace("GeoLite2-ASN.mmdb", &networks(3, 2));
    let round = shelf.round();
    assert_eq!((round.replaced, round.warnings.len()), (true, 0));
    assert_eq!(shelf.answer(), (Some("US".to_owned()), Some(3)));
}

#[test]
fn a_removed_file_of_the_operators_choice_stays_in_use() {
    let mut shelf = Shelf::given(NAME, &of("US", 1));
    shelf.remove(NAME);
    let round = shelf.round();
    assert!(
        round.warnings[0].starts_with(
            "place database not replaced, the one built on 2026-01-02 stays in use: no such place database"
        ),
        "{round:?}"
    );
    assert_eq!(shelf.round(), Round::default());
    assert_eq!(shelf.answer().0.as_deref(), Some("US"));
    shelf.replace(NAME, &of("DE", 1));
    assert!(shelf.round().replaced);
}

#[test]
fn a_removed_file_that_was_found_gives_way_to_the_next_best_and_the_last_one_stays() {
    let mut shelf = Shelf::found(&[
        (NAME, of("US", 2)),
        ("dbip-country-lite-2026-01.mmdb", of("DE", 1)),
    ]);
    assert_eq!(shelf.answer().0.as_deref(), Some("US"));
    shelf.remove(NAME);
    assert_eq!(
        shelf.round(),
        news(&[
            "place database in use: dbip-country-lite-2026-01.mmdb (Tiny-Country), built on 2026-01-02",
            "place database no longer in use: GeoLite2-Country.mmdb (Tiny-Country), built on 2026-01-03: it was removed",
        ])
    );
    assert_eq!(shelf.answer().0.as_deref(), Some("DE"));
    shelf.remove("dbip-country-lite-2026-01.mmdb");
    let round = shelf.round();
    assert_eq!(
        (round.replaced, round.news.len(), round.warnings.len()),
        (false, 0, 1)
    );
    assert!(
        round.warnings[0].starts_with("place database removed, and there is no other: dbip-country-lite"),
        "{round:?}"
    );
    assert_eq!(shelf.round(), Round::default());
    shelf.replace(OURS, &of("FR", 0));
    assert_eq!(shelf.round().news.len(), 2);
    assert_eq!(shelf.answer().0.as_deref(), Some("FR"));
    assert_eq!(shelf.dates(), ["2026-01-01"]);
}

#[test]
fn files_that_come_later_are_taken_where_they_are_better() {
    let mut shelf = Shelf::found(&[]);
    assert_eq!(shelf.answer(), (None, None));
    shelf.replace(NAME, &of("US", 2));
    assert!(shelf.round().replaced);
    shelf.replace("dbip-country-lite-2025-12.mmdb", &of("DE", 1));
    assert_eq!(shelf.round(), Round::default(), "it is older");
    shelf.replace("dbip-country-lite-2026-02.mmdb", b"broken");
    let round = shelf.round();
    assert_eq!((round.replaced, round.warnings.len()), (false, 1));
    assert!(round.warnings[0].starts_with("place database skipped: dbip-country-lite-2026-02.mmdb"));
    shelf.replace("dbip-country-lite-2026-02.mmdb", &of("FR", 3));
    assert_eq!(shelf.round().news.len(), 2);
    assert_eq!(shelf.answer().0.as_deref(), Some("FR"));
    assert_eq!(shelf.dates(), ["2026-01-04"]);
    shelf.replace("dbip-country-lite-2026-02.mmdb", &of("FR", 0));
    assert_eq!(shelf.round().news.len(), 2, "another is newer again");
    assert_eq!(shelf.answer().0.as_deref(), Some("US"));
}

#[test]
fn only_what_has_changed_is_read() {
    let mut shelf = Shelf::found(&[(NAME, of("US", 1)), ("GeoLite2-ASN.mmdb", networks(1, 1))]);
    fs::set_permissions(shelf.path(NAME), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(shelf.round(), Round::default(), "its contents are the same");
    shelf.replace("GeoLite2-ASN.mmdb", &networks(2, 2));
    let replaced = shelf.catalogue.look(false);
    // Not among those that have come to rest: were it read, it would show.
    shelf.replace(NAME, b"broken");
    let changes = shelf.catalogue.take(replaced);
    assert_eq!((changes.news.len(), changes.warnings.len()), (1, 0));
    shelf.places = changes.places.unwrap();
    assert_eq!(shelf.answer(), (Some("US".to_owned()), Some(2)));
    assert_eq!(shelf.round().warnings.len(), 1, "the control: now it is read");
}

#[test]
fn a_file_that_changes_while_it_is_read_is_left_for_the_next_look() {
    let mut shelf = Shelf::given(NAME, &of("US", 1));
    shelf.replace(NAME, b"the first half of");
    let seen_before_the_second_half = shelf.catalogue.look(false);
    shelf.replace(NAME, &of("DE", 2));
    let changes = shelf.catalogue.take(seen_before_the_second_half);
    assert!(
        changes.places.is_none() && changes.warnings.is_empty(),
        "{changes:?}"
    );
    assert!(shelf.round().replaced);
    assert_eq!(shelf.answer().0.as_deref(), Some("DE"));
}

#[test]
fn what_the_system_cannot_read_is_tried_again_in_silence() {
    let mut shelf = Shelf::given(NAME, &of("US", 1));
    shelf.remove(NAME);
    symlink(shelf.path(NAME), shelf.path(NAME)).unwrap();
    let round = shelf.round();
    assert!(
        round.warnings[0].contains("cannot read the place database"),
        "{round:?}"
    );
    assert!(shelf.catalogue.look(false).is_empty());
    assert_eq!(shelf.catalogue.look(true).len(), 1);
    assert_eq!(shelf.round_of(true), Round::default());
    assert_eq!(shelf.answer().0.as_deref(), Some("US"));
}

#[test]
fn the_directories_of_what_links_lead_to_are_named_too() {
    let elsewhere = tempfile::tempdir().unwrap();
    let target = write(elsewhere.path(), "country-of-may.mmdb", &of("US", 1));
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join(NAME);
    symlink(&target, &link).unwrap();
    let selection = Selection::new(&[link], Language::default());
    let (mut catalogue, ..) = Catalogue::open(selection).unwrap();
    let mut expected = [directory.path(), elsewhere.path()].map(|path| path.canonicalize().unwrap());
    expected.sort();
    assert_eq!(catalogue.directories(), expected);
    fs::write(&target, of("DE", 2)).unwrap();
    assert!(catalogue.take(catalogue.look(false)).places.is_some());
}
