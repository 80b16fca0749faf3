//! How a record is read again: strict in types and in what must be there, lenient to fields of later versions.

use std::net::IpAddr;
use std::sync::Arc;

use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer};
use tcpwatch_common::Counts;

use super::{Evidence, Names, Place, Scope};

/// As it is written: flat. (Flattened fields would be put aside and looked at twice.)
#[derive(Deserialize)]
pub(super) struct Destination {
    address: IpAddr,
    #[serde(deserialize_with = "nullable")]
    source: Option<IpAddr>,
    interface: Arc<str>,
    packets: u64,
    bytes: u64,
    #[serde(deserialize_with = "nullable")]
    tcp_connections: Option<u64>,
    #[serde(deserialize_with = "nullable")]
    quic_connections: Option<u64>,
    scope: Scope,
    #[serde(deserialize_with = "nullable")]
    country: Option<Arc<str>>,
    #[serde(deserialize_with = "nullable")]
    country_name: Option<Arc<str>>,
    #[serde(deserialize_with = "nullable")]
    city: Option<Arc<str>>,
    #[serde(deserialize_with = "nullable")]
    asn: Option<u32>,
    #[serde(deserialize_with = "nullable")]
    network: Option<Arc<str>>,
    #[serde(deserialize_with = "nullable")]
    anycast: Option<bool>,
    #[serde(deserialize_with = "nullable")]
    names: Option<Vec<Arc<str>>>,
    #[serde(default)]
    names_from: Option<Evidence>,
    #[serde(default)]
    name_connections: Option<Vec<u64>>,
}

impl TryFrom<Destination> for super::Destination {
    type Error = super::names::Malformed;

    fn try_from(read: Destination) -> Result<Self, Self::Error> {
        let names = Names::read(read.names, read.names_from, read.name_connections)?;
        Ok(Self {
            address: read.address,
            source: read.source,
            interface: read.interface,
            packets: read.packets,
            bytes: read.bytes,
            tcp_connections: read.tcp_connections,
            quic_connections: read.quic_connections,
            scope: read.scope,
            place: Arc::new(Place {
                country: read.country,
                country_name: read.country_name,
                city: read.city,
                asn: read.asn,
                network: read.network,
                anycast: read.anycast,
            }),
            names: names.map(Arc::new),
        })
    }
}

/// Null where nothing is known, but never absent.
fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(from)
}

pub(super) fn counts<'de, D: Deserializer<'de>>(from: D) -> Result<Counts, D::Error> {
    #[derive(Deserialize)]
    struct Form {
        packets: u64,
        bytes: u64,
    }
    let Form { packets, bytes } = Form::deserialize(from)?;
    Ok(Counts { packets, bytes })
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let word = std::borrow::Cow::<str>::deserialize(from)?;
        Self::from_word(&word).ok_or_else(|| D::Error::invalid_value(Unexpected::Str(&word), &"a scope"))
    }
}

#[cfg(test)]
mod tests {
    use crate::record::{Record, sample};

    fn line() -> String {
        serde_json::to_string(&sample::full()).unwrap()
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let record: Record = serde_json::from_str(&line()).unwrap();
        assert_eq!(serde_json::to_string(&record).unwrap(), line());
    }

    #[test]
    fn unknown_fields_are_skipped_and_all_others_must_be_there() {
        let mut value: serde_json::Value = serde_json::from_str(&line()).unwrap();
        let later = serde_json::json!({"deep": [1, {"x": null}]});
        value["later"] = later.clone();
        value["destinations"][0]["later"] = later;
        serde_json::from_value::<Record>(value.clone()).unwrap();
        let fields: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        for field in fields.iter().filter(|field| *field != "later") {
            let mut without = value.clone();
            without.as_object_mut().unwrap().remove(field);
            assert!(serde_json::from_value::<Record>(without).is_err(), "{field}");
        }
        let fields: Vec<String> = value["destinations"][0]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        let optional = ["later", "names_from", "name_connections"];
        for field in fields.iter().filter(|field| !optional.contains(&field.as_str())) {
            let mut without = value.clone();
            without["destinations"][0].as_object_mut().unwrap().remove(field);
            assert!(serde_json::from_value::<Record>(without).is_err(), "{field}");
        }
    }

    #[test]
    fn types_are_strict() {
        let line = line();
        for (from, to) in [
            ("\"packets\":", "\"packets\":-"),
            ("\"packets\":", "\"packets\":1."),
            ("\"scope\":\"global\"", "\"scope\":\"galactic\""),
            ("\"partial\":false", "\"partial\":0"),
            ("\"seq\":", "\"seq\":99999999999999999999"),
        ] {
            let changed = line.replacen(from, to, 1);
            assert_ne!(changed, line);
            assert!(serde_json::from_str::<Record>(&changed).is_err(), "{to}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let line = line().replacen('{', &format!("{{\"later\":{},", "[".repeat(100_000)), 1);
        assert!(serde_json::from_str::<Record>(&line).is_err());
    }
}
