//! Small files of libloc's form, whole and damaged.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::geo::import::steps::key;

/// A network of the file, and the prefix that leads to it.
struct Entry {
    prefix: &'static str,
    country: &'static [u8; 2],
    asn: u32,
    flags: u16,
}

const fn entry(prefix: &'static str, country: &'static [u8; 2], asn: u32, flags: u16) -> Entry {
    Entry {
        prefix,
        country,
        asn,
        flags,
    }
}

const ENTRIES: [Entry; 6] = [
    entry("192.0.2.0/24", b"DE", 64500, 0),
    entry("192.0.2.128/25", b"UK", 64501, ANYCAST | 1),
    entry("192.0.2.200/32", b"XX", 0, 0),
    entry("198.51.100.0/24", b"\0\0", 64502, 0),
    entry("2001:db8::/32", b"FR", 64500, 8),
    entry("2001:db8::1/128", b"A3", 64500, ANYCAST),
];

const NAMES: [(u32, &str); 2] = [(64500, "EXAMPLE"), (64501, "Caf\u{e9} \u{1b}[31mred\u{93}")];

/// Where [`file`] puts its sections.
const TREE: usize = 128;

/// A file of these networks, as libloc would write it.
fn file(entries: &[Entry]) -> Vec<u8> {
    let mut nodes = vec![[0u32, 0, NO_NETWORK]];
    for (index, entry) in entries.iter().enumerate() {
        let net: ipnet::IpNet = entry.prefix.parse().unwrap();
        let bits = u32::from(net.prefix_len()) + if net.network().is_ipv4() { 96 } else { 0 };
        let key = key(net.network());
        let mut at = 0;
        for depth in 0..bits {
            let bit = ((key >> (127 - depth)) & 1) as usize;
            if nodes[at][bit] == 0 {
                nodes[at][bit] = nodes.len() as u32;
                nodes.push([0, 0, NO_NETWORK]);
            }
            at = nodes[at][bit] as usize;
        }
        nodes[at][2] = index as u32;
    }
    let tree: Vec<u8> = nodes
        .as_flattened()
        .iter()
        .flat_map(|word| word.to_be_bytes())
        .collect();
    let networks: Vec<u8> = entries
        .iter()
        .flat_map(|entry| {
            let mut bytes = entry.country.to_vec();
            bytes.extend([0, 0]);
            bytes.extend(entry.asn.to_be_bytes());
            bytes.extend(entry.flags.to_be_bytes());
            bytes.extend([0, 0]);
            bytes
        })
        .collect();
    let (mut pool, mut asns) = (b"IPFire\0".to_vec(), Vec::new());
    for (asn, name) in NAMES {
        asns.extend(asn.to_be_bytes());
        asns.extend((pool.len() as u32).to_be_bytes());
        pool.extend(name.bytes());
        pool.push(0);
    }

    let mut bytes = MAGIC.to_vec();
    bytes.push(VERSION);
    bytes.extend(1_667_023_194u64.to_be_bytes());
    bytes.extend([0; 12]);
    let mut offset = TREE;
    let mut sections = Vec::new();
    for section in [&tree, &networks, &asns, &pool] {
        sections.push((offset as u32, section.len() as u32));
        offset += section.len();
    }
    let [tree_at, networks_at, asns_at, pool_at] = sections[..] else {
        unreachable!()
    };
    for (offset, length) in [asns_at, networks_at, tree_at, (0, 0), pool_at] {
        bytes.extend(offset.to_be_bytes());
        bytes.extend(length.to_be_bytes());
    }
    bytes.resize(TREE, 0);
    for section in [tree, networks, asns, pool] {
        bytes.extend(section);
    }
    bytes
}

fn read_bytes(bytes: &[u8]) -> Result<(Contents, Networks), Fault> {
    let mut networks = Networks::default();
    let contents = read(bytes, &mut networks, &Progress::hidden())?;
    Ok((contents, networks))
}

fn fault(bytes: &[u8]) -> String {
    read_bytes(bytes).unwrap_err().to_string()
}

/// The file with a word replaced.
fn with_word(offset: usize, word: u32) -> Vec<u8> {
    let mut bytes = file(&ENTRIES);
    bytes[offset..offset + 4].copy_from_slice(&word.to_be_bytes());
    bytes
}

#[test]
fn an_address_has_the_network_of_the_deepest_node_on_its_way() {
    let (contents, networks) = read_bytes(&file(&ENTRIES)).unwrap();
    assert_eq!(contents.created.to_string(), "2022-10-29T05:59:54Z");
    assert_eq!(contents.networks, 6);
    let at = |address: &str| {
        let key = key(address.parse().unwrap());
        let known = &contents.known;
        let network = known.networks.get(key).map(|id| networks.get(id));
        (
            known
                .countries
                .get(key)
                .map(|country| country.to_string())
                .unwrap_or_default(),
            network.map(|(asn, name)| (asn, name.unwrap_or_default())),
            known.anycast.get(key),
        )
    };
    for address in ["192.0.2.0", "192.0.2.127"] {
        assert_eq!(at(address), ("DE".into(), Some((64500, "EXAMPLE")), Some(false)));
    }
    for address in ["192.0.2.128", "192.0.2.199", "192.0.2.201", "192.0.2.255"] {
        assert_eq!(
            at(address),
            ("GB".into(), Some((64501, "Caf\u{e9} [31mred")), Some(true))
        );
    }
    assert_eq!(at("192.0.2.200"), (String::new(), None, Some(false)));
    assert_eq!(
        at("198.51.100.9"),
        (String::new(), Some((64502, "")), Some(false))
    );
    assert_eq!(
        at("2001:db8::"),
        ("FR".into(), Some((64500, "EXAMPLE")), Some(false))
    );
    assert_eq!(
        at("2001:db8::1"),
        (String::new(), Some((64500, "EXAMPLE")), Some(true))
    );
    assert_eq!(
        at("2001:db8::2"),
        ("FR".into(), Some((64500, "EXAMPLE")), Some(false))
    );
    for address in ["192.0.1.255", "192.0.3.0", "::", "2001:db9::"] {
        assert_eq!(at(address), (String::new(), None, None));
    }
}

#[test]
fn a_network_above_all_covers_both_families_to_the_last_address() {
    let (contents, _) = read_bytes(&file(&[entry("::/0", b"DE", 0, 0)])).unwrap();
    let runs: Vec<_> = contents.known.countries.runs().collect();
    assert_eq!((runs.len(), runs[0].first, runs[0].last), (1, 0, u128::MAX));
}

#[test]
fn a_file_that_is_cut_short_anywhere_is_refused() {
    let whole = file(&ENTRIES);
    for length in MAGIC.len()..whole.len() {
        assert!(
            read_bytes(&whole[..length]).is_err(),
            "{length} of {} bytes",
            whole.len()
        );
    }
}

#[test]
fn each_lie_of_a_file_has_its_error() {
    let nodes = u32_at(&file(&ENTRIES), TREE_SECTION + 4).unwrap() / 12;
    let end = file(&ENTRIES).len();
    let mut version = file(&ENTRIES);
    version[7] = 2;
    assert_eq!(
        fault(&version),
        "it is of version 2, and this program reads version 1"
    );
    assert_eq!(fault(&file(&ENTRIES)[..30]), "the header ends at offset 30");
    assert_eq!(
        fault(&with_word(8, 0xffff_ffff)),
        format!(
            "the time of its making, {}, is impossible",
            (0xffff_ffffu64 << 32) | 1_667_023_194
        )
    );
    assert_eq!(
        fault(&with_word(TREE_SECTION, 0xffff_fff0)),
        format!(
            "the tree nodes would end at offset {}, the file ends at {end}",
            0xffff_fff0u64 + u64::from(nodes) * 12
        )
    );
    assert_eq!(
        fault(&with_word(TREE_SECTION + 4, 13)),
        "the tree nodes at offset 128 have 13 bytes, which is not a multiple of 12"
    );
    assert_eq!(fault(&with_word(TREE_SECTION + 4, 0)), "it has no tree");
    assert_eq!(
        fault(&with_word(TREE, nodes)),
        format!("the tree node at offset 128 leads to node {nodes}, and there are {nodes}")
    );
    assert_eq!(
        fault(&with_word(TREE + 8, 6)),
        "the tree node at offset 128 has network 6, and there are 6"
    );
    // The root leads to itself through its second child, which is on its own way, too.
    assert_eq!(
        fault(&with_word(TREE + 12 + 4, 1)),
        "the tree node at offset 140 is reached more than once"
    );
    let code = u32_at(&file(&ENTRIES), NETWORK_SECTION).unwrap() as usize;
    let error = read_bytes(&with_word(code, 0x1b5b_0000)).unwrap_err();
    assert_eq!(error.to_string(), format!("in the network at offset {code}"));
    let asns = u32_at(&file(&ENTRIES), AS_SECTION).unwrap() as usize;
    assert_eq!(
        fault(&with_word(asns + 4, 0xffff_ffff)),
        format!("the name of the AS number at offset {asns} lies outside the strings")
    );
}

#[test]
fn a_way_that_is_longer_than_an_address_is_refused() {
    let mut bytes = file(&[entry("2001:db8::1/128", b"FR", 0, 0)]);
    let nodes = u32_at(&bytes, TREE_SECTION + 4).unwrap() / 12;
    assert_eq!(nodes, 129);
    // The last node leads to one more, which is appended.
    let last = TREE + 128 * 12;
    bytes.extend_from_within(TREE..TREE + 129 * 12);
    let moved = (bytes.len() - 129 * 12) as u32;
    bytes.extend([0; 12]);
    bytes[TREE_SECTION..TREE_SECTION + 4].copy_from_slice(&moved.to_be_bytes());
    bytes[TREE_SECTION + 4..TREE_SECTION + 8].copy_from_slice(&(130 * 12u32).to_be_bytes());
    let last = moved as usize + (last - TREE);
    bytes[last..last + 4].copy_from_slice(&129u32.to_be_bytes());
    assert_eq!(
        fault(&bytes),
        format!("the tree node at offset {last} lies deeper than an address has bits")
    );
}

#[test]
fn a_name_that_is_not_text_comes_in_replaced_and_one_without_an_end_is_cut() {
    let mut bytes = file(&ENTRIES);
    let at = bytes.windows(7).position(|window| window == b"EXAMPLE").unwrap();
    bytes[at] = 0xff;
    let (_, networks) = read_bytes(&bytes).unwrap();
    assert!(networks.find(64500, Some("\u{fffd}XAMPLE")).is_some());

    let mut bytes = file(&ENTRIES);
    let last = bytes.len() - 1;
    bytes[last] = b'x';
    bytes.extend(vec![b'y'; 5000]);
    let pool = u32_at(&bytes, POOL_SECTION + 4).unwrap() + 5000;
    bytes[POOL_SECTION + 4..POOL_SECTION + 8].copy_from_slice(&pool.to_be_bytes());
    let (_, networks) = read_bytes(&bytes).unwrap();
    let name = networks.find(64501, Some(&format!("Caf\u{e9} [31mredx{}", "y".repeat(242))));
    assert!(name.is_some(), "{networks:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// No damage panics, hangs or fills the memory: what comes out is bounded by the tree.
    #[test]
    fn damage_anywhere_ends_in_an_error_or_in_less_than_the_tree(
        changes in proptest::collection::vec((0..1usize << 16, prop_oneof![any::<u8>(), Just(0), Just(1), Just(0xff)]), 1..8),
        cut in proptest::option::of(0..1usize << 16),
    ) {
        let mut bytes = file(&ENTRIES);
        let length = bytes.len();
        for (at, byte) in changes {
            // Every second change hits the header, where most is at stake.
            let at = if at % 2 == 0 { at % TREE } else { at % length };
            if at >= MAGIC.len() {
                bytes[at] = byte;
            }
        }
        if let Some(cut) = cut {
            bytes.truncate((cut % length).max(MAGIC.len()));
        }
        let started = Instant::now();
        if let Ok((contents, _)) = read_bytes(&bytes) {
            prop_assert!(contents.known.anycast.len() <= 2 * bytes.len() / NODE_BYTES + 2);
        }
        prop_assert!(started.elapsed() < Duration::from_secs(1));
    }
}
