//! libloc's location database, version 1. All numbers in it are big-endian:
//!
//! * 7 bytes `LOCDBXX`, one byte version, then a header: when it was made (64 bits, seconds since 1970), three places in
//!   the pool of strings (maker, description, licence), and offset and length of five sections;
//! * networks: country code (2 bytes), 2 unused, AS number, flags (16 bits), 2 unused;
//! * tree: the node for a 0 bit, the node for a 1 bit (0: none), the network (0xffffffff: none);
//! * AS numbers: number, name in the pool, ascending;
//! * strings, each ended by a zero byte.
//!
//! An address has the network of the deepest node on its way through the tree. IPv4 lies under ::ffff:0:0/96. The
//! file may be anybody's: nothing in it is trusted.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use foldhash::fast::RandomState;
use jiff::Timestamp;

use crate::enrich::countries::Country;
use crate::geo::import::progress::Progress;
use crate::geo::import::source::{Known, NetworkId, Networks, name};

mod fault;

pub use fault::Fault;

/// How such a file begins.
pub const MAGIC: &[u8] = b"LOCDBXX";

const VERSION: u8 = 1;
const NO_NETWORK: u32 = 0xffff_ffff;
const ANYCAST: u16 = 0x0004;

/// The header's places of the sections.
const AS_SECTION: usize = 28;
const NETWORK_SECTION: usize = 36;
const TREE_SECTION: usize = 44;
const POOL_SECTION: usize = 60;

const AS_BYTES: usize = 8;
const NETWORK_BYTES: usize = 12;
const NODE_BYTES: usize = 12;

/// Bits of an address, and so the most nodes on a way through the tree, without the first.
const DEPTH: u32 = 128;

/// How far the end of a string is looked for: names are far shorter.
const LONGEST_NAME_BYTES: usize = 1024;

/// What a file says.
#[derive(Debug)]
pub struct Contents {
    pub created: Timestamp,
    /// Networks it has.
    pub networks: usize,
    pub known: Known,
}

/// Reads a file, whose names go to `networks`.
///
/// # Errors
///
/// See [`Fault`].
pub fn read(bytes: &[u8], networks: &mut Networks, progress: &Progress) -> Result<Contents, Fault> {
    let file = File::open(bytes)?;
    let mut ids = Ids::default();
    let answers = (0..file.networks.count())
        .map(|index| file.answer(index, &mut ids, networks))
        .collect::<Result<Vec<_>, _>>()?;
    let mut known = Known::default();
    progress.measure(file.nodes.count() as u64);
    file.walk(
        |visited| progress.reached(visited),
        |first, last, network| {
            let answer = &answers[network];
            if let Some(country) = answer.country {
                known.countries.add(first, last, country);
            }
            if let Some(network) = answer.network {
                known.networks.add(first, last, network);
            }
            known.anycast.add(first, last, answer.anycast);
        },
    )?;
    Ok(Contents {
        created: file.created,
        networks: answers.len(),
        known,
    })
}

/// The networks that were met already, by AS number.
type Ids = HashMap<u32, NetworkId, RandomState>;

/// What the file says of one network.
#[derive(Debug)]
struct Answer {
    country: Option<Country>,
    network: Option<NetworkId>,
    anycast: bool,
}

/// A table in the file.
#[derive(Clone, Copy, Debug)]
struct Section<'a> {
    offset: usize,
    bytes: &'a [u8],
    /// Bytes of each entry.
    entry: usize,
}

impl<'a> Section<'a> {
    /// The section whose offset and length are at `header`.
    fn at(file: &'a [u8], header: usize, name: &'static str, entry: usize) -> Result<Self, Fault> {
        let word = |at| u32_at(file, at).ok_or(Fault::Header(file.len()));
        let (offset, length) = (word(header)?, word(header + 4)?);
        let end = u64::from(offset) + u64::from(length);
        let (offset, length) = (offset as usize, length as usize);
        let Some(bytes) = file.get(offset..).and_then(|rest| rest.get(..length)) else {
            return Err(Fault::Outside {
                section: name,
                end,
                bytes: file.len(),
            });
        };
        if length % entry != 0 {
            return Err(Fault::Uneven {
                section: name,
                offset,
                length,
                entry,
            });
        }
        Ok(Self { offset, bytes, entry })
    }

    fn count(&self) -> usize {
        self.bytes.len() / self.entry
    }

    /// Where an entry lies in the file.
    fn offset_of(&self, index: usize) -> usize {
        self.offset + index * self.entry
    }

    /// A number in an entry; 0 where there is no such entry.
    fn word(&self, index: usize, within: usize) -> u32 {
        u32_at(self.bytes, index * self.entry + within).unwrap_or_default()
    }
}

#[derive(Debug)]
struct File<'a> {
    created: Timestamp,
    asns: Section<'a>,
    networks: Section<'a>,
    nodes: Section<'a>,
    pool: Section<'a>,
}

impl<'a> File<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self, Fault> {
        match bytes.get(MAGIC.len()) {
            Some(&VERSION) => {}
            Some(version) => return Err(Fault::Version(*version)),
            None => return Err(Fault::Header(bytes.len())),
        }
        let created = bytes
            .get(MAGIC.len() + 1..)
            .and_then(|rest| rest.first_chunk())
            .map(|bytes| u64::from_be_bytes(*bytes))
            .ok_or(Fault::Header(bytes.len()))?;
        let file = Self {
            created: i64::try_from(created)
                .ok()
                .and_then(|seconds| Timestamp::from_second(seconds).ok())
                .ok_or(Fault::Created(created))?,
            asns: Section::at(bytes, AS_SECTION, "AS numbers", AS_BYTES)?,
            networks: Section::at(bytes, NETWORK_SECTION, "networks", NETWORK_BYTES)?,
            nodes: Section::at(bytes, TREE_SECTION, "tree nodes", NODE_BYTES)?,
            pool: Section::at(bytes, POOL_SECTION, "strings", 1)?,
        };
        if file.nodes.count() == 0 {
            return Err(Fault::NoTree);
        }
        Ok(file)
    }

    fn answer(&self, index: usize, ids: &mut Ids, networks: &mut Networks) -> Result<Answer, Fault> {
        let code = self.networks.word(index, 0).to_be_bytes();
        let country = Country::parse(&code[..2]).map_err(|source| Fault::Code {
            offset: self.networks.offset_of(index),
            source,
        })?;
        let network = match self.networks.word(index, 4) {
            0 => None,
            asn => Some(match ids.entry(asn) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(new) => *new.insert(networks.id(asn, self.name(asn)?.as_deref())?),
            }),
        };
        let flags = (self.networks.word(index, 8) >> 16) as u16;
        Ok(Answer {
            country,
            network,
            anycast: flags & ANYCAST != 0,
        })
    }

    /// The name of a network, where the file has one.
    fn name(&self, asn: u32) -> Result<Option<String>, Fault> {
        let (mut low, mut high) = (0, self.asns.count());
        while low < high {
            let middle = low.midpoint(high);
            if self.asns.word(middle, 0) < asn {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if low == self.asns.count() || self.asns.word(low, 0) != asn {
            return Ok(None);
        }
        let text = self
            .pool
            .bytes
            .get(self.asns.word(low, 4) as usize..)
            .filter(|rest| !rest.is_empty())
            .ok_or(Fault::Name {
                offset: self.asns.offset_of(low),
            })?;
        let text = &text[..text.len().min(LONGEST_NAME_BYTES)];
        let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
        Ok(name(&text[..end]))
    }

    /// Calls `found` for every range of addresses that has a network, in order, and `reached` with the number of
    /// nodes behind it.
    ///
    /// Each node is entered once at most, so that no tree takes longer than its length.
    fn walk(
        &self,
        mut reached: impl FnMut(u64),
        mut found: impl FnMut(u128, u128, usize),
    ) -> Result<(), Fault> {
        let nodes = self.nodes.count();
        let mut entered = vec![false; nodes];
        let mut visited = 0;
        let mut waiting = vec![Part {
            node: Some(0),
            first: 0,
            depth: 0,
            network: None,
        }];
        while let Some(part) = waiting.pop() {
            let Some(node) = part.node else {
                if let Some(network) = part.network {
                    found(part.first, part.last(), network);
                }
                continue;
            };
            let offset = self.nodes.offset_of(node);
            if std::mem::replace(&mut entered[node], true) {
                return Err(Fault::Shared { offset });
            }
            visited += 1;
            reached(visited);
            let network = match self.nodes.word(node, 8) {
                NO_NETWORK => part.network,
                network if (network as usize) < self.networks.count() => Some(network as usize),
                network => {
                    return Err(Fault::Network {
                        offset,
                        network,
                        networks: self.networks.count(),
                    });
                }
            };
            let child = |bit: u32| match self.nodes.word(node, 4 * bit as usize) {
                0 => Ok(None),
                child if child as usize >= nodes => Err(Fault::Child { offset, child, nodes }),
                _ if part.depth == DEPTH => Err(Fault::Deep { offset }),
                child => Ok(Some(child as usize)),
            };
            let children = (child(0)?, child(1)?);
            if children == (None, None) {
                waiting.push(Part {
                    node: None,
                    network,
                    ..part
                });
                continue;
            }
            // The upper half first: what waits last comes next.
            for (bit, child) in [(1, children.1), (0, children.0)] {
                waiting.push(Part {
                    node: child,
                    first: part.first | (bit << (DEPTH - 1 - part.depth)),
                    depth: part.depth + 1,
                    network,
                });
            }
        }
        Ok(())
    }
}

/// A part of the address space that is still to be walked through.
#[derive(Clone, Copy, Debug)]
struct Part {
    /// Its node; none where the tree ends above it.
    node: Option<usize>,
    first: u128,
    /// Bits of `first` that count.
    depth: u32,
    /// What the nodes above it say.
    network: Option<usize>,
}

impl Part {
    fn last(&self) -> u128 {
        self.first | u128::MAX.checked_shr(self.depth).unwrap_or(0)
    }
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests;
