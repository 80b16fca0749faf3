//! The operator's own CSV: `network,country[,asn,name]`, with or without that heading, `#` before comments.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::enrich::countries::Country;
use crate::geo::import::progress::Progress;
use crate::geo::import::source::{Contents, Known, LineFault, NetworkId, Networks, name, quoted};
use crate::geo::import::steps::{Row, Steps};

/// Reads a text.
///
/// # Errors
///
/// The first line, counted from 1, that is not as it should be.
pub fn read(text: &[u8], networks: &mut Networks, progress: &Progress) -> Result<Contents, (u64, LineFault)> {
    const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .comment(Some(b'#'))
        .trim(csv::Trim::All)
        .from_reader(text);
    let mut countries = Vec::new();
    let mut known_networks = Vec::new();
    let mut ranges = 0;
    let mut record = csv::ByteRecord::new();
    let mut first_record = true;
    loop {
        let begin = reader.position().byte();
        let number = || line_number(text, begin);
        match reader.read_byte_record(&mut record) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => return Err((number(), LineFault::Csv(error.to_string()))),
        }
        progress.reached(begin);
        if std::mem::take(&mut first_record) && is_heading(&record).map_err(|fault| (number(), fault))? {
            continue;
        }
        // A line of blanks.
        if record.len() == 1 && record[0].is_empty() {
            continue;
        }
        let line = Line::parse(&record, networks).map_err(|fault| (number(), fault))?;
        ranges += 1;
        if let Some(country) = line.country {
            countries.extend(Row::of(line.first, line.last, country));
        }
        if let Some(network) = line.network {
            known_networks.extend(Row::of(line.first, line.last, network));
        }
    }
    Ok(Contents {
        ranges,
        known: Known {
            countries: Steps::paint(&countries),
            networks: Steps::paint(&known_networks),
            ..Known::default()
        },
    })
}

/// The line, counted from 1, of the first record at or behind a place: the reader counts the empty lines and comments before a
/// record as part of it.
fn line_number(text: &[u8], begin: u64) -> u64 {
    let mut at = usize::try_from(begin).unwrap_or(usize::MAX).min(text.len());
    loop {
        let rest = &text[at..];
        at += match rest.first() {
            Some(b'\n' | b'\r') => 1,
            Some(b'#') => rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()),
            _ => break,
        };
    }
    1 + text[..at].iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Whether a record names the columns: every address and network has a dot or a colon.
fn is_heading(record: &csv::ByteRecord) -> Result<bool, LineFault> {
    const COLUMNS: [&[u8]; 4] = [b"network", b"country", b"asn", b"name"];
    let first = record.get(0).unwrap_or_default();
    if first.is_empty() || first.iter().any(|byte| matches!(byte, b'.' | b':')) {
        return Ok(false);
    }
    let expected = record.len() >= 2
        && record.len() <= COLUMNS.len()
        && record
            .iter()
            .zip(COLUMNS)
            .all(|(found, column)| found.eq_ignore_ascii_case(column));
    if expected {
        return Ok(true);
    }
    let fields: Vec<_> = record.iter().map(String::from_utf8_lossy).collect();
    Err(LineFault::Heading(quoted(fields.join(",").as_bytes())))
}

struct Line {
    first: IpAddr,
    last: IpAddr,
    country: Option<Country>,
    network: Option<NetworkId>,
}

impl Line {
    fn parse(record: &csv::ByteRecord, networks: &mut Networks) -> Result<Self, LineFault> {
        // The rest of the file, often.
        if let Some(open) = record.iter().find(|field| field.contains(&b'\n')) {
            return Err(LineFault::OpenQuote(quoted(open)));
        }
        if !(2..=4).contains(&record.len()) {
            return Err(LineFault::Fields(record.len()));
        }
        let field = |column| record.get(column).unwrap_or_default();
        let (first, last) = range(field(0))?;
        let country = Country::parse(field(1))?;
        let network = match (asn(field(2))?, name(field(3))) {
            (Some(asn), name) => Some(networks.id(asn, name.as_deref())?),
            (None, None) => None,
            (None, Some(name)) => return Err(LineFault::NameWithoutAsn(name)),
        };
        Ok(Self {
            first,
            last,
            country,
            network,
        })
    }
}

/// `192.0.2.0/24`, `192.0.2.1`, `192.0.2.0-192.0.2.9`, or the same of IPv6.
fn range(field: &[u8]) -> Result<(IpAddr, IpAddr), LineFault> {
    let refused = || LineFault::Network(quoted(field));
    let text = std::str::from_utf8(field).map_err(|_not_text| refused())?;
    if let Some((first, last)) = text.split_once('-') {
        let end = |text: &str| text.trim().parse::<IpAddr>().map_err(|_other| refused());
        let (first, last) = (end(first)?, end(last)?);
        if first > last || first.is_ipv4() != last.is_ipv4() {
            return Err(LineFault::Order(quoted(field)));
        }
        return Ok((first, last));
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok((address, address));
    }
    let net: IpNet = text.parse().map_err(|_other| refused())?;
    if net != net.trunc() {
        return Err(LineFault::HostBits(quoted(field)));
    }
    Ok((net.network(), net.broadcast()))
}

fn asn(field: &[u8]) -> Result<Option<u32>, LineFault> {
    let refused = || LineFault::Asn(quoted(field));
    let text = std::str::from_utf8(field).map_err(|_not_text| refused())?;
    if text.is_empty() {
        return Ok(None);
    }
    let digits = match text.get(..2) {
        Some(prefix) if prefix.eq_ignore_ascii_case("AS") => &text[2..],
        _ => text,
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(refused());
    }
    let number: u32 = digits.parse().map_err(|_empty_or_too_large| refused())?;
    Ok((number != 0).then_some(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo::import::steps::key;

    type Found = (Option<String>, Option<(u32, Option<String>)>);

    /// Country and network of each address.
    fn found(text: &str, addresses: &[&str]) -> Vec<Found> {
        let mut networks = Networks::default();
        let known = read(text.as_bytes(), &mut networks, &Progress::hidden())
            .unwrap()
            .known;
        addresses
            .iter()
            .map(|address| {
                let key = key(address.parse().unwrap());
                let network = known.networks.get(key).map(|id| {
                    let (asn, name) = networks.get(id);
                    (asn, name.map(str::to_owned))
                });
                (
                    known.countries.get(key).map(|country| country.to_string()),
                    network,
                )
            })
            .collect()
    }

    fn country(code: &str) -> Option<String> {
        Some(code.to_owned())
    }

    fn network(asn: u32, name: &str) -> Option<(u32, Option<String>)> {
        Some((asn, (!name.is_empty()).then(|| name.to_owned())))
    }

    #[test]
    fn reads_prefixes_ranges_addresses_quotes_and_comments() {
        let text = "\u{feff}network,country,asn,name\r\n\
                    # a comment, with a \" quote\r\n\
                    192.0.2.0/24, de , AS64500,\"EXAMPLE, \"\"Inc.\"\"\"\r\n\
                    \r\n\
                    198.51.100.7,,64501\r\n\
                    203.0.113.0 - 203.0.113.9,UK\r\n\
                    2001:db8::/32,FR,0,\r\n";
        assert_eq!(
            found(
                text,
                &[
                    "192.0.2.255",
                    "198.51.100.7",
                    "203.0.113.9",
                    "203.0.113.10",
                    "2001:db8:ffff::"
                ]
            ),
            [
                (country("DE"), network(64500, "EXAMPLE, \"Inc.\"")),
                (None, network(64501, "")),
                (country("GB"), None),
                (None, None),
                (country("FR"), None),
            ]
        );
    }

    #[test]
    fn what_a_narrower_line_leaves_open_is_taken_from_a_wider_one() {
        let text = "192.0.2.0/24,DE,64500,WIDE\n192.0.2.128/25,FR\n192.0.2.200,,64501,ONE\n192.0.2.0/24,AT\n";
        assert_eq!(
            found(text, &["192.0.2.1", "192.0.2.129", "192.0.2.200"]),
            [
                (country("AT"), network(64500, "WIDE")),
                (country("FR"), network(64500, "WIDE")),
                (country("FR"), network(64501, "ONE")),
            ]
        );
    }

    #[test]
    fn a_name_comes_in_without_what_could_upset_a_terminal() {
        let mut networks = Networks::default();
        let text = b"192.0.2.1,DE,1,\"A\x1b[31m\xff\tB\"\n";
        read(text, &mut networks, &Progress::hidden()).unwrap();
        assert!(networks.find(1, Some("A[31m\u{fffd} B")).is_some());
    }

    #[test]
    fn names_the_line_that_is_wrong() {
        for (line, fault) in [
            (
                "192.0.2.0/24",
                "1 fields, where 2 to 4 are expected: write network,country[,asn,name]",
            ),
            (
                "192.0.2.0/24,DE,1,A,B",
                "5 fields, where 2 to 4 are expected: write network,country[,asn,name]",
            ),
            (
                "192.0.2.0/33,DE",
                "\"192.0.2.0/33\" is no network: write it like 203.0.113.0/24, 2001:db8::/32 or 192.0.2.0-192.0.2.9",
            ),
            (
                "192.0.2.1/24,DE",
                "\"192.0.2.1/24\" has bits behind its length: clear them, or write the address alone",
            ),
            (
                "192.0.2.9-192.0.2.1,DE",
                "\"192.0.2.9-192.0.2.1\" is not a range from a lower to a higher address of one family: check both ends",
            ),
            (
                "192.0.2.1,DE,ASX",
                "\"ASX\" is not an AS number: write it like 64500 or AS64500, or nothing where it is unknown",
            ),
            (
                "192.0.2.1,DE,1,\"NAME",
                "\"NAME\\n192.0.2.2,DE\" goes over several lines: close its quote",
            ),
            (
                "192.0.2.1,DE,,NAME",
                "the network \"NAME\" has no AS number: add it, or leave the name out",
            ),
        ] {
            let text = format!("# x\n\n192.0.2.1,DE,1\r\n# y\r\n{line}\n192.0.2.2,DE\n");
            let (number, found) =
                read(text.as_bytes(), &mut Networks::default(), &Progress::hidden()).unwrap_err();
            assert_eq!((number, found.to_string().as_str()), (5, fault));
        }
        for (text, fault) in [
            (
                "network,geoname_id,x\n",
                "the heading is \"network,geoname_id,x\": the columns are network,country[,asn,name]",
            ),
            (
                "192.0.2.1,Germany\n",
                "\"Germany\" is not a country code: write two letters of ISO 3166-1, like DE, or nothing where the country is unknown",
            ),
            (
                "<!DOCTYPE html>\n",
                "the heading is \"<!DOCTYPE html>\": the columns are network,country[,asn,name]",
            ),
            (
                "192.0.2.1,DE,4294967296",
                "\"4294967296\" is not an AS number: write it like 64500 or AS64500, or nothing where it is unknown",
            ),
            (
                "192.0.2.1,DE,+5",
                "\"+5\" is not an AS number: write it like 64500 or AS64500, or nothing where it is unknown",
            ),
        ] {
            let (number, found) =
                read(text.as_bytes(), &mut Networks::default(), &Progress::hidden()).unwrap_err();
            assert_eq!((number, found.to_string().as_str()), (1, fault));
        }
    }
}
