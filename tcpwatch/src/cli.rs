//! The command line: raw arguments, as typed. `config` turns them into what the program works with.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::history::HistoryArgs;
use crate::config::names::NameOption;
use crate::config::service::ServiceArgs;
use crate::control::command as control;
use crate::detach;
use crate::doctor;
use crate::enrich::Language;
use crate::geo::{import, info, lookup, update};
use crate::import as import_records;
use crate::kernel::attach::AttachMode;
use crate::manual::{CompletionsArgs, ManArgs};
use crate::net::listening::PortOverride;
use crate::report::command;
use crate::selftest;
use crate::sink::{Format, Grouping};
use crate::verify;

/// Counts where this server's outgoing traffic goes, in the kernel, exactly.
#[derive(Debug, Parser)]
#[command(
    name = "tcpwatch",
    version,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The program's commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch interfaces and record where their packets go.
    Run(Box<RunArgs>),
    /// Check the books of record files and of the history
    Verify(verify::Arguments),
    /// Put records from files into the history
    Import(import_records::Arguments),
    /// Say where addresses are, and keep the place databases
    Geo(GeoArgs),
    /// End what goes on counting without tcpwatch (`run --pin`), and leave nothing behind
    Detach(detach::Arguments),
    /// Sum up what the history has of a period, or answer a question about one network, site or country
    Report(Box<command::Arguments>),
    /// Print a configuration file with every option of `run`, its meaning and its default
    Config,
    /// Print what makes a shell complete tcpwatch's commands and options
    Completions(CompletionsArgs),
    /// Print the man page, or write the pages of all commands into a directory
    Man(ManArgs),
    /// Say what this machine can and cannot do for a run, and what to do about it; changes nothing
    Doctor(doctor::Arguments),
    /// Send known traffic between two network namespaces of its own, and check that it is counted exactly; leaves nothing behind
    Selftest(selftest::Arguments),
    /// Say how the tcpwatch that is running is; fails when something is wrong
    Status(control::StatusArguments),
    /// Show or change what the tcpwatch that is running leaves out
    Ban(control::BanArguments),
    /// Have the tcpwatch that is running read its configuration again
    Reload(control::ReloadArguments),
}

/// Arguments of `tcpwatch geo`.
#[derive(Debug, Args)]
pub struct GeoArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: GeoCommand,
}

/// The commands of `tcpwatch geo`.
#[derive(Debug, Subcommand)]
pub enum GeoCommand {
    /// Say what addresses belong to: scope, country, city, network, anycast
    Lookup(lookup::Arguments),
    /// Describe the place databases in use: type, date, age, size, licence
    Info(info::Arguments),
    /// Make a place database from Debian's location data, Tor's, or CSV
    Import(import::Arguments),
    /// Fetch today's place databases
    Update(update::Arguments),
}

/// Arguments of `tcpwatch run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Configuration file: TOML, with the long names of these options; what is typed wins
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Interfaces to watch, or `all`: every interface that is up but lo. Default: those of the default route
    #[arg(short, long = "interface", value_name = "NAME", num_args = 1.., value_delimiter = ',')]
    pub interfaces: Vec<String>,

    /// Length of a record's interval: 100ms to 24h
    #[arg(long, value_name = "DURATION", default_value = "20s")]
    pub interval: String,

    /// Allow intervals that are shorter than a grace period's worth; for the fault tests
    #[arg(long, hide = true)]
    pub fast_intervals: bool,

    /// Stop after this many records
    #[arg(long, value_name = "N")]
    pub intervals: Option<u64>,

    /// Count packets from these sources: `auto` (the interface's own addresses, followed live), `any`, or addresses
    #[arg(long = "source", value_name = "auto|any|ADDR", num_args = 1.., value_delimiter = ',')]
    pub sources: Vec<String>,

    /// Leave out destinations inside this address or prefix (192.0.2.1, 203.0.113.0/24, 2001:db8::/32); repeatable
    #[arg(long = "ban", value_name = "PREFIX", num_args = 1.., value_delimiter = ',')]
    pub bans: Vec<String>,

    /// Leave out the prefixes in this file: one on each line, # begins a comment
    #[arg(long = "ban-file", value_name = "FILE", num_args = 1..)]
    pub ban_files: Vec<PathBuf>,

    /// Leave out replies to clients: packets whose local port is one that this host serves. Those are followed live: ports that
    /// TCP sockets listen on, and ports that unconnected UDP sockets chose themselves; but for sockets of loopback
    #[arg(long)]
    pub skip_served: bool,

    /// With --skip-served, a port that is served (443, 51820/udp) or not (-8080/tcp), whatever listens on it; without a protocol,
    /// both are meant; separated by commas
    #[arg(
        long = "served-port",
        value_name = "[+|-]PORT[/tcp|/udp]",
        value_delimiter = ',',
        allow_hyphen_values = true
    )]
    pub served_ports: Vec<PortOverride>,

    /// What stdout shows; default: table on a terminal, json elsewhere
    #[arg(short, long, value_enum)]
    pub format: Option<Format>,

    /// Also append each record to this file, as one JSON line; opened anew on SIGHUP
    #[arg(short = 'o', long = "record", value_name = "FILE")]
    pub record: Option<PathBuf>,

    /// Place databases (MMDB: country, city, ASN), the first that knows an address wins; default: those found in
    /// /usr/share/GeoIP, /var/lib/GeoIP and /var/lib/tcpwatch
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub geo: Vec<PathBuf>,

    /// Language of countries' and cities' names, where a database has it, like de or zh-CN
    #[arg(long = "lang", value_name = "TAG", default_value_t)]
    pub language: Language,

    /// Name destinations, by what this host's own packets say: dns (answers to its questions), tls and quic (server names that
    /// its connections ask for); or ptr (reverse look-ups, which are traffic of their own). Names say which sites the
    /// users of this host visit, and go into records and history: ask for no more than you may keep. Default: none
    #[arg(
        long,
        value_enum,
        num_args = 1..,
        value_delimiter = ',',
        value_name = "WHAT"
    )]
    pub names: Vec<NameOption>,

    /// Names of destinations instead of their countries, in the classic format; without --names, by reverse look-ups
    #[arg(long)]
    pub resolve: bool,

    /// What the table groups by, a section for each; default: country,network,destination
    #[arg(long, value_enum, num_args = 1.., value_delimiter = ',', value_name = "WHAT")]
    pub by: Vec<Grouping>,

    /// Rows in each section of the table
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub top: usize,

    /// The history.
    #[command(flatten)]
    pub history: HistoryArgs,

    /// What a service has.
    #[command(flatten)]
    pub service: ServiceArgs,

    /// How the program is attached to an interface
    #[arg(long, value_enum, default_value_t)]
    pub attach: AttachMode,

    /// Slots of the front table for each CPU and address family, made a power of two. Each costs 128 bytes for each CPU that is
    /// online; what finds none is counted in the spill, exactly, but more slowly. Default: what 32 MB have room for, at most
    /// 131072. Only as many as the traffic needs are in use
    #[arg(long, value_name = "N")]
    pub slots: Option<u32>,

    /// Room for pairs of destination and own source that find no slot, between two drains. Each costs about 140 bytes of kernel
    /// memory in each of the two generations: the default takes some 36 MB. Half full, the tables are drained before the
    /// interval's end; what finds no room is counted as overflow
    #[arg(long, value_name = "N", default_value_t = 131_072)]
    pub spill: u32,
}
