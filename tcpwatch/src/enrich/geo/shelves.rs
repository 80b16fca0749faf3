//! Where place databases usually lie.

use std::env;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Where root's own files lie.
const SYSTEM: &str = "/var/lib/tcpwatch";

/// Name of the database that `tcpwatch geo import` makes.
pub const OURS: &str = "places.mmdb";

/// Directories and files that are looked at when no `--geo` is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shelves {
    /// Directories with files under the names that their makers give them.
    pub directories: Vec<PathBuf>,
    /// Files made by `tcpwatch geo import`, in order of preference: they fill the gaps of the others.
    pub files: Vec<PathBuf>,
}

/// What a file of a well-known name is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// Countries, and cities perhaps.
    Places,
    /// Autonomous systems.
    Networks,
}

impl Subject {
    /// What the name of a file promises.
    pub(super) fn of(path: &Path) -> Option<Self> {
        subject(path.file_name()?.to_str()?)
    }
}

impl Shelves {
    /// Those of this machine and user.
    pub fn usual() -> Self {
        let ours: Vec<PathBuf> = [Some(SYSTEM.into()), data_directory()]
            .into_iter()
            .flatten()
            .collect();
        let files = ours.iter().map(|directory| directory.join(OURS)).collect();
        let mut directories: Vec<PathBuf> = vec!["/usr/share/GeoIP".into(), "/var/lib/GeoIP".into()];
        directories.extend(ours);
        Self { directories, files }
    }

    /// The directory that this user's own place databases are written to; none: he has no home.
    pub fn ours() -> Option<PathBuf> {
        if rustix::process::geteuid().is_root() {
            Some(SYSTEM.into())
        } else {
            data_directory()
        }
    }

    /// The files in the directories whose names promise places or networks, in order of name.
    pub(super) fn known_files(&self, warnings: &mut Vec<String>) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for directory in &self.directories {
            match std::fs::read_dir(directory) {
                Ok(entries) => {
                    let first = found.len();
                    let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
                    found.extend(paths.filter(|path| Subject::of(path).is_some()));
                    found[first..].sort();
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    warnings.push(format!(
                        "place databases in {} skipped: {error}",
                        directory.display()
                    ));
                }
            }
        }
        found
    }
}

fn data_directory() -> Option<PathBuf> {
    let data = env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| env::home_dir().map(|home| home.join(".local/share")))?;
    Some(data.join("tcpwatch"))
}

/// What the name of a file promises.
fn subject(name: &str) -> Option<Subject> {
    let stem = name.strip_suffix(".mmdb")?;
    match stem {
        "GeoIP2-Country" | "GeoIP2-City" | "GeoIP2-Enterprise" | "GeoLite2-City" | "GeoLite2-Country" => {
            Some(Subject::Places)
        }
        "GeoIP2-ISP" | "GeoIP2-ASN" | "GeoLite2-ASN" => Some(Subject::Networks),
        _ if stem.starts_with("dbip-city-lite") || stem.starts_with("dbip-country-lite") => {
            Some(Subject::Places)
        }
        _ if stem.starts_with("dbip-asn-lite") => Some(Subject::Networks),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_promise_places_or_networks_are_taken() {
        for name in [
            "GeoLite2-City.mmdb",
            "GeoIP2-Enterprise.mmdb",
            "dbip-country-lite-2026-01.mmdb",
            "dbip-city-lite.mmdb",
        ] {
            assert_eq!(subject(name), Some(Subject::Places), "{name}");
        }
        for name in [
            "GeoLite2-ASN.mmdb",
            "GeoIP2-ISP.mmdb",
            "dbip-asn-lite-2026-01.mmdb",
        ] {
            assert_eq!(subject(name), Some(Subject::Networks), "{name}");
        }
        for name in [
            "GeoIP.dat",
            "GeoLite2-City.mmdb.gz",
            "GeoIP2-Anonymous-IP.mmdb",
            "places.mmdb",
            "notes",
        ] {
            assert_eq!(subject(name), None, "{name}");
        }
    }
}
