//! A record of an MMDB file in the form of GeoIP2, which GeoLite2, DB-IP and our own files share, and what is taken of it.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, Visitor};

use crate::enrich::geo::language::{ENGLISH, Language};
use crate::enrich::geo::text::Texts;
use crate::record::Place;

/// Names that a record may have of one thing; GeoLite2 has eight languages. What comes after them is not looked at.
const MOST_NAMES: usize = 64;

/// What is read of a record.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Entry<'a> {
    #[serde(borrow)]
    country: Country<'a>,
    #[serde(borrow)]
    registered_country: Country<'a>,
    #[serde(borrow)]
    city: City<'a>,
    #[serde(borrow)]
    traits: Traits<'a>,
    // Of ASN and ISP files, and of ours.
    autonomous_system_number: Option<u32>,
    autonomous_system_organization: Option<&'a str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Country<'a> {
    iso_code: Option<&'a str>,
    #[serde(borrow)]
    names: Names<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct City<'a> {
    #[serde(borrow)]
    names: Names<'a>,
}

/// Of City, Country and Enterprise files.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Traits<'a> {
    is_anycast: Option<bool>,
    autonomous_system_number: Option<u32>,
    autonomous_system_organization: Option<&'a str>,
}

/// Language and name, in the order of the file.
#[derive(Default)]
struct Names<'a>(Vec<(&'a str, &'a str)>);

impl<'de: 'a, 'a> Deserialize<'de> for Names<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(NamesVisitor(PhantomData))
    }
}

struct NamesVisitor<'a>(PhantomData<&'a str>);

impl<'de: 'a, 'a> Visitor<'de> for NamesVisitor<'a> {
    type Value = Names<'a>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a map of languages to names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names<'a>, A::Error> {
        let mut names = Vec::new();
        while let Some(language) = map.next_key::<&'de str>()? {
            if names.len() < MOST_NAMES {
                names.push((language, map.next_value()?));
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Names(names))
    }
}

impl<'a> Names<'a> {
    /// In the language asked for, else in English.
    fn get(&self, language: &Language) -> Option<&'a str> {
        let named = |wanted: &str| {
            let mut names = self.0.iter();
            names.find(|(tag, _)| *tag == wanted).map(|(_, name)| *name)
        };
        language
            .nearest(self.0.iter().map(|(tag, _)| *tag))
            .and_then(named)
            .or_else(|| named(ENGLISH))
    }
}

impl Entry<'_> {
    /// What it says. `flags_anycast`: the file marks every anycast network, so that no mark means that it is none.
    ///
    /// The country is the one where the address is used; where the file leaves that open (anycast, satellite links), the
    /// one where its network is registered, which is still better than nothing.
    pub(super) fn place(&self, language: &Language, flags_anycast: bool, texts: &mut Texts) -> Place {
        let country = [&self.country, &self.registered_country]
            .into_iter()
            .find_map(|country| Some((alpha_2(country.iso_code?)?, country)));
        let mut place = Place {
            anycast: self.traits.is_anycast.or(flags_anycast.then_some(false)),
            ..Place::default()
        };
        if let Some((code, country)) = country {
            place.country = texts.get(&code);
            place.country_name = country.names.get(language).and_then(|name| texts.get(name));
            place.city = self.city.names.get(language).and_then(|name| texts.get(name));
        }
        let number = self
            .autonomous_system_number
            .map(|number| (number, self.autonomous_system_organization))
            .or_else(|| {
                let Traits {
                    autonomous_system_number,
                    autonomous_system_organization,
                    ..
                } = self.traits;
                Some((autonomous_system_number?, autonomous_system_organization))
            });
        // AS 0 is nobody's (RFC 7607).
        if let Some((number, name)) = number.filter(|(number, _)| *number > 0) {
            place.asn = Some(number);
            place.network = name.and_then(|name| texts.get(name));
        }
        place
    }
}

/// `code` in capitals, if it is one: two letters, and not the ZZ that stands for "unknown".
fn alpha_2(code: &str) -> Option<String> {
    if code.len() != 2 {
        return None;
    }
    let code = code.to_ascii_uppercase();
    (code.bytes().all(|letter| letter.is_ascii_uppercase()) && code != "ZZ").then_some(code)
}
