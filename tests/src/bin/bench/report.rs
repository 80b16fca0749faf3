//! Lines, what was promised of them, and both as text and JSON.

#![allow(clippy::print_stdout, reason = "a report is what the command is for")]

use serde::Serialize;

use crate::machine::Machine;
use crate::statistics::{differences, median, ratios};

/// One promise and what came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Budget {
    /// What was promised, with its limit.
    pub promise: String,
    /// What was measured, in the promise's unit.
    pub measured: f64,
    /// Whether it was kept. What could not be measured was not.
    pub met: bool,
}

impl Budget {
    /// No more than `limit`.
    pub fn at_most(limit: f64, unit: &str, measured: f64) -> Self {
        Self {
            promise: format!("at most {limit} {unit}"),
            measured,
            met: measured <= limit,
        }
    }

    /// No less than `limit`.
    pub fn at_least(limit: f64, unit: &str, measured: f64) -> Self {
        Self {
            promise: format!("at least {limit} {unit}"),
            measured,
            met: measured >= limit,
        }
    }
}

/// One figure.
#[derive(Debug, Serialize)]
pub struct Line {
    /// The situation.
    pub case: String,
    /// The program, or what else was measured.
    pub subject: String,
    /// The median.
    pub figure: f64,
    /// Of `figure`.
    pub unit: &'static str,
    /// Over the empty program of the same round, median; none: not compared.
    pub over_empty: Option<f64>,
    /// To what the case names, median over the rounds; none: not compared.
    pub ratio: Option<f64>,
    /// What `ratio` is of.
    pub ratio_of: Option<&'static str>,
    /// What was promised.
    pub budgets: Vec<Budget>,
}

impl Line {
    /// A figure that is compared with nothing.
    pub fn alone(case: &str, subject: &str, figure: f64, unit: &'static str) -> Self {
        Self {
            case: case.to_owned(),
            subject: subject.to_owned(),
            figure,
            unit,
            over_empty: None,
            ratio: None,
            ratio_of: None,
            budgets: Vec::new(),
        }
    }

    /// The same with a promise.
    pub fn promised(mut self, budget: Budget) -> Self {
        self.budgets.push(budget);
        self
    }
}

/// What tcpwatch must keep to in a situation; none: nothing was promised.
#[derive(Clone, Copy, Debug, Default)]
pub struct Promise {
    /// Nanoseconds over the empty program.
    pub most_ns: Option<f64>,
    /// Part of what the naive counter costs over the empty program.
    pub most_of_naive: Option<f64>,
}

/// One program's nanoseconds a packet, one figure for every round.
pub type Series = (&'static str, Vec<f64>);

/// The lines of one situation: the empty program first, and the naive counter where it can be compared with.
pub fn compare(case: &str, series: &[Series], promise: Promise) -> Vec<Line> {
    let empty = &series[0].1;
    let naive = series
        .iter()
        .find(|(program, _)| *program == "naive")
        .map(|(_, ns)| differences(ns, empty));
    let line = |(program, ns): &Series| {
        let over = differences(ns, empty);
        let over_empty = median(&over);
        let ratio = naive.as_ref().map(|naive| median(&ratios(&over, naive)));
        let mut line = Line::alone(case, program, median(ns), "ns");
        line.over_empty = Some(over_empty);
        line.ratio = ratio;
        line.ratio_of = ratio.map(|_| "naive");
        if program.starts_with("tcpwatch") {
            let ns = promise
                .most_ns
                .map(|most| Budget::at_most(most, "ns over empty", over_empty));
            let part = promise
                .most_of_naive
                .map(|most| Budget::at_most(most, "of naive", ratio.unwrap_or(f64::NAN)));
            line.budgets.extend(ns.into_iter().chain(part));
        }
        line
    };
    series.iter().map(line).collect()
}

/// All of it.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Where it was measured.
    pub machine: Machine,
    /// In the order of measurement.
    pub lines: Vec<Line>,
}

impl Report {
    /// Whether no promise was broken.
    pub fn all_met(&self) -> bool {
        self.budgets().all(|budget| budget.met)
    }

    fn budgets(&self) -> impl Iterator<Item = &Budget> {
        self.lines.iter().flat_map(|line| &line.budgets)
    }

    /// For people.
    pub fn print(&self) {
        let machine = &self.machine;
        let jit = if machine.jit { "on" } else { "off" };
        println!(
            "tcpwatch {}, {}, {} CPUs, L2 {}, Linux {}, JIT {jit}, load {}",
            machine.tcpwatch, machine.processor, machine.cpus, machine.l2, machine.kernel, machine.load
        );
        let mut case = "";
        for line in &self.lines {
            if case != line.case {
                case = &line.case;
                let of = line.ratio_of.map_or(String::new(), |of| format!("of {of}"));
                let over = if line.over_empty.is_some() {
                    "over empty"
                } else {
                    ""
                };
                println!("\n{case:<58} {:>12} {over:>11} {of:>11}", "");
            }
            print_line(line);
        }
        let (all, met) = (
            self.budgets().count(),
            self.budgets().filter(|budget| budget.met).count(),
        );
        println!("\nbudgets: {met} of {all} met");
    }
}

fn print_line(line: &Line) {
    let over = line.over_empty.map_or(String::new(), |over| format!("{over:.1}"));
    let ratio = line.ratio.map_or(String::new(), |ratio| format!("{ratio:.3}"));
    println!(
        "  {:<50} {:>14.1} {:<4} {over:>10} {ratio:>11}",
        line.subject, line.figure, line.unit
    );
    for budget in &line.budgets {
        let verdict = if budget.met { "met" } else { "not met" };
        println!(
            "    budget: {:<42} {:>12.3}  {verdict}",
            budget.promise, budget.measured
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series() -> [Series; 3] {
        [
            ("empty", vec![10.0, 20.0, 10.0]),
            ("naive", vec![110.0, 120.0, 110.0]),
            ("tcpwatch", vec![20.0, 30.0, 25.0]),
        ]
    }

    #[test]
    fn compares_within_a_round_and_then_takes_the_median() {
        let lines = compare("x", &series(), Promise::default());
        assert_eq!(lines[2].over_empty, Some(10.0));
        assert_eq!(lines[2].ratio, Some(0.1));
        assert!(lines.iter().all(|line| line.budgets.is_empty()));
    }

    #[test]
    fn each_promise_has_its_own_verdict() {
        let promise = Promise {
            most_ns: Some(9.0),
            most_of_naive: Some(0.1),
        };
        let lines = compare("x", &series(), promise);
        let verdicts: Vec<bool> = lines[2].budgets.iter().map(|budget| budget.met).collect();
        assert_eq!(verdicts, [false, true]);
        assert!(lines[1].budgets.is_empty());
    }

    #[test]
    fn what_could_not_be_measured_is_not_met() {
        assert!(!Budget::at_most(1.0, "", f64::NAN).met);
        assert!(!Budget::at_least(1.0, "", f64::NAN).met);
        assert!(Budget::at_least(0.98, "", 0.98).met);
    }
}
