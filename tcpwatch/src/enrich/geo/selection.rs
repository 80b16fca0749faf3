//! Which files are used, so that they can be opened again when they have changed.

use std::path::{Path, PathBuf};

use crate::enrich::geo::{GeoError, Language, Places, Shelves};

/// The operator's choice of place databases.
#[derive(Clone, Debug)]
pub struct Selection {
    which: Which,
    language: Language,
}

#[derive(Clone, Debug)]
enum Which {
    /// These, in this order.
    Given(Vec<PathBuf>),
    /// Those that lie where place databases usually do.
    Found(Shelves),
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
        let (places, warnings) = match &self.which {
            Which::Given(paths) => (Places::open_given(paths)?, Vec::new()),
            Which::Found(shelves) => Places::discover_in(shelves),
        };
        Ok((places.in_language(self.language.clone()), warnings))
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
