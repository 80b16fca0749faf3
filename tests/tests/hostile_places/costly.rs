//! Records that are allowed one by one, but cost as much as can be: an interval with very many of them must not hold up
//! the record. What is too much is measured with honest records, before and after, on the same processor.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;
use std::time::Duration;

use tcpwatch::enrich::Places;
use tcpwatch_tests::fuzz::watch::ALONE;
use tcpwatch_tests::mmdb::{Data, File, To};
use tcpwatch_tests::{cpu, note};

/// Destinations of the interval.
const DESTINATIONS: usize = 100_000;

/// How many times as long as honest ones their places may take of one processor.
const MOST: f64 = 3.7;

/// Destinations that honest records are measured with.
const HONEST: usize = 20_000;

/// Where they begin.
const FIRST: Ipv4Addr = Ipv4Addr::new(90, 0, 0, 0);

/// A file in which each destination has a record of its own, written by `write` at the end of the data; what they share
/// is written before by `share`, which says where it is.
fn file(share: impl FnOnce(&mut Data) -> usize, write: impl Fn(&mut Data, usize, usize)) -> Vec<u8> {
    file_of(DESTINATIONS, share, write)
}

fn file_of(
    destinations: usize,
    share: impl FnOnce(&mut Data) -> usize,
    write: impl Fn(&mut Data, usize, usize),
) -> Vec<u8> {
    let mut file = File::new("Hostile-Country-City-ASN");
    file.record_size = 32;
    let shared = share(&mut file.data);
    for number in 0..destinations {
        let record = file.data.here();
        write(&mut file.data, shared, number);
        file.tree
            .put(&format!("{}/32", address(number)), To::Data(record));
    }
    file.bytes()
}

fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(FIRST.to_bits() + number as u32)
}

/// What their places took of this processor.
struct Measured {
    /// How many had a country.
    known: usize,
    taken: Duration,
    /// How many times as long as that many honest ones.
    ratio: f64,
}

/// Looks all destinations up.
fn measure(bytes: &[u8]) -> Measured {
    let honest = || look_up(&HONEST_FILE, HONEST).1;
    let before = honest();
    let (known, taken) = look_up(bytes, DESTINATIONS);
    // The slower of the two: a processor that is shared is not always as fast.
    let each = before.max(honest()).as_secs_f64() / HONEST as f64;
    Measured {
        known,
        taken,
        ratio: taken.as_secs_f64() / (each * DESTINATIONS as f64),
    }
}

fn look_up(bytes: &[u8], destinations: usize) -> (usize, Duration) {
    let directory = tempfile::tempdir().unwrap();
    let path = tcpwatch_tests::places::write(directory.path(), "costly.mmdb", bytes);
    // A language that no record has, so that all are looked through.
    let language = "fi".parse().unwrap();
    let mut places = Places::open_given(&[path]).unwrap().in_language(language);
    let started = cpu::taken();
    let known = (0..destinations)
        .filter(|number| places.lookup(IpAddr::V4(address(*number))).country.is_some())
        .count();
    (known, cpu::taken() - started)
}

impl Measured {
    #[track_caller]
    fn assert_quick(&self, what: &str) {
        let Self { known, taken, ratio } = self;
        note(format_args!(
            "{DESTINATIONS} places in {:.0} ms, {ratio:.2} times as long as honest ones, {known} known: {what}",
            taken.as_secs_f64() * 1000.0,
        ));
        assert!(
            *ratio < MOST,
            "{what}: {taken:?}, {ratio:.2} times as long as honest ones"
        );
    }
}

#[track_caller]
fn assert_quick(what: &str, bytes: &[u8]) {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    measure(bytes).assert_quick(&format!("{what}, {} MB", bytes.len() / 1_000_000));
}

/// A record whose `field` is the shared value.
fn pointing_at(field: &'static str) -> impl Fn(&mut Data, usize, usize) {
    move |data, shared, _| {
        data.map(1).text(field).pointer(shared);
    }
}

/// A country whose name in English is the shared value.
fn named(data: &mut Data, shared: usize, _number: usize) {
    data.map(1)
        .text("country")
        .map(2)
        .text("iso_code")
        .text("NL")
        .text("names")
        .map(1)
        .text("en")
        .pointer(shared);
}

/// `count` values, each as `write` makes it; where they begin.
fn many(
    header: impl Fn(&mut Data),
    count: usize,
    write: impl Fn(&mut Data),
) -> impl FnOnce(&mut Data) -> usize {
    move |data| {
        let here = data.here();
        header(data);
        for _ in 0..count {
            write(data);
        }
        here
    }
}

/// A shared text.
fn text(text: String) -> impl FnOnce(&mut Data) -> usize {
    move |data| {
        let here = data.here();
        data.text(text);
        here
    }
}

#[test]
fn records_of_as_many_values_as_are_allowed_are_quick_together() {
    let pairs = 32_000;
    for field in ["country", "registered_country", "city", "traits", "x"] {
        let unknown = many(
            |data| {
                data.map(pairs);
            },
            pairs,
            |data| {
                data.text("k").text("");
            },
        );
        assert_quick(
            &format!("{field} has 32,000 keys that nobody knows"),
            &file(unknown, pointing_at(field)),
        );
    }
    let names = |data: &mut Data| {
        let here = data.here();
        data.map(1).text("names").map(pairs);
        for _ in 0..pairs {
            data.text("xx").text("n");
        }
        here
    };
    for field in ["country", "city"] {
        assert_quick(
            &format!("{field} has names in 32,000 languages"),
            &file(names, pointing_at(field)),
        );
    }
}

/// The dearest that is let through: just within the limit, and known.
#[test]
fn records_that_are_just_not_refused_are_quick_together() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let pairs = 380;
    let keys = |data: &mut Data| {
        let key = data.here();
        data.text("k".repeat(3000));
        let here = data.here();
        data.map(pairs + 1).text("iso_code").text("NL");
        for _ in 0..pairs {
            data.pointer(key).text("");
        }
        here
    };
    let languages = |data: &mut Data| {
        let name = data.here();
        data.text("\u{1b}\u{e9}".repeat(10_000));
        let names = data.here();
        data.map(60);
        for _ in 0..60 {
            data.text("x".repeat(35)).pointer(name);
        }
        let here = data.here();
        data.map(2)
            .text("iso_code")
            .text("NL")
            .text("names")
            .pointer(names);
        here
    };
    for (what, bytes) in [
        ("380 unknown keys of 3 kB", file(keys, pointing_at("country"))),
        ("60 languages", file(languages, pointing_at("country"))),
    ] {
        let measured = measure(&bytes);
        assert_eq!(measured.known, DESTINATIONS, "{what}");
        measured.assert_quick(what);
    }
}

#[test]
fn records_whose_values_lie_in_the_record_are_quick_together() {
    // A text in front of each reaches up to the values at the end, which are so the values of every record.
    let values = 60_000;
    let mut file = File::new("Hostile-Country-City-ASN");
    file.record_size = 32;
    // `map(1)`, "x", the header of the array, the header of the text.
    let length = 1 + 2 + 5 + 4;
    let end = DESTINATIONS * length;
    for number in 0..DESTINATIONS {
        let record = file.data.here();
        file.data.map(1).text("x").array(values);
        let left = end - record - length;
        file.data
            .header(tcpwatch_tests::mmdb::kind::TEXT, left.max(65_821));
        // The last ones have a shorter header's worth of text less; they need not be right.
        let missing = (record + length).saturating_sub(file.data.here());
        file.data.raw(vec![0; missing]);
        file.tree
            .put(&format!("{}/32", address(number)), To::Data(record));
    }
    file.data.raw(vec![0x40; values + 70_000]);
    assert_quick("x is 60,000 values in the record", &file.bytes());
}

#[test]
fn records_of_long_texts_are_quick_together() {
    let size = 2_000_000;
    for (what, letters) in [
        ("ASCII", "a"),
        ("accents", "\u{e9}"),
        ("Chinese", "\u{4e2d}"),
        ("blanks", "\u{3000}"),
        ("control characters", "\u{1b}"),
        ("marks", "\u{301}"),
    ] {
        let name = letters.repeat(size / letters.len());
        assert_quick(
            &format!("the country's name is 2 MB of {what}"),
            &file(text(name), named),
        );
    }
    let name = "\u{e9}".repeat(size / 2);
    assert_quick(
        "the country's code is 2 MB of accents",
        &file(text(name.clone()), |data, shared, _| {
            data.map(1)
                .text("country")
                .map(1)
                .text("iso_code")
                .pointer(shared);
        }),
    );
    assert_quick(
        "the network's name is 2 MB of accents",
        &file(text(name.clone()), |data, shared, number| {
            data.map(2)
                .text("autonomous_system_number")
                .unsigned(tcpwatch_tests::mmdb::kind::UINT32, 1 + number as u64)
                .text("autonomous_system_organization")
                .pointer(shared);
        }),
    );
    assert_quick(
        "the key is 2 MB of accents",
        &file(text(name), |data, shared, _| {
            data.map(1).pointer(shared).text("");
        }),
    );
}

#[test]
fn records_of_long_keys_are_quick_together() {
    for length in [32, 60] {
        let keys = move |data: &mut Data| {
            let key = data.here();
            data.text("k".repeat(length));
            let here = data.here();
            data.map(32_000);
            for _ in 0..32_000 {
                data.pointer(key).text("");
            }
            here
        };
        assert_quick(
            &format!("country has 32,000 keys of {length} letters"),
            &file(keys, pointing_at("country")),
        );
    }
}

#[test]
fn records_of_pointers_to_pointers_are_quick_together() {
    // As many as make the most of any limit on the values of one container.
    for pointers in [20, 190, 380, 700, 15_000] {
        let levels = move |data: &mut Data| {
            let mut target = data.here();
            data.text("");
            for _ in 0..4 {
                let here = data.here();
                data.array(pointers);
                for _ in 0..pointers {
                    data.pointer(target);
                }
                target = here;
            }
            target
        };
        for field in ["country", "x"] {
            assert_quick(
                &format!("{field} is four levels of {pointers} pointers"),
                &file(levels, pointing_at(field)),
            );
        }
    }
}

#[test]
fn damaged_records_are_quick_together() {
    assert_quick(
        "each record is damaged",
        &file(
            |data| data.here(),
            |data, _, _| {
                data.map(1)
                    .text("country")
                    .map(1)
                    .text("iso_code")
                    .text(b"\xff\xff");
            },
        ),
    );
}

/// With everything that a GeoIP2 City database has of a place, in as many languages.
fn honest(destinations: usize) -> Vec<u8> {
    let languages = ["de", "en", "es", "fr", "ja", "pt-BR", "ru", "zh-CN"];
    let names = |data: &mut Data, name: &str| {
        data.text("names").map(languages.len());
        for language in languages {
            data.text(language).text(format!("{name} in {language}"));
        }
    };
    file_of(
        destinations,
        |data| data.here(),
        |data, _, number| {
            data.map(6);
            for field in [
                "continent",
                "country",
                "registered_country",
                "represented_country",
            ] {
                data.text(field)
                    .map(3)
                    .text("iso_code")
                    .text("NL")
                    .text("geoname_id");
                data.unsigned(tcpwatch_tests::mmdb::kind::UINT32, 2_750_405);
                names(data, "Netherlands");
            }
            data.text("city").map(1);
            names(data, &format!("City {number}"));
            data.text("subdivisions").array(3);
            for _ in 0..3 {
                data.map(2).text("iso_code").text("ZH");
                names(data, "South Holland");
            }
        },
    )
}

static HONEST_FILE: LazyLock<Vec<u8>> = LazyLock::new(|| honest(HONEST));

/// The control: what is refused for its cost must not be what honest files have, and what they cost is what is measured with.
#[test]
fn honest_records_are_all_known_however_many_they_are() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let measured = measure(&honest(DESTINATIONS));
    assert_eq!(measured.known, DESTINATIONS);
    measured.assert_quick("honest");
    assert!(measured.ratio > 0.5, "{}", measured.ratio);
}
