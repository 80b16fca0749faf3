//! The directory that place databases are written to: one writer at a time, and a file is there whole or not at all.
//! It knows nothing of what the files contain.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// What an unfinished file's name ends in. No reader of databases takes such a name.
const UNFINISHED: &str = ".mmdb.new";

/// What the name of a file that is about to become the previous one ends in.
const STEPPING_BACK: &str = ".mmdb.previous.new";

/// Whoever watches may not be the user who writes.
const FILE_MODE: u32 = 0o644;
const DIRECTORY_MODE: u32 = 0o755;

/// Why nothing can be written there. Each text names the path and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// The directory is not there, and cannot be made.
    #[error("cannot make the directory {}: {}", .path.display(), cure(.source))]
    Make {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The directory cannot be opened, looked through or locked.
    #[error("cannot use the directory {}: {}", .path.display(), cure(.source))]
    Open {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Somebody else holds the lock.
    #[error("another tcpwatch is writing place databases to {}: wait until it has ended", .path.display())]
    Busy {
        /// The directory.
        path: PathBuf,
    },
    /// A new file cannot be begun, written, or brought to the disk.
    #[error("cannot write {}: {}", .path.display(), cure(.source))]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What a killed run has left cannot be removed.
    #[error("cannot remove {}: {}", .path.display(), cure(.source))]
    Remove {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The new file cannot be given its name, or the old one another.
    #[error("cannot replace {}: {}", .path.display(), cure(.source))]
    Replace {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

fn cure(source: &io::Error) -> &'static str {
    match source.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "run it as root, or name a directory of yours"
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "make room there, or name another directory",
        _ => "check the directory, or name another one",
    }
}

/// The directory, locked: as long as this value lives, no other tcpwatch writes there.
///
/// The lock is on the directory itself, so that none is left when the process is killed.
#[derive(Debug)]
pub struct Shelf {
    path: PathBuf,
    directory: File,
}

impl Shelf {
    /// Locks `path`, which is made where it is missing, and removes what killed runs have left there.
    ///
    /// # Errors
    ///
    /// It cannot be made, opened or locked, or another process has it.
    pub fn lock(path: &Path) -> Result<Self, ShelfError> {
        DirBuilder::new()
            .recursive(true)
            .mode(DIRECTORY_MODE)
            .create(path)
            .map_err(|source| ShelfError::Make {
                path: path.to_owned(),
                source,
            })?;
        let unusable = |source| ShelfError::Open {
            path: path.to_owned(),
            source,
        };
        let directory = File::open(path).map_err(unusable)?;
        match directory.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(ShelfError::Busy {
                    path: path.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        for entry in fs::read_dir(path).map_err(unusable)? {
            let name = entry.map_err(unusable)?.file_name();
            let unfinished = name.to_str().is_some_and(|name| {
                name.starts_with('.') && (name.ends_with(UNFINISHED) || name.ends_with(STEPPING_BACK))
            });
            if unfinished {
                remove(&path.join(name))?;
            }
        }
        Ok(Self {
            path: path.to_owned(),
            directory,
        })
    }

    /// Where the file of this name is, or will be.
    pub fn place(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Begins a file that will have this name, which ends in `.mmdb`.
    ///
    /// # Errors
    ///
    /// Nothing can be written to the directory.
    pub fn draft(&self, name: &str) -> Result<Draft<'_>, ShelfError> {
        let path = self.path.join(format!(".{name}.new"));
        let failed = |source| ShelfError::Write {
            path: path.clone(),
            source,
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(failed)?;
        let draft = Draft {
            shelf: self,
            name: name.to_owned(),
            path: path.clone(),
            file,
        };
        // Whatever the umask is.
        draft
            .file
            .set_permissions(fs::Permissions::from_mode(FILE_MODE))
            .map_err(failed)?;
        Ok(draft)
    }
}

/// A file that has not got its name yet, and is gone with this value unless it gets it.
#[derive(Debug)]
pub struct Draft<'a> {
    shelf: &'a Shelf,
    name: String,
    path: PathBuf,
    file: File,
}

impl Draft<'_> {
    /// Where it is as long as it is unfinished.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The error of having been unable to write to it.
    pub fn cannot_write(&self, source: io::Error) -> ShelfError {
        ShelfError::Write {
            path: self.path.clone(),
            source,
        }
    }

    /// Gives it its name. The file that had the name is kept as `NAME.previous`, in the place of the one before.
    ///
    /// A reader sees the old file or the new one, whole; also after a power cut.
    ///
    /// # Errors
    ///
    /// It cannot be brought to the disk or renamed; then the old file is as it was. Or the directory cannot be brought to
    /// the disk, and the new file is in place.
    pub fn replace(self) -> Result<(), ShelfError> {
        self.file.sync_all().map_err(|source| self.cannot_write(source))?;
        let place = self.shelf.place(&self.name);
        let failed = |source| ShelfError::Replace {
            path: place.clone(),
            source,
        };
        let aside = self.shelf.path.join(format!(".{}.previous.new", self.name));
        let kept = match keep(&place, &aside) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(source) => {
                remove(&aside)?;
                return Err(failed(source));
            }
        };
        if let Err(source) = fs::rename(&self.path, &place) {
            remove(&aside)?;
            return Err(failed(source));
        }
        if kept {
            let previous = self.shelf.path.join(format!("{}.previous", self.name));
            fs::rename(&aside, &previous).map_err(failed)?;
            // Two names of one file, which a run killed in between leaves, are both there after a rename.
            remove(&aside)?;
        }
        self.shelf.directory.sync_all().map_err(failed)
    }
}

impl Write for Draft<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path) {
            tracing::warn!("{error}");
        }
    }
}

/// Gives the file at `place` a second name. Where it cannot have one (another owner, a file system without links), its
/// content gets it.
fn keep(place: &Path, aside: &Path) -> io::Result<()> {
    match fs::hard_link(place, aside) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            fs::copy(place, aside)?;
            File::open(aside)?.sync_all()
        }
        done => done,
    }
}

/// Removes a file, which need not be there.
fn remove(path: &Path) -> Result<(), ShelfError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done.map_err(|source| ShelfError::Remove {
            path: path.to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "x.mmdb";

    fn put(shelf: &Shelf, content: &str) {
        let mut draft = shelf.draft(NAME).unwrap();
        draft.write_all(content.as_bytes()).unwrap();
        draft.replace().unwrap();
    }

    fn content(directory: &Path) -> Vec<(String, String)> {
        let mut files: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                (name, fs::read_to_string(entry.path()).unwrap())
            })
            .collect();
        files.sort();
        files
    }

    fn files(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected
            .iter()
            .map(|&(name, content)| (name.to_owned(), content.to_owned()))
            .collect()
    }

    #[test]
    fn the_file_before_is_kept_and_the_one_before_that_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("made/below");
        let shelf = Shelf::lock(&below).unwrap();
        put(&shelf, "1");
        assert_eq!(content(&below), files(&[(NAME, "1")]));
        put(&shelf, "2");
        assert_eq!(content(&below), files(&[(NAME, "2"), ("x.mmdb.previous", "1")]));
        put(&shelf, "3");
        assert_eq!(content(&below), files(&[(NAME, "3"), ("x.mmdb.previous", "2")]));
        fs::rename(below.join("x.mmdb.previous"), below.join(NAME)).unwrap();
        put(&shelf, "4");
        assert_eq!(content(&below), files(&[(NAME, "4"), ("x.mmdb.previous", "2")]));
        let mode = fs::metadata(below.join(NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
    }

    #[test]
    fn a_draft_that_is_not_finished_leaves_nothing_and_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let shelf = Shelf::lock(directory.path()).unwrap();
        put(&shelf, "old");
        let mut draft = shelf.draft(NAME).unwrap();
        draft.write_all(b"half").unwrap();
        assert_eq!(fs::read(draft.path()).unwrap(), b"half", "the control");
        drop(draft);
        assert_eq!(content(directory.path()), files(&[(NAME, "old")]));
    }

    #[test]
    fn what_a_killed_run_has_left_is_removed_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        for name in [
            ".x.mmdb.new",
            ".y.mmdb.previous.new",
            ".hidden",
            "x.mmdb.new",
            "notes.new",
        ] {
            fs::write(path.join(name), name).unwrap();
        }
        drop(Shelf::lock(path).unwrap());
        let left: Vec<_> = content(path).into_iter().map(|(name, _)| name).collect();
        assert_eq!(left, [".hidden", "notes.new", "x.mmdb.new"]);
    }

    #[test]
    fn a_run_killed_between_two_renames_loses_neither_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        fs::write(path.join(NAME), "2").unwrap();
        fs::hard_link(path.join(NAME), path.join("x.mmdb.previous")).unwrap();
        put(&Shelf::lock(path).unwrap(), "3");
        assert_eq!(content(path), files(&[(NAME, "3"), ("x.mmdb.previous", "2")]));
    }

    #[test]
    fn one_writer_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let first = Shelf::lock(directory.path()).unwrap();
        let error = Shelf::lock(directory.path()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "another tcpwatch is writing place databases to {}: wait until it has ended",
                directory.path().display()
            )
        );
        drop(first);
        Shelf::lock(directory.path()).unwrap();
    }

    #[test]
    fn a_name_that_cannot_be_replaced_leaves_everything_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let shelf = Shelf::lock(directory.path()).unwrap();
        fs::create_dir(directory.path().join(NAME)).unwrap();
        let error = shelf.draft(NAME).unwrap().replace().unwrap_err();
        assert!(matches!(error, ShelfError::Replace { .. }), "{error}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_where_the_directory_should_be_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "x").unwrap();
        assert_eq!(
            Shelf::lock(&path).unwrap_err().to_string(),
            format!(
                "cannot make the directory {}: check the directory, or name another one",
                path.display()
            )
        );
    }
}
