//! Packages of Debian that are fetched and unpacked where they are wanted, and not installed.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use super::{AS_LITTLE_AS_POSSIBLE, available, refresh, twice};
use crate::machine::{Machine, answer, shown, succeed};

/// Options by which apt looks at the archives and not at what is installed, which may be of no archive that it knows, or
/// in the way of something else. What it finds out so is not kept, as its next user has the usual view.
const ARCHIVES_ONLY: [&str; 4] = [
    "--option",
    "Dir::State::status=/dev/null",
    "--option",
    "Dir::Cache::pkgcache=",
];

/// A package by itself, for [`download_all`]; nothing where apt does not know it.
pub fn alone(name: &str) -> Option<Vec<String>> {
    available(&[name]).then(|| vec![name.to_owned()])
}

/// A package and all that it needs where nothing is installed, for [`download_all`]; nothing where apt does not know it.
pub fn with_dependencies(name: &str) -> Option<Vec<String>> {
    let mut arguments = ARCHIVES_ONLY.to_vec();
    arguments.extend(["install", "--simulate"]);
    arguments.extend(AS_LITTLE_AS_POSSIBLE);
    arguments.push(name);
    answer("apt-get", &arguments).map(|text| to_be_installed(&text))
}

/// From lines like `Inst NAME (VERSION ARCHIVE [ARCHITECTURE])`; others tell of configuration.
fn to_be_installed(simulation: &str) -> Vec<String> {
    simulation
        .lines()
        .filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next())
        .map(str::to_owned)
        .collect()
}

/// Fetches packages into `directory`, which is made anew, and does not install them. `names` says which, as far as
/// apt's lists go, and is asked again when those were refreshed. None where it has no answer even then.
///
/// # Errors
///
/// No privilege to refresh apt's lists where that is needed, or apt fails.
pub fn download_all(
    machine: &Machine,
    names: impl Fn() -> Option<Vec<String>>,
    directory: &Path,
) -> anyhow::Result<Option<Vec<PathBuf>>> {
    twice(names, || refresh(machine), |names| fetch(&names, directory))
}

fn fetch(names: &[String], directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    discard(directory)?;
    fs::create_dir(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let mut fetch = Command::new("apt-get");
    fetch
        .arg("--quiet")
        .args(ARCHIVES_ONLY)
        // apt would like to change to a user of its own, who has no business in our directory.
        .args(["--option", "APT::Sandbox::User=root", "download"])
        .args(names)
        .current_dir(directory);
    println!("+ {}", shown(&fetch));
    succeed(&mut fetch)?;
    let mut archives = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let path = entry
            .with_context(|| format!("cannot read {}", directory.display()))?
            .path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            archives.push(path);
        }
    }
    if archives.len() != names.len() {
        bail!(
            "apt-get download left {} packages of {} in {}",
            archives.len(),
            names.len(),
            directory.display()
        );
    }
    Ok(archives)
}

/// Unpacks the files of a fetched package that match one of `patterns` (tar's wildcards, paths from `./`), all straight
/// into `directory`, which is made where it is missing. A pattern that matches nothing is no error.
///
/// # Errors
///
/// dpkg-deb or tar fails.
pub fn extract(archive: &Path, directory: &Path, patterns: &[&str]) -> anyhow::Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let mut unpack = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(archive)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start dpkg-deb")?;
    let files = unpack.stdout.take().context("dpkg-deb's output is a pipe")?;
    let output = Command::new("tar")
        .args([
            "--extract",
            "--wildcards",
            "--no-same-owner",
            "--transform",
            "s,.*/,,",
            "--directory",
        ])
        .arg(directory)
        .args(patterns)
        // Its complaints are read below.
        .env("LC_ALL", "C")
        .stdin(files)
        .output()
        .context("cannot start tar")?;
    let unpacked = unpack.wait().context("cannot wait for dpkg-deb")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    if !unpacked.success() || !(output.status.success() || only_misses(&complaint)) {
        bail!("{} cannot be unpacked: {}", archive.display(), complaint.trim());
    }
    Ok(())
}

/// Whether patterns that match nothing are all that tar complains of.
fn only_misses(complaint: &str) -> bool {
    complaint.lines().all(|line| {
        line.ends_with("Not found in archive")
            || line.contains("Exiting with failure status due to previous errors")
    })
}

/// Removes what was fetched.
///
/// # Errors
///
/// It cannot be removed.
pub fn discard(directory: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", directory.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_without_a_match_is_told_from_a_failure() {
        let misses = "tar: */veth.ko*: Not found in archive\n\
                      tar: Exiting with failure status due to previous errors\n";
        assert!(only_misses(misses));
        assert!(!only_misses("tar: x: Cannot write: No space left on device\n"));
    }

    #[test]
    fn a_simulation_names_what_is_to_be_installed() {
        let simulation = "Reading package lists...\n\
                          The following NEW packages will be installed:\n  libc6 seabios\n\
                          Inst libc6 (2.36-9+deb12u14 Debian:12.15/oldstable [amd64]) []\n\
                          Inst libx [1-1] (1-2 Debian:12.15/oldstable [amd64])\n\
                          Inst seabios (1.16.2-1 Debian:12.15/oldstable [all])\n\
                          Conf libc6 (2.36-9+deb12u14 Debian:12.15/oldstable [amd64])\n";
        assert_eq!(to_be_installed(simulation), ["libc6", "libx", "seabios"]);
    }
}
