//! Calls of cargo: always as the current user, with our directory of programs in PATH.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::machine::{search_path, shown};

/// The workspace this xtask was built in.
pub const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// What cargo tells a program that it runs of that program's package. Build scripts that look at them (ring's does) would be run anew,
/// and all that is built on them, with each change between cargo called by us and by somebody else.
const OURS: [&str; 3] = ["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_PRIMARY_"];

/// The cargo that runs us, in the workspace.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(WORKSPACE).env("PATH", search_path());
    for (name, _) in env::vars_os() {
        if OURS
            .iter()
            .any(|prefix| name.to_string_lossy().starts_with(prefix))
        {
            command.env_remove(name);
        }
    }
    command
}

/// Builds one program of a package, progress and errors shown as usual, and returns its path.
///
/// # Errors
///
/// The build fails, or makes no program.
pub fn program(package: &str, name: &str, release: bool) -> anyhow::Result<PathBuf> {
    let mut arguments = vec!["build", "--package", package, "--bin", name];
    if release {
        arguments.push("--release");
    }
    one_program(&arguments, |_| {})
}

/// The same with other arguments of cargo, and what else the build is to have.
///
/// # Errors
///
/// The build fails, or makes no program.
pub fn one_program(arguments: &[&str], with: impl FnOnce(&mut Command)) -> anyhow::Result<PathBuf> {
    build(arguments, Kind::Program, with)?
        .pop()
        .context("cargo made no program")
}

/// With what the test programs are built, and the tcpwatch that kills itself: so they share all of it, and tcpwatch as it is used is
/// built once, by itself.
const FAULTS: &str = "tcpwatch/faults";

/// Builds the tcpwatch that kills itself at the step that a test names, and returns the program's path. In a directory of its own: cargo
/// has one place for a program, whatever features it is built with, and the usual one is to be built after it.
///
/// # Errors
///
/// The build fails.
pub fn faulty_program() -> anyhow::Result<PathBuf> {
    let directory = kept()?.join("faulty");
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let mut arguments = vec!["build", "--release", "--bin", "tcpwatch", "--features", FAULTS];
    arguments.extend(["--package", "tcpwatch", "--package", "tcpwatch-tests"]);
    let built = one_program(&arguments, |_| {})?;
    let copy = directory.join("tcpwatch");
    std::fs::copy(&built, &copy).with_context(|| format!("cannot copy {}", built.display()))?;
    Ok(copy)
}

/// Builds the test programs, optimised, and returns their paths in order of name.
///
/// # Errors
///
/// The build fails, or makes no test program.
pub fn tests() -> anyhow::Result<Vec<PathBuf>> {
    let mut arguments = vec!["test", "--release", "--no-run", "--features", FAULTS];
    arguments.extend(["--package", "tcpwatch-tests"]);
    let mut tests = build(&arguments, Kind::Test, |_| {})?;
    tests.sort();
    Ok(tests)
}

fn build(arguments: &[&str], kind: Kind, with: impl FnOnce(&mut Command)) -> anyhow::Result<Vec<PathBuf>> {
    let mut command = cargo();
    with(&mut command);
    command
        .args(arguments)
        .arg("--message-format=json-render-diagnostics");
    let line = shown(&command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}` failed ({})", output.status);
    }
    let programs = executables(&String::from_utf8_lossy(&output.stdout), kind)?;
    if programs.is_empty() {
        bail!("`{line}` made no program");
    }
    Ok(programs)
}

/// A directory for files in the making, in the target directory: ours alone, unlike the system's temporary directory.
///
/// # Errors
///
/// The target directory cannot be written.
pub fn scratch() -> anyhow::Result<PathBuf> {
    beside_this_program("xtask-scratch")
}

/// A directory, beside that one, for files that were fetched and are used again.
///
/// # Errors
///
/// The target directory cannot be written.
pub fn kept() -> anyhow::Result<PathBuf> {
    beside_this_program("xtask-kept")
}

fn beside_this_program(name: &str) -> anyhow::Result<PathBuf> {
    let program = env::current_exe().context("this program's own path is unknown")?;
    let directory = program.parent().unwrap_or(Path::new(".")).join(name);
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    Ok(directory)
}

/// A package's tests are built together with its programs, which they may call: cargo names both.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Program,
    Test,
}

fn executables(messages: &str, kind: Kind) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for line in messages.lines().filter(|line| line.starts_with('{')) {
        let message: serde_json::Value = serde_json::from_str(line).context("cargo's answer is not JSON")?;
        let of = if message["profile"]["test"] == true {
            Kind::Test
        } else {
            Kind::Program
        };
        if let Some(path) = message["executable"].as_str()
            && of == kind
        {
            found.push(PathBuf::from(path));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_test_programs_from_programs_and_libraries() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","profile":{"test":false},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","profile":{"test":true},"executable":"/t/deps/b-1"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","profile":{"test":false},"executable":"/t/bench"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
            "\n",
        );
        assert_eq!(
            executables(messages, Kind::Test).unwrap(),
            [PathBuf::from("/t/deps/b-1")]
        );
        assert_eq!(
            executables(messages, Kind::Program).unwrap(),
            [PathBuf::from("/t/bench")]
        );
    }

    #[test]
    fn refuses_an_answer_that_is_cut_off() {
        assert!(executables(r#"{"executable":"/t/rel"#, Kind::Program).is_err());
    }
}
