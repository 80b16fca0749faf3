//! `cargo xtask run`: build as the user, elevate only the finished program.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use anyhow::Context as _;

use crate::machine::{Machine, kept_variables, shown};
use crate::{cargo, setup};

#[derive(clap::Args)]
pub struct Arguments {
    /// Build without optimisation
    #[arg(long)]
    debug: bool,
    /// Passed on to `tcpwatch run`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Does not return where all goes well: the program takes this one's place, so that Ctrl-C reaches it alone.
pub fn command(arguments: &Arguments) -> anyhow::Result<()> {
    let machine = Machine::detect();
    setup::ensure(&machine, &[setup::Purpose::Build, setup::Purpose::Places])?;
    let program = cargo::program("tcpwatch", "tcpwatch", !arguments.debug)?;
    let mut words = vec![OsString::from("run")];
    words.extend(arguments.arguments.iter().cloned());
    become_elevated(&machine, &program, &words, &[])
}

/// Replaces this process by `program`, as root, with `variables` set besides those that are kept.
///
/// # Errors
///
/// Neither root nor sudo, or the program cannot be started.
pub fn become_elevated(
    machine: &Machine,
    program: &Path,
    arguments: &[OsString],
    variables: &[(&str, &OsStr)],
) -> anyhow::Result<()> {
    let kept = kept_variables();
    let variables: Vec<_> = kept
        .iter()
        .map(|(name, value)| (*name, value.as_os_str()))
        .chain(variables.iter().copied())
        .collect();
    let mut command = machine.elevated(program, &variables)?;
    command.args(arguments);
    if !machine.root {
        eprintln!("+ {}", shown(&command));
    }
    let error = command.exec();
    Err(error).with_context(|| format!("cannot start `{}`", shown(&command)))
}
