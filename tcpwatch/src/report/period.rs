//! Periods as operators write them.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan as _, ZonedDateTime};

use crate::report::Period;

/// What is wrong with a period.
#[derive(Debug, thiserror::Error)]
pub enum PeriodError {
    /// Not a length of time.
    #[error("--since {text:?}: not a length of time: write it like 30m, 6h, 7d or 2w")]
    Since {
        /// As typed.
        text: String,
    },
    /// Not a time.
    #[error(
        "{option} {text:?}: not a time: write it like 2026-01-02, \"2026-01-02 03:04\", 2026-01-02T03:04:05Z, yesterday, today or now"
    )]
    Time {
        /// The option.
        option: &'static str,
        /// As typed.
        text: String,
    },
    /// It has no beginning, or ends before it begins.
    #[error("the period ends at {to}, before it begins at {from}: give an earlier --from or a later --to")]
    Backwards {
        /// Its beginning.
        from: String,
        /// Its end.
        to: String,
    },
}

impl Period {
    /// What `--since`, `--from` and `--to` mean at `now`: without any, the last 24 hours; without an end, until now.
    ///
    /// # Errors
    /// One of them cannot be read, or nothing lies between them.
    pub fn parse(
        since: Option<&str>,
        from: Option<&str>,
        to: Option<&str>,
        now: &ZonedDateTime,
    ) -> Result<Self, PeriodError> {
        let to = match to {
            Some(text) => time("--to", text, now)?,
            None => now.timestamp(),
        };
        let from = match (since, from) {
            (Some(text), _) => ago(text, now)?,
            (None, Some(text)) => time("--from", text, now)?,
            (None, None) => to.saturating_sub(24.hours()).unwrap_or(Timestamp::MIN),
        };
        if from >= to {
            let local = |time: Timestamp| {
                let local = time.to_zoned_datetime(now.time_zone().clone());
                local.strftime("%Y-%m-%d %H:%M:%S").to_string()
            };
            return Err(PeriodError::Backwards {
                from: local(from),
                to: local(to),
            });
        }
        Ok(Self { from, to })
    }

    /// The period of the same length that ends where this one begins.
    #[must_use]
    pub fn before(self) -> Self {
        let length = self.to.duration_since(self.from);
        Self {
            from: self.from.saturating_sub(length).unwrap_or(Timestamp::MIN),
            to: self.from,
        }
    }

    /// How long it is.
    pub fn seconds(self) -> f64 {
        self.to.duration_since(self.from).as_secs_f64()
    }
}

/// A length of time before now: days and weeks by the calendar.
fn ago(text: &str, now: &ZonedDateTime) -> Result<Timestamp, PeriodError> {
    let wrong = || PeriodError::Since {
        text: text.chars().take(40).collect(),
    };
    let span: Span = text.trim().parse().ok().ok_or_else(wrong)?;
    let then = now.checked_sub(span).ok().ok_or_else(wrong)?;
    if then.timestamp() >= now.timestamp() {
        return Err(wrong());
    }
    Ok(then.timestamp())
}

fn time(option: &'static str, text: &str, now: &ZonedDateTime) -> Result<Timestamp, PeriodError> {
    let read = || -> Option<Timestamp> {
        match text.trim() {
            "now" => Some(now.timestamp()),
            "today" => Some(now.start_of_day().ok()?.timestamp()),
            "yesterday" => {
                let yesterday = now.checked_sub(1.day()).ok()?;
                Some(yesterday.start_of_day().ok()?.timestamp())
            }
            text => text
                .parse::<Timestamp>()
                .ok()
                .or_else(|| local(text, now.time_zone())),
        }
    };
    read().ok_or_else(|| PeriodError::Time {
        option,
        text: text.chars().take(40).collect(),
    })
}

/// A date, or a date and a time, of the local zone.
fn local(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    let time: DateTime = text.parse().ok()?;
    zone.to_timestamp(time).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> ZonedDateTime {
        let zone = TimeZone::get("Europe/Berlin").unwrap_or(TimeZone::fixed(jiff::tz::offset(1)));
        "2026-01-15T12:30:00Z"
            .parse::<Timestamp>()
            .unwrap()
            .to_zoned_datetime(zone)
    }

    fn period(since: Option<&str>, from: Option<&str>, to: Option<&str>) -> Result<(String, String), String> {
        Period::parse(since, from, to, &now())
            .map(|period| (period.from.to_string(), period.to.to_string()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn periods_are_read_as_people_write_them() {
        let cases = [
            (None, None, None, "2026-01-14T12:30:00Z", "2026-01-15T12:30:00Z"),
            (
                Some("6h"),
                None,
                None,
                "2026-01-15T06:30:00Z",
                "2026-01-15T12:30:00Z",
            ),
            (
                Some("7d"),
                None,
                None,
                "2026-01-08T12:30:00Z",
                "2026-01-15T12:30:00Z",
            ),
            (
                Some("1h 30m"),
                None,
                None,
                "2026-01-15T11:00:00Z",
                "2026-01-15T12:30:00Z",
            ),
            (
                None,
                Some("yesterday"),
                Some("today"),
                "2026-01-13T23:00:00Z",
                "2026-01-14T23:00:00Z",
            ),
            (
                None,
                Some("2026-01-02"),
                Some("2026-01-03"),
                "2026-01-01T23:00:00Z",
                "2026-01-02T23:00:00Z",
            ),
            (
                None,
                Some("2026-01-02 03:04"),
                Some("now"),
                "2026-01-02T02:04:00Z",
                "2026-01-15T12:30:00Z",
            ),
            (
                None,
                Some("2026-01-02T03:04:05+05:00"),
                Some("2026-01-02T03:04:05Z"),
                "2026-01-01T22:04:05Z",
                "2026-01-02T03:04:05Z",
            ),
            (
                None,
                None,
                Some("today"),
                "2026-01-13T23:00:00Z",
                "2026-01-14T23:00:00Z",
            ),
        ];
        for (since, from, to, first, last) in cases {
            let expected = Ok((first.to_owned(), last.to_owned()));
            assert_eq!(period(since, from, to), expected, "{since:?} {from:?} {to:?}");
        }
    }

    #[test]
    fn what_is_no_period_is_said() {
        for since in ["", "6", "x", "-6h", "0s", "6h ago ago", "99999999999y"] {
            let said = period(Some(since), None, None).unwrap_err();
            assert!(said.starts_with("--since"), "{since}: {said}");
        }
        for time in ["", "tomorrow-ish", "2026-13-01", "25:00", "2026-01-02T03:04:05Q"] {
            let said = period(None, Some(time), None).unwrap_err();
            assert!(said.starts_with("--from"), "{time}: {said}");
        }
        assert_eq!(
            period(None, Some("today"), Some("yesterday")).unwrap_err(),
            "the period ends at 2026-01-14 00:00:00, before it begins at 2026-01-15 00:00:00: give an earlier --from or a later --to"
        );
    }

    #[test]
    fn the_period_before_is_as_long() {
        let period = Period::parse(Some("6h"), None, None, &now()).unwrap();
        assert_eq!(period.before().to, period.from);
        assert_eq!(period.before().seconds(), period.seconds());
    }
}
