//! One generation's tables behind the front table, and the policy that is in them.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use aya::Ebpf;
use aya::maps::lpm_trie::Key;
use aya::maps::{Array, HashMap, LpmTrie, MapData, MapError};
use ipnet::IpNet;
use tcpwatch_common::front::{SOURCE_NUMBERS, UNUSUAL_NUMBERS, tag};
use tcpwatch_common::{Address, BAN_IPV6, Counts, FlowKey, SOURCES_ROOM, SourceKey};

use super::{TableError, map_error, own_descriptor, take};
use crate::kernel::busiest::UsualSources;
use crate::kernel::front::Numbers;
use crate::kernel::policy::{PolicySet, to_prefix};

/// One generation's maps behind the front table.
pub(super) struct Side {
    /// By its descriptor: it is only used in batches.
    pub(super) spill: OwnedFd,
    pub(super) sources: HashMap<MapData, SourceKey, u32>,
    pub(super) numbers: Array<MapData, [u32; 5]>,
    pub(super) bans: LpmTrie<MapData, Address, u32>,
    pub(super) ban_counts: Array<MapData, Counts>,
    /// The same map, for reading in batches.
    pub(super) ban_counts_fd: OwnedFd,
    /// The own sources, each with the number that it has where it is none of the usual ones, or 0.
    pub(super) numbers_of: BTreeMap<SourceKey, u32>,
    /// The usual ones, once they are in all tables.
    installed_usual: Option<UsualSources>,
    /// What `sources` holds.
    installed_sources: BTreeMap<SourceKey, u32>,
    /// What `numbers` holds. Number 0 is nobody's.
    pub(super) installed_numbers: Numbers,
    /// What `bans` holds.
    pub(super) installed_bans: Arc<[IpNet]>,
    /// What the last read returned and `clear` has not removed yet.
    pub(super) to_clear: Vec<FlowKey>,
    /// Ban counters that are not zero.
    pub(super) bans_to_clear: Vec<u32>,
}

/// Whose a number is that nobody has.
const NOBODY: SourceKey = SourceKey {
    address: [0; size_of::<Address>()],
    ifindex: 0,
};

/// All own sources with their numbers, as long as there are any. With any source, each interface has one more, for packets from addresses that are
/// not ours.
fn numbered(policy: &PolicySet) -> BTreeMap<SourceKey, u32> {
    let mut sources = policy.sources.clone();
    if policy.any_source {
        sources.extend(policy.sources.iter().map(|source| SourceKey {
            address: Address::default(),
            ..*source
        }));
    }
    let number = |n| if n < SOURCE_NUMBERS { n } else { 0 };
    (UNUSUAL_NUMBERS..)
        .zip(sources)
        .map(|(n, source)| (source, number(n)))
        .collect()
}

impl Side {
    pub(super) fn take(ebpf: &mut Ebpf, index: usize) -> Result<Self, TableError> {
        Ok(Self {
            spill: own_descriptor(ebpf, &format!("SPILL_{index}"))?,
            sources: take(ebpf, &format!("SOURCES_{index}"))?,
            numbers: take(ebpf, &format!("NUMBERS_{index}"))?,
            bans: take(ebpf, &format!("BANS_{index}"))?,
            ban_counts_fd: own_descriptor(ebpf, &format!("BAN_COUNTS_{index}"))?,
            ban_counts: take(ebpf, &format!("BAN_COUNTS_{index}"))?,
            numbers_of: BTreeMap::new(),
            installed_usual: None,
            installed_sources: BTreeMap::new(),
            installed_numbers: vec![NOBODY; SOURCE_NUMBERS as usize],
            installed_bans: Arc::default(),
            to_clear: Vec::new(),
            bans_to_clear: Vec::new(),
        })
    }

    /// Takes these as own sources, once [`Self::install_usual`] has said which are the usual ones.
    pub(super) fn install_sources(&mut self, policy: &PolicySet) -> Result<(), TableError> {
        let wanted = numbered(policy);
        if wanted.len() > SOURCES_ROOM as usize {
            return Err(TableError::TooManySources {
                found: policy.sources.len(),
                room: SOURCES_ROOM as usize,
            });
        }
        let gone: Vec<_> = self
            .installed_sources
            .keys()
            .filter(|key| !wanted.contains_key(key))
            .copied()
            .collect();
        for key in gone {
            self.sources
                .remove(&key)
                .map_err(map_error("remove an own source", "SOURCES"))?;
            self.installed_sources.remove(&key);
        }
        self.installed_usual = None;
        self.numbers_of = wanted;
        Ok(())
    }

    pub(super) fn install_bans(&mut self, bans: &Arc<[IpNet]>) -> Result<(), TableError> {
        if self.installed_bans == *bans {
            return Ok(());
        }
        // The trie is emptied by what it holds, not by what we think it holds: a failed attempt may have left a part.
        let present: Vec<_> = self
            .bans
            .keys()
            .collect::<Result<_, _>>()
            .map_err(map_error("list banned prefixes", "BANS"))?;
        for key in present {
            self.bans
                .remove(&key)
                .map_err(map_error("remove a banned prefix", "BANS"))?;
        }
        self.installed_bans = Arc::default();
        for (index, net) in (0_u32..).zip(bans.iter()) {
            let (bits, address) = to_prefix(*net);
            let family = if matches!(net, IpNet::V6(_)) { BAN_IPV6 } else { 0 };
            self.bans
                .insert(&Key::new(bits, address), index | family, 0)
                .map_err(map_error("add a banned prefix", "BANS"))?;
        }
        self.installed_bans = Arc::clone(bans);
        Ok(())
    }

    /// Has these be the usual sources. The answer is all own sources with their numbers, the usual ones first, or none where nothing has
    /// changed.
    pub(super) fn install_usual(
        &mut self,
        usual: &UsualSources,
    ) -> Result<Option<Vec<(u32, SourceKey)>>, TableError> {
        if self.installed_usual.as_ref() == Some(usual) {
            return Ok(None);
        }
        // All of them, so that it does not matter where an attempt before this one has failed.
        self.installed_usual = None;
        let own: Vec<_> = self
            .numbers_of
            .iter()
            .map(|(source, own)| (*own, *source))
            .collect();
        for (own, source) in &own {
            self.install_tag(*source, usual.number(source).unwrap_or(*own))?;
            if *own != 0 {
                self.install_number(*own, *source)?;
            }
        }
        for (number, source) in usual.numbered() {
            self.install_number(number, source.unwrap_or(NOBODY))?;
        }
        self.installed_usual = Some(usual.clone());
        let others = own
            .into_iter()
            .filter(|(_, source)| source.address != NOBODY.address && usual.number(source).is_none());
        let ranked = [true, false].into_iter().flat_map(|ipv4| usual.ranked(ipv4));
        Ok(Some(ranked.chain(others).collect()))
    }

    /// Says under which number a source is counted; 0: it has none.
    fn install_tag(&mut self, source: SourceKey, number: u32) -> Result<(), TableError> {
        let half = (tag(number) >> u32::BITS) as u32;
        if self.installed_sources.get(&source) != Some(&half) {
            self.sources
                .insert(source, half, 0)
                .map_err(map_error("add an own source", "SOURCES"))?;
            self.installed_sources.insert(source, half);
        }
        Ok(())
    }

    /// Says whose a number is.
    fn install_number(&mut self, number: u32, source: SourceKey) -> Result<(), TableError> {
        if self.installed_numbers.get(number as usize) != Some(&source) {
            self.numbers
                .set(number, words(source), 0)
                .map_err(map_error("number an own source", "NUMBERS"))?;
            self.installed_numbers[number as usize] = source;
        }
        Ok(())
    }

    /// Adds what the front table has counted of banned destinations to their prefixes.
    pub(super) fn add_banned(
        &self,
        banned: Vec<(Address, Counts)>,
        bans: &mut [Counts],
    ) -> Result<(), TableError> {
        for (address, counts) in banned {
            let ban = ban_of(&self.bans, address).map_err(map_error("find a banned prefix", "BANS"))?;
            if let Some(sum) = ban.and_then(|ban| bans.get_mut(ban)) {
                sum.add(counts);
            }
        }
        Ok(())
    }

    /// Those bans that packets met, by prefix. A counter that no ban belongs to is left out, so that the books do not balance.
    pub(super) fn met(&self, counts: &[Counts]) -> Vec<(IpNet, Counts)> {
        self.installed_bans
            .iter()
            .copied()
            .zip(counts.iter().copied())
            .filter(|(_, counts)| *counts != Counts::default())
            .collect()
    }
}

/// The number of the banned prefix that an address is in. None: it is in none, and what was counted so is left out, so that the books do
/// not balance.
pub fn ban_of(bans: &LpmTrie<MapData, Address, u32>, address: Address) -> Result<Option<usize>, MapError> {
    match bans.get(&Key::new(u8::BITS * size_of::<Address>() as u32, address), 0) {
        Ok(ban) => Ok(Some((ban & !BAN_IPV6) as usize)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// As the kernel's table of numbers has it.
fn words(source: SourceKey) -> [u32; 5] {
    let mut words = [0, 0, 0, 0, source.ifindex];
    for (word, bytes) in words.iter_mut().zip(source.address.chunks_exact(4)) {
        *word = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    words
}
