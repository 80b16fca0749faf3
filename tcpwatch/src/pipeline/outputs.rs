//! Where records go: stdout in the chosen format, and the record file.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
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
    /// The record file cannot be opened, or stdout is closed.
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
            ..Style::default()
        };
        let open = |path: &std::path::PathBuf| {
            Outlet::file(path, encoder(Format::Json, &style)).map_err(|source| PipelineError::Record {
                path: path.display().to_string(),
                source,
            })
        };
        let file = config.record.as_ref().map(open).transpose()?;
        let stdout = Outlet::stdout(encoder(format, &style)).map_err(PipelineError::Stdout)?;
        Ok(Self { format, stdout, file })
    }

    /// Hands a record to all of them. Waits for none.
    pub fn push(&self, record: Record) {
        let record = Arc::new(record);
        if let Some(file) = &self.file {
            file.push(Arc::clone(&record));
        }
        self.stdout.push(record);
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
        let stdout = self.stdout.finish(LAST_WRITE);
        let file = self.file.map(|file| file.finish(LAST_WRITE));
        let unwritten = |outcome: &Outcome| outcome.dropped + outcome.left;
        let mut dropped = file.as_ref().map_or(0, unwritten);
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

/// Columns of the terminal that stdout is, within what a table can be read at.
fn terminal_width() -> usize {
    match terminal_size::terminal_size_of(io::stdout()) {
        Some((terminal_size::Width(columns), _)) => usize::from(columns).clamp(60, 100),
        None => Style::default().width,
    }
}
