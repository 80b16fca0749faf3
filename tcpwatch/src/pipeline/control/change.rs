//! Changes of what is at work: bans that come and go, and a configuration that was read again.
//!
//! A change is put in force as one policy with one generation. What cannot be is taken back, whole.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::super::choice::choose_first;
use super::super::served::ServedFollower;
use super::super::{Pipeline, PipelineError, look};
use crate::config::ban_file::{BanFileError, Staged, stage};
use crate::config::bans::prefix;
use crate::config::{Config, ConfigError};
use crate::control::protocol::{Answer, BanChange, Changed, Reloaded};
use crate::kernel::drain::CounterSource as _;
use crate::kernel::policy::PolicySet;

/// How long a ban file may take to be written.
const FILE: Duration = Duration::from_secs(5);
/// Prefixes that are named one by one.
const NAMED: usize = 4;
/// What is said when the kernel does not take a policy.
const NOT_TAKEN: &str =
    "the kernel tables cannot be drained or do not take it, the log says why: nothing is changed";

impl Pipeline {
    /// Leaves out more destinations.
    pub(super) async fn ban(&mut self, change: BanChange) -> Result<Answer, PipelineError> {
        let wanted = match parsed(&change.prefixes) {
            Ok(wanted) => wanted,
            Err(error) => return Ok(refused(error)),
        };
        let known: HashSet<IpNet> = self.config.bans.iter().copied().collect();
        let (unchanged, new): (Vec<IpNet>, Vec<IpNet>) =
            wanted.iter().partition(|prefix| known.contains(*prefix));
        if let Some(refusal) = self.no_room_for(known.len() + new.len()) {
            return Ok(refusal);
        }
        let files = match (change.persist, self.config.origin.ban_files.first()) {
            (false, _) => Vec::new(),
            (true, Some(first)) => vec![first.clone()],
            (true, None) => return Ok(Answer::refused(no_file("kept"))),
        };
        let staged = match stage_all(files, wanted.clone(), Vec::new()).await {
            Ok(staged) => staged,
            Err(error) => return Ok(refused(error)),
        };
        let bans = self.config.bans.iter().chain(&new).copied().collect();
        let written = match self.change_bans(bans, staged).await? {
            Ok(written) => written,
            Err(refusal) => return Ok(refusal),
        };
        for prefix in &new {
            if !self.control.removed.remove(prefix) && !change.persist {
                self.control.added.insert(*prefix);
            }
        }
        if change.persist {
            self.control.added.retain(|prefix| !wanted.contains(prefix));
        }
        let mut notes = Vec::new();
        if new.iter().any(|prefix| self.control.added.contains(prefix)) {
            notes.push("until the next restart or reload; --persist keeps it in the ban file".to_owned());
        }
        if change.persist && written.is_empty() {
            notes.push("the ban file had it already".to_owned());
        }
        Ok(Answer::Changed(Changed {
            changed: new,
            unchanged,
            written,
            bans: self.config.bans.len(),
            notes,
        }))
    }

    /// Counts destinations again.
    pub(super) async fn unban(&mut self, change: BanChange) -> Result<Answer, PipelineError> {
        let wanted = match parsed(&change.prefixes) {
            Ok(wanted) => wanted,
            Err(error) => return Ok(refused(error)),
        };
        let known: HashSet<IpNet> = self.config.bans.iter().copied().collect();
        if let Some(unknown) = wanted.iter().find(|prefix| !known.contains(*prefix)) {
            return Ok(Answer::refused(format!(
                "{unknown} is not banned, nothing is changed: `tcpwatch ban list` shows what is, as it is written there"
            )));
        }
        let files = match (change.persist, self.config.origin.ban_files.as_slice()) {
            (false, _) => Vec::new(),
            (true, []) => return Ok(Answer::refused(no_file("taken off"))),
            // Whichever of them has it.
            (true, files) => files.to_vec(),
        };
        let staged = match stage_all(files, Vec::new(), wanted.clone()).await {
            Ok(staged) => staged,
            Err(error) => return Ok(refused(error)),
        };
        let gone: HashSet<IpNet> = wanted.iter().copied().collect();
        let left = self.config.bans.iter().filter(|prefix| !gone.contains(*prefix));
        let bans = left.copied().collect();
        let written = match self.change_bans(bans, staged).await? {
            Ok(written) => written,
            Err(refusal) => return Ok(refusal),
        };
        let given: HashSet<IpNet> = self.config.origin.given_bans.iter().copied().collect();
        let mut notes = Vec::new();
        for prefix in &wanted {
            let is_given = given.contains(prefix);
            if is_given {
                notes.push(format!(
                    "{prefix} is from --ban or the configuration file: it is back with the next restart or reload, unless it is removed there"
                ));
            }
            if !self.control.added.remove(prefix) && (is_given || !change.persist) {
                self.control.removed.insert(*prefix);
                if !is_given {
                    notes.push(format!(
                        "{prefix} is in a ban file: it is back with the next restart or reload; --persist removes it there"
                    ));
                }
            }
        }
        Ok(Answer::Changed(Changed {
            changed: wanted,
            unchanged: Vec::new(),
            written,
            bans: self.config.bans.len(),
            notes,
        }))
    }

    /// Puts bans in force, and then the files in place. Else both are as they were.
    async fn change_bans(
        &mut self,
        bans: Arc<[IpNet]>,
        staged: Vec<Staged>,
    ) -> Result<Result<Vec<PathBuf>, Answer>, PipelineError> {
        let before = Arc::clone(&self.config.bans);
        if !self.force_bans(&bans, &before).await? {
            return Ok(Err(Answer::refused(NOT_TAKEN)));
        }
        match put_in_place(staged).await {
            Ok(written) => {
                self.adopt_bans(bans);
                Ok(Ok(written))
            }
            Err((error, written)) => {
                if !self.force_bans(&before, &bans).await? {
                    self.adopt_bans(bans);
                    return Ok(Err(Answer::refused(format!(
                        "{error}, but it is in force until the next restart or reload"
                    ))));
                }
                let also = if written.is_empty() {
                    String::new()
                } else {
                    format!(
                        "; already written: {}",
                        said(&written, |path| path.display().to_string())
                    )
                };
                Ok(Err(Answer::refused(format!("{error}: nothing is changed{also}"))))
            }
        }
    }

    /// Whether packets are counted under these bans now; else still under those of before.
    async fn force_bans(
        &mut self,
        bans: &Arc<[IpNet]>,
        before: &Arc<[IpNet]>,
    ) -> Result<bool, PipelineError> {
        self.watch.set_bans(Arc::clone(bans));
        if self.force_policy().await? {
            return Ok(true);
        }
        self.watch.set_bans(Arc::clone(before));
        self.set_policy(self.watch.policy().clone());
        Ok(false)
    }

    /// Has packets counted under what is to be watched. False: they are not.
    async fn force_policy(&mut self) -> Result<bool, PipelineError> {
        self.set_policy(self.watch.policy().clone());
        // Also when a drain failed after its flip.
        Ok(self.put_policy_in_force().await?
            || self
                .source
                .as_ref()
                .is_some_and(|source| source.policy_in_force()))
    }

    fn no_room_for(&mut self, bans: usize) -> Option<Answer> {
        let room = self.room_for_bans();
        (bans > room).then(|| {
            Answer::refused(format!(
                "{bans} banned prefixes are more than the {room} that there is room for until the next start, nothing is changed: \
                 put them into a ban file and restart tcpwatch"
            ))
        })
    }

    /// Puts in force what was read again.
    pub(super) async fn reload(
        &mut self,
        read: Result<Config, ConfigError>,
    ) -> Result<Answer, PipelineError> {
        if !self.config.origin.has_files() {
            return Ok(Answer::refused(
                "there is nothing to read again: tcpwatch was started without --config and --ban-file",
            ));
        }
        let new = match read {
            Ok(new) => new,
            Err(error) => return Ok(refused(error)),
        };
        let changes = self.config.changes(&new);
        let mut notes = Vec::new();
        notes.extend(superseded(&self.control.added, "added", &new.bans, false));
        notes.extend(superseded(&self.control.removed, "removed", &new.bans, true));
        let reloaded = Reloaded {
            files: new.origin.files(),
            now: changes.now,
            later: changes.later.iter().map(|option| (*option).to_owned()).collect(),
            notes,
        };
        if let Some(refusal) = self.no_room_for(new.bans.len()) {
            return Ok(refusal);
        }
        if !reloaded.now.is_empty()
            && let Some(refusal) = self.put_in_force(&new).await?
        {
            return Ok(refusal);
        }
        let bans = Arc::clone(&new.bans);
        self.config.adopt(new);
        self.adopt_bans(bans);
        self.control.added.clear();
        self.control.removed.clear();
        Ok(Answer::Reloaded(reloaded))
    }

    /// Watches what another configuration names. None: that is in force.
    async fn put_in_force(&mut self, new: &Config) -> Result<Option<Answer>, PipelineError> {
        let before = self.watch.policy().clone();
        let network = if new.interfaces == self.config.interfaces && new.sources == self.config.sources {
            None
        } else {
            let (present, defaults) = match look(&self.network, new).await {
                Ok(seen) => seen,
                Err(error) => return Ok(Some(refused(error))),
            };
            if let Err(error) = choose_first(&new.interfaces, &new.sources, &present, &defaults) {
                return Ok(Some(refused(error)));
            }
            Some((present, defaults))
        };
        let served = if new.served == self.config.served {
            None
        } else {
            match ServedFollower::start(new) {
                Ok(started) => Some(started),
                Err(error) => return Ok(Some(refused(error))),
            }
        };
        self.watch.set_bans(Arc::clone(&new.bans));
        match &served {
            None => {}
            Some(None) => self.watch.forget_served(),
            Some(Some((_, ports))) => {
                self.watch.forget_served();
                self.watch.set_served(Arc::new(ports.into()));
            }
        }
        let changes = network.as_ref().map(|(present, defaults)| {
            self.watch.choose(new.interfaces.clone(), new.sources.clone());
            self.watch.update(present, defaults)
        });
        if !self.force_policy().await? {
            self.take_back(before);
            return Ok(Some(Answer::refused(NOT_TAKEN)));
        }
        if let Some(started) = served {
            self.served = started.map(|(follower, _)| follower);
        }
        if let (Some(changes), Some((_, defaults))) = (changes, network) {
            self.defaults = defaults;
            if self.watch.attach_late(changes.attach).await {
                self.watch.release(&changes.release);
            } else {
                self.look_again = true;
            }
        }
        Ok(None)
    }

    /// Has everything as it was before a change that could not be put in force.
    fn take_back(&mut self, before: PolicySet) {
        self.watch.take_back(
            self.config.interfaces.clone(),
            self.config.sources.clone(),
            before,
        );
        self.set_policy(self.watch.policy().clone());
    }
}

/// Prefixes, each once.
fn parsed(texts: &[String]) -> Result<Vec<IpNet>, ConfigError> {
    let mut seen = HashSet::new();
    let mut prefixes = Vec::new();
    for text in texts {
        let prefix = prefix(text, || "ban".to_owned())?;
        if seen.insert(prefix) {
            prefixes.push(prefix);
        }
    }
    Ok(prefixes)
}

fn refused(error: impl Into<anyhow::Error>) -> Answer {
    Answer::refused(format!("{:#}", error.into()))
}

fn no_file(what: &str) -> String {
    format!(
        "there is no ban file that it could be {what} in, nothing is changed: configure one (ban-file = \"/etc/tcpwatch/bans\", or \
         --ban-file) and restart tcpwatch, or do it without --persist"
    )
}

/// The new contents of those files that change, beside them.
async fn stage_all(
    files: Vec<PathBuf>,
    add: Vec<IpNet>,
    remove: Vec<IpNet>,
) -> Result<Vec<Staged>, anyhow::Error> {
    let one = move |path: &PathBuf| stage(path, &add, &remove).transpose();
    let staged = spawn_blocking(move || files.iter().filter_map(one).collect::<Result<Vec<_>, _>>());
    Ok(timeout(FILE, staged).await.map_err(|_elapsed| {
        anyhow::anyhow!("the ban file's file system does not answer: nothing is changed")
    })???)
}

/// Puts them in place, one after the other. An error comes with those that are in place already.
async fn put_in_place(staged: Vec<Staged>) -> Result<Vec<PathBuf>, (anyhow::Error, Vec<PathBuf>)> {
    let mut written = Vec::new();
    for file in staged {
        let placed: Result<PathBuf, anyhow::Error> = match spawn_blocking(|| file.put_in_place()).await {
            Ok(placed) => placed.map_err(|error: BanFileError| error.into()),
            Err(error) => Err(error.into()),
        };
        match placed {
            Ok(path) => written.push(path),
            Err(error) => return Err((error, written)),
        }
    }
    Ok(written)
}

/// What a reload makes of bans that were changed for this run. `banned`: whether those that are said are banned by the new configuration.
fn superseded<'a>(
    changed: impl IntoIterator<Item = &'a IpNet>,
    how: &str,
    new: &[IpNet],
    banned: bool,
) -> Option<String> {
    let new: HashSet<&IpNet> = new.iter().collect();
    let gone: Vec<&IpNet> = changed
        .into_iter()
        .filter(|prefix| new.contains(prefix) == banned)
        .collect();
    let what = if banned {
        "are banned again"
    } else {
        "are banned no longer"
    };
    (!gone.is_empty()).then(|| {
        format!(
            "{how} for this run only, so superseded: {} {what}",
            said(&gone, ToString::to_string)
        )
    })
}

/// The first few, and how many more there are.
fn said<T>(items: &[T], one: impl Fn(&T) -> String) -> String {
    let mut names: Vec<String> = items.iter().take(NAMED).map(one).collect();
    if items.len() > NAMED {
        names.push(format!("and {} more", items.len() - NAMED));
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn prefixes_come_once_however_they_are_written() {
        let texts = ["192.0.2.1", "192.0.2.1/32", "::ffff:192.0.2.1"].map(str::to_owned);
        assert_eq!(parsed(&texts).unwrap(), nets(&["192.0.2.1/32"]));
        assert!(parsed(&["192.0.2.1/24".to_owned()]).is_err());
    }

    #[test]
    fn a_reload_says_which_changes_of_this_run_it_undoes() {
        let new = nets(&["192.0.2.1/32", "203.0.113.0/24"]);
        let added = nets(&["192.0.2.1/32", "192.0.2.2/32"]);
        assert_eq!(
            superseded(&added, "added", &new, false).unwrap(),
            "added for this run only, so superseded: 192.0.2.2/32 are banned no longer"
        );
        let removed = nets(&["203.0.113.0/24", "198.51.100.0/24"]);
        assert_eq!(
            superseded(&removed, "removed", &new, true).unwrap(),
            "removed for this run only, so superseded: 203.0.113.0/24 are banned again"
        );
        assert_eq!(superseded(&[], "added", &new, false), None);
    }

    #[test]
    fn long_lists_end_in_a_number() {
        assert_eq!(
            said(&[1, 2, 3, 4, 5], ToString::to_string),
            "1, 2, 3, 4, and 1 more"
        );
    }
}
