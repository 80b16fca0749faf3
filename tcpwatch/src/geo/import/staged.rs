//! A file in the making, beside the one that it will replace: readers see the old one or the new one, whole.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::{NamedTempFile, TempPath};

/// What a file in the making is called, behind the name that it will have.
const SUFFIX: &str = ".new";

/// Only a process that was killed leaves a file that is so old.
const ABANDONED: Duration = Duration::from_secs(3600);

/// Gone when it is dropped, unless it was put in place.
#[derive(Debug)]
pub struct Staged {
    path: TempPath,
    place: PathBuf,
}

impl Staged {
    /// Writes a file that will be `place`, readable by everybody, down to the disk. Its name is its own, so that two
    /// programs can do this at the same time; the last one's file stays.
    ///
    /// # Errors
    ///
    /// It cannot be made or written.
    pub fn write(place: &Path, bytes: &[u8]) -> io::Result<Self> {
        remove_abandoned(place);
        let mut file = tempfile::Builder::new()
            .prefix(&prefix(place))
            .suffix(SUFFIX)
            .permissions(Permissions::from_mode(0o600))
            .tempfile_in(directory(place))?;
        write_down(&mut file, bytes)?;
        Ok(Self {
            path: file.into_temp_path(),
            place: place.to_owned(),
        })
    }

    /// The file as it lies there now.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces what was there, in one step that outlives a power cut.
    ///
    /// # Errors
    ///
    /// It cannot be renamed; then nothing changed.
    pub fn put_in_place(self) -> io::Result<()> {
        self.path.persist(&self.place).map_err(|error| error.error)?;
        File::open(directory(&self.place))?.sync_all()
    }
}

fn write_down(file: &mut NamedTempFile, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    // Whatever the umask is.
    file.as_file().set_permissions(Permissions::from_mode(0o644))?;
    file.as_file().sync_all()
}

/// The directory of a file.
pub fn directory(place: &Path) -> &Path {
    match place.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    }
}

fn prefix(place: &Path) -> String {
    format!(".{}.", place.file_name().unwrap_or_default().to_string_lossy())
}

/// Files that a killed program left. One that cannot be removed does no harm but to the disk's space.
fn remove_abandoned(place: &Path) {
    let prefix = prefix(place);
    let Ok(entries) = fs::read_dir(directory(place)) else {
        return;
    };
    let abandoned = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with(&prefix)
            && name.ends_with(SUFFIX)
            && entry
                .metadata()
                .and_then(|metadata| metadata.modified())
                .is_ok_and(|time| {
                    SystemTime::now()
                        .duration_since(time)
                        .is_ok_and(|age| age > ABANDONED)
                })
    };
    for entry in entries.flatten().filter(abandoned) {
        if let Err(error) = fs::remove_file(entry.path()) {
            tracing::debug!("cannot remove {}: {error}", entry.path().display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn replaces_a_file_in_one_step_and_leaves_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("places.mmdb");
        fs::write(&place, "old").unwrap();
        let staged = Staged::write(&place, b"new").unwrap();
        assert_eq!(fs::read(staged.path()).unwrap(), b"new");
        assert_eq!(fs::read(&place).unwrap(), b"old");
        staged.put_in_place().unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"new");
        assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o7777, 0o644);
        assert_eq!(names(directory.path()), ["places.mmdb"]);
    }

    #[test]
    fn what_is_not_put_in_place_goes() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("places.mmdb");
        drop(Staged::write(&place, b"new").unwrap());
        assert!(names(directory.path()).is_empty());
    }

    #[test]
    fn two_at_the_same_time_do_not_touch_each_other() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("places.mmdb");
        let one = Staged::write(&place, b"one").unwrap();
        let two = Staged::write(&place, b"two").unwrap();
        two.put_in_place().unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"two");
        one.put_in_place().unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"one");
        assert_eq!(names(directory.path()), ["places.mmdb"]);
    }

    #[test]
    fn only_what_a_killed_program_left_long_ago_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("places.mmdb");
        for (name, age_s) in [
            (".places.mmdb.a1.new", 4000),
            (".places.mmdb.b2.new", 10),
            (".other.mmdb.c3.new", 4000),
            ("places.mmdb.new", 4000),
        ] {
            let file = File::create(directory.path().join(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age_s))
                .unwrap();
        }
        Staged::write(&place, b"new").unwrap().put_in_place().unwrap();
        assert_eq!(
            names(directory.path()),
            [
                ".other.mmdb.c3.new",
                ".places.mmdb.b2.new",
                "places.mmdb",
                "places.mmdb.new"
            ]
        );
    }
}
