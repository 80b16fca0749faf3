//! Records that lead nowhere, everywhere, or elsewhere than they say.

use tcpwatch_tests::mmdb::{Data, kind};

use super::{Case, Fate, with_record};

/// Every case.
pub fn cases() -> Vec<Case> {
    [pointers(), depths(), sizes(), encodings(), types()].concat()
}

/// A case whose record is written by `write` and begins where that begins.
fn case(name: &str, fate: Fate, write: impl FnOnce(&mut Data)) -> Case {
    let file = with_record(|data| {
        let at = data.here();
        write(data);
        at
    });
    Case::new(name, fate, &file.bytes())
}

/// A case whose record begins where `write` says.
fn case_at(name: &str, fate: Fate, write: impl FnOnce(&mut Data) -> usize) -> Case {
    Case::new(name, fate, &with_record(write).bytes())
}

fn pointers() -> Vec<Case> {
    vec![
        case("a pointer to itself", Fate::Damaged, |data| {
            let here = data.here();
            data.pointer(here);
        }),
        case("two pointers to each other", Fate::Damaged, |data| {
            let here = data.here();
            data.pointer(here + 5).pointer(here);
        }),
        case("a chain of 1,000 pointers to a country", Fate::Damaged, |data| {
            for _ in 0..1000 {
                let next = data.here() + 5;
                data.pointer(next);
            }
            data.country("NL", "Netherlands");
        }),
        case("a pointer to a pointer to a country", Fate::Damaged, |data| {
            let here = data.here();
            data.pointer(here + 5)
                .pointer(here + 10)
                .country("NL", "Netherlands");
        }),
        case("a pointer to a country", Fate::Known, |data| {
            let here = data.here();
            data.pointer(here + 5).country("NL", "Netherlands");
        }),
        case("a pointer behind the data", Fate::Damaged, |data| {
            data.map(1).text("country").pointer(1_000_000);
        }),
        case("a pointer to the last byte there can be", Fate::Damaged, |data| {
            data.map(1).text("country").pointer(u32::MAX as usize);
        }),
        case("a pointer into the metadata", Fate::Damaged, |data| {
            let here = data.here();
            data.map(1).text("country").pointer(here + 9 + 5 + 14);
        }),
        case(
            "a pointer that the end of the data cuts off",
            Fate::Damaged,
            |data| {
                data.map(1).text("country").raw([0x38, 0]);
            },
        ),
        case("a country that is its own record", Fate::NotKnown, |data| {
            let here = data.here();
            data.map(1).text("country").pointer(here);
        }),
        case("names that are their own names", Fate::Ends, |data| {
            data.map(1)
                .text("country")
                .map(2)
                .text("iso_code")
                .text("NL")
                .text("names");
            let here = data.here();
            data.map(2)
                .text("en")
                .text("Netherlands")
                .text("de")
                .pointer(here);
        }),
        case("a key that is its own map", Fate::Ends, |data| {
            let here = data.here();
            data.map(1).pointer(here).text("NL");
        }),
        case(
            "a code that points to the code of the country",
            Fate::Ends,
            |data| {
                let here = data.here();
                data.map(1)
                    .text("country")
                    .map(1)
                    .text("iso_code")
                    .pointer(here + 1);
            },
        ),
        case("the same key 10,000 times", Fate::Ends, |data| {
            data.map(10_000);
            let country = data.here() + 8 + 5;
            data.text("country").pointer(country).raw([]);
            for _ in 1..10_000 {
                data.text("country").pointer(country);
            }
            data.map(0);
        }),
        case("pointers into the middle of other values", Fate::Ends, |data| {
            let here = data.here();
            data.map(1).text("country").pointer(here + 3);
        }),
    ]
}

/// Maps, each of which leads to the next `twice`: written in a line, worth 2^`levels`.
fn fan_out(data: &mut Data, levels: usize) -> usize {
    let mut target = data.here();
    data.map(1).text("iso_code").text("NL");
    for _ in 0..levels {
        let here = data.here();
        data.map(4);
        for key in ["names", "country", "city", "x"] {
            data.text(key).pointer(target);
        }
        target = here;
    }
    target
}

fn depths() -> Vec<Case> {
    let mut cases = vec![
        case_at("maps of pointers to maps, 40 levels", Fate::Ends, |data| {
            fan_out(data, 40)
        }),
        case_at("arrays of pointers to arrays, 40 levels", Fate::Ends, |data| {
            let mut target = data.here();
            data.text("NL");
            for _ in 0..40 {
                let here = data.here();
                data.array(20);
                for _ in 0..20 {
                    data.pointer(target);
                }
                target = here;
            }
            let here = data.here();
            data.map(2)
                .text("country")
                .pointer(target)
                .text("x")
                .pointer(target);
            here
        }),
        case_at("keys that are pointers to maps of pointers", Fate::Ends, |data| {
            let target = fan_out(data, 30);
            let here = data.here();
            data.map(2)
                .pointer(target)
                .pointer(target)
                .pointer(target)
                .text("");
            here
        }),
    ];
    for field in ["country", "city", "names", "x"] {
        cases.push(case_at(
            &format!("40 levels of maps under {field}"),
            Fate::Ends,
            |data| {
                let target = fan_out(data, 40);
                let here = data.here();
                data.map(1).text(field).pointer(target);
                here
            },
        ));
        for (shape, header) in [("maps", &[0xe1, 0x40][..]), ("arrays", &[0x01, 0x04])] {
            for levels in [120, 200, 500, 600, 100_000] {
                cases.push(case(
                    &format!("{levels} {shape} in each other under {field}"),
                    Fate::Ends,
                    |data| {
                        data.map(1)
                            .text(field)
                            .raw(header.repeat(levels))
                            .text("the bottom");
                    },
                ));
            }
        }
    }
    for levels in [100, 500, 600, 100_000] {
        cases.push(case_at(
            &format!("{levels} countries in each other by pointers"),
            Fate::Ends,
            |data| {
                let mut target = data.here();
                data.map(0);
                for _ in 0..levels {
                    let here = data.here();
                    data.map(1).text("country").pointer(target);
                    target = here;
                }
                target
            },
        ));
    }
    cases
}

fn sizes() -> Vec<Case> {
    let mut cases = Vec::new();
    for (what, of) in [
        ("map", kind::MAP),
        ("array", kind::ARRAY),
        ("string", kind::TEXT),
        ("bytes", kind::BYTES),
        ("uint16", kind::UINT16),
        ("uint32", kind::UINT32),
        ("int32", kind::INT32),
        ("uint64", kind::UINT64),
        ("uint128", kind::UINT128),
        ("double", kind::DOUBLE),
        ("float", kind::FLOAT),
        ("boolean", kind::BOOL),
        ("cache", kind::CACHE),
        ("end marker", kind::END),
    ] {
        for size in [29, 284, 65_820, 65_821, 16_843_036] {
            for field in ["", "country", "iso_code", "x"] {
                let name = if field.is_empty() {
                    format!("a record that is a {what} of {size}")
                } else {
                    format!("{field} is a {what} of {size}")
                };
                cases.push(case(&name, Fate::NotKnown, |data| {
                    match field {
                        "" => {}
                        "iso_code" => {
                            data.map(1).text("country").map(1).text(field);
                        }
                        field => {
                            data.map(2).text(field);
                        }
                    }
                    data.header(of, size).raw([0; 20]);
                }));
            }
        }
    }
    cases.push(case(
        "a map of more pairs than there are",
        Fate::Damaged,
        |data| {
            data.map(2);
            data.text("country").map(1).text("iso_code").text("NL");
        },
    ));
    cases
}

fn encodings() -> Vec<Case> {
    let mut cases = Vec::new();
    for (what, bytes) in [
        ("a lone byte", &b"\xff"[..]),
        ("a lone continuation", b"a\x80b"),
        ("half a surrogate", b"\xed\xa0\x80"),
        ("an overlong zero", b"\xc0\x80"),
        ("a character cut short", b"Nederland\xe2\x82"),
        ("a character beyond Unicode", b"\xf4\x90\x80\x80"),
        ("UTF-16", b"\xff\xfeN\0L\0"),
    ] {
        cases.push(case(&format!("a code of {what}"), Fate::NotKnown, |data| {
            data.map(1).text("country").map(1).text("iso_code").text(bytes);
        }));
        cases.push(case(&format!("a name of {what}"), Fate::Ends, |data| {
            data.map(1)
                .text("country")
                .map(2)
                .text("iso_code")
                .text("NL")
                .text("names")
                .map(1)
                .text("en")
                .text(bytes);
        }));
        cases.push(case(&format!("a key of {what}"), Fate::Ends, |data| {
            data.map(2)
                .text(bytes)
                .text(bytes)
                .text("country")
                .map(1)
                .text("iso_code")
                .text("NL");
        }));
    }
    for (what, text) in [
        ("ASCII", "a".repeat(1 << 20)),
        ("accents", "\u{e9}".repeat(1 << 19)),
        ("control characters", "\u{1b}".repeat(1 << 20)),
        ("blanks", "\u{3000}".repeat(1 << 18)),
        ("marks", format!("Z{}", "\u{301}".repeat(1 << 19))),
        ("zeroes", "\0".repeat(1 << 20)),
    ] {
        cases.push(case(&format!("a name of 1 MB of {what}"), Fate::Ends, |data| {
            data.map(2)
                .text("country")
                .map(2)
                .text("iso_code")
                .text("NL")
                .text("names")
                .map(1)
                .text("en")
                .text(&text)
                .text("city")
                .map(1)
                .text("names")
                .map(1)
                .text("en")
                .text(&text);
        }));
        cases.push(case(
            &format!("a code of 1 MB of {what}"),
            Fate::NotKnown,
            |data| {
                data.map(1).text("country").map(1).text("iso_code").text(&text);
            },
        ));
        cases.push(case(&format!("a key of 1 MB of {what}"), Fate::Ends, |data| {
            data.map(1).text(&text).text("NL");
        }));
        cases.push(case(
            &format!("1 MB of {what} where nobody looks"),
            Fate::Known,
            |data| {
                data.map(2).text("x").text(&text).text("country").map(1);
                data.text("iso_code").text("NL");
            },
        ));
    }
    cases.push(case("a name of 16 MB", Fate::Ends, |data| {
        data.map(1)
            .text("country")
            .map(2)
            .text("iso_code")
            .text("NL")
            .text("names")
            .map(1)
            .text("en")
            .text("a".repeat(16 << 20));
    }));
    cases
}

/// A value of every type there is, and of some that there are not.
pub fn values() -> Vec<(&'static str, Vec<u8>)> {
    let value = |write: &dyn Fn(&mut Data)| {
        let mut data = Data::default();
        write(&mut data);
        data.as_slice().to_vec()
    };
    let of = |kind, size| {
        value(&move |data: &mut Data| {
            data.header(kind, size).raw(vec![1; size]);
        })
    };
    vec![
        (
            "text",
            value(&|data| {
                data.text("text");
            }),
        ),
        (
            "an empty text",
            value(&|data| {
                data.text("");
            }),
        ),
        ("bytes", of(kind::BYTES, 3)),
        ("a double", of(kind::DOUBLE, 8)),
        ("a float", of(kind::FLOAT, 4)),
        ("a uint16", of(kind::UINT16, 2)),
        ("a uint32", of(kind::UINT32, 4)),
        ("a uint64", of(kind::UINT64, 8)),
        ("a uint128", of(kind::UINT128, 16)),
        ("a zero", of(kind::UINT32, 0)),
        (
            "2^32",
            value(&|data| {
                data.unsigned(kind::UINT64, 1 << 32);
            }),
        ),
        (
            "2^64 - 1",
            value(&|data| {
                data.unsigned(kind::UINT64, u64::MAX);
            }),
        ),
        (
            "-1",
            value(&|data| {
                data.int32(-1);
            }),
        ),
        (
            "true",
            value(&|data| {
                data.boolean(true);
            }),
        ),
        ("a boolean of 2", of(kind::BOOL, 2)),
        (
            "an empty map",
            value(&|data| {
                data.map(0);
            }),
        ),
        (
            "a map",
            value(&|data| {
                data.map(1).text("en").text("text");
            }),
        ),
        (
            "a map without texts for keys",
            value(&|data| {
                data.map(2).boolean(true).text("a").map(0).array(0);
            }),
        ),
        (
            "an empty array",
            value(&|data| {
                data.array(0);
            }),
        ),
        (
            "an array",
            value(&|data| {
                data.array(2).text("a").unsigned(kind::UINT16, 7);
            }),
        ),
        ("a cache", of(kind::CACHE, 1)),
        ("an end marker", of(kind::END, 0)),
        ("type 16", of(16, 1)),
        ("type 262", of(255, 1)),
        (
            "a pointer to nowhere",
            value(&|data| {
                data.pointer(0xffff_ff00);
            }),
        ),
    ]
}

/// Where a record of some vendor or other has a value, and what it is honestly.
fn fields() -> Vec<&'static str> {
    vec![
        "country",
        "country.iso_code",
        "country.names",
        "country.names.en",
        "registered_country",
        "registered_country.iso_code",
        "city",
        "city.names",
        "city.names.en",
        "traits",
        "traits.is_anycast",
        "traits.autonomous_system_number",
        "traits.autonomous_system_organization",
        "autonomous_system_number",
        "autonomous_system_organization",
        "country_code",
        "asn",
        "",
    ]
}

/// A record with every field, of which `path` is `value`.
fn record(data: &mut Data, path: &str, value: &[u8]) {
    let put = |data: &mut Data, at: &str, honest: &dyn Fn(&mut Data)| {
        if at == path {
            data.raw(value);
        } else {
            honest(data);
        }
    };
    let text = |data: &mut Data, at: &str, text: &str| {
        put(data, at, &|data| {
            data.text(text);
        });
    };
    let names = |data: &mut Data, at: &str, name: &str| {
        put(data, at, &|data| {
            data.map(1).text("en");
            text(data, &format!("{at}.en"), name);
        });
    };
    let country = |data: &mut Data, at: &str, code: &str, name: &str| {
        put(data, at, &|data| {
            data.map(2).text("iso_code");
            text(data, &format!("{at}.iso_code"), code);
            data.text("names");
            names(data, &format!("{at}.names"), name);
        });
    };
    let number = |data: &mut Data, at: &str| {
        put(data, at, &|data| {
            data.unsigned(kind::UINT32, 64_500);
        });
    };
    put(data, "", &|data| {
        data.map(8).text("country");
        country(data, "country", "NL", "Netherlands");
        data.text("registered_country");
        country(data, "registered_country", "BE", "Belgium");
        data.text("city");
        put(data, "city", &|data| {
            data.map(1).text("names");
            names(data, "city.names", "Delft");
        });
        data.text("traits");
        put(data, "traits", &|data| {
            data.map(3).text("is_anycast");
            put(data, "traits.is_anycast", &|data| {
                data.boolean(true);
            });
            data.text("autonomous_system_number");
            number(data, "traits.autonomous_system_number");
            data.text("autonomous_system_organization");
            text(data, "traits.autonomous_system_organization", "Example");
        });
        data.text("autonomous_system_number");
        number(data, "autonomous_system_number");
        data.text("autonomous_system_organization");
        text(data, "autonomous_system_organization", "Example");
        data.text("country_code");
        text(data, "country_code", "NL");
        data.text("asn");
        text(data, "asn", "AS64500");
    });
}

/// Every type of value in every field.
fn types() -> Vec<Case> {
    let mut cases = vec![case(
        "a record with every field as it should be",
        Fate::Known,
        |data| {
            record(data, "none", &[]);
        },
    )];
    for field in fields() {
        for (what, value) in values() {
            let name = match field {
                "" => format!("a record that is {what}"),
                field => format!("{field} is {what}"),
            };
            // Without the country, that of registration may stand in.
            let fate = if field.is_empty() {
                Fate::NotKnown
            } else {
                Fate::Ends
            };
            cases.push(case(&name, fate, |data| record(data, field, &value)));
        }
    }
    cases
}
