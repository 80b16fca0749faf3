//! What `tcpwatch run` works with: every value parsed once, typed and trusted afterwards.

pub mod ban_file;
pub mod bans;
pub mod file;
pub mod history;
pub mod names;
pub mod periodic;
pub mod reload;
mod served;
pub mod service;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{io, iter};

use clap::{Args as _, Command, FromArgMatches as _};
use ipnet::IpNet;
use jiff::SignedDuration;

use crate::cli::RunArgs;
use crate::config::file::{File, FileError};
use crate::config::history::{History, HistoryConfigError};
use crate::config::names::NameSources;
use crate::config::periodic::Periodic;
use crate::config::reload::Origin;
use crate::config::service::Service;
use crate::enrich::Selection;
use crate::kernel::attach::AttachMode;
use crate::kernel::capacity::{Capacity, MOST_SLOTS, SAMPLE_BYTES};
use crate::net::listening::PortOverride;
use crate::sink::{Format, Grouping};

/// The shortest interval: below it the grace period is most of the time.
pub const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
/// The shortest interval of the fault tests, which go through thousands.
const FASTEST_INTERVAL: Duration = Duration::from_millis(10);
/// The longest interval.
pub const LONGEST_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);
/// The most destinations a kernel table is made for: 2 GB in each generation.
pub const MOST_DESTINATIONS: u32 = 16_777_216;
/// The most banned prefixes.
pub const MOST_BANS: usize = 1_000_000;

/// Which interfaces are watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interfaces {
    /// Those that packets to the internet leave through.
    DefaultRoute,
    /// Every one that is up, but lo.
    All,
    /// These, also when they come later or come back.
    Named(Vec<String>),
}

/// Whose packets are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sources {
    /// Those from the interface's own addresses.
    Auto,
    /// All.
    Any,
    /// Those from these addresses, on every watched interface.
    These(BTreeSet<IpAddr>),
}

/// Which ports' replies are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// What is said about single ports, whatever listens on them.
    pub overrides: Vec<PortOverride>,
}

/// A run's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which interfaces.
    pub interfaces: Interfaces,
    /// Length of a record.
    pub interval: Duration,
    /// Records after which the run ends by itself; none: never.
    pub intervals: Option<u64>,
    /// Whose packets.
    pub sources: Sources,
    /// Destinations that are left out, each prefix once.
    pub bans: Arc<[IpNet]>,
    /// Which replies to clients are left out; none: none are.
    pub served: Option<Served>,
    /// What stdout shows; none: by what stdout is.
    pub format: Option<Format>,
    /// Where records are appended to.
    pub record: Option<PathBuf>,
    /// Where a history is kept; none: nowhere.
    pub history: Option<History>,
    /// What a service has.
    pub service: Service,
    /// Place databases.
    pub geo: Selection,
    /// What destinations are named by.
    pub names: NameSources,
    /// Whether the classic format has names instead of places.
    pub resolve: bool,
    /// Rows in each section of the table.
    pub top: usize,
    /// Sections of the table, each once; empty: the usual ones.
    pub by: Vec<Grouping>,
    /// How to attach.
    pub attach: AttachMode,
    /// Reports that are made from time to time.
    pub periodic: Vec<Periodic>,
    /// Sizes of the kernel tables.
    pub capacity: Capacity,
    /// Where all of this is from.
    pub origin: Origin,
}

/// What is wrong with a value.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not a duration.
    #[error("--interval {text}: not a duration: write it like 20s, 500ms, 5m or 1h")]
    Duration {
        /// As typed.
        text: String,
        /// The cause.
        #[source]
        source: jiff::Error,
    },
    /// A duration that is too short or too long.
    #[error("--interval {text}: must be between 100ms and 24h")]
    Interval {
        /// As typed.
        text: String,
    },
    /// Zero where it makes no sense.
    #[error("{option} must be between 1 and {most}")]
    Range {
        /// The option.
        option: &'static str,
        /// The largest value.
        most: u64,
    },
    /// Not a prefix.
    #[error(
        "{origin}: {text:?} is no address and no prefix: write it like 192.0.2.1, 203.0.113.0/24 or 2001:db8::/32"
    )]
    Prefix {
        /// The option, or file and line.
        origin: String,
        /// As typed.
        text: String,
    },
    /// A prefix with bits behind its length.
    #[error("{origin}: {net} has host bits set: write {} for the network or {} for the one address", net.trunc(), net.addr())]
    HostBits {
        /// The option, or file and line.
        origin: String,
        /// As typed.
        net: IpNet,
    },
    /// Too many prefixes.
    #[error("{found} banned prefixes are more than the {MOST_BANS} that are kept: join neighbouring ones")]
    TooManyBans {
        /// How many there are.
        found: usize,
    },
    /// A ban file.
    #[error("cannot read the ban file {}", path.display())]
    BanFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Not a source.
    #[error("--source {text}: must be `auto`, `any` or an IP address")]
    Source {
        /// As typed.
        text: String,
    },
    /// `auto` or `any` together with something else.
    #[error("--source {text} cannot be combined with other sources: give it alone")]
    SourceAlone {
        /// As typed.
        text: String,
    },
    /// The history.
    #[error(transparent)]
    History(#[from] HistoryConfigError),
    /// The configuration file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Typed arguments and the file's together, each of which was accepted.
    #[error("the configuration file does not go together with what was typed")]
    Together(#[from] clap::Error),
    /// A served port where none is left out.
    #[error("--served-port {0} is of no use without --skip-served: give both")]
    ServedPort(PortOverride),
    /// `none` together with something else.
    #[error("--names none cannot be combined with other sources of names: give it alone")]
    NoneAlone,
    /// Names in a format that has no place for them.
    #[error("--resolve is of the classic format: give it with --format classic")]
    Resolve,
    /// Names that are wanted, and are not.
    #[error("--resolve cannot be combined with --names none: give one of them")]
    ResolveNone,
    /// `all` together with names.
    #[error("--interface all cannot be combined with names: give it alone")]
    AllAlone,
}

impl Config {
    /// Checks and converts the arguments. Reads the configuration file and the ban files; touches nothing else.
    ///
    /// `typed` is the command line that the arguments are from: what is in the file holds where nothing was typed.
    ///
    /// # Errors
    /// The first value that is wrong.
    pub fn new(args: RunArgs, typed: impl IntoIterator<Item = OsString>) -> Result<Self, ConfigError> {
        // Behind the program and the command.
        Self::from_typed(args, typed.into_iter().skip(2).collect())
    }

    fn from_typed(args: RunArgs, typed: Vec<OsString>) -> Result<Self, ConfigError> {
        let Some(path) = &args.config else {
            return Self::of(args, Vec::new(), typed);
        };
        let command = RunArgs::augment_args(Command::new("run"));
        let file = File::read(path, &command)?;
        let run = || iter::once(OsString::from("run"));
        // What was typed has been accepted already, and so has every value of the file.
        let matches = command
            .clone()
            .try_get_matches_from(run().chain(typed.iter().cloned()))?;
        let from_file = file.arguments(&matches, &command);
        let line = run().chain(from_file).chain(typed.iter().cloned());
        let args = RunArgs::from_arg_matches(&command.try_get_matches_from(line)?)?;
        Self::of(args, file.periodic, typed)
    }

    fn of(args: RunArgs, periodic: Vec<Periodic>, typed: Vec<OsString>) -> Result<Self, ConfigError> {
        if args.resolve && args.format != Some(Format::Classic) {
            return Err(ConfigError::Resolve);
        }
        let bans = bans::bans(&args.bans, &args.ban_files)?;
        let origin = Origin {
            typed: typed.into(),
            file: args.config,
            given_bans: bans::given(&args.bans)?.into(),
            ban_files: args.ban_files,
        };
        let mut names = names::sources(&args.names)?;
        if args.resolve && !names.any() {
            if !args.names.is_empty() {
                return Err(ConfigError::ResolveNone);
            }
            // Names that are asked for come from somewhere: as in the script, from reverse look-ups.
            names.ptr = true;
        }
        in_range("--spill", u64::from(args.spill), u64::from(MOST_DESTINATIONS))?;
        if let Some(slots) = args.slots {
            in_range("--slots", u64::from(slots), u64::from(MOST_SLOTS))?;
        }
        in_range("--top", args.top as u64, 1_000_000)?;
        if let Some(intervals) = args.intervals {
            in_range("--intervals", intervals, u64::MAX)?;
        }
        Ok(Self {
            interfaces: interfaces(args.interfaces)?,
            interval: if args.fast_intervals {
                interval_from(&args.interval, FASTEST_INTERVAL)?
            } else {
                interval(&args.interval)?
            },
            intervals: args.intervals,
            sources: sources(&args.sources)?,
            capacity: Capacity {
                slots: args.slots,
                spill: args.spill,
                bans: bans.len() as u32,
                samples: if names.sampled() { SAMPLE_BYTES } else { 0 },
            },
            bans: bans.into(),
            served: served(args.skip_served, args.served_ports)?,
            format: args.format,
            record: args.record,
            history: args.history.history()?,
            service: args.service.service(),
            geo: Selection::new(&args.geo, args.language),
            names,
            resolve: args.resolve,
            top: args.top,
            by: each_once(args.by),
            attach: args.attach,
            periodic,
            origin,
        })
    }
}

fn served(skip: bool, overrides: Vec<PortOverride>) -> Result<Option<Served>, ConfigError> {
    match overrides.first() {
        Some(port) if !skip => Err(ConfigError::ServedPort(*port)),
        _ => Ok(skip.then_some(Served { overrides })),
    }
}

fn each_once(mut by: Vec<Grouping>) -> Vec<Grouping> {
    let mut seen = Vec::new();
    by.retain(|grouping| {
        let new = !seen.contains(grouping);
        seen.push(*grouping);
        new
    });
    by
}

fn in_range(option: &'static str, value: u64, most: u64) -> Result<(), ConfigError> {
    if value == 0 || value > most {
        Err(ConfigError::Range { option, most })
    } else {
        Ok(())
    }
}

fn interval(text: &str) -> Result<Duration, ConfigError> {
    interval_from(text, SHORTEST_INTERVAL)
}

fn interval_from(text: &str, shortest: Duration) -> Result<Duration, ConfigError> {
    let duration: SignedDuration = text.parse().map_err(|source| ConfigError::Duration {
        text: text.to_owned(),
        source,
    })?;
    match Duration::try_from(duration) {
        Ok(interval) if (shortest..=LONGEST_INTERVAL).contains(&interval) => Ok(interval),
        Ok(_) | Err(_) => Err(ConfigError::Interval {
            text: text.to_owned(),
        }),
    }
}

fn interfaces(names: Vec<String>) -> Result<Interfaces, ConfigError> {
    match names.as_slice() {
        [] => Ok(Interfaces::DefaultRoute),
        [name] if name == "all" => Ok(Interfaces::All),
        _ if names.iter().any(|name| name == "all") => Err(ConfigError::AllAlone),
        _ => Ok(Interfaces::Named(names)),
    }
}

fn sources(texts: &[String]) -> Result<Sources, ConfigError> {
    match texts {
        [] => return Ok(Sources::Auto),
        [text] if text == "auto" => return Ok(Sources::Auto),
        [text] if text == "any" => return Ok(Sources::Any),
        _ => {}
    }
    if let Some(text) = texts.iter().find(|text| *text == "auto" || *text == "any") {
        return Err(ConfigError::SourceAlone { text: text.clone() });
    }
    let address = |text: &String| {
        text.parse::<IpAddr>()
            .map(|ip| ip.to_canonical())
            .map_err(|_not_an_address| ConfigError::Source { text: text.clone() })
    };
    texts
        .iter()
        .map(address)
        .collect::<Result<_, _>>()
        .map(Sources::These)
}

#[cfg(test)]
mod tests;
