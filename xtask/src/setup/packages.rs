//! Packages of Debian: what is installed, what could be, installing. What is only fetched is in the module below.

mod fetched;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::machine::{Machine, answer, shown, succeed};

pub use fetched::{alone, discard, download_all, extract, with_dependencies};

/// How apt installs for us: nothing of the operator's is ever removed.
const AS_LITTLE_AS_POSSIBLE: [&str; 2] = ["--no-install-recommends", "--no-remove"];

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

/// Installs all of `names`, or none.
///
/// # Errors
///
/// Debian does not have them, no privilege, or apt fails; it also fails where it would have to remove something.
pub fn install(machine: &Machine, names: &[&str]) -> anyhow::Result<()> {
    let mut arguments = vec!["install", "--yes"];
    arguments.extend(AS_LITTLE_AS_POSSIBLE);
    arguments.extend(names);
    twice(
        || available(names).then_some(()),
        || refresh(machine),
        |()| apt(machine, &arguments),
    )?
    .with_context(|| format!("apt does not know all of {}", names.join(", ")))
}

/// Installs those of `names` that can be installed, in one call.
///
/// # Errors
///
/// No privilege, apt fails, or some of `names` cannot be installed; the others then are.
pub fn install_possible(machine: &Machine, names: &[&str]) -> anyhow::Result<()> {
    if !available(names) {
        refresh(machine)?;
    }
    let (possible, impossible) = possible(names, can_install);
    if !possible.is_empty() {
        install(machine, &possible)?;
    }
    if !impossible.is_empty() {
        bail!(
            "apt cannot install {0}, or would have to remove something for it: `apt-get install --simulate {0}` says \
             what stands in the way",
            impossible.join(" ")
        );
    }
    Ok(())
}

fn can_install(names: &[&str]) -> bool {
    let mut arguments = vec!["install", "--simulate"];
    arguments.extend(AS_LITTLE_AS_POSSIBLE);
    arguments.extend(names);
    answer("apt-get", &arguments).is_some()
}

/// Those of `names` that work together, and the others.
fn possible<'a>(names: &[&'a str], work: impl Fn(&[&str]) -> bool) -> (Vec<&'a str>, Vec<&'a str>) {
    if work(names) {
        return (names.to_vec(), Vec::new());
    }
    let (mut possible, mut impossible) = (Vec::new(), Vec::new());
    for name in names {
        possible.push(*name);
        if !work(&possible) {
            impossible.extend(possible.pop());
        }
    }
    (possible, impossible)
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

/// Does `work` with what apt's lists say. They may be empty, and old ones name files that the archive has no more: where
/// they say nothing, or `work` fails, they are refreshed and asked again, once. None where they say nothing even then.
fn twice<N, T>(
    lists: impl Fn() -> Option<N>,
    refresh: impl FnOnce() -> anyhow::Result<()>,
    work: impl Fn(N) -> anyhow::Result<T>,
) -> anyhow::Result<Option<T>> {
    if let Some(said) = lists() {
        match work(said) {
            Ok(done) => return Ok(Some(done)),
            Err(error) => println!("{error:#}: once more, with fresh lists of packages"),
        }
    }
    refresh().context("the lists of packages are to be refreshed, as they may be old")?;
    lists().map(work).transpose()
}

fn apt(machine: &Machine, arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = machine.elevated("apt-get", &[("DEBIAN_FRONTEND", OsStr::new("noninteractive"))])?;
    command.arg("--quiet").args(arguments);
    println!("+ {}", shown(&command));
    succeed(&mut command)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

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
    fn only_packages_with_a_candidate_count_as_available() {
        let policy = "a:\n  Installed: (none)\n  Candidate: 1.2\n  Version table:\n     1.2 500\n\
                      b:\n  Installed: (none)\n  Candidate: (none)\n";
        assert_eq!(candidates(policy), 1);
    }

    #[test]
    fn what_cannot_be_installed_keeps_nothing_else_from_it() {
        let together = |names: &[&str]| !names.contains(&"broken");
        assert_eq!(
            possible(&["a", "broken", "b"], together),
            (vec!["a", "b"], vec!["broken"])
        );
        assert_eq!(possible(&["a", "b"], together), (vec!["a", "b"], vec![]));
    }

    #[test]
    fn of_two_packages_in_conflict_the_first_is_installed() {
        let together = |names: &[&str]| !(names.contains(&"a") && names.contains(&"b"));
        assert_eq!(possible(&["a", "b", "c"], together), (vec!["a", "c"], vec!["b"]));
    }

    /// What [`twice`] does where the first lists and those after a refresh name these versions, and the archive has 2.
    fn with_lists(versions: [Option<u32>; 2]) -> (usize, anyhow::Result<Option<u32>>) {
        let refreshed = Cell::new(0);
        let outcome = twice(
            || versions[refreshed.get()],
            || {
                refreshed.set(refreshed.get() + 1);
                Ok(())
            },
            |version| {
                if version != 2 {
                    bail!("404 Not Found");
                }
                Ok(version)
            },
        );
        (refreshed.get(), outcome)
    }

    #[test]
    fn lists_that_are_good_are_not_refreshed() {
        assert!(matches!(with_lists([Some(2), None]), (0, Ok(Some(2)))));
    }

    #[test]
    fn lists_that_are_empty_or_old_are_refreshed_and_asked_again() {
        assert!(matches!(with_lists([None, Some(2)]), (1, Ok(Some(2)))));
        assert!(matches!(with_lists([Some(1), Some(2)]), (1, Ok(Some(2)))));
    }

    #[test]
    fn what_fails_with_fresh_lists_fails() {
        assert!(matches!(with_lists([Some(1), Some(1)]), (1, Err(_))));
        assert!(matches!(with_lists([Some(1), None]), (1, Ok(None))));
        assert!(matches!(with_lists([None, None]), (1, Ok(None))));
    }
}
