//! Groups that `--for` knows by name: whose networks and domains.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Those that come with the program.
const BUILT_IN: &str = include_str!("../../data/groups.toml");

/// A group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupOf {
    /// Numbers of its autonomous systems.
    #[serde(default)]
    pub asn: Vec<u32>,
    /// Its domains; names below them are its, too.
    #[serde(default)]
    pub domains: Vec<String>,
}

/// Groups by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Groups(BTreeMap<String, GroupOf>);

/// Why a file with groups cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GroupsError {
    /// It cannot be read.
    #[error("cannot read the groups {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It has another form.
    #[error("the groups {} cannot be understood: each is a [name] with asn = [numbers] and domains = [texts]", .path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: toml::de::Error,
    },
    /// Not a domain.
    #[error("the groups {}, [{group}]: {text:?} is no domain: write it like example.com", .path.display())]
    Domain {
        /// The file.
        path: PathBuf,
        /// The group.
        group: String,
        /// As written.
        text: String,
    },
    /// A group of nothing.
    #[error("the groups {}, [{group}]: it has neither asn nor domains", .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// The group.
        group: String,
    },
}

impl Groups {
    /// Those that come with the program.
    ///
    /// # Errors
    /// Never: a test reads them.
    pub fn built_in() -> Result<Self, GroupsError> {
        Self::parse(BUILT_IN, Path::new("built-in"))
    }

    /// Adds those of a file; a name that is known already means what the file says.
    ///
    /// # Errors
    /// The file cannot be read or understood.
    pub fn add(&mut self, path: &Path) -> Result<(), GroupsError> {
        let text = std::fs::read_to_string(path).map_err(|source| GroupsError::Read {
            path: path.to_owned(),
            source,
        })?;
        self.0.extend(Self::parse(&text, path)?.0);
        Ok(())
    }

    fn parse(text: &str, path: &Path) -> Result<Self, GroupsError> {
        let groups: BTreeMap<String, GroupOf> = toml::from_str(text).map_err(|source| GroupsError::Form {
            path: path.to_owned(),
            source,
        })?;
        let mut read = BTreeMap::new();
        for (name, group) in groups {
            if group.asn.is_empty() && group.domains.is_empty() {
                return Err(GroupsError::Empty {
                    path: path.to_owned(),
                    group: name,
                });
            }
            let domains = group
                .domains
                .into_iter()
                .map(|text| {
                    domain(&text).ok_or_else(|| GroupsError::Domain {
                        path: path.to_owned(),
                        group: name.clone(),
                        text,
                    })
                })
                .collect::<Result<_, _>>()?;
            let asn = group.asn;
            read.insert(name.to_lowercase(), GroupOf { asn, domains });
        }
        Ok(Self(read))
    }

    /// The group of a name, in whatever case.
    pub fn get(&self, name: &str) -> Option<&GroupOf> {
        self.0.get(&name.to_lowercase())
    }

    /// Their names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// A domain in lower case without the dot at its end; none: it is not one (at least two labels of letters, digits, `-` and `_`).
pub(super) fn domain(text: &str) -> Option<String> {
    let text = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    (text.len() <= 253 && text.contains('.') && text.split('.').all(label)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_groups_are_readable() {
        let groups = Groups::built_in().unwrap();
        assert_eq!(
            groups.names().collect::<Vec<_>>(),
            [
                "amazon",
                "apple",
                "cloudflare",
                "google",
                "meta",
                "microsoft",
                "netflix",
                "telegram"
            ]
        );
        let google = groups.get("Google").unwrap();
        assert!(google.asn.contains(&15169) && google.domains.contains(&"youtube.com".to_owned()));
        // A domain in two groups would make its traffic both's.
        let all: Vec<&String> = groups.0.values().flat_map(|group| &group.domains).collect();
        let mut once = all.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), all.len());
    }

    #[test]
    fn a_file_adds_groups_and_replaces_those_of_the_same_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("groups.toml");
        std::fs::write(
            &path,
            "[Shop]\nasn = [64500]\n[google]\ndomains = [\"Example.COM.\"]\n",
        )
        .unwrap();
        let mut groups = Groups::built_in().unwrap();
        groups.add(&path).unwrap();
        assert_eq!(groups.get("shop").unwrap().asn, [64500]);
        let google = groups.get("google").unwrap();
        assert_eq!(
            (google.asn.len(), &google.domains[..]),
            (0, &["example.com".to_owned()][..])
        );
    }

    #[test]
    fn a_file_that_says_something_else_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("groups.toml");
        for (text, said) in [
            ("[a]\nasn = [-1]\n", "cannot be understood"),
            ("[a]\nasn = [1]\nname = \"x\"\n", "cannot be understood"),
            ("[a\n", "cannot be understood"),
            ("[a]\n", "neither asn nor domains"),
            ("[a]\ndomains = [\"com\"]\n", "\"com\" is no domain"),
            ("[a]\ndomains = [\"a b.com\"]\n", "is no domain"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Groups::built_in().unwrap().add(&path).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
        let error = Groups::built_in().unwrap().add(&path.join("none")).unwrap_err();
        assert!(error.to_string().starts_with("cannot read the groups"), "{error}");
    }
}
