//! `tcpwatch geo import`: makes one place database from the data of others.

use std::io::Write;

use crate::geo::Ending;

/// Arguments of `tcpwatch geo import`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What it is made from
    pub files: Vec<std::path::PathBuf>,

    /// Where it is written to
    #[arg(long)]
    pub output: Option<std::path::PathBuf>,
}

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {}

/// Does it.
///
/// # Errors
/// See [`ImportError`].
pub fn run(
    _arguments: &Arguments,
    _out: &mut dyn Write,
    _notices: &mut dyn Write,
) -> Result<Ending, ImportError> {
    Ok(Ending::Done)
}
