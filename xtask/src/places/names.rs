//! Names of countries in the languages that GeoIP databases carry.

use std::collections::HashMap;

const TABLE: &str = include_str!("../../data/countries.tsv");

/// Language tags and names of one country.
pub type Names = Vec<(&'static str, &'static str)>;

/// By ISO 3166-1 code.
pub fn all() -> HashMap<&'static str, Names> {
    let mut lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    let languages: Vec<&str> = lines.next().unwrap_or_default().split('\t').skip(1).collect();
    lines
        .filter_map(|line| {
            let (code, names) = line.split_once('\t')?;
            let names = languages
                .iter()
                .copied()
                .zip(names.split('\t'))
                .filter(|(_, name)| !name.is_empty());
            Some((code, names.collect()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(code: &str, language: &str) -> Option<&'static str> {
        all()
            .get(code)?
            .iter()
            .find(|(tag, _)| *tag == language)
            .map(|(_, name)| *name)
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
        let all = all();
        for code in codes {
            assert_eq!(all.get(code).map(Vec::len), Some(8), "{code}");
        }
        for code in ["XK", "EU", "AP", "AN", "CS", "SU"] {
            assert!(name(code, "en").is_some(), "{code}");
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
            assert_eq!(name(code, language), Some(expected), "{code} in {language}");
        }
        assert_eq!(name("AP", "de"), None);
    }
}
