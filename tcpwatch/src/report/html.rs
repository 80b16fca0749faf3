//! The report as one self-contained page: no remote resource, readable without a network, without scripts, on a phone and on paper.
//!
//! Takes a [`Report`] and nothing else. What comes from outside reaches the page through [`Markup::text`] only, which escapes;
//! markup is `&'static str`, so that no text from outside can be taken for it. The page's policy allows exactly the style sheet and
//! the script that are compiled in, by their hashes.

use std::borrow::Cow;

use jiff::tz::TimeZone;

use crate::report::{Dimension, Group, Report, Section, Sort, Sum};

mod chart;
mod facts;
mod heat;
mod local;
mod markup;
mod numbers;
mod proof;
mod sources;
mod summary;
mod tables;
#[cfg(test)]
mod tests;
mod world;

use local::Local;
use markup::{Markup, put};

const STYLE: &str = include_str!("html/style.css");
const SCRIPT: &str = include_str!("html/script.js");

/// The page.
pub fn render(report: &Report) -> String {
    let page = Page {
        report,
        local: Local::of(report),
        measure: Measure::of(report),
    };
    let mut out = Markup::default();
    put!(out; "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
        <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src '", (hash(STYLE)),
        "'; script-src '", (hash(SCRIPT)), "'; base-uri 'none'; form-action 'none'\">\n\
        <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
        <meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"referrer\" content=\"no-referrer\">\n\
        <meta name=\"generator\" content=\"tcpwatch\">\n<title>", (page.title()), "</title>\n<style>");
    out.raw(STYLE).raw("</style>\n</head>\n<body>\n");
    summary::heading(&mut out, &page);
    out.raw("<main>\n");
    if report.intervals == 0 {
        put!(out; "<p class=\"lead\">The history has nothing of this period.</p>\n");
    }
    summary::figures(&mut out, &page);
    facts::section(&mut out, &page);
    proof::section(&mut out, &page);
    chart::section(&mut out, &page);
    world::section(&mut out, &page);
    heat::section(&mut out, &page);
    tables::sections(&mut out, &page);
    out.raw("</main>\n");
    sources::footer(&mut out, &page);
    out.raw("<script>")
        .raw(SCRIPT)
        .raw("</script>\n</body>\n</html>\n");
    out.finish()
}

/// What every part of the page is made from.
struct Page<'a> {
    report: &'a Report,
    local: Local,
    measure: Measure,
}

impl Page<'_> {
    fn title(&self) -> String {
        let hosts = self.hosts();
        match &self.report.filter {
            Some(filter) => format!("{filter} \u{b7} {hosts} \u{b7} tcpwatch"),
            None => format!("{hosts} \u{b7} tcpwatch"),
        }
    }

    fn hosts(&self) -> String {
        match self.report.hosts.as_slice() {
            [] => "no host".to_owned(),
            hosts => hosts.join(", "),
        }
    }

    fn section(&self, by: Dimension) -> Option<&Section> {
        self.report.sections.iter().find(|section| section.by == by)
    }

    /// The share of `sum` in what the report is about.
    fn share(&self, sum: &Sum) -> String {
        numbers::share(
            self.measure.in_sum(sum),
            self.measure.in_sum(&self.report.matched),
        )
    }
}

/// What shares are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measure {
    Packets,
    Bytes,
    Connections,
}

impl Measure {
    fn of(report: &Report) -> Self {
        match report.sort {
            Sort::Bytes => Self::Bytes,
            Sort::Connections if report.matched.connections().is_some() => Self::Connections,
            Sort::Connections | Sort::Packets => Self::Packets,
        }
    }

    fn in_sum(self, sum: &Sum) -> u64 {
        match self {
            Self::Packets => sum.packets,
            Self::Bytes => sum.bytes,
            Self::Connections => sum.connections().unwrap_or(0),
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Packets => "packets",
            Self::Bytes => "bytes",
            Self::Connections => "connections",
        }
    }

    fn amount(self, sum: &Sum) -> String {
        match self {
            Self::Bytes => numbers::bytes(sum.bytes),
            Self::Packets | Self::Connections => {
                format!("{} {}", numbers::thousands(self.in_sum(sum)), self.word())
            }
        }
    }
}

/// The name of what the rows of a section are: singular and plural.
const fn words(by: Dimension) -> (&'static str, &'static str) {
    match by {
        Dimension::Country => ("Country", "Countries"),
        Dimension::Network => ("Network", "Networks"),
        Dimension::City => ("City", "Cities"),
        Dimension::Scope => ("Kind of address", "Kinds of addresses"),
        Dimension::Destination => ("Destination", "Destinations"),
        Dimension::Prefix => ("Prefix", "Prefixes"),
        Dimension::Source => ("Own source", "Own sources"),
        Dimension::Interface => ("Interface", "Interfaces"),
        Dimension::Name => ("Name", "Names"),
        Dimension::Hour => ("Hour", "Hours"),
        Dimension::Day => ("Day", "Days"),
    }
}

/// A row's key and what follows it in its label, for those that have both: `US`, `United States`.
fn split(group: &Group) -> (Option<&str>, &str) {
    match group.label.strip_prefix(group.key.as_str()) {
        Some(rest) if rest.starts_with(' ') => (Some(&group.key), &rest[1..]),
        _ => (None, &group.label),
    }
}

/// What a policy calls a text by.
fn hash(text: &str) -> String {
    use base64::Engine as _;
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    format!(
        "sha256-{}",
        base64::engine::general_purpose::STANDARD.encode(digest)
    )
}

/// The zone that a report is told in.
fn zone(name: &str) -> (TimeZone, Cow<'_, str>) {
    match TimeZone::get(name) {
        Ok(zone) => (zone, Cow::Borrowed(name)),
        Err(_) => (TimeZone::UTC, Cow::Borrowed("UTC")),
    }
}
