//! The real program as an operator runs it: processor time and memory, and how soon its records are out.

use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use aya::programs::{SchedClassifier, TcAttachType};
use tcpwatch_tests::daemon::Tcpwatch;
use tcpwatch_tests::lab::Lab;

use crate::addresses;
use crate::candidate::{INTERFACE, SOURCE};
use crate::clock;
use crate::record_file::RecordFile;
use crate::report::{Budget, Line};
use crate::sender::{Popularity, Sender};
use crate::statistics::median;

/// Short, so that several fit into the run; work is done at its end, whatever its length.
const INTERVAL: &str = "2s";
/// The program's own default, which the budget speaks of.
const USUAL_INTERVAL_S: f64 = 20.0;
const INTERVALS: usize = 4;
/// Without processor time for so long, the work of an interval is done.
const QUIET: Duration = Duration::from_millis(150);
/// Attempts to have all destinations within one interval.
const ATTEMPTS: usize = 12;
const STARTS: usize = 5;

/// One interval's work.
struct Work {
    /// Processor time from before its end until all was done, in milliseconds.
    cpu_ms: f64,
    /// From its end to the record's last byte, in milliseconds.
    delay_ms: f64,
}

/// What a run of the program cost.
struct Run {
    work: Vec<Work>,
    /// Processor time while nothing was due, in milliseconds for each second.
    idle: f64,
    rss_mb: f64,
    peak_mb: f64,
    databases: usize,
}

impl Run {
    fn cpu_ms(&self) -> f64 {
        median(&self.work.iter().map(|work| work.cpu_ms).collect::<Vec<_>>())
    }

    fn delay_ms(&self) -> f64 {
        median(&self.work.iter().map(|work| work.delay_ms).collect::<Vec<_>>())
    }
}

/// Start, a busy host and an ordinary one.
pub fn measure(lab: &Lab) -> Vec<Line> {
    let start = start(lab);
    let busy = run(lab, 100_000);
    let case = format!(
        "end to end, 100000 destinations, {} place database(s)",
        busy.databases
    );
    let mut lines =
        vec![
            Line::alone("end to end, start", "to attached", start, "ms")
                .promised(Budget::at_most(300.0, "ms", start)),
            Line::alone(&case, "processor time for a record", busy.cpu_ms(), "ms").promised(Budget::at_most(
                250.0,
                "ms",
                busy.cpu_ms(),
            )),
            Line::alone(
                &case,
                "end of the interval to record written",
                busy.delay_ms(),
                "ms",
            )
            .promised(Budget::at_most(500.0, "ms", busy.delay_ms())),
            Line::alone(&case, "resident memory", busy.rss_mb, "MB"),
            Line::alone(&case, "resident memory, at its highest", busy.peak_mb, "MB")
                .promised(Budget::at_most(120.0, "MB", busy.peak_mb)),
        ];
    let ordinary = run(lab, 10_000);
    let case = "end to end, 10000 destinations";
    let share = (ordinary.cpu_ms() + ordinary.idle * USUAL_INTERVAL_S) / (USUAL_INTERVAL_S * 10.0);
    lines.extend([
        Line::alone(case, "processor time for a record", ordinary.cpu_ms(), "ms"),
        Line::alone(
            case,
            "processor time between records, a second",
            ordinary.idle,
            "ms",
        ),
        Line::alone(case, "of one processor, at a record every 20 s", share, "%").promised(Budget::at_most(
            0.2,
            "% of a processor",
            share,
        )),
    ]);
    lines
}

/// Milliseconds from starting the process (by way of `ip netns exec` and `setpriv`) to its program on the hook.
fn start(lab: &Lab) -> f64 {
    let taken: Vec<f64> = (0..STARTS)
        .map(|_| {
            let started = Instant::now();
            let program = lab.tcpwatch(["run", "--format", "json"]).spawn();
            lab.near.within(|| {
                while SchedClassifier::query_tcx(INTERFACE, TcAttachType::Egress)
                    .unwrap()
                    .1
                    .is_empty()
                {
                    assert!(started.elapsed() < Duration::from_secs(20), "tcpwatch attaches");
                    thread::sleep(Duration::from_millis(1));
                }
            });
            let taken = started.elapsed();
            stop(program);
            taken.as_secs_f64() * 1e3
        })
        .collect();
    median(&taken)
}

fn stop(mut program: Tcpwatch) {
    program.wait_until_started();
    program.stop();
}

fn run(lab: &Lab, destinations: usize) -> Run {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("records.jsonl");
    // The table is shown to nobody, but made: the record file is what is measured.
    let invocation = lab
        .tcpwatch(["run", "--format", "table", "--interval", INTERVAL])
        .with_path("--record", &path)
        // It keeps one by default.
        .with_path("--history", &directory.path().join("history.db"));
    let mut command = invocation.command();
    let mut program = Tcpwatch::new(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn());
    program.wait_until_started();
    let (pid, mut file) = (program.pid(), RecordFile::new(path));
    let mut result = Run {
        work: Vec::new(),
        idle: 0.0,
        rss_mb: 0.0,
        peak_mb: 0.0,
        databases: 0,
    };
    let mut idle = Vec::new();
    let sender = lab
        .near
        .within(|| Sender::new(SOURCE, &addresses::sequential(destinations), Popularity::Uniform));
    file.next();
    for _ in 0..ATTEMPTS {
        idle.push(until_quiet(pid));
        sender.all_once();
        let before = clock::of_process(pid);
        let (record, at) = file.next();
        until_quiet(pid);
        let cpu = clock::of_process(pid) - before;
        // On a busy machine the packets may be spread over two intervals.
        if record.destinations.len() < destinations {
            continue;
        }
        result.databases = record.geo.len();
        result.work.push(Work {
            cpu_ms: cpu.as_secs_f64() * 1e3,
            delay_ms: at.duration_since(record.end).as_secs_f64() * 1e3,
        });
        if result.work.len() == INTERVALS {
            break;
        }
    }
    result.idle = median(&idle);
    result.rss_mb = memory_mb(pid, "VmRSS:");
    result.peak_mb = memory_mb(pid, "VmHWM:");
    program.stop();
    result
}

/// Waits until the process has nothing more to do, and returns the milliseconds of processor time a second that it used in
/// the last wait, which was a quiet one.
fn until_quiet(pid: u32) -> f64 {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let (before, started) = (clock::of_process(pid), Instant::now());
        thread::sleep(QUIET);
        let used = clock::of_process(pid) - before;
        let taken = started.elapsed();
        // Timers may run; a drain or a record takes far more than one part in a hundred.
        if used * 100 < taken || Instant::now() > deadline {
            return used.as_secs_f64() * 1e3 / taken.as_secs_f64();
        }
    }
}

fn memory_mb(pid: u32, field: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kib: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.split_whitespace().next()?.parse().ok())
        .unwrap();
    kib * 1024.0 / 1e6
}
