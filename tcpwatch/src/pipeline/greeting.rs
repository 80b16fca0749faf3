//! The block on stderr that says, at the start, what is watched and where the records go.

use std::fmt::Write as _;
use std::io::Write;

use jiff::civil::Date;

use super::outputs::Outputs;
use super::watch::Watch;
use crate::config::{Config, Interfaces, Sources};
use crate::geo::info::OLD_DAYS;
use crate::net::Interface;
use crate::record::{GeoFile, WatchedInterface};
use crate::sink::Format;

/// Addresses and prefixes named one by one; the rest is a number.
const NAMED: usize = 4;

/// Prints the block.
pub fn print(notices: &mut dyn Write, config: &Config, watch: &Watch, geo: &[GeoFile], outputs: &Outputs) {
    let watched: Vec<_> = watch.for_record().into_iter().zip(watch.interfaces()).collect();
    let today = jiff::ZonedDateTime::now().date();
    let text = text(config, &watched, geo, outputs, today);
    // Nobody to read it is no reason to end.
    notices.write_all(text.as_bytes()).unwrap_or_default();
}

fn text(
    config: &Config,
    watched: &[(WatchedInterface, &Interface)],
    geo: &[GeoFile],
    outputs: &Outputs,
    today: Date,
) -> String {
    let mut lines: Vec<(&str, String)> = Vec::new();
    for (entry, interface) in watched {
        let state = if interface.up { "" } else { ", down" };
        let why = match config.interfaces {
            Interfaces::DefaultRoute => "default route, ",
            Interfaces::All | Interfaces::Named(_) => "",
        };
        lines.push((
            "interface",
            format!(
                "{} ({why}{}{state}): {}",
                entry.name,
                entry.attach,
                some(&interface.addresses)
            ),
        ));
    }
    lines.push((
        "counted",
        match &config.sources {
            Sources::Auto => "packets from the interface's own addresses, followed live".to_owned(),
            Sources::Any => "packets from any source".to_owned(),
            Sources::These(addresses) => format!("packets from {}", some(addresses)),
        },
    ));
    lines.push((
        "left out",
        if config.bans.is_empty() {
            "nothing (--ban PREFIX leaves a destination out)".to_owned()
        } else {
            some(&*config.bans)
        },
    ));
    let end = config
        .intervals
        .map_or_else(String::new, |n| format!(", {n} of them"));
    lines.push((
        "interval",
        format!(
            "{:#}{end}",
            jiff::SignedDuration::try_from(config.interval).unwrap_or_default()
        ),
    ));
    if geo.is_empty() {
        lines.push(("places", "unknown: no place database (see above)".to_owned()));
    }
    for file in geo {
        lines.push((
            "places",
            format!("{} of {}{}", file.file, file.built, age(file.built, today)),
        ));
    }
    lines.push(("records", format!("{} on stdout", name(outputs.format))));
    if let Some(path) = &config.record {
        lines.push((
            "records",
            format!("json appended to {} (SIGHUP opens it anew)", path.display()),
        ));
    }
    if let Some(history) = config.history.as_ref().filter(|_| outputs.keeps_history()) {
        let bounds = &history.bounds;
        lines.push((
            "history",
            format!(
                "{}, intervals {}, hours {}, days {}",
                history.path.display(),
                long(bounds.intervals),
                long(bounds.hours),
                long(bounds.days)
            ),
        ));
    }
    let mut text = format!(
        "tcpwatch {}: watching outgoing traffic; Ctrl-C ends it with a last record\n",
        env!("CARGO_PKG_VERSION")
    );
    let mut before = "";
    for (label, value) in lines {
        let shown = if label == before { "" } else { label };
        before = label;
        // Writing to a string does not fail.
        writeln!(text, "  {shown:<9}  {value}").unwrap_or_default();
    }
    text
}

const fn name(format: Format) -> &'static str {
    match format {
        Format::Table => "table",
        Format::Classic => "classic",
        Format::Json => "json",
        Format::Csv => "csv",
    }
}

/// The first few, and how many more there are.
fn some<T: ToString>(items: impl IntoIterator<Item = T, IntoIter: ExactSizeIterator>) -> String {
    let mut items = items.into_iter();
    let total = items.len();
    let mut names: Vec<String> = items.by_ref().take(NAMED).map(|item| item.to_string()).collect();
    match total.saturating_sub(NAMED) {
        0 if names.is_empty() => return "no address".to_owned(),
        0 => {}
        more => names.push(format!("and {more} more")),
    }
    names.join(", ")
}

/// A time as one says it: in years, days or hours where it is so many, else as it is written.
fn long(time: std::time::Duration) -> String {
    const HOUR: u64 = 3600;
    for (unit, seconds) in [
        ("year", 365 * 24 * HOUR),
        ("day", 24 * HOUR),
        ("hour", HOUR),
        ("minute", 60),
    ] {
        let count = time.as_secs() / seconds;
        if count > 0 && time.as_secs().is_multiple_of(seconds) {
            return format!("{count} {unit}{}", if count == 1 { "" } else { "s" });
        }
    }
    format!("{} seconds", time.as_secs())
}

fn age(built: Date, today: Date) -> String {
    match built.until(today).map(|span| span.get_days()) {
        Ok(days) if days > OLD_DAYS => {
            format!(", {days} days old (`tcpwatch geo update` fetches a new one)")
        }
        Ok(days) if days > 0 => format!(", {days} days old"),
        Ok(_) | Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_end_in_a_number() {
        assert_eq!(some(["a"; 0]), "no address");
        assert_eq!(some(["a", "b"]), "a, b");
        assert_eq!(some(["a", "b", "c", "d", "e", "f"]), "a, b, c, d, and 2 more");
    }

    #[test]
    fn times_are_said_in_the_largest_unit_that_fits() {
        let hours = |hours: u64| long(std::time::Duration::from_secs(hours * 3600));
        assert_eq!(
            [hours(48), hours(30 * 24), hours(730 * 24)],
            ["2 days", "30 days", "2 years"]
        );
        assert_eq!(
            [hours(24), hours(25), hours(0)],
            ["1 day", "25 hours", "0 seconds"]
        );
    }

    #[test]
    fn the_age_of_a_database_is_in_days() {
        let today = jiff::civil::date(2026, 3, 1);
        assert_eq!(age(jiff::civil::date(2026, 1, 1), today), ", 59 days old");
        assert_eq!(age(today, today), "");
        assert_eq!(
            age(jiff::civil::date(2025, 12, 30), today),
            ", 61 days old (`tcpwatch geo update` fetches a new one)"
        );
    }
}
