//! The thread of an outlet: takes records from the queue and gets each of them out whole.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::faults::die_at;
use crate::record::Record;
use crate::sink::outlet::target::Target;
use crate::sink::outlet::{Shared, rows_of};
use crate::sink::{Encode, Pieces};

/// A reader that does not block (its end of the pipe says so) is asked again after this time.
const FULL_PIPE: Duration = Duration::from_millis(10);

pub(super) struct Writer {
    encoder: Box<dyn Encode>,
    /// A record is out, and so is the heading before it.
    headed: bool,
    way: Way,
}

/// The way out, and all that may happen on it.
struct Way {
    shared: Arc<Shared>,
    name: Arc<str>,
    target: Box<dyn Target>,
    close: watch::Sender<bool>,
    /// It was tried at once because the program ends.
    last_call: bool,
}

/// How far a record is.
struct Passage {
    /// Bytes of it at the end of the target.
    done: usize,
    /// The target is to be opened anew: the record is finished in the old one first, if that works at once.
    leaving: bool,
    /// It was said that there are errors.
    failing: bool,
    /// How long to wait after the next error.
    backoff: Duration,
    /// Why the encoder was stopped; none: it was not.
    stop: Option<Stop>,
}

/// Why no more of a record is wanted.
enum Stop {
    /// Nothing of it is in the target any more: from the beginning.
    Again,
    /// The thread is to end, and the record is left.
    End,
}

/// What to do next.
enum Next {
    Write(Arc<Record>),
    Reopen,
    End,
}

/// Why waiting for the next attempt ended.
enum Woken {
    Retry,
    Reopen,
    Abandoned,
}

/// Reports the end of the thread, even when it is a panic.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.changed.notify_all();
    }
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        name: Arc<str>,
        target: Box<dyn Target>,
        encoder: Box<dyn Encode>,
        close: watch::Sender<bool>,
    ) -> Self {
        Self {
            encoder,
            headed: false,
            way: Way {
                shared,
                name,
                target,
                close,
                last_call: false,
            },
        }
    }

    pub(super) fn run(mut self) {
        let _end = End(Arc::clone(&self.way.shared));
        loop {
            match self.way.next() {
                Next::Reopen => {
                    self.way.reopen();
                }
                Next::Write(record) => {
                    if !self.get_out(&record) {
                        return;
                    }
                    self.headed = true;
                    self.way.written(&record);
                }
                Next::End => return,
            }
        }
    }

    /// Gets a record out, however often it takes. False: the thread is to end, and the record is left.
    fn get_out(&mut self, record: &Record) -> bool {
        let mut passage = Passage {
            done: 0,
            leaving: false,
            failing: false,
            backoff: *self.way.shared.limits.backoff.start(),
            stop: None,
        };
        loop {
            let encoded = self.encode(record, &mut passage);
            match (encoded, passage.stop.take()) {
                (_, Some(Stop::Again)) => {}
                (_, Some(Stop::End)) => return false,
                (Ok(()), None) => {
                    self.way.target.release();
                    if passage.failing {
                        tracing::info!("{} can be written again", self.way.name);
                    }
                    if passage.leaving {
                        self.way.reopen();
                    }
                    return true;
                }
                (Err(error), None) => {
                    tracing::error!("cannot encode record {}: {error}; please report this", record.seq);
                    self.way.take_back(passage.done);
                    return false;
                }
            }
        }
    }

    /// Has the record encoded once. An error is the encoder's own only where `passage` has no stop.
    fn encode(&mut self, record: &Record, passage: &mut Passage) -> io::Result<()> {
        let way = &mut self.way;
        let piece_bytes = way.shared.limits.piece_bytes;
        let mut take = |piece: &[u8]| {
            way.send(piece, passage).map_err(|stop| {
                passage.stop = Some(stop);
                io::Error::other("the record is not wanted any further")
            })
        };
        let mut pieces = Pieces::new(piece_bytes, &mut take);
        if !self.headed {
            pieces.write_all(self.encoder.heading().as_bytes())?;
        }
        self.encoder.encode(record, &mut pieces)?;
        pieces.finish()
    }
}

impl Way {
    fn next(&self) -> Next {
        let mut state = self.shared.lock();
        loop {
            if state.abandoned {
                return Next::End;
            }
            if std::mem::take(&mut state.reopen) {
                return Next::Reopen;
            }
            if let Some(record) = state.queue.pop_front() {
                state.rows -= rows_of(&record);
                state.writing = true;
                return Next::Write(record);
            }
            if state.finishing {
                return Next::End;
            }
            state = self.shared.wait(state, None);
        }
    }

    fn written(&self, record: &Record) {
        die_at("written");
        let lost = {
            let mut state = self.shared.lock();
            state.written += 1;
            state.writing = false;
            std::mem::take(&mut state.dropped_in_streak)
        };
        self.shared.changed.notify_all();
        if lost > 0 {
            tracing::error!(
                "{} takes records again: {lost} before number {} are lost",
                self.name,
                record.seq
            );
        }
    }

    /// Gets the next piece of a record out, however often it takes.
    fn send(&mut self, piece: &[u8], passage: &mut Passage) -> Result<(), Stop> {
        let mut rest = piece;
        if self.shared.lock().abandoned {
            self.take_back(passage.done);
            return Err(Stop::End);
        }
        while let Err(error) = self.attempt(&mut rest, passage) {
            if passage.leaving {
                self.leave(passage)?;
                continue;
            }
            if error.kind() == io::ErrorKind::BrokenPipe {
                self.reader_gone();
                return Err(Stop::End);
            }
            if passage.done == 0 {
                self.target.release();
            }
            let full_pipe = error.kind() == io::ErrorKind::WouldBlock;
            if !full_pipe && !std::mem::replace(&mut passage.failing, true) {
                let waiting = self.shared.lock().queue.len() + 1;
                tracing::warn!(
                    "cannot write to {}: {error}; records that wait: {waiting}",
                    self.name
                );
            }
            let length = if full_pipe {
                FULL_PIPE.min(passage.backoff)
            } else {
                let longer = (passage.backoff * 2).min(*self.shared.limits.backoff.end());
                std::mem::replace(&mut passage.backoff, longer)
            };
            match self.pause(length) {
                Woken::Retry => {}
                Woken::Reopen if passage.done == 0 => {
                    self.reopen();
                }
                Woken::Reopen => passage.leaving = true,
                Woken::Abandoned => {
                    self.take_back(passage.done);
                    return Err(Stop::End);
                }
            }
        }
        Ok(())
    }

    /// Writes on until all of `rest` is out or an error comes.
    fn attempt(&mut self, rest: &mut &[u8], passage: &mut Passage) -> io::Result<()> {
        self.target.hold()?;
        while !rest.is_empty() {
            match self.target.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    *rest = &rest[count..];
                    passage.done += count;
                    passage.backoff = *self.shared.limits.backoff.start();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn pause(&mut self, length: Duration) -> Woken {
        let until = Instant::now() + length;
        let mut state = self.shared.lock();
        loop {
            if state.abandoned {
                return Woken::Abandoned;
            }
            if std::mem::take(&mut state.reopen) {
                return Woken::Reopen;
            }
            // The end of the program is a reason to try at once.
            if state.finishing && !self.last_call {
                self.last_call = true;
                return Woken::Retry;
            }
            if Instant::now() >= until {
                return Woken::Retry;
            }
            state = self.shared.wait(state, Some(until));
        }
    }

    /// Opens the target anew with a record half out that cannot be finished in the old one: takes it back from there.
    fn leave(&mut self, passage: &mut Passage) -> Result<(), Stop> {
        passage.leaving = false;
        // First, because the new file may be the old one, which then ends with a whole line.
        let torn = self.target.take_back(passage.done).err();
        if self.reopen() {
            if let Some(error) = torn {
                self.left_torn(&error);
            }
        } else if torn.is_some() {
            // The old one stays, with the half in it: on from there.
            return Ok(());
        }
        passage.done = 0;
        Err(Stop::Again)
    }

    /// Whether there is a new target.
    fn reopen(&mut self) -> bool {
        // The new file may be the old one.
        self.target.release();
        match self.target.reopen() {
            Ok(Some(target)) => {
                self.target = target;
                tracing::info!("{} is open anew", self.name);
                true
            }
            Ok(None) => false,
            Err(error) => {
                tracing::warn!(
                    "cannot open {} anew: {error}; the old file stays in use",
                    self.name
                );
                false
            }
        }
    }

    fn left_torn(&self, error: &io::Error) {
        tracing::warn!("{} was left in the middle of a line: {error}", self.name);
    }

    /// Leaves whole lines behind, if the target allows it.
    fn take_back(&mut self, half: usize) {
        if half > 0
            && let Err(error) = self.target.take_back(half)
        {
            self.left_torn(&error);
        }
    }

    fn reader_gone(&mut self) {
        {
            let mut state = self.shared.lock();
            state.reader_gone = true;
            state.left += state.queue.len() as u64;
            state.queue.clear();
            state.rows = 0;
        }
        self.close.send_replace(true);
        tracing::debug!("the reader of {} has gone", self.name);
    }
}
