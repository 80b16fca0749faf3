//! `cargo xtask bench`: what the packet path costs, beside an empty program and beside the counter that one would write
//! first, in the same run and in turn. Prints ratios; single nanoseconds change from machine to machine.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement that cannot be made ends with a panic"
)]

mod candidate;
mod live;
mod machine;
mod report;
mod sender;
mod test_run;

use std::path::PathBuf;

use clap::Parser;

/// Measures tcpwatch's packet path against an empty program and a naive hash counter.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench")]
struct Arguments {
    /// How often every measurement is repeated; medians are printed
    #[arg(long, default_value_t = 7)]
    rounds: usize,

    /// Packets sent for each live measurement
    #[arg(long, default_value_t = 300_000)]
    packets: usize,

    /// Also write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() {
    let arguments = Arguments::parse();
    let mut lines = test_run::measure(arguments.rounds);
    lines.extend(live::measure(arguments.rounds, arguments.packets));
    let report = report::Report {
        machine: machine::describe(),
        lines,
    };
    report.print();
    if let Some(path) = arguments.json {
        std::fs::write(&path, serde_json::to_string_pretty(&report).unwrap()).unwrap();
    }
}
