//! The thread of an outlet: takes records from the queue and gets each of them out whole.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::record::Record;
use crate::sink::Encode;
use crate::sink::outlet::target::Target;
use crate::sink::outlet::{Shared, rows_of};

/// A reader that does not block (its end of the pipe says so) is asked again after this time.
const FULL_PIPE: Duration = Duration::from_millis(10);

pub(super) struct Writer {
    shared: Arc<Shared>,
    name: Arc<str>,
    target: Box<dyn Target>,
    encoder: Box<dyn Encode>,
    close: watch::Sender<bool>,
    /// It was tried at once because the program ends.
    last_call: bool,
}

/// What to do next.
enum Next {
    Write(Arc<Record>),
    Reopen,
    End,
}

/// How an attempt to get bytes out ended.
enum Attempt {
    Done,
    Failed(io::Error),
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
            shared,
            name,
            target,
            encoder,
            close,
            last_call: false,
        }
    }

    pub(super) fn run(mut self) {
        let _end = End(Arc::clone(&self.shared));
        loop {
            match self.next() {
                Next::Reopen => {
                    self.reopen();
                }
                Next::Write(record) => {
                    let bytes = self.encoder.encode(&record);
                    if !self.get_out(&bytes) {
                        return;
                    }
                    self.written(&record);
                }
                Next::End => return,
            }
        }
    }

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

    /// Gets `bytes` out, however often it takes. False: the thread is to end, and the record is left.
    fn get_out(&mut self, bytes: &[u8]) -> bool {
        let mut done = 0;
        let mut failing = false;
        let mut backoff = *self.shared.limits.backoff.start();
        loop {
            let before = done;
            match self.attempt(bytes, &mut done) {
                Attempt::Done => {
                    if failing {
                        tracing::info!("{} can be written again", self.name);
                    }
                    return true;
                }
                Attempt::Failed(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    self.reader_gone();
                    return false;
                }
                Attempt::Failed(error) => {
                    if done > before {
                        backoff = *self.shared.limits.backoff.start();
                    }
                    let full_pipe = error.kind() == io::ErrorKind::WouldBlock;
                    if !full_pipe && !std::mem::replace(&mut failing, true) {
                        let waiting = self.shared.lock().queue.len() + 1;
                        tracing::warn!(
                            "cannot write to {}: {error}; records that wait: {waiting}",
                            self.name
                        );
                    }
                    match self.pause(if full_pipe {
                        FULL_PIPE.min(backoff)
                    } else {
                        backoff
                    }) {
                        Woken::Retry => {}
                        Woken::Reopen => {
                            if self.move_on(bytes, &mut done) {
                                return true;
                            }
                        }
                        Woken::Abandoned => {
                            self.take_back(done);
                            return false;
                        }
                    }
                    if !full_pipe {
                        backoff = (backoff * 2).min(*self.shared.limits.backoff.end());
                    }
                }
            }
        }
    }

    /// Writes on from `done` until everything is out or an error comes.
    fn attempt(&mut self, bytes: &[u8], done: &mut usize) -> Attempt {
        while *done < bytes.len() {
            match self.target.write(&bytes[*done..]) {
                Ok(0) => return Attempt::Failed(io::ErrorKind::WriteZero.into()),
                Ok(count) => *done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Attempt::Failed(error),
            }
        }
        Attempt::Done
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

    /// Reopens with a record half out. True: the record could be finished in the old target.
    fn move_on(&mut self, bytes: &[u8], done: &mut usize) -> bool {
        if *done > 0 && matches!(self.attempt(bytes, done), Attempt::Done) {
            self.reopen();
            return true;
        }
        // First, because the new file may be the old one, which then ends with a whole line.
        let torn = match *done {
            0 => None,
            half => self.target.take_back(half).err(),
        };
        if torn.is_none() {
            *done = 0;
        }
        if self.reopen() {
            *done = 0;
            if let Some(error) = torn {
                self.left_torn(&error);
            }
        }
        false
    }

    /// Whether there is a new target.
    fn reopen(&mut self) -> bool {
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
