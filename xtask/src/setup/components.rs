//! rustfmt and clippy, which a minimal installation of Rust lacks.

use std::process::Command;

use crate::cargo;
use crate::machine::{Machine, find, search_path, shown, succeed};
use crate::setup::{Finding, Remedy, State};

const PROGRAMS: [&str; 2] = ["cargo-fmt", "cargo-clippy"];

/// Whether `cargo xtask lint` can run.
pub fn look(machine: &Machine) -> Finding {
    let missing: Vec<&str> = PROGRAMS
        .into_iter()
        .filter(|program| !is_there(program))
        .collect();
    let state = if missing.is_empty() {
        State::Ready("for the toolchain in use".to_owned())
    } else if machine.rustup.is_some() {
        State::Missing(
            "rustup component add rustfmt clippy".to_owned(),
            Remedy::Components,
        )
    } else {
        State::Without(format!(
            "`cargo xtask lint` lacks {}; rustup has them",
            missing.join(" and ")
        ))
    };
    Finding {
        name: "rustfmt, clippy",
        state,
    }
}

/// rustup's own links are there for every toolchain, with the component or without: look beside cargo itself.
fn is_there(program: &str) -> bool {
    let cargo = cargo::cargo();
    let cargo = std::path::Path::new(cargo.get_program());
    match cargo.parent() {
        Some(directory) if cargo.is_absolute() => directory.join(program).is_file(),
        _ => find(program).is_some(),
    }
}

/// Adds them to the toolchain in use.
pub fn install() -> anyhow::Result<()> {
    let mut command = Command::new("rustup");
    command
        .env("PATH", search_path())
        .args(["component", "add", "rustfmt", "clippy"]);
    println!("+ {}", shown(&command));
    succeed(&mut command)
}
