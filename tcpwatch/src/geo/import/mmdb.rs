//! MaxMind's file form, version 2 (<https://maxmind.github.io/MaxMind-DB/>): a tree with a node for each bit of an address, the
//! records that its leaves point to, and metadata. It knows no field of a record.
//!
//! The crate mmdb-writer makes the same files, of networks in any order. It holds every distinct record several times as a
//! tree of maps, which for Debian's data is 0.9 GB: more than a small server has. What is here takes sorted ranges, and holds
//! each record once, as it is written.

mod data;
mod tree;

use crate::geo::import::steps::Run;

pub use data::Data;
use tree::{Record, Tree};

/// What begins the metadata.
const MARKER: &[u8] = b"\xab\xcd\xefMaxMind.com";

/// Zero bytes between tree and records, which the numbers of records count.
const SEPARATOR_BYTES: usize = 16;

/// Bits of a number in a node that the form knows.
const RECORD_BITS: [u32; 3] = [24, 28, 32];

/// Tree and records are larger than the form can have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{nodes} nodes and {bytes} bytes of records are more than the form can have")]
pub struct TooLarge {
    nodes: usize,
    bytes: usize,
}

/// What the metadata say.
#[derive(Clone, Copy, Debug)]
pub struct Metadata<'a> {
    pub kind: &'a str,
    pub language: &'a str,
    pub description: &'a str,
    /// Seconds since 1970.
    pub build_epoch: u64,
}

/// Lays out a file of both families. `v4` and `v6` are sorted ranges of addresses as numbers, each with the place of its record
/// in `data`; those of IPv6 lie outside ::/96, ::ffff:0:0/96, 2001::/32 and 2002::/16, where the form has IPv4.
///
/// # Errors
///
/// The form cannot have so much.
pub fn file(
    v4: &[Run<u32>],
    v6: &[Run<u32>],
    data: &Data,
    metadata: Metadata<'_>,
) -> Result<Vec<u8>, TooLarge> {
    let tree = Tree::of(v4, v6);
    let nodes = tree.nodes();
    let records = data.bytes();
    let too_large = TooLarge {
        nodes: nodes.len(),
        bytes: records.len(),
    };
    let count = u32::try_from(nodes.len()).map_err(|_too_many| too_large)?;
    // The last byte of the records, and so more than every number in the tree.
    let end = nodes.len() as u64 + (SEPARATOR_BYTES + records.len()) as u64;
    let bits = RECORD_BITS
        .into_iter()
        .find(|bits| end < 1 << bits)
        .ok_or(too_large)?;
    let number = |record: &Record| match *record {
        Record::Nothing => count,
        Record::Node(node) => node,
        // Less than `end`, which fits.
        Record::Data(offset) => count + SEPARATOR_BYTES as u32 + offset,
    };
    let mut bytes = Vec::with_capacity(end as usize + nodes.len() * 8);
    for [left, right] in nodes {
        push_node(&mut bytes, number(left), number(right), bits);
    }
    bytes.extend([0; SEPARATOR_BYTES]);
    bytes.extend(records);
    bytes.extend(MARKER);
    bytes.extend(metadata.bytes(count, bits));
    Ok(bytes)
}

/// With 28 bits, the byte in the middle has the upper four of both.
fn push_node(bytes: &mut Vec<u8>, left: u32, right: u32, bits: u32) {
    let (left, right) = (left.to_be_bytes(), right.to_be_bytes());
    match bits {
        24 => {
            bytes.extend(&left[1..]);
            bytes.extend(&right[1..]);
        }
        28 => {
            bytes.extend(&left[1..]);
            bytes.push((left[0] << 4) | (right[0] & 0x0f));
            bytes.extend(&right[1..]);
        }
        _ => {
            bytes.extend(left);
            bytes.extend(right);
        }
    }
}

impl Metadata<'_> {
    fn bytes(&self, nodes: u32, bits: u32) -> Vec<u8> {
        let mut data = Data::default();
        data.map(9);
        data.text("binary_format_major_version");
        data.number_16(2);
        data.text("binary_format_minor_version");
        data.number_16(0);
        data.text("build_epoch");
        data.number_64(self.build_epoch);
        data.text("database_type");
        data.text(self.kind);
        data.text("description");
        data.map(1);
        data.text(self.language);
        data.text(self.description);
        data.text("ip_version");
        data.number_16(6);
        data.text("languages");
        data.list(1);
        data.text(self.language);
        data.text("node_count");
        data.number(nodes);
        data.text("record_size");
        data.number_16(bits as u16);
        data.into_bytes()
    }
}

#[cfg(test)]
mod tests;
