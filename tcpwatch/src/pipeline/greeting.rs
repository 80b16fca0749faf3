//! The block on stderr that says, at the start, what is watched and where the records go.

use std::fmt::Write as _;
use std::io::Write;
use std::time::{Duration, Instant};

use jiff::civil::Date;

use super::outputs::Outputs;
use super::watch::Watch;
use crate::config::{Config, Interfaces, Sources};
use crate::geo::info::OLD_DAYS;
use crate::net::Interface;
use crate::net::listening::{Listening, Protocol, ServedPorts};
use crate::record::{GeoFile, WatchedInterface};
use crate::sink::Format;

/// Addresses and prefixes named one by one; the rest is a number.
const NAMED: usize = 4;

/// Ports that make no server of a host: nearly every one has sshd, and DHCP clients have ports of their own.
const NO_SERVICE: [(Protocol, u16); 3] = [(Protocol::Tcp, 22), (Protocol::Udp, 68), (Protocol::Udp, 546)];

/// What this host listens on now; none: the kernel does not tell, which is no reason not to count.
pub fn listening(config: &Config) -> Option<ServedPorts> {
    let overrides = config.served.clone().unwrap_or_default().overrides;
    let looked = Listening::new(overrides).look(Instant::now());
    looked
        .inspect_err(|error| tracing::debug!(%error, "it is not known what this host listens on"))
        .ok()
        .flatten()
}

/// Prints the block. `listening` is what this host listens on now; none: the kernel does not tell.
pub fn print(
    notices: &mut dyn Write,
    config: &Config,
    watch: &Watch,
    geo: &[GeoFile],
    outputs: &Outputs,
    listening: Option<&ServedPorts>,
) {
    let watched: Vec<_> = watch.for_record().into_iter().zip(watch.interfaces()).collect();
    let today = jiff::ZonedDateTime::now().date();
    let text = text(config, &watched, geo, outputs, listening, today);
    // Nobody to read it is no reason to end.
    notices.write_all(text.as_bytes()).unwrap_or_default();
}

fn text(
    config: &Config,
    watched: &[(WatchedInterface, &Interface)],
    geo: &[GeoFile],
    outputs: &Outputs,
    listening: Option<&ServedPorts>,
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
    if let Some(value) = listening.and_then(|ports| served(config.served.is_some(), ports)) {
        lines.push(("served", value));
    }
    if let Some(sources) = config.names.said() {
        lines.push(("names", sources));
    }
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

/// Whether a host with these ports is a server's.
pub fn serves(ports: &ServedPorts) -> bool {
    served(false, ports).is_some()
}

/// What becomes of replies to clients; none: the host has none, as far as one can tell.
pub(crate) fn served(left_out: bool, ports: &ServedPorts) -> Option<String> {
    let tcp = ports.tcp.iter().map(|port| (port, Protocol::Tcp));
    let udp = ports.udp.iter().map(|port| (port, Protocol::Udp));
    let mut found: Vec<(u16, Protocol)> = tcp.chain(udp).collect();
    if !left_out {
        found.retain(|(port, protocol)| !NO_SERVICE.contains(&(*protocol, *port)));
    }
    found.sort_unstable();
    let named = some(found.iter().map(|(port, protocol)| format!("{port}/{protocol}")));
    match (left_out, found.is_empty()) {
        (true, true) => Some("no port yet; replies to clients are left out".to_owned()),
        (true, false) => Some(format!("{named}: replies to clients are left out")),
        (false, true) => None,
        (false, false) => Some(format!(
            "this host listens on {named}: replies to clients are counted, too; --skip-served leaves them out"
        )),
    }
}

const fn name(format: Format) -> &'static str {
    match format {
        Format::Table => "table",
        Format::Classic => "classic",
        Format::Json => "json",
        Format::Csv => "csv",
        Format::Nothing => "nothing",
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
fn long(time: Duration) -> String {
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
    fn a_server_is_told_that_its_replies_are_counted() {
        let of = |tcp: &[u16], udp: &[u16]| ServedPorts {
            tcp: tcp.iter().copied().collect(),
            udp: udp.iter().copied().collect(),
        };
        assert_eq!(served(false, &of(&[22], &[68])), None);
        assert_eq!(
            served(false, &of(&[22, 443, 8443], &[443])).unwrap(),
            "this host listens on 443/tcp, 443/udp, 8443/tcp: replies to clients are counted, too; \
             --skip-served leaves them out"
        );
        let many = served(false, &of(&[1, 2, 3, 4, 5, 6], &[]));
        assert!(
            many.unwrap()
                .starts_with("this host listens on 1/tcp, 2/tcp, 3/tcp, 4/tcp, and 2 more: ")
        );
        assert_eq!(
            served(true, &of(&[22], &[])).unwrap(),
            "22/tcp: replies to clients are left out"
        );
        assert_eq!(
            served(true, &of(&[], &[])).unwrap(),
            "no port yet; replies to clients are left out"
        );
    }

    #[test]
    fn long_lists_end_in_a_number() {
        assert_eq!(some(["a"; 0]), "no address");
        assert_eq!(some(["a", "b"]), "a, b");
        assert_eq!(some(["a", "b", "c", "d", "e", "f"]), "a, b, c, d, and 2 more");
    }

    #[test]
    fn times_are_said_in_the_largest_unit_that_fits() {
        let hours = |hours: u64| long(Duration::from_secs(hours * 3600));
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
