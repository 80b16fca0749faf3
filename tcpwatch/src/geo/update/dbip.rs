//! DB-IP Lite: which files there are, whether those in place are of this month, and what has become of each.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};
use ureq::http::Uri;

use super::check::{CheckError, Description, Subject, check, day, describe};
use super::failure::FetchError;
use super::fetch::{Answer, Fetcher};
use super::{chain, say};
use crate::enrich::geo::Shelves;
use crate::geo::Ending;
use crate::geo::shelf::{Draft, Shelf, ShelfError};

/// What DB-IP's licence asks us to say, and which it is.
const ATTRIBUTION: &str = "IP Geolocation by DB-IP (https://db-ip.com), licence CC BY 4.0";

/// A database that was built so shortly before a month begins is that month's: who publishes on the first may build on
/// the day before.
const BUILT_BEFORE_ITS_MONTH_DAYS: i64 = 3;

/// Why one database was not renewed.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("the server has no {url}, nor the one of the month before: check --url, or try again later")]
    Absent { url: String },
    #[error("what came is refused: {0}")]
    Check(CheckError),
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    #[error("cannot compare {} with the one in place: check its permissions", .path.display())]
    Compare {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{url} is not an address: check --url")]
    Url {
        url: String,
        #[source]
        source: ureq::http::uri::InvalidUri,
    },
}

/// What is to be brought up to date, and how.
#[derive(Debug)]
pub struct Dbip {
    /// Where the files are, without a slash at the end.
    pub base: String,
    /// What is fetched besides the networks.
    pub places: Subject,
    /// Where the databases are kept.
    pub directory: PathBuf,
    /// Whether to fetch also what is up to date, and to accept what is older or smaller.
    pub force: bool,
    /// How files are fetched.
    pub fetcher: Fetcher,
    /// Today.
    pub now: Timestamp,
}

/// What became of a database.
#[derive(Debug)]
struct Renewal {
    /// The one before; none: there was none that could be used.
    before: Option<Description>,
    /// The one in place.
    after: Description,
    /// Whether it is another one.
    new: bool,
}

impl Dbip {
    /// Brings both databases up to date. One that cannot be had is said, and keeps nothing from the other.
    ///
    /// # Errors
    ///
    /// The directory cannot be used; nothing was changed.
    pub fn update(&self, out: &mut dyn Write, notices: &mut dyn Write) -> Result<Ending, ShelfError> {
        let shelf = Shelf::lock(&self.directory)?;
        let mut ending = Ending::Done;
        let mut replaced = Vec::new();
        let mut any = false;
        for subject in [self.places, Subject::Networks] {
            let name = format!("dbip-{}-lite.mmdb", subject.word());
            let place = shelf.place(&name);
            match self.renew(&shelf, &name, subject) {
                Ok(renewal) => {
                    say(out, &format!("{name}: {}", renewal.text()));
                    any = true;
                    replaced.extend(renewal.new.then_some(place));
                }
                Err(error) => {
                    let state = if place.exists() {
                        "stays as it was"
                    } else {
                        "is not there"
                    };
                    say(notices, &format!("tcpwatch: {name} {state}: {}", chain(&error)));
                    ending = Ending::Failed;
                }
            }
        }
        if any {
            say(out, ATTRIBUTION);
        }
        if !replaced.is_empty() {
            say(out, &self.what_now(&replaced));
        }
        Ok(ending)
    }

    fn renew(&self, shelf: &Shelf, name: &str, subject: Subject) -> Result<Renewal, FileError> {
        let place = shelf.place(name);
        // One that cannot be used is as good as none.
        let before = describe(&place, subject).ok().flatten();
        let this_month = day(self.now).first_of_month();
        for month in [this_month, this_month.saturating_sub(1.month())] {
            if let Some(current) = before.as_ref().filter(|_| !self.force)
                && is_of(current, month)
            {
                return Ok(Renewal {
                    after: current.clone(),
                    before,
                    new: false,
                });
            }
            let mut draft = shelf.draft(name)?;
            if self.fetch(&self.url(subject, month)?, name, &mut draft)? == Answer::Absent {
                continue;
            }
            let after = check(draft.path(), subject, before.as_ref(), self.now, self.force)
                .map_err(FileError::Check)?;
            // The same once more would push out the previous one.
            let new = before.as_ref() != Some(&after) || read(draft.path())? != read(&place)?;
            if new {
                draft.replace()?;
            }
            return Ok(Renewal { before, after, new });
        }
        Err(FileError::Absent {
            url: self.url(subject, this_month)?.to_string(),
        })
    }

    fn url(&self, subject: Subject, month: Date) -> Result<Uri, FileError> {
        let (base, subject, month) = (&self.base, subject.word(), month.strftime("%Y-%m"));
        let url = format!("{base}/dbip-{subject}-lite-{month}.mmdb.gz");
        url.parse().map_err(|source| FileError::Url { url, source })
    }

    fn fetch(&self, url: &Uri, name: &str, draft: &mut Draft<'_>) -> Result<Answer, FileError> {
        let bar = bar(name);
        let answer = self.fetcher.fetch(url, draft, &mut |got, all| {
            bar.set_length(all.unwrap_or(got));
            bar.set_position(got);
        });
        bar.finish_and_clear();
        answer.map_err(|error| match error {
            FetchError::Write { source } => draft.cannot_write(source).into(),
            error => error.into(),
        })
    }

    /// How the new files come to be used.
    fn what_now(&self, replaced: &[PathBuf]) -> String {
        if Shelves::usual().directories.contains(&self.directory) {
            return "a running tcpwatch takes up new files by itself".to_owned();
        }
        let files: Vec<_> = replaced.iter().map(|path| path.display().to_string()).collect();
        format!(
            "tcpwatch does not look into this directory by itself: --geo {}",
            files.join(" ")
        )
    }
}

impl Renewal {
    /// Day and size, before and after.
    fn text(&self) -> String {
        let described = |one: &Description| format!("{}, {:.1} MB", one.day(), one.bytes as f64 / 1e6);
        let after = described(&self.after);
        match &self.before {
            _ if !self.new => format!("{after}, up to date"),
            None => format!("none → {after}"),
            Some(before) => format!("{} → {after}", described(before)),
        }
    }
}

/// Whether a database is the one of the month that begins on `first`, or a later one.
///
/// The day of building tells, not the file's time: that is whatever the last `cp` has made of it.
fn is_of(database: &Description, first: Date) -> bool {
    database.day() >= first.saturating_sub(BUILT_BEFORE_ITS_MONTH_DAYS.days())
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(|source| FileError::Compare {
        path: path.to_owned(),
        source,
    })
}

/// How far it is; only on a terminal.
fn bar(name: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_message(name.to_owned());
    match ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}") {
        Ok(style) => bar.with_style(style),
        Err(_unknown_key) => bar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_of_building_tells_whose_months_a_database_is() {
        let is_of = |built: &str, first: &str| {
            let database = Description {
                kind: String::new(),
                built: built.parse().unwrap(),
                nodes: 0,
                bytes: 0,
            };
            is_of(&database, first.parse().unwrap())
        };
        assert!(is_of("2026-03-01T02:00:00Z", "2026-03-01"));
        assert!(is_of("2026-02-27T02:00:00Z", "2026-03-01"));
        assert!(is_of("2026-04-01T02:00:00Z", "2026-03-01"));
        assert!(!is_of("2026-02-03T02:00:00Z", "2026-03-01"));
        assert!(!is_of("2026-02-25T23:59:59Z", "2026-03-01"));
    }
}
