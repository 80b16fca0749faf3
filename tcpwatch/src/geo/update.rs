//! `tcpwatch geo update`: fetches place databases.

use std::io::Write;

use crate::geo::Ending;

/// Arguments of `tcpwatch geo update`.
#[derive(Debug, clap::Args)]
pub struct Arguments {}

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {}

/// Does it.
///
/// # Errors
/// See [`UpdateError`].
pub fn run(
    _arguments: &Arguments,
    _out: &mut dyn Write,
    _notices: &mut dyn Write,
) -> Result<Ending, UpdateError> {
    Ok(Ending::Done)
}
