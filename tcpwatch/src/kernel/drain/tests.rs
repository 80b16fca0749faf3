//! The order of a drain's steps, under every combination of failures, on a model of the kernel tables.

use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;

use proptest::prelude::*;
use tcpwatch_common::{Counts, FlowKey, Outcome, Totals, Traffic, mapped};

use super::*;

/// The steps that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Install,
    Flip,
    GracePeriod,
    Read,
    Clear,
}

/// What the kernel would do, with a packet that may hang between reading the generation and counting.
#[derive(Debug)]
struct Model {
    current: Generation,
    sides: [BTreeMap<u8, u64>; 2],
    policies: [Option<PolicySet>; 2],
    /// A packet that has read the generation and has not been counted yet.
    hanging: Option<(Generation, u8)>,
    /// Steps that fail, in the order of the calls.
    failures: Vec<Step>,
    /// Whether the grace period waits for hanging packets. The negative control turns it off.
    waits: bool,
    /// The policy that each packet met, as the number of its own sources.
    met: Vec<usize>,
    /// Flips so far, and how many there had been when each side came into use.
    flips: u64,
    epochs: [u64; 2],
    /// The last epoch that was noted as kept.
    kept: u64,
    /// Whether the process dies between keeping and noting it.
    notes: bool,
}

impl Model {
    fn new(failures: Vec<Step>) -> Self {
        Self {
            current: Generation::Even,
            sides: Default::default(),
            policies: [None, None],
            hanging: None,
            failures,
            waits: true,
            met: Vec::new(),
            flips: 1,
            epochs: [1, 0],
            kept: 0,
            notes: true,
        }
    }

    fn count(&mut self, generation: Generation, destination: u8) {
        *self.sides[generation.index()].entry(destination).or_default() += 1;
        let policy = self.policies[generation.index()]
            .as_ref()
            .expect("a generation in use has a policy");
        self.met.push(policy.sources.len());
    }

    fn packet(&mut self, destination: u8, hangs: bool) {
        self.arrive();
        if hangs {
            self.hanging = Some((self.current, destination));
        } else {
            self.count(self.current, destination);
        }
    }

    /// The hanging packet is counted where it was meant to be.
    fn arrive(&mut self) {
        if let Some((generation, destination)) = self.hanging.take() {
            self.count(generation, destination);
        }
    }

    fn fails(&mut self, step: Step) -> Result<(), TableError> {
        if self.failures.last() == Some(&step) {
            self.failures.pop();
            return Err(TableError::Call {
                step: "test",
                map: String::new(),
                source: io::Error::other("made to fail"),
            });
        }
        Ok(())
    }
}

impl Tables for Model {
    fn install(&mut self, generation: Generation, policy: &PolicySet) -> Result<(), TableError> {
        assert!(
            generation != self.current || self.policies == [None, None],
            "a policy is never changed under packets"
        );
        self.fails(Step::Install)?;
        self.policies[generation.index()] = Some(policy.clone());
        Ok(())
    }

    fn flip(&mut self, to: Generation) -> Result<(), TableError> {
        assert!(
            self.sides[to.index()].is_empty(),
            "packets are only counted in a side that was emptied"
        );
        self.fails(Step::Flip)?;
        self.current = to;
        self.flips += 1;
        self.epochs[to.index()] = self.flips;
        Ok(())
    }

    fn grace_period(&mut self) -> Result<(), TableError> {
        self.fails(Step::GracePeriod)?;
        if self.waits {
            self.arrive();
        }
        Ok(())
    }

    fn read(&mut self, generation: Generation) -> Result<Drained, TableError> {
        assert_ne!(generation, self.current, "only the quiet side is read");
        self.fails(Step::Read)?;
        let mut drained = Drained::default();
        for (destination, packets) in &self.sides[generation.index()] {
            let key = FlowKey {
                destination: mapped([192, 0, 2, *destination]),
                source: mapped([198, 51, 100, 7]),
                ifindex: 2,
            };
            drained.destinations.push((
                key,
                Traffic::of(Counts {
                    packets: *packets,
                    bytes: 0,
                }),
            ));
            drained.totals.seen.packets += packets;
        }
        drained.totals = Totals {
            skbs: drained.totals.seen.packets,
            ..drained.totals
        };
        drained.totals.outcomes[Outcome::Counted as usize] = drained.totals.seen;
        Ok(drained)
    }

    fn clear(&mut self, generation: Generation) -> Result<(), TableError> {
        assert_ne!(generation, self.current, "only the quiet side is cleared");
        self.fails(Step::Clear)?;
        self.sides[generation.index()].clear();
        Ok(())
    }

    fn fill(&self, _generation: Generation) -> Fill {
        Fill::default()
    }

    fn epoch(&self, generation: Generation) -> u64 {
        self.epochs[generation.index()]
    }

    fn note_kept(&mut self, generation: Generation) {
        if self.notes {
            self.kept = self.epochs[generation.index()];
        }
    }
}

/// The journal: epochs and how many packets they had.
#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<(u64, u64)>>>);

impl Keep for Kept {
    fn keep(&mut self, epoch: u64, drained: &Drained, _retired: Moment) -> bool {
        self.0.lock().unwrap().push((epoch, drained.totals.seen.packets));
        true
    }
}

/// Runs the events, then dies. Returns how many packets were sent, and how many the next run finds: in the journal, and in the sides
/// whose epoch `kept` does not answer for.
fn die_after(
    mut model: Model,
    events: &[Event],
    kept: impl Fn(&Model, &[(u64, u64)], u64) -> bool,
) -> (u64, u64) {
    let failures = std::mem::take(&mut model.failures);
    let journal = Kept::default();
    let mut drain = Drain::new(model, policy(0)).expect("nothing fails yet");
    drain.set_keep(Box::new(journal.clone()));
    drain.tables().failures = failures;
    let mut sent = 0;
    for event in events {
        match *event {
            Event::Packet { destination, hangs } => {
                sent += 1;
                drain.tables().packet(destination, hangs);
            }
            Event::Drain => drop(drain.drain()),
            Event::Policy { sources } => drain.set_policy(policy(sources)),
        }
    }
    let model = drain.tables();
    model.arrive();
    let journal = journal.0.lock().unwrap();
    let left: u64 = [0, 1]
        .into_iter()
        .filter(|side| !kept(model, &journal, model.epochs[*side]))
        .map(|side| model.sides[side].values().sum::<u64>())
        .sum();
    (
        sent,
        left + journal.iter().map(|(_, packets)| packets).sum::<u64>(),
    )
}

/// As [`crate::kernel::pins::Leftover`] has it.
fn noted_or_kept(model: &Model, journal: &[(u64, u64)], epoch: u64) -> bool {
    epoch <= model.kept || journal.iter().any(|(kept, _)| *kept == epoch)
}

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Event {
    Packet { destination: u8, hangs: bool },
    Drain,
    Policy { sources: u8 },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0_u8..4, any::<bool>()).prop_map(|(destination, hangs)| Event::Packet { destination, hangs }),
        3 => Just(Event::Drain),
        1 => (0_u8..3).prop_map(|sources| Event::Policy { sources }),
    ]
}

fn failure() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Install),
        Just(Step::Flip),
        Just(Step::GracePeriod),
        Just(Step::Read),
        Just(Step::Clear),
    ]
}

fn policy(sources: u8) -> PolicySet {
    let key = |i| tcpwatch_common::SourceKey {
        address: mapped([198, 51, 100, i]),
        ifindex: 2,
    };
    PolicySet {
        sources: (0..sources).map(key).collect(),
        ..PolicySet::default()
    }
}

/// Runs the events, then drains until everything is out. Returns what was sent and what came out, by destination.
fn run(mut model: Model, events: &[Event]) -> (BTreeMap<FlowKey, u64>, BTreeMap<FlowKey, u64>) {
    let failures = std::mem::take(&mut model.failures);
    let mut drain = Drain::new(model, policy(0)).expect("nothing fails yet");
    drain.tables().failures = failures;
    let (mut sent, mut came) = (BTreeMap::new(), BTreeMap::new());
    let key = |destination| FlowKey {
        destination: mapped([192, 0, 2, destination]),
        source: mapped([198, 51, 100, 7]),
        ifindex: 2,
    };
    let mut take = |drain: &mut Drain<Model>| {
        let harvest = drain.drain().ok()?;
        assert_eq!(harvest.drained.imbalance(), None);
        for (key, traffic) in harvest.drained.destinations {
            *came.entry(key).or_default() += traffic.counts.packets;
        }
        Some(harvest.fresh)
    };
    for event in events {
        match *event {
            Event::Packet { destination, hangs } => {
                *sent.entry(key(destination)).or_default() += 1;
                drain.tables().packet(destination, hangs);
            }
            Event::Drain => drop(take(&mut drain)),
            Event::Policy { sources } => drain.set_policy(policy(sources)),
        }
    }
    drain.tables().arrive();
    drain.tables().failures.clear();
    while !take(&mut drain).expect("nothing fails any more") {}
    assert!(
        drain.tables().sides.iter().all(BTreeMap::is_empty),
        "everything came out"
    );
    (sent, came)
}

proptest! {
    #[test]
    fn every_packet_comes_out_exactly_once_whatever_fails(
        events in prop::collection::vec(event(), 0..60),
        failures in prop::collection::vec(failure(), 0..12),
    ) {
        let (sent, came) = run(Model::new(failures), &events);
        prop_assert_eq!(sent, came);
    }
}

proptest! {
    #[test]
    fn every_packet_is_found_exactly_once_by_the_next_run_wherever_this_one_dies(
        events in prop::collection::vec(event(), 0..60),
        failures in prop::collection::vec(failure(), 0..12),
        notes: bool,
    ) {
        let model = Model { notes, ..Model::new(failures) };
        let (sent, found) = die_after(model, &events, noted_or_kept);
        prop_assert_eq!(sent, found);
    }
}

#[test]
fn what_is_kept_and_not_cleared_is_found_twice_by_who_does_not_ask() {
    let events = [
        Event::Packet {
            destination: 1,
            hangs: false,
        },
        Event::Drain,
    ];
    let dies = || Model::new(vec![Step::Clear]);
    assert_eq!(die_after(dies(), &events, noted_or_kept), (1, 1));
    assert_eq!(die_after(dies(), &events, |_, _, _| false), (1, 2));
    // The note alone does not do when the process dies before it is made, the journal alone not when its file has gone.
    let silent = Model {
        notes: false,
        ..dies()
    };
    let by_note = |model: &Model, _: &[(u64, u64)], epoch| epoch <= model.kept;
    assert_eq!(die_after(silent, &events, by_note), (1, 2));
    assert_eq!(die_after(dies(), &events, by_note), (1, 1));
}

#[test]
fn without_a_grace_period_a_packet_is_lost() {
    let events = [
        Event::Packet {
            destination: 1,
            hangs: true,
        },
        Event::Drain,
    ];
    let model = Model {
        waits: false,
        ..Model::new(Vec::new())
    };
    let outcome = std::panic::catch_unwind(|| run(model, &events));
    // The late packet lands in a side that counts as empty: the flip back would mix it into another interval, which the
    // model refuses.
    assert!(outcome.is_err(), "the loss must show: {outcome:?}");
}

#[test]
fn a_policy_holds_from_the_next_generation_on_and_for_whole_generations() {
    let mut drain = Drain::new(Model::new(Vec::new()), policy(0)).unwrap();
    drain.tables().packet(1, false);
    drain.set_policy(policy(2));
    drain.tables().packet(1, true);
    drain.drain().unwrap();
    drain.tables().packet(1, false);
    assert_eq!(drain.tables().met, [0, 0, 2]);
}

#[test]
fn a_policy_that_cannot_be_installed_stops_no_drain_and_is_tried_again() {
    let mut drain = Drain::new(Model::new(Vec::new()), policy(1)).unwrap();
    drain.set_policy(policy(2));
    drain.tables().failures = vec![Step::Install];
    drain.drain().unwrap();
    assert!(!drain.policy_in_force());
    drain.tables().packet(1, false);
    drain.drain().unwrap();
    assert!(drain.policy_in_force());
    drain.tables().packet(1, false);
    assert_eq!(drain.tables().met, [1, 2]);
}

#[test]
fn the_moment_of_a_drain_is_that_of_its_flip_even_when_it_is_read_later() {
    let mut drain = Drain::new(Model::new(Vec::new()), policy(0)).unwrap();
    drain.tables().failures = vec![Step::GracePeriod];
    let before = Instant::now();
    assert!(drain.drain().is_err());
    let after = Instant::now();
    let harvest = drain.drain().unwrap();
    assert!((before..=after).contains(&harvest.retired.monotonic));
}
