//! Answers for people: what is wrong first, then what is, in columns.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::protocol::{Ban, BanOrigin, Changed, Reloaded};
use super::status::{InterfaceState, OutletState, PlaceState, Status, times};
use crate::geo::info::OLD_DAYS;

/// Ports that are shown.
const MOST_PORTS: usize = 12;

/// Lines with a label each; one that is the same as before is not repeated.
struct Lines(Vec<(&'static str, String)>);

impl Lines {
    fn add(&mut self, label: &'static str, value: impl Into<String>) {
        self.0.push((label, value.into()));
    }

    fn text(&self, first: &str) -> String {
        let mut text = format!("{first}\n");
        let mut before = "";
        for (label, value) in &self.0 {
            let shown = if *label == before { "" } else { label };
            before = label;
            // Nothing that somebody else has chosen may move the cursor.
            let value: String = value
                .chars()
                .map(|char| if char.is_control() { ' ' } else { char })
                .collect();
            // Writing to a string does not fail.
            writeln!(text, "  {shown:<13}  {value}").unwrap_or_default();
        }
        text
    }
}

/// The answer to `status`.
pub(super) fn status(status: &Status, zone: &TimeZone) -> String {
    let time = |time: Timestamp| time_said(time, zone);
    let mut lines = Lines(Vec::new());
    for wrong in &status.wrong {
        lines.add("wrong", wrong);
    }
    lines.add(
        "running",
        format!(
            "since {}, {}, process {}",
            time(status.started),
            duration(status.uptime_seconds),
            status.pid
        ),
    );
    match &status.config {
        Some(path) => lines.add("configuration", path.display().to_string()),
        None => lines.add("configuration", "no file"),
    }
    if let Some(pin) = &status.pin {
        lines.add(
            "pins",
            format!("{}: goes on counting while tcpwatch is away", pin.display()),
        );
    }
    interfaces(&mut lines, status, &time);
    let tables = status.tables;
    lines.add(
        "tables",
        format!(
            "{} % full: {} of {} in the spill; {} of {} slots taken",
            tables.percent, tables.spilled, tables.spill, tables.slots_taken, tables.slots
        ),
    );
    let drained = status
        .last_drain
        .map_or_else(String::new, |last| format!(", last at {}", time(last)));
    lines.add("drains", format!("{}{drained}", status.drains));
    lines.add("records", status.records.to_string());
    losses(&mut lines, status, &time);
    outlets(&mut lines, &status.outlets);
    let files = match status.ban_files.as_slice() {
        [] => String::new(),
        files => {
            let names: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
            format!(", some from {}", names.join(", "))
        }
    };
    lines.add(
        "bans",
        format!(
            "{}{files}; room for {} more",
            status.bans,
            status.bans_room.saturating_sub(status.bans)
        ),
    );
    if let Some(served) = &status.served {
        let tcp = served.tcp.iter().map(|port| format!("{port}/tcp"));
        let udp = served.udp.iter().map(|port| format!("{port}/udp"));
        lines.add("served", some(tcp.chain(udp).collect()));
    }
    if let Some(names) = &status.names {
        lines.add("names", names);
    }
    places(&mut lines, &status.places);
    match &status.last_error {
        None => lines.add("last error", "none"),
        Some(error) => lines.add("last error", format!("{}: {}", time(error.time), error.text)),
    }
    let first = match status.wrong.len() {
        0 => "all is well".to_owned(),
        1 => "one thing is wrong".to_owned(),
        count => format!("{count} things are wrong"),
    };
    lines.text(&format!("tcpwatch {}: {first}", status.version))
}

fn interfaces(lines: &mut Lines, status: &Status, time: &dyn Fn(Timestamp) -> String) {
    let width = |of: fn(&InterfaceState) -> &str| {
        let widths = status
            .interfaces
            .iter()
            .map(|interface| of(interface).chars().count());
        widths.max().unwrap_or_default()
    };
    let (names, hooks) = (width(|i| &i.name), width(|i| &i.hook));
    for interface in &status.interfaces {
        lines.add(
            "interfaces",
            format!(
                "{:names$}  {:hooks$}  since {}{}",
                interface.name,
                interface.hook,
                time(interface.since),
                if interface.up { "" } else { ", down" }
            ),
        );
    }
    for name in &status.missing {
        lines.add("interfaces", format!("{name:names$}  not watched"));
    }
}

fn losses(lines: &mut Lines, status: &Status, time: &dyn Fn(Timestamp) -> String) {
    let (losses, removals) = (status.losses, status.removals);
    let last =
        |last: Option<Timestamp>| last.map_or_else(String::new, |last| format!(", last at {}", time(last)));
    if losses.overflow_packets == 0 && losses.unbalanced_drains == 0 {
        lines.add("lost", "nothing");
    } else {
        lines.add(
            "lost",
            format!(
                "{} packets ({} bytes) found no room, {} drains do not balance{}",
                losses.overflow_packets,
                losses.overflow_bytes,
                losses.unbalanced_drains,
                last(losses.last)
            ),
        );
    }
    if removals.count > 0 {
        lines.add(
            "hooks",
            format!(
                "taken off by somebody {}{}",
                times(removals.count),
                last(removals.last)
            ),
        );
    }
}

fn outlets(lines: &mut Lines, outlets: &[OutletState]) {
    let width = outlets
        .iter()
        .map(|outlet| outlet.name.len())
        .max()
        .unwrap_or_default();
    for outlet in outlets {
        lines.add(
            "outputs",
            format!(
                "{:width$}  {} written, {} waiting, {} dropped",
                outlet.name, outlet.written, outlet.waiting, outlet.dropped
            ),
        );
    }
}

fn places(lines: &mut Lines, places: &[PlaceState]) {
    if places.is_empty() {
        lines.add(
            "places",
            "unknown: no place database (`tcpwatch geo update` fetches one)",
        );
    }
    for place in places {
        let old = if place.days > OLD_DAYS {
            " (`tcpwatch geo update` fetches a new one)"
        } else {
            ""
        };
        lines.add(
            "places",
            format!("{} of {}, {} days old{old}", place.file, place.built, place.days),
        );
    }
}

/// The answer to `ban list`.
pub(super) fn bans(bans: &[Ban], zone: &TimeZone) -> String {
    if bans.is_empty() {
        return "nothing is banned\n".to_owned();
    }
    let head = ["PREFIX", "PACKETS", "BYTES", "FROM", "LAST"].map(str::to_owned);
    let rows = bans.iter().map(|ban| {
        [
            ban.prefix.to_string(),
            ban.packets.to_string(),
            ban.bytes.to_string(),
            match ban.origin {
                BanOrigin::Option => "option",
                BanOrigin::File => "file",
                BanOrigin::Run => "this run",
            }
            .to_owned(),
            ban.last_hit
                .map_or_else(|| "never".to_owned(), |time| time_said(time, zone)),
        ]
    });
    let rows: Vec<[String; 5]> = [head].into_iter().chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let [prefix, packets, bytes, from] = [0, 1, 2, 3].map(width);
    rows.iter()
        .map(|[a, b, c, d, e]| format!("{a:prefix$}  {b:>packets$}  {c:>bytes$}  {d:from$}  {e}\n"))
        .collect()
}

/// The answer to `ban add` and `ban remove`.
pub(super) fn changed(changed: &Changed, done: &str) -> String {
    let mut text = String::new();
    let mut say = |line: String| {
        // Writing to a string does not fail.
        writeln!(text, "{line}").unwrap_or_default();
    };
    for prefix in &changed.changed {
        say(format!("{prefix}: {done}, in force now"));
    }
    for prefix in &changed.unchanged {
        say(format!("{prefix}: {done} already"));
    }
    for path in &changed.written {
        say(format!("written to {}", path.display()));
    }
    for note in &changed.notes {
        say(note.clone());
    }
    text
}

/// The answer to `reload`.
pub(super) fn reloaded(reloaded: &Reloaded) -> String {
    let mut lines = Lines(Vec::new());
    for change in &reloaded.now {
        lines.add("in force", change);
    }
    if reloaded.now.is_empty() {
        lines.add("in force", "as before");
    }
    let mut text = lines.text(&format!("read again: {}", reloaded.files.join(", ")));
    if !reloaded.later.is_empty() {
        let later = reloaded.later.join(", ");
        text.push_str(&format!(
            "  changed but takes effect with the next start: {later}\n"
        ));
    }
    for note in &reloaded.notes {
        text.push_str(&format!("  {note}\n"));
    }
    text
}

fn time_said(time: Timestamp, zone: &TimeZone) -> String {
    time.to_zoned_datetime(zone.clone())
        .strftime("%Y-%m-%d %H:%M:%S")
        .to_string()
}

/// In the two largest units.
fn duration(seconds: u64) -> String {
    let units = [
        (seconds / 86_400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    let first = units.iter().position(|(count, _)| *count > 0).unwrap_or(3);
    let said: Vec<String> = units
        .iter()
        .skip(first)
        .take(2)
        .map(|(count, unit)| format!("{count} {unit}"))
        .collect();
    said.join(" ")
}

/// The first few, and how many more there are.
fn some(mut items: Vec<String>) -> String {
    if items.is_empty() {
        return "no port yet".to_owned();
    }
    let more = items.len().saturating_sub(MOST_PORTS);
    items.truncate(MOST_PORTS);
    if more > 0 {
        items.push(format!("and {more} more"));
    }
    items.join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::status::tests::well;
    use super::super::status::{ErrorState, ServedState};
    use super::*;

    #[test]
    fn what_is_wrong_comes_first() {
        let mut sick = well();
        sick.missing = vec!["eth1".to_owned()];
        sick.outlets[0].dropped = 2;
        sick.last_error = Some(ErrorState {
            time: sick.now,
            text: "a\u{1b}[2Jb".to_owned(),
        });
        let text = status(&sick.judged(), &TimeZone::UTC);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "tcpwatch 0.1.0: 3 things are wrong");
        assert_eq!(
            lines[1],
            "  wrong          eth1 is not watched: it is not there, or the log says why"
        );
        assert_eq!(lines[2], "                 record: 2 records were dropped");
        assert_eq!(lines[3], "                 the last error was: a [2Jb");
        assert!(lines[4].starts_with("  running        since 2026-03-01 11:00:00, 1 h 0 min"));
    }

    #[test]
    fn a_status_is_aligned() {
        let mut good = well();
        good.served = Some(ServedState {
            tcp: vec![22, 443],
            udp: vec![],
        });
        let text = status(&good.judged(), &TimeZone::UTC);
        assert_eq!(
            text,
            "\
tcpwatch 0.1.0: all is well
  running        since 2026-03-01 11:00:00, 1 h 0 min, process 4711
  configuration  /etc/tcpwatch/config.toml
  interfaces     eth0  tcx  since 2026-03-01 11:00:00
  tables         0 % full: 12 of 131072 in the spill; 310 of 4096 slots taken
  drains         180, last at 2026-03-01 11:59:50
  records        180
  lost           nothing
  outputs        record  180 written, 0 waiting, 0 dropped
  bans           3, some from /etc/tcpwatch/bans; room for 1021 more
  served         22/tcp, 443/tcp
  places         /var/lib/tcpwatch/country.mmdb of 2026-02-01, 28 days old
  last error     none
"
        );
    }

    #[test]
    fn bans_are_columns() {
        let ban = |prefix: &str, packets, last_hit: Option<&str>| Ban {
            prefix: prefix.parse().unwrap(),
            origin: BanOrigin::File,
            packets,
            bytes: packets * 100,
            last_hit: last_hit.map(|text| text.parse().unwrap()),
        };
        let shown = bans(
            &[
                ban("192.0.2.1/32", 1234, Some("2026-03-01T12:00:00Z")),
                ban("2001:db8::/32", 0, None),
            ],
            &TimeZone::UTC,
        );
        assert_eq!(
            shown,
            "\
PREFIX         PACKETS   BYTES  FROM  LAST
192.0.2.1/32      1234  123400  file  2026-03-01 12:00:00
2001:db8::/32        0       0  file  never
"
        );
        assert_eq!(bans(&[], &TimeZone::UTC), "nothing is banned\n");
    }

    #[test]
    fn a_reload_says_what_waits_for_the_next_start() {
        let answer = Reloaded {
            files: vec!["/etc/tcpwatch/config.toml".to_owned()],
            now: vec!["interval: 10s, was 20s".to_owned()],
            later: vec!["record".to_owned(), "slots".to_owned()],
            notes: Vec::new(),
        };
        assert_eq!(
            reloaded(&answer),
            "\
read again: /etc/tcpwatch/config.toml
  in force       interval: 10s, was 20s
  changed but takes effect with the next start: record, slots
"
        );
    }

    #[test]
    fn durations_have_two_units() {
        assert_eq!(duration(0), "0 s");
        assert_eq!(duration(61), "1 min 1 s");
        assert_eq!(duration(3 * 86_400 + 7200), "3 d 2 h");
    }
}
