//! Tor's geoip files: lines of `first,last,country`, IPv4 as numbers, IPv6 as usual, `??` where the country is unknown.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jiff::Timestamp;
use jiff::fmt::rfc2822;

use crate::enrich::countries::Country;
use crate::geo::import::progress::Progress;
use crate::geo::import::source::{Contents, Known, LineFault, quoted};
use crate::geo::import::steps::{Row, Steps};

/// Whether a text has this form: its first line with data decides.
pub fn is_tors(text: &[u8]) -> bool {
    data(text).next().is_some_and(|(_, line)| {
        let mut fields = line.split(|byte| *byte == b',');
        let mut is_address = || fields.next().is_some_and(|field| address(field).is_ok());
        is_address() && is_address()
    })
}

/// When the data was put together, as the file's own heading says.
pub fn generated(text: &[u8]) -> Option<Timestamp> {
    const LABEL: &[u8] = b"# Generated:";
    let line = text
        .split(|byte| *byte == b'\n')
        .take_while(|line| line.starts_with(b"#"))
        .find_map(|line| line.strip_prefix(LABEL))?;
    rfc2822::DateTimeParser::new()
        .parse_timestamp(line.trim_ascii())
        .ok()
}

/// Reads a text.
///
/// # Errors
///
/// The first line, counted from 1, that is not as it should be.
pub fn read(text: &[u8], progress: &Progress) -> Result<Contents, (u64, LineFault)> {
    let mut rows = Vec::new();
    let mut ranges = 0;
    let mut read = 0;
    for (number, line) in data(text) {
        read += line.len() as u64 + 1;
        progress.reached(read);
        ranges += 1;
        let (first, last, country) = range(line).map_err(|fault| (number, fault))?;
        if let Some(country) = country {
            rows.extend(Row::of(first, last, country));
        }
    }
    Ok(Contents {
        ranges,
        known: Known {
            countries: Steps::paint(&rows),
            ..Known::default()
        },
    })
}

/// The lines that are neither empty nor comments, with their numbers.
fn data(text: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    (1..)
        .zip(text.split(|byte| *byte == b'\n'))
        .map(|(number, line)| (number, line.trim_ascii()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with(b"#"))
}

fn range(line: &[u8]) -> Result<(IpAddr, IpAddr, Option<Country>), LineFault> {
    let mut fields = line.split(|byte| *byte == b',');
    let (Some(first), Some(last), Some(country), None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(LineFault::NotTors(quoted(line)));
    };
    let (first, last) = (address(first)?, address(last)?);
    if first > last || first.is_ipv4() != last.is_ipv4() {
        return Err(LineFault::Order(quoted(line)));
    }
    Ok((first, last, Country::parse(country)?))
}

fn address(field: &[u8]) -> Result<IpAddr, LineFault> {
    let refused = || LineFault::Address(quoted(field));
    let text = std::str::from_utf8(field).map_err(|_not_text| refused())?;
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let number: u32 = text.parse().map_err(|_too_large| refused())?;
        return Ok(Ipv4Addr::from_bits(number).into());
    }
    let v6: Ipv6Addr = text.parse().map_err(|_other| refused())?;
    Ok(v6.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo::import::steps::key;

    const GEOIP: &str = "# Generated: Thu, 25 Jun 2026 04:33:59 GMT\n#\n16777216,16777471,AU\n16777472,16778239,??\n\
                         16778240,16779263,UK\n";

    fn read_text(text: &str) -> Result<Contents, (u64, LineFault)> {
        read(text.as_bytes(), &Progress::hidden())
    }

    #[test]
    fn reads_both_families() {
        let contents = read_text(GEOIP).unwrap();
        assert_eq!(contents.ranges, 3);
        let country = |text: &str| contents.known.countries.get(key(text.parse().unwrap()));
        assert_eq!(
            country("1.0.0.255").map(|country| country.to_string()),
            Some("AU".to_owned())
        );
        assert_eq!(country("1.0.1.0"), None);
        assert_eq!(
            country("1.0.4.0").map(|country| country.to_string()),
            Some("GB".to_owned())
        );

        let contents = read_text("2001:200::,2001:200:134:ffff:ffff:ffff:ffff:ffff,JP\r\n").unwrap();
        assert_eq!(contents.known.countries.runs().count(), 1);
    }

    #[test]
    fn is_told_from_csv_by_its_second_field() {
        assert!(is_tors(GEOIP.as_bytes()));
        assert!(is_tors(b"2001:200::,2001:200::1,JP"));
        for text in [
            "192.0.2.0/24,DE",
            "2001:db8::1,DE",
            "network,country",
            "192.0.2.1-192.0.2.2,DE",
            "",
            "# none",
        ] {
            assert!(!is_tors(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn the_heading_says_how_old_it_is() {
        // date -u -d 'Thu, 25 Jun 2026 04:33:59 GMT' +%s
        assert_eq!(
            generated(GEOIP.as_bytes()).map(Timestamp::as_second),
            Some(1_782_362_039)
        );
        for text in [
            "# Generated: yesterday\n1,2,DE",
            "1,2,DE\n# Generated: Thu, 25 Jun 2026 04:33:59 GMT",
            "",
        ] {
            assert_eq!(generated(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn names_the_line_that_is_wrong() {
        for (line, fault) in [
            (
                "1,2",
                r#""1,2" is not `first,last,country`: fetch the file again"#,
            ),
            (
                "1,2,DE,x",
                r#""1,2,DE,x" is not `first,last,country`: fetch the file again"#,
            ),
            (
                "2,1,DE",
                r#""2,1,DE" is not a range from a lower to a higher address of one family: check both ends"#,
            ),
            (
                "1,::1,DE",
                r#""1,::1,DE" is not a range from a lower to a higher address of one family: check both ends"#,
            ),
            (
                "4294967296,4294967297,DE",
                r#""4294967296" is not an address: write it like 192.0.2.1 or 2001:db8::1"#,
            ),
            (
                ",2,DE",
                r#""" is not an address: write it like 192.0.2.1 or 2001:db8::1"#,
            ),
        ] {
            let (number, found) = read_text(&format!("# x\n\n5,6,FR\n{line}\n")).unwrap_err();
            assert_eq!((number, found.to_string().as_str()), (4, fault));
        }
        assert!(matches!(read_text("1,2,D\n"), Err((1, LineFault::Country(_)))));
        assert!(read(b"1,\xff\xfe,DE", &Progress::hidden()).is_err());
    }
}
