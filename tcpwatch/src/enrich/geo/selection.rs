//! Which files are used, so that they can be opened again when they have changed.

use std::path::{Path, PathBuf};

use crate::enrich::geo::catalogue::Catalogue;
use crate::enrich::geo::shelves::Subject;
use crate::enrich::geo::{GeoError, Language, Places, Shelves};

/// The operator's choice of place databases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    which: Which,
    language: Language,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Which {
    /// These, in this order.
    Given(Vec<PathBuf>),
    /// Those that lie where place databases usually do.
    Found(Shelves),
}

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// The operator named it.
    Given,
    /// Countries, and cities perhaps: one of these is used.
    Places,
    /// Autonomous systems: one of these is used.
    Networks,
    /// Made by `tcpwatch geo import`: one of these is used.
    Ours,
}

/// A file's part in a selection. Lesser ones are asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Part {
    /// What it is for.
    pub(super) role: Role,
    /// Where it comes among equals.
    place: usize,
}

impl Selection {
    /// The files of `--geo`, in their order; those that lie in the usual places when there are none.
    pub fn new(given: &[PathBuf], language: Language) -> Self {
        let which = match given {
            [] => Which::Found(Shelves::usual()),
            given => Which::Given(given.to_vec()),
        };
        Self { which, language }
    }

    /// Opens the files as they are now. The warnings say which were skipped, or that there are none.
    ///
    /// # Errors
    /// A file of `--geo` cannot be used; none of those is skipped.
    pub fn open(&self) -> Result<(Places, Vec<String>), GeoError> {
        let (_, places, warnings) = Catalogue::open(self.clone())?;
        Ok((places, warnings))
    }

    /// Those that lie in other places than the usual.
    pub(super) fn found_in(shelves: Shelves) -> Self {
        Self {
            which: Which::Found(shelves),
            language: Language::default(),
        }
    }

    pub(super) fn language(&self) -> &Language {
        &self.language
    }

    /// The files that there are now, and those that the operator named. The warnings name directories that cannot be listed.
    pub(super) fn candidates(&self, warnings: &mut Vec<String>) -> Vec<PathBuf> {
        match &self.which {
            Which::Given(paths) => paths.clone(),
            Which::Found(shelves) => {
                let found = shelves.known_files(warnings).into_iter();
                found.chain(shelves.files.iter().cloned()).collect()
            }
        }
    }

    /// What a file is for; none: it is for nothing.
    pub(super) fn part(&self, path: &Path) -> Option<Part> {
        let position = |paths: &[PathBuf], path: &Path| paths.iter().position(|other| other == path);
        let (role, place) = match &self.which {
            Which::Given(paths) => (Role::Given, position(paths, path)?),
            Which::Found(shelves) => match position(&shelves.files, path) {
                Some(place) => (Role::Ours, place),
                None => {
                    let role = match Subject::of(path)? {
                        Subject::Places => Role::Places,
                        Subject::Networks => Role::Networks,
                    };
                    (role, position(&shelves.directories, path.parent()?)?)
                }
            },
        };
        Some(Part { role, place })
    }

    /// Whether the operator named the files.
    pub fn is_given(&self) -> bool {
        matches!(self.which, Which::Given(_))
    }

    /// The directories in which a change may concern these files, whether they exist or not.
    pub fn directories(&self) -> Vec<PathBuf> {
        let parent = |path: &PathBuf| match path.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            Some(_) | None => PathBuf::from("."),
        };
        let mut directories: Vec<PathBuf> = match &self.which {
            Which::Given(paths) => paths.iter().map(parent).collect(),
            Which::Found(shelves) => {
                let files = shelves.files.iter().map(parent);
                shelves.directories.iter().cloned().chain(files).collect()
            }
        };
        directories.sort();
        directories.dedup();
        directories
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directories_of_given_files_are_theirs() {
        let given = ["/a/x.mmdb", "/a/y.mmdb", "z.mmdb"].map(PathBuf::from);
        let selection = Selection::new(&given, Language::default());
        assert_eq!(selection.directories(), ["/a", "."].map(PathBuf::from));
        assert!(selection.is_given());
        let usual = Selection::new(&[], Language::default());
        assert!(!usual.is_given() && usual.directories().contains(&PathBuf::from("/var/lib/GeoIP")));
    }
}
