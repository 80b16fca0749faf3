//! What must hold from record to record: numbers without a gap, each once; each begins where the one before it ends.

use std::collections::VecDeque;
use std::sync::Arc;

use foldhash::HashMap;
use jiff::Timestamp;

use crate::record::Record;
use crate::verify::device::Devices;

/// Runs that are remembered; of those that are longest ago nothing is known any more.
const MOST_RUNS: usize = 1024;
/// Gaps that are remembered for each run, in case that their records come later.
const MOST_GAPS: usize = 64;

/// What was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Something does not hold.
    Finding,
    /// Worth knowing, and in order.
    Note,
}

/// All runs so far.
#[derive(Default)]
pub struct Runs {
    runs: HashMap<Arc<str>, Run>,
    order: VecDeque<Arc<str>>,
    /// Runs that were ever begun, as far as is remembered.
    pub count: u64,
    last: Option<(Arc<str>, Timestamp)>,
}

struct Run {
    last: u64,
    end: Timestamp,
    /// It has had its last record.
    over: bool,
    gaps: Vec<(u64, u64)>,
    devices: Devices,
}

impl Runs {
    /// Takes a record in and says what is to be said of it.
    pub fn take(&mut self, record: &Record, say: &mut dyn FnMut(Weight, String)) {
        let Some(run) = self.runs.get_mut(&record.run) else {
            self.begin(record, say);
            return;
        };
        self.last = Some((Arc::clone(&record.run), record.end));
        let (seq, next) = (record.seq, run.last.saturating_add(1));
        if seq <= run.last {
            match run
                .gaps
                .iter()
                .position(|(first, last)| (*first..=*last).contains(&seq))
            {
                Some(at) => {
                    let (first, last) = run.gaps.swap_remove(at);
                    let parts = [(first, seq - 1), (seq + 1, last)];
                    run.gaps
                        .extend(parts.into_iter().filter(|(first, last)| first <= last));
                    say(Weight::Finding, format!("comes late, after number {}", run.last));
                }
                None => say(
                    Weight::Finding,
                    format!("is there once more, after number {}", run.last),
                ),
            }
            return;
        }
        if seq > next {
            run.devices = Devices::begin(record);
            say(
                Weight::Finding,
                format!("follows number {}: {} missing", run.last, records(next, seq - 1)),
            );
            if run.gaps.len() < MOST_GAPS {
                run.gaps.push((next, seq - 1));
            }
        } else if let Some(difference) = run.devices.take(record) {
            say(Weight::Finding, difference);
        }
        if seq == next && record.start != run.end {
            let apart = record.start.as_millisecond() - run.end.as_millisecond();
            let how = if apart > 0 { "after" } else { "before" };
            let apart = apart.unsigned_abs() as f64 / 1000.0;
            say(
                Weight::Finding,
                format!("begins {apart:.3} s {how} the end of number {}", run.last),
            );
        }
        if run.over {
            say(
                Weight::Finding,
                format!("follows number {}, which was the last of its run", run.last),
            );
        }
        run.last = seq;
        run.end = record.end;
        run.over = record.partial;
    }

    fn begin(&mut self, record: &Record, say: &mut dyn FnMut(Weight, String)) {
        let mut gaps = Vec::new();
        match &self.last {
            // Where it begins, earlier records may be in another file.
            None if record.seq > 1 => say(
                Weight::Note,
                format!(
                    "is the first here: {} may be in another file",
                    records(1, record.seq - 1)
                ),
            ),
            None => {}
            Some((before, end)) => {
                let apart = (record.start.as_millisecond() - end.as_millisecond()) as f64 / 1000.0;
                let ended = match self.runs.get(before) {
                    Some(run) if !run.over => {
                        ", which has no last record: it was killed, or goes on elsewhere"
                    }
                    Some(_) | None => "",
                };
                say(
                    Weight::Note,
                    format!(
                        "begins a new run, {apart:.3} s after the end of run {}{ended}",
                        short(before)
                    ),
                );
                if record.seq > 1 {
                    say(
                        Weight::Finding,
                        format!("begins its run: {} missing", records(1, record.seq - 1)),
                    );
                    gaps.push((1, record.seq - 1));
                }
            }
        }
        if self.order.len() >= MOST_RUNS
            && let Some(oldest) = self.order.pop_front()
        {
            self.runs.remove(&oldest);
        }
        self.count += 1;
        self.order.push_back(Arc::clone(&record.run));
        self.last = Some((Arc::clone(&record.run), record.end));
        self.runs.insert(
            Arc::clone(&record.run),
            Run {
                last: record.seq,
                end: record.end,
                over: record.partial,
                gaps,
                devices: Devices::begin(record),
            },
        );
    }
}

fn records(first: u64, last: u64) -> String {
    if first == last {
        format!("record {first}")
    } else {
        format!("records {first} to {last}")
    }
}

/// Enough of a run's name to tell it from others.
#[must_use]
pub fn short(run: &str) -> String {
    run.chars().take(8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample;

    fn record(run: &str, seq: u64, end_s: i64) -> Record {
        sample::record(run, seq, end_s * 1000, vec![])
    }

    fn said(records: &[Record]) -> Vec<(Weight, String)> {
        let mut runs = Runs::default();
        let mut said = Vec::new();
        for record in records {
            runs.take(record, &mut |weight, text| said.push((weight, text)));
        }
        said
    }

    #[test]
    fn a_run_in_order_has_nothing_to_be_said() {
        assert_eq!(
            said(&[record("a", 1, 20), record("a", 2, 40), record("a", 3, 60)]),
            []
        );
    }

    #[test]
    fn what_is_missing_late_or_twice_is_found() {
        let records: Vec<Record> = [1, 5, 3, 3, 5, 6, 2]
            .into_iter()
            .map(|seq| record("a", seq, seq as i64 * 20))
            .collect();
        let expected = [
            "follows number 1: records 2 to 4 missing",
            "comes late, after number 5",
            "is there once more, after number 5",
            "is there once more, after number 5",
            "comes late, after number 6",
        ];
        assert_eq!(
            said(&records),
            expected.map(|text| (Weight::Finding, text.to_owned()))
        );
    }

    #[test]
    fn gaps_and_overlaps_in_time_are_found() {
        let records = [record("a", 1, 20), record("a", 2, 43), record("a", 3, 60)];
        let expected = [
            "begins 3.000 s after the end of number 1",
            "begins 3.000 s before the end of number 2",
        ];
        assert_eq!(
            said(&records),
            expected.map(|text| (Weight::Finding, text.to_owned()))
        );
    }

    #[test]
    fn a_new_run_is_a_note_and_the_rest_of_a_run_that_was_over_a_finding() {
        let mut last = record("a", 2, 40);
        last.partial = true;
        let records = [record("a", 1, 20), last, record("a", 3, 60), record("b", 2, 100)];
        assert_eq!(
            said(&records),
            [
                (Weight::Finding, "follows number 2, which was the last of its run".to_owned()),
                (
                    Weight::Note,
                    "begins a new run, 20.000 s after the end of run a, which has no last record: it was killed, or goes on elsewhere"
                        .to_owned()
                ),
                (Weight::Finding, "begins its run: record 1 missing".to_owned()),
            ]
        );
        assert_eq!(
            said(&[record("a", 7, 20)]),
            [(
                Weight::Note,
                "is the first here: records 1 to 6 may be in another file".to_owned()
            )]
        );
    }

    #[test]
    fn memory_is_bounded() {
        let mut runs = Runs::default();
        for n in 0..5000 {
            runs.take(&record(&format!("run{n}"), 1, n), &mut |_, _| ());
            runs.take(&record(&format!("run{n}"), 3, n), &mut |_, _| ());
        }
        assert_eq!(
            (runs.runs.len(), runs.order.len(), runs.count),
            (MOST_RUNS, MOST_RUNS, 5000)
        );
    }
}
