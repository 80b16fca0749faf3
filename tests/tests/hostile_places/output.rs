//! Texts that a terminal, a spreadsheet or a page would obey, through a real file into every format.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser as _;
use jiff::tz::TimeZone;
use tcpwatch::cli::{Cli, Command};
use tcpwatch::enrich::{Enricher as _, Places};
use tcpwatch::kernel::drain::Moment;
use tcpwatch::kernel::policy::to_address;
use tcpwatch::pipeline::assemble::{self, Identity, Interval};
use tcpwatch::record::{Record, WatchedInterface};
use tcpwatch::sink::{Format, PIECE_BYTES, Pieces, Style, encoder};
use tcpwatch::tally::Tally;
use tcpwatch_common::{Counts, FlowKey, Outcome, Traffic};
use tcpwatch_tests::mmdb::{Data, File, To, kind};
use unicode_width::UnicodeWidthStr as _;

use crate::harmless::assert_harmless;

/// What is put into every field.
fn texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "\u{1b}[2J\u{1b}[1;1Hgone",
        "\u{1b}]0;title\u{7}",
        "\u{1b}]8;;http://192.0.2.1/\u{1b}\\link\u{1b}]8;;\u{1b}\\",
        "\u{9b}31mred\u{9b}0m",
        "a\nb\r\nc\u{b}d\u{c}e\u{85}f\u{2028}g\u{2029}h",
        "a\0b",
        "back\u{8}\u{8}\u{8}\u{8}\u{7f}space",
        "right\u{202e}tfel\u{202c}",
        "\u{2066}isolated\u{2069}\u{200f}\u{61c}",
        "ze\u{200b}ro\u{200c}wi\u{200d}dth\u{2060}\u{feff}",
        "tags\u{e0041}\u{e0042}\u{e007f}",
        "variant\u{fe0f}\u{fe0e}\u{e0100}",
        "soft\u{ad}hyphen\u{34f}\u{115f}\u{3164}\u{ffa0}",
        "private\u{e000}\u{f8ff}\u{f0000}\u{10fffd}",
        "nothing\u{fdd0}\u{ffff}\u{1fffe}",
        "=1+1",
        "+1+1",
        "-1+1",
        "@SUM(A1)",
        "\t=1+1",
        "\r=1+1",
        "\u{200b}=1+1",
        "\u{1b}=cmd|' /C calc'!A0",
        " =1+1",
        "\u{3000}@SUM(A1)",
        "'=1+1",
        "\",=1+1,\"",
        "a,b;c\td\"e'f",
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "</textarea>&lt;&#x3c;",
        "%s%n%x",
        "$(reboot)`reboot`",
        "\\u001b[2J\\x1b\\033",
        "{\"a\":1}",
        "\u{65e5}\u{672c}\u{56fd}",
        "\u{5d9}\u{5e9}\u{5e8}\u{5d0}\u{5dc}",
        "\u{1f1e9}\u{1f1ea}\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}",
        "",
        " ",
    ]
    .map(str::to_owned)
    .to_vec();
    texts.extend([
        format!("Z{}algo", "\u{301}\u{489}".repeat(500)),
        "\u{301}".repeat(1000),
        "\u{6f22}".repeat(5000),
        "=".repeat(5000),
        "\u{1b}[".repeat(5000),
        "x\n".repeat(5000),
    ]);
    texts
}

/// The fields of a record that texts come from.
const FIELDS: [&str; 5] = ["code", "country", "city", "network", "all"];

/// Where the nth text in the nth field is.
fn address(number: usize) -> IpAddr {
    IpAddr::from([90, 0, (number >> 8) as u8, number as u8])
}

/// A file with a record for each text in each field.
fn file() -> Vec<u8> {
    let mut file = File::new("City\u{1b}[2J\u{202e}=\n-ASN\u{200b}");
    file.claim("description", |data| {
        data.map(1)
            .text("en")
            .text("a\u{1b}]0;x\u{7}\nb\u{202e}<script>\u{e0041}");
    });
    file.claim("languages", |data| {
        data.array(2).text("en").text("\u{1b}[2J\n\u{202e}");
    });
    let texts = texts();
    let mut number = 0;
    for text in &texts {
        for field in FIELDS {
            let at = file.data.here();
            write(&mut file.data, field, text, number);
            file.tree.put(&format!("{}/32", address(number)), To::Data(at));
            number += 1;
        }
    }
    file.record_size = 32;
    file.bytes()
}

fn write(data: &mut Data, field: &str, text: &str, number: usize) {
    let choose = |of: &str, honest: &'static str| {
        if field == of || field == "all" && of != "code" {
            text.to_owned()
        } else {
            honest.to_owned()
        }
    };
    data.map(5);
    data.text("country")
        .map(2)
        .text("iso_code")
        .text(choose("code", "NL"));
    data.text("names")
        .map(1)
        .text("en")
        .text(choose("country", "Netherlands"));
    data.text("city")
        .map(1)
        .text("names")
        .map(1)
        .text("en")
        .text(choose("city", "Delft"));
    data.text("autonomous_system_number")
        .unsigned(kind::UINT32, 1 + number as u64);
    data.text("autonomous_system_organization")
        .text(choose("network", "EXAMPLE"));
    data.text("traits").map(1).text("is_anycast").boolean(true);
}

struct Made {
    directory: tempfile::TempDir,
    path: PathBuf,
    record: Record,
}

/// A record as the program makes it, of one packet more to each destination.
fn made() -> Made {
    let directory = tempfile::tempdir().unwrap();
    let path = tcpwatch_tests::places::write(directory.path(), "hostile.mmdb", &file());
    let mut places = Places::open_given(std::slice::from_ref(&path)).unwrap();
    let mut tally = Tally::default();
    let count = texts().len() * FIELDS.len();
    for number in 0..count {
        let packets = 1 + number as u64;
        let key = FlowKey {
            destination: to_address(address(number)),
            source: to_address("192.0.2.7".parse().unwrap()),
            ifindex: 2,
        };
        let counts = Counts {
            packets,
            bytes: 100 * packets,
        };
        tally.destinations.insert(key, Traffic::of(counts));
        for sum in [
            &mut tally.totals.seen,
            &mut tally.totals.outcomes[Outcome::Counted as usize],
        ] {
            sum.packets += counts.packets;
            sum.bytes += counts.bytes;
        }
    }
    tally.drains = 1;
    let identity = Identity {
        host: "host".into(),
        boot_id: "boot".into(),
        run: "run".into(),
    };
    let start = Moment::now();
    let interval = Interval {
        seq: 1,
        start,
        end: Moment {
            monotonic: start.monotonic + Duration::from_secs(20),
            ..start
        },
        partial: false,
        interfaces: vec![WatchedInterface::new("eth0", "tcx")],
        names: &HashMap::from([(2, "eth0".into())]),
    };
    let record = assemble::record(&identity, interval, tally, &mut places, &mut |_, _| None);
    assert_eq!(places.errors(), 0, "texts are no damage");
    Made {
        directory,
        path,
        record,
    }
}

fn encoded(record: &Record, format: Format, style: &Style) -> String {
    let encoder = encoder(format, style);
    let mut bytes = encoder.heading().as_bytes().to_vec();
    let mut take = |piece: &[u8]| {
        bytes.extend_from_slice(piece);
        Ok(())
    };
    let mut pieces = Pieces::new(PIECE_BYTES, &mut take);
    encoder.encode(record, &mut pieces).unwrap();
    pieces.finish().unwrap();
    String::from_utf8(bytes).unwrap()
}

fn style(width: usize) -> Style {
    Style {
        width,
        zone: TimeZone::UTC,
        top: 1000,
        ..Style::default()
    }
}

/// Every line of `text` is harmless, and there is nothing but lines.
#[track_caller]
fn assert_harmless_lines(text: &str) {
    assert!(text.ends_with('\n'));
    for line in text.split_terminator('\n') {
        assert_harmless(line);
    }
}

#[test]
fn every_destination_stays_counted_whatever_its_place_is_called() {
    let Made { record, .. } = made();
    let count = texts().len() * FIELDS.len();
    assert_eq!(record.destinations.len(), count);
    let sum: u64 = record.destinations.iter().map(|row| row.packets).sum();
    assert_eq!(sum, (count * (count + 1) / 2) as u64);
    assert_eq!(record.totals.counted.packets, sum);
    // The texts have come through the file: an honest one is there, and a hostile one has left its harmless part.
    let shown: Vec<&str> = record
        .destinations
        .iter()
        .flat_map(|row| [&row.place.country_name, &row.place.city, &row.place.network])
        .filter_map(|text| text.as_deref())
        .collect();
    for text in [
        "Netherlands",
        "Delft",
        "EXAMPLE",
        "<script>alert(1)</script>",
        "a b  c d e f g h",
        "zerowidth",
    ] {
        assert!(shown.contains(&text), "{text:?} is not in {shown:#?}");
    }
    let codes = record
        .destinations
        .iter()
        .filter_map(|row| row.place.country.as_deref());
    assert!(codes.into_iter().all(|code| code == "NL"));
}

#[test]
fn tables_are_harmless_and_stay_within_their_width() {
    let Made { record, .. } = made();
    for width in [60, 80, 100, 132, 200] {
        for by in ["", "city", "network", "country"] {
            let mut style = style(width);
            if !by.is_empty() {
                let grouping: tcpwatch::sink::Grouping = clap::ValueEnum::from_str(by, false).unwrap();
                style.by = vec![grouping];
            }
            let table = encoded(&record, Format::Table, &style);
            assert_harmless_lines(&table);
            for line in table.lines() {
                assert!(
                    line.width() <= width,
                    "{} columns of {width}: {line:?}",
                    line.width()
                );
            }
            style.colour = true;
            let coloured = encoded(&record, Format::Table, &style);
            assert!(coloured.contains("\u{1b}["), "the control");
            assert_eq!(without_colours(&coloured), table);
        }
    }
}

/// `text` without what sets colours, and nothing else.
fn without_colours(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (colour, rest) = part.split_once('m').unwrap();
        assert!(
            colour.bytes().all(|byte| byte.is_ascii_digit() || byte == b';'),
            "{part:?}"
        );
        plain.push_str(rest);
    }
    plain
}

#[test]
fn classic_text_is_harmless_and_has_a_line_for_each_destination() {
    let Made { record, .. } = made();
    let text = encoded(&record, Format::Classic, &style(80));
    assert_harmless_lines(&text);
    assert_eq!(text.lines().count(), record.destinations.len() + 2);
}

#[test]
fn json_is_one_line_and_reads_back_as_what_was_written() {
    let Made { record, .. } = made();
    let text = encoded(&record, Format::Json, &style(80));
    assert_harmless_lines(&text);
    assert_eq!(text.lines().count(), 1);
    let back: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(back, serde_json::to_value(&record).unwrap());
    let rows = back["destinations"].as_array().unwrap();
    assert_eq!(rows.len(), record.destinations.len());
    for (row, destination) in rows.iter().zip(&record.destinations) {
        let place = &destination.place;
        assert_eq!(row["packets"], destination.packets);
        assert_eq!(row["country_name"].as_str(), place.country_name.as_deref());
        assert_eq!(row["city"].as_str(), place.city.as_deref());
        assert_eq!(row["network"].as_str(), place.network.as_deref());
    }
    assert_harmless(back["geo"][0]["type"].as_str().unwrap());
}

#[test]
fn csv_has_no_cell_that_a_spreadsheet_takes_for_a_formula() {
    let Made { record, .. } = made();
    let text = encoded(&record, Format::Csv, &style(80));
    assert_harmless_lines(&text);
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(text.as_bytes());
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let destinations: Vec<_> = rows.iter().filter(|row| &row[0] == "destination").collect();
    assert_eq!(destinations.len(), record.destinations.len());
    assert_eq!(text.lines().count(), rows.len(), "a row is a line");
    for cell in rows.iter().flatten() {
        assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']), "{cell:?}");
        assert_eq!(cell.trim(), cell);
    }
    let at = |name: &str| rows[0].iter().position(|column| column == name).unwrap();
    let cells: Vec<&str> = destinations.iter().map(|row| &row[at("network")]).collect();
    assert!(cells.contains(&"'=1+1"), "the control: {cells:#?}");
}

#[test]
fn lookup_and_info_are_harmless() {
    let made = made();
    let path = made.path.to_str().unwrap();
    let addresses: Vec<String> = (0..texts().len() * FIELDS.len())
        .map(|number| address(number).to_string())
        .collect();
    for json in [false, true] {
        let mut lookup = vec!["tcpwatch", "geo", "lookup", "--geo", path];
        lookup.extend(addresses.iter().map(String::as_str));
        let mut info = vec!["tcpwatch", "geo", "info", "--geo", path];
        if json {
            lookup.push("--json");
            info.push("--json");
        }
        for arguments in [lookup, info] {
            let Command::Geo(geo) = Cli::try_parse_from(&arguments).unwrap().command else {
                panic!("not about places");
            };
            let (mut out, mut notices) = (Vec::new(), Vec::new());
            tcpwatch::geo::run(geo.command, &mut out, &mut notices).unwrap();
            let out = String::from_utf8(out).unwrap();
            assert_harmless_lines(&out);
            assert!(out.len() > 100);
            if json {
                for line in out.lines() {
                    serde_json::from_str::<serde_json::Value>(line).unwrap();
                }
            }
            for line in String::from_utf8(notices).unwrap().lines() {
                assert_harmless(line);
            }
        }
    }
    drop(made.directory);
}
