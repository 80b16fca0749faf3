//! Which time deletions go by. Pure: it is told what the clocks say.
//!
//! A wall clock that jumps ahead (a date that was typed wrong, a bad time server, a machine that wakes up) makes everything that is
//! kept old at once, and what was deleted stays deleted. So a jump is believed after a day. Roll-ups need no such care.

use std::time::{Duration, Instant};

/// A wall clock that is further ahead of the monotonic one than this has jumped.
const JUMP_MS: i64 = 3_600_000;

/// For how long it must have stayed there.
const BELIEVED: Duration = Duration::from_secs(24 * 60 * 60);

/// The time that deletions go by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// Both clocks, when they last went together; in milliseconds since 1970.
    last: (Instant, i64),
    /// Since when the wall clock is where it jumped to.
    ahead: Option<Instant>,
}

impl Clock {
    /// At `wall_ms`, it was `last_ms` when something was last recorded; none: nothing was.
    pub(super) fn new(now: Instant, wall_ms: i64, last_ms: Option<i64>) -> Self {
        Self {
            last: (now, last_ms.unwrap_or(wall_ms).min(wall_ms)),
            ahead: None,
        }
    }

    /// The time that deletions may go by when the wall clock says `wall_ms`.
    pub(super) fn deletions_ms(&mut self, now: Instant, wall_ms: i64) -> i64 {
        let passed = now.saturating_duration_since(self.last.0).as_millis();
        let expected = self
            .last
            .1
            .saturating_add(i64::try_from(passed).unwrap_or(i64::MAX));
        if wall_ms.saturating_sub(expected) > JUMP_MS {
            let since = *self.ahead.get_or_insert(now);
            if now.saturating_duration_since(since) < BELIEVED {
                return expected;
            }
        }
        self.ahead = None;
        self.last = (now, wall_ms);
        wall_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn hours(hours: u64) -> Duration {
        Duration::from_secs(hours * 3600)
    }

    #[test]
    fn clocks_that_go_together_and_one_that_is_set_back_are_believed() {
        let begin = Instant::now();
        let mut clock = Clock::new(begin, 1000 * HOUR, None);
        assert_eq!(
            clock.deletions_ms(begin + hours(5), 1005 * HOUR + 9),
            1005 * HOUR + 9
        );
        assert_eq!(clock.deletions_ms(begin + hours(6), 900 * HOUR), 900 * HOUR);
        assert_eq!(clock.deletions_ms(begin + hours(7), 901 * HOUR), 901 * HOUR);
    }

    #[test]
    fn a_jump_ahead_is_believed_after_a_day_and_one_that_is_undone_never() {
        let begin = Instant::now();
        let mut clock = Clock::new(begin, 1000 * HOUR, None);
        assert_eq!(clock.deletions_ms(begin + hours(1), 90_000 * HOUR), 1001 * HOUR);
        assert_eq!(clock.deletions_ms(begin + hours(2), 1002 * HOUR), 1002 * HOUR);
        assert_eq!(clock.deletions_ms(begin + hours(3), 90_000 * HOUR), 1003 * HOUR);
        assert_eq!(clock.deletions_ms(begin + hours(26), 90_023 * HOUR), 1026 * HOUR);
        assert_eq!(
            clock.deletions_ms(begin + hours(27), 90_024 * HOUR),
            90_024 * HOUR
        );
    }

    #[test]
    fn what_was_recorded_last_is_what_a_start_goes_by() {
        let begin = Instant::now();
        let mut clock = Clock::new(begin, 2000 * HOUR, Some(1000 * HOUR));
        assert_eq!(clock.deletions_ms(begin, 2000 * HOUR), 1000 * HOUR);
        assert_eq!(clock.deletions_ms(begin + hours(24), 2024 * HOUR), 2024 * HOUR);
        // One that is behind what was recorded is believed: less is deleted by it.
        let mut clock = Clock::new(begin, 1000 * HOUR, Some(2000 * HOUR));
        assert_eq!(clock.deletions_ms(begin, 1000 * HOUR), 1000 * HOUR);
    }
}
