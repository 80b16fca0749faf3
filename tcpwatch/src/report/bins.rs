//! The steps of a report's series: round ones, aligned to local time, at most 48.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::report::Bins;

/// More is not read from a line of blocks.
const MOST: i64 = 48;

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
pub(super) const DAY: i64 = 24 * HOUR;

const STEPS: [i64; 25] = [
    SECOND,
    2 * SECOND,
    5 * SECOND,
    10 * SECOND,
    20 * SECOND,
    30 * SECOND,
    MINUTE,
    2 * MINUTE,
    5 * MINUTE,
    10 * MINUTE,
    15 * MINUTE,
    20 * MINUTE,
    30 * MINUTE,
    HOUR,
    2 * HOUR,
    3 * HOUR,
    4 * HOUR,
    6 * HOUR,
    12 * HOUR,
    DAY,
    2 * DAY,
    4 * DAY,
    7 * DAY,
    14 * DAY,
    28 * DAY,
];

impl Bins {
    /// For a period (`from_ms`, `to_ms`] whose buckets are `bucket_ms` long. A step holds whole buckets, or ten of them: else
    /// steps with two buckets would alternate with steps that have one, and a series show what is not there.
    pub(super) fn new(from_ms: i64, to_ms: i64, bucket_ms: i64, zone: &TimeZone) -> Self {
        let bucket_ms = bucket_ms.max(1);
        let fits = |step: i64| step >= bucket_ms && (step % bucket_ms == 0 || step >= 10 * bucket_ms);
        let longest = (to_ms - from_ms).max(1);
        let years = (1..).map(|years| years * 364 * DAY);
        let steps = STEPS.into_iter().chain(years).filter(|step| fits(*step));
        for step_ms in steps {
            let first_ms = floor(from_ms, step_ms, zone);
            let count = (from_ms + longest - first_ms - 1).div_euclid(step_ms) + 1;
            if count <= MOST {
                return Self {
                    first_ms,
                    step_ms,
                    count: usize::try_from(count).unwrap_or(1),
                };
            }
        }
        Self {
            first_ms: from_ms,
            step_ms: longest,
            count: 1,
        }
    }

    /// The step that a moment is in; the first or the last one when it is before or behind all.
    pub(super) fn at(&self, moment_ms: i64) -> usize {
        let step = (moment_ms - self.first_ms).div_euclid(self.step_ms.max(1));
        usize::try_from(step)
            .unwrap_or(0)
            .min(self.count.saturating_sub(1))
    }
}

/// The last round local time at or before a moment. A step of days begins with a day.
fn floor(ms: i64, step_ms: i64, zone: &TimeZone) -> i64 {
    let offset = offset_ms(ms, zone);
    (ms + offset).div_euclid(step_ms) * step_ms - offset
}

/// How much local time is ahead of UTC.
pub(super) fn offset_ms(ms: i64, zone: &TimeZone) -> i64 {
    i64::from(zone.to_offset(timestamp(ms)).seconds()) * SECOND
}

/// What is out of range is cut.
pub(super) fn timestamp(ms: i64) -> Timestamp {
    let bound = if ms < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(ms).unwrap_or(bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn steps_are_round_and_aligned_to_local_time() {
        let zone = TimeZone::fixed(jiff::tz::offset(3));
        let day = Bins::new(
            ms("2026-01-01T10:10:00Z"),
            ms("2026-01-02T10:10:00Z"),
            HOUR,
            &zone,
        );
        assert_eq!(
            (day.first_ms, day.step_ms, day.count),
            (ms("2026-01-01T10:00:00Z"), HOUR, 25)
        );
        let month = Bins::new(ms("2026-01-01T10:00:00Z"), ms("2026-01-31T10:00:00Z"), DAY, &zone);
        assert_eq!(
            (month.first_ms, month.step_ms, month.count),
            (ms("2025-12-31T21:00:00Z"), DAY, 31)
        );
        let years = Bins::new(0, ms("2090-01-01T00:00:00Z"), DAY, &TimeZone::UTC);
        assert!(years.count <= 48, "{years:?}");
    }

    #[test]
    fn a_step_never_has_one_bucket_more_than_the_next() {
        let ten = |bucket| Bins::new(0, 10 * MINUTE, bucket, &TimeZone::UTC).step_ms;
        assert_eq!(ten(20 * SECOND), 20 * SECOND);
        assert_eq!(ten(7 * SECOND), 2 * MINUTE);
        assert_eq!(ten(15 * MINUTE), 15 * MINUTE);
        assert_eq!(ten(100), 20 * SECOND);
    }

    #[test]
    fn every_moment_is_in_a_step() {
        let bins = Bins::new(1, 10 * MINUTE, SECOND, &TimeZone::UTC);
        assert_eq!(bins.at(i64::MIN / 2), 0);
        assert_eq!(bins.at(10 * MINUTE - 1), bins.count - 1);
        assert_eq!(bins.at(i64::MAX / 2), bins.count - 1);
    }
}
