//! Packages of Debian: what is installed, what could be, installing.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::process::{Command, Stdio};

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
    fn only_packages_with_a_candidate_count_as_available() {
        let policy = "a:\n  Installed: (none)\n  Candidate: 1.2\n  Version table:\n     1.2 500\n\
                      b:\n  Installed: (none)\n  Candidate: (none)\n";
        assert_eq!(candidates(policy), 1);
    }
}
