//! Days and seconds since 1970, as far as the place data needs them.

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const SECONDS_PER_DAY: u64 = 86_400;

/// `Thu, 25 Jun 2026 04:33:59 GMT`, as mail writes it, in seconds since 1970.
pub fn parse(text: &str) -> Option<u64> {
    let mut words = text.split_whitespace().skip(1);
    let day: u64 = words.next()?.parse().ok()?;
    let month = words.next()?;
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let year: u64 = words.next()?.parse().ok()?;
    let mut clock = words.next()?.split(':').map(str::parse::<u64>);
    let (hours, minutes, seconds) = (clock.next()?.ok()?, clock.next()?.ok()?, clock.next()?.ok()?);
    if words.next() != Some("GMT") || year < 1970 || !(1..=31).contains(&day) {
        return None;
    }
    Some(days(year, month, day) * SECONDS_PER_DAY + hours * 3600 + minutes * 60 + seconds)
}

/// `2026-06-25`, in UTC.
pub fn day(seconds: u64) -> String {
    let wanted = seconds / SECONDS_PER_DAY;
    let mut year = 1970 + wanted / 366;
    while days(year + 1, 1, 1) <= wanted {
        year += 1;
    }
    let month = (1..=12)
        .rev()
        .find(|month| days(year, *month, 1) <= wanted)
        .unwrap_or(1);
    format!("{year}-{month:02}-{:02}", wanted - days(year, month, 1) + 1)
}

/// Days since 1970-01-01 in the Gregorian calendar; `month` and `day` count from 1.
fn days(year: u64, month: u64, day: u64) -> u64 {
    // The year begins in March here, so that the leap day is its last (Howard Hinnant, days_from_civil).
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    let before_1970 = 719_468;
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - before_1970
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_date_of_an_export() {
        // date -u -d 'Thu, 25 Jun 2026 04:33:59 GMT' +%s
        assert_eq!(parse("Thu, 25 Jun 2026 04:33:59 GMT"), Some(1_782_362_039));
        assert_eq!(parse("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(parse("Thu, 25 Jun 2026 04:33:59 CEST"), None);
        assert_eq!(parse("2026-06-25"), None);
    }

    #[test]
    fn writes_days_around_leap_days_and_year_ends() {
        for (seconds, expected) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (1_782_362_039, "2026-06-25"),
            (1_798_761_599, "2026-12-31"),
            (1_798_761_600, "2027-01-01"),
            (1_709_251_199, "2024-02-29"),
        ] {
            assert_eq!(day(seconds), expected);
        }
    }
}
