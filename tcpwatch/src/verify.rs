//! `tcpwatch verify`: whether the books of record files and of a history are in order.

use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use tcpwatch_common::Counts;

use crate::geo::Ending;
use crate::history::{self, HistoryError};
use crate::record::{Record, RecordTotals};
use crate::recording::{Line, Recording};
use crate::verify::books::faults;
use crate::verify::runs::{Runs, Weight, short};

pub mod books;
mod device;
pub mod runs;

/// Stands for the history at its usual place.
const HISTORY: &str = "history";
/// What SQLite writes at the beginning of a file.
const SQLITE: &[u8] = b"SQLite format 3\0";

/// Arguments of `tcpwatch verify`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Record files (JSON lines, also gzip or zstd; `-`: standard input), in the order in which they were written, and histories;
    /// `history` is the one that `tcpwatch run` keeps by default
    #[arg(value_name = "FILE|history", default_value = HISTORY)]
    files: Vec<PathBuf>,

    /// Say findings only: no notes, no summary
    #[arg(short, long)]
    quiet: bool,
}

/// Why nothing could be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A file that was named.
    #[error("cannot read {}", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A history that was named.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// There is no directory of one's own.
    #[error("there is no usual place for a history: name a file")]
    NoPlace,
    /// The standard output.
    #[error("cannot write the answer")]
    Write(#[source] io::Error),
}

/// Says on `out` what does not hold, one line each, and a summary. Findings are a failure.
///
/// # Errors
/// See [`VerifyError`].
pub fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Ending, VerifyError> {
    let mut files = Vec::new();
    // A name that is wrong is said before hours are spent on the others.
    for path in &arguments.files {
        let path = if path == Path::new(HISTORY) && !path.exists() {
            history::usual_path().ok_or(VerifyError::NoPlace)?
        } else {
            path.clone()
        };
        let kept = is_history(&path).map_err(|source| VerifyError::Open {
            path: path.clone(),
            source,
        })?;
        files.push((path, kept));
    }
    let mut verifier = Verifier {
        out,
        quiet: arguments.quiet,
        findings: 0,
        failed: None,
    };
    let mut records = Records::default();
    for (path, kept) in &files {
        if *kept {
            verifier.history(path)?;
        } else {
            verifier.records(path, &mut records)?;
        }
    }
    if records.files > 0 {
        verifier.summary(&records.text());
    }
    let findings = verifier.findings;
    let all = match findings {
        0 => "no findings".to_owned(),
        1 => "1 finding".to_owned(),
        many => format!("{many} findings"),
    };
    verifier.summary(&all);
    match verifier.failed {
        // Who stops reading has seen enough.
        Some(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(VerifyError::Write(error)),
        Some(_) | None if findings == 0 => Ok(Ending::Done),
        Some(_) | None => Ok(Ending::Failed),
    }
}

fn is_history(path: &Path) -> io::Result<bool> {
    if path == Path::new("-") {
        return Ok(false);
    }
    let mut beginning = Vec::new();
    std::fs::File::open(path)?
        .take(SQLITE.len() as u64)
        .read_to_end(&mut beginning)?;
    Ok(beginning == SQLITE)
}

/// What record files have.
#[derive(Default)]
struct Records {
    files: u64,
    records: u64,
    runs: Runs,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    totals: RecordTotals,
    destinations: u64,
}

impl Records {
    fn add(&mut self, record: &Record) {
        self.records += 1;
        self.destinations += record.destinations.len() as u64;
        self.first = Some(self.first.map_or(record.start, |first| first.min(record.start)));
        self.last = Some(self.last.map_or(record.end, |last| last.max(record.end)));
        let totals = &record.totals;
        for (sum, more) in [
            (&mut self.totals.seen, totals.seen),
            (&mut self.totals.counted, totals.counted),
            (&mut self.totals.banned, totals.banned),
            (&mut self.totals.overflow, totals.overflow),
        ] {
            let Counts { packets, bytes } = more;
            sum.packets = sum.packets.saturating_add(packets);
            sum.bytes = sum.bytes.saturating_add(bytes);
        }
    }

    fn text(&self) -> String {
        let period = match (self.first, self.last) {
            (Some(first), Some(last)) => format!(", {first:.0} to {last:.0}"),
            _ => String::new(),
        };
        let RecordTotals {
            seen,
            counted,
            banned,
            overflow,
            ..
        } = self.totals;
        format!(
            "{} records of {} runs in {} files{period}, {} destination rows: seen {} packets and {} bytes, of which counted {}, banned \
             {}, overflow {}",
            self.records,
            self.runs.count,
            self.files,
            self.destinations,
            seen.packets,
            seen.bytes,
            counted.packets,
            banned.packets,
            overflow.packets
        )
    }
}

struct Verifier<'a> {
    out: &'a mut dyn Write,
    quiet: bool,
    findings: u64,
    /// That nothing can be written any more ends it at the next file; findings are still counted.
    failed: Option<io::Error>,
}

impl Verifier<'_> {
    fn line(&mut self, text: &str) {
        // A text from a file must not control the terminal.
        let text: String = text
            .chars()
            .map(|c| {
                if c.is_control() {
                    char::REPLACEMENT_CHARACTER
                } else {
                    c
                }
            })
            .collect();
        if self.failed.is_none() {
            self.failed = writeln!(self.out, "{text}").err();
        }
    }

    fn finding(&mut self, place: &str, text: &str) {
        self.findings += 1;
        self.line(&format!("{place}: {text}"));
    }

    fn note(&mut self, place: &str, text: &str) {
        if !self.quiet {
            self.line(&format!("{place}: note: {text}"));
        }
    }

    fn summary(&mut self, text: &str) {
        if !self.quiet {
            self.line(text);
        }
    }

    fn history(&mut self, path: &Path) -> Result<(), VerifyError> {
        let name = path.display().to_string();
        let bar = bar("{wide_bar} {pos} of {len} buckets", 0);
        let mut found = |text: String| self.finding(&name, &text);
        let checked = history::check(path, &mut found, &mut |done, all| {
            bar.set_length(all);
            bar.set_position(done);
        });
        bar.finish_and_clear();
        match checked {
            Ok(checked) => self.summary(&format!(
                "{name}: {} intervals, {} hours, {} days",
                checked.intervals, checked.hours, checked.days
            )),
            // That it can be opened but not read is what one wanted to know.
            Err(HistoryError::Read(error)) => {
                self.finding(&name, &format!("cannot be read to its end: {error}"));
            }
            Err(HistoryError::Damaged { source, .. }) => {
                self.finding(&name, &format!("is damaged: {source}"));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn records(&mut self, path: &Path, records: &mut Records) -> Result<(), VerifyError> {
        let mut recording = Recording::open(path).map_err(|source| VerifyError::Open {
            path: path.to_owned(),
            source,
        })?;
        records.files += 1;
        let name = path.display().to_string();
        let bar = bytes_bar(recording.progress().1);
        while self.failed.is_none() {
            let (number, line) = match recording.next_line() {
                Ok(Some(line)) => line,
                Ok(None) => break,
                Err(error) => {
                    self.finding(&name, &format!("cannot be read to its end: {error}"));
                    break;
                }
            };
            let place = format!("{name}:{number}");
            match line {
                Line::TooLong(bytes) => self.finding(&place, &too_long(bytes)),
                Line::Torn(line) => {
                    self.finding(
                        &place,
                        "has no end: a write broke off, or is going on; nothing else is said of it",
                    );
                    if let Ok(record) = serde_json::from_slice::<Record>(line) {
                        self.record(&place, &record, records);
                    }
                }
                Line::Whole([]) => self.finding(&place, "is empty"),
                Line::Whole(line) => match serde_json::from_slice::<Record>(line) {
                    Ok(record) => self.record(&place, &record, records),
                    Err(error) => self.finding(&place, &format!("is no record: {error}")),
                },
            }
            bar.set_position(recording.progress().0);
        }
        bar.finish_and_clear();
        Ok(())
    }

    fn record(&mut self, place: &str, record: &Record, records: &mut Records) {
        let name = format!("record {} of run {}", record.seq, short(&record.run));
        for fault in faults(record) {
            self.finding(place, &format!("{name}: {fault}"));
        }
        records.runs.take(record, &mut |weight, text| match weight {
            Weight::Finding => self.finding(place, &format!("{name} {text}")),
            Weight::Note => self.note(place, &format!("{name} {text}")),
        });
        records.add(record);
    }
}

/// What is said of a line that is too long.
pub(crate) fn too_long(bytes: u64) -> String {
    format!(
        "has {bytes} bytes, more than the {} that are read",
        crate::recording::LONGEST_LINE
    )
}

/// On standard error, where that is a terminal.
pub(crate) fn bytes_bar(length: u64) -> ProgressBar {
    bar(
        "{wide_bar} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left",
        length,
    )
}

fn bar(template: &str, length: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr_with_hz(4));
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

#[cfg(test)]
pub(crate) mod tests;
