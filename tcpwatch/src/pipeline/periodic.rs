//! Reports that are made from time to time: when each is due, and a child process for each that is. The child is this program's own
//! `tcpwatch report`, so that whatever happens to it neither holds up nor takes with it the counting.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::process::{Child, Command};

use crate::config::periodic::Periodic;

/// A report that takes longer is given up.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// After it was due, so that the last interval before is in the history.
const DELAY: jiff::SignedDuration = jiff::SignedDuration::from_secs(10);

/// How often the clock is looked at: it may be set.
pub const LOOK: Duration = Duration::from_secs(5);

/// The periodic reports of a run.
pub struct PeriodicReports {
    reports: Vec<Entry>,
    history: PathBuf,
    state: PathBuf,
    zone: TimeZone,
}

struct Entry {
    periodic: Periodic,
    /// Until when the last one reached.
    reached: Timestamp,
    /// The next one that was begun and has not ended.
    running: Option<tokio::task::JoinHandle<()>>,
}

/// A report that is to be made now.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Due {
    /// Where its period begins, unless it says so itself.
    from: Timestamp,
    /// When it was due.
    at: Timestamp,
}

impl PeriodicReports {
    /// Begins with what `state` says of earlier runs: a report that was missed meanwhile is made up, once.
    pub fn new(reports: Vec<Periodic>, history: &Path, now: Timestamp) -> Self {
        let state = history.with_extension("reports.json");
        let known = read(&state);
        let reports = reports
            .into_iter()
            .map(|periodic| Entry {
                // A clock that was ahead must not keep it from being made.
                reached: known.get(&periodic.name()).copied().unwrap_or(now).min(now),
                periodic,
                running: None,
            })
            .collect();
        Self {
            reports,
            history: history.to_owned(),
            state,
            zone: TimeZone::system(),
        }
    }

    /// Begins what is due at `now`. Returns at once.
    pub fn look(&mut self, now: Timestamp) {
        let mut begun = false;
        for entry in &mut self.reports {
            if entry
                .running
                .as_ref()
                .is_some_and(|running| !running.is_finished())
            {
                continue;
            }
            let Some(due) = entry.due(now, &self.zone) else {
                continue;
            };
            let (before, at) = (
                due.from.to_zoned_datetime(self.zone.clone()),
                due.at.to_zoned_datetime(self.zone.clone()),
            );
            let job = Job {
                name: entry.periodic.name(),
                arguments: entry.periodic.arguments(&self.history, &before, &at),
                file: entry.periodic.file(&at),
                command: entry.periodic.command().to_vec(),
            };
            entry.reached = due.at;
            entry.running = Some(tokio::spawn(job.run()));
            begun = true;
        }
        if begun && let Err(error) = self.save() {
            tracing::warn!(
                "cannot note in {} which reports were made, one may be made again after a restart: {error}",
                self.state.display()
            );
        }
    }

    fn save(&self) -> io::Result<()> {
        let known: BTreeMap<String, Timestamp> = self
            .reports
            .iter()
            .map(|entry| (entry.periodic.name(), entry.reached))
            .collect();
        let mut unfinished = self.state.as_os_str().to_owned();
        unfinished.push(".new");
        fs::write(&unfinished, serde_json::to_vec(&known)?)?;
        fs::rename(&unfinished, &self.state)
    }
}

impl Entry {
    /// However many were missed, one report makes up for all of them.
    fn due(&self, now: Timestamp, zone: &TimeZone) -> Option<Due> {
        let settled = now.checked_sub(DELAY).ok()?;
        let at = self.periodic.schedule()?.last(settled, self.reached, zone)?;
        Some(Due {
            from: self.reached,
            at,
        })
    }
}

/// What earlier runs have noted. That it is missing or damaged is no reason not to count.
fn read(state: &Path) -> BTreeMap<String, Timestamp> {
    match fs::read(state) {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            tracing::warn!(
                "{} is damaged, so which reports were made is not known: {error}",
                state.display()
            );
            BTreeMap::new()
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
        Err(error) => {
            tracing::warn!("cannot read {}: {error}", state.display());
            BTreeMap::new()
        }
    }
}

/// One report on its way.
struct Job {
    name: String,
    arguments: Vec<String>,
    file: Option<PathBuf>,
    command: Vec<String>,
}

/// Why a report was not made.
#[derive(Debug, thiserror::Error)]
enum JobError {
    #[error("cannot make {}", .0.display())]
    Directory(PathBuf, #[source] io::Error),
    #[error("cannot start {0}")]
    Start(String, #[source] io::Error),
    #[error("{0} failed ({1}){2}")]
    Failed(String, std::process::ExitStatus, String),
    #[error("it was not ready after {} minutes", PATIENCE.as_secs() / 60)]
    Late,
}

impl Job {
    async fn run(self) {
        let name = self.name.clone();
        let outcome = match tokio::time::timeout(PATIENCE, self.make()).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(JobError::Late),
        };
        match outcome {
            Ok(()) => tracing::info!("report made: {name}"),
            Err(error) => tracing::error!("report not made: {name}: {:#}", anyhow::Error::from(error)),
        }
    }

    async fn make(self) -> Result<(), JobError> {
        let program =
            std::env::current_exe().map_err(|error| JobError::Start("tcpwatch report".to_owned(), error))?;
        let mut report = Command::new(program);
        report.arg("report").args(&self.arguments);
        if let Some(file) = &self.file {
            if let Some(directory) = file.parent() {
                fs::create_dir_all(directory)
                    .map_err(|error| JobError::Directory(directory.to_owned(), error))?;
            }
            report.arg("-o").arg(file);
            let child = start(
                report.stdin(Stdio::null()).stdout(Stdio::null()),
                "tcpwatch report",
            )?;
            return ended(child, "tcpwatch report").await;
        }
        let Some((program, arguments)) = self.command.split_first() else {
            return Ok(()); // a report has a file or a command
        };
        let (reading, writing) = io::pipe().map_err(|error| JobError::Start(program.clone(), error))?;
        let child = start(report.stdin(Stdio::null()).stdout(writing), "tcpwatch report")?;
        // It holds our end of the pipe, without which the reader would never see the end.
        drop(report);
        let mut reader = Command::new(program);
        let reader = start(
            reader.args(arguments).stdin(reading).stdout(Stdio::null()),
            program,
        )?;
        let (made, taken) = tokio::join!(ended(child, "tcpwatch report"), ended(reader, program));
        made.and(taken)
    }
}

/// A child that ends with its job.
fn start(command: &mut Command, name: &str) -> Result<Child, JobError> {
    command
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| JobError::Start(name.to_owned(), error))
}

async fn ended(child: Child, name: &str) -> Result<(), JobError> {
    let output = child
        .wait_with_output()
        .await
        .map_err(|error| JobError::Start(name.to_owned(), error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().map(str::trim).rfind(|line| !line.is_empty());
    let last = last.map_or_else(String::new, |line| {
        format!(
            ": {}",
            line.chars()
                .filter(|c| !c.is_control())
                .take(300)
                .collect::<String>()
        )
    });
    Err(JobError::Failed(name.to_owned(), output.status, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn daily() -> Periodic {
        let mut periodic = Periodic::default();
        periodic.set("schedule", vec!["daily 08:00".to_owned()]).unwrap();
        periodic.set("file", vec!["/nowhere/%Y.txt".to_owned()]).unwrap();
        periodic
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn entry(reached: &str) -> Entry {
        Entry {
            periodic: daily(),
            reached: at(reached),
            running: None,
        }
    }

    #[test]
    fn it_is_due_a_moment_after_its_time_and_makes_up_for_all_that_were_missed() {
        let zone = TimeZone::UTC;
        let reached = entry("2026-01-01T08:00:00Z");
        assert_eq!(reached.due(at("2026-01-02T08:00:05Z"), &zone), None);
        let due = |from: &str, due: &str| {
            Some(Due {
                from: at(from),
                at: at(due),
            })
        };
        assert_eq!(
            reached.due(at("2026-01-02T08:00:11Z"), &zone),
            due("2026-01-01T08:00:00Z", "2026-01-02T08:00:00Z")
        );
        assert_eq!(
            reached.due(at("2026-01-09T12:00:00Z"), &zone),
            due("2026-01-01T08:00:00Z", "2026-01-09T08:00:00Z")
        );
        assert_eq!(
            entry("2026-01-09T08:00:00Z").due(at("2026-01-09T12:00:00Z"), &zone),
            None
        );
    }

    #[test]
    fn what_was_made_is_known_after_a_restart_and_a_clock_ahead_is_forgiven() {
        let directory = tempfile::tempdir().unwrap();
        let history = directory.path().join("history.db");
        let first = PeriodicReports::new(vec![daily()], &history, at("2026-01-05T10:00:00Z"));
        first.save().unwrap();
        let second = PeriodicReports::new(vec![daily()], &history, at("2026-01-07T10:00:00Z"));
        assert_eq!(second.reports[0].reached, at("2026-01-05T10:00:00Z"));
        let earlier = PeriodicReports::new(vec![daily()], &history, at("2026-01-01T10:00:00Z"));
        assert_eq!(earlier.reports[0].reached, at("2026-01-01T10:00:00Z"));
        fs::write(directory.path().join("history.reports.json"), "{").unwrap();
        let damaged = PeriodicReports::new(vec![daily()], &history, at("2026-01-07T10:00:00Z"));
        assert_eq!(damaged.reports[0].reached, at("2026-01-07T10:00:00Z"));
    }
}
