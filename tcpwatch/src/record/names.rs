//! The names of a destination, and how far they can be relied on.

use std::borrow::Cow;
use std::sync::Arc;

use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a destination was called. It has at least one name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Names {
    /// How the names are known.
    pub from: Evidence,
    /// Best first: most connections, then alphabetical.
    pub list: Vec<Name>,
}

/// One of the names of a destination.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    /// The name, in lower case, without the dot at its end.
    pub name: Arc<str>,
    /// Connections of the interval whose name was read and is this one; none: known by [`Evidence::Sni`] only.
    pub connections: Option<u64>,
}

/// How names are known; a stronger evidence is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Evidence {
    /// The address's owner calls it so: an answer to a reverse look-up (RFC 1035, section 3.5).
    Ptr,
    /// This host asked for the name and was answered with the address.
    Dns,
    /// A client named it: server names of TLS ClientHellos and of QUIC Initials (RFC 6066, section 3).
    Sni,
}

impl Evidence {
    /// All of them.
    const ALL: [Self; 3] = [Self::Ptr, Self::Dns, Self::Sni];

    /// The word that stands for it in every format.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ptr => "ptr",
            Self::Dns => "dns",
            Self::Sni => "sni",
        }
    }
}

impl Names {
    /// Names without connections; none: there are none.
    pub fn new(from: Evidence, names: impl IntoIterator<Item = Arc<str>>) -> Option<Self> {
        let name = |name| Name {
            name,
            connections: None,
        };
        let list: Vec<Name> = names.into_iter().map(name).collect();
        (!list.is_empty()).then_some(Self { from, list })
    }

    /// The names as texts, best first.
    pub fn texts(&self) -> impl Iterator<Item = &str> + Clone {
        self.list.iter().map(|name| &*name.name)
    }

    /// The connections of each name; none: not known of all of them.
    pub fn connections(&self) -> Option<impl Iterator<Item = u64>> {
        let known = self.list.iter().all(|name| name.connections.is_some());
        known.then(|| self.list.iter().filter_map(|name| name.connections))
    }

    /// Of what a record has; none: no name is known. A record of a version without evidence has the list alone: of names that
    /// the address was asked for by.
    pub(super) fn read(
        names: Option<Vec<Arc<str>>>,
        from: Option<Evidence>,
        connections: Option<Vec<u64>>,
    ) -> Result<Option<Self>, Malformed> {
        let Some(names) = names.filter(|names| from.is_some() || !names.is_empty()) else {
            return if from.is_none() && connections.is_none() {
                Ok(None)
            } else {
                Err(Malformed::NoNames)
            };
        };
        let (count, from) = (names.len(), from.unwrap_or(Evidence::Dns));
        let mut read = Self::new(from, names).ok_or(Malformed::NoNames)?;
        if let Some(connections) = connections {
            if from != Evidence::Sni {
                return Err(Malformed::Connections(from.word()));
            }
            if connections.len() != count {
                return Err(Malformed::Length {
                    names: count,
                    connections: connections.len(),
                });
            }
            for (name, connections) in read.list.iter_mut().zip(connections) {
                name.connections = Some(connections);
            }
        }
        Ok(Some(read))
    }
}

/// What a record says of names, and cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    /// Evidence or connections of nothing.
    #[error("names_from or name_connections without names")]
    NoNames,
    /// Only names that were read belong to connections.
    #[error("name_connections where names_from is {0}")]
    Connections(&'static str),
    /// Nothing tells which connection is whose.
    #[error("{connections} name_connections of {names} names")]
    Length {
        /// How many names.
        names: usize,
        /// How many connections.
        connections: usize,
    },
}

impl Serialize for Evidence {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.word())
    }
}

impl<'de> Deserialize<'de> for Evidence {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let word = Cow::<str>::deserialize(from)?;
        let known = Self::ALL.into_iter().find(|evidence| evidence.word() == word);
        known.ok_or_else(|| D::Error::invalid_value(Unexpected::Str(&word), &"sni, dns or ptr"))
    }
}

/// As three fields, which are null where nothing is known.
pub(super) fn serialize<S: Serializer>(names: &Option<Arc<Names>>, to: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Form<'a> {
        names: Option<Texts<'a>>,
        names_from: Option<Evidence>,
        name_connections: Option<Connections<'a>>,
    }
    let names = names.as_deref();
    let form = Form {
        names: names.map(Texts),
        names_from: names.map(|names| names.from),
        name_connections: names
            .filter(|names| names.connections().is_some())
            .map(Connections),
    };
    form.serialize(to)
}

struct Texts<'a>(&'a Names);

impl Serialize for Texts<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.texts())
    }
}

struct Connections<'a>(&'a Names);

impl Serialize for Connections<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.connections().into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Record, sample};

    /// A record whose first destination has these fields instead of its names.
    fn with(names: &str) -> Result<Record, serde_json::Error> {
        let line = serde_json::to_string(&sample::full()).unwrap();
        let known =
            r#""names":["dns.google","dns64.dns.google"],"names_from":"sni","name_connections":[2,1]"#;
        assert!(line.contains(known), "{line}");
        serde_json::from_str(&line.replacen(known, names, 1))
    }

    #[test]
    fn records_of_versions_without_evidence_can_be_read() {
        assert_eq!(with(r#""names":null"#).unwrap().destinations[0].names, None);
        assert_eq!(with(r#""names":[]"#).unwrap().destinations[0].names, None);
        let names = with(r#""names":["a.example","b.example"]"#).unwrap().destinations[0]
            .names
            .clone()
            .unwrap();
        assert_eq!(names.from, Evidence::Dns);
        assert_eq!(names.texts().collect::<Vec<_>>(), ["a.example", "b.example"]);
        assert!(names.connections().is_none());
    }

    #[test]
    fn evidence_has_its_word() {
        for (word, evidence) in [
            ("sni", Evidence::Sni),
            ("dns", Evidence::Dns),
            ("ptr", Evidence::Ptr),
        ] {
            let record = with(&format!(
                r#""names":["a.example"],"names_from":"{word}","name_connections":null"#
            ))
            .unwrap();
            assert_eq!(record.destinations[0].names.as_deref().unwrap().from, evidence);
            assert!(
                serde_json::to_string(&record)
                    .unwrap()
                    .contains(&format!(r#""names_from":"{word}""#))
            );
        }
        assert!(Evidence::Sni > Evidence::Dns && Evidence::Dns > Evidence::Ptr);
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_reason() {
        for (names, said) in [
            (
                r#""names":null,"names_from":"dns","name_connections":null"#,
                "names_from or name_connections without names",
            ),
            (
                r#""names":null,"names_from":null,"name_connections":[]"#,
                "names_from or name_connections without names",
            ),
            (
                r#""names":[],"names_from":"sni","name_connections":[]"#,
                "names_from or name_connections without names",
            ),
            (
                r#""names":["a"],"names_from":"dns","name_connections":[1]"#,
                "name_connections where names_from is dns",
            ),
            (
                r#""names":["a"],"names_from":null,"name_connections":[1]"#,
                "name_connections where names_from is dns",
            ),
            (
                r#""names":["a"],"names_from":"sni","name_connections":[1,2]"#,
                "2 name_connections of 1 names",
            ),
            (
                r#""names":["a","b"],"names_from":"sni","name_connections":[]"#,
                "0 name_connections of 2 names",
            ),
            (
                r#""names":["a"],"names_from":"whois","name_connections":null"#,
                "expected sni, dns or ptr",
            ),
            (
                r#""names":["a"],"names_from":"sni","name_connections":[null]"#,
                "u64",
            ),
            (
                r#""names":["a"],"names_from":"sni","name_connections":[-1]"#,
                "u64",
            ),
            (
                r#""names":[1],"names_from":"sni","name_connections":null"#,
                "string",
            ),
            (
                r#""names_from":null,"name_connections":null"#,
                "missing field `names`",
            ),
        ] {
            let error = with(names).unwrap_err().to_string();
            assert!(error.contains(said), "{names}: {error}");
        }
    }

    #[test]
    fn connections_are_written_when_those_of_every_name_are_known() {
        let mut record = sample::full();
        let names = Arc::make_mut(record.destinations[0].names.as_mut().unwrap());
        names.list[1].connections = None;
        let line = serde_json::to_string(&record).unwrap();
        assert!(
            line.contains(r#""names_from":"sni","name_connections":null"#),
            "{line}"
        );
    }
}
