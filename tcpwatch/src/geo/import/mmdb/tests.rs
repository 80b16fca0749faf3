//! Files against MaxMind's reader, and against what mmdb-writer makes of the same ranges.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use maxminddb::{Reader, WithinOptions};
use mmdb_writer::{Value, Writer};
use proptest::prelude::*;

use super::*;

const METADATA: Metadata<'_> = Metadata {
    kind: "Test",
    language: "en",
    description: "made for a test",
    build_epoch: 1_782_362_039,
};

/// A file of ranges with numbers.
fn numbers(v4: &[(u32, u32, u32)], v6: &[(u128, u128, u32)]) -> Vec<u8> {
    let mut data = Data::default();
    let mut places = std::collections::HashMap::new();
    let mut place = |value: u32| {
        *places.entry(value).or_insert_with(|| {
            let at = data.end();
            data.number(value);
            at
        })
    };
    let v4: Vec<_> = v4
        .iter()
        .map(|(first, last, value)| Run {
            first: (*first).into(),
            last: (*last).into(),
            value: place(*value),
        })
        .collect();
    let v6: Vec<_> = v6
        .iter()
        .map(|(first, last, value)| Run {
            first: *first,
            last: *last,
            value: place(*value),
        })
        .collect();
    file(&v4, &v6, &data, METADATA).unwrap()
}

/// Every network of a file, with its number.
fn networks(bytes: &[u8]) -> Vec<(String, u32)> {
    let reader = Reader::from_source(bytes).unwrap();
    reader.verify().unwrap();
    reader
        .networks(WithinOptions::default())
        .unwrap()
        .map(|found| {
            let found = found.unwrap();
            (
                found.network().unwrap().to_string(),
                found.decode().unwrap().unwrap(),
            )
        })
        .collect()
}

fn ask(bytes: &[u8], address: &str) -> Option<u32> {
    let reader = Reader::from_source(bytes).unwrap();
    reader.lookup(address.parse().unwrap()).unwrap().decode().unwrap()
}

#[test]
fn ranges_of_both_families_are_read_back_as_networks() {
    let bytes = numbers(
        &[(0xc000_0200, 0xc000_024c, 1), (0xc000_024d, 0xc000_02ff, 2)],
        &[(0x2001_0db8 << 96, (0x2001_0db9 << 96) - 1, 3)],
    );
    let found = networks(&bytes);
    assert_eq!(found.first(), Some(&("192.0.2.0/26".to_owned(), 1)));
    assert_eq!(found.last(), Some(&("2001:db8::/32".to_owned(), 3)));
    for (address, number) in [
        ("192.0.2.76", Some(1)),
        ("192.0.2.77", Some(2)),
        ("192.0.3.0", None),
        ("::ffff:192.0.2.77", Some(2)),
        ("2002:c000:24d::", Some(2)),
        ("2001:0:c000:24d::", Some(2)),
        ("2001:db8::1", Some(3)),
        ("2001:db9::", None),
    ] {
        assert_eq!(ask(&bytes, address), number, "{address}");
    }
}

#[test]
fn one_family_alone_or_one_range_for_all_of_it_is_enough() {
    let v4 = numbers(&[(0, u32::MAX, 1)], &[]);
    assert_eq!(ask(&v4, "8.8.8.8"), Some(1));
    assert_eq!(ask(&v4, "::ffff:8.8.8.8"), Some(1));
    assert_eq!(ask(&v4, "2003::1"), None);
    let v6 = numbers(&[], &[(0x2003 << 112, u128::MAX, 2)]);
    assert_eq!(ask(&v6, "8.8.8.8"), None);
    assert_eq!(ask(&v6, "ffff::1"), Some(2));
    assert_eq!(networks(&numbers(&[], &[])), []);
}

#[test]
fn nodes_of_every_size_are_written_as_the_form_has_them() {
    for (bits, expected) in [
        (24, &[0x02, 0x03, 0x04, 0x0b, 0x0c, 0x0d][..]),
        (28, &[0x02, 0x03, 0x04, 0x1a, 0x0b, 0x0c, 0x0d]),
        (32, &[0x01, 0x02, 0x03, 0x04, 0x0a, 0x0b, 0x0c, 0x0d]),
    ] {
        let mut bytes = Vec::new();
        push_node(&mut bytes, 0x0102_0304, 0x0a0b_0c0d, bits);
        assert_eq!(bytes, expected);
    }
}

#[test]
fn a_file_with_much_data_has_wider_nodes() {
    let range = |value| Run {
        first: 0xc000_0200,
        last: 0xc000_02ff,
        value,
    };
    for (text_bytes, bits) in [(1000, 24), (16_700_000, 24), (16_777_300, 28)] {
        let mut data = Data::default();
        // Two texts, as one may have 16 MB at most.
        data.text(&"x".repeat(text_bytes / 2));
        data.text(&"y".repeat(text_bytes / 2));
        let at = data.end();
        data.number(7);
        let bytes = file(&[range(at)], &[], &data, METADATA).unwrap();
        let reader = Reader::from_source(&bytes[..]).unwrap();
        assert_eq!(u32::from(reader.metadata().record_size), bits);
        let found = reader.lookup(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))).unwrap();
        assert_eq!(found.decode::<u32>().unwrap(), Some(7));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// mmdb-writer and this make files of the same networks.
    #[test]
    fn agrees_with_another_writer(
        cuts_v4 in proptest::collection::btree_set(any::<u32>(), 0..40),
        cuts_v6 in proptest::collection::btree_set(0x2003u128 << 112..=u128::MAX, 0..40),
        values in proptest::collection::vec(0..4u32, 80),
    ) {
        // Neighbouring cuts are the ends of ranges: with gaps where the value is 0, and equal neighbours joined by hand.
        fn ranges<T: Copy>(cuts: &std::collections::BTreeSet<T>, values: &[u32], before: impl Fn(T) -> T) -> Vec<(T, T, u32)> {
            let cuts: Vec<T> = cuts.iter().copied().collect();
            let mut ranges: Vec<(T, T, u32)> = Vec::new();
            let mut previous = 0;
            for (pair, value) in cuts.windows(2).zip(values) {
                match ranges.last_mut() {
                    Some((_, last, _)) if *value == previous && previous != 0 => *last = before(pair[1]),
                    _ if *value != 0 => ranges.push((pair[0], before(pair[1]), *value)),
                    _ => {}
                }
                previous = *value;
            }
            ranges
        }
        let v4 = ranges(&cuts_v4, &values, |at| at - 1);
        let v6 = ranges(&cuts_v6, &values[40..], |at| at - 1);
        let mut writer = Writer::builder("Test").description(&[("en", "x")]).build();
        for (first, last, value) in &v4 {
            let (first, last) = (Ipv4Addr::from_bits(*first), Ipv4Addr::from_bits(*last));
            writer.insert_range(first.into(), last.into(), &Value::from(*value)).unwrap();
        }
        for (first, last, value) in &v6 {
            let (first, last) = (Ipv6Addr::from_bits(*first), Ipv6Addr::from_bits(*last));
            writer.insert_range(first.into(), last.into(), &Value::from(*value)).unwrap();
        }
        prop_assert_eq!(networks(&numbers(&v4, &v6)), networks(&writer.to_bytes().unwrap()));
    }
}
