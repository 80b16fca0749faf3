//! `cargo xtask bench`: the program `bench` of the tests package, as root.

use std::ffi::OsString;

use crate::machine::Machine;
use crate::run::become_elevated;
use crate::{cargo, setup};

#[derive(clap::Args)]
pub struct Arguments {
    /// Passed on to the program
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Does not return where all goes well.
pub fn command(arguments: &Arguments) -> anyhow::Result<()> {
    let machine = Machine::detect();
    setup::ensure(&machine, &[setup::Purpose::Build, setup::Purpose::Tests])?;
    let program = cargo::program("tcpwatch-tests", "bench", true)?;
    become_elevated(&machine, &program, &arguments.arguments)
}
