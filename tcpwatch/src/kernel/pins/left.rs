//! The tables that a run has left behind: read as they are, whatever its sizes were.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

use aya::maps::lpm_trie::Key;
use aya::maps::{LpmTrie, Map, MapData};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use tcpwatch_common::front::SOURCE_NUMBERS;
use tcpwatch_common::{Address, BAN_IPV6, Counts, FlowKey, MAPPED_PREFIX_BITS, Outcome, SourceKey, Traffic};

use crate::kernel::bpf;
use crate::kernel::drain::Generation;
use crate::kernel::front::{Front, Numbers};
use crate::kernel::tables::{TableError, ban_of, call_error, map_error};
use crate::tally::Drained;

/// What is opened besides the front table.
const BEHIND: [[&str; 4]; 2] = [
    ["SPILL_0", "NUMBERS_0", "BANS_0", "BAN_COUNTS_0"],
    ["SPILL_1", "NUMBERS_1", "BANS_1", "BAN_COUNTS_1"],
];

/// The tables of a run that has ended.
pub struct Leftover {
    front: Front,
    sides: [Side; 2],
}

/// A generation behind the front table.
struct Side {
    spill: MapData,
    numbers: MapData,
    bans: LpmTrie<MapData, Address, u32>,
    ban_counts: MapData,
}

fn pinned(directory: &Path, name: &'static str) -> Result<MapData, TableError> {
    MapData::from_pin(directory.join(name)).map_err(map_error("open the left kernel table", name))
}

fn entries(map: &MapData, name: &'static str) -> Result<u32, TableError> {
    let info = map
        .info()
        .map_err(map_error("look at the left kernel table", name))?;
    Ok(info.max_entries())
}

fn side(directory: &Path, [spill, numbers, bans, ban_counts]: [&'static str; 4]) -> Result<Side, TableError> {
    Ok(Side {
        spill: pinned(directory, spill)?,
        numbers: pinned(directory, numbers)?,
        bans: LpmTrie::try_from(Map::LpmTrie(pinned(directory, bans)?)).map_err(map_error("use", bans))?,
        ban_counts: pinned(directory, ban_counts)?,
    })
}

impl Leftover {
    /// Opens the tables in a run's directory.
    ///
    /// # Errors
    /// One is missing, or may not be read.
    pub(super) fn open(directory: &Path) -> Result<Self, TableError> {
        let front = [
            "CPUS", "FRONT4", "FRONT6", "BESIDE4", "BESIDE6", "OWN4", "OWN6", "PORTS",
        ];
        let maps = front
            .into_iter()
            .map(|name| Ok((name, pinned(directory, name)?)))
            .collect::<Result<HashMap<_, _>, TableError>>()?;
        let map = |name: &'static str| maps.get(name).ok_or_else(|| TableError::Missing(name.to_owned()));
        let descriptor = |name| -> Result<BorrowedFd<'_>, TableError> { Ok(map(name)?.fd().as_fd()) };
        let (cpus, sets) = (entries(map("CPUS")?, "CPUS")?, entries(map("FRONT4")?, "FRONT4")?);
        let [even, odd] = BEHIND;
        Ok(Self {
            front: Front::found(cpus, sets, descriptor)?,
            sides: [side(directory, even)?, side(directory, odd)?],
        })
    }

    /// What the generations hold that were not kept elsewhere, older first, with their epochs. Nothing may count in them any more.
    /// `kept` answers whether an epoch is kept although the tables do not say so.
    ///
    /// # Errors
    /// A table cannot be read.
    pub fn drained(&self, kept: impl Fn(u64) -> bool) -> Result<Vec<(u64, Drained)>, TableError> {
        let mut generations = [Generation::Even, Generation::Odd];
        generations.sort_by_key(|generation| self.front.epoch(*generation));
        let mut all = Vec::new();
        for generation in generations {
            let epoch = self.front.epoch(generation);
            // Zero: it was never in use.
            if epoch > self.front.kept() && !kept(epoch) {
                all.push((epoch, self.read(generation)?));
            }
        }
        Ok(all)
    }

    fn read(&self, generation: Generation) -> Result<Drained, TableError> {
        let side = &self.sides[generation.index()];
        let [spill, numbers, bans, ban_counts] = BEHIND[generation.index()];
        let totals = self.front.totals(generation);
        let contents = self.front.read(generation, &side.numbers(numbers)?);
        let room = entries(&side.spill, spill)? as usize;
        let (keys, values) = bpf::read_all::<FlowKey, Traffic>(side.spill.fd().as_fd(), room)
            .map_err(call_error("read the spilled destinations", spill))?;
        let mut destinations = contents.destinations;
        destinations.extend(keys.into_iter().zip(values));
        let banned = if totals.outcomes[Outcome::Banned as usize] == Counts::default() {
            Vec::new()
        } else {
            side.banned(contents.banned, bans, ban_counts)?
        };
        Ok(Drained {
            totals,
            destinations,
            bans: banned,
        })
    }
}

impl Side {
    fn numbers(&self, name: &'static str) -> Result<Numbers, TableError> {
        let (_, words) = bpf::read_all::<u32, [u32; 5]>(self.numbers.fd().as_fd(), SOURCE_NUMBERS as usize)
            .map_err(call_error("read the own sources", name))?;
        let key = |[a, b, c, d, ifindex]: [u32; 5]| {
            let mut address = Address::default();
            for (bytes, word) in address.chunks_exact_mut(4).zip([a, b, c, d]) {
                bytes.copy_from_slice(&word.to_ne_bytes());
            }
            SourceKey { address, ifindex }
        };
        Ok(words.into_iter().map(key).collect())
    }

    fn banned(
        &self,
        slots: Vec<(Address, Counts)>,
        bans: &'static str,
        ban_counts: &'static str,
    ) -> Result<Vec<(IpNet, Counts)>, TableError> {
        let room = entries(&self.ban_counts, ban_counts)? as usize;
        let (_, mut counts) = bpf::read_all::<u32, Counts>(self.ban_counts.fd().as_fd(), room)
            .map_err(call_error("read the ban counters", ban_counts))?;
        for (address, more) in slots {
            let ban = ban_of(&self.bans, address).map_err(map_error("find a banned prefix", bans))?;
            if let Some(sum) = ban.and_then(|ban| counts.get_mut(ban)) {
                sum.add(more);
            }
        }
        let mut banned = Vec::new();
        for entry in self.bans.iter() {
            let (key, ban) = entry.map_err(map_error("list banned prefixes", bans))?;
            let hit = counts
                .get((ban & !BAN_IPV6) as usize)
                .filter(|counts| **counts != Counts::default());
            if let Some(counts) = hit
                && let Some(net) = prefix(&key, ban & BAN_IPV6 != 0)
            {
                banned.push((net, *counts));
            }
        }
        Ok(banned)
    }
}

/// The prefix that a key of the ban table stands for.
fn prefix(key: &Key<Address>, ipv6: bool) -> Option<IpNet> {
    let bits = key.prefix_len();
    if ipv6 {
        let net = Ipv6Net::new(Ipv6Addr::from(key.data()), u8::try_from(bits).ok()?).ok()?;
        return Some(IpNet::V6(net));
    }
    let [.., a, b, c, d] = key.data();
    let bits = u8::try_from(bits.checked_sub(MAPPED_PREFIX_BITS)?).ok()?;
    Some(IpNet::V4(Ipv4Net::new(Ipv4Addr::new(a, b, c, d), bits).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::policy::to_prefix;

    #[test]
    fn a_prefix_survives_the_way_into_the_kernel_and_back() {
        for text in [
            "192.0.2.1/32",
            "203.0.113.0/24",
            "0.0.0.0/0",
            "2001:db8::/32",
            "::/0",
            "::ffff:0:0/96",
        ] {
            let net: IpNet = text.parse().unwrap();
            let (bits, address) = to_prefix(net);
            assert_eq!(
                prefix(&Key::new(bits, address), matches!(net, IpNet::V6(_))),
                Some(net)
            );
        }
    }
}
