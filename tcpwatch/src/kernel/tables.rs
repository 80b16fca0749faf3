//! The kernel tables from this side: the steps of a drain as system calls.

mod side;

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use aya::Ebpf;
use aya::maps::{Array, Map, MapData, MapError};
use tcpwatch_common::front::Lane;
use tcpwatch_common::names::Sampling;
use tcpwatch_common::{
    Counts, FlowKey, Outcome, POLICY_ANSWERS, POLICY_ANY_SOURCE, POLICY_BANS, POLICY_SERVED, Policy, Traffic,
};

use self::side::Side;
pub(super) use self::side::ban_of;
use super::bpf::{self, GracePeriod};
use super::busiest::Busiest;
use super::capacity::Fill;
use super::drain::{Generation, Tables};
use super::front::{Front, Layout};
use super::policy::PolicySet;
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

/// All the maps of a loaded object.
pub struct KernelTables {
    front: Front,
    policy: Array<MapData, Policy>,
    sides: [Side; 2],
    grace: GracePeriod,
    /// Room in each generation's spill.
    room: usize,
    busiest: Busiest,
}

pub(super) fn map_error(step: &'static str, map: impl Into<String>) -> impl FnOnce(MapError) -> TableError {
    let map = map.into();
    move |source| TableError::Map { step, map, source }
}

/// What turns the failure of a call of our own into one that names the table.
pub(super) fn call_error(step: &'static str, map: impl Into<String>) -> impl FnOnce(io::Error) -> TableError {
    let map = map.into();
    move |source| TableError::Call { step, map, source }
}

/// Waits until no packet is being counted by a program that was replaced or taken off before the call.
///
/// # Errors
/// The kernel refuses. Then there was no grace period.
pub fn grace_period() -> Result<(), TableError> {
    GracePeriod::new()
        .and_then(|grace| grace.wait())
        .map_err(call_error("wait for running programs", "grace period"))
}

fn take<T: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &str) -> Result<T, TableError> {
    let map = ebpf
        .take_map(name)
        .ok_or_else(|| TableError::Missing(name.to_owned()))?;
    T::try_from(map).map_err(map_error("use", name))
}

/// The descriptor of a map.
pub(super) fn descriptor<'a>(ebpf: &'a Ebpf, name: &str) -> Result<BorrowedFd<'a>, TableError> {
    match ebpf.map(name) {
        Some(Map::HashMap(data) | Map::Array(data)) => Ok(data.fd().as_fd()),
        _ => Err(TableError::Missing(name.to_owned())),
    }
}

/// Another descriptor of a map, which keeps it alive by itself.
fn own_descriptor(ebpf: &Ebpf, name: &str) -> Result<OwnedFd, TableError> {
    descriptor(ebpf, name)?
        .try_clone_to_owned()
        .map_err(call_error("use", name))
}

impl KernelTables {
    /// Takes the maps out of a freshly loaded object, in which generation 0 is the current one.
    ///
    /// # Errors
    /// A map is missing or of another form; no right or memory for the grace period's map.
    pub fn take(ebpf: &mut Ebpf, layout: Layout, room: u32) -> Result<Self, TableError> {
        Ok(Self {
            front: Front::take(ebpf, layout, room)?,
            policy: take(ebpf, "POLICY")?,
            sides: [Side::take(ebpf, 0)?, Side::take(ebpf, 1)?],
            grace: GracePeriod::new().map_err(call_error("create a map", "grace period"))?,
            room: room as usize,
            busiest: Busiest::default(),
        })
    }

    /// Reads and empties the slots that packets are counted in, at once: loses counts. For the test that shows so.
    #[doc(hidden)]
    pub fn take_live(&mut self, generation: Generation) -> Vec<(FlowKey, Traffic)> {
        let numbers = &self.sides[generation.index()].installed_numbers;
        let contents = self.front.read(generation, numbers);
        self.front.clear_live(generation);
        contents.destinations
    }

    /// Has all CPUs count in the same slots from the next flip on: loses counts. For the test that shows so.
    #[doc(hidden)]
    pub const fn share_one_region(&mut self) {
        self.front.share_one_region();
    }

    /// Each CPU's totals of a generation, by the number of the CPU. For the tests that ask which way packets went.
    #[doc(hidden)]
    pub fn lanes(&self, generation: Generation) -> Vec<Lane> {
        self.front.lanes(generation)
    }

    /// Banned prefixes that there is room for.
    #[must_use]
    pub fn room_for_bans(&self) -> usize {
        let rooms = self.sides.iter().map(|side| side.ban_counts.len() as usize);
        rooms.min().unwrap_or_default()
    }

    /// Socket buffers from served ports, while they were noted.
    #[must_use]
    pub fn answers(&self) -> u64 {
        self.front.answers()
    }

    /// Samples taken and dropped since the start.
    #[must_use]
    pub fn sampling(&self) -> Sampling {
        self.front.sampling()
    }

    /// Has the sources that most packets came from be the usual ones.
    fn set_usual(&mut self, generation: Generation) -> Result<(), TableError> {
        let side = &mut self.sides[generation.index()];
        let usual = self.busiest.choose(side.numbers_of.keys());
        if let Some(own) = side.install_usual(usual)? {
            self.front.set_sources(generation, &own);
        }
        Ok(())
    }
}

impl Tables for KernelTables {
    fn install(&mut self, generation: Generation, policy: &PolicySet) -> Result<(), TableError> {
        let side = &mut self.sides[generation.index()];
        side.install_sources(policy)?;
        side.install_bans(&policy.bans)?;
        self.set_usual(generation)?;
        let mut flags = 0;
        if policy.any_source {
            flags |= POLICY_ANY_SOURCE;
        }
        if !policy.bans.is_empty() {
            flags |= POLICY_BANS;
        }
        if policy.served.is_some() {
            flags |= if policy.only_noted {
                POLICY_ANSWERS
            } else {
                POLICY_SERVED
            };
        }
        flags |= policy.samples;
        self.front.set_rules(generation, flags, policy.served.as_deref());
        self.policy
            .set(generation.index() as u32, Policy { flags }, 0)
            .map_err(map_error("set the policy", "POLICY"))
    }

    fn flip(&mut self, to: Generation) -> Result<(), TableError> {
        self.set_usual(to)?;
        self.front.flip(to);
        Ok(())
    }

    fn grace_period(&mut self) -> Result<(), TableError> {
        self.grace
            .wait()
            .map_err(call_error("wait for running programs", "grace period"))
    }

    fn read(&mut self, generation: Generation) -> Result<Drained, TableError> {
        let totals = self.front.totals(generation);
        let side = &mut self.sides[generation.index()];
        let contents = self.front.read(generation, &side.installed_numbers);
        let (keys, values) = bpf::read_all::<FlowKey, Traffic>(side.spill.as_fd(), self.room)
            .map_err(call_error("read the spilled destinations", "SPILL"))?;
        let mut ban_counts = if totals.outcomes[Outcome::Banned as usize] == Counts::default() {
            Vec::new()
        } else {
            let (_, counts) =
                bpf::read_all::<u32, Counts>(side.ban_counts_fd.as_fd(), side.installed_bans.len())
                    .map_err(call_error("read the ban counters", "BAN_COUNTS"))?;
            counts
        };
        side.bans_to_clear = (0..)
            .zip(&ban_counts)
            .filter(|(_, counts)| **counts != Counts::default())
            .map(|(index, _)| index)
            .collect();
        side.add_banned(contents.banned, &mut ban_counts)?;
        let bans = side.met(&ban_counts);
        side.to_clear.clone_from(&keys);
        let mut destinations = contents.destinations;
        destinations.extend(keys.into_iter().zip(values));
        self.busiest.note(&destinations);
        Ok(Drained {
            totals,
            destinations,
            bans,
        })
    }

    fn clear(&mut self, generation: Generation) -> Result<(), TableError> {
        self.front.clear(generation);
        let side = &mut self.sides[generation.index()];
        while let Some(index) = side.bans_to_clear.last() {
            side.ban_counts
                .set(*index, Counts::default(), 0)
                .map_err(map_error("clear a ban counter", "BAN_COUNTS"))?;
            side.bans_to_clear.pop();
        }
        let (removed, result) = bpf::delete_all(side.spill.as_fd(), &side.to_clear);
        side.to_clear.drain(..removed);
        result.map_err(call_error("clear the spilled destinations", "SPILL"))
    }

    /// From a few cache lines of shared memory for each CPU.
    fn fill(&self, generation: Generation) -> Fill {
        self.front.fill(generation, self.room as u64)
    }

    fn epoch(&self, generation: Generation) -> u64 {
        self.front.epoch(generation)
    }

    fn note_kept(&mut self, generation: Generation) {
        self.front.note_kept(self.front.epoch(generation));
    }
}
