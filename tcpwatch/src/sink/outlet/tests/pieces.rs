//! Tests of records that go out in several pieces, and of the heading before the first.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

const HEADING: &str = "a heading\n";

/// `{1: 0123456789…}` and a line's end: five pieces, the heading counted in.
struct Long;

const PIECE: usize = 8;

impl Encode for Long {
    fn heading(&self) -> &str {
        HEADING
    }

    fn encode(&self, record: &Record, to: &mut Pieces<'_>) -> io::Result<()> {
        to.write_all(long_line(record.seq).as_bytes())
    }
}

fn long_line(seq: u64) -> String {
    format!("{{{seq}: 0123456789ABCDEFGHIJ}}\n")
}

fn long_lines(seqs: impl IntoIterator<Item = u64>) -> String {
    seqs.into_iter().map(long_line).collect()
}

fn in_pieces(limits: Limits) -> Limits {
    Limits {
        piece_bytes: PIECE,
        ..limits
    }
}

/// Takes so many bytes, the last piece of them in part where it does not come out even.
fn taking(bytes: usize) -> Vec<Step> {
    let whole = std::iter::repeat_n(Step::Take(PIECE), bytes / PIECE);
    let part = (!bytes.is_multiple_of(PIECE)).then_some(Step::Take(bytes % PIECE));
    whole.chain(part).collect()
}

fn all_written(records: u64) -> Outcome {
    Outcome {
        written: records,
        dropped: 0,
        left: 0,
    }
}

/// Two records, and the target opened anew once the first has stopped in the middle.
fn reopened_after(stop: usize, old: &Arc<Paper>, encoder: impl Encode + 'static) -> String {
    let new = Paper::new([]);
    let outlet = outlet_of(encoder, old, vec![Ok(Arc::clone(&new))], in_pieces(PATIENT));
    push(&outlet, 1..=2);
    old.await_writes(taking(stop).len() as u64 + 1);
    reopen(&outlet);
    assert_eq!(finish(outlet), all_written(2), "stopped after {stop} bytes");
    new.text()
}

fn first_record() -> String {
    format!("{HEADING}{}", long_line(1))
}

/// Where a first record can stop: after so many bytes, one for each.
fn stops() -> std::ops::Range<usize> {
    1..first_record().len()
}

#[test]
fn wherever_a_record_stops_it_is_finished_in_the_old_file_where_that_works() {
    for stop in stops() {
        let old = Paper::new([taking(stop), vec![Step::Fail(libc::ENOSPC)]].concat());
        let new = reopened_after(stop, &old, Long);
        assert_eq!((old.text(), new), (first_record(), long_line(2)));
    }
}

#[test]
fn wherever_a_record_stops_it_is_taken_back_and_written_from_its_beginning_heading_and_all() {
    for stop in stops() {
        let script = [taking(stop), vec![Step::FailAlways(libc::ENOSPC)]].concat();
        let old = Paper::with_rubber(script.clone());
        let new = reopened_after(stop, &old, Long);
        assert_eq!(
            (old.text(), &new),
            (String::new(), &(first_record() + &long_line(2)))
        );

        let old = Paper::new(script);
        assert_eq!(reopened_after(stop, &old, Long), new);
        assert_eq!(
            old.text(),
            first_record()[..stop],
            "what cannot be taken back stays"
        );
    }
}

#[test]
fn an_encoder_that_remembers_what_it_has_encoded_would_lose_the_heading() {
    /// Writes the heading by itself, the first time.
    struct Remembering(AtomicBool);

    impl Encode for Remembering {
        fn encode(&self, record: &Record, to: &mut Pieces<'_>) -> io::Result<()> {
            if !self.0.swap(true, Ordering::Relaxed) {
                to.write_all(HEADING.as_bytes())?;
            }
            Long.encode(record, to)
        }
    }

    let script = [taking(20), vec![Step::FailAlways(libc::ENOSPC)]].concat();
    let old = Paper::with_rubber(script);
    let new = reopened_after(20, &old, Remembering(AtomicBool::default()));
    assert_eq!((old.text(), new), (String::new(), long_lines(1..=2)));
}

#[test]
fn a_record_that_stops_again_in_a_later_piece_is_taken_back_whole() {
    let step = |count| Step::Take(count);
    let fail = || Step::Fail(libc::ENOSPC);
    // A piece and a part of the next; the rest of it and one more piece after the reopening; then no more.
    let script = [step(PIECE), step(3), fail(), step(PIECE), step(PIECE), fail()];
    let old = Paper::with_rubber(script);
    let new = reopened_after(PIECE + 3, &old, Long);
    assert_eq!((old.text(), new), (String::new(), first_record() + &long_line(2)));
}

#[test]
fn when_there_is_no_new_file_a_record_in_pieces_is_whole_in_the_old_one() {
    for rubber in [false, true] {
        for stop in stops() {
            let script = [taking(stop), vec![Step::Fail(libc::ENOSPC); 2]].concat();
            let old = if rubber {
                Paper::with_rubber(script)
            } else {
                Paper::new(script)
            };
            let next = vec![Err(io::ErrorKind::PermissionDenied.into())];
            let outlet = outlet_of(Long, &old, next, in_pieces(PATIENT));
            push(&outlet, 1..=2);
            old.await_writes(taking(stop).len() as u64 + 1);
            reopen(&outlet);
            assert_eq!(finish(outlet), all_written(2));
            assert_eq!(old.text(), format!("{HEADING}{}", long_lines(1..=2)));
        }
    }
}

#[test]
fn giving_up_between_two_pieces_takes_the_record_back() {
    let paper = Paper::with_rubber([Step::Take(PIECE), Step::Block]);
    let outlet = outlet_of(Long, &paper, vec![], in_pieces(QUICK));
    let shared = Arc::clone(&outlet.shared);
    push(&outlet, [1]);
    paper.await_writes(2);
    assert_eq!(
        outlet.finish(Duration::from_millis(20)),
        Outcome {
            written: 0,
            dropped: 0,
            left: 1
        }
    );
    assert_eq!(paper.text().len(), PIECE);
    paper.release();
    await_that("the thread has ended", || shared.lock().ended);
    assert_eq!(paper.text(), "");
}

#[test]
fn an_encoder_that_fails_closes_the_outlet_and_leaves_whole_lines() {
    struct Failing;

    impl Encode for Failing {
        fn encode(&self, record: &Record, to: &mut Pieces<'_>) -> io::Result<()> {
            Long.encode(record, to)?;
            match record.seq {
                1 => Ok(()),
                _ => Err(io::Error::other("cannot be said")),
            }
        }
    }

    let paper = Paper::with_rubber([]);
    let outlet = outlet_of(Failing, &paper, vec![], in_pieces(QUICK));
    push(&outlet, 1..=2);
    await_that("the thread has ended", || outlet.shared.lock().ended);
    assert_eq!(
        finish(outlet),
        Outcome {
            written: 1,
            dropped: 0,
            left: 1
        }
    );
    assert_eq!(paper.text(), long_line(1));
}

/// A file that takes no care of others.
struct Careless(File);

impl Target for Careless {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn take_back(&mut self, count: usize) -> io::Result<()> {
        self.0.take_back(count)
    }

    fn reopen(&self) -> io::Result<Option<Box<dyn Target>>> {
        self.0.reopen()
    }
}

/// What two outlets make of one file at the same time, a thousand records each.
fn shared_file(target: impl Fn(File) -> Box<dyn Target>) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("records");
    let limits = || Limits {
        records: 2000,
        rows: 2000,
        ..in_pieces(QUICK)
    };
    let outlets = [1, 2].map(|_| {
        let target = target(File::open(&path).unwrap());
        Outlet::start("shared".into(), target, Box::new(Long), limits()).unwrap()
    });
    for seq in 1..=1000 {
        for outlet in &outlets {
            push(outlet, [seq]);
        }
    }
    for outlet in outlets {
        assert_eq!(finish(outlet), all_written(1000));
    }
    let text = fs::read_to_string(&path).unwrap();
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn two_outlets_share_a_file_line_by_line() {
    let mut expected: Vec<String> = (1..=1000).map(long_line).chain([HEADING.to_owned()]).collect();
    expected.extend_from_within(..);
    expected.sort_unstable();
    assert_eq!(shared_file(|file| Box::new(file)), expected);
}

#[test]
fn without_the_lock_their_lines_get_mixed_up() {
    let expected =
        |line: &String| line == HEADING || line.ends_with("J}\n") && line.matches('{').count() == 1;
    await_that("a line is inside another", || {
        !shared_file(|file| Box::new(Careless(file))).iter().all(expected)
    });
}

fn any_script() -> impl Strategy<Value = Vec<Step>> {
    let fail = prop_oneof![
        Just(libc::ENOSPC),
        Just(libc::EINTR),
        Just(libc::EAGAIN),
        Just(libc::EDQUOT)
    ];
    let step = prop_oneof![
        (0_usize..20).prop_map(Step::Take),
        fail.prop_map(Step::Fail),
        fail_always()
    ];
    proptest::collection::vec(step, 0..40)
}

fn fail_always() -> impl Strategy<Value = Step> {
    Just(Step::FailAlways(libc::ENOSPC))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whenever_it_is_opened_anew_nothing_is_lost_repeated_or_torn(
        script in any_script(),
        rubber: bool,
        piece_bytes in 1_usize..40,
        (count, before) in (1_u64..6).prop_flat_map(|count| (Just(count), 0..=count)),
    ) {
        let old = if rubber { Paper::with_rubber(script) } else { Paper::new(script) };
        let new = Paper::new([]);
        let limits = Limits { piece_bytes, backoff: Duration::ZERO..=Duration::ZERO, ..QUICK };
        let outlet = outlet_of(Long, &old, vec![Ok(Arc::clone(&new))], limits);
        push(&outlet, 1..=before);
        // Wherever the thread is by now.
        outlet.reopen();
        push(&outlet, before + 1..=count);
        prop_assert_eq!(finish(outlet), all_written(count));
        let (old, new) = (old.text(), new.text());
        let (whole, torn) = old.split_at(old.rfind('\n').map_or(0, |end| end + 1));
        let expected = format!("{HEADING}{}", long_lines(1..=count));
        if rubber {
            prop_assert_eq!(format!("{old}{new}"), expected);
        } else {
            // The heading is a line, but no record: where nothing else is out it is written again, too.
            let whole = if whole == HEADING { "" } else { whole };
            prop_assert_eq!(format!("{whole}{new}"), expected);
            prop_assert!(new.starts_with(torn) || new.strip_prefix(HEADING).is_some_and(|new| new.starts_with(torn)));
        }
    }
}
