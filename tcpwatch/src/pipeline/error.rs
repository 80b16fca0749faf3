//! Why a run could not begin, or had to end.

use std::io;

use super::choice::ChoiceError;
use super::survival::SurvivalError;
use crate::control::server::SocketError;
use crate::enrich::GeoError;
use crate::enrich::names::ptr::SystemError;
use crate::history::HistoryError;
use crate::kernel::attach::AttachError;
use crate::kernel::load::LoadError;
use crate::kernel::requirements::RequirementError;
use crate::kernel::tables::TableError;
use crate::net::NetError;
use crate::net::listening::ListeningError;
use crate::service::rights::RightsError;

/// Why a run could not begin, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The machine or our rights.
    #[error(transparent)]
    Requirement(#[from] RequirementError),
    /// The interfaces.
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] SocketError),
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
    /// The history that was asked for.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// Periodic reports are made of it.
    #[error("the configuration has periodic reports, but no history is kept: give one with --history FILE")]
    ReportsWithoutHistory,
    /// Stdout.
    #[error("cannot write to stdout")]
    Stdout(#[source] io::Error),
    /// The eBPF program.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The thread that loads it.
    #[error(transparent)]
    Rights(#[from] RightsError),
    /// The hook.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// What is to survive the daemon.
    #[error(transparent)]
    Survival(#[from] SurvivalError),
    /// The kernel tables, before anything is attached.
    #[error(transparent)]
    Tables(#[from] TableError),
    /// Netlink.
    #[error(transparent)]
    Net(#[from] NetError),
    /// Which ports are served.
    #[error(transparent)]
    Listening(#[from] ListeningError),
    /// The resolver of reverse look-ups.
    #[error(transparent)]
    Resolver(#[from] SystemError),
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
