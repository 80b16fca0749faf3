//! Countries by their ISO 3166-1 codes: which codes are countries, and their names.

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use foldhash::fast::RandomState;

const TABLE: &str = include_str!("../../data/countries.tsv");

/// What the names are taken from, and its licence.
pub const ATTRIBUTION: &str = "country names from Unicode CLDR, licence Unicode-3.0";

/// A country's code: two capital letters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Country([u8; 2]);

impl Country {
    /// The country of a code as sources write it; none for "unknown" and for what is no country but a kind of network.
    ///
    /// # Errors
    ///
    /// It is not a code.
    pub fn parse(code: &[u8]) -> Result<Option<Self>, NotACode> {
        let code = match code {
            [] | b"-" | b"??" | [0, 0] => return Ok(None),
            [one, two] => [one.to_ascii_uppercase(), two.to_ascii_uppercase()],
            _ => return Err(NotACode::new(code)),
        };
        match code {
            // A slip of some registries: the code is reserved for the United Kingdom, whose own is GB.
            [b'U', b'K'] => Ok(Some(Self(*b"GB"))),
            // Kosovo uses one of the codes that are never given to a country.
            [b'X', b'K'] => Ok(Some(Self(code))),
            // The codes that are never given to a country: XX and ZZ are unknown ones, XD networks to be dropped.
            [b'A', b'A'] | [b'Q', b'M'..=b'Z'] | [b'X', b'A'..=b'Z'] | [b'Z', b'Z'] => Ok(None),
            // A1 is an anonymous proxy, A2 a satellite, A3 anycast, T1 Tor.
            [b'A'..=b'Z', b'0'..=b'9'] => Ok(None),
            [b'A'..=b'Z', b'A'..=b'Z'] => Ok(Some(Self(code))),
            _ => Err(NotACode::new(&code)),
        }
    }

    /// The code as text.
    pub fn code(&self) -> &str {
        // Two capital letters, as `parse` made sure.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Its everyday name in a language (en, de, es, fr, ja, pt-BR, ru, zh-CN), where that is known.
    pub fn name(self, language: &str) -> Option<&'static str> {
        let column = names().languages.iter().position(|tag| *tag == language)?;
        let name = names().of.get(self.code())?.get(column)?;
        (!name.is_empty()).then_some(name)
    }
}

impl fmt::Display for Country {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.code())
    }
}

/// What was written where a country's code should be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{text:?} is not a country code: write two letters of ISO 3166-1, like DE, or nothing where the country is unknown"
)]
pub struct NotACode {
    /// It, or its beginning.
    text: String,
}

impl NotACode {
    fn new(code: &[u8]) -> Self {
        let text = String::from_utf8_lossy(&code[..code.len().min(40)]).into_owned();
        Self { text }
    }
}

/// The table, taken apart.
struct Names {
    languages: Vec<&'static str>,
    of: HashMap<&'static str, Vec<&'static str>, RandomState>,
}

fn names() -> &'static Names {
    static NAMES: LazyLock<Names> = LazyLock::new(|| {
        let mut lines = TABLE.lines().filter(|line| !line.starts_with('#'));
        let columns = |line: &'static str| line.split('\t').skip(1).collect();
        let languages = lines.next().map(columns).unwrap_or_default();
        let of = lines
            .filter_map(|line| Some((line.split('\t').next()?, columns(line))))
            .collect();
        Names { languages, of }
    });
    &NAMES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn country(code: &str) -> Country {
        Country::parse(code.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn what_is_no_country_is_unknown_and_the_united_kingdom_is_gb() {
        for code in [
            "", "-", "??", "\0\0", "A1", "A2", "A3", "T1", "XD", "XX", "ZZ", "AA", "QZ",
        ] {
            assert_eq!(Country::parse(code.as_bytes()), Ok(None), "{code:?}");
        }
        assert_eq!(country("UK").code(), "GB");
        assert_eq!(country("de").code(), "DE");
        for code in ["XK", "EU", "AP", "QA", "AN"] {
            assert_eq!(country(code).code(), code);
        }
    }

    #[test]
    fn what_is_no_code_is_shown_harmlessly() {
        for code in ["D", "DEU", "D\u{1b}", "1A", "é", "\0A"] {
            assert!(Country::parse(code.as_bytes()).is_err(), "{code:?}");
        }
        let error = Country::parse(b"Germany\x1b[31m").unwrap_err().to_string();
        assert!(
            error.starts_with(r#""Germany\u{1b}[31m" is not a country code: write"#),
            "{error}"
        );
    }

    #[test]
    fn has_every_country_of_iso_3166_and_the_codes_that_registries_use_beside_them() {
        const ISO: &str = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS \
             BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES \
             ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM \
             IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME \
             MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG \
             PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY \
             SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM \
             ZW";
        let codes: Vec<&str> = ISO.split_whitespace().collect();
        assert_eq!(codes.len(), 249);
        assert_eq!(names().languages.len(), 8);
        for code in codes {
            for language in &names().languages {
                assert!(country(code).name(language).is_some(), "{code} in {language}");
            }
        }
        for code in ["XK", "EU", "AP", "AN", "CS", "SU"] {
            assert!(country(code).name("en").is_some(), "{code}");
        }
    }

    #[test]
    fn says_the_everyday_name_in_each_language() {
        for (code, language, expected) in [
            ("US", "en", "United States"),
            ("DE", "en", "Germany"),
            ("RU", "en", "Russia"),
            ("KR", "en", "South Korea"),
            ("TW", "en", "Taiwan"),
            ("VN", "en", "Vietnam"),
            ("HK", "en", "Hong Kong"),
            ("GB", "en", "United Kingdom"),
            ("BA", "en", "Bosnia and Herzegovina"),
            ("DE", "de", "Deutschland"),
            ("JP", "ja", "日本"),
            ("BR", "pt-BR", "Brasil"),
            ("US", "zh-CN", "美国"),
            ("FR", "ru", "Франция"),
            ("ES", "es", "España"),
            ("CH", "fr", "Suisse"),
        ] {
            assert_eq!(
                country(code).name(language),
                Some(expected),
                "{code} in {language}"
            );
        }
        assert_eq!(country("AP").name("de"), None);
        assert_eq!(country("US").name("eo"), None);
    }
}
