//! Reports by name.

use super::*;

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
