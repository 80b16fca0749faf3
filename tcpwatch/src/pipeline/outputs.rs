//! Where records go: stdout in the chosen format, the record file, and the history.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::control::status::OutletState;
use crate::history::Keeper;
use crate::record::Record;
use crate::sink::{Format, Outcome, Outlet, Style, encoder, wants_colour};

use super::PipelineError;

/// How long the outputs may take to write what is left when the program ends.
const LAST_WRITE: Duration = Duration::from_secs(5);

/// All outputs of a run.
pub struct Outputs {
    /// What stdout shows.
    pub format: Format,
    stdout: Outlet,
    file: Option<Outlet>,
    history: Option<Keeper>,
}

/// Why an output takes nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Nobody reads stdout: that is how a pipeline ends.
    ReaderGone,
    /// The thread that writes has broken off.
    Broken,
}

impl Outputs {
    /// Opens them.
    ///
    /// # Errors
    /// The record file or the history that was asked for cannot be opened, or stdout is closed.
    pub fn open(config: &Config) -> Result<Self, PipelineError> {
        let terminal = io::stdout().is_terminal();
        let format = config
            .format
            .unwrap_or(if terminal { Format::Table } else { Format::Json });
        let style = Style {
            width: terminal_width(),
            colour: wants_colour(&io::stdout()),
            top: config.top,
            by: config.by.clone(),
            interval: config.interval,
            resolve: config.resolve,
            ..Style::default()
        };
        let open = |path: &std::path::PathBuf| {
            Outlet::file(path, encoder(Format::Json, &style)).map_err(|source| PipelineError::Record {
                path: path.display().to_string(),
                source,
            })
        };
        let file = config.record.as_ref().map(open).transpose()?;
        let history = history(config)?;
        let stdout = Outlet::stdout(encoder(format, &style)).map_err(PipelineError::Stdout)?;
        Ok(Self {
            format,
            stdout,
            file,
            history,
        })
    }

    /// Whether there is a history.
    pub const fn keeps_history(&self) -> bool {
        self.history.is_some()
    }

    /// Hands a record to all of them. Waits for none.
    pub fn push(&self, record: Record) {
        let record = Arc::new(record);
        if let Some(file) = &self.file {
            file.push(Arc::clone(&record));
        }
        if let Some(history) = &self.history {
            history.push(Arc::clone(&record));
        }
        self.stdout.push(record);
    }

    /// Hands over a record of an earlier run, which may be in the history already, and is `in_file`.
    pub fn push_missing(&self, record: Record, in_file: bool) {
        let record = Arc::new(record);
        if let Some(file) = self.file.as_ref().filter(|_| !in_file) {
            file.push(Arc::clone(&record));
        }
        if let Some(history) = &self.history {
            history.push(Arc::clone(&record));
        }
        // Nobody knows what was read of stdout: it has records only where nothing else has.
        if self.file.is_none() && self.history.is_none() {
            self.stdout.push(record);
        }
    }

    /// Of the last records that were pushed, how many are not in the record file or the history yet.
    pub fn waiting(&self) -> usize {
        let file = self.file.as_ref().map(Outlet::waiting);
        let history = self.history.as_ref().map(Keeper::waiting);
        match (file, history) {
            (None, None) => self.stdout.waiting(),
            (file, history) => file.max(history).unwrap_or_default(),
        }
    }

    /// What became of the records so far, by output.
    pub fn states(&self) -> Vec<OutletState> {
        let of = |name: &str, outcome: Outcome| OutletState {
            name: name.to_owned(),
            written: outcome.written,
            dropped: outcome.dropped,
            waiting: outcome.left,
        };
        let mut states = vec![of("stdout", self.stdout.outcome())];
        states.extend(self.file.as_ref().map(|file| of("record", file.outcome())));
        states.extend(self.history.as_ref().map(|history| {
            let kept = history.outcome();
            OutletState {
                name: "history".to_owned(),
                written: kept.written,
                dropped: kept.dropped,
                waiting: kept.left,
            }
        }));
        states
    }

    /// Opens the record file anew. False: there is none.
    pub fn reopen(&self) -> bool {
        if let Some(file) = &self.file {
            file.reopen();
        }
        self.file.is_some()
    }

    /// Completes when an output takes nothing any more.
    pub async fn closed(&self) -> Closed {
        let file = async {
            match &self.file {
                Some(file) => file.closed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.stdout.closed() => {}
            () = file => {}
        }
        if self.stdout.is_closed() {
            Closed::ReaderGone
        } else {
            Closed::Broken
        }
    }

    /// Waits for what is still to be written, and says whether all of it was.
    ///
    /// # Errors
    /// Records were lost. Those that nobody wanted to read are none.
    pub fn finish(self) -> Result<(), PipelineError> {
        let reader_gone = self.stdout.is_closed();
        // All of them write at the same time; whichever is slow, the end is not put off once for each.
        let until = Instant::now() + LAST_WRITE;
        let left = || until.saturating_duration_since(Instant::now());
        let stdout = self.stdout.finish(left());
        let file = self.file.map(|file| file.finish(left()));
        let history = self.history.map(|history| history.finish(left()));
        let unwritten = |outcome: &Outcome| outcome.dropped + outcome.left;
        let mut dropped = file.as_ref().map_or(0, unwritten);
        if let Some(kept) = history {
            dropped += kept.dropped + kept.left;
        }
        if !reader_gone {
            dropped += unwritten(&stdout);
        }
        if dropped == 0 {
            Ok(())
        } else {
            Err(PipelineError::Unwritten { dropped })
        }
    }
}

/// The history's keeper. One that was not asked for may be missing.
fn history(config: &Config) -> Result<Option<Keeper>, PipelineError> {
    let Some(wanted) = &config.history else {
        return Ok(None);
    };
    match Keeper::start(&wanted.path, wanted.bounds) {
        Ok(keeper) => Ok(Some(keeper)),
        Err(error) if wanted.named => Err(error.into()),
        Err(error) => {
            tracing::warn!("no history is kept: {:#}", anyhow::Error::from(error));
            Ok(None)
        }
    }
}

/// Columns of the terminal that stdout is, within what a table can be read at.
fn terminal_width() -> usize {
    match terminal_size::terminal_size_of(io::stdout()) {
        Some((terminal_size::Width(columns), _)) => usize::from(columns).clamp(60, 100),
        None => Style::default().width,
    }
}
