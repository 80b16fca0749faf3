//! The classic text: what the script that tcpwatch replaces appended to its log, for those who parse that already.

use std::borrow::Cow;
use std::io::{self, Write as _};

use foldhash::{HashMap, HashMapExt as _};

use crate::record::Record;
use crate::sink::{Encode, Pieces, Style, by_address, text};

/// One line per destination address, or per name where names are wanted instead of places; most packets first.
#[derive(Clone, Debug)]
pub struct Classic {
    style: Style,
}

impl Classic {
    /// Uses the interval and the time zone of `style`, and whether it wants names.
    pub fn new(style: Style) -> Self {
        Self { style }
    }
}

impl Encode for Classic {
    fn encode(&self, record: &Record, to: &mut Pieces<'_>) -> io::Result<()> {
        writeln!(
            to,
            "=== fetch info in {} ===",
            text::interval(self.style.interval)
        )?;
        if self.style.resolve {
            names(record, to)?;
        } else {
            places(record, to)?;
        }
        let end = record.end.to_zoned_datetime(self.style.zone.clone());
        // As `date` prints it in the C locale.
        writeln!(to, "=== end of {} ===", end.strftime("%a %b %e %H:%M:%S %Z %Y"))
    }
}

fn places(record: &Record, to: &mut Pieces<'_>) -> io::Result<()> {
    for sent in by_address(record) {
        let place = &sent.row.place;
        match (&place.country, &place.country_name) {
            (Some(code), name) => {
                writeln!(
                    to,
                    "{} : {code}, {}",
                    sent.amount.packets,
                    name.as_ref().unwrap_or(code)
                )?;
            }
            (None, _) => writeln!(to, "{} : IP Address not found", sent.amount.packets)?,
        }
    }
    Ok(())
}

/// The best name of each destination; an address without one stands for itself, as it does where tcpdump resolves.
fn names(record: &Record, to: &mut Pieces<'_>) -> io::Result<()> {
    let mut sums: HashMap<Cow<'_, str>, u64> = HashMap::new();
    for row in &record.destinations {
        let best = row.names.as_ref().and_then(|names| names.list.first());
        let name = match best {
            Some(best) => text::plain(&best.name),
            None => row.address.to_string().into(),
        };
        let sum = sums.entry(name).or_default();
        *sum = sum.saturating_add(row.packets);
    }
    let mut lines: Vec<(Cow<'_, str>, u64)> = sums.into_iter().collect();
    lines.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    for (name, packets) in lines {
        writeln!(to, "{packets} : {name}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sink::sample;

    fn text(record: &Record, style: Style) -> String {
        sample::encoded(&Classic::new(style), record)
    }

    #[test]
    fn it_is_the_scripts_text() {
        let mut record = sample::empty();
        record.destinations = vec![
            sample::in_country("8.8.8.8", 1234, 99, "US", "United States"),
            sample::destination("192.0.2.1", 7, 99),
        ];
        assert_eq!(
            text(&record, sample::style()),
            "=== fetch info in 20s ===\n\
             1234 : US, United States\n\
             7 : IP Address not found\n\
             === end of Fri Jan  2 03:04:20 UTC 2026 ===\n"
        );
    }

    #[test]
    fn an_address_is_one_line_from_however_many_own_sources() {
        let mut record = sample::empty();
        let mut other = sample::in_country("8.8.8.8", 30, 99, "US", "United States");
        other.source = Some("198.51.100.8".parse().unwrap());
        record.destinations = vec![
            sample::in_country("80.1.1.1", 40, 99, "DE", "Germany"),
            other,
            sample::in_country("8.8.8.8", 20, 99, "US", "United States"),
            sample::in_country("80.1.1.2", 2, 99, "AT", "Austria"),
            sample::in_country("80.1.1.3", 2, 99, "CH", "Switzerland"),
        ];
        let lines = text(&record, sample::style());
        let lines: Vec<_> = lines.lines().collect();
        assert_eq!(
            lines[1..5],
            [
                "50 : US, United States",
                "40 : DE, Germany",
                "2 : AT, Austria",
                "2 : CH, Switzerland"
            ]
        );
    }

    #[test]
    fn names_stand_instead_of_places_where_they_are_wanted() {
        let mut record = sample::empty();
        let to = |address, packets| sample::in_country(address, packets, 99, "US", "United States");
        record.destinations = vec![
            sample::named(to("192.0.2.1", 40), &[("www.example.com", 3), ("a.example", 1)]),
            to("2001:db8::1", 31),
            sample::asked(to("192.0.2.2", 30), &["b.example"]),
            sample::asked(to("192.0.2.3", 30), &["a.example"]),
            sample::asked(to("192.0.2.4", 20), &["www.example.com"]),
            sample::asked(to("192.0.2.5", 1), &["e\u{1b}[2J\n9 : x"]),
        ];
        let style = Style {
            resolve: true,
            ..sample::style()
        };
        assert_eq!(
            text(&record, style),
            "=== fetch info in 20s ===\n\
             60 : www.example.com\n\
             31 : 2001:db8::1\n\
             30 : a.example\n\
             30 : b.example\n\
             1 : e?[2J?9?:?x\n\
             === end of Fri Jan  2 03:04:20 UTC 2026 ===\n"
        );
    }

    #[test]
    fn an_empty_interval_has_its_frame_and_the_interval_is_printed_as_it_was_given() {
        let style = Style {
            interval: Duration::from_millis(2500),
            ..sample::style()
        };
        assert_eq!(
            text(&sample::empty(), style),
            "=== fetch info in 2.5s ===\n=== end of Fri Jan  2 03:04:20 UTC 2026 ===\n"
        );
    }

    #[test]
    fn the_end_is_in_the_time_zone_of_the_operator() {
        let zone = jiff::tz::TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let lines = text(
            &sample::empty(),
            Style {
                zone,
                ..sample::style()
            },
        );
        assert!(
            lines.ends_with("=== end of Fri Jan  2 04:04:20 CET 2026 ===\n"),
            "{lines}"
        );
    }
}
