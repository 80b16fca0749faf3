//! `cargo xtask bench`: what tcpwatch costs, beside an empty program and beside the counters that one would write first,
//! in the same run and in turn. Prints ratios; single nanoseconds change from machine to machine.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement that cannot be made ends with a panic"
)]

mod addresses;
mod candidate;
mod clock;
mod drain;
mod end_to_end;
mod history;
mod live;
mod machine;
mod places;
mod random;
mod rate;
mod record_file;
mod report;
mod sender;
mod statistics;
mod test_run;
mod zipf;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use tcpwatch_tests::lab::Lab;
use tcpwatch_tests::note;

/// Measures tcpwatch against an empty program, two hash counters and a packet socket.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench")]
struct Arguments {
    /// Only these parts
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART")]
    only: Vec<Part>,

    /// How often every program is measured in turn; medians are printed
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,

    /// Packets sent for each live measurement
    #[arg(long, default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(1..))]
    packets: u64,

    /// Also write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Exit with 1 where a budget is not met
    #[arg(long)]
    strict: bool,
}

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The program's instructions alone
    TestRun,
    /// The program with real packets
    Live,
    /// Destinations chosen against the table
    Collisions,
    /// Packets a second with and without
    Rate,
    /// Emptying the kernel tables
    Drain,
    /// Looking up where addresses are
    Places,
    /// Records in a history
    History,
    /// The finished program
    EndToEnd,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let machine = machine::describe();
    let lab = Lab::new();
    // Every address of the benchmarking range (RFC 2544) is in the far namespace.
    lab.far.ip("route add local 198.18.0.0/15 dev lo");
    let (rounds, packets) = (arguments.rounds as usize, arguments.packets as usize);
    let mut lines = Vec::new();
    for part in Part::value_variants() {
        if !arguments.only.is_empty() && !arguments.only.contains(part) {
            continue;
        }
        let started = Instant::now();
        lines.extend(match part {
            Part::TestRun => test_run::measure(rounds),
            Part::Live => live::measure(&lab, rounds, packets),
            // Every measurement of these fills the tables anew, which takes longer than the measurement.
            Part::Collisions => live::collisions(&lab, rounds.div_ceil(3), packets),
            Part::Rate => rate::measure(&lab, packets.div_ceil(4)),
            Part::Drain => drain::measure(),
            Part::Places => places::measure(),
            Part::History => history::measure(),
            Part::EndToEnd => end_to_end::measure(&lab),
        });
        note(format_args!("{part:?}: {:.0} s", started.elapsed().as_secs_f64()));
    }
    let report = report::Report { machine, lines };
    report.print();
    if let Some(path) = arguments.json {
        std::fs::write(&path, serde_json::to_string_pretty(&report).unwrap()).unwrap();
    }
    if arguments.strict && !report.all_met() {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
