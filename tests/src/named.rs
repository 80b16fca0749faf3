//! What records say of names and connections, read strictly.

use std::net::IpAddr;

use serde_json::Value;

use crate::records::{Destination, Record};

/// The names of a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Best first.
    pub names: Vec<String>,
    /// How they are known: `sni`, `dns` or `ptr`.
    pub from: String,
    /// How many connections each had; only of server names.
    pub connections: Option<Vec<u64>>,
}

impl Named {
    /// Server names that were read from the connections themselves, and how often.
    pub fn sni(names: &[(&str, u64)]) -> Self {
        Self {
            names: names.iter().map(|(name, _)| (*name).to_owned()).collect(),
            from: "sni".to_owned(),
            connections: Some(names.iter().map(|(_, connections)| *connections).collect()),
        }
    }

    /// Names that were asked for, and had this address.
    pub fn dns(names: &[&str]) -> Self {
        Self {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            from: "dns".to_owned(),
            connections: None,
        }
    }
}

/// The names of a destination; none when they are unknown.
///
/// # Panics
///
/// When the three fields do not fit together.
#[track_caller]
pub fn named(of: &Destination) -> Option<Named> {
    if of.names.is_null() {
        assert!(of.names_from.is_null() && of.name_connections.is_null(), "{of:?}");
        return None;
    }
    let strings = |value: &Value| -> Vec<String> {
        match serde_json::from_value(value.clone()) {
            Ok(strings) => strings,
            Err(error) => panic!("{error}: {of:?}"),
        }
    };
    let names = strings(&of.names);
    assert!(!names.is_empty(), "{of:?}");
    let from = match of.names_from.as_str() {
        Some(from @ ("sni" | "dns" | "ptr")) => from.to_owned(),
        _ => panic!("{of:?}"),
    };
    let connections = (!of.name_connections.is_null()).then(|| -> Vec<u64> {
        serde_json::from_value(of.name_connections.clone()).expect("numbers of connections")
    });
    assert_eq!(connections.is_some(), from == "sni", "{of:?}");
    if let Some(connections) = &connections {
        assert_eq!(connections.len(), names.len(), "{of:?}");
    }
    let best: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(index, name)| {
            let connections = connections.as_ref().map_or(0, |of| of[index]);
            (std::cmp::Reverse(connections), name)
        })
        .collect();
    assert!(best.is_sorted(), "the best first: {of:?}");
    Some(Named {
        names,
        from,
        connections,
    })
}

/// How many connections of TCP and of QUIC were opened to a destination.
///
/// # Panics
///
/// When the record does not say, as only old ones do not.
#[track_caller]
pub fn opened(of: &Destination) -> (u64, u64) {
    let number = |value: &Value| match value.as_u64() {
        Some(number) => number,
        None => panic!("no number of connections: {of:?}"),
    };
    (number(&of.tcp_connections), number(&of.quic_connections))
}

/// The only thing that all records say of an address.
///
/// # Panics
///
/// When they say nothing of it, or more than one thing.
#[track_caller]
pub fn only<'a>(records: &'a [Record], address: &str) -> &'a Destination {
    let wanted: IpAddr = address.parse().expect("a literal address");
    let all: Vec<_> = records
        .iter()
        .flat_map(|record| &record.destinations)
        .filter(|of| of.address == wanted)
        .collect();
    match all[..] {
        [one] => one,
        _ => panic!("{address} is there {} times: {records:#?}", all.len()),
    }
}

/// The names of an address that the records have one thing to say of.
///
/// # Panics
///
/// When that is not so.
#[track_caller]
pub fn names_of(records: &[Record], address: &str) -> Option<Named> {
    named(only(records, address))
}
