//! Input invented and changed, by changes that know the format and by blind ones. What behaves in a new way is kept and
//! changed further.

use std::collections::HashSet;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tcpwatch_tests::fuzz::watch::{Failure, Fault, Log, forget, supervise};
use tcpwatch_tests::fuzz::{self, Random, blind};
use tcpwatch_tests::note;

use crate::examine::{Examine, Told};
use crate::{answers, examine, hellos, initials, naive, scripts};

/// Inputs that are kept for what they do.
const MOST_KEPT: usize = 2000;

/// Inputs that grow are cut to this.
const LONGEST: usize = 70_000;

/// One parser, and what is made for it.
#[derive(Clone, Copy)]
struct Target {
    name: &'static str,
    /// A new input, honest or nearly so.
    invent: fn(&mut Random) -> Vec<u8>,
    /// A change that knows the format.
    change: fn(&mut Vec<u8>, &mut Random),
    examine: Examine,
}

const TARGETS: [Target; 4] = [
    Target {
        name: "dns",
        invent: answers::invent,
        change: answers::change,
        examine: examine::dns,
    },
    Target {
        name: "tls",
        invent: hellos::invent,
        change: hellos::change,
        examine: examine::tls,
    },
    Target {
        name: "quic",
        invent: initials::invent,
        change: initials::change,
        examine: examine::quic,
    },
    Target {
        name: "observer",
        invent: scripts::invent,
        change: scripts::change,
        examine: examine::observer,
    },
];

/// What a run came to.
#[derive(Default)]
struct Outcome {
    executions: u64,
    /// By what was told: a name or addresses, nothing, not yet enough, unreadable.
    told: [u64; 4],
    behaviours: usize,
    slowest: (Duration, String),
}

/// Changes and examines until `end`.
fn go_on(log: &Log, target: Target, seed: u64, end: Instant) -> Outcome {
    let mut random = Random::new(seed);
    let mut kept: Vec<Arc<[u8]>> = Vec::new();
    let mut known = HashSet::new();
    let mut outcome = Outcome::default();
    while Instant::now() < end {
        let mut input = if kept.is_empty() || random.below(4) == 0 {
            (target.invent)(&mut random)
        } else {
            random.pick(&kept).to_vec()
        };
        for _ in 0..random.below(6) {
            let other = if kept.is_empty() {
                &[][..]
            } else {
                random.pick(&kept)
            };
            match random.below(12) {
                0 => blind::bits(&mut input, &mut random),
                1 => blind::byte(&mut input, &mut random),
                2 => blind::splice(&mut input, other, &mut random),
                3 => blind::remove(&mut input, &mut random),
                4 => {
                    if random.below(8) == 0 {
                        blind::cut(&mut input, &mut random);
                    }
                }
                _ => (target.change)(&mut input, &mut random),
            }
        }
        input.truncate(LONGEST);
        let input: Arc<[u8]> = input.into();
        let name = format!("{}, execution {} of seed {seed}", target.name, outcome.executions);
        log.case(&name, &input);
        let seen = log.step(|| "reading".to_owned(), || (target.examine)(&input));
        outcome.executions += 1;
        outcome.told[seen.told as usize] += 1;
        if known.insert(seen.behaviour) {
            if kept.len() < MOST_KEPT {
                kept.push(input);
            } else {
                let at = random.below(MOST_KEPT);
                kept[at] = input;
            }
        }
    }
    outcome.behaviours = known.len();
    outcome.slowest = log.slowest();
    outcome
}

fn run(target: Target, seed: u64, length: Duration) -> Result<Outcome, Failure> {
    let end = Instant::now() + length;
    supervise(move |log| go_on(log, target, seed, end))
}

/// All at the same time.
#[test]
fn a_minute_of_changed_packets_ends_without_panic_hang_or_false_name() {
    let seed = fuzz::seed();
    let length = fuzz::length();
    note(format_args!(
        "TCPWATCH_FUZZ_SEED={seed} TCPWATCH_FUZZ_SECONDS={}",
        length.as_secs()
    ));
    let runs = TARGETS.map(|target| (target, thread::spawn(move || run(target, seed, length))));
    for (target, run) in runs {
        let outcome = run.join().unwrap().unwrap_or_else(|failure| {
            panic!("TCPWATCH_FUZZ_SEED={seed}: {failure:?}");
        });
        let [named, nothing, unfinished, unreadable] = outcome.told;
        note(format_args!(
            "{}: {} inputs in {} s: {named} told a name, {nothing} nothing, {unfinished} too little, {unreadable} \
             unreadable; {} behaviours; slowest {:.1} ms: {}",
            target.name,
            outcome.executions,
            length.as_secs(),
            outcome.behaviours,
            outcome.slowest.0.as_secs_f64() * 1000.0,
            outcome.slowest.1
        ));
        // Fuzzing that names nothing, or damages nothing, proves nothing.
        assert!(
            outcome.executions >= 100 * length.as_secs(),
            "{}: too few",
            target.name
        );
        assert!(named > outcome.executions / 20, "{}: too few names", target.name);
        assert!(
            unreadable > outcome.executions / 50,
            "{}: too little damage",
            target.name
        );
    }
}

/// The control: what is broken is found, by the same means and in a fraction of the time.
#[test]
fn parsers_that_check_nothing_are_found_out() {
    let limit = Duration::from_secs(20);
    let wanted = [
        (naive::dns as Examine, &["out of ", "Hung"][..]),
        (naive::tls, &["out of ", "no name"]),
        (naive::quic, &["out of ", "no name"]),
        (naive::observer, &["second finding"]),
    ];
    for (target, (examine, faults)) in TARGETS.into_iter().zip(wanted) {
        let target = Target { examine, ..target };
        let mut missing = faults.to_vec();
        for seed in 0..300 {
            let Err(failure) = run(target, seed, limit) else {
                panic!("{}, seed {seed}: found nothing in {limit:?}", target.name);
            };
            // What is kept does it again.
            let input: Arc<[u8]> = std::fs::read(&failure.input).unwrap().into();
            let again = supervise(move |log| {
                log.case("again", &input);
                log.step(|| "reading".to_owned(), || examine(&input));
            })
            .unwrap_err();
            forget(&failure.input);
            forget(&again.input);
            assert_eq!(again.fault, failure.fault);
            let text = match again.fault {
                Fault::Panicked(text) => text,
                Fault::Hung => "Hung".to_owned(),
            };
            missing.retain(|fault| !text.contains(fault));
            if missing.is_empty() {
                break;
            }
        }
        assert!(missing.is_empty(), "{}: not found: {missing:?}", target.name);
    }
}

/// What the other files of this program rely on.
#[test]
fn what_is_invented_is_mostly_readable() {
    for target in TARGETS {
        let mut random = Random::new(1);
        let mut told = [0_u32; 4];
        for _ in 0..500 {
            told[(target.examine)(&(target.invent)(&mut random)).told as usize] += 1;
        }
        assert!(told[Told::Name as usize] > 100, "{}: {told:?}", target.name);
    }
}
