//! The front table from this side: mapped memory. Which region each CPU counts in, and what is in it.

mod contents;
mod own;

use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;

use aya::Ebpf;
use tcpwatch_common::front::{BesideSet, Cpu, Lane, NO_REGION, Set4, Set6, WAYS, bits, unpack, word};
use tcpwatch_common::names::Sampling;
use tcpwatch_common::own::{PLACES, Source4, Source6};
use tcpwatch_common::ports::{ALL_GROUPS, GROUPS, PortGroup, group};
use tcpwatch_common::{Outcome, Totals};

pub use self::contents::{Contents, Numbers};
use super::capacity::{Fill, Sizing};
use super::drain::Generation;
use super::multiplier;
use super::policy::PortBits;
use super::shared::{Element, Shared, publish, random};
use super::tables::{TableError, call_error, descriptor};

/// How the maps are laid out; must be known before they are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Numbers of CPUs are smaller.
    pub cpus: u32,
    /// The CPUs that have a region. Others, plugged in later, count in the spill.
    pub with_region: Vec<u32>,
    /// Sets of a region, as a power of two.
    pub bits: u32,
}

impl Layout {
    /// Sets of all regions together.
    #[must_use]
    pub fn sets(&self) -> u32 {
        ((self.with_region.len() as u32 * 2) << self.bits).max(1)
    }

    /// Sets of a CPU's region in a generation.
    fn region(&self, position: usize, generation: Generation) -> u32 {
        ((position * 2 + generation.index()) as u32) << self.bits
    }
}

/// The mapped tables.
#[derive(Debug)]
pub struct Front {
    layout: Layout,
    cpus: Shared<Cpu>,
    v4: Shared<Set4>,
    v6: Shared<Set6>,
    beside4: Shared<BesideSet>,
    beside6: Shared<BesideSet>,
    own4: Shared<Source4>,
    own6: Shared<Source6>,
    ports: Shared<PortGroup>,
    secret: u64,
    sizing: Sizing,
    /// Each CPU wakes the daemon when it has made another so many entries of the spill, less one.
    spill_step: u64,
    /// Sets in use, as a power of two, by generation.
    bits: [u32; 2],
    /// Flips so far.
    flips: u64,
    /// All CPUs count in the first one's region. For the test that shows that this loses.
    one_region: bool,
}

impl Front {
    /// Maps the tables of a freshly loaded object and has every CPU count in generation 0.
    ///
    /// # Errors
    /// A map is missing, or the kernel refuses.
    pub fn take(ebpf: &Ebpf, layout: Layout, room: u32) -> Result<Self, TableError> {
        let cpus = mapped(descriptor(ebpf, "CPUS")?, "CPUS", layout.cpus)?;
        let mut front = Self::over(cpus, layout, room, |name| descriptor(ebpf, name))?;
        front
            .keep_secrets()
            .map_err(call_error("map the table into memory", "CPUS"))?;
        front.flip(Generation::Even);
        Ok(front)
    }

    /// Maps the tables that a run before has left, as they are. `cpus` is the number of entries of `CPUS`, `sets` that of `FRONT4`.
    ///
    /// # Errors
    /// A map is missing, or the kernel refuses.
    pub fn found<'a>(
        cpus: u32,
        sets: u32,
        descriptor: impl Fn(&'static str) -> Result<BorrowedFd<'a>, TableError>,
    ) -> Result<Self, TableError> {
        let table: Shared<Cpu> = mapped(descriptor("CPUS")?, "CPUS", cpus)?;
        // Regions follow each other in the order of these CPUs.
        let mut with_region: Vec<(u32, u32)> = (0..cpus)
            .map(|cpu| (table.copy(cpu as usize).word as u32, cpu))
            .filter(|(first, _)| *first < NO_REGION)
            .collect();
        with_region.sort_unstable();
        let with_region: Vec<u32> = with_region.into_iter().map(|(_, cpu)| cpu).collect();
        let layout = Layout {
            cpus,
            bits: (sets / (with_region.len() as u32 * 2).max(1)).max(1).ilog2(),
            with_region,
        };
        let words = table.copy(0).words;
        let mut front = Self::over(table, layout, 0, descriptor)?;
        front.secret = front.cpus.copy(0).secret;
        front.bits = words.map(|word| bits(word).unwrap_or_default());
        Ok(front)
    }

    fn over<'a>(
        cpus: Shared<Cpu>,
        layout: Layout,
        room: u32,
        descriptor: impl Fn(&'static str) -> Result<BorrowedFd<'a>, TableError>,
    ) -> Result<Self, TableError> {
        let sizing = Sizing::new(layout.bits);
        let sets = layout.sets();
        Ok(Self {
            cpus,
            v4: mapped(descriptor("FRONT4")?, "FRONT4", sets)?,
            v6: mapped(descriptor("FRONT6")?, "FRONT6", sets)?,
            beside4: mapped(descriptor("BESIDE4")?, "BESIDE4", sets)?,
            beside6: mapped(descriptor("BESIDE6")?, "BESIDE6", sets)?,
            own4: mapped(descriptor("OWN4")?, "OWN4", PLACES * 2)?,
            own6: mapped(descriptor("OWN6")?, "OWN6", PLACES * 2)?,
            ports: mapped(descriptor("PORTS")?, "PORTS", ALL_GROUPS)?,
            flips: 0,
            secret: 0,
            spill_step: spill_step(room, layout.cpus),
            bits: [sizing.bits(); 2],
            sizing,
            one_region: false,
            layout,
        })
    }

    fn keep_secrets(&mut self) -> io::Result<()> {
        let [secret, one, other] = random()?;
        let [multiplier, second] = multiplier::choose(|| random().map(|[number]| number))?;
        // Nothing but the destination is hidden: the rest stays readable.
        self.secret = secret & u64::from(u32::MAX);
        for cpu in 0..self.layout.cpus as usize {
            let cpu = self.cpus.at(cpu);
            // SAFETY: inside the mapping, and no program runs yet.
            unsafe {
                (*cpu).secret = self.secret;
                (*cpu).multiplier = multiplier;
                (*cpu).second = second;
                (*cpu).multipliers6 = [one | 1, other | 1];
            }
        }
        Ok(())
    }

    /// What holds for the generation's packets on the short way, and the ports that are served. `generation` must be the spare one, or
    /// nothing attached.
    pub fn set_rules(&self, generation: Generation, flags: u64, served: Option<&PortBits>) {
        let served_ports = served.map_or(0, PortBits::summary);
        for cpu in 0..self.layout.cpus as usize {
            // SAFETY: inside the mapping; nobody uses the spare generation's part.
            unsafe {
                let usual = &raw mut (*self.cpus.at(cpu)).usual[generation.index()];
                (*usual).flags = flags as u32;
                (*usual).served_ports = served_ports;
            }
        }
        let Some(served) = served else { return };
        for (udp, words) in [(false, &served.tcp), (true, &served.udp)] {
            let first = group(generation == Generation::Odd, udp, 0) as usize;
            for (index, word) in (0..GROUPS as usize).zip(words.iter()) {
                let of = self.ports.at(first + index);
                // SAFETY: inside the mapping. Only this half: programs write the other at any time.
                unsafe { (&raw mut (*of).served).write_volatile(*word) };
            }
        }
    }

    /// Socket buffers from served ports, while they were noted, of all CPUs.
    pub fn answers(&self) -> u64 {
        (0..self.layout.cpus as usize)
            .map(|cpu| self.cpus.copy(cpu).answers)
            .sum()
    }

    /// Samples taken and dropped since the start, by all CPUs.
    pub fn sampling(&self) -> Sampling {
        let mut sum = Sampling::default();
        for cpu in 0..self.layout.cpus as usize {
            let sampling = self.cpus.copy(cpu).sampling;
            sum.taken += sampling.taken;
            sum.dropped += sampling.dropped;
        }
        sum
    }

    /// Has every CPU count in `to` from now on, one after the other.
    pub fn flip(&mut self, to: Generation) {
        self.flips += 1;
        let first = self.cpus.at(0);
        // SAFETY: inside the mapping; no program uses it.
        unsafe { (*first).epochs[to.index()] = self.flips };
        let bits = self.sizing.bits();
        self.bits[to.index()] = bits;
        for cpu in 0..self.layout.cpus {
            let position = self.layout.with_region.iter().position(|with| *with == cpu);
            let first = match position {
                Some(_) if self.one_region => self.layout.region(0, to),
                Some(position) => self.layout.region(position, to),
                None => NO_REGION,
            };
            let word = word(to == Generation::Odd, bits, first);
            // At each quarter of the slots, as long as there can be more.
            let front_step = if bits < self.layout.bits {
                (1 << bits) - 1
            } else {
                u64::MAX
            };
            let cpu = self.cpus.at(cpu as usize);
            // SAFETY: inside the mapping, which lives as long as `self`; the first field of an aligned struct.
            unsafe {
                (*cpu).words[to.index()] = word;
                (*cpu).lanes[to.index()].front_step = front_step;
                (*cpu).lanes[to.index()].spill_step = self.spill_step;
                publish(&raw mut (*cpu).word, word);
            }
        }
    }

    /// How many flips there had been when a generation came into use; 0: it never was.
    pub fn epoch(&self, generation: Generation) -> u64 {
        self.cpus.copy(0).epochs[generation.index()]
    }

    /// The last epoch that is kept elsewhere.
    pub fn kept(&self) -> u64 {
        self.cpus.copy(0).kept
    }

    /// Notes that an epoch is kept elsewhere.
    pub fn note_kept(&self, epoch: u64) {
        // SAFETY: inside the mapping; no program uses it.
        unsafe { publish(&raw mut (*self.cpus.at(0)).kept, epoch) };
    }

    /// Has all CPUs count in the same region from the next flip on: loses counts. For the test that shows so.
    pub const fn share_one_region(&mut self) {
        self.one_region = true;
    }

    /// Each CPU's totals of a generation, without what is still packed.
    pub fn lanes(&self, generation: Generation) -> Vec<Lane> {
        (0..self.layout.cpus as usize)
            .map(|cpu| self.cpus.copy(cpu).lanes[generation.index()])
            .collect()
    }

    /// The totals of a generation.
    pub fn totals(&self, generation: Generation) -> Totals {
        let mut totals = Totals::default();
        for cpu in 0..self.layout.cpus as usize {
            let cpu = self.cpus.copy(cpu);
            let (lane, usual) = (cpu.lanes[generation.index()], cpu.usual[generation.index()]);
            let mut seen = lane.seen;
            seen.add(unpack(usual.seen));
            totals.skbs = totals
                .skbs
                .wrapping_add(seen.packets)
                .wrapping_sub(lane.extra.wrapping_add(usual.extra));
            totals.seen.add(seen);
            for (sum, outcome) in totals.outcomes.iter_mut().zip(lane.outcomes) {
                sum.add(outcome);
            }
            totals.outcomes[Outcome::Counted as usize].add(unpack(usual.counted));
            totals.outcomes[Outcome::Served as usize].add(unpack(usual.served));
            totals.outcomes[Outcome::Banned as usize].add(unpack(cpu.banned[generation.index()]));
            totals.outcomes[Outcome::OtherSource as usize].add(unpack(cpu.other_source[generation.index()]));
        }
        totals
    }

    /// Everything in the slots of a generation.
    pub fn read(&self, generation: Generation, numbers: &Numbers) -> Contents {
        let mut contents = Contents::default();
        for (position, cpu) in self.layout.with_region.iter().enumerate() {
            let cpu = self.cpus.copy(*cpu as usize);
            let taken = cpu.lanes[generation.index()].taken;
            // What no slot was taken of is empty: not even looked at.
            if taken[0] > 0 || self.one_region {
                for set in self.in_use(position, generation) {
                    self.read4(set, numbers, &mut contents);
                }
            }
            if taken[1] > 0 || self.one_region {
                for set in self.in_use(position, generation) {
                    self.read6(set, numbers, &mut contents);
                }
            }
        }
        contents
    }

    fn read4(&self, set: usize, numbers: &Numbers, contents: &mut Contents) {
        let slots = self.v4.copy(set).slots;
        // What is beside an empty set is not looked at.
        if slots.iter().any(|slot| *slot != 0) {
            contents.add_set4(slots, self.beside4.copy(set), self.secret, numbers);
        }
    }

    fn read6(&self, set: usize, numbers: &Numbers, contents: &mut Contents) {
        let slots = self.v6.copy(set).slots;
        if slots.iter().any(|slot| slot.slot != 0) {
            contents.add_set6(slots, self.beside6.copy(set), numbers);
        }
    }

    /// The sets of a region that packets of the generation were counted in.
    fn in_use(&self, position: usize, generation: Generation) -> Range<usize> {
        let first = self.layout.region(position, generation) as usize;
        first..first + (1 << self.bits[generation.index()])
    }

    /// Empties a generation, and takes note of how full it was.
    pub fn clear(&mut self, generation: Generation) {
        let mut most = 0;
        for (position, cpu) in self.layout.with_region.iter().enumerate() {
            let sets = self.in_use(position, generation);
            let lane = self.cpus.copy(*cpu as usize).lanes[generation.index()];
            if lane.taken[0] > 0 || self.one_region {
                self.v4.clear(sets.start, sets.len());
                self.beside4.clear(sets.start, sets.len());
            }
            if lane.taken[1] > 0 || self.one_region {
                self.v6.clear(sets.start, sets.len());
                self.beside6.clear(sets.start, sets.len());
            }
            let [v4, v6] = lane.taken.map(|taken| taken.saturating_sub(lane.evicted));
            most = most.max(v4.max(v6) + lane.spilled);
        }
        self.sizing.note(most);
        self.clear_totals(generation);
    }

    fn clear_totals(&self, generation: Generation) {
        for cpu in 0..self.layout.cpus as usize {
            let cpu = self.cpus.at(cpu);
            // SAFETY: inside the mapping; no program writes the generation.
            unsafe {
                (*cpu).lanes[generation.index()] = Default::default();
                (*cpu).usual[generation.index()].seen = 0;
                (*cpu).usual[generation.index()].counted = 0;
                (*cpu).usual[generation.index()].extra = 0;
                (*cpu).usual[generation.index()].served = 0;
                (*cpu).banned[generation.index()] = 0;
                (*cpu).other_source[generation.index()] = 0;
            }
        }
    }

    /// Empties the slots of a generation in use: loses counts. For the test that shows so.
    pub fn clear_live(&self, generation: Generation) {
        for position in 0..self.layout.with_region.len() {
            let sets = self.in_use(position, generation);
            self.v4.clear(sets.start, sets.len());
            self.v6.clear(sets.start, sets.len());
            self.beside4.clear(sets.start, sets.len());
            self.beside6.clear(sets.start, sets.len());
        }
    }

    /// How full a generation is, while packets are counted in it.
    pub fn fill(&self, generation: Generation, room: u64) -> Fill {
        let bits = self.bits[generation.index()];
        let slots = (WAYS as u64) << bits;
        let mut fill = Fill {
            room,
            slots,
            ..Fill::default()
        };
        for cpu in 0..self.layout.cpus as usize {
            let lane = self.cpus.copy(cpu).lanes[generation.index()];
            fill.spilled += lane.spilled;
            let used = lane.taken[0].max(lane.taken[1]);
            fill.taken = fill.taken.max(used);
            fill.cramped |= bits < self.layout.bits && used * 4 >= slots * 3;
        }
        fill
    }
}

fn mapped<T: Element>(map: BorrowedFd<'_>, name: &'static str, len: u32) -> Result<Shared<T>, TableError> {
    Shared::map(map, len as usize).map_err(call_error("map the table into memory", name))
}

/// So that all CPUs together wake the daemon some eight times before the spill is full, as bits.
fn spill_step(room: u32, cpus: u32) -> u64 {
    let step = (room / 8 / cpus.max(1)).max(1);
    u64::from((step / 2 + 1).next_power_of_two()) - 1
}
