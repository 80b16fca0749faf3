//! `tcpwatch geo info`: describes the place databases in use.

use std::io::Write;

use crate::geo::Ending;

/// Arguments of `tcpwatch geo info`.
#[derive(Debug, clap::Args)]
pub struct Arguments {}

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
pub enum InfoError {}

/// Does it.
///
/// # Errors
/// See [`InfoError`].
pub fn run(
    _arguments: &Arguments,
    _out: &mut dyn Write,
    _notices: &mut dyn Write,
) -> Result<Ending, InfoError> {
    Ok(Ending::Done)
}
