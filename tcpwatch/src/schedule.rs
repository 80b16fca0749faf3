//! When something periodic is due: calendar expressions in local time. Pure: it is told what time it is.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _, ZonedDateTime};

/// A calendar expression: `hourly`, `hourly :30`, `daily 08:00`, `weekly Mon 08:00`, `monthly 1 08:00`, or weekdays with a time,
/// `Mon,Fri 08:00` and `Mon..Fri 08:00`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    days: Days,
    /// Minute of the day; for [`Days::Hours`] the minute of the hour.
    minute: i16,
    text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Days {
    /// Each hour of each day.
    Hours,
    /// These weekdays, Monday first.
    Week([bool; 7]),
    /// This day of each month; the last one where the month is shorter.
    Month(i8),
}

/// Not a calendar expression.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is no schedule: write it like hourly, daily 08:00, weekly Mon 08:00, Mon..Fri 18:30 or monthly 1 08:00"
)]
pub struct ScheduleError(String);

impl fmt::Display for Schedule {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.text)
    }
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let parsed = match words[..] {
            ["hourly"] => Some((Days::Hours, 0)),
            ["hourly", minute] => minute
                .strip_prefix(':')
                .and_then(|minute| number(minute, 59))
                .map(|minute| (Days::Hours, minute)),
            ["daily"] => Some((Days::Week([true; 7]), 0)),
            ["daily", time] => time_of_day(time).map(|minute| (Days::Week([true; 7]), minute)),
            ["weekly"] => Some((Days::Week(only(Weekday::Monday)), 0)),
            ["weekly", days, time] | [days, time] if weekdays(days).is_some() => weekdays(days)
                .zip(time_of_day(time))
                .map(|(days, minute)| (Days::Week(days), minute)),
            ["monthly"] => Some((Days::Month(1), 0)),
            ["monthly", day, time] => number(day, 31)
                .filter(|day| *day > 0)
                .and_then(|day| i8::try_from(day).ok())
                .zip(time_of_day(time))
                .map(|(day, minute)| (Days::Month(day), minute)),
            _ => None,
        };
        let (days, minute) = parsed.ok_or_else(|| ScheduleError(text.chars().take(100).collect()))?;
        Ok(Self {
            days,
            minute,
            text: words.join(" "),
        })
    }
}

fn number(text: &str, most: i16) -> Option<i16> {
    let digits = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    digits
        .then(|| text.parse().ok())
        .flatten()
        .filter(|number| *number <= most)
}

/// Minute of the day of `08:00`.
fn time_of_day(text: &str) -> Option<i16> {
    let (hour, minute) = text.split_once(':')?;
    Some(number(hour, 23)? * 60 + number(minute, 59).filter(|_| minute.len() == 2)?)
}

fn only(day: Weekday) -> [bool; 7] {
    let mut days = [false; 7];
    days[place(day)] = true;
    days
}

fn place(day: Weekday) -> usize {
    usize::try_from(day.to_monday_zero_offset()).unwrap_or(0)
}

/// `Mon`, `Mon,Fri`, `Mon..Fri`, and what is made of these.
fn weekdays(text: &str) -> Option<[bool; 7]> {
    const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let one = |name: &str| {
        let name = name.to_ascii_lowercase();
        NAMES.iter().position(|short| *short == name)
    };
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = match part.split_once("..") {
            Some((first, last)) => (one(first)?, one(last)?),
            None => (one(part)?, one(part)?),
        };
        let mut day = first;
        loop {
            days[day] = true;
            if day == last {
                break;
            }
            day = (day + 1) % 7;
        }
    }
    Some(days)
}

impl Schedule {
    /// The first moment after `after` at which it is due.
    ///
    /// A time that does not exist because clocks are put forward is due when they have been; one that exists twice, the first time.
    #[must_use]
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Timestamp {
        let local = after.to_zoned_datetime(zone.clone());
        if self.days == Days::Hours {
            return self.next_hour(&local);
        }
        // A month's day comes within 31 days; clocks may be put back on the last of them.
        let mut date = local.date();
        for _ in 0..40 {
            if self.is_on(date)
                && let Some(due) = self.at(date, zone).filter(|due| *due > after)
            {
                return due;
            }
            match date.checked_add(1.day()) {
                Ok(next) => date = next,
                Err(_end_of_time) => break,
            }
        }
        Timestamp::MAX
    }

    /// The last moment at or before `now` at which it was due, or `earliest` if that is later.
    #[must_use]
    pub fn last(&self, now: Timestamp, earliest: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut last = None;
        let mut at = earliest;
        loop {
            let next = self.next(at, zone);
            if next > now {
                return last;
            }
            last = Some(next);
            at = next;
        }
    }

    fn next_hour(&self, local: &ZonedDateTime) -> Timestamp {
        let minute = i8::try_from(self.minute).unwrap_or(0);
        let this = local
            .with()
            .minute(minute)
            .second(0)
            .subsec_nanosecond(0)
            .build()
            .unwrap_or_else(|_impossible| local.clone());
        let mut due = this.timestamp();
        while due <= local.timestamp() {
            due = due.checked_add(1.hour()).unwrap_or(Timestamp::MAX);
        }
        due
    }

    fn is_on(&self, date: Date) -> bool {
        match self.days {
            Days::Hours => true,
            Days::Week(days) => days[place(date.weekday())],
            Days::Month(day) => date.day() == day.min(date.days_in_month()),
        }
    }

    fn at(&self, date: Date, zone: &TimeZone) -> Option<Timestamp> {
        let (hour, minute) = (self.minute / 60, self.minute % 60);
        let time = Time::new(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, 0, 0).ok()?;
        let due = zone
            .to_ambiguous_zoned_datetime(date.to_datetime(time))
            .compatible()
            .ok()?;
        Some(due.timestamp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    fn next(schedule: &str, after: &str) -> String {
        let after: Timestamp = after.parse().unwrap();
        schedule
            .parse::<Schedule>()
            .unwrap()
            .next(after, &zone())
            .to_zoned_datetime(zone())
            .strftime("%a %Y-%m-%d %H:%M %Z")
            .to_string()
    }

    #[test]
    fn each_kind_is_due_when_it_says() {
        // A Thursday, 12:30 in winter.
        let now = "2026-01-01T11:30:00Z";
        for (schedule, expected) in [
            ("hourly", "Thu 2026-01-01 13:00 CET"),
            ("hourly :30", "Thu 2026-01-01 13:30 CET"),
            ("hourly :45", "Thu 2026-01-01 12:45 CET"),
            ("daily", "Fri 2026-01-02 00:00 CET"),
            ("daily 08:00", "Fri 2026-01-02 08:00 CET"),
            ("daily 12:30", "Fri 2026-01-02 12:30 CET"),
            ("daily 12:31", "Thu 2026-01-01 12:31 CET"),
            ("weekly", "Mon 2026-01-05 00:00 CET"),
            ("weekly Sat 08:00", "Sat 2026-01-03 08:00 CET"),
            ("Mon,Wed 08:00", "Mon 2026-01-05 08:00 CET"),
            ("Sat..Mon 08:00", "Sat 2026-01-03 08:00 CET"),
            ("monthly", "Sun 2026-02-01 00:00 CET"),
            ("monthly 31 06:00", "Sat 2026-01-31 06:00 CET"),
        ] {
            assert_eq!(next(schedule, now), expected, "{schedule}");
        }
        assert_eq!(
            next("monthly 31 06:00", "2026-02-01T00:00:00Z"),
            "Sat 2026-02-28 06:00 CET"
        );
    }

    #[test]
    fn a_change_of_the_clocks_neither_skips_nor_repeats_it() {
        // 02:00 to 03:00 does not exist on 2026-03-29, and exists twice on 2026-10-25.
        assert_eq!(
            next("daily 02:30", "2026-03-28T12:00:00Z"),
            "Sun 2026-03-29 03:30 CEST"
        );
        assert_eq!(
            next("daily 02:30", "2026-10-24T12:00:00Z"),
            "Sun 2026-10-25 02:30 CEST"
        );
        assert_eq!(
            next("daily 02:30", "2026-10-25T00:30:00Z"),
            "Mon 2026-10-26 02:30 CET"
        );
    }

    #[test]
    fn the_last_one_that_was_missed_is_made_up_once() {
        let schedule: Schedule = "daily 08:00".parse().unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (now, earlier) = (at("2026-01-10T12:00:00Z"), at("2026-01-05T12:00:00Z"));
        assert_eq!(
            schedule.last(now, earlier, &zone()),
            Some(at("2026-01-10T07:00:00Z"))
        );
        assert_eq!(schedule.last(now, at("2026-01-10T08:00:00Z"), &zone()), None);
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_examples() {
        for text in [
            "",
            "daily 8",
            "daily 24:00",
            "daily 08:60",
            "Moo 08:00",
            "monthly 0 08:00",
            "hourly :60",
            "daily 08:00 x",
        ] {
            let error = text.parse::<Schedule>().unwrap_err().to_string();
            assert!(error.contains("daily 08:00, weekly Mon"), "{error}");
        }
    }
}
