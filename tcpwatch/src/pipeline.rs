//! The order of things: the only file that knows how kernel, network, enrichment and outputs fit together.

pub mod assemble;
pub mod choice;
mod control;
mod error;
mod follow;
pub(crate) mod greeting;
mod intervals;
mod naming;
mod outputs;
pub mod periodic;
mod places;
mod served;
mod survival;
pub mod watch;

use std::future::Future;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior};

use self::assemble::Identity;
use self::choice::choose_first;
use self::control::Control;
pub use self::error::PipelineError;
use self::naming::Naming;
use self::outputs::{Closed, Outputs};
use self::periodic::PeriodicReports;
use self::places::Replacements;
use self::served::ServedFollower;
use self::survival::Survival;
pub use self::survival::SurvivalError;
use self::watch::Watch;
use crate::config::{Config, Interfaces};
use crate::enrich::{Catalogue, Enricher, Places};
use crate::kernel::attach::{Attacher, Direction};
use crate::kernel::bell::Bell;
use crate::kernel::drain::{Drain, Moment};
use crate::kernel::load::load_pinned;
use crate::kernel::policy::PortBits;
use crate::kernel::requirements;
use crate::kernel::tables::KernelTables;
use crate::net::{Defaults, Interface, NetError, Network};
use crate::service::notify::{self, Heartbeat};
use crate::service::rights::Loader;
use crate::tally::Tally;

/// How often the default route is asked for again when no interface was named.
const ROUTE_CHECK: Duration = Duration::from_secs(2);
/// How often, at most, the hooks are looked at: are we still there?
const HOOK_CHECK: Duration = Duration::from_secs(1);
/// How long an answer of the kernel's network configuration may take. An answer can be lost; the next look asks anew.
const ANSWER: Duration = Duration::from_secs(5);
/// How often the kernel tables are asked how full they are, and samples of names are read, when the kernel does not ask for it sooner.
const GAUGE: Duration = Duration::from_secs(1);
/// Watches until `shutdown` is ready, the wanted number of records is written, or nobody reads stdout any more. What is
/// watched is said on `notices` at the start. With a `loader`, it loads every program that may be attached later: only it can.
///
/// # Errors
/// See [`PipelineError::before_start`].
pub async fn run(
    config: Config,
    loader: Option<Loader>,
    shutdown: impl Future<Output = ()>,
    notices: &mut dyn Write,
) -> Result<(), PipelineError> {
    requirements::check()?;
    let ends_on_hangup =
        config.record.is_none() && !config.origin.has_files() && !requirements::ignores_hangup()?;
    let mut hangup = signal(SignalKind::hangup()).map_err(PipelineError::Signals)?;
    let network = Network::open()?;
    let (present, defaults) = look(&network, &config).await?;
    let first = choose_first(&config.interfaces, &config.sources, &present, &defaults)?;
    let (catalogue, places) = open_places(&config)?;
    let run = requirements::random_id()?;
    let (survival, mut pins) = Survival::begin(&config, &run)?.unzip();
    let (mut programs, tables) = load_pinned(config.capacity, pins.as_mut())?;
    let bell = programs.bell()?;
    let mut naming = Naming::start(config.names, &mut programs)?;
    let served = ServedFollower::start(&config)?;
    // A kernel that refuses one does so before anything is touched.
    let incoming = config.names.dns;
    if let Some(loader) = loader {
        programs = loader.run(move || programs.load_all(incoming).map(|()| programs))??;
    }
    for candidate in &first {
        programs.get_mut(candidate.layer, Direction::Egress)?;
        if incoming {
            programs.get_mut(candidate.layer, Direction::Ingress)?;
        }
    }
    #[cfg(feature = "kernel-log")]
    programs.follow_log()?;
    let control = Control::start(&config).await?;
    let outputs = Outputs::open(&config)?;
    let periodic = PeriodicReports::begin(&config, &outputs)?;
    let attacher = Attacher::new(programs, config.attach, network.handle(), pins);
    let mut watch = Watch::new(&config, attacher, &first, defaults.clone());
    let listening = match &served {
        Some((_, ports)) => {
            watch.set_served(Arc::new(ports.into()));
            Some(ports.clone())
        }
        None => {
            let ports = greeting::listening(&config);
            if let Some(ports) = ports.as_ref().filter(|ports| greeting::serves(ports)) {
                watch.note_served(Arc::new(ports.into()));
            }
            ports
        }
    };
    if let Some(naming) = &mut naming {
        naming.set_policy(watch.policy());
    }
    let mut source = Drain::new(tables, watch.policy().clone())?;
    if let Some(survival) = &survival {
        source.set_keep(survival.keeper(&run));
    }
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
    notify::ready();

    let mut pipeline = Pipeline {
        identity: Identity {
            host: requirements::host_name()?.into(),
            boot_id: requirements::boot_id()?.into(),
            run: run.into(),
        },
        source: Some(source),
        watch,
        network,
        enricher: Box::new(places),
        replacements: Replacements::follow(catalogue),
        bell,
        naming,
        noted: 0,
        served: served.map(|(follower, _)| follower),
        damaged_lookups: 0,
        periodic,
        outputs,
        tally: Tally::default(),
        survival,
        records: 0,
        start,
        drained_until: start,
        warned: false,
        defaults,
        control,
        look_again: false,
        hooks_checked: Instant::now(),
        config,
    };
    let ended = match pipeline.take_over().await {
        Ok(()) => pipeline.watch(shutdown, &mut hangup, ends_on_hangup).await,
        Err(error) => Err(error),
    };
    match ended {
        Ok(ended) => pipeline.finish(ended).await,
        Err(error) => {
            pipeline.watch.leave_all();
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

/// So far apart; those that are missed are left out.
fn ticks(period: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
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
    /// Socket buffers in records since it is noted how many answer clients.
    noted: u64,
    /// None: replies to clients are counted like all others.
    served: Option<ServedFollower>,
    /// Look-ups that met damage in databases that are no longer in use.
    damaged_lookups: u64,
    /// None: there are none.
    periodic: Option<PeriodicReports>,
    outputs: Outputs,
    tally: Tally,
    /// None: what is counted ends with the process.
    survival: Option<Survival>,
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
    control: Control,
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
        let mut tick = ticks(self.config.interval);
        let mut route_check = ticks(ROUTE_CHECK);
        let mut gauge = ticks(GAUGE);
        let mut calendar = tokio::time::interval(periodic::LOOK);
        calendar.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut heart = Heartbeat::start();
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
                    notify::reloading();
                    self.replacements.look();
                    if !self.control.reload(&self.config) {
                        notify::ready();
                    }
                }
                () = heart.beat() => {}
                // These before the tick: where draining takes as long as the interval, there is always a tick.
                () = self.network.changed() => self.follow_network().await?,
                places = self.replacements.next() => self.replace_places(places),
                ports = next_served(&mut self.served) => self.follow_served(ports).await?,
                _ = route_check.tick(), if self.config.interfaces == Interfaces::DefaultRoute => self.follow_route().await?,
                asked = self.control.next(), if !self.control.owes() => {
                    self.answer(asked).await?;
                    if tick.period() != self.config.interval {
                        tick = ticks(self.config.interval);
                    }
                }
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
                // The last: everything else has had its turn since the last answer.
                () = std::future::ready(()), if self.control.owes() => self.control.paid(),
            }
        }
    }

    /// The next record is the first that these databases are asked for, and they are asked for all of it.
    fn replace_places(&mut self, places: Places) {
        let old = std::mem::replace(&mut self.enricher, Box::new(places));
        self.damaged_lookups += old.errors();
        places::let_go(old);
    }
}
