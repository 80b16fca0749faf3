//! The kernel tables from this side: the steps of a drain as system calls.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use aya::Ebpf;
use aya::maps::lpm_trie::Key;
use aya::maps::{Array, HashMap, LpmTrie, Map, MapData, MapError, PerCpuArray, PerCpuValues};
use ipnet::IpNet;
use tcpwatch_common::{
    Address, BAN_IPV6, Counts, FlowKey, OUTCOMES, Outcome, POLICY_ANY_SOURCE, POLICY_BANS, Policy,
    SOURCES_ROOM, Seen, SourceKey, Totals,
};

use super::bpf::{self, GracePeriod};
use super::drain::{Generation, Tables};
use super::policy::{PolicySet, to_prefix};
use crate::tally::Drained;

/// A step of a drain that failed.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// A map call of aya's.
    #[error("cannot {step} (map {map})")]
    Map {
        /// What was being done.
        step: &'static str,
        /// The kernel table.
        map: String,
        /// The cause.
        #[source]
        source: MapError,
    },
    /// A call of our own.
    #[error("cannot {step} (map {map})")]
    Call {
        /// What was being done.
        step: &'static str,
        /// The kernel table.
        map: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The object has no such map: it is not ours.
    #[error("the eBPF object has no map {0}")]
    Missing(String),
    /// The kernel keeps no more own sources.
    #[error("{found} own addresses are more than the {room} that fit: name those to count with --source")]
    TooManySources {
        /// Own addresses there are.
        found: usize,
        /// Own addresses there is room for.
        room: usize,
    },
}

/// One generation's maps.
struct Side {
    /// By its descriptor: it is only used in batches.
    destinations: OwnedFd,
    sources: HashMap<MapData, SourceKey, u8>,
    bans: LpmTrie<MapData, Address, u32>,
    ban_counts: Array<MapData, Counts>,
    /// The same map, for reading in batches.
    ban_counts_fd: OwnedFd,
    /// What `sources` holds.
    installed_sources: HashSet<SourceKey>,
    /// What `bans` holds.
    installed_bans: Arc<[IpNet]>,
    /// What the last read returned and `clear` has not removed yet.
    to_clear: Vec<FlowKey>,
    /// Ban counters that are not zero.
    bans_to_clear: Vec<u32>,
}

/// All the maps of a loaded object.
pub struct KernelTables {
    generation: Array<MapData, u64>,
    policy: Array<MapData, Policy>,
    seen: PerCpuArray<MapData, Seen>,
    outcomes: PerCpuArray<MapData, Counts>,
    sides: [Side; 2],
    grace: GracePeriod,
    /// Room for destinations in each generation.
    capacity: usize,
    cpus: usize,
}

fn map_error(step: &'static str, map: impl Into<String>) -> impl FnOnce(MapError) -> TableError {
    let map = map.into();
    move |source| TableError::Map { step, map, source }
}

fn call_error(step: &'static str, map: impl Into<String>) -> impl FnOnce(io::Error) -> TableError {
    let map = map.into();
    move |source| TableError::Call { step, map, source }
}

fn take<T: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &str) -> Result<T, TableError> {
    let map = ebpf
        .take_map(name)
        .ok_or_else(|| TableError::Missing(name.to_owned()))?;
    T::try_from(map).map_err(map_error("use", name))
}

/// Another descriptor of a map, which keeps it alive by itself.
fn descriptor(ebpf: &Ebpf, name: &str) -> Result<OwnedFd, TableError> {
    match ebpf.map(name) {
        Some(Map::HashMap(data) | Map::Array(data)) => data
            .fd()
            .as_fd()
            .try_clone_to_owned()
            .map_err(call_error("use", name)),
        _ => Err(TableError::Missing(name.to_owned())),
    }
}

impl Side {
    fn take(ebpf: &mut Ebpf, index: usize) -> Result<Self, TableError> {
        Ok(Self {
            destinations: descriptor(ebpf, &format!("DESTINATIONS_{index}"))?,
            sources: take(ebpf, &format!("SOURCES_{index}"))?,
            bans: take(ebpf, &format!("BANS_{index}"))?,
            ban_counts_fd: descriptor(ebpf, &format!("BAN_COUNTS_{index}"))?,
            ban_counts: take(ebpf, &format!("BAN_COUNTS_{index}"))?,
            installed_sources: HashSet::new(),
            installed_bans: Arc::default(),
            to_clear: Vec::new(),
            bans_to_clear: Vec::new(),
        })
    }

    fn install_sources(&mut self, policy: &PolicySet) -> Result<(), TableError> {
        if policy.sources.len() > SOURCES_ROOM as usize {
            return Err(TableError::TooManySources {
                found: policy.sources.len(),
                room: SOURCES_ROOM as usize,
            });
        }
        let gone: Vec<_> = self
            .installed_sources
            .iter()
            .filter(|key| !policy.sources.contains(key))
            .copied()
            .collect();
        for key in gone {
            self.sources
                .remove(&key)
                .map_err(map_error("remove an own source", "SOURCES"))?;
            self.installed_sources.remove(&key);
        }
        for key in &policy.sources {
            if !self.installed_sources.contains(key) {
                self.sources
                    .insert(key, 0, 0)
                    .map_err(map_error("add an own source", "SOURCES"))?;
                self.installed_sources.insert(*key);
            }
        }
        Ok(())
    }

    fn install_bans(&mut self, bans: &Arc<[IpNet]>) -> Result<(), TableError> {
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
}

impl KernelTables {
    /// Takes the maps out of a freshly loaded object, in which generation 0 is the current one.
    ///
    /// # Errors
    /// A map is missing or of another form; no right or memory for the grace period's map.
    pub fn take(ebpf: &mut Ebpf, capacity: u32) -> Result<Self, TableError> {
        let cpus = aya::util::nr_cpus().map_err(|(file, source)| TableError::Call {
            step: "count the possible CPUs",
            map: file.to_owned(),
            source,
        })?;
        Ok(Self {
            generation: take(ebpf, "GENERATION")?,
            policy: take(ebpf, "POLICY")?,
            seen: take(ebpf, "SEEN")?,
            outcomes: take(ebpf, "OUTCOME")?,
            sides: [Side::take(ebpf, 0)?, Side::take(ebpf, 1)?],
            grace: GracePeriod::new().map_err(call_error("create a map", "grace period"))?,
            capacity: capacity as usize,
            cpus,
        })
    }

    /// Reads and empties the table that packets are counted in, at once: loses counts. For the test that shows so.
    #[doc(hidden)]
    pub fn take_live(&mut self, generation: Generation) -> io::Result<Vec<(FlowKey, Counts)>> {
        let map = self.sides[generation.index()].destinations.as_fd();
        let (keys, values) = bpf::take_all_live::<FlowKey, Counts>(map, self.capacity)?;
        Ok(keys.into_iter().zip(values).collect())
    }

    fn read_totals(&self, generation: Generation) -> Result<Totals, TableError> {
        let mut totals = Totals::default();
        let seen = self
            .seen
            .get(&(generation.index() as u32), 0)
            .map_err(map_error("read the totals", "SEEN"))?;
        for cpu in seen.iter() {
            totals.skbs = totals.skbs.wrapping_add(cpu.skbs);
            totals.seen.add(cpu.counts);
        }
        for (index, sum) in outcome_indices(generation).zip(&mut totals.outcomes) {
            let outcome = self
                .outcomes
                .get(&index, 0)
                .map_err(map_error("read the totals", "OUTCOME"))?;
            outcome.iter().for_each(|cpu| sum.add(*cpu));
        }
        Ok(totals)
    }

    fn clear_totals(&mut self, generation: Generation) -> Result<(), TableError> {
        let zero = PerCpuValues::try_from(vec![Seen::default(); self.cpus])
            .map_err(call_error("clear the totals", "SEEN"))?;
        self.seen
            .set(generation.index() as u32, zero, 0)
            .map_err(map_error("clear the totals", "SEEN"))?;
        for index in outcome_indices(generation) {
            let zero = PerCpuValues::try_from(vec![Counts::default(); self.cpus])
                .map_err(call_error("clear the totals", "OUTCOME"))?;
            self.outcomes
                .set(index, zero, 0)
                .map_err(map_error("clear the totals", "OUTCOME"))?;
        }
        Ok(())
    }
}

/// Where a generation's outcomes are in the table that holds both.
fn outcome_indices(generation: Generation) -> std::ops::Range<u32> {
    let outcomes = OUTCOMES as u32;
    let first = generation.index() as u32 * outcomes;
    first..first + outcomes
}

impl Tables for KernelTables {
    fn install(&mut self, generation: Generation, policy: &PolicySet) -> Result<(), TableError> {
        let side = &mut self.sides[generation.index()];
        side.install_sources(policy)?;
        side.install_bans(&policy.bans)?;
        let mut flags = 0;
        if policy.any_source {
            flags |= POLICY_ANY_SOURCE;
        }
        if !policy.bans.is_empty() {
            flags |= POLICY_BANS;
        }
        self.policy
            .set(generation.index() as u32, Policy { flags }, 0)
            .map_err(map_error("set the policy", "POLICY"))
    }

    fn flip(&mut self, to: Generation) -> Result<(), TableError> {
        // The kernel copies the eight bytes without promising that a reader sees them all at once. It does not matter:
        // only one byte of them ever changes, from 0 to 1 or back.
        self.generation
            .set(0, to.index() as u64, 0)
            .map_err(map_error("switch the generation", "GENERATION"))
    }

    fn grace_period(&mut self) -> Result<(), TableError> {
        self.grace
            .wait()
            .map_err(call_error("wait for running programs", "grace period"))
    }

    fn read(&mut self, generation: Generation) -> Result<Drained, TableError> {
        let totals = self.read_totals(generation)?;
        let capacity = self.capacity;
        let side = &mut self.sides[generation.index()];
        let (keys, values) = bpf::read_all::<FlowKey, Counts>(side.destinations.as_fd(), capacity)
            .map_err(call_error("read the destinations", "DESTINATIONS"))?;
        let bans = if totals.outcomes[Outcome::Banned as usize] == Counts::default() {
            Vec::new()
        } else {
            let (_, counts) =
                bpf::read_all::<u32, Counts>(side.ban_counts_fd.as_fd(), side.installed_bans.len())
                    .map_err(call_error("read the ban counters", "BAN_COUNTS"))?;
            counts
        };
        side.bans_to_clear = (0..)
            .zip(&bans)
            .filter(|(_, counts)| **counts != Counts::default())
            .map(|(index, _)| index)
            .collect();
        side.to_clear.clone_from(&keys);
        Ok(Drained {
            totals,
            destinations: keys.into_iter().zip(values).collect(),
            bans,
        })
    }

    fn clear(&mut self, generation: Generation) -> Result<(), TableError> {
        self.clear_totals(generation)?;
        let side = &mut self.sides[generation.index()];
        while let Some(index) = side.bans_to_clear.last() {
            side.ban_counts
                .set(*index, Counts::default(), 0)
                .map_err(map_error("clear a ban counter", "BAN_COUNTS"))?;
            side.bans_to_clear.pop();
        }
        let (removed, result) = bpf::delete_all(side.destinations.as_fd(), &side.to_clear);
        side.to_clear.drain(..removed);
        result.map_err(call_error("clear the destinations", "DESTINATIONS"))
    }
}
