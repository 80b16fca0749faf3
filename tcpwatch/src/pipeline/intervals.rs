//! What is done with the counts: drained, in time, merged, and made a record at the end of each interval.

use std::sync::Arc;
use std::time::Duration;

use tcpwatch_common::names::Sampling;

use super::assemble::{self, Interval};
use super::{Ended, Pipeline, PipelineError};
use crate::faults::die_at;
use crate::journal;
use crate::kernel::drain::{CounterSource, Harvest};
use crate::kernel::tables::TableError;
use crate::record::{Record, WatchedInterface};
use crate::service::notify;

/// How often the last drain is tried before its counts are given up.
const LAST_DRAINS: u32 = 5;
/// How long apart.
const LAST_DRAIN_PAUSE: Duration = Duration::from_millis(200);

impl Pipeline {
    /// Drains once; what it brings is in the tally afterwards. True: nothing counted before the call is left in the kernel.
    pub(super) async fn drain(&mut self) -> Result<Result<bool, TableError>, PipelineError> {
        let Some(mut source) = self.source.take() else {
            unreachable!("the source is put back before anything else is done")
        };
        if let Some(survival) = &self.survival {
            survival.interfaces(self.watch.names());
        }
        // The grace period blocks, for a tenth of a second on a busy machine.
        let (source, harvest) = tokio::task::spawn_blocking(move || {
            let harvest = source.drain();
            (source, harvest)
        })
        .await
        .map_err(PipelineError::Drain)?;
        self.source = Some(source);
        Ok(harvest.map(
            |Harvest {
                 drained,
                 retired,
                 fresh,
             }| {
                self.control.note_drain(&drained, retired.wall);
                if let Some(imbalance) = self.tally.add(drained) {
                    self.control.note_imbalance();
                    tracing::error!("the books do not balance: {imbalance}; please report this");
                }
                self.drained_until = retired;
                fresh
            },
        ))
    }

    /// Reads samples, and drains before the interval's end where the tables fill up.
    pub(super) async fn relieve(&mut self) -> Result<(), PipelineError> {
        if let Some(naming) = &mut self.naming {
            naming.read();
        }
        if let Some(survival) = &self.survival {
            survival.forget_written(&self.outputs);
        }
        let fill = self.source.as_ref().map(CounterSource::fill).unwrap_or_default();
        if fill.is_alarming() && !self.warned {
            self.warned = true;
            tracing::warn!(
                "the kernel table of destinations is {} % full: raise --spill (now {}) or --slots before packets lose theirs",
                fill.percent(),
                fill.room
            );
        }
        if fill.wants_drain()
            && let Err(error) = self.drain().await?
        {
            tracing::error!(
                "cannot drain the filling kernel tables, trying again: {:#}",
                anyhow::Error::from(error)
            );
        }
        Ok(())
    }

    /// One interval is over: drain, and write its record. A failed drain makes the interval longer, it loses nothing.
    pub(super) async fn end_interval(&mut self) -> Result<(), PipelineError> {
        match self.drain().await? {
            Ok(_) => {
                let interfaces = self.watch.for_record();
                self.write_record(interfaces, false);
            }
            Err(error) => {
                tracing::error!(
                    "cannot drain the kernel tables, trying again at the end of the next interval: {:#}",
                    anyhow::Error::from(error)
                );
            }
        }
        Ok(())
    }

    /// Samples taken and dropped since the start.
    fn sampling(&mut self) -> Sampling {
        self.source
            .as_mut()
            .map(|source| source.tables().sampling())
            .unwrap_or_default()
    }

    fn write_record(&mut self, interfaces: Vec<WatchedInterface>, partial: bool) {
        self.records += 1;
        let end = self.drained_until;
        if let Some(survival) = &self.survival {
            // Before it is pushed: what is not here goes into the next record if we are killed.
            let ended = journal::Ended {
                run: Arc::clone(&self.identity.run),
                seq: self.records,
                end,
                partial,
                interfaces: interfaces.clone(),
            };
            survival.forget_written(&self.outputs);
            survival.end(&ended, self.watch.names());
            die_at("sealed");
        }
        let interval = Interval {
            seq: self.records,
            start: self.start,
            end,
            partial,
            interfaces,
            names: self.watch.names(),
        };
        let now = std::time::Instant::now();
        let naming = &mut self.naming;
        if let Some(naming) = naming {
            naming.catch_up();
        }
        let record = assemble::record(
            &self.identity,
            interval,
            self.tally.take(),
            self.enricher.as_mut(),
            &mut |destination, source| naming.as_mut()?.names(destination, source, now),
        );
        let sampling = self.sampling();
        if let Some(naming) = &mut self.naming {
            naming.end_interval(sampling, self.records, now);
        }
        let Record {
            seq,
            destinations,
            drains,
            ..
        } = &record;
        tracing::debug!(
            "record {seq}: {} destinations, {drains} drains",
            destinations.len()
        );
        let lost = record.totals.overflow.packets;
        notify::record(*seq, destinations.len(), lost);
        if lost > 0 {
            tracing::error!(
                "record {seq}: {lost} packets had no room in the kernel table, their destinations are lost: raise --spill (now {})",
                self.config.capacity.spill
            );
        }
        self.start = end;
        self.warned = false;
        self.watch.forget_gone();
        if self.watch.policy().only_noted {
            self.suggest_skipping(&record);
        }
        self.outputs.push(record);
        die_at("pushed");
    }

    /// Detaches first, so that the last drain brings up everything that was ever counted.
    pub(super) async fn finish(mut self, ended: Ended) -> Result<(), PipelineError> {
        notify::stopping();
        let interfaces = self.watch.for_record();
        if !self.watch.survives() {
            self.watch.detach_all();
        }
        let mut tries = 1;
        let lost = loop {
            match self.drain().await? {
                Ok(true) => break None,
                // The end of an earlier drain; this generation is still to come.
                Ok(false) => continue,
                Err(error) if tries == LAST_DRAINS => break Some(error),
                Err(error) => tracing::warn!("the last drain failed, trying again: {error}"),
            }
            tries += 1;
            tokio::time::sleep(LAST_DRAIN_PAUSE).await;
        };
        // When the last drain failed, what earlier ones brought up is not given up with it.
        if lost.is_none() || self.tally.drains > 0 {
            self.write_record(interfaces, lost.is_some() || !matches!(ended, Ended::Complete));
        }
        let errors = self.damaged_lookups + self.enricher.errors();
        if errors > 0 {
            tracing::warn!("{errors} look-ups met damage in the place databases; those places are unknown");
        }
        let sampling = self.sampling();
        if let Some(naming) = &self.naming {
            naming.account(sampling);
        }
        if let Some(periodic) = self.periodic {
            periodic.finish().await;
        }
        if self.watch.survives() {
            self.watch.leave_all();
            tracing::info!("the kernel goes on counting until the next start; `tcpwatch detach` ends that");
        }
        let written = self.outputs.finish();
        if let Some(survival) = &self.survival
            && written.is_ok()
        {
            survival.forget(0);
        }
        match lost {
            Some(error) => Err(PipelineError::LastDrain(error)),
            None => written,
        }
    }
}
