//! What packages are made with: cargo-deb, in the target directory, and for the static program the C compiler and Rust's library for musl.

use std::path::PathBuf;
use std::process::Command;

use crate::cargo;
use crate::machine::{Machine, answer, find, shown, succeed};
use crate::setup::{Finding, Remedy, State};

/// The pinned cargo-deb.
const CARGO_DEB: &str = "3.8.0";
/// Where the static program runs: any Linux of this processor.
pub const STATIC: &str = "x86_64-unknown-linux-musl";
/// Compiles SQLite and ring for it.
pub const MUSL_GCC: &str = "musl-gcc";

/// All of them, there or not.
pub fn look(machine: &Machine) -> Vec<Finding> {
    let deb = match cargo_deb_path()
        .ok()
        .and_then(|path| answer(path, &["--version"]))
    {
        Some(version) if version.ends_with(CARGO_DEB) => State::Ready(CARGO_DEB.to_owned()),
        _ => State::Missing(
            format!("cargo install cargo-deb@{CARGO_DEB}, a minute"),
            Remedy::CargoDeb,
        ),
    };
    let gcc = match find(MUSL_GCC) {
        Some(path) => State::Ready(path.display().to_string()),
        None if machine.debian => State::Missing(
            "apt-get install musl-tools (the static program's C)".to_owned(),
            Remedy::Packages(vec!["musl-tools"]),
        ),
        None => State::Without("no static tarball: install musl-gcc".to_owned()),
    };
    let std = if has_static_std() {
        State::Ready(STATIC.to_owned())
    } else if machine.rustup.is_some() {
        State::Missing(shown(&target_command()), Remedy::StaticTarget)
    } else {
        State::Without(format!(
            "no static tarball: this Rust has no library for {STATIC}, rustup has"
        ))
    };
    [("cargo-deb", deb), ("musl-gcc", gcc), ("static Rust", std)]
        .map(|(name, state)| Finding { name, state })
        .into()
}

/// A call of cargo-deb.
///
/// # Errors
///
/// Where it would be is unknown.
pub fn cargo_deb() -> anyhow::Result<Command> {
    let mut command = Command::new(cargo_deb_path()?);
    command.current_dir(cargo::WORKSPACE);
    Ok(command)
}

/// Installs it for this target directory alone; unoptimised, which compiles in half the time and packs in a second more.
///
/// # Errors
///
/// cargo fails.
pub fn install_cargo_deb() -> anyhow::Result<()> {
    let mut command = cargo::cargo();
    command
        .args([
            "install",
            "cargo-deb",
            "--version",
            CARGO_DEB,
            "--locked",
            "--debug",
        ])
        .args(["--no-default-features", "--root"])
        .arg(cargo::kept()?.join("cargo-deb"));
    // Not this workspace's: it would be built anew for what is set there.
    command
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("TCPWATCH_EBPF_STUB");
    println!("+ {}", shown(&command));
    succeed(&mut command)
}

/// Adds Rust's library for the static program.
///
/// # Errors
///
/// rustup fails.
pub fn install_target() -> anyhow::Result<()> {
    let mut command = target_command();
    println!("+ {}", shown(&command));
    succeed(&mut command)
}

fn target_command() -> Command {
    let mut command = Command::new("rustup");
    command.args(["target", "add", STATIC]);
    command
}

/// Whether the static program can be built.
pub fn can_be_static() -> bool {
    has_static_std() && find(MUSL_GCC).is_some()
}

fn has_static_std() -> bool {
    let mut rustc = Command::new("rustc");
    rustc
        .current_dir(cargo::WORKSPACE)
        .args(["--print", "target-libdir", "--target", STATIC]);
    rustc
        .output()
        .is_ok_and(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
}

fn cargo_deb_path() -> anyhow::Result<PathBuf> {
    Ok(cargo::kept()?.join("cargo-deb/bin/cargo-deb"))
}
