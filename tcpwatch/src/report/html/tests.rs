//! The page is read back with a browser's parser: what is in the report is in it, as text, and nothing else.

use std::collections::BTreeSet;

use jiff::Timestamp;
use proptest::prelude::*;
use scraper::{ElementRef, Html, Selector};
use tcpwatch_common::Counts;

use super::markup::{Markup, unfit};
use super::render;
use crate::record::{GeoFile, RecordTotals};
use crate::report::{
    Banned, Bins, Dimension, Facts, Finding, Group, Part, Period, Proof, Rate, Report, Rest, SCHEMA, Section,
    Snippet, Sort, Sum,
};

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn sum(packets: u64, bytes: u64) -> Sum {
    Sum {
        packets,
        bytes,
        tcp_connections: Some(packets / 100),
        quic_connections: None,
    }
}

fn group(key: &str, name: &str, country: Option<&str>, packets: u64) -> Group {
    Group {
        key: key.to_owned(),
        label: format!("{key} {name}"),
        place: String::new(),
        country: country.map(Into::into),
        asn: None,
        address: None,
        names: Vec::new(),
        sum: sum(packets, packets * 500),
        destinations: 3,
        series: vec![packets / 2, packets - packets / 2],
    }
}

fn section(by: Dimension, name: &str) -> Section {
    Section {
        by,
        groups: vec![
            group("US", name, Some("US"), 1_000_000),
            group("SG", "Singapore", Some("SG"), 1_500),
        ],
        rest: Some(Rest {
            groups: 7,
            sum: sum(234, 117_000),
            series: vec![117, 117],
        }),
    }
}

/// A report in which every text is `name`.
fn report(name: &str) -> Report {
    let counts = Counts {
        packets: 1_001_734,
        bytes: 500_867_000,
    };
    let period = Period {
        from: time("2026-11-23T07:00:00Z"),
        to: time("2026-11-23T09:00:00Z"),
    };
    let part = || {
        vec![Part {
            label: name.to_owned(),
            sum: sum(1_001_734, 500_867_000),
            share: 1.0,
            destinations: 9,
        }]
    };
    let rate = Rate {
        mean: 8_347.8,
        peak: 9_000.0,
        peak_end: period.to,
        peak_seconds: 20.0,
    };
    let mut heat = [[0; 24]; 7];
    heat[0][8] = 500_867;
    heat[0][9] = 500_867;
    Report {
        schema: SCHEMA,
        hosts: vec![name.to_owned()],
        zone: "Europe/Berlin".to_owned(),
        period,
        asked: Some(period),
        extent: Some(period),
        intervals: 360,
        recorded_seconds: 7200.0,
        unbalanced: 0,
        skbs: 1,
        totals: RecordTotals {
            seen: counts,
            counted: counts,
            ..RecordTotals::default()
        },
        proof: Proof {
            rows: counts,
            counted: counts,
            outcomes: counts,
            seen: counts,
            balanced: 360,
            holds: true,
        },
        filter: Some(name.to_owned()),
        matched: sum(1_001_734, 500_867_000),
        all: sum(1_001_734, 500_867_000),
        destinations: 9,
        sort: Sort::Packets,
        bins: Bins {
            first_ms: period.from.as_millisecond(),
            step_ms: 3_600_000,
            count: 2,
        },
        series: vec![sum(500_867, 250_433_500); 2],
        sections: [
            Dimension::Country,
            Dimension::Network,
            Dimension::Name,
            Dimension::Destination,
        ]
        .map(|by| section(by, name))
        .into(),
        heat,
        heat_unplaced: 0,
        banned: vec![Banned {
            prefix: name.to_owned(),
            packets: 5,
            bytes: 300,
        }],
        geo: vec![GeoFile {
            file: name.into(),
            kind: name.into(),
            built: jiff::civil::date(2026, 11, 1),
        }],
        facts: Some(Facts {
            packets: rate,
            tcp_connections: Some(rate),
            quic_connections: None,
            sources: part(),
            families: part(),
            hours: [0; 24],
            previous: None,
            domains: part(),
            countries: part(),
            anycast: part(),
            findings: vec![Finding {
                kind: "sources",
                text: name.to_owned(),
            }],
            snippets: vec![Snippet {
                title: "gai.conf",
                purpose: name.to_owned(),
                text: name.to_owned(),
                packets: 1,
                share: 0.5,
            }],
            undecided: sum(1, 40),
            unknown: vec![name.to_owned()],
        }),
    }
}

fn find<'a>(page: &'a Html, selector: &str) -> Vec<ElementRef<'a>> {
    let selector = Selector::parse(selector).unwrap();
    page.select(&selector).collect()
}

fn texts(page: &Html, selector: &str) -> Vec<String> {
    find(page, selector)
        .into_iter()
        .map(|element| element.text().collect())
        .collect()
}

/// The elements in their order, with their classes, and the names of their attributes.
fn skeleton(page: &Html) -> Vec<String> {
    find(page, "*")
        .into_iter()
        .map(|element| {
            let value = element.value();
            let attributes: BTreeSet<&str> = value.attrs().map(|(name, _)| name).collect();
            let attributes: Vec<&str> = attributes.into_iter().collect();
            format!("{} {}", value.name(), attributes.join(" "))
        })
        .collect()
}

/// What a name reads as in the page.
fn as_shown(name: &str) -> String {
    let mut shown: String = name
        .chars()
        .take(200)
        .map(|character| if unfit(character) { '\u{fffd}' } else { character })
        .collect();
    if name.chars().nth(200).is_some() {
        shown.push('\u{2026}');
    }
    shown
}

#[test]
fn the_page_has_its_parts_in_their_order() {
    let page = Html::parse_document(&render(&report("GOOGLE")));
    assert!(page.errors.is_empty(), "{:?}", page.errors);
    let headings: Vec<String> = texts(&page, "h1, h2");
    assert_eq!(
        headings,
        [
            "Traffic to GOOGLE from GOOGLE",
            "What the numbers show",
            "Proof",
            "Over time",
            "Where it goes",
            "Hours of the week",
            "Countries 9",
            "Networks 9",
            "Names 9",
            "Destinations 9",
            "Banned prefixes 1",
            "Sources",
        ]
    );
    assert_eq!(find(&page, ".map path").len(), 175);
    assert_eq!(find(&page, ".map circle").len(), 1);
    assert_eq!(find(&page, ".chart").len(), 2);
    assert_eq!(find(&page, ".chart .bin").len(), 4);
    assert_eq!(find(&page, ".heat tbody tr").len(), 1);
    assert_eq!(find(&page, "table.rows").len(), 5);
    assert_eq!(
        texts(&page, ".period strong"),
        ["Mon 23 Nov 2026 08:00 \u{2013} 10:00"]
    );
    assert_eq!(texts(&page, ".period .muted"), ["(Europe/Berlin, +01:00)"]);
    assert_eq!(
        texts(&page, ".map path.l6 title"),
        ["US GOOGLE: 99.8 %, 1,000,000 packets"]
    );
    assert_eq!(
        texts(&page, ".map circle.l2 title"),
        ["SG Singapore: 0.1 %, 1,500 packets"]
    );
}

#[test]
fn every_picture_has_words() {
    let page = Html::parse_document(&render(&report("GOOGLE")));
    for picture in find(&page, "svg") {
        let attribute = |name| picture.value().attr(name).unwrap_or_default();
        let described = attribute("role") == "img" && !attribute("aria-label").is_empty();
        assert!(
            described || attribute("aria-hidden") == "true",
            "{}",
            picture.html()
        );
    }
    for table in find(&page, "table") {
        assert!(
            !table.html().contains("<th>"),
            "a heading without a scope: {}",
            table.html()
        );
    }
    assert_eq!(texts(&page, ".heat td.l6").concat(), "500,867500,867");
}

#[test]
fn rows_and_rest_come_to_the_total_that_is_shown() {
    let report = report("GOOGLE");
    let page = Html::parse_document(&render(&report));
    let numbers = |row: &str, column: usize| -> u64 {
        find(
            &page,
            &format!("section[aria-labelledby=networks] {row} td:nth-child({column})"),
        )
        .into_iter()
        .map(|cell| cell.value().attr("data-v").unwrap().parse::<u64>().unwrap())
        .sum()
    };
    for (column, expected) in [
        (2, report.matched.packets),
        (4, report.matched.bytes),
        (5, report.matched.tcp_connections.unwrap()),
    ] {
        assert_eq!(
            numbers("tr.total", column),
            numbers("tbody tr", column) + numbers("tr.rest", column)
        );
        if column != 5 {
            assert_eq!(numbers("tr.total", column), expected);
        }
    }
    let steps: u64 = texts(&page, ".chart:first-of-type tbody td")
        .iter()
        .map(|text| text.replace(',', "").parse::<u64>().unwrap())
        .sum();
    assert_eq!(steps, report.matched.packets);
}

#[test]
fn a_proof_that_fails_is_said() {
    let mut broken = report("GOOGLE");
    let page = Html::parse_document(&render(&broken));
    assert_eq!(texts(&page, ".verdict"), ["\u{2713} Everything adds up"]);
    assert_eq!(find(&page, ".checks .holds").len(), 3);

    broken.proof.holds = false;
    broken.proof.rows.packets -= 1;
    broken.proof.balanced -= 2;
    broken.unbalanced = 2;
    let page = Html::parse_document(&render(&broken));
    assert_eq!(texts(&page, ".verdict"), ["\u{2717} It does not add up"]);
    let said = texts(&page, ".checks .broken").concat();
    assert!(
        said.contains("1,001,734 packets") && said.contains("1,001,733 packets"),
        "{said}"
    );
    assert!(said.contains("358 of 360 intervals"), "{said}");
}

#[test]
fn nothing_recorded_is_a_page_too() {
    let mut empty = report("GOOGLE");
    empty.intervals = 0;
    empty.recorded_seconds = 0.0;
    empty.matched = Sum::default();
    empty.all = Sum::default();
    empty.sections.clear();
    empty.heat = [[0; 24]; 7];
    empty.series.clear();
    empty.bins.count = 0;
    empty.hosts.clear();
    empty.facts = None;
    empty.geo.clear();
    let page = render(&empty);
    assert!(!page.contains("NaN") && !page.contains("inf"));
    let page = Html::parse_document(&page);
    assert_eq!(texts(&page, ".lead"), ["The history has nothing of this period."]);
}

#[test]
fn the_page_is_small_and_asks_for_nothing() {
    let page = render(&report("GOOGLE"));
    assert!(page.len() < 150_000, "{}", page.len());
    let page = Html::parse_document(&page);
    let elements: BTreeSet<&str> = find(&page, "*")
        .into_iter()
        .map(|element| element.value().name())
        .collect();
    for loading in [
        "link", "img", "iframe", "object", "embed", "use", "image", "base", "form", "video", "audio",
    ] {
        assert!(!elements.contains(loading), "{loading}");
    }
    for element in find(&page, "*") {
        for (name, value) in element.value().attrs() {
            assert!(
                !matches!(name, "src" | "style" | "srcset") && !name.starts_with("on"),
                "{name}"
            );
            assert!(name != "href" || value.starts_with("https://"), "{value}");
        }
    }
    assert_eq!(find(&page, "script").len(), 1);
    assert_eq!(find(&page, "style").len(), 1);
    for style in [super::STYLE, super::SCRIPT] {
        assert!(!style.contains("url(") && !style.contains("@import") && !style.contains("fetch"));
    }
}

#[test]
fn a_megabyte_of_a_name_is_cut_off() {
    let page = render(&report(&"\u{e9}<".repeat(500_000)));
    assert!(page.len() < 500_000, "{}", page.len());
}

#[test]
fn names_that_are_markup_are_text() {
    let expected = skeleton(&Html::parse_document(&render(&report("x"))));
    for name in [
        "</title><script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "' onmouseover='alert(1)",
        "<!-- <script>",
        "]]></svg><svg onload=alert(1)>",
        "&lt;b&gt; &amp;amp; &#x3c;",
        "{{ 7 * 7 }} ${x} `x`",
        "\u{202e}gpj.exe\u{0}\u{feff}",
    ] {
        let page = Html::parse_document(&render(&report(name)));
        assert_eq!(skeleton(&page), expected, "{name}");
        assert_eq!(
            texts(&page, "section[aria-labelledby=names] tbody th").swap_remove(0),
            format!("US {}", as_shown(name))
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_text_reads_as_itself(name in "(?s).{0,240}", markup in "[<>&\"'/=;! -~]{0,80}") {
        for name in [name, markup] {
            let mut piece = Markup::default();
            piece.raw("<p title=\"").text(&name).raw("\">").text(&name).raw("</p>");
            let page = Html::parse_fragment(&piece.finish());
            let found = find(&page, "p");
            prop_assert_eq!(found.len(), 1);
            let shown = as_shown(&name);
            prop_assert_eq!(found[0].value().attr("title"), Some(shown.as_str()));
            prop_assert_eq!(found[0].text().collect::<String>(), shown);
            prop_assert_eq!(find(&page, "*").len(), 2, "html and p");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_text_changes_the_page(name in "(?s)[<>&\"'/=!a-c \u{0}-\u{1f}\u{80}-\u{9f}\u{202e}]{1,60}") {
        let expected = skeleton(&Html::parse_document(&render(&report("x"))));
        let page = Html::parse_document(&render(&report(&name)));
        prop_assert_eq!(skeleton(&page), expected);
    }
}

/// How much lighter one colour is than the other, as WCAG measures it.
fn contrast(one: &str, other: &str) -> f64 {
    let luminance = |colour: &str| -> f64 {
        let digits: String = match colour.len() {
            4 => colour[1..].chars().flat_map(|digit| [digit, digit]).collect(),
            _ => colour[1..].to_owned(),
        };
        [0.2126, 0.7152, 0.0722]
            .into_iter()
            .enumerate()
            .map(|(at, weight)| {
                let part = u8::from_str_radix(&digits[at * 2..at * 2 + 2], 16).unwrap();
                let part = f64::from(part) / 255.0;
                weight
                    * if part <= 0.04045 {
                        part / 12.92
                    } else {
                        ((part + 0.055) / 1.055).powf(2.4)
                    }
            })
            .sum()
    };
    let (one, other) = (luminance(one) + 0.05, luminance(other) + 0.05);
    (one / other).max(other / one)
}

#[test]
fn colours_stand_out_in_light_and_in_dark() {
    let schemes: Vec<&str> = super::STYLE.split(":root {").skip(1).collect();
    assert_eq!(schemes.len(), 2);
    for scheme in schemes {
        let colour = |name: &str| -> &str {
            let (_, value) = scheme.split_once(&format!("--{name}: ")).unwrap();
            value.split_once(';').unwrap().0
        };
        let against = |name: &str| contrast(colour(name), colour("ground"));
        for text in ["ink", "soft", "accent", "good", "bad"] {
            assert!(against(text) >= 4.5, "{text}: {}", against(text));
        }
        for layer in ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "spark"] {
            assert!(against(layer) >= 3.0, "{layer}: {}", against(layer));
        }
        let shades = ["l0", "l1", "l2", "l3", "l4", "l5", "l6"];
        for pair in shades.windows(2).skip(1) {
            assert!(contrast(colour(pair[0]), colour(pair[1])) >= 1.25, "{pair:?}");
        }
    }
}
