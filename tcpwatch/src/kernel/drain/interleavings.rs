//! Every interleaving of two CPUs that count with a drainer that drains, step by step: none loses or doubles a packet.
//!
//! Each step is one access to memory that the others see: what happens inside a step cannot be split on a real machine
//! either, and no two steps of different parties are assumed to have any order but the one that is being tried. What a
//! packet writes is its CPU's own, as in the front table. The drainer follows the order of `Drain` and `Tables`.

use foldhash::{HashSet, HashSetExt as _};

const CPUS: usize = 2;
/// Packets of each CPU.
const PACKETS: u8 = 2;
/// Drains while packets are counted. The third drains the generation of the first again.
const DRAINS: u8 = 3;

/// How the drainer works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// As it should.
    Right,
    /// Without waiting for packets that are being counted.
    NoGracePeriod,
    /// Each generation is emptied before it is read.
    ClearFirst,
    /// Waits before the words are stored, not after.
    GracePeriodFirst,
    /// Both CPUs write the same slot.
    OneRegion,
}

/// Where a CPU is in its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    /// Between packets.
    Idle,
    /// Has read which generation is current.
    HasWord(u8),
    /// Has read the slot as well.
    HasSlot(u8, u8),
    /// Has written the slot.
    HasCounted(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Cpu {
    /// The generation that its packets go to.
    word: u8,
    at: At,
    /// Packets not yet begun.
    left: u8,
    /// How many packets it has begun: the number of the one in hand, which a grace period may wait for.
    begun: u8,
    /// By generation.
    slot: [u8; 2],
    /// By generation.
    total: [u8; 2],
}

/// The drainer's steps, in the order of [`Order::Right`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Store(usize),
    /// Notes which packets are under way.
    BeginGrace,
    /// Can be taken only when none of those is.
    EndGrace,
    ReadTotal(usize),
    ReadSlot(usize),
    ClearSlot(usize),
    ClearTotal(usize),
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct State {
    cpus: [Cpu; CPUS],
    /// Position in the drain's steps.
    position: usize,
    /// Drains that were completed.
    drains: u8,
    current: u8,
    /// The packet of each CPU that the grace period waits for.
    awaited: [Option<u8>; CPUS],
    /// What all drains have read.
    read_slots: u8,
    read_totals: u8,
    /// Of the drain that is under way.
    imbalance: i8,
    /// A drain whose totals were not the sum of its slots.
    unbalanced: bool,
}

fn steps(order: Order) -> Vec<Step> {
    let each = |step: fn(usize) -> Step| (0..CPUS).map(step);
    let store: Vec<Step> = each(Step::Store).collect();
    let grace = vec![Step::BeginGrace, Step::EndGrace];
    let read: Vec<Step> = each(Step::ReadTotal).chain(each(Step::ReadSlot)).collect();
    let clear: Vec<Step> = each(Step::ClearSlot).chain(each(Step::ClearTotal)).collect();
    let mut steps = match order {
        Order::Right | Order::OneRegion => [store, grace, read, clear].concat(),
        Order::NoGracePeriod => [store, read, clear].concat(),
        Order::ClearFirst => [store, grace, clear, read].concat(),
        Order::GracePeriodFirst => [grace, store, read, clear].concat(),
    };
    steps.push(Step::Done);
    steps
}

impl State {
    fn new() -> Self {
        let cpu = Cpu {
            word: 0,
            at: At::Idle,
            left: PACKETS,
            begun: 0,
            slot: [0; 2],
            total: [0; 2],
        };
        Self {
            cpus: [cpu; CPUS],
            position: 0,
            drains: 0,
            current: 0,
            awaited: [None; CPUS],
            read_slots: 0,
            read_totals: 0,
            imbalance: 0,
            unbalanced: false,
        }
    }

    fn packets_are_done(&self) -> bool {
        self.cpus.iter().all(|cpu| cpu.at == At::Idle && cpu.left == 0)
    }

    /// The state after the next access of a CPU; none: it has nothing to do.
    fn cpu_step(&self, cpu: usize, order: Order) -> Option<Self> {
        let mut next = *self;
        let slot = if order == Order::OneRegion { 0 } else { cpu };
        let Cpu { at, left, word, .. } = self.cpus[cpu];
        next.cpus[cpu].at = match at {
            At::Idle if left == 0 => return None,
            At::Idle => {
                next.cpus[cpu].left -= 1;
                next.cpus[cpu].begun += 1;
                At::HasWord(word)
            }
            At::HasWord(side) => At::HasSlot(side, self.cpus[slot].slot[usize::from(side)]),
            At::HasSlot(side, before) => {
                next.cpus[slot].slot[usize::from(side)] = before + 1;
                At::HasCounted(side)
            }
            At::HasCounted(side) => {
                // Reading and writing its own total is one step: nobody else writes it, and the drainer reads it once.
                next.cpus[cpu].total[usize::from(side)] += 1;
                At::Idle
            }
        };
        Some(next)
    }

    /// The state after the drainer's next step; none: it waits, or has ended.
    fn drain_step(&self, steps: &[Step]) -> Option<Self> {
        // After the last packet it drains once more for each generation.
        if self.drains >= DRAINS + 2 || self.drains >= DRAINS && !self.packets_are_done() {
            return None;
        }
        let mut next = *self;
        next.position += 1;
        let spare = 1 - self.current;
        let retired = usize::from(self.current);
        match steps[self.position] {
            Step::Store(cpu) => next.cpus[cpu].word = spare,
            Step::BeginGrace => {
                for (awaited, cpu) in next.awaited.iter_mut().zip(&self.cpus) {
                    *awaited = (cpu.at != At::Idle).then_some(cpu.begun);
                }
            }
            Step::EndGrace => {
                let runs =
                    |(awaited, cpu): (&Option<u8>, &Cpu)| cpu.at != At::Idle && *awaited == Some(cpu.begun);
                if self.awaited.iter().zip(&self.cpus).any(runs) {
                    return None;
                }
                next.awaited = [None; CPUS];
            }
            Step::ReadTotal(cpu) => {
                let total = self.cpus[cpu].total[retired];
                next.read_totals += total;
                next.imbalance += total.cast_signed();
            }
            Step::ReadSlot(cpu) => {
                let slot = self.cpus[cpu].slot[retired];
                next.read_slots += slot;
                next.imbalance -= slot.cast_signed();
            }
            Step::ClearSlot(cpu) => next.cpus[cpu].slot[retired] = 0,
            Step::ClearTotal(cpu) => next.cpus[cpu].total[retired] = 0,
            Step::Done => {
                next.position = 0;
                next.drains += 1;
                next.current = spare;
                next.unbalanced |= self.imbalance != 0;
                next.imbalance = 0;
            }
        }
        Some(next)
    }
}

/// What came of all interleavings.
#[derive(Debug, Default)]
struct Found {
    states: usize,
    ends: usize,
    /// Ends with fewer packets read than sent, from slots.
    lost: usize,
    /// Ends with more.
    doubled: usize,
    /// Ends whose totals are not what was sent.
    wrong_totals: usize,
    unbalanced: usize,
}

/// Tries every interleaving. Two that lead to the same state go on in the same way, so each state is looked at once.
fn explore(order: Order) -> Found {
    const SENT: u8 = PACKETS * CPUS as u8;
    let steps = steps(order);
    let mut found = Found::default();
    let mut known = HashSet::new();
    let mut open = vec![State::new()];
    while let Some(state) = open.pop() {
        found.states += 1;
        let nexts: Vec<State> = (0..CPUS)
            .filter_map(|cpu| state.cpu_step(cpu, order))
            .chain(state.drain_step(&steps))
            .collect();
        if nexts.is_empty() {
            assert!(
                state.packets_are_done() && state.drains == DRAINS + 2,
                "nobody waits for ever: {state:?}"
            );
            found.ends += 1;
            found.lost += usize::from(state.read_slots < SENT);
            found.doubled += usize::from(state.read_slots > SENT);
            found.wrong_totals += usize::from(state.read_totals != SENT);
            found.unbalanced += usize::from(state.unbalanced);
        }
        for next in nexts {
            if known.insert(next) {
                open.push(next);
            }
        }
    }
    found
}

#[test]
fn no_interleaving_loses_or_doubles_a_packet() {
    let found = explore(Order::Right);
    assert!(found.states > 10_000 && found.ends > 0, "{found:?}");
    assert_eq!(
        (found.lost, found.doubled, found.wrong_totals, found.unbalanced),
        (0, 0, 0, 0),
        "{found:?}"
    );
}

#[test]
fn without_the_grace_period_some_interleavings_lose() {
    let found = explore(Order::NoGracePeriod);
    assert!(found.lost > 0 && found.unbalanced > 0, "{found:?}");
}

#[test]
fn with_the_grace_period_before_the_words_are_stored_some_interleavings_lose() {
    let found = explore(Order::GracePeriodFirst);
    assert!(found.lost > 0 && found.unbalanced > 0, "{found:?}");
}

#[test]
fn with_tables_cleared_before_they_are_read_every_interleaving_loses() {
    let found = explore(Order::ClearFirst);
    assert!(found.ends > 0 && found.lost == found.ends, "{found:?}");
}

#[test]
fn with_two_cpus_in_one_region_some_interleavings_lose() {
    let found = explore(Order::OneRegion);
    assert!(found.lost > 0 && found.unbalanced > 0, "{found:?}");
}
