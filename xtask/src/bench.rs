//! `cargo xtask bench`: the program `bench` of the tests package, as root, with the finished tcpwatch to measure.

use std::ffi::OsString;

use crate::machine::Machine;
use crate::run::become_elevated;
use crate::test::PROGRAM_VARIABLE;
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
    let needed = [
        setup::Purpose::Build,
        setup::Purpose::Tests,
        setup::Purpose::Bench,
    ];
    setup::ensure(&machine, &needed)?;
    let measured = cargo::program("tcpwatch", "tcpwatch", true)?;
    let bench = cargo::program("tcpwatch-tests", "bench", true)?;
    let variables = [(PROGRAM_VARIABLE, measured.as_os_str())];
    become_elevated(&machine, &bench, &arguments.arguments, &variables)
}
