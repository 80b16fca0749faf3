//! Fuzzing: files made from honest and from hostile ones by changes that know the format and by blind ones. What
//! behaves in a new way is kept and changed further.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tcpwatch_tests::fuzz::watch::{ALONE, Failure, Fault, Log, forget, supervise};
use tcpwatch_tests::fuzz::{self, Random};
use tcpwatch_tests::note;

use crate::corpus::corpus;
use crate::honest;
use crate::naive::NAIVE;
use crate::reader::{Bench, Open, Seen, real};

mod mutation;

use mutation::change;

/// Files that are kept for what they do.
const MOST_KEPT: usize = 4000;

/// Hostile files larger than this are not a good beginning: most of what is changed in them is filling.
const LARGEST_SEED_BYTES: usize = 16 << 10;

/// What a run came to.
struct Outcome {
    executions: u64,
    refused: u64,
    opened: u64,
    damaged: u64,
    behaviours: usize,
    slowest: (Duration, String),
}

/// What a file does, so that files that do the same can be told.
fn behaviour(seen: &Seen) -> u64 {
    let mut hasher = DefaultHasher::new();
    match seen {
        Seen::Refused(text) => {
            // Offsets and sizes are not another behaviour.
            let words = text.split(|c: char| !c.is_alphabetic());
            words.for_each(|word| word.hash(&mut hasher));
        }
        Seen::Opened { places, errors } => {
            errors.hash(&mut hasher);
            for (_, place) in places {
                (
                    place.country.is_some(),
                    place.country_name.is_some(),
                    place.city.is_some(),
                )
                    .hash(&mut hasher);
                (place.asn.is_some(), place.network.is_some(), place.anycast).hash(&mut hasher);
            }
        }
    }
    hasher.finish()
}

/// Changes `seeds` and examines what comes out, until `end`.
fn go_on(log: &Log, open: Open, seeds: &Arc<[Arc<[u8]>]>, seed: u64, end: Instant) -> Outcome {
    let bench = Bench::new(open);
    let mut random = Random::new(seed);
    let mut kept = seeds.to_vec();
    let mut known = HashSet::new();
    let mut outcome = Outcome {
        executions: 0,
        refused: 0,
        opened: 0,
        damaged: 0,
        behaviours: 0,
        slowest: Default::default(),
    };
    while Instant::now() < end {
        let base = &kept[random.below(kept.len())];
        let input: Arc<[u8]> = change(base, seeds, &mut random).into();
        let name = format!("execution {} of seed {seed}", outcome.executions);
        let seen = bench.examine(log, &name, &input);
        outcome.executions += 1;
        match &seen {
            Seen::Refused(_) => outcome.refused += 1,
            Seen::Opened { errors, .. } => {
                outcome.opened += 1;
                outcome.damaged += u64::from(*errors > 0);
            }
        }
        if known.insert(behaviour(&seen)) {
            if kept.len() < MOST_KEPT {
                kept.push(input);
            } else {
                let at = seeds.len() + random.below(MOST_KEPT - seeds.len());
                kept[at] = input;
            }
        }
    }
    outcome.behaviours = known.len();
    outcome.slowest = log.slowest();
    outcome
}

fn honest_seeds() -> Vec<Arc<[u8]>> {
    honest::files()
        .into_iter()
        .map(|(_, bytes)| bytes.into())
        .collect()
}

fn all_seeds() -> Vec<Arc<[u8]>> {
    let hostile = corpus()
        .into_iter()
        .filter(|case| case.bytes.len() <= LARGEST_SEED_BYTES)
        .map(|case| case.bytes);
    // As many honest beginnings as hostile ones.
    let hostile: Vec<_> = hostile.collect();
    let honest = honest_seeds();
    let honest = honest.iter().cycle().take(hostile.len()).cloned();
    honest.chain(hostile.iter().cloned()).collect()
}

fn run(open: Open, seeds: Vec<Arc<[u8]>>, seed: u64, length: Duration) -> Result<Outcome, Failure> {
    let end = Instant::now() + length;
    let seeds = seeds.into();
    supervise(move |log| go_on(log, open, &seeds, seed, end))
}

#[test]
fn a_minute_of_changed_files_ends_without_panic_or_hang() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let seed = fuzz::seed();
    let seconds = fuzz::length().as_secs();
    note(format_args!(
        "TCPWATCH_FUZZ_SEED={seed} TCPWATCH_FUZZ_SECONDS={seconds}"
    ));
    let outcome = run(real, all_seeds(), seed, Duration::from_secs(seconds)).unwrap_or_else(|failure| {
        panic!("TCPWATCH_FUZZ_SEED={seed}: {failure:?}");
    });
    note(format_args!(
        "{} files in {seconds} s: {} refused, {} opened, {} of them damaged; {} behaviours; slowest step {:.1} ms: {}",
        outcome.executions,
        outcome.refused,
        outcome.opened,
        outcome.damaged,
        outcome.behaviours,
        outcome.slowest.0.as_secs_f64() * 1000.0,
        outcome.slowest.1
    ));
    // Fuzzing that opens nothing, or damages nothing, proves nothing.
    assert!(outcome.executions >= 100 * seconds, "too few files");
    assert!(outcome.opened > outcome.executions / 10, "too few opened");
    assert!(outcome.damaged > outcome.executions / 100, "too few damaged");
}

/// The control: what is broken is found, by the same means and in a fraction of the time.
#[test]
fn a_reader_that_checks_nothing_is_found_out() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let limit = Duration::from_secs(20);
    let (mut panicked, mut hung) = (0, 0);
    for seed in 0..200 {
        match run(NAIVE, honest_seeds(), seed, limit) {
            Ok(_) => panic!("seed {seed} found nothing in {limit:?}"),
            Err(failure) => {
                assert!(failure.case.ends_with(&format!("of seed {seed}")), "{failure:?}");
                // What is kept does it again.
                let input: Arc<[u8]> = std::fs::read(&failure.input).unwrap().into();
                let again = supervise(move |log| {
                    Bench::new(NAIVE).examine(log, "again", &input);
                })
                .unwrap_err();
                assert_eq!(again.fault, failure.fault);
                forget(&failure.input);
                forget(&again.input);
                match failure.fault {
                    Fault::Panicked(_) => panicked += 1,
                    Fault::Hung => hung += 1,
                }
            }
        }
        if hung > 0 && panicked > 0 {
            break;
        }
    }
    assert!(panicked > 0 && hung > 0, "{panicked} panics, {hung} hangs");
    note(format_args!(
        "the reader without checks: {panicked} panics, {hung} hangs found"
    ));
}
