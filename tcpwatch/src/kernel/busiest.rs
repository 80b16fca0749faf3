//! Which own sources are the usual ones, whose slots count themselves: those with most packets that were counted.
//! Pure.

use foldhash::HashMap;
use tcpwatch_common::front::{USUAL_SOURCES, usual_number};
use tcpwatch_common::{Address, FlowKey, SourceKey, Traffic};

use super::policy::is_ipv4;

const ROOM: usize = USUAL_SOURCES as usize;

/// The usual sources of a generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsualSources {
    /// IPv4, IPv6.
    families: [Family; 2],
}

/// Those of one family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Family {
    /// By index.
    sources: [Option<SourceKey>; ROOM],
    /// The index of the one with most packets.
    first: usize,
}

impl UsualSources {
    /// By their numbers.
    pub fn numbered(&self) -> impl Iterator<Item = (u32, Option<SourceKey>)> {
        [true, false]
            .into_iter()
            .zip(&self.families)
            .flat_map(|(ipv4, family)| {
                (0..)
                    .zip(family.sources)
                    .map(move |(index, source)| (usual_number(ipv4, index), source))
            })
    }

    /// The number of a usual source.
    #[must_use]
    pub fn number(&self, source: &SourceKey) -> Option<u32> {
        let ipv4 = is_ipv4(source.address);
        let index = self.of(ipv4).index(source)?;
        Some(usual_number(ipv4, index as u32))
    }

    /// Those of a family with their numbers, the one with most packets first.
    pub fn ranked(&self, ipv4: bool) -> impl Iterator<Item = (u32, SourceKey)> {
        let family = self.of(ipv4);
        let others = (0..ROOM).filter(|index| *index != family.first);
        std::iter::once(family.first)
            .chain(others)
            .filter_map(move |index| Some((usual_number(ipv4, index as u32), family.sources[index]?)))
    }

    /// Whether it is the one with most packets.
    fn is_first(&self, source: &SourceKey) -> bool {
        let family = self.of(is_ipv4(source.address));
        family.sources[family.first].as_ref() == Some(source)
    }

    const fn of(&self, ipv4: bool) -> &Family {
        let [v4, v6] = &self.families;
        if ipv4 { v4 } else { v6 }
    }
}

impl Family {
    fn index(&self, source: &SourceKey) -> Option<usize> {
        self.sources.iter().position(|at| at.as_ref() == Some(source))
    }

    /// Takes these, most packets first. Those that were here before keep their index.
    fn set(&mut self, ranked: &[SourceKey]) {
        for at in &mut self.sources {
            if at.is_some_and(|source| !ranked.contains(&source)) {
                *at = None;
            }
        }
        for source in ranked {
            if self.index(source).is_none()
                && let Some(free) = self.sources.iter_mut().find(|at| at.is_none())
            {
                *free = Some(*source);
            }
        }
        self.first = ranked
            .first()
            .and_then(|first| self.index(first))
            .unwrap_or_default();
    }
}

/// What is known of the own sources' packets.
#[derive(Debug, Default)]
pub struct Busiest {
    /// Of the last generation drained, half of those of the one before, and so on.
    packets: HashMap<SourceKey, u64>,
    usual: UsualSources,
}

impl Busiest {
    /// Takes note of what a generation has counted.
    pub fn note(&mut self, destinations: &[(FlowKey, Traffic)]) {
        self.packets.retain(|_, packets| {
            *packets /= 2;
            *packets > 0
        });
        for (key, traffic) in destinations {
            let source = SourceKey {
                address: key.source,
                ifindex: key.ifindex,
            };
            *self.packets.entry(source).or_default() += traffic.counts.packets;
        }
    }

    /// Chooses among own sources, for the next generation.
    pub fn choose<'a>(&mut self, own: impl Iterator<Item = &'a SourceKey>) -> &UsualSources {
        let mut candidates: [Vec<_>; 2] = Default::default();
        for source in own {
            if source.address == Address::default() {
                continue;
            }
            let packets = self.packets.get(source).copied().unwrap_or_default();
            // Of two that have about as many packets, the one that is there stays; so does the first.
            let mut stays = self.usual.number(source).map_or(0, |_| packets / 4);
            if self.usual.is_first(source) {
                stays += packets / 4;
            }
            // Link-local addresses send little.
            let is_link_local = source.address.starts_with(&[0xfe, 0x80]);
            let rank = (std::cmp::Reverse(packets + stays), is_link_local, *source);
            candidates[usize::from(!is_ipv4(source.address))].push(rank);
        }
        for (family, mut candidates) in self.usual.families.iter_mut().zip(candidates) {
            candidates.sort_unstable();
            let ranked: Vec<_> = candidates
                .into_iter()
                .map(|(.., source)| source)
                .take(ROOM)
                .collect();
            family.set(&ranked);
        }
        &self.usual
    }
}

#[cfg(test)]
mod tests;
