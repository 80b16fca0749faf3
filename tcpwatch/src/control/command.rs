//! `tcpwatch status`, `ban` and `reload`: ask, and show the answer.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::tz::TimeZone;

use super::client::{self, ClientError};
use super::protocol::{Answer, BanChange, Request};
use super::text;
use crate::config::ConfigError;
use crate::config::bans::prefix;
use crate::geo::Ending;

/// Where a tcpwatch is asked.
#[derive(Clone, Debug, Args)]
pub struct Whom {
    /// The control socket of the tcpwatch that is asked
    #[arg(long, value_name = "FILE", default_value = "/run/tcpwatch/control.sock")]
    control: PathBuf,
}

/// Arguments of `tcpwatch status`.
#[derive(Clone, Debug, Args)]
pub struct StatusArguments {
    /// One JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    whom: Whom,
}

/// Arguments of `tcpwatch reload`.
#[derive(Clone, Debug, Args)]
pub struct ReloadArguments {
    #[command(flatten)]
    whom: Whom,
}

/// Arguments of `tcpwatch ban`.
#[derive(Clone, Debug, Args)]
pub struct BanArguments {
    /// What to do.
    #[command(subcommand)]
    command: BanCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum BanCommand {
    /// Show the banned prefixes, how often each was met, and when last
    List {
        /// One JSON object for each prefix
        #[arg(long)]
        json: bool,

        #[command(flatten)]
        whom: Whom,
    },
    /// Leave out destinations inside these addresses or prefixes, from now on
    Add {
        #[command(flatten)]
        change: Change,
    },
    /// Count destinations inside these addresses or prefixes again, from now on
    Remove {
        #[command(flatten)]
        change: Change,
    },
}

#[derive(Clone, Debug, Args)]
struct Change {
    /// Address or prefix, like 192.0.2.1, 203.0.113.0/24 or 2001:db8::/32
    #[arg(required = true, value_name = "PREFIX")]
    prefixes: Vec<String>,

    /// Change the ban file, too, so that it is so after a restart. Without this, it is so until the next restart or reload
    #[arg(long)]
    persist: bool,

    #[command(flatten)]
    whom: Whom,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Nobody answered.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What was typed.
    #[error(transparent)]
    Prefix(#[from] ConfigError),
    /// tcpwatch does not do it.
    #[error("{0}")]
    Refused(String),
    /// It answers something else.
    #[error(
        "tcpwatch answers something else than was asked: use the `tcpwatch` that is running, or restart it"
    )]
    Other,
    /// The standard output.
    #[error("cannot write the answer")]
    Write(#[source] io::Error),
}

impl CommandError {
    /// Whether nothing was asked that could have been done: wrong usage, or nobody there.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        matches!(self, Self::Client(_) | Self::Prefix(_))
    }
}

/// Asks how it is. Something that is wrong is a failure.
///
/// # Errors
/// See [`CommandError`].
pub fn status(arguments: &StatusArguments, out: &mut dyn Write) -> Result<Ending, CommandError> {
    let Answer::Status(status) = ask(&arguments.whom, &Request::Status)? else {
        return Err(CommandError::Other);
    };
    let shown = if arguments.json {
        let mut line = serde_json::to_string(&status).map_err(|error| CommandError::Write(error.into()))?;
        line.push('\n');
        line
    } else {
        text::status(&status, &TimeZone::system())
    };
    write(out, &shown)?;
    Ok(if status.healthy {
        Ending::Done
    } else {
        Ending::Failed
    })
}

/// Shows or changes the bans.
///
/// # Errors
/// See [`CommandError`].
pub fn ban(arguments: &BanArguments, out: &mut dyn Write) -> Result<Ending, CommandError> {
    let shown = match &arguments.command {
        BanCommand::List { json, whom } => {
            let Answer::Bans(bans) = ask(whom, &Request::BanList)? else {
                return Err(CommandError::Other);
            };
            if *json {
                let lines: Result<Vec<_>, _> = bans.iter().map(serde_json::to_string).collect();
                let lines = lines.map_err(|error| CommandError::Write(error.into()))?;
                lines.into_iter().map(|line| line + "\n").collect()
            } else {
                text::bans(&bans, &TimeZone::system())
            }
        }
        BanCommand::Add { change } => changed(change, Request::BanAdd, "banned")?,
        BanCommand::Remove { change } => changed(change, Request::BanRemove, "counted again")?,
    };
    write(out, &shown)?;
    Ok(Ending::Done)
}

fn changed(change: &Change, request: fn(BanChange) -> Request, done: &str) -> Result<String, CommandError> {
    for text in &change.prefixes {
        prefix(text, || "PREFIX".to_owned())?;
    }
    let wanted = BanChange {
        prefixes: change.prefixes.clone(),
        persist: change.persist,
    };
    match ask(&change.whom, &request(wanted))? {
        Answer::Changed(changed) => Ok(text::changed(&changed, done)),
        _ => Err(CommandError::Other),
    }
}

/// Has the configuration read again.
///
/// # Errors
/// See [`CommandError`].
pub fn reload(arguments: &ReloadArguments, out: &mut dyn Write) -> Result<Ending, CommandError> {
    let Answer::Reloaded(reloaded) = ask(&arguments.whom, &Request::Reload)? else {
        return Err(CommandError::Other);
    };
    write(out, &text::reloaded(&reloaded))?;
    Ok(Ending::Done)
}

fn ask(whom: &Whom, request: &Request) -> Result<Answer, CommandError> {
    match client::ask(&whom.control, request)? {
        Answer::Error(refusal) => Err(CommandError::Refused(refusal.text)),
        answer => Ok(answer),
    }
}

fn write(out: &mut dyn Write, text: &str) -> Result<(), CommandError> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CommandError::Write(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
