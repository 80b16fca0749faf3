//! The machine this runs on: distribution, privilege, where programs are. Knows nothing of what tcpwatch needs.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Context as _, bail};

/// Where system programs live that a user's PATH may leave out.
const SYSTEM_DIRECTORIES: [&str; 2] = ["/usr/sbin", "/sbin"];

/// What was found out about the machine, once per command.
pub struct Machine {
    /// The effective user is root.
    pub root: bool,
    /// Debian or a descendant of it: packages come from apt.
    pub debian: bool,
    /// rustup, where Rust came from it.
    pub rustup: Option<PathBuf>,
    sudo: Option<PathBuf>,
}

impl Machine {
    /// Looks at files only; no process is started.
    pub fn detect() -> Self {
        Self {
            root: fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0),
            debian: find("apt-get").is_some()
                && fs::read_to_string("/etc/os-release").is_ok_and(|text| is_debian(&text)),
            rustup: find("rustup"),
            sudo: find("sudo"),
        }
    }

    /// Someone who needs no sudo for what he does in a test's own directory.
    #[cfg(test)]
    pub fn for_test_as_root() -> Self {
        Self {
            root: true,
            debian: false,
            rustup: None,
            sudo: None,
        }
    }

    /// Whether something can be done as root, now or after a password.
    pub fn can_elevate(&self) -> bool {
        self.root || self.sudo.is_some()
    }

    /// A command that runs `program` as root with `variables` set: directly for root, else through sudo.
    ///
    /// # Errors
    ///
    /// Neither root nor sudo.
    pub fn elevated(
        &self,
        program: impl AsRef<OsStr>,
        variables: &[(&str, &OsStr)],
    ) -> anyhow::Result<Command> {
        if self.root {
            let mut command = Command::new(program);
            command.envs(variables.iter().copied());
            return Ok(command);
        }
        let Some(sudo) = &self.sudo else {
            bail!(
                "{} needs root: become root, or install sudo and allow yourself to use it",
                program.as_ref().display()
            );
        };
        let mut command = Command::new(sudo);
        if !variables.is_empty() {
            // Not `sudo --preserve-env`: it needs a permission of its own (SETENV).
            command.arg("env");
            for (name, value) in variables {
                let mut assignment = OsStr::new(name).to_owned();
                assignment.push("=");
                assignment.push(value);
                command.arg(assignment);
            }
        }
        command.arg(program);
        Ok(command)
    }
}

/// Variables of the caller that an elevated program of ours should still see, where they are set.
pub fn kept_variables() -> Vec<(&'static str, std::ffi::OsString)> {
    [
        "NO_COLOR",
        "TERM",
        "RUST_LOG",
        "RUST_BACKTRACE",
        "TCPWATCH_FUZZ_SECONDS",
        "TCPWATCH_FUZZ_SEED",
    ]
    .into_iter()
    .filter_map(|name| env::var_os(name).map(|value| (name, value)))
    .collect()
}

/// Where cargo installs programs; not always in PATH.
pub fn cargo_home() -> PathBuf {
    home_directory("CARGO_HOME", ".cargo")
}

/// Where rustup keeps its toolchains.
pub fn rustup_home() -> PathBuf {
    home_directory("RUSTUP_HOME", ".rustup")
}

fn home_directory(variable: &str, default: &str) -> PathBuf {
    env::var_os(variable)
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(default)))
        .unwrap_or_else(|| PathBuf::from(default))
}

/// PATH with cargo's own directory before it, so that the bpf-linker we installed is the one that is used.
pub fn search_path() -> std::ffi::OsString {
    let mut path = cargo_home().join("bin").into_os_string();
    if let Some(rest) = env::var_os("PATH") {
        path.push(":");
        path.push(rest);
    }
    path
}

/// The first file of this name in [`search_path`] and the system directories.
pub fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&search_path())
        .chain(SYSTEM_DIRECTORIES.map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

/// What a program prints, or nothing where it is missing or fails.
pub fn answer(program: impl AsRef<Path>, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program.as_ref())
        .args(arguments)
        .env("LC_ALL", "C")
        .env("PATH", search_path())
        .stdin(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Runs a command with our terminal.
///
/// # Errors
///
/// It cannot be started, or does not succeed.
pub fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let line = shown(command);
    let status = command
        .status()
        .with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// A command as one would type it.
pub fn shown(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    words.join(" ")
}

fn is_debian(os_release: &str) -> bool {
    os_release
        .lines()
        .filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")))
        .flat_map(|value| value.trim_matches('"').split(' '))
        .any(|id| id == "debian" || id == "ubuntu")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_debian_and_its_descendants_only() {
        assert!(is_debian("PRETTY_NAME=\"x\"\nID=debian\n"));
        assert!(is_debian("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"));
        assert!(!is_debian("ID=fedora\nVERSION_ID=42\n"));
        assert!(!is_debian("ID=arch\nNAME=debian\n"));
    }

    fn machine(root: bool, sudo: Option<&str>) -> Machine {
        Machine {
            root,
            debian: true,
            rustup: None,
            sudo: sudo.map(PathBuf::from),
        }
    }

    #[test]
    fn root_runs_a_program_directly() {
        let command = machine(true, Some("/usr/bin/sudo"))
            .elevated("ip", &[("A", OsStr::new("1"))])
            .unwrap();
        assert_eq!(shown(&command), "ip");
        assert_eq!(
            command.get_envs().next(),
            Some((OsStr::new("A"), Some(OsStr::new("1"))))
        );
    }

    #[test]
    fn others_run_it_through_sudo_with_the_variables_spelled_out() {
        let command = machine(false, Some("/usr/bin/sudo"))
            .elevated("ip", &[("A", OsStr::new("1 2"))])
            .unwrap();
        assert_eq!(shown(&command), "/usr/bin/sudo env A=1 2 ip");
    }

    #[test]
    fn without_root_and_sudo_there_is_an_error_with_a_cure() {
        let error = machine(false, None).elevated("ip", &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "ip needs root: become root, or install sudo and allow yourself to use it"
        );
    }
}
