//! The tree of a file: which record an address leads to, bit by bit.

use crate::geo::import::steps::Run;

/// Where in the tree of IPv6 the one of IPv4 is found: ::/96, its own place; and ::ffff:0:0/96, Teredo and 6to4, under which
/// readers expect it, too. First address and bits that follow.
const IPV4_AT: [(u128, u32); 4] = [
    (0, 32),
    (0xffff_0000_0000, 32),
    (0x2001_0000 << 96, 96),
    (0x2002 << 112, 112),
];

/// Where one bit leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Record {
    /// Nothing is known of these addresses.
    Nothing,
    /// The next bit decides.
    Node(u32),
    /// The record at this place.
    Data(u32),
}

/// Nodes, the first one first: where a 0 leads, where a 1 leads.
#[derive(Debug)]
pub struct Tree {
    nodes: Vec<[Record; 2]>,
    /// The first node of IPv4; nothing: no address of IPv4 has a record.
    ipv4: Record,
}

impl Tree {
    /// The tree of sorted ranges of both families.
    pub fn of(v4: &[Run<u32>], v6: &[Run<u32>]) -> Self {
        let mut tree = Self {
            nodes: Vec::new(),
            ipv4: Record::Nothing,
        };
        tree.split(0, 128, v6, Some(v4));
        tree
    }

    /// All nodes.
    pub fn nodes(&self) -> &[[Record; 2]] {
        &self.nodes
    }

    /// Where the addresses from `first` on, that differ in the last `bits`, lead. `runs` are those that have some of them. In
    /// the tree of IPv6, `v4` is that of IPv4.
    fn place(&mut self, first: u128, bits: u32, runs: &[Run<u32>], v4: Option<&[Run<u32>]>) -> Record {
        let last = first | mask(bits);
        if let Some(v4) = v4.filter(|v4| !v4.is_empty()) {
            if IPV4_AT.contains(&(first, bits)) {
                // Its own place comes first.
                if first == 0 {
                    self.ipv4 = self.split(0, 32, v4, None);
                }
                return self.ipv4;
            }
            if IPV4_AT.iter().any(|(at, _)| (first..=last).contains(at)) {
                return self.split(first, bits, runs, Some(v4));
            }
        }
        match runs {
            [] => Record::Nothing,
            [run] if run.first <= first && run.last >= last => Record::Data(run.value),
            _ => self.split(first, bits, runs, v4),
        }
    }

    /// A node, in any case: readers want one at the beginning of each family.
    fn split(&mut self, first: u128, bits: u32, runs: &[Run<u32>], v4: Option<&[Run<u32>]>) -> Record {
        let node = self.nodes.len();
        self.nodes.push([Record::Nothing; 2]);
        let bits = bits - 1;
        let middle = first | (1 << bits);
        let below = &runs[..runs.partition_point(|run| run.first < middle)];
        let above = &runs[runs.partition_point(|run| run.last < middle)..];
        self.nodes[node] = [
            self.place(first, bits, below, v4),
            self.place(middle, bits, above, v4),
        ];
        // Their number is limited by the file's.
        Record::Node(u32::try_from(node).unwrap_or(u32::MAX))
    }
}

/// So many bits, all set.
fn mask(bits: u32) -> u128 {
    u128::MAX.checked_shr(128 - bits).unwrap_or(0)
}
