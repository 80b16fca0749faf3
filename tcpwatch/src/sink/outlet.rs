//! Outlets: a thread and a bounded queue between the records and a byte target, so that a full disk or a reader that
//! has stopped reading never holds up a drain. Records leave in order, whole, and once.

use std::collections::VecDeque;
use std::io;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::record::Record;
use crate::sink::{Encode, PIECE_BYTES};

mod target;
mod writer;

use target::{File, Stdout, Target};
use writer::Writer;

/// What an outlet holds on to while its target takes nothing.
#[derive(Clone, Debug)]
struct Limits {
    /// Records that wait.
    records: usize,
    /// Rows (destinations and banned prefixes) of all records that wait; some 200 bytes of memory each.
    rows: usize,
    /// Bytes that a record is written by.
    piece_bytes: usize,
    /// Between two attempts to write, doubled from one to the next.
    backoff: RangeInclusive<Duration>,
}

/// A record always fits into an empty queue, however many rows it has.
const LIMITS: Limits = Limits {
    records: 64,
    rows: 1_000_000,
    piece_bytes: PIECE_BYTES,
    backoff: Duration::from_millis(100)..=Duration::from_secs(5),
};

/// How long the thread is given to leave whole lines behind when it gives up.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// What became of the records that were pushed; together they are all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Written whole.
    pub written: u64,
    /// Dropped because newer ones needed the room.
    pub dropped: u64,
    /// Not written when the time was up, or when the reader had gone.
    pub left: u64,
}

/// A way out for records.
#[derive(Debug)]
pub struct Outlet {
    shared: Arc<Shared>,
    name: Arc<str>,
    /// True once the reader has gone.
    closed: watch::Receiver<bool>,
    thread: thread::JoinHandle<()>,
}

/// Between those who push and the thread that writes.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Something in the state has changed.
    changed: Condvar,
    limits: Limits,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Arc<Record>>,
    /// Rows of the records in the queue.
    rows: usize,
    /// The thread has a record that is not written whole yet.
    writing: bool,
    written: u64,
    dropped: u64,
    left: u64,
    /// Dropped since a record was last written.
    dropped_in_streak: u64,
    reopen: bool,
    /// No more records come: write what waits, then end.
    finishing: bool,
    /// The time is up: end now.
    abandoned: bool,
    /// Nobody reads what is written.
    reader_gone: bool,
    /// The thread has ended.
    ended: bool,
}

impl Outlet {
    /// To standard output. It becomes closed when the reader goes away.
    ///
    /// # Errors
    ///
    /// When standard output is closed, or there can be no thread.
    pub fn stdout(encoder: Box<dyn Encode>) -> io::Result<Self> {
        Self::start("stdout".into(), Box::new(Stdout::open()?), encoder, LIMITS)
    }

    /// To the end of a file, which is made if there is none, readable for everyone. A line that a crash cut short
    /// is ended first, with a warning.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened for writing, is a pipe, or there can be no thread.
    pub fn file(path: &Path, encoder: Box<dyn Encode>) -> io::Result<Self> {
        let name = path.to_string_lossy();
        Self::start(name.as_ref().into(), Box::new(File::open(path)?), encoder, LIMITS)
    }

    fn start(
        name: Arc<str>,
        target: Box<dyn Target>,
        encoder: Box<dyn Encode>,
        limits: Limits,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            limits,
        });
        let (close, closed) = watch::channel(false);
        let writer = Writer::new(Arc::clone(&shared), Arc::clone(&name), target, encoder, close);
        let thread = thread::Builder::new()
            .name("outlet".to_owned())
            .spawn(move || writer.run())?;
        Ok(Self {
            shared,
            name,
            closed,
            thread,
        })
    }

    /// Queues a record. Never waits for the target: when there is no room, the oldest record that waits is dropped.
    pub fn push(&self, record: Arc<Record>) {
        let Limits { records, rows, .. } = self.shared.limits;
        let new_rows = rows_of(&record);
        let mut first_dropped = None;
        {
            let mut state = self.shared.lock();
            if state.reader_gone || state.ended {
                state.left += 1;
                return;
            }
            while state.queue.len() >= records || state.rows + new_rows > rows {
                let Some(oldest) = state.queue.pop_front() else {
                    break;
                };
                state.rows -= rows_of(&oldest);
                state.dropped += 1;
                if state.dropped_in_streak == 0 {
                    first_dropped = Some(oldest.seq);
                }
                state.dropped_in_streak += 1;
            }
            state.rows += new_rows;
            state.queue.push_back(record);
        }
        self.shared.changed.notify_all();
        if let Some(seq) = first_dropped {
            tracing::error!(
                "{} does not take the records fast enough: they are lost from number {seq} on",
                self.name
            );
        }
    }

    /// Opens the target anew, by its name (after its file was renamed). Returns at once; if it fails, a warning is
    /// logged and the old one stays in use. A record that is half written is finished in the old file or, when that
    /// does not work, taken back from there and written whole into the new one. Standard output stays as it is.
    pub fn reopen(&self) {
        self.shared.lock().reopen = true;
        self.shared.changed.notify_all();
    }

    /// Whether the reader has gone. Noticed when something is written.
    pub fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Completes when nothing is written any more: the reader has gone, or the thread has broken off, which
    /// [`Self::is_closed`] tells apart. For most outlets never.
    pub async fn closed(&self) {
        let mut closed = self.closed.clone();
        match closed.wait_for(|closed| *closed).await {
            Ok(_reader_gone) => {}
            Err(_thread_gone) => {}
        }
    }

    /// What became of the records so far; `left` is what waits.
    pub fn outcome(&self) -> Outcome {
        self.shared.lock().outcome()
    }

    /// Records that wait or are being written.
    pub fn waiting(&self) -> usize {
        let state = self.shared.lock();
        state.queue.len() + usize::from(state.writing)
    }

    /// Writes what waits, for `deadline` at most.
    pub fn finish(self, deadline: Duration) -> Outcome {
        self.shared.lock().finishing = true;
        self.shared.changed.notify_all();
        if !self.shared.wait_for_end(deadline) {
            self.shared.lock().abandoned = true;
            self.shared.changed.notify_all();
            // The thread may be stuck in the kernel; then the end of the process is its end too.
            if !self.shared.wait_for_end(LAST_WORDS) {
                tracing::debug!("{} is stuck in a write", self.name);
            }
        }
        let outcome = self.shared.lock().outcome();
        if self.thread.is_finished() && self.thread.join().is_err() {
            tracing::error!("writing to {} ended in a panic", self.name);
        }
        outcome
    }
}

impl Shared {
    /// No holder of the lock panics while the state is inconsistent, so a poisoned one is as good as any.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change until `until`, if there is an end to it.
    fn wait<'a>(&self, state: MutexGuard<'a, State>, until: Option<Instant>) -> MutexGuard<'a, State> {
        match until {
            None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(until) => {
                let left = until.saturating_duration_since(Instant::now());
                self.changed
                    .wait_timeout(state, left)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
        }
    }

    fn wait_for_end(&self, deadline: Duration) -> bool {
        // None: a deadline beyond what the clock can tell, which is none.
        let until = Instant::now().checked_add(deadline);
        let mut state = self.lock();
        while !state.ended && until.is_none_or(|until| Instant::now() < until) {
            state = self.wait(state, until);
        }
        state.ended
    }
}

impl State {
    fn outcome(&self) -> Outcome {
        let waiting = self.queue.len() as u64 + u64::from(self.writing);
        Outcome {
            written: self.written,
            dropped: self.dropped,
            left: self.left + waiting,
        }
    }
}

fn rows_of(record: &Record) -> usize {
    1 + record.destinations.len() + record.banned.len()
}

#[cfg(test)]
mod tests;
