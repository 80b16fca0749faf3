//! The version of a build: the number, and of which commit it is. Made of the commit alone, so that it is the same on every machine.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;

use crate::cargo;
use crate::machine::shown;

/// A version, and the time that files of it have.
pub struct Version {
    /// What `tcpwatch --version` says behind the name: 0.1.0 (50eff43, 2026-11-26).
    pub shown: String,
    /// Seconds since 1970: when the commit was made.
    pub time: String,
}

impl Version {
    /// That of this checkout; without git, the number alone.
    ///
    /// # Errors
    ///
    /// git answers something else than it was asked for.
    pub fn of_checkout() -> anyhow::Result<Self> {
        let commit = git(&["log", "-1", "--abbrev=12", "--date=short", "--format=%h %cd %ct"]);
        let Some(commit) = commit else {
            return Ok(Self {
                shown: env!("CARGO_PKG_VERSION").to_owned(),
                time: std::env::var("SOURCE_DATE_EPOCH").unwrap_or_else(|_unset| "0".to_owned()),
            });
        };
        let changed =
            git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|files| !files.is_empty());
        Self::of(&commit, changed).with_context(|| format!("git says {commit:?} of the last commit"))
    }

    fn of(commit: &str, changed: bool) -> Option<Self> {
        let (hash, rest) = commit.split_once(' ')?;
        let (date, time) = rest.split_once(' ')?;
        let changed = if changed { ", changed" } else { "" };
        Some(Self {
            shown: format!("{} ({hash}, {date}{changed})", env!("CARGO_PKG_VERSION")),
            time: time.to_owned(),
        })
    }

    /// Has a command pack this version.
    pub fn apply(&self, command: &mut Command) {
        command.env("SOURCE_DATE_EPOCH", &self.time);
    }

    /// Builds the program, optimised. Of the version, only the program itself knows, which is linked anew; the time would have build
    /// scripts compile all C again, in which it is not used.
    ///
    /// # Errors
    ///
    /// The build fails.
    pub fn program(&self, arguments: &[&str]) -> anyhow::Result<PathBuf> {
        let mut words = vec!["build", "--release", "--package", "tcpwatch", "--bin", "tcpwatch"];
        words.extend(arguments);
        cargo::one_program(&words, |command| {
            command.env("TCPWATCH_VERSION", &self.shown);
        })
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    command
        .arg("-C")
        .arg(cargo::WORKSPACE)
        .args(arguments)
        .env("TZ", "UTC");
    let output = command.output().ok()?;
    if !output.status.success() {
        eprintln!("`{}` failed: the version names no commit", shown(&command));
        return None;
    }
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_names_its_commit_and_whether_something_was_changed() {
        let version = Version::of("50eff4312345 2026-11-26 1795712130", false).unwrap();
        assert!(
            version.shown.ends_with(" (50eff4312345, 2026-11-26)"),
            "{}",
            version.shown
        );
        assert_eq!(version.time, "1795712130");
        let changed = Version::of("50eff4312345 2026-11-26 1795712130", true).unwrap();
        assert!(changed.shown.ends_with("-26, changed)"), "{}", changed.shown);
        assert!(Version::of("fatal:", false).is_none());
    }
}
