//! Where place databases usually lie.

use std::env;
use std::io::ErrorKind;
use std::path::PathBuf;

/// Directories and files that are looked at when no `--geo` is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shelves {
    /// Directories with the operator's own files, under the names that their makers give them.
    pub directories: Vec<PathBuf>,
    /// Files made at set-up, in order of preference; used when no directory has one.
    pub files: Vec<PathBuf>,
}

impl Shelves {
    /// Those of this machine and user.
    pub fn usual() -> Self {
        let mut files = vec![PathBuf::from("/var/lib/tcpwatch/country.mmdb")];
        let data = env::var_os("XDG_DATA_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| env::home_dir().map(|home| home.join(".local/share")));
        files.extend(data.map(|data| data.join("tcpwatch/country.mmdb")));
        Self {
            directories: vec!["/usr/share/GeoIP".into(), "/var/lib/GeoIP".into()],
            files,
        }
    }

    /// The files in the directories whose names promise countries, in order of name.
    pub(super) fn operators_files(&self, warnings: &mut Vec<String>) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for directory in &self.directories {
            match std::fs::read_dir(directory) {
                Ok(entries) => {
                    let named = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
                    let first = found.len();
                    found.extend(named.filter(|path| {
                        path.file_name()
                            .and_then(|name| name.to_str())
                            .is_some_and(has_countries)
                    }));
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

fn has_countries(name: &str) -> bool {
    let Some(stem) = name.strip_suffix(".mmdb") else {
        return false;
    };
    matches!(
        stem,
        "GeoIP2-Country" | "GeoIP2-City" | "GeoIP2-Enterprise" | "GeoLite2-City" | "GeoLite2-Country"
    ) || stem.starts_with("dbip-city-lite")
        || stem.starts_with("dbip-country-lite")
}

#[cfg(test)]
mod tests {
    use super::has_countries;

    #[test]
    fn only_names_that_promise_countries_are_taken() {
        for name in [
            "GeoLite2-City.mmdb",
            "GeoIP2-Enterprise.mmdb",
            "dbip-country-lite-2026-01.mmdb",
            "dbip-city-lite.mmdb",
        ] {
            assert!(has_countries(name), "{name}");
        }
        for name in [
            "GeoLite2-ASN.mmdb",
            "GeoIP.dat",
            "dbip-asn-lite-2026-01.mmdb",
            "GeoLite2-City.mmdb.gz",
            "notes",
        ] {
            assert!(!has_countries(name), "{name}");
        }
    }
}
