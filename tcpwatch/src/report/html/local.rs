//! Times as the report's place reads them.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

use crate::report::{Period, Report};

/// Lengths that marks on a time axis may be apart, in seconds.
const APART: [i64; 18] = [
    60, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 14_400, 21_600, 43_200, 86_400, 172_800, 345_600,
    604_800, 1_209_600, 2_419_200, 7_257_600,
];
const DAY: i64 = 86_400;

/// A time zone.
pub(super) struct Local {
    zone: TimeZone,
    pub(super) name: String,
}

impl Local {
    pub(super) fn of(report: &Report) -> Self {
        let (zone, name) = super::zone(&report.zone);
        Self {
            zone,
            name: name.into_owned(),
        }
    }

    pub(super) fn at(&self, time: Timestamp) -> ZonedDateTime {
        time.to_zoned_datetime(self.zone.clone())
    }

    fn at_ms(&self, ms: i64) -> ZonedDateTime {
        self.at(Timestamp::from_millisecond(ms).unwrap_or_default())
    }

    /// `Mon 23 Nov 2026 08:00`.
    pub(super) fn moment(&self, time: Timestamp) -> String {
        let local = self.at(time);
        if local.second() == 0 {
            local.strftime("%a %-d %b %Y %H:%M").to_string()
        } else {
            local.strftime("%a %-d %b %Y %H:%M:%S").to_string()
        }
    }

    /// From and to; the day is not said twice.
    pub(super) fn period(&self, period: Period) -> String {
        let (from, to) = (self.at(period.from), self.at(period.to));
        let end = if from.date() == to.date() {
            let form = if to.second() == 0 { "%H:%M" } else { "%H:%M:%S" };
            to.strftime(form).to_string()
        } else {
            self.moment(period.to)
        };
        format!("{} \u{2013} {end}", self.moment(period.from))
    }

    /// `Europe/Berlin, +01:00`; both offsets where it changes between the ends.
    pub(super) fn zone(&self, period: Period) -> String {
        let offset = |time| self.at(time).strftime("%:z").to_string();
        let (from, to) = (offset(period.from), offset(period.to));
        if from == to {
            format!("{}, {from}", self.name)
        } else {
            format!("{}, {from}, then {to}", self.name)
        }
    }

    /// A step of a series: `Mon 23 Nov 14:00–14:30`.
    pub(super) fn step(&self, first_ms: i64, length_ms: i64) -> String {
        let (from, to) = (
            self.at_ms(first_ms),
            self.at_ms(first_ms.saturating_add(length_ms)),
        );
        if length_ms > 0 && length_ms % (DAY * 1000) == 0 {
            return from.strftime("%a %-d %b").to_string();
        }
        format!(
            "{}\u{2013}{}",
            from.strftime("%a %-d %b %H:%M"),
            to.strftime("%H:%M")
        )
    }

    /// Where a time axis is marked, by step, with the text: at most six marks, at round times.
    pub(super) fn marks(&self, first_ms: i64, step_ms: i64, count: usize) -> Vec<(usize, String)> {
        let length = step_ms.saturating_mul(count as i64) / 1000;
        let apart = APART
            .into_iter()
            .find(|apart| length / apart <= 6)
            .unwrap_or(length.max(1));
        let starts = (0..count).map(|at| {
            (
                at,
                self.at_ms(first_ms.saturating_add(step_ms.saturating_mul(at as i64))),
            )
        });
        let mut marks: Vec<(usize, String)> = starts
            .filter(|(_, start)| {
                let second = i64::from(start.hour()) * 3600
                    + i64::from(start.minute()) * 60
                    + i64::from(start.second());
                if apart < DAY {
                    second % apart == 0
                } else {
                    let days = start
                        .timestamp()
                        .as_second()
                        .saturating_add(i64::from(start.offset().seconds()))
                        / DAY;
                    second == 0 && days % (apart / DAY) == 0
                }
            })
            .map(|(at, start)| {
                let form = if apart >= DAY {
                    "%-d %b"
                } else if start.hour() == 0 && start.minute() == 0 {
                    "%a %-d"
                } else {
                    "%H:%M"
                };
                (at, start.strftime(form).to_string())
            })
            .collect();
        if marks.is_empty() && count > 0 {
            marks.push((0, self.at_ms(first_ms).strftime("%-d %b %H:%M").to_string()));
        }
        // A text that begins at the very end of the axis would leave it.
        marks.retain(|(at, _)| *at == 0 || at * 100 < count * 90);
        marks
    }

    /// Weekdays (Monday first) that are in a period.
    pub(super) fn weekdays(&self, period: Period) -> [bool; 7] {
        let mut found = [false; 7];
        let end = self
            .at(period
                .to
                .saturating_sub(jiff::SignedDuration::from_millis(1))
                .unwrap_or(period.to))
            .date();
        let mut day = self.at(period.from).date();
        for _ in 0..7 {
            if day > end {
                break;
            }
            found[usize::from(day.weekday().to_monday_zero_offset().unsigned_abs())] = true;
            let Ok(next) = day.tomorrow() else { break };
            day = next;
        }
        found
    }
}
