//! A report that is made from time to time: when, of what, and where it goes.

use std::path::{Path, PathBuf};

use clap::{Args as _, Command};
use jiff::ZonedDateTime;

use crate::config::file::refusal;
use crate::report;
use crate::schedule::{Schedule, ScheduleError};
use crate::service::sandbox::fixed_part;

/// A report that is made from time to time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Periodic {
    schedule: Option<Schedule>,
    /// Arguments for `tcpwatch report`, in its own form.
    arguments: Vec<String>,
    /// Whether they say for which period; otherwise it is the one since the report was due before.
    has_period: bool,
    /// Where it is written to, with `strftime` letters.
    file: Option<String>,
    /// A command that gets it on its standard input.
    command: Vec<String>,
}

/// What is wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum PeriodicError {
    /// There is no such key.
    #[error("there is no such key")]
    Unknown,
    /// When is it due?
    #[error("a report needs a schedule: write it like schedule = \"daily 08:00\"")]
    NoSchedule,
    /// Where does it go?
    #[error("a report needs a file or a command: write it like file = \"/var/lib/tcpwatch/%Y-%m-%d.html\"")]
    NoTarget,
    /// Both.
    #[error("a report has a file or a command, not both: make two of it")]
    TwoTargets,
    /// A list where one value is wanted, or none.
    #[error("{0} takes one value")]
    One(&'static str),
    /// `tcpwatch report` refuses it.
    #[error("{0}")]
    Argument(String),
    /// The calendar expression.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// A letter that strftime does not know.
    #[error("{pattern:?} is no file pattern: {message}")]
    Pattern {
        /// As written.
        pattern: String,
        /// What is wrong.
        message: String,
    },
}

impl Periodic {
    /// Its keys.
    pub const KEYS: [&str; 10] = [
        "schedule", "file", "command", "since", "by", "for", "groups", "format", "sort", "top",
    ];

    /// Sets a key.
    ///
    /// # Errors
    /// No such key, or not such a value.
    pub fn set(&mut self, key: &str, values: Vec<String>) -> Result<(), PeriodicError> {
        let one = |name| match &values[..] {
            [value] => Ok(value.clone()),
            _ => Err(PeriodicError::One(name)),
        };
        match key {
            "schedule" => self.schedule = Some(one("schedule")?.parse()?),
            "file" => {
                let pattern = one("file")?;
                check_pattern(&pattern)?;
                self.file = Some(pattern);
            }
            "command" => self.command = values,
            "by" => self.argument("by", &values.join(","))?,
            "since" => {
                self.has_period = true;
                self.argument("since", &one("since")?)?;
            }
            "for" => self.argument("for", &one("for")?)?,
            "groups" => {
                for file in &values {
                    self.argument("groups", file)?;
                }
            }
            "format" => self.argument("format", &one("format")?)?,
            "sort" => self.argument("sort", &one("sort")?)?,
            "top" => self.argument("top", &one("top")?)?,
            _ => return Err(PeriodicError::Unknown),
        }
        Ok(())
    }

    /// Takes an argument of `tcpwatch report`, if that takes it.
    fn argument(&mut self, name: &str, value: &str) -> Result<(), PeriodicError> {
        let argument = format!("--{name}={value}");
        report::command::Arguments::augment_args(Command::new("tcpwatch report"))
            .try_get_matches_from(["tcpwatch report", &argument])
            .map_err(|error| PeriodicError::Argument(refusal(&error)))?;
        self.arguments.push(argument);
        Ok(())
    }

    /// Whether it is complete.
    ///
    /// # Errors
    /// What is missing.
    pub fn check(&self) -> Result<(), PeriodicError> {
        match (&self.schedule, &self.file, self.command.is_empty()) {
            (None, ..) => Err(PeriodicError::NoSchedule),
            (_, None, true) => Err(PeriodicError::NoTarget),
            (_, Some(_), false) => Err(PeriodicError::TwoTargets),
            _ => Ok(()),
        }
    }

    /// When it is due.
    #[must_use]
    pub const fn schedule(&self) -> Option<&Schedule> {
        self.schedule.as_ref()
    }

    /// The command that gets it on its standard input; empty: none.
    #[must_use]
    pub fn command(&self) -> &[String] {
        &self.command
    }

    /// The directory that all its files are in; none: it has no file.
    #[must_use]
    pub fn directory(&self) -> Option<PathBuf> {
        self.file.as_ref().map(|pattern| fixed_part(Path::new(pattern)))
    }

    /// The file for the report that is due at `due`; none: there is none.
    #[must_use]
    pub fn file(&self, due: &ZonedDateTime) -> Option<PathBuf> {
        let pattern = self.file.as_ref()?;
        Some(PathBuf::from(due.strftime(pattern).to_string()))
    }

    /// Arguments of `tcpwatch report` for what happened up to `due`, and since it was due before, at `before`.
    #[must_use]
    pub fn arguments(&self, history: &Path, before: &ZonedDateTime, due: &ZonedDateTime) -> Vec<String> {
        let time = |time: &ZonedDateTime| time.timestamp().to_string();
        let mut arguments = vec![format!("--history={}", history.display())];
        if !self.has_period {
            arguments.push(format!("--from={}", time(before)));
            arguments.push(format!("--to={}", time(due)));
        }
        arguments.extend(self.arguments.iter().cloned());
        arguments
    }

    /// What tells it from the others, as long as it is not changed: by it one knows when it was made last.
    #[must_use]
    pub fn name(&self) -> String {
        let target = self.file.clone().unwrap_or_else(|| self.command.join(" "));
        let schedule = self
            .schedule
            .as_ref()
            .map_or_else(String::new, ToString::to_string);
        format!("{schedule} {} {target}", self.arguments.join(" "))
    }
}

/// Whether a date can be written by it.
fn check_pattern(pattern: &str) -> Result<(), PeriodicError> {
    let time = jiff::Timestamp::UNIX_EPOCH.to_zoned_datetime(jiff::tz::TimeZone::UTC);
    jiff::fmt::strtime::format(pattern, &time)
        .map(|_| ())
        .map_err(|error| PeriodicError::Pattern {
            pattern: pattern.to_owned(),
            message: error.to_string(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(entries: &[(&str, &[&str])]) -> Result<Periodic, String> {
        let mut periodic = Periodic::default();
        for (key, values) in entries {
            let values = values.iter().map(|value| (*value).to_owned()).collect();
            periodic.set(key, values).map_err(|error| error.to_string())?;
        }
        periodic.check().map_err(|error| error.to_string())?;
        Ok(periodic)
    }

    #[test]
    fn it_covers_the_time_since_it_was_due_before() {
        let report = made(&[
            ("schedule", &["daily 08:00"]),
            ("file", &["/r/%Y-%m-%d.html"]),
            ("format", &["html"]),
            ("by", &["network", "country"]),
        ])
        .unwrap();
        let zone = jiff::tz::TimeZone::UTC;
        let at = |text: &str| {
            text.parse::<jiff::Timestamp>()
                .unwrap()
                .to_zoned_datetime(zone.clone())
        };
        let (before, due) = (at("2026-01-01T08:00:00Z"), at("2026-01-02T08:00:00Z"));
        assert_eq!(report.file(&due).unwrap(), Path::new("/r/2026-01-02.html"));
        assert_eq!(
            report.arguments(Path::new("/h.db"), &before, &due),
            [
                "--history=/h.db",
                "--from=2026-01-01T08:00:00Z",
                "--to=2026-01-02T08:00:00Z",
                "--format=html",
                "--by=network,country"
            ]
        );
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let daily: (&str, &[&str]) = ("schedule", &["daily"]);
        for (entries, expected) in [
            (vec![daily, ("file", &["/%!"] as &[&str])], "is no file pattern"),
            (vec![daily, ("file", &["a"]), ("command", &["b"])], "not both"),
            (vec![daily, ("file", &["a", "b"])], "file takes one value"),
            (vec![daily, ("colour", &["red"])], "no such key"),
            (
                vec![daily, ("format", &["pdf"])],
                "invalid value 'pdf' for '--format <FORMAT>'",
            ),
            (
                vec![daily, ("by", &["network", "moon"])],
                "invalid value 'moon' for '--by <WHAT>...'",
            ),
        ] {
            let error = made(&entries).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
