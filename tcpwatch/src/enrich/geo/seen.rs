//! What a look at a file shows, without opening it: whether it is another than before.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Files that are not what they were, by their paths.
pub type Sightings = BTreeMap<PathBuf, Sighting>;

/// A file that is not what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// What it is now.
    pub seen: Seen,
    /// It is the same file, with other contents: somebody has written to it, and may not have finished.
    pub in_place: bool,
}

/// What a look at a path shows, links followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing has this name.
    Absent,
    /// A file, or something that is none.
    Present(Stamp),
    /// The system does not say.
    Hidden(ErrorKind),
}

/// Tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    /// When it was written, in seconds since 1970 and nanoseconds.
    modified: (i64, i64),
    /// When anything about it was changed, also its permissions or the number of its links.
    changed: (i64, i64),
}

impl Seen {
    /// Looks.
    pub fn of(path: &Path) -> Self {
        match std::fs::metadata(path) {
            Ok(metadata) => Self::Present(Stamp {
                device: metadata.dev(),
                inode: metadata.ino(),
                bytes: metadata.size(),
                modified: (metadata.mtime(), metadata.mtime_nsec()),
                changed: (metadata.ctime(), metadata.ctime_nsec()),
            }),
            Err(error) => match error.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory => Self::Absent,
                kind => Self::Hidden(kind),
            },
        }
    }

    /// Whether it is the same file, whatever its contents.
    pub(super) fn same_file(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Present(one), Self::Present(two)) => (one.device, one.inode) == (two.device, two.inode),
            _ => false,
        }
    }

    /// Whether the same bytes are to be read there: permissions and links may be others.
    pub(super) fn same_contents(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Present(one), Self::Present(two)) => {
                Stamp {
                    changed: two.changed,
                    ..*one
                } == *two
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn links_are_followed_and_permissions_are_no_contents() {
        let directory = tempfile::tempdir().unwrap();
        let (one, two, link) = (
            directory.path().join("one"),
            directory.path().join("two"),
            directory.path().join("link"),
        );
        fs::write(&one, "1").unwrap();
        fs::write(&two, "2").unwrap();
        assert_eq!(Seen::of(&link), Seen::Absent);
        assert_eq!(Seen::of(&one.join("x")), Seen::Absent);
        symlink(&one, &link).unwrap();
        let first = Seen::of(&link);
        assert_eq!(first, Seen::of(&one));
        fs::set_permissions(&one, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(first.same_file(&Seen::of(&link)) && !first.same_file(&Seen::of(&two)));
        assert!(first != Seen::of(&link) && first.same_contents(&Seen::of(&link)));
        fs::remove_file(&link).unwrap();
        symlink(&two, &link).unwrap();
        assert!(!first.same_contents(&Seen::of(&link)));
        fs::remove_file(&two).unwrap();
        assert_eq!(Seen::of(&link), Seen::Absent);
        assert!(!Seen::Absent.same_contents(&Seen::Absent));
    }
}
