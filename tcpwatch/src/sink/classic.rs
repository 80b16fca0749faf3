//! The classic text: what the script that tcpwatch replaces appended to its log, for those who parse that already.

use std::io::{self, Write as _};

use crate::record::Record;
use crate::sink::{Encode, Pieces, Style, by_address, text};

/// One line per destination address, most packets first.
#[derive(Clone, Debug)]
pub struct Classic {
    style: Style,
}

impl Classic {
    /// Uses the interval and the time zone of `style`.
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
        for sent in by_address(record) {
            let place = &sent.row.place;
            match (&place.country, &place.country_name) {
                (Some(code), name) => {
                    writeln!(to, "{} : {code}, {}", sent.packets, name.as_ref().unwrap_or(code))?;
                }
                (None, _) => writeln!(to, "{} : IP Address not found", sent.packets)?,
            }
        }
        let end = record.end.to_zoned_datetime(self.style.zone.clone());
        // As `date` prints it in the C locale.
        writeln!(to, "=== end of {} ===", end.strftime("%a %b %e %H:%M:%S %Z %Y"))
    }
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
