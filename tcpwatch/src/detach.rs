//! `tcpwatch detach`: ends what goes on counting without a daemon, and leaves nothing behind.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use crate::journal::Journal;
use crate::kernel::attach::remove_left;
use crate::kernel::drain::Moment;
use crate::kernel::pins::{PinError, Pins};
use crate::kernel::tables::{self, TableError};
use crate::net::{NetError, Network};

/// Name of the directory that is made for the time of the command.
const INSTANCE: &str = "detach";

/// Arguments of `tcpwatch detach`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Directory that `tcpwatch run` was given with --pin
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf/tcpwatch")]
    pub pin: PathBuf,

    /// Directory that it was given with --runtime
    #[arg(
        long,
        value_name = "DIR",
        env = "RUNTIME_DIRECTORY",
        default_value = "/run/tcpwatch"
    )]
    pub runtime: PathBuf,
}

/// Why it cannot be ended.
#[derive(Debug, thiserror::Error)]
pub enum DetachError {
    /// The pins; above all: the daemon lives.
    #[error(transparent)]
    Pins(#[from] PinError),
    /// The network.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The tables.
    #[error(transparent)]
    Tables(#[from] TableError),
    /// No runtime, or nobody to tell.
    #[error("cannot detach")]
    Io(#[from] io::Error),
}

/// Takes the programs off, removes the tables and the journal, and says what of it no record has.
///
/// # Errors
/// A tcpwatch runs, or the right is missing; then nothing has changed.
pub fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), DetachError> {
    let Arguments { pin, runtime } = arguments;
    if !pin.exists() {
        writeln!(out, "nothing is pinned in {}", pin.display())?;
        return Ok(());
    }
    let pins = Pins::open(pin, INSTANCE)?;
    let left = pins.left();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let network = Network::open()?;
            pins.release_links();
            for interface in network.interfaces().await? {
                if let Err(error) = remove_left(&network.handle(), &interface.name, interface.index).await {
                    tracing::debug!("{}: {error}", interface.name);
                }
            }
            Ok::<(), NetError>(())
        })?;
    tables::grace_period()?;
    let mut lost = 0;
    let journal = runtime.join("journal");
    let (journal, unfinished) = if journal.is_dir() {
        let (journal, unfinished) = Journal::open(&journal, Moment::now())?;
        (Some(journal), unfinished)
    } else {
        (None, Vec::new())
    };
    lost += unfinished
        .iter()
        .map(|interval| interval.tally.totals.seen.packets)
        .sum::<u64>();
    for run in &left {
        let kept = |epoch| journal.as_ref().is_some_and(|journal| journal.has(run, epoch));
        match pins.leftover(run).and_then(|left| left.drained(kept)) {
            Ok(drained) => {
                lost += drained
                    .iter()
                    .map(|(_, drained)| drained.totals.seen.packets)
                    .sum::<u64>();
            }
            Err(error) => tracing::debug!("{run}: {error}"),
        }
        pins.remove(run);
    }
    pins.remove_other_versions();
    if let Some(journal) = journal {
        journal.remove_all();
    }
    writeln!(
        out,
        "detached: {} runs had left tables in {}; {lost} packets that no record has went with them",
        left.len(),
        pin.display()
    )?;
    Ok(())
}
