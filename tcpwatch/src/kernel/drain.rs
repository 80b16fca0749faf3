//! How the tables are emptied without losing a count: flip, grace period, read, check, clear.
//!
//! Every step may fail and is tried again by the next drain; nothing is read before the grace period, nothing is
//! cleared before it was read, and nothing is flipped before the other side is empty. The steps themselves are behind
//! [`Tables`], so that their order can be tested without a kernel.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use super::capacity::Fill;
use super::policy::PolicySet;
use super::tables::TableError;
use crate::faults::die_at;
use crate::tally::Drained;

/// One of the two halves of the kernel tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Generation {
    /// Number 0 in the kernel.
    Even,
    /// Number 1 in the kernel.
    Odd,
}

impl Generation {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Even => Self::Odd,
            Self::Odd => Self::Even,
        }
    }

    /// Its number in the kernel.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Even => 0,
            Self::Odd => 1,
        }
    }
}

/// The single steps, each on one generation.
pub trait Tables: Send {
    /// Makes `policy` hold for a generation that no packet is counted in.
    ///
    /// # Errors
    /// The generation may then hold a part of it; calling again completes it.
    fn install(&mut self, generation: Generation, policy: &PolicySet) -> Result<(), TableError>;

    /// Makes packets count in `to` from now on; those that are being counted still go to the other.
    ///
    /// # Errors
    /// Then packets count where they did; calling again completes what was begun.
    fn flip(&mut self, to: Generation) -> Result<(), TableError>;

    /// Waits until no packet is being counted in the generation that was flipped away from.
    ///
    /// # Errors
    /// Then a packet may still be.
    fn grace_period(&mut self) -> Result<(), TableError>;

    /// Reads everything, changing nothing.
    ///
    /// # Errors
    /// Reading again is harmless.
    fn read(&mut self, generation: Generation) -> Result<Drained, TableError>;

    /// Empties what the last `read` returned.
    ///
    /// # Errors
    /// Some of it may be left; calling again completes it.
    fn clear(&mut self, generation: Generation) -> Result<(), TableError>;

    /// How full the tables of a generation are, also while packets are counted in it. Cheap: asked several times a second.
    fn fill(&self, generation: Generation) -> Fill;

    /// How many flips there had been when a generation came into use.
    fn epoch(&self, generation: Generation) -> u64;

    /// Notes, beside the counts, that those of the generation are kept elsewhere.
    fn note_kept(&mut self, generation: Generation);
}

/// Keeps what was read until it is in a record, so that nothing is lost with the process.
pub trait Keep: Send {
    /// Called after a generation was read, before it is cleared. True: it is kept.
    fn keep(&mut self, epoch: u64, drained: &Drained, retired: Moment) -> bool;
}

/// A point in time on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// What a calendar says.
    pub wall: Timestamp,
    /// What a stop watch says.
    pub monotonic: Instant,
}

impl Moment {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        Self {
            wall: Timestamp::now(),
            monotonic: Instant::now(),
        }
    }
}

/// What one drain brings up.
#[derive(Debug)]
pub struct Harvest {
    /// The counts.
    pub drained: Drained,
    /// When counting in the drained generation ended.
    pub retired: Moment,
    /// Whether that was in this drain. Else an earlier one had failed after its flip: this one completed it, and packets
    /// counted since are still in the kernel.
    pub fresh: bool,
}

/// The seam between the kernel and the rest: something that can be drained.
pub trait CounterSource: Send {
    /// Everything counted since the drain before, exactly once.
    ///
    /// # Errors
    /// Nothing is lost: what was not returned comes with a later drain.
    fn drain(&mut self) -> Result<Harvest, TableError>;

    /// What holds from the next flip on.
    fn set_policy(&mut self, policy: PolicySet);

    /// Whether packets are counted under the last set policy already.
    fn policy_in_force(&self) -> bool;

    /// How full the tables are that packets are counted in now. Cheap: asked several times a second.
    fn fill(&self) -> Fill;
}

/// Where the retired generation stands.
#[derive(Clone, Copy, Debug)]
enum Retired {
    /// Empty and unused.
    Spare,
    /// Flipped away from; packets may still be counted in it.
    Closing(Moment),
    /// Read and handed out, not yet cleared.
    Read,
}

/// The state machine over [`Tables`].
pub struct Drain<T> {
    tables: T,
    /// None: what was read is lost with the process.
    keep: Option<Box<dyn Keep>>,
    /// Where packets are counted now.
    current: Generation,
    retired: Retired,
    wanted: Arc<PolicySet>,
    /// What each generation has, by its number; none: unknown.
    installed: [Option<Arc<PolicySet>>; 2],
}

impl<T: Tables> Drain<T> {
    /// Takes over empty tables whose current generation is `Even`, and installs the first policy in both.
    ///
    /// # Errors
    /// The policy cannot be installed.
    pub fn new(mut tables: T, policy: PolicySet) -> Result<Self, TableError> {
        let policy = Arc::new(policy);
        tables.install(Generation::Even, &policy)?;
        tables.install(Generation::Odd, &policy)?;
        Ok(Self {
            tables,
            keep: None,
            current: Generation::Even,
            retired: Retired::Spare,
            wanted: Arc::clone(&policy),
            installed: [Some(Arc::clone(&policy)), Some(policy)],
        })
    }

    /// Has everything kept that is read from now on.
    pub fn set_keep(&mut self, keep: Box<dyn Keep>) {
        self.keep = Some(keep);
    }

    /// The tables underneath.
    pub const fn tables(&mut self) -> &mut T {
        &mut self.tables
    }

    fn finish_clear(&mut self) -> Result<(), TableError> {
        if matches!(self.retired, Retired::Read) {
            self.tables.clear(self.current.other())?;
            self.retired = Retired::Spare;
        }
        Ok(())
    }

    fn flip(&mut self) -> Result<Moment, TableError> {
        let spare = self.current.other();
        if self.installed[spare.index()].as_ref() != Some(&self.wanted)
            && let Err(error) = self.install(spare, Arc::clone(&self.wanted))
        {
            // A policy that the kernel does not take must not stop the draining: the old one stays, whole.
            let Some(old) = self.installed[self.current.index()].clone() else {
                return Err(error);
            };
            tracing::error!(
                "own sources and bans stay as they were, the new ones cannot be put in force: {:#}",
                anyhow::Error::from(error)
            );
            self.install(spare, old)?;
        }
        self.tables.flip(spare)?;
        let moment = Moment::now();
        self.current = spare;
        self.retired = Retired::Closing(moment);
        Ok(moment)
    }

    fn install(&mut self, spare: Generation, policy: Arc<PolicySet>) -> Result<(), TableError> {
        self.installed[spare.index()] = None;
        self.tables.install(spare, &policy)?;
        self.installed[spare.index()] = Some(policy);
        Ok(())
    }
}

impl<T: Tables> CounterSource for Drain<T> {
    fn drain(&mut self) -> Result<Harvest, TableError> {
        self.finish_clear()?;
        let (retired, fresh) = match self.retired {
            Retired::Closing(moment) => (moment, false),
            Retired::Spare | Retired::Read => (self.flip()?, true),
        };
        die_at("flipped");
        self.tables.grace_period()?;
        let generation = self.current.other();
        let drained = self.tables.read(generation)?;
        die_at("read");
        if let Some(keep) = &mut self.keep
            && keep.keep(self.tables.epoch(generation), &drained, retired)
        {
            die_at("journaled");
            self.tables.note_kept(generation);
        }
        self.retired = Retired::Read;
        if let Err(error) = self.finish_clear() {
            // What was read is delivered all the same; the next drain begins with this step.
            tracing::warn!("cannot clear the drained kernel tables, trying again at the next drain: {error}");
        }
        die_at("cleared");
        Ok(Harvest {
            drained,
            retired,
            fresh,
        })
    }

    fn set_policy(&mut self, policy: PolicySet) {
        self.wanted = Arc::new(policy);
    }

    fn policy_in_force(&self) -> bool {
        self.installed[self.current.index()].as_ref() == Some(&self.wanted)
    }

    fn fill(&self) -> Fill {
        self.tables.fill(self.current)
    }
}

#[cfg(test)]
mod interleavings;
#[cfg(test)]
mod tests;
