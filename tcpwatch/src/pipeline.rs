//! The order of things: the only file that knows how kernel, network, enrichment and outputs fit together.

pub mod assemble;
mod greeting;
pub mod watch;

use std::future::Future;
use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior};

use self::assemble::{Identity, Interval};
use self::watch::{ChoiceError, Watch, choose_first};
use crate::config::{Config, Interfaces};
use crate::enrich::{Enricher, GeoError, Places};
use crate::kernel::attach::{AttachError, Attacher};
use crate::kernel::drain::{CounterSource, Drain, Harvest, Moment};
use crate::kernel::load::{LoadError, load};
use crate::kernel::requirements::{self, RequirementError};
use crate::kernel::tables::{KernelTables, TableError};
use crate::net::{NetError, Network};
use crate::record::{Record, WatchedInterface};
use crate::sink::{Format, Outcome, Outlet, Style, encoder};
use crate::tally::Tally;

/// How often the default route is asked for again when no interface was named.
const ROUTE_CHECK: Duration = Duration::from_secs(2);
/// How long the outputs may take to write what is left when the program ends.
const LAST_WRITE: Duration = Duration::from_secs(5);
/// How often, and how long apart, the last drain is tried before its counts are given up.
const LAST_DRAINS: u32 = 5;
const LAST_DRAIN_PAUSE: Duration = Duration::from_millis(200);

/// Why a run could not begin, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The machine or our rights.
    #[error(transparent)]
    Requirement(#[from] RequirementError),
    /// The interfaces.
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    /// The place databases.
    #[error(transparent)]
    Geo(#[from] GeoError),
    /// The record file.
    #[error("cannot open the record file {path}")]
    Record {
        /// The file.
        path: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Stdout.
    #[error("cannot write to stdout")]
    Stdout(#[source] io::Error),
    /// The eBPF program.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The hook.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The kernel tables, before anything is attached.
    #[error(transparent)]
    Tables(#[from] TableError),
    /// Netlink.
    #[error(transparent)]
    Net(#[from] NetError),
    /// Signal handlers.
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
    /// The thread that drains ended by a panic.
    #[error("the drain broke off")]
    Drain(#[source] tokio::task::JoinError),
    /// The last counts could not be read.
    #[error("the counts since the last record are lost: the kernel tables cannot be read")]
    LastDrain(#[source] TableError),
    /// Records that never reached their output.
    #[error("{dropped} records could not be written")]
    Unwritten {
        /// How many.
        dropped: u64,
    },
}

impl PipelineError {
    /// Whether the run had not begun: nothing is attached, nothing is counted, the operator has something to change.
    #[must_use]
    pub const fn before_start(&self) -> bool {
        !matches!(self, Self::Drain(_) | Self::LastDrain(_) | Self::Unwritten { .. })
    }
}

/// Watches until `shutdown` is ready, the wanted number of records is written, or nobody reads stdout any more.
///
/// # Errors
/// See [`PipelineError::before_start`].
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), PipelineError> {
    requirements::check()?;
    let mut hangup = signal(SignalKind::hangup()).map_err(PipelineError::Signals)?;
    let network = Network::open()?;
    let present = network.interfaces().await?;
    let defaults = match config.interfaces {
        Interfaces::DefaultRoute => network.default_interfaces().await?,
        Interfaces::All | Interfaces::Named(_) => Default::default(),
    };
    let first = choose_first(&config.interfaces, &config.sources, &present, &defaults)?;
    let places = places(&config)?;
    let (programs, tables) = load(config.capacity)?;
    let outlets = Outlets::open(&config)?;
    let attacher = Attacher::new(programs, config.attach, network.handle());
    let mut watch = Watch::new(
        config.interfaces.clone(),
        config.sources.clone(),
        Arc::clone(&config.bans),
        attacher,
        &first,
    );
    let source = Drain::new(tables, watch.policy().clone())?;
    let start = Moment::now();
    for candidate in first {
        watch.attach(candidate).await?;
    }
    greeting::print(&config, &watch, &places.files(), outlets.format);

    let mut pipeline = Pipeline {
        identity: Identity {
            host: requirements::host_name()?.into(),
            boot_id: requirements::boot_id()?.into(),
            run: requirements::random_id()?.into(),
        },
        source: Some(source),
        watch,
        network,
        enricher: Box::new(places),
        outlets,
        tally: Tally::default(),
        records: 0,
        start,
        config,
    };
    match pipeline.watch(shutdown, &mut hangup).await {
        Ok(ended) => pipeline.finish(ended).await,
        Err(error) => {
            pipeline.watch.detach_all();
            if let Err(unwritten) = pipeline.outlets.finish(&Ended::Asked) {
                tracing::error!("{unwritten}");
            }
            Err(error)
        }
    }
}

fn places(config: &Config) -> Result<Places, PipelineError> {
    if !config.geo.is_empty() {
        return Ok(Places::open_given(&config.geo)?);
    }
    let (places, warnings) = Places::discover();
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    Ok(places)
}

/// Columns of the terminal that stdout is, within what a table can be read at.
fn terminal_width() -> usize {
    match terminal_size::terminal_size_of(io::stdout()) {
        Some((terminal_size::Width(columns), _)) => usize::from(columns).clamp(60, 100),
        None => Style::default().width,
    }
}

/// Where records go.
struct Outlets {
    format: Format,
    stdout: Outlet,
    file: Option<Outlet>,
}

impl Outlets {
    fn open(config: &Config) -> Result<Self, PipelineError> {
        let terminal = io::stdout().is_terminal();
        let format = config
            .format
            .unwrap_or(if terminal { Format::Table } else { Format::Json });
        let style = Style {
            width: terminal_width(),
            colour: terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            top: config.top,
            interval: config.interval,
            ..Style::default()
        };
        let file = config
            .record
            .as_ref()
            .map(|path| {
                Outlet::file(path, encoder(Format::Json, &style)).map_err(|source| PipelineError::Record {
                    path: path.display().to_string(),
                    source,
                })
            })
            .transpose()?;
        Ok(Self {
            format,
            stdout: Outlet::stdout(encoder(format, &style)).map_err(PipelineError::Stdout)?,
            file,
        })
    }

    fn push(&self, record: Record) {
        let record = Arc::new(record);
        if let Some(file) = &self.file {
            file.push(Arc::clone(&record));
        }
        self.stdout.push(record);
    }

    fn reopen(&self) {
        if let Some(file) = &self.file {
            file.reopen();
        }
    }

    /// Waits for what is still to be written, and says whether all of it was.
    fn finish(self, ended: &Ended) -> Result<(), PipelineError> {
        let reader_gone = matches!(ended, Ended::ReaderGone) || self.stdout.is_closed();
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

/// Why watching ended.
enum Ended {
    /// A signal: the interval is cut short.
    Asked,
    /// The last wanted record is due: its interval is whole.
    Complete,
    /// Nobody reads stdout any more.
    ReaderGone,
}

struct Pipeline {
    config: Config,
    identity: Identity,
    /// None only while a drain runs in its own thread.
    source: Option<Drain<KernelTables>>,
    watch: Watch,
    network: Network,
    enricher: Box<dyn Enricher>,
    outlets: Outlets,
    tally: Tally,
    /// Records made so far.
    records: u64,
    /// When the current interval began.
    start: Moment,
}

impl Pipeline {
    async fn watch(
        &mut self,
        shutdown: impl Future<Output = ()>,
        hangup: &mut tokio::signal::unix::Signal,
    ) -> Result<Ended, PipelineError> {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut tick = tokio::time::interval_at(Instant::now() + self.config.interval, self.config.interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut route_check = tokio::time::interval(ROUTE_CHECK);
        route_check.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let follows_route = self.config.interfaces == Interfaces::DefaultRoute;
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => return Ok(Ended::Asked),
                () = self.outlets.stdout.closed() => return Ok(Ended::ReaderGone),
                _ = hangup.recv() => self.outlets.reopen(),
                _ = tick.tick() => {
                    if self.config.intervals.is_some_and(|wanted| self.records + 1 >= wanted) {
                        return Ok(Ended::Complete);
                    }
                    self.end_interval().await?;
                }
                () = self.network.changed() => self.follow_network().await?,
                _ = route_check.tick(), if follows_route => self.follow_network().await?,
            }
        }
    }

    /// Drains once; what it brings is in the tally afterwards.
    async fn drain(&mut self) -> Result<Result<Moment, TableError>, PipelineError> {
        let Some(mut source) = self.source.take() else {
            unreachable!("the source is put back before anything else is done")
        };
        // The grace period blocks, for a tenth of a second on a busy machine.
        let (source, harvest) = tokio::task::spawn_blocking(move || {
            let harvest = source.drain();
            (source, harvest)
        })
        .await
        .map_err(PipelineError::Drain)?;
        self.source = Some(source);
        Ok(harvest.map(|Harvest { drained, retired }| {
            if let Some(imbalance) = self.tally.add(drained) {
                tracing::error!("the books do not balance: {imbalance}; please report this");
            }
            retired
        }))
    }

    /// One interval is over: drain, and write its record. A failed drain makes the interval longer, it loses nothing.
    async fn end_interval(&mut self) -> Result<(), PipelineError> {
        match self.drain().await? {
            Ok(end) => {
                let interfaces = self.watch.for_record();
                self.write_record(interfaces, end, false);
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

    fn write_record(&mut self, interfaces: Vec<WatchedInterface>, end: Moment, partial: bool) {
        self.records += 1;
        let interval = Interval {
            seq: self.records,
            start: self.start,
            end,
            partial,
            interfaces,
            names: self.watch.names(),
            bans: &self.config.bans,
        };
        let record = assemble::record(
            &self.identity,
            interval,
            self.tally.take(),
            self.enricher.as_mut(),
        );
        tracing::debug!(
            "record {}: {} destinations, {} drains",
            record.seq,
            record.destinations.len(),
            record.drains
        );
        self.start = end;
        self.watch.forget_gone();
        self.outlets.push(record);
    }

    /// Looks at the network again. New own addresses are in force with the generation that begins here; only then is the
    /// program attached to new interfaces, so that their first packet meets the right policy.
    async fn follow_network(&mut self) -> Result<(), PipelineError> {
        let (present, defaults) = match self.look().await {
            Ok(seen) => seen,
            Err(error) => {
                tracing::warn!(
                    "cannot follow the network's changes: {:#}",
                    anyhow::Error::from(error)
                );
                return Ok(());
            }
        };
        let changes = self.watch.update(&present, &defaults);
        if let (Some(policy), Some(source)) = (changes.policy, &mut self.source) {
            source.set_policy(policy);
            if let Err(error) = self.drain().await? {
                tracing::error!(
                    "the changed addresses take effect later: cannot drain the kernel tables: {:#}",
                    anyhow::Error::from(error)
                );
            }
        }
        self.watch.attach_late(changes.attach).await;
        Ok(())
    }

    async fn look(&self) -> Result<(Vec<crate::net::Interface>, std::collections::BTreeSet<u32>), NetError> {
        let defaults = match self.config.interfaces {
            Interfaces::DefaultRoute => self.network.default_interfaces().await?,
            Interfaces::All | Interfaces::Named(_) => Default::default(),
        };
        Ok((self.network.interfaces().await?, defaults))
    }

    /// Detaches first, so that the last drain brings up everything that was ever counted.
    async fn finish(mut self, ended: Ended) -> Result<(), PipelineError> {
        let interfaces = self.watch.for_record();
        self.watch.detach_all();
        let mut tries = 1;
        let end = loop {
            match self.drain().await? {
                Ok(end) => break end,
                Err(error) if tries == LAST_DRAINS => {
                    // What earlier drains of this interval brought up is not given up with it.
                    self.write_record(interfaces, Moment::now(), true);
                    if let Err(unwritten) = self.outlets.finish(&ended) {
                        tracing::error!("{unwritten}");
                    }
                    return Err(PipelineError::LastDrain(error));
                }
                Err(error) => tracing::warn!("the last drain failed, trying again: {error}"),
            }
            tries += 1;
            tokio::time::sleep(LAST_DRAIN_PAUSE).await;
        };
        self.write_record(interfaces, end, !matches!(ended, Ended::Complete));
        let errors = self.enricher.errors();
        if errors > 0 {
            tracing::warn!("{errors} look-ups met damage in the place databases; those places are unknown");
        }
        self.outlets.finish(&ended)
    }
}
