//! MMDB files put together piece by piece, so that they can be what no writer would make: pointers and tree records that
//! lead anywhere, sizes that are not there, metadata that lies. [`crate::places`] makes honest ones.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

/// What stands before the metadata.
pub const MARKER: &[u8] = b"\xab\xcd\xefMaxMind.com";

/// Zeroes between the search tree and the data.
pub const SEPARATOR: usize = 16;

/// Types of values, as the format numbers them.
pub mod kind {
    #![allow(missing_docs, reason = "the names of the specification")]

    pub const POINTER: u8 = 1;
    pub const TEXT: u8 = 2;
    pub const DOUBLE: u8 = 3;
    pub const BYTES: u8 = 4;
    pub const UINT16: u8 = 5;
    pub const UINT32: u8 = 6;
    pub const MAP: u8 = 7;
    pub const INT32: u8 = 8;
    pub const UINT64: u8 = 9;
    pub const UINT128: u8 = 10;
    pub const ARRAY: u8 = 11;
    pub const CACHE: u8 = 12;
    pub const END: u8 = 13;
    pub const BOOL: u8 = 14;
    pub const FLOAT: u8 = 15;
}

/// Values one after another, as they are encoded. Nothing checks that they belong together: a map is a header, and its
/// pairs are whatever is written behind it.
#[derive(Clone, Debug, Default)]
pub struct Data {
    bytes: Vec<u8>,
}

impl Data {
    /// Where the next value will be.
    pub fn here(&self) -> usize {
        self.bytes.len()
    }

    /// What was written.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes as they are.
    pub fn raw(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.bytes.extend_from_slice(bytes.as_ref());
        self
    }

    /// The header of a value of type `kind` that says it is `size` long, below 2^24.
    ///
    /// # Panics
    ///
    /// When the format cannot express the size.
    pub fn header(&mut self, kind: u8, size: usize) -> &mut Self {
        let (low, more): (u8, Vec<u8>) = match size {
            0..29 => (size as u8, vec![]),
            29..285 => (29, vec![(size - 29) as u8]),
            285..65_821 => (30, ((size - 285) as u16).to_be_bytes().to_vec()),
            _ => {
                let rest = u32::try_from(size - 65_821).expect("a size");
                assert!(rest < 1 << 24, "no header can say {size}");
                (31, rest.to_be_bytes()[1..].to_vec())
            }
        };
        if kind > 7 {
            self.bytes.extend([low, kind - 7]);
        } else {
            self.bytes.push(kind << 5 | low);
        }
        self.raw(more)
    }

    /// The header of a map; `pairs` keys and values belong behind it.
    pub fn map(&mut self, pairs: usize) -> &mut Self {
        self.header(kind::MAP, pairs)
    }

    /// The header of an array; `items` values belong behind it.
    pub fn array(&mut self, items: usize) -> &mut Self {
        self.header(kind::ARRAY, items)
    }

    /// A string, of whatever bytes.
    pub fn text(&mut self, text: impl AsRef<[u8]>) -> &mut Self {
        self.header(kind::TEXT, text.as_ref().len()).raw(text)
    }

    /// A number of an unsigned type, in as few bytes as it takes.
    pub fn unsigned(&mut self, kind: u8, number: u64) -> &mut Self {
        let bytes = number.to_be_bytes();
        let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
        self.header(kind, bytes.len() - first).raw(&bytes[first..])
    }

    /// A signed number.
    pub fn int32(&mut self, number: i32) -> &mut Self {
        self.header(kind::INT32, 4).raw(number.to_be_bytes())
    }

    /// True or false.
    pub fn boolean(&mut self, value: bool) -> &mut Self {
        self.header(kind::BOOL, usize::from(value))
    }

    /// A pointer in five bytes, so that its length does not depend on where it leads.
    pub fn pointer(&mut self, target: usize) -> &mut Self {
        let target = u32::try_from(target).expect("an offset");
        self.raw([kind::POINTER << 5 | 3 << 3]).raw(target.to_be_bytes())
    }

    /// The record of GeoIP2 that says a country.
    pub fn country(&mut self, code: &str, name: &str) -> &mut Self {
        self.map(1)
            .text("country")
            .map(2)
            .text("iso_code")
            .text(code)
            .text("names")
            .map(1)
            .text("en")
            .text(name)
    }
}

/// Where a side of a node leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// To another node.
    Node(usize),
    /// To no record.
    Nothing,
    /// To the record at this offset of the data.
    Data(usize),
    /// The number as it stands in the file.
    Raw(u32),
}

/// The search tree.
#[derive(Clone, Debug)]
pub struct Tree {
    /// The sides for a 0 and for a 1.
    pub nodes: Vec<[To; 2]>,
    /// Whether its first level is the first bit of an IPv4 address; otherwise IPv4 is in ::/96.
    pub is_ipv4: bool,
}

impl Default for Tree {
    fn default() -> Self {
        Self {
            nodes: vec![[To::Nothing; 2]],
            is_ipv4: false,
        }
    }
}

impl Tree {
    /// Leads `network` to `to`.
    ///
    /// # Panics
    ///
    /// When the network is all there is, is IPv6 in a tree of IPv4, or lies in one that leads to a record already.
    pub fn put(&mut self, network: &str, to: To) {
        let network: IpNet = network.parse().expect("a literal prefix");
        let (bits, length) = match network.network() {
            IpAddr::V4(address) if self.is_ipv4 => {
                (u128::from(address.to_bits()) << 96, network.prefix_len())
            }
            IpAddr::V4(address) => (u128::from(address.to_bits()), 96 + network.prefix_len()),
            IpAddr::V6(address) => {
                assert!(!self.is_ipv4, "a tree of IPv4 has no {network}");
                (address.to_bits(), network.prefix_len())
            }
        };
        let side = |depth: u8| usize::from(bits >> (127 - depth) & 1 == 1);
        let last = length.checked_sub(1).expect("a part of all there is");
        let mut node = 0;
        for depth in 0..last {
            let next = self.nodes.len();
            let at = &mut self.nodes[node][side(depth)];
            node = match *at {
                To::Node(node) => node,
                To::Nothing => {
                    *at = To::Node(next);
                    self.nodes.push([To::Nothing; 2]);
                    next
                }
                other => panic!("{network} lies in a network that leads to {other:?}"),
            };
        }
        self.nodes[node][side(last)] = to;
    }

    fn bytes(&self, record_size: usize) -> Vec<u8> {
        let count = self.nodes.len();
        let number = |to: To| match to {
            To::Node(node) => node as u32,
            To::Nothing => count as u32,
            To::Data(offset) => (count + SEPARATOR + offset) as u32,
            To::Raw(number) => number,
        };
        let mut bytes = Vec::with_capacity(count * record_size / 4);
        for node in &self.nodes {
            let [left, right] = node.map(|to| number(to).to_be_bytes());
            match record_size {
                24 => bytes.extend([&left[1..], &right[1..]].concat()),
                28 => {
                    bytes.extend(&left[1..]);
                    bytes.push(left[0] << 4 | right[0] & 0xf);
                    bytes.extend(&right[1..]);
                }
                _ => bytes.extend([left, right].concat()),
            }
        }
        bytes
    }
}

/// A whole file. What its metadata says is true until [`File::claim`] or [`File::conceal`] changes it.
#[derive(Clone, Debug)]
pub struct File {
    /// The search tree.
    pub tree: Tree,
    /// What is between it and the data.
    pub separator: Vec<u8>,
    /// The records.
    pub data: Data,
    /// Bits of one side of a node: 24, 28 or 32.
    pub record_size: usize,
    /// What the metadata says instead of the truth, by key; none: the key is missing.
    lies: BTreeMap<String, Option<Vec<u8>>>,
    kind: String,
}

impl File {
    /// An empty database for both families.
    pub fn new(kind: &str) -> Self {
        Self {
            tree: Tree::default(),
            separator: vec![0; SEPARATOR],
            data: Data::default(),
            record_size: 28,
            lies: BTreeMap::new(),
            kind: kind.to_owned(),
        }
    }

    /// Lets the metadata say `value` for `key`.
    pub fn claim(&mut self, key: &str, value: impl FnOnce(&mut Data)) -> &mut Self {
        let mut data = Data::default();
        value(&mut data);
        self.lies.insert(key.to_owned(), Some(data.bytes));
        self
    }

    /// Leaves `key` out of the metadata.
    pub fn conceal(&mut self, key: &str) -> &mut Self {
        self.lies.insert(key.to_owned(), None);
        self
    }

    /// The metadata, without the marker.
    pub fn metadata(&self) -> Vec<u8> {
        let mut pairs: BTreeMap<String, Option<Vec<u8>>> = BTreeMap::new();
        let mut say = |key: &str, value: &dyn Fn(&mut Data)| {
            let mut data = Data::default();
            value(&mut data);
            pairs.insert(key.to_owned(), Some(data.bytes));
        };
        let uint16 = |number: usize| {
            move |data: &mut Data| {
                data.unsigned(kind::UINT16, number as u64);
            }
        };
        say("binary_format_major_version", &uint16(2));
        say("binary_format_minor_version", &uint16(0));
        say("ip_version", &uint16(if self.tree.is_ipv4 { 4 } else { 6 }));
        say("record_size", &uint16(self.record_size));
        say("node_count", &|data| {
            data.unsigned(kind::UINT32, self.tree.nodes.len() as u64);
        });
        say("build_epoch", &|data| {
            data.unsigned(kind::UINT64, crate::places::BUILT_EPOCH_S);
        });
        say("database_type", &|data| {
            data.text(&self.kind);
        });
        say("languages", &|data| {
            data.array(1).text("en");
        });
        say("description", &|data| {
            data.map(1).text("en").text("made for a test");
        });
        pairs.extend(self.lies.clone());
        let told: Vec<_> = pairs
            .iter()
            .filter_map(|(key, value)| value.as_ref().map(|value| (key, value)))
            .collect();
        let mut data = Data::default();
        data.map(told.len());
        for (key, value) in told {
            data.text(key).raw(value);
        }
        data.bytes
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        [
            &self.tree.bytes(self.record_size)[..],
            &self.separator,
            self.data.as_slice(),
            MARKER,
            &self.metadata(),
        ]
        .concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_as_the_specification_writes_them() {
        let header = |kind, size| {
            let mut data = Data::default();
            data.header(kind, size);
            data.bytes
        };
        assert_eq!(header(kind::TEXT, 28), [0x5c]);
        assert_eq!(header(kind::TEXT, 29), [0x5d, 0]);
        assert_eq!(header(kind::TEXT, 284), [0x5d, 255]);
        assert_eq!(header(kind::MAP, 285), [0xfe, 0, 0]);
        assert_eq!(header(kind::ARRAY, 65_821), [0x1f, 4, 0, 0, 0]);
        assert_eq!(header(kind::BYTES, 16_843_036), [0x9f, 0xff, 0xff, 0xff]);
    }

    #[test]
    fn sides_of_28_bits_share_the_byte_in_the_middle() {
        let tree = Tree {
            nodes: vec![[To::Raw(0x0123_4567), To::Raw(0x089a_bcde)]],
            is_ipv4: false,
        };
        assert_eq!(tree.bytes(28), [0x23, 0x45, 0x67, 0x18, 0x9a, 0xbc, 0xde]);
    }
}
