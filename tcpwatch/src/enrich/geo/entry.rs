//! A record of an MMDB file in the form of GeoIP2, which GeoLite2, DB-IP and our own files share, and what is taken of it.

use std::fmt;
use std::marker::PhantomData;

use maxminddb::MaxMindDbError;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::enrich::geo::language::{ENGLISH, LONGEST, Language};
use crate::enrich::geo::text::Texts;
use crate::record::Place;

/// Names that a record may have of one thing; GeoLite2 has eight languages. What comes after them is not looked at.
const MOST_NAMES: usize = 64;

/// How much of a text is read: more than is shown, even if something has to be removed from it.
const MOST_TEXT_BYTES: usize = 1024;

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
    #[serde(borrow)]
    autonomous_system_organization: Option<Text<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Country<'a> {
    #[serde(borrow)]
    iso_code: Option<Text<'a>>,
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
    #[serde(borrow)]
    autonomous_system_organization: Option<Text<'a>>,
}

/// A text as it stands in the file. Only what is shown of it is read: the names in other languages are not, nor is the rest
/// of one that is a megabyte long.
#[derive(Clone, Copy)]
struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    /// Its beginning.
    fn read(self) -> Result<&'a str, MaxMindDbError> {
        let (beginning, is_cut) = match self.0.get(..MOST_TEXT_BYTES) {
            Some(beginning) => (beginning, true),
            None => (self.0, false),
        };
        match str::from_utf8(beginning) {
            Ok(text) => Ok(text),
            // The cut may lie within a character.
            Err(error) if is_cut && error.error_len().is_none() => {
                let whole = &beginning[..error.valid_up_to()];
                Ok(str::from_utf8(whole).unwrap_or_default())
            }
            Err(_) => Err(MaxMindDbError::invalid_database("a text is not UTF-8")),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        maxminddb::deserialize_any_with_raw_strings(from, TextVisitor(PhantomData))
    }
}

struct TextVisitor<'a>(PhantomData<&'a str>);

impl<'de: 'a, 'a> Visitor<'de> for TextVisitor<'a> {
    type Value = Text<'a>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a text")
    }

    // Texts come as this, without being looked at.
    fn visit_newtype_struct<D: Deserializer<'de>>(self, text: D) -> Result<Text<'a>, D::Error> {
        text.deserialize_bytes(self)
    }

    fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Text<'a>, E> {
        Ok(Text(bytes))
    }
}

/// Language and name, in the order of the file.
#[derive(Default)]
struct Names<'a>(Vec<(&'a str, Text<'a>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Names<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
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
        while let Some(Text(language)) = map.next_key()? {
            // What is longer than any tag is none, and not looked at.
            let tag = language.get(..=LONGEST).map_or(language, |_| b"");
            match str::from_utf8(tag) {
                Ok(tag) if !tag.is_empty() && names.len() < MOST_NAMES => {
                    names.push((tag, map.next_value()?));
                }
                Ok(_) | Err(_) => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Names(names))
    }
}

impl<'a> Names<'a> {
    /// In the language asked for, else in English.
    fn get(&self, language: &Language) -> Option<Text<'a>> {
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
    ///
    /// # Errors
    /// What would be shown is not UTF-8.
    pub(super) fn place(
        &self,
        language: &Language,
        flags_anycast: bool,
        texts: &mut Texts,
    ) -> Result<Place, MaxMindDbError> {
        let mut shown = |text: Option<Text<'_>>| {
            let text = text.map(Text::read).transpose()?;
            Ok::<_, MaxMindDbError>(text.and_then(|text| texts.get(text)))
        };
        let country = [&self.country, &self.registered_country]
            .into_iter()
            .find_map(|country| Some((alpha_2(country.iso_code?)?, country)));
        let mut place = Place {
            anycast: self.traits.is_anycast.or(flags_anycast.then_some(false)),
            ..Place::default()
        };
        if let Some((code, country)) = country {
            place.country = shown(Some(Text(&code)))?;
            place.country_name = shown(country.names.get(language))?;
            place.city = shown(self.city.names.get(language))?;
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
            place.network = shown(name)?;
        }
        Ok(place)
    }
}

/// `code` in capitals, if it is one: two letters, and not the ZZ that stands for "unknown".
fn alpha_2(Text(code): Text<'_>) -> Option<[u8; 2]> {
    let code = <[u8; 2]>::try_from(code)
        .ok()?
        .map(|letter| letter.to_ascii_uppercase());
    (code.iter().all(u8::is_ascii_uppercase) && code != *b"ZZ").then_some(code)
}
