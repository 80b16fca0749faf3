//! A fixed history, and what is shown of it, character by character.

use super::*;
use crate::report::{Look, csv, text};

fn written() -> Written {
    let us = ["US", "United States"];
    let rows = |factor: u64| {
        let mut anycast = in_network(
            row("104.16.132.229", "198.51.100.7", 150 * factor, 105_000),
            us,
            13335,
            "CLOUDFLARENET",
        );
        Arc::make_mut(&mut anycast.place).anycast = Some(true);
        let mut private = row("10.8.0.2", "198.51.100.7", 12, 2400);
        private.scope = Scope::Private;
        vec![
            in_network(
                row("142.250.74.78", "198.51.100.7", 421 * factor, 505_200),
                us,
                15169,
                "GOOGLE",
            ),
            in_network(
                row("142.250.74.46", "198.51.100.8", 80, 72_000),
                us,
                15169,
                "GOOGLE",
            ),
            in_network(
                row("2a00:1450:4001:81b::200e", "2001:db8:1:2::7", 44, 9000),
                ["IE", "Ireland"],
                15169,
                "GOOGLE",
            ),
            in_network(
                row("149.154.167.99", "198.51.100.7", 85, 34_000),
                ["NL", "Netherlands"],
                62041,
                "Telegram Messenger Inc",
            ),
            anycast,
            private,
            row("9.9.9.9", "198.51.100.7", 3, 180),
        ]
    };
    let records = (1..=6).map(|minute: u64| {
        let end = time("2026-01-02T03:00:00Z") + SignedDuration::from_mins(i64::try_from(minute).unwrap());
        let record = lasting(minute, end, 60.0, rows(minute));
        with_banned(record, "203.0.113.0/24", 9, 999)
    });
    Written::new(records.collect())
}

fn look(width: usize) -> Look {
    Look {
        width,
        colour: false,
        zone: TimeZone::UTC,
    }
}

const USUAL: [Dimension; 3] = [Dimension::Country, Dimension::Network, Dimension::Destination];

/// Six minutes, all in the history.
fn all(by: &[Dimension]) -> Question {
    question("2026-01-02T03:00:00Z", "2026-01-02T03:06:00Z", by)
}

fn same(found: &str, expected: &str) {
    assert!(found == expected, "found:\n{found}\nexpected:\n{expected}");
}

#[test]
fn a_report_is_a_table_for_each_section_with_its_proof() {
    let written = written();
    let report = written.ask(&all(&USUAL));
    same(&text(&report, &look(80)), include_str!("golden/usual_80.txt"));
    same(&text(&report, &look(120)), include_str!("golden/usual_120.txt"));
    // No line is wider than the terminal.
    for width in 60..=130 {
        let text = text(&report, &look(width));
        let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= width, "{width}:\n{text}");
    }
}

#[test]
fn what_is_left_out_is_summed_up() {
    let mut question = all(&[Dimension::Network, Dimension::Hour]);
    question.top = Some(2);
    question.period.from = time("2026-01-02T02:56:00Z");
    same(
        &text(&written().ask(&question), &look(80)),
        include_str!("golden/top.txt"),
    );
}

#[test]
fn an_answer_says_what_is_known_and_what_is_not() {
    let mut question = all(&[Dimension::Source]);
    question.filter = about("google");
    same(
        &text(&written().ask(&question), &look(80)),
        include_str!("golden/google.txt"),
    );
}

#[test]
fn csv_has_a_row_for_each_number() {
    let mut question = all(&[Dimension::Country, Dimension::Destination]);
    question.top = Some(2);
    same(&csv(&written().ask(&question)), include_str!("golden/top.csv"));
}

#[test]
fn json_is_the_whole_report() {
    let mut question = all(&[Dimension::Network]);
    question.top = Some(1);
    question.filter = about("142.250.74.0/24");
    let mut json = serde_json::to_string_pretty(&written().ask(&question)).unwrap();
    json.push('\n');
    same(&json, include_str!("golden/report.json"));
}

#[test]
fn an_empty_period_says_what_there_is() {
    let question = question("2026-02-02T03:00:00Z", "2026-02-02T04:00:00Z", &USUAL);
    same(
        &text(&written().ask(&question), &look(80)),
        "tcpwatch report · 2026-02-02 03:00 – 04:00 UTC · proxy1\n\
         nothing was recorded in this period; the history has 2026-01-02 03:01 – 03:06\nUTC\n",
    );
    same(
        &text(&Written::new(vec![]).ask(&question), &look(80)),
        "tcpwatch report · 2026-02-02 03:00 – 04:00 UTC\n\
         nothing was recorded in this period; the history is empty\n",
    );
}

#[test]
fn names_from_outside_do_no_harm() {
    let evil = "=cmd|'/C calc'!A0\u{1b}[2J\u{202e}<script>\n,\"";
    let mut row = in_network(
        row("8.8.8.8", "198.51.100.7", 9, 900),
        ["US", "@SUM(A1)"],
        64500,
        evil,
    );
    row.names = sample::asked(&[evil]);
    row.interface = "-1+1\u{7}".into();
    let mut record = record(1, "2026-01-02T03:01:00Z", vec![row]);
    record.host = "\u{1b}]0;x\u{7}".into();
    let by = [
        Dimension::Country,
        Dimension::Network,
        Dimension::Name,
        Dimension::Interface,
        Dimension::Destination,
    ];
    let mut question = all(&by);
    question.filter = about("AS64500");
    let report = Written::new(vec![record]).ask(&question);
    let text = text(&report, &look(80));
    let bad = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!text.contains(bad), "{text:?}");
    assert!(text.contains("=cmd|'/C calc'!A0?[2J?<script>?"), "{text}");
    let csv = csv(&report);
    let cells: Vec<String> = ::csv::Reader::from_reader(csv.as_bytes())
        .into_records()
        .flat_map(|row| row.unwrap().iter().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert!(cells.iter().any(|cell| cell.starts_with("'=cmd")), "{csv}");
    assert!(
        !cells
            .iter()
            .any(|cell| cell.starts_with(['=', '+', '-', '@', '\t', '\r'])),
        "{csv}"
    );
}

#[test]
fn the_times_of_a_report_are_local() {
    let written = written();
    let mut question = all(&[Dimension::Hour, Dimension::Day]);
    question.zone = TimeZone::fixed(jiff::tz::Offset::constant(-4));
    let report = written.ask(&question);
    let labels = |at: usize| -> Vec<&str> {
        report.sections[at]
            .groups
            .iter()
            .map(|group| group.label.as_str())
            .collect()
    };
    assert_eq!(labels(0), ["2026-01-01 23:00"]);
    assert_eq!(labels(1), ["2026-01-01 Thu"]);
    // Thursday, 23 h.
    assert_eq!(report.heat[3][23], report.matched.packets);
}
