//! `tcpwatch geo`: the commands about places. They answer on the writer that they are given, and never watch anything.

use std::io::Write;
use std::path::PathBuf;

use crate::cli::GeoCommand;
use crate::enrich::{Language, Selection};

pub mod import;
pub mod info;
pub mod lookup;
pub mod shelf;
pub mod update;

/// Which place databases are asked, for the commands that ask some.
#[derive(Debug, clap::Args)]
pub struct Databases {
    /// Place databases, the first that knows an address wins; repeatable; default: those that `tcpwatch run` would use
    #[arg(long, value_name = "FILE", value_delimiter = ',')]
    geo: Vec<PathBuf>,

    /// Language of countries' and cities' names, where a database has it, like de or zh-CN
    #[arg(long = "lang", value_name = "TAG", default_value_t)]
    language: Language,
}

impl Databases {
    fn selection(&self) -> Selection {
        Selection::new(&self.geo, self.language.clone())
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All was done.
    Done,
    /// Something could not be done, and was said.
    Failed,
}

/// Does what was asked for: answers on `out`; progress and warnings on `notices`.
///
/// # Errors
/// What was asked for cannot be done: the text says why and what to do. Nothing was changed.
pub fn run(command: GeoCommand, out: &mut dyn Write, notices: &mut dyn Write) -> anyhow::Result<Ending> {
    match command {
        GeoCommand::Lookup(arguments) => Ok(lookup::run(&arguments, out, notices)?),
        GeoCommand::Info(arguments) => Ok(info::run(&arguments, out, notices)?),
        GeoCommand::Import(arguments) => Ok(import::run(&arguments, out, notices)?),
        GeoCommand::Update(arguments) => Ok(update::run(&arguments, out, notices)?),
    }
}
