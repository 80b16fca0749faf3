//! From single figures to medians, ratios and the verdict on the budget.

#![allow(clippy::print_stdout, reason = "a report is what the command is for")]

use serde::Serialize;

use crate::machine::Machine;

/// What a line must keep to; none: nothing was promised.
#[derive(Clone, Copy, Debug, Default)]
pub struct Budget {
    /// Nanoseconds over the empty program.
    pub most_ns: Option<f64>,
    /// Part of what the naive counter costs over the empty program.
    pub most_of_naive: Option<f64>,
}

/// One program in one situation.
#[derive(Debug, Serialize)]
pub struct Line {
    /// The situation.
    pub case: String,
    /// The program.
    pub program: &'static str,
    /// Nanoseconds a packet, median.
    pub ns: f64,
    /// Nanoseconds over the empty program of the same round, median.
    pub over_empty_ns: f64,
    /// `over_empty_ns` by the naive counter's, median over the rounds.
    pub of_naive: f64,
    /// Whether the budget is kept; none: there is none.
    pub met: Option<bool>,
}

/// All of it.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Where it was measured.
    pub machine: Machine,
    /// In the order of measurement.
    pub lines: Vec<Line>,
}

/// The lines of one situation. `figures` begin with the empty program and the naive counter; each has one figure for
/// every round, and only figures of the same round are compared with each other.
pub fn compare(case: &str, figures: &[(&'static str, Vec<f64>)], budget: Budget) -> Vec<Line> {
    let [(_, empty), (_, naive), ..] = figures else {
        panic!("empty and naive come first")
    };
    figures
        .iter()
        .map(|(program, own)| {
            let over: Vec<f64> = own.iter().zip(empty).map(|(own, empty)| own - empty).collect();
            let ratio: Vec<f64> = over
                .iter()
                .zip(naive.iter().zip(empty))
                .map(|(o, (n, e))| o / (n - e))
                .collect();
            let (over_empty_ns, of_naive) = (median(over), median(ratio));
            let promised = program.starts_with("tcpwatch")
                && (budget.most_ns.is_some() || budget.most_of_naive.is_some());
            let met = promised.then(|| {
                budget.most_ns.is_none_or(|most| over_empty_ns <= most)
                    && budget.most_of_naive.is_none_or(|most| of_naive <= most)
            });
            Line {
                case: case.to_owned(),
                program,
                ns: median(own.clone()),
                over_empty_ns,
                of_naive,
                met,
            }
        })
        .collect()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Report {
    /// For people.
    pub fn print(&self) {
        let Machine {
            processor,
            cpus,
            kernel,
            jit,
        } = &self.machine;
        println!(
            "{processor}, {cpus} CPUs, Linux {kernel}, JIT {}",
            if *jit { "on" } else { "off" }
        );
        let mut case = "";
        for line in &self.lines {
            if case != line.case {
                println!(
                    "\n{:<50} {:>8} {:>11} {:>9}  budget",
                    line.case, "ns", "over empty", "of naive"
                );
                case = &line.case;
            }
            let verdict = match line.met {
                None => "",
                Some(true) => "met",
                Some(false) => "not met",
            };
            println!(
                "  {:<48} {:>8.1} {:>11.1} {:>9.2}  {verdict}",
                line.program, line.ns, line.over_empty_ns, line.of_naive
            );
        }
    }
}
