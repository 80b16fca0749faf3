//! `tcpwatch geo update`: fetches place databases, checks them, and puts them in place of the old ones.

use std::env;
use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use ureq::http::Uri;

use self::check::Subject;
use self::dbip::Dbip;
use self::fetch::{Fetcher, Limits};
use self::proxies::{Proxies, ProxyError, has_a_proper_port};
use crate::enrich::geo::Shelves;
use crate::geo::Ending;
use crate::geo::shelf::ShelfError;

mod check;
mod dbip;
mod failure;
mod fetch;
mod location;
mod proxies;

/// Where DB-IP Lite is, free and without an account.
const DBIP: &str = "https://download.db-ip.com/free";

/// Where databases come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Source {
    /// DB-IP Lite: places and networks, new every month (CC BY 4.0)
    Dbip,
    /// IPFire's location database by Debian's package `location`: countries, networks and anycast (CC BY-SA 4.0)
    Location,
}

/// How exact DB-IP's places are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Edition {
    /// Countries: 8 MB
    #[default]
    Country,
    /// Cities, too: more than 100 MB, in memory as well
    City,
}

/// Arguments of `tcpwatch geo update`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where the databases come from
    #[arg(long = "source", value_enum, num_args = 1.., value_delimiter = ',', default_value = "dbip")]
    pub sources: Vec<Source>,

    /// How exact DB-IP's places are
    #[arg(long, value_enum, default_value_t)]
    pub edition: Edition,

    /// Write to this directory; default: /var/lib/tcpwatch for root, else tcpwatch in the user's data directory
    #[arg(long, value_name = "DIR")]
    pub directory: Option<PathBuf>,

    /// Fetch DB-IP's files from here
    #[arg(long, value_name = "BASE", default_value = DBIP)]
    pub url: String,

    /// Give up when the server is silent for so long
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "30s",
        allow_hyphen_values = true
    )]
    pub timeout: String,

    /// Fetch also what is up to date, and replace a database by an older or much smaller one
    #[arg(long)]
    pub force: bool,
}

/// Why nothing was begun. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// Not the address of a web server's directory.
    #[error("--url {text}: must begin with https:// or http:// and name a server, like {DBIP}")]
    Url {
        /// As typed.
        text: String,
    },
    /// Not a duration.
    #[error("--timeout {text}: not a duration: write it like 30s, 500ms or 5m")]
    Duration {
        /// As typed.
        text: String,
        /// The cause.
        #[source]
        source: jiff::Error,
    },
    /// Not a positive one.
    #[error("--timeout {text}: must be more than nothing")]
    NoTime {
        /// As typed.
        text: String,
    },
    /// A variable of the environment.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// Neither root nor at home.
    #[error("this user has no home directory to keep databases in: name a directory with --directory")]
    Homeless,
    /// The directory.
    #[error(transparent)]
    Shelf(#[from] ShelfError),
}

/// Does it.
///
/// # Errors
///
/// See [`UpdateError`]; nothing was changed.
pub fn run(
    arguments: &Arguments,
    out: &mut dyn Write,
    notices: &mut dyn Write,
) -> Result<Ending, UpdateError> {
    let dbip = Dbip {
        base: base(&arguments.url)?,
        places: match arguments.edition {
            Edition::Country => Subject::Country,
            Edition::City => Subject::City,
        },
        directory: arguments
            .directory
            .clone()
            .or_else(Shelves::ours)
            .ok_or(UpdateError::Homeless)?,
        force: arguments.force,
        fetcher: Fetcher {
            proxies: Proxies::new(|name| env::var(name).ok())?,
            silence: silence(&arguments.timeout)?,
            limits: Limits::default(),
        },
        now: Timestamp::now(),
    };
    let mut ending = Ending::Done;
    if arguments.sources.contains(&Source::Dbip) {
        ending = dbip.update(out, notices)?;
    }
    if arguments.sources.contains(&Source::Location) {
        match location::update(&dbip.directory, out, notices) {
            Ok(Ending::Done) => {}
            Ok(Ending::Failed) => ending = Ending::Failed,
            Err(error) => {
                say(notices, &format!("tcpwatch: {}", chain(&error)));
                ending = Ending::Failed;
            }
        }
    }
    Ok(ending)
}

/// `--url`, to which a path can be appended.
fn base(text: &str) -> Result<String, UpdateError> {
    let base = text.trim_end_matches('/');
    let url = base.parse::<Uri>().ok().filter(|url| {
        matches!(url.scheme_str(), Some("https" | "http")) && has_a_proper_port(url) && url.query().is_none()
    });
    url.map(|_| base.to_owned()).ok_or_else(|| UpdateError::Url {
        text: text.to_owned(),
    })
}

/// `--timeout`.
fn silence(text: &str) -> Result<Duration, UpdateError> {
    let silence: SignedDuration = text.parse().map_err(|source| UpdateError::Duration {
        text: text.to_owned(),
        source,
    })?;
    Duration::try_from(silence)
        .ok()
        .filter(|silence| !silence.is_zero())
        .ok_or_else(|| UpdateError::NoTime {
            text: text.to_owned(),
        })
}

/// An error and its causes, in one line.
fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(&format!(": {error}"));
        cause = error.source();
    }
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Nobody to read it is no reason to leave the work half done.
fn say(to: &mut dyn Write, line: &str) {
    writeln!(to, "{line}").unwrap_or_default();
}
