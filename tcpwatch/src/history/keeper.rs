//! The thread that keeps the history: takes records from a bounded queue, so that a full disk or a locked file never holds up a drain,
//! and tidies up between them. Each record is written once, in order.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::history::aside::{is_busy, move_away};
use crate::history::clock::Clock;
use crate::history::{Bounds, HistoryError, Store, Written};
use crate::record::Record;

/// Records that wait at most.
const MOST_RECORDS: usize = 64;
/// Rows (destinations and banned prefixes) of all records that wait at most.
const MOST_ROWS: usize = 1_000_000;
/// Between two attempts to write, doubled from one to the next.
const BACKOFF: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(5);
/// How often roll-ups and deletions are looked after when there is nothing to do.
const TIDY: Duration = Duration::from_secs(30);

/// What became of the records that were pushed; together they are all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// In the history.
    pub written: u64,
    /// Dropped because newer ones needed the room, or because nothing like them can be kept.
    pub dropped: u64,
    /// Not written when the time was up.
    pub left: u64,
}

/// Keeps a history.
#[derive(Debug)]
pub struct Keeper {
    shared: Arc<Shared>,
    thread: thread::JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Arc<Record>>,
    rows: usize,
    outcome: Outcome,
    /// Dropped since a record was last written.
    dropped_in_streak: u64,
    /// A record is out of the queue and not written yet.
    writing: bool,
    /// No more records come.
    finishing: bool,
    /// The time is up.
    abandoned: bool,
    ended: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, length: Duration) -> MutexGuard<'a, State> {
        self.changed
            .wait_timeout(state, length)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }
}

fn rows_of(record: &Record) -> usize {
    record.destinations.len() + record.banned.len() + 1
}

impl Keeper {
    /// Opens the history and starts the thread. A damaged one is moved away, which is said, and a new one begun.
    ///
    /// # Errors
    /// It cannot be opened, or there can be no thread.
    pub fn start(path: &Path, bounds: Bounds) -> Result<Self, HistoryError> {
        let store = match Store::open(path, bounds) {
            Err(HistoryError::Damaged { source, .. }) => {
                move_away(path, &source)?;
                Some(Store::open(path, bounds)?)
            }
            // Another process has it for itself just now.
            Err(HistoryError::Open { source, .. }) if is_busy(&source) => None,
            opened => Some(opened?),
        };
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let writer = Writer {
            shared: Arc::clone(&shared),
            path: path.to_owned(),
            bounds,
            store,
            last_call: false,
            untidy: false,
            too_old: false,
            clock: None,
        };
        let thread = thread::Builder::new()
            .name("history".to_owned())
            .spawn(move || writer.run())
            .map_err(|source| HistoryError::Thread { source })?;
        Ok(Self { shared, thread })
    }

    /// Hands a record over. Never waits: when too many wait already, the oldest is dropped, counted, and that is said.
    pub fn push(&self, record: Arc<Record>) {
        let mut state = self.shared.lock();
        let rows = rows_of(&record);
        while !state.queue.is_empty() && (state.queue.len() >= MOST_RECORDS || state.rows + rows > MOST_ROWS)
        {
            if let Some(oldest) = state.queue.pop_front() {
                state.rows -= rows_of(&oldest);
                state.outcome.dropped += 1;
                state.dropped_in_streak += 1;
                if state.dropped_in_streak == 1 {
                    tracing::error!(
                        "the history takes nothing: record {} and perhaps more are lost to it",
                        oldest.seq
                    );
                }
            }
        }
        state.rows += rows;
        state.queue.push_back(record);
        drop(state);
        self.shared.changed.notify_all();
    }

    /// What became of the records so far; `left` is what waits.
    pub fn outcome(&self) -> Outcome {
        let state = self.shared.lock();
        Outcome {
            left: state.queue.len() as u64 + u64::from(state.writing),
            ..state.outcome
        }
    }

    /// Records that wait.
    pub fn waiting(&self) -> usize {
        let state = self.shared.lock();
        state.queue.len() + usize::from(state.writing)
    }

    /// Waits for what is left to be written, so long at most.
    pub fn finish(self, at_most: Duration) -> Outcome {
        let until = Instant::now() + at_most;
        let mut state = self.shared.lock();
        state.finishing = true;
        self.shared.changed.notify_all();
        while !state.ended && Instant::now() < until {
            state = self
                .shared
                .wait(state, until.saturating_duration_since(Instant::now()));
        }
        state.abandoned = true;
        state.outcome.left = state.queue.len() as u64 + u64::from(state.writing);
        let (outcome, ended) = (state.outcome, state.ended);
        drop(state);
        self.shared.changed.notify_all();
        // A thread that hangs in a system call is left to the end of the process.
        if ended && self.thread.join().is_err() {
            tracing::error!("the history's thread has broken off");
        }
        outcome
    }
}

struct Writer {
    shared: Arc<Shared>,
    path: PathBuf,
    bounds: Bounds,
    /// None: it could not be opened again yet.
    store: Option<Store>,
    /// It was tried at once because the program ends.
    last_call: bool,
    /// That the history cannot be tidied has been said.
    untidy: bool,
    /// That records are too old to be kept was said.
    too_old: bool,
    /// What deletions go by; none: it was not needed yet.
    clock: Option<Clock>,
}

/// What became of a record.
enum End {
    Written,
    /// It can never be written.
    Refused,
    /// The program ends.
    TimeUp,
}

/// Reports the end of the thread, even when it is a panic.
struct LastWord(Arc<Shared>);

impl Drop for LastWord {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.changed.notify_all();
    }
}

impl Writer {
    fn run(mut self) {
        let _last_word = LastWord(Arc::clone(&self.shared));
        while let Some(record) = self.next() {
            match self.get_in(&record) {
                End::Written => self.written(&record),
                End::Refused => self.refused(),
                End::TimeUp => return,
            }
        }
    }

    /// The next record; meanwhile the history is tidied. None: there are no more.
    fn next(&mut self) -> Option<Arc<Record>> {
        loop {
            let mut state = self.shared.lock();
            if state.abandoned {
                return None;
            }
            if let Some(record) = state.queue.pop_front() {
                state.rows -= rows_of(&record);
                state.writing = true;
                return Some(record);
            }
            if state.finishing {
                return None;
            }
            drop(state);
            if !self.tidy() {
                let state = self.shared.lock();
                if state.queue.is_empty() && !state.finishing && !state.abandoned {
                    drop(self.shared.wait(state, TIDY));
                }
            }
        }
    }

    /// One slice. False: nothing more is to be done now.
    fn tidy(&mut self) -> bool {
        let Some(store) = &mut self.store else {
            return false;
        };
        let now = Timestamp::now();
        let wall_ms = now.as_millisecond();
        let clock = match &mut self.clock {
            Some(clock) => clock,
            None => match store.last_ms() {
                Ok(last_ms) => self.clock.insert(Clock::new(Instant::now(), wall_ms, last_ms)),
                Err(error) => {
                    tracing::debug!("{:#}", anyhow::Error::from(error));
                    return false;
                }
            },
        };
        let deletions_ms = clock.deletions_ms(Instant::now(), wall_ms);
        match store.tidy_by(now, deletions_ms) {
            Ok(more) => {
                self.untidy = false;
                more
            }
            Err(HistoryError::Damaged { source, .. }) => {
                self.put_aside(&source);
                false
            }
            Err(error) => {
                if !std::mem::replace(&mut self.untidy, true) {
                    tracing::warn!(
                        "hours and days of the history wait, trying again: {:#}",
                        anyhow::Error::from(error)
                    );
                }
                false
            }
        }
    }

    fn put_aside(&mut self, why: &rusqlite::Error) {
        self.store = None;
        if let Err(error) = move_away(&self.path, why) {
            tracing::error!("{:#}", anyhow::Error::from(error));
        }
    }

    /// Writes a record, however often it takes.
    fn get_in(&mut self, record: &Record) -> End {
        let mut failing = false;
        let mut backoff = *BACKOFF.start();
        // A damaged or missing file is begun anew at once, but not over and over.
        let mut begun_anew = false;
        loop {
            match self.attempt(record) {
                Ok(Written::TooOld) => {
                    if !std::mem::replace(&mut self.too_old, true) {
                        tracing::error!(
                            "the history: record {} and perhaps more ended on a day that has been deleted already: not kept; is the \
                             clock right?",
                            record.seq
                        );
                    }
                    return End::Refused;
                }
                Ok(Written::New | Written::Known) => {
                    self.too_old = false;
                    if failing {
                        tracing::info!("the history can be written again");
                    }
                    return End::Written;
                }
                Err(error @ HistoryError::TooLarge { .. }) => {
                    tracing::error!("the history: {error}");
                    return End::Refused;
                }
                Err(HistoryError::Damaged { source, .. }) => {
                    self.put_aside(&source);
                    if !std::mem::replace(&mut begun_anew, true) {
                        continue;
                    }
                }
                Err(error @ HistoryError::Gone { .. }) => {
                    self.store = None;
                    if !std::mem::replace(&mut begun_anew, true) {
                        tracing::warn!("{error}: it is opened anew");
                        continue;
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!("{:#}; records wait, trying again", anyhow::Error::from(error));
                    }
                    // A disk that has gone may have come back.
                    self.store = None;
                }
            }
            if !self.pause(backoff) {
                return End::TimeUp;
            }
            backoff = (backoff * 2).min(*BACKOFF.end());
        }
    }

    fn attempt(&mut self, record: &Record) -> Result<Written, HistoryError> {
        let store = match &mut self.store {
            Some(store) => store,
            None => self.store.insert(Store::open(&self.path, self.bounds)?),
        };
        store.write(record)
    }

    /// False: the time is up.
    fn pause(&mut self, length: Duration) -> bool {
        let until = Instant::now() + length;
        let mut state = self.shared.lock();
        loop {
            if state.abandoned {
                return false;
            }
            // The end of the program is a reason to try at once.
            if state.finishing && !self.last_call {
                self.last_call = true;
                return true;
            }
            if Instant::now() >= until {
                return true;
            }
            state = self
                .shared
                .wait(state, until.saturating_duration_since(Instant::now()));
        }
    }

    fn refused(&self) {
        let mut state = self.shared.lock();
        state.outcome.dropped += 1;
        state.writing = false;
        drop(state);
        self.shared.changed.notify_all();
    }

    fn written(&self, record: &Record) {
        let lost = {
            let mut state = self.shared.lock();
            state.outcome.written += 1;
            state.writing = false;
            std::mem::take(&mut state.dropped_in_streak)
        };
        self.shared.changed.notify_all();
        if lost > 0 {
            tracing::error!(
                "the history takes records again: {lost} before number {} are lost to it",
                record.seq
            );
        }
    }
}
