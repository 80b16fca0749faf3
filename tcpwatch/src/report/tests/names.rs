//! Reports by name.

use super::*;
use crate::report::{Look, csv, text};

fn named(to: &str, packets: u64, names: &[&str]) -> Destination {
    let mut row = row(to, "198.51.100.7", packets, packets * 100);
    row.names = sample::asked(names);
    row.tcp_connections = Some(packets / 10);
    row.quic_connections = Some(packets / 20);
    row
}

fn written() -> Written {
    let rows = vec![
        named("192.0.2.1", 400, &["www.example.co.uk"]),
        named("192.0.2.2", 300, &["static.example.co.uk", "example.co.uk"]),
        named("192.0.2.3", 200, &["www.youtube.com", "i.ytimg.com"]),
        named("192.0.2.4", 100, &["i.ytimg.com", "m.youtube.com"]),
        named("192.0.2.5", 80, &["d.com", "c.com", "b.com", "a.com"]),
        named("192.0.2.6", 40, &[]),
        named("192.0.2.7", 20, &["printer.local"]),
    ];
    Written::new(vec![record(1, "2026-01-02T03:01:00Z", rows)])
}

fn asked(target: Option<&str>) -> Report {
    let mut question = question("2026-01-02T03:00:00Z", "2026-01-02T04:00:00Z", &[Dimension::Name]);
    question.filter = target.and_then(about);
    written().ask(&question)
}

#[test]
fn rows_by_name_are_registrable_domains() {
    let report = asked(None);
    let rows: Vec<(&str, u64, Option<u64>, u64)> = report.sections[0]
        .groups
        .iter()
        .map(|group| {
            (
                &*group.label,
                group.sum.packets,
                group.sum.connections(),
                group.destinations,
            )
        })
        .collect();
    assert_eq!(
        rows,
        [
            ("example.co.uk", 700, Some(105), 2),
            // Nothing tells which of them a packet was meant for.
            ("youtube.com, ytimg.com", 300, Some(45), 2),
            ("a.com, b.com, c.com +1", 80, Some(12), 1),
            ("no name known", 40, Some(6), 1),
            ("printer.local", 20, Some(3), 1),
        ]
    );
    assert_eq!(report.matched.packets, 1140);
    assert_eq!(report.sections[0].groups[3].key, "");
}

#[test]
fn domains_that_look_alike_in_short_are_rows_of_their_own() {
    let rows = vec![
        named("192.0.2.1", 20, &["a.com", "b.com", "c.com", "d.com"]),
        named("192.0.2.2", 10, &["a.com", "b.com", "c.com", "e.com"]),
    ];
    let written = Written::new(vec![record(1, "2026-01-02T03:01:00Z", rows)]);
    let report = written.ask(&question(
        "2026-01-02T03:00:00Z",
        "2026-01-02T04:00:00Z",
        &[Dimension::Name],
    ));
    let groups = report.sections[0].groups.iter();
    let rows: Vec<_> = groups
        .map(|group| (&*group.key, &*group.label, group.sum.packets))
        .collect();
    let label = "a.com, b.com, c.com +1";
    assert_eq!(
        rows,
        [
            ("a.com, b.com, c.com, d.com", label, 20),
            ("a.com, b.com, c.com, e.com", label, 10)
        ]
    );
}

#[test]
fn destinations_have_their_names() {
    let records = [Some("old.example.org"), Some("www.example.co.uk"), None]
        .into_iter()
        .zip(1..);
    let records = records.map(|(name, seq)| {
        let evil = named("192.0.2.2", 50, &["-x\u{1b}[2J<b>", "b.example.org"]);
        let names: Vec<&str> = name.into_iter().collect();
        let named = named("192.0.2.1", 100, &names);
        record(seq, &format!("2026-01-02T03:0{seq}:00Z"), vec![named, evil])
    });
    let report = Written::new(records.collect()).ask(&question(
        "2026-01-02T03:00:00Z",
        "2026-01-02T04:00:00Z",
        &[Dimension::Destination, Dimension::Prefix],
    ));
    let groups = &report.sections[0].groups;
    assert_eq!(groups[0].names, ["www.example.co.uk".into()]);
    assert_eq!(groups[1].names.len(), 2);
    assert!(report.sections[1].groups[0].names.is_empty());
    let look = Look {
        width: 120,
        colour: false,
        zone: TimeZone::UTC,
    };
    let text = text(&report, &look);
    assert!(text.contains("\n192.0.2.1    example.co.uk · unknown "), "{text}");
    assert!(
        text.contains("\n192.0.2.2    -x?[2J<b>, example.org · unknown "),
        "{text}"
    );
    let csv = csv(&report);
    assert!(
        csv.contains(",1,www.example.co.uk\n") && csv.contains(",1,'-x\u{1b}[2J<b> b.example.org\n"),
        "{csv}"
    );
    let page = crate::report::html::render(&report);
    assert!(
        page.contains("<bdi>-x\u{fffd}[2J&lt;b&gt;, example.org</bdi>"),
        "{page}"
    );
}

#[test]
fn an_answer_about_one_domain_has_the_names_below_it() {
    let domains = |target| -> Vec<String> {
        let facts = asked(Some(target)).facts.unwrap();
        facts.domains.into_iter().map(|part| part.label).collect()
    };
    assert_eq!(
        domains("example.co.uk"),
        ["www.example.co.uk", "example.co.uk, static.example.co.uk"]
    );
    assert_eq!(domains("google"), ["youtube.com, ytimg.com"]);
}
