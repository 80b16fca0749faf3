//! Bytes and bounds, with whatever numbers there are.

use proptest::prelude::*;

use super::*;

fn address() -> impl Strategy<Value = Option<IpAddr>> {
    prop_oneof![
        Just(None),
        any::<[u8; 4]>().prop_map(|octets| Some(Ipv4Addr::from(octets).into())),
        any::<[u8; 16]>().prop_map(|octets| Some(Ipv6Addr::from(octets).into())),
    ]
}

fn counts() -> impl Strategy<Value = Counts> {
    let number = || prop_oneof![0..200_u64, any::<u64>(), Just(u64::MAX)];
    (number(), number()).prop_map(|(packets, bytes)| Counts { packets, bytes })
}

fn traffic() -> impl Strategy<Value = Traffic> {
    let key = (
        address(),
        any::<i64>(),
        any::<i64>(),
        prop_oneof![Just(0), any::<i64>()],
    )
        .prop_map(|(address, origin, place, names)| Key {
            address,
            origin,
            place,
            names,
        });
    let sums = (counts(), any::<Option<u64>>(), any::<Option<u64>>()).prop_map(|(counts, tcp, quic)| Sums {
        counts,
        tcp,
        quic,
    });
    let prefix = (address(), 0..=32_u8)
        .prop_map(|(address, length)| address.map(|address| IpNet::new(address, length).unwrap()));
    (
        prop::collection::vec((key, sums), 0..30),
        prop::collection::vec((prefix, counts()), 0..10),
    )
        .prop_map(|(rows, banned)| Traffic {
            rows: rows.into_iter().collect(),
            banned: banned.into_iter().collect(),
        })
}

fn read(rows: &[u8], banned: &[u8]) -> Result<Traffic, Malformed> {
    let mut traffic = Traffic::default();
    rows_from_bytes(rows, |key, sums| traffic.add_row(key, sums))?;
    banned_from_bytes(banned, |prefix, counts| traffic.add_banned(prefix, counts))?;
    Ok(traffic)
}

proptest! {
    #[test]
    fn what_is_written_is_what_is_read(traffic in traffic()) {
        prop_assert_eq!(read(&traffic.rows_to_bytes(), &traffic.banned_to_bytes()), Ok(traffic));
    }

    #[test]
    fn a_value_that_is_cut_short_or_has_more_is_malformed(traffic in traffic(), cut in any::<prop::sample::Index>()) {
        let rows = |bytes: &[u8]| rows_from_bytes(bytes, |_, _| ());
        let banned = |bytes: &[u8]| banned_from_bytes(bytes, |_, _| ());
        let check = |mut bytes: Vec<u8>, read: &dyn Fn(&[u8]) -> Result<(), Malformed>| {
            assert_eq!(read(&bytes[..cut.index(bytes.len())]), Err(Malformed));
            bytes.push(0);
            assert_eq!(read(&bytes), Err(Malformed));
        };
        check(traffic.rows_to_bytes(), &rows);
        check(traffic.banned_to_bytes(), &banned);
    }

    #[test]
    fn hostile_bytes_are_read_or_malformed(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Some(first) = bytes.first_mut() {
            *first = FORM;
        }
        let mut rows = 0_usize;
        let read = rows_from_bytes(&bytes, |_, _| rows += 1);
        // Every row takes some bytes, so a number of rows cannot make it work without end.
        prop_assert!(rows <= bytes.len() && (read.is_ok() || read == Err(Malformed)));
        let _either_is_fine = banned_from_bytes(&bytes, |_, _| ());
    }

    #[test]
    fn folding_keeps_every_sum_and_the_largest(traffic in traffic(), top in 0..20_usize) {
        let sum = |traffic: &Traffic| -> (u128, u128, u128, u128) {
            let of = |rows: Vec<Counts>| rows.iter().fold((0, 0), |(packets, bytes), counts| {
                (packets + u128::from(counts.packets), bytes + u128::from(counts.bytes))
            });
            let rows = of(traffic.rows.values().map(|sums| sums.counts).collect());
            let banned = of(traffic.banned.values().copied().collect());
            (rows.0, rows.1, banned.0, banned.1)
        };
        // So that nothing saturates.
        let mut traffic = traffic;
        for counts in traffic.rows.values_mut().map(|sums| &mut sums.counts).chain(traffic.banned.values_mut()) {
            counts.packets >>= 8;
            counts.bytes >>= 8;
        }
        let mut folded = traffic.clone();
        folded.fold(top, |place| Ok::<_, ()>(place % 3)).unwrap();
        prop_assert_eq!(sum(&folded), sum(&traffic));
        let addresses = |traffic: &Traffic| -> HashSet<IpAddr> {
            traffic.rows.keys().filter_map(|key| key.address).collect()
        };
        prop_assert_eq!(addresses(&folded).len(), addresses(&traffic).len().min(top));
        let packets = |address: &IpAddr| -> u128 {
            traffic.rows.iter().filter(|(key, _)| key.address == Some(*address))
                .map(|(_, sums)| u128::from(sums.counts.packets)).sum()
        };
        let kept = addresses(&folded);
        let least = kept.iter().map(&packets).min();
        let most = addresses(&traffic).difference(&kept).map(packets).max();
        prop_assert!(least.zip(most).is_none_or(|(least, most)| least >= most));
        let prefixes = |traffic: &Traffic| traffic.banned.keys().flatten().count();
        prop_assert_eq!(prefixes(&folded), prefixes(&traffic).min(top));
    }

    #[test]
    fn united_rows_of_an_address_have_the_names_with_most_packets(
        rows in prop::collection::vec((0..3_u8, 0..2_i64, 0..2_i64, 0..5_i64, 0..9_u64), 0..40),
    ) {
        let mut traffic = Traffic::default();
        for (host, origin, place, names, packets) in rows {
            let address = (host > 0).then(|| Ipv4Addr::new(192, 0, 2, host).into());
            let names = if host > 0 { names } else { 0 };
            let counts = Counts { packets, bytes: packets * 100 };
            traffic.add_row(Key { address, origin, place, names }, Sums { counts, tcp: Some(1), quic: None });
        }
        let nameless = |key: &Key| Key { names: 0, ..*key };
        let sums = |traffic: &Traffic| {
            let mut sums: HashMap<Key, Sums> = HashMap::new();
            for (key, of) in &traffic.rows {
                sums.entry(nameless(key)).or_default().add(*of);
            }
            sums
        };
        let mut united = traffic.clone();
        united.unite();
        prop_assert_eq!(sums(&united), sums(&traffic));
        prop_assert_eq!(united.rows.len(), sums(&traffic).len());
        for key in united.rows.keys() {
            let of_key = traffic.rows.iter().filter(|(other, _)| nameless(other) == nameless(key) && other.names != 0);
            let best = of_key.max_by_key(|(other, sums)| (sums.counts.packets, Reverse(other.names)));
            prop_assert_eq!(key.names, best.map_or(0, |(other, _)| other.names));
        }
        let once = united.clone();
        united.unite();
        prop_assert_eq!(united, once);
    }
}
