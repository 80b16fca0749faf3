//! Tests of an outlet, with a target that fails as told.

use std::fs;
use std::io::Write as _;

use proptest::prelude::*;

use super::*;
use crate::sink::{Pieces, sample};

mod pieces;

/// What a fake target does with the next write. When the script is over it takes everything.
#[derive(Clone, Debug)]
enum Step {
    /// Takes so many bytes at most.
    Take(usize),
    /// Fails with this error number.
    Fail(i32),
    /// Fails with it from now on.
    FailAlways(i32),
    /// Does not return until it is released, then takes everything.
    Block,
}

/// One fake file, as the test sees it.
#[derive(Debug, Default)]
struct Paper {
    text: Mutex<Vec<u8>>,
    script: Mutex<VecDeque<Step>>,
    /// Writes that were attempted.
    writes: Mutex<u64>,
    released: Mutex<bool>,
    changed: Condvar,
    /// Bytes can be taken back.
    rubber: bool,
}

impl Paper {
    fn new(script: impl IntoIterator<Item = Step>) -> Arc<Self> {
        Arc::new(Self {
            script: Mutex::new(script.into_iter().collect()),
            ..Self::default()
        })
    }

    fn with_rubber(script: impl IntoIterator<Item = Step>) -> Arc<Self> {
        Arc::new(Self {
            rubber: true,
            script: Mutex::new(script.into_iter().collect()),
            ..Self::default()
        })
    }

    fn text(&self) -> String {
        String::from_utf8(self.text.lock().unwrap().clone()).unwrap()
    }

    fn release(&self) {
        *self.released.lock().unwrap() = true;
        self.changed.notify_all();
    }

    fn await_writes(&self, count: u64) {
        await_that("a write was attempted", || *self.writes.lock().unwrap() >= count);
    }
}

/// A target that writes on one paper after another.
struct Fake {
    paper: Arc<Paper>,
    next: Mutex<VecDeque<io::Result<Arc<Paper>>>>,
}

impl Target for Fake {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        *self.paper.writes.lock().unwrap() += 1;
        let step = self.paper.script.lock().unwrap().pop_front();
        let count = match step {
            None => bytes.len(),
            Some(Step::Take(count)) => count.min(bytes.len()),
            Some(Step::Fail(error)) => return Err(io::Error::from_raw_os_error(error)),
            Some(Step::FailAlways(error)) => {
                self.paper
                    .script
                    .lock()
                    .unwrap()
                    .push_front(Step::FailAlways(error));
                return Err(io::Error::from_raw_os_error(error));
            }
            Some(Step::Block) => {
                let mut released = self.paper.released.lock().unwrap();
                while !*released {
                    released = self.paper.changed.wait(released).unwrap();
                }
                bytes.len()
            }
        };
        self.paper.text.lock().unwrap().extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn take_back(&mut self, count: usize) -> io::Result<()> {
        if !self.paper.rubber {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let mut text = self.paper.text.lock().unwrap();
        let length = text.len() - count;
        text.truncate(length);
        Ok(())
    }

    fn reopen(&self) -> io::Result<Option<Box<dyn Target>>> {
        let mut next = std::mem::take(&mut *self.next.lock().unwrap());
        match next.pop_front() {
            None => Ok(None),
            Some(paper) => Ok(Some(Box::new(Self {
                paper: paper?,
                next: Mutex::new(next),
            }))),
        }
    }
}

/// `[1 of 3 rows]` and a line's end.
struct Line;

impl Encode for Line {
    fn encode(&self, record: &Record, to: &mut Pieces<'_>) -> io::Result<()> {
        writeln!(to, "[{} of {} rows]", record.seq, rows_of(record))
    }
}

fn lines(seqs: impl IntoIterator<Item = u64>) -> String {
    seqs.into_iter()
        .map(|seq| format!("[{seq} of 1 rows]\n"))
        .collect()
}

const QUICK: Limits = Limits {
    records: 1000,
    rows: 1000,
    piece_bytes: PIECE_BYTES,
    backoff: Duration::from_micros(10)..=Duration::from_micros(100),
};

/// Longer than any test takes.
const NEVER: Duration = Duration::from_secs(600);
const PATIENT: Limits = Limits {
    records: 1000,
    rows: 1000,
    piece_bytes: PIECE_BYTES,
    backoff: NEVER..=NEVER,
};

fn outlet(paper: &Arc<Paper>, next: Vec<io::Result<Arc<Paper>>>, limits: Limits) -> Outlet {
    outlet_of(Line, paper, next, limits)
}

fn outlet_of(
    encoder: impl Encode + 'static,
    paper: &Arc<Paper>,
    next: Vec<io::Result<Arc<Paper>>>,
    limits: Limits,
) -> Outlet {
    let fake = Fake {
        paper: Arc::clone(paper),
        next: Mutex::new(next.into()),
    };
    Outlet::start("fake".into(), Box::new(fake), Box::new(encoder), limits).unwrap()
}

fn record(seq: u64, rows: usize) -> Arc<Record> {
    let destinations = vec![sample::destination("192.0.2.1", 1, 60); rows - 1];
    Arc::new(Record {
        seq,
        destinations,
        ..sample::empty()
    })
}

fn push(outlet: &Outlet, seqs: impl IntoIterator<Item = u64>) {
    for seq in seqs {
        outlet.push(record(seq, 1));
    }
}

fn await_that(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < until, "never: {what}");
        thread::yield_now();
    }
}

fn reopen(outlet: &Outlet) {
    outlet.reopen();
    await_that("the thread takes note of it", || !outlet.shared.lock().reopen);
}

fn finish(outlet: Outlet) -> Outcome {
    outlet.finish(Duration::from_secs(10))
}

#[test]
fn records_leave_in_order_whole_and_once_over_partial_writes_and_errors() {
    let script = [
        Step::Take(1),
        Step::Fail(libc::EINTR),
        Step::Take(3),
        Step::Fail(libc::ENOSPC),
        Step::Fail(libc::ENOSPC),
        Step::Take(0),
        Step::Take(2),
        Step::Fail(libc::EAGAIN),
        Step::Fail(libc::EIO),
        Step::Take(5),
    ];
    let paper = Paper::new(script);
    let outlet = outlet(&paper, vec![], QUICK);
    push(&outlet, 1..=3);
    assert_eq!(
        finish(outlet),
        Outcome {
            written: 3,
            dropped: 0,
            left: 0
        }
    );
    assert_eq!(paper.text(), "[1 of 1 rows]\n[2 of 1 rows]\n[3 of 1 rows]\n");
}

#[test]
fn the_fake_shows_the_damage_that_a_writer_without_a_position_does() {
    let paper = Paper::new([Step::Take(4), Step::Fail(libc::ENOSPC)]);
    let mut fake = Fake {
        paper: Arc::clone(&paper),
        next: Mutex::default(),
    };
    let bytes = sample::encoded(&Line, &record(1, 1)).into_bytes();
    while io::ErrorKind::StorageFull
        == fake_write_all(&mut fake, &bytes).map_or_else(|error| error.kind(), |()| io::ErrorKind::Other)
    {
    }
    assert_eq!(paper.text(), "[1 o[1 of 1 rows]\n");
}

fn fake_write_all(fake: &mut Fake, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = fake.write(bytes)?;
        bytes = &bytes[count..];
    }
    Ok(())
}

#[test]
fn when_the_target_is_stuck_the_oldest_are_dropped_and_counted_and_push_returns() {
    let paper = Paper::new([Step::Block]);
    let outlet = outlet(&paper, vec![], Limits { records: 3, ..QUICK });
    push(&outlet, [1]);
    paper.await_writes(1);
    push(&outlet, 2..=10);
    assert_eq!(
        outlet.outcome(),
        Outcome {
            written: 0,
            dropped: 6,
            left: 4
        }
    );
    paper.release();
    assert_eq!(
        finish(outlet),
        Outcome {
            written: 4,
            dropped: 6,
            left: 0
        }
    );
    assert_eq!(paper.text(), lines([1, 8, 9, 10]));
}

#[test]
fn the_rows_of_the_records_that_wait_are_bounded_too() {
    let paper = Paper::new([Step::Block]);
    let outlet = outlet(&paper, vec![], Limits { rows: 10, ..QUICK });
    push(&outlet, [1]);
    paper.await_writes(1);
    for seq in 2..=4 {
        outlet.push(record(seq, 4));
    }
    assert_eq!(
        outlet.outcome(),
        Outcome {
            written: 0,
            dropped: 1,
            left: 3
        }
    );
    outlet.push(record(5, 2));
    assert_eq!(
        outlet.outcome(),
        Outcome {
            written: 0,
            dropped: 1,
            left: 4
        }
    );
    outlet.push(record(6, 500));
    assert_eq!(
        outlet.outcome(),
        Outcome {
            written: 0,
            dropped: 4,
            left: 2
        },
        "it has the queue for itself"
    );
    outlet.push(record(7, 1));
    paper.release();
    assert_eq!(
        finish(outlet),
        Outcome {
            written: 2,
            dropped: 5,
            left: 0
        }
    );
    assert_eq!(paper.text(), lines([1, 7]));
}

#[test]
fn a_deadline_ends_the_wait_for_a_stuck_target_and_what_is_left_is_counted() {
    let paper = Paper::new([Step::Take(1000), Step::Block]);
    let outlet = outlet(&paper, vec![], QUICK);
    push(&outlet, 1..=5);
    paper.await_writes(2);
    let begun = Instant::now();
    assert_eq!(
        outlet.finish(Duration::from_millis(20)),
        Outcome {
            written: 1,
            dropped: 0,
            left: 4
        }
    );
    assert!(begun.elapsed() < Duration::from_secs(5));
    paper.release();
}

#[test]
fn giving_up_takes_a_half_line_back() {
    let paper = Paper::with_rubber([Step::Take(1000), Step::Take(6), Step::FailAlways(libc::ENOSPC)]);
    let outlet = outlet(&paper, vec![], QUICK);
    push(&outlet, 1..=3);
    paper.await_writes(5);
    assert_eq!(
        outlet.finish(Duration::from_millis(20)),
        Outcome {
            written: 1,
            dropped: 0,
            left: 2
        }
    );
    assert_eq!(paper.text(), lines([1]));
}

#[test]
fn the_end_of_the_program_is_a_reason_to_try_again_at_once() {
    let paper = Paper::new([Step::Fail(libc::ENOSPC)]);
    let outlet = outlet(&paper, vec![], PATIENT);
    push(&outlet, 1..=2);
    paper.await_writes(1);
    assert_eq!(
        finish(outlet),
        Outcome {
            written: 2,
            dropped: 0,
            left: 0
        }
    );
    assert_eq!(paper.text(), lines(1..=2));
}

#[test]
fn a_reader_that_goes_away_closes_the_outlet() {
    let paper = Paper::new([Step::Take(1000), Step::Fail(libc::EPIPE)]);
    let outlet = outlet(&paper, vec![], QUICK);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    push(&outlet, [1]);
    await_that("the first record is out", || outlet.outcome().written == 1);
    assert!(!outlet.is_closed());
    runtime.block_on(async {
        let wait = tokio::time::timeout(Duration::from_millis(5), outlet.closed());
        assert!(wait.await.is_err(), "it is not closed yet");
    });
    push(&outlet, [2]);
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(10), outlet.closed())
            .await
            .unwrap();
    });
    assert!(outlet.is_closed());
    push(&outlet, 3..=4);
    assert_eq!(
        finish(outlet),
        Outcome {
            written: 1,
            dropped: 0,
            left: 3
        }
    );
    assert_eq!(paper.text(), lines([1]));
}

#[test]
fn a_new_target_takes_the_records_after_the_reopening() {
    let (old, new) = (Paper::new([]), Paper::new([]));
    let outlet = outlet(&old, vec![Ok(Arc::clone(&new))], QUICK);
    push(&outlet, 1..=2);
    await_that("both are out", || outlet.outcome().written == 2);
    reopen(&outlet);
    push(&outlet, 3..=4);
    assert_eq!(
        finish(outlet),
        Outcome {
            written: 4,
            dropped: 0,
            left: 0
        }
    );
    assert_eq!((old.text(), new.text()), (lines(1..=2), lines(3..=4)));
}

/// Reopens while record 1 is half out and the target fails; yields what the two papers have in the end.
fn reopened_in_the_middle(old: &Arc<Paper>, new: io::Result<Arc<Paper>>) -> (String, Outcome) {
    let second = new.as_ref().ok().map(Arc::clone);
    let outlet = outlet(old, vec![new], PATIENT);
    push(&outlet, 1..=2);
    old.await_writes(2);
    reopen(&outlet);
    let outcome = finish(outlet);
    (second.map(|paper| paper.text()).unwrap_or_default(), outcome)
}

#[test]
fn a_record_that_is_half_out_is_finished_in_the_old_file_where_that_works() {
    let old = Paper::new([Step::Take(5), Step::Fail(libc::ENOSPC)]);
    let (new, outcome) = reopened_in_the_middle(&old, Ok(Paper::new([])));
    assert_eq!((old.text(), new), (lines([1]), lines([2])));
    assert_eq!(
        outcome,
        Outcome {
            written: 2,
            dropped: 0,
            left: 0
        }
    );
}

#[test]
fn a_record_that_cannot_be_finished_there_is_whole_in_the_new_file_only() {
    let old = Paper::with_rubber([Step::Take(5), Step::FailAlways(libc::ENOSPC)]);
    let (new, outcome) = reopened_in_the_middle(&old, Ok(Paper::new([])));
    assert_eq!((old.text(), new), (String::new(), lines([1, 2])));
    assert_eq!(
        outcome,
        Outcome {
            written: 2,
            dropped: 0,
            left: 0
        }
    );
}

#[test]
fn a_half_that_cannot_be_taken_back_stays_and_the_record_is_whole_in_the_new_file() {
    let old = Paper::new([Step::Take(5), Step::FailAlways(libc::ENOSPC)]);
    let (new, outcome) = reopened_in_the_middle(&old, Ok(Paper::new([])));
    assert_eq!((old.text(), new), ("[1 of".to_owned(), lines([1, 2])));
    assert_eq!(
        outcome,
        Outcome {
            written: 2,
            dropped: 0,
            left: 0
        }
    );
}

#[test]
fn when_the_new_file_cannot_be_opened_the_old_one_goes_on_without_a_tear() {
    for rubber in [false, true] {
        let script = [Step::Take(5), Step::Fail(libc::ENOSPC), Step::Fail(libc::ENOSPC)];
        let old = if rubber {
            Paper::with_rubber(script)
        } else {
            Paper::new(script)
        };
        let (_, outcome) = reopened_in_the_middle(&old, Err(io::ErrorKind::PermissionDenied.into()));
        assert_eq!(old.text(), lines([1, 2]));
        assert_eq!(
            outcome,
            Outcome {
                written: 2,
                dropped: 0,
                left: 0
            }
        );
    }
}

#[test]
fn a_renamed_file_keeps_its_records_and_the_new_one_gets_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let (path, rotated) = (
        directory.path().join("records"),
        directory.path().join("records.1"),
    );
    let outlet = Outlet::file(&path, Box::new(Line)).unwrap();
    push(&outlet, [1]);
    await_that("it is out", || outlet.outcome().written == 1);
    fs::rename(&path, &rotated).unwrap();
    push(&outlet, [2]);
    await_that("it is out", || outlet.outcome().written == 2);
    outlet.reopen();
    await_that("the new file is there", || path.exists());
    push(&outlet, [3]);
    assert_eq!(
        finish(outlet),
        Outcome {
            written: 3,
            dropped: 0,
            left: 0
        }
    );
    assert_eq!(fs::read_to_string(&rotated).unwrap(), lines([1, 2]));
    assert_eq!(fs::read_to_string(&path).unwrap(), lines([3]));
}

#[test]
fn a_device_that_is_full_keeps_records_waiting() {
    let outlet = Outlet::file(Path::new("/dev/full"), Box::new(Line)).unwrap();
    push(&outlet, 1..=3);
    assert_eq!(
        outlet.finish(Duration::from_millis(50)),
        Outcome {
            written: 0,
            dropped: 0,
            left: 3
        }
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn whatever_the_target_does_nothing_is_lost_repeated_or_torn(
        script in proptest::collection::vec(prop_oneof![
            (0_usize..20).prop_map(Step::Take),
            prop_oneof![Just(libc::ENOSPC), Just(libc::EINTR), Just(libc::EAGAIN), Just(libc::EDQUOT)].prop_map(Step::Fail),
        ], 0..40),
        count in 1_u64..8,
    ) {
        let paper = Paper::new(script);
        let limits = Limits { backoff: Duration::ZERO..=Duration::ZERO, ..QUICK };
        let outlet = outlet(&paper, vec![], limits);
        push(&outlet, 1..=count);
        prop_assert_eq!(finish(outlet), Outcome { written: count, dropped: 0, left: 0 });
        prop_assert_eq!(paper.text(), lines(1..=count));
    }
}
