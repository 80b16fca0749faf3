//! Reports that are made from time to time: when each is due, and a child process for each that is. The child is this program's own
//! `tcpwatch report`, so that whatever happens to it neither holds up nor takes with it the counting.

mod job;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::task::JoinHandle;

use self::job::Job;
use super::{Outputs, PipelineError};
use crate::config::Config;
use crate::config::periodic::Periodic;

/// After it was due, so that the last interval before is in the history.
const DELAY: jiff::SignedDuration = jiff::SignedDuration::from_secs(10);

/// How long the end of the program waits for the disk.
const LAST_NOTE: Duration = Duration::from_secs(1);

/// How often the clock is looked at: it may be set.
pub const LOOK: Duration = Duration::from_secs(5);

/// For how long a clock may be behind what was made before it is believed: one that is wrong at the start of a machine is set soon,
/// and a report that was made is not to be made again meanwhile, over less.
const FORGIVEN: Duration = Duration::from_secs(60 * 60);

/// The periodic reports of a run.
pub struct PeriodicReports {
    reports: Vec<Entry>,
    history: PathBuf,
    state: PathBuf,
    zone: TimeZone,
    /// There is something that the state does not have yet; at first, from when on each report counts.
    unnoted: bool,
    /// The state on its way to the disk, which may take as long as it likes.
    saving: Option<JoinHandle<()>>,
}

struct Entry {
    periodic: Periodic,
    /// Until when the last one that was begun reaches.
    reached: Timestamp,
    /// The same of the last one that has ended: what a later run is to know.
    noted: Timestamp,
    /// The one that was begun last, until it was seen to have ended.
    running: Option<JoinHandle<()>>,
    /// Since when the clock has been behind `reached`.
    behind: Option<Instant>,
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
    /// Those of the configuration; none: there are none.
    ///
    /// # Errors
    /// There is no history to make them of.
    pub fn begin(config: &Config, outputs: &Outputs) -> Result<Option<Self>, PipelineError> {
        if config.periodic.is_empty() {
            return Ok(None);
        }
        let history = config.history.as_ref().filter(|_| outputs.keeps_history());
        let history = history.ok_or(PipelineError::ReportsWithoutHistory)?;
        Ok(Some(Self::new(
            config.periodic.clone(),
            &history.path,
            Timestamp::now(),
        )))
    }

    /// Begins with what `state` says of earlier runs: a report that was missed meanwhile is made up, once.
    pub fn new(reports: Vec<Periodic>, history: &Path, now: Timestamp) -> Self {
        let state = history.with_extension("reports.json");
        let known = read(&state);
        let reports = reports
            .into_iter()
            .map(|periodic| {
                let reached = known.get(&periodic.name()).copied().unwrap_or(now);
                Entry {
                    periodic,
                    reached,
                    noted: reached,
                    running: None,
                    behind: None,
                }
            })
            .collect();
        Self {
            reports,
            history: history.to_owned(),
            state,
            zone: TimeZone::system(),
            unnoted: true,
            saving: None,
        }
    }

    /// Begins what is due at `now`. Returns at once, whatever the disk does.
    pub fn look(&mut self, now: Timestamp) {
        self.note();
        for entry in &mut self.reports {
            if entry.running.is_some() || entry.is_ahead_of(now, Instant::now()) {
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
        }
        self.save();
    }

    /// Notes what has ended, so that only a report that the end of the program cuts short is made again. Waits a moment for the disk.
    pub async fn finish(mut self) {
        if let Some(saving) = self.saving.take() {
            // What is said of it is said there.
            tokio::time::timeout(LAST_NOTE, saving).await.ok();
        }
        self.note();
        self.save();
        if let Some(saving) = self.saving.take() {
            tokio::time::timeout(LAST_NOTE, saving).await.ok();
        }
    }

    fn note(&mut self) {
        for entry in &mut self.reports {
            if entry.running.as_ref().is_some_and(JoinHandle::is_finished) {
                entry.running = None;
                entry.noted = entry.reached;
                self.unnoted = true;
            }
        }
    }

    fn save(&mut self) {
        if self.unnoted && self.saving.as_ref().is_none_or(JoinHandle::is_finished) {
            self.unnoted = false;
            let (state, known) = (self.state.clone(), self.known());
            self.saving = Some(tokio::task::spawn_blocking(move || save(&state, &known)));
        }
    }

    /// What a later run is to know.
    fn known(&self) -> BTreeMap<String, Timestamp> {
        let entry = |entry: &Entry| (entry.periodic.name(), entry.noted);
        self.reports.iter().map(entry).collect()
    }
}

fn save(state: &Path, known: &BTreeMap<String, Timestamp>) {
    let mut unfinished = state.as_os_str().to_owned();
    unfinished.push(".new");
    let saved = serde_json::to_vec(known)
        .map_err(io::Error::from)
        .and_then(|bytes| fs::write(&unfinished, bytes))
        .and_then(|()| fs::rename(&unfinished, state));
    if let Err(error) = saved {
        tracing::warn!(
            "cannot note in {} which reports were made, one may be made again after a restart: {error}",
            state.display()
        );
    }
}

impl Entry {
    /// Whether the clock is behind the last report. One that stays there was ahead before, which must not keep reports from being
    /// made.
    fn is_ahead_of(&mut self, now: Timestamp, monotonic: Instant) -> bool {
        if self.reached <= now {
            self.behind = None;
            return false;
        }
        let since = *self.behind.get_or_insert(monotonic);
        if monotonic.saturating_duration_since(since) > FORGIVEN {
            self.reached = now;
        }
        true
    }

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
            noted: at(reached),
            running: None,
            behind: None,
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
    fn what_was_made_is_known_after_a_restart_and_a_damaged_state_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let (history, state) = (
            directory.path().join("history.db"),
            directory.path().join("history.reports.json"),
        );
        let begun = |now: &str| {
            PeriodicReports::new(vec![daily()], &history, at(now))
                .reports
                .remove(0)
        };
        save(
            &state,
            &PeriodicReports::new(vec![daily()], &history, at("2026-01-05T10:00:00Z")).known(),
        );
        assert_eq!(begun("2026-01-07T10:00:00Z").reached, at("2026-01-05T10:00:00Z"));
        fs::write(&state, "{").unwrap();
        assert_eq!(begun("2026-01-07T10:00:00Z").reached, at("2026-01-07T10:00:00Z"));
    }

    #[test]
    fn a_clock_that_is_behind_makes_no_report_again_unless_it_stays_there() {
        let mut entry = entry("2026-01-02T08:00:00Z");
        let (boot, begin) = (at("2026-01-02T07:17:00Z"), Instant::now());
        assert!(entry.is_ahead_of(boot, begin));
        // It was set.
        assert!(!entry.is_ahead_of(at("2026-01-02T08:45:00Z"), begin + FORGIVEN / 2));
        assert_eq!(entry.reached, at("2026-01-02T08:00:00Z"));
        assert!(entry.is_ahead_of(boot, begin + FORGIVEN));
        assert!(entry.is_ahead_of(boot, begin + FORGIVEN * 3));
        assert_eq!(entry.reached, boot, "it was ahead before");
        assert!(!entry.is_ahead_of(boot, begin + FORGIVEN * 3));
    }

    #[tokio::test]
    async fn a_report_is_noted_when_it_has_ended_and_where_it_begins_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let mut reports = PeriodicReports::new(
            vec![daily()],
            &directory.path().join("history.db"),
            at("2026-01-01T10:00:00Z"),
        );
        reports.look(at("2026-01-01T10:00:01Z"));
        reports.saving.take().unwrap().await.unwrap();
        assert_eq!(read(&reports.state).len(), 1);
        // This test's program takes the arguments for filters of tests, and fails: that is an end, too.
        reports.look(at("2026-01-02T09:00:00Z"));
        assert_eq!(reports.reports[0].noted, at("2026-01-01T10:00:00Z"));
        reports.reports[0].running.as_mut().unwrap().await.unwrap();
        reports.reports[0].running = Some(tokio::spawn(async {}));
        while !reports.reports[0]
            .running
            .as_ref()
            .is_none_or(JoinHandle::is_finished)
        {
            tokio::task::yield_now().await;
        }
        reports.look(at("2026-01-02T09:00:05Z"));
        reports.saving.take().unwrap().await.unwrap();
        let known = read(&reports.state);
        assert_eq!(
            known.values().copied().collect::<Vec<_>>(),
            [reports.reports[0].reached]
        );
        assert!(reports.reports[0].reached > at("2026-01-02T00:00:00Z"));
    }
}
