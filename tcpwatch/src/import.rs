//! `tcpwatch import`: records from files into a history. What is there already is not added again.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use crate::config::history::{HistoryArgs, HistoryConfigError};
use crate::geo::Ending;
use crate::history::{HistoryError, Store, Written};
use crate::record::Record;
use crate::recording::{Line, Recording};
use crate::verify::books::{Fault, faults};
use crate::verify::{bytes_bar, too_long};

/// Refused records and lines that are said one by one; the rest is a number for each reason.
const SAID: u64 = 20;

/// Records between two looks at what is to be rolled up or deleted.
const TIDY: u64 = 50;

/// Arguments of `tcpwatch import`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Record files: JSON lines, also gzip or zstd; `-`: standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    #[command(flatten)]
    history: HistoryArgs,
}

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The history's options.
    #[error(transparent)]
    Config(#[from] HistoryConfigError),
    /// No history is wanted.
    #[error("there is no history to import into: name one with --history FILE")]
    None,
    /// A file that was named.
    #[error("cannot read {}", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The history.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The standard output.
    #[error("cannot write the answer")]
    Write(#[source] io::Error),
}

impl ImportError {
    /// Whether nothing was changed yet.
    #[must_use]
    pub const fn before_start(&self) -> bool {
        !matches!(
            self,
            Self::History(HistoryError::Write(_) | HistoryError::Gone { .. }) | Self::Write(_)
        )
    }
}

/// What became of the lines.
#[derive(Default)]
struct Count {
    new: u64,
    known: u64,
    too_old: u64,
    refused: BTreeMap<String, u64>,
}

/// Does it, and says on `out` how many records were new, known and refused. Refused ones are a failure.
///
/// # Errors
/// See [`ImportError`]. Records that are in already stay.
pub fn run(
    arguments: Arguments,
    out: &mut dyn Write,
    notices: &mut dyn Write,
) -> Result<Ending, ImportError> {
    let mut history = arguments.history.history()?.ok_or(ImportError::None)?;
    // How long it is kept is for the tcpwatch that keeps it: its options are not known here.
    let bounds = &mut history.bounds;
    (bounds.intervals, bounds.hours, bounds.days) = (Duration::MAX, Duration::MAX, Duration::MAX);
    bounds.bytes = u64::MAX;
    // A name that is wrong is said before anything is changed.
    let mut recordings = Vec::new();
    for path in arguments.files {
        match Recording::open(&path) {
            Ok(recording) => recordings.push((path, recording)),
            Err(source) => return Err(ImportError::Open { path, source }),
        }
    }
    let mut store = Store::open(&history.path, history.bounds)?;
    let mut import = Import {
        count: Count::default(),
        said: 0,
        notices,
    };
    let now = Timestamp::now();
    for (path, mut recording) in recordings {
        import.file(&path.display().to_string(), &mut recording, &mut store, now)?;
    }
    while store.tidy(now)? {}
    let count = import.count;
    let refused: u64 = count.refused.values().sum();
    let mut text = format!(
        "{}: {} new, {} known",
        history.path.display(),
        count.new,
        count.known
    );
    if count.too_old > 0 {
        text.push_str(&format!(", {} older than what is kept", count.too_old));
    }
    text.push_str(&format!(", {refused} refused\n"));
    for (reason, many) in &count.refused {
        text.push_str(&format!("  refused: {many} {reason}\n"));
    }
    match out.write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(ImportError::Write(error)),
        Ok(()) | Err(_) if refused == 0 => Ok(Ending::Done),
        Ok(()) | Err(_) => Ok(Ending::Failed),
    }
}

struct Import<'a> {
    count: Count,
    said: u64,
    notices: &'a mut dyn Write,
}

impl Import<'_> {
    fn file(
        &mut self,
        name: &str,
        recording: &mut Recording,
        store: &mut Store,
        now: Timestamp,
    ) -> Result<(), ImportError> {
        let bar = bytes_bar(recording.progress().1);
        loop {
            let (number, line) = match recording.next_line() {
                Ok(Some(line)) => line,
                Ok(None) => break,
                Err(error) => {
                    self.refuse(name, "file that cannot be read to its end", &error.to_string());
                    break;
                }
            };
            let place = format!("{name}:{number}");
            let line = match line {
                // A last line without its line break may be whole all the same.
                Line::Whole(line) | Line::Torn(line) => line,
                Line::TooLong(bytes) => {
                    self.refuse(&place, "line that is too long", &too_long(bytes));
                    continue;
                }
            };
            match serde_json::from_slice(line) {
                Ok(record) => self.record(&place, &record, store, now)?,
                Err(error) => self.refuse(&place, "line that is no record", &error.to_string()),
            }
            bar.set_position(recording.progress().0);
        }
        bar.finish_and_clear();
        Ok(())
    }

    fn record(
        &mut self,
        place: &str,
        record: &Record,
        store: &mut Store,
        now: Timestamp,
    ) -> Result<(), ImportError> {
        // One that says itself that it does not balance is kept as that.
        let refused =
            |fault: &Fault| fault.is_false() && (record.balanced || matches!(fault, Fault::Schema(_)));
        if let Some(fault) = faults(record).into_iter().find(refused) {
            self.refuse(place, "record whose books are not in order", &fault.to_string());
            return Ok(());
        }
        match store.write(record) {
            Ok(Written::New) => self.count.new += 1,
            Ok(Written::Known) => self.count.known += 1,
            Ok(Written::TooOld) => self.count.too_old += 1,
            Err(error @ HistoryError::TooLarge { .. }) => {
                self.refuse(place, "record with counts beyond reason", &error.to_string());
            }
            Err(error) => return Err(error.into()),
        }
        // Hours are made when the records have passed them, not the moment the first of their records is in.
        if self.count.new.is_multiple_of(TIDY) {
            while store.tidy(now.min(record.end))? {}
        }
        Ok(())
    }

    fn refuse(&mut self, place: &str, reason: &str, why: &str) {
        *self.count.refused.entry(reason.to_owned()).or_default() += 1;
        self.said += 1;
        if self.said <= SAID {
            let line: String = format!("tcpwatch: {place}: {why}")
                .chars()
                .map(|c| {
                    if c.is_control() {
                        char::REPLACEMENT_CHARACTER
                    } else {
                        c
                    }
                })
                .collect();
            // Nobody to read it is no reason to end.
            writeln!(self.notices, "{line}").unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests;
