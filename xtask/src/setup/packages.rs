//! Packages of Debian: what is installed, what could be, installing.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, anyhow, bail};

use crate::machine::{Machine, answer, shown, succeed};

/// Version of each of `names` that is installed. One call of dpkg-query.
pub fn installed(names: &[&str]) -> BTreeMap<String, String> {
    let output = Command::new("dpkg-query")
        .args([
            "--show",
            "--showformat=${Package} ${db:Status-Status} ${Version}\\n",
        ])
        .args(names)
        .stderr(Stdio::null())
        .output();
    // Its exit status says that it does not know one of the names; it still lists the others.
    output
        .map(|output| parse_installed(&String::from_utf8_lossy(&output.stdout), names))
        .unwrap_or_default()
}

fn parse_installed(listing: &str, names: &[&str]) -> BTreeMap<String, String> {
    listing
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (name, status, version) = (words.next()?, words.next()?, words.next()?);
            (status == "installed" && names.contains(&name)).then(|| (name.to_owned(), version.to_owned()))
        })
        .collect()
}

/// Installs `names`, after refreshing apt's lists where one of them is not in there.
///
/// # Errors
///
/// No privilege, or apt fails.
pub fn install(machine: &Machine, names: &[&str]) -> anyhow::Result<()> {
    if !available(names) {
        refresh(machine)?;
    }
    // Nothing of the operator's is ever removed for us.
    let mut arguments = vec!["install", "--yes", "--no-install-recommends", "--no-remove"];
    arguments.extend(names);
    apt(machine, &arguments)
}

/// Fetches the lists of packages.
///
/// # Errors
///
/// No privilege, or apt fails.
pub fn refresh(machine: &Machine) -> anyhow::Result<()> {
    apt(machine, &["update"])
}

/// Whether apt could install all of `names`.
pub fn available(names: &[&str]) -> bool {
    let mut arguments = vec!["policy"];
    arguments.extend(names);
    answer("apt-cache", &arguments).is_some_and(|text| candidates(&text) == names.len())
}

fn candidates(policy: &str) -> usize {
    policy
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Candidate: "))
        .filter(|candidate| *candidate != "(none)")
        .count()
}

/// Fetches a package into `directory`, which is made anew, and does not install it.
///
/// # Errors
///
/// No privilege to refresh apt's lists where that is needed, or apt fails.
pub fn download(machine: &Machine, name: &str, directory: &Path) -> anyhow::Result<PathBuf> {
    discard(directory)?;
    fs::create_dir(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    if !available(&[name]) {
        refresh(machine)?;
    }
    // apt would like to change to a user of its own, who has no business in our directory.
    let mut fetch = Command::new("apt-get");
    fetch
        .args(["--quiet", "--option", "APT::Sandbox::User=root", "download", name])
        .current_dir(directory);
    println!("+ {}", shown(&fetch));
    succeed(&mut fetch)?;
    fs::read_dir(directory)
        .with_context(|| format!("cannot read {}", directory.display()))?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .ok_or_else(|| anyhow!("apt-get download left no package in {}", directory.display()))
}

/// Unpacks the files of a fetched package that match one of `patterns` (tar's wildcards, paths from `./`), all straight
/// into `directory`, which is made. One that matches nothing is no error.
///
/// # Errors
///
/// dpkg-deb or tar fails.
pub fn extract(archive: &Path, directory: &Path, patterns: &[&str]) -> anyhow::Result<()> {
    fs::create_dir(directory).with_context(|| format!("cannot make {}", directory.display()))?;
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

fn apt(machine: &Machine, arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = machine.elevated("apt-get", &[("DEBIAN_FRONTEND", OsStr::new("noninteractive"))])?;
    command.arg("--quiet").args(arguments);
    println!("+ {}", shown(&command));
    succeed(&mut command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_that_was_removed_is_not_installed() {
        let listing = "gcc installed 4:12.2.0-3\ntcpdump config-files 4.99.3-1\ngcc-12 installed 12.2.0-14\n";
        let installed = parse_installed(listing, &["gcc", "tcpdump"]);
        assert_eq!(
            installed.into_iter().collect::<Vec<_>>(),
            [("gcc".to_owned(), "4:12.2.0-3".to_owned())]
        );
    }

    #[test]
    fn a_pattern_without_a_match_is_told_from_a_failure() {
        let misses = "tar: */veth.ko*: Not found in archive\n\
                      tar: Exiting with failure status due to previous errors\n";
        assert!(only_misses(misses));
        assert!(!only_misses("tar: x: Cannot write: No space left on device\n"));
    }

    #[test]
    fn only_packages_with_a_candidate_count_as_available() {
        let policy = "a:\n  Installed: (none)\n  Candidate: 1.2\n  Version table:\n     1.2 500\n\
                      b:\n  Installed: (none)\n  Candidate: (none)\n";
        assert_eq!(candidates(policy), 1);
    }
}
