//! `cargo xtask`: what a person or the gate does with this repository. This file only dispatches.

#![expect(
    clippy::print_stdout,
    reason = "these commands talk to the person who typed them"
)]

mod bench;
mod cargo;
mod doctor;
mod kernels;
mod lint;
mod machine;
mod package;
mod places;
mod run;
mod setup;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "build, run and test tcpwatch"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what building, running and testing need, and make the place database
    Setup(setup::Arguments),
    /// Build tcpwatch and run `tcpwatch run` as root
    Run(run::Arguments),
    /// Run all tests, or only those that need no root
    Test(test::Arguments),
    /// Measure the cost per packet against the budgets
    Bench(bench::Arguments),
    /// Say what this machine can build and run, and what it lacks
    Doctor,
    /// Check format and lints, as the gate does
    Lint,
    /// Make the .deb and the static tarball
    Package(package::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Setup(arguments) => setup::command(&arguments),
        Command::Run(arguments) => run::command(&arguments),
        Command::Test(arguments) => test::command(&arguments),
        Command::Bench(arguments) => bench::command(&arguments),
        Command::Doctor => doctor::command(),
        Command::Lint => lint::command(),
        Command::Package(arguments) => package::command(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
