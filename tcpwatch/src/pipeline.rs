//! The order of things: the only file that knows how kernel, network, enrichment and outputs fit together.

pub mod assemble;
pub mod choice;
mod error;
mod follow;
mod greeting;
mod naming;
mod outputs;
pub mod periodic;
mod places;
mod served;
pub mod watch;

use std::future::Future;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use tcpwatch_common::names::Sampling;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior};

use self::assemble::{Identity, Interval};
use self::choice::choose_first;
pub use self::error::PipelineError;
use self::naming::{Naming, NamingError};
use self::outputs::{Closed, Outputs};
use self::periodic::PeriodicReports;
use self::places::Replacements;
use self::served::ServedFollower;
use self::watch::Watch;
use crate::config::{Config, Interfaces};
use crate::enrich::{Catalogue, Enricher, Places};
use crate::kernel::attach::{Attacher, Direction};
use crate::kernel::bell::Bell;
use crate::kernel::drain::{CounterSource, Drain, Harvest, Moment};
use crate::kernel::load::load;
use crate::kernel::policy::PortBits;
use crate::kernel::requirements;
use crate::kernel::tables::{KernelTables, TableError};
use crate::net::{Defaults, Interface, NetError, Network};
use crate::record::{Record, WatchedInterface};
use crate::tally::Tally;

/// How often the default route is asked for again when no interface was named.
const ROUTE_CHECK: Duration = Duration::from_secs(2);
/// How often, at most, the hooks are looked at: are we still there?
const HOOK_CHECK: Duration = Duration::from_secs(1);
/// How long an answer of the kernel's network configuration may take. An answer can be lost; the next look asks anew.
const ANSWER: Duration = Duration::from_secs(5);
/// How often the kernel tables are asked how full they are, and samples of names are read, when the kernel does not ask for it sooner.
const GAUGE: Duration = Duration::from_secs(1);
/// How often the last drain is tried before its counts are given up.
const LAST_DRAINS: u32 = 5;
/// How long apart.
const LAST_DRAIN_PAUSE: Duration = Duration::from_millis(200);

/// Watches until `shutdown` is ready, the wanted number of records is written, or nobody reads stdout any more. What is
/// watched is said on `notices` at the start.
///
/// # Errors
/// See [`PipelineError::before_start`].
pub async fn run(
    config: Config,
    shutdown: impl Future<Output = ()>,
    notices: &mut dyn Write,
) -> Result<(), PipelineError> {
    requirements::check()?;
    let ends_on_hangup = config.record.is_none() && !requirements::ignores_hangup()?;
    let mut hangup = signal(SignalKind::hangup()).map_err(PipelineError::Signals)?;
    let network = Network::open()?;
    let (present, defaults) = look(&network, &config).await?;
    let first = choose_first(&config.interfaces, &config.sources, &present, &defaults)?;
    let (catalogue, places) = open_places(&config)?;
    let (mut programs, tables) = load(config.capacity)?;
    let bell = programs.bell()?;
    let mut naming = Naming::start(config.names, &mut programs).map_err(not_naming)?;
    let served = ServedFollower::start(&config)?;
    for candidate in &first {
        // A kernel that refuses it does so before anything is touched.
        programs.get_mut(candidate.layer, Direction::Egress)?;
        if config.names.dns {
            programs.get_mut(candidate.layer, Direction::Ingress)?;
        }
    }
    #[cfg(feature = "kernel-log")]
    programs.follow_log()?;
    let outputs = Outputs::open(&config)?;
    let periodic = PeriodicReports::begin(&config, &outputs)?;
    let attacher = Attacher::new(programs, config.attach, network.handle());
    let mut watch = Watch::new(&config, attacher, &first, defaults.clone());
    let listening = match &served {
        Some((_, ports)) => {
            watch.set_served(Arc::new(ports.into()));
            Some(ports.clone())
        }
        None => greeting::listening(&config),
    };
    if let Some(naming) = &mut naming {
        naming.set_policy(watch.policy());
    }
    let source = Drain::new(tables, watch.policy().clone())?;
    let start = Moment::now();
    for candidate in first {
        watch.attach(candidate).await?;
    }
    watch.attach_incoming().await?;
    greeting::print(
        notices,
        &config,
        &watch,
        &places.files(),
        &outputs,
        listening.as_ref(),
    );

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
        replacements: Replacements::follow(catalogue),
        bell,
        naming,
        served: served.map(|(follower, _)| follower),
        damaged_lookups: 0,
        periodic,
        outputs,
        tally: Tally::default(),
        records: 0,
        start,
        drained_until: start,
        warned: false,
        defaults,
        look_again: false,
        hooks_checked: Instant::now(),
        config,
    };
    match pipeline.watch(shutdown, &mut hangup, ends_on_hangup).await {
        Ok(ended) => pipeline.finish(ended).await,
        Err(error) => {
            pipeline.watch.detach_all();
            if let Err(unwritten) = pipeline.outputs.finish() {
                tracing::error!("{unwritten}");
            }
            Err(error)
        }
    }
}

fn open_places(config: &Config) -> Result<(Catalogue, Places), PipelineError> {
    let (catalogue, places, warnings) = Catalogue::open(config.geo.clone())?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    Ok((catalogue, places))
}

/// The ports that are served, when that changes.
async fn next_served(served: &mut Option<ServedFollower>) -> Arc<PortBits> {
    match served {
        Some(follower) => follower.changed().await,
        None => std::future::pending().await,
    }
}

fn not_naming(error: NamingError) -> PipelineError {
    match error {
        NamingError::Samples(error) => error.into(),
        NamingError::Resolver(error) => error.into(),
    }
}

/// The interfaces, and those of the default route where they matter.
async fn look(network: &Network, config: &Config) -> Result<(Vec<Interface>, Defaults), NetError> {
    let answers = async {
        let defaults = match config.interfaces {
            Interfaces::DefaultRoute => network.defaults().await?,
            Interfaces::All | Interfaces::Named(_) => Defaults::default(),
        };
        Ok((network.interfaces().await?, defaults))
    };
    tokio::time::timeout(ANSWER, answers)
        .await
        .map_err(NetError::Silent)?
}

/// Why watching ended.
enum Ended {
    /// A signal, or nobody reads any more: the interval is cut short.
    Early,
    /// The last wanted record is due: its interval is whole.
    Complete,
}

struct Pipeline {
    config: Config,
    identity: Identity,
    /// None only while a drain runs in its own thread.
    source: Option<Drain<KernelTables>>,
    watch: Watch,
    network: Network,
    enricher: Box<dyn Enricher>,
    replacements: Replacements,
    /// The kernel asks to be looked at.
    bell: Bell,
    /// None: destinations are not named.
    naming: Option<Naming>,
    /// None: replies to clients are counted like all others.
    served: Option<ServedFollower>,
    /// Look-ups that met damage in databases that are no longer in use.
    damaged_lookups: u64,
    /// None: there are none.
    periodic: Option<PeriodicReports>,
    outputs: Outputs,
    tally: Tally,
    /// Records made so far.
    records: u64,
    /// When the current interval began.
    start: Moment,
    /// Until when counts are in the tally.
    drained_until: Moment,
    /// Whether this interval's tables were called too small.
    warned: bool,
    /// The default route when it was last asked for.
    defaults: Defaults,
    /// Something that the last look asked for could not be done.
    look_again: bool,
    hooks_checked: Instant,
}

impl Pipeline {
    async fn watch(
        &mut self,
        shutdown: impl Future<Output = ()>,
        hangup: &mut tokio::signal::unix::Signal,
        ends_on_hangup: bool,
    ) -> Result<Ended, PipelineError> {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut tick = tokio::time::interval_at(Instant::now() + self.config.interval, self.config.interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut route_check = tokio::time::interval_at(Instant::now() + ROUTE_CHECK, ROUTE_CHECK);
        route_check.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut gauge = tokio::time::interval_at(Instant::now() + GAUGE, GAUGE);
        gauge.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut calendar = tokio::time::interval(periodic::LOOK);
        calendar.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let follows_route = self.config.interfaces == Interfaces::DefaultRoute;
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => return Ok(Ended::Early),
                closed = self.outputs.closed() => {
                    if closed == Closed::Broken {
                        tracing::error!("an output has broken off: stopping");
                    }
                    return Ok(Ended::Early);
                }
                _ = hangup.recv() => {
                    if !self.outputs.reopen() && ends_on_hangup {
                        return Ok(Ended::Early);
                    }
                    self.replacements.look();
                }
                // These before the tick: where draining takes as long as the interval, there is always a tick.
                () = self.network.changed() => self.follow_network().await?,
                places = self.replacements.next() => self.replace_places(places),
                ports = next_served(&mut self.served) => self.follow_served(ports).await?,
                _ = route_check.tick(), if follows_route => self.follow_route().await?,
                _ = calendar.tick(), if self.periodic.is_some() => {
                    if let Some(periodic) = &mut self.periodic {
                        periodic.look(jiff::Timestamp::now());
                    }
                }
                _ = tick.tick() => {
                    if self.config.intervals.is_some_and(|wanted| self.records + 1 >= wanted) {
                        return Ok(Ended::Complete);
                    }
                    self.end_interval().await?;
                    self.check_hooks().await?;
                }
                () = self.bell.rung() => self.relieve().await?,
                _ = gauge.tick() => self.relieve().await?,
            }
        }
    }

    /// The next record is the first that these databases are asked for, and they are asked for all of it.
    fn replace_places(&mut self, places: Places) {
        let old = std::mem::replace(&mut self.enricher, Box::new(places));
        self.damaged_lookups += old.errors();
        places::let_go(old);
    }

    /// Drains once; what it brings is in the tally afterwards. True: nothing counted before the call is left in the kernel.
    async fn drain(&mut self) -> Result<Result<bool, TableError>, PipelineError> {
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
        Ok(harvest.map(
            |Harvest {
                 drained,
                 retired,
                 fresh,
             }| {
                if let Some(imbalance) = self.tally.add(drained) {
                    tracing::error!("the books do not balance: {imbalance}; please report this");
                }
                self.drained_until = retired;
                fresh
            },
        ))
    }

    /// Reads samples, and drains before the interval's end where the tables fill up.
    async fn relieve(&mut self) -> Result<(), PipelineError> {
        if let Some(naming) = &mut self.naming {
            naming.read();
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
    async fn end_interval(&mut self) -> Result<(), PipelineError> {
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
        let interval = Interval {
            seq: self.records,
            start: self.start,
            end,
            partial,
            interfaces,
            names: self.watch.names(),
            bans: &self.config.bans,
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
        if lost > 0 {
            tracing::error!(
                "record {seq}: {lost} packets had no room in the kernel table, their destinations are lost: raise --spill (now {})",
                self.config.capacity.spill
            );
        }
        self.start = end;
        self.warned = false;
        self.watch.forget_gone();
        self.outputs.push(record);
    }

    /// Detaches first, so that the last drain brings up everything that was ever counted.
    async fn finish(mut self, ended: Ended) -> Result<(), PipelineError> {
        let interfaces = self.watch.for_record();
        self.watch.detach_all();
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
        let written = self.outputs.finish();
        match lost {
            Some(error) => Err(PipelineError::LastDrain(error)),
            None => written,
        }
    }
}
