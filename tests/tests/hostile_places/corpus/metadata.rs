//! Metadata that lies about the file, or is no better than the records.

use tcpwatch_tests::mmdb::{Data, File, MARKER, kind};

use super::{Case, Fate, honest_file, records};

const KEYS: [&str; 9] = [
    "binary_format_major_version",
    "binary_format_minor_version",
    "build_epoch",
    "database_type",
    "description",
    "ip_version",
    "languages",
    "node_count",
    "record_size",
];

/// Every case.
pub fn cases() -> Vec<Case> {
    [numbers(), types(), texts(), places()].concat()
}

fn lie(name: impl Into<String>, fate: Fate, key: &str, value: impl FnOnce(&mut Data)) -> Case {
    let mut file = honest_file();
    file.claim(key, value);
    Case::new(name, fate, &file.bytes())
}

fn numbers() -> Vec<Case> {
    let mut cases = Vec::new();
    let nodes = honest_file().tree.nodes.len() as u64;
    for (key, kind, lies) in [
        (
            "node_count",
            kind::UINT32,
            &[
                (0, Fate::Refused),
                (1, Fate::Ends),
                (nodes - 1, Fate::Ends),
                (nodes + 1, Fate::Ends),
                (nodes * 2, Fate::Refused),
                (1 << 24, Fate::Refused),
                (1 << 31, Fate::Refused),
                (u64::from(u32::MAX), Fate::Refused),
            ][..],
        ),
        (
            "record_size",
            kind::UINT16,
            &[
                (0, Fate::Refused),
                (1, Fate::Refused),
                (20, Fate::Refused),
                (24, Fate::Ends),
                (27, Fate::Refused),
                (32, Fate::Ends),
                (36, Fate::Refused),
                (65_535, Fate::Refused),
            ],
        ),
        (
            "ip_version",
            kind::UINT16,
            &[
                (0, Fate::Refused),
                (4, Fate::Ends),
                (5, Fate::Refused),
                (7, Fate::Refused),
                (65_535, Fate::Refused),
            ],
        ),
        (
            "binary_format_major_version",
            kind::UINT16,
            &[(0, Fate::Refused), (1, Fate::Refused), (3, Fate::Refused)],
        ),
        (
            "binary_format_minor_version",
            kind::UINT16,
            &[(1, Fate::Known), (65_535, Fate::Known)],
        ),
        (
            "build_epoch",
            kind::UINT64,
            &[
                (0, Fate::Ends),
                (1, Fate::Ends),
                (4_102_444_800, Fate::Ends),
                (253_402_300_800, Fate::Ends),
                (1 << 62, Fate::Refused),
                ((1 << 63) - 1, Fate::Refused),
                (1 << 63, Fate::Refused),
                (u64::MAX, Fate::Refused),
            ],
        ),
    ] {
        for (number, fate) in lies {
            cases.push(lie(format!("{key} {number}"), *fate, key, |data| {
                data.unsigned(kind, *number);
            }));
        }
    }
    // Each side of a node is read as if it were of another size.
    for truth in [24, 28, 32] {
        for told in [24, 28, 32] {
            let mut file = honest_file();
            file.record_size = truth;
            file.claim("record_size", |data| {
                data.unsigned(kind::UINT16, told);
            });
            let fate = if truth as u64 == told {
                Fate::Known
            } else {
                Fate::Ends
            };
            cases.push(Case::new(
                format!("sides of {truth} bits told as {told}"),
                fate,
                &file.bytes(),
            ));
        }
    }
    cases
}

/// Every type of value for every key, and every key missing.
fn types() -> Vec<Case> {
    let mut cases = Vec::new();
    for key in KEYS {
        let mut file = honest_file();
        file.conceal(key);
        cases.push(Case::new(format!("no {key}"), Fate::Refused, &file.bytes()));
        for (what, value) in records::values() {
            cases.push(lie(format!("{key} is {what}"), Fate::Ends, key, |data| {
                data.raw(&value);
            }));
        }
    }
    cases
}

fn texts() -> Vec<Case> {
    let mut cases = Vec::new();
    for (what, text) in [
        ("escapes", "City\u{1b}]0;title\u{7}\u{1b}[2J\u{9b}31m"),
        ("line breaks", "City\r\nWARN all is lost\u{2028}x\u{85}y\0"),
        ("directions", "City\u{202e}bdmm\u{2066}\u{200f}"),
        ("HTML", "City<script>alert(1)</script>"),
        ("a formula", "=HYPERLINK(\"http://192.0.2.1/\",\"City\")"),
        ("what cannot be seen", "Ci\u{200b}ty\u{feff}\u{e0041}\u{ad}"),
    ] {
        cases.push(lie(
            format!("database_type with {what}"),
            Fate::Ends,
            "database_type",
            |data| {
                data.text(text);
            },
        ));
        // Not about places: the refusal quotes it.
        let text = text.replace("City", "Weather").replace("Ci", "We");
        cases.push(lie(
            format!("a foreign database_type with {what}"),
            Fate::Refused,
            "database_type",
            |data| {
                data.text(&text);
            },
        ));
        cases.push(lie(
            format!("description with {what}"),
            Fate::Known,
            "description",
            |data| {
                data.map(2).text("en").text(&text).text(&text).text("x");
            },
        ));
        cases.push(lie(
            format!("languages with {what}"),
            Fate::Known,
            "languages",
            |data| {
                data.array(1).text(&text);
            },
        ));
    }
    let long = "City".repeat(1 << 18);
    cases.push(lie(
        "a database_type of 1 MB",
        Fate::Ends,
        "database_type",
        |data| {
            data.text(&long);
        },
    ));
    cases.push(lie("a description of 1 MB", Fate::Ends, "description", |data| {
        data.map(1).text("en").text(&long);
    }));
    let weather = "Weather".repeat(1 << 17);
    cases.push(lie(
        "a foreign database_type of 1 MB",
        Fate::Refused,
        "database_type",
        |data| {
            data.text(&weather);
        },
    ));
    cases.push(lie(
        "a database_type that is not UTF-8",
        Fate::Refused,
        "database_type",
        |data| {
            data.text(b"City\xff");
        },
    ));
    cases
}

/// Where the metadata is, and how it is built.
fn places() -> Vec<Case> {
    let honest = honest_file();
    let whole = honest.bytes();
    let metadata = honest.metadata();
    let other = {
        let mut file = honest_file();
        file.claim("node_count", |data| {
            data.unsigned(kind::UINT32, 1);
        });
        file.metadata()
    };
    let with = |file: &File, metadata: &dyn Fn(&mut Data)| {
        let mut data = Data::default();
        metadata(&mut data);
        let whole = file.bytes();
        let start = whole.len() - file.metadata().len();
        [&whole[..start], data.as_slice()].concat()
    };
    let mut cases = vec![
        Case::new("a marker and nothing else", Fate::Refused, MARKER),
        Case::new("only metadata", Fate::Refused, &[MARKER, &metadata].concat()),
        Case::new("a marker at the end", Fate::Refused, &[&whole, MARKER].concat()),
        Case::new(
            "metadata twice",
            Fate::Ends,
            &[&whole, MARKER, &metadata].concat(),
        ),
        Case::new(
            "other metadata behind it",
            Fate::Ends,
            &[&whole, MARKER, &other].concat(),
        ),
        Case::new(
            "half a marker behind it",
            Fate::Known,
            &[&whole, &MARKER[..9]].concat(),
        ),
        Case::new(
            "rubbish behind it",
            Fate::Known,
            &[&whole, &[0xff; 1000][..]].concat(),
        ),
        Case::new("the file twice", Fate::Ends, &[&whole[..], &whole].concat()),
        Case::new("a marker in the separator", Fate::Known, &{
            let mut file = honest.clone();
            file.separator = [MARKER, b"!!"].concat();
            file.bytes()
        }),
        Case::new(
            "metadata that is a text",
            Fate::Refused,
            &with(&honest, &|data| {
                data.text("metadata");
            }),
        ),
        Case::new(
            "metadata that is an array",
            Fate::Refused,
            &with(&honest, &|data| {
                data.array(3).text("a").text("b").text("c");
            }),
        ),
        Case::new(
            "metadata that points to itself",
            Fate::Refused,
            &with(&honest, &|data| {
                data.pointer(0);
            }),
        ),
        Case::new(
            "metadata of 2^24 pairs",
            Fate::Refused,
            &with(&honest, &|data| {
                data.map(1 << 24);
            }),
        ),
        Case::new(
            "metadata that is 100,000 maps in each other",
            Fate::Refused,
            &with(&honest, &|data| {
                data.raw([0xe1, 0x40].repeat(100_000)).text("");
            }),
        ),
    ];
    let file = super::with_record(|data| {
        data.text(MARKER);
        let at = data.here();
        data.country("NL", "Netherlands");
        at
    });
    cases.push(Case::new("a marker in the data", Fate::Known, &file.bytes()));
    for key in ["languages", "description", "x"] {
        cases.push(lie(format!("{key} of 2^24"), Fate::Refused, key, |data| {
            data.header(
                if key == "languages" {
                    kind::ARRAY
                } else {
                    kind::MAP
                },
                1 << 24,
            );
        }));
        cases.push(lie(
            format!("{key} of 30,000 times the same"),
            Fate::Ends,
            key,
            |data| {
                let (kind, texts) = if key == "languages" {
                    (kind::ARRAY, 1)
                } else {
                    (kind::MAP, 2)
                };
                data.header(kind, 30_000);
                for _ in 0..30_000 * texts {
                    data.text("en");
                }
            },
        ));
        cases.push(lie(
            format!("{key} of 40 levels of arrays"),
            Fate::Ends,
            key,
            |data| {
                // Pointers in the metadata count from its beginning; these lead to the map itself.
                data.array(20);
                for _ in 0..20 {
                    data.pointer(0);
                }
            },
        ));
    }
    cases
}
