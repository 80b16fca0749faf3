//! Files that are right, and files that are wrong in every way the check looks for.

use std::fs;

use super::*;
use crate::enrich::geo::OUR_TYPE;
use crate::geo::import::layout::lay_out;

fn statement() -> Statement {
    Statement {
        kind: OUR_TYPE,
        date: "2026-06-25T04:33:59Z".parse().unwrap(),
        description: "made of nothing".to_owned(),
    }
}

fn country(code: &str) -> Option<Country> {
    Country::parse(code.as_bytes()).unwrap()
}

fn range(first: &str, last: &str) -> (u128, u128) {
    (key(first.parse().unwrap()), key(last.parse().unwrap()))
}

fn places(ranges: &[((u128, u128), Place)]) -> Steps<Place> {
    let mut places = Steps::default();
    for ((first, last), place) in ranges {
        places.add(*first, *last, *place);
    }
    places
}

/// Ranges of both families, which are not prefixes.
fn sample(networks: &mut Networks) -> Vec<((u128, u128), Place)> {
    let network = Some(networks.id(64500, Some("EXAMPLE, \"Inc.\"")).unwrap());
    let nameless = Some(networks.id(64501, None).unwrap());
    let place = |code, network, anycast| Place {
        country: country(code),
        network,
        anycast,
    };
    vec![
        (range("::1:0:0", "::1:0:5"), place("FR", None, false)),
        (range("192.0.2.0", "192.0.2.76"), place("DE", network, false)),
        (range("192.0.2.77", "192.0.2.77"), place("", nameless, true)),
        (range("203.0.113.0", "203.0.113.255"), place("OS", None, false)),
        (range("2001:db8::", "2001:db8::ffff"), place("JP", network, true)),
        (
            range("ffff::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            place("", nameless, false),
        ),
    ]
}

fn made(places: &Steps<Place>, networks: &Networks) -> Vec<u8> {
    lay_out(places, networks, &statement(), &Progress::hidden()).unwrap()
}

fn checked(bytes: &[u8], places: &Steps<Place>, networks: &Networks) -> Result<Checked, Fault> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x");
    fs::write(&path, bytes).unwrap();
    check(&path, places, networks, &statement(), &Progress::hidden(), || {
        false
    })
}

#[test]
fn a_file_answers_as_its_sources() {
    let mut networks = Networks::default();
    let places = places(&sample(&mut networks));
    let checked = checked(&made(&places, &networks), &places, &networks).unwrap();
    assert_eq!(checked.look_ups, 18);
}

#[test]
fn one_record_for_a_whole_family_is_read_back() {
    let networks = Networks::default();
    let everything = Place {
        country: country("DE"),
        ..Place::default()
    };
    for whole in [
        vec![(range("0.0.0.0", "255.255.255.255"), everything)],
        vec![
            (range("::1:0:0", "::1:ffff:ffff"), everything),
            (range("0.0.0.0", "255.255.255.255"), everything),
        ],
        vec![(range("128.0.0.0", "255.255.255.255"), everything)],
        vec![(
            range("2003::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            everything,
        )],
    ] {
        let places = places(&whole);
        checked(&made(&places, &networks), &places, &networks).unwrap();
    }
}

#[test]
fn a_record_is_in_the_form_of_geoip() {
    let mut networks = Networks::default();
    let bytes = made(&places(&sample(&mut networks)), &networks);
    let reader = Reader::from_source(&bytes[..]).unwrap();
    let record = |address: &str| -> serde_json::Value {
        reader
            .lookup(address.parse().unwrap())
            .unwrap()
            .decode()
            .unwrap()
            .unwrap()
    };
    assert_eq!(
        record("192.0.2.76"),
        serde_json::json!({
            "country": {"iso_code": "DE", "names": {"en": "Germany"}},
            "autonomous_system_number": 64500,
            "autonomous_system_organization": "EXAMPLE, \"Inc.\"",
        })
    );
    assert_eq!(
        record("192.0.2.77"),
        serde_json::json!({"autonomous_system_number": 64501, "traits": {"is_anycast": true}})
    );
    assert_eq!(
        record("203.0.113.1"),
        serde_json::json!({"country": {"iso_code": "OS"}})
    );
    // The same for whoever asks with an IPv4 address in IPv6's clothes.
    assert_eq!(record("::ffff:192.0.2.77"), record("192.0.2.77"));

    let metadata = reader.metadata();
    assert_eq!(metadata.database_type, "tcpwatch-Country-ASN");
    assert_eq!(metadata.build_epoch, 1_782_362_039);
    assert_eq!(metadata.languages, ["en"]);
    assert_eq!(metadata.description["en"], "made of nothing");
}

#[test]
fn the_check_finds_one_wrong_address_wherever_it_is() {
    let mut networks = Networks::default();
    let right = sample(&mut networks);
    let bytes = made(&places(&right), &networks);
    let inside = range("192.0.2.40", "192.0.2.40");
    for (wrong, expected) in [
        // A country, a network and a flag that differ.
        (
            Place {
                country: country("AT"),
                ..right[1].1
            },
            "it says DE, AS64500 EXAMPLE, \"Inc.\" for 192.0.2.40, and the sources say AT, AS64500 EXAMPLE, \"Inc.\"",
        ),
        (
            Place {
                network: None,
                ..right[1].1
            },
            "it says DE, AS64500 EXAMPLE, \"Inc.\" for 192.0.2.40, and the sources say DE",
        ),
        (
            Place {
                anycast: true,
                ..right[1].1
            },
            "it says DE, AS64500 EXAMPLE, \"Inc.\" for 192.0.2.40, and the sources say DE, AS64500 EXAMPLE, \"Inc.\", anycast",
        ),
    ] {
        let ranges = [
            right[0],
            (range("192.0.2.0", "192.0.2.39"), right[1].1),
            (inside, wrong),
            (range("192.0.2.41", "192.0.2.76"), right[1].1),
            right[2],
            right[3],
            right[4],
            right[5],
        ];
        let fault = checked(&bytes, &places(&ranges), &networks).unwrap_err();
        assert_eq!(fault.to_string(), expected);
    }
    // A range that is missing, and one that should not be there.
    let fault = checked(&made(&places(&right[..5]), &networks), &places(&right), &networks).unwrap_err();
    assert!(
        fault
            .to_string()
            .starts_with("it says nothing that is written for ffff::, and"),
        "{fault}"
    );
    let fault = checked(&bytes, &places(&right[1..]), &networks).unwrap_err();
    assert!(
        fault
            .to_string()
            .ends_with("for ::1:0:0, and the sources say nothing that is written"),
        "{fault}"
    );
}

#[test]
fn the_check_finds_other_metadata_and_damage() {
    let mut networks = Networks::default();
    let places = places(&sample(&mut networks));
    let bytes = made(&places, &networks);
    for other in [
        Statement {
            date: "2026-06-25T04:34:00Z".parse().unwrap(),
            ..statement()
        },
        Statement {
            kind: "tcpwatch-Country",
            ..statement()
        },
        Statement {
            description: "made of something".to_owned(),
            ..statement()
        },
    ] {
        let wrong = lay_out(&places, &networks, &other, &Progress::hidden()).unwrap();
        assert!(matches!(
            checked(&wrong, &places, &networks),
            Err(Fault::Metadata(_))
        ));
    }
    assert!(matches!(
        checked(&bytes[..bytes.len() / 2], &places, &networks),
        Err(Fault::Read(_))
    ));
    // A name is the data of one record.
    let mut damaged = bytes.clone();
    let at = damaged
        .windows(7)
        .position(|window| window == b"EXAMPLE")
        .unwrap();
    damaged[at] = b'x';
    assert!(matches!(
        checked(&damaged, &places, &networks),
        Err(Fault::Answer { .. })
    ));
}

#[test]
fn the_check_ends_when_the_program_is_to_end() {
    let mut networks = Networks::default();
    let places = places(&sample(&mut networks));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x");
    fs::write(&path, made(&places, &networks)).unwrap();
    let ended = check(
        &path,
        &places,
        &networks,
        &statement(),
        &Progress::hidden(),
        || true,
    );
    assert!(matches!(ended, Err(Fault::Interrupted)));
}
