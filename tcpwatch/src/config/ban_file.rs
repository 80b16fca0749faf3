//! A ban file that is changed for the operator: comments, order and everything else in it stay as they are.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use tempfile::NamedTempFile;

use super::bans::{prefix, without_comment};

/// Why a ban file stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum BanFileError {
    /// It cannot be read.
    #[error("cannot read the ban file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It is a pipe or something like it.
    #[error("{} is no regular file, so nothing can be kept in it: name another with --ban-file", path.display())]
    Kind {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be replaced.
    #[error(
        "cannot write the ban file {}: let tcpwatch write to its directory, or change it by hand and `tcpwatch reload`",
        path.display()
    )]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// A ban file's new contents, beside it and not yet in its place.
#[derive(Debug)]
pub struct Staged {
    /// As the operator names it.
    pub path: PathBuf,
    /// Where it really is.
    target: PathBuf,
    contents: NamedTempFile,
}

/// Writes what the file should contain beside it. None: it does already.
///
/// # Errors
/// It cannot be read, or nothing can be written beside it. The file is as it was.
pub fn stage(path: &Path, add: &[IpNet], remove: &[IpNet]) -> Result<Option<Staged>, BanFileError> {
    let unreadable = |source| BanFileError::Read {
        path: path.to_owned(),
        source,
    };
    // A link stays a link.
    let target = fs::canonicalize(path).map_err(unreadable)?;
    let metadata = fs::metadata(&target).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(BanFileError::Kind {
            path: path.to_owned(),
        });
    }
    let text = fs::read(&target).map_err(unreadable)?;
    let Some(edited) = edited(&text, add, remove) else {
        return Ok(None);
    };
    let write = || {
        let directory = target.parent().unwrap_or(Path::new("."));
        let mut contents = tempfile::Builder::new()
            .prefix(".tcpwatch-bans-")
            .tempfile_in(directory)?;
        contents.write_all(&edited)?;
        let file = contents.as_file();
        match chown(contents.path(), Some(metadata.uid()), Some(metadata.gid())) {
            // Without the right to give a file away it is ours, as one that an editor wrote.
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
            Ok(()) | Err(_) => {}
        }
        file.set_permissions(metadata.permissions())?;
        file.sync_all()?;
        Ok(contents)
    };
    let contents = write().map_err(|source| BanFileError::Write {
        path: path.to_owned(),
        source,
    })?;
    Ok(Some(Staged {
        path: path.to_owned(),
        target,
        contents,
    }))
}

impl Staged {
    /// Puts the contents in the file's place, at once.
    ///
    /// # Errors
    /// The file is as it was.
    pub fn put_in_place(self) -> Result<PathBuf, BanFileError> {
        let Self {
            path,
            target,
            contents,
        } = self;
        let failed = |source| BanFileError::Write {
            path: path.clone(),
            source,
        };
        contents.persist(&target).map_err(|error| failed(error.error))?;
        // The file is the new one already; after a power cut it may be the old one if this fails.
        if let Some(directory) = target.parent()
            && let Err(error) = File::open(directory).and_then(|directory| directory.sync_all())
        {
            tracing::warn!("cannot flush the directory of {}: {error}", path.display());
        }
        Ok(path)
    }
}

/// The contents without the lines of `remove`, and with lines for those of `add` that have none. None: nothing changes.
fn edited(text: &[u8], add: &[IpNet], remove: &[IpNet]) -> Option<Vec<u8>> {
    let remove: HashSet<&IpNet> = remove.iter().collect();
    let mut present = HashSet::new();
    let mut result = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let net = of_line(line);
        if net.is_none_or(|net| !remove.contains(&net)) {
            result.extend_from_slice(line);
        }
        present.extend(net);
    }
    for net in add.iter().filter(|net| !present.contains(*net)) {
        if result.last().is_some_and(|last| *last != b'\n') {
            result.push(b'\n');
        }
        result.extend_from_slice(format!("{net}\n").as_bytes());
    }
    (result != text).then_some(result)
}

/// The prefix in a line; none: there is none, or nothing that is one.
fn of_line(line: &[u8]) -> Option<IpNet> {
    let line = String::from_utf8_lossy(line);
    prefix(without_comment(&line), String::new).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn edit(text: &str, add: &[&str], remove: &[&str]) -> Option<String> {
        edited(text.as_bytes(), &nets(add), &nets(remove)).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    const TEXT: &str =
        "# relays\n192.0.2.1 # one\n\n 203.0.113.0/24\r\n192.0.2.1/32\n::ffff:198.51.100.0/120";

    #[test]
    fn a_prefix_is_added_at_the_end_once_and_the_rest_stays() {
        assert_eq!(
            edit(TEXT, &["2001:db8::/32", "192.0.2.1/32"], &[]).unwrap(),
            format!("{TEXT}\n2001:db8::/32\n")
        );
        assert_eq!(edit("", &["192.0.2.1/32"], &[]).unwrap(), "192.0.2.1/32\n");
        assert_eq!(edit(TEXT, &["203.0.113.0/24"], &[]), None);
    }

    #[test]
    fn every_line_of_a_removed_prefix_goes_however_it_is_written() {
        assert_eq!(
            edit(TEXT, &[], &["192.0.2.1/32"]).unwrap(),
            "# relays\n\n 203.0.113.0/24\r\n::ffff:198.51.100.0/120"
        );
        assert_eq!(
            edit(TEXT, &[], &["198.51.100.0/24", "203.0.113.0/24"]).unwrap(),
            "# relays\n192.0.2.1 # one\n\n192.0.2.1/32\n"
        );
        assert_eq!(edit(TEXT, &[], &["192.0.2.2/32"]), None);
    }

    #[test]
    fn bytes_that_are_no_text_are_kept() {
        let text = b"# caf\xe9\n192.0.2.1\n";
        assert_eq!(
            edited(text, &[], &nets(&["192.0.2.1/32"])).unwrap(),
            b"# caf\xe9\n"
        );
    }

    #[test]
    fn a_file_is_replaced_at_once_with_its_mode_and_through_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("real"), directory.path().join("link"));
        fs::write(&file, "192.0.2.1\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&file, &link).unwrap();
        let staged = stage(&link, &nets(&["192.0.2.2/32"]), &[]).unwrap().unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "192.0.2.1\n");
        assert_eq!(staged.put_in_place().unwrap(), link);
        assert_eq!(fs::read_to_string(&file).unwrap(), "192.0.2.1\n192.0.2.2/32\n");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(link.is_symlink());

        // What is not put in place leaves nothing behind.
        drop(stage(&link, &[], &nets(&["192.0.2.1/32"])).unwrap().unwrap());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
        assert!(stage(&link, &nets(&["192.0.2.1/32"]), &[]).unwrap().is_none());
    }

    #[test]
    fn what_cannot_be_kept_in_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let error = stage(directory.path(), &[], &[]).unwrap_err().to_string();
        assert!(error.contains("is no regular file"), "{error}");
        let error = stage(&directory.path().join("none"), &[], &[])
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("cannot read the ban file "), "{error}");
    }
}
