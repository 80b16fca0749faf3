//! What survives the daemon: the journal of what no record has yet, and taking over what went on counting without it.

use std::collections::HashMap;
use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::assemble::{self, Identity, Interval};
use super::outputs::Outputs;
use super::{Pipeline, PipelineError};
use crate::config::Config;
use crate::faults::die_at;
use crate::journal::{Ended, Journal, Unfinished, is_written};
use crate::kernel::drain::{Keep, Moment};
use crate::kernel::pins::{PinError, Pins};
use crate::kernel::tables;
use crate::tally::Drained;

/// Directory of the journal in that of --runtime.
const JOURNAL: &str = "journal";

/// Why what is counted cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum SurvivalError {
    /// The pins.
    #[error(transparent)]
    Pins(#[from] PinError),
    /// The journal.
    #[error("--runtime {directory}: cannot {step}: it must be a directory that this user may write")]
    Journal {
        /// As given.
        directory: String,
        /// What was being done.
        step: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A run that is alive.
    #[error(
        "--runtime {0}: another tcpwatch keeps its journal there: stop it first, or choose another directory"
    )]
    Busy(String),
    /// The record file.
    #[error("cannot see which records {path} has already")]
    Records {
        /// The file.
        path: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// What is kept of a run with --pin.
pub(super) struct Survival {
    journal: Arc<Mutex<Journal>>,
    /// What earlier runs have left in the journal, until it is dealt with.
    unfinished: Vec<Unfinished>,
    /// Of these, the records that the record file has already.
    written: Vec<(Arc<str>, u64)>,
    /// Held while this process lives.
    _lock: File,
}

/// Keeps drained counts in the journal under the name of their tables.
struct Keeper {
    journal: Arc<Mutex<Journal>>,
    tables: String,
}

impl Keep for Keeper {
    fn keep(&mut self, epoch: u64, drained: &Drained, retired: Moment) -> bool {
        lock(&self.journal).drained(&self.tables, epoch, drained, retired)
    }
}

/// No holder of the lock panics while the journal is inconsistent.
fn lock(journal: &Mutex<Journal>) -> MutexGuard<'_, Journal> {
    journal.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Survival {
    /// Opens journal and pins; none: nothing is to survive.
    ///
    /// # Errors
    /// Another run is alive, or the directories cannot be used.
    pub(super) fn begin(config: &Config, run: &str) -> Result<Option<(Self, Pins)>, SurvivalError> {
        let Some(pin) = &config.service.pin else {
            return Ok(None);
        };
        let runtime = &config.service.runtime;
        let failed = |step| {
            move |source| SurvivalError::Journal {
                directory: runtime.display().to_string(),
                step,
                source,
            }
        };
        let directory = runtime.join(JOURNAL);
        DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(&directory)
            .map_err(failed("make the journal's directory in it"))?;
        let held = File::open(&directory).map_err(failed("open the journal's directory in it"))?;
        match held.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(SurvivalError::Busy(runtime.display().to_string()));
            }
            Err(TryLockError::Error(source)) => {
                return Err(failed("lock the journal's directory in it")(source));
            }
        }
        let pins = Pins::open(pin, run)?;
        let (journal, unfinished) =
            Journal::open(&directory, Moment::now()).map_err(failed("use the journal in it"))?;
        let mut written = Vec::new();
        if let Some(path) = &config.record {
            for ended in unfinished.iter().filter_map(|interval| interval.ended.as_ref()) {
                let there =
                    is_written(path, &ended.run, ended.seq).map_err(|source| SurvivalError::Records {
                        path: path.display().to_string(),
                        source,
                    })?;
                if there {
                    written.push((Arc::clone(&ended.run), ended.seq));
                }
            }
        }
        let survival = Self {
            journal: Arc::new(Mutex::new(journal)),
            unfinished,
            written,
            _lock: held,
        };
        Ok(Some((survival, pins)))
    }

    /// What has everything drained from these tables kept.
    pub(super) fn keeper(&self, tables: &str) -> Box<dyn Keep> {
        Box::new(Keeper {
            journal: Arc::clone(&self.journal),
            tables: tables.to_owned(),
        })
    }

    /// Names of the interfaces that are counted on.
    pub(super) fn interfaces(&self, names: &HashMap<u32, Arc<str>>) {
        lock(&self.journal).interfaces(names);
    }

    /// An interval has its record, and another begins.
    pub(super) fn end(&self, ended: &Ended, names: &HashMap<u32, Arc<str>>) {
        let mut journal = lock(&self.journal);
        journal.end(ended);
        journal.interfaces(names);
    }

    /// Forgets what has arrived.
    pub(super) fn forget_written(&self, outputs: &Outputs) {
        self.forget(outputs.waiting());
    }

    /// Forgets all but the last intervals.
    pub(super) fn forget(&self, waiting: usize) {
        lock(&self.journal).forget(waiting);
    }
}

impl Pipeline {
    /// Goes on where earlier runs were ended: writes the records that they owed, and has what they have counted since in the first record
    /// of this one. Everything that is to be watched has this run's program already.
    pub(super) async fn take_over(&mut self) -> Result<(), PipelineError> {
        let Some(survival) = &mut self.survival else {
            return Ok(());
        };
        let (unfinished, written) = (
            std::mem::take(&mut survival.unfinished),
            std::mem::take(&mut survival.written),
        );
        survival.interfaces(self.watch.names());
        for interval in unfinished {
            match interval.ended.clone() {
                Some(ended) => self.make_up_for(interval, &ended, &written),
                None => {
                    self.start = interval.start;
                    self.drained_until = interval.until;
                    self.tally = interval.tally;
                    self.watch.note_names(interval.names);
                }
            }
        }
        self.watch.release_left(&self.network).await;
        let tables: Vec<String> = self.watch.pins().map(|pins| pins.left()).unwrap_or_default();
        for run in tables {
            self.read_left(&run)?;
        }
        if let Some(pins) = self.watch.pins() {
            for run in pins.remove_other_versions() {
                tracing::error!(
                    "{run} has tables of another version of tcpwatch, which this one cannot read: what they counted since that one's last record is lost"
                );
            }
        }
        Ok(())
    }

    /// A record that was due when its run was ended.
    fn make_up_for(&mut self, interval: Unfinished, ended: &Ended, written: &[(Arc<str>, u64)]) {
        let identity = Identity {
            run: Arc::clone(&ended.run),
            ..self.identity.clone()
        };
        let record = assemble::record(
            &identity,
            Interval {
                seq: ended.seq,
                start: interval.start,
                end: ended.end,
                partial: ended.partial,
                interfaces: ended.interfaces.clone(),
                names: &interval.names,
            },
            interval.tally,
            self.enricher.as_mut(),
            &mut |_, _| None,
        );
        let in_file = written.contains(&(Arc::clone(&ended.run), ended.seq));
        tracing::info!(
            "record {} of the run before was not confirmed: written where it is missing",
            ended.seq
        );
        self.outputs.push_missing(record, in_file);
    }

    /// Reads what the tables of an earlier run have, and removes them.
    fn read_left(&mut self, run: &str) -> Result<(), PipelineError> {
        let (Some(survival), Some(pins)) = (&self.survival, self.watch.pins()) else {
            return Ok(());
        };
        tables::grace_period().map_err(PipelineError::Tables)?;
        let drained = pins
            .leftover(run)
            .and_then(|left| left.drained(|epoch| lock(&survival.journal).has(run, epoch)));
        let drained = match drained {
            Ok(drained) => drained,
            Err(error) => {
                tracing::error!(
                    "the kernel tables that {run} left cannot be read, what they counted since its last record is lost: {:#}",
                    anyhow::Error::from(error)
                );
                pins.remove(run);
                return Ok(());
            }
        };
        let now = Moment::now();
        let mut packets = 0;
        for (epoch, drained) in drained {
            packets += drained.totals.seen.packets;
            lock(&survival.journal).drained(run, epoch, &drained, now);
            if let Some(imbalance) = self.tally.add(drained) {
                tracing::error!(
                    "the books of the run before do not balance: {imbalance}; please report this"
                );
            }
        }
        self.drained_until = now;
        die_at("taken-over");
        pins.remove(run);
        tracing::info!(
            "took over: {packets} packets were counted since the last drain of the run before; they are in the first record"
        );
        Ok(())
    }
}
