//! `tcpwatch geo lookup`: says what addresses belong to.

use std::io::Write;

use crate::geo::Ending;

/// Arguments of `tcpwatch geo lookup`.
#[derive(Debug, clap::Args)]
pub struct Arguments {}

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {}

/// Does it.
///
/// # Errors
/// See [`LookupError`].
pub fn run(
    _arguments: &Arguments,
    _out: &mut dyn Write,
    _notices: &mut dyn Write,
) -> Result<Ending, LookupError> {
    Ok(Ending::Done)
}
