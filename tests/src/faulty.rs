//! The kernel tables with a view of which way packets went, and with a step done wrong where a negative control asks for it.

use tcpwatch::kernel::capacity::Fill;
use tcpwatch::kernel::drain::{Generation, Tables};
use tcpwatch::kernel::policy::PolicySet;
use tcpwatch::kernel::tables::{KernelTables, TableError};
use tcpwatch::tally::Drained;
use tcpwatch_common::front::Lane;

/// What is done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Nobody waits for packets that are being counted.
    NoGracePeriod,
    /// The tables are emptied before they are read.
    ClearFirst,
    /// All CPUs count in the same slots.
    OneRegion,
}

/// Which way packets went, summed over drains and CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ways {
    /// Slots taken, both families.
    pub taken: u64,
    /// Slots given to another destination.
    pub evicted: u64,
    /// Entries made in the spill.
    pub spilled: u64,
}

/// The real tables, with a fault or none.
pub struct Faulty {
    tables: KernelTables,
    fault: Fault,
    ways: Ways,
    /// The totals of each CPU, as they were when last read.
    last: Vec<Lane>,
}

impl Faulty {
    /// Takes over the tables of a freshly loaded object. Sharing of slots begins with the first flip.
    pub fn new(mut tables: KernelTables, fault: Fault) -> Self {
        if fault == Fault::OneRegion {
            tables.share_one_region();
        }
        Self {
            tables,
            fault,
            ways: Ways::default(),
            last: Vec::new(),
        }
    }

    /// Which way the packets of all drains went.
    pub fn ways(&self) -> Ways {
        self.ways
    }

    /// The totals of each CPU at the last drain, by its number, without those that were still packed.
    pub fn last(&self) -> &[Lane] {
        &self.last
    }
}

impl Tables for Faulty {
    fn install(&mut self, generation: Generation, policy: &PolicySet) -> Result<(), TableError> {
        self.tables.install(generation, policy)
    }

    fn flip(&mut self, to: Generation) -> Result<(), TableError> {
        self.tables.flip(to)
    }

    fn grace_period(&mut self) -> Result<(), TableError> {
        if self.fault == Fault::NoGracePeriod {
            return Ok(());
        }
        self.tables.grace_period()
    }

    fn read(&mut self, generation: Generation) -> Result<Drained, TableError> {
        self.last = self.tables.lanes(generation);
        for lane in &self.last {
            self.ways.taken += lane.taken[0] + lane.taken[1];
            self.ways.evicted += lane.evicted;
            self.ways.spilled += lane.spilled;
        }
        if self.fault == Fault::ClearFirst {
            self.tables.clear(generation)?;
        }
        self.tables.read(generation)
    }

    fn clear(&mut self, generation: Generation) -> Result<(), TableError> {
        self.tables.clear(generation)
    }

    fn epoch(&self, generation: Generation) -> u64 {
        self.tables.epoch(generation)
    }

    fn note_kept(&mut self, generation: Generation) {
        self.tables.note_kept(generation);
    }

    fn fill(&self, generation: Generation) -> Fill {
        self.tables.fill(generation)
    }
}
