//! Which of the history's resolutions answer for a period.

use rusqlite::Connection;

use crate::history::rollup::{DAY_MS, HOUR_MS, get};

/// How finely a part of a period is answered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resolution {
    /// Interval by interval.
    Interval,
    /// Hours, UTC.
    Hour,
    /// Days, UTC.
    Day,
}

/// A part of a period: buckets from `first` up to `end`, without it. For intervals these are milliseconds: those that ended after
/// `first` and not after `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub resolution: Resolution,
    pub first: i64,
    pub end: i64,
}

/// How a period is answered for. What ended after `from_ms` and not after `to_ms` is in it; where only hours or days are kept, a
/// period that begins or ends within one is widened to all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub(super) pieces: Vec<Piece>,
    /// Its beginning, in milliseconds since 1970, UTC.
    pub from_ms: i64,
    /// Its end.
    pub to_ms: i64,
}

impl Plan {
    /// The longest buckets that it needs; none: there is nothing in it.
    pub fn coarsest(&self) -> Option<Resolution> {
        self.pieces.iter().map(|piece| piece.resolution).max()
    }
}

/// How far roll-ups and deletions have come, see `rollup`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    /// Intervals that ended at this moment or before may be gone.
    pub raw_gone_ms: i64,
    /// The first that is there, and the first that is not made yet.
    pub hours: (i64, i64),
    pub days: (i64, i64),
}

/// Nothing that is kept ended before or after: so that no sum overflows.
const EARLIEST_MS: i64 = -5_000_000 * DAY_MS;
const LATEST_MS: i64 = 5_000_000 * DAY_MS;

impl Progress {
    pub fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let progress = |what: &str| -> rusqlite::Result<Option<i64>> { get(connection, what) };
        // What was never made is an empty range, what was never deleted one without a beginning.
        let range = |level: &str, length: i64| -> rusqlite::Result<(i64, i64)> {
            let earliest = EARLIEST_MS / length;
            Ok((
                progress(&format!("{level}s_gone"))?.unwrap_or(earliest),
                progress(&format!("{level}s_to"))?.unwrap_or(earliest),
            ))
        };
        Ok(Self {
            raw_gone_ms: progress("raw_gone_ms")?.unwrap_or(EARLIEST_MS),
            hours: range("hour", HOUR_MS)?,
            days: range("day", DAY_MS)?,
        })
    }

    pub fn plan(&self, from_ms: i64, to_ms: i64, coarsest: Resolution) -> Plan {
        let (from_ms, to_ms) = self.widened(
            from_ms.clamp(EARLIEST_MS, LATEST_MS),
            to_ms.clamp(EARLIEST_MS, LATEST_MS),
        );
        let mut pieces = Vec::new();
        if from_ms >= to_ms {
            return Plan {
                pieces,
                from_ms,
                to_ms: from_ms,
            };
        }
        let mut add = |resolution, first: i64, end: i64| {
            if first < end {
                pieces.push(Piece {
                    resolution,
                    first,
                    end,
                });
            }
        };
        // Days in the middle, then hours on both sides of them, then intervals on both sides of these.
        let (first_day, end_day) = Self::whole(
            self.days,
            DAY_MS,
            from_ms,
            if coarsest >= Resolution::Day {
                to_ms
            } else {
                to_ms.min(self.days_needed_to())
            },
        );
        add(Resolution::Day, first_day, end_day);
        for (from, to) in around(from_ms, to_ms, first_day * DAY_MS, end_day * DAY_MS) {
            let (first, end) = Self::whole(
                self.hours,
                HOUR_MS,
                from,
                if coarsest >= Resolution::Hour {
                    to
                } else {
                    to.min(self.hours_needed_to())
                },
            );
            add(Resolution::Hour, first, end);
            for (from, to) in around(from, to, first * HOUR_MS, end * HOUR_MS) {
                add(Resolution::Interval, from.max(self.raw_gone_ms), to);
            }
        }
        Plan {
            pieces,
            from_ms,
            to_ms,
        }
    }

    /// Up to here hours may be missing, and so whole days are needed.
    fn days_needed_to(&self) -> i64 {
        ceil(self.hours.0 * HOUR_MS, DAY_MS)
    }

    /// Up to here intervals may be missing.
    fn hours_needed_to(&self) -> i64 {
        ceil(self.raw_gone_ms, HOUR_MS)
    }

    /// What is gone in one resolution is answered for in the next one, whose buckets are then wanted whole.
    fn widened(&self, mut from: i64, mut to: i64) -> (i64, i64) {
        if from >= to {
            return (from, to);
        }
        for (gone, needed_to, length) in [
            (self.raw_gone_ms, self.hours_needed_to(), HOUR_MS),
            (self.hours.0 * HOUR_MS, self.days_needed_to(), DAY_MS),
        ] {
            if from < gone {
                from = floor(from, length);
                if to < needed_to {
                    to = ceil(to, length);
                }
            }
        }
        (from, to)
    }

    /// The buckets of a range that lie wholly in a period.
    fn whole((gone, made_to): (i64, i64), length: i64, from: i64, to: i64) -> (i64, i64) {
        let first = (ceil(from, length) / length).max(gone);
        let end = to.div_euclid(length).min(made_to);
        (first, end)
    }
}

/// What is left of a period on both sides of a part of it, which may be empty.
fn around(from: i64, to: i64, part_from: i64, part_to: i64) -> Vec<(i64, i64)> {
    if part_from >= part_to {
        return vec![(from, to)];
    }
    [(from, part_from), (part_to, to)]
        .into_iter()
        .filter(|(from, to)| from < to)
        .collect()
}

fn floor(ms: i64, length: i64) -> i64 {
    ms.div_euclid(length) * length
}

fn ceil(ms: i64, length: i64) -> i64 {
    floor(ms, length) + if ms.rem_euclid(length) > 0 { length } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = HOUR_MS;

    fn progress() -> Progress {
        Progress {
            raw_gone_ms: 240 * HOUR,
            hours: (96, 288),
            days: (1, 12),
        }
    }

    fn pieces(from: i64, to: i64, coarsest: Resolution) -> Vec<(Resolution, i64, i64)> {
        let plan = progress().plan(from, to, coarsest);
        plan.pieces
            .iter()
            .map(|piece| (piece.resolution, piece.first, piece.end))
            .collect()
    }

    #[test]
    fn the_coarsest_buckets_are_in_the_middle() {
        use Resolution::{Day, Hour, Interval};
        assert_eq!(
            pieces(250 * HOUR + 1, 290 * HOUR + 5, Day),
            [
                (Day, 11, 12),
                (Hour, 251, 264),
                (Interval, 250 * HOUR + 1, 251 * HOUR),
                (Interval, 288 * HOUR, 290 * HOUR + 5)
            ]
        );
        assert_eq!(
            pieces(250 * HOUR, 252 * HOUR, Interval),
            [(Interval, 250 * HOUR, 252 * HOUR)]
        );
    }

    #[test]
    fn where_only_coarse_buckets_are_kept_the_period_is_widened() {
        use Resolution::{Day, Hour, Interval};
        assert_eq!(
            pieces(100 * HOUR + 7, 102 * HOUR + 7, Interval),
            [(Hour, 100, 103)]
        );
        assert_eq!(pieces(30 * HOUR, 40 * HOUR, Interval), [(Day, 1, 2)]);
        let plan = progress().plan(30 * HOUR, 100 * HOUR + 1, Hour);
        assert_eq!((plan.from_ms, plan.to_ms), (24 * HOUR, 101 * HOUR));
    }

    #[test]
    fn an_hour_of_which_some_intervals_are_gone_is_answered_for_as_an_hour() {
        use Resolution::{Hour, Interval};
        let progress = Progress {
            raw_gone_ms: 240 * HOUR + 1000,
            ..progress()
        };
        let pieces = |from, to| {
            let plan = progress.plan(from, to, Interval);
            let pieces: Vec<_> = plan
                .pieces
                .iter()
                .map(|piece| (piece.resolution, piece.first, piece.end))
                .collect();
            pieces
        };
        assert_eq!(
            pieces(239 * HOUR, 242 * HOUR),
            [(Hour, 239, 241), (Interval, 241 * HOUR, 242 * HOUR)]
        );
        // It ends in the part of the hour that is there, but begins before.
        assert_eq!(pieces(239 * HOUR, 240 * HOUR + 2000), [(Hour, 239, 241)]);
        assert_eq!(
            pieces(240 * HOUR + 1000, 240 * HOUR + 2000),
            [(Interval, 240 * HOUR + 1000, 240 * HOUR + 2000)]
        );
    }

    #[test]
    fn a_day_of_which_some_hours_are_gone_is_answered_for_as_a_day() {
        use Resolution::{Day, Hour, Interval};
        let progress = Progress {
            hours: (100, 288),
            ..progress()
        };
        let plan = progress.plan(90 * HOUR, 130 * HOUR, Interval);
        let pieces: Vec<_> = plan
            .pieces
            .iter()
            .map(|piece| (piece.resolution, piece.first, piece.end))
            .collect();
        assert_eq!(pieces, [(Day, 3, 5), (Hour, 120, 130)]);
    }

    #[test]
    fn no_period_overflows() {
        for coarsest in [Resolution::Interval, Resolution::Hour, Resolution::Day] {
            for (from, to) in [
                (i64::MIN, i64::MAX),
                (i64::MAX, i64::MIN),
                (0, i64::MAX),
                (i64::MIN, 0),
            ] {
                progress().plan(from, to, coarsest);
            }
        }
    }
}
