//! What a group is called, and where it is.

use std::sync::Arc;

use jiff::tz::TimeZone;

use crate::domain::{NO_NAME, shortened};
use crate::history::Known;
use crate::record::{Place, Scope};
use crate::report::Dimension;
use crate::report::axis::{By, Key};
use crate::report::bins::timestamp;
use crate::report::fold::Tables;

/// What it is called, for programs and for people.
pub(super) fn names(key: &Key, by: By, tables: &Tables, zone: &TimeZone) -> (String, String) {
    let same = |text: String| (text.clone(), text);
    match key {
        Key::Country(code) => (code.to_string(), titled(code, tables.country_names.get(code))),
        Key::Network(number) => {
            let code = format!("AS{number}");
            let label = titled(&code, tables.network_names.get(number));
            (code, label)
        }
        Key::City(city, country) => same(format!("{city}, {}", country.as_deref().unwrap_or("??"))),
        Key::Scope(scope) => {
            let label = match scope {
                Scope::Global if by != By::Dimension(Dimension::Scope) => "unknown".to_owned(),
                scope => word(*scope),
            };
            (scope.word().to_owned(), label)
        }
        Key::Source(Some(source)) => same(source.to_string()),
        Key::Source(None) => ("other".to_owned(), "not an own address".to_owned()),
        Key::Interface(name) => same(name.to_string()),
        Key::Address(address) => same(address.to_string()),
        Key::Prefix(net) => same(net.to_string()),
        Key::NotKept => ("rest".to_owned(), "not kept one by one".to_owned()),
        Key::Name(None) | Key::Names(0) => (String::new(), NO_NAME.to_owned()),
        Key::Name(Some(domains)) => (domains.to_string(), shortened(domains).into_owned()),
        Key::Names(number) => {
            let names = tables.names.get(*number as usize).map_or(&[][..], |names| names);
            same(names.join(", "))
        }
        Key::Hour(ms) => {
            let time = timestamp(*ms);
            let local = time.to_zoned_datetime(zone.clone());
            (time.to_string(), local.strftime("%Y-%m-%d %H:%M").to_string())
        }
        Key::WholeDay(date) => (date.to_string(), format!("{date} whole day")),
        Key::Day(date) => (date.to_string(), date.strftime("%Y-%m-%d %a").to_string()),
        Key::Family(Some(version)) => same(format!("IPv{version}")),
        Key::Family(None) => same("unknown".to_owned()),
        Key::Anycast(is) => same(
            match is {
                Some(true) => "anycast",
                Some(false) => "not anycast",
                None => "unknown",
            }
            .to_owned(),
        ),
    }
}

fn titled(code: &str, name: Option<&Arc<str>>) -> String {
    name.map_or_else(|| code.to_owned(), |name| format!("{code} {name}"))
}

/// In few words.
pub(super) fn place(known: &Known) -> String {
    let Place {
        country,
        asn,
        network,
        anycast,
        ..
    } = &known.place;
    let mut words: Vec<String> = country.iter().map(ToString::to_string).collect();
    match (network, asn) {
        (Some(name), _) => words.push(name.to_string()),
        (None, Some(number)) => words.push(format!("AS{number}")),
        (None, None) => {}
    }
    if words.is_empty() {
        words.push(if known.scope == Scope::Global {
            "unknown".to_owned()
        } else {
            word(known.scope)
        });
    }
    if *anycast == Some(true) {
        words.push("anycast".to_owned());
    }
    words.join(" ")
}

fn word(scope: Scope) -> String {
    scope.word().replace('_', "-")
}
