//! Tests of the table: one literal look, and what holds for every record.

use std::net::IpAddr;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::record::{Destination, Scope, WatchedInterface};
use crate::sink::sample;

mod names;

fn text(record: &Record, style: Style) -> String {
    sample::encoded(&Table::new(style), record)
}

fn plain(record: &Record) -> String {
    text(record, sample::style())
}

/// A host with IPv4 mostly, three countries, some special addresses, some that no database knows.
fn realistic() -> Record {
    let mut record = sample::empty();
    record.geo = sample::geo();
    record.interfaces.push(WatchedInterface::new("wg0", "tcx"));
    record.destinations = vec![
        sample::in_country("142.250.184.206", 9_000, 8_100_000, "US", "United States"),
        sample::in_country("95.101.10.10", 1_800, 1_500_000, "DE", "Germany"),
        sample::in_country("1.1.1.1", 700, 60_000, "US", "United States"),
        sample::scoped("10.0.0.7", 500, 640_000, Scope::Private),
        sample::in_country("5.255.255.70", 200, 12_000, "FI", "Finland"),
        sample::scoped("9.9.9.9", 100, 9_000, Scope::Global),
        sample::scoped("224.0.0.251", 40, 4_400, Scope::Multicast),
        sample::in_country("2a00:1450:4001:82b::200e", 5, 400, "DE", "Germany"),
    ];
    record.banned = vec![
        sample::banned("203.0.113.0/24", 590, 70_000),
        sample::banned("2001:db8::/32", 10, 900),
    ];
    record.totals.counted = sample::counts(12_345, 10_325_800);
    record.totals.banned = sample::counts(600, 70_900);
    record.totals.other_source = sample::counts(70, 4_200);
    record.totals.not_ip = sample::counts(5, 210);
    record.totals.seen = sample::counts(13_020, 10_401_110);
    record
}

#[test]
fn a_realistic_record_looks_like_this() {
    let style = Style {
        top: 5,
        ..sample::style()
    };
    let expected = "\
2026-01-02 03:04:00 – 03:04:20 UTC · 20.0 s · eth0, wg0
12,345 packets · 10.3 MB · 8 destinations · 617 packets/s · 4.1 Mbit/s

COUNTRY                       PACKETS     BYTES   SHARE
US  United States               9,700    8.2 MB  78.6 %  ██████████████████▏
DE  Germany                     1,805    1.5 MB  14.6 %  ███▍
    private                       500  640.0 kB   4.1 %  ▉
FI  Finland                       200   12.0 kB   1.6 %  ▍
    unknown                       100    9.0 kB   0.8 %  ▏
    multicast                      40    4.4 kB   0.3 %  ▏

TOP DESTINATIONS              PACKETS     BYTES   SHARE
142.250.184.206      US         9,000    8.1 MB  72.9 %
95.101.10.10         DE         1,800    1.5 MB  14.6 %
1.1.1.1              US           700   60.0 kB   5.7 %
10.0.0.7             private      500  640.0 kB   4.1 %
5.255.255.70         FI           200   12.0 kB   1.6 %
3 more destinations               145   13.8 kB   1.2 %

BANNED                        PACKETS     BYTES
203.0.113.0/24                    590   70.0 kB
2001:db8::/32                      10     900 B

seen 13,020 = counted 12,345 + banned 600 + other source 70 + not IP 5
  · balanced ✓

";
    assert_eq!(text(&realistic(), style), expected);
}

/// The same host, and databases that know networks.
fn with_networks() -> Record {
    let mut record = realistic();
    let names = [
        (15169, "GOOGLE", false),
        (20940, "AKAMAI-ASN1", false),
        (13335, "CLOUDFLARENET", true),
    ];
    for (row, (number, name, anycast)) in [0, 1, 2].into_iter().zip(names) {
        let known = sample::in_network(record.destinations[row].clone(), number, name, anycast);
        record.destinations[row] = known;
    }
    let known = sample::in_network(record.destinations[7].clone(), 15169, "GOOGLE", false);
    record.destinations[7] = known;
    record
}

#[test]
fn networks_are_a_section_where_they_are_known() {
    let style = Style {
        top: 3,
        ..sample::style()
    };
    let expected = "\
COUNTRY                                        PACKETS     BYTES   SHARE
US  United States                                9,700    8.2 MB  78.6 %  ████▊
DE  Germany                                      1,805    1.5 MB  14.6 %  ▉
    private                                        500  640.0 kB   4.1 %  ▎
3 more countries                                   340   25.4 kB   2.8 %  ▏

NETWORK                                        PACKETS     BYTES   SHARE
AS15169 GOOGLE                                   9,005    8.1 MB  72.9 %  ████▍
AS20940 AKAMAI-ASN1                              1,800    1.5 MB  14.6 %  ▉
AS13335 CLOUDFLARENET                              700   60.0 kB   5.7 %  ▍
3 more networks                                    840  665.4 kB   6.8 %  ▍

TOP DESTINATIONS                               PACKETS     BYTES   SHARE
142.250.184.206      US GOOGLE                   9,000    8.1 MB  72.9 %
95.101.10.10         DE AKAMAI-ASN1              1,800    1.5 MB  14.6 %
1.1.1.1              US CLOUDFLARENET anycast      700   60.0 kB   5.7 %
5 more destinations                                845  665.8 kB   6.8 %
";
    let lines = text(&with_networks(), style);
    assert!(lines.contains(expected), "{lines}");
}

#[test]
fn sections_are_those_that_were_asked_for_and_each_comes_to_what_was_counted() {
    use clap::ValueEnum as _;
    for by in Grouping::value_variants() {
        let style = Style {
            by: vec![*by],
            top: 2,
            ..sample::style()
        };
        let lines = text(&with_networks(), style);
        assert_eq!(packets_under(&lines, by.title()), 12_345, "{lines}");
        let headings = lines
            .lines()
            .filter(|line| line.contains("PACKETS") && line.contains("SHARE"));
        assert_eq!(headings.count(), 1, "{lines}");
    }
    let style = Style {
        by: vec![Grouping::Interface, Grouping::Source],
        ..sample::style()
    };
    let lines = text(&with_networks(), style);
    let (interfaces, sources) = (
        lines.find("INTERFACE").unwrap(),
        lines.find("OWN SOURCE").unwrap(),
    );
    assert!(interfaces < sources && !lines.contains("COUNTRY"), "{lines}");
    assert!(
        lines.contains("\neth0 ") && lines.contains("\n198.51.100.7 "),
        "{lines}"
    );
}

#[test]
fn an_interval_without_packets_says_so_and_still_balances() {
    assert_eq!(
        plain(&sample::empty()),
        "2026-01-02 03:04:00 – 03:04:20 UTC · 20.0 s · eth0\n\
         no packets\n\
         \n\
         seen 0 = counted 0 · balanced ✓\n\
         \n"
    );
}

#[test]
fn without_a_place_database_there_is_a_hint_instead_of_countries() {
    let mut record = realistic();
    record.geo.clear();
    let lines = plain(&record);
    assert!(!lines.contains("COUNTRY"), "{lines}");
    assert!(lines.contains("no place database is loaded"), "{lines}");
    assert!(lines.contains("TOP DESTINATIONS"), "{lines}");
}

#[test]
fn what_is_wrong_with_a_record_is_said() {
    let mut record = realistic();
    record.balanced = false;
    record.partial = true;
    record.totals.overflow = sample::counts(1_234_567, 9);
    let lines = plain(&record);
    assert!(
        lines.starts_with("2026-01-02 03:04:00 – 03:04:20 UTC · 20.0 s · cut short · eth0, wg0\n"),
        "{lines}"
    );
    assert!(lines.contains("+ no room 1,234,567 "), "{lines}");
    assert!(lines.contains("NOT BALANCED\n"), "{lines}");
    assert!(!lines.contains("balanced ✓"), "{lines}");
    assert!(
        lines.contains("1,234,567 packets had no room in the kernel table: raise --spill\n"),
        "{lines}"
    );
}

#[test]
fn colours_are_used_only_when_wanted_and_change_no_text() {
    let mut record = realistic();
    record.balanced = false;
    let plain = plain(&record);
    assert!(!plain.contains('\u{1b}'));
    let coloured = text(
        &record,
        Style {
            colour: true,
            ..sample::style()
        },
    );
    assert!(
        coloured.contains("\u{1b}[1;31mNOT BALANCED\u{1b}[0m"),
        "{coloured}"
    );
    let mut stripped = coloured;
    for colour in [BOLD, CYAN, GREEN, RED, YELLOW, "0"] {
        stripped = stripped.replace(&format!("\u{1b}[{colour}m"), "");
    }
    assert_eq!(stripped, plain);
}

#[test]
fn times_have_what_an_interval_needs_to_be_told_apart() {
    let mut record = sample::empty();
    record.end = "2026-01-02T03:04:00.1Z".parse().unwrap();
    record.seconds = 0.1;
    assert!(plain(&record).starts_with("2026-01-02 03:04:00.000 – 03:04:00.100 UTC · 0.100 s · eth0\n"));
    record.end = "2026-01-03T03:04:00Z".parse().unwrap();
    record.seconds = 86400.0;
    assert!(plain(&record).starts_with("2026-01-02 03:04:00 – 2026-01-03 03:04:00 UTC · 86400.0 s · eth0\n"));
}

/// The packets of a section's rows, read back from the text.
fn packets_under(lines: &str, heading: &str) -> u64 {
    let section = lines
        .lines()
        .skip_while(|line| !line.starts_with(heading))
        .skip(1);
    let rows = section.take_while(|line| !line.is_empty());
    let digits = |word: &str| word.replace(',', "").parse::<u64>().ok();
    rows.map(|row| {
        // The packets are the number before "<bytes> <unit>".
        let words: Vec<&str> = row.split_whitespace().collect();
        let unit = words
            .iter()
            .rposition(|word| ["B", "kB", "MB", "GB", "TB", "PB", "EB"].contains(word))
            .unwrap();
        digits(words[unit - 2]).unwrap()
    })
    .sum()
}

#[test]
fn rows_and_the_row_of_the_rest_come_to_what_was_counted() {
    let record = realistic();
    for top in [1, 2, 3, 5, 10] {
        let lines = text(
            &record,
            Style {
                top,
                ..sample::style()
            },
        );
        assert_eq!(packets_under(&lines, "COUNTRY"), 12_345, "{lines}");
        assert_eq!(packets_under(&lines, "TOP DESTINATIONS"), 12_345, "{lines}");
        assert_eq!(packets_under(&lines, "BANNED"), 600, "{lines}");
    }
}

#[test]
fn the_widest_destinations_fit_80_columns_with_all_their_digits() {
    let mut record = realistic();
    let address = "2001:db8:1234:5678:9abc:def0:1234:5678";
    let mut widest = sample::destination(address, 1_000_000_000_000, 999_949_000_000_000);
    record.destinations.insert(0, widest.clone());
    let place = Arc::make_mut(&mut widest.place);
    place.country_name =
        Some("The United Kingdom of Great Britain and Northern Ireland and all its dependencies".into());
    place.country = Some("GB".into());
    widest.scope = Scope::Global;
    record.destinations.insert(0, widest);
    let lines = plain(&record);
    assert!(widest_line(&lines) <= 80, "{lines}");
    assert!(lines.contains(address), "{lines}");
    assert!(lines.contains("2,000,000,000,000"), "{lines}");
    assert!(lines.contains("1,000,000,000,000"), "{lines}");
}

/// Columns of the widest line; the texts of these tests have one column per character.
fn widest_line(lines: &str) -> usize {
    lines.lines().map(|line| line.chars().count()).max().unwrap_or(0)
}

fn destinations() -> impl Strategy<Value = Vec<Destination>> {
    let name = prop_oneof![Just("Germany".to_owned()), "[A-Za-z ]{1,100}", "\\PC{0,20}"];
    let one = (
        any::<IpAddr>(),
        0..u64::MAX / 64,
        0..u64::MAX / 64,
        0_usize..12,
        (
            name,
            prop::option::of("\\PC{1,30}|[a-z.-]{1,80}"),
            any::<Option<u64>>(),
        ),
    );
    proptest::collection::vec(one, 0..30).prop_map(|rows| {
        let scopes = [
            Scope::Private,
            Scope::Shared,
            Scope::LinkLocal,
            Scope::Multicast,
            Scope::Documentation,
            Scope::Benchmarking,
            Scope::Global,
        ];
        type Known = (String, Option<String>, Option<u64>);
        let row = |(address, packets, bytes, scope, known): (IpAddr, u64, u64, usize, Known)| {
            let (place, name, connections) = known;
            let mut row = match scopes.get(scope) {
                Some(scope) => sample::scoped("::1", packets, bytes, *scope),
                None => sample::in_country("::1", packets, bytes, ["US", "DE", "GB"][scope % 3], &place),
            };
            row.address = address;
            row.tcp_connections = connections;
            match (name, connections) {
                (Some(name), Some(connections)) => {
                    sample::named(row, &[(&name, connections), ("a.example", 1)])
                }
                (Some(name), None) => sample::asked(row, &[&name]),
                (None, _) => row,
            }
        };
        rows.into_iter().map(row).collect()
    })
}

proptest! {
    #[test]
    fn no_record_is_wider_than_asked_for_or_has_trailing_blanks(
        destinations in destinations(),
        banned in proptest::collection::vec((any::<std::net::Ipv6Addr>(), any::<u64>()), 0..8),
        interfaces in proptest::collection::vec("\\PC{1,5}", 0..20),
        totals in proptest::array::uniform8(any::<u64>()),
        width in 60_usize..140,
        top in 0_usize..20,
        flags in any::<[bool; 4]>(),
    ) {
        let mut record = sample::empty();
        record.geo = if flags[0] { sample::geo() } else { vec![] };
        record.partial = flags[1];
        record.balanced = flags[2];
        record.destinations = destinations;
        record.banned =
            banned.iter().map(|(address, packets)| sample::banned(&format!("{address}/128"), *packets, *packets)).collect();
        record.interfaces = interfaces
            .iter()
            .map(|name| WatchedInterface::new(name.as_str(), "clsact"))
            .collect();
        let [seen, counted, overflow, banned, served, other_source, malformed, not_ip] =
            totals.map(|packets| sample::counts(packets, packets));
        record.totals =
            crate::record::RecordTotals { seen, counted, overflow, banned, served, other_source, malformed, not_ip };
        let by = if flags[3] { vec![Grouping::Name, Grouping::Destination] } else { vec![] };
        let lines = text(&record, Style { width, top, by, ..sample::style() });
        for line in lines.lines() {
            prop_assert!(columns(line) <= width, "{} columns of {width}: {line:?}", columns(line));
            prop_assert_eq!(line.trim_end(), line);
            prop_assert!(!line.chars().any(char::is_control));
        }
        prop_assert!(lines.ends_with("\n\n") && !lines.contains("\n\n\n"));
    }
}

/// Columns of a line as a terminal counts them, by comfy-table's measure.
fn columns(line: &str) -> usize {
    let mut table = comfy_table::Table::new();
    table.add_row([line]);
    table
        .column_max_content_widths()
        .first()
        .copied()
        .map_or(0, usize::from)
}
