//! Addresses that are looked up again.

use super::*;
use crate::enrich::Enricher;
use crate::history::Bounds;

/// Knows one address.
struct Newer;

impl Enricher for Newer {
    fn place(&mut self, address: IpAddr) -> Arc<Place> {
        Arc::new(Place {
            country: (address == super::address("8.8.8.8")).then(|| "XX".into()),
            ..Place::default()
        })
    }

    fn files(&self) -> Vec<GeoFile> {
        vec![GeoFile {
            file: "newer.mmdb".into(),
            kind: "Newer".into(),
            built: jiff::civil::date(2026, 2, 1),
        }]
    }

    fn errors(&self) -> u64 {
        0
    }
}

#[test]
fn what_was_kept_is_looked_up_again_and_sums_keep_their_place() {
    let of = |to: &str, packets| {
        in_network(
            row(to, "198.51.100.7", packets, packets * 100),
            ["US", "United States"],
            15169,
            "GOOGLE",
        )
    };
    let rows = vec![
        of("8.8.8.8", 30),
        of("8.8.4.4", 20),
        of("9.9.9.9", 7),
        of("9.9.9.10", 3),
    ];
    let bounds = Bounds {
        top: 2,
        ..Bounds::default()
    };
    let written = Written::bounded(vec![record(1, "2026-01-02T03:04:20Z", rows)], bounds);
    let mut question = question(
        "2026-01-02T03:04:00Z",
        "2026-01-02T03:05:00Z",
        &[Dimension::Country],
    );
    let countries = |report: &Report| {
        let groups = report.sections[0].groups.iter();
        groups
            .map(|group| (group.label.clone(), group.sum.packets))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        countries(&written.ask(&question)),
        [("US United States".to_owned(), 60)]
    );
    let reader = Reader::open(&written.path()).unwrap();
    let report = ask(&reader, &question, Some(&mut Newer)).unwrap();
    assert_eq!(
        countries(&report),
        [
            ("XX".to_owned(), 30),
            ("unknown".to_owned(), 20),
            ("US United States".to_owned(), 10)
        ]
    );
    assert_eq!(&*report.geo[0].file, "newer.mmdb");
    assert!(report.proof.holds);
    question.filter = about("xx");
    let report = ask(&reader, &question, Some(&mut Newer)).unwrap();
    assert_eq!(report.matched.packets, 30);
    // 8.8.4.4, of which the newer databases know nothing.
    assert_eq!(report.facts.unwrap().undecided.packets, 20);
}
