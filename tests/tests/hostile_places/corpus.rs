//! The corpus: hostile files, each with a name and with what must become of it.

use std::sync::Arc;

use tcpwatch_tests::fuzz::watch::{Failure, Fault, forget, supervise};
use tcpwatch_tests::mmdb::{Data, File, To};
use tcpwatch_tests::note;

use crate::honest;
use crate::naive::NAIVE;
use crate::reader::{Bench, NEIGHBOUR, Open, Seen, VICTIM, real};

mod metadata;
mod records;
mod tree;

/// What must become of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is not opened.
    Refused,
    /// It is opened; the victim's place is unknown, and that it was damage is counted.
    Damaged,
    /// It is opened; the victim's place is unknown, and nothing is wrong with that.
    Unknown,
    /// It is opened, and the victim is in the Netherlands.
    Known,
    /// It is not opened, or the victim's country is unknown.
    NotKnown,
    /// Whatever, as long as it comes to an end.
    Ends,
}

/// A hostile file.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it does.
    pub name: String,
    /// The file.
    pub bytes: Arc<[u8]>,
    /// What must become of it.
    pub fate: Fate,
}

impl Case {
    /// One.
    pub fn new(name: impl Into<String>, fate: Fate, bytes: &[u8]) -> Self {
        Self {
            name: name.into(),
            bytes: bytes.into(),
            fate,
        }
    }
}

/// A file whose record of [`VICTIM`] is written by `write`, which says where it begins; [`NEIGHBOUR`] is honestly in
/// Germany.
pub fn with_record(write: impl FnOnce(&mut Data) -> usize) -> File {
    let mut file = File::new("Hostile-City");
    let neighbour = file.data.here();
    file.data.country("DE", "Germany");
    let victim = write(&mut file.data);
    file.tree.put("91.0.0.0/8", To::Data(neighbour));
    file.tree.put("90.0.0.0/8", To::Data(victim));
    file
}

/// A file whose victim is as honest as the neighbour.
pub fn honest_file() -> File {
    with_record(|data| {
        let at = data.here();
        data.country("NL", "Netherlands");
        at
    })
}

/// Every case.
pub fn corpus() -> Vec<Case> {
    [records::cases(), tree::cases(), metadata::cases()].concat()
}

/// Examines all cases with `open`, each under supervision of its own, until one fails.
fn run(open: Open, cases: Vec<Case>) -> Result<Vec<(Case, Seen)>, Failure> {
    supervise(move |log| {
        let bench = Bench::new(open);
        cases
            .into_iter()
            .map(|case| {
                let seen = bench.examine(log, &case.name, &case.bytes);
                (case, seen)
            })
            .collect()
    })
}

fn assert_fate(case: &Case, seen: &Seen) {
    let name = &case.name;
    let errors = match seen {
        Seen::Refused(_) => None,
        Seen::Opened { errors, .. } => Some(*errors),
    };
    let fits = match case.fate {
        Fate::Refused => errors.is_none(),
        Fate::Damaged => errors > Some(0) && seen.country(VICTIM).is_none(),
        Fate::Unknown => errors == Some(0) && seen.country(VICTIM).is_none(),
        Fate::Known => seen.country(VICTIM) == Some("NL"),
        Fate::NotKnown => seen.country(VICTIM).is_none(),
        Fate::Ends => true,
    };
    assert!(fits, "{name}: not {:?}, but {seen:#?}", case.fate);
    if matches!(case.fate, Fate::Damaged | Fate::Unknown | Fate::Known) {
        assert_eq!(
            seen.country(NEIGHBOUR),
            Some("DE"),
            "{name}: it harms its neighbour"
        );
    }
}

#[test]
fn every_hostile_file_is_refused_or_read_without_panic_or_hang() {
    let cases = corpus();
    let count = cases.len();
    assert!(count > 300, "only {count} cases");
    let seen = run(real, cases).unwrap_or_else(|failure| panic!("{failure:?}"));
    for (case, seen) in &seen {
        assert_fate(case, seen);
    }
    let opened = seen
        .iter()
        .filter(|(_, seen)| matches!(seen, Seen::Opened { .. }))
        .count();
    note(format_args!("{count} hostile files, {opened} of them opened"));
}

/// The control: what is broken is found by the same means.
#[test]
fn a_reader_that_checks_nothing_does_not_survive_the_corpus() {
    let fault = |name: &str| {
        let cases = corpus().into_iter().filter(|case| case.name == name).collect();
        let failure = run(NAIVE, cases).expect_err(name);
        assert_eq!(failure.case, name);
        forget(&failure.input);
        failure.fault
    };
    for name in [
        "a pointer behind the data",
        "a code of a lone byte",
        "a record that is a string of 16843036",
        "a leaf in the separator, 24 bits",
        "node_count 4294967295",
    ] {
        assert!(matches!(fault(name), Fault::Panicked(_)), "{name}");
    }
    for name in ["a pointer to itself", "two pointers to each other"] {
        assert_eq!(fault(name), Fault::Hung, "{name}");
    }
}

#[test]
fn names_in_the_corpus_are_used_once() {
    let mut names: Vec<String> = corpus().into_iter().map(|case| case.name).collect();
    names.sort();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn a_file_that_is_cut_short_anywhere_is_refused() {
    let small = honest_file().bytes();
    let mut cases: Vec<Case> = (0..small.len())
        .map(|length| Case::new(format!("cut to {length}"), Fate::Refused, &small[..length]))
        .collect();
    cases.push(Case::new("the whole", Fate::Known, &small));
    for (kind, whole) in honest::files() {
        // Every place near the ends, where the parts of a file are, and some in between.
        let near = |length: &usize| *length < 64 || whole.len() - length < 512 || length.is_multiple_of(61);
        cases.extend(
            (0..whole.len())
                .filter(near)
                .map(|length| Case::new(format!("{kind} cut to {length}"), Fate::Refused, &whole[..length])),
        );
    }
    let count = cases.len();
    for (case, seen) in run(real, cases).unwrap_or_else(|failure| panic!("{failure:?}")) {
        assert_fate(&case, &seen);
    }
    note(format_args!("{count} files cut short"));
}

#[test]
fn a_file_that_has_lost_its_beginning_or_its_middle_comes_to_an_end() {
    let mut cases = Vec::new();
    for (kind, whole) in honest::files() {
        for at in (1..whole.len()).step_by(37) {
            let end = (at + 1 + at % 50).min(whole.len());
            cases.push(Case::new(
                format!("{kind} from {at} on"),
                Fate::Ends,
                &whole[at..],
            ));
            cases.push(Case::new(
                format!("{kind} without {at}..{end}"),
                Fate::Ends,
                &[&whole[..at], &whole[end..]].concat(),
            ));
        }
    }
    run(real, cases).unwrap_or_else(|failure| panic!("{failure:?}"));
}
